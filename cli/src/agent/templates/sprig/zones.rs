//! Zones of time, from the files that every machine has (RFC 9636).

use std::path::Path;

use crate::settings;

const FOLDER: &str = "/usr/share/zoneinfo";
const LOCAL: &str = "/etc/localtime";
/// No such file is larger.
const SIZE_MAX: usize = 256 * 1024;

/// One zone: since when its clocks show what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    changes: Vec<(i64, Clocks)>,
    before: Clocks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clocks {
    offset: i64,
    name: String,
}

impl Zone {
    fn utc() -> Zone {
        Zone { changes: Vec::new(), before: Clocks { offset: 0, name: "UTC".to_owned() } }
    }

    /// How far its clocks are ahead at a moment, in seconds, and what that is called.
    pub(super) fn at(&self, seconds: i64) -> (i64, String) {
        let last = self.changes.iter().rev().find(|(since, _)| *since <= seconds);
        let clocks = last.map_or(&self.before, |(_, clocks)| clocks);
        (clocks.offset, clocks.name.clone())
    }

    /// How far its clocks are ahead when they show this.
    pub(super) fn offset_on_the_spot(&self, shown: i64) -> i64 {
        let (guess, _) = self.at(shown);
        self.at(shown - guess).0
    }
}

/// Where this machine is.
pub(super) fn local() -> Zone {
    match settings::variable("TZ") {
        Some(name) if name.is_empty() => Zone::utc(),
        Some(name) => named(name.trim_start_matches(':')),
        None => file(Path::new(LOCAL)).unwrap_or_else(Zone::utc),
    }
}

/// The zone of this name; one that is not known is UTC, as it is in Go.
pub(super) fn named(name: &str) -> Zone {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    match name {
        "Local" => local(),
        "" | "UTC" => Zone::utc(),
        _ if !name.chars().all(plain) || name.starts_with('/') => Zone::utc(),
        _ => file(&Path::new(FOLDER).join(name)).unwrap_or_else(Zone::utc),
    }
}

fn file(path: &Path) -> Option<Zone> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() <= SIZE_MAX)?;
    parse(&bytes)
}

/// The second part of a file: the first has only what 32 bits can hold.
fn parse(bytes: &[u8]) -> Option<Zone> {
    let first = Header::read(bytes)?;
    if first.version < b'2' {
        return None;
    }
    let rest = bytes.get(HEADER_SIZE + first.size(4)..)?;
    let header = Header::read(rest)?;
    let mut at = HEADER_SIZE;
    let mut take = |size: usize| {
        let part = rest.get(at..at + size);
        at += size;
        part
    };
    let moments = take(header.moments * 8)?;
    let kinds = take(header.moments)?;
    let clocks = take(header.kinds * 6)?;
    let names = take(header.letters)?;
    let clocks: Vec<Clocks> = clocks
        .chunks_exact(6)
        .map(|kind| {
            let [a, b, c, d, _, name] = *kind else { return None };
            let name = names.get(usize::from(name)..)?.split(|byte| *byte == 0).next()?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            Some(Clocks { offset: i64::from(i32::from_be_bytes([a, b, c, d])), name })
        })
        .collect::<Option<_>>()?;
    let changes: Vec<(i64, Clocks)> = moments
        .chunks_exact(8)
        .zip(kinds)
        .map(|(moment, kind)| {
            let moment = i64::from_be_bytes(moment.try_into().ok()?);
            Some((moment, clocks.get(usize::from(*kind))?.clone()))
        })
        .collect::<Option<_>>()?;
    Some(Zone { changes, before: clocks.into_iter().next()? })
}

const HEADER_SIZE: usize = 44;

struct Header {
    version: u8,
    flags: usize,
    standard: usize,
    leaps: usize,
    moments: usize,
    kinds: usize,
    letters: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Header> {
        let counts = bytes.get(20..HEADER_SIZE).filter(|_| bytes.starts_with(b"TZif"))?;
        let mut counts = counts.chunks_exact(4).map(|count| {
            let count: [u8; 4] = count.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(count)).ok().filter(|count| *count <= SIZE_MAX)
        });
        let mut next = || counts.next().flatten();
        Some(Header {
            version: *bytes.get(4)?,
            flags: next()?,
            standard: next()?,
            leaps: next()?,
            moments: next()?,
            kinds: next()?,
            letters: next()?,
        })
    }

    /// How long what follows is, with moments of this size.
    fn size(&self, moment: usize) -> usize {
        self.moments * (moment + 1)
            + self.kinds * 6
            + self.letters
            + self.leaps * (moment + 4)
            + self.standard
            + self.flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone that was an hour ahead from the second 100 on.
    fn sample() -> Vec<u8> {
        let part = |moment: &[u8], version: u8| {
            let mut part = b"TZif".to_vec();
            part.push(version);
            part.extend([0; 15]);
            for count in [0_u32, 0, 0, 1, 2, 8] {
                part.extend(count.to_be_bytes());
            }
            part.extend(moment);
            part.push(1);
            part.extend([0, 0, 0, 0, 0, 0]);
            part.extend([0, 0, 0x0e, 0x10, 0, 4]);
            part.extend(b"LMT\0CET\0");
            part
        };
        [part(&100_u32.to_be_bytes(), b'2'), part(&100_u64.to_be_bytes(), b'2'), b"\nCET-1\n".to_vec()]
            .concat()
    }

    #[test]
    fn clocks_change_when_the_file_says_so() {
        let zone = parse(&sample()).unwrap();
        assert_eq!((zone.at(99), zone.at(100)), ((0, "LMT".to_owned()), (3_600, "CET".to_owned())));
        assert_eq!((zone.offset_on_the_spot(50), zone.offset_on_the_spot(10_000)), (0, 3_600));
        for cut in [0, 4, 43, 60, 80, 110, 120] {
            assert_eq!(parse(sample().get(..cut).unwrap()), None, "{cut}");
        }
        assert_eq!(
            [named("UTC"), named("../etc/passwd"), named("/etc/passwd"), named("No/Where")],
            [(); 4].map(|()| Zone::utc())
        );
    }
}
