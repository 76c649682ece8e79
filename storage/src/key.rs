use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::error::{Error, Result};

/// The longest path or id, in bytes.
pub const NAME_SIZE_MAX: usize = 4096;

/// What owns entries: a mount, a namespace, or the kernel itself. Random, and never used again after its end.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MountId(pub [u8; 16]);

/// One table of one mount.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Whose.
    pub mount: MountId,
    /// Which of its tables.
    pub table: u8,
}

/// What an entry is called within its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name<'a> {
    /// Made by the server, and no secret: a serial, an accessor, a date. Lies in clear and is scanned in byte order.
    Id(&'a [u8]),
    /// Chosen by users. Sealed segment by segment.
    Path(&'a str),
    /// A sealed path, then a suffix in clear, such as a version number. Suffixes of one path are in byte order.
    PathThen(&'a str, &'a [u8]),
}

/// The full name of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key<'a> {
    /// Where.
    pub place: Place,
    /// What.
    pub name: Name<'a>,
}

impl<'a> Key<'a> {
    /// A key under an id that the server made.
    pub fn id(place: Place, id: &'a [u8]) -> Self {
        Self { place, name: Name::Id(id) }
    }

    /// A key under a path that a user chose.
    pub fn path(place: Place, path: &'a str) -> Self {
        Self { place, name: Name::Path(path) }
    }

    /// A key under a path that a user chose and a suffix that the server made.
    pub fn path_then(place: Place, path: &'a str, suffix: &'a [u8]) -> Self {
        Self { place, name: Name::PathThen(path, suffix) }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.name {
            Name::Id(id) if id.len() > NAME_SIZE_MAX => Err(Error::Name("an id is longer than 4096 bytes")),
            Name::Id(_) => Ok(()),
            Name::Path(path) => check_path(path),
            Name::PathThen(_, suffix) if suffix.len() > NAME_SIZE_MAX => {
                Err(Error::Name("a suffix is longer than 4096 bytes"))
            }
            Name::PathThen(path, _) => check_path(path),
        }
    }

    pub(crate) fn logical(&self) -> LogicalRef<'a> {
        let (kind, name, suffix): (_, &[u8], &[u8]) = match self.name {
            Name::Id(id) => (Kind::Id, id, &[]),
            Name::Path(path) => (Kind::Path, path.as_bytes(), &[]),
            Name::PathThen(path, suffix) => (Kind::PathThen, path.as_bytes(), suffix),
        };
        LogicalRef { place: self.place, kind, name, suffix }
    }
}

/// A path that its own listing could not show is refused: it would be lost to its owner.
fn check_path(path: &str) -> Result<()> {
    if path.len() > NAME_SIZE_MAX {
        return Err(Error::Name("a path is longer than 4096 bytes"));
    }
    if path.split('/').any(str::is_empty) {
        return Err(Error::Name("a path is empty, begins or ends with '/', or holds '//'"));
    }
    Ok(())
}

/// The form of a folder that all callers' spellings share: no slash at either end; the root is empty.
pub(crate) fn folder(folder: &str) -> Result<&str> {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    if !folder.is_empty() {
        check_path(folder)?;
    }
    Ok(folder)
}

/// The folders that contain `path`, the root first.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once("").chain(path.match_indices('/').filter_map(|(at, _)| path.get(..at)))
}

/// What a hash or an own write is about: entries, and the sets that a listing or a scan sees.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Id,
    Path,
    PathThen,
    /// The children of a folder.
    Folder,
    /// The suffixes of a path.
    Suffixes,
    /// The ids that begin alike.
    Ids,
}

/// A key in the form that caches and read sets hash. Never stored.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct LogicalRef<'a> {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) name: &'a [u8],
    pub(crate) suffix: &'a [u8],
}

impl<'a> LogicalRef<'a> {
    pub(crate) fn folder(place: Place, folder: &'a str) -> Self {
        Self { place, kind: Kind::Folder, name: folder.as_bytes(), suffix: &[] }
    }

    pub(crate) fn suffixes(place: Place, path: &'a str) -> Self {
        Self { place, kind: Kind::Suffixes, name: path.as_bytes(), suffix: &[] }
    }

    pub(crate) fn ids(place: Place, prefix: &'a [u8]) -> Self {
        Self { place, kind: Kind::Ids, name: prefix, suffix: &[] }
    }

    pub(crate) fn hashed(self, hasher: &impl BuildHasher) -> Hashed<'a> {
        Hashed { hash: hasher.hash_one(self), key: self }
    }

    pub(crate) fn owned(&self) -> Logical {
        let mut bytes = Vec::with_capacity(self.name.len() + self.suffix.len());
        bytes.extend_from_slice(self.name);
        bytes.extend_from_slice(self.suffix);
        Logical { place: self.place, kind: self.kind, split: self.name.len(), bytes: bytes.into() }
    }
}

/// A [`LogicalRef`] that owns its name, in one allocation.
#[derive(Clone, Debug)]
pub(crate) struct Logical {
    place: Place,
    kind: Kind,
    split: usize,
    bytes: Box<[u8]>,
}

impl Logical {
    pub(crate) fn borrow(&self) -> LogicalRef<'_> {
        let (name, suffix) = self.bytes.split_at_checked(self.split).unwrap_or((&self.bytes, &[]));
        LogicalRef { place: self.place, kind: self.kind, name, suffix }
    }

    /// As the key of an entry. `None` for the sets of entries.
    pub(crate) fn key(&self) -> Option<Key<'_>> {
        let LogicalRef { place, kind, name, suffix } = self.borrow();
        let name = match kind {
            Kind::Id => Name::Id(name),
            Kind::Path => Name::Path(std::str::from_utf8(name).ok()?),
            Kind::PathThen => Name::PathThen(std::str::from_utf8(name).ok()?, suffix),
            Kind::Folder | Kind::Suffixes | Kind::Ids => return None,
        };
        Some(Key { place, name })
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl PartialEq for Logical {
    fn eq(&self, other: &Self) -> bool {
        self.borrow() == other.borrow()
    }
}

impl Eq for Logical {}

impl PartialOrd for Logical {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Logical {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.borrow().cmp(&other.borrow())
    }
}

/// A key with its hash, which is computed once and serves stripes and caches alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'a> {
    pub(crate) hash: u64,
    pub(crate) key: LogicalRef<'a>,
}

impl Hash for Hashed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount {:?} table {}", self.mount, self.table)
    }
}
