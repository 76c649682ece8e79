//! How keys lie in the backend, and how what users named is sealed in them. `docs/FORMAT.md` has the picture.

use std::io;

use crate::backend::SealedKey;
use crate::key::{Key, Kind, Logical, LogicalRef, MountId, Name, Place};
use crate::ring::RingId;
use crate::siv::{self, Siv};

/// The first byte of a stored key: what the store needs to know about itself.
const META: u8 = 0;
/// The first byte of a stored key: entries.
const ENTRY: u8 = 1;
/// After the place: ids in clear.
const IDS: u8 = 1;
/// After the place: sealed paths.
const PATHS: u8 = 2;
/// Before a sealed segment: it ends the path.
const LEAF: u8 = 1;
/// Before a sealed segment: more segments follow.
const FOLDER: u8 = 2;
/// Before a sealed segment: it ends the path, and a suffix in clear follows.
const LEAF_THEN: u8 = 3;
/// Space byte, mount, table and kind.
const PLACE_SIZE: usize = 19;

/// The length of the key that seals names.
pub(crate) const NAME_KEY_SIZE: usize = siv::KEY_SIZE;

/// Seals names: deterministically, so that a point read is one lookup, and each under its parent, so that equal
/// names in different places differ.
pub(crate) struct NameKey(Siv);

/// One child as a listing meets it.
pub(crate) struct Child {
    /// Its name; a folder ends in '/'.
    pub(crate) name: Option<String>,
    /// How much of the stored key names it. Further keys with these bytes lie beneath it.
    pub(crate) size: usize,
}

impl NameKey {
    pub(crate) fn new(key: &[u8]) -> io::Result<Self> {
        Siv::new(key).map(Self)
    }

    pub(crate) fn seal(&self, key: &Key<'_>) -> SealedKey {
        match key.name {
            Name::Id(id) => id_key(key.place, id),
            Name::Path(path) => self.path(key.place, path, LEAF, &[]),
            Name::PathThen(path, suffix) => self.path(key.place, path, LEAF_THEN, suffix),
        }
    }

    /// As [`seal`](Self::seal), for a path whose folder is sealed already.
    pub(crate) fn seal_in(&self, folder: &SealedKey, key: &Key<'_>) -> SealedKey {
        let (path, last, suffix): (_, _, &[u8]) = match key.name {
            Name::Id(id) => return id_key(key.place, id),
            Name::Path(path) => (path, LEAF, &[]),
            Name::PathThen(path, suffix) => (path, LEAF_THEN, suffix),
        };
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let mut out = Vec::with_capacity(folder.0.len() + name.len() + suffix.len() + 19);
        out.extend_from_slice(&folder.0);
        seal_segment(&self.0, last, name, &mut out);
        out.extend_from_slice(suffix);
        SealedKey(out.into())
    }

    /// What the stored keys of everything in `folder` begin with. The root is the empty folder.
    pub(crate) fn folder(&self, place: Place, folder: &str) -> SealedKey {
        match folder {
            "" => SealedKey(start(place, PATHS, 0).into()),
            folder => self.path(place, folder, FOLDER, &[]),
        }
    }

    fn path(&self, place: Place, path: &str, last: u8, suffix: &[u8]) -> SealedKey {
        let segments = path.bytes().filter(|byte| *byte == b'/').count() + 1;
        let mut out = start(place, PATHS, path.len() + segments * 19 + suffix.len());
        let mut rest = path;
        while let Some((segment, beneath)) = rest.split_once('/') {
            seal_segment(&self.0, FOLDER, segment, &mut out);
            rest = beneath;
        }
        seal_segment(&self.0, last, rest, &mut out);
        out.extend_from_slice(suffix);
        SealedKey(out.into())
    }

    /// The child of the folder `parent` that the stored key `key` lies at or beneath.
    pub(crate) fn child(&self, parent: &SealedKey, key: &[u8]) -> Option<Child> {
        let (tag, sealed, rest) = split_segment(key.get(parent.0.len()..)?)?;
        let size = key.len() - rest.len();
        let header = key.get(..parent.0.len() + 1)?;
        let mut name = open_segment(&self.0, header, sealed);
        if let (FOLDER, Some(name)) = (tag, &mut name) {
            name.push('/');
        }
        Some(Child { name, size })
    }

    /// The name that lies under a stored key. `None` if it is damaged or not an entry's.
    pub(crate) fn open(&self, key: &[u8]) -> Option<Logical> {
        let (place, kind) = place_of(key)?;
        let name = key.get(PLACE_SIZE..)?;
        match kind {
            IDS => Some(LogicalRef { place, kind: Kind::Id, name, suffix: &[] }.owned()),
            PATHS => self.open_path(place, key),
            _ => None,
        }
    }

    fn open_path(&self, place: Place, key: &[u8]) -> Option<Logical> {
        let mut path = String::new();
        let mut at = PLACE_SIZE;
        loop {
            let (tag, sealed, rest) = split_segment(key.get(at..)?)?;
            path.push_str(&open_segment(&self.0, key.get(..=at)?, sealed)?);
            let (kind, suffix) = match tag {
                FOLDER => {
                    path.push('/');
                    at = key.len() - rest.len();
                    continue;
                }
                LEAF if rest.is_empty() => (Kind::Path, rest),
                LEAF_THEN => (Kind::PathThen, rest),
                _ => return None,
            };
            return Some(LogicalRef { place, kind, name: path.as_bytes(), suffix }.owned());
        }
    }
}

