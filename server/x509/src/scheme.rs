//! Signature algorithms: what a key of some shape signs with, and how certificates name it.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::{Error, Family, KeyShape, MlDsa, Result, tlv};
use aws_lc_rs::signature as lc;
use der::{Decode, Reader, SliceReader, Tag};

/// How an RSA key pads what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// PKCS#1 v1.5, which everyone can verify.
    Pkcs1,
    /// RSASSA-PSS.
    Pss,
}

/// The digest inside a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A signature algorithm with all its parameters. SHA-1 and DSA are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RSA with this padding.
    Rsa(Padding, Digest),
    /// ECDSA.
    Ecdsa(Digest),
    /// Ed25519, which has its digest built in.
    Ed25519,
    /// ML-DSA, which has its digest built in.
    MlDsa(MlDsa),
}

const RSA_ENCRYPTION_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const EVERY: [(Scheme, &str); 13] = [
    (Scheme::Rsa(Padding::Pkcs1, Digest::Sha256), "SHA256WithRSA"),
    (Scheme::Rsa(Padding::Pkcs1, Digest::Sha384), "SHA384WithRSA"),
    (Scheme::Rsa(Padding::Pkcs1, Digest::Sha512), "SHA512WithRSA"),
    (Scheme::Rsa(Padding::Pss, Digest::Sha256), "SHA256WithRSAPSS"),
    (Scheme::Rsa(Padding::Pss, Digest::Sha384), "SHA384WithRSAPSS"),
    (Scheme::Rsa(Padding::Pss, Digest::Sha512), "SHA512WithRSAPSS"),
    (Scheme::Ecdsa(Digest::Sha256), "ECDSAWithSHA256"),
    (Scheme::Ecdsa(Digest::Sha384), "ECDSAWithSHA384"),
    (Scheme::Ecdsa(Digest::Sha512), "ECDSAWithSHA512"),
    (Scheme::Ed25519, "PureEd25519"),
    (Scheme::MlDsa(MlDsa::Set44), "ML-DSA-44"),
    (Scheme::MlDsa(MlDsa::Set65), "ML-DSA-65"),
    (Scheme::MlDsa(MlDsa::Set87), "ML-DSA-87"),
];

impl Scheme {
    /// What a key of this shape signs with. `signature_bits` and `padding` are RSA's to choose: an elliptic curve
    /// has the digest of its own size, since a longer one is cut and a shorter one weakens it. 0 means the default.
    pub fn choose(shape: KeyShape, signature_bits: u64, padding: Padding) -> Result<Self> {
        let digest = match signature_bits {
            0 | 256 => Digest::Sha256,
            384 => Digest::Sha384,
            512 => Digest::Sha512,
            other => {
                return Err(Error::refused(format!(
                    "unsupported hash signature algorithm: {other}; signature_bits is 256, 384, 512 or 0 for the default"
                )));
            }
        };
        match (shape.family, shape.bits) {
            (Family::Rsa, _) => Ok(Scheme::Rsa(padding, digest)),
            (Family::Ec, 256) => Ok(Scheme::Ecdsa(Digest::Sha256)),
            (Family::Ec, 384) => Ok(Scheme::Ecdsa(Digest::Sha384)),
            (Family::Ec, 521) => Ok(Scheme::Ecdsa(Digest::Sha512)),
            (Family::Ed25519, _) => Ok(Scheme::Ed25519),
            (Family::MlDsa, set) => {
                let set = MlDsa::numbered(set);
                set.map(Scheme::MlDsa).ok_or_else(|| Error::refused("no such parameter set of ML-DSA"))
            }
            (Family::Ec, bits) => Err(Error::refused(format!("no signatures with EC keys of {bits} bits"))),
        }
    }

