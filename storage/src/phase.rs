use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use foldhash::quality::FixedState;

use crate::backend::{Backend, Cipher, SealedKey, SealedWrite, View};
use crate::cache::Memory;
use crate::commit::{self, Clock, Core, read_anew};
use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::memory::Memory as MemoryBackend;
use crate::names;
use crate::open::Open;
use crate::random::Random;
use crate::ring::{self, Rings};
use crate::seal::record::{self, SealRecord};
use crate::seal::{Initialised, SealChoice, SealConfig, UnsealKey};
use crate::snapshot::{Moment, Shared};
use crate::stripes::Stripes;

/// The version of the stored format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// The version of a store that has keyrings of namespaces.
const FORMAT_OF_RINGS: u32 = 2;

const FORMAT: &str = "format";
pub(crate) const SEAL: &str = "seal";
const MAGIC: &[u8; 8] = b"sealkeep";
/// One part in so many of the cache's bytes is for the memo of listings, and half as much for sealed folders.
const LISTS_SHARE: u64 = 8;

/// How a store runs.
#[derive(Clone)]
pub struct Options {
    /// How many bytes the cache of entries may take, listings included.
    pub cache_bytes: u64,
    /// Where commits run.
    pub committer: Committer,
    /// What stamps new key terms.
    pub clock: Clock,
}

/// Where commits run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Committer {
    /// In a thread of their own, in groups.
    Thread,
    /// At once, in whatever thread asks. For tests and the simulator.
    Inline,
}

/// What a backend can turn out to hold.
pub enum Phase {
    /// Nothing was ever written here.
    Blank(Blank),
    /// A store without its keys.
    Sealed(Sealed),
}

/// Nothing was ever written here.
pub struct Blank {
    backend: Arc<dyn Backend>,
    options: Options,
    /// A commit failed, and perhaps it is stored all the same.
    doubtful: bool,
}

/// The store is still blank: here it is again, and why.
pub struct StillBlank {
    /// The store.
    pub blank: Blank,
    /// Why nothing was stored.
    pub why: Error,
}

/// Data without keys. There is no read on this type.
///
/// ```compile_fail,E0599
/// fn peek(sealed: storage::Sealed) {
///     let _ = sealed.snapshot();
/// }
/// ```
///
/// Opening consumes it, so that no second key can be tried on an opened store:
///
/// ```compile_fail,E0382
/// fn twice(sealed: storage::Sealed, key: &storage::seal::UnsealKey) {
///     let random = std::sync::Arc::new(storage::SystemRandom);
///     let _ = sealed.unseal(key, random.clone());
///     let _ = sealed.unseal(key, random);
/// }
/// ```
pub struct Sealed {
    backend: Arc<dyn Backend>,
    options: Options,
    seal: SealRecord,
    /// A write failed, so that what was read of the backend may be older than what lies there.
    doubtful: bool,
}

/// The store is still sealed: here it is again, and why.
pub struct StillSealed {
    /// The store.
    pub sealed: Sealed,
    /// Why it did not open.
    pub why: UnsealError,
}

/// Why a store did not open.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnsealError {
    /// The key did not fit.
    #[error("unseal failed, invalid key")]
    WrongKey,
    /// The key fits, but what it should open is damaged.
    #[error("the key is right, but the stored keyring is damaged; restore it from a backup")]
    Damaged,
    /// The disk, or the system.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Looks at what a backend holds.
///
/// # Errors
/// If the disk fails, or it holds something else than a store of this version.
pub fn open(backend: Box<dyn Backend>, options: Options) -> Result<Phase> {
    let backend: Arc<dyn Backend> = Arc::from(backend);
    let view = backend.view()?;
    let Some(format) = view.get(&names::meta(FORMAT))? else {
        if !is_blank(&*backend)? {
            return Err(Error::Foreign(
                "the storage holds data that is not Sealkeep's; give it an empty folder".to_owned(),
            ));
        }
        return Ok(Phase::Blank(Blank { backend, options, doubtful: false }));
    };
    check_format(&format)?;
    Sealed::read(backend, options).map(Phase::Sealed)
}

/// Whether nothing lies in a backend.
pub(crate) fn is_blank(backend: &dyn Backend) -> Result<bool> {
    let mut empty = true;
    backend.view()?.scan(&names::meta(""), &names::after(&[u8::MAX - 1]), &mut |_, _| {
        empty = false;
        std::ops::ControlFlow::Break(())
    })?;
    Ok(empty)
}

impl Options {
    /// A cache of 28 MiB, a thread for commits, and `clock` for the dates of key terms.
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { cache_bytes: 28 * 1024 * 1024, committer: Committer::Thread, clock: Arc::new(clock) }
    }
}

