//! Keys that come from elsewhere: wrapped for this server, or only their public halves.

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::signature::Ed25519KeyPair;
use kit::loose::{Flag, Number, Span, Text};
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{KeyEncoding, PrivateKey, PublicKey, pem};
use zeroize::Zeroizing;

use super::Transit;
use super::create::{self, hmac_key, of_seed, schedule};
use super::input::{flag, word};
use super::keys::unknown_set;
use super::kind::{HMAC_SIZES, Kind, Unknown};
use super::record::{Hidden, KeyRecord, ONLY, VERSIONS, VersionRecord, WRAPPING, append, load};
use super::rsa::{Oaep, Private};
use super::shown::public_pem;
use super::text;

/// Shows the public key with which keys are wrapped for import. It is made when it is first asked for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WrappingKey {}

/// A public key.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownWrappingKey {
    public_key: String,
}

impl Command<Transit> for WrappingKey {
    const ROUTE: Route = Route::get("wrapping_key");
    type Reply = ShownWrappingKey;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<ShownWrappingKey>> {
        let version = wrapping_key(cx)?;
        let public = version.public.ok_or_else(|| Error::internal("the wrapping key has no public half"))?;
        Ok(Reply::Data(ShownWrappingKey { public_key: public_pem(&public.0) }))
    }
}

fn wrapping_key(cx: &mut Writing<'_>) -> Result<VersionRecord> {
    if let Some(there) = WRAPPING.get(cx, ONLY)? {
        return Ok(there);
    }
    let made = create::generate(cx, Kind::Rsa4096, 0)?;
    WRAPPING.put(cx, ONLY, &made)?;
    Ok(made)
}

/// What a request brings.
enum Brought {
    /// A secret: bytes, or PKCS#8.
    Secret(Zeroizing<Vec<u8>>),
    /// A public key in PEM.
    Public(String),
}

/// Brings a key from elsewhere.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Import {
    /// Its name here.
    name: String,
    /// Whether the key may be backed up in the clear. Cannot be taken back.
    allow_plaintext_backup: Option<Flag>,
    /// Whether new versions may be made here.
    allow_rotation: Option<Flag>,
    /// How often it rotates by itself: an hour at least, or 0 for never.
    auto_rotate_period: Option<Span>,
    /// An AES-256 key, encrypted with the wrapping key by RSA-OAEP, and after it the key itself, wrapped with that AES key
    /// (AES-KWP, RFC 5649); in base64. The key is its bare bytes or, for pairs, PKCS#8.
    ciphertext: Option<Text>,
    /// Of no account when a key is imported.
    #[serde(rename = "context")]
    _context: Option<Text>,
    /// Not possible for keys from elsewhere.
    #[schemars(skip)]
    convergent_encryption: Option<Flag>,
    /// Whether each context has a key of its own, derived from this one.
    derived: Option<Flag>,
    /// Whether the key may be exported. Cannot be taken back.
    exportable: Option<Flag>,
    /// The hash inside RSA-OAEP: `SHA1`, `SHA256`, `SHA384` or `SHA512`.
    hash_function: Option<Text>,
    /// For `ml-dsa`, how large its keys are: `44`, `65` or `87`.
    parameter_set: Option<Text>,
    /// A public key in PEM, in place of a ciphertext: such a key only encrypts and verifies.
    public_key: Option<Text>,
    /// The kind of key.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

impl Command<Transit> for Import {
    const ROUTE: Route = Route::post("keys/{name}/import");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.convergent_encryption.is_some() {
            return Err(Error::listed("import cannot be used on keys with convergent encryption enabled"));
        }
        let seconds = u64::try_from(self.auto_rotate_period.unwrap_or_default().seconds()).unwrap_or(0);
        if seconds > 0 && !flag(self.allow_rotation) {
            return Err(Error::listed("allow_rotation must be set to true if auto-rotation is enabled"));
        }
        let named = self.kind.as_ref().map_or(Kind::Aes256.name(), |kind| kind.0.as_str());
        let set = word(self.parameter_set.as_ref());
        let kind = Kind::asked(&named.to_lowercase(), set).map_err(|unknown| match unknown {
            Unknown::Name => Error::invalid(format!("unknown key type: {named}")),
            Unknown::Set => unknown_set(named, set),
        })?;
        if load(cx, &self.name)?.is_some() {
            return Err(Error::listed(
                "the import path cannot be used with an existing key; use import-version to rotate an existing imported key",
            ));
        }
        let brought = brought(cx, kind, self.ciphertext, self.public_key, self.hash_function)?;
        let derived = flag(self.derived);
        if derived && !kind.derives() {
            return Err(Error::invalid(format!("derivation not supported for key type {}", kind.name())));
        }
        let version = read(cx, kind, derived, &brought).map_err(importing)?;
        let mut record = KeyRecord {
            derived,
            exportable: flag(self.exportable),
            plaintext_backup: flag(self.allow_plaintext_backup),
            auto_rotate_seconds: super::keys::auto_rotate_seconds(self.auto_rotate_period)?,
            imported: true,
            imported_rotation: flag(self.allow_rotation),
            size: hmac_size(kind, &version),
            ..KeyRecord::new(kind)
        };
        schedule(cx, &self.name, &mut record)?;
        append(cx, &self.name, &mut record, &version)?;
        Ok(Reply::Nothing)
    }
}

