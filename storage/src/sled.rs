use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ::sled::{Batch, Db};

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::error::Result;
use crate::folder;
use crate::undo::Undo;

/// Larger values are cut: beyond 128 KiB sled puts them into files that it never syncs.
const CHUNK: usize = 64 * 1024;
/// A batch of sled is held in memory several times over.
const BATCH_MAX: usize = 2 * 1024 * 1024;
const CACHE: u64 = 16 * 1024 * 1024;
/// How often, and how far apart, an opening is tried while sled's threads still end an earlier one.
const TRIES: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// The first byte of a key in sled: an entry's head.
const HEAD: u8 = 0;
/// The first byte of a key in sled: a piece of a large value.
const PIECE: u8 = 1;
/// The first byte of a head: the value follows.
const WHOLE: u8 = 0;
/// The first byte of a head: the number of pieces follows.
const CUT: u8 = 1;

/// sled 0.34, made durable: its own flush only asks the system to begin writing, so each commit ends in an fdatasync of
/// ours, values are cut into pieces that stay in the log, and what `open` makes is synced with its folder.
///
/// It takes much memory while much is written, and a killed process may take long to open. redb has neither fault.
pub struct Sled(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// Held as long as this process uses the folder; sled's own lock goes away when it is opened anew.
    _lock: File,
    now: RwLock<Now>,
}

struct Now {
    store: Option<Store>,
    undo: Undo,
    /// Counts the openings: a view of an earlier one is worth nothing.
    opening: u64,
}

struct Store {
    db: Db,
    log: File,
}

struct Moment {
    shared: Arc<Shared>,
    version: u64,
    opening: u64,
}

impl Sled {
    /// Opens or makes the store in `folder`.
    ///
    /// # Errors
    /// If another process has it, the folder is another program's, or the files are damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        folder::prepare(folder)?;
        let lock = folder::lock(&folder.join("sealkeep.lock"))?;
        let store = Store::open(folder)?;
        tracing::warn!(
            "storage \"sled\" takes much memory under many writes and opens slowly after a crash; \
             prefer the default, redb, unless you have a reason"
        );
        let now = Now { store: Some(store), undo: Undo::default(), opening: 0 };
        Ok(Self(Arc::new(Shared { folder: folder.to_owned(), _lock: lock, now: RwLock::new(now) })))
    }
}

impl Backend for Sled {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        let mut now = self.0.write();
        let (version, opening) = (now.undo.begin(), now.opening);
        Ok(Arc::new(Moment { shared: Arc::clone(&self.0), version, opening }))
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        let (db, log) = caught(|| self.0.apply(batch))?;
        // Outside the lock: views go on reading while the disk works.
        caught(|| {
            db.flush().map_err(from_sled)?;
            log.sync_data()
        })
    }

    fn reopen(&self) -> io::Result<()> {
        let mut now = self.0.write();
        now.store = None;
        now.undo = Undo::default();
        now.opening += 1;
        now.store = Some(Store::open(&self.0.folder)?);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let now = self.0.read();
        now.store()?.free_bytes().map(Some)
    }

    fn batch_size_max(&self) -> usize {
        BATCH_MAX
    }

    fn kind(&self) -> &'static str {
        "sled"
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Now> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is there now, and keeps what views still look at. Durable only after a flush and a sync.
    fn apply(&self, writes: &[SealedWrite]) -> io::Result<(Db, File)> {
        let mut now = self.write();
        let Now { store, undo, .. } = &mut *now;
        let store = store.as_ref().ok_or_else(not_open)?;
        undo.advance();
        let mut batch = Batch::default();
        for write in writes {
            let key = write.key.as_bytes();
            let old = store.db.get(head(key)).map_err(from_sled)?;
            if undo.watched() {
                let before = old.as_deref().map(|old| store.value(key, old)).transpose()?;
                undo.keep(key, before.map(Vec::into_boxed_slice));
            }
            let pieces_before = old.as_deref().map_or(0, pieces);
            let pieces_now = put(&mut batch, key, write.value());
            (pieces_now..pieces_before).for_each(|number| batch.remove(piece(key, number)));
        }
        store.db.apply_batch(batch).map_err(from_sled)?;
        Ok((store.db.clone(), store.log.try_clone()?))
    }
}

impl Now {
    fn store(&self) -> io::Result<&Store> {
        self.store.as_ref().ok_or_else(not_open)
    }
}

impl Store {
    fn open(folder: &Path) -> io::Result<Self> {
        let config = ::sled::Config::new().path(folder).flush_every_ms(None).cache_capacity(CACHE);
        let db = retried(|| caught(|| config.open().map_err(from_sled)))?;
        // sled syncs neither its configuration nor what names these files.
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            File::open(&path)?.sync_all()?;
        }
        folder::sync(folder)?;
        let log = File::open(folder.join("db"))?;
        Ok(Self { db, log })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        folder::free_bytes(&self.log)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let head = self.db.get(head(key)).map_err(from_sled)?;
        head.as_deref().map(|head| self.value(key, head)).transpose()
    }

    /// The value that a head stands for.
    fn value(&self, key: &[u8], head: &[u8]) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a large value is not whole");
        match head.split_first() {
            Some((&WHOLE, value)) => Ok(value.to_vec()),
            Some((&CUT, _)) => {
                let mut value = Vec::new();
                for number in 0..pieces(head) {
                    let part = self.db.get(piece(key, number)).map_err(from_sled)?;
                    value.extend_from_slice(&part.ok_or_else(damaged)?);
                }
                Ok(value)
            }
            _ => Err(damaged()),
        }
    }
}

