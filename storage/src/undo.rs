//! Immutable moments for stores that have only a present: what was overwritten is kept while a moment that saw it lives.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Values that later commits overwrote, by key, each with the number of the commit that did.
#[derive(Default)]
pub(crate) struct Undo {
    before: BTreeMap<Box<[u8]>, Vec<Before>>,
    /// How many live moments there are of each version.
    moments: BTreeMap<u64, usize>,
    version: u64,
}

/// What a key held before the commit of that number.
type Before = (u64, Option<Box<[u8]>>);

impl Undo {
    /// A moment begins: answers its version.
    pub(crate) fn begin(&mut self) -> u64 {
        *self.moments.entry(self.version).or_default() += 1;
        self.version
    }

    /// A moment ends; what only it could see is dropped.
    pub(crate) fn end(&mut self, version: u64) {
        if let Some(count) = self.moments.get_mut(&version) {
            *count -= 1;
            if *count == 0 {
                self.moments.remove(&version);
            }
        }
        match self.moments.first_key_value() {
            None => self.before.clear(),
            Some((oldest, _)) if *oldest > version => {
                let oldest = *oldest;
                self.before.retain(|_, old| {
                    old.retain(|(overwritten, _)| *overwritten > oldest);
                    !old.is_empty()
                });
            }
            Some(_) => {}
        }
    }

    /// True if what a commit overwrites must be kept.
    pub(crate) fn watched(&self) -> bool {
        !self.moments.is_empty()
    }

    /// The next commit begins to overwrite.
    pub(crate) fn advance(&mut self) {
        self.version += 1;
    }

    /// Keeps what the commit under way overwrites.
    pub(crate) fn keep(&mut self, key: &[u8], old: Option<Box<[u8]>>) {
        self.before.entry(key.into()).or_default().push((self.version, old));
    }

    /// What `key` held at `version`; `None` if that is what it holds now.
    pub(crate) fn at(&self, version: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        older(self.before.get(key)?, version)
    }

    /// The keys in a range that held something else at `version`.
    pub(crate) fn range<'a>(
        &'a self,
        version: u64,
        from: &[u8],
        until: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let until = if until < from { from } else { until };
        let range = self.before.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until)));
        range.filter_map(move |(key, old)| Some((&**key, older(old, version)?)))
    }
}

fn older(old: &[Before], version: u64) -> Option<Option<&[u8]>> {
    let (_, value) = old.iter().find(|(overwritten, _)| *overwritten > version)?;
    Some(value.as_deref())
}
