//! Answers that hold a lease or a token: the same request with the same token gets the same answer while that lives.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    agent::{here::Here, login::envelope, moment::Moment, world::World},
    call::Call,
    secret::Secret,
};

/// A lease is renewed when this share of its life is over.
const RENEW_SHARE: f64 = 2.0 / 3.0;
/// Agents that were started together do not renew together.
const SPREAD_SHARE: f64 = 0.05;
/// What lives shorter than this is not worth keeping.
const LIFE_MIN: Duration = Duration::from_secs(2);
/// So many answers are kept; further ones pass through.
const ANSWERS_MAX: usize = 10_000;

/// What stands for a request.
pub(super) type Key = [u8; 32];

/// All that is kept.
#[derive(Default)]
pub(super) struct Memory {
    kept: RefCell<HashMap<Key, Rc<Kept>>>,
    turns: RefCell<HashMap<Key, Weak<Mutex<()>>>>,
}

/// One answer.
pub(super) struct Kept {
    pub(super) status: http::StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
    pub(super) at: Moment,
    /// Its namespace and its path, as the server reads them.
    whole: String,
    namespace: String,
    /// Who asked.
    asker: Zeroizing<String>,
    what: What,
}

enum What {
    Lease(String),
    Token { text: Zeroizing<String>, accessor: String },
}

/// What a request is, as far as the memory minds.
pub(super) struct Asked<'a> {
    pub(super) key: Key,
    pub(super) path: &'a str,
    pub(super) namespace: &'a str,
    pub(super) token: &'a str,
}

/// The key of a request.
pub(super) fn key(parts: &[&[u8]]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut key = [0; 32];
    key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    key
}

impl Memory {
    /// What is kept for a request.
    pub(super) fn find(&self, key: &Key) -> Option<Rc<Kept>> {
        self.kept.borrow().get(key).cloned()
    }

    /// Requests that are the same wait for each other, so that only the first reaches the server.
    pub(super) fn turn(&self, key: Key) -> Rc<Mutex<()>> {
        let mut turns = self.turns.borrow_mut();
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Rc::new(Mutex::new(()));
        turns.insert(key, Rc::downgrade(&turn));
        turn
    }

    /// Keeps an answer if it holds something that lives and can be renewed, for a token that the agent knows.
    pub(super) fn keep(
        self: &Rc<Self>,
        asked: &Asked<'_>,
        (parts, body): (&http::response::Parts, &Bytes),
        own: Option<&str>,
        world: &Rc<Here>,
    ) {
        let Ok(Some(secret)) = Secret::parse(body) else { return };
        let managed = own == Some(asked.token) || self.made(asked.token);
        let Some((what, life)) = what(&secret).filter(|(what, life)| {
            let orphan =
                matches!(what, What::Token { .. }) && secret.auth.as_ref().is_some_and(|auth| auth.orphan);
            (managed || orphan) && *life >= LIFE_MIN
        }) else {
            return;
        };
        if self.kept.borrow().len() >= ANSWERS_MAX {
            return;
        }
        let kept = Rc::new(Kept {
            status: parts.status,
            headers: parts.headers.clone(),
            body: body.clone(),
            at: world.now(),
            whole: whole(asked.namespace, asked.path),
            namespace: asked.namespace.to_owned(),
            asker: Zeroizing::new(asked.token.to_owned()),
            what,
        });
        self.kept.borrow_mut().insert(asked.key, Rc::clone(&kept));
        tokio::task::spawn_local(follow(Rc::downgrade(self), asked.key, kept, life, Rc::clone(world)));
    }

    /// Whether a token was made through the agent and lives.
    fn made(&self, token: &str) -> bool {
        self.kept
            .borrow()
            .values()
            .any(|kept| matches!(&kept.what, What::Token { text, .. } if text.as_str() == token))
    }

    /// Drops what fits, and what was asked for with a token that goes with it.
    pub(super) fn drop_where(&self, fits: impl Fn(&Entry<'_>) -> bool) {
        self.drop_all(&fits);
    }

    fn drop_all(&self, fits: &dyn Fn(&Entry<'_>) -> bool) {
        let gone: Vec<Rc<Kept>> = {
            let mut kept = self.kept.borrow_mut();
            let keys: Vec<Key> =
                kept.iter().filter(|(_, kept)| fits(&kept.entry())).map(|(key, _)| *key).collect();
            keys.iter().filter_map(|key| kept.remove(key)).collect()
        };
        for kept in gone {
            if let What::Token { text, .. } = &kept.what {
                self.drop_all(&|entry| entry.asker == text.as_str());
            }
        }
    }

    /// Drops one answer if it still is the same.
    fn forget(&self, key: &Key, kept: &Rc<Kept>) {
        if self.find(key).is_some_and(|found| Rc::ptr_eq(&found, kept)) {
            self.kept.borrow_mut().remove(key);
            if let What::Token { text, .. } = &kept.what {
                let text = text.clone();
                self.drop_where(|entry| entry.asker == text.as_str());
            }
        }
    }
}

/// What there is to know of an answer that is kept.
pub(super) struct Entry<'a> {
    pub(super) whole: &'a str,
    pub(super) asker: &'a str,
    pub(super) lease: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    pub(super) accessor: Option<&'a str>,
}

impl Kept {
    fn entry(&self) -> Entry<'_> {
        let (lease, token, accessor) = match &self.what {
            What::Lease(id) => (Some(id.as_str()), None, None),
            What::Token { text, accessor } => (None, Some(text.as_str()), Some(accessor.as_str())),
        };
        Entry { whole: &self.whole, asker: &self.asker, lease, token, accessor }
    }

