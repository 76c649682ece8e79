//! The hash functions, and the HMACs over them.

use aws_lc_rs::{digest, hmac as lc};
use hmac::{Mac, SimpleHmac};
use sha3::{Digest, Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// A hash function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hash {
    /// Kept for what is signed with it already.
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// Each with its name in the API.
const EVERY: [(Hash, &str); 9] = [
    (Hash::Sha1, "sha1"),
    (Hash::Sha224, "sha2-224"),
    (Hash::Sha256, "sha2-256"),
    (Hash::Sha384, "sha2-384"),
    (Hash::Sha512, "sha2-512"),
    (Hash::Sha3_224, "sha3-224"),
    (Hash::Sha3_256, "sha3-256"),
    (Hash::Sha3_384, "sha3-384"),
    (Hash::Sha3_512, "sha3-512"),
];

/// The one that is meant where none is named.
pub(super) const DEFAULT: &str = "sha2-256";

impl Hash {
    /// The function of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        EVERY.iter().find(|(_, known)| *known == name).map(|(hash, _)| *hash)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        EVERY.iter().find(|(hash, _)| *hash == self).map_or("", |(_, name)| name)
    }

    /// How many bytes it makes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// The hash of `input`.
    pub(super) fn digest(self, input: &[u8]) -> Vec<u8> {
        let lc = |algorithm| digest::digest(algorithm, input).as_ref().to_vec();
        match self {
            Self::Sha1 => lc(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha224 => lc(&digest::SHA224),
            Self::Sha256 => lc(&digest::SHA256),
            Self::Sha384 => lc(&digest::SHA384),
            Self::Sha512 => lc(&digest::SHA512),
            Self::Sha3_224 => Sha3_224::digest(input).to_vec(),
            Self::Sha3_256 => Sha3_256::digest(input).to_vec(),
            Self::Sha3_384 => Sha3_384::digest(input).to_vec(),
            Self::Sha3_512 => Sha3_512::digest(input).to_vec(),
        }
    }

    /// The HMAC of `input` under `key`.
    pub(super) fn hmac(self, key: &[u8], input: &[u8]) -> Vec<u8> {
        let lc = |algorithm| lc::sign(&lc::Key::new(algorithm, key), input).as_ref().to_vec();
        match self {
            Self::Sha1 => lc(lc::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha224 => lc(lc::HMAC_SHA224),
            Self::Sha256 => lc(lc::HMAC_SHA256),
            Self::Sha384 => lc(lc::HMAC_SHA384),
            Self::Sha512 => lc(lc::HMAC_SHA512),
            Self::Sha3_224 => sha3::<SimpleHmac<Sha3_224>>(key, input),
            Self::Sha3_256 => sha3::<SimpleHmac<Sha3_256>>(key, input),
            Self::Sha3_384 => sha3::<SimpleHmac<Sha3_384>>(key, input),
            Self::Sha3_512 => sha3::<SimpleHmac<Sha3_512>>(key, input),
        }
    }

    /// What stands before the hash in a PKCS#1 v1.5 signature (RFC 8017 §9.2): the DER of a DigestInfo, without the hash.
    pub(super) fn digest_info(self) -> Vec<u8> {
        let (arc, size) = match self {
            Self::Sha1 => return [&SHA1_INFO[..], &[0x04, 20]].concat(),
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
            Self::Sha224 => (4, 28),
            Self::Sha3_224 => (7, 28),
            Self::Sha3_256 => (8, 32),
            Self::Sha3_384 => (9, 48),
            Self::Sha3_512 => (10, 64),
        };
        let oid = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, arc];
        [&[0x30, 0x11 + size, 0x30, 0x0d], &oid[..], &[0x05, 0x00, 0x04, size]].concat()
    }
}

const SHA1_INFO: [u8; 13] = [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];

fn sha3<M: Mac + hmac::digest::KeyInit>(key: &[u8], input: &[u8]) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("an HMAC takes a key of any length");
    mac.update(input);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_its_name_and_size() {
        for (hash, name) in EVERY {
            assert_eq!((Hash::named(name), hash.name()), (Some(hash), name));
            assert_eq!(
                (hash.digest(b"").len(), hash.hmac(b"k", b"").len()),
                (hash.size(), hash.size()),
                "{name}"
            );
            assert_eq!(usize::from(*hash.digest_info().last().unwrap()), hash.size());
        }
    }

    #[track_caller]
    fn check(hash: Hash, digest: &str, hmac: &str) {
        assert_eq!(hex::encode(hash.digest(b"a")), digest);
        assert_eq!(hex::encode(hash.hmac(b"key", b"a")), hmac);
    }

    /// By Python's hashlib.
    #[test]
    fn sums_are_those_of_others() {
        check(
            Hash::Sha256,
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            "780c3db4ce3de5b9e55816fba98f590631d96c075271b26976238d5f4444219b",
        );
        check(
            Hash::Sha3_256,
            "80084bf2fba02475726feb2cab2d8215eab14bc6bdd8bfb2c8151257032ecd8b",
            "734e028e3792b95a3d52a777998ec6d0903bb307dd41ce6b283b3440db8cbfa3",
        );
    }
}
