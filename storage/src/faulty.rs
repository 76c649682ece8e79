//! Twins that lie, fail and lose power, for tests and the simulator. Each fault that fired is counted, because a test
//! of a fault that never happened proves nothing.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::disk::Disk;
use crate::error::Result;
use crate::random::Random;
use crate::redb::Redb;

/// What survives of writes that were never synced when the power goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PowerCut {
    /// Nothing.
    Drop,
    /// Those before a random one, which is torn at a sector.
    Tail,
    /// A random choice of sectors.
    Sectors,
}

/// Sectors are written whole or not at all.
const SECTOR: usize = 512;

/// Small, so that short runs fold often.
const HALF_SIZE: usize = 32 * 1024;

/// A disk in memory, with the two files of a store, that can fail at any operation and lose power. Clones share it.
#[derive(Clone, Default)]
pub struct LyingDisk(Arc<Mutex<Platter>>);

/// A file of a [`LyingDisk`].
struct File {
    platter: Arc<Mutex<Platter>>,
    which: Which,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Which {
    Map,
    Journal,
}

#[derive(Clone, Default)]
struct Files {
    map: Vec<u8>,
    journal: Vec<u8>,
}

#[derive(Default)]
struct Platter {
    durable: Files,
    current: Files,
    unsynced: Vec<Unsynced>,
    changes: u64,
    fails_at: Option<u64>,
    fails_once: bool,
    /// After so many more changes of the map, so many fail.
    map_fails: Option<(u64, u64)>,
    capacity: Option<u64>,
    free: Option<u64>,
    fired: u64,
}

/// What is in memory and, perhaps, not on the disk.
struct Unsynced {
    which: Which,
    change: Change,
    /// A sync of it failed: no later one tries again, and reads show it until the file is forgotten. As Linux does it.
    given_up: bool,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl LyingDisk {
    /// An empty disk that works.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens or makes a store on it.
    ///
    /// # Errors
    /// If it fails, or what lies on it does not open.
    pub fn redb(&self) -> Result<Redb> {
        let file = |which| Arc::new(File { platter: Arc::clone(&self.0), which });
        Redb::on(file(Which::Map), file(Which::Journal), HALF_SIZE)
    }

    /// The same with a thread that folds, as in a folder.
    ///
    /// # Errors
    /// As above.
    pub fn redb_that_folds(&self) -> Result<Redb> {
        self.redb()?.folding()
    }

    /// Another disk with the same content, to try something else on.
    pub fn copy(&self) -> Self {
        let platter = self.platter();
        let (durable, current) = (platter.durable.clone(), platter.current.clone());
        let copied = Platter { durable, current, changes: platter.changes, ..Platter::default() };
        Self(Arc::new(Mutex::new(copied)))
    }

    /// How many writes, changes of length and syncs there were.
    pub fn changes(&self) -> u64 {
        self.platter().changes
    }

    /// How many operations failed on purpose.
    pub fn fired(&self) -> u64 {
        self.platter().fired
    }

    /// From the change with this number on, everything fails, as if the power were gone.
    pub fn cut_at(&self, change: u64) {
        let mut platter = self.platter();
        platter.fails_at = Some(change);
        platter.fails_once = false;
    }

    /// Only the change with this number fails.
    pub fn fail_at(&self, change: u64) {
        let mut platter = self.platter();
        platter.fails_at = Some(change);
        platter.fails_once = true;
    }

    /// After `after` more changes of the map, `times` of them fail, and a write among them is torn. The journal works.
    pub fn fail_map(&self, after: u64, times: u64) {
        self.platter().map_fails = Some((after, times));
    }

    /// Its files get no longer than this together.
    pub fn limit(&self, bytes: Option<u64>) {
        self.platter().capacity = bytes;
    }

    /// It says that so many bytes are free.
    pub fn leave_free(&self, bytes: Option<u64>) {
        self.platter().free = bytes;
    }

    /// Overwrites what is stored with zeros, where [`dump`](Self::dump) has it.
    pub fn wipe(&self, at: usize, size: usize) {
        let mut platter = self.platter();
        let Platter { durable, current, .. } = &mut *platter;
        for image in [durable, current] {
            let bytes = image.map.iter_mut().chain(&mut image.journal);
            bytes.skip(at).take(size).for_each(|byte| *byte = 0);
        }
    }

    /// The power comes back, and the disk holds what survived.
    pub fn restart(&self, cut: PowerCut, random: &dyn Random) {
        let mut platter = self.platter();
        let unsynced = std::mem::take(&mut platter.unsynced);
        let mut images = std::mem::take(&mut platter.durable);
        let last = match cut {
            PowerCut::Drop => 0,
            PowerCut::Tail => below(unsynced.len() + 1, random),
            PowerCut::Sectors => unsynced.len(),
        };
        for (number, Unsynced { which, change, .. }) in unsynced.into_iter().enumerate().take(last) {
            let image = images.of_mut(which);
            match (change, cut) {
                (Change::Write(at, data), PowerCut::Tail) if number + 1 == last => {
                    let kept = below(data.len() / SECTOR + 1, random) * SECTOR;
                    store(image, at, data.get(..kept).unwrap_or(&data));
                }
                (Change::Write(at, data), PowerCut::Sectors) => {
                    for (sector, part) in data.chunks(SECTOR).enumerate() {
                        if below(2, random) == 0 {
                            store(image, at + sector * SECTOR, part);
                        }
                    }
                }
                (change, _) => change.take_place(image),
            }
        }
        platter.current.clone_from(&images);
        platter.durable = images;
        (platter.fails_at, platter.map_fails) = (None, None);
    }

    /// Flips one bit of what is stored, where [`dump`](Self::dump) has it.
    pub fn flip(&self, offset: usize, bit: u8) {
        let mut platter = self.platter();
        let Platter { durable, current, .. } = &mut *platter;
        for image in [durable, current] {
            if let Some(byte) = image.map.iter_mut().chain(&mut image.journal).nth(offset) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Everything that lies on the disk, as a thief would see it: one file behind the other.
    pub fn dump(&self) -> Vec<u8> {
        let platter = self.platter();
        [&*platter.current.map, &platter.current.journal].concat()
    }

    /// How much of it is the map; the journal lies behind it.
    pub fn map_size(&self) -> usize {
        self.platter().current.map.len()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        let number = platter.changes;
        platter.changes += 1;
        let fails_at = platter.fails_at;
        match fails_at {
            Some(at) if number == at || (number > at && !platter.fails_once) => {
                platter.fired += 1;
                Err(io::Error::other("injected fault: the disk does not answer"))
            }
            _ if self.which == Which::Map && platter.map_fault() => {
                Err(io::Error::other("injected fault: the map cannot be written"))
            }
            _ => Ok(platter),
        }
    }

    fn note(&self, platter: &mut Platter, change: Change) {
        change.clone().take_place(platter.current.of_mut(self.which));
        platter.unsynced.push(Unsynced { which: self.which, change, given_up: false });
    }

    /// Takes out what is in memory of the file.
    fn of_mine<'p>(&self, unsynced: &'p mut Vec<Unsynced>) -> impl Iterator<Item = Unsynced> + 'p {
        let which = self.which;
        unsynced.extract_if(.., move |unsynced| unsynced.which == which)
    }
}

impl Platter {
    /// Whether a change of the map fails now.
    fn map_fault(&mut self) -> bool {
        let now = match &mut self.map_fails {
            Some((0, times)) if *times > 0 => {
                *times -= 1;
                true
            }
            Some((after, _)) => {
                *after = after.saturating_sub(1);
                false
            }
            None => false,
        };
        self.fired += u64::from(now);
        now
    }
}

impl Files {
    fn of(&self, which: Which) -> &Vec<u8> {
        match which {
            Which::Map => &self.map,
            Which::Journal => &self.journal,
        }
    }

