use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType,
    Jwk, OctetKeyPairParameters, OctetKeyPairType, RSAKeyParameters, RSAKeyType, ThumbprintHash,
};
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize;
use serde_json::{Map, Value};
use x509::{Certificate, Family};

use crate::Alg;
use crate::alg::{Kind, Way};

/// How many keys of one set are taken: a token without a key id is tried on each.
pub const KEYS_MAX: usize = 100;
/// The bounds of an RSA modulus, in bytes: below, it can be broken; above, it costs more than an honest issuer asks for.
const MODULUS_SIZES: std::ops::RangeInclusive<usize> = 256..=1024;
/// How a point begins that is written down whole.
const WHOLE_POINT: u8 = 4;
/// The size of an Ed25519 key in bytes.
const ED25519_SIZE: usize = 32;

/// A key that signed messages are verified with. It is read once, whatever it came as.
pub struct PublicKey {
    /// By which headers name it; empty: they do not.
    pub id: String,
    /// The only algorithm it is for, if it says so.
    alg: Option<Alg>,
    kind: Kind,
    /// The numbers that make it, each written in the one way there is (RFC 7518 §6).
    numbers: AlgorithmParameters,
    material: Material,
}

enum Material {
    Library(DecodingKey),
    P521(ParsedPublicKey),
}

/// What a set of keys says about a key beside its numbers (RFC 7517 §4).
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    kid: String,
    // Not the library's: it would take ES512 for an algorithm that nobody knows.
    alg: Option<String>,
    r#use: Option<String>,
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

    /// A key of a set. Nothing, if it is of a kind that signs no messages, or is not whole.
    pub fn from_jwk(value: &Value) -> Option<Self> {
        let about = About::deserialize(value).ok()?;
        if about.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let alg = match about.alg.as_deref() {
            None | Some("") => None,
            Some(name) => Some(Alg::parse(name)?),
        };
        let key = match AlgorithmParameters::deserialize(value).ok()? {
            AlgorithmParameters::RSA(key) => Self::rsa(&bytes(&key.n)?, &bytes(&key.e)?),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => Self::ec(Kind::P256, &point(&key, 32)?),
                EllipticCurve::P384 => Self::ec(Kind::P384, &point(&key, 48)?),
                EllipticCurve::P521 => Self::ec(Kind::P521, &point(&key, 66)?),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Self::ed25519(&bytes(&key.x)?)
            }
            _ => None,
        };
        key.map(|key| Self { id: about.kid, alg, ..key })
    }

    /// The key of a certificate, or another that was read already. Nothing, if it is of a kind that signs no messages.
    pub fn of(key: &x509::PublicKey) -> Option<Self> {
        match (key.shape().family, key.shape().bits) {
            (Family::Rsa, _) => {
                let (n, e) = key.rsa_numbers().ok()?;
                Self::rsa(&n, &e)
            }
            (Family::Ec, 256) => Self::ec(Kind::P256, key.bits()),
            (Family::Ec, 384) => Self::ec(Kind::P384, key.bits()),
            (Family::Ec, 521) => Self::ec(Kind::P521, key.bits()),
            (Family::Ed25519, _) => Self::ed25519(key.bits()),
            (Family::Ec | Family::MlDsa, _) => None,
        }
    }

    /// The same key, for one algorithm only, under an id.
    #[must_use]
    pub(crate) fn only(self, alg: Alg, id: &str) -> Self {
        Self { alg: Some(alg), id: id.to_owned(), ..self }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (number(n)?, number(e)?);
        if !MODULUS_SIZES.contains(&n.len()) {
            return None;
        }
        let numbers = RSAKeyParameters { key_type: RSAKeyType::RSA, n: text(n), e: text(e) };
        let material = Material::Library(DecodingKey::from_rsa_raw_components(n, e));
        Some(Self::made(Kind::Rsa, AlgorithmParameters::RSA(numbers), material))
    }

    fn ec(kind: Kind, point: &[u8]) -> Option<Self> {
        let curve = match kind {
            Kind::P256 => EllipticCurve::P256,
            Kind::P384 => EllipticCurve::P384,
            Kind::P521 => EllipticCurve::P521,
            Kind::Rsa | Kind::Ed25519 => return None,
        };
        let (_, coordinates) = point.split_first().filter(|(form, _)| **form == WHOLE_POINT)?;
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let (x, y) = (text(x), text(y));
        let numbers = EllipticCurveKeyParameters { key_type: EllipticCurveKeyType::EC, curve, x, y };
        let material = match kind {
            Kind::P521 => Material::P521(ParsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point).ok()?),
            _ => Material::Library(DecodingKey::from_ec_der(point)),
        };
        Some(Self::made(kind, AlgorithmParameters::EllipticCurve(numbers), material))
    }

    fn ed25519(key: &[u8]) -> Option<Self> {
        if key.len() != ED25519_SIZE {
            return None;
        }
        let numbers = OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: text(key),
        };
        let material = Material::Library(DecodingKey::from_ed_der(key));
        Some(Self::made(Kind::Ed25519, AlgorithmParameters::OctetKeyPair(numbers), material))
    }

    fn made(kind: Kind, numbers: AlgorithmParameters, material: Material) -> Self {
        Self { id: String::new(), alg: None, kind, numbers, material }
    }

    /// How a set of keys writes it: its numbers, what it is for, and its id and algorithm if it has them.
    pub fn jwk(&self) -> Option<Map<String, Value>> {
        let Value::Object(mut jwk) = serde_json::to_value(&self.numbers).ok()? else { return None };
        let alg = self.alg.map(Alg::name);
        let id = Some(self.id.as_str()).filter(|id| !id.is_empty());
        for (name, value) in [("use", Some("sig")), ("kid", id), ("alg", alg)] {
            jwk.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        Some(jwk)
    }

    /// The members that make the key, and no others, as RFC 7638 orders and spells them: one text for one key.
    pub fn canonical(&self) -> Option<String> {
        // A map of JSON is ordered by name, as that wants it.
        Some(serde_json::to_value(&self.numbers).ok()?.to_string())
    }

    /// The key's name: the SHA-256 over [`canonical`](Self::canonical) (RFC 7638).
    pub fn thumbprint(&self) -> Option<[u8; 32]> {
        let jwk = Jwk { common: CommonParameters::default(), algorithm: self.numbers.clone() };
        let name = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
        URL_SAFE_NO_PAD.decode(name).ok()?.try_into().ok()
    }

    /// Whether the owner of this key signed `message`, by this algorithm.
    pub(crate) fn verifies(&self, alg: Alg, message: &[u8], signature: &str) -> bool {
        if self.alg.is_some_and(|own| own != alg) || alg.kind() != self.kind {
            return false;
        }
        match (alg.way(), &self.material) {
            (Way::Library(algorithm), Material::Library(key)) => {
                crypto::verify(signature, message, key, algorithm).is_ok_and(|genuine| genuine)
            }
            (Way::P521, Material::P521(key)) => URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| key.verify_sig(message, &signature).is_ok()),
            _ => false,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Some write what must have no padding with it.
fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A number without the zeros that some write in front.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).filter(|number| !number.is_empty())
}

