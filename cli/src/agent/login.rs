//! Who the agent is, and the token it works with.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{
    cache::Cache,
    disk::{self, Disk},
    moment::Moment,
    world::{Cause, Trouble, World},
};
use crate::{
    call::Call,
    client::Reply,
    secret::{Auth, Secret},
};

/// A token is renewed when this share of its life is left.
const RENEW_SHARE_LEFT: u32 = 3;
/// Renewals of tokens are spread over this share of their life.
const SPREAD_SHARE: f64 = 0.1;
/// A token that has no end is looked at this often, in case it is replaced.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A file that proves who the agent is, and is not there, is looked for this often.
pub(super) const LACKING_AGAIN: Duration = Duration::from_secs(5);

/// A proof from memory that was refused is not shown again before this: who does that often is locked out.
const REFUSED_AGAIN: Duration = Duration::from_secs(20 * 60);

/// How the agent proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A token that is at hand, for a single run.
    Given(Zeroizing<String>),
    /// Somebody else's token, in a file.
    TokenFile {
        path: PathBuf,
    },
    Approle {
        role_id: PathBuf,
        secret_id: Option<SecretId>,
    },
    /// A statement signed by someone else, in a file: jwt and kubernetes.
    Jwt {
        role: String,
        proof: Proof,
    },
    /// The client certificate of the connection.
    Cert {
        role: Option<String>,
    },
    /// A name and a password in a file: userpass and ldap.
    Password {
        user: String,
        proof: Proof,
    },
}

/// A file that proves who the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) path: PathBuf,
    pub(crate) after_reading: AfterReading,
}

/// Where the secret id lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretId {
    pub(crate) proof: Proof,
    /// The file may hold a wrapping token made at this path; what it wraps then takes its place.
    pub(crate) wrapped_at: Option<String>,
}

/// What happens to a file with a proof once that has served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterReading {
    Keep,
    /// It goes; of a link, the link.
    Remove,
    /// What a link leads to goes.
    RemoveTarget,
}

/// One identity and its token.
pub(crate) struct Identity {
    method: Method,
    mount: String,
    disk: Rc<dyn Disk>,
    token: Option<Held>,
    /// A proof whose file was taken away.
    remembered: Option<Zeroizing<String>>,
    /// The file of a proof that this login has from memory.
    recalled: Option<PathBuf>,
    /// When the proof from memory was refused.
    refused: Option<Moment>,
    /// A file with a proof that goes as soon as it has served.
    spent: Option<Proof>,
    /// Where the token lies for a start at which there is nothing to log in with, and at which server it is good.
    drawer: Option<(Rc<Cache>, String)>,
    /// The file that a login lacked, and whether people were told.
    lacks: Option<PathBuf>,
    told: bool,
    /// Whether the last login failed.
    failing: bool,
    /// Rings when there is a token again, after there was none.
    pub(crate) back: Rc<Notify>,
    /// Rings when the token is another.
    pub(crate) fresh: Rc<Notify>,
    /// Logins that succeeded and failed.
    pub(crate) logins: (u64, u64),
}

struct Held {
    text: Zeroizing<String>,
    /// Its end; nothing for one that has none.
    until: Option<Moment>,
    length: Duration,
    renewable: bool,
}

impl Identity {
    pub(crate) fn new(method: Method, mount: String, disk: Rc<dyn Disk>) -> Identity {
        Identity {
            method,
            mount,
            disk,
            token: None,
            remembered: None,
            recalled: None,
            refused: None,
            spent: None,
            drawer: None,
            lacks: None,
            told: false,
            failing: false,
            back: Rc::default(),
            fresh: Rc::default(),
            logins: (0, 0),
        }
    }

    /// The same, with a place for its token to survive a restart in.
    pub(crate) fn with_drawer(mut self, cache: Rc<Cache>, server: &str) -> Identity {
        self.drawer = Some((cache, server.to_owned()));
        self
    }

    /// The file without which there is no login.
    pub(crate) fn lacks(&self) -> Option<PathBuf> {
        self.lacks.clone()
    }

