//! A key as a whole, out and in again: in the form in which OpenBao and Vault write it.

use std::collections::BTreeMap;

use kit::loose::{Flag, Text};
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;
use super::create::schedule;
use super::entry::Entry;
use super::input::{Private, flag, word};
use super::keys::{is_name, remove};
use super::kind::Kind;
use super::record::{KEYS, KeyRecord, Mark, VERSIONS, VersionRecord, load};
use super::text;

/// A key with its archive, as its owner keeps it elsewhere.
#[derive(Deserialize, Serialize)]
struct Written {
    policy: Option<Policy>,
    archived_keys: Option<Archive>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Archive {
    keys: Option<Vec<Entry>>,
}

/// The settings of a key, under the names that Go's library gives them.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Policy {
    name: String,
    #[serde(skip_serializing_if = "is_zero")]
    key_size: u64,
    keys: Option<BTreeMap<String, Entry>>,
    derived: bool,
    kdf: u64,
    convergent_encryption: bool,
    exportable: bool,
    min_decryption_version: u64,
    min_encryption_version: u64,
    latest_version: u64,
    archive_version: u64,
    archive_min_version: u64,
    min_available_version: u64,
    deletion_allowed: bool,
    convergent_version: i64,
    #[serde(rename = "type")]
    kind: u64,
    backup_info: Option<WrittenMark>,
    restore_info: Option<WrittenMark>,
    allow_plaintext_backup: bool,
    version_template: String,
    storage_prefix: String,
    /// In nanoseconds.
    auto_rotate_period: u64,
    #[serde(rename = "Imported")]
    imported: bool,
    #[serde(rename = "AllowImportedKeyRotation")]
    imported_rotation: bool,
    #[serde(rename = "ParameterSet", skip_serializing_if = "String::is_empty")]
    parameter_set: String,
    soft_deleted: bool,
}

#[derive(Deserialize, Serialize)]
struct WrittenMark {
    time: String,
    version: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// HKDF with SHA-256. The number before it, 0, is a derivation that keys of Vault before 0.2 had.
const HKDF: u64 = 1;
/// The convergent encryption that is done here; those before it gave plaintexts away.
const CONVERGENT: i64 = 3;
const NANOS: u64 = 1_000_000_000;

/// Gives a key out as a whole, with its secrets in the clear, to be restored elsewhere.
#[derive(Deserialize, JsonSchema)]
pub(super) struct BackUp {
    /// The key.
    name: String,
}

/// A key as a whole.
#[derive(JsonSchema, Serialize)]
pub(super) struct Backup {
    backup: Secret<String>,
}

impl Command<Transit> for BackUp {
    const ROUTE: Route = Route::get("backup/{name}");
    type Reply = Backup;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Backup>> {
        let name = &self.name;
        let record = load(cx, name)?;
        let mut record = record.ok_or_else(|| Error::listed(format!("key {name:?} not found")))?;
        record.usable().map_err(|refusal| refusal.listed())?;
        if !record.exportable {
            return Err(Error::listed("exporting is disallowed on the policy"));
        }
        if !record.plaintext_backup {
            return Err(Error::listed("plaintext backup is disallowed on the policy"));
        }
        record.backup = Some(Mark { time: cx.now(), version: record.latest });
        KEYS.put(cx, name, &record)?;
        let json = Zeroizing::new(serde_json::to_vec(&write(cx, name, &record)?)?);
        Ok(Reply::Data(Backup { backup: Secret::new(text::encode(&*json)) }))
    }
}

fn write(cx: &impl Reads, name: &str, record: &KeyRecord) -> Result<Written> {
    let mut keys = BTreeMap::new();
    // The archive begins with the oldest version that there is, or with an empty place for version 0.
    let mut archived = Vec::new();
    if record.min_available == 0 {
        archived.push(Entry::default());
    }
    for number in record.min_available.max(1)..=record.latest {
        let version = VERSIONS.get(cx, name, number)?;
        let version = version.ok_or_else(|| Error::internal("a key lacks one of its versions"))?;
        let entry = || {
            let entry = Entry::of(record.kind, record.convergent, &version);
            entry.ok_or_else(|| Error::internal("a stored key could not be written down"))
        };
        archived.push(entry()?);
        if record.versions().contains(&number) {
            keys.insert(number.to_string(), entry()?);
        }
    }
    let policy = Policy {
        name: name.to_owned(),
        key_size: record.size,
        keys: Some(keys),
        derived: record.derived,
        kdf: if record.derived { HKDF } else { 0 },
        convergent_encryption: record.convergent,
        exportable: record.exportable,
        min_decryption_version: record.min_decryption,
        min_encryption_version: record.min_encryption,
        latest_version: record.latest,
        archive_version: record.latest,
        archive_min_version: record.min_available,
        min_available_version: record.min_available,
        deletion_allowed: record.deletion_allowed,
        convergent_version: if record.convergent { -1 } else { 0 },
        kind: record.kind.number(),
        backup_info: record.backup.map(WrittenMark::of),
        restore_info: record.restored.map(WrittenMark::of),
        allow_plaintext_backup: record.plaintext_backup,
        version_template: String::new(),
        storage_prefix: String::new(),
        auto_rotate_period: record.auto_rotate_seconds.saturating_mul(NANOS),
        imported: record.imported,
        imported_rotation: record.imported_rotation,
        parameter_set: record.kind.set().unwrap_or_default().to_owned(),
        soft_deleted: record.set_aside,
    };
    Ok(Written { policy: Some(policy), archived_keys: Some(Archive { keys: Some(archived) }) })
}

impl WrittenMark {
    fn of(mark: Mark) -> Self {
        Self { time: mark.time.rfc3339(), version: mark.version }
    }

