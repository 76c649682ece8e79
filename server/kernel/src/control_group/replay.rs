use std::time::Duration;

use kit::{Body, Error, Result, Secret};
use storage::Txn;

use super::{Parked, Wanted, park, redeem};
use crate::envelope::Outcome;
use crate::finish::{Closed, Reached};
use crate::kernel::Kernel;
use crate::request::Request;
use crate::tokens::TokenHash;
use crate::walk::{Ground, Trip};
use crate::wrapping;

/// A request that waited and is to be done now.
pub(crate) struct Replay {
    /// The token that it was known by.
    hash: TokenHash,
    /// The id under which it stands in the audit log.
    id: String,
    request: Request,
}

/// What a request has about it that is done after it waited.
pub(crate) struct Replaying {
    pub(super) hash: TokenHash,
    /// Whose consent the rules want now.
    pub(crate) wanted: Option<Wanted>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replay({})", self.id)
    }
}

impl Replay {
    /// What waits under a token that was shown, to be done now.
    ///
    /// # Errors
    /// If the token is another.
    pub(crate) fn new(parked: Parked, hash: TokenHash, token: &Secret<String>) -> Result<Self> {
        let asker = park::open(&parked.sealed, token.expose()).ok_or_else(wrapping::invalid)?;
        let id = parked.asked.id.clone();
        Ok(Self { hash, id, request: parked.asked.again(asker)? })
    }

    /// Has the answer wrapped for this long, if it was not to be wrapped anyway.
    pub(crate) fn wish(&mut self, wrap_ttl: Option<Duration>) {
        self.request.wrap_ttl = self.request.wrap_ttl.or(wrap_ttl.filter(|ttl| !ttl.is_zero()));
    }
}

impl Kernel {
    /// Does a request that waited, from the start: whoever made it must still be known, and still be allowed to make
    /// it. It has lines of its own in the audit log, under the id that it had at first.
    pub(crate) async fn replay(&self, replay: Replay) -> Result<Outcome> {
        let Replay { hash, id, request } = replay;
        self.metrics.begin();
        let mut trip = Trip::again(self, &request, id, Replaying { hash, wanted: None });
        let reached = self.attempts(&request, &mut trip, None).await;
        let result = reached.and_then(|reached| match reached {
            Reached::Answer(outcome) => Ok(*outcome),
            Reached::Replay(_) => Err(Error::invalid(
                "a request that waited for approval cannot have another one done; unwrap each by itself",
            )),
        });
        let refused = result.as_ref().err().cloned();
        let Closed { answer, made, wrapper, lease: lent, installing } =
            self.close(&request, trip, result).await;
        match refused {
            Some(error) => Err(error),
            None => {
                let replayed = Some(answer.into_inner());
                Ok(Outcome { replayed, made, wrapper, lent, installing, ..Outcome::new(Body::Nothing) })
            }
        }
    }

    /// If this request waited: ends its wait in the transaction that does it.
    pub(crate) fn redeem(&self, ground: &Ground<'_>, trip: &Trip, txn: &mut Txn) -> Result<()> {
        match &trip.replaying {
            // What it does outside was begun in that transaction, and is only written down now.
            Some(replaying) if trip.acted.is_none() => {
                redeem(txn, ground.router.value(), replaying, trip.now)
            }
            _ => Ok(()),
        }
    }
}
