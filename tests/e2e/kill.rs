//! kill -9 under load, again and again: what was acknowledged is there, what was not is there whole or not at all.

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tests::binary::{Binary, setting};
use tests::dice::Dice;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Keys, Server, Storage};

/// Rounds of one run; `KILL_ROUNDS` asks for more or fewer.
const ROUNDS: usize = 200;
const WRITERS: usize = 8;
/// A round is killed after this many acknowledged writes at most.
const WRITES_MAX: usize = 160;
/// How many of the older keys each round reads back; the last one reads all.
const OLD_KEYS_READ: usize = 40;

/// What the server has acknowledged: the number last written under each key.
type Acknowledged = BTreeMap<String, u64>;

#[test]
fn acknowledged_writes_outlive_kill_nine() {
    let rounds =
        setting("KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("KILL_ROUNDS is a number"));
    let seed = setting("KILL_SEED").map_or(9, |seed| seed.parse().expect("KILL_SEED is a number"));
    let storage = match setting("KILL_STORAGE").as_deref() {
        None | Some("raft") => Storage::Raft,
        Some("file") => Storage::File,
        Some("sled") => Storage::Sled,
        Some(other) => panic!("KILL_STORAGE={other}: file, raft or sled"),
    };
    let mut dice = Dice::new(seed);
    let folder = Scratch::new();
    let config = Config::new(storage, folder.path());
    let (mut server, keys) = Server::opened(&Binary::sealkeep(), &config);
    server.anonymous().with(&keys.root).post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    let mut known = Acknowledged::new();
    let mut written = 0;
    for round in 0..rounds {
        let (new, in_flight) = write_until_killed(server, &keys, round, &mut dice);
        written += new.len();
        server = Server::configured(&Binary::sealkeep(), &config);
        server.unseal(&keys);
        let client = server.anonymous().with(&keys.root);
        read_back(&client, round, &new, &in_flight);
        known.extend(new);
        let old: Vec<&String> = known.keys().collect();
        for _ in 0..OLD_KEYS_READ.min(old.len()) {
            let key = *dice.pick(&old);
            check(&client, round, key, known[key]);
        }
    }
    let client = server.anonymous().with(&keys.root);
    known.iter().for_each(|(key, number)| check(&client, rounds, key, *number));
    println!("{rounds} kills, {written} acknowledged writes, {} keys, every one read back", known.len());
}

/// Writes from all writers until as many are acknowledged as the dice say, then kills the server amid the next ones.
fn write_until_killed(
    server: Server,
    keys: &Keys,
    round: usize,
    dice: &mut Dice,
) -> (Acknowledged, Acknowledged) {
    let limit = 1 + dice.below(WRITES_MAX);
    let acknowledged = Arc::new(Mutex::new(Acknowledged::new()));
    let in_flight = Arc::new(Mutex::new(Acknowledged::new()));
    let count = Arc::new(AtomicUsize::new(0));
    let (bell, enough) = std::sync::mpsc::channel();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let client = server.anonymous().with(&keys.root);
            let (acknowledged, in_flight, count) = (acknowledged.clone(), in_flight.clone(), count.clone());
            let bell = bell.clone();
            let mut dice = Dice::new(dice.roll());
            std::thread::spawn(move || {
                for number in 0.. {
                    // Some keys are new and some are written again and again: both must hold.
                    let key = if dice.once_in(3) {
                        format!("kv/again/{writer}")
                    } else {
                        format!("kv/r{round}/{writer}/{number}")
                    };
                    let number = (round as u64) << 32 | number;
                    in_flight.lock().unwrap().insert(key.clone(), number);
                    let request =
                        tests::http::Request::new("POST", &format!("/v1/{key}")).json(&value(&key, number));
                    match client.try_send(&request) {
                        Ok(reply) if reply.status == 204 => {}
                        Ok(reply) => panic!("{key}: {reply}"),
                        Err(_) => return,
                    }
                    acknowledged.lock().unwrap().insert(key.clone(), number);
                    in_flight.lock().unwrap().remove(&key);
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == limit {
                        bell.send(()).expect("the round waits for it");
                    }
                }
            })
        })
        .collect();
    enough.recv().expect("a writer rings");
    server.kill();
    for writer in writers {
        writer.join().expect("a writer was refused");
    }
    let taken = |map: &Mutex<Acknowledged>| std::mem::take(&mut *map.lock().unwrap());
    (taken(&acknowledged), taken(&in_flight))
}

/// A value that shows when it is not whole.
fn value(key: &str, number: u64) -> serde_json::Value {
    json!({"key": key, "number": number.to_string(), "filler": "f".repeat(400), "again": number.to_string()})
}

fn read_back(client: &Client, round: usize, acknowledged: &Acknowledged, in_flight: &Acknowledged) {
    for (key, number) in acknowledged {
        match in_flight.get(key) {
            // A later write of the same key was on its way: either may have won, and either is whole.
            Some(later) => {
                let found = client.get(key).must(200).json()["data"].clone();
                let either = [value(key, *number), value(key, *later)];
                assert!(either.contains(&found), "round {round}: {key} is {found}");
            }
            None => check(client, round, key, *number),
        }
    }
    for (key, number) in in_flight.iter().filter(|(key, _)| !acknowledged.contains_key(*key)) {
        let reply = client.get(key);
        let whole = reply.status == 200 && is_whole(key, *number, &reply.json()["data"]);
        assert!(reply.status == 404 || whole, "round {round}: {key} is half there: {reply}");
    }
}

/// An unacknowledged value under a key of many rounds may be an earlier one, but whole.
fn is_whole(key: &str, number: u64, found: &serde_json::Value) -> bool {
    let older = found["number"].as_str().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    older <= number && *found == value(key, older)
}

fn check(client: &Client, round: usize, key: &str, number: u64) {
    let reply = client.get(key);
    assert_eq!(reply.status, 200, "round {round}: {key} is lost: {reply}");
    let found = &reply.json()["data"];
    // Keys that are written again may hold a later number that was never acknowledged; never an earlier one.
    let later = found["number"].as_str().and_then(|found| found.parse().ok()).unwrap_or(0);
    let again = key.starts_with("kv/again/") && later >= number;
    assert!(later == number || again, "round {round}: {key} went back to {later} from {number}");
    assert_eq!(*found, value(key, later), "round {round}: {key} is not whole");
}