    fn of_mut(&mut self, which: Which) -> &mut Vec<u8> {
        match which {
            Which::Map => &mut self.map,
            Which::Journal => &mut self.journal,
        }
    }
}

impl Change {
    fn take_place(self, image: &mut Vec<u8>) {
        match self {
            Self::Length(len) => image.resize(len, 0),
            Self::Write(at, data) => store(image, at, &data),
        }
    }
}

impl Disk for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.platter().current.of(self.which).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let data = platter.current.of(self.which).get(from..from.saturating_add(out.len()));
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.change()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let Files { map, journal } = &platter.current;
        let others = map.len() + journal.len() - platter.current.of(self.which).len();
        if platter.capacity.is_some_and(|capacity| (others + len) as u64 > capacity) {
            platter.fired += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.note(&mut platter, Change::Length(len));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let changed = self.change().map(drop);
        let mut platter = self.platter();
        match changed {
            Ok(()) => self.note(&mut platter, Change::Write(at, data.to_vec())),
            Err(_) if platter.map_fails.is_some() => {
                let torn = data.len() / 2 / SECTOR * SECTOR;
                self.note(&mut platter, Change::Write(at, data.get(..torn).unwrap_or_default().to_vec()));
            }
            Err(_) => {}
        }
        changed
    }

