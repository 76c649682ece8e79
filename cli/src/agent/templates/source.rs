//! Asking the server what a template asks, and how long the answer is good.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc, time::Duration};

use serde_json::{Map, Value as Json, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    query::Query,
    sandbox::{self, Sandbox},
};
use crate::{
    agent::{
        login::{Identity, envelope},
        moment::Moment,
        world::{Cause, Trouble, World},
    },
    call::Call,
    client::Reply,
    pem,
    refused::Refused,
    secret::{Auth, Secret},
};

/// A certificate, a lease and a token are replaced or renewed when this share of their life is over.
const RENEW_SHARE: f64 = 2.0 / 3.0;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
/// Agents that were started together do not come back together: each comes earlier by up to this share.
const SPREAD_SHARE: f64 = 0.05;
/// A file is looked at this often.
const FILE_AGAIN: Duration = Duration::from_secs(5);

/// How often what was said is looked at again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Habit {
    /// What has no lease, after this.
    pub(crate) interval: Duration,
    /// What has a lease that cannot be renewed, when this share of it is over.
    pub(crate) lease_share: f64,
}

impl Default for Habit {
    fn default() -> Habit {
        Habit { interval: INTERVAL_DEFAULT, lease_share: RENEW_SHARE }
    }
}

/// What the server said.
#[derive(Clone)]
pub(crate) struct Answer {
    /// In the words that templates use: `Data`, `LeaseID` and so on.
    pub(crate) json: Json,
    pub(crate) life: Life,
}

/// How long an answer is good.
#[derive(Clone)]
pub(crate) enum Life {
    /// Until it is looked at again.
    Static,
    File,
    /// Until this moment, when it is asked for anew.
    Until(Moment),
    /// A lease, renewed while that can be done.
    Lease {
        id: String,
        renewable: bool,
        length: Duration,
    },
    /// A token that was made for the template.
    Token {
        text: Zeroizing<String>,
        renewable: bool,
        length: Duration,
    },
}

impl Life {
    /// When to see to it.
    pub(crate) fn due(&self, now: Moment, habit: Habit, chance: f64) -> Moment {
        let early = |span: Duration| now.plus(span.mul_f64(1.0 - SPREAD_SHARE * chance));
        match self {
            Life::Static => early(habit.interval),
            Life::File => now.plus(FILE_AGAIN.min(habit.interval)),
            Life::Until(moment) => *moment,
            Life::Lease { length, renewable: false, .. } => early(length.mul_f64(habit.lease_share)),
            Life::Lease { length, .. } | Life::Token { length, .. } => early(length.mul_f64(RENEW_SHARE)),
        }
    }
}

/// Who asks, and where.
pub(crate) struct Source<W> {
    pub(crate) world: Rc<W>,
    /// Where the agent logs in, which may be another namespace.
    gate: Rc<W>,
    pub(crate) identity: Rc<Mutex<Identity>>,
    /// Paths and the mounts of kv version 2 that they lie in.
    mounts: RefCell<BTreeMap<String, Option<String>>>,
}

impl<W: World> Source<W> {
    pub(crate) fn new(world: Rc<W>, identity: Rc<Mutex<Identity>>, gate: Rc<W>) -> Source<W> {
        Source { world, gate, identity, mounts: RefCell::default() }
    }

    /// Asks with the agent's token, which is replaced if the server does not know it any more.
    pub(crate) async fn ask(&self, call: impl Fn() -> Call) -> Result<Reply, Trouble> {
        let (world, gate) = (self.world.as_ref(), self.gate.as_ref());
        let token = self.identity.lock().await.token(gate).await?;
        let refused = match world.ask(call().with_token(token.clone())).await {
            Ok(reply) => return Ok(reply),
            Err(refused) => refused,
        };
        if !matches!(&refused, Refused::Answer(answer) if matches!(answer.status, 401 | 403)) {
            return Err(trouble(refused));
        }
        // Policies may forbid it, or the token may be gone: it is itself what says which.
        let own = gate.ask(Call::get("auth/token/lookup-self").with_token(token.clone())).await;
        if !own.err().map(Trouble::from).is_some_and(|trouble| trouble.denied()) {
            return Err(trouble(refused));
        }
        let token = {
            let mut identity = self.identity.lock().await;
            if identity.token(gate).await? == token {
                identity.forget();
            }
            identity.token(gate).await?
        };
        world.ask(call().with_token(token)).await.map_err(trouble)
    }

