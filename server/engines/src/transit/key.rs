use std::sync::Arc;

use kit::{Error, Reads, Result};

use super::record::{KeyRecord, load};
use super::refusal::Refusal;
use super::version::{Version, version};

/// A key, ready to be used: its settings and its latest version.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) record: KeyRecord,
    pub(super) latest: Arc<Version>,
}

/// What is found under a name.
struct Found(Option<Arc<Key>>);

/// The key of this name, kept read until it changes.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Arc<Key>>> {
    let found = cx.memo(name, |cx| {
        let Some(record) = load(cx, name)? else { return Ok(Found(None)) };
        let latest = version(cx, name, &record, record.latest)?;
        let latest = latest.ok_or_else(|| Error::internal("a key lacks its latest version"))?;
        Ok(Found(Some(Arc::new(Key { name: name.to_owned(), record, latest }))))
    })?;
    Ok(found.0.clone())
}

/// What a version of a key is asked to do, for refusals.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Encryption,
    Signing,
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Self::Encryption => "encryption",
            Self::Signing => "signing",
        }
    }
}

impl Key {
    /// A version that is there.
    pub(super) fn version(&self, cx: &impl Reads, number: u64) -> Result<Option<Arc<Version>>> {
        if number == self.record.latest {
            return Ok(Some(Arc::clone(&self.latest)));
        }
        match self.record.versions().contains(&number) {
            true => version(cx, &self.name, &self.record, number),
            false => Ok(None),
        }
    }

    /// The version that something new is to be made with: `asked`, or the latest for 0.
    pub(super) fn version_for(
        &self,
        cx: &impl Reads,
        asked: i64,
        what: Use,
    ) -> Result<Result<Arc<Version>, Refusal>> {
        let refused =
            |why: &str| Ok(Err(Refusal::asked(format!("requested version for {} {why}", what.name()))));
        let Ok(number) = u64::try_from(asked) else { return refused("is negative") };
        if number == 0 {
            return Ok(Ok(Arc::clone(&self.latest)));
        }
        if number > self.record.latest {
            return refused("is higher than the latest key version");
        }
        if number < self.record.min_encryption {
            return refused("is less than the minimum encryption key version");
        }
        let found = self.version(cx, number)?;
        Ok(found.ok_or_else(|| Refusal::asked("no such key version")))
    }

    /// The version that something was made with, as its text says.
    pub(super) fn version_of(
        &self,
        cx: &impl Reads,
        number: i64,
        new: &str,
    ) -> Result<Result<Arc<Version>, Refusal>> {
        let Ok(number) = u64::try_from(number) else { return Ok(Err(Refusal::asked(TOO_OLD))) };
        if number > self.record.latest {
            return Ok(Err(Refusal::asked(format!("invalid {new}: version is too new"))));
        }
        if number < self.record.min_decryption {
            return Ok(Err(Refusal::asked(TOO_OLD)));
        }
        let found = self.version(cx, number)?;
        Ok(found.ok_or_else(|| Refusal::asked("no such key version")))
    }
}

const TOO_OLD: &str = "ciphertext or signature version is disallowed by policy (too old)";
