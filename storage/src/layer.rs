//! What the journal holds and the map does not yet: in memory, in order, in every version that a view may ask for.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::backend::{Cipher, SealedKey, SealedWrite};
use crate::tree::Row;

/// The writes of the records of one half of the journal.
#[derive(Default)]
pub(crate) struct Layer(RwLock<BTreeMap<SealedKey, Versions>>);

/// What a key was made by the records, the newest last.
struct Versions {
    first: Version,
    later: Vec<Version>,
}

struct Version {
    record: u64,
    value: Option<Cipher>,
}

/// What a layer makes of a range of keys, a piece at a time: nobody who adds to it waits for who reads.
pub(crate) struct Rows<'a> {
    layer: &'a Layer,
    /// Where the next piece begins; nothing behind the last one.
    from: Option<Bound<SealedKey>>,
    until: &'a SealedKey,
    record: u64,
    piece: std::vec::IntoIter<Change>,
    size: usize,
}

/// What became of a key.
pub(crate) type Change = (SealedKey, Option<Cipher>);

/// How many rows are looked at in the first piece of a range, and how many in the largest.
const PIECE: usize = 16;
const PIECE_MAX: usize = 512;

impl Layer {
    /// Adds what a record writes. Views of earlier records do not see it.
    pub(crate) fn add(&self, record: u64, batch: impl Iterator<Item = SealedWrite>) {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for SealedWrite { key, value } in batch {
            let version = Version { record, value };
            match rows.get_mut(&key) {
                Some(versions) => versions.later.push(version),
                None => drop(rows.insert(key, Versions { first: version, later: Vec::new() })),
            }
        }
    }

    /// What `key` was after a record: nothing if no record up to there wrote it.
    pub(crate) fn get(&self, key: &SealedKey, record: u64) -> Option<Option<Cipher>> {
        Some(self.read().get(key)?.at(record)?.value.clone())
    }

    /// The keys in a range that were written up to a record, in order, with what that made them.
    pub(crate) fn range<'a>(&'a self, from: &SealedKey, until: &'a SealedKey, record: u64) -> Rows<'a> {
        let from = Some(Bound::Included(from.clone()));
        Rows { layer: self, from, until, record, piece: Vec::new().into_iter(), size: PIECE }
    }

    /// How many keys were written.
    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    /// Hands on every key that was written, with what it is now. Nothing is added meanwhile.
    pub(crate) fn all<T>(&self, work: impl FnOnce(&mut dyn Iterator<Item = Row<'_>>) -> T) -> T {
        work(&mut self.read().iter().map(|(key, versions)| {
            let value = versions.last().value.as_ref();
            (key.as_bytes(), value.map(|value| &*value.0))
        }))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<SealedKey, Versions>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Iterator for Rows<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.piece.next() {
                return Some(change);
            }
            let from = self.from.take()?;
            let rows = self.layer.read();
            let range = rows.range((from.as_ref(), Bound::Excluded(self.until))).take(self.size);
            let (mut seen, mut last, mut piece) = (0, None, Vec::new());
            for (key, versions) in range {
                (seen, last) = (seen + 1, Some(key));
                piece.extend(versions.at(self.record).map(|version| (key.clone(), version.value.clone())));
            }
            if seen == self.size {
                self.from = last.map(|key| Bound::Excluded(key.clone()));
            }
            self.piece = piece.into_iter();
            self.size = (self.size * 2).min(PIECE_MAX);
        }
    }
}

impl Versions {
    fn last(&self) -> &Version {
        self.later.last().unwrap_or(&self.first)
    }

    fn at(&self, record: u64) -> Option<&Version> {
        self.later.iter().rev().chain([&self.first]).find(|version| version.record <= record)
    }
}

/// Both in the order of their keys; where both have a key, what `newer` says of it.
pub(crate) struct Newest<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
}

impl<N: Iterator<Item = Change>, O: Iterator<Item = Change>> Newest<N, O> {
    pub(crate) fn of(newer: N, older: O) -> Self {
        Self { newer: newer.peekable(), older: older.peekable() }
    }
}

impl<N: Iterator<Item = Change>, O: Iterator<Item = Change>> Iterator for Newest<N, O> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        let Some((newer, _)) = self.newer.peek() else { return self.older.next() };
        match self.older.next_if(|(older, _)| older < newer) {
            Some(older) => Some(older),
            None => {
                self.older.next_if(|(older, _)| older == newer);
                self.newer.next()
            }
        }
    }
}
