use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::backend::{Cipher, SealedKey, SealedWrite};
use crate::cipher::NONCE_SIZE;
use crate::error::{Error, Result};
use crate::key::{self, Key, Kind, Logical, LogicalRef, MountId, Name, Place};
use crate::names;
use crate::random::{Drawn, Random};
use crate::ring::{self, Keys, Ring, RingChange, RingId};
use crate::rings::RingsOf;
use crate::snapshot::{EachPath, EachRow, Snapshot, ids_scanned, sets_of, walk};
use crate::stripes::{ReadSet, Stripe};
use crate::value::Value;

/// The largest value of one entry.
pub const VALUE_SIZE_MAX: usize = 1024 * 1024;
/// The most that one transaction can write, names included.
pub const TXN_SIZE_MAX: usize = 8 * 1024 * 1024;
/// What a write costs besides its value and the length of its name.
const WRITE_OVERHEAD: usize = 64;

/// Reads of one snapshot plus writes that nobody sees until they are committed.
pub struct Txn {
    snapshot: Snapshot,
    reads: RefCell<Reads>,
    writes: BTreeMap<Logical, Write>,
    /// Deleted entries whose names no longer open.
    raw: BTreeSet<SealedKey>,
    size: usize,
    counts: Vec<(String, i64)>,
    /// Seldom any, so that every other transaction is small.
    pub(crate) rings: Option<Box<RingsOf>>,
}

/// Something this transaction read has changed. Run it again.
#[derive(Debug, Clone, Copy, Eq, PartialEq)]
pub struct Conflict;

struct Reads {
    set: ReadSet,
    /// Whether the entries that were read are there. It spares the folders of those that are overwritten.
    found: HashMap<u64, bool, FixedState>,
}

struct Write {
    hash: u64,
    value: Option<Value>,
    /// Whose it is: the ring of this owner seals it.
    owner: MountId,
}

/// A transaction that is sealed and ready for the committer. It holds no plain text.
pub(crate) struct Prepared {
    pub(crate) reads: ReadSet,
    pub(crate) writes: Vec<PreparedWrite>,
    pub(crate) bumps: Vec<Stripe>,
    pub(crate) size: usize,
    /// Rings that come or go.
    pub(crate) rings: Vec<(RingId, RingChange)>,
    /// Rings that sealed something of it.
    pub(crate) used: Vec<Arc<Ring>>,
}

pub(crate) struct PreparedWrite {
    pub(crate) name: Option<(u64, Logical)>,
    pub(crate) write: SealedWrite,
}

impl Prepared {
    fn add(&mut self, write: PreparedWrite) {
        self.size += write.write.size();
        self.writes.push(write);
    }
}

impl Txn {
    /// A transaction that reads `snapshot`.
    pub fn on(snapshot: Snapshot) -> Self {
        let reads = Reads { set: ReadSet::at(snapshot.index()), found: HashMap::default() };
        Self {
            snapshot,
            reads: RefCell::new(reads),
            writes: BTreeMap::new(),
            raw: BTreeSet::new(),
            size: 0,
            counts: Vec::new(),
            rings: None,
        }
    }

    /// Notes that there will be more or fewer of something. Nothing of it is stored: who commits it takes the notes and
    /// counts once it is durable.
    pub fn count(&mut self, what: String, change: i64) {
        self.counts.push((what, change));
    }

    /// Takes out what was noted to be counted.
    pub fn take_counts(&mut self) -> Vec<(String, i64)> {
        std::mem::take(&mut self.counts)
    }

    /// What it reads.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The value of `key`, own writes included.
    ///
    /// # Errors
    /// As for [`Snapshot::get`].
    pub fn get(&self, key: &Key<'_>) -> Result<Option<Value>> {
        let logical = key.logical();
        if let Some(own) = self.own(logical) {
            return Ok(own.value.clone());
        }
        let hash = self.note(logical);
        if self.founds(key.place.mount).is_some() {
            return Ok(None);
        }
        let value = self.snapshot.get(key)?;
        self.reads.borrow_mut().found.insert(hash, value.is_some());
        Ok(value)
    }

