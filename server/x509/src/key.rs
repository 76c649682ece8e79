//! Private keys: made, read, written, used to sign. aws-lc wipes them when they are dropped; their written forms
//! are `Zeroizing`.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::numbers::sec1;
use crate::{Error, Family, KeyShape, MlDsa, PublicKey, Result, Scheme, pem, tlv};
use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, PqdsaKeyPair, RsaKeyPair,
    },
};
use der::{Decode, Reader, SliceReader, asn1::OctetStringRef};
use std::fmt;
use zeroize::Zeroizing;

const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The form in which a private key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The family's own: PKCS#1 for RSA, SEC 1 for EC; PKCS#8 for Ed25519 and ML-DSA, which have none.
    Traditional,
    /// PKCS#8 for all.
    Pkcs8,
}

/// A private key with its public half.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(MlDsa, PqdsaKeyPair),
}

impl PrivateKey {
    /// Makes a new key. RSA takes from a tenth of a second to several; the others a few dozen microseconds.
    pub fn generate(shape: KeyShape) -> Result<Self> {
        let failed = |_| Error::Crypto("key generation");
        let pair = match shape.family {
            Family::Rsa => Pair::Rsa(RsaKeyPair::generate(rsa_size(shape.bits)?).map_err(failed)?),
            Family::Ec => Pair::Ec(EcdsaKeyPair::generate(curve(shape.bits)?).map_err(failed)?),
            Family::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Family::MlDsa => {
                let set = MlDsa::numbered(shape.bits).ok_or(Error::Crypto("key generation"))?;
                Pair::MlDsa(set, PqdsaKeyPair::generate(set.signing()).map_err(failed)?)
            }
        };
        Self::of(pair)
    }

    /// Reads the first private key of a PEM text.
    pub fn from_pem(text: &str) -> Result<Self> {
        let blocks = pem::blocks(text)?;
        let block = blocks.iter().find(|block| is_key_label(block.label)).ok_or_else(|| {
            Error::malformed(
                "private key",
                "there is no PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block",
            )
        })?;
        Self::from_der(&block.der)
    }

