//! Named keys that sign identity tokens, and their rotation.

use std::sync::Arc;
use std::time::Duration;

use jws::{Alg, Signer};
use kit::loose::{Seconds, Text, Texts};
use kit::{
    Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Time, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::algorithm::{self, Pair, Public};
use super::{Keys, client, keys, role};
use crate::identity::Identity;
use crate::ids;

/// Keys by name.
const KEYS: Table<Key> = Table::new(21);
/// The key that every server has, once something signs with it.
pub(super) const DEFAULT: &str = "default";
/// What `allowed_client_ids` says to allow all.
pub(super) const ALL: &str = "*";
const DAY_SECONDS: u64 = 24 * 3600;
const ROTATION_SECONDS_MIN: u64 = 60;

/// A named key: the one that signs, the one that will, and those whose signatures still count.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Key {
    pub(super) algorithm: Alg,
    rotation_seconds: u64,
    pub(super) verification_seconds: u64,
    pub(super) allowed_client_ids: Vec<String>,
    /// Nothing: it has no keys yet.
    next_rotation: Option<Time>,
    pub(super) signing: Option<Pair>,
    next: Option<Pair>,
    ring: Vec<Verifying>,
}

/// A key whose signatures count, and until when.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Verifying {
    pub(super) id: String,
    pub(super) public: Public,
    until: Option<Time>,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            algorithm: Alg::Rs256,
            rotation_seconds: DAY_SECONDS,
            verification_seconds: DAY_SECONDS,
            allowed_client_ids: Vec::new(),
            next_rotation: None,
            signing: None,
            next: None,
            ring: Vec::new(),
        }
    }
}

/// The key of this name. `default` is always there.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Key>> {
    let builtin = || Key { allowed_client_ids: vec![ALL.to_owned()], ..Key::default() };
    if name.is_empty() {
        return Ok(None);
    }
    Ok(KEYS.get(cx, name)?.or_else(|| (name == DEFAULT).then(builtin)))
}

/// Makes keys for a named key that has none yet, as `default` has at first.
pub(super) fn ensure(cx: &mut Writing<'_>, name: &str, key: Key) -> Result<Key> {
    if key.signing.is_some() {
        return Ok(key);
    }
    let key = key.with_new_keys(cx)?;
    key.store(cx, name)?;
    Ok(key)
}

impl Key {
    /// Whether a client may have tokens signed by it.
    pub(super) fn allows(&self, client_id: &str) -> bool {
        self.allowed_client_ids.iter().any(|known| known == ALL || known == client_id)
    }

    /// The keys whose signatures count now.
    pub(super) fn verifying(&self, now: Time) -> impl Iterator<Item = &Verifying> {
        self.ring.iter().filter(move |key| key.until.is_none_or(|until| until > now))
    }

    /// The key that signs, ready to do so. It is kept at hand.
    ///
    /// # Errors
    /// If there is none yet.
    pub(super) fn signer(&self, cx: &impl Reads) -> Result<Arc<Signer>> {
        let missing = || Error::server("signing key is nil; rotate the key and try again");
        let pair = self.signing.as_ref().ok_or_else(missing)?;
        cx.memo(&pair.id, |_| pair.signer())
    }

    fn with_new_keys(self, cx: &mut Writing<'_>) -> Result<Self> {
        let signing = made(cx, self.algorithm)?;
        let next = made(cx, self.algorithm)?;
        let mut ring = self.ring;
        ring.extend([&signing, &next].map(Verifying::of));
        let next_rotation = Some(cx.now().plus(Duration::from_secs(self.rotation_seconds)));
        Ok(Self { signing: Some(signing), next: Some(next), ring, next_rotation, ..self })
    }

    /// Goes over to the next key. The old one's signatures count for so many seconds more.
    fn rotated(self, cx: &mut Writing<'_>, verification_seconds: u64) -> Result<Self> {
        let now = cx.now();
        let mut key = self;
        let until = now.plus(Duration::from_secs(verification_seconds));
        let old = key.signing.as_ref().map(|pair| pair.id.clone());
        for known in key.ring.iter_mut().filter(|known| Some(&known.id) == old.as_ref()) {
            known.until = Some(until);
        }
        key.ring.retain(|known| known.until.is_none_or(|until| until > now));
        if key.next.is_none() {
            return key.with_new_keys(cx);
        }
        let next = made(cx, key.algorithm)?;
        key.ring.push(Verifying::of(&next));
        key.signing = key.next.replace(next);
        key.next_rotation = Some(now.plus(Duration::from_secs(key.rotation_seconds)));
        Ok(key)
    }

    /// Stores it, and enters the date of its rotation.
    fn store(&self, cx: &mut Writing<'_>, name: &str) -> Result<()> {
        KEYS.put(cx, name, self)?;
        let Some(at) = self.next_rotation else { return Ok(()) };
        let turn = Turn { name: name.to_owned(), at: at.0 };
        cx.later::<Identity, _>(cx.now().until(at), &turn)
    }
}

impl Verifying {
    fn of(pair: &Pair) -> Self {
        Self { id: pair.id.clone(), public: pair.public.clone(), until: None }
    }
}

fn made(cx: &mut Writing<'_>, algorithm: Alg) -> Result<Pair> {
    if algorithm.is_costly() {
        cx.costly()?;
    }
    let id = ids::new_uuid(cx.randomness());
    cx.once(|| Pair::generate(algorithm, id))
}

