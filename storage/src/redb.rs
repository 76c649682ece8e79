use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::disk::{Disk, FileDisk};
use crate::error::{Error, Result};
use crate::folder;
use crate::journal::{HALF_SIZE, Half, Journal, JournalId};
use crate::layer::{Change, Layer, Newest};
use crate::random::{Random, SystemRandom};
use crate::tree::{Mark, Moment, Tree};

/// The file of the map within the folder.
const FILE: &str = "sealkeep.redb";
/// What it is called while it is made: the library does that in several steps, and half of them are no store.
const NEW_FILE: &str = "sealkeep.redb.new";
/// What is to take the store's place, while it is filled from a backup.
const NEXT_FILE: &str = "sealkeep.redb.next";
/// The file of the journal.
const JOURNAL: &str = "sealkeep.journal";
/// The journal of what is to take the store's place.
const NEXT_JOURNAL: &str = "sealkeep.journal.next";
/// What a key that is folded may take of the disk before what it replaces is free: its leaf, and a share of those above.
const FOLDED_SIZE: u64 = 2 * 4096;
/// What could not be folded is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// The durable default: a commit is one record of a journal, and one sync. What the journal holds is folded into a map,
/// one redb file, many commits at a time; until then it is read from memory.
pub struct Redb {
    store: Arc<Store>,
    /// Folds one half of the journal while commits fill the other. On a disk of tests nobody does.
    folder: Option<JoinHandle<()>>,
}

struct Store {
    tree: Tree,
    journal: JournalId,
    writer: Mutex<Writer>,
    /// Held by who writes the map or opens it anew.
    folding: Mutex<()>,
    now: Mutex<Now>,
    changed: Condvar,
}

/// What only a commit touches.
struct Writer {
    journal: Journal,
    /// A write failed, so what the disk holds is not known.
    broken: bool,
}

/// What views are made of.
struct Now {
    base: Arc<Moment>,
    /// What is being folded, and the last record of it.
    frozen: Option<(Arc<Layer>, u64)>,
    active: Arc<Layer>,
    /// The last record.
    record: u64,
    /// Why to fold failed: the next commit that needs the room tries again, and is told.
    failed: Option<Arc<str>>,
    threaded: bool,
    closing: bool,
}

/// The map with what is not in it yet.
struct Whole {
    base: Arc<Moment>,
    frozen: Option<Arc<Layer>>,
    active: Arc<Layer>,
    record: u64,
}

