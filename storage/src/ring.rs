//! Keyrings of namespaces: each opens with shares of its own, and what it sealed is closed to the server without it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{Cipher, SealedKey, SealedWrite};
use crate::key::MountId;
use crate::keyring::Keyring;
use crate::names::{self, NameKey};
use crate::random::Random;
use crate::seal::KeyBytes;

/// How many rings there can be.
pub const RINGS_MAX: usize = 1000;
/// The version byte of a record that a ring sealed. Its ring follows, then the term.
pub(crate) const RING_RECORD: u8 = 2;
/// How many bytes of an id say which family it is of.
pub const FAMILY_SIZE: usize = 8;
/// Version byte and ring.
const MARK_SIZE: usize = 1 + FAMILY_SIZE;
const KEYRING_AAD: &[u8] = b"sealkeep ring 1";

const SEAL: &str = "ring-seal/";
const KEYS: &str = "ring-keys/";
const USED: &str = "ring-used/";

/// Which keyring: the first bytes of the ids of all that it seals.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RingId(pub [u8; FAMILY_SIZE]);

/// A keyring that is open.
pub(crate) struct Ring {
    pub(crate) id: RingId,
    pub(crate) keyring: Keyring,
    pub(crate) names: NameKey,
    /// What its shares make. A new root key is put under the same seal with it.
    pub(crate) unseal_key: KeyBytes,
    /// The stored count of seals of the active term.
    pub(crate) reserved: AtomicU64,
}

/// Every ring of a store; nothing in the place of one that is sealed.
#[derive(Clone, Default)]
pub(crate) struct Rings(HashMap<RingId, Option<Arc<Ring>>>);

/// What becomes of a ring with a commit.
#[derive(Clone)]
pub(crate) enum RingChange {
    /// It is there, and sealed.
    Founded,
    /// It has a new term, or a new root key.
    Rotated(Arc<Ring>),
    /// It is no more.
    Dropped,
}

/// The key that seals names in some place.
pub(crate) enum Names<'a> {
    Server(&'a NameKey),
    Ring(Arc<Ring>),
}

/// Who seals what an owner has.
pub(crate) enum Keys {
    Server,
    Ring(Arc<Ring>),
    /// A ring that is sealed.
    None,
}

impl RingId {
    /// The family that an id is of, whether or not there is a ring of it.
    pub fn of(owner: MountId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = owner.0;
        Self([a, b, c, d, e, f, g, h])
    }

