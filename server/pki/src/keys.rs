//! The keys of a mount: made, listed, named, deleted; and which of them is the default.

use std::sync::Arc;

use kit::loose::{Number, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{KeyEncoding, PrivateKey};

use super::authorities::{Authorities, DEFAULT, Key, authorities, refused};
use super::fields::{key_shape, text, unsigned};
use super::issuers::is_plain_name;
use super::store::{DEFAULTS, Id, KEYS, KeyRecord};
use super::{Pki, listing};

/// Records a key. The first one becomes the default.
pub(super) fn add_key(cx: &mut Writing<'_>, name: &str, key: &PrivateKey, all: &Authorities) -> Result<Id> {
    let id = Id::new(cx);
    KEYS.put(cx, id.as_bytes(), &KeyRecord::of(name.to_owned(), key)?)?;
    let mut defaults = DEFAULTS.get(cx)?;
    if defaults.key.is_none() && all.keys.is_empty() {
        defaults.key = Some(id);
        DEFAULTS.put(cx, &defaults)?;
    }
    Ok(id)
}

/// Refuses a name that another key has, that is reserved, or that a path could not hold.
pub(super) fn check_key_name(name: &str, own: Option<Id>, all: &Authorities) -> Result<()> {
    if name.eq_ignore_ascii_case(DEFAULT) {
        return Err(Error::invalid("reserved keyword 'default' can not be used as key name"));
    }
    if !name.is_empty() && !is_plain_name(name) {
        return Err(Error::invalid(match own {
            Some(_) => "new key name outside of valid character limits",
            None => "key name contained invalid characters",
        }));
    }
    if !name.is_empty() && all.keys.iter().any(|key| key.name == name && Some(key.id) != own) {
        return Err(Error::invalid("key name already in use"));
    }
    Ok(())
}

fn key_or_refuse<'a>(all: &'a Authorities, reference: &str) -> Result<&'a Key> {
    all.key(reference)
        .ok_or_else(|| Error::server(format!("unable to find PKI key for reference: {reference}")))
}

/// Lists the keys.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListKeys {
    /// The id after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// One key of a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedKey {
    is_default: bool,
    key_name: String,
}

impl Query<Pki> for ListKeys {
    const ROUTE: Route = Route::list("keys");
    type Reply = listing::Detailed<ListedKey>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let all = authorities(cx)?;
        let shown = |key: &Key| ListedKey {
            is_default: all.defaults.key == Some(key.id),
            key_name: key.name.clone(),
        };
        let entries = all.keys.iter().map(|key| (key.id.to_string(), shown(key))).collect();
        listing::detailed(listing::part(entries, self.after, self.limit))
    }
}

/// A key as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownKey {
    key_id: String,
    key_name: String,
    key_type: &'static str,
    /// The key itself, where it was made to be exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<Secret<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_key_id: Option<String>,
}

fn show(id: Id, name: &str, key: &PrivateKey) -> ShownKey {
    ShownKey {
        key_id: id.to_string(),
        key_name: name.to_owned(),
        key_type: key.public().shape().family.name(),
        private_key: None,
        subject_key_id: None,
    }
}

/// Shows what is known of a key, but not the key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadKey {
    /// A name, an id, or `default`.
    key_ref: String,
}

impl Query<Pki> for ReadKey {
    const ROUTE: Route = Route::get("key/{key_ref}");
    type Reply = ShownKey;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownKey>> {
        let all = authorities(cx)?;
        let key = key_or_refuse(&all, &self.key_ref)?;
        let id: Vec<_> = key.private.public().key_id().iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = show(key.id, &key.name, &key.private);
        Ok(Reply::Data(ShownKey { subject_key_id: Some(id.join(":")), ..shown }))
    }
}

/// Names a key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteKey {
    /// A name, an id, or `default`.
    key_ref: String,
    /// Its new name.
    key_name: Option<Text>,
}

impl Command<Pki> for WriteKey {
    const ROUTE: Route = Route::post("key/{key_ref}");
    type Reply = ShownKey;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownKey>> {
        let all = Authorities::load(cx)?;
        let key = key_or_refuse(&all, &self.key_ref)?;
        let name = text(self.key_name);
        check_key_name(&name, Some(key.id), &all)?;
        KEYS.put(cx, key.id.as_bytes(), &KeyRecord::of(name.clone(), &key.private)?)?;
        Ok(Reply::Data(show(key.id, &name, &key.private)))
    }
}

