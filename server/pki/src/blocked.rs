//! Keys that are certified no more: those whose certificates were revoked because others have the key, and those that somebody
//! who may has named.

use std::ops::ControlFlow;

use aws_lc_rs::digest::{SHA256, digest};
use kit::loose::{Number, Text};
use kit::{Command, Error, IdTable, Nothing, Query, Reading, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, PublicKey, pem};

use super::authorities::refused;
use super::fields::text;
use super::{Pki, listing};

/// Blocked keys, by the SHA-256 of their SPKI.
const BLOCKED: IdTable<BlockedKey> = IdTable::new(24);
/// How long a reason may be.
const REASON_SIZE_MAX: usize = 200;

/// Why a key is blocked, and since when.
#[derive(Deserialize, Serialize)]
struct BlockedKey {
    at: Time,
    reason: String,
}

/// Refuses a key that is blocked.
pub(super) fn check(cx: &impl Reads, key: &PublicKey) -> Result<()> {
    // Most mounts have none, and then nothing is looked up.
    let any = cx.memo("blocked-keys", |cx| {
        let mut any = false;
        BLOCKED.scan(cx, &[], |_, _| {
            any = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(any)
    })?;
    if !*any {
        return Ok(());
    }
    let id = digest(&SHA256, key.spki());
    let Some(blocked) = BLOCKED.get(cx, id.as_ref())? else { return Ok(()) };
    Err(Error::invalid(format!(
        "the key is blocked since {}: {}; make a new one (`bao delete {}blocked-keys/{}` lets this one be certified again)",
        blocked.at.truncated().rfc3339(),
        blocked.reason,
        cx.mount().path,
        hex::encode(id)
    )))
}

/// Blocks a key. The first reason stands.
pub(super) fn block(cx: &mut Writing<'_>, key: &PublicKey, reason: String) -> Result<()> {
    put(cx, digest(&SHA256, key.spki()).as_ref(), reason)
}

fn put(cx: &mut Writing<'_>, id: &[u8], reason: String) -> Result<()> {
    if BLOCKED.get(cx, id)?.is_some() {
        return Ok(());
    }
    let at = cx.now();
    BLOCKED.put(cx, id, &BlockedKey { at, reason })
}

/// Blocks a key: no certificate is issued for it any more. Those that there are stay good.
#[derive(Deserialize, JsonSchema)]
pub(super) struct BlockKey {
    /// A certificate of the key, or the public key, in PEM.
    certificate: Option<Text>,
    /// Or the SHA-256 of its SPKI, in hex.
    key_id: Option<Text>,
    /// Why, for those who are refused.
    reason: Option<Text>,
}

/// Which key is blocked.
#[derive(JsonSchema, Serialize)]
pub(super) struct Blocked {
    /// The SHA-256 of its SPKI, in hex.
    key_id: String,
}

impl Command<Pki> for BlockKey {
    const ROUTE: Route = Route::post("blocked-keys");
    type Reply = Blocked;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Blocked>> {
        let (pem, named, reason) = (text(self.certificate), text(self.key_id), text(self.reason));
        let id = match (pem.is_empty(), named.is_empty()) {
            (false, true) => digest(&SHA256, public_key(&pem)?.spki()).as_ref().to_vec(),
            (true, false) => id_of(&named)?,
            _ => return Err(Error::invalid("give certificate or key_id, one of the two")),
        };
        if reason.len() > REASON_SIZE_MAX || reason.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "reason is longer than {REASON_SIZE_MAX} bytes, or holds control characters"
            )));
        }
        put(cx, &id, if reason.is_empty() { "no reason was given".to_owned() } else { reason })?;
        Ok(Reply::Data(Blocked { key_id: hex::encode(id) }))
    }
}

fn public_key(text: &str) -> Result<PublicKey> {
    let blocks = pem::blocks(text).map_err(refused)?;
    let key = blocks.iter().find_map(|block| match block.label {
        pem::CERTIFICATE => Some(Certificate::from_der(&block.der).map(|it| it.public_key().clone())),
        "PUBLIC KEY" => Some(PublicKey::from_spki(&block.der)),
        _ => None,
    });
    let none = || Error::invalid("certificate holds neither a certificate nor a public key in PEM");
    key.ok_or_else(none)?.map_err(refused)
}

fn id_of(text: &str) -> Result<Vec<u8>> {
    let id = hex::decode(text.replace([':', '-'], "")).ok().filter(|id| id.len() == 32);
    id.ok_or_else(|| Error::invalid("key_id must be the SHA-256 of the key's SPKI, 64 digits of hex"))
}

/// Lists the blocked keys.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListBlocked {
    /// The key after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// A blocked key in a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    /// Since when.
    blocked_at: String,
    /// Why.
    reason: String,
}

impl Query<Pki> for ListBlocked {
    const ROUTE: Route = Route::list("blocked-keys");
    type Reply = listing::Detailed<Shown>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let mut found = Vec::new();
        BLOCKED.scan(cx, &[], |id, blocked| {
            let shown = Shown { blocked_at: blocked.at.truncated().rfc3339(), reason: blocked.reason };
            found.push((hex::encode(id), shown));
            Ok(ControlFlow::Continue(()))
        })?;
        listing::detailed(listing::part(found, self.after, self.limit))
    }
}

/// Lets a blocked key be certified again.
#[derive(Deserialize, JsonSchema)]
pub(super) struct UnblockKey {
    /// The SHA-256 of its SPKI, in hex.
    key_id: String,
}

impl Command<Pki> for UnblockKey {
    const ROUTE: Route = Route::delete("blocked-keys/{key_id}").sudo();
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        BLOCKED.delete(cx, &id_of(&self.key_id)?)?;
        Ok(Reply::Nothing)
    }
}
