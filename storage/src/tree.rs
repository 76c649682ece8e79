use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ::redb::{
    Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, TableError, TableHandle,
};

use crate::backend::{Cipher, EachSealed, SealedKey, View};
use crate::disk::Disk;
use crate::journal::JournalId;
use crate::overlay::Overlay;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("journal");
const MARK: &str = "folded";
/// The library's own default is a gigabyte; the entry cache above does most of the work.
const PAGE_CACHE: usize = 16 * 1024 * 1024;
/// The ordered map in a file: one redb file, copy on write, one commit at a time.
pub(crate) struct Tree {
    disk: Arc<dyn Disk>,
    database: RwLock<Opened>,
}

/// A database that is opened.
struct Opened {
    database: Database,
    closed: Arc<AtomicBool>,
    /// Something of it failed: the library gives up a file that failed it once.
    failed: Arc<AtomicBool>,
    /// Where the disk takes no writes it can be read, and nothing else.
    read_only: bool,
}

/// How much of which journal the map holds. Written with what it holds, so that the two never disagree.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) journal: JournalId,
    /// The number of the last record that is in the map.
    pub(crate) folded: u64,
}

/// What of a key is changed.
pub(crate) type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// An immutable moment of a [`Tree`].
pub(crate) struct Moment {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    failed: Arc<AtomicBool>,
}

/// The way from one opened database to the disk. Once closed, that database can neither read nor write any more,
/// so it cannot meddle with the one that was opened after it.
#[derive(Debug)]
struct Handle {
    disk: Arc<dyn Disk>,
    closed: Arc<AtomicBool>,
}

impl Tree {
    /// Opens or makes the map on a disk.
    ///
    /// # Errors
    /// If the disk fails, or holds something else.
    pub(crate) fn on(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let opened = Opened::on(&disk)?;
        Ok(Self { disk, database: RwLock::new(opened) })
    }

    /// How much of a journal it holds, durably; nothing if it never had one.
    pub(crate) fn mark(&self) -> io::Result<Option<Mark>> {
        let mark = self.with(|database| {
            let reading = database.begin_read()?;
            let table = match reading.open_table(MARKS) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(table.get(MARK)?.map(|mark| Mark::read(mark.value())))
        })?;
        // What was read may be of a commit whose sync failed, or was cut short by a kill. What the journal holds of it is
        // written over from now on, so it has to be on the disk.
        self.disk.sync()?;
        mark.transpose()
    }

    /// An immutable moment.
    pub(crate) fn moment(&self) -> io::Result<Arc<Moment>> {
        let opened = self.opened();
        let table = opened.with(|database| Ok(database.begin_read()?.open_table(ENTRIES)?))?;
        Ok(Arc::new(Moment { table, failed: Arc::clone(&opened.failed) }))
    }

    /// Makes all of `rows` durable with `mark`, or none of it.
    ///
    /// What is free is stored with it, so that no opening need look for it.
    pub(crate) fn write<'a>(&self, rows: impl Iterator<Item = Row<'a>>, mark: Mark) -> io::Result<()> {
        if self.opened().read_only {
            // Perhaps it takes writes again.
            self.reopen()?;
        }
        self.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_quick_repair(true);
            {
                let mut table = txn.open_table(ENTRIES)?;
                for (key, value) in rows {
                    match value {
                        Some(value) => table.insert(key, value)?,
                        None => table.remove(key)?,
                    };
                }
            }
            txn.open_table(MARKS)?.insert(MARK, &*mark.bytes())?;
            txn.commit()?;
            Ok(())
        })
    }

    /// After a failure, forgets what is in memory and reads the disk anew. If that takes no writes, it can be read from then on.
    ///
    /// # Errors
    /// If it takes no writes.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let mut opened = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if !opened.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let anew = self.disk.forget().and_then(|()| Opened::on(&self.disk));
        let (next, result) = match anew {
            Ok(next) => (next, Ok(())),
            Err(error) if opened.read_only => return Err(error),
            Err(error) => {
                let disk: Arc<dyn Disk> = Arc::new(Overlay::over(Arc::clone(&self.disk))?);
                let failed = Arc::new(AtomicBool::new(true));
                (Opened { read_only: true, failed, ..Opened::on(&disk)? }, Err(error))
            }
        };
        // It must not write any more, as it would when it is dropped.
        opened.closed.store(true, Ordering::Release);
        *opened = next;
        result
    }

    pub(crate) fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes()
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> io::Result<T> {
        self.opened().with(work)
    }

    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mark {
    fn bytes(&self) -> Vec<u8> {
        [&self.journal[..], &self.folded.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> io::Result<Self> {
        let read = bytes.split_first_chunk().and_then(|(journal, folded)| {
            Some(Self { journal: *journal, folded: u64::from_be_bytes(folded.try_into().ok()?) })
        });
        read.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the mark of its journal is damaged"))
    }
}

impl View for Moment {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        noted(&self.failed, || {
            let found = self.table.get(key.as_bytes()).map_err(from_redb)?;
            Ok(found.map(|value| Cipher::from_disk(value.value())))
        })
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        noted(&self.failed, || {
            for row in self.table.range(from.as_bytes()..until.as_bytes()).map_err(from_redb)? {
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

impl Opened {
    fn on(disk: &Arc<dyn Disk>) -> io::Result<Self> {
        let closed = Arc::new(AtomicBool::new(false));
        let handle = Handle { disk: Arc::clone(disk), closed: Arc::clone(&closed) };
        let database = caught(|| {
            let mut builder = Database::builder();
            let database =
                builder.set_cache_size(PAGE_CACHE).create_with_backend(handle).map_err(from_redb)?;
            make_table(&database).map_err(from_redb)?;
            Ok(database)
        })?;
        Ok(Self { database, closed, failed: Arc::default(), read_only: false })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> io::Result<T> {
        noted(&self.failed, || work(&self.database).map_err(from_redb))
    }
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

/// Does it, and notes whether it failed.
fn noted<T>(failed: &AtomicBool, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    caught(work).inspect_err(|_| failed.store(true, Ordering::Release))
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
