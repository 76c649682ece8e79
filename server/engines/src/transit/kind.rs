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
    #[serde(rename = "ml-dsa-44")]
    MlDsa44,
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

/// Each with its name in the API, its parameter set where one name stands for several kinds, and its number in a backup.
const EVERY: [(Kind, &str, &str, u64); 15] = [
    (Kind::Aes256, "aes256-gcm96", "", 0),
    (Kind::P256, "ecdsa-p256", "", 1),
    (Kind::Ed25519, "ed25519", "", 2),
    (Kind::Rsa2048, "rsa-2048", "", 3),
    (Kind::Rsa4096, "rsa-4096", "", 4),
    (Kind::ChaCha20, "chacha20-poly1305", "", 5),
    (Kind::P384, "ecdsa-p384", "", 6),
    (Kind::P521, "ecdsa-p521", "", 7),
    (Kind::Aes128, "aes128-gcm96", "", 8),
    (Kind::Rsa3072, "rsa-3072", "", 9),
    (Kind::Hmac, "hmac", "", 10),
    (Kind::XChaCha20, "xchacha20-poly1305", "", 11),
    // The number that Vault gives them. OpenBao has none yet.
    (Kind::MlDsa44, "ml-dsa", "44", 14),
    (Kind::MlDsa65, "ml-dsa", "65", 14),
    (Kind::MlDsa87, "ml-dsa", "87", 14),
];

/// The sizes an HMAC key may have, in bytes.
pub(super) const HMAC_SIZES: std::ops::RangeInclusive<usize> = 32..=512;

impl Kind {
    /// The kind of this name and this parameter set, of which those that have none take no notice.
    pub(super) fn asked(name: &str, set: &str) -> Result<Self, Unknown> {
        let named: Vec<_> = EVERY.iter().filter(|(_, known, ..)| *known == name).collect();
        let fits = |known: &str| known.is_empty() || known == set;
        match named.iter().find(|(_, _, known, _)| fits(known)) {
            Some((kind, ..)) => Ok(*kind),
            None if named.is_empty() => Err(Unknown::Name),
            None => Err(Unknown::Set),
        }
    }

    /// The kind of this number and this parameter set in a backup.
    pub(super) fn numbered(number: u64, set: &str) -> Option<Self> {
        let name = EVERY.iter().find(|(.., known)| *known == number).map(|(_, name, ..)| *name)?;
        Self::asked(name, set).ok()
    }

    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        EVERY.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, ..)| name)
    }

    /// Its parameter set, if it has one.
    pub(super) fn set(self) -> Option<&'static str> {
        let found = EVERY.iter().find(|(kind, ..)| *kind == self);
        found.map(|(_, _, set, _)| *set).filter(|set| !set.is_empty())
    }

    /// Its name and its parameter set in one.
    pub(super) fn full_name(self) -> String {
        [Some(self.name()), self.set()].into_iter().flatten().collect::<Vec<_>>().join("-")
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

    /// Whether what it signs is the message itself, and not a hash of it.
    pub(super) fn signs_whole(self) -> bool {
        self == Self::Ed25519 || self.is_ml_dsa()
    }

    /// Whether it is ML-DSA.
    pub(super) fn is_ml_dsa(self) -> bool {
        matches!(self, Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87)
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
            Self::MlDsa44 => (Family::MlDsa, 44),
            Self::MlDsa65 => (Family::MlDsa, 65),
            Self::MlDsa87 => (Family::MlDsa, 87),
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
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
            other => other.name(),
        }
    }
}

/// What of a kind is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unknown {
    /// Its name.
    Name,
    /// Its parameter set.
    Set,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (kind, name, set, number) in EVERY {
            assert_eq!((Kind::asked(name, set), Kind::numbered(number, set)), (Ok(kind), Some(kind)));
            assert_eq!((kind.name(), kind.set().unwrap_or_default(), kind.number()), (name, set, number));
            let stored = if set.is_empty() { name.to_owned() } else { format!("{name}-{set}") };
            assert_eq!(serde_json::to_value(kind).unwrap(), stored);
        }
        assert_eq!((Kind::asked("aes192-gcm96", ""), Kind::numbered(12, "")), (Err(Unknown::Name), None));
        for set in ["", "4", "66", "ml-dsa-65"] {
            assert_eq!((Kind::asked("ml-dsa", set), Kind::numbered(14, set)), (Err(Unknown::Set), None));
        }
        assert_eq!(Kind::asked("ed25519", "65"), Ok(Kind::Ed25519));
    }
}
