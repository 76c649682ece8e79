//! The journal: what was committed and is not in the map yet, in the order of the commits. One write and one sync make a
//! commit durable; the map follows, many commits at a time.
//!
//! A file of one page for its head and two halves. Commits fill one half while the other is folded into the map; a
//! half is written anew only when the map holds all of it.

use std::io;
use std::sync::Arc;

use ring::digest;

use crate::backend::{Cipher, SealedKey, SealedWrite};
use crate::disk::Disk;

/// Disks write as much at once or not at all. Records begin at such places, so none is torn by the writing of the next.
const PAGE: usize = 4096;
/// How large a half is, in a folder. While one is folded, commits and the disk go slower: longer for a larger one.
pub(crate) const HALF_SIZE: usize = 512 * 1024;
const HEAD: &[u8; 16] = b"sealkeep journal";
const HEAD_SIZE: usize = HEAD.len() + ID_SIZE + 8;
const RECORD: [u8; 4] = *b"skjr";
/// The mark, the length of what it writes, the number.
const RECORD_HEAD: usize = 16;
const DIGEST: usize = 32;
/// The length of a value that is none: the key is deleted.
const DELETED: [u8; 4] = [u8::MAX; 4];
const ID_SIZE: usize = 16;

/// Which store a journal belongs to.
pub(crate) type JournalId = [u8; ID_SIZE];

/// The file, and where in it the next record goes.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    id: JournalId,
    half_size: usize,
    half: Half,
    /// Where in the half.
    at: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Half {
    First,
    Second,
}

/// What a record that was read writes.
pub(crate) struct Replayed {
    pub(crate) number: u64,
    pub(crate) half: Half,
    pub(crate) batch: Vec<SealedWrite>,
    /// Where in its half it ends.
    end: usize,
}

impl Journal {
    /// Writes an empty journal over whatever lies there.
    pub(crate) fn make(disk: Arc<dyn Disk>, id: JournalId, half_size: usize) -> io::Result<Self> {
        let half_size = half_size.next_multiple_of(PAGE);
        let journal = Self { disk, id, half_size, half: Half::First, at: 0 };
        let disk = &journal.disk;
        // Written, not only reserved: a record then changes nothing but its own bytes, which is what makes its sync cheap.
        let end = journal.place(Half::Second, half_size);
        disk.set_len(end)?;
        for at in (0..end).step_by(PAGE) {
            disk.write(at, &[0; PAGE])?;
        }
        disk.sync()?;
        disk.write(0, &journal.head())?;
        disk.sync()?;
        Ok(journal)
    }

    /// Opens the journal of a store. Nothing if there is none, not even a half-made one.
    ///
    /// # Errors
    /// If the disk fails, or what lies there is another store's, or none.
    pub(crate) fn open(disk: Arc<dyn Disk>, id: JournalId) -> io::Result<Option<Self>> {
        // What another process wrote and could not sync is in memory as if it were stored, and no sync tries it again.
        disk.forget()?;
        let mut head = [0; HEAD_SIZE];
        match disk.size()? {
            0 => return Ok(None),
            size if size < head.len() as u64 => return Err(damaged("it is too short for a journal")),
            _ => disk.read(0, &mut head)?,
        }
        if head.iter().all(|byte| *byte == 0) {
            return match Self::holds_any(&*disk)? {
                true => Err(damaged("its head is damaged")),
                false => Ok(None),
            };
        }
        let (fixed, half_size) = head.split_at(HEAD_SIZE - 8);
        if !fixed.starts_with(HEAD) {
            return Err(damaged("it is no journal"));
        }
        if !fixed.ends_with(&id) {
            return Err(damaged("it is the journal of another store"));
        }
        let half_size = half_size.try_into().map(u64::from_be_bytes).map_err(io::Error::other)?;
        let whole = half_size.checked_mul(2).and_then(|halves| halves.checked_add(PAGE as u64));
        if whole != Some(disk.size()?) || half_size % PAGE as u64 != 0 {
            return Err(damaged("its length is not what its head says"));
        }
        let half_size = usize::try_from(half_size).map_err(io::Error::other)?;
        Ok(Some(Self { disk, id, half_size, half: Half::First, at: 0 }))
    }

