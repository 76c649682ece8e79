use std::sync::Arc;
use std::time::Duration;

use kit::{Error, Fault, Once, Result};
use storage::{Conflict, Index, Txn};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::audit::Audited;
use crate::control_group::Replay;
use crate::envelope::{Ending, Outcome};
use crate::identity::mfa::Round;
use crate::kernel::Kernel;
use crate::leases::LeaseId;
use crate::outside::{ASKS_MAX, Acting, changing};
use crate::pool::Place;
use crate::request::{Answer, Request};
use crate::spending::Spending;
use crate::sys::Installing;
use crate::tokens;
use crate::walk::{Step, Trip};

/// A request that has to wait: to be durable, for a core, for its turn.
pub struct Pending {
    trip: Box<Trip>,
    /// Where its first attempt came to.
    first: Box<Step>,
}

/// What the attempts at a request have come to.
pub(crate) enum Reached {
    /// Its answer.
    Answer(Box<Outcome>),
    /// Another request, whose answer is its answer.
    Replay(Box<Replay>),
}

/// A request whose answer has been written down.
pub(crate) struct Closed {
    pub(crate) answer: Audited<Answer>,
    /// What it made, to be taken back if whoever hands the answer on cannot.
    pub(crate) made: Option<tokens::TokenHash>,
    pub(crate) wrapper: Option<tokens::TokenHash>,
    pub(crate) lease: Option<LeaseId>,
    /// What holds once they have handed it on.
    pub(crate) installing: Vec<Arc<Installing>>,
}

/// Does costly work without holding up the other requests of this thread.
pub(crate) fn costly<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Whether the client has gone that holds the other end of this. That it has may be on its way here still: what is lost with
/// an answer that reaches nobody is worth a moment.
pub async fn has_gone(client: oneshot::Receiver<()>) -> bool {
    tokio::time::timeout(FAREWELL, client).await.is_ok()
}

/// How long that moment is.
const FAREWELL: Duration = Duration::from_millis(50);
const NOBODY_TO_TELL: &str =
    "the client went away before it was told the new shares: they are given up, and the old ones hold";

/// So often a request has gone outside; not more often than it may.
fn one_more(asks: u32) -> Result<u32> {
    if asks < ASKS_MAX { Ok(asks + 1) } else { Err(changing()) }
}

impl Trip {
    /// A use of its token is spent, by a commit of its own.
    fn has_spent(&mut self) {
        let left = self.known.as_ref().and_then(|known| known.value().record.uses_left);
        self.last_use = left == Some(1);
        self.spent = true;
        if self.last_use
            && let Some(spending) = &self.spending
        {
            spending.used_up();
        }
    }

    /// Whether whoever asked has gone, once there was time to hear of it.
    async fn client_has_gone(&mut self) -> bool {
        match self.client.take() {
            Some(client) => has_gone(client).await,
            None => false,
        }
    }

    /// Nothing has come of it yet but a question in the audit log: if the client goes now, it need not be done.
    fn can_be_dropped(&self) -> bool {
        !self.spent && self.acted.is_none() && self.told.is_none() && self.replaying.is_none()
    }
}

impl Pending {
    pub(crate) fn new(trip: Trip, first: Step) -> Self {
        Self { trip: Box::new(trip), first: Box::new(first) }
    }

    /// Waits for nothing but to be durable.
    pub fn is_to_commit(&self) -> bool {
        matches!(*self.first, Step::Commit(..))
    }

    /// Does no costly work any more, if nothing has begun, once the other end of this is dropped: the client has gone.
    #[must_use]
    pub fn for_client(mut self, client: oneshot::Receiver<()>) -> Self {
        self.trip.client = Some(client);
        self
    }
}

impl Kernel {
    /// Goes on with a request that had to wait. The one `async` below HTTP.
    pub async fn finish(&self, pending: Pending, request: &Request) -> Audited<Answer> {
        self.closed(pending, request).await.answer
    }

    /// The same, for whoever hands the answer on.
    pub(crate) async fn closed(&self, pending: Pending, request: &Request) -> Closed {
        let Pending { mut trip, first } = pending;
        let result = match self.attempts(request, &mut trip, Some(*first)).await {
            Ok(Reached::Answer(outcome)) => Ok(*outcome),
            Ok(Reached::Replay(replay)) => Box::pin(self.replay(*replay)).await,
            Err(error) => Err(error),
        };
        self.close(request, *trip, result).await
    }