    fn renewal(&self) -> Call {
        let namespace = self.namespace.trim_matches('/');
        let before = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        match &self.what {
            What::Lease(id) => Call::put(format!("{before}sys/leases/renew"), json!({ "lease_id": id }))
                .with_token(self.asker.clone()),
            What::Token { text, .. } => {
                Call::post(format!("{before}auth/token/renew-self"), json!({})).with_token(text.clone())
            }
        }
    }
}

fn what(secret: &Secret) -> Option<(What, Duration)> {
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    if let Some(auth) = secret.auth.as_ref().filter(|auth| auth.renewable && !auth.client_token.is_empty()) {
        let text = Zeroizing::new(auth.client_token.clone());
        let what = What::Token { text, accessor: auth.accessor.clone() };
        return Some((what, seconds(auth.lease_duration)));
    }
    let id = secret.lease_id.as_ref().filter(|id| !id.is_empty() && secret.renewable == Some(true))?;
    Some((What::Lease(id.clone()), seconds(secret.lease_duration.unwrap_or(0))))
}

/// Renews what is kept while that can be done, and drops it when its life is over.
async fn follow(memory: Weak<Memory>, key: Key, kept: Rc<Kept>, mut life: Duration, world: Rc<Here>) {
    loop {
        let end = world.now().plus(life);
        let early = 1.0 - SPREAD_SHARE * world.chance();
        crate::agent::run::sleep_until(&world, world.now().plus(life.mul_f64(RENEW_SHARE * early))).await;
        let there = || {
            memory.upgrade().filter(|memory| memory.find(&key).is_some_and(|found| Rc::ptr_eq(&found, &kept)))
        };
        if there().is_none() {
            return;
        }
        let renewed = world.ask(kept.renewal()).await.ok().and_then(|reply| envelope(&reply).ok());
        let length = renewed.as_ref().map(|secret| match &secret.auth {
            Some(auth) => auth.lease_duration,
            None => secret.lease_duration.unwrap_or(0),
        });
        let next = Duration::from_secs(length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0));
        if next >= life / 2 && next >= LIFE_MIN {
            life = next;
            continue;
        }
        // It cannot be renewed any further: it is good to its end, and then gone.
        let end = if next.is_zero() { end } else { world.now().plus(next) };
        crate::agent::run::sleep_until(&world, end).await;
        if let Some(memory) = there() {
            memory.forget(&key, &kept);
        }
        return;
    }
}

/// A path with its namespace in front, as the server reads it: what is encoded means the same, and so does a slash more.
pub(super) fn whole(namespace: &str, path: &str) -> String {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let path = path.strip_prefix(&["v1"]).unwrap_or(&path);
    let parts: Vec<&str> = namespace.split('/').filter(|part| !part.is_empty()).collect();
    [&parts, path].concat().join("/")
}

/// What a request to revoke something takes out of the memory.
pub(super) fn revoked(memory: &Memory, path: &str, namespace: &str, token: &str, body: &[u8]) {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let whole = whole(namespace, path);
    let parts: Vec<&str> = whole.split('/').collect();
    // A namespace may stand in front, and nobody here knows where it ends. To drop too much costs a question.
    for at in 0..parts.len() {
        let (before, rest) = parts.split_at(at);
        drop_revoked(memory, (before, rest), token, &body);
    }
}

fn drop_revoked(memory: &Memory, (before, rest): (&[&str], &[&str]), token: &str, body: &Value) {
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    match rest {
        ["auth", "token", "revoke-self"] => {
            memory.drop_where(|entry| entry.token == Some(token) || entry.asker == token);
        }
        ["auth", "token", "revoke"] => {
            let gone = text("token");
            memory.drop_where(|entry| entry.token == Some(gone) || entry.asker == gone);
        }
        // The children of an orphaned token live on.
        ["auth", "token", "revoke-orphan"] => {
            let gone = text("token");
            memory.drop_where(|entry| {
                entry.token == Some(gone) || (entry.asker == gone && entry.lease.is_some())
            });
        }
        ["auth", "token", "revoke-accessor"] => {
            let gone = text("accessor");
            memory.drop_where(|entry| entry.accessor == Some(gone));
        }
        ["sys", "leases", "revoke"] | ["sys", "revoke"] => {
            let gone = text("lease_id");
            memory.drop_where(|entry| entry.lease == Some(gone));
        }
        ["sys", "leases", "revoke", lease @ ..] | ["sys", "revoke", lease @ ..] => {
            let gone = lease.join("/");
            memory.drop_where(|entry| entry.lease == Some(&gone));
        }
        ["sys", "leases", "revoke-force" | "revoke-prefix", prefix @ ..]
        | ["sys", "revoke-force" | "revoke-prefix", prefix @ ..]
            if !prefix.is_empty() =>
        {
            let (inside, whole) = (prefix.join("/"), [before, prefix].concat().join("/"));
            memory.drop_where(|entry| {
                entry.whole.starts_with(&whole) || entry.lease.is_some_and(|lease| lease.starts_with(&inside))
            });
        }
        _ => {}
    }
}