    /// The name the API uses, as in `revocation_signature_algorithm`.
    pub fn name(self) -> &'static str {
        EVERY.iter().find(|(scheme, _)| *scheme == self).map_or("unknown", |(_, name)| name)
    }

    /// The scheme of that name, in any case, and in Go's other spelling (`SHA256-RSA`).
    pub fn named(name: &str) -> Result<Self> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
        let wanted = match plain(name).as_str() {
            "ed25519" => plain("PureEd25519"),
            "sha256rsa" => plain("SHA256WithRSA"),
            "sha384rsa" => plain("SHA384WithRSA"),
            "sha512rsa" => plain("SHA512WithRSA"),
            "sha256rsapss" => plain("SHA256WithRSAPSS"),
            "sha384rsapss" => plain("SHA384WithRSAPSS"),
            "sha512rsapss" => plain("SHA512WithRSAPSS"),
            "ecdsasha256" => plain("ECDSAWithSHA256"),
            "ecdsasha384" => plain("ECDSAWithSHA384"),
            "ecdsasha512" => plain("ECDSAWithSHA512"),
            other => other.to_owned(),
        };
        EVERY.iter().find(|(_, known)| plain(known) == wanted).map(|(scheme, _)| *scheme).ok_or_else(|| {
            let names: Vec<_> = EVERY.iter().map(|(_, name)| *name).collect();
            Error::refused(format!("unknown signature algorithm {name}; it is one of {}", names.join(", ")))
        })
    }

    /// Whether keys of this family can sign with it.
    pub fn fits(self, family: Family) -> bool {
        matches!(
            (self, family),
            (Scheme::Rsa(..), Family::Rsa)
                | (Scheme::Ecdsa(_), Family::Ec)
                | (Scheme::Ed25519, Family::Ed25519)
                | (Scheme::MlDsa(_), Family::MlDsa)
        )
    }

    /// The AlgorithmIdentifier.
    pub(crate) fn to_der(self) -> Vec<u8> {
        match self {
            Scheme::Rsa(Padding::Pkcs1, digest) => tlv::sequence(&[&tlv::oid(&pkcs1_oid(digest)), tlv::NULL]),
            Scheme::Rsa(Padding::Pss, digest) => {
                let hash = tlv::sequence(&[&tlv::oid(&digest_oid(digest)), tlv::NULL]);
                let parameters = tlv::sequence(&[
                    tlv::explicit(0, &hash),
                    tlv::explicit(1, &tlv::sequence(&[&tlv::oid(&MGF1), &hash])),
                    tlv::explicit(2, &tlv::number(digest.size())),
                ]);
                tlv::sequence(&[tlv::oid(&RSA_ENCRYPTION_PSS), parameters])
            }
            Scheme::Ecdsa(digest) => tlv::sequence(&[tlv::oid(&ecdsa_oid(digest))]),
            Scheme::Ed25519 => tlv::sequence(&[tlv::oid(&ED25519)]),
            Scheme::MlDsa(set) => tlv::sequence(&[tlv::oid(&set.oid())]),
        }
    }

    /// Reads an AlgorithmIdentifier, and says which algorithm it is when it is none of ours.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self> {
        const WHAT: &str = "signature algorithm";
        let mut reader = SliceReader::new(der).reading(WHAT)?;
        let (oid, parameters) = reader
            .sequence(|inner| {
                let oid = ObjectIdentifier::decode(inner)?;
                let parameters = if inner.is_finished() { &[][..] } else { inner.tlv_bytes()? };
                Ok::<_, der::Error>((oid, parameters))
            })
            .reading(WHAT)?;
        if oid == RSA_ENCRYPTION_PSS {
            return pss_digest(parameters).map(|digest| Scheme::Rsa(Padding::Pss, digest));
        }
        let ml_dsa = MlDsa::of(oid);
        if !parameters.is_empty() && (parameters != tlv::NULL || ml_dsa.is_some()) {
            return Err(Error::malformed(WHAT, format!("{oid} has no parameters")));
        }
        if let Some(set) = ml_dsa {
            return Ok(Scheme::MlDsa(set));
        }
        if oid == ED25519 {
            return Ok(Scheme::Ed25519);
        }
        for digest in [Digest::Sha256, Digest::Sha384, Digest::Sha512] {
            if oid == pkcs1_oid(digest) {
                return Ok(Scheme::Rsa(Padding::Pkcs1, digest));
            }
            if oid == ecdsa_oid(digest) {
                return Ok(Scheme::Ecdsa(digest));
            }
        }
        Err(Error::refused(format!(
            "the signature algorithm {oid} is not accepted; sign with RSA, ECDSA or Ed25519 over SHA-256 or better, or with ML-DSA"
        )))
    }

    pub(crate) fn rsa_encoding(self) -> Option<&'static dyn lc::RsaEncoding> {
        Some(match self {
            Scheme::Rsa(Padding::Pkcs1, Digest::Sha256) => &lc::RSA_PKCS1_SHA256,
            Scheme::Rsa(Padding::Pkcs1, Digest::Sha384) => &lc::RSA_PKCS1_SHA384,
            Scheme::Rsa(Padding::Pkcs1, Digest::Sha512) => &lc::RSA_PKCS1_SHA512,
            Scheme::Rsa(Padding::Pss, Digest::Sha256) => &lc::RSA_PSS_SHA256,
            Scheme::Rsa(Padding::Pss, Digest::Sha384) => &lc::RSA_PSS_SHA384,
            Scheme::Rsa(Padding::Pss, Digest::Sha512) => &lc::RSA_PSS_SHA512,
            Scheme::Ecdsa(_) | Scheme::Ed25519 | Scheme::MlDsa(_) => return None,
        })
    }

    /// How a signature of this scheme by a key of this shape is checked; `None` when the two do not go together.
    pub(crate) fn verification(self, shape: KeyShape) -> Option<&'static dyn lc::VerificationAlgorithm> {
        Some(match (self, shape.family, shape.bits) {
            (Scheme::Rsa(Padding::Pkcs1, Digest::Sha256), Family::Rsa, _) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (Scheme::Rsa(Padding::Pkcs1, Digest::Sha384), Family::Rsa, _) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (Scheme::Rsa(Padding::Pkcs1, Digest::Sha512), Family::Rsa, _) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (Scheme::Rsa(Padding::Pss, Digest::Sha256), Family::Rsa, _) => &lc::RSA_PSS_2048_8192_SHA256,
            (Scheme::Rsa(Padding::Pss, Digest::Sha384), Family::Rsa, _) => &lc::RSA_PSS_2048_8192_SHA384,
            (Scheme::Rsa(Padding::Pss, Digest::Sha512), Family::Rsa, _) => &lc::RSA_PSS_2048_8192_SHA512,
            (Scheme::Ecdsa(Digest::Sha256), Family::Ec, 256) => &lc::ECDSA_P256_SHA256_ASN1,
            (Scheme::Ecdsa(Digest::Sha384), Family::Ec, 256) => &lc::ECDSA_P256_SHA384_ASN1,
            (Scheme::Ecdsa(Digest::Sha512), Family::Ec, 256) => &lc::ECDSA_P256_SHA512_ASN1,
            (Scheme::Ecdsa(Digest::Sha256), Family::Ec, 384) => &lc::ECDSA_P384_SHA256_ASN1,
            (Scheme::Ecdsa(Digest::Sha384), Family::Ec, 384) => &lc::ECDSA_P384_SHA384_ASN1,
            (Scheme::Ecdsa(Digest::Sha512), Family::Ec, 384) => &lc::ECDSA_P384_SHA512_ASN1,
            (Scheme::Ecdsa(Digest::Sha256), Family::Ec, 521) => &lc::ECDSA_P521_SHA256_ASN1,
            (Scheme::Ecdsa(Digest::Sha384), Family::Ec, 521) => &lc::ECDSA_P521_SHA384_ASN1,
            (Scheme::Ecdsa(Digest::Sha512), Family::Ec, 521) => &lc::ECDSA_P521_SHA512_ASN1,
            (Scheme::Ed25519, Family::Ed25519, _) => &lc::ED25519,
            (Scheme::MlDsa(set), Family::MlDsa, bits) if set.number() == bits => set.verification(),
            _ => return None,
        })
    }
}

