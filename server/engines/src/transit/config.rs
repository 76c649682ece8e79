//! The settings of a key, and those of the mount.

use kit::loose::{Flag, Number, Span};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::create::{rotate, schedule};
use super::keys::auto_rotate_seconds;
use super::record::{KEYS, KeyRecord, ONLY, SETTINGS, VERSIONS, load};
use super::shown::{Shown, show};

/// Changes the settings of a key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ConfigureKey {
    /// The key.
    name: String,
    /// Whether the key may be backed up in the clear. Cannot be taken back.
    allow_plaintext_backup: Option<Flag>,
    /// How often it rotates by itself: an hour at least, or 0 for never.
    auto_rotate_period: Option<Span>,
    /// Whether the key may be deleted.
    deletion_allowed: Option<Flag>,
    /// Whether the key may be exported. Cannot be taken back.
    exportable: Option<Flag>,
    /// The oldest version that decrypts and verifies.
    min_decryption_version: Option<Number>,
    /// The oldest version that encrypts and signs; 0 sets no minimum.
    min_encryption_version: Option<Number>,
}

impl Command<Transit> for ConfigureKey {
    const ROUTE: Route = Route::post("keys/{name}/config");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let name = &self.name;
        let unknown = || Error::invalid(format!("no existing key named {name} could be found"));
        let mut record = load(cx, name)?.ok_or_else(unknown)?;
        let mut changed = self.minima(cx, &mut record)?;
        if let Some(Flag(allowed)) = self.deletion_allowed {
            changed |= record.deletion_allowed != allowed;
            record.deletion_allowed = allowed;
        }
        if let Some(Flag(true)) = self.exportable {
            changed |= !record.exportable;
            record.exportable = true;
        }
        if let Some(Flag(true)) = self.allow_plaintext_backup {
            changed |= !record.plaintext_backup;
            record.plaintext_backup = true;
        }
        if self.auto_rotate_period.is_some() {
            let seconds = auto_rotate_seconds(self.auto_rotate_period)?;
            if seconds != record.auto_rotate_seconds {
                changed = true;
                record.auto_rotate_seconds = seconds;
                schedule(cx, name, &mut record)?;
            }
        }
        if changed {
            if record.min_available > record.min_encryption {
                return Err(Error::invalid(
                    "min encryption version should not be less than min available version",
                ));
            }
            if record.min_available > record.min_decryption {
                return Err(Error::invalid(
                    "min decryption version should not be less then min available version",
                ));
            }
            KEYS.put(cx, name, &record)?;
        }
        show(cx, name, &record, &[]).map(Reply::Data)
    }
}

impl ConfigureKey {
    /// Takes the smallest versions over. True if that changed something.
    fn minima(&self, cx: &Writing<'_>, record: &mut KeyRecord) -> Result<bool> {
        let before = (record.min_decryption, record.min_encryption);
        if let Some(Number(asked)) = self.min_decryption_version {
            let mut asked = at_least_zero(asked, "decryption")?;
            if asked == 0 {
                cx.warn("since Vault 0.3 (prior to the OpenBao fork), transit key numbering starts at 1; forcing minimum to 1");
                asked = 1;
            }
            record.min_decryption = at_most(asked, record.latest, "decryption")?;
        }
        if let Some(Number(asked)) = self.min_encryption_version {
            let asked = at_least_zero(asked, "encryption")?;
            record.min_encryption = at_most(asked, record.latest, "encryption")?;
        }
        if record.min_encryption > 0 && record.min_encryption < record.min_decryption {
            return Err(Error::invalid(format!(
                "cannot set min encryption/decryption values; min encryption version of {} must be greater than or equal to min decryption version of {}",
                record.min_encryption, record.min_decryption
            )));
        }
        Ok(before != (record.min_decryption, record.min_encryption))
    }
}

fn at_least_zero(asked: i64, what: &str) -> Result<u64> {
    u64::try_from(asked).map_err(|_| Error::invalid(format!("min {what} version cannot be negative")))
}

fn at_most(asked: u64, latest: u64, what: &str) -> Result<u64> {
    match asked > latest {
        true => Err(Error::invalid(format!(
            "cannot set min {what} version of {asked}, latest key version is {latest}"
        ))),
        false => Ok(asked),
    }
}

/// Makes a new version of a key, with which it encrypts and signs from now on. What older ones made stays readable.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RotateKey {
    /// The key.
    name: String,
    /// A key outside of this server, which this server does not use.
    external_key_ref: Option<kit::loose::Text>,
}

impl Command<Transit> for RotateKey {
    const ROUTE: Route = Route::post("keys/{name}/rotate");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let name = &self.name;
        let mut record = load(cx, name)?.ok_or_else(|| Error::invalid("key not found"))?;
        if self.external_key_ref.is_some_and(|reference| !reference.0.is_empty()) {
            return Err(Error::invalid(
                "external_key_ref: this server uses no keys outside of it; leave it out",
            ));
        }
        record.usable().map_err(|refusal| refusal.listed())?;
        if record.imported && !record.imported_rotation {
            return Err(Error::listed(format!("imported key {name} does not allow rotation within Vault")));
        }
        rotate(cx, name, &mut record)?;
        show(cx, name, &record, &[]).map(Reply::Data)
    }
}

