//! Signing and verifying with a key: which version, which hash, which form.

use kit::loose::{Flag, Text};
use kit::{Error, Reads, Result};

use super::ecdsa::Marshaling;
use super::hash::{self, Hash};
use super::input::{flag, word};
use super::key::{Key, Use};
use super::kind::Kind;
use super::refusal::Refusal;
use super::rsa::{Padding, Salt};
use super::text;
use super::version::{Parsed, Version, ed25519, ed25519_public};

/// The parameters that say how to sign, as they came.
pub(super) struct Words<'a> {
    pub(super) urlalgorithm: Option<&'a Text>,
    pub(super) hash_algorithm: Option<&'a Text>,
    pub(super) algorithm: Option<&'a Text>,
    pub(super) marshaling_algorithm: Option<&'a Text>,
    pub(super) prehashed: Option<Flag>,
    pub(super) salt_length: Option<&'a Text>,
    pub(super) signature_algorithm: Option<&'a Text>,
}

/// How to sign.
pub(super) struct Manner {
    /// Nothing: the input stands in the signature as it is.
    hash: Option<Hash>,
    prehashed: bool,
    marshaling: Marshaling,
    salt: Salt,
    scheme: String,
}

/// A signature, and the public key if only the context tells which it is.
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) version: u64,
    pub(super) public: Option<Vec<u8>>,
}

/// The hash function that the first of these words names; none where it says so.
pub(super) fn named_hash(words: [Option<&Text>; 3]) -> Result<Option<Hash>> {
    match words.into_iter().map(word).find(|name| !name.is_empty()).unwrap_or(hash::DEFAULT) {
        "none" => Ok(None),
        name => match Hash::named(name) {
            None => Err(Error::invalid(format!("invalid hash algorithm {name:?}"))),
            known => Ok(known),
        },
    }
}

impl Manner {
    /// Reads the parameters.
    pub(super) fn read(words: &Words<'_>) -> Result<Self> {
        let marshaling = match words.marshaling_algorithm.map_or("asn1", |text| text.0.as_str()) {
            "asn1" => Marshaling::Asn1,
            "jws" => Marshaling::Jws,
            other => return Err(Error::invalid(format!("invalid marshaling type {other:?}"))),
        };
        Ok(Self {
            hash: named_hash([words.urlalgorithm, words.hash_algorithm, words.algorithm])?,
            prehashed: flag(words.prehashed),
            marshaling,
            salt: salt(words.salt_length.map_or("auto", |text| text.0.as_str()))?,
            scheme: word(words.signature_algorithm).to_owned(),
        })
    }

    /// Refuses what does not go with the key.
    pub(super) fn fits(&self, key: &Key, what: &str) -> Result<()> {
        if !key.record.kind.signs() {
            let kind = key.record.kind.name();
            return Err(Error::invalid(format!("key type {kind} does not support {what}")));
        }
        if self.prehashed && key.record.kind.is_ml_dsa() {
            return Err(Error::invalid(
                "prehashed: an ML-DSA key signs the message itself, not a hash of it; send the message, and leave prehashed out",
            ));
        }
        let hashes = key.record.kind == Kind::Ed25519;
        if self.hash.is_none() && !hashes && !(self.prehashed && self.scheme == "pkcs1v15") {
            return Err(Error::invalid(
                "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15",
            ));
        }
        Ok(())
    }

    /// What is signed: the input, or its hash where the algorithm does not hash by itself.
    fn message(&self, kind: Kind, input: Vec<u8>) -> Vec<u8> {
        match self.hash {
            Some(hash) if !kind.signs_whole() && !self.prehashed => hash.digest(&input),
            _ => input,
        }
    }

    fn padding(&self) -> Result<Padding, Refusal> {
        match self.scheme.as_str() {
            "" | "pss" => Ok(Padding::Pss(self.salt)),
            "pkcs1v15" => Ok(Padding::Pkcs1),
            other => Err(Refusal::mistaken(format!("unsupported rsa signature algorithm {other}"))),
        }
    }

