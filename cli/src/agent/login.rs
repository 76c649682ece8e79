//! Who the agent is, and the token it works with.
//!
//! `method` is what a configuration names, `proofs` what lies in files, `exchange` what the server is asked, `held` a token
//! and its life, `drawer` where one survives a restart.

mod drawer;
mod exchange;
mod held;
mod method;
mod proofs;

use std::{path::PathBuf, rc::Rc, time::Duration};

use serde_json::json;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use drawer::Drawer;
use exchange::{auth, login_call, look_up};
use held::Held;
use proofs::Proofs;

pub(crate) use exchange::{envelope, wrapped_for, wrapping};
pub(crate) use method::{AfterReading, Method, Proof, SecretId};

use super::{
    disk::Disk,
    log::Level,
    moment::Moment,
    world::{Cause, Trouble, World},
};
use crate::{call::Call, client::Reply, refused::Refused};

/// A token that has no end is looked at this often, in case it is replaced.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A token that the server has refused is looked at no sooner than this after the last time, and no later than that.
const DOUBT_AGAIN: Duration = Duration::from_secs(1);
const DOUBT_AGAIN_MAX: Duration = Duration::from_secs(300);
/// A file that proves who the agent is, and is not there, is looked for this often.
pub(super) const LACKING_AGAIN: Duration = Duration::from_secs(5);

/// One identity and its token.
pub(crate) struct Identity {
    method: Method,
    mount: String,
    proofs: Proofs,
    token: Option<Held>,
    drawer: Option<Drawer>,
    /// Whether people were told that a file is lacking.
    told: bool,
    /// Whether the last login failed.
    failing: bool,
    /// Why there was no token when one was last sought.
    trouble: Option<Trouble>,
    /// Rings when there is a token again, after there was none.
    pub(crate) back: Rc<Notify>,
    /// Rings when the token is another.
    pub(crate) fresh: Rc<Notify>,
    /// Logins that succeeded and failed.
    pub(crate) logins: (u64, u64),
    doubts: Doubts,
}

/// When the token may be doubted again, and how long the last wait was.
#[derive(Default)]
struct Doubts {
    again: Moment,
    wait: Duration,
}

impl Identity {
    pub(crate) fn new(method: Method, mount: String, disk: Rc<dyn Disk>) -> Identity {
        Identity {
            method,
            mount,
            proofs: Proofs::new(disk),
            token: None,
            drawer: None,
            told: false,
            failing: false,
            trouble: None,
            back: Rc::default(),
            fresh: Rc::default(),
            logins: (0, 0),
            doubts: Doubts::default(),
        }
    }

    /// The file without which there is no login.
    pub(crate) fn lacks(&self) -> Option<PathBuf> {
        self.proofs.lacks.clone()
    }

    /// A token that is good now: the one held, renewed if its end is near, or a new one; the one of the last run if there
    /// is nothing to log in with. What cannot be renewed or replaced at the moment is good to its end.
    pub(crate) async fn token(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        let tried = self.tried(world).await;
        tried.or_else(|trouble| self.still_good(world).ok_or(trouble))
    }

    /// The same for whoever asks through the agent. While renewing and logging in fail, only the agent itself tries again, at
    /// its own pace: others would try at each request, and lock the account.
    pub(crate) async fn lent(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        match &self.trouble {
            None => self.token(world).await,
            Some(trouble) => self.still_good(world).ok_or_else(|| trouble.clone()),
        }
    }

    /// Logs in again if the server does not know this token any more: somebody has revoked it, or has put an older store in its
    /// place. Whether there is another token now. Whoever makes it doubt again and again makes it wait longer and longer.
    pub(crate) async fn replace_if_dead(&mut self, text: &Zeroizing<String>, world: &impl World) -> bool {
        if self.token.as_ref().is_none_or(|held| held.text != *text) {
            return self.token.is_some();
        }
        let now = world.now();
        if now < self.doubts.again {
            return false;
        }
        let is_calm = now.since(self.doubts.again) > self.doubts.wait;
        let longer = if is_calm { DOUBT_AGAIN } else { (self.doubts.wait * 2).min(DOUBT_AGAIN_MAX) };
        self.doubts = Doubts { again: now.plus(longer), wait: longer };
        match look_up(world, text.clone()).await {
            Err(trouble) if trouble.denied() => {}
            _ => return false,
        }
        world.log(Level::Warn, "the server does not know the agent's token any more: logging in again");
        self.forget();
        self.tried(world).await.is_ok()
    }

    fn still_good(&self, world: &impl World) -> Option<Zeroizing<String>> {
        let held = self.token.as_ref().filter(|held| !held.over(world.now()))?;
        Some(held.text.clone())
    }

    async fn tried(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        let found = self.found(world).await;
        self.trouble = found.as_ref().err().cloned();
        found
    }

    async fn found(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        let trouble = match self.sought(world).await {
            Err(trouble) if trouble.cause == Cause::Unproven => trouble,
            other => {
                self.proofs.lacks = None;
                return other;
            }
        };
        // The token held is good to its end, and so is the one of the last run.
        if let Some(text) = self.still_good(world) {
            return Ok(text);
        }
        if let Some(text) = self.resumed(world).await? {
            return Ok(text);
        }
        // Whoever has no proof has not asked the server, and what is kept for outages is for outages only.
        match world.ask(Call::get("sys/health")).await.map_err(Trouble::from) {
            Err(down) if down.lost() => Err(down.during(&trouble.text)),
            _ => Err(trouble),
        }
    }

