//! What a PKI mount keeps, and under which names.
//!
//! Certificates and revocations lie under their serials, issuers and keys under random ids: all made by the server,
//! so they lie in clear and page in order. Role names are the users' and lie sealed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub(super) use kit::Uuid as Id;
use kit::{Caller, IdTable, Reads, Secret, Table, Time, Writing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509::{Certificate, KeyUsage, Serial};

use super::acme::AcmeConfig;
use super::crl_config::CrlConfig;
use super::role::Role;
use super::tidy::{AutoTidy, TidyRecord};
use super::urls::{ClusterConfig, Urls};

/// Issuers by id.
pub(super) const ISSUERS: IdTable<IssuerRecord> = IdTable::new(1);
/// Keys by id.
pub(super) const KEYS: IdTable<KeyRecord> = IdTable::new(2);
/// Roles by name.
pub(super) const ROLES: Table<Role> = Table::new(3);
/// Every certificate that was not issued with `no_store`, by serial.
pub(super) const CERTIFICATES: IdTable<CertificateRecord> = IdTable::new(4);
/// Revocations by serial.
pub(super) const REVOKED: IdTable<RevokedRecord> = IdTable::new(5);

/// Which issuer and which key are the default.
pub(super) const DEFAULTS: Setting<Defaults> = Setting::new("defaults");
/// Where certificates say that the issuer and its lists are.
pub(super) const URLS: Setting<Urls> = Setting::new("urls");
/// Where this mount is reached from outside.
pub(super) const CLUSTER: Setting<ClusterConfig> = Setting::new("cluster");
/// How revocation lists are made.
pub(super) const CRL: Setting<CrlConfig> = Setting::new("crl");
/// Where shards of revocation lists are and have been said to be, the latest first.
pub(super) const SHARD_URLS: Setting<Vec<String>> = Setting::new("shard-urls");
/// How ACME is offered.
pub(super) const ACME: Setting<AcmeConfig> = Setting::new("acme");
/// When the revocation lists were last renewed without a revocation.
pub(super) const CRL_ROTATED: Setting<Time> = Setting::new("crl-rotated");
/// What tidies by itself, and how often.
pub(super) const AUTO_TIDY: Setting<AutoTidy> = Setting::new("auto-tidy");
/// The last tidy or the one that runs.
pub(super) const TIDY: Setting<TidyRecord> = Setting::new("tidy");

const SETTINGS: u8 = 6;

/// The one record of its kind in a mount.
pub(super) struct Setting<V> {
    table: Table<V>,
    name: &'static str,
}

impl<V: Serialize + serde::de::DeserializeOwned + Default> Setting<V> {
    /// The record of this name.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { table: Table::new(SETTINGS), name }
    }

    /// The record, or what it is before anyone wrote it.
    pub(super) fn get(&self, cx: &impl kit::Reads) -> kit::Result<V> {
        Ok(self.table.get(cx, self.name)?.unwrap_or_default())
    }

    /// Puts the record.
    pub(super) fn put(&self, cx: &mut Writing<'_>, value: &V) -> kit::Result<()> {
        self.table.put(cx, self.name, value)
    }
}

/// Which issuer and key `default` means.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Defaults {
    pub(super) issuer: Option<Id>,
    pub(super) key: Option<Id>,
    pub(super) follows_latest: bool,
}

/// An issuer: a CA certificate, with its key or without.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IssuerRecord {
    /// Empty, or a name that no other issuer has.
    pub(super) name: String,
    /// The key that signs for it, if it is here.
    pub(super) key: Option<Id>,
    /// Its certificate.
    pub(super) certificate: Der,
    /// The chain to show instead of the one that can be worked out.
    pub(super) manual_chain: Vec<Id>,
    /// What happens to a leaf that would outlive it.
    pub(super) leaf_not_after: LeafNotAfter,
    /// What it may be used for.
    pub(super) usage: Usage,
    /// How it signs revocation lists; empty: as its key usually does.
    pub(super) revocation_signature_algorithm: String,
    /// Its own URLs, instead of the mount's.
    pub(super) urls: Option<Urls>,
    /// Since when it is revoked.
    pub(super) revoked_at: Option<Time>,
    /// When it came here.
    pub(super) created_at: Time,
}

