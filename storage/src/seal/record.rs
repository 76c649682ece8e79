//! The record of the seal: in clear what must be known to unseal, and sealed the root key. See `docs/FORMAT.md`.

use zeroize::Zeroizing;

use super::{Initialised, KeyBytes, NamedKey, SealChoice, SealConfig, Split, UnsealKey};
use crate::backend::Cipher;
use crate::cipher;
use crate::error::Result;
use crate::random::Random;
use crate::seal::shamir::SharesError;

const VERSION: u8 = 1;
const SHAMIR: u8 = 1;
const STATIC: u8 = 2;

/// What the stored record says.
#[derive(Clone)]
pub(crate) struct SealRecord {
    pub(crate) config: SealConfig,
    head: Vec<u8>,
    sealed: Vec<u8>,
}

/// A seal that is made and not stored yet.
pub(crate) struct Made {
    pub(crate) handed_out: Initialised,
    pub(crate) recovery: Option<KeyBytes>,
    pub(crate) config: SealConfig,
    key: KeyBytes,
}

/// Makes the keys of a new seal and their shares.
pub(crate) fn make(choice: &SealChoice, random: &dyn Random) -> Result<Made> {
    match choice {
        SealChoice::Shamir(split) => {
            let key = KeyBytes::generate(random);
            let shares = split.of(&key, random)?;
            let handed_out =
                Initialised { shares, recovery: Vec::new(), key: UnsealKey::Shamir(key.clone()) };
            Ok(Made { handed_out, recovery: None, config: SealConfig::Shamir(*split), key })
        }
        SealChoice::Static { key, recovery } => {
            if key.id.is_empty() || key.id.len() > usize::from(u8::MAX) {
                return Err(SharesError::KeyName.into());
            }
            let secret = recovery.map(|_| KeyBytes::generate(random));
            let shares = match (recovery, &secret) {
                (Some(split), Some(secret)) => split.of(secret, random)?,
                _ => Vec::new(),
            };
            let config = SealConfig::Static { key_id: key.id.clone(), recovery: *recovery };
            let unseal = UnsealKey::Static { current: key.clone(), previous: None };
            let handed_out = Initialised { shares: Vec::new(), recovery: shares, key: unseal };
            Ok(Made { handed_out, recovery: secret, config, key: key.key.clone() })
        }
    }
}

impl Made {
    /// What the root key is kept under.
    pub(crate) fn key(&self) -> &KeyBytes {
        &self.key
    }

    /// The key that unseals under this seal.
    pub(crate) fn unseal_key(&self) -> UnsealKey {
        match &self.config {
            SealConfig::Shamir(_) => UnsealKey::Shamir(self.key.clone()),
            SealConfig::Static { key_id, .. } => UnsealKey::Static {
                current: NamedKey { id: key_id.clone(), key: self.key.clone() },
                previous: None,
            },
        }
    }

    /// The record that keeps `root` under this seal.
    pub(crate) fn keep(&self, root: &[u8], random: &dyn Random) -> Cipher {
        keep(&self.config, &self.key, root, random)
    }
}

/// The record that keeps `root` under `key`.
pub(crate) fn keep(config: &SealConfig, key: &KeyBytes, root: &[u8], random: &dyn Random) -> Cipher {
    let mut out = head(config);
    let aad = out.clone();
    cipher::seal_once(key.expose(), &aad, root, random, &mut out);
    Cipher(out.into())
}

impl SealRecord {
    /// `None` if the bytes are no such record.
    pub(crate) fn read(stored: &Cipher) -> Option<Self> {
        let (fixed, rest) = stored.0.split_first_chunk::<5>()?;
        let [VERSION, kind, shares, threshold, id_len] = *fixed else { return None };
        let (id, _) = rest.split_at_checked(usize::from(id_len))?;
        let (head, sealed) = stored.0.split_at_checked(5 + id.len())?;
        let split = Split { shares, threshold };
        let config = match kind {
            SHAMIR => SealConfig::Shamir(split),
            STATIC => SealConfig::Static {
                key_id: std::str::from_utf8(id).ok()?.to_owned(),
                recovery: (shares > 0).then_some(split),
            },
            _ => return None,
        };
        Some(Self { config, head: head.to_vec(), sealed: sealed.to_vec() })
    }

    /// The root key, if `key` is the one that keeps it; and the key that shall keep it from now on, if that is another.
    pub(crate) fn open(&self, key: &UnsealKey) -> Option<(Zeroizing<Vec<u8>>, Option<NamedKey>)> {
        let try_key =
            |key: &KeyBytes| Some(Zeroizing::new(cipher::open_once(key.expose(), &self.head, &self.sealed)?));
        match (key, &self.config) {
            (UnsealKey::Shamir(key), SealConfig::Shamir(_)) => Some((try_key(key)?, None)),
            (UnsealKey::Static { current, previous }, SealConfig::Static { key_id, .. }) => {
                if current.id == *key_id {
                    return Some((try_key(&current.key)?, None));
                }
                let previous = previous.as_ref().filter(|previous| previous.id == *key_id)?;
                Some((try_key(&previous.key)?, Some(current.clone())))
            }
            _ => None,
        }
    }
}

fn head(config: &SealConfig) -> Vec<u8> {
    let none = Split { shares: 0, threshold: 0 };
    let (kind, split, id) = match config {
        SealConfig::Shamir(split) => (SHAMIR, *split, ""),
        SealConfig::Static { key_id, recovery } => (STATIC, recovery.unwrap_or(none), key_id.as_str()),
    };
    let id_len = u8::try_from(id.len()).expect("the name of a static key is checked to be short");
    let mut out = vec![VERSION, kind, split.shares, split.threshold, id_len];
    out.extend_from_slice(id.as_bytes());
    out
}
