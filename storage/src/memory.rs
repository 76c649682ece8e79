use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::undo::Undo;

/// Entries in memory: what `storage "inmem"` is, and the disk of tests. Clones share it, so that a test can "crash" a
/// store and open it again from the twin.
#[derive(Clone, Default)]
pub struct Memory(Arc<RwLock<Map>>);

#[derive(Default)]
struct Map {
    entries: BTreeMap<Box<[u8]>, Cipher>,
    undo: Undo,
}

struct Moment {
    memory: Memory,
    version: u64,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that is stored, as a thief of the disk would see it.
    pub fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.read().entries.iter().map(|(key, value)| (key.to_vec(), value.0.to_vec())).collect()
    }

    /// Overwrites what is stored under a key, as someone who writes the disk could.
    pub fn tamper(&self, key: &[u8], value: &[u8]) {
        self.write().entries.insert(key.into(), Cipher::from_disk(value));
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        let version = self.write().undo.begin();
        Ok(Arc::new(Moment { memory: self.clone(), version }))
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        let mut map = self.write();
        let Map { entries, undo } = &mut *map;
        undo.advance();
        for write in batch {
            let old = match &write.value {
                Some(value) => entries.insert(write.key.0.clone(), value.clone()),
                None => entries.remove(&write.key.0),
            };
            if undo.watched() {
                undo.keep(&write.key.0, old.map(|old| (&*old.0).into()));
            }
        }
        Ok(())
    }

    fn reopen(&self) -> io::Result<()> {
        Ok(())
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

impl View for Moment {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        let map = self.memory.read();
        Ok(match map.undo.at(self.version, &key.0) {
            Some(old) => old.map(Cipher::from_disk),
            None => map.entries.get(&key.0).cloned(),
        })
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        let map = self.memory.read();
        if from >= until {
            return Ok(());
        }
        let range = (Bound::Included(&*from.0), Bound::Excluded(&*until.0));
        let now = map.entries.range::<[u8], _>(range).map(|(key, value)| (&**key, &*value.0));
        merge(now, map.undo.range(self.version, &from.0, &until.0), each);
        Ok(())
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        self.memory.write().undo.end(self.version);
    }
}

/// What is there now, with what was there then in its place.
pub(crate) fn merge<'a>(
    now: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    then: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    each: EachSealed<'_>,
) {
    let mut then = then.peekable();
    for (key, value) in now {
        while let Some((gone, old)) = then.next_if(|(gone, _)| *gone < key) {
            if old.is_some_and(|old| each(gone, old).is_break()) {
                return;
            }
        }
        let value = match then.next_if(|(changed, _)| *changed == key) {
            Some((_, old)) => old,
            None => Some(value),
        };
        if value.is_some_and(|value| each(key, value).is_break()) {
            return;
        }
    }
    for (gone, old) in then {
        if old.is_some_and(|old| each(gone, old).is_break()) {
            return;
        }
    }
}
