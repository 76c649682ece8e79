//! New keys and new versions of keys.

use std::sync::Arc;
use std::time::Duration;

use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{KeyEncoding, PrivateKey};

use super::Transit;
use super::key::Key;
use super::kind::{HMAC_SIZES, Kind};
use super::record::{Hidden, KeyRecord, VERSIONS, VersionRecord, append, load};
use super::version::{Version, ed25519, ed25519_public};

/// Makes a key with its first version. That no key has this name yet is for the caller to know.
pub(super) fn create(cx: &mut Writing<'_>, name: &str, mut record: KeyRecord) -> Result<Arc<Key>> {
    let version = generate(cx, record.kind, record.size)?;
    schedule(cx, name, &mut record)?;
    append(cx, name, &mut record, &version)?;
    let latest = Arc::new(Version::parse(record.latest, &record, version)?);
    Ok(Arc::new(Key { name: name.to_owned(), record, latest }))
}

/// Adds a version that is made here.
pub(super) fn rotate(cx: &mut Writing<'_>, name: &str, record: &mut KeyRecord) -> Result<()> {
    let version = generate(cx, record.kind, record.size)?;
    // From here on it is not only what somebody brought.
    record.imported = false;
    append(cx, name, record, &version)
}

/// Makes the secret of a version.
pub(super) fn generate(cx: &mut Writing<'_>, kind: Kind, size: u64) -> Result<VersionRecord> {
    let created = cx.now();
    let secret = match kind {
        Kind::Hmac => {
            let size = usize::try_from(size).ok().filter(|size| HMAC_SIZES.contains(size));
            let size = size.ok_or_else(|| {
                Error::listed("invalid key size for HMAC key, must be between 32 and 512 bytes")
            })?;
            random(cx, size)
        }
        Kind::Ed25519 => return generate_ed25519(cx, created),
        kind => match kind.size() {
            Some(size) => random(cx, size),
            None => return generate_pair(cx, kind, created),
        },
    };
    // OpenBao exports and checks HMACs of such a key with the key itself.
    let hmac = if kind == Kind::Hmac { secret.clone() } else { random(cx, 32) };
    Ok(VersionRecord { created, secret: Some(secret), hmac: Some(hmac), public: None, chain: Vec::new() })
}

fn random(cx: &Writing<'_>, size: usize) -> Hidden {
    let mut bytes = vec![0; size];
    cx.randomness().fill(&mut bytes);
    Hidden::new(bytes)
}

/// A new key for HMACs beside a key that does something else.
pub(super) fn hmac_key(cx: &Writing<'_>) -> Hidden {
    random(cx, 32)
}

fn generate_ed25519(cx: &Writing<'_>, created: Time) -> Result<VersionRecord> {
    let seed = random(cx, 32);
    let version = of_seed(created, &seed.0, hmac_key(cx));
    version.ok_or_else(|| Error::internal("a seed did not become a key"))
}

/// The version whose secret is this seed.
pub(super) fn of_seed(created: Time, seed: &[u8], hmac: Hidden) -> Option<VersionRecord> {
    let pair = ed25519(seed)?;
    let public = ed25519_public(&pair);
    Some(VersionRecord {
        created,
        secret: Some(Hidden::new([seed, public].concat())),
        hmac: Some(hmac),
        public: Some(Hidden::new([ED25519_SPKI.as_slice(), public].concat())),
        chain: Vec::new(),
    })
}

/// What stands before an Ed25519 public key in its SubjectPublicKeyInfo.
pub(super) const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn generate_pair(cx: &mut Writing<'_>, kind: Kind, created: Time) -> Result<VersionRecord> {
    let shape = kind.shape().ok_or_else(|| Error::internal("a key without a shape"))?;
    if kind.is_rsa() {
        cx.costly()?;
    }
    let (secret, public) = cx.once(|| {
        let pair = PrivateKey::generate(shape).map_err(|error| Error::internal(error.to_string()))?;
        let secret = pair.to_der(KeyEncoding::Pkcs8).map_err(|error| Error::internal(error.to_string()))?;
        Ok((Hidden(secret), Hidden::new(pair.public().spki())))
    })?;
    let hmac = Some(hmac_key(cx));
    Ok(VersionRecord { created, secret: Some(secret), hmac, public: Some(public), chain: Vec::new() })
}

/// Enters in the agenda when the key rotates by itself; what was entered before counts no more.
pub(super) fn schedule(cx: &mut Writing<'_>, name: &str, record: &mut KeyRecord) -> Result<()> {
    record.schedule = u64::from_be_bytes(cx.random());
    match record.auto_rotate_seconds {
        0 => Ok(()),
        seconds => wait(cx, name, record.schedule, Duration::from_secs(seconds)),
    }
}

fn wait(cx: &mut Writing<'_>, name: &str, schedule: u64, time: Duration) -> Result<()> {
    cx.later::<Transit, _>(time, &RotateDue { name: name.to_owned(), schedule: schedule.to_string() })
}

/// Rotates a key that is old enough, and comes back when the next version is.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct RotateDue {
    /// The key.
    name: String,
    /// The schedule that this belongs to.
    schedule: String,
}

impl Command<Transit> for RotateDue {
    const ROUTE: Route = Route::internal("rotate-due");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let Some(mut record) = load(cx, &self.name)? else { return Ok(Reply::Nothing) };
        if record.schedule.to_string() != self.schedule || record.auto_rotate_seconds == 0 {
            return Ok(Reply::Nothing);
        }
        let period = Duration::from_secs(record.auto_rotate_seconds);
        let held = record.set_aside || (record.imported && !record.imported_rotation);
        let latest = VERSIONS.get(cx, &self.name, record.latest)?.map_or(cx.now(), |latest| latest.created);
        let due = latest.plus(period);
        if due > cx.now() {
            let rest = cx.now().until(due);
            wait(cx, &self.name, record.schedule, rest)?;
            return Ok(Reply::Nothing);
        }
        if !held {
            rotate(cx, &self.name, &mut record)?;
        }
        wait(cx, &self.name, record.schedule, period)?;
        Ok(Reply::Nothing)
    }
}
