//! What keeps the root key while the store is sealed.

pub(crate) mod record;
pub mod shamir;

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::random::Random;
use shamir::{Share, SharesError};

/// A 256-bit key, in a locked page that its clones share. Wiped when the last is dropped; never printed.
#[derive(Clone)]
pub struct KeyBytes(Arc<locked::Bytes>);

const KEY_SIZE: usize = 32;

/// Into how many shares a key is split, and how many of them make it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Split {
    /// How many there are.
    pub shares: u8,
    /// How many it takes.
    pub threshold: u8,
}

/// What a new seal shall be.
#[derive(Debug, Clone)]
pub enum SealChoice {
    /// People hold shares of the unseal key.
    Shamir(Split),
    /// The server is given a key and unseals itself.
    Static {
        /// The key that seals from now on.
        key: NamedKey,
        /// How the recovery key is split; `None` makes none.
        recovery: Option<Split>,
    },
}

/// What a sealed store says of its seal.
#[derive(Debug, Clone, Eq, PartialEq)]
pub enum SealConfig {
    /// Shares of an unseal key.
    Shamir(Split),
    /// A key that the server is given.
    Static {
        /// The key's name.
        key_id: String,
        /// How the recovery key is split, if there is one.
        recovery: Option<Split>,
    },
}

/// A key with a name by which the store remembers which one it was.
#[derive(Debug, Clone)]
pub struct NamedKey {
    /// At most 255 bytes.
    pub id: String,
    /// The key.
    pub key: KeyBytes,
}

/// What opens a sealed store.
#[derive(Debug, Clone)]
pub enum UnsealKey {
    /// The key that shares were combined to.
    Shamir(KeyBytes),
    /// The keys that the server is given: a store under the previous one moves to the current one.
    Static {
        /// The key of today.
        current: NamedKey,
        /// The key before it.
        previous: Option<NamedKey>,
    },
}

/// What a new seal hands out, once.
#[derive(Debug)]
pub struct Initialised {
    /// Shares of the unseal key; empty if the server unseals itself.
    pub shares: Vec<Share>,
    /// Shares of the recovery key, if there is one.
    pub recovery: Vec<Share>,
    /// What unseals the store, for whoever goes on at once.
    pub key: UnsealKey,
}

impl KeyBytes {
    /// A fresh key.
    pub fn generate(random: &dyn Random) -> Self {
        Self::filled(|page| random.fill(page))
    }

    /// A copy of a key; the caller wipes what it copied from.
    pub fn from_bytes(bytes: [u8; KEY_SIZE]) -> Self {
        Self::filled(|page| page.copy_from_slice(&bytes))
    }

    /// `None` unless there are 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_SIZE).then(|| Self::filled(|page| page.copy_from_slice(bytes)))
    }

    fn filled(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut page = locked::Bytes::zeroed(KEY_SIZE).expect("the system gives a page of memory");
        fill(&mut page);
        Self(Arc::new(page))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8; KEY_SIZE] {
        self.0.first_chunk().expect("a key has 32 bytes")
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(hidden)")
    }
}

impl Split {
    /// The texts are those that clients of Vault know.
    ///
    /// # Errors
    /// If nobody could ever combine such shares.
    pub fn check(&self) -> Result<(), SharesError> {
        match (self.shares, self.threshold) {
            (0, _) => Err(SharesError::NoShares),
            (_, 0) => Err(SharesError::NoThreshold),
            (shares, threshold) if threshold > shares => Err(SharesError::ThresholdAboveShares),
            (1, 1) => Ok(()),
            (_, 1) => Err(SharesError::ThresholdOfOne),
            _ => Ok(()),
        }
    }

    /// Splits `key`. A single share is the key itself.
    ///
    /// # Errors
    /// If the numbers cannot be.
    pub fn of(&self, key: &KeyBytes, random: &dyn Random) -> Result<Vec<Share>, SharesError> {
        self.check()?;
        match self.threshold {
            1 => Ok(vec![Share::new(key.expose().to_vec())]),
            _ => shamir::split(key.expose(), self.shares, self.threshold, random),
        }
    }

    /// The key that `shares` make.
    ///
    /// Wrong shares make a wrong key: whether it is the right one, only unsealing tells.
    ///
    /// # Errors
    /// If they are too few, unequal in length, doubled, or not shares of a key.
    pub fn combine(&self, shares: &[Share]) -> Result<KeyBytes, SharesError> {
        if shares.len() < usize::from(self.threshold) {
            return Err(SharesError::TooFew);
        }
        match (self.threshold, shares) {
            (1, [only]) => KeyBytes::from_slice(only.as_bytes()).ok_or(SharesError::Length),
            _ => KeyBytes::from_slice(&shamir::combine(shares)?).ok_or(SharesError::Length),
        }
    }
}

impl SealConfig {
    /// What `seal-status` shows as type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shamir(_) => "shamir",
            Self::Static { .. } => "static",
        }
    }

    /// The split that unseals, or that proves to be an owner where the server unseals itself.
    pub fn split(&self) -> Option<Split> {
        match self {
            Self::Shamir(split) => Some(*split),
            Self::Static { recovery, .. } => *recovery,
        }
    }
}