/// What happens to a leaf that would outlive its issuer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LeafNotAfter {
    /// It is refused.
    Err,
    /// It ends with its issuer.
    #[default]
    Truncate,
    /// It outlives it.
    Permit,
}

impl LeafNotAfter {
    /// The API's word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Err => "err",
            Self::Truncate => "truncate",
            Self::Permit => "permit",
        }
    }
}

/// What an issuer may be used for. Reading it is always allowed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) issuing: bool,
    pub(super) crl: bool,
    pub(super) ocsp: bool,
}

impl Usage {
    /// All that the key usage of a certificate allows; one that names none may do everything.
    pub(super) fn of(certificate: &Certificate) -> Self {
        let usage = certificate.key_usage().ok().flatten();
        let may = |what: fn(KeyUsage) -> bool| usage.is_none_or(what);
        Self { issuing: may(KeyUsage::cert_sign), crl: may(KeyUsage::crl_sign), ocsp: true }
    }

    /// What both allow.
    pub(super) fn within(self, other: Self) -> Self {
        Self {
            issuing: self.issuing && other.issuing,
            crl: self.crl && other.crl,
            ocsp: self.ocsp && other.ocsp,
        }
    }

    /// Reads the API's words.
    pub(super) fn parse(words: &[String]) -> kit::Result<Self> {
        let mut usage = Self { issuing: false, crl: false, ocsp: false };
        for word in words {
            match word.as_str() {
                "read-only" => {}
                "issuing-certificates" => usage.issuing = true,
                "crl-signing" => usage.crl = true,
                "ocsp-signing" => usage.ocsp = true,
                _ => {
                    return Err(kit::Error::invalid(format!(
                        "Unable to parse specified usages: [{}] - valid values are crl-signing,issuing-certificates,ocsp-signing,read-only",
                        words.join(" ")
                    )));
                }
            }
        }
        Ok(usage)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (is, name) in [
            (self.crl, "crl-signing,"),
            (self.issuing, "issuing-certificates,"),
            (self.ocsp, "ocsp-signing,"),
        ] {
            if is {
                f.write_str(name)?;
            }
        }
        f.write_str("read-only")
    }
}

/// A private key. It is sealed by the store like everything else, and wiped from memory when dropped.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct KeyRecord {
    /// Empty, or a name that no other key has.
    pub(super) name: String,
    /// PKCS#8, in base64.
    pub(super) pkcs8: Secret<String>,
}

/// A certificate that was issued or imported.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct CertificateRecord {
    pub(super) der: Der,
    /// Who issued it; nothing where that is another's doing.
    pub(super) issuer: Option<Id>,
    /// The role under which it was issued; empty where there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) role: String,
    /// Who asked for it, as [`owner`] names callers; empty where nobody is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) owner: String,
}

impl CertificateRecord {
    /// The record of a certificate that nobody in particular asked for.
    pub(super) fn new(der: Vec<u8>, issuer: Option<Id>) -> Self {
        Self { der: Der(der), issuer, role: String::new(), owner: String::new() }
    }

    /// With the role and the owner.
    pub(super) fn asked_for(self, role: &str, owner: String) -> Self {
        Self { role: role.to_owned(), owner, ..self }
    }
}

/// Who a caller is, beyond this token where that is known: the entity's id, or for a token without one its accessor after
/// `token:`. Empty for one that has neither.
pub(super) fn owner(caller: &Caller) -> String {
    match &caller.entity {
        Some(entity) => entity.id.clone(),
        None if caller.accessor.is_empty() => String::new(),
        None => format!("token:{}", caller.accessor),
    }
}

/// A revocation.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub(super) struct RevokedRecord {
    /// Since when.
    pub(super) at: Time,
    /// On whose list it stands.
    pub(super) issuer: Option<Id>,
    /// When the certificate ends by itself, in seconds since 1970.
    pub(super) not_after: u64,
    /// Why, by the number that RFC 5280 gives it; nothing where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<u8>,
}

/// DER, kept as base64.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Der(pub(super) Vec<u8>);

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A new serial: 112 random bits after the time, so that none is ever given twice.
pub(super) fn new_serial(cx: &Writing<'_>) -> Serial {
    Serial::new(cx.now().0, cx.random())
}

/// Where a scan begins that goes on behind this key; behind none, at the start.
pub(super) fn behind(mut key: Vec<u8>) -> Vec<u8> {
    if !key.is_empty() {
        key.push(0);
    }
    key
}