    /// The answer to a question; `kept` is what lies at the template's destination.
    pub(crate) async fn fetch(&self, query: &Query, kept: Option<&str>) -> Result<Answer, Trouble> {
        match query {
            Query::File(path, sandbox) => file(path, sandbox.as_ref()),
            Query::Read(path) => {
                let (path, wish) = path.split_once('?').unwrap_or((path, ""));
                let real = self.kv(path, "data").await?;
                let ask = || {
                    let pairs = wish.split('&').filter_map(|pair| pair.split_once('='));
                    pairs.fold(Call::get(&real), |call, (key, value)| call.query(key, value))
                };
                self.secret(path, self.ask(ask).await)
            }
            Query::Write(path, body) => self.secret(path, self.ask(|| Call::put(path, json!(body))).await),
            Query::List(path) => {
                let real = self.kv(path, "metadata").await?;
                let reply = match self.ask(|| Call::list(&real)).await {
                    Err(trouble) if trouble.cause == Cause::Refused(404) => return Err(nothing(path)),
                    other => other?,
                };
                let secret = envelope(&reply)?;
                let keys = secret.keys().cloned().ok_or_else(|| nothing(path))?;
                Ok(Answer { json: Json::Array(keys), life: Life::Static })
            }
            Query::Certificate(path, body) => {
                let now = self.world.now();
                if let Some(kept) = kept.and_then(|text| kept_pair(text, now)) {
                    return Ok(kept);
                }
                let reply = self.ask(|| Call::put(path, json!(body))).await?;
                let secret = envelope(&reply)?;
                let chain: Vec<String> = match secret.field("ca_chain") {
                    Some(Json::Array(chain)) => chain.iter().filter_map(Json::as_str).map(closed).collect(),
                    _ => Vec::new(),
                };
                let part = |name: &str| secret.text(name).map(closed).unwrap_or_default();
                let (leaf, key, ca) = (part("certificate"), part("private_key"), part("issuing_ca"));
                if leaf.is_empty() || key.is_empty() {
                    return Err(Trouble::new(
                        Cause::Wrong,
                        format!("{path} gave no certificate with its key"),
                    ));
                }
                Ok(pair(&leaf, &key, &ca, chain, certificate_end(&leaf, now)))
            }
        }
    }