    /// Whether any record lies there, of whichever journal.
    pub(crate) fn holds_any(disk: &dyn Disk) -> io::Result<bool> {
        let mut mark = RECORD;
        for at in (PAGE as u64..disk.size()?.saturating_sub(PAGE as u64 - 1)).step_by(PAGE) {
            disk.read(at, &mut mark)?;
            if mark == RECORD {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads every record after `folded`, in order, and stands behind the last one.
    ///
    /// A record that was being written when the power went is not there. One that is damaged, though a later one was
    /// begun, was there once: that is an error, for the commits that it held were acknowledged.
    pub(crate) fn replay(&mut self, folded: u64) -> io::Result<Vec<Replayed>> {
        let (mut found, mut begun) = (Vec::new(), folded);
        for half in [Half::First, Half::Second] {
            let mut at = 0;
            while at < self.half_size {
                let mut page = [0; PAGE];
                self.disk.read(self.place(half, at), &mut page)?;
                let Some(begins) = number_of(&page) else {
                    at += PAGE;
                    continue;
                };
                let Some((number, batch, size)) = self.read(half, at, &page)? else {
                    begun = begun.max(begins);
                    at += PAGE;
                    continue;
                };
                at += size;
                if number > folded {
                    found.push(Replayed { number, half, batch, end: at });
                }
            }
        }
        found.sort_by_key(|record| record.number);
        for (number, record) in (folded + 1..).zip(&found) {
            if record.number != number {
                return Err(damaged(&format!(
                    "the record {number} is damaged or missing, though {} is there; what it held cannot be told",
                    record.number
                )));
            }
        }
        let last = found.last().map_or(folded, |last| last.number);
        match begun.saturating_sub(last) {
            0 => {}
            1 => tracing::warn!(
                "the journal's last record is not whole: its commit was not acknowledged, or it was damaged since"
            ),
            _ => {
                let lost = last + 1;
                return Err(damaged(&format!(
                    "the record {lost} is damaged or missing, though {begun} was begun"
                )));
            }
        }
        let (half, at) = found.last().map_or((Half::First, 0), |last| (last.half, last.end));
        (self.half, self.at) = (half, at);
        self.end()?;
        Ok(found)
    }

    /// Makes sure that what was read is on the disk, and that nothing which was half written behind it is ever taken for
    /// a record.
    fn end(&self) -> io::Result<()> {
        if self.at < self.half_size {
            self.disk.write(self.place(self.half, self.at), &[0; PAGE])?;
        }
        self.disk.sync()
    }

    /// Whether a batch fits a half that is empty.
    pub(crate) fn takes(&self, batch: &[SealedWrite]) -> bool {
        record_size(batch) <= self.half_size
    }

    /// Whether a batch fits what is left of the half.
    pub(crate) fn fits(&self, batch: &[SealedWrite]) -> bool {
        record_size(batch) <= self.half_size - self.at
    }

    /// Makes a batch durable that fits.
    pub(crate) fn append(&mut self, number: u64, batch: &[SealedWrite]) -> io::Result<()> {
        let record = self.record(number, batch)?;
        self.disk.write(self.place(self.half, self.at), &record)?;
        self.disk.sync()?;
        self.at += record.len();
        Ok(())
    }

    fn record(&self, number: u64, batch: &[SealedWrite]) -> io::Result<Vec<u8>> {
        let whole = record_size(batch);
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend(RECORD);
        bytes.extend(length(payload_size(batch))?);
        bytes.extend(number.to_be_bytes());
        for write in batch {
            let value = write.value();
            bytes.extend(length(write.key.as_bytes().len())?);
            bytes.extend(value.map_or(Ok(DELETED), |value| length(value.len()))?);
            bytes.extend(write.key.as_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        let digest = self.digest(&bytes);
        bytes.extend(digest.as_ref());
        bytes.resize(whole, 0);
        Ok(bytes)
    }

    /// Goes on in the other half, which the map holds all of.
    pub(crate) fn turn(&mut self) {
        self.half = match self.half {
            Half::First => Half::Second,
            Half::Second => Half::First,
        };
        self.at = 0;
    }

    /// Forgets what is in memory of the file.
    pub(crate) fn forget(&self) -> io::Result<()> {
        self.disk.forget()
    }

    fn place(&self, half: Half, at: usize) -> u64 {
        let start = match half {
            Half::First => PAGE,
            Half::Second => PAGE + self.half_size,
        };
        (start + at) as u64
    }

    fn head(&self) -> Vec<u8> {
        [&HEAD[..], &self.id, &(self.half_size as u64).to_be_bytes()].concat()
    }

    /// Bound to the journal and the number, so that neither another store's nor an earlier record is taken for this one.
    fn digest(&self, record: &[u8]) -> digest::Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.id);
        context.update(record);
        context.finish()
    }

    /// The record that begins with this page, with its number and how many bytes it takes up, if it is whole.
    fn read(&self, half: Half, at: usize, page: &[u8]) -> io::Result<Option<(u64, Vec<SealedWrite>, usize)>> {
        let size = page.get(RECORD.len()..).and_then(<[u8]>::first_chunk);
        let size = size.and_then(|size| usize::try_from(u32::from_be_bytes(*size)).ok());
        let whole = size.and_then(|size| (RECORD_HEAD + DIGEST).checked_add(size));
        let Some(whole) = whole.filter(|whole| *whole <= self.half_size - at) else { return Ok(None) };
        let mut bytes = vec![0; whole];
        self.disk.read(self.place(half, at), &mut bytes)?;
        Ok(self.parse(&bytes))
    }

    fn parse(&self, bytes: &[u8]) -> Option<(u64, Vec<SealedWrite>, usize)> {
        let number = number_of(bytes)?;
        let (record, digest) = bytes.split_last_chunk::<DIGEST>()?;
        if digest != self.digest(record).as_ref() {
            return None;
        }
        let mut rest = record.get(RECORD_HEAD..)?;
        let mut batch = Vec::new();
        while !rest.is_empty() {
            let (key_size, after) = rest.split_first_chunk()?;
            let (value_size, after) = after.split_first_chunk()?;
            let (key, after) =
                after.split_at_checked(usize::try_from(u32::from_be_bytes(*key_size)).ok()?)?;
            let (value, after) = match *value_size {
                DELETED => (None, after),
                size => {
                    let size = usize::try_from(u32::from_be_bytes(size)).ok()?;
                    let (value, after) = after.split_at_checked(size)?;
                    (Some(Cipher::from_disk(value)), after)
                }
            };
            batch.push(SealedWrite { key: SealedKey(key.into()), value });
            rest = after;
        }
        Some((number, batch, bytes.len().next_multiple_of(PAGE)))
    }
}

/// The number of the record that begins here, whole or not.
fn number_of(bytes: &[u8]) -> Option<u64> {
    let (number, _) = bytes.strip_prefix(&RECORD)?.get(4..)?.split_first_chunk()?;
    Some(u64::from_be_bytes(*number))
}

fn payload_size(batch: &[SealedWrite]) -> usize {
    batch.iter().map(|write| 8 + write.size()).sum()
}

fn record_size(batch: &[SealedWrite]) -> usize {
    (RECORD_HEAD + payload_size(batch) + DIGEST).next_multiple_of(PAGE)
}

fn length(size: usize) -> io::Result<[u8; 4]> {
    Ok(u32::try_from(size).map_err(io::Error::other)?.to_be_bytes())
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
