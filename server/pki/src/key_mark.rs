//! Finding certificates by their key. The entry of each certificate in the index has a mark of its key: enough to pass over
//! nearly all that have another, without a row more to write for each certificate.

use aws_lc_rs::digest::{SHA256, digest};
use kit::{Error, Result};
use serde::{Deserialize, Serialize};
use x509::PublicKey;

/// How many digits of hex the two ways to name a key have: SHA-1 and SHA-256.
const BY_ID: usize = 40;
const BY_SPKI: usize = 64;
/// How many digits of each a mark has.
const MARK: usize = 8;

/// How people name a key: in hex, its SHA-1 identifier or the SHA-256 of its SPKI.
pub(super) fn named(text: &str) -> Result<String> {
    let key = text.replace([':', '-'], "").to_ascii_lowercase();
    let is_hash = matches!(key.len(), BY_ID | BY_SPKI) && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    match key.is_empty() || is_hash {
        true => Ok(key),
        false => Err(Error::invalid(
            "key_id must be the identifier of a key (SHA-1, 40 digits of hex) or the SHA-256 of its SPKI (64 digits)",
        )),
    }
}

/// Whether the key is the one of this name.
pub(super) fn is_named(key: &PublicKey, name: &str) -> bool {
    match name.len() {
        BY_ID => name == hex::encode(key.key_id()),
        _ => name == hex::encode(digest(&SHA256, key.spki())),
    }
}

/// What the index says of a key: the first digits of both its names. Empty in entries from before there was one.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct KeyMark(String);

impl KeyMark {
    /// The mark of a key.
    pub(super) fn of(key: &PublicKey) -> Self {
        let (id, spki) = (key.key_id(), digest(&SHA256, key.spki()));
        let first = |bytes: &[u8]| hex::encode(bytes.get(..MARK / 2).unwrap_or_default());
        Self(first(&id) + &first(spki.as_ref()))
    }

    /// Whether it may be that of the key of this name.
    pub(super) fn may_be(&self, name: &str) -> bool {
        let at = if name.len() == BY_ID { 0..MARK } else { MARK..2 * MARK };
        match (self.0.get(at), name.get(..MARK)) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509::{KeyShape, PrivateKey};

    #[test]
    fn a_mark_fits_its_own_key() {
        let key = || PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
        let (own, other) = (key(), key());
        let (own, other) = (own.public(), other.public());
        let mark = KeyMark::of(own);
        for (digits, of) in [(own.key_id(), other.key_id()), (sha256(own), sha256(other))] {
            let (name, another) = (hex::encode(digits), hex::encode(of));
            assert!(mark.may_be(&name) && is_named(own, &name) && !is_named(other, &name));
            assert!(!mark.may_be(&another) && KeyMark::default().may_be(&another));
        }
        assert_eq!(named("AB:CD-ef").map_err(|error| error.fault()), Err(kit::Fault::Invalid));
        assert_eq!(named(&"AB:".repeat(20)).unwrap(), "ab".repeat(20));
    }

    fn sha256(key: &PublicKey) -> Vec<u8> {
        digest(&SHA256, key.spki()).as_ref().to_vec()
    }
}