    /// Signs with the version that is asked for.
    pub(super) fn sign(
        &self,
        cx: &impl Reads,
        key: &Key,
        asked: i64,
        context: &[u8],
        input: Vec<u8>,
    ) -> Result<Result<Signed, Refusal>> {
        if let Err(refusal) = key.record.usable() {
            return Ok(Err(refusal));
        }
        let version = match key.version_for(cx, asked, Use::Signing)? {
            Ok(version) => version,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let message = self.message(key.record.kind, input);
        Ok(self.sign_with(&version, context, &message))
    }

    fn sign_with(&self, version: &Version, context: &[u8], message: &[u8]) -> Result<Signed, Refusal> {
        let missing = || Refusal::asked("requested version for signing does not contain a private part");
        let mut public = None;
        let bytes = match &version.parsed {
            Parsed::Ed25519(pair, _) => {
                let pair = pair.as_ref().ok_or_else(missing)?;
                pair.try_sign(message)
                    .map_err(|_| Refusal::inner("the key could not sign"))?
                    .as_ref()
                    .to_vec()
            }
            Parsed::Bytes => {
                let pair = derived(version, context)?;
                public = Some(ed25519_public(&pair).to_vec());
                pair.try_sign(message)
                    .map_err(|_| Refusal::inner("the key could not sign"))?
                    .as_ref()
                    .to_vec()
            }
            Parsed::Ecdsa(pair, _) => pair.as_ref().ok_or_else(missing)?.sign(self.marshaling, message)?,
            Parsed::Rsa(pair) => {
                pair.0.as_ref().ok_or_else(missing)?.sign(self.padding()?, self.hash, message)?
            }
            Parsed::MlDsa(pair, public) => {
                let pair = pair.as_ref().ok_or_else(missing)?;
                let signed = ml_dsa(public).and_then(|scheme| pair.sign(scheme, message));
                signed.map_err(|_| Refusal::inner("the key could not sign"))?
            }
            Parsed::Cipher(_) => return Err(Refusal::inner("the key does not sign")),
        };
        let signature = match self.marshaling {
            Marshaling::Asn1 => text::write(version.number, &bytes),
            Marshaling::Jws => text::write_url(version.number, &bytes),
        };
        Ok(Signed { signature, version: version.number, public })
    }

    /// Whether the version that the signature names made it.
    pub(super) fn verify(
        &self,
        cx: &impl Reads,
        key: &Key,
        context: &[u8],
        input: Vec<u8>,
        signature: &str,
    ) -> Result<Result<bool, Refusal>> {
        let parts = match key.record.usable().and_then(|()| {
            text::parts(signature).map_err(|why| Refusal::asked(format!("invalid signature: {why}")))
        }) {
            Ok(parts) => parts,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let version = match key.version_of(cx, parts.version, "signature")? {
            Ok(version) => version,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let bytes = match self.marshaling {
            Marshaling::Asn1 => text::decode(parts.body).ok(),
            Marshaling::Jws => text::decode_url(parts.body),
        };
        let Some(bytes) = bytes else {
            return Ok(Err(Refusal::asked("invalid base64 signature value")));
        };
        let message = self.message(key.record.kind, input);
        Ok(self.verify_with(&version, context, &message, &bytes))
    }

    fn verify_with(
        &self,
        version: &Version,
        context: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Refusal> {
        match &version.parsed {
            Parsed::Ed25519(_, public) => Ok(public.verify_sig(message, signature).is_ok()),
            Parsed::Bytes => {
                let pair = derived(version, context)?;
                let public = aws_lc_rs::signature::UnparsedPublicKey::new(
                    &aws_lc_rs::signature::ED25519,
                    ed25519_public(&pair),
                );
                Ok(public.verify(message, signature).is_ok())
            }
            Parsed::Ecdsa(_, public) => public.verify(self.marshaling, message, signature),
            Parsed::Rsa(pair) => pair.1.verify(self.padding()?, self.hash, message, signature),
            Parsed::MlDsa(_, public) => {
                let verified =
                    ml_dsa(public).and_then(|scheme| public.verify(scheme, message, signature, "the input"));
                Ok(verified.is_ok())
            }
            Parsed::Cipher(_) => Err(Refusal::inner("the key does not verify")),
        }
    }
}

/// The scheme of an ML-DSA key: it has but one.
fn ml_dsa(key: &x509::PublicKey) -> x509::Result<x509::Scheme> {
    x509::Scheme::choose(key.shape(), 0, x509::Padding::Pkcs1)
}

/// The pair of a context.
fn derived(version: &Version, context: &[u8]) -> Result<aws_lc_rs::signature::Ed25519KeyPair, Refusal> {
    let seed = version.derive(context, 32);
    let seed = seed.map_err(|why| Refusal::mistaken(format!("error deriving key: {why}")))?;
    ed25519(&seed).ok_or_else(|| Refusal::inner("the key could not be derived"))
}

fn salt(text: &str) -> Result<Salt> {
    match text.to_lowercase().as_str() {
        "auto" => Ok(Salt::Auto),
        "hash" => Ok(Salt::Hash),
        other => match other.parse::<i64>() {
            Err(_) => Err(Error::invalid(format!("salt length neither 'auto', 'hash', nor an int: {text}"))),
            // Go's number for it.
            Ok(-1) => Ok(Salt::Hash),
            Ok(size) => usize::try_from(size)
                .map(Salt::Exactly)
                .map_err(|_| Error::invalid(format!("salt length is invalid: {size}"))),
        },
    }
}
