use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use kit::{Error, Reads, Result};
use zeroize::Zeroizing;

use super::aead::{self, Aead};
use super::kind::Kind;
use super::record::{KeyRecord, VERSIONS, VersionRecord};
use super::refusal::Refusal;
use super::{ecdsa, rsa};

/// One version of a key, read and ready to be used.
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) record: VersionRecord,
    pub(super) parsed: Parsed,
}

/// The key itself.
pub(super) enum Parsed {
    /// A cipher.
    Cipher(Aead),
    /// Bytes from which keys are derived, or that are good for HMACs.
    Bytes,
    /// Ed25519.
    Ed25519(Option<Ed25519KeyPair>, ParsedPublicKey),
    /// ECDSA.
    Ecdsa(Option<ecdsa::Private>, ecdsa::Public),
    /// ML-DSA.
    MlDsa(Option<x509::PrivateKey>, x509::PublicKey),
    /// RSA.
    Rsa(Box<(Option<rsa::Private>, rsa::Public)>),
}

impl Version {
    /// Reads a version of a key.
    pub(super) fn parse(number: u64, key: &KeyRecord, record: VersionRecord) -> Result<Self> {
        let parsed = parse(key, &record).ok_or_else(|| Error::internal("a stored key does not read"))?;
        Ok(Self { number, record, parsed })
    }

    /// The secret bytes, if they are here.
    pub(super) fn secret(&self) -> Option<&[u8]> {
        self.record.secret.as_ref().map(|secret| secret.0.as_slice())
    }

    /// Derives from the secret for a context.
    pub(super) fn derive(&self, context: &[u8], size: usize) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        if context.is_empty() {
            return Err(Refusal::asked(CONTEXT_MISSING));
        }
        let secret = self.secret().ok_or_else(|| Refusal::inner("the key has no private part"))?;
        aead::derive(secret, context, size)
    }
}

const CONTEXT_MISSING: &str = "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key";

fn parse(key: &KeyRecord, record: &VersionRecord) -> Option<Parsed> {
    let secret = record.secret.as_ref().map(|secret| secret.0.as_slice());
    let public = record.public.as_ref().map(|public| public.0.as_slice());
    match key.kind {
        _ if key.derived || key.kind == Kind::Hmac => secret.map(|_| Parsed::Bytes),
        kind if kind.is_cipher() => Aead::new(kind, secret?).map(Parsed::Cipher),
        Kind::Ed25519 => {
            let pair =
                secret.map(|secret| ed25519(secret.get(..32)?)).map_or(Some(None), |pair| pair.map(Some))?;
            let public = ParsedPublicKey::new(&ED25519, ed25519_point(public?)?).ok()?;
            Some(Parsed::Ed25519(pair, public))
        }
        kind if kind.is_ecdsa() => {
            let pair = secret.map(|secret| ecdsa::Private::from_pkcs8(kind, secret));
            let pair = pair.map_or(Some(None), |pair| pair.map(Some))?;
            Some(Parsed::Ecdsa(pair, ecdsa::Public::from_spki(kind, public?)?))
        }
        kind if kind.is_ml_dsa() => {
            let pair = secret.map(x509::PrivateKey::from_der).transpose().ok()?;
            let public = x509::PublicKey::from_spki(public?).ok()?;
            let fits = kind.shape() == Some(public.shape());
            let paired = pair.as_ref().is_none_or(|pair| *pair.public() == public);
            (fits && paired).then_some(Parsed::MlDsa(pair, public))
        }
        _ => {
            let pair = secret.map(rsa::Private::from_pkcs8).map_or(Some(None), |pair| pair.map(Some))?;
            Some(Parsed::Rsa(Box::new((pair, rsa::Public::from_spki(public?)?))))
        }
    }
}

/// The pair that belongs to a seed.
pub(super) fn ed25519(seed: &[u8]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).ok()
}

/// The public key of a pair.
pub(super) fn ed25519_public(pair: &Ed25519KeyPair) -> &[u8] {
    pair.public_key().as_ref()
}

/// The 32 bytes of a public key in its SubjectPublicKeyInfo.
pub(super) fn ed25519_point(spki: &[u8]) -> Option<&[u8]> {
    spki.get(spki.len().checked_sub(32)?..)
}

/// A version of a key, kept read until it changes.
pub(super) fn version(
    cx: &impl Reads,
    name: &str,
    key: &KeyRecord,
    number: u64,
) -> Result<Option<Arc<Version>>> {
    let found = cx.memo(&format!("{name}/{number}"), |cx| {
        let record = VERSIONS.get(cx, name, number)?;
        Ok(Found(record.map(|record| Version::parse(number, key, record)).transpose()?.map(Arc::new)))
    })?;
    Ok(found.0.clone())
}

/// What is found in the place of a version.
struct Found(Option<Arc<Version>>);