impl Blank {
    /// Makes an empty store under fresh keys and a new seal.
    ///
    /// # Errors
    /// If the choice of the seal cannot be, or the disk fails.
    pub fn init(self, choice: &SealChoice, random: &dyn Random) -> Result<(Sealed, Initialised)> {
        let made = record::make(choice, random)?;
        let recovery = made.recovery.as_ref().map(|key| &key.expose()[..]);
        let keyring = Keyring::fresh(random, (self.options.clock)())?.recovered_by(recovery)?;
        let format = [&MAGIC[..], &FORMAT_VERSION.to_be_bytes()].concat();
        let write = |name, value| SealedWrite { key: names::meta(name), value: Some(value) };
        self.backend.commit(&[
            write(FORMAT, Cipher(format.into())),
            write(SEAL, made.keep(keyring.root(), random)),
            write(commit::KEYRING, keyring.sealed(random)),
            write(commit::INDEX, Cipher(0_u64.to_be_bytes().as_slice().into())),
            commit::count_record(1, 0),
        ])?;
        Ok((Sealed::read(self.backend, self.options)?, made.handed_out))
    }

    /// The new store as it shall be, in memory. It is opened and filled there; then [`keep`](Self::keep) stores all of it.
    ///
    /// # Errors
    /// If the choice of the seal cannot be, or the disk has no room.
    pub fn draft(&self, choice: &SealChoice, random: &dyn Random) -> Result<(Sealed, Initialised)> {
        let free = self.backend.free_bytes()?.unwrap_or(u64::MAX);
        if free < commit::HEADROOM {
            return Err(Error::Trouble(format!("the disk has only {free} bytes left").into()));
        }
        let (backend, options) = (Arc::new(MemoryBackend::new()), self.options.clone());
        Self { backend, options, doubtful: false }.init(choice, random)
    }

    /// Makes all that a draft holds durable, or nothing of it: a store without whoever has its keys is lost.
    ///
    /// # Errors
    /// [`StillBlank`] with the store, to try again.
    pub fn keep(mut self, draft: &Sealed) -> Result<Sealed, Box<StillBlank>> {
        match self.store(draft) {
            Ok(seal) => Ok(Sealed { backend: self.backend, options: self.options, seal, doubtful: false }),
            Err(why) => Err(Box::new(StillBlank { blank: self, why })),
        }
    }

    fn store(&mut self, draft: &Sealed) -> Result<SealRecord> {
        let mut batch = all_of(&*draft.backend)?;
        if self.doubtful {
            // What an attempt has left after all, nobody has the keys of.
            self.backend.reopen()?;
            for (key, _) in all_of(&*self.backend)? {
                batch.entry(key).or_insert(None);
            }
        }
        let seal = batch.get(&names::meta(SEAL)).cloned().flatten();
        let batch: Vec<_> = batch.into_iter().map(|(key, value)| SealedWrite { key, value }).collect();
        if let Err(error) = self.backend.commit(&batch) {
            tracing::error!(%error, "a new store could not be stored; the backend is opened anew to see whether it is");
            self.doubtful = true;
            let cause: Arc<str> = error.to_string().into();
            let stored = self.backend.reopen().and_then(|()| self.backend.view()?.get(&names::meta(SEAL)));
            match stored {
                Ok(stored) if stored == seal => {}
                Ok(_) => return Err(Error::NotStored(cause)),
                Err(_) => return Err(Error::Uncertain(cause)),
            }
        }
        seal.as_ref()
            .and_then(SealRecord::read)
            .ok_or_else(|| Error::Foreign("a draft without a seal".to_owned()))
    }

    /// What `storage_type` shows.
    pub fn storage_kind(&self) -> &'static str {
        self.backend.kind()
    }
}

impl Sealed {
    pub(crate) fn read(backend: Arc<dyn Backend>, options: Options) -> Result<Self> {
        let stored = backend.view()?.get(&names::meta(SEAL))?;
        let Some(seal) = stored.as_ref().and_then(SealRecord::read) else {
            return Err(Error::Foreign(
                "the record of the seal is missing or damaged; restore the data from a backup".to_owned(),
            ));
        };
        Ok(Self { backend, options, seal, doubtful: false })
    }

    /// One that was open until now, whose seal was `last`. After a failure the backend is opened anew before it is relied on.
    pub(crate) fn after(backend: Arc<dyn Backend>, options: Options, last: SealRecord, failed: bool) -> Self {
        match Self::read(Arc::clone(&backend), options.clone()) {
            Ok(sealed) => Self { doubtful: failed, ..sealed },
            Err(error) => {
                tracing::warn!(%error, "the record of the seal cannot be read now; it is read again when the store is unsealed");
                Self { backend, options, seal: last, doubtful: true }
            }
        }
    }

    /// What keeps the root key.
    pub fn seal_config(&self) -> &SealConfig {
        &self.seal.config
    }

