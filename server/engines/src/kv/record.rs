//! What lies at the path of a secret, byte for byte (`docs/FORMAT.md`). The first byte says which of two forms
//! it is, and a version 2 mount reads both.
//!
//! A read of the current version must be one lookup and no parsing: so what it shows lies ready, and what only
//! writes and the metadata routes want (the [`Ledger`]) follows after.

use kit::{Error, Name, Reads, Result, Time, Writing};

use super::json;
use super::v2::Ledger;

/// How large a record may be: what the store takes in one entry.
const RECORD_SIZE_MAX: usize = 1024 * 1024;
/// The table of secrets. Versions that are no longer current lie in [`PAST`].
pub(super) const SECRETS: u8 = 1;
/// The table of past versions: their data, under path and number.
pub(super) const PAST: u8 = 2;

const PLAIN: u8 = 0;
const VERSIONED: u8 = 1;

/// A secret without versions.
pub(super) struct Plain<'a> {
    /// When it was written.
    pub(super) written: Time,
    /// How many seconds it says it is good for.
    pub(super) good_for_seconds: Option<u64>,
    /// JSON.
    pub(super) data: &'a [u8],
}

/// A secret with versions, its current one ready to be shown.
pub(super) struct Versioned<'a> {
    /// The current version; 0 if there has been none.
    pub(super) version: u64,
    /// When it was or will be deleted; 0: never.
    pub(super) deleted: Time,
    /// Its data is no more.
    pub(super) destroyed: bool,
    /// JSON; empty if there is none.
    pub(super) data: &'a [u8],
    /// JSON: what data reads show of the current version.
    pub(super) shown: &'a [u8],
    /// JSON: the rest.
    ledger: &'a [u8],
}

/// What lies at a path.
pub(super) enum Record<'a> {
    Plain(Plain<'a>),
    Versioned(Versioned<'a>),
}

impl<'a> Record<'a> {
    /// Reads a stored record.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let damaged =
            || Error::internal("a stored secret does not read: it is of no form that this version knows");
        let mut rest = bytes.get(1..).unwrap_or_default();
        let parsed = match bytes.first() {
            Some(&PLAIN) => Plain::parse(&mut rest).map(Self::Plain),
            Some(&VERSIONED) => Versioned::parse(&mut rest).map(Self::Versioned),
            _ => None,
        };
        parsed.ok_or_else(damaged)
    }
}

impl<'a> Plain<'a> {
    fn parse(rest: &mut &'a [u8]) -> Option<Self> {
        let written = Time(number(rest)?);
        let seconds = number(rest)?;
        Some(Self { written, good_for_seconds: (seconds != u64::MAX).then_some(seconds), data: rest })
    }

    /// Writes it down.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.data.len());
        out.push(PLAIN);
        out.extend_from_slice(&self.written.0.to_be_bytes());
        out.extend_from_slice(&self.good_for_seconds.unwrap_or(u64::MAX).to_be_bytes());
        out.extend_from_slice(self.data);
        out
    }
}

impl<'a> Versioned<'a> {
    fn parse(rest: &mut &'a [u8]) -> Option<Self> {
        let version = number(rest)?;
        let deleted = Time(number(rest)?);
        let destroyed = take(rest, 1)? == [1];
        let data = sized(rest)?;
        let shown = sized(rest)?;
        Some(Self { version, deleted, destroyed, data, shown, ledger: rest })
    }

    /// The current version cannot be read any more.
    pub(super) fn is_gone(&self, now: Time) -> bool {
        self.destroyed || (self.deleted.0 != 0 && self.deleted <= now)
    }

    /// Its data lies where past versions have theirs: with it this would have been too large.
    pub(super) fn is_apart(&self) -> bool {
        self.version != 0 && !self.destroyed && self.data.is_empty()
    }

    /// Everything about it.
    pub(super) fn ledger(&self) -> Result<Ledger> {
        Ok(serde_json::from_slice(self.ledger)?)
    }
}

/// The data of a version that does not lie in the record.
pub(super) fn data_of(cx: &impl Reads, path: &str, version: u64) -> Result<Vec<u8>> {
    let data = cx.get(PAST, Name::PathThen(path, &version.to_be_bytes()))?;
    let data = data.ok_or_else(|| Error::internal("a version that the ledger lists is not there"))?;
    Ok(data.to_vec())
}

/// A secret taken out to be changed.
pub(super) struct Secret {
    /// Its versions and settings.
    pub(super) ledger: Ledger,
    /// The data of the current version; empty if there is none.
    pub(super) data: Vec<u8>,
    /// The version whose data was found beside the record, where past versions have theirs.
    pub(super) apart: Option<u64>,
}

