use std::sync::atomic::{AtomicU64, Ordering};

use crate::Index;
use crate::snapshot::Snapshot;

/// How many stripes the keys are hashed to.
const STRIPES: usize = 1 << 16;
/// A read set is sorted and rid of its doubles once it has grown to this many more.
const TIDY_EVERY: usize = 256;

/// The index of the last write to each of 65,536 classes of keys and folders.
///
/// Small, right for absent keys and for folders too, and needs no disk. Two keys may share a stripe; then a
/// reader is told that its key changed when it did not, and reads again.
pub(crate) struct Stripes(Box<[AtomicU64]>);

/// One class of keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Stripe(u16);

impl Stripe {
    pub(crate) fn of(hash: u64) -> Self {
        // The high bits: the cache picks its shard by the low ones.
        Self((hash >> 48) as u16)
    }

    /// The word and the bit of this stripe in a set of all stripes.
    pub(crate) fn position(self) -> (usize, u64) {
        (usize::from(self.0 / 64), 1 << (self.0 % 64))
    }
}

impl Stripes {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(STRIPES).collect())
    }

    pub(crate) fn last_write(&self, stripe: Stripe) -> Index {
        self.cell(stripe).load(Ordering::Acquire)
    }

    pub(crate) fn written(&self, stripe: Stripe, index: Index) {
        self.cell(stripe).store(index, Ordering::Release);
    }

    /// As if every key had been written.
    pub(crate) fn all_written(&self, index: Index) {
        self.0.iter().for_each(|cell| cell.store(index, Ordering::Release));
    }

    fn cell(&self, stripe: Stripe) -> &AtomicU64 {
        self.0.get(usize::from(stripe.0)).expect("there is a cell for every value of a u16")
    }
}

/// What was read, and when. Tells a commit, or a memo, whether it would read the same today.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    pub(crate) index: Index,
    stripes: Vec<Stripe>,
    tidied: usize,
    /// Something joined that no longer held. Nothing brings that back.
    stale: bool,
}

impl ReadSet {
    pub(crate) fn at(index: Index) -> Self {
        Self { index, ..Self::default() }
    }

    pub(crate) fn add(&mut self, stripe: Stripe) {
        self.stripes.push(stripe);
        if self.stripes.len() >= self.tidied.saturating_mul(2).saturating_add(TIDY_EVERY) {
            self.stripes.sort_unstable();
            self.stripes.dedup();
            self.tidied = self.stripes.len();
        }
    }

    pub(crate) fn spoil(&mut self) {
        self.stale = true;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        other.stripes.iter().for_each(|stripe| self.add(*stripe));
    }

    /// True if nothing that was read has been written since, as `snapshot` sees it.
    ///
    /// A false answer may be wrong and only costs a second reading; a true one never is.
    pub fn holds_on(&self, snapshot: &Snapshot) -> bool {
        self.holds(snapshot.stripes(), self.index.min(snapshot.index()))
    }

    /// True if no stripe was written after `until`.
    pub(crate) fn holds(&self, stripes: &Stripes, until: Index) -> bool {
        !self.stale && self.stripes.iter().all(|stripe| stripes.last_write(*stripe) <= until)
    }

    pub(crate) fn meets(&self, written: &dyn Fn(Stripe) -> bool) -> bool {
        self.stripes.iter().any(|stripe| written(*stripe))
    }

    /// How many bytes it takes in memory, for memos that are bounded in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.stripes.capacity() * size_of::<Stripe>()
    }

    /// True if nothing was read.
    pub fn is_empty(&self) -> bool {
        self.stripes.is_empty() && !self.stale
    }
}
