use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::Index;
use crate::backend::{Cipher, SealedKey};
use crate::key::{Hashed, Logical};

/// What an item costs besides its bytes.
const ITEM_OVERHEAD: usize = 200;

/// A bounded memory of what was read under logical keys. Nothing in it is invalidated: an item carries the index
/// at which it was loaded, and the stripes tell whether that is still right.
pub(crate) struct Memory<V: Sized>(Cache<OwnedKey, Arc<V>, Weight, BuildHasherDefault<Passed>>);

/// An entry as it was read, still sealed. Absence is remembered too.
pub(crate) struct Entry {
    pub(crate) index: Index,
    pub(crate) sealed: SealedKey,
    pub(crate) cipher: Option<Cipher>,
}

/// The names in a folder, in order.
pub(crate) struct Listing {
    pub(crate) index: Index,
    pub(crate) names: Arc<[String]>,
}

/// What an item costs.
pub(crate) trait Size {
    fn size(&self) -> usize;
}

impl<V: Size> Memory<V> {
    pub(crate) fn bounded(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        Self(Cache::with(items, bytes, Weight, BuildHasherDefault::default(), Default::default()))
    }

    pub(crate) fn get(&self, key: &Hashed<'_>) -> Option<Arc<V>> {
        self.0.get(key)
    }

    /// What is held, as it is reckoned.
    pub(crate) fn weight(&self) -> u64 {
        self.0.weight()
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    pub(crate) fn remove(&self, key: &Hashed<'_>) {
        self.0.remove(key);
    }

    pub(crate) fn insert(&self, hash: u64, key: Logical, item: Arc<V>) {
        self.0.insert(OwnedKey { hash, key }, item);
    }
}

impl Size for SealedKey {
    fn size(&self) -> usize {
        self.0.len()
    }
}

impl Size for Entry {
    fn size(&self) -> usize {
        self.sealed.0.len() + self.cipher.as_ref().map_or(0, |cipher| cipher.0.len())
    }
}

impl Size for Listing {
    fn size(&self) -> usize {
        self.names.iter().map(|name| size_of::<String>() + name.capacity()).sum()
    }
}

#[derive(Clone)]
struct Weight;

impl<V: Size> Weighter<OwnedKey, Arc<V>> for Weight {
    fn weight(&self, key: &OwnedKey, item: &Arc<V>) -> u64 {
        (key.key.size() + item.size() + ITEM_OVERHEAD) as u64
    }
}

#[derive(Clone, Eq, PartialEq)]
struct OwnedKey {
    hash: u64,
    key: Logical,
}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<OwnedKey> for Hashed<'_> {
    fn equivalent(&self, owned: &OwnedKey) -> bool {
        self.hash == owned.hash && self.key == owned.key.borrow()
    }
}

/// Hands on the hash that the key already has.
#[derive(Clone, Default)]
struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
