use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use foldhash::quality::FixedState;

use crate::Index;
use crate::backend::{Cipher, SealedKey, View};
use crate::cache::{Entry, Listing, Memory, Size};
use crate::error::{Error, Result};
use crate::key::{self, Hashed, Key, Kind, Logical, LogicalRef, MountId, Name, Place};
use crate::keyring::Keyring;
use crate::names::{self, NameKey};
use crate::ring::{self, Keys, Names, RingId, Rings};
use crate::stripes::{ReadSet, Stripe, Stripes};
use crate::value::Value;

/// How many rows of a subfolder are stepped over before it is cheaper to look for its end.
const STEP_OVER_MAX: usize = 8;
/// How much is read from the backend at once, before what was read is handed on.
const ROWS_PER_READ: usize = 256;

/// The whole store as of one index. Never changes, never waits for a writer, cheap to clone.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<Moment>);

pub(crate) struct Moment {
    pub(crate) index: Index,
    pub(crate) view: Arc<dyn View>,
    pub(crate) shared: Arc<Shared>,
}

/// What all moments of an open store share. The last one who holds it drops the keys.
pub(crate) struct Shared {
    pub(crate) keyring: ArcSwap<Keyring>,
    pub(crate) names: NameKey,
    /// The keyrings of namespaces, and which of them are open.
    pub(crate) rings: ArcSwap<Rings>,
    pub(crate) stripes: Stripes,
    pub(crate) entries: Memory<Entry>,
    pub(crate) lists: Memory<Listing>,
    /// Folders as they are sealed: always right, for it is a function of their names.
    pub(crate) folders: Memory<SealedKey>,
    pub(crate) hasher: FixedState,
    pub(crate) published: AtomicU64,
    pub(crate) damaged: AtomicU64,
    /// A read failed, so the backend shall be opened anew before the next snapshot is taken.
    pub(crate) sick: AtomicBool,
}

/// What a scan hands its rows to.
pub type EachRow<'a> = &'a mut dyn FnMut(&[u8], Value) -> Result<ControlFlow<()>>;
/// What a walk hands the paths to, relative to its folder, with the suffix of those that have one.
pub type EachPath<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<ControlFlow<()>>;

type EachRecord<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>;