    /// Has what a request came to written down, and cleans up after it.
    pub(crate) async fn close(
        &self,
        request: &Request,
        mut trip: Trip,
        mut result: Result<Outcome>,
    ) -> Closed {
        // What was done outside and could not be written down is undone.
        if let (Err(_), Some(acted)) = (&result, &trip.acted) {
            Box::pin(self.undo_soon(&acted.acting)).await;
        }
        let kept = result.as_ref().ok();
        let (made, wrapper) =
            (kept.and_then(|outcome| outcome.made), kept.and_then(|outcome| outcome.wrapper));
        let lease = kept.and_then(|outcome| outcome.lent.clone());
        // Its answer is handed on in another, and only that one reaches somebody.
        let handed_on = trip.replaying.is_some() || request.lineage.is_of_workflow();
        let installing = match &mut result {
            Ok(outcome) if handed_on => std::mem::take(&mut outcome.installing),
            _ => Vec::new(),
        };
        if result.as_ref().is_ok_and(|outcome| !outcome.installing.is_empty()) && trip.client_has_gone().await
        {
            tracing::warn!(request = trip.id, NOBODY_TO_TELL);
            result = Err(Error::new(Fault::Unavailable, NOBODY_TO_TELL));
        }
        let (answer, unwritten) = self.conclude(request, &mut trip, result);
        if unwritten && (made.is_some() || wrapper.is_some() || lease.is_some()) {
            Box::pin(self.take_back([made, wrapper], lease.clone())).await;
        }
        if let Some(hash) = trip.spending.take().and_then(Spending::end) {
            Box::pin(self.end_token(hash)).await;
        }
        Closed { answer, made, wrapper, lease, installing }
    }

    /// Tries until it is answered, or until it is known what else is to be done for that. `first` is where the first
    /// attempt came to, if there was one.
    pub(crate) async fn attempts(
        &self,
        request: &Request,
        trip: &mut Trip,
        mut first: Option<Step>,
    ) -> Result<Reached> {
        let (mut races, mut asks) = (0, 0);
        let mut front = None;
        loop {
            if races > 0 && front.is_none() {
                front = self.turns.front(&request.path).await;
            }
            let place = if trip.pooled && first.is_none() { Some(self.place_for(trip).await?) } else { None };
            let turn = self.turns.turn(races).await;
            let step = match first.take() {
                Some(step) => step,
                None => self.step_in(place, request, trip)?,
            };
            let (txn, outcome) = match step {
                Step::Answer(outcome) => return Ok(Reached::Answer(outcome)),
                Step::Replay(replay) => return Ok(Reached::Replay(replay)),
                Step::Pool => {
                    trip.pooled = true;
                    continue;
                }
                Step::Spend(txn) => (txn, None),
                Step::Commit(txn, outcome) => (txn, Some(outcome)),
                Step::Play(play) => {
                    drop((turn, front.take()));
                    let outcome = Box::pin(self.play(request, trip, *play)).await?;
                    return Ok(Reached::Answer(Box::new(outcome)));
                }
                step @ (Step::Ask(..) | Step::Prove(_) | Step::LogIn(_)) => {
                    drop((turn, front.take()));
                    asks = one_more(asks)?;
                    Box::pin(self.hear_first(trip, step)).await?;
                    continue;
                }
                Step::Arrive(txn) => {
                    races += u32::from(self.commit(txn).await?.is_err());
                    asks = one_more(asks)?;
                    continue;
                }
                Step::Act(txn, acting) => {
                    let committed = self.commit(txn).await?;
                    drop((turn, front.take()));
                    races += Box::pin(self.carry_out(trip, committed, *acting)).await?;
                    continue;
                }
            };
            match (self.commit(txn).await?, outcome) {
                (Err(Conflict), _) => races += 1,
                (Ok(_), Some(outcome)) => {
                    drop((turn, front.take()));
                    self.go_on_from(&outcome).await?;
                    return Ok(Reached::Answer(outcome));
                }
                (Ok(_), None) => trip.has_spent(),
            }
        }
    }