/// Deletes the oldest versions of a key for good.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TrimKey {
    /// The key.
    name: String,
    /// The oldest version that is kept: at most what `min_decryption_version` and `min_encryption_version` are set to.
    min_available_version: Option<Number>,
}

impl Command<Transit> for TrimKey {
    const ROUTE: Route = Route::post("keys/{name}/trim");
    type Reply = Shown;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let name = &self.name;
        let mut record = load(cx, name)?.ok_or_else(|| Error::invalid("invalid key name"))?;
        let asked = self.min_available_version;
        let asked = asked.ok_or_else(|| Error::invalid("missing min_available_version"))?;
        let oldest = trimmed(asked.0, &record).map_err(Error::invalid)?;
        for number in record.min_available.max(1)..oldest {
            VERSIONS.delete(cx, name, number)?;
        }
        record.min_available = oldest;
        KEYS.put(cx, name, &record)?;
        show(cx, name, &record, &[]).map(Reply::Data)
    }
}

/// The oldest version that stays, if that can be.
fn trimmed(asked: i64, record: &KeyRecord) -> Result<u64, &'static str> {
    let oldest = u64::try_from(asked).unwrap_or(0);
    if asked < 0 || oldest < record.min_available {
        return Err("minimum available version cannot be decremented");
    }
    if record.min_encryption == 0 {
        return Err("minimum available version cannot be set when minimum encryption version is not set");
    }
    if oldest > record.min_encryption {
        return Err("minimum available version cannot be greater than minmum encryption version");
    }
    if oldest > record.min_decryption {
        return Err("minimum available version cannot be greater than minimum decryption version");
    }
    match asked {
        0 => Err("minimum available version should be positive"),
        _ => Ok(oldest),
    }
}

/// The settings of all keys of a mount.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownKeysConfig {
    disable_upsert: bool,
}

/// Shows whether encrypting makes the key that there is not.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadKeysConfig {}

impl Query<Transit> for ReadKeysConfig {
    const ROUTE: Route = Route::get("config/keys");
    type Reply = ShownKeysConfig;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<ShownKeysConfig>> {
        let settings = SETTINGS.get(cx, ONLY)?.unwrap_or_default();
        Ok(Reply::Data(ShownKeysConfig { disable_upsert: settings.upsert_disabled }))
    }
}

/// Says whether encrypting makes the key that there is not.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteKeysConfig {
    /// Whether encrypting under a name that no key has is refused.
    disable_upsert: Option<Flag>,
}

impl Command<Transit> for WriteKeysConfig {
    const ROUTE: Route = Route::post("config/keys");
    type Reply = ShownKeysConfig;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<ShownKeysConfig>> {
        let mut settings = SETTINGS.get(cx, ONLY)?.unwrap_or_default();
        settings.upsert_disabled = self.disable_upsert.map_or(settings.upsert_disabled, |flag| flag.0);
        SETTINGS.put(cx, ONLY, &settings)?;
        Ok(Reply::Data(ShownKeysConfig { disable_upsert: settings.upsert_disabled }))
    }
}

/// How many keys the cache is said to hold.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownCache {
    size: u64,
}

/// Shows the size that was set for a cache of keys. Keys are kept ready within the server's own bounds, whatever it says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadCache {}

impl Query<Transit> for ReadCache {
    const ROUTE: Route = Route::get("cache-config");
    type Reply = ShownCache;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<ShownCache>> {
        let settings = SETTINGS.get(cx, ONLY)?.unwrap_or_default();
        Ok(Reply::Data(ShownCache { size: settings.cache_size }))
    }
}

/// Sets a size for a cache of keys, for clients that want to. Nothing here depends on it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteCache {
    /// 0 for no bound, else 10 or more.
    size: Option<Number>,
}

/// The smallest size that can be set.
const CACHE_SIZE_MIN: u64 = 10;

impl Command<Transit> for WriteCache {
    const ROUTE: Route = Route::post("cache-config");
    type Reply = ShownCache;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<ShownCache>> {
        let size = u64::try_from(self.size.unwrap_or_default().0).ok();
        let size = size.filter(|size| *size == 0 || *size >= CACHE_SIZE_MIN);
        let size = size.ok_or_else(|| Error::invalid("size must be 0 or a value greater or equal to 10"))?;
        let settings = SETTINGS.get(cx, ONLY)?.unwrap_or_default();
        SETTINGS.put(cx, ONLY, &super::record::Settings { cache_size: size, ..settings })?;
        Ok(Reply::Data(ShownCache { size }))
    }
}
