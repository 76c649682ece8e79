use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::key::{Curve, Public, curve};
use super::packet::{mpi, number, sublength};

/// What a signature says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Somebody is called so.
    Certification,
    /// Something about the key itself.
    Direct,
    /// A part belongs to the key.
    SubkeyBinding,
    KeyRevocation,
    SubkeyRevocation,
}

/// A signature of version 4.
pub(super) struct Signature<'a> {
    pub(super) kind: Kind,
    pub(super) created: u64,
    /// What the signed key is for.
    pub(super) flags: Option<u8>,
    /// How long the signed key is good, from its making; 0: for good.
    pub(super) key_seconds: Option<u64>,
    algorithm: u8,
    hash: u8,
    /// All that is hashed of the signature itself.
    hashed: &'a [u8],
    numbers: &'a [u8],
}

/// The identifier of Ed25519, as keys name it.
const ED25519_OID: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

impl<'a> Signature<'a> {
    /// Reads one; nothing, if it is of a kind or version that is not looked at.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let [4, kind, algorithm, hash, ..] = *body else { return None };
        let kind = match kind {
            0x10..=0x13 => Kind::Certification,
            0x18 => Kind::SubkeyBinding,
            0x1f => Kind::Direct,
            0x20 => Kind::KeyRevocation,
            0x28 => Kind::SubkeyRevocation,
            _ => return None,
        };
        let (size, rest) = number(body.get(4..)?, 2)?;
        let (mut subpackets, rest) = rest.split_at_checked(size)?;
        let hashed = body.get(..6 + size)?;
        let (unhashed, rest) = number(rest, 2)?;
        let numbers = rest.get(unhashed + 2..)?;
        let mut signature =
            Self { kind, created: 0, flags: None, key_seconds: None, algorithm, hash, hashed, numbers };
        while !subpackets.is_empty() {
            let (size, rest) = sublength(subpackets)?;
            let (subpacket, rest) = rest.split_at_checked(size)?;
            subpackets = rest;
            let (kind, data) = subpacket.split_first()?;
            match kind & 0x7f {
                2 => signature.created = number(data, 4)?.0 as u64,
                9 => signature.key_seconds = Some(number(data, 4)?.0 as u64),
                27 => signature.flags = data.first().copied(),
                // What must be understood and is not makes the signature worth nothing.
                16 | 20 | 33 | 30 | 11 | 21 | 22 | 23 | 25 | 7 | 32 | 34 | 39 | 3 => {}
                _ if kind & 0x80 != 0 => return None,
                _ => {}
            }
        }
        Some(signature)
    }

    /// Whether this key has signed this.
    pub(super) fn holds(&self, by: &Public<'_>, data: &[u8]) -> bool {
        let length = u32::try_from(self.hashed.len()).unwrap_or(u32::MAX).to_be_bytes();
        let message = [data, self.hashed, &[4, 0xff], &length].concat();
        self.algorithm == by.algorithm && self.verify(by.material, &message).is_some()
    }

    fn verify(&self, key: &[u8], message: &[u8]) -> Option<()> {
        match self.algorithm {
            1 | 3 => {
                let (n, rest) = mpi(key)?;
                let (e, _) = mpi(rest)?;
                let (number, _) = mpi(self.numbers)?;
                let signature = padded(number, n.len())?;
                let by: &RsaParameters = match self.hash {
                    8 => &RSA_PKCS1_2048_8192_SHA256,
                    9 => &RSA_PKCS1_2048_8192_SHA384,
                    10 => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return None,
                };
                RsaPublicKeyComponents { n, e }.verify(by, message, &signature).ok()
            }
            19 => {
                let (point, size, curve) = point(key)?;
                let by: &dyn VerificationAlgorithm = match (curve?, self.hash) {
                    (Curve::P256, 8) => &ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, 9) => &ECDSA_P384_SHA384_FIXED,
                    (Curve::P521, 10) => &ECDSA_P521_SHA512_FIXED,
                    _ => return None,
                };
                UnparsedPublicKey::new(by, point).verify(message, &self.pair(size)?).ok()
            }
            22 => {
                let (point, ..) = point(key).filter(|_| key.get(1..10) == Some(&ED25519_OID[..]))?;
                let hash = match self.hash {
                    8 => &digest::SHA256,
                    9 => &digest::SHA384,
                    10 => &digest::SHA512,
                    _ => return None,
                };
                let hash = digest::digest(hash, message);
                let point = point.strip_prefix(&[0x40])?;
                UnparsedPublicKey::new(&ED25519, point).verify(hash.as_ref(), &self.pair(32)?).ok()
            }
            _ => None,
        }
    }

    /// Its two numbers, each of this size.
    fn pair(&self, size: usize) -> Option<Vec<u8>> {
        let (first, rest) = mpi(self.numbers)?;
        let (second, _) = mpi(rest)?;
        Some([padded(first, size)?, padded(second, size)?].concat())
    }
}

/// The point of a key on a curve, the size of its coordinates, and which curve that is.
fn point(key: &[u8]) -> Option<(&[u8], usize, Option<Curve>)> {
    let (length, rest) = number(key, 1)?;
    let (oid, rest) = rest.split_at_checked(length)?;
    let (point, _) = mpi(rest)?;
    Some((point, point.len() / 2, curve(oid)))
}

/// A number with zeros in front.
fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let zeros = size.checked_sub(number.len())?;
    Some([&vec![0; zeros][..], number].concat())
}