fn importing(text: String) -> Error {
    Error::listed(format!("error importing key: {text}"))
}

fn hmac_size(kind: Kind, version: &VersionRecord) -> u64 {
    match (kind, &version.secret) {
        (Kind::Hmac, Some(secret)) => secret.0.len() as u64,
        _ => 0,
    }
}

/// Brings a new version of a key that was imported, or the private half of one whose public half was.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ImportVersion {
    /// The key.
    name: String,
    /// The wrapped key, as for an import.
    ciphertext: Option<Text>,
    /// The hash inside RSA-OAEP: `SHA1`, `SHA256`, `SHA384` or `SHA512`.
    hash_function: Option<Text>,
    /// A public key in PEM, in place of a ciphertext.
    public_key: Option<Text>,
    /// The version whose private half this is. A new one if there is none.
    version: Option<Number>,
}

impl Command<Transit> for ImportVersion {
    const ROUTE: Route = Route::post("keys/{name}/import_version");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let name = &self.name;
        let unknown = || {
            Error::listed(format!(
                "no key found with name {name}; to import a new key, use the import/ endpoint"
            ))
        };
        let mut record = load(cx, name)?.ok_or_else(unknown)?;
        if !record.imported {
            return Err(Error::listed("the import_version endpoint can only be used with an imported key"));
        }
        record.usable().map_err(|refusal| refusal.listed())?;
        let kind = record.kind;
        let brought = brought(cx, kind, self.ciphertext, self.public_key, self.hash_function)?;
        let version = read(cx, kind, record.derived, &brought).map_err(Error::listed)?;
        if let Some(Number(number)) = self.version {
            complete(cx, name, &record, number, &version)?;
            return Ok(Reply::Nothing);
        }
        let latest = VERSIONS.get(cx, name, record.latest)?;
        let incomplete = latest.as_ref().is_some_and(|latest| latest.secret.is_none());
        let same = latest.as_ref().is_some_and(|latest| same_public(latest, &version));
        if incomplete && same && version.secret.is_some() {
            let number = i64::try_from(record.latest).unwrap_or(i64::MAX);
            complete(cx, name, &record, number, &version)?;
            return Ok(Reply::Nothing);
        }
        record.size = hmac_size(kind, &version);
        append(cx, name, &mut record, &version)?;
        Ok(Reply::Nothing)
    }
}

fn same_public(one: &VersionRecord, other: &VersionRecord) -> bool {
    match (&one.public, &other.public) {
        (Some(one), Some(other)) => one.0 == other.0,
        _ => false,
    }
}

/// Adds the private half to a version that lacks it.
fn complete(
    cx: &mut Writing<'_>,
    name: &str,
    record: &KeyRecord,
    number: i64,
    with: &VersionRecord,
) -> Result<()> {
    let number = u64::try_from(number).unwrap_or(0);
    let known = record.versions().contains(&number);
    let found = if known { VERSIONS.get(cx, name, number)? } else { None };
    let mut version = found.ok_or_else(|| Error::listed("no such key version"))?;
    if !record.kind.signs() {
        return Err(Error::listed("provided type does not support importing key versions"));
    }
    if version.secret.is_some() {
        return Err(Error::listed("private key imported, key version cannot be updated"));
    }
    if with.secret.is_none() {
        return Err(Error::listed(
            "cannot add a public key to a key version that already has a public key set",
        ));
    }
    if !same_public(&version, with) {
        return Err(Error::listed("cannot import key, key pair does not match"));
    }
    version.secret.clone_from(&with.secret);
    VERSIONS.put(cx, name, number, &version)
}