    /// Renews what can be renewed. The life that follows, or nothing if it must be asked for anew.
    pub(crate) async fn renew(&self, life: &Life) -> Result<Option<Life>, Trouble> {
        let (answer, was) = match life {
            Life::Lease { id, renewable: true, length } => {
                (self.ask(|| Call::put("sys/leases/renew", json!({ "lease_id": id }))).await, *length)
            }
            Life::Token { text, renewable: true, length } => {
                let call = Call::post("auth/token/renew-self", json!({})).with_token(text.clone());
                (self.world.ask(call).await.map_err(Trouble::from), *length)
            }
            _ => return Ok(None),
        };
        let reply = match answer {
            Ok(reply) => reply,
            Err(trouble) if matches!(trouble.cause, Cause::Refused(400 | 403 | 404)) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let next = life_of(&envelope(&reply)?, self.world.now());
        // Near its last end it is renewed to less and less: a new one is better than a race to zero.
        Ok(match &next {
            Life::Lease { length, .. } | Life::Token { length, .. } if *length >= was / 2 => Some(next),
            _ => None,
        })
    }

    /// Where a path of a kv mount of version 2 really lies.
    async fn kv(&self, path: &str, shelf: &str) -> Result<String, Trouble> {
        let known = self.mounts.borrow().get(path).cloned();
        let mount = match known {
            Some(mount) => mount,
            None => {
                let mount = self.look_up(path).await?;
                self.mounts.borrow_mut().insert(path.to_owned(), mount.clone());
                mount
            }
        };
        let Some(mount) = mount else { return Ok(path.to_owned()) };
        let inner = path.strip_prefix(&mount).or_else(|| path.strip_prefix(mount.trim_end_matches('/')));
        Ok(match inner {
            Some(inner) if inner.starts_with("data/") || inner.starts_with("metadata/") => path.to_owned(),
            Some("data" | "metadata") => path.to_owned(),
            Some(inner) => format!("{mount}{shelf}/{}", inner.trim_start_matches('/')),
            None => path.to_owned(),
        })
    }

    async fn look_up(&self, path: &str) -> Result<Option<String>, Trouble> {
        let reply = match self.ask(|| Call::get(format!("sys/internal/ui/mounts/{path}"))).await {
            Ok(reply) => reply,
            // Whoever may not look takes the path as it is written.
            Err(trouble) if matches!(trouble.cause, Cause::Refused(400..500)) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let secret = envelope(&reply)?;
        let version =
            secret.field("options").and_then(|options| options.get("version")).and_then(Json::as_str);
        Ok(secret.text("path").filter(|_| version == Some("2")).map(str::to_owned))
    }

    fn secret(&self, path: &str, answer: Result<Reply, Trouble>) -> Result<Answer, Trouble> {
        let reply = match answer {
            Err(trouble) if trouble.cause == Cause::Refused(404) => return Err(nothing(path)),
            other => other?,
        };
        let secret = reply.secret().map_err(Trouble::from)?.unwrap_or_default();
        let life = life_of(&secret, self.world.now());
        Ok(Answer { json: go(secret), life })
    }
}

fn trouble(refused: Refused) -> Trouble {
    Trouble::from(refused)
}

fn nothing(path: &str) -> Trouble {
    Trouble::new(Cause::Refused(404), format!("no secret exists at {path}"))
}

fn file(path: &Path, sandbox: Option<&Sandbox>) -> Result<Answer, Trouble> {
    let read = sandbox.map_or_else(|| sandbox::read(path), |sandbox| sandbox.read(path));
    let text = read.map_err(|e| Trouble::disk(&format!("{} cannot be read", path.display()), &e))?;
    Ok(Answer { json: Json::String(text), life: Life::File })
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn life_of(secret: &Secret, now: Moment) -> Life {
    let length = seconds(secret.lease_duration.unwrap_or(0));
    let number = |key: &str| secret.field(key).and_then(Json::as_i64);
    if let Some(Auth { client_token, lease_duration, renewable, .. }) = &secret.auth {
        let length = seconds(*lease_duration);
        let text = Zeroizing::new(client_token.clone());
        return if length.is_zero() {
            Life::Static
        } else {
            Life::Token { text, renewable: *renewable, length }
        };
    }
    if let Some(id) = secret.lease_id.as_ref().filter(|id| !id.is_empty() && !length.is_zero()) {
        let renewable = secret.renewable.unwrap_or(false);
        return Life::Lease { id: id.clone(), renewable, length };
    }
    if let Some(wrap) = secret.wrap_info.as_ref().filter(|wrap| wrap.ttl > 0) {
        return Life::Until(now.plus(seconds(wrap.ttl).mul_f64(RENEW_SHARE)));
    }
    if let (Some(ttl), Some(_)) = (number("ttl"), number("rotation_period")) {
        return Life::Until(now.plus(seconds(ttl + 1)));
    }
    // A certificate that came with its key was made for us; others are read.
    if let (Some(leaf), Some(_)) = (secret.text("certificate"), secret.text("private_key")) {
        return certificate_end(leaf, now);
    }
    Life::Static
}

fn certificate_end(leaf: &str, now: Moment) -> Life {
    match pem::certificate(leaf) {
        Some(cert) => {
            let left = Moment::from_seconds(cert.not_after).since(now);
            Life::Until(now.plus(left.mul_f64(RENEW_SHARE)))
        }
        None => Life::Static,
    }
}

/// A certificate with its key that lies at the destination and is still young enough.
fn kept_pair(text: &str, now: Moment) -> Option<Answer> {
    let blocks = blocks(text);
    let mut certificates = blocks.iter().filter(|block| block.contains("BEGIN CERTIFICATE"));
    let (leaf, ca) = (certificates.next()?, certificates.next());
    let key = blocks.iter().find(|block| block.contains("PRIVATE KEY"))?;
    let found = pem::certificate(leaf)?;
    let (from, to) = (Moment::from_seconds(found.not_before), Moment::from_seconds(found.not_after));
    let renewal = from.plus(to.since(from).mul_f64(RENEW_SHARE));
    let chain = ca.into_iter().cloned().collect();
    let answer = pair(leaf, key, ca.map_or("", String::as_str), chain, Life::Until(renewal));
    (renewal > now).then_some(answer)
}

/// Every block of PEM in a text, with a newline at its end.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("-----BEGIN ") {
            block = Some(String::new());
        }
        if let Some(open) = &mut block {
            open.push_str(line);
            open.push('\n');
        }
        if line.starts_with("-----END ") {
            found.extend(block.take());
        }
    }
    found
}

