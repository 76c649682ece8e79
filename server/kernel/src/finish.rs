use kit::{Error, Fault, Result};
use storage::{Conflict, Index, Txn};
use tokio::sync::oneshot;

use crate::audit::Audited;
use crate::envelope::Outcome;
use crate::kernel::Kernel;
use crate::request::{Answer, Request};
use crate::tokens;
use crate::walk::{May, Step, Trip};

/// A request that has to wait: to be durable, for a core, for its turn.
pub struct Pending {
    trip: Box<Trip>,
}

/// After losing so many races a command runs alone.
const RACES_MAX: u32 = 8;
/// How many requests may wait for the pool of costly work; more are told to come back.
pub(crate) const QUEUE_MAX: usize = 256;

impl Pending {
    pub(crate) fn new(trip: Trip) -> Self {
        Self { trip: Box::new(trip) }
    }
}

impl Kernel {
    /// Goes on with a request that had to wait. The one `async` below HTTP.
    pub async fn finish(&self, pending: Pending, request: &Request) -> Audited<Answer> {
        let mut trip = pending.trip;
        let result = self.attempts(request, &mut trip).await;
        let made = result.as_ref().ok().and_then(|outcome| outcome.made);
        let lease = result.as_ref().ok().map(|outcome| outcome.lease.id.clone()).filter(|id| !id.is_empty());
        let (answer, unwritten) = self.conclude(request, &mut trip, result);
        if unwritten && (made.is_some() || lease.is_some()) {
            self.take_back(made, lease).await;
        }
        if trip.last_use
            && let Some(known) = &trip.known
        {
            let hash = known.value().hash;
            self.end_token(hash).await;
        }
        answer
    }

    async fn attempts(&self, request: &Request, trip: &mut Trip) -> Result<Outcome> {
        let mut races = 0;
        loop {
            // A command that keeps losing gets its turn alone; the others pass each other freely.
            let alone = if races < RACES_MAX { None } else { Some(self.turn.write().await) };
            let shared = if alone.is_some() { None } else { Some(self.turn.read().await) };
            let step = if trip.pooled { self.pooled(request, trip).await? } else { self.step(request, trip, May::Write)? };
            match step {
                Step::Answer(outcome) => return Ok(*outcome),
                Step::Wait => return Err(Error::internal("a request waits for nothing")),
                Step::Pool => trip.pooled = true,
                Step::Spend(txn) => match self.commit(txn).await? {
                    Ok(_) => {
                        trip.spent = true;
                        let left = trip.known.as_ref().and_then(|known| known.value().record.uses_left);
                        trip.last_use = left == Some(1);
                    }
                    Err(Conflict) => races += 1,
                },
                Step::Commit(txn, outcome) => match self.commit(txn).await? {
                    Ok(_) => {
                        self.wake();
                        return Ok(*outcome);
                    }
                    Err(Conflict) => races += 1,
                },
            }
            drop((alone, shared));
        }
    }

    /// A step in the pool for costly work.
    async fn pooled(&self, request: &Request, trip: &mut Trip) -> Result<Step> {
        let permit = match self.pool.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = self.queue.try_acquire().map_err(|_| {
                    Error::new(Fault::Busy, "too many costly requests at once; try again in a second")
                })?;
                self.pool.acquire().await.map_err(|_| Error::internal("the pool is closed"))?
            }
        };
        let step = match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => {
                tokio::task::block_in_place(|| self.step(request, trip, May::Write))
            }
            _ => self.step(request, trip, May::Write),
        };
        drop(permit);
        step
    }

    /// Waits until a transaction is durable, or until it is known that it will not be.
    pub(crate) async fn commit(&self, txn: Txn) -> Result<Result<Index, Conflict>> {
        if txn.is_empty() {
            return Ok(Ok(txn.snapshot().index()));
        }
        let (done, told) = oneshot::channel();
        self.store.submit(txn, Box::new(move |result| drop(done.send(result))));
        let told = told.await.map_err(|_| Error::new(Fault::Unavailable, "Vault is sealed"))?;
        Ok(told?)
    }

    /// Revokes what an answer held that could not be audited.
    async fn take_back(&self, made: Option<tokens::TokenHash>, lease: Option<String>) {
        if let Some(hash) = made {
            self.end_token(hash).await;
        }
        if let Some(id) = lease
            && let Err(error) = self.end_lease_now(&id).await
        {
            tracing::error!(%error, "a lease that could not be audited is not revoked yet; its date will do so");
        }
    }

    async fn end_token(&self, hash: tokens::TokenHash) {
        for _ in 0..RACES_MAX {
            let mut txn = self.store.begin();
            let ended = tokens::revoke(&mut txn, hash, self.now());
            match (ended, self.commit(txn).await) {
                (Ok(()), Ok(Ok(_))) => return self.wake(),
                (Ok(()), Ok(Err(Conflict))) => {}
                (Err(error), _) | (_, Err(error)) => {
                    return tracing::error!(%error, "a token that was used up is not revoked; it cannot be used all the same");
                }
            }
        }
    }

    async fn end_lease_now(&self, id: &str) -> Result<()> {
        for _ in 0..RACES_MAX {
            let mut txn = self.store.begin();
            self.end_lease(&mut txn, id)?;
            if self.commit(txn).await?.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}