/// Deletes a key for good, unless an issuer needs it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteKey {
    /// A name, an id, or `default`.
    key_ref: String,
}

impl Command<Pki> for DeleteKey {
    const ROUTE: Route = Route::delete("key/{key_ref}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let all = Authorities::load(cx)?;
        let Some(key) = all.key(&self.key_ref) else { return Ok(Reply::Nothing) };
        if let Some(issuer) = all.issuers.iter().find(|issuer| issuer.record.key == Some(key.id)) {
            return Err(Error::invalid(format!(
                "Failed to Delete Key.  Key in Use by Issuer: {}",
                issuer.id
            )));
        }
        KEYS.delete(cx, key.id.as_bytes())?;
        let mut defaults = DEFAULTS.get(cx)?;
        if defaults.key == Some(key.id) {
            defaults.key = None;
            DEFAULTS.put(cx, &defaults)?;
            cx.warn(format!(
                "Deleted key {} (via key_ref {}); this was configured as the default key. Operations without an explicit key will not work until a new default is configured.",
                key.id, self.key_ref
            ));
        }
        Ok(Reply::Nothing)
    }
}

/// Makes a key for a later CA.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GenerateKey<const AT: usize> {
    /// The size of the key; 0 for the usual one of its type.
    key_bits: Option<Number>,
    /// Its name.
    key_name: Option<Text>,
    /// Its type: `rsa`, `ec`, `ed25519` or `ml-dsa`.
    key_type: Option<Text>,
    /// The size of an ML-DSA key, which `key_bits` says nothing of: `44`, `65` or `87`.
    parameter_set: Option<Text>,
}

const GENERATE_ROUTES: [Route; 2] =
    [Route::post("keys/generate/internal").heavy(), Route::post("keys/generate/exported").heavy()];
/// The place of the route whose answer shows the key.
const EXPORTED: usize = 1;

impl<const AT: usize> Command<Pki> for GenerateKey<AT> {
    const ROUTE: Route = GENERATE_ROUTES[AT];
    type Reply = ShownKey;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownKey>> {
        let all = Authorities::load(cx)?;
        let name = text(self.key_name);
        check_key_name(&name, None, &all)?;
        let key_type = self.key_type.map_or("rsa".to_owned(), |text| text.0);
        let shape = key_shape(&key_type, unsigned(self.key_bits), &text(self.parameter_set))
            .map_err(|error| Error::invalid(format!("Validation for key_type, key_bits failed: {error}")))?;
        let key = cx.once(|| PrivateKey::generate(shape).map(Arc::new).map_err(refused))?;
        let id = add_key(cx, &name, &key, &all)?;
        let mut shown = show(id, &name, &key);
        if AT == EXPORTED {
            let pem = key.to_pem(KeyEncoding::Traditional).map_err(refused)?;
            shown.private_key = Some(Secret::new(pem.to_string()));
        }
        Ok(Reply::Data(shown))
    }
}

/// Which key is the default.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownDefault {
    default: String,
}

/// Shows which key is the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadDefaultKey {}

impl Query<Pki> for ReadDefaultKey {
    const ROUTE: Route = Route::get("config/keys");
    type Reply = ShownDefault;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownDefault>> {
        let default = DEFAULTS.get(cx)?.key.map(|id| id.to_string()).unwrap_or_default();
        Ok(Reply::Data(ShownDefault { default }))
    }
}

/// Makes a key the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteDefaultKey {
    /// A name or an id.
    default: Option<Text>,
}

impl Command<Pki> for WriteDefaultKey {
    const ROUTE: Route = Route::post("config/keys");
    type Reply = ShownDefault;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownDefault>> {
        let reference = text(self.default);
        if reference.is_empty() || reference == DEFAULT {
            return Err(Error::invalid(
                "Invalid key specification; must be non-empty and can't be 'default'.",
            ));
        }
        let all = Authorities::load(cx)?;
        let key = all.key(&reference).ok_or_else(|| {
            Error::invalid(format!(
                "Error resolving issuer reference: unable to find PKI key for reference: {reference}"
            ))
        })?;
        let mut defaults = all.defaults.clone();
        defaults.key = Some(key.id);
        DEFAULTS.put(cx, &defaults)?;
        Ok(Reply::Data(ShownDefault { default: key.id.to_string() }))
    }
}
