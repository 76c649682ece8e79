//! The kinds of keys, and what each is good for.

use serde::{Deserialize, Serialize};
use x509::{Family, KeyShape};

/// What a key is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Kind {
    #[serde(rename = "aes128-gcm96")]
    Aes128,
    #[serde(rename = "aes256-gcm96")]
    Aes256,
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20,
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20,
    #[serde(rename = "ed25519")]
    Ed25519,
    #[serde(rename = "ecdsa-p256")]
    P256,
    #[serde(rename = "ecdsa-p384")]
    P384,
    #[serde(rename = "ecdsa-p521")]
    P521,
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    #[serde(rename = "hmac")]
    Hmac,
}

/// Each with its name in the API and its number in a backup.
const EVERY: [(Kind, &str, u64); 12] = [
    (Kind::Aes256, "aes256-gcm96", 0),
    (Kind::P256, "ecdsa-p256", 1),
    (Kind::Ed25519, "ed25519", 2),
    (Kind::Rsa2048, "rsa-2048", 3),
    (Kind::Rsa4096, "rsa-4096", 4),
    (Kind::ChaCha20, "chacha20-poly1305", 5),
    (Kind::P384, "ecdsa-p384", 6),
    (Kind::P521, "ecdsa-p521", 7),
    (Kind::Aes128, "aes128-gcm96", 8),
    (Kind::Rsa3072, "rsa-3072", 9),
    (Kind::Hmac, "hmac", 10),
    (Kind::XChaCha20, "xchacha20-poly1305", 11),
];

/// The sizes an HMAC key may have, in bytes.
pub(super) const HMAC_SIZES: std::ops::RangeInclusive<usize> = 32..=512;

impl Kind {
    /// The kind of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        EVERY.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
    }

    /// The kind of this number in a backup.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        EVERY.iter().find(|(.., known)| *known == number).map(|(kind, ..)| *kind)
    }

    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        EVERY.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// Its number in a backup.
    pub(super) fn number(self) -> u64 {
        EVERY.iter().find(|(kind, ..)| *kind == self).map_or(0, |(.., number)| *number)
    }

    /// Whether it is a cipher that authenticates what it encrypts, and other data beside it.
    pub(super) fn is_cipher(self) -> bool {
        matches!(self, Self::Aes128 | Self::Aes256 | Self::ChaCha20 | Self::XChaCha20)
    }

    /// Whether it is RSA, which takes long.
    pub(super) fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// Whether it is a key of an elliptic curve of NIST.
    pub(super) fn is_ecdsa(self) -> bool {
        matches!(self, Self::P256 | Self::P384 | Self::P521)
    }

    /// Whether it encrypts and decrypts.
    pub(super) fn encrypts(self) -> bool {
        self.is_cipher() || self.is_rsa()
    }

    /// Whether it signs. Such a key has a public half.
    pub(super) fn signs(self) -> bool {
        self.shape().is_some()
    }

    /// Whether keys can be derived from it.
    pub(super) fn derives(self) -> bool {
        self.is_cipher() || self == Self::Ed25519
    }

    /// The size of the secret in bytes, for those that are nothing but bytes of a fixed number.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::Aes128 => Some(16),
            Self::Aes256 | Self::ChaCha20 | Self::XChaCha20 => Some(32),
            _ => None,
        }
    }

    /// What its pair of keys looks like.
    pub(super) fn shape(self) -> Option<KeyShape> {
        let (family, bits) = match self {
            Self::Ed25519 => (Family::Ed25519, 256),
            Self::P256 => (Family::Ec, 256),
            Self::P384 => (Family::Ec, 384),
            Self::P521 => (Family::Ec, 521),
            Self::Rsa2048 => (Family::Rsa, 2048),
            Self::Rsa3072 => (Family::Rsa, 3072),
            Self::Rsa4096 => (Family::Rsa, 4096),
            _ => return None,
        };
        Some(KeyShape { family, bits })
    }

    /// What the list of versions calls it.
    pub(super) fn version_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            other => other.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (kind, name, number) in EVERY {
            assert_eq!((Kind::named(name), Kind::numbered(number)), (Some(kind), Some(kind)));
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
        assert_eq!((Kind::named("aes192-gcm96"), Kind::numbered(12)), (None, None));
    }
}