/// Where the store keeps what it must know about itself.
pub(crate) fn meta(name: &str) -> SealedKey {
    let mut out = vec![META];
    out.extend_from_slice(name.as_bytes());
    SealedKey(out.into())
}

pub(crate) fn id_key(place: Place, id: &[u8]) -> SealedKey {
    let mut out = start(place, IDS, id.len());
    out.extend_from_slice(id);
    SealedKey(out.into())
}

/// Whether a stored key is that of an id, which no key seals.
pub(crate) fn is_id(kind: u8) -> bool {
    kind == IDS
}

/// The first key after all ids of a place.
pub(crate) fn ids_end(place: Place) -> SealedKey {
    SealedKey(start(place, IDS + 1, 0).into())
}

/// The id within a stored key.
pub(crate) fn id_of(key: &[u8]) -> Option<&[u8]> {
    key.get(PLACE_SIZE..)
}

/// What the keys of everything that a mount owns begin with.
pub(crate) fn mount(mount: MountId) -> SealedKey {
    let mut out = vec![ENTRY];
    out.extend_from_slice(&mount.0);
    SealedKey(out.into())
}

/// What the keys of everything that a family of owners has begin with.
pub(crate) fn family(ring: RingId) -> SealedKey {
    let mut out = vec![ENTRY];
    out.extend_from_slice(&ring.0);
    SealedKey(out.into())
}

/// The first key after all those that begin with `prefix`.
pub(crate) fn after(prefix: &[u8]) -> SealedKey {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    SealedKey(end.into())
}

/// The place of a stored key, and whether ids or paths follow.
pub(crate) fn place_of(key: &[u8]) -> Option<(Place, u8)> {
    let (head, _) = key.split_first_chunk::<PLACE_SIZE>()?;
    let [ENTRY, mount @ .., table, kind] = head else { return None };
    Some((Place { mount: MountId(*mount), table: *table }, *kind))
}

fn start(place: Place, kind: u8, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PLACE_SIZE + more);
    out.push(ENTRY);
    out.extend_from_slice(&place.mount.0);
    out.push(place.table);
    out.push(kind);
    out
}

/// Appends tag, length and sealed name. Everything before the length is associated data: mount, table, parents, tag.
fn seal_segment(siv: &Siv, tag: u8, segment: &str, out: &mut Vec<u8>) {
    out.push(tag);
    let sealed = siv.seal(out, segment.as_bytes());
    let len = u16::try_from(sealed.len()).expect("a name is checked to be at most 4096 bytes");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&sealed);
}

fn open_segment(siv: &Siv, header: &[u8], sealed: &[u8]) -> Option<String> {
    String::from_utf8(siv.open(header, sealed)?).ok()
}

/// Tag, sealed name, and what follows.
fn split_segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (sealed, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((*tag, sealed, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { mount: MountId([7; 16]), table: 3 };

    fn names() -> NameKey {
        NameKey::new(&[9; NAME_KEY_SIZE]).unwrap()
    }

    #[track_caller]
    fn check(name: Name<'_>) {
        let key = Key { place: PLACE, name };
        let sealed = names().seal(&key);
        assert_eq!(names().open(&sealed.0).unwrap().key(), Some(key));
        assert_eq!(names().seal(&key), sealed, "sealing a name is deterministic");
        if let Name::Path(path) | Name::PathThen(path, _) = name {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert_eq!(names().seal_in(&names().folder(PLACE, parent), &key), sealed);
        }
    }

    #[test]
    fn names_come_back() {
        check(Name::Id(b""));
        check(Name::Id(b"\x00\xff"));
        check(Name::Path("a"));
        check(Name::Path("team/prod/db password"));
        check(Name::PathThen("a/b", b"\x00\x00\x01"));
        check(Name::PathThen("a/b", b""));
        check(Name::Path("ünïcode/☃"));
    }

    #[test]
    fn a_path_shows_neither_itself_nor_its_equals() {
        let sealed = |place, path| names().seal(&Key::path(place, path)).0;
        let long = "a-rather-long-name";
        let here = sealed(PLACE, "a-rather-long-name/a-rather-long-name");
        assert!(!here.windows(4).any(|part| long.as_bytes().windows(4).any(|name| name == part)));
        let elsewhere = sealed(Place { table: 4, ..PLACE }, "a-rather-long-name/a-rather-long-name");
        assert_ne!(here[PLACE_SIZE..], elsewhere[PLACE_SIZE..]);
        let (first, second) = here[PLACE_SIZE..].split_at((here.len() - PLACE_SIZE) / 2);
        assert_ne!(first[3..], second[3..], "the same name in another folder");
    }

    #[test]
    fn a_moved_segment_does_not_open() {
        let mut moved = names().seal(&Key::path(PLACE, "a/b")).0;
        let other = names().seal(&Key::path(PLACE, "c/b")).0;
        let half = PLACE_SIZE + (moved.len() - PLACE_SIZE) / 2;
        moved[half..].copy_from_slice(&other[half..]);
        assert!(names().open(&moved).is_none());
    }

    #[test]
    fn what_is_after_a_prefix() {
        assert_eq!(*after(&[1, 2]).0, [1, 3]);
        assert_eq!(*after(&[1, 255, 255]).0, [2]);
    }
}