    /// Stores `value` under `key` when this is committed.
    ///
    /// # Errors
    /// If the name cannot be, or a size limit is exceeded.
    pub fn put(&mut self, key: &Key<'_>, value: Vec<u8>) -> Result<()> {
        let value = Value::new(value);
        if value.len() > VALUE_SIZE_MAX {
            return Err(Error::ValueTooLarge { size: value.len(), max: VALUE_SIZE_MAX });
        }
        self.write(key, Some(value), key.place.mount)
    }

    /// As [`put`](Self::put), for an entry that belongs to an owner elsewhere: it is sealed as that one's are.
    ///
    /// # Errors
    /// As for [`put`](Self::put), and if that owner is sealed.
    pub fn put_for(&mut self, owner: MountId, key: &Key<'_>, value: Vec<u8>) -> Result<()> {
        let value = Value::new(value);
        if value.len() > VALUE_SIZE_MAX {
            return Err(Error::ValueTooLarge { size: value.len(), max: VALUE_SIZE_MAX });
        }
        self.write(key, Some(value), owner)
    }

    /// Removes `key` when this is committed. What is not there may be deleted.
    ///
    /// # Errors
    /// If the name cannot be, or a size limit is exceeded.
    pub fn delete(&mut self, key: &Key<'_>) -> Result<()> {
        self.write(key, None, key.place.mount)
    }

    /// As [`Snapshot::list`], own writes included.
    ///
    /// # Errors
    /// As for [`Snapshot::list`].
    pub fn list(&self, place: Place, folder: &str) -> Result<Arc<[String]>> {
        let folder = key::folder(folder)?;
        self.note(LogicalRef::folder(place, folder));
        let stored = match self.founds(place.mount) {
            Some(_) => Arc::default(),
            None => self.snapshot.list(place, folder)?,
        };
        let mut put = BTreeSet::new();
        let mut deleted = BTreeSet::new();
        for (relative, write) in self.own_beneath(place, folder) {
            let child = relative.split_inclusive('/').next().unwrap_or(relative).to_owned();
            match write.value {
                Some(_) => put.insert(child),
                None => deleted.insert(child),
            };
        }
        if put.is_empty() && deleted.is_empty() && self.raw.is_empty() {
            return Ok(stored);
        }
        let mut names: BTreeSet<String> = stored.iter().cloned().collect();
        for child in deleted.difference(&put) {
            if names.contains(child) && !self.remains(place, folder, child)? {
                names.remove(child);
            }
        }
        names.append(&mut put);
        Ok(names.into_iter().collect())
    }

    /// As [`Snapshot::scan`], own writes included.
    ///
    /// # Errors
    /// As for [`Snapshot::scan`].
    pub fn scan(&self, place: Place, from: &[u8], until: Option<&[u8]>, each: EachRow<'_>) -> Result<()> {
        self.note(ids_scanned(place, from, until));
        let start = LogicalRef { place, kind: Kind::Id, name: from, suffix: &[] };
        let own = self.own_from(start).filter(|(key, _)| until.is_none_or(|until| key.name < until));
        let stored = |each: EachRow<'_>| self.snapshot.scan(place, from, until, each);
        self.merge(&stored, own.map(|(key, write)| (key.name, write)), start, each)
    }

