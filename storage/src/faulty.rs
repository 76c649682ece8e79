//! Twins that lie, fail and lose power, for tests and the simulator. Each fault that fired is counted, because a test
//! of a fault that never happened proves nothing.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Cipher, EachSealed, SealedKey, SealedWrite, View};
use crate::disk::Disk;
use crate::random::Random;

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

/// A disk in memory that can fail at any operation and lose power. Clones share it.
#[derive(Clone, Default)]
pub struct LyingDisk(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
    changes: u64,
    fails_at: Option<u64>,
    fails_once: bool,
    capacity: Option<u64>,
    fired: u64,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl LyingDisk {
    /// An empty disk that works.
    pub fn new() -> Self {
        Self::default()
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

    /// The disk gets no longer than this.
    pub fn limit(&self, bytes: Option<u64>) {
        self.platter().capacity = bytes;
    }

    /// The power comes back, and the disk holds what survived.
    pub fn restart(&self, cut: PowerCut, random: &dyn Random) {
        let mut platter = self.platter();
        let unsynced = std::mem::take(&mut platter.unsynced);
        let mut image = std::mem::take(&mut platter.durable);
        let last = match cut {
            PowerCut::Drop => 0,
            PowerCut::Tail => below(unsynced.len() + 1, random),
            PowerCut::Sectors => unsynced.len(),
        };
        for (number, change) in unsynced.iter().enumerate().take(last) {
            match (change, cut) {
                (Change::Length(len), _) => image.resize(*len, 0),
                (Change::Write(at, data), PowerCut::Tail) if number + 1 == last => {
                    let kept = below(data.len() / SECTOR + 1, random) * SECTOR;
                    store(&mut image, *at, data.get(..kept).unwrap_or(data));
                }
                (Change::Write(at, data), PowerCut::Sectors) => {
                    for (sector, part) in data.chunks(SECTOR).enumerate() {
                        if below(2, random) == 0 {
                            store(&mut image, at + sector * SECTOR, part);
                        }
                    }
                }
                (Change::Write(at, data), _) => store(&mut image, *at, data),
            }
        }
        platter.current.clone_from(&image);
        platter.durable = image;
        platter.fails_at = None;
    }

    /// Flips one bit of what is stored.
    pub fn flip(&self, offset: usize, bit: u8) {
        let mut platter = self.platter();
        let Platter { durable, current, .. } = &mut *platter;
        for image in [durable, current] {
            if let Some(byte) = image.get_mut(offset) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Everything that lies on the disk, as a thief would see it.
    pub fn dump(&self) -> Vec<u8> {
        self.platter().current.clone()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        let number = platter.changes;
        platter.changes += 1;
        match platter.fails_at {
            Some(at) if number == at || (number > at && !platter.fails_once) => {
                platter.fired += 1;
                Err(io::Error::other("injected fault: the disk does not answer"))
            }
            _ => Ok(platter),
        }
    }
}

impl Disk for LyingDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.platter().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let data = platter.current.get(from..from.saturating_add(out.len()));
        out.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.change()?;
        if platter.capacity.is_some_and(|capacity| len > capacity) {
            platter.fired += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        platter.current.resize(len, 0);
        platter.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.change()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        store(&mut platter.current, at, data);
        platter.unsynced.push(Change::Write(at, data.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = self.change()?;
        let Platter { durable, unsynced, .. } = &mut *platter;
        for change in unsynced.drain(..) {
            match change {
                Change::Length(len) => durable.resize(len, 0),
                Change::Write(at, data) => store(durable, at, &data),
            }
        }
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Debug for LyingDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LyingDisk")
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
