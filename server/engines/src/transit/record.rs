//! What is stored of a key: its settings in one record, each of its versions in another.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Reads, Result, Table, Time, VersionTable, Writing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::refusal::{Refusal, SET_ASIDE};

/// The settings of each key, by its name.
pub(super) const KEYS: Table<KeyRecord> = Table::new(1);
/// The versions of each key.
pub(super) const VERSIONS: VersionTable<VersionRecord> = VersionTable::new(2);
/// The settings of the mount.
pub(super) const SETTINGS: Table<Settings> = Table::new(3);
/// The key under which keys come in from elsewhere.
pub(super) const WRAPPING: Table<VersionRecord> = Table::new(4);

/// The name of the only record of its table.
pub(super) const ONLY: &str = "only";

/// The longest name of a key, in bytes.
pub(super) const NAME_SIZE_MAX: usize = 1024;

/// The settings of the key of this name, if there is one.
pub(super) fn load(cx: &impl Reads, name: &str) -> Result<Option<KeyRecord>> {
    if name.len() > NAME_SIZE_MAX {
        return Ok(None);
    }
    KEYS.get(cx, name)
}

/// The settings of a mount.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Settings {
    /// Whether encrypting under a name that is not there is refused.
    pub(super) upsert_disabled: bool,
    /// A size that clients set and read back. Nothing here depends on it.
    pub(super) cache_size: u64,
}

/// A key, but for its secrets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct KeyRecord {
    pub(super) kind: Kind,
    /// Whether each context has a key of its own.
    pub(super) derived: bool,
    /// Whether equal plaintexts in equal contexts become equal ciphertexts.
    pub(super) convergent: bool,
    pub(super) exportable: bool,
    pub(super) plaintext_backup: bool,
    pub(super) deletion_allowed: bool,
    pub(super) latest: u64,
    pub(super) min_decryption: u64,
    /// 0: no minimum was set.
    pub(super) min_encryption: u64,
    /// Versions below this are gone.
    pub(super) min_available: u64,
    /// In bytes; for HMAC keys alone.
    pub(super) size: u64,
    /// 0: never by itself.
    pub(super) auto_rotate_seconds: u64,
    /// Which entry of the agenda rotates it; another one is of an older schedule.
    pub(super) schedule: u64,
    pub(super) imported: bool,
    pub(super) imported_rotation: bool,
    /// Set aside: there, but good for nothing until it is restored.
    pub(super) set_aside: bool,
    pub(super) backup: Option<Mark>,
    pub(super) restored: Option<Mark>,
}

/// When something happened to a key, and which version it had.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Mark {
    pub(super) time: Time,
    pub(super) version: u64,
}

/// One version of a key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct VersionRecord {
    pub(super) created: Time,
    /// The bytes of a symmetric key; seed ‖ public key of Ed25519; PKCS#8 of the others. Nothing: only the public half
    /// was imported.
    pub(super) secret: Option<Hidden>,
    /// For HMACs. The secret itself, if that is what the key is for.
    pub(super) hmac: Option<Hidden>,
    /// SubjectPublicKeyInfo, of keys that have a public half.
    pub(super) public: Option<Hidden>,
    /// Certificates in DER, that of the key first.
    pub(super) chain: Vec<Hidden>,
}

/// Bytes that are wiped when they are dropped, hidden from `Debug`, and kept in base64.
#[derive(Clone, Default)]
pub(super) struct Hidden(pub(super) Zeroizing<Vec<u8>>);

impl Hidden {
    /// Takes bytes into hiding.
    pub(super) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        STANDARD.decode(&*text).map(Self::new).map_err(serde::de::Error::custom)
    }
}

impl KeyRecord {
    /// A key without a version yet.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            derived: false,
            convergent: false,
            exportable: false,
            plaintext_backup: false,
            deletion_allowed: false,
            latest: 0,
            min_decryption: 1,
            min_encryption: 0,
            min_available: 0,
            size: 0,
            auto_rotate_seconds: 0,
            schedule: 0,
            imported: false,
            imported_rotation: false,
            set_aside: false,
            backup: None,
            restored: None,
        }
    }

    /// Refuses what is set aside.
    pub(super) fn usable(&self) -> Result<(), Refusal> {
        if self.set_aside { Err(Refusal::asked(SET_ASIDE)) } else { Ok(()) }
    }

    /// The versions that can be used, oldest first.
    pub(super) fn versions(&self) -> std::ops::RangeInclusive<u64> {
        self.min_decryption.max(1)..=self.latest
    }
}

/// The versions of a key that can be used, with their records.
pub(super) fn versions(cx: &impl Reads, name: &str, record: &KeyRecord) -> Result<Vec<(u64, VersionRecord)>> {
    let mut found = Vec::new();
    for number in record.versions() {
        found.extend(VERSIONS.get(cx, name, number)?.map(|version| (number, version)));
    }
    Ok(found)
}

/// Adds a version, which becomes the latest.
pub(super) fn append(
    cx: &mut Writing<'_>,
    name: &str,
    record: &mut KeyRecord,
    version: &VersionRecord,
) -> Result<()> {
    if name.len() > NAME_SIZE_MAX {
        let text = format!("the name of the key is longer than {NAME_SIZE_MAX} bytes: choose a shorter one");
        return Err(Error::invalid(text));
    }
    record.latest += 1;
    VERSIONS.put(cx, name, record.latest, version)?;
    KEYS.put(cx, name, record)
}