impl Redb {
    /// Opens or makes the store in `folder`.
    ///
    /// # Errors
    /// If another process has it, the folder is another program's, or a file is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        folder::prepare(folder)?;
        let (path, journal) = (folder.join(FILE), folder.join(JOURNAL));
        let opened = match path.try_exists()? {
            true => folder::lock(&path).and_then(|file| Ok(Tree::on(Arc::new(FileDisk(file)))?)),
            false => {
                bereft(&journal)?;
                made(folder, &path)
            }
        };
        let tree = opened.map_err(|error| match error {
            Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Error::Foreign(format!(
                "{} cannot be opened: {error}. It is damaged, or not Sealkeep's: restore it from a backup, or move it away",
                path.display()
            )),
            error => error,
        })?;
        let mark = tree.mark()?;
        match mark {
            Some(mark) => {
                adopt(folder, mark.journal)?;
                if !journal.try_exists()? {
                    return Err(unusable(&journal, "it is missing"));
                }
            }
            None => bereft(&journal)?,
        }
        let disk = Arc::new(FileDisk(folder::lock(&journal)?));
        // The map is about to say that it has a journal: its name has to be there then.
        folder::sync(folder)?;
        let store = Store::over(tree, mark, disk, HALF_SIZE).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => unusable(&journal, &error.to_string()),
            _ => error.into(),
        })?;
        // A restore that was cut short: the store is as it was.
        Self::give_up(folder)?;
        folder::sync(folder)?;
        Self { store: Arc::new(store), folder: None }.folding()
    }

    /// Makes an empty store beside the one in `folder`, which [`supersede`](Self::supersede) puts in its place. What an
    /// earlier attempt left there is gone.
    ///
    /// # Errors
    /// If the disk fails, or another process is at it.
    pub fn beside(folder: &Path) -> Result<Self> {
        let empty = |name| {
            let file = folder::lock(&folder.join(name))?;
            file.set_len(0)?;
            Ok::<_, Error>(Arc::new(FileDisk(file)))
        };
        let tree = Tree::on(empty(NEXT_FILE)?)?;
        let store = Store::over(tree, None, empty(NEXT_JOURNAL)?, HALF_SIZE)?;
        Self { store: Arc::new(store), folder: None }.folding()
    }

    /// Puts what was made [`beside`](Self::beside) in the place of the store, whose files are gone then. A power cut leaves
    /// the one or the other, whole.
    ///
    /// # Errors
    /// If the disk fails; then nothing has changed.
    pub fn supersede(folder: &Path) -> io::Result<()> {
        std::fs::rename(folder.join(NEXT_FILE), folder.join(FILE))?;
        // From here on it is the new one. Should the rest not be done, the next opening does it.
        let rest = folder::sync(folder)
            .and_then(|()| std::fs::rename(folder.join(NEXT_JOURNAL), folder.join(JOURNAL)))
            .and_then(|()| folder::sync(folder));
        if let Err(error) = rest {
            tracing::warn!(%error, "the journal of the new store was not put in its place; the next start does it");
        }
        Ok(())
    }

    /// Takes away what was made [`beside`](Self::beside) the store.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn give_up(folder: &Path) -> io::Result<()> {
        for path in [NEXT_FILE, NEXT_JOURNAL].map(|name| folder.join(name)) {
            // A store that has taken the place but for the name of its journal still writes there.
            if path.try_exists()? && File::open(&path)?.try_lock().is_ok() {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// With a thread that folds.
    pub(crate) fn folding(mut self) -> Result<Self> {
        lock(&self.store.now).threaded = true;
        let store = Arc::clone(&self.store);
        self.folder = Some(thread::Builder::new().name("folder".to_owned()).spawn(move || store.serve())?);
        Ok(self)
    }

    /// Opens or makes the store on any disk, with halves of the journal of so many bytes. Nothing happens there but in
    /// the calls of this backend.
    ///
    /// # Errors
    /// If the disk fails, or holds something else.
    pub fn on(map: Arc<dyn Disk>, journal: Arc<dyn Disk>, half_size: usize) -> Result<Self> {
        let tree = Tree::on(map)?;
        let mark = tree.mark()?;
        let store = Store::over(tree, mark, journal, half_size)?;
        Ok(Self { store: Arc::new(store), folder: None })
    }
}

/// Makes the map, so that what lies at its path is whole, whatever cuts the making short.
fn made(folder: &Path, path: &Path) -> Result<Tree> {
    let new = folder.join(NEW_FILE);
    let file = folder::lock(&new)?;
    // Another process may have made it a moment ago, and this one a new file to lock.
    if path.try_exists()? {
        std::fs::remove_file(&new)?;
        return Ok(Tree::on(Arc::new(FileDisk(folder::lock(path)?)))?);
    }
    // What is left of a start that was cut short holds nothing.
    file.set_len(0)?;
    let tree = Tree::on(Arc::new(FileDisk(file)))?;
    std::fs::rename(&new, path)?;
    Ok(tree)
}

/// Ends the putting in place of a store that was cut short when only its map was: its journal still lies beside.
fn adopt(folder: &Path, id: JournalId) -> Result<()> {
    let next = folder.join(NEXT_JOURNAL);
    if next.try_exists()? {
        let disk = Arc::new(FileDisk(folder::lock(&next)?));
        if Journal::open(disk, id).is_ok_and(|journal| journal.is_some()) {
            std::fs::rename(next, folder.join(JOURNAL))?;
            folder::sync(folder)?;
        }
    }
    Ok(())
}

/// Refuses a journal with commits whose map is not here: it is all that is left of them.
fn bereft(journal: &Path) -> Result<()> {
    if journal.try_exists()? && Journal::holds_any(&FileDisk(folder::lock(journal)?))? {
        return Err(Error::Foreign(format!(
            "{} holds commits, and the {FILE} that they belong to is not beside it. Put that back, restore a backup, or move the \
             journal away to begin anew",
            journal.display()
        )));
    }
    Ok(())
}

fn unusable(journal: &Path, why: &str) -> Error {
    Error::Foreign(format!(
        "{}, which holds the last commits before the server ended, cannot be used: {why}. Put back the one that belongs to \
         {FILE}, or restore a backup. If it is lost for good, put an empty file there: the store is then as it was some \
         seconds before its end",
        journal.display()
    ))
}

impl Store {
    fn over(tree: Tree, mark: Option<Mark>, disk: Arc<dyn Disk>, half_size: usize) -> io::Result<Self> {
        let opened = match mark {
            Some(mark) => Journal::open(Arc::clone(&disk), mark.journal)?,
            None => None,
        };
        let (mark, mut journal) = match (mark, opened) {
            (Some(mark), Some(journal)) => (mark, journal),
            (mark, _) => Self::begin(&tree, disk, half_size, mark.map(|mark| mark.folded))?,
        };
        let now = read(&tree, &mut journal, mark.folded)?;
        Ok(Self {
            tree,
            journal: mark.journal,
            writer: Mutex::new(Writer { journal, broken: false }),
            folding: Mutex::new(()),
            now: Mutex::new(now),
            changed: Condvar::new(),
        })
    }

    /// Makes an empty journal for a map.
    fn begin(
        tree: &Tree,
        disk: Arc<dyn Disk>,
        half_size: usize,
        folded: Option<u64>,
    ) -> io::Result<(Mark, Journal)> {
        if folded.is_some() {
            tracing::warn!("the journal is empty: what was committed last before the end may be missing");
        }
        let mut id = JournalId::default();
        SystemRandom.fill(&mut id);
        let journal = Journal::make(disk, id, half_size)?;
        let mark = Mark { journal: id, folded: folded.unwrap_or_default() };
        tree.write(std::iter::empty(), mark)?;
        Ok((mark, journal))
    }

    fn writer(&self) -> io::Result<MutexGuard<'_, Writer>> {
        let writer = lock(&self.writer);
        match writer.broken {
            true => Err(io::Error::other("a commit failed, and the disk was not opened again since")),
            false => Ok(writer),
        }
    }

    /// The life of the thread that folds.
    fn serve(&self) {
        while self.awaits_folding() {
            match catch_unwind(AssertUnwindSafe(|| self.fold())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "what was committed could not be folded into the store; it stays in the journal");
                }
                Err(_) => {
                    tracing::error!("the folding of the journal panicked; what was committed stays in it");
                    lock(&self.now).failed = Some("it panicked; the log says where".into());
                    self.changed.notify_all();
                }
            }
        }
    }

    /// Waits for something to fold, or, where that failed, for a while. False once it is to end.
    fn awaits_folding(&self) -> bool {
        let idle = |now: &mut Now| !now.closing && (now.frozen.is_none() || now.failed.is_some());
        let mut now = lock(&self.now);
        if now.failed.is_some() {
            (now, _) =
                self.changed.wait_timeout_while(now, RETRY, idle).unwrap_or_else(PoisonError::into_inner);
        } else {
            now = self.changed.wait_while(now, idle).unwrap_or_else(PoisonError::into_inner);
        }
        !now.closing
    }

    /// Puts into the map what is frozen, if anything is.
    fn fold(&self) -> io::Result<()> {
        let _folding = lock(&self.folding);
        let Some((layer, folded)) = lock(&self.now).frozen.clone() else { return Ok(()) };
        let mark = Mark { journal: self.journal, folded };
        let written = layer
            .all(|rows| self.tree.write(rows, mark))
            .and_then(|()| self.tree.moment())
            .map_err(|error| {
                // Reads shall go on, also if it takes no writes.
                drop(self.tree.reopen());
                (error, self.tree.moment().ok())
            });
        let mut now = lock(&self.now);
        let failed = written.as_ref().err().map(|(error, _)| error.to_string().into());
        if std::mem::replace(&mut now.failed, failed).is_some() && now.failed.is_none() {
            tracing::info!("what was committed could be folded into the store again");
        }
        let (written, base) = match written {
            Ok(base) => {
                now.frozen = None;
                (Ok(()), Some(base))
            }
            Err((error, base)) => (Err(error), base),
        };
        let before = base.map(|base| std::mem::replace(&mut now.base, base));
        drop(now);
        drop(before);
        self.changed.notify_all();
        written
    }

    /// Waits until nothing is frozen.
    fn thaw(&self) -> io::Result<()> {
        let busy = |now: &mut Now| now.threaded && now.frozen.is_some() && now.failed.is_none();
        let now = self.changed.wait_while(lock(&self.now), busy).unwrap_or_else(PoisonError::into_inner);
        drop(now);
        self.fold()
    }

    /// Goes on in the other half, and has this one folded.
    fn turn(&self, writer: &mut Writer) -> io::Result<()> {
        self.thaw()?;
        writer.journal.turn();
        let mut now = lock(&self.now);
        now.frozen = Some((std::mem::take(&mut now.active), now.record));
        drop(now);
        // Where no thread folds, the next turn does.
        self.changed.notify_all();
        Ok(())
    }

    /// Puts all into the map, so that the journal holds nothing.
    fn fold_all(&self, writer: &mut Writer) -> io::Result<()> {
        self.thaw()?;
        let active = Arc::clone(&lock(&self.now).active);
        if active.len() > 0 {
            self.turn(writer)?;
            self.thaw()?;
        }
        Ok(())
    }

    /// A batch that no half takes goes into the map at once.
    fn commit_large(&self, writer: &mut Writer, batch: &[SealedWrite]) -> io::Result<()> {
        self.fold_all(writer)?;
        let _folding = lock(&self.folding);
        let folded = lock(&self.now).record + 1;
        let rows = batch.iter().map(|write| (write.key.as_bytes(), write.value()));
        self.tree.write(rows, Mark { journal: self.journal, folded })?;
        let base = self.tree.moment()?;
        let mut now = lock(&self.now);
        (now.base, now.record) = (base, folded);
        Ok(())
    }

    fn commit(&self, writer: &mut Writer, batch: &[SealedWrite]) -> io::Result<()> {
        if !writer.journal.takes(batch) {
            return self.commit_large(writer, batch);
        }
        if !writer.journal.fits(batch) {
            self.turn(writer)?;
        }
        let (active, record) = {
            let now = lock(&self.now);
            (Arc::clone(&now.active), now.record + 1)
        };
        writer.journal.append(record, batch)?;
        active.add(record, batch.iter().cloned());
        lock(&self.now).record = record;
        Ok(())
    }
}