/// Takes the key out of the parameters.
fn brought(
    cx: &mut Writing<'_>,
    kind: Kind,
    ciphertext: Option<Text>,
    public_key: Option<Text>,
    hash_function: Option<Text>,
) -> Result<Brought> {
    let Some(ciphertext) = ciphertext else {
        if !kind.signs() {
            return Err(Error::listed("provided type does not support public_key import"));
        }
        return Ok(Brought::Public(public_key.unwrap_or_default().0));
    };
    let hash = oaep(hash_function.as_ref().map_or("SHA256", |text| text.0.as_str()))?;
    let wrapped = text::decode(&ciphertext.0).map_err(Error::listed)?;
    unwrap(cx, hash, &wrapped).map(Brought::Secret)
}

/// The hash of this name inside OAEP.
pub(super) fn oaep(name: &str) -> Result<Oaep> {
    match name.to_uppercase().as_str() {
        "SHA1" => Ok(Oaep::Sha1),
        "SHA256" => Ok(Oaep::Sha256),
        "SHA384" => Ok(Oaep::Sha384),
        "SHA512" => Ok(Oaep::Sha512),
        "SHA224" => {
            Err(Error::invalid("SHA224 is not possible inside RSA-OAEP here: use SHA256, SHA384 or SHA512"))
        }
        _ => Err(Error::invalid(format!("unknown hash function: {name}"))),
    }
}

/// How long a block of the wrapping key is.
const WRAPPED_SIZE: usize = 512;

fn unwrap(cx: &mut Writing<'_>, hash: Oaep, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let split = wrapped.split_at_checked(WRAPPED_SIZE).filter(|(_, rest)| !rest.is_empty());
    let (ephemeral, key) = split.ok_or_else(|| Error::listed("provided ciphertext is too short"))?;
    cx.costly()?;
    let own = wrapping_key(cx)?;
    let secret = own.secret.ok_or_else(|| Error::internal("the wrapping key has no private half"))?;
    let private = Private::from_pkcs8(&secret.0);
    let private = private.ok_or_else(|| Error::internal("the wrapping key does not read"))?;
    let ephemeral = private.decrypt(hash, ephemeral);
    let ephemeral = ephemeral.ok_or_else(|| Error::listed("crypto/rsa: decryption error"))?;
    if ephemeral.len() != 32 {
        return Err(Error::listed("expected ephemeral AES key to be 256-bit"));
    }
    let kek = AesKek::new(&AES_256, &ephemeral).map_err(|_| Error::internal("AES does not take its key"))?;
    let mut plain = Zeroizing::new(vec![0; key.len()]);
    let unwrapped = kek.unwrap_with_padding(key, &mut plain);
    let size = unwrapped.map_err(|_| Error::listed("unwrapped plaintext is malformed"))?.len();
    plain.truncate(size);
    Ok(plain)
}

/// Wraps a key for another server, as an import there takes it.
pub(super) fn wrap(cx: &Writing<'_>, to: &super::rsa::Public, hash: Oaep, key: &[u8]) -> Result<String> {
    let ephemeral = Zeroizing::new(cx.random::<32>());
    let failed = || Error::server("failed to wrap target key for import");
    let mut wrapped = to.encrypt(hash, &*ephemeral)?;
    let kek = AesKek::new(&AES_256, &*ephemeral).map_err(|_| failed())?;
    let mut out = vec![0; key.len() + 15];
    let out = kek.wrap_with_padding(key, &mut out).map_err(|_| failed())?;
    wrapped.extend_from_slice(out);
    Ok(text::encode(wrapped))
}

/// Makes a version of what was brought.
fn read(cx: &Writing<'_>, kind: Kind, derived: bool, brought: &Brought) -> Result<VersionRecord, String> {
    let (created, hmac) = (cx.now(), hmac_key(cx));
    match brought {
        Brought::Public(_) if derived => Err(
            "unable to import only public key for derived Ed25519 key: imported key should not be an Ed25519 key pair but is instead an HKDF key".to_owned(),
        ),
        Brought::Public(text) => read_public(kind, text, created, hmac),
        Brought::Secret(secret) => read_secret(kind, secret, created, hmac),
    }
}

/// Makes a version of a secret: bare bytes, or PKCS#8.
pub(super) fn read_secret(
    kind: Kind,
    secret: &[u8],
    created: Time,
    hmac: Hidden,
) -> Result<VersionRecord, String> {
    let bare = |hmac: Hidden| VersionRecord {
        created,
        secret: Some(Hidden::new(secret)),
        hmac: Some(hmac),
        public: None,
        chain: Vec::new(),
    };
    let sized = || format!("invalid key size {} bytes for key type {}", secret.len(), kind.name());
    match kind {
        Kind::Hmac if HMAC_SIZES.contains(&secret.len()) => Ok(bare(Hidden::new(secret))),
        Kind::Hmac => Err(sized()),
        Kind::Ed25519 => {
            let unread = |_| "error parsing asymmetric key: it is no Ed25519 key in PKCS#8".to_owned();
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(secret).map_err(unread)?;
            let seed = pair.seed().map_err(|_| "the key does not show its seed".to_owned())?;
            let seed = seed.as_be_bytes().map_err(|_| "the key does not show its seed".to_owned())?;
            of_seed(created, seed.as_ref(), hmac).ok_or_else(|| "the seed is none".to_owned())
        }
        kind => match kind.size() {
            Some(size) if size == secret.len() => Ok(bare(hmac)),
            Some(_) => Err(sized()),
            None => read_pair(kind, secret, created, hmac),
        },
    }
}

