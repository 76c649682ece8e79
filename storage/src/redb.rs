use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ::redb::{Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, TableHandle};

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::disk::{Disk, FileDisk};
use crate::error::{Error, Result};
use crate::folder;

/// The file of a store within its folder.
const FILE: &str = "sealkeep.redb";
/// What it is called while it is made: the library does that in several steps, and half of them are no store.
const NEW_FILE: &str = "sealkeep.redb.new";
/// What is to take the store's place, while it is filled from a backup.
const NEXT_FILE: &str = "sealkeep.redb.next";
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// The library's own default is a gigabyte; the entry cache above does most of the work.
const PAGE_CACHE: usize = 16 * 1024 * 1024;
/// After a kill, the file must be read through from the last commit that also stored what is free: every so many do.
const QUICK_REPAIR_EVERY: u64 = 256;

/// The durable default: one file, copy on write, one fdatasync per commit.
pub struct Redb {
    disk: Arc<dyn Disk>,
    database: RwLock<Option<Database>>,
    commits: AtomicU64,
}

struct Moment(ReadOnlyTable<&'static [u8], &'static [u8]>);

/// The way from one opened database to the disk. Once closed, that database can neither read nor write any more,
/// so it cannot meddle with the one that was opened after it.
#[derive(Debug)]
struct Handle {
    disk: Arc<dyn Disk>,
    closed: AtomicBool,
}

impl Redb {
    /// Opens or makes the store in `folder`.
    ///
    /// # Errors
    /// If another process has it, the folder is another program's, or the file is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        folder::prepare(folder)?;
        let path = folder.join(FILE);
        let opened = match path.try_exists()? {
            true => Self::on(Arc::new(FileDisk(folder::lock(&path)?))),
            false => Self::made(folder, &path),
        };
        let redb = opened.map_err(|error| match error {
            Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Error::Foreign(format!(
                "{} cannot be opened: {error}. It is damaged, or not Sealkeep's: restore it from a backup, or move it away",
                path.display()
            )),
            error => error,
        })?;
        // A restore that was cut short: the store is as it was.
        Self::give_up(folder)?;
        folder::sync(folder)?;
        Ok(redb)
    }

    /// Makes the file, so that what lies at its path is whole, whatever cuts the making short.
    fn made(folder: &Path, path: &Path) -> Result<Self> {
        let new = folder.join(NEW_FILE);
        let file = folder::lock(&new)?;
        // Another process may have made it a moment ago, and this one a new file to lock.
        if path.try_exists()? {
            std::fs::remove_file(&new)?;
            return Self::on(Arc::new(FileDisk(folder::lock(path)?)));
        }
        // What is left of a start that was cut short holds nothing.
        file.set_len(0)?;
        let redb = Self::on(Arc::new(FileDisk(file)))?;
        std::fs::rename(&new, path)?;
        Ok(redb)
    }

    /// Makes an empty store beside the one in `folder`, which [`supersede`](Self::supersede) puts in its place. What an
    /// earlier attempt left there is gone.
    ///
    /// # Errors
    /// If the disk fails, or another process is at it.
    pub fn beside(folder: &Path) -> Result<Self> {
        let file = folder::lock(&folder.join(NEXT_FILE))?;
        file.set_len(0)?;
        Self::on(Arc::new(FileDisk(file)))
    }

    /// Puts what was made [`beside`](Self::beside) in the place of the store, whose file is gone then. A power cut leaves
    /// the one or the other, whole.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn supersede(folder: &Path) -> io::Result<()> {
        std::fs::rename(folder.join(NEXT_FILE), folder.join(FILE))?;
        folder::sync(folder)
    }

    /// Takes away what was made [`beside`](Self::beside) the store.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn give_up(folder: &Path) -> io::Result<()> {
        match std::fs::remove_file(folder.join(NEXT_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens or makes the store on any disk.
    ///
    /// # Errors
    /// If the disk fails, or holds something else.
    pub fn on(disk: Arc<dyn Disk>) -> Result<Self> {
        let database = caught(|| open(&disk))?;
        Ok(Self { disk, database: RwLock::new(Some(database)), commits: AtomicU64::new(0) })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> io::Result<T> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database =
            database.as_ref().ok_or_else(|| io::Error::other("the disk failed and was not opened again"))?;
        caught(|| work(database).map_err(from_redb))
    }

    fn write(&self, batch: &[SealedWrite], quick_repair: bool) -> io::Result<()> {
        self.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_quick_repair(quick_repair);
            {
                let mut table = txn.open_table(ENTRIES)?;
                for write in batch {
                    match write.value() {
                        Some(value) => table.insert(write.key.as_bytes(), value)?,
                        None => table.remove(write.key.as_bytes())?,
                    };
                }
            }
            txn.commit()?;
            Ok(())
        })
    }
}

impl Backend for Redb {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        self.with(|database| {
            Ok(Arc::new(Moment(database.begin_read()?.open_table(ENTRIES)?)) as Arc<dyn View>)
        })
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        let count = self.commits.fetch_add(1, Ordering::Relaxed);
        self.write(batch, count % QUICK_REPAIR_EVERY == QUICK_REPAIR_EVERY - 1)
    }

    fn reopen(&self) -> io::Result<()> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        self.disk.forget()?;
        *database = Some(caught(|| open(&self.disk))?);
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        self.write(&[], true)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes()
    }

    fn kind(&self) -> &'static str {
        "redb"
    }
}

impl View for Moment {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        caught(|| {
            let found = self.0.get(key.as_bytes()).map_err(from_redb)?;
            Ok(found.map(|value| Cipher::from_disk(value.value())))
        })
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        caught(|| {
            for row in self.0.range(from.as_bytes()..until.as_bytes()).map_err(from_redb)? {
                let (key, value) = row.map_err(from_redb)?;
                if each(key.value(), value.value()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl Handle {
    fn open(&self) -> io::Result<&dyn Disk> {
        match self.closed.load(Ordering::Acquire) {
            false => Ok(&*self.disk),
            true => {
                Err(io::Error::other("this view of the store ended when the disk was opened anew; ask again"))
            }
        }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.open()?.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.open()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.open()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.open()?.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.open()?.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

fn open(disk: &Arc<dyn Disk>) -> io::Result<Database> {
    let handle = Handle { disk: Arc::clone(disk), closed: AtomicBool::new(false) };
    let database =
        Database::builder().set_cache_size(PAGE_CACHE).create_with_backend(handle).map_err(from_redb)?;
    make_table(&database).map_err(from_redb)?;
    Ok(database)
}

/// Sees to it that a view of a blank store has a table to look at.
fn make_table(database: &Database) -> Result<(), ::redb::Error> {
    if database.begin_read()?.list_tables()?.any(|table| table.name() == ENTRIES.name()) {
        return Ok(());
    }
    let txn = database.begin_write()?;
    txn.open_table(ENTRIES)?;
    txn.commit()?;
    Ok(())
}

fn from_redb(error: impl Into<::redb::Error>) -> io::Error {
    match error.into() {
        ::redb::Error::Io(error) => error,
        error @ (::redb::Error::Corrupted(_) | ::redb::Error::UpgradeRequired(_)) => {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        }
        error => io::Error::other(error.to_string()),
    }
}

/// The library panics on some damaged files. To us that is an error like any other: the server goes on.
fn caught<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is damaged: what it holds contradicts itself",
        ))
    })
}