    fn read(&self) -> Option<Mark> {
        Some(Mark { time: kit::Time::parse(&self.time)?, version: self.version })
    }
}

/// Brings a key back from a backup, which this server, OpenBao or Vault made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Restore<const AT: usize> {
    /// The backup.
    backup: Option<Private>,
    /// Whether a key that has this name now is replaced.
    force: Option<Flag>,
    /// The key's name here; that of the backup if there is none.
    name: Option<Text>,
}

impl<const AT: usize> Command<Transit> for Restore<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("restore"),
        _ => Route::post("restore/{name}"),
    };
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let backup = self.backup.as_ref().map_or("", Private::text);
        if backup.is_empty() {
            return Err(Error::invalid("'backup' must be supplied"));
        }
        // Only the path can say it: what a body says under that name is what the backup is called at its home.
        let given = if AT == 0 { "" } else { word(self.name.as_ref()) };
        if given.contains('/') {
            return Err(Error::listed("key names cannot be paths"));
        }
        let json = Zeroizing::new(text::decode(backup).map_err(Error::listed)?);
        let written: Written = serde_json::from_slice(&json).map_err(|error| {
            Error::listed(format!(
                "the backup does not read at line {}, column {}: give it as the backup endpoint made it",
                error.line(),
                error.column()
            ))
        })?;
        let policy = written
            .policy
            .ok_or_else(|| Error::invalid("the backup holds no key: there is no policy in it"))?;
        let name = if given.is_empty() { policy.name.clone() } else { given.to_owned() };
        check_name(&name)?;
        let there = load(cx, &name)?;
        if there.is_some() && !flag(self.force) {
            return Err(Error::listed(format!("key {name:?} already exists")));
        }
        let archived = written.archived_keys.and_then(|archive| archive.keys).unwrap_or_default();
        let refused = |why: String| Error::listed(format!("failed to restore the policy {name:?}: {why}"));
        let mut record = read(&policy).map_err(refused)?;
        record.restored = Some(Mark { time: cx.now(), version: record.latest });
        let versions = versions(&policy, &record, &archived).map_err(refused)?;
        if let Some(there) = there {
            remove(cx, &name, &there)?;
        }
        for (number, version) in &versions {
            VERSIONS.put(cx, &name, *number, version)?;
        }
        schedule(cx, &name, &mut record)?;
        KEYS.put(cx, &name, &record)?;
        Ok(Reply::Nothing)
    }
}

