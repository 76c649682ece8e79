//! What is kept of a roll.

use kit::Time;
use serde::{Deserialize, Serialize};

use crate::authorities::Authorities;
use crate::store::{Id, Setting, Usage};

/// The roll that goes on, or the last one.
pub(crate) const ROLL: Setting<Option<Roll>> = Setting::new("roll");

/// The replacement of one CA by another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Roll {
    pub(crate) old: Id,
    pub(crate) new: Id,
    pub(crate) state: State,
    pub(super) started: Time,
    /// How long the next CA is published, in seconds.
    #[serde(default)]
    pub(super) publish_for: u64,
    /// The next CA, while its certificate has not been brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) awaited: Option<Awaited>,
    /// It does not switch before.
    pub(crate) publish_until: Time,
    /// It does not switch while a holder in the inventory does not trust the next CA.
    pub(super) waits_for_holders: bool,
    /// What the next CA might be used for before; nothing for one that was made by this roll.
    pub(super) next_was: Option<Usage>,
    /// When the next CA began to sign.
    pub(super) switched: Option<Time>,
    /// Until when certificates may live that were not stored, in seconds since 1970.
    pub(crate) unstored_until: u64,
    /// Where the search for leaves goes on: a place in the walk through what was issued.
    pub(super) after: String,
    /// What the search has found so far: how many live leaves, and when the last of them ends.
    pub(super) counting: Leaves,
    /// What the last whole search has found.
    pub(crate) leaves: Option<Leaves>,
    pub(super) finished: Option<Time>,
    /// Why it was given up, where nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) given_up: Option<String>,
}

/// A CA whose key is here and whose certificate is signed elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Awaited {
    pub(super) key: Id,
    /// Its request, in PEM.
    pub(super) csr: String,
    /// What the issuer will be called; empty for no name.
    pub(super) issuer_name: String,
    /// How long it shall live, in seconds; 0 in rolls that began before this was kept.
    #[serde(default)]
    pub(super) ttl: u64,
}

/// Live leaves of the old CA.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Leaves {
    pub(crate) count: u64,
    /// When the last of them ends, in seconds since 1970.
    pub(crate) last_ends: u64,
}

/// How far a roll is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum State {
    /// The certificate of the next one is signed elsewhere, and has not been brought.
    Requested,
    /// Both are trusted; the old one signs.
    Published,
    /// Both are trusted; the new one signs.
    Draining,
    /// The new one alone is trusted.
    Finished,
    /// The old one alone is trusted.
    Aborted,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Requested, Self::Published, Self::Draining, Self::Finished, Self::Aborted];

    /// The API's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Published => "published",
            Self::Draining => "draining",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }
}

impl Roll {
    /// Whether both CAs are to be trusted.
    pub(crate) fn shares_trust(&self) -> bool {
        matches!(self.state, State::Published | State::Draining)
    }

    /// Whether it is not over.
    pub(super) fn goes_on(&self) -> bool {
        self.state == State::Requested || self.shares_trust()
    }

    /// Why the next CA cannot take the place of the old one.
    pub(super) fn hindrance(&self, all: &Authorities) -> Option<String> {
        let find = |id: Id| all.issuers.iter().find(|issuer| issuer.id == id);
        let (old, new) = (self.old, self.new);
        match find(new) {
            None => Some(format!("the next CA, {new}, is not in this mount any more")),
            Some(next) if next.record.revoked_at.is_some() => {
                Some(format!("the next CA, {new}, was revoked"))
            }
            Some(next) if next.key.is_none() => {
                Some(format!("the key of the next CA, {new}, is not in this mount any more"))
            }
            Some(_) if find(old).is_none() => {
                Some(format!("the CA that is to be replaced, {old}, is not in this mount any more"))
            }
            Some(_) => None,
        }
    }

    /// Whether nothing has happened that cannot be taken back.
    pub(super) fn is_abortable(&self) -> bool {
        matches!(self.state, State::Requested | State::Published)
    }

    /// Whether the issuer is one of the two.
    pub(crate) fn concerns(&self, issuer: Id) -> bool {
        self.old == issuer || self.new == issuer
    }
}