    /// A token that is good now: the one held, renewed if its end is near, or a new one; the one of the last run if there
    /// is nothing to log in with.
    pub(crate) async fn token(&mut self, world: &impl World) -> Result<Zeroizing<String>, Trouble> {
        let trouble = match self.sought(world).await {
            Err(trouble) if trouble.cause == Cause::Unproven => trouble,
            other => {
                self.lacks = None;
                return other;
            }
        };
        // The token held is good to its end, and so is the one of the last run.
        if let Some(held) =
            self.token.as_ref().filter(|held| held.until.is_none_or(|until| until > world.now()))
        {
            return Ok(held.text.clone());
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
            Method::TokenFile { path } => self.proof(&path).map(Some),
            _ => Ok(None),
        }
    }

    /// What lies in a file that proves who the agent is.
    fn proof(&mut self, path: &Path) -> Result<Zeroizing<String>, Trouble> {
        match disk::read_text(self.disk.as_ref(), path) {
            Ok(text) => Ok(text),
            Err(_) if self.is_gone(path) => {
                self.lacks = Some(path.to_owned());
                let why =
                    format!("there is nothing to log in with: {} is not there; put it there", path.display());
                Err(Trouble::new(Cause::Unproven, why))
            }
            Err(why) => Err(Trouble::new(Cause::Wrong, why)),
        }
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.disk.read(path).is_err_and(|e| e.kind() == ErrorKind::NotFound)
    }

