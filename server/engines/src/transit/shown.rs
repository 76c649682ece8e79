//! What is shown of a key.

use std::collections::BTreeMap;

use kit::{Reads, Result, Time};
use schemars::JsonSchema;
use serde::Serialize;

use super::kind::Kind;
use super::record::{Hidden, KeyRecord, Mark, VersionRecord, versions};
use super::refusal::Refusal;
use super::text;
use super::version::{ed25519, ed25519_point, ed25519_public};

/// A key as it is shown: all but its secrets.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    allow_plaintext_backup: bool,
    auto_rotate_period: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_info: Option<ShownMark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    convergent_encryption: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    convergent_encryption_version: Option<i64>,
    deletion_allowed: bool,
    derived: bool,
    exportable: bool,
    imported_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported_key_allow_rotation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kdf: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_size: Option<u64>,
    /// The versions: when each was made, and its public key if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<BTreeMap<String, ShownVersion>>,
    latest_version: u64,
    min_available_version: u64,
    min_decryption_version: u64,
    min_encryption_version: u64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_set: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_info: Option<ShownMark>,
    soft_deleted: bool,
    supports_decryption: bool,
    supports_derivation: bool,
    supports_encryption: bool,
    supports_signing: bool,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
struct ShownMark {
    time: String,
    version: u64,
}

/// A version as it is shown.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
#[schemars(inline)]
enum ShownVersion {
    /// When it was made.
    Made(u64),
    /// The public half as well.
    Pair { certificate_chain: String, creation_time: String, name: &'static str, public_key: String },
}

/// Shows a key. A context chooses which of the derived public keys is seen.
pub(super) fn show(cx: &impl Reads, name: &str, record: &KeyRecord, context: &[u8]) -> Result<Shown> {
    let kind = record.kind;
    let mut keys = BTreeMap::new();
    for (number, version) in versions(cx, name, record)? {
        keys.insert(number.to_string(), show_version(record, &version, context)?);
    }
    Ok(Shown {
        allow_plaintext_backup: record.plaintext_backup,
        auto_rotate_period: record.auto_rotate_seconds,
        backup_info: record.backup.map(ShownMark::of),
        convergent_encryption: record.derived.then_some(record.convergent),
        convergent_encryption_version: record.convergent.then_some(-1),
        deletion_allowed: record.deletion_allowed,
        derived: record.derived,
        exportable: record.exportable,
        imported_key: record.imported,
        imported_key_allow_rotation: record.imported.then_some(record.imported_rotation),
        kdf: record.derived.then_some("hkdf_sha256"),
        key_size: Some(record.size).filter(|size| *size != 0),
        keys: (kind != Kind::Hmac).then_some(keys),
        latest_version: record.latest,
        min_available_version: record.min_available,
        min_decryption_version: record.min_decryption,
        min_encryption_version: record.min_encryption,
        name: name.to_owned(),
        parameter_set: kind.set(),
        restore_info: record.restored.map(ShownMark::of),
        soft_deleted: record.set_aside,
        supports_decryption: kind.encrypts(),
        supports_derivation: kind.derives(),
        supports_encryption: kind.encrypts(),
        supports_signing: kind.signs(),
        kind: kind.name(),
    })
}

impl ShownMark {
    fn of(mark: Mark) -> Self {
        Self { time: mark.time.rfc3339(), version: mark.version }
    }
}

fn show_version(record: &KeyRecord, version: &VersionRecord, context: &[u8]) -> Result<ShownVersion> {
    if !record.kind.signs() {
        return Ok(ShownVersion::Made(version.created.seconds()));
    }
    let public = version.public.as_ref().map(|public| public.0.as_slice()).unwrap_or_default();
    let public_key = match record.kind {
        Kind::Ed25519 if record.derived && context.is_empty() => String::new(),
        Kind::Ed25519 if record.derived => {
            let derived = derived_public(version, context);
            text::encode(derived.map_err(|why| {
                Refusal::inner(format!("failed to derive key to return public component: {why}"))
            })?)
        }
        Kind::Ed25519 => text::encode(ed25519_point(public).unwrap_or_default()),
        _ => public_pem(public),
    };
    Ok(ShownVersion::Pair {
        certificate_chain: chain_pem(&version.chain),
        creation_time: shown_time(version.created),
        name: record.kind.version_name(),
        public_key,
    })
}

fn shown_time(time: Time) -> String {
    time.rfc3339()
}

fn derived_public(version: &VersionRecord, context: &[u8]) -> Result<Vec<u8>, Refusal> {
    let secret = version.secret.as_ref().map(|secret| secret.0.as_slice()).unwrap_or_default();
    let seed = super::aead::derive(secret, context, 32)?;
    let pair = ed25519(&seed).ok_or_else(|| Refusal::inner("the key could not be derived"))?;
    Ok(ed25519_public(&pair).to_vec())
}

/// A public key in PEM, with the newline at its end that Go writes.
pub(super) fn public_pem(spki: &[u8]) -> String {
    format!("{}\n", x509::pem::encode("PUBLIC KEY", spki))
}

/// Certificates in PEM, one after the other, without a newline at the end.
pub(super) fn chain_pem(chain: &[Hidden]) -> String {
    let certificates: Vec<_> =
        chain.iter().map(|certificate| x509::pem::encode("CERTIFICATE", &certificate.0)).collect();
    certificates.join("\n")
}
