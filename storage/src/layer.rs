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

/// A layer that is being read. Nothing is added meanwhile.
pub(crate) struct Reading<'a>(RwLockReadGuard<'a, BTreeMap<SealedKey, Versions>>);

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
        Some(self.read().0.get(key)?.at(record)?.value.clone())
    }

    pub(crate) fn read(&self) -> Reading<'_> {
        Reading(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reading<'_> {
    /// How many keys were written.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys in a range that were written up to a record, with what that made them.
    pub(crate) fn range(
        &self,
        from: &SealedKey,
        until: &SealedKey,
        record: u64,
    ) -> impl Iterator<Item = Row<'_>> {
        let range = (Bound::Included(from), Bound::Excluded(until));
        self.0.range::<SealedKey, _>(range).filter_map(move |(key, versions)| {
            let value = versions.at(record)?.value.as_ref();
            Some((key.as_bytes(), value.map(|value| &*value.0)))
        })
    }

    /// Every key that was written, with what it is now.
    pub(crate) fn all(&self) -> impl Iterator<Item = Row<'_>> {
        self.0.iter().map(|(key, versions)| {
            let value = versions.last().value.as_ref();
            (key.as_bytes(), value.map(|value| &*value.0))
        })
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
pub(crate) fn newest<'a>(
    newer: impl Iterator<Item = Row<'a>>,
    older: impl Iterator<Item = Row<'a>>,
) -> impl Iterator<Item = Row<'a>> {
    Newest { newer: newer.peekable(), older: older.peekable() }
}

struct Newest<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
}

impl<'a, N: Iterator<Item = Row<'a>>, O: Iterator<Item = Row<'a>>> Iterator for Newest<N, O> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
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