    /// The token of the last run, if the server still knows it.
    async fn resumed(&mut self, world: &impl World) -> Result<Option<Zeroizing<String>>, Trouble> {
        let Some((cache, name)) = self.shelf_mark() else { return Ok(None) };
        let Some(kept) = cache.token(&name) else { return Ok(None) };
        match look_up(world, kept).await {
            Ok(held) => {
                world.log("the agent goes on with the token of its last run");
                let text = held.text.clone();
                self.hold(held, world);
                Ok(Some(text))
            }
            Err(trouble) if trouble.denied() => {
                cache.drop_token(&name);
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Where the token of exactly this identity is kept; who brings a token has none to keep.
    fn shelf_mark(&self) -> Option<(Rc<Cache>, String)> {
        let (cache, server) = self.drawer.as_ref()?;
        let role = match &self.method {
            Method::Given(_) | Method::TokenFile { .. } => return None,
            Method::Approle { role_id, .. } => disk::read_text(self.disk.as_ref(), role_id).ok()?,
            _ => Zeroizing::default(),
        };
        let name = format!("token {server} {} {:?} {}", self.mount, self.method, role.as_str());
        Some((Rc::clone(cache), name))
    }

    /// Takes a token as its own.
    fn hold(&mut self, held: Held, world: &impl World) {
        if let Some((cache, name)) = self.shelf_mark()
            && let Err(why) = cache.keep_token(&name, &held.text, world.now())
        {
            world.log(&format!("the token cannot be kept for the next start: {why}"));
        }
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
        self.token(world).await?;
        let chance = world.chance();
        let now = world.now();
        let again = self.token.as_ref().map_or(now, |held| held.renewal(chance)).min(now.plus(LOOK_AGAIN));
        let Some(lacks) = &self.lacks else {
            self.told = false;
            return Ok(again);
        };
        if !std::mem::replace(&mut self.told, true) {
            let end = self.token.as_ref().and_then(|held| held.until);
            let end = end.map_or(String::new(), |end| format!("; the token held ends at {end}"));
            world.log(&format!("there is nothing to log in with: put {} there{end}", lacks.display()));
        }
        Ok(again.max(now.plus(LACKING_AGAIN)))
    }

    /// Renews the token held. `false` if it cannot live on and a login must replace it.
    async fn renew(&mut self, world: &impl World) -> Result<bool, Trouble> {
        let Some(held) = &self.token else { return Ok(false) };
        let (old, over) = (held.text.clone(), held.until.is_some_and(|until| until <= world.now()));
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
        (self.recalled, self.spent) = (None, None);
        let answer = match self.login_call(world).await {
            Ok(call) => auth(world.ask(call).await),
            Err(trouble) => Err(trouble),
        };
        match answer {
            Ok(auth) => {
                self.logins.0 += 1;
                self.hold(Held::new(&auth, world.now()), world);
                self.take_away(world);
                Ok(())
            }
            Err(trouble) => {
                self.logins.1 += 1;
                self.failing = true;
                Err(self.outlived(trouble, world.now()).at_login())
            }
        }
    }

    /// What a login from memory failed of: a proof that was taken away may have ended since, and then only a new one helps.
    fn outlived(&mut self, trouble: Trouble, now: Moment) -> Trouble {
        match self.recalled.take() {
            Some(path) if matches!(trouble.cause, Cause::Refused(400..=403)) => {
                self.refused = Some(now);
                self.served_its_time(&path).during(&trouble.text)
            }
            _ => trouble,
        }
    }

    fn served_its_time(&mut self, path: &Path) -> Trouble {
        self.lacks = Some(path.to_owned());
        let why = format!("what was in {} has served its time: put a new one there", path.display());
        Trouble::new(Cause::Unproven, why)
    }

    /// Removes the file with the proof that has served.
    fn take_away(&mut self, world: &impl World) {
        let Some(Proof { path, after_reading }) = self.spent.take() else { return };
        let path = match after_reading {
            AfterReading::RemoveTarget => path.canonicalize().unwrap_or(path),
            AfterReading::Remove | AfterReading::Keep => path,
        };
        if let Err(e) = self.disk.remove(&path) {
            world.log(&format!(
                "{} cannot be taken away after its use: {e}; remove it yourself",
                path.display()
            ));
        }
    }

    async fn login_call(&mut self, world: &impl World) -> Result<Call, Trouble> {
        let path = format!("auth/{}/login", self.mount);
        let body = match self.method.clone() {
            Method::Given(_) => {
                return Err(Trouble::new(Cause::Refused(403), "the token is not accepted"));
            }
            Method::TokenFile { path } => {
                let why = format!("the token in {} is not accepted; put a new one there", path.display());
                return Err(Trouble::new(Cause::Refused(403), why));
            }
            Method::Approle { role_id, secret_id } => {
                let role = self.proof(&role_id)?;
                match secret_id {
                    None => json!({ "role_id": role.as_str() }),
                    Some(secret) => {
                        let secret = self.secret_id(world, &secret).await?;
                        json!({ "role_id": role.as_str(), "secret_id": secret.as_str() })
                    }
                }
            }
            Method::Jwt { role, proof } => {
                json!({ "role": role, "jwt": self.kept_proof(&proof, world.now())?.as_str() })
            }
            Method::Cert { role } => json!({ "name": role }),
            Method::Password { user, proof } => {
                let body = json!({ "password": self.kept_proof(&proof, world.now())?.as_str() });
                return Ok(Call::post(format!("{path}/{user}"), body));
            }
        };
        Ok(Call::post(path, body))
    }

    async fn secret_id(&mut self, world: &impl World, at: &SecretId) -> Result<Zeroizing<String>, Trouble> {
        let text = self.kept_proof(&at.proof, world.now())?;
        match &at.wrapped_at {
            // A secret id has no dot, every wrapping token has: what was unwrapped before lies there as it is.
            Some(made_at) if text.contains('.') => {
                let secret = unwrap(world, text, made_at).await?;
                // It opens only once: until the login has succeeded, what was in it is kept in its place.
                disk::replace(self.disk.as_ref(), &at.proof.path, secret.as_bytes(), 0o600)
                    .map_err(|e| Trouble::disk("the unwrapped secret id cannot be kept", &e))?;
                self.remember(&at.proof, &secret);
                Ok(secret)
            }
            _ => Ok(text),
        }
    }

    /// What lies in a file with a proof; what lay there, once it was taken away as the configuration wants it.
    fn kept_proof(&mut self, proof: &Proof, now: Moment) -> Result<Zeroizing<String>, Trouble> {
        if let Some(known) = &self.remembered
            && self.is_gone(&proof.path)
        {
            if self.refused.is_some_and(|at| now < at.plus(REFUSED_AGAIN)) {
                return Err(self.served_its_time(&proof.path));
            }
            self.recalled = Some(proof.path.clone());
            return Ok(known.clone());
        }
        self.refused = None;
        let text = self.proof(&proof.path)?;
        self.remember(proof, &text);
        Ok(text)
    }

    fn remember(&mut self, proof: &Proof, text: &Zeroizing<String>) {
        if proof.after_reading != AfterReading::Keep {
            self.spent = Some(proof.clone());
            self.remembered = Some(text.clone());
        }
    }
}

impl Held {
    fn new(auth: &Auth, now: Moment) -> Held {
        let length = Duration::from_secs(u64::try_from(auth.lease_duration).unwrap_or(0));
        Held {
            text: Zeroizing::new(auth.client_token.clone()),
            until: (!length.is_zero()).then(|| now.plus(length)),
            length,
            renewable: auth.renewable,
        }
    }

    /// When to renew it.
    fn renewal(&self, chance: f64) -> Moment {
        match self.until {
            None => Moment::from_millis(i64::MAX),
            Some(until) => {
                until.minus(self.length / RENEW_SHARE_LEFT).minus(self.length.mul_f64(SPREAD_SHARE * chance))
            }
        }
    }
}

/// What the server knows of a token from a file.
async fn look_up(world: &impl World, text: Zeroizing<String>) -> Result<Held, Trouble> {
    let reply = world.ask(Call::get("auth/token/lookup-self").with_token(text.clone())).await;
    let reply = reply.map_err(|refused| Trouble::from(refused).during("looking up the token"))?;
    let secret = envelope(&reply)?;
    let seconds = secret.field("ttl").and_then(Value::as_i64).unwrap_or(0);
    let renewable = secret.field("renewable").and_then(Value::as_bool).unwrap_or(false);
    let auth = Auth { client_token: text.to_string(), lease_duration: seconds, renewable, ..Auth::default() };
    Ok(Held::new(&auth, world.now()))
}

/// Opens a wrapped secret id, but only one that was wrapped where it should be: anyone can wrap anything.
async fn unwrap(
    world: &impl World,
    wrapping: Zeroizing<String>,
    made_at: &str,
) -> Result<Zeroizing<String>, Trouble> {
    let body = json!({ "token": wrapping.as_str() });
    let seen = world.ask(Call::post("sys/wrapping/lookup", body)).await.map_err(|refused| {
        Trouble::from(refused)
            .during("the wrapped secret id is not there any more: somebody may have opened it")
    })?;
    let seen = envelope(&seen)?;
    let path = seen.text("creation_path").unwrap_or_default();
    if path != made_at {
        let why =
            format!("the secret id was wrapped at {path:?}, not at {made_at:?}: somebody has replaced it");
        return Err(Trouble::new(Cause::Wrong, why));
    }
    let opened = world.ask(Call::post("sys/wrapping/unwrap", json!({})).with_token(wrapping)).await;
    let opened =
        envelope(&opened.map_err(|refused| Trouble::from(refused).during("unwrapping the secret id"))?)?;
    let secret = opened.text("secret_id").map(|text| Zeroizing::new(text.to_owned()));
    secret.ok_or_else(|| Trouble::new(Cause::Wrong, "what was wrapped holds no secret id"))
}

fn auth(answer: Result<Reply, crate::refused::Refused>) -> Result<Auth, Trouble> {
    let secret = envelope(&answer.map_err(Trouble::from)?)?;
    let auth = secret.auth.filter(|auth| !auth.client_token.is_empty());
    auth.ok_or_else(|| {
        Trouble::new(
            Cause::Wrong,
            "the answer holds no token; a login that wants a second factor is not for agents",
        )
    })
}

/// The envelope of an answer.
pub(crate) fn envelope(reply: &Reply) -> Result<Secret, Trouble> {
    let secret = reply.secret().map_err(Trouble::from)?;
    secret.ok_or_else(|| Trouble::new(Cause::Wrong, "the server's answer is empty"))
}
