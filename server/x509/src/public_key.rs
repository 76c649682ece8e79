//! Public keys: which shape they have, what identifies them, what they have signed.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::{Error, MlDsa, Result, Scheme, tlv, weak};
use aws_lc_rs::{digest, signature::UnparsedPublicKey};
use der::{
    Decode, Reader, SliceReader,
    asn1::{BitStringRef, UintRef},
};
use std::{fmt, ops::Range};

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// RSA.
    Rsa,
    /// ECDSA over a NIST curve.
    Ec,
    /// Ed25519.
    Ed25519,
    /// ML-DSA, which quantum computers do not break.
    MlDsa,
}

impl Family {
    /// The API's word for it: `rsa`, `ec`, `ed25519`, `ml-dsa`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Rsa => "rsa",
            Family::Ec => "ec",
            Family::Ed25519 => "ed25519",
            Family::MlDsa => "ml-dsa",
        }
    }
}

/// A kind of key with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyShape {
    /// The kind.
    pub family: Family,
    /// Bits of the RSA modulus or of the curve's field; 256 for Ed25519; the number of the parameter set for ML-DSA.
    pub bits: u32,
}

/// RSA keys below this can be broken by who has the money.
pub(crate) const RSA_BITS_MIN: u32 = 2048;
/// RSA keys above this cost more to verify than an honest peer would ask for.
const RSA_BITS_MAX: u32 = 8192;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

impl KeyShape {
    /// The shape that `key_type` and `key_bits` of the API ask for; 0 bits means the usual size.
    pub fn parse(key_type: &str, key_bits: u64) -> Result<Self> {
        let unsupported = |family: &str, sizes: &str| {
            Err(Error::refused(format!(
                "unsupported bit length for {family} key: {key_bits}; it is one of {sizes}"
            )))
        };
        match (key_type, key_bits) {
            ("rsa", 0) => Ok(KeyShape { family: Family::Rsa, bits: 2048 }),
            ("rsa", 2048 | 3072 | 4096 | 8192) => Ok(KeyShape { family: Family::Rsa, bits: key_bits as u32 }),
            ("rsa", 1..2048) => Err(Error::refused(format!(
                "RSA keys < 2048 bits are unsafe and not supported: got {key_bits}"
            ))),
            ("rsa", _) => unsupported("RSA", "2048, 3072, 4096, 8192"),
            ("ec", 0) => Ok(KeyShape { family: Family::Ec, bits: 256 }),
            ("ec", 256 | 384 | 521) => Ok(KeyShape { family: Family::Ec, bits: key_bits as u32 }),
            ("ec", _) => unsupported("EC", "256, 384, 521"),
            ("ed25519", _) => Ok(KeyShape { family: Family::Ed25519, bits: 256 }),
            ("ml-dsa", 44 | 65 | 87) => Ok(KeyShape { family: Family::MlDsa, bits: key_bits as u32 }),
            ("ml-dsa", 0) => {
                Err(Error::refused("a key of type ml-dsa wants its parameter_set: it is 44, 65 or 87"))
            }
            ("ml-dsa", other) => Err(Error::refused(format!(
                "invalid parameter set {other} for key type ml-dsa: it is 44, 65 or 87"
            ))),
            (other, _) => Err(Error::refused(format!("unknown key type {other}"))),
        }
    }
}

impl fmt::Display for KeyShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::Ed25519 => f.write_str("ed25519"),
            Family::MlDsa => write!(f, "ml-dsa-{}", self.bits),
            family => write!(f, "{} {}", family.name(), self.bits),
        }
    }
}

/// A public key, kept as the SubjectPublicKeyInfo it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    key: Range<usize>,
    shape: KeyShape,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo. Weak and unusual keys are refused here, so that none is ever certified.
    pub fn from_spki(spki: &[u8]) -> Result<Self> {
        const WHAT: &str = "public key";
        let mut reader = SliceReader::new(spki).reading(WHAT)?;
        let (algorithm, parameters, key) = reader
            .sequence(|outer| {
                let (algorithm, parameters) = outer.sequence(|inner| {
                    let algorithm = ObjectIdentifier::decode(inner)?;
                    let parameters = match algorithm == EC {
                        true => Parameters::Curve(ObjectIdentifier::decode(inner)?),
                        false if inner.is_finished() => Parameters::None,
                        false if inner.tlv_bytes()? == tlv::NULL => Parameters::Null,
                        false => Parameters::Other,
                    };
                    Ok::<_, der::Error>((algorithm, parameters))
                })?;
                let key = BitStringRef::decode(outer)?;
                let key = key.as_bytes().ok_or_else(|| der::Error::from(der::ErrorKind::Failed))?;
                Ok::<_, der::Error>((algorithm, parameters, key))
            })
            .reading(WHAT)?;
        reader.finish().reading(WHAT)?;
        let shape = shape_of(algorithm, parameters, key)?;
        let start = spki.len() - key.len();
        Ok(PublicKey { spki: spki.to_vec(), key: start..spki.len(), shape })
    }

    /// Its kind and size.
    pub fn shape(&self) -> KeyShape {
        self.shape
    }

    /// The SubjectPublicKeyInfo, byte for byte as it came.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The subject key identifier: SHA-1 over the key's bits, as RFC 5280 §4.2.1.2 (1) has it. A name, not a proof.
    pub fn key_id(&self) -> Vec<u8> {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.bits()).as_ref().to_vec()
    }

    /// Checks that the key's owner signed `message`.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8], of: &'static str) -> Result<()> {
        let algorithm = scheme.verification(self.shape).ok_or(Error::BadSignature(of))?;
        UnparsedPublicKey::new(algorithm, self.bits())
            .verify(message, signature)
            .map_err(|_| Error::BadSignature(of))
    }

    /// Refuses RSA keys that are long enough, and can be broken all the same.
    ///
    /// # Errors
    /// With what is known of the key.
    pub fn check_strength(&self) -> Result<()> {
        match self.shape.family {
            Family::Rsa => weak::check(&self.rsa_numbers()?.0),
            Family::Ec | Family::Ed25519 | Family::MlDsa => Ok(()),
        }
    }

    /// The key alone: an Ed25519 or ML-DSA key, an EC point, or the RSAPublicKey of PKCS#1.
    pub fn bits(&self) -> &[u8] {
        self.spki.get(self.key.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.shape, hex::encode(self.key_id()))
    }
}

