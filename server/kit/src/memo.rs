use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use storage::{MountId, ReadSet, Snapshot, Txn};

/// Values worked out from the store, each kept with what was read to work it out.
///
/// A value is good as long as its reads would read the same. So nothing is ever invalidated: not after a
/// write, not on a standby, not after a restore. Bounded: what is used least is forgotten first.
pub struct Memo<K, V> {
    kept: Cache<K, Arc<Kept<V>>>,
    /// How often all was forgotten: what was worked out before that is not kept after it.
    forgotten: AtomicU64,
}

/// A value and what it was worked out from.
pub struct Kept<V> {
    reads: ReadSet,
    /// The last index at which `reads` was found to hold: at this one there is nothing to look up.
    held_at: AtomicU64,
    value: V,
}

/// What the mounts of one server keep in memory between requests.
#[derive(Debug)]
pub struct Memos {
    /// What is worked out anew where it is missing. They share its room.
    pub(crate) shared: Memo<Owned, Anything>,
    lasting: Mutex<HashMap<(MountId, TypeId), Anything>>,
}

/// Of which mount a value is, of which type, and under which name: as it is kept, and as it is looked for.
pub(crate) type Owned = (MountId, TypeId, String);
pub(crate) struct Wanted<'a>(pub(crate) MountId, pub(crate) TypeId, pub(crate) &'a str);

impl Wanted<'_> {
    pub(crate) fn owned(&self) -> Owned {
        (self.0, self.1, self.2.to_owned())
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.0, self.1, self.2).hash(hasher);
    }
}

impl Equivalent<Owned> for Wanted<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        (self.0, self.1, self.2) == (key.0, key.1, key.2.as_str())
    }
}

/// A value whose type its key tells.
pub(crate) type Anything = Arc<dyn Any + Send + Sync>;

impl Memos {
    /// Room for so many values that can be worked out anew.
    pub fn new(capacity: usize) -> Self {
        Self { shared: Memo::new(capacity), lasting: Mutex::default() }
    }

    /// What a mount has one of, and nobody could work out anew: it stays until the mount is forgotten, however full the
    /// memo is.
    pub fn lasting<T: Default + Send + Sync + 'static>(&self, mount: MountId) -> Arc<T> {
        let mut lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lasting.entry((mount, TypeId::of::<T>())).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(kept).downcast().unwrap_or_default()
    }

    /// Forgets what can be worked out anew, and of the mounts that are not to be kept the rest too.
    pub fn forget(&self, keep: impl Fn(MountId) -> bool) {
        self.shared.forget();
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner).retain(|(mount, _), _| keep(*mount));
    }
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// A memo of at most `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { kept: Cache::new(capacity), forgotten: AtomicU64::new(0) }
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
        self.get_by(key, Q::to_owned, today, make)
    }

    /// The same by what is like a key: it is made one only where the value is made anew.
    ///
    /// # Errors
    /// Those of `make`; a failure is not kept.
    pub fn get_by<Q, E>(
        &self,
        key: &Q,
        owned: impl FnOnce(&Q) -> K,
        today: &Snapshot,
        make: impl FnOnce(&mut Txn) -> Result<V, E>,
    ) -> Result<Arc<Kept<V>>, E>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(kept) = self.kept.get(key)
            && kept.holds_on(today)
        {
            return Ok(kept);
        }
        let before = self.forgotten.load(SeqCst);
        let mut txn = Txn::on(today.clone());
        let value = make(&mut txn)?;
        let kept = Arc::new(Kept { reads: txn.reads(), held_at: AtomicU64::new(today.index()), value });
        self.keep(key, owned(key), &kept, before);
        Ok(kept)
    }
}