fn read_pair(kind: Kind, der: &[u8], created: Time, hmac: Hidden) -> Result<VersionRecord, String> {
    let key = PrivateKey::from_der(der).map_err(|error| format!("error parsing asymmetric key: {error}"))?;
    fits(kind, key.public())?;
    let secret = key.to_der(KeyEncoding::Pkcs8).map_err(|error| error.to_string())?;
    Ok(VersionRecord {
        created,
        secret: Some(Hidden(secret)),
        hmac: Some(hmac),
        public: Some(Hidden::new(key.public().spki())),
        chain: Vec::new(),
    })
}

/// Makes a version of a public key in PEM.
pub(super) fn read_public(
    kind: Kind,
    text: &str,
    created: Time,
    hmac: Hidden,
) -> Result<VersionRecord, String> {
    let blocks = pem::blocks(text).unwrap_or_default();
    let block = blocks.first().ok_or("error parsing public key: not in PEM format")?;
    let public =
        PublicKey::from_spki(&block.der).map_err(|error| format!("error parsing public key: {error}"))?;
    fits(kind, &public)?;
    Ok(VersionRecord {
        created,
        secret: None,
        hmac: Some(hmac),
        public: Some(Hidden::new(public.spki())),
        chain: Vec::new(),
    })
}

fn fits(kind: Kind, public: &PublicKey) -> Result<(), String> {
    match kind.shape() {
        Some(shape) if shape == public.shape() => Ok(()),
        _ => Err(format!("invalid key type: expected {}, got {}", kind.full_name(), public.shape())),
    }
}

/// Exports a key wrapped for another server: with the wrapping key of that server, imported here under a name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ExportWrapped<const AT: usize> {
    /// The RSA key to wrap with.
    destination: String,
    /// The key to export.
    source: String,
    /// The hash inside RSA-OAEP: `SHA1`, `SHA256`, `SHA384` or `SHA512`.
    hash: Option<Text>,
    /// A version, or `latest`; all that can be used if there is none.
    version: Option<Text>,
}

impl<const AT: usize> Command<Transit> for ExportWrapped<AT> {
    const ROUTE: Route = match AT {
        0 => Route::get("byok-export/{destination}/{source}"),
        _ => Route::get("byok-export/{destination}/{source}/{version}"),
    };
    type Reply = super::export::Exported;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let to = super::key::find(cx, &self.destination)?;
        let to = to.ok_or_else(|| Error::listed("no such destination key to export to"))?;
        let record = load(cx, &self.source)?;
        let record = record.ok_or_else(|| Error::listed("no such source key for export"))?;
        if !record.exportable {
            return Err(Error::invalid("key is not exportable"));
        }
        record.usable().map_err(|refusal| refusal.listed())?;
        let chosen = super::export::chosen(cx, &self.source, &record, word(self.version.as_ref()))?;
        let hash = self.hash.as_ref().map_or("SHA256", |text| text.0.as_str());
        let hash = oaep(hash).map_err(|error| Error::listed(error.to_string()))?;
        to.record.usable().map_err(|refusal| refusal.listed())?;
        if !to.record.kind.signs() {
            return Err(Error::listed(format!(
                "key wrapping (requring message signing) is not supported for key type {}",
                to.record.kind.name()
            )));
        }
        let super::version::Parsed::Rsa(pair) = &to.latest.parsed else {
            return Err(Error::listed("unsupported key type in use; must be a rsa key"));
        };
        let mut keys = std::collections::BTreeMap::new();
        for (number, version) in chosen {
            let secret = super::export::pkcs8(record.kind, &version);
            let secret =
                secret.ok_or_else(|| Error::listed("the key version has no private part to wrap"))?;
            keys.insert(number.to_string(), kit::Secret::new(wrap(cx, &pair.1, hash, &secret)?));
        }
        let kind = record.kind.name();
        Ok(Reply::Data(super::export::Exported { keys, name: self.source, kind }))
    }
}