/// What stands beside the algorithm of a public key.
enum Parameters {
    None,
    Null,
    Curve(ObjectIdentifier),
    Other,
}

fn shape_of(algorithm: ObjectIdentifier, parameters: Parameters, key: &[u8]) -> Result<KeyShape> {
    if algorithm == RSA {
        // RFC 3279 §2.3.1: the parameters are there, and are NULL.
        return match parameters {
            Parameters::Null => rsa_shape(key),
            _ => Err(Error::malformed("public key", "the parameters of an RSA key are NULL")),
        };
    }
    if algorithm == ED25519 && key.len() == 32 {
        if !matches!(parameters, Parameters::None) {
            return Err(Error::malformed("public key", "an Ed25519 key has no parameters"));
        }
        return Ok(KeyShape { family: Family::Ed25519, bits: 256 });
    }
    if let Some(set) = MlDsa::of(algorithm) {
        return ml_dsa_shape(set, &parameters, key);
    }
    let bits = match parameters {
        Parameters::Curve(P256) => 256u32,
        Parameters::Curve(P384) => 384,
        Parameters::Curve(P521) => 521,
        Parameters::Curve(other) => {
            return Err(Error::refused(format!(
                "the curve {other} is not accepted; use P-256, P-384 or P-521"
            )));
        }
        Parameters::None | Parameters::Null | Parameters::Other => {
            return Err(Error::refused(format!(
                "keys of the algorithm {algorithm} are not accepted; use RSA, EC, Ed25519 or ML-DSA"
            )));
        }
    };
    let uncompressed = key.first() == Some(&4) && key.len() == 1 + 2 * bits.div_ceil(8) as usize;
    match uncompressed {
        true => Ok(KeyShape { family: Family::Ec, bits }),
        false => {
            Err(Error::refused(format!("the EC key is not an uncompressed point of its {bits} bit curve")))
        }
    }
}

/// RFC 9881 §4: no parameters, and the key has the length of its set.
fn ml_dsa_shape(set: MlDsa, parameters: &Parameters, key: &[u8]) -> Result<KeyShape> {
    let shape = KeyShape { family: Family::MlDsa, bits: set.number() };
    if !matches!(parameters, Parameters::None) {
        return Err(Error::malformed("public key", format!("{shape} has no parameters")));
    }
    match key.len() == set.public_size() {
        true => Ok(shape),
        false => Err(Error::malformed(
            "public key",
            format!("one of {shape} has {} bytes, and this has {}", set.public_size(), key.len()),
        )),
    }
}

fn rsa_shape(key: &[u8]) -> Result<KeyShape> {
    const WHAT: &str = "RSA public key";
    let mut reader = SliceReader::new(key).reading(WHAT)?;
    let (modulus, exponent) = reader
        .sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .reading(WHAT)?;
    reader.finish().reading(WHAT)?;
    let bits = match modulus.as_bytes() {
        [top, rest @ ..] => rest.len() as u32 * 8 + 8 - top.leading_zeros(),
        [] => 0,
    };
    if bits < RSA_BITS_MIN {
        return Err(Error::refused(format!(
            "RSA keys < {RSA_BITS_MIN} bits are unsafe and not supported: got {bits}"
        )));
    }
    if bits > RSA_BITS_MAX {
        return Err(Error::refused(format!("RSA keys > {RSA_BITS_MAX} bits are not supported: got {bits}")));
    }
    match exponent.as_bytes() {
        [.., last] if last % 2 == 1 && exponent.as_bytes() != [1] && exponent.as_bytes().len() <= 8 => {
            Ok(KeyShape { family: Family::Rsa, bits })
        }
        _ => Err(Error::refused("the RSA key's public exponent is not an odd number from 3 to 2^64")),
    }
}