impl Digest {
    /// Bytes of output, and so of PSS salt.
    fn size(self) -> u64 {
        match self {
            Digest::Sha256 => 32,
            Digest::Sha384 => 48,
            Digest::Sha512 => 64,
        }
    }
}

fn pkcs1_oid(digest: Digest) -> ObjectIdentifier {
    match digest {
        Digest::Sha256 => const { ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11") },
        Digest::Sha384 => const { ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12") },
        Digest::Sha512 => const { ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13") },
    }
}

fn ecdsa_oid(digest: Digest) -> ObjectIdentifier {
    match digest {
        Digest::Sha256 => const { ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2") },
        Digest::Sha384 => const { ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3") },
        Digest::Sha512 => const { ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4") },
    }
}

fn digest_oid(digest: Digest) -> ObjectIdentifier {
    match digest {
        Digest::Sha256 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1") },
        Digest::Sha384 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2") },
        Digest::Sha512 => const { ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3") },
    }
}

/// The digest of PSS parameters whose mask and salt follow from it, as everyone's do.
fn pss_digest(parameters: &[u8]) -> Result<Digest> {
    const WHAT: &str = "RSASSA-PSS parameters";
    let mut reader = SliceReader::new(parameters).reading(WHAT)?;
    let hash = reader
        .sequence(|inner| {
            if inner.peek_byte() != Some(0xa0) {
                return Ok(None);
            }
            let field = inner.tlv_bytes()?;
            while !inner.is_finished() {
                inner.tlv_bytes()?;
            }
            let mut field = SliceReader::new(field)?;
            let header = der::Header::decode(&mut field)?;
            field.read_nested(header.length(), |field| field.sequence(first_oid)).map(Some)
        })
        .reading(WHAT)?;
    [Digest::Sha256, Digest::Sha384, Digest::Sha512]
        .into_iter()
        .find(|digest| Some(digest_oid(*digest)) == hash)
        .ok_or_else(|| Error::refused("RSASSA-PSS is accepted over SHA-256, SHA-384 and SHA-512 only"))
}

fn first_oid(reader: &mut SliceReader<'_>) -> der::Result<ObjectIdentifier> {
    let oid = ObjectIdentifier::decode(reader)?;
    if !reader.is_finished() {
        Tag::peek(reader)?.assert_eq(Tag::Null)?;
        reader.tlv_bytes()?;
    }
    Ok(oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_survives_its_encoding_and_its_name() {
        for (scheme, name) in EVERY {
            assert_eq!(Scheme::from_der(&scheme.to_der()).unwrap(), scheme);
            assert_eq!(Scheme::named(&name.to_lowercase()).unwrap(), scheme);
            assert_eq!(scheme.name(), name);
        }
    }

    #[test]
    fn sha1_is_refused_by_its_number() {
        let sha1_rsa =
            tlv::sequence(&[&tlv::oid(&ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5")), tlv::NULL]);
        assert!(Scheme::from_der(&sha1_rsa).unwrap_err().to_string().contains("1.2.840.113549.1.1.5"));
        let pss_default = tlv::sequence(&[tlv::oid(&RSA_ENCRYPTION_PSS), tlv::sequence::<&[u8]>(&[])]);
        assert!(Scheme::from_der(&pss_default).is_err());
    }

    #[test]
    fn a_curve_has_its_own_digest() {
        let shape = KeyShape { family: Family::Ec, bits: 384 };
        assert_eq!(Scheme::choose(shape, 256, Padding::Pss).unwrap(), Scheme::Ecdsa(Digest::Sha384));
        assert!(Scheme::choose(shape, 128, Padding::Pkcs1).is_err());
    }
}