/// A point, each coordinate as long as the curve's field.
fn point(key: &EllipticCurveKeyParameters, size: usize) -> Option<Vec<u8>> {
    let mut point = vec![WHOLE_POINT];
    for text in [&key.x, &key.y] {
        let coordinate = bytes(text)?;
        let coordinate = number(&coordinate)?;
        point.resize(point.len() + size.checked_sub(coordinate.len())?, 0);
        point.extend_from_slice(coordinate);
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
        // Zeros in front of a number are no part of it, nor is padding.
        let padded = format!("{}==", URL_SAFE_NO_PAD.encode([0, 1, 0, 1]));
        let key = PublicKey::from_jwk(&json!({"kty": "RSA", "n": n, "e": padded})).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key.thumbprint().unwrap()), name);
    }

    #[test]
    fn a_key_of_every_kind_is_written_as_it_was_read() {
        for (key_type, bits, alg) in [
            ("rsa", 2048, "PS384"),
            ("ec", 256, "ES256"),
            ("ec", 384, "ES384"),
            ("ec", 521, "ES512"),
            ("ed25519", 0, "EdDSA"),
        ] {
            let key = x509::PrivateKey::generate(x509::KeyShape::parse(key_type, bits).unwrap()).unwrap();
            let key = PublicKey::of(key.public()).unwrap().only(Alg::parse(alg).unwrap(), "k");
            let jwk = Value::Object(key.jwk().unwrap());
            assert_eq!((&jwk["alg"], &jwk["kid"], &jwk["use"]), (&json!(alg), &json!("k"), &json!("sig")));
            let read = PublicKey::from_jwk(&jwk).unwrap();
            assert_eq!((read.jwk(), read.thumbprint()), (key.jwk(), key.thumbprint()));
            let digest =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.canonical().unwrap().as_bytes());
            assert_eq!(digest.as_ref(), key.thumbprint().unwrap());
            for (name, value) in
                [("use", "enc"), ("alg", "none"), ("alg", "HS256"), ("kty", "oct"), ("crv", "P-1")]
            {
                let mut jwk = jwk.clone();
                jwk[name] = value.into();
                assert!(PublicKey::from_jwk(&jwk).is_none() || (key_type, name) == ("rsa", "crv"), "{jwk}");
            }
        }
    }

    #[test]
    fn half_a_key_is_none() {
        let small = URL_SAFE_NO_PAD.encode([255; 128]);
        for jwk in [
            json!({"kty": "RSA", "n": small, "e": "AQAB"}),
            json!({"kty": "RSA", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AQ"}),
            json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1; 33]), "y": "AQ"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}),
            json!({"kty": "OKP", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode([1; 32])}),
            json!({"kty": "oct", "k": "AQ"}),
            json!([]),
        ] {
            assert!(PublicKey::from_jwk(&jwk).is_none(), "{jwk}");
        }
    }
}
