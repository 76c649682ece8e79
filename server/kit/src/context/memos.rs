//! What is worked out from the records of a mount, and kept.

use std::any::TypeId;
use std::cell::RefCell;
use std::sync::Arc;

use storage::Snapshot;

use super::{Recording, Scene};
use crate::error::{Error, Result};
use crate::memo::{Anything, Kept, Wanted};
use crate::notes::Notes;

/// A value with what says what it was made from.
struct Stamped<T> {
    stamp: String,
    value: Arc<T>,
}

fn mistaken() -> Error {
    Error::internal("a memo holds another type than its key says")
}

/// A value whose reads are those of whoever relies on it.
pub(super) type Joined = Arc<Kept<Anything>>;

impl Scene<'_> {
    pub(super) fn memo<T: Send + Sync + 'static>(
        &self,
        today: &Snapshot,
        key: &str,
        make: impl FnOnce(&Recording<'_>) -> Result<T>,
    ) -> Result<(Arc<T>, Joined)> {
        let mut make = Some(make);
        let kept = self.kept(today, &Wanted(self.mount.id, TypeId::of::<T>(), key), &mut |cx| {
            let make = make.take().ok_or_else(mistaken)?;
            Ok(Arc::new(make(cx)?))
        })?;
        let value = Arc::clone(kept.value()).downcast::<T>();
        let value = value.map_err(|_| mistaken())?;
        Ok((value, kept))
    }

    /// There is a memo per type of value: what does not depend on that stands here once.
    fn kept(
        &self,
        today: &Snapshot,
        key: &Wanted<'_>,
        make: &mut dyn FnMut(&Recording<'_>) -> Result<Anything>,
    ) -> Result<Joined> {
        self.mount.memos.shared.get_by(key, Wanted::owned, today, |txn| {
            let cx = Recording { txn, joined: RefCell::default(), scene: *self, notes: Notes::default() };
            let value = make(&cx)?;
            let joined = cx.joined.into_inner();
            joined.iter().for_each(|kept| txn.join(kept.reads()));
            Ok(value)
        })
    }

    pub(super) fn memo_stamped<T: Send + Sync + 'static>(
        &self,
        key: &str,
        stamp: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let key = (self.mount.id, TypeId::of::<Stamped<T>>(), key.to_owned());
        let known = |kept: &Anything| {
            let kept = (**kept).downcast_ref::<Stamped<T>>()?;
            (kept.stamp == stamp).then(|| Arc::clone(&kept.value))
        };
        let kept = self.mount.memos.shared.wanted(
            &key,
            |kept| known(kept).is_some(),
            || {
                let value = Stamped { stamp: stamp.to_owned(), value: Arc::new(make()?) };
                Ok::<_, Error>(Arc::new(value) as Anything)
            },
        )?;
        known(kept.value()).ok_or_else(mistaken)
    }

    /// The same for a context whose own reads are to hold what the value was made from.
    pub(super) fn memo_joined<T: Send + Sync + 'static>(
        &self,
        today: &Snapshot,
        joined: &RefCell<Vec<Joined>>,
        key: &str,
        make: impl FnOnce(&Recording<'_>) -> Result<T>,
    ) -> Result<Arc<T>> {
        let (value, kept) = self.memo(today, key, make)?;
        joined.borrow_mut().push(kept);
        Ok(value)
    }
}
