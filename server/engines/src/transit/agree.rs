//! Keys that two parties agree on: a new cipher key from a private key here and a public key from elsewhere.

use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey};
use kit::loose::{Number, Text};
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use x509::{PublicKey, pem};
use zeroize::Zeroizing;

use super::Transit;
use super::aead::derive;
use super::create::hmac_key;
use super::input::{number, word};
use super::key::{Key, find};
use super::keys::is_name;
use super::kind::Kind;
use super::record::{KeyRecord, append, load};

/// Makes a cipher key from an ECDSA key here and somebody's public key (ECDH, then HKDF with SHA-256). They make the same
/// from their private key and the public key of the one here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeriveKey {
    /// The name of the new key.
    name: String,
    /// The ECDSA key.
    base_key_name: Option<Text>,
    /// Its version; the latest if it is 0.
    base_key_version: Option<Number>,
    /// The kind of the new key: a cipher.
    derived_key_type: Option<Text>,
    /// `ecdh`.
    key_derivation_algorithm: Option<Text>,
    /// The public key in PEM.
    peer_public_key: Option<Text>,
}

impl Command<Transit> for DeriveKey {
    const ROUTE: Route = Route::post("derive-key/{name}");
    type Reply = Nothing;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let algorithm = self.key_derivation_algorithm.as_ref().map_or("ecdh", |text| text.0.as_str());
        if algorithm != "ecdh" {
            return Err(Error::invalid(format!("key derivation algorithm {algorithm} not supported")));
        }
        let peer = word(self.peer_public_key.as_ref());
        if peer.is_empty() {
            return Err(Error::invalid("peer public key not provided"));
        }
        let named = self.derived_key_type.as_ref().map_or(Kind::Aes256.name(), |kind| kind.0.as_str());
        let kind = Kind::asked(&named.to_lowercase(), "").ok().filter(|kind| kind.is_cipher());
        let kind = kind.ok_or_else(|| Error::invalid(format!("unknown key type {named}")))?;
        let name = Some(word(self.base_key_name.as_ref())).filter(|name| is_name(name));
        let base = name.map_or(Ok(None), |name| find(cx, name))?;
        let base = base.ok_or_else(|| Error::invalid("specified base key not found"))?;
        if !base.record.kind.is_ecdsa() {
            let kind = base.record.kind.name();
            return Err(Error::invalid(format!("base key type {kind} does not support key agreement")));
        }
        let shared = agreed(cx, &base, number(self.base_key_version), peer)?;
        let secret = derive(&shared, b"", kind.size().unwrap_or_default())?;
        let version = super::import::read_secret(kind, &secret, cx.now(), hmac_key(cx));
        let version = version.map_err(Error::listed)?;
        let mut record = match load(cx, &self.name)? {
            Some(there) if there.kind == kind && !there.derived => there,
            Some(there) => {
                return Err(Error::listed(format!(
                    "error importing key: there is a key of this name and of type {}: choose another name",
                    there.kind.name()
                )));
            }
            None => KeyRecord { imported: true, ..KeyRecord::new(kind) },
        };
        record.usable().map_err(|refusal| refusal.listed())?;
        append(cx, &self.name, &mut record, &version)?;
        Ok(Reply::Nothing)
    }
}

/// What both sides know and nobody else.
fn agreed(cx: &Writing<'_>, base: &Key, asked: i64, peer: &str) -> Result<Zeroizing<Vec<u8>>> {
    let version = base_version(cx, base, asked)?;
    let block = pem::blocks(peer).unwrap_or_default();
    let block = block.first().ok_or_else(|| {
        Error::listed(
            "failed to parse supplied peer public key PEM: data does not contain any valid public keys ",
        )
    })?;
    let public = PublicKey::from_spki(&block.der)
        .map_err(|error| Error::listed(format!("failed to parse supplied peer public key PEM: {error} ")))?;
    if public.shape().family != x509::Family::Ec {
        return Err(Error::listed("supplied peer public key is not an ECDSA key"));
    }
    if Some(public.shape()) != base.record.kind.shape() {
        return Err(Error::listed(format!(
            "base private key type {} does not match peer public key curve",
            base.record.kind.name()
        )));
    }
    let secret = version.secret().ok_or_else(|| Error::listed("the base key has no private part"))?;
    let (algorithm, size): (&'static Algorithm, usize) = match base.record.kind {
        Kind::P256 => (&ECDH_P256, 65),
        Kind::P384 => (&ECDH_P384, 97),
        _ => (&ECDH_P521, 133),
    };
    let failed = || Error::server("the keys do not agree");
    let own = agreement::PrivateKey::from_private_key_der(algorithm, secret).map_err(|_| failed())?;
    let point = public.spki().get(public.spki().len().saturating_sub(size)..).unwrap_or_default();
    let peer = UnparsedPublicKey::new(algorithm, point);
    agreement::agree(&own, peer, failed(), |shared| Ok(Zeroizing::new(shared.to_vec())))
}

fn base_version(cx: &Writing<'_>, base: &Key, asked: i64) -> Result<std::sync::Arc<super::version::Version>> {
    let refused = |why: &str| Error::listed(format!("requested version of the base key is {why}"));
    base.record.usable().map_err(|refusal| refusal.listed())?;
    let asked = u64::try_from(asked).map_err(|_| refused("negative"))?;
    let number = if asked == 0 { base.record.latest } else { asked };
    if number > base.record.latest {
        return Err(refused("higher than the latest key version"));
    }
    if number < base.record.min_available {
        return Err(refused("less than the minimum available key version"));
    }
    base.version(cx, number)?.ok_or_else(|| Error::listed("no such key version"))
}
