use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::Name;

use crate::context::{Reads, Writing};
use crate::error::Result;
use crate::reply::MOSTLY;

/// A typed part of a mount's storage, its records named by paths that users chose. Declared once, at the top
/// of an engine's file, under a number that no other table of the engine has. Names and values lie sealed.
pub struct Table<V> {
    number: u8,
    value: PhantomData<fn() -> V>,
}

/// The same for records named by ids that the server made: they lie in clear, and page in their order.
pub struct IdTable<V> {
    number: u8,
    value: PhantomData<fn() -> V>,
}

/// The same for records named by a user's path and a number.
pub struct VersionTable<V> {
    number: u8,
    value: PhantomData<fn() -> V>,
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// Table `number` of the engine.
    pub const fn new(number: u8) -> Self {
        Self { number, value: PhantomData }
    }

    /// The record at `path`.
    ///
    /// # Errors
    /// If the store does not answer, or the record was damaged.
    pub fn get(&self, cx: &impl Reads, path: &str) -> Result<Option<V>> {
        read(cx, self.number, Name::Path(path))
    }

    /// Whether there is a record at `path`.
    ///
    /// # Errors
    /// If the store does not answer, or the record was damaged.
    pub fn has(&self, cx: &impl Reads, path: &str) -> Result<bool> {
        Ok(cx.get(self.number, Name::Path(path))?.is_some())
    }

    /// Puts the record at `path`.
    ///
    /// # Errors
    /// If it is too large.
    pub fn put(&self, cx: &mut Writing<'_>, path: &str, value: &V) -> Result<()> {
        cx.put(self.number, Name::Path(path), written(value)?)
    }

    /// Deletes the record at `path`, if there is one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn delete(&self, cx: &mut Writing<'_>, path: &str) -> Result<()> {
        cx.delete(self.number, Name::Path(path))
    }

    /// What a LIST shows: the names right below `folder`, sorted, folders with their slash.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn list(&self, cx: &impl Reads, folder: &str) -> Result<Arc<[String]>> {
        cx.list(self.number, folder)
    }

    /// What a SCAN shows: every path below `folder`.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn walk(&self, cx: &impl Reads, folder: &str) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        cx.walk(self.number, folder, &mut |path| {
            paths.push(path.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(paths)
    }
}

/// Puts sorted paths in the order in which OpenBao's SCAN shows them: what lies in a folder before what lies deeper,
/// and of its folders the last first.
pub fn in_scan_order(paths: &mut [String]) {
    paths.sort_by(|one, other| scan_order(one, other));
}

fn scan_order(one: &str, other: &str) -> Ordering {
    match (one.split_once('/'), other.split_once('/')) {
        (None, None) => one.cmp(other),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some((folder, one)), Some((same, other))) if folder == same => scan_order(one, other),
        // Listed with its slash, `a-b/` comes before `a/`.
        (Some((one, _)), Some((other, _))) => other.bytes().chain([b'/']).cmp(one.bytes().chain([b'/'])),
    }
}

impl<V: Serialize + DeserializeOwned> IdTable<V> {
    /// Table `number` of the engine.
    pub const fn new(number: u8) -> Self {
        Self { number, value: PhantomData }
    }

    /// The record of `id`.
    ///
    /// # Errors
    /// If the store does not answer, or the record was damaged.
    pub fn get(&self, cx: &impl Reads, id: &[u8]) -> Result<Option<V>> {
        read(cx, self.number, Name::Id(id))
    }

    /// Puts the record of `id`.
    ///
    /// # Errors
    /// If it is too large.
    pub fn put(&self, cx: &mut Writing<'_>, id: &[u8], value: &V) -> Result<()> {
        cx.put(self.number, Name::Id(id), written(value)?)
    }

    /// Deletes the record of `id`, if there is one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn delete(&self, cx: &mut Writing<'_>, id: &[u8]) -> Result<()> {
        cx.delete(self.number, Name::Id(id))
    }

    /// Shows records in the order of their ids, from `from` on, until told to stop.
    ///
    /// # Errors
    /// If the store does not answer, or a record was damaged.
    pub fn scan(
        &self,
        cx: &impl Reads,
        from: &[u8],
        mut each: impl FnMut(&[u8], V) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        cx.scan(self.number, from, None, &mut |id, value| each(id, serde_json::from_slice(&value)?))
    }

    /// The same, up to `until`. Where both begin alike, writes elsewhere do not touch what was read.
    ///
    /// # Errors
    /// If the store does not answer, or a record was damaged.
    pub fn range(
        &self,
        cx: &impl Reads,
        from: &[u8],
        until: &[u8],
        mut each: impl FnMut(&[u8], V) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        cx.scan(self.number, from, Some(until), &mut |id, value| each(id, serde_json::from_slice(&value)?))
    }

    /// Shows ids alone in their order, from `from` on, until told to stop.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn ids(
        &self,
        cx: &impl Reads,
        from: &[u8],
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        cx.scan(self.number, from, None, &mut |id, _| Ok(each(id)))
    }
}

impl<V: Serialize + DeserializeOwned> VersionTable<V> {
    /// Table `number` of the engine.
    pub const fn new(number: u8) -> Self {
        Self { number, value: PhantomData }
    }

    /// Version `version` of the record at `path`.
    ///
    /// # Errors
    /// If the store does not answer, or the record was damaged.
    pub fn get(&self, cx: &impl Reads, path: &str, version: u64) -> Result<Option<V>> {
        read(cx, self.number, Name::PathThen(path, &version.to_be_bytes()))
    }

    /// Puts version `version` of the record at `path`.
    ///
    /// # Errors
    /// If it is too large.
    pub fn put(&self, cx: &mut Writing<'_>, path: &str, version: u64, value: &V) -> Result<()> {
        cx.put(self.number, Name::PathThen(path, &version.to_be_bytes()), written(value)?)
    }

    /// Deletes version `version` of the record at `path`, if there is one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn delete(&self, cx: &mut Writing<'_>, path: &str, version: u64) -> Result<()> {
        cx.delete(self.number, Name::PathThen(path, &version.to_be_bytes()))
    }
}

/// The part of a sorted list that follows `after`, at most `limit` names of it; no limit if it is not positive.
pub fn page(names: &[String], after: &str, limit: i64) -> Vec<String> {
    let start = if after.is_empty() { 0 } else { names.partition_point(|name| name.as_str() <= after) };
    let count = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    names.iter().skip(start).take(count).cloned().collect()
}

/// A record as it is stored. Most are written in one piece that never moves: of a secret no copy is left behind.
fn written<V: Serialize>(value: &V) -> Result<Vec<u8>> {
    let mut json = Vec::with_capacity(MOSTLY);
    serde_json::to_writer(&mut json, value)?;
    Ok(json)
}

fn read<V: DeserializeOwned>(cx: &impl Reads, number: u8, name: Name<'_>) -> Result<Option<V>> {
    Ok(cx.get(number, name)?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::in_scan_order;

    /// The order is the one that bao 2.7.2 gave for these paths.
    #[test]
    fn a_scan_shows_the_near_before_the_deep_and_the_last_folder_first() {
        let shown = ["a-b", "b", "top", "zz", "b/y", "b/d/w", "a/x", "a/c/z", "a/c/e/q", "a.b/f/m", "a-b/n"];
        let mut paths = shown.map(str::to_owned);
        paths.sort();
        in_scan_order(&mut paths);
        assert_eq!(paths, shown);
    }
}