impl Snapshot {
    /// The index of the last commit that shows in it.
    pub fn index(&self) -> Index {
        self.0.index
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// If the entry is damaged, the name cannot be, or the disk fails.
    pub fn get(&self, key: &Key<'_>) -> Result<Option<Value>> {
        let entry = self.find(key, self.hash(key.logical()))?;
        match &entry.cipher {
            Some(cipher) => self.open(&entry.sealed.0, &cipher.0).map(Some),
            None => Ok(None),
        }
    }

    /// The direct children of a folder, sorted; folders end in '/'. Both "a" and "a/" may appear.
    ///
    /// Costs as much as there are children, not descendants; asked again, one lookup.
    ///
    /// # Errors
    /// If the folder's name cannot be, or the disk fails.
    pub fn list(&self, place: Place, folder: &str) -> Result<Arc<[String]>> {
        let folder = key::folder(folder)?;
        let hashed = self.hash(LogicalRef::folder(place, folder));
        if let Some(known) = self.0.shared.lists.get(&hashed).filter(|known| self.trusts(hashed, known.index))
        {
            return Ok(Arc::clone(&known.names));
        }
        let prefix = self.folder(place, folder)?;
        let mut names = Vec::new();
        self.children(place.mount, &prefix, &mut |name| names.push(name))?;
        names.sort_unstable();
        names.dedup();
        let names: Arc<[String]> = names.into();
        let listing = Listing { index: self.index(), names: Arc::clone(&names) };
        self.remember(&self.0.shared.lists, hashed, Arc::new(listing));
        Ok(names)
    }

    /// The ids of a place from `from` (inclusive) to `until` (exclusive), in byte order, with their values.
    ///
    /// A damaged row is left out, logged and counted, so that one of them does not stop all the others.
    ///
    /// # Errors
    /// If the disk fails, or whatever `each` answers.
    pub fn scan(&self, place: Place, from: &[u8], until: Option<&[u8]>, each: EachRow<'_>) -> Result<()> {
        let start = names::id_key(place, from);
        let end = until.map_or_else(|| names::ids_end(place), |until| names::id_key(place, until));
        self.rows(start, &end, &mut |key, cipher| match (names::id_of(key), self.open(key, cipher)) {
            (Some(id), Ok(value)) => each(id, value),
            _ => Ok(ControlFlow::Continue(())),
        })
    }

    /// The suffixes under one path from `from` (inclusive) to `until` (exclusive), in byte order, with their values.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan).
    pub fn scan_path(
        &self,
        place: Place,
        path: &str,
        from: &[u8],
        until: Option<&[u8]>,
        each: EachRow<'_>,
    ) -> Result<()> {
        Key::path_then(place, path, from).check()?;
        let base = self.names(place.mount)?.seal(&Key::path_then(place, path, &[]));
        let bound = |suffix: &[u8]| SealedKey([&*base.0, suffix].concat().into());
        let end = until.map_or_else(|| names::after(&base.0), bound);
        self.rows(bound(from), &end, &mut |key, cipher| match (
            key.get(base.0.len()..),
            self.open(key, cipher),
        ) {
            (Some(suffix), Ok(value)) => each(suffix, value),
            _ => Ok(ControlFlow::Continue(())),
        })
    }

    /// Every path beneath `folder`, in order and relative to it. A path with several suffixes comes once for each.
    ///
    /// # Errors
    /// If the disk fails, or whatever `each` answers.
    pub fn walk(&self, place: Place, folder: &str, each: EachPath<'_>) -> Result<()> {
        let folder = key::folder(folder)?;
        let list = |folder: &str| self.list(place, folder);
        let suffixes = |path: &str, each: EachPath<'_>| self.suffixes(place, path, each);
        walk(folder, &list, &suffixes, each)
    }

    /// The ring that seals what an owner has, if it is not the server's keyring.
    pub fn ring(&self, owner: MountId) -> Option<RingId> {
        self.0.shared.rings.load().of(owner)
    }

    /// True if what an owner has cannot be read now.
    pub fn is_sealed(&self, owner: MountId) -> bool {
        matches!(self.0.shared.rings.load().keys(owner), Keys::None)
    }

    /// How many rings there are.
    pub fn ring_count(&self) -> usize {
        self.0.shared.rings.load().len()
    }

    /// The rings that are open now.
    pub fn open_rings(&self) -> Vec<RingId> {
        self.0.shared.rings.load().all_open().map(|ring| ring.id).collect()
    }

    /// Up to `limit` ids of a place, from `from` on, whose values satisfy what is asked of their ring. It opens none.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn ids_of_rings(
        &self,
        place: Place,
        from: &[u8],
        limit: usize,
        wanted: &dyn Fn(RingId) -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        self.rows(names::id_key(place, from), &names::ids_end(place), &mut |key, cipher| {
            if ring::sealed_by(cipher).is_some_and(wanted) {
                found.extend(names::id_of(key).map(<[u8]>::to_vec));
            }
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// True if there is anything under an id that begins so and is sealed by a ring that is not open.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn hides(&self, place: Place, prefix: &[u8]) -> Result<bool> {
        let mut hidden = false;
        let rings = self.0.shared.rings.load_full();
        if rings.is_empty() {
            return Ok(false);
        }
        let start = names::id_key(place, prefix);
        let end = names::after(&start.0);
        self.rows(start, &end, &mut |_, cipher| {
            hidden = ring::sealed_by(cipher).is_some_and(|id| rings.open(id).is_none());
            Ok(if hidden { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(hidden)
    }

    /// True if `reads` would read the same here.
    pub fn holds(&self, reads: &ReadSet) -> bool {
        reads.holds_on(self)
    }

    /// True if there is an entry under this key, without opening it.
    ///
    /// # Errors
    /// If the name cannot be, or the disk fails.
    pub fn contains(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.find(key, self.hash(key.logical()))?.cipher.is_some())
    }

    /// Hands on `path` once for itself and once for each of its suffixes.
    pub(crate) fn suffixes(&self, place: Place, path: &str, each: EachPath<'_>) -> Result<()> {
        if self.contains(&Key::path(place, path))? && each(path, &[])?.is_break() {
            return Ok(());
        }
        let base = self.names(place.mount)?.seal(&Key::path_then(place, path, &[]));
        self.rows(base.clone(), &names::after(&base.0), &mut |key, _| {
            key.get(base.0.len()..).map_or(Ok(ControlFlow::Continue(())), |suffix| each(path, suffix))
        })
    }

    /// Every stored key that begins with `prefix`.
    pub(crate) fn keys(
        &self,
        prefix: &SealedKey,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let scanned = self.0.view.scan(prefix, &names::after(&prefix.0), &mut |key, _| each(key));
        scanned.map_err(|error| self.sick(error))
    }

    pub(crate) fn hash<'k>(&self, key: LogicalRef<'k>) -> Hashed<'k> {
        key.hashed(&self.0.shared.hasher)
    }

    pub(crate) fn stripe(&self, key: LogicalRef<'_>) -> Stripe {
        Stripe::of(self.hash(key).hash)
    }

    pub(crate) fn stripes(&self) -> &Stripes {
        &self.0.shared.stripes
    }

    /// The key that seals the names of an owner.
    pub(crate) fn names(&self, owner: MountId) -> Result<Names<'_>> {
        match self.0.shared.rings.load().keys(owner) {
            Keys::Server => Ok(Names::Server(&self.0.shared.names)),
            Keys::Ring(ring) => Ok(Names::Ring(ring)),
            Keys::None => Err(Error::Sealed),
        }
    }

    /// The name that lies under a stored key. `None` if it is damaged, sealed, or not an entry's.
    pub(crate) fn open_name(&self, key: &[u8]) -> Option<Logical> {
        let (place, kind) = names::place_of(key)?;
        if names::is_id(kind) {
            return self.0.shared.names.open(key);
        }
        self.names(place.mount).ok()?.open(key)
    }

    /// The stored form of a key, from memory if it was met before.
    pub(crate) fn sealed(&self, key: &Key<'_>, hashed: &Hashed<'_>) -> Result<SealedKey> {
        let known = self.0.shared.entries.get(hashed).map(|entry| entry.sealed.clone());
        known.map_or_else(|| self.seal(key), Ok)
    }

    fn seal(&self, key: &Key<'_>) -> Result<SealedKey> {
        match key.name {
            Name::Id(id) => Ok(names::id_key(key.place, id)),
            Name::Path(path) | Name::PathThen(path, _) => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let names = self.names(key.place.mount)?;
                let folder = self.folder(key.place, parent)?;
                Ok(names.seal_in(&folder, key))
            }
        }
    }

    fn folder(&self, place: Place, folder: &str) -> Result<Arc<SealedKey>> {
        let hashed = self.hash(LogicalRef::folder(place, folder));
        if let Some(known) = self.0.shared.folders.get(&hashed) {
            return Ok(known);
        }
        let sealed = Arc::new(self.names(place.mount)?.folder(place, folder));
        self.remember(&self.0.shared.folders, hashed, Arc::clone(&sealed));
        Ok(sealed)
    }

    pub(crate) fn find(&self, key: &Key<'_>, hashed: Hashed<'_>) -> Result<Arc<Entry>> {
        let known = self.0.shared.entries.get(&hashed);
        if let Some(known) = &known
            && self.trusts(hashed, known.index)
        {
            return Ok(Arc::clone(known));
        }
        key.check()?;
        let sealed = known.map_or_else(|| self.seal(key), |known| Ok(known.sealed.clone()))?;
        let cipher = self.0.view.get(&sealed).map_err(|error| self.sick(error))?;
        let entry = Arc::new(Entry { index: self.index(), sealed, cipher });
        self.remember(&self.0.shared.entries, hashed, Arc::clone(&entry));
        Ok(entry)
    }

    /// Keeps what was read for others, if it is of today. When a ring is sealed all is forgotten, and then also what
    /// somebody is about to keep: its names shall not stay.
    fn remember<V: Size>(&self, memory: &Memory<V>, hashed: Hashed<'_>, item: Arc<V>) {
        if !self.is_latest() {
            return;
        }
        memory.insert(hashed.hash, hashed.key.owned(), item);
        if !self.is_latest() {
            memory.remove(&hashed);
        }
    }

    /// True if what was loaded at `loaded` is right for this snapshot: not written after the older of the two.
    fn trusts(&self, hashed: Hashed<'_>, loaded: Index) -> bool {
        self.stripes().last_write(Stripe::of(hashed.hash)) <= loaded.min(self.index())
    }

    /// An old snapshot does not push out what newer ones remember.
    fn is_latest(&self) -> bool {
        self.index() == self.0.shared.published.load(Ordering::Relaxed)
    }

    fn open(&self, key: &[u8], cipher: &[u8]) -> Result<Value> {
        let plain = match ring::sealed_by(cipher) {
            Some(id) => match self.0.shared.rings.load().open(id) {
                Some(ring) => ring.open(key, cipher),
                None => return Err(Error::Sealed),
            },
            // What lies with a ring's is not to be had from the server's keys.
            None if self.is_rings(key) => None,
            None => self.0.shared.keyring.load().open(key, cipher),
        };
        match plain {
            Some(plain) => Ok(Value::new(plain)),
            None => Err(self.damaged(key)),
        }
    }

    /// Whether a stored key is of a family that has a ring.
    fn is_rings(&self, key: &[u8]) -> bool {
        let rings = self.0.shared.rings.load();
        !rings.is_empty() && names::place_of(key).is_some_and(|(place, _)| rings.of(place.mount).is_some())
    }

    fn sick(&self, error: std::io::Error) -> Error {
        self.0.shared.sick.store(true, Ordering::Relaxed);
        error.into()
    }

    fn damaged(&self, key: &[u8]) -> Error {
        let entry: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.shared.damaged.fetch_add(1, Ordering::Relaxed);
        match names::place_of(key) {
            Some((place, _)) => {
                tracing::error!(%place, entry, "a stored entry is damaged; it was not served");
                Error::Corrupt { place, entry }
            }
            None => Error::Foreign(format!("the stored key {entry} is none of this version's")),
        }
    }

    /// Rows in order, read in pieces so that the backend is not held while `each` works.
    fn rows(&self, mut from: SealedKey, until: &SealedKey, each: EachRecord<'_>) -> Result<()> {
        loop {
            let mut piece: Vec<(Box<[u8]>, Cipher)> = Vec::new();
            self.0
                .view
                .scan(&from, until, &mut |key, cipher| {
                    piece.push((key.into(), Cipher::from_disk(cipher)));
                    if piece.len() < ROWS_PER_READ {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })
                .map_err(|error| self.sick(error))?;
            for (key, cipher) in &piece {
                if each(key, &cipher.0)?.is_break() {
                    return Ok(());
                }
            }
            match piece.pop() {
                Some((last, _)) if piece.len() + 1 == ROWS_PER_READ => {
                    from = SealedKey([&*last, &[0]].concat().into());
                }
                _ => return Ok(()),
            }
        }
    }

    /// The names of the children under a folder's prefix, in the order in which they lie.
    fn children(&self, owner: MountId, prefix: &SealedKey, each: &mut dyn FnMut(String)) -> Result<()> {
        let names = self.names(owner)?;
        let end = names::after(&prefix.0);
        let mut from = Some(prefix.clone());
        let mut child: Vec<u8> = Vec::new();
        while let Some(start) = from.take() {
            let mut stepped = 0;
            self.0
                .view
                .scan(&start, &end, &mut |key, _| {
                    if !child.is_empty() && key.starts_with(&child) {
                        stepped += 1;
                        if stepped < STEP_OVER_MAX {
                            return ControlFlow::Continue(());
                        }
                        from = Some(names::after(&child));
                        return ControlFlow::Break(());
                    }
                    stepped = 0;
                    child.clear();
                    match names.child(prefix, key) {
                        Some(found) => {
                            child.extend_from_slice(key.get(..found.size).unwrap_or(key));
                            match found.name {
                                Some(name) => each(name),
                                None => drop(self.damaged(key)),
                            }
                        }
                        None => drop(self.damaged(key)),
                    }
                    ControlFlow::Continue(())
                })
                .map_err(|error| self.sick(error))?;
        }
        Ok(())
    }
}

/// Depth first, through what `list` lists: the order of the full paths, for a folder's name ends in its slash.
pub(crate) fn walk(
    root: &str,
    list: &dyn Fn(&str) -> Result<Arc<[String]>>,
    suffixes: &dyn Fn(&str, EachPath<'_>) -> Result<()>,
    each: EachPath<'_>,
) -> Result<()> {
    let skip = if root.is_empty() { 0 } else { root.len() + 1 };
    let mut stack = vec![(root.to_owned(), list(root)?, 0)];
    while let Some((folder, names, next)) = stack.last_mut() {
        let Some(name) = names.get(*next) else {
            stack.pop();
            continue;
        };
        *next += 1;
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if let Some(beneath) = path.strip_suffix('/') {
            let names = list(beneath)?;
            stack.push((beneath.to_owned(), names, 0));
            continue;
        }
        let mut flow = ControlFlow::Continue(());
        suffixes(&path, &mut |path, suffix| {
            flow = each(path.get(skip..).unwrap_or(path), suffix)?;
            Ok(flow)
        })?;
        if flow.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// How ids are grouped for read sets: a scan within one such prefix does not see writes to another.
pub(crate) const ID_PREFIXES: [usize; 4] = [32, 16, 8, 0];

/// The longest prefix that all ids from `from` to `until` share, of those that writes are noted under.
pub(crate) fn ids_scanned<'a>(place: Place, from: &'a [u8], until: Option<&[u8]>) -> LogicalRef<'a> {
    let confined = |prefix: &&[u8]| {
        let end = names::after(prefix);
        until.is_some_and(|until| prefix.is_empty() || (!end.0.is_empty() && until <= &*end.0))
    };
    let prefix = ID_PREFIXES.iter().filter_map(|len| from.get(..*len)).find(confined).unwrap_or_default();
    LogicalRef::ids(place, prefix)
}

/// The sets that gain or lose a member when this key comes or goes.
pub(crate) fn sets_of<'k>(key: LogicalRef<'k>, each: &mut dyn FnMut(LogicalRef<'k>)) {
    match key.kind {
        Kind::Id => ID_PREFIXES
            .iter()
            .filter_map(|len| key.name.get(..*len))
            .for_each(|prefix| each(LogicalRef::ids(key.place, prefix))),
        Kind::Path | Kind::PathThen => {
            let path = std::str::from_utf8(key.name).unwrap_or_default();
            key::ancestors(path).for_each(|folder| each(LogicalRef::folder(key.place, folder)));
            if key.kind == Kind::PathThen {
                each(LogicalRef::suffixes(key.place, path));
            }
        }
        Kind::Folder | Kind::Suffixes | Kind::Ids => {}
    }
}
