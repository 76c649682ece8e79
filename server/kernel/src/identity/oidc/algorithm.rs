//! The algorithms that identity tokens are signed with: keys made, used and shown.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kit::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Algorithm {
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "ES512")]
    Es512,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// All of them, by the names that JOSE gives them.
pub(super) const ALGORITHMS: [(&str, Algorithm); 7] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
    ("EdDSA", Algorithm::EdDsa),
];

/// A private key that is wiped when it is dropped, hidden from `Debug`, and kept in base64.
#[derive(Clone)]
pub(super) struct Hidden(Zeroizing<Vec<u8>>);

/// A key that signs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Pair {
    pub(super) id: String,
    /// PKCS#8.
    private: Hidden,
    pub(super) public: Public,
}

/// A key that verifies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Public {
    pub(super) algorithm: Algorithm,
    /// PKCS#1 of RSA keys, the point of others; in base64.
    bytes: String,
    /// What is shown of it.
    pub(super) jwk: Map<String, Value>,
}

/// A private key, ready to sign.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Algorithm {
    pub(super) fn parse(name: &str) -> Result<Self> {
        let known = ALGORITHMS.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| Error::invalid(format!("unknown signing algorithm {name:?}")))
    }

    pub(super) fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(_, known)| *known == self).map_or("RS256", |(name, _)| *name)
    }

    /// Whether a new key of it costs many milliseconds.
    pub(super) fn is_costly(self) -> bool {
        matches!(self, Self::Rs256 | Self::Rs384 | Self::Rs512)
    }

    /// The left half of a hash of `text`, as tokens name what they go with.
    pub(super) fn half_hash(self, text: &str) -> String {
        let hash = digest::digest(self.digest(), text.as_bytes());
        let half = hash.as_ref().get(..hash.as_ref().len() / 2).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(half)
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Es256 => &digest::SHA256,
            Self::Rs384 | Self::Es384 => &digest::SHA384,
            Self::Rs512 | Self::Es512 | Self::EdDsa => &digest::SHA512,
        }
    }

    /// The curve, how it signs, and the size of a coordinate in bytes; none of keys that have none.
    fn curve(self) -> Option<(&'static str, &'static EcdsaSigningAlgorithm)> {
        match self {
            Self::Es256 => Some(("P-256", &lc::ECDSA_P256_SHA256_FIXED_SIGNING)),
            Self::Es384 => Some(("P-384", &lc::ECDSA_P384_SHA384_FIXED_SIGNING)),
            Self::Es512 => Some(("P-521", &lc::ECDSA_P521_SHA512_FIXED_SIGNING)),
            _ => None,
        }
    }

    /// A new key under this id.
    ///
    /// # Errors
    /// If it cannot be made, which is a fault of ours.
    pub(super) fn generate(self, id: String) -> Result<Pair> {
        let failed = |_| Error::internal("a key for identity tokens could not be made");
        let (private, public, numbers) = if let Some((curve, signing)) = self.curve() {
            let pair = EcdsaKeyPair::generate(signing).map_err(failed)?;
            let private = pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec();
            let point = pair.public_key().as_ref().to_vec();
            let numbers = ec_numbers(curve, &point);
            (private, point, numbers)
        } else if self == Self::EdDsa {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let private = pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec();
            let point = pair.public_key().as_ref().to_vec();
            let numbers = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&point)});
            (private, point, numbers)
        } else {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
            let public = pair.public_key();
            let modulus = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
            let exponent = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
            let numbers = json!({"kty": "RSA", "n": modulus, "e": exponent});
            (der.as_ref().to_vec(), public.as_ref().to_vec(), numbers)
        };
        let mut jwk = match numbers {
            Value::Object(numbers) => numbers,
            _ => Map::new(),
        };
        for (name, value) in [("use", "sig"), ("kid", id.as_str()), ("alg", self.name())] {
            jwk.insert(name.to_owned(), value.into());
        }
        let public = Public { algorithm: self, bytes: STANDARD.encode(public), jwk };
        Ok(Pair { id, private: Hidden(Zeroizing::new(private)), public })
    }
}

/// A point that is written down whole: `04`, then both coordinates.
fn ec_numbers(curve: &str, point: &[u8]) -> Value {
    let coordinates = point.get(1..).unwrap_or_default();
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

impl Pair {
    /// Makes it ready to sign.
    ///
    /// # Errors
    /// If the stored key was damaged.
    pub(super) fn signer(&self) -> Result<Signer> {
        let damaged = |_| Error::internal("a stored key for identity tokens does not read");
        let algorithm = self.public.algorithm;
        if let Some((_, signing)) = algorithm.curve() {
            return EcdsaKeyPair::from_pkcs8(signing, &self.private.0).map(Signer::Ec).map_err(damaged);
        }
        if algorithm == Algorithm::EdDsa {
            return Ed25519KeyPair::from_pkcs8(&self.private.0).map(Signer::Ed).map_err(damaged);
        }
        RsaKeyPair::from_pkcs8(&self.private.0).map(Signer::Rsa).map_err(damaged)
    }
}

impl Signer {
    /// Signs as JOSE wants it: both numbers of an ECDSA signature at fixed width.
    ///
    /// # Errors
    /// If the library fails.
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::internal("an identity token could not be signed");
        match self {
            Self::Rsa(pair) => {
                let encoding: &dyn lc::RsaEncoding = match algorithm {
                    Algorithm::Rs384 => &lc::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &lc::RSA_PKCS1_SHA512,
                    _ => &lc::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::Ec(pair) => Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl Public {
    /// Whether this key made this signature, by its own algorithm: a token has no say in that.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn lc::VerificationAlgorithm = match self.algorithm {
            Algorithm::Rs256 => &lc::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Es256 => &lc::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &lc::ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &lc::ECDSA_P521_SHA512_FIXED,
            Algorithm::EdDsa => &lc::ED25519,
        };
        let Ok(bytes) = STANDARD.decode(&self.bytes) else { return false };
        UnparsedPublicKey::new(algorithm, bytes).verify(message, signature).is_ok()
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
        let bytes = STANDARD.decode(&*text).map_err(serde::de::Error::custom)?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_key_signs_no_other_does() {
        for (name, algorithm) in ALGORITHMS {
            let pair = algorithm.generate("k".to_owned()).unwrap();
            let stored = serde_json::to_string(&pair).unwrap();
            let pair: Pair = serde_json::from_str(&stored).unwrap();
            let signature = pair.signer().unwrap().sign(algorithm, b"message").unwrap();
            assert!(pair.public.verifies(b"message", &signature), "{name}");
            assert!(!pair.public.verifies(b"massage", &signature), "{name}");
            let other = algorithm.generate("k".to_owned()).unwrap();
            assert!(!other.public.verifies(b"message", &signature), "{name}");
            assert_eq!(pair.public.jwk["alg"], name);
            assert!(!format!("{pair:?}").contains(&stored[20..60]), "{name}");
        }
    }
}
