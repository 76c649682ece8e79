use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value};
use x509::{KeyEncoding, KeyShape, PrivateKey, Scheme};
use zeroize::Zeroizing;

use crate::alg::{Kind, Way};
use crate::{Alg, PublicKey};

/// The size of new RSA keys.
const RSA_BITS: u64 = 2048;

/// A private key that signs by one algorithm, and is wiped when it is dropped.
pub struct Signer {
    alg: Alg,
    id: String,
    public: PublicKey,
    material: Material,
}

enum Material {
    Library(EncodingKey, Algorithm),
    /// The library would read an RSA key anew for each signature, which costs more than the signature.
    Rsa(PrivateKey, Scheme),
    P521(EcdsaKeyPair),
}

impl Signer {
    /// A new key for this algorithm, in PKCS#8. Nothing, if the library fails.
    pub fn generate(alg: Alg) -> Option<Zeroizing<Vec<u8>>> {
        let (key_type, bits) = match alg.kind() {
            Kind::Rsa => ("rsa", RSA_BITS),
            Kind::P256 => ("ec", 256),
            Kind::P384 => ("ec", 384),
            Kind::P521 => ("ec", 521),
            Kind::Ed25519 => ("ed25519", 0),
        };
        let key = PrivateKey::generate(KeyShape::parse(key_type, bits).ok()?).ok()?;
        key.to_der(KeyEncoding::Pkcs8).ok()
    }

    /// Reads a key in PKCS#8 that headers name by `id`; empty: they do not. Nothing, if it is not one for this algorithm.
    pub fn read(alg: Alg, id: &str, pkcs8: &[u8]) -> Option<Self> {
        let key = PrivateKey::from_der(pkcs8).ok()?;
        let public = PublicKey::of(key.public())?.only(alg, id);
        if public.kind() != alg.kind() {
            return None;
        }
        let material = match (alg.kind(), alg.way()) {
            (Kind::Rsa, _) => Material::Rsa(key, alg.rsa_scheme()?),
            (Kind::Ed25519, Way::Library(algorithm)) => {
                Material::Library(EncodingKey::from_ed_der(pkcs8), algorithm)
            }
            (_, Way::Library(algorithm)) => Material::Library(EncodingKey::from_ec_der(pkcs8), algorithm),
            (_, Way::P521) => {
                Material::P521(EcdsaKeyPair::from_pkcs8(&ECDSA_P521_SHA512_FIXED_SIGNING, pkcs8).ok()?)
            }
        };
        Some(Self { alg, id: id.to_owned(), public, material })
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A token in the compact form (RFC 7515 §7.1). Its header names the algorithm, the key if it has an id, and what
    /// else is given. Nothing, if the library fails.
    pub fn token(&self, header: &[(&str, &str)], payload: &[u8]) -> Option<String> {
        let id = Some(("kid", self.id.as_str())).filter(|(_, id)| !id.is_empty());
        let header = header.iter().copied().chain(id).chain([("alg", self.alg.name())]);
        let header: Map<String, Value> =
            header.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", part(&serde_json::to_vec(&header).ok()?), part(payload));
        let signature = self.sign(message.as_bytes())?;
        Some(format!("{message}.{signature}"))
    }

    fn sign(&self, message: &[u8]) -> Option<String> {
        match &self.material {
            Material::Library(key, algorithm) => crypto::sign(message, key, *algorithm).ok(),
            Material::Rsa(key, scheme) => Some(URL_SAFE_NO_PAD.encode(key.sign(*scheme, message).ok()?)),
            Material::P521(key) => {
                Some(URL_SAFE_NO_PAD.encode(key.sign(&SystemRandom::new(), message).ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn what_one_key_signs_no_other_does() {
        for alg in Alg::ALL {
            let name = alg.name();
            let signer = |id: &str| Signer::read(alg, id, &Signer::generate(alg).unwrap()).unwrap();
            let (own, other) = (signer("k"), signer("k"));
            let token = own.token(&[("typ", "JWT")], b"message").unwrap();
            let message = Message::compact(&token).unwrap();
            assert_eq!(message.signed_by(own.public()), Some(b"message".as_slice()), "{name}");
            assert_eq!(message.signed_by(other.public()), None, "{name}");
            assert_eq!((message.alg(), message.key_id(), message.text("typ")), (Some(alg), "k", Some("JWT")));
            let shown = PublicKey::from_jwk(&Value::Object(own.public().jwk().unwrap())).unwrap();
            assert!(message.signed_by(&shown).is_some(), "{name}");
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let massage = format!("{}.{}.{signature}", signed.split_once('.').unwrap().0, part(b"massage"));
            assert_eq!(Message::compact(&massage).unwrap().signed_by(own.public()), None, "{name}");
        }
    }

    /// Whatever a header names, a key verifies by the algorithms of its own kind, and by one if it is for one.
    #[test]
    fn no_key_is_taken_for_one_of_another_kind() {
        for alg in Alg::ALL {
            let pkcs8 = Signer::generate(alg).unwrap();
            let signer = Signer::read(alg, "", &pkcs8).unwrap();
            let token = signer.token(&[], b"message").unwrap();
            let (_, rest) = token.split_once('.').unwrap();
            for other in Alg::ALL.into_iter().filter(|other| *other != alg) {
                let same = other.kind() == alg.kind();
                assert_eq!(
                    Signer::read(other, "", &pkcs8).is_some(),
                    same,
                    "{} for {}",
                    alg.name(),
                    other.name()
                );
                let header = part(format!(r#"{{"alg":"{}"}}"#, other.name()).as_bytes());
                let swapped = format!("{header}.{rest}");
                let mut free = signer.public().jwk().unwrap();
                free.remove("alg");
                let free = PublicKey::from_jwk(&Value::Object(free)).unwrap();
                let message = Message::compact(&swapped).unwrap();
                assert!(message.signed_by(signer.public()).is_none() && message.signed_by(&free).is_none());
            }
        }
    }

    fn part(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
