//! What is kept of a roll.

use kit::Time;
use serde::{Deserialize, Serialize};

use crate::pki::store::{Id, Setting, Usage};

/// The roll that goes on, or the last one.
pub(in crate::pki) const ROLL: Setting<Option<Roll>> = Setting::new("roll");

/// The replacement of one CA by another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::pki) struct Roll {
    pub(in crate::pki) old: Id,
    pub(in crate::pki) new: Id,
    pub(super) state: State,
    pub(super) started: Time,
    /// It does not switch before.
    pub(super) publish_until: Time,
    /// It does not switch while a holder in the inventory does not trust the next CA.
    pub(super) waits_for_holders: bool,
    /// What the next CA might be used for before; nothing for one that was made by this roll.
    pub(super) next_was: Option<Usage>,
    /// When the next CA began to sign.
    pub(super) switched: Option<Time>,
    /// Until when certificates may live that were not stored, in seconds since 1970.
    pub(super) unstored_until: u64,
    /// Where the search for leaves goes on: a place in the walk through what was issued.
    pub(super) after: String,
    /// What the search has found so far: how many live leaves, and when the last of them ends.
    pub(super) counting: Leaves,
    /// What the last whole search has found.
    pub(super) leaves: Option<Leaves>,
    pub(super) finished: Option<Time>,
}

/// Live leaves of the old CA.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Leaves {
    pub(super) count: u64,
    /// When the last of them ends, in seconds since 1970.
    pub(super) last_ends: u64,
}

/// How far a roll is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum State {
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
    /// The API's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Draining => "draining",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }
}

impl Roll {
    /// Whether both CAs are to be trusted.
    pub(in crate::pki) fn shares_trust(&self) -> bool {
        matches!(self.state, State::Published | State::Draining)
    }

    /// Whether the issuer is one of the two.
    pub(in crate::pki) fn concerns(&self, issuer: Id) -> bool {
        self.old == issuer || self.new == issuer
    }
}
