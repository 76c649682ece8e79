//! Keeping an identity's token alive, and in files for others.

use std::{path::PathBuf, rc::Rc, time::Duration};

use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    bell::Bell,
    config::{Exits, Pacing, Sink},
    disk::{self, Machine},
    here::{self, Here},
    ledger::Ledger,
    login::{Identity, envelope},
    run::{Once, sleep_until},
    world::{Trouble, World},
};
use crate::call::Call;

/// A token that is well is not looked at more often than this.
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// A wait after a failure is not shorter than this.
const BACKOFF_FLOOR: Duration = Duration::from_millis(100);
/// A file that was lacking is looked for this often.
const FILE_AGAIN: Duration = Duration::from_secs(1);
/// A single run tries so often.
const ONCE_TRIES: u32 = 3;

/// Keeps the token alive until the agent ends. `true` if a single run has it in all its sinks.
pub(super) async fn keep(
    identity: Rc<Mutex<Identity>>,
    (sinks, pacing): (Vec<Sink>, Pacing),
    world: Rc<Here>,
    ledger: Rc<Ledger>,
    (once, bell): (Once, Bell),
) -> bool {
    let (mut written, mut said) = (None::<Zeroizing<String>>, None::<String>);
    let (mut failures, mut unwritten) = (0_u32, 0_u32);
    // Whoever else works with this identity may have logged in anew.
    let fresh = Rc::clone(&identity.lock().await.fresh);
    loop {
        let mut held = identity.lock().await;
        let kept = held.keep(world.as_ref()).await;
        ledger.logins(held.logins.0, held.logins.1);
        let token = if kept.is_ok() { held.held() } else { None };
        let lacks = held.lacks();
        drop(held);
        let mut next = match kept {
            Ok(next) => {
                if std::mem::take(&mut failures) > 0 {
                    said = None;
                }
                next.max(world.now().plus(AGAIN_MIN))
            }
            Err(trouble) => {
                // Said once, and again when it is something else.
                if said.as_ref() != Some(&trouble.text) {
                    world.log(&format!("the token: {}", trouble.advised()));
                    said = Some(trouble.text.clone());
                }
                if pacing.exits == Exits::OnFailure {
                    bell.end(crate::stop::LOCAL);
                    return false;
                }
                failures = failures.saturating_add(1);
                world.now().plus(
                    trouble.pause.unwrap_or_default().min(pacing.highest).max(backoff(pacing, failures)),
                )
            }
        };
        if let Some(token) = token.filter(|token| written.as_ref() != Some(token)) {
            let mut all = true;
            for sink in &sinks {
                if let Err(trouble) = write(sink, &token, world.as_ref()).await {
                    let line = format!("the sink {}: {}", sink.path.display(), trouble.advised());
                    if said.as_ref() != Some(&line) {
                        world.log(&line);
                        said = Some(line);
                    }
                    all = false;
                }
            }
            if all {
                (written, unwritten, said) = (Some(token), 0, None);
            } else {
                unwritten = unwritten.saturating_add(1);
                next = world.now().plus(backoff(pacing, unwritten));
            }
        }
        if once == Once::Yes && (written.is_some() || failures.max(unwritten) >= ONCE_TRIES) {
            return written.is_some();
        }
        tokio::select! {
            () = sleep_until(&world, next) => {}
            () = appears(lacks) => {}
            () = fresh.notified() => {}
        }
    }
}

/// Ends as soon as a file is there that no login can do without.
pub(super) async fn appears(file: Option<PathBuf>) {
    let Some(file) = file else { return std::future::pending().await };
    loop {
        tokio::time::sleep(FILE_AGAIN).await;
        if file.exists() {
            return;
        }
    }
}

/// Anything up to a ceiling that doubles, so that thousands who failed together do not come back together.
fn backoff(pacing: Pacing, failures: u32) -> Duration {
    let ceiling = pacing.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(pacing.highest);
    ceiling.mul_f64(here::chance()).max(BACKOFF_FLOOR)
}

async fn write(sink: &Sink, token: &Zeroizing<String>, world: &Here) -> Result<(), Trouble> {
    let text = match sink.wrap_ttl {
        None => token.clone(),
        Some(ttl) => wrapped(token, ttl, world).await?,
    };
    disk::replace(&Machine, &sink.path, text.as_bytes(), sink.mode)
        .map_err(|e| Trouble::disk("it cannot be written", &e))
}

/// A token that opens this one once, as Vault Agent writes it.
async fn wrapped(
    token: &Zeroizing<String>,
    ttl: Duration,
    world: &Here,
) -> Result<Zeroizing<String>, Trouble> {
    let call = Call::post("sys/wrapping/wrap", json!({ "token": token.as_str() }))
        .wrapped_for(format!("{}s", ttl.as_secs()))
        .with_token(token.clone());
    let reply =
        world.ask(call).await.map_err(|refused| Trouble::from(refused).during("wrapping the token"))?;
    let wrap = envelope(&reply)?.wrap_info.unwrap_or_default();
    let shown = json!({
        "token": wrap.token,
        "accessor": wrap.accessor,
        "ttl": wrap.ttl,
        "creation_time": wrap.creation_time,
        "creation_path": wrap.creation_path,
        "wrapped_accessor": wrap.wrapped_accessor,
    });
    Ok(Zeroizing::new(shown.to_string()))
}
