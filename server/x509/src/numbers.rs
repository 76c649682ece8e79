//! Keys in and out of their bare numbers, as formats that know no DER carry them (SSH among them).

use crate::ObjectIdentifier;
use crate::{Error, Family, PrivateKey, PublicKey, Result, error::While, tlv};
use der::{Decode, Reader, SliceReader, asn1::UintRef};
use num_bigint::BigUint;
use zeroize::Zeroizing;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// What an RSA key consists of, each big endian.
#[derive(Clone, Copy)]
pub struct RsaNumbers<'a> {
    /// The modulus.
    pub n: &'a [u8],
    /// The public exponent.
    pub e: &'a [u8],
    /// The private exponent.
    pub d: &'a [u8],
    /// The first prime.
    pub p: &'a [u8],
    /// The second prime.
    pub q: &'a [u8],
    /// The inverse of the second prime modulo the first.
    pub q_inverse: &'a [u8],
}

impl PrivateKey {
    /// An RSA key of these numbers, which must belong together.
    pub fn from_rsa_numbers(key: RsaNumbers<'_>) -> Result<Self> {
        let private = BigUint::from_bytes_be(key.d);
        let exponent = |prime: &[u8]| match BigUint::from_bytes_be(prime) {
            prime if prime > BigUint::from(2_u8) => {
                Ok(Zeroizing::new((&private % (prime - 1_u8)).to_bytes_be()))
            }
            _ => Err(Error::malformed("RSA key", "a prime is smaller than 3")),
        };
        let (first, second) = (exponent(key.p)?, exponent(key.q)?);
        let numbers: [&[u8]; 9] = [&[0], key.n, key.e, key.d, key.p, key.q, &first, &second, key.q_inverse];
        let numbers = numbers.map(|number| Zeroizing::new(tlv::integer(number)));
        Self::from_der(&Zeroizing::new(tlv::sequence(&numbers.each_ref().map(|number| number.as_slice()))))
    }

    /// An EC key of this scalar and this uncompressed point, which must belong together.
    pub fn from_ec_numbers(bits: u32, scalar: &[u8], point: &[u8]) -> Result<Self> {
        Self::from_der(&sec1(bits, scalar, point)?)
    }

    /// The Ed25519 key of this seed.
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Result<Self> {
        let inner = Zeroizing::new(tlv::octets(seed));
        let key = Zeroizing::new(tlv::octets(&inner));
        let algorithm = tlv::sequence(&[tlv::oid(&ED25519)]);
        let parts: [&[u8]; 3] = [&tlv::number(0), &algorithm, &key];
        Self::from_der(&Zeroizing::new(tlv::sequence(&parts)))
    }
}

impl PublicKey {
    /// Modulus and exponent of an RSA key, big endian, without leading zeros.
    pub fn rsa_numbers(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        const WHAT: &str = "RSA public key";
        if self.shape().family != Family::Rsa {
            return Err(Error::refused(format!("a key of type {} has no modulus", self.shape())));
        }
        SliceReader::new(self.bits())
            .reading(WHAT)?
            .sequence(|inner| {
                let (modulus, exponent) = (UintRef::decode(inner)?, UintRef::decode(inner)?);
                Ok::<_, der::Error>((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
            })
            .reading(WHAT)
    }
}

/// SEC 1 (RFC 5915) of an EC key: its scalar, padded to the size of the curve, and its uncompressed point.
pub(crate) fn sec1(bits: u32, scalar: &[u8], point: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let curve = match bits {
        256 => P256,
        384 => P384,
        521 => P521,
        other => return Err(Error::refused(format!("unsupported bit length for EC key: {other}"))),
    };
    let scalar = Zeroizing::new(tlv::octets(scalar));
    let curve = tlv::explicit(0, &tlv::oid(&curve));
    let point = tlv::explicit(1, &tlv::bits(point));
    let parts: [&[u8]; 4] = [&tlv::number(1), &scalar, &curve, &point];
    Ok(Zeroizing::new(tlv::sequence(&parts)))
}
