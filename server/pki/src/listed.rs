//! Who is revoked, by issuer: what revocation lists are made of.
//!
//! The revocations of an issuer lie in slots, by the last bits of their serial numbers. So to revoke is to rewrite one
//! small record, and a list is made of a bounded number of records, of which those alone are read again that have
//! changed: one more among a hundred thousand costs what the first did.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use kit::{Error, IdTable, Reads, Result, Time, Writing};
use serde::{Deserialize, Serialize};
use x509::{RevokedEntry, Serial};

use super::authorities::refused;
use super::store::{Id, RevokedRecord};

/// Among how many slots the revocations of an issuer are dealt out. Shards of lists are made of whole slots.
pub(super) const SLOTS: u16 = 1024;
/// So many slots are read together.
const GROUP_SLOTS: u16 = 16;

/// The slots: by issuer, then number.
const LISTED: IdTable<Vec<Entry>> = IdTable::new(15);

/// A revocation in its slot: serial number in hex, since when, and the number of the reason.
#[derive(Deserialize, Serialize)]
struct Entry(String, Time, Option<u8>);

/// The slot of a serial number. Its last bits are random.
pub(super) fn slot_of(serial: &Serial) -> u16 {
    let mut last = serial.as_bytes().iter().rev();
    let mut next = || u16::from(last.next().copied().unwrap_or_default());
    (next() | next() << 8) % SLOTS
}

fn key(issuer: Id, slot: u16) -> Vec<u8> {
    [issuer.as_bytes(), slot.to_be_bytes().as_slice()].concat()
}

/// Puts a revocation on the lists of its issuer, if it has one.
pub(super) fn add(cx: &mut Writing<'_>, serial: &Serial, record: &RevokedRecord) -> Result<()> {
    let Some(issuer) = record.issuer else { return Ok(()) };
    let key = key(issuer, slot_of(serial));
    let mut entries = LISTED.get(cx, &key)?.unwrap_or_default();
    let named = hex::encode(serial.as_bytes());
    entries.retain(|entry| entry.0 != named);
    entries.push(Entry(named, record.at, record.reason));
    LISTED.put(cx, &key, &entries)
}

/// Whether an issuer has any.
pub(super) fn any(cx: &impl Reads, issuer: Id) -> Result<bool> {
    let mut any = false;
    LISTED.range(cx, &key(issuer, 0), &key(issuer, SLOTS), |_, _| {
        any = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(any)
}

/// Takes a revocation off them.
pub(super) fn remove(cx: &mut Writing<'_>, serial: &[u8], issuer: Option<Id>) -> Result<()> {
    let Some(issuer) = issuer else { return Ok(()) };
    let serial = Serial::from_magnitude(serial).map_err(refused)?;
    let key = key(issuer, slot_of(&serial));
    let mut entries = LISTED.get(cx, &key)?.unwrap_or_default();
    let named = hex::encode(serial.as_bytes());
    entries.retain(|entry| entry.0 != named);
    match entries.is_empty() {
        true => LISTED.delete(cx, &key),
        false => LISTED.put(cx, &key, &entries),
    }
}

/// Some slots of an issuer, written down as a list has them.
struct Group {
    der: Vec<u8>,
    listed: Vec<Listed>,
    last: Time,
    mark: u64,
}

/// One entry of a group.
pub(super) struct Listed {
    /// Since when it is revoked.
    pub(super) at: Time,
    /// In which slot it lies.
    pub(super) slot: u16,
    /// Where its DER ends.
    end: usize,
}

/// The revocations of issuers that sign the same lists.
pub(super) struct Revocations {
    groups: Vec<Arc<Group>>,
}

impl Revocations {
    /// Those of these issuers.
    pub(super) fn of(cx: &impl Reads, issuers: &[Id]) -> Result<Self> {
        let mut groups = Vec::with_capacity(issuers.len() * usize::from(SLOTS / GROUP_SLOTS));
        for issuer in issuers {
            for first in (0..SLOTS).step_by(GROUP_SLOTS.into()) {
                let name = format!("revoked/{issuer}/{first}");
                groups.push(cx.memo(&name, |cx| Group::read(cx, *issuer, first))?);
            }
        }
        Ok(Self { groups })
    }

    /// The last revocation.
    pub(super) fn last(&self) -> Time {
        self.groups.iter().map(|group| group.last).max().unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.listed.len()).sum()
    }

    /// Tells whether they are the same as at another time.
    pub(super) fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.groups.iter().for_each(|group| group.mark.hash(&mut hasher));
        hasher.finish()
    }

    /// All of them in DER, in pieces.
    pub(super) fn whole(&self) -> Vec<&[u8]> {
        self.groups.iter().map(|group| group.der.as_slice()).collect()
    }

    /// Those that are wanted in DER, in pieces.
    pub(super) fn some(&self, wanted: impl Fn(&Listed) -> bool) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        for group in &self.groups {
            let mut start = 0;
            for listed in &group.listed {
                if wanted(listed) {
                    pieces.extend(group.der.get(start..listed.end));
                }
                start = listed.end;
            }
        }
        pieces
    }
}

impl Group {
    fn read(cx: &impl Reads, issuer: Id, first: u16) -> Result<Self> {
        let mut group = Self { der: vec![], listed: vec![], last: Time::default(), mark: 0 };
        for slot in first..first + GROUP_SLOTS {
            for entry in LISTED.get(cx, &key(issuer, slot))?.unwrap_or_default() {
                group.push(slot, &entry)?;
            }
        }
        let mut hasher = DefaultHasher::new();
        group.der.hash(&mut hasher);
        group.mark = hasher.finish();
        Ok(group)
    }

    fn push(&mut self, slot: u16, Entry(serial, at, reason): &Entry) -> Result<()> {
        let serial = hex::decode(serial).map_err(|_| Error::internal("a revoked serial is not hex"))?;
        let entry = RevokedEntry {
            serial: Serial::from_magnitude(&serial).map_err(refused)?,
            revoked_at: at.seconds(),
            reason: super::revoke::reason(*reason),
            invalid_since: None,
        };
        self.der.extend(entry.to_der().map_err(refused)?);
        self.listed.push(Listed { at: *at, slot, end: self.der.len() });
        self.last = self.last.max(*at);
        Ok(())
    }
}
