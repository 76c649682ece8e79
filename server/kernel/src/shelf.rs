use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use kit::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::{Key, MountId, Name, Place, RingId, Snapshot, Txn, Value};

use crate::namespaces::Ns;

/// What the kernel itself owns, as a mount that no one can mount over.
pub(crate) const KERNEL: MountId = MountId(*b"sealkeep/kernel\0");

/// A typed table of the kernel, or of one of its own mounts. The numbers stand in docs/FORMAT.md.
pub(crate) struct Shelf<V, Of = Own> {
    place: Place,
    value: PhantomData<fn() -> (V, Of)>,
}

/// All rows are sealed as the table's owner is.
pub(crate) struct Own;
/// Each row is sealed as the namespace is that it belongs to, and is cleared away with that.
pub(crate) struct OfNamespaces;

/// Names the kernel's tables whose rows are those of namespaces. There is no other way to have such a table, so all are
/// cleared away when the keys of a namespace are gone.
macro_rules! shared_tables {
    ($($(#[$about:meta])* $name:ident = $number:literal,)*) => {
        /// A table of the kernel with rows of many namespaces.
        #[derive(Clone, Copy)]
        pub(crate) enum SharedTable {
            $($(#[$about])* $name = $number,)*
        }

        impl SharedTable {
            /// All of them. How far a clearing has come is stored as a place in this order: new ones come last.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

shared_tables! {
    Mounts = 1,
    Tokens = 3,
    Children = 5,
    Held = 7,
    Moves = 14,
    Namespaces = 18,
    Drawers = 19,
    Undoing = 29,
}

impl SharedTable {
    pub(crate) fn place(self) -> Place {
        Place { mount: KERNEL, table: self as u8 }
    }
}

/// A typed table that each namespace has one of. There is no way to it but by saying whose.
pub(crate) struct Shelves<V> {
    number: u8,
    value: PhantomData<fn() -> V>,
}

/// Anything that can be read: a snapshot, or a transaction with what it has written so far.
pub(crate) trait Source {
    fn value(&self, key: &Key<'_>) -> storage::Result<Option<Value>>;
    fn names(&self, place: Place, folder: &str) -> storage::Result<Arc<[String]>>;
    /// The ring that seals what an owner has, if it is not the server's keyring.
    fn ring(&self, owner: MountId) -> Option<RingId>;
    /// Whether what an owner has is closed, for a namespace is sealed.
    fn is_sealed(&self, owner: MountId) -> bool;
    /// Whether a scan leaves out something under this prefix, for its namespace is sealed.
    fn hides(&self, place: Place, prefix: &[u8]) -> storage::Result<bool>;
    fn rows(
        &self,
        place: Place,
        from: &[u8],
        until: Option<&[u8]>,
        each: &mut Row<'_>,
    ) -> storage::Result<()>;
    /// The suffixes under one path, in order.
    fn suffixes(&self, place: Place, path: &str, each: &mut Row<'_>) -> storage::Result<()>;
    /// Every path beneath a folder, relative to it, once for each of its suffixes.
    fn paths(&self, place: Place, folder: &str, each: &mut Named<'_>) -> storage::Result<()>;
}

/// Takes a path and a suffix.
pub(crate) type Named<'a> = dyn FnMut(&str, &[u8]) -> storage::Result<ControlFlow<()>> + 'a;

/// Takes one row of a scan.
pub(crate) type Row<'a> = dyn FnMut(&[u8], Value) -> storage::Result<ControlFlow<()>> + 'a;

macro_rules! source {
    ($type:ty) => {
        impl Source for $type {
            fn value(&self, key: &Key<'_>) -> storage::Result<Option<Value>> {
                self.get(key)
            }

            fn names(&self, place: Place, folder: &str) -> storage::Result<Arc<[String]>> {
                self.list(place, folder)
            }

            fn ring(&self, owner: MountId) -> Option<RingId> {
                <$type>::ring(self, owner)
            }

            fn is_sealed(&self, owner: MountId) -> bool {
                <$type>::is_sealed(self, owner)
            }

            fn hides(&self, place: Place, prefix: &[u8]) -> storage::Result<bool> {
                <$type>::hides(self, place, prefix)
            }

            fn rows(
                &self,
                place: Place,
                from: &[u8],
                until: Option<&[u8]>,
                each: &mut Row<'_>,
            ) -> storage::Result<()> {
                self.scan(place, from, until, each)
            }

            fn suffixes(&self, place: Place, path: &str, each: &mut Row<'_>) -> storage::Result<()> {
                self.scan_path(place, path, &[], None, each)
            }

            fn paths(&self, place: Place, folder: &str, each: &mut Named<'_>) -> storage::Result<()> {
                self.walk(place, folder, each)
            }
        }
    };
}

source!(Snapshot);
source!(Txn);

impl<V> Shelves<V> {
    pub(crate) const fn new(number: u8) -> Self {
        Self { number, value: PhantomData }
    }

    /// The one of this namespace.
    pub(crate) fn of(&self, ns: Ns) -> Shelf<V> {
        Shelf { place: Place { mount: ns.mount(), table: self.number }, value: PhantomData }
    }
}

impl<V: Serialize> Shelf<V> {
    pub(crate) const fn new(number: u8) -> Self {
        Self::within(KERNEL, number)
    }

    /// A table of a mount that the kernel itself serves.
    pub(crate) const fn within(mount: MountId, number: u8) -> Self {
        Self { place: Place { mount, table: number }, value: PhantomData }
    }

    pub(crate) fn put(&self, txn: &mut Txn, name: Name<'_>, value: &V) -> Result<()> {
        Ok(txn.put(&Key { place: self.place, name }, serde_json::to_vec(value)?)?)
    }
}

impl<V: Serialize> Shelf<V, OfNamespaces> {
    pub(crate) const fn shared(table: SharedTable) -> Self {
        Self { place: Place { mount: KERNEL, table: table as u8 }, value: PhantomData }
    }

    /// Puts a row that belongs to a namespace, or to a mount in one, and is sealed as that is.
    pub(crate) fn put(&self, txn: &mut Txn, owner: MountId, name: Name<'_>, value: &V) -> Result<()> {
        Ok(txn.put_for(owner, &Key { place: self.place, name }, serde_json::to_vec(value)?)?)
    }
}

impl<V> Shelf<V, OfNamespaces> {
    /// Whether there are rows under this prefix that cannot be read now.
    pub(crate) fn hides(&self, source: &impl Source, prefix: &[u8]) -> Result<bool> {
        Ok(source.hides(self.place, prefix)?)
    }
}

impl<V: DeserializeOwned, Of> Shelf<V, Of> {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn get(&self, from: &impl Source, name: Name<'_>) -> Result<Option<V>> {
        let value = from.value(&Key { place: self.place, name })?;
        Ok(value.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    pub(crate) fn delete(&self, txn: &mut Txn, name: Name<'_>) -> Result<()> {
        Ok(txn.delete(&Key { place: self.place, name })?)
    }

    /// The names right below a folder, sorted.
    pub(crate) fn list(&self, from: &impl Source, folder: &str) -> Result<Arc<[String]>> {
        Ok(from.names(self.place(), folder)?)
    }

    /// Every name below a folder, in full, sorted.
    pub(crate) fn walk(&self, from: &impl Source, folder: &str) -> Result<Vec<String>> {
        let mut folders = vec![folder.trim_end_matches('/').to_owned()];
        let mut names = Vec::new();
        while let Some(folder) = folders.pop() {
            for name in from.names(self.place(), &folder)?.iter() {
                let full = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                match full.strip_suffix('/') {
                    Some(below) => folders.push(below.to_owned()),
                    None => names.push(full),
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Rows in the order of their ids, until told to stop.
    pub(crate) fn scan(
        &self,
        source: &impl Source,
        from: &[u8],
        until: Option<&[u8]>,
        mut each: impl FnMut(&[u8], V) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failed: Option<Error> = None;
        source.rows(self.place(), from, until, &mut |id, value| {
            let seen = serde_json::from_slice(&value).map_err(Error::from).and_then(|value| each(id, value));
            Ok(seen.unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            }))
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Up to `limit` rows whose ids begin with `prefix`.
    pub(crate) fn below(
        &self,
        source: &impl Source,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, V)>> {
        self.below_if(source, prefix, limit, |_| Ok(true))
    }

    /// The same, of those that are wanted.
    pub(crate) fn below_if(
        &self,
        source: &impl Source,
        prefix: &[u8],
        limit: usize,
        mut wanted: impl FnMut(&V) -> Result<bool>,
    ) -> Result<Vec<(Vec<u8>, V)>> {
        let mut rows = Vec::new();
        // With an end, a scan depends on what begins with the prefix and on nothing else.
        let end = after(prefix);
        self.scan(source, prefix, end.as_deref(), |id, value| {
            if rows.len() == limit || !id.starts_with(prefix) {
                return Ok(ControlFlow::Break(()));
            }
            if wanted(&value)? {
                rows.push((id.to_vec(), value));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }
}

/// What follows all ids that begin with `prefix`; nothing, if there is no such.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}