    /// What lies under the ring's own name: an id of its family that no mount has.
    pub fn owner(self) -> MountId {
        let mut id = [0; 16];
        id.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        MountId(id)
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Ring {
    pub(crate) fn new(id: RingId, keyring: Keyring, unseal_key: KeyBytes, reserved: u64) -> io::Result<Self> {
        Ok(Self { id, names: keyring.names()?, keyring, unseal_key, reserved: AtomicU64::new(reserved) })
    }

    pub(crate) fn seal(&self, name: &[u8], plain: &[u8], random: &dyn Random) -> Cipher {
        let mut mark = [RING_RECORD; MARK_SIZE];
        mark.iter_mut().skip(1).zip(self.id.0).for_each(|(to, from)| *to = from);
        self.keyring.seal_marked(&mark, name, plain, random)
    }

    pub(crate) fn open(&self, name: &[u8], cipher: &[u8]) -> Option<Vec<u8>> {
        self.keyring.open_marked(MARK_SIZE, name, cipher)
    }

    /// The same ring with one more term.
    pub(crate) fn rotated(&self, random: &dyn Random, now: u64) -> io::Result<Self> {
        Self::new(self.id, self.keyring.rotated(random, now)?, self.unseal_key.clone(), 0)
    }

    /// The same ring with a new root key, which this key is to unseal.
    pub(crate) fn rerooted(&self, random: &dyn Random, unseal_key: KeyBytes) -> io::Result<Self> {
        let reserved = self.reserved.load(Ordering::Relaxed);
        Self::new(self.id, self.keyring.rerooted(random)?, unseal_key, reserved)
    }

    pub(crate) fn keys_write(&self, random: &dyn Random) -> SealedWrite {
        let sealed = self.keyring.sealed_for(&aad(self.id), random);
        SealedWrite { key: keys_key(self.id), value: Some(sealed) }
    }

    pub(crate) fn used_write(&self, count: u64) -> SealedWrite {
        self.reserved.store(count, Ordering::Relaxed);
        used_record(self.id, self.keyring.status().term, count)
    }
}

impl Rings {
    /// Rings as they are at a start: sealed.
    pub(crate) fn sealed(ids: impl Iterator<Item = RingId>) -> Self {
        Self(ids.map(|id| (id, None)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ring of an owner, if there is one of its family.
    pub(crate) fn of(&self, owner: MountId) -> Option<RingId> {
        if self.0.is_empty() {
            return None;
        }
        let id = RingId::of(owner);
        self.0.contains_key(&id).then_some(id)
    }

    pub(crate) fn keys(&self, owner: MountId) -> Keys {
        if self.0.is_empty() {
            return Keys::Server;
        }
        match self.0.get(&RingId::of(owner)) {
            None => Keys::Server,
            Some(None) => Keys::None,
            Some(Some(ring)) => Keys::Ring(Arc::clone(ring)),
        }
    }

    /// The ring of this id, if it is open.
    pub(crate) fn open(&self, id: RingId) -> Option<&Arc<Ring>> {
        self.0.get(&id)?.as_ref()
    }

    pub(crate) fn all_open(&self) -> impl Iterator<Item = &Arc<Ring>> {
        self.0.values().flatten()
    }

    pub(crate) fn knows(&self, id: RingId) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn set(&mut self, id: RingId, ring: Option<Arc<Ring>>) {
        self.0.insert(id, ring);
    }

    pub(crate) fn change(&mut self, id: RingId, change: RingChange) {
        match change {
            RingChange::Founded => drop(self.0.insert(id, None)),
            // It may have been sealed meanwhile.
            RingChange::Rotated(ring) => {
                if let Some(open @ Some(_)) = self.0.get_mut(&id) {
                    *open = Some(ring);
                }
            }
            RingChange::Dropped => drop(self.0.remove(&id)),
        }
    }
}

impl Deref for Names<'_> {
    type Target = NameKey;

    fn deref(&self) -> &NameKey {
        match self {
            Self::Server(names) => names,
            Self::Ring(ring) => &ring.names,
        }
    }
}

/// The ring that sealed a stored value, if one did.
pub(crate) fn sealed_by(cipher: &[u8]) -> Option<RingId> {
    let (mark, _) = cipher.split_first_chunk::<MARK_SIZE>()?;
    let [RING_RECORD, id @ ..] = mark else { return None };
    Some(RingId(*id))
}

/// `None` if `root` is not the key of this ring.
pub(crate) fn unseal(id: RingId, root: &[u8], stored: &Cipher) -> io::Result<Option<Keyring>> {
    Keyring::unseal_for(&aad(id), root, stored)
}

pub(crate) fn seal_key(id: RingId) -> SealedKey {
    meta(SEAL, id)
}

pub(crate) fn keys_key(id: RingId) -> SealedKey {
    meta(KEYS, id)
}

pub(crate) fn used_key(id: RingId) -> SealedKey {
    meta(USED, id)
}

pub(crate) fn used_record(id: RingId, term: u32, count: u64) -> SealedWrite {
    let bytes = [&term.to_be_bytes()[..], &count.to_be_bytes()].concat();
    SealedWrite { key: used_key(id), value: Some(Cipher(bytes.into())) }
}

/// What the seals of all rings lie under.
pub(crate) fn all() -> SealedKey {
    names::meta(SEAL)
}

/// The ring whose seal lies under this key.
pub(crate) fn of_seal_key(key: &[u8]) -> Option<RingId> {
    Some(RingId(key.strip_prefix(&*all().0)?.try_into().ok()?))
}

fn meta(kind: &str, id: RingId) -> SealedKey {
    SealedKey([&*names::meta(kind).0, &id.0].concat().into())
}

fn aad(id: RingId) -> Vec<u8> {
    [KEYRING_AAD, &id.0].concat()
}