impl<K: Eq + Hash, V> Memo<K, V> {
    /// The value of `key` if it is still the one that is wanted, made anew otherwise. Such a value tells by itself what it was
    /// made from, so it holds no reads.
    ///
    /// # Errors
    /// Those of `make`; a failure is not kept.
    pub fn wanted<Q, E>(
        &self,
        key: &Q,
        is_wanted: impl FnOnce(&V) -> bool,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<Kept<V>>, E>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(kept) = self.kept.get(key)
            && is_wanted(kept.value())
        {
            return Ok(kept);
        }
        let before = self.forgotten.load(SeqCst);
        let value = make()?;
        let kept = Arc::new(Kept { reads: ReadSet::default(), held_at: AtomicU64::default(), value });
        self.keep(key, key.to_owned(), &kept, before);
        Ok(kept)
    }

    /// Keeps a value, unless all was forgotten since `before`.
    fn keep<Q>(&self, key: &Q, owned: K, kept: &Arc<Kept<V>>, before: u64)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.kept.insert(owned, Arc::clone(kept));
        if self.forgotten.load(SeqCst) != before {
            self.kept.remove(key);
        }
    }

    /// Forgets everything, so that what lay in it is wiped, and what somebody is working out at this moment, too. It is
    /// never needed for an answer to be right.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, SeqCst);
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use storage::seal::{SealChoice, Split};
    use storage::{Committer, Memory, Open, Options, Phase, SystemRandom};

    use super::*;

    fn store() -> Open {
        let options = Options { committer: Committer::Inline, ..Options::new(|| 0) };
        let Ok(Phase::Blank(blank)) = storage::open(Box::new(Memory::new()), options) else {
            panic!("a new store is blank")
        };
        let seal = SealChoice::Shamir(Split { shares: 1, threshold: 1 });
        let (sealed, made) = blank.init(&seal, &SystemRandom).unwrap();
        sealed.unseal(&made.key, Arc::new(SystemRandom)).unwrap()
    }

    #[test]
    fn what_was_being_worked_out_when_all_was_forgotten_is_not_kept() {
        let (store, memo) = (store(), Memo::<String, u32>::new(10));
        let today = store.snapshot();
        let get = |value: u32, meanwhile: &dyn Fn()| {
            let made = memo.get("key", &today, |_| {
                meanwhile();
                Ok::<_, Infallible>(value)
            });
            *made.unwrap().value()
        };
        assert_eq!(get(1, &|| memo.forget()), 1);
        assert!(memo.kept.is_empty(), "it lingers");
        assert_eq!((get(2, &|| ()), get(3, &|| ())), (2, 2));
        memo.forget();
        assert_eq!(get(4, &|| ()), 4);
    }

    #[test]
    fn what_is_looked_for_by_its_parts_is_found_and_made_once() {
        let (store, memos) = (store(), Memos::new(10));
        let today = store.snapshot();
        let mount = MountId([1; 16]);
        let get = |name: &str, made: u32| {
            let key = Wanted(mount, TypeId::of::<u32>(), name);
            let kept = memos
                .shared
                .get_by(&key, Wanted::owned, &today, |_| Ok::<_, Infallible>(Arc::new(made) as Anything));
            Arc::clone(kept.unwrap().value()).downcast::<u32>().map(|value| *value).ok()
        };
        assert_eq!((get("a", 1), get("b", 2), get("a", 3)), (Some(1), Some(2), Some(1)));
    }

    #[test]
    fn what_says_itself_what_it_was_made_from_is_kept_until_another_is_wanted() {
        let memo = Memo::<String, u32>::new(10);
        let get = |wanted: u32, made: u32, meanwhile: &dyn Fn()| {
            let kept = memo.wanted(
                "key",
                |kept| *kept == wanted,
                || {
                    meanwhile();
                    Ok::<_, Infallible>(made)
                },
            );
            *kept.unwrap().value()
        };
        assert_eq!((get(1, 1, &|| ()), get(1, 9, &|| ()), get(2, 2, &|| ())), (1, 1, 2));
        assert_eq!((get(3, 3, &|| memo.forget()), get(3, 4, &|| ())), (3, 4));
    }
}