/// Reads what the disk holds.
fn read(tree: &Tree, journal: &mut Journal, folded: u64) -> io::Result<Now> {
    let replayed = journal.replay(folded)?;
    let record = replayed.last().map_or(folded, |last| last.number);
    let newest: Option<Half> = replayed.last().map(|last| last.half);
    let (active, older) = (Layer::default(), Layer::default());
    let mut frozen = None;
    for record in replayed {
        if Some(record.half) == newest {
            active.add(record.number, record.batch.into_iter());
        } else {
            older.add(record.number, record.batch.into_iter());
            frozen = Some(record.number);
        }
    }
    Ok(Now {
        base: tree.moment()?,
        frozen: frozen.map(|last| (Arc::new(older), last)),
        active: Arc::new(active),
        record,
        failed: None,
        threaded: false,
        closing: false,
    })
}

impl Backend for Redb {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        let now = lock(&self.store.now);
        Ok(Arc::new(Whole {
            base: Arc::clone(&now.base),
            frozen: now.frozen.as_ref().map(|(layer, _)| Arc::clone(layer)),
            active: Arc::clone(&now.active),
            record: now.record,
        }))
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        let mut writer = self.store.writer()?;
        let committed = self.store.commit(&mut writer, batch);
        writer.broken = committed.is_err();
        committed
    }

    fn reopen(&self) -> io::Result<()> {
        let mut writer = lock(&self.store.writer);
        let _folding = lock(&self.store.folding);
        writer.broken = true;
        if let Err(error) = self.store.tree.reopen() {
            // What can be read goes on being read.
            if let Ok(base) = self.store.tree.moment() {
                lock(&self.store.now).base = base;
            }
            return Err(error);
        }
        writer.journal.forget()?;
        let mark = self.store.tree.mark()?.ok_or_else(|| io::Error::other("the store is another one now"))?;
        let read = read(&self.store.tree, &mut writer.journal, mark.folded)?;
        let mut now = lock(&self.store.now);
        let failed = now.failed.take().filter(|_| read.frozen.is_some());
        *now = Now { failed, threaded: now.threaded, closing: now.closing, ..read };
        writer.broken = false;
        self.store.changed.notify_all();
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        let mut writer = self.store.writer()?;
        self.store.fold_all(&mut writer)
    }

    fn unsettled(&self) -> Option<Arc<str>> {
        lock(&self.store.now).failed.clone()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let (frozen, active) = {
            let now = lock(&self.store.now);
            (now.frozen.as_ref().map(|(layer, _)| Arc::clone(layer)), Arc::clone(&now.active))
        };
        let unfolded = active.len() + frozen.map_or(0, |frozen| frozen.len());
        let free = self.store.tree.free_bytes()?;
        Ok(free.map(|free| free.saturating_sub(unfolded as u64 * FOLDED_SIZE)))
    }

    fn batch_size_max(&self) -> usize {
        HALF_SIZE / 2
    }

    fn kind(&self) -> &'static str {
        "redb"
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        lock(&self.store.now).closing = true;
        self.store.changed.notify_all();
        if self.folder.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that folds had panicked");
        }
    }
}

