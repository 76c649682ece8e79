//! What a re-issue is about, and how far it is.

use std::ops::ControlFlow;

use kit::{IdTable, Reads, Result, Time};
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use crate::issued::{Class, Entry, TOKEN};
use crate::key_mark::is_named;
use crate::store::{CertificateRecord, Id};

/// Re-issues by id.
pub(crate) const REISSUES: IdTable<Reissue> = IdTable::new(23);

/// A re-issue that goes on or is over.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Reissue {
    pub(super) scope: Scope,
    /// Why, for those who look later.
    pub(super) reason: String,
    /// Who began it.
    pub(super) by: String,
    pub(super) started: Time,
    /// When the old certificates are revoked; nothing: they are left to end.
    pub(crate) revoke_at: Option<Time>,
    pub(super) per_second: u64,
    /// It only counts.
    pub(super) dry_run: bool,
    pub(crate) state: State,
    /// Where the present pass goes on: a place in the walk through what was issued.
    pub(super) after: String,
    /// How many certificates it is about.
    pub(crate) matched: u64,
    /// When the last of them ends by itself, in seconds since 1970.
    pub(super) last_ends: u64,
    pub(crate) revoked: u64,
    /// Those that could not be revoked.
    pub(crate) failed: u64,
    pub(super) finished: Option<Time>,
}

/// How far a re-issue is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum State {
    /// It counts what it is about. Holders are asked to renew already.
    Counting,
    /// Holders renew.
    Waiting,
    /// The grace is over: the old certificates are revoked.
    Revoking,
    Done,
    Aborted,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Counting, Self::Waiting, Self::Revoking, Self::Done, Self::Aborted];

    /// The API's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Waiting => "waiting",
            Self::Revoking => "revoking",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    /// Whether it still does something.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Counting | Self::Waiting | Self::Revoking)
    }
}

/// Which certificates: those for which everything that is named holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Scope {
    pub(super) issuer: Option<Id>,
    pub(super) role: String,
    pub(super) owner: String,
    /// The key that is certified: in hex, its SHA-1 identifier or the SHA-256 of its SPKI.
    pub(super) key: String,
}

impl Scope {
    /// Whether it names anything.
    pub(super) fn is_empty(&self) -> bool {
        self.issuer.is_none() && self.role.is_empty() && self.owner.is_empty() && self.key.is_empty()
    }

    /// Whether certificates of a class may be among them.
    pub(super) fn may_name(&self, class: &Class) -> bool {
        let given = |own: &str, theirs: &str| own.is_empty() || own == theirs;
        // Those whom a token alone stands for have one class together.
        let owner = if self.owner.starts_with(TOKEN) {
            class.owner.is_empty()
        } else {
            given(&self.owner, &class.owner)
        };
        (self.issuer.is_none() || self.issuer == class.issuer) && given(&self.role, &class.role) && owner
    }

    /// Whether one of such a class may be among them.
    pub(super) fn may_be(&self, entry: &Entry) -> bool {
        self.key.is_empty() || entry.key.may_be(&self.key)
    }

    fn names(&self, record: &CertificateRecord, certificate: &Certificate) -> bool {
        let given = |own: &str, theirs: &str| own.is_empty() || own == theirs;
        (self.issuer.is_none() || self.issuer == record.issuer)
            && given(&self.role, &record.role)
            && given(&self.owner, &record.owner)
            && (self.key.is_empty() || self.is_key_of(certificate))
    }

    /// Whether the key that it names is that of a certificate.
    pub(super) fn is_key_of(&self, certificate: &Certificate) -> bool {
        is_named(certificate.public_key(), &self.key)
    }
}

impl Reissue {
    /// Whether it may be about a certificate with this number: one that was there when it began.
    pub(super) fn reaches(&self, serial: &[u8]) -> bool {
        serial <= self.last_serial().as_bytes()
    }

    /// Whether it is about this certificate: a leaf, issued before it began. CAs have rolls of their own.
    pub(super) fn covers(&self, record: &CertificateRecord, certificate: &Certificate) -> bool {
        self.reaches(certificate.serial().as_bytes())
            && !certificate.is_ca()
            && self.scope.names(record, certificate)
    }

    /// The highest serial that can have been given out when it began: serials begin with the time.
    fn last_serial(&self) -> Serial {
        Serial::new(self.started.0, [0xff; 14])
    }
}

/// Whether a certificate is to be replaced.
pub(crate) fn is_wanted(
    cx: &impl Reads,
    record: &CertificateRecord,
    certificate: &Certificate,
) -> Result<bool> {
    let open = cx.memo("reissues", |cx| {
        let mut open = Vec::new();
        REISSUES.scan(cx, &[], |_, reissue| {
            if reissue.state.is_open() && !reissue.dry_run {
                open.push(reissue);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(open)
    })?;
    Ok(open.iter().any(|reissue| reissue.covers(record, certificate)))
}