/// Refuses a name that no path could hold.
fn check_name(name: &str) -> Result<()> {
    match is_name(name) {
        true => Ok(()),
        false => Err(Error::invalid(
            "the name of the key in the backup is none that a key can have: restore it under another, as restore/<name>",
        )),
    }
}

/// The most versions that a backup may bring.
const VERSIONS_MAX: u64 = 100_000;

fn read(policy: &Policy) -> Result<KeyRecord, String> {
    let kind = Kind::numbered(policy.kind, &policy.parameter_set);
    let kind = kind.ok_or_else(|| {
        let beside = match policy.parameter_set.as_str() {
            "" => String::new(),
            set => format!(" and the parameter set {set:?}"),
        };
        format!("this server has no keys of the type with the number {}{beside}", policy.kind)
    })?;
    let (oldest, latest) = (policy.min_decryption_version, policy.latest_version);
    if oldest < 1 {
        return Err(format!("minimum decryption version of {oldest} is less than 1"));
    }
    if latest < 1 {
        return Err(format!("latest version of {latest} is less than 1"));
    }
    if oldest > latest {
        return Err(format!(
            "minimum decryption version of {oldest} is greater than the latest version {latest}"
        ));
    }
    let minimum = policy.min_encryption_version;
    if minimum > 0 && minimum < oldest {
        return Err(format!(
            "minimum decryption version of {oldest} is greater than minimum encryption version {minimum}"
        ));
    }
    if policy.min_available_version > oldest || minimum > latest || latest > VERSIONS_MAX {
        return Err("its versions contradict each other".to_owned());
    }
    if policy.derived && (policy.kdf != HKDF || !kind.derives()) {
        return Err("it derives keys in a way that is not supported here: rewrap what it encrypted where it comes from".to_owned());
    }
    if !matches!(policy.version_template.as_str(), "" | "vault:v{{version}}:") {
        return Err("it writes ciphertexts with a prefix of its own, which is not supported here".to_owned());
    }
    Ok(KeyRecord {
        derived: policy.derived,
        convergent: policy.convergent_encryption,
        exportable: policy.exportable,
        plaintext_backup: policy.allow_plaintext_backup,
        deletion_allowed: policy.deletion_allowed,
        latest,
        min_decryption: oldest,
        min_encryption: minimum,
        min_available: policy.min_available_version,
        size: policy.key_size,
        auto_rotate_seconds: policy.auto_rotate_period / NANOS,
        schedule: 0,
        imported: policy.imported,
        imported_rotation: policy.imported_rotation,
        set_aside: policy.soft_deleted,
        backup: policy.backup_info.as_ref().and_then(WrittenMark::read),
        restored: None,
        kind,
    })
}

fn versions(
    policy: &Policy,
    record: &KeyRecord,
    archived: &[Entry],
) -> Result<Vec<(u64, VersionRecord)>, String> {
    let mut found = Vec::new();
    for number in record.min_available.max(1)..=record.latest {
        let own = policy.keys.as_ref().and_then(|keys| keys.get(&number.to_string()));
        let at = usize::try_from(number - record.min_available).ok();
        let entry = own.or_else(|| archived.get(at?));
        let entry = entry.ok_or_else(|| format!("version {number} is not in it"))?;
        if record.convergent && entry.convergent_version != CONVERGENT {
            return Err(format!(
                "refusing to support decryption with old convergent encryption key: version {}",
                entry.convergent_version
            ));
        }
        let version = entry.read(record.kind, record.derived);
        let version = version.ok_or_else(|| format!("the key of version {number} does not read"))?;
        // Reading it now is better than finding out when it is used.
        super::version::Version::parse(number, record, version.clone()).map_err(|_| {
            format!("the key of version {number} is none of type {}", record.kind.full_name())
        })?;
        found.push((number, version));
    }
    Ok(found)
}
