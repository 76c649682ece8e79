//! Logging in for somebody else, as `wrap_ttl` of a method has it: the answer of the server is wrapped, what opens it goes to
//! a sink as it is, and the agent never has the token. It rests then, as Vault Agent does.

use std::{rc::Rc, time::Duration};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    bell::Bell,
    config::{Exits, Pacing, Sink},
    here::Here,
    ledger::Ledger,
    log::Level,
    login::Identity,
    repeats::Repeats,
    run::{Once, sleep_until},
    sinks::{self, ONCE_TRIES},
    world::{Trouble, World},
};

/// Hands over one login. `true` if a single run has it in its sink.
pub(super) async fn hand_over(
    identity: Rc<Mutex<Identity>>,
    (sink, ttl, pacing): (Sink, Duration, Pacing),
    world: Rc<Here>,
    ledger: Rc<Ledger>,
    (once, bell): (Once, Bell),
) -> bool {
    let mut wrapped = None::<Zeroizing<String>>;
    let (mut failures, mut repeats) = (0_u32, Repeats::default());
    loop {
        let mut held = identity.lock().await;
        let done = step(&mut held, &mut wrapped, &sink, ttl, &world).await;
        ledger.logins(held.logins.0, held.logins.1);
        let lacks = held.lacks();
        drop(held);
        let trouble = match done {
            Ok(()) => break,
            Err(trouble) => trouble,
        };
        if repeats.is_news(&trouble.text, world.now()) {
            let what = match wrapped {
                None => "the token".to_owned(),
                Some(_) => format!("the sink {}", sink.path.display()),
            };
            world.log(Level::Warn, &format!("{what}: {}", trouble.advised()));
        }
        if pacing.exits == Exits::OnFailure && wrapped.is_none() {
            bell.end(crate::stop::LOCAL);
            return false;
        }
        failures = failures.saturating_add(1);
        if once == Once::Yes && failures >= ONCE_TRIES {
            return false;
        }
        let next = world.now().plus(sinks::pause(pacing, failures, &trouble));
        tokio::select! {
            () = sleep_until(&world, next) => {}
            () = sinks::appears(lacks) => {}
        }
    }
    let line = format!(
        "logged in; what opens the token lies in {}, for {} s: the agent itself does not have it, and does not renew it",
        sink.path.display(),
        ttl.as_secs()
    );
    world.log(Level::Info, &line);
    if once == Once::Yes { true } else { std::future::pending().await }
}

/// Logs in, unless that is done, and writes the sink. A secret id may be good for one login, so that is not done twice.
async fn step(
    identity: &mut Identity,
    wrapped: &mut Option<Zeroizing<String>>,
    sink: &Sink,
    ttl: Duration,
    world: &Here,
) -> Result<(), Trouble> {
    let text = match wrapped {
        Some(text) => text,
        None => wrapped.insert(identity.log_in_wrapped(ttl, world).await?),
    };
    sinks::put(sink, text)
}