    fn sync(&self) -> io::Result<()> {
        let mine = |unsynced: &&mut Unsynced| unsynced.which == self.which;
        let changed = self.change().map(drop);
        let mut platter = self.platter();
        let Platter { durable, unsynced, .. } = &mut *platter;
        if changed.is_err() {
            unsynced.iter_mut().filter(mine).for_each(|unsynced| unsynced.given_up = true);
            return changed;
        }
        for Unsynced { change, .. } in self.of_mine(unsynced).filter(|unsynced| !unsynced.given_up) {
            change.take_place(durable.of_mut(self.which));
        }
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.fails_at.is_some_and(|at| platter.changes > at && !platter.fails_once) {
            return Err(io::Error::other("injected fault: the disk does not answer"));
        }
        let Platter { durable, current, unsynced, .. } = &mut *platter;
        unsynced.retain(|unsynced| unsynced.which != self.which || !unsynced.given_up);
        let mut image = durable.of(self.which).clone();
        for Unsynced { change, .. } in unsynced.iter().filter(|unsynced| unsynced.which == self.which) {
            change.clone().take_place(&mut image);
        }
        *current.of_mut(self.which) = image;
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(self.platter().free)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("File")
    }
}

/// What goes wrong in a [`Faulty`] backend. Clones share it, so a test keeps one in its hand. Numbers count down.
#[derive(Clone, Default)]
pub struct Faults(Arc<Counters>);

#[derive(Default)]
struct Counters {
    lost_commits: AtomicU64,
    unheard_commits: AtomicU64,
    failed_reads: AtomicU64,
    failed_openings: AtomicU64,
    /// Free bytes plus one; zero is "as the disk says".
    free: AtomicU64,
    fired: AtomicU64,
}

/// A backend that fails on command and otherwise does what the one inside does.
pub struct Faulty {
    inner: Box<dyn Backend>,
    faults: Faults,
}

struct FaultyView {
    inner: Arc<dyn View>,
    faults: Faults,
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `count` commits fail and leave nothing behind.
    pub fn lose_commits(&self, count: u64) {
        self.0.lost_commits.store(count, Ordering::SeqCst);
    }

    /// The next `count` commits are stored, and fail all the same.
    pub fn answer_wrongly(&self, count: u64) {
        self.0.unheard_commits.store(count, Ordering::SeqCst);
    }

    /// The next `count` reads fail.
    pub fn fail_reads(&self, count: u64) {
        self.0.failed_reads.store(count, Ordering::SeqCst);
    }

    /// The next `count` attempts to open the disk anew fail.
    pub fn fail_openings(&self, count: u64) {
        self.0.failed_openings.store(count, Ordering::SeqCst);
    }

    /// The disk says that it has so many bytes left.
    pub fn leave_free(&self, bytes: Option<u64>) {
        self.0.free.store(bytes.map_or(0, |bytes| bytes.saturating_add(1)), Ordering::SeqCst);
    }

    /// How many faults happened.
    pub fn fired(&self) -> u64 {
        self.0.fired.load(Ordering::SeqCst)
    }

    fn strikes(&self, of: impl Fn(&Counters) -> &AtomicU64) -> bool {
        let step = |left: u64| left.checked_sub(1);
        let strikes = of(&self.0).fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_ok();
        self.0.fired.fetch_add(u64::from(strikes), Ordering::SeqCst);
        strikes
    }

    fn fail(&self, of: impl Fn(&Counters) -> &AtomicU64) -> io::Result<()> {
        match self.strikes(of) {
            true => Err(io::Error::other("injected fault")),
            false => Ok(()),
        }
    }
}

impl Faulty {
    /// `inner`, with `faults`.
    pub fn new(inner: Box<dyn Backend>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl Backend for Faulty {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        Ok(Arc::new(FaultyView { inner: self.inner.view()?, faults: self.faults.clone() }))
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        self.faults.fail(|faults| &faults.lost_commits)?;
        self.inner.commit(batch)?;
        self.faults.fail(|faults| &faults.unheard_commits)
    }

    fn reopen(&self) -> io::Result<()> {
        self.faults.fail(|faults| &faults.failed_openings)?;
        self.inner.reopen()
    }

    fn settle(&self) -> io::Result<()> {
        self.inner.settle()
    }

    fn unsettled(&self) -> Option<Arc<str>> {
        self.inner.unsettled()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        match self.faults.0.free.load(Ordering::SeqCst) {
            0 => self.inner.free_bytes(),
            free => Ok(Some(free - 1)),
        }
    }

    fn batch_size_max(&self) -> usize {
        self.inner.batch_size_max()
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

impl View for FaultyView {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        self.faults.fail(|faults| &faults.failed_reads)?;
        self.inner.get(key)
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        self.faults.fail(|faults| &faults.failed_reads)?;
        self.inner.scan(from, until, each)
    }
}

fn store(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    if image.len() < at + data.len() {
        image.resize(at + data.len(), 0);
    }
    if let Some(place) = image.get_mut(at..at + data.len()) {
        place.copy_from_slice(data);
    }
}

fn below(bound: usize, random: &dyn Random) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    usize::try_from(u64::from_be_bytes(bytes) % bound as u64).unwrap_or_default()
}