    async fn sought(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        if let Some(text) = self.given()?
            && self.token.as_ref().is_none_or(|held| held.text != text)
        {
            self.token = Some(look_up(world, text).await?);
        }
        let near = self.token.as_ref().map(|held| held.renewal(0.0) <= world.now());
        match near {
            Some(false) => {}
            Some(true) if self.renew(world).await? => {}
            Some(true) | None => self.log_in(world).await?,
        }
        let held = self.token.as_ref().map(|held| held.text.clone());
        held.ok_or_else(|| Trouble::new(Cause::Wrong, "the login gave no token"))
    }

    /// The token that somebody else gave.
    fn given(&mut self) -> Result<Option<Zeroizing<String>>, Trouble> {
        match self.method.clone() {
            Method::Given(text) => Ok(Some(text)),
            Method::TokenFile { path } => self.proofs.read(&path).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes a token as its own.
    fn hold(&mut self, held: Held, world: &impl World) {
        self.put_by(&held, world);
        if self.token.as_ref().is_none_or(|before| before.text != held.text) {
            self.fresh.notify_one();
        }
        self.token = Some(held);
        if std::mem::take(&mut self.failing) {
            self.back.notify_one();
        }
    }

    /// The token held, whether it still is good or not.
    pub(crate) fn held(&self) -> Option<Zeroizing<String>> {
        self.token.as_ref().map(|held| held.text.clone())
    }

    /// Drops a token that the server did not accept.
    pub(crate) fn forget(&mut self) {
        self.token = None;
    }

    /// Keeps the token alive; when to come again.
    pub(crate) async fn keep(&mut self, world: &impl World) -> Result<Moment, Trouble> {
        self.tried(world).await?;
        let chance = world.chance();
        let now = world.now();
        let again = self.token.as_ref().map_or(now, |held| held.renewal(chance)).min(now.plus(LOOK_AGAIN));
        let Some(lacks) = &self.proofs.lacks else {
            self.told = false;
            return Ok(again);
        };
        if !std::mem::replace(&mut self.told, true) {
            let end = self.token.as_ref().and_then(|held| held.until);
            let end = end.map_or(String::new(), |end| format!("; the token held ends at {end}"));
            let line = format!("there is nothing to log in with: put {} there{end}", lacks.display());
            world.log(Level::Warn, &line);
        }
        Ok(again.max(now.plus(LACKING_AGAIN)))
    }

    /// Renews the token held. `false` if it cannot live on and a login must replace it.
    async fn renew(&mut self, world: &impl World) -> Result<bool, Trouble> {
        let Some(held) = &self.token else { return Ok(false) };
        let (old, over) = (held.text.clone(), held.over(world.now()));
        if over || !held.renewable {
            return self.without_renewal(over);
        }
        let call = Call::post("auth/token/renew-self", json!({})).with_token(old.clone());
        match auth(world.ask(call).await) {
            Ok(auth) => {
                let renewed = Held::new(&auth, world.now());
                let (was, is) = (held.length, renewed.length);
                self.hold(renewed, world);
                // Near its last end a token is renewed to less and less: a login is better than a race to zero.
                Ok(is >= was / 2 || matches!(self.method, Method::TokenFile { .. }))
            }
            Err(trouble) if trouble.denied() || trouble.cause == Cause::Refused(400) => {
                self.token = None;
                Ok(false)
            }
            Err(trouble) => Err(trouble.during("renewing the token")),
        }
    }

    /// A file's token is used to its end, as nothing else can take its place.
    fn without_renewal(&self, over: bool) -> Result<bool, Trouble> {
        match &self.method {
            Method::TokenFile { path } if over => Err(Trouble::new(
                Cause::Wrong,
                format!("the token in {} has ended; put a new one there", path.display()),
            )),
            Method::TokenFile { .. } | Method::Given(_) => Ok(true),
            _ => Ok(false),
        }
    }

    async fn log_in(&mut self, world: &impl World) -> Result<(), Trouble> {
        let auth = self.prove(world, |call| call, auth).await?;
        self.hold(Held::new(&auth, world.now()), world);
        self.proofs.take_away(world);
        Ok(())
    }

    /// Logs in for whoever opens the answer, which the server wraps: the agent never has the token. What opens it.
    pub(crate) async fn log_in_wrapped(
        &mut self,
        ttl: Duration,
        world: &impl World,
    ) -> Result<Zeroizing<String>, Trouble> {
        let text = self.prove(world, |call| wrapped_for(call, ttl), wrapping).await;
        match text {
            Ok(text) => {
                self.proofs.lacks = None;
                self.proofs.take_away(world);
                Ok(text)
            }
            Err(trouble) => {
                if trouble.cause != Cause::Unproven {
                    self.proofs.lacks = None;
                }
                Err(trouble)
            }
        }
    }

    /// Shows the server who the agent is, and reads what it says to that.
    async fn prove<T>(
        &mut self,
        world: &impl World,
        dressed: impl FnOnce(Call) -> Call,
        read: impl FnOnce(Result<Reply, Refused>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.proofs.begin();
        let call = login_call((self.method.clone(), &self.mount), &mut self.proofs, world).await;
        let answer = match call {
            Ok(call) => read(world.ask(dressed(call)).await),
            Err(trouble) => Err(trouble),
        };
        match answer {
            Ok(said) => {
                self.logins.0 += 1;
                Ok(said)
            }
            Err(trouble) => {
                self.logins.1 += 1;
                self.failing = true;
                Err(self.proofs.outlived(trouble, world.now()).at_login())
            }
        }
    }
}
