use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, RsaParameters, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use x509::{Certificate, Family};

use crate::Alg;

/// How many keys of one set are taken: a token without a key id is tried on each.
pub const KEYS_MAX: usize = 100;
/// The bounds of an RSA modulus, in bytes: below, it can be broken; above, it costs more than an honest issuer asks for.
const MODULUS_SIZES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key that signed tokens are verified with.
pub struct PublicKey {
    /// By which headers name it; empty: they do not.
    pub id: String,
    /// The only algorithm it is for, if its set says so.
    alg: Option<Alg>,
    material: Material,
}

enum Material {
    /// A whole SubjectPublicKeyInfo of an RSA key.
    RsaInfo(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, or a whole SubjectPublicKeyInfo.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Curve {
    P256,
    P384,
    P521,
}

/// A key as a set of keys writes it (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublicKey {
    /// The key in a PEM block: a public key, or the certificate of one.
    pub fn from_pem(text: &str) -> Option<Self> {
        let blocks = x509::pem::blocks(text).ok()?;
        let block = blocks.first()?;
        let key = match Certificate::from_der(&block.der) {
            Ok(certificate) => certificate.public_key().clone(),
            Err(_) => x509::PublicKey::from_spki(&block.der).ok()?,
        };
        Self::of(&key)
    }

    /// A key of a set. Nothing, if it is of a kind that signs no tokens, or is not whole.
    pub fn from_jwk(value: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(value).ok()?;
        if jwk.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let alg = match jwk.alg.as_deref() {
            None | Some("") => None,
            Some(name) => Some(Alg::parse(name)?),
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
                if !MODULUS_SIZES.contains(&n.len()) {
                    return None;
                }
                Material::Rsa { n, e }
            }
            ("EC", Some("P-256")) => Material::Ec(Curve::P256, point(&jwk, 32)?),
            ("EC", Some("P-384")) => Material::Ec(Curve::P384, point(&jwk, 48)?),
            ("EC", Some("P-521")) => Material::Ec(Curve::P521, point(&jwk, 66)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        Some(Self { id: jwk.kid, alg, material })
    }

    /// The key of a certificate, or another that was read already. Nothing, if it is of a kind that signs no messages.
    pub fn of(key: &x509::PublicKey) -> Option<Self> {
        let info = key.spki().to_vec();
        let material = match (key.shape().family, key.shape().bits) {
            (Family::Rsa, _) => Material::RsaInfo(info),
            (Family::Ec, 256) => Material::Ec(Curve::P256, info),
            (Family::Ec, 384) => Material::Ec(Curve::P384, info),
            (Family::Ec, 521) => Material::Ec(Curve::P521, info),
            (Family::Ec, _) => return None,
            (Family::Ed25519, _) => Material::Ed25519(info),
        };
        Some(Self { id: String::new(), alg: None, material })
    }

    /// The members that make the key, and no others, as RFC 7638 orders and spells them: one text for one key. Nothing
    /// for a key that did not come as numbers.
    pub fn canonical(&self) -> Option<String> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.material {
            Material::RsaInfo(_) => None,
            Material::Rsa { n, e } => Some(format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n))),
            Material::Ec(curve, point) => {
                let (crv, size) = match curve {
                    Curve::P256 => ("P-256", 32),
                    Curve::P384 => ("P-384", 48),
                    Curve::P521 => ("P-521", 66),
                };
                let (x, y) = point
                    .split_first()
                    .filter(|(form, rest)| **form == 4 && rest.len() == 2 * size)?
                    .1
                    .split_at(size);
                Some(format!(r#"{{"crv":"{crv}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y)))
            }
            Material::Ed25519(key) if key.len() == 32 => {
                Some(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(key)))
            }
            Material::Ed25519(_) => None,
        }
    }

    /// The SHA-256 over [`canonical`](Self::canonical): the key's name (RFC 7638).
    pub fn thumbprint(&self) -> Option<[u8; 32]> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.canonical()?.as_bytes());
        digest.as_ref().try_into().ok()
    }

    /// Whether the owner of this key signed `message`, by this algorithm.
    pub fn verify(&self, alg: Alg, message: &[u8], signature: &[u8]) -> bool {
        if self.alg.is_some_and(|own| own != alg) {
            return false;
        }
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::RsaInfo(info) => rsa(alg).is_some_and(|algorithm| by(algorithm, info)),
            Material::Rsa { n, e } => rsa(alg).is_some_and(|parameters| {
                PublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            Material::Ec(curve, point) => match (alg, curve) {
                (Alg::Es256, Curve::P256) => by(&signature::ECDSA_P256_SHA256_FIXED, point),
                (Alg::Es384, Curve::P384) => by(&signature::ECDSA_P384_SHA384_FIXED, point),
                (Alg::Es512, Curve::P521) => by(&signature::ECDSA_P521_SHA512_FIXED, point),
                _ => false,
            },
            Material::Ed25519(key) => alg == Alg::EdDsa && by(&signature::ED25519, key),
        }
    }
}

fn rsa(alg: Alg) -> Option<&'static RsaParameters> {
    match alg {
        Alg::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Alg::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Alg::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Alg::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Alg::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Alg::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok()
}

/// A number without the zeros that some write in front.
fn number(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = bytes(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).filter(|number| !number.is_empty()).map(<[u8]>::to_vec)
}

/// A point, each coordinate as long as the curve's field.
fn point(jwk: &Jwk, size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for text in [&jwk.x, &jwk.y] {
        let coordinate = number(text)?;
        point.resize(point.len() + size.checked_sub(coordinate.len())?, 0);
        point.extend_from_slice(&coordinate);
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of RFC 7638, section 3.1; members that make no difference make none.
    #[test]
    fn one_key_has_one_name() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::from_jwk(
            &json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}),
        )
        .unwrap();
        let name = URL_SAFE_NO_PAD.encode(key.thumbprint().unwrap());
        assert_eq!(name, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // Zeros in front of a number are no part of it.
        let padded = URL_SAFE_NO_PAD.encode([0, 1, 0, 1]);
        let key = PublicKey::from_jwk(&json!({"kty": "RSA", "n": n, "e": padded})).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key.thumbprint().unwrap()), name);
    }
}
