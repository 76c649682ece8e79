//! The keys that identity tokens are signed with, as they are kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jws::{Alg, PublicKey, Signer};
use kit::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// How keys may sign.
pub(super) const ALGORITHMS: [Alg; 7] =
    [Alg::Rs256, Alg::Rs384, Alg::Rs512, Alg::Es256, Alg::Es384, Alg::Es512, Alg::EdDsa];

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
    algorithm: Alg,
    /// The whole key, as it is shown.
    pub(super) jwk: Map<String, Value>,
}

/// The algorithm of this name.
///
/// # Errors
/// If keys may not sign by it.
pub(super) fn parse(name: &str) -> Result<Alg> {
    let known = Alg::parse(name).filter(|alg| ALGORITHMS.contains(alg));
    known.ok_or_else(|| Error::invalid(format!("unknown signing algorithm {name:?}")))
}

impl Pair {
    /// A new key under this id.
    ///
    /// # Errors
    /// If it cannot be made, which is a fault of ours.
    pub(super) fn generate(algorithm: Alg, id: String) -> Result<Self> {
        let failed = || Error::internal("a key for identity tokens could not be made");
        let private = Signer::generate(algorithm).ok_or_else(failed)?;
        let signer = Signer::read(algorithm, &id, &private).ok_or_else(failed)?;
        let jwk = signer.public().jwk().ok_or_else(failed)?;
        Ok(Self { id, private: Hidden(private), public: Public { algorithm, jwk } })
    }

    /// Makes it ready to sign.
    ///
    /// # Errors
    /// If the stored key was damaged.
    pub(super) fn signer(&self) -> Result<Signer> {
        let damaged = || Error::internal("a stored key for identity tokens does not read");
        Signer::read(self.public.algorithm, &self.id, &self.private.0).ok_or_else(damaged)
    }
}

impl Public {
    /// Makes it ready to verify: by its own algorithm, for a token has no say in that.
    pub(super) fn key(&self) -> Option<PublicKey> {
        PublicKey::from_jwk(&Value::Object(self.jwk.clone()))
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
    use jws::Message;

    use super::*;

    #[test]
    fn a_stored_key_signs_and_what_is_shown_of_it_verifies() {
        for algorithm in ALGORITHMS {
            let name = algorithm.name();
            let pair = Pair::generate(algorithm, "k".to_owned()).unwrap();
            let stored = serde_json::to_string(&pair).unwrap();
            let pair: Pair = serde_json::from_str(&stored).unwrap();
            let token = pair.signer().unwrap().token(&[], b"{}").unwrap();
            let message = Message::compact(&token).unwrap();
            assert!(message.signed_by(&pair.public.key().unwrap()).is_some(), "{name}");
            let other = Pair::generate(algorithm, "k".to_owned()).unwrap();
            assert!(message.signed_by(&other.public.key().unwrap()).is_none(), "{name}");
            assert_eq!((&pair.public.jwk["alg"], &pair.public.jwk["kid"]), (&name.into(), &"k".into()));
            assert!(!format!("{pair:?}").contains(&STANDARD.encode(&*pair.private.0)[20..60]), "{name}");
        }
        assert!(parse("PS256").is_err() && parse("none").is_err());
    }
}