/// Makes a key that signs identity tokens, or changes how one does.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// How often it goes over to a new key; a day, if left out.
    rotation_period: Option<Seconds>,
    /// How long signatures count after it has; a day, if left out.
    verification_ttl: Option<Seconds>,
    /// RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA.
    algorithm: Option<Text>,
    /// The clients that it signs for; `*` for all.
    allowed_client_ids: Option<Texts>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/key/{name}");
    const EXISTS: Option<Exists<Identity>> =
        Some(|_, path, cx| find(cx, path.get("name")).map(|key| Some(key.is_some())));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let old = find(cx, &self.name)?;
        let mut key = old.clone().unwrap_or_default();
        if let Some(period) = self.rotation_period {
            key.rotation_seconds = period.0;
        }
        if key.rotation_seconds < ROTATION_SECONDS_MIN {
            return Err(Error::invalid("rotation_period must be at least one minute"));
        }
        if let Some(ttl) = self.verification_ttl {
            key.verification_seconds = ttl.0;
        }
        if key.verification_seconds > key.rotation_seconds.saturating_mul(10) {
            return Err(Error::invalid("verification_ttl cannot be longer than 10x rotation_period"));
        }
        if old.is_some() {
            check_users(cx, &self.name, key.verification_seconds)?;
        }
        if let Some(Texts(clients)) = self.allowed_client_ids {
            key.allowed_client_ids = clients;
        }
        if let Some(Text(name)) = self.algorithm {
            key.algorithm = algorithm::parse(&name)?;
        }
        let changed = old.is_none_or(|old| old.algorithm != key.algorithm);
        let sooner = cx.now().plus(Duration::from_secs(key.rotation_seconds));
        if changed || (key.signing.is_none() && self.name != DEFAULT) {
            key = key.with_new_keys(cx)?;
        } else if let Some(at) = key.next_rotation {
            key.next_rotation = Some(at.min(sooner));
        }
        key.store(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}

/// Refuses a key whose signatures would count for a shorter time than tokens that it signs are good for.
fn check_users(cx: &Writing<'_>, name: &str, seconds: u64) -> Result<()> {
    let refused = |what: &str| {
        Error::invalid(format!(
            "unable to update key {name:?} because it is currently referenced by one or more {what} greater than {seconds} seconds"
        ))
    };
    if role::of_key(cx, name)?.iter().any(|(_, role)| role.ttl_seconds > seconds) {
        return Err(refused("roles with a token ttl"));
    }
    if client::of_key(cx, name)?.iter().any(|(_, client)| client.id_token_seconds > seconds) {
        return Err(refused("clients with an id_token_ttl"));
    }
    Ok(())
}

/// What may be seen of a key.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Shown {
    algorithm: &'static str,
    allowed_client_ids: Vec<String>,
    rotation_period: u64,
    verification_ttl: u64,
}

/// Shows how a key signs.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/key/{name}");
    type Reply = Shown;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let key = find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        Ok(Shown {
            algorithm: key.algorithm.name(),
            allowed_client_ids: key.allowed_client_ids,
            rotation_period: key.rotation_seconds,
            verification_ttl: key.verification_seconds,
        }
        .into())
    }
}

/// Lists the keys that sign identity tokens.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/key");
    type Reply = Keys;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        keys(KEYS.list(cx, "")?.to_vec(), Some(DEFAULT))
    }
}

/// Deletes a key that nothing signs with any more.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/key/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.name == DEFAULT {
            return Err(Error::invalid(format!("deletion of key {DEFAULT:?} not allowed")));
        }
        let names = |rows: Vec<String>| rows.join(", ");
        let roles: Vec<String> = role::of_key(cx, &self.name)?.into_iter().map(|(name, _)| name).collect();
        let clients: Vec<String> =
            client::of_key(cx, &self.name)?.into_iter().map(|(name, _)| name).collect();
        for (kind, used) in [("roles", roles), ("clients", clients)] {
            if !used.is_empty() {
                return Err(Error::invalid(format!(
                    "unable to delete key {:?} because it is currently referenced by these {kind}: {}",
                    self.name,
                    names(used)
                )));
            }
        }
        KEYS.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}

/// Goes over to the next key now.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Rotate {
    /// Its name.
    name: String,
    /// How long the old key's signatures count; as the key says, if left out.
    verification_ttl: Option<Seconds>,
}

impl Command<Identity> for Rotate {
    const ROUTE: Route = Route::post("oidc/key/{name}/rotate");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let missing = || Error::invalid(format!("no named key found at {:?}", self.name));
        let key = find(cx, &self.name)?.ok_or_else(missing)?;
        let seconds = self.verification_ttl.map_or(key.verification_seconds, |ttl| ttl.0);
        key.rotated(cx, seconds)?.store(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}

/// Goes over to the next key, for its time has come.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(in crate::identity) struct Turn {
    name: String,
    /// The date that this was entered for. If the key has another by now, another entry stands for that.
    at: u64,
}

impl Command<Identity> for Turn {
    const ROUTE: Route = Route::internal("rotate-oidc-key");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let key = find(cx, &self.name)?.filter(|key| key.next_rotation == Some(Time(self.at)));
        if let Some(key) = key {
            let seconds = key.verification_seconds;
            key.rotated(cx, seconds)?.store(cx, &self.name)?;
        }
        Ok(Reply::Nothing)
    }
}
