//! Keys that leave: those that were made for it.

use std::collections::BTreeMap;

use kit::loose::Text;
use kit::{Error, Query, Reading, Reads, Reply, Result, Route, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{KeyEncoding, PrivateKey};

use super::Transit;
use super::input::word;
use super::kind::Kind;
use super::record::{KeyRecord, VERSIONS, VersionRecord, load, versions};
use super::refusal::Refusal;
use super::shown::{chain_pem, public_pem};
use super::text;
use super::version::ed25519_point;

/// Shows the secrets of a key that may be exported, or the public half of any key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Export<const AT: usize> {
    /// `encryption-key`, `signing-key`, `hmac-key`, `public-key` or `certificate-chain`.
    #[serde(rename = "type")]
    what: String,
    /// The key.
    name: String,
    /// `raw` for bare keys, `der` or `pem` for PKCS#8; else the form that goes with the kind of key.
    format: Option<Text>,
    /// A version, or `latest`; all that can be used if there is none.
    version: Option<Text>,
}

/// The versions of a key with what was asked of each.
#[derive(JsonSchema, Serialize)]
pub(super) struct Exported {
    pub(super) keys: BTreeMap<String, Secret<String>>,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// What to export.
#[derive(Clone, Copy, Eq, PartialEq)]
enum What {
    Encryption,
    Signing,
    Hmac,
    Public,
    Chain,
}

/// In which form.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Format {
    Usual,
    Raw,
    Der,
    Pem,
}

impl<const AT: usize> Query<Transit> for Export<AT> {
    const ROUTE: Route = match AT {
        0 => Route::get("export/{type}/{name}"),
        _ => Route::get("export/{type}/{name}/{version}"),
    };
    type Reply = Exported;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<Exported>> {
        let what = What::named(&self.what)?;
        let format = Format::named(word(self.format.as_ref()))?;
        let record = load(cx, &self.name)?.ok_or_else(Error::not_found)?;
        if !record.exportable && !matches!(what, What::Public | What::Chain) {
            return Err(Error::invalid("private key material is not exportable"));
        }
        record.usable().map_err(|refusal| refusal.listed())?;
        what.fits(record.kind)?;
        let mut keys = BTreeMap::new();
        for (number, version) in chosen(cx, &self.name, &record, word(self.version.as_ref()))? {
            let exported = export(record.kind, &version, what, format);
            let exported = exported.map_err(|refusal| refusal.listed())?;
            keys.insert(number.to_string(), Secret::new(exported));
        }
        Ok(Reply::Data(Exported { keys, name: self.name, kind: record.kind.name() }))
    }
}

/// The versions that a request names: one, or all that can be used.
pub(super) fn chosen(
    cx: &impl Reads,
    name: &str,
    record: &KeyRecord,
    version: &str,
) -> Result<Vec<(u64, VersionRecord)>> {
    let number = match version {
        "" => return versions(cx, name, record),
        "latest" => i64::try_from(record.latest).unwrap_or(i64::MAX),
        text => {
            let number = text.strip_prefix('v').unwrap_or(text).parse();
            number.map_err(|_| Error::invalid("invalid key version"))?
        }
    };
    let number = u64::try_from(number).unwrap_or(0);
    if number < record.min_decryption {
        return Err(Error::invalid("version for export is below minimum decryption version"));
    }
    let found = if number > record.latest { None } else { VERSIONS.get(cx, name, number)? };
    let found = found.ok_or_else(|| Error::invalid("version does not exist or cannot be found"))?;
    Ok(vec![(number, found)])
}

impl What {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "encryption-key" => Self::Encryption,
            "signing-key" => Self::Signing,
            "hmac-key" => Self::Hmac,
            "public-key" => Self::Public,
            "certificate-chain" => Self::Chain,
            other => return Err(Error::invalid(format!("invalid export type: {other}"))),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Encryption => "encryption-key",
            Self::Signing => "signing-key",
            Self::Hmac => "hmac-key",
            Self::Public => "public-key",
            Self::Chain => "certificate-chain",
        }
    }

    /// Refuses what keys of this kind do not have.
    fn fits(self, kind: Kind) -> Result<()> {
        let text = match self {
            Self::Encryption if !kind.encrypts() => "encryption not supported for the key",
            Self::Signing if !kind.signs() => "signing not supported for the key",
            Self::Chain if !kind.signs() => {
                "certificate chain not supported for keys that do not support signing"
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(text))
    }
}