fn closed(pem: &str) -> String {
    if pem.trim().is_empty() { String::new() } else { format!("{}\n", pem.trim()) }
}

fn pair(leaf: &str, key: &str, ca: &str, chain: Vec<String>, life: Life) -> Answer {
    let mut json = json!({ "Cert": leaf, "Key": key, "CA": ca, "CAChain": chain });
    let inner = json.clone();
    if let Some(fields) = json.as_object_mut() {
        fields.insert("Data".to_owned(), inner);
    }
    Answer { json, life }
}

/// The envelope in the words of Go's client, which templates use.
fn go(secret: Secret) -> Json {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Json| drop(fields.insert(key.to_owned(), value));
    put("RequestID", json!(secret.request_id.unwrap_or_default()));
    put("LeaseID", json!(secret.lease_id.unwrap_or_default()));
    put("LeaseDuration", json!(secret.lease_duration.unwrap_or_default()));
    put("Renewable", json!(secret.renewable.unwrap_or_default()));
    put("Data", secret.data.unwrap_or(Json::Null));
    put("Warnings", json!(secret.warnings.unwrap_or_default()));
    put(
        "Auth",
        secret.auth.map_or(Json::Null, |auth| {
            json!({
                "ClientToken": auth.client_token,
                "Accessor": auth.accessor,
                "Policies": auth.policies,
                "TokenPolicies": auth.token_policies,
                "IdentityPolicies": auth.identity_policies,
                "Metadata": auth.metadata,
                "Orphan": auth.orphan,
                "EntityID": auth.entity_id,
                "LeaseDuration": auth.lease_duration,
                "Renewable": auth.renewable,
            })
        }),
    );
    put(
        "WrapInfo",
        secret.wrap_info.map_or(Json::Null, |wrap| {
            json!({
                "Token": wrap.token,
                "Accessor": wrap.accessor,
                "TTL": wrap.ttl,
                "CreationTime": wrap.creation_time,
                "CreationPath": wrap.creation_path,
                "WrappedAccessor": wrap.wrapped_accessor,
            })
        }),
    );
    Json::Object(fields)
}

/// Whether two answers say the same.
pub(crate) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| key == "RequestID" || b.get(key).is_some_and(|other| other == value))
        }
        _ => a == b,
    }
}