    /// Reads PKCS#8, PKCS#1 or SEC 1, whichever it is.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let rejected = |e: aws_lc_rs::error::KeyRejected| Error::malformed("private key", e);
        match form_of(der).reading("private key")? {
            Form::Pkcs8(algorithm) if let Some(set) = MlDsa::of(algorithm) => {
                Self::of(Pair::MlDsa(set, PqdsaKeyPair::from_pkcs8(set.signing(), der).map_err(rejected)?))
            }
            Form::Pkcs8(algorithm) => match algorithm.to_string().as_str() {
                "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => {
                    Self::of(Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(rejected)?))
                }
                "1.3.101.112" => Self::of(Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?)),
                "1.2.840.10045.2.1" => Self::ec_of_any_curve(der),
                other => {
                    Err(Error::refused(format!("private keys of the algorithm {other} are not accepted")))
                }
            },
            Form::Sec1 => Self::ec_of_any_curve(der),
            Form::Pkcs1 => Self::of(Pair::Rsa(RsaKeyPair::from_der(der).map_err(rejected)?)),
        }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs. The scheme must be one for this kind of key.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::Crypto("signing");
        let unfit = || {
            Error::refused(format!(
                "a key of type {} cannot sign with {}",
                self.public.shape(),
                scheme.name()
            ))
        };
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = scheme.rsa_encoding().ok_or_else(unfit)?;
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(pair) => {
                let own = Scheme::choose(self.public.shape(), 0, crate::Padding::Pkcs1)?;
                if scheme != own {
                    return Err(unfit());
                }
                Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) if scheme == Scheme::Ed25519 => {
                Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec())
            }
            Pair::MlDsa(set, pair) if scheme == Scheme::MlDsa(*set) => {
                set.sign(pair, message).map_err(failed)
            }
            Pair::Ed25519(_) | Pair::MlDsa(..) => Err(unfit()),
        }
    }

    /// The key in PEM, without a newline at its end.
    pub fn to_pem(&self, encoding: KeyEncoding) -> Result<Zeroizing<String>> {
        let label = match (encoding, &self.pair) {
            (KeyEncoding::Traditional, Pair::Rsa(_)) => PKCS1,
            (KeyEncoding::Traditional, Pair::Ec(_)) => SEC1,
            (KeyEncoding::Traditional, Pair::Ed25519(_) | Pair::MlDsa(..)) | (KeyEncoding::Pkcs8, _) => PKCS8,
        };
        Ok(Zeroizing::new(pem::encode(label, &self.to_der(encoding)?)))
    }

    /// The key in DER.
    pub fn to_der(&self, encoding: KeyEncoding) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |_| Error::Crypto("writing a key");
        let der = match (&self.pair, encoding) {
            (Pair::Rsa(pair), _) => {
                let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(failed)?;
                match encoding {
                    KeyEncoding::Pkcs8 => pkcs8.as_ref().to_vec(),
                    KeyEncoding::Traditional => inner_key(pkcs8.as_ref()).reading("private key")?.to_vec(),
                }
            }
            (Pair::Ec(pair), KeyEncoding::Traditional) => {
                // The library would work out the point once more.
                let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(failed)?;
                return sec1(self.public.shape().bits, scalar.as_ref(), self.public.bits());
            }
            (Pair::Ec(pair), KeyEncoding::Pkcs8) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            (Pair::Ed25519(pair), _) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            (Pair::MlDsa(set, pair), _) => return set.pkcs8(pair).map_err(failed),
        };
        Ok(Zeroizing::new(der))
    }

    fn ec_of_any_curve(der: &[u8]) -> Result<Self> {
        [256, 384, 521]
            .into_iter()
            .find_map(|bits| EcdsaKeyPair::from_private_key_der(curve(bits).ok()?, der).ok())
            .map(Pair::Ec)
            .ok_or_else(|| {
                Error::malformed("private key", "it is no valid key of the curves P-256, P-384 or P-521")
            })
            .and_then(Self::of)
    }

    fn of(pair: Pair) -> Result<Self> {
        let failed = |_| Error::Crypto("reading a public key");
        let spki = match &pair {
            Pair::Rsa(pair) => {
                let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
                spki.as_ref().to_vec()
            }
            Pair::Ec(pair) if pair.algorithm() == &lc::ECDSA_P256_SHA256_ASN1_SIGNING => {
                [P256_PREFIX.as_slice(), pair.public_key().as_ref()].concat()
            }
            Pair::Ec(pair) => {
                let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
                spki.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => {
                let algorithm = tlv::sequence(&[tlv::oid(&ED25519)]);
                tlv::sequence(&[algorithm, tlv::bits(pair.public_key().as_ref())])
            }
            Pair::MlDsa(set, pair) => {
                let algorithm = tlv::sequence(&[tlv::oid(&set.oid())]);
                tlv::sequence(&[algorithm, tlv::bits(pair.public_key().as_ref())])
            }
        };
        Ok(PrivateKey { public: PublicKey::from_spki(&spki)?, pair })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.shape())
    }
}

/// Whether a PEM block of this label holds a private key that can be read.
pub(crate) fn is_key_label(label: &str) -> bool {
    matches!(label, PKCS8 | PKCS1 | SEC1)
}

enum Form {
    Pkcs8(ObjectIdentifier),
    Pkcs1,
    Sec1,
}