impl Moment {
    fn now(&self) -> io::Result<RwLockReadGuard<'_, Now>> {
        let now = self.shared.read();
        match now.opening == self.opening {
            true => Ok(now),
            false => {
                Err(io::Error::other("this view of the store ended when the disk was opened anew; ask again"))
            }
        }
    }
}

impl View for Moment {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        let now = self.now()?;
        match now.undo.at(self.version, key.as_bytes()) {
            Some(old) => Ok(old.map(Cipher::from_disk)),
            None => {
                let found = caught(|| now.store()?.get(key.as_bytes()))?;
                Ok(found.map(|value| Cipher(value.into())))
            }
        }
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        let now = self.now()?;
        let store = now.store()?;
        caught(|| {
            let range = (Bound::Included(head(from.as_bytes())), Bound::Excluded(head(until.as_bytes())));
            let mut then = now.undo.range(self.version, from.as_bytes(), until.as_bytes()).peekable();
            for row in store.db.range(range) {
                let (stored, value) = row.map_err(from_sled)?;
                let key = stored.get(1..).unwrap_or_default();
                while let Some((gone, old)) = then.next_if(|(gone, _)| *gone < key) {
                    if old.is_some_and(|old| each(gone, old).is_break()) {
                        return Ok(());
                    }
                }
                let value = match then.next_if(|(changed, _)| *changed == key) {
                    Some((_, old)) => old.map(<[u8]>::to_vec),
                    None => Some(store.value(key, &value)?),
                };
                if value.is_some_and(|value| each(key, &value).is_break()) {
                    return Ok(());
                }
            }
            for (gone, old) in then {
                if old.is_some_and(|old| each(gone, old).is_break()) {
                    return Ok(());
                }
            }
            Ok(())
        })
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        let mut now = self.shared.write();
        if now.opening == self.opening {
            now.undo.end(self.version);
        }
    }
}

/// Adds an entry to a batch, and tells how many pieces it was cut into.
fn put(batch: &mut Batch, key: &[u8], value: Option<&[u8]>) -> u32 {
    let Some(value) = value else {
        batch.remove(head(key));
        return 0;
    };
    if value.len() <= CHUNK {
        batch.insert(head(key), [&[WHOLE], value].concat());
        return 0;
    }
    let mut count = 0;
    for part in value.chunks(CHUNK) {
        batch.insert(piece(key, count), part);
        count += 1;
    }
    batch.insert(head(key), [&[CUT][..], &count.to_be_bytes()].concat());
    count
}

/// How many pieces a head stands for.
fn pieces(head: &[u8]) -> u32 {
    match head.split_first() {
        Some((&CUT, count)) => count.try_into().map_or(0, u32::from_be_bytes),
        _ => 0,
    }
}

fn head(key: &[u8]) -> Vec<u8> {
    [&[HEAD], key].concat()
}

fn piece(key: &[u8], number: u32) -> Vec<u8> {
    [&[PIECE], key, &number.to_be_bytes()].concat()
}

fn from_sled(error: ::sled::Error) -> io::Error {
    match error {
        ::sled::Error::Io(error) => error,
        ::sled::Error::Corruption { .. } => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        error => io::Error::other(error.to_string()),
    }
}

/// sled lets go of its lock some time after it is dropped, and tells nobody when. Our own lock is held, so whoever has
/// sled's is an earlier opening of this process that is about to end.
fn retried<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match open() {
            Err(error) if error.to_string().contains("could not acquire lock") => {
                std::thread::park_timeout(BETWEEN_TRIES);
            }
            opened => return opened,
        }
    }
    open()
}

fn not_open() -> io::Error {
    io::Error::other("the disk failed and was not opened again")
}

/// sled panics on some damaged files. To us that is an error like any other: the server goes on.
fn caught<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the files are damaged: what they hold contradicts itself",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_overwritten_values_go() {
        let folder = std::env::temp_dir().join(format!("sealkeep-sled-{}", std::process::id()));
        let sled = Sled::open(&folder).unwrap();
        let mut stored = Vec::new();
        for size in [300_000, 70_000, 10, 200_000, 0] {
            let value = (size > 0).then(|| Cipher(vec![7; size].into()));
            sled.commit(&[SealedWrite { key: SealedKey([1, 2].as_slice().into()), value }]).unwrap();
            stored.push(sled.0.read().store().unwrap().db.len());
        }
        drop(sled);
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(stored, [1 + 5, 1 + 2, 1, 1 + 4, 0]);
    }
}
