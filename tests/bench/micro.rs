//! Three small benches of what every request pays for: one decision of a compiled ACL, one read that opens a sealed
//! entry, one durable commit alone and in a crowd. Prints a line of JSON each.
#![allow(clippy::disallowed_methods, reason = "this program measures time: it is the only thing it does")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use policy::{Acl, Capability, NoParameters, Path, Policy, Question, Subject};
use storage::seal::{SealChoice, Split};
use storage::{Backend, Key, Memory, MountId, Open, Options, Phase, Place, Redb, SystemRandom};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const PLACE: Place = Place { mount: MountId([7; 16]), table: 1 };
const WRITERS: u64 = 32;

fn main() -> Outcome {
    decision()?;
    opening()?;
    commits()
}

/// Each round is long enough to be timed; the median of the rounds is told.
fn median(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..rounds).map(|_| round()).collect();
    times.sort_by(f64::total_cmp);
    times.get(rounds / 2).copied().unwrap_or_default()
}

fn decision() -> Outcome {
    let mut text = String::new();
    for team in 0..100 {
        text.push_str(&format!(
            "path \"secret/data/team{team}/*\" {{ capabilities = [\"read\"] }}\n\
             path \"secret/+/team{team}/+/shared\" {{ capabilities = [\"read\", \"list\"] }}\n"
        ));
    }
    let policy = Policy::parse("bench", &text)?;
    let acl = Acl::compile(&[("", &policy)], &Subject::default(), 0);
    let path = Path::internal("secret/data/team42/app/database")?;
    let question = Question {
        path: &path,
        any_case: None,
        or_bare: false,
        capability: Capability::Read,
        needs_sudo: false,
        parameters: &NoParameters,
        wrap_ttl: None,
        now: 0,
    };
    let nanos = median(9, || {
        let start = Instant::now();
        for _ in 0..100_000 {
            black_box(acl.permit(black_box(&question)).is_ok());
        }
        start.elapsed().as_nanos() as f64 / 100_000.0
    });
    println!("{{\"what\":\"ACL decision, 200 rules\",\"ns\":{nanos:.0}}}");
    Ok(())
}

fn opening() -> Outcome {
    let store = found(Box::new(Memory::new()))?;
    let mut txn = store.begin();
    txn.put(&Key::path(PLACE, "app/database"), vec![b'x'; 200])?;
    store.commit(txn)?.map_err(|_| "a conflict with nobody")?;
    let snapshot = store.snapshot();
    let key = Key::path(PLACE, "app/database");
    let nanos = median(9, || {
        let start = Instant::now();
        for _ in 0..100_000 {
            black_box(snapshot.get(black_box(&key)).is_ok());
        }
        start.elapsed().as_nanos() as f64 / 100_000.0
    });
    println!("{{\"what\":\"read and open 200 bytes\",\"ns\":{nanos:.0}}}");
    Ok(())
}

fn commits() -> Outcome {
    let folder = std::env::temp_dir().join(format!("sealkeep-micro-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let store = Arc::new(found(Box::new(Redb::open(&folder)?))?);
    let start = Instant::now();
    for number in 0..500 {
        write(&store, number);
    }
    let alone = start.elapsed().as_micros() as f64 / 500.0;
    println!("{{\"what\":\"durable commit alone\",\"us\":{alone:.0}}}");
    let (until, next) = (Instant::now() + Duration::from_secs(3), AtomicU64::new(1_000_000));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while Instant::now() < until {
                    write(&store, next.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    let each = (next.load(Ordering::Relaxed) - 1_000_000) / 3;
    println!("{{\"what\":\"durable commits, {WRITERS} writers\",\"per_second\":{each}}}");
    drop(store);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn write(store: &Open, number: u64) {
    let mut txn = store.begin();
    let path = format!("app/{number}");
    let written = txn.put(&Key::path(PLACE, &path), vec![b'x'; 200]);
    assert!(written.is_ok() && matches!(store.commit(txn), Ok(Ok(_))), "a write failed");
}

fn found(backend: Box<dyn Backend>) -> Outcome<Open> {
    let Phase::Blank(blank) = storage::open(backend, Options::new(|| 0))? else {
        return Err("not blank".into());
    };
    let choice = SealChoice::Shamir(Split { shares: 1, threshold: 1 });
    let (sealed, initialised) = blank.init(&choice, &SystemRandom)?;
    sealed.unseal(&initialised.key, Arc::new(SystemRandom)).map_err(|still| still.why.to_string().into())
}