    /// What `storage_type` shows.
    pub fn storage_kind(&self) -> &'static str {
        self.backend.kind()
    }

    /// Opens the store, or hands it back.
    ///
    /// # Errors
    /// [`StillSealed`] with the store, to try again.
    pub fn unseal(mut self, key: &UnsealKey, random: Arc<dyn Random>) -> Result<Open, Box<StillSealed>> {
        let started = self
            .core(key, random)
            .and_then(|core| Ok(Open::start(core, self.options.clone(), key.clone(), self.seal.clone())?));
        started.map_err(|why| Box::new(StillSealed { sealed: self, why }))
    }

    /// Reads anew what lies in the backend, if that is not known.
    fn settle_doubt(&mut self) -> Result<()> {
        if self.doubtful {
            self.backend.reopen()?;
            *self = Self::read(Arc::clone(&self.backend), self.options.clone())?;
        }
        Ok(())
    }

    fn core(&mut self, key: &UnsealKey, random: Arc<dyn Random>) -> Result<Core, UnsealError> {
        self.settle_doubt()?;
        let (root, next) = self.seal.open(key).ok_or(UnsealError::WrongKey)?;
        let (mut index, mut view) = read_anew(&*self.backend).map_err(Error::from)?;
        let read = |name| view.get(&names::meta(name)).map_err(Error::from);
        let stored = read(commit::KEYRING)?.ok_or(UnsealError::Damaged)?;
        let keyring = Keyring::unseal(&root, &stored).map_err(Error::from)?.ok_or(UnsealError::Damaged)?;
        keyring.count_from(seals(read(commit::COUNT)?.as_ref(), keyring.status().term));
        if let (Some(next), SealConfig::Static { recovery, .. }) = (next, &self.seal.config) {
            let config = SealConfig::Static { key_id: next.id, recovery: *recovery };
            let record = record::keep(&config, &next.key, keyring.root(), &*random);
            let kept = SealRecord::read(&record);
            let write = SealedWrite { key: names::meta(SEAL), value: Some(record) };
            if let Err(error) = self.backend.commit(&[write]) {
                self.doubtful = true;
                return Err(Error::from(error).into());
            }
            (index, view) = read_anew(&*self.backend).map_err(Error::from)?;
            self.seal = kept.ok_or(UnsealError::Damaged)?;
        }
        let mut seed = [0; 8];
        random.fill(&mut seed);
        let cache = self.options.cache_bytes;
        let lists = cache / LISTS_SHARE;
        let shared = Shared {
            names: keyring.names().map_err(Error::from)?,
            keyring: ArcSwap::from_pointee(keyring),
            rings: ArcSwap::from_pointee(rings(&*view).map_err(Error::from)?),
            stripes: Stripes::new(),
            entries: Memory::bounded(cache - lists - lists / 2),
            lists: Memory::bounded(lists),
            folders: Memory::bounded(lists / 2),
            hasher: FixedState::with_seed(u64::from_be_bytes(seed)),
            published: AtomicU64::new(index),
            damaged: AtomicU64::new(0),
            sick: AtomicBool::new(false),
        };
        let moment = Moment { index, view, shared: Arc::new(shared) };
        let threaded = self.options.committer == Committer::Thread;
        let clock = Arc::clone(&self.options.clock);
        Ok(Core::new(moment, Arc::clone(&self.backend), random, clock, threaded))
    }
}

impl fmt::Debug for StillBlank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StillBlank({:?})", self.why)
    }
}

impl fmt::Debug for StillSealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StillSealed({:?})", self.why)
    }
}

/// Everything that lies in a backend.
fn all_of(backend: &dyn Backend) -> Result<BTreeMap<SealedKey, Option<Cipher>>> {
    let mut all = BTreeMap::new();
    backend.view()?.scan(&names::meta(""), &names::after(&[u8::MAX - 1]), &mut |key, value| {
        all.insert(SealedKey(key.into()), Some(Cipher::from_disk(value)));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// The rings that are stored. All are sealed.
fn rings(view: &dyn View) -> std::io::Result<Rings> {
    let mut found = Vec::new();
    view.scan(&ring::all(), &names::after(&ring::all().0), &mut |key, _| {
        found.extend(ring::of_seal_key(key));
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(Rings::sealed(found.into_iter()))
}

/// What a store writes that has its first ring.
pub(crate) fn format_of_rings() -> SealedWrite {
    let format = [&MAGIC[..], &FORMAT_OF_RINGS.to_be_bytes()].concat();
    SealedWrite { key: names::meta(FORMAT), value: Some(Cipher(format.into())) }
}

/// The stored count of the active term; zero if it is of an earlier one.
pub(crate) fn seals(stored: Option<&Cipher>, term: u32) -> u64 {
    let split = stored.and_then(|bytes| bytes.0.split_first_chunk::<4>());
    match split {
        Some((counted, seals)) if u32::from_be_bytes(*counted) == term => {
            seals.try_into().map_or(0, u64::from_be_bytes)
        }
        _ => 0,
    }
}

fn check_format(stored: &Cipher) -> Result<()> {
    let version =
        stored.0.strip_prefix(MAGIC).and_then(|version| version.try_into().ok().map(u32::from_be_bytes));
    match version {
        Some(FORMAT_VERSION | FORMAT_OF_RINGS) => Ok(()),
        Some(newer) if newer > FORMAT_OF_RINGS => Err(Error::Foreign(format!(
            "the data is of format {newer}, and this program knows up to {FORMAT_OF_RINGS}: start the newer Sealkeep that wrote it"
        ))),
        _ => Err(Error::Foreign(
            "the storage holds data that is not Sealkeep's; give it an empty folder".to_owned(),
        )),
    }
}
