use std::any::{Any, TypeId};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use storage::{MountId, ReadSet, Snapshot, Txn};

/// Values worked out from the store, each kept with what was read to work it out.
///
/// A value is good as long as its reads would read the same. So nothing is ever invalidated: not after a
/// write, not on a standby, not after a restore. Bounded: what is used least is forgotten first.
pub struct Memo<K, V> {
    kept: Cache<K, Arc<Kept<V>>>,
}

/// A value and what it was worked out from.
pub struct Kept<V> {
    reads: ReadSet,
    /// The last index at which `reads` was found to hold: at this one there is nothing to look up.
    held_at: AtomicU64,
    value: V,
}

/// The memo that the mounts of one server share.
pub type Memos = Memo<(MountId, TypeId, String), Arc<dyn Any + Send + Sync>>;

impl<K: Eq + Hash, V> Memo<K, V> {
    /// A memo of at most `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { kept: Cache::new(capacity) }
    }

    /// The value of `key`, made anew if what it was made from has changed.
    ///
    /// # Errors
    /// Those of `make`; a failure is not kept.
    pub fn get<Q, E>(
        &self,
        key: &Q,
        today: &Snapshot,
        make: impl FnOnce(&mut Txn) -> Result<V, E>,
    ) -> Result<Arc<Kept<V>>, E>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(kept) = self.kept.get(key)
            && kept.holds_on(today)
        {
            return Ok(kept);
        }
        let mut txn = Txn::on(today.clone());
        let value = make(&mut txn)?;
        let kept = Arc::new(Kept { reads: txn.reads(), held_at: AtomicU64::new(today.index()), value });
        self.kept.insert(key.to_owned(), Arc::clone(&kept));
        Ok(kept)
    }
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// Forgets everything, so that what lay in it is wiped. It is never needed for an answer to be right.
    pub fn forget(&self) {
        self.kept.clear();
    }
}

impl<K, V> fmt::Debug for Memo<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo(..)")
    }
}

impl<V> Kept<V> {
    /// The value itself.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// What was read to make it; a transaction that relies on the value joins these.
    pub fn reads(&self) -> &ReadSet {
        &self.reads
    }

    fn holds_on(&self, today: &Snapshot) -> bool {
        if self.held_at.load(Relaxed) == today.index() {
            return true;
        }
        let holds = self.reads.holds_on(today);
        if holds {
            self.held_at.fetch_max(today.index(), Relaxed);
        }
        holds
    }
}