impl Secret {
    /// A secret without versions.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, data: Vec::new(), apart: None }
    }

    /// The secret at `path`, whichever form it lies in.
    pub(super) fn load(cx: &impl Reads, path: &str) -> Result<Option<Self>> {
        let Some(bytes) = cx.get(SECRETS, Name::Path(path))? else { return Ok(None) };
        let secret = match Record::parse(&bytes)? {
            Record::Plain(plain) => {
                let ledger = Ledger::of_unversioned(plain.written);
                return Ok(Some(Self { data: plain.data.to_vec(), ..Self::new(ledger) }));
            }
            Record::Versioned(secret) => secret,
        };
        if secret.is_apart() {
            let data = data_of(cx, path, secret.version)?;
            return Ok(Some(Self { data, apart: Some(secret.version), ..Self::new(secret.ledger()?) }));
        }
        Ok(Some(Self { data: secret.data.to_vec(), ..Self::new(secret.ledger()?) }))
    }

    /// Puts it back. Data that leaves no room for what is to be known of it goes beside it: a secret that could be
    /// written can be deleted, however large it is.
    pub(super) fn store(&self, cx: &mut Writing<'_>, path: &str) -> Result<()> {
        let current = self.ledger.current;
        let bytes = self.bytes(&self.data)?;
        if bytes.len() > RECORD_SIZE_MAX && !self.data.is_empty() {
            if self.apart != Some(current) {
                cx.put(PAST, Name::PathThen(path, &current.to_be_bytes()), self.data.clone())?;
            }
            return cx.put(SECRETS, Name::Path(path), self.bytes(&[])?);
        }
        if self.apart == Some(current) {
            cx.delete(PAST, Name::PathThen(path, &current.to_be_bytes()))?;
        }
        cx.put(SECRETS, Name::Path(path), bytes)
    }

    fn bytes(&self, data: &[u8]) -> Result<Vec<u8>> {
        let ledger = &self.ledger;
        let current = ledger.versions.get(&ledger.current);
        let shown = match current {
            Some(_) => json::escape(serde_json::to_string(&ledger.shown(ledger.current))?),
            None => String::new(),
        };
        let tail = serde_json::to_vec(ledger)?;
        let mut out = Vec::with_capacity(26 + data.len() + shown.len() + tail.len());
        out.push(VERSIONED);
        out.extend_from_slice(&current.map_or(0, |_| ledger.current).to_be_bytes());
        out.extend_from_slice(&current.map_or(0, |version| version.deleted.0).to_be_bytes());
        out.push(u8::from(current.is_some_and(|version| version.destroyed)));
        for part in [data, shown.as_bytes()] {
            let size = u32::try_from(part.len()).map_err(|_| Error::invalid("the secret is too large"))?;
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&tail);
        Ok(out)
    }
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(size)?;
    *rest = tail;
    Some(head)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u64::from_be_bytes(*head))
}

fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    take(rest, usize::try_from(u32::from_be_bytes(*head)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::v2::Written;
    use super::*;

    #[test]
    fn both_forms_read_back() {
        let plain = Plain { written: Time(7), good_for_seconds: Some(60), data: b"{}" };
        let bytes = plain.bytes();
        let Ok(Record::Plain(read)) = Record::parse(&bytes) else { panic!("it is plain") };
        assert_eq!((read.written, read.good_for_seconds, read.data), (Time(7), Some(60), &b"{}"[..]));

        let mut ledger = Ledger::of_unversioned(Time(7));
        ledger.versions.insert(1, Written { created: Time(7), deleted: Time(9), destroyed: false });
        let bytes = Secret::new(ledger).bytes(b"{\"a\":1}").unwrap();
        let Ok(Record::Versioned(read)) = Record::parse(&bytes) else { panic!("it is versioned") };
        assert_eq!((read.version, read.deleted, read.data), (1, Time(9), &b"{\"a\":1}"[..]));
        assert!(!read.is_gone(Time(8)) && read.is_gone(Time(9)));
        assert_eq!(read.ledger().unwrap().current, 1);
    }

    #[test]
    fn a_damaged_record_is_refused_at_every_length() {
        let bytes = Secret::new(Ledger::of_unversioned(Time(7))).bytes(b"{}").unwrap();
        for length in 0..bytes.len() {
            let cut = bytes.get(..length).unwrap();
            let whole = match Record::parse(cut) {
                Ok(Record::Versioned(read)) => read.ledger().is_ok(),
                _ => false,
            };
            assert!(!whole, "{length} bytes of {} read as a secret", bytes.len());
        }
        assert!(Record::parse(&[2, 0, 0]).is_err());
    }
}