    /// One attempt, in a place of the pool if it has one.
    fn step_in(&self, place: Option<Place>, request: &Request, trip: &mut Trip) -> Result<Step> {
        match &place {
            Some(_) => costly(|| self.step(request, trip)),
            None => self.step(request, trip),
        }
    }

    /// Does what is due now that an answer is durable, and may not wait for its date.
    async fn go_on_from(&self, outcome: &Outcome) -> Result<()> {
        if let Some(claimed) = &outcome.admitted {
            claimed.admitted();
        }
        match &outcome.ending {
            Some(Ending::Lease(id)) => Box::pin(self.end_outside(id)).await,
            Some(Ending::Rest(rest)) => Box::pin(self.end_rest(rest)).await,
            None => {
                self.wake();
                Ok(())
            }
        }
    }

    /// Has done what an attempt wants to know the end of before it begins again.
    async fn hear_first(&self, trip: &mut Trip, step: Step) -> Result<()> {
        match step {
            Step::Ask(asking, reads) => {
                trip.told =
                    Some(self.hear(trip.mounted.as_deref(), asking, reads, trip.remote.address).await?);
                Ok(())
            }
            Step::Prove(round) => self.have_proven(trip, &round).await,
            Step::LogIn(login) => self.log_in_first(trip, &login).await,
            _ => Ok(()),
        }
    }

    /// Asks about the second factors that a login has shown. A phone rings for long: the password is looked at again then.
    async fn have_proven(&self, trip: &mut Trip, round: &Round) -> Result<()> {
        trip.proofs = Some(self.prove(round).await?);
        trip.once = Once::default();
        Ok(())
    }

    /// Does what is planned, once the plan is durable. The races that were lost, if it is not: one.
    async fn carry_out(
        &self,
        trip: &mut Trip,
        planned: std::result::Result<Index, Conflict>,
        acting: Acting,
    ) -> Result<u32> {
        if planned.is_err() {
            return Ok(1);
        }
        trip.once = Once::default();
        trip.acted = Some(self.act(acting, trip.remote.address).await?);
        Ok(0)
    }

    /// A place in the pool for costly work, once it is the turn of those who ask from where this request came.
    async fn place_for(&self, trip: &mut Trip) -> Result<Place> {
        let can_be_dropped = trip.can_be_dropped();
        let place = self.pool.place(trip.remote.address);
        match &mut trip.client {
            Some(client) if can_be_dropped => tokio::select! {
                place = place => place,
                _ = client => Err(Error::new(Fault::Unavailable, "the client went away before it was this request's turn")),
            },
            _ => place.await,
        }
    }

    /// Waits until a transaction is durable, or until it is known that it will not be.
    pub(crate) async fn commit(&self, mut txn: Txn) -> Result<Result<Index, Conflict>> {
        let counts = txn.take_counts();
        if txn.is_empty() {
            return Ok(Ok(txn.snapshot().index()));
        }
        let (done, told) = oneshot::channel();
        self.store.submit(txn, Box::new(move |result| drop(done.send(result))));
        let told = told.await.map_err(|_| Error::new(Fault::Unavailable, "Vault is sealed"))?;
        let told = told?;
        if let Ok(index) = told {
            self.count_committed(&counts, index);
        }
        Ok(told)
    }

    /// Revokes what an answer held that could not be audited.
    async fn take_back(&self, made: [Option<tokens::TokenHash>; 2], lease: Option<LeaseId>) {
        for hash in made.into_iter().flatten() {
            Box::pin(self.end_token(hash)).await;
        }
        if let Some(id) = lease
            && let Err(error) = self.end_lease_now(&id).await
        {
            tracing::error!(%error, "a lease that could not be audited is not revoked yet; its date will do so");
        }
    }

    async fn end_token(&self, hash: tokens::TokenHash) {
        match self.settled(|txn| tokens::revoke(txn, hash, self.now())).await {
            Ok(()) => self.wake(),
            Err(error) => {
                tracing::error!(%error, "a token that was used up is not revoked yet; it cannot be used all the same");
            }
        }
    }

    async fn end_lease_now(&self, id: &LeaseId) -> Result<()> {
        self.settled(|txn| self.end_lease(txn, id)).await?;
        self.wake();
        Ok(())
    }
}