    /// As [`Snapshot::scan_path`], own writes included.
    ///
    /// # Errors
    /// As for [`Snapshot::scan_path`].
    pub fn scan_path(
        &self,
        place: Place,
        path: &str,
        from: &[u8],
        until: Option<&[u8]>,
        each: EachRow<'_>,
    ) -> Result<()> {
        self.note(LogicalRef::suffixes(place, path));
        let start = LogicalRef { place, kind: Kind::PathThen, name: path.as_bytes(), suffix: from };
        let own = self
            .own_from(start)
            .take_while(|(key, _)| key.name == path.as_bytes())
            .filter(|(key, _)| until.is_none_or(|until| key.suffix < until));
        let stored = |each: EachRow<'_>| match self.founds(place.mount) {
            Some(_) => Ok(()),
            None => self.snapshot.scan_path(place, path, from, until, each),
        };
        self.merge(&stored, own.map(|(key, write)| (key.suffix, write)), start, each)
    }

    /// As [`Snapshot::walk`], own writes included.
    ///
    /// # Errors
    /// As for [`Snapshot::walk`].
    pub fn walk(&self, place: Place, folder: &str, each: EachPath<'_>) -> Result<()> {
        let folder = key::folder(folder)?;
        let list = |folder: &str| self.list(place, folder);
        let suffixes = |path: &str, each: EachPath<'_>| self.suffixes(place, path, each);
        walk(folder, &list, &suffixes, each)
    }

    /// Deletes up to `limit` entries of a mount, whatever their table, and tells how many it found.
    ///
    /// Nothing of it enters the read set: who sweeps a mount has made sure that nobody writes to it any more.
    ///
    /// # Errors
    /// If the disk fails, or the transaction is full.
    pub fn sweep(&mut self, mount: MountId, limit: usize) -> Result<usize> {
        self.sweep_prefix(&names::mount(mount), limit, &|key| key.place.mount == mount)
    }

    /// Deletes up to `limit` entries of all owners of a ring's family, as [`sweep`](Self::sweep) does. It needs no key.
    ///
    /// # Errors
    /// If the disk fails, or the transaction is full.
    pub fn sweep_family(&mut self, ring: RingId, limit: usize) -> Result<usize> {
        self.sweep_prefix(&names::family(ring), limit, &|key| RingId::of(key.place.mount) == ring)
    }

    /// Deletes up to `limit` paths of a folder and all folders beneath it, and tells how many it found.
    ///
    /// # Errors
    /// If the folder's name cannot be, the disk fails, or the transaction is full.
    pub fn sweep_folder(&mut self, place: Place, folder: &str, limit: usize) -> Result<usize> {
        let folder = key::folder(folder)?;
        let prefix = self.snapshot.names(place.mount)?.folder(place, folder);
        let beneath = |name: &[u8]| match name.strip_prefix(folder.as_bytes()) {
            Some(rest) => folder.is_empty() || rest.starts_with(b"/"),
            None => false,
        };
        self.sweep_prefix(&prefix, limit, &|key| {
            key.place == place && matches!(key.kind, Kind::Path | Kind::PathThen) && beneath(key.name)
        })
    }

    /// How many entries committing this would change.
    pub fn written(&self) -> usize {
        self.writes.len() + self.raw.len()
    }

    /// True if committing this would change nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.raw.is_empty() && self.rings.is_none()
    }

    /// What this transaction read so far.
    pub fn reads(&self) -> ReadSet {
        self.reads.borrow().set.clone()
    }

    /// Makes what was read elsewhere a part of what this transaction depends on.
    pub fn join(&mut self, reads: &ReadSet) {
        let holds = reads.holds_on(&self.snapshot);
        let own = &mut self.reads.get_mut().set;
        own.add_all(reads);
        if !holds {
            own.spoil();
        }
    }

    /// Seals everything, in the thread of whoever wants it committed.
    pub(crate) fn prepare(mut self, random: &dyn Random) -> Prepared {
        let random = &Drawn::of(random, self.writes.len() * NONCE_SIZE);
        let Reads { set, found } =
            std::mem::replace(self.reads.get_mut(), Reads { set: ReadSet::at(0), found: HashMap::default() });
        let mut prepared = Prepared {
            reads: set,
            writes: Vec::with_capacity(self.writes.len() + self.raw.len()),
            bumps: Vec::with_capacity(self.writes.len() * 4),
            size: 0,
            rings: Vec::new(),
            used: Vec::new(),
        };
        for (name, write) in std::mem::take(&mut self.writes) {
            // A ring was sealed meanwhile: whoever wants this is told so when it runs again.
            if self.prepare_write(name, write, &found, random, &mut prepared).is_err() {
                prepared.reads.spoil();
            }
        }
        for key in std::mem::take(&mut self.raw) {
            prepared.add(PreparedWrite { name: None, write: SealedWrite { key, value: None } });
        }
        let RingsOf { founded, dropped } = self.rings.map(|rings| *rings).unwrap_or_default();
        for ring in founded {
            prepared.rings.push((ring.ring.id, RingChange::Founded));
            ring.writes(random)
                .into_iter()
                .for_each(|write| prepared.add(PreparedWrite { name: None, write }));
        }
        for id in dropped {
            prepared.rings.push((id, RingChange::Dropped));
            for key in [ring::seal_key(id), ring::keys_key(id), ring::used_key(id)] {
                prepared.add(PreparedWrite { name: None, write: SealedWrite { key, value: None } });
            }
        }
        prepared
    }

    fn prepare_write(
        &self,
        name: Logical,
        Write { hash, value, owner }: Write,
        found: &HashMap<u64, bool, FixedState>,
        random: &dyn Random,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let Some(key) = name.key() else { return Ok(()) };
        let snapshot = &self.snapshot;
        let hashed = snapshot.hash(name.borrow());
        let sealed = match self.founds(key.place.mount) {
            Some(ring) => ring.names.seal(&key),
            None => snapshot.sealed(&key, &hashed)?,
        };
        if found.get(&hash) == Some(&false) && value.is_none() {
            return Ok(());
        }
        let cipher = match value {
            Some(plain) => Some(self.seal_for(owner, &sealed, &plain, random, &mut prepared.used)?),
            None => None,
        };
        prepared.bumps.push(Stripe::of(hash));
        if found.get(&hash) != Some(&cipher.is_some()) {
            sets_of(name.borrow(), &mut |set| prepared.bumps.push(snapshot.stripe(set)));
        }
        let write = SealedWrite { key: sealed, value: cipher };
        prepared.add(PreparedWrite { name: Some((hash, name)), write });
        Ok(())
    }

    fn seal_for(
        &self,
        owner: MountId,
        key: &SealedKey,
        plain: &[u8],
        random: &dyn Random,
        used: &mut Vec<Arc<Ring>>,
    ) -> Result<Cipher> {
        if let Some(ring) = self.founds(owner) {
            return Ok(ring.seal(&key.0, plain, random));
        }
        let shared = &self.snapshot.0.shared;
        match shared.rings.load().keys(owner) {
            Keys::Server => Ok(shared.keyring.load().seal(&key.0, plain, random)),
            Keys::None => Err(Error::Sealed),
            Keys::Ring(ring) => {
                let cipher = ring.seal(&key.0, plain, random);
                if !used.iter().any(|known| known.id == ring.id) {
                    used.push(ring);
                }
                Ok(cipher)
            }
        }
    }

    fn write(&mut self, key: &Key<'_>, value: Option<Value>, owner: MountId) -> Result<()> {
        key.check()?;
        let by_id = matches!(key.name, Name::Id(_));
        if !by_id && self.is_sealed(key.place.mount) || value.is_some() && self.is_sealed(owner) {
            return Err(Error::Sealed);
        }
        let logical = key.logical();
        let cost = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.len());
        let name = logical.owned();
        let added = cost(&value) + name.size() + WRITE_OVERHEAD;
        let replaced =
            self.writes.get(&name).map_or(0, |old| cost(&old.value) + name.size() + WRITE_OVERHEAD);
        let size = self.size - replaced + added;
        if size > TXN_SIZE_MAX {
            return Err(Error::TxnTooLarge { max: TXN_SIZE_MAX });
        }
        self.size = size;
        let hash = self.snapshot.hash(logical).hash;
        self.writes.insert(name, Write { hash, value, owner });
        Ok(())
    }

    /// Deletes what is stored under a prefix and what was written here within the same bounds.
    fn sweep_prefix(
        &mut self,
        prefix: &SealedKey,
        limit: usize,
        within: &dyn Fn(LogicalRef<'_>) -> bool,
    ) -> Result<usize> {
        let mut found = Vec::new();
        if limit > 0 {
            self.snapshot.keys(prefix, &mut |key| {
                let name = self.snapshot.open_name(key);
                let deleted = match &name {
                    Some(name) => self.writes.get(name).is_some_and(|write| write.value.is_none()),
                    None => self.raw.contains(&SealedKey(key.into())),
                };
                if !deleted {
                    found.push((name, SealedKey(key.into())));
                }
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        let mut count = found.len();
        for (name, sealed) in found {
            match name.as_ref().and_then(Logical::key) {
                Some(key) => self.delete(&key)?,
                None => drop(self.raw.insert(sealed)),
            }
        }
        for (name, write) in &mut self.writes {
            if count < limit && write.value.is_some() && within(name.borrow()) {
                write.value = None;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Adds a key or a set of keys to the read set, and answers its hash.
    fn note(&self, logical: LogicalRef<'_>) -> u64 {
        let hash = self.snapshot.hash(logical).hash;
        self.reads.borrow_mut().set.add(Stripe::of(hash));
        hash
    }

    fn own(&self, logical: LogicalRef<'_>) -> Option<&Write> {
        if self.writes.is_empty() {
            return None;
        }
        self.writes.get(&logical.owned())
    }

    /// Own writes of one place and kind, in order.
    fn own_from<'t>(&'t self, start: LogicalRef<'_>) -> impl Iterator<Item = (LogicalRef<'t>, &'t Write)> {
        let (place, kind) = (start.place, start.kind);
        let from = self.writes.range(start.owned()..).map(|(key, write)| (key.borrow(), write));
        from.take_while(move |(key, _)| key.place == place && key.kind == kind)
    }

    /// Own writes beneath a folder, with their paths relative to it.
    fn own_beneath<'t>(&'t self, place: Place, folder: &str) -> impl Iterator<Item = (&'t str, &'t Write)> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        [Kind::Path, Kind::PathThen].into_iter().flat_map(move |kind| {
            let prefix = prefix.clone();
            let start = LogicalRef { place, kind, name: prefix.as_bytes(), suffix: &[] };
            let own: Vec<_> = self
                .own_from(start)
                .map_while(|(key, write)| Some((key.name.strip_prefix(prefix.as_bytes())?, write)))
                .filter_map(|(name, write)| Some((std::str::from_utf8(name).ok()?, write)))
                .collect();
            own
        })
    }

    /// True if anything stored at or beneath a child is not deleted here.
    fn remains(&self, place: Place, folder: &str, child: &str) -> Result<bool> {
        let path = if folder.is_empty() { child.to_owned() } else { format!("{folder}/{child}") };
        let mut alive = false;
        let kept = |name: Option<Logical>, key: &[u8]| match name {
            Some(name) => self.writes.get(&name).is_none_or(|write| write.value.is_some()),
            None => !self.raw.contains(&SealedKey(key.into())),
        };
        let names = self.snapshot.names(place.mount)?;
        let prefixes = match path.strip_suffix('/') {
            Some(beneath) => vec![names.folder(place, beneath)],
            None => {
                vec![names.seal(&Key::path(place, &path)), names.seal(&Key::path_then(place, &path, &[]))]
            }
        };
        for prefix in prefixes {
            self.snapshot.keys(&prefix, &mut |key| {
                alive = kept(self.snapshot.open_name(key), key);
                if alive { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if alive {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn suffixes(&self, place: Place, path: &str, each: EachPath<'_>) -> Result<()> {
        if self.get(&Key::path(place, path))?.is_some() && each(path, &[])?.is_break() {
            return Ok(());
        }
        self.scan_path(place, path, &[], None, &mut |suffix, _| each(path, suffix))
    }

    /// Stored rows and own ones in one order; own ones win.
    fn merge<'t>(
        &self,
        stored: &dyn Fn(EachRow<'_>) -> Result<()>,
        own: impl Iterator<Item = (&'t [u8], &'t Write)>,
        start: LogicalRef<'_>,
        each: EachRow<'_>,
    ) -> Result<()> {
        let mut own = own.peekable();
        let mut stopped = false;
        stored(&mut |id, value| {
            while let Some((name, write)) = own.next_if(|(name, _)| *name < id) {
                if let Some(value) = &write.value
                    && each(name, value.clone())?.is_break()
                {
                    stopped = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let flow = match own.next_if(|(name, _)| *name == id) {
                Some((_, Write { value: Some(value), .. })) => each(id, value.clone())?,
                Some(_) => ControlFlow::Continue(()),
                None => {
                    let hash = match start.kind {
                        Kind::Id => self.note(LogicalRef { name: id, ..start }),
                        _ => self.note(LogicalRef { suffix: id, ..start }),
                    };
                    self.reads.borrow_mut().found.insert(hash, true);
                    each(id, value)?
                }
            };
            stopped = flow.is_break();
            Ok(flow)
        })?;
        for (name, write) in own {
            if stopped {
                break;
            }
            if let Some(value) = &write.value {
                stopped = each(name, value.clone())?.is_break();
            }
        }
        Ok(())
    }
}
