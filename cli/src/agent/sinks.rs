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
    log::Level,
    login::{Identity, wrapped_for, wrapping},
    repeats::Repeats,
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
pub(super) const ONCE_TRIES: u32 = 3;

/// Keeps the token alive until the agent ends. `true` if a single run has it in all its sinks.
pub(super) async fn keep(
    identity: Rc<Mutex<Identity>>,
    (sinks, pacing): (Vec<Sink>, Pacing),
    world: Rc<Here>,
    ledger: Rc<Ledger>,
    (once, bell): (Once, Bell),
) -> bool {
    let (mut written, mut repeats) = (None::<Zeroizing<String>>, Repeats::default());
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
                    repeats.over();
                }
                next.max(world.now().plus(AGAIN_MIN))
            }
            Err(trouble) => {
                if repeats.is_news(&trouble.text, world.now()) {
                    world.log(Level::Warn, &format!("the token: {}", trouble.advised()));
                }
                if pacing.exits == Exits::OnFailure {
                    bell.end(crate::stop::LOCAL);
                    return false;
                }
                failures = failures.saturating_add(1);
                world.now().plus(pause(pacing, failures, &trouble))
            }
        };
        if let Some(token) = token.filter(|token| written.as_ref() != Some(token)) {
            let mut all = true;
            for sink in &sinks {
                if let Err(trouble) = write(sink, &token, world.as_ref()).await {
                    let line = format!("the sink {}: {}", sink.path.display(), trouble.advised());
                    if repeats.is_news(&line, world.now()) {
                        world.log(Level::Warn, &line);
                    }
                    all = false;
                }
            }
            if all {
                (written, unwritten) = (Some(token), 0);
                repeats.over();
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

/// The wait after a login that failed.
pub(super) fn pause(pacing: Pacing, failures: u32, trouble: &Trouble) -> Duration {
    trouble.pause.unwrap_or_default().min(pacing.highest).max(backoff(pacing, failures))
}

async fn write(sink: &Sink, token: &Zeroizing<String>, world: &Here) -> Result<(), Trouble> {
    match sink.wrap_ttl {
        None => put(sink, token),
        Some(ttl) => put(sink, &wrapped(token, ttl, world).await?),
    }
}

/// Writes into a sink.
pub(super) fn put(sink: &Sink, text: &Zeroizing<String>) -> Result<(), Trouble> {
    disk::replace(&Machine, &sink.path, text.as_bytes(), sink.mode)
        .map_err(|e| Trouble::disk("it cannot be written", &e))
}

/// A token that opens this one once, as Vault Agent writes it.
async fn wrapped(
    token: &Zeroizing<String>,
    ttl: Duration,
    world: &Here,
) -> Result<Zeroizing<String>, Trouble> {
    let call = Call::post("sys/wrapping/wrap", json!({ "token": token.as_str() })).with_token(token.clone());
    wrapping(world.ask(wrapped_for(call, ttl)).await).map_err(|trouble| trouble.during("wrapping the token"))
}