impl View for Whole {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        let frozen = || self.frozen.as_ref()?.get(key, self.record);
        match self.active.get(key, self.record).or_else(frozen) {
            Some(value) => Ok(value),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        let frozen = self.frozen.iter().flat_map(|layer| layer.range(from, until, self.record));
        let mut changes = Newest::of(self.active.range(from, until, self.record), frozen).peekable();
        let mut flow = ControlFlow::Continue(());
        let hand_on = |(key, value): Change, each: EachSealed<'_>| match value {
            Some(value) => each(key.as_bytes(), &value.0),
            None => ControlFlow::Continue(()),
        };
        self.base.scan(from, until, &mut |key, value| {
            while let Some(change) = changes.next_if(|(changed, _)| changed.as_bytes() < key) {
                flow = hand_on(change, each);
                if flow.is_break() {
                    return flow;
                }
            }
            flow = match changes.next_if(|(changed, _)| changed.as_bytes() == key) {
                Some((_, None)) => ControlFlow::Continue(()),
                Some((_, Some(now))) => each(key, &now.0),
                None => each(key, value),
            };
            flow
        })?;
        while flow.is_continue()
            && let Some(change) = changes.next()
        {
            flow = hand_on(change, each);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left half done is what the disk is asked about: nothing here is changed in two steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