/// PKCS#8 has a SEQUENCE after its version, SEC 1 an OCTET STRING, PKCS#1 an INTEGER.
fn form_of(der: &[u8]) -> der::Result<Form> {
    SliceReader::new(der)?.sequence(|key| {
        key.tlv_bytes()?;
        let form = match key.peek_byte() {
            Some(0x30) => key.sequence(|inner| {
                let algorithm = ObjectIdentifier::decode(inner)?;
                while !inner.is_finished() {
                    inner.tlv_bytes()?;
                }
                Ok::<_, der::Error>(Form::Pkcs8(algorithm))
            })?,
            Some(0x04) => Form::Sec1,
            Some(0x02) => Form::Pkcs1,
            _ => return Err(der::ErrorKind::Failed.into()),
        };
        while !key.is_finished() {
            key.tlv_bytes()?;
        }
        Ok(form)
    })
}

/// The family's own encoding inside a PKCS#8 key.
fn inner_key(pkcs8: &[u8]) -> der::Result<&[u8]> {
    SliceReader::new(pkcs8)?.sequence(|key| {
        key.tlv_bytes()?;
        key.tlv_bytes()?;
        let inner = <&OctetStringRef>::decode(key)?;
        while !key.is_finished() {
            key.tlv_bytes()?;
        }
        Ok(inner.as_bytes())
    })
}

fn rsa_size(bits: u32) -> Result<KeySize> {
    match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        8192 => Ok(KeySize::Rsa8192),
        other => Err(Error::refused(format!("unsupported bit length for RSA key: {other}"))),
    }
}

fn curve(bits: u32) -> Result<&'static EcdsaSigningAlgorithm> {
    match bits {
        256 => Ok(&lc::ECDSA_P256_SHA256_ASN1_SIGNING),
        384 => Ok(&lc::ECDSA_P384_SHA384_ASN1_SIGNING),
        521 => Ok(&lc::ECDSA_P521_SHA512_ASN1_SIGNING),
        other => Err(Error::refused(format!("unsupported bit length for EC key: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_every_encoding() {
        let ml_dsa = [("ml-dsa", 44), ("ml-dsa", 65), ("ml-dsa", 87)];
        let others = [("rsa", 2048), ("ec", 256), ("ec", 384), ("ec", 521), ("ed25519", 0)];
        for (key_type, bits) in others.into_iter().chain(ml_dsa) {
            let key = PrivateKey::generate(KeyShape::parse(key_type, bits).unwrap()).unwrap();
            let scheme = Scheme::choose(key.public().shape(), 0, crate::Padding::Pkcs1).unwrap();
            for encoding in [KeyEncoding::Traditional, KeyEncoding::Pkcs8] {
                let read = PrivateKey::from_pem(&key.to_pem(encoding).unwrap()).unwrap();
                assert_eq!(read.public(), key.public());
                let signature = read.sign(scheme, b"message").unwrap();
                key.public().verify(scheme, b"message", &signature, "a test").unwrap();
                assert!(key.public().verify(scheme, b"massage", &signature, "a test").is_err());
            }
        }
    }

    #[test]
    fn an_ec_key_is_written_as_the_library_writes_it() {
        for bits in [256, 384, 521] {
            let key = PrivateKey::generate(KeyShape::parse("ec", bits).unwrap()).unwrap();
            let Pair::Ec(pair) = &key.pair else { panic!("an EC key has an EC pair") };
            let expect: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> =
                pair.private_key().as_der().unwrap();
            assert_eq!(*key.to_der(KeyEncoding::Traditional).unwrap(), expect.as_ref());
        }
    }

    #[test]
    fn a_key_refuses_the_scheme_of_another_kind() {
        let key = PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
        assert!(key.sign(Scheme::Ed25519, b"").is_err());
        assert!(key.sign(Scheme::named("SHA256WithRSA").unwrap(), b"").is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let key = PrivateKey::generate(KeyShape::parse("ed25519", 0).unwrap()).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ed25519)");
    }

    #[test]
    fn small_and_odd_sizes_are_refused() {
        for (key_type, bits) in [("rsa", 1024), ("rsa", 2049), ("ec", 224), ("dsa", 0)] {
            assert!(KeyShape::parse(key_type, bits).is_err());
        }
    }
}