impl Format {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "" => Self::Usual,
            "raw" => Self::Raw,
            "der" => Self::Der,
            "pem" => Self::Pem,
            other => return Err(Error::invalid(format!("invalid format: {other}"))),
        })
    }
}

fn export(kind: Kind, version: &VersionRecord, what: What, format: Format) -> Result<String, Refusal> {
    let bare = |bytes: Option<&super::record::Hidden>| match format {
        Format::Usual | Format::Raw => Ok(bytes.map(|bytes| text::encode(&*bytes.0)).unwrap_or_default()),
        Format::Der | Format::Pem => {
            Err(Refusal::mistaken("unknown format for HMAC key; supported values are `` or `raw`"))
        }
    };
    match what {
        What::Hmac => bare(version.hmac.as_ref()),
        What::Encryption if kind.is_cipher() => bare(version.secret.as_ref()),
        What::Encryption | What::Signing => private(kind, version, format),
        What::Public => public(kind, version, format),
        What::Chain if version.chain.is_empty() => {
            Err(Refusal::mistaken("selected key version does not have a certificate chain imported"))
        }
        What::Chain => Ok(chain_pem(&version.chain)),
    }
}

/// Go ends RSA keys with a newline, and no others.
fn ended(kind: Kind, pem: String) -> String {
    if kind.is_rsa() { pem + "\n" } else { pem }
}

fn no_raw(kind: Kind) -> Refusal {
    let family = match kind {
        kind if kind.is_rsa() => "rsa",
        kind if kind.is_ml_dsa() => "ml-dsa",
        _ => "ec",
    };
    Refusal::mistaken(format!(
        "unknown key format for {family} key; supported values are ``, `der`, or `pem`"
    ))
}

fn private(kind: Kind, version: &VersionRecord, format: Format) -> Result<String, Refusal> {
    if format == Format::Raw && kind != Kind::Ed25519 {
        return Err(no_raw(kind));
    }
    let Some(secret) = &version.secret else { return Ok(String::new()) };
    if kind == Kind::Ed25519 && matches!(format, Format::Usual | Format::Raw) {
        return Ok(text::encode(&*secret.0));
    }
    let failed = |_| Refusal::inner("the key could not be written down");
    let key = pkcs8(kind, version).and_then(|der| PrivateKey::from_der(&der).ok());
    let key = key.ok_or_else(|| failed(()))?;
    match format {
        Format::Der => Ok(text::encode(&*key.to_der(KeyEncoding::Pkcs8).map_err(|_| failed(()))?)),
        Format::Pem => Ok(ended(kind, key.to_pem(KeyEncoding::Pkcs8).map_err(|_| failed(()))?.to_string())),
        _ => Ok(ended(kind, key.to_pem(KeyEncoding::Traditional).map_err(|_| failed(()))?.to_string())),
    }
}

fn public(kind: Kind, version: &VersionRecord, format: Format) -> Result<String, Refusal> {
    let (true, Some(spki)) = (kind.signs(), &version.public) else {
        return Err(Refusal::inner(format!(
            "unknown key type {} for export type {}",
            kind.name(),
            What::Public.name()
        )));
    };
    match (kind, format) {
        (Kind::Ed25519, Format::Usual | Format::Raw) => {
            Ok(text::encode(ed25519_point(&spki.0).unwrap_or_default()))
        }
        (kind, Format::Raw) => Err(no_raw(kind)),
        (_, Format::Der) => Ok(text::encode(&*spki.0)),
        (kind, _) if kind.is_rsa() => Ok(public_pem(&spki.0)),
        _ => Ok(public_pem(&spki.0).trim_end().to_owned()),
    }
}

/// The private half in PKCS#8, if it is here.
pub(super) fn pkcs8(kind: Kind, version: &VersionRecord) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let secret = version.secret.as_ref()?;
    match kind {
        Kind::Ed25519 => {
            let seed = secret.0.get(..32)?;
            Some(zeroize::Zeroizing::new([ED25519_PKCS8.as_slice(), seed].concat()))
        }
        _ => Some(secret.0.clone()),
    }
}

/// What stands before an Ed25519 seed in PKCS#8 (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
