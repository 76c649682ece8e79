use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kit::{
    Asking, Awaited, Caller, Error, Fault, Fields, Heard, Kind, Once, Recording, Remote, Result, Right,
};
use kit::{Route, Time, Writing};
use serde_json::Value;
use storage::{ReadSet, Snapshot, Txn};

use crate::agenda::{self, Found, Item, Tag};
use crate::identity::mfa::{Proofs, Round};
use crate::kernel::Kernel;
use crate::leases::{self, Lease, LeaseId};
use crate::mounts::{self, Mounted};
use crate::pool::{Place, Pool};
use crate::tick::mount_id;
use crate::turns::RACES_MAX;
use crate::walk::Trip;

/// How long an operation may wait for the outside.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long work outside belongs to whoever took it up: longer than it may take, so that it is not done twice at once.
pub(crate) const CLAIM: Duration = Duration::from_secs(150);
/// How often a request may ask anew because what it had asked about changed meanwhile.
pub(crate) const ASKS_MAX: u32 = 4;
/// How long a request waits in line to ask outside.
const TURN: Duration = Duration::from_secs(10);
/// What is said to who waited so long, or found the line too long.
pub(crate) const OUTSIDE_BUSY: &str = "too many requests wait for systems outside; try again in a second";
/// How many requests may wait for the outside at once.
pub(crate) const OUTSIDE_MAX: usize = 512;
/// How many of them for what one mount asks: systems of one tenant that hang must not stop the logins of the others.
pub(crate) const OUTSIDE_OF_MOUNT_MAX: usize = 64;
/// How many logins may wait at once for somebody to look at their phone. They take no place of those above.
pub(crate) const PHONES_MAX: usize = 512;

/// What was heard from outside, or why nothing was, and what the question was made from.
pub(crate) struct Told {
    heard: Result<Heard>,
    reads: Vec<ReadSet>,
}

/// Something to be done outside. Its plan is in the store, and on the agenda to be undone.
pub(crate) struct Acting {
    pub(crate) mounted: Arc<Mounted>,
    pub(crate) endpoint: usize,
    pub(crate) plan: Value,
    pub(crate) warnings: Vec<String>,
    at: Time,
    tag: Tag,
}

/// Something that was done outside and is not written down yet.
pub(crate) struct Acted {
    pub(crate) acting: Acting,
    pub(crate) done: Heard,
}

/// Something that is due, and lies outside. Whoever ticks hands it to [`Kernel::outside`].
pub struct Claimed(Found);

impl Trip {
    /// What was heard, if it still answers the question. What the question was made from joins what is decided.
    pub(crate) fn heard(&mut self, today: &Snapshot) -> Result<Option<Heard>> {
        let Some(told) = self.told.take() else { return Ok(None) };
        if !told.reads.iter().all(|reads| today.holds(reads)) {
            return Ok(None);
        }
        let heard = told.heard?;
        self.told = Some(Told { heard: Ok(heard.clone()), reads: told.reads });
        Ok(Some(heard))
    }

    /// What the question was made from.
    pub(crate) fn told_reads(&self) -> &[ReadSet] {
        self.told.as_ref().map_or(&[], |told| &told.reads)
    }
}

impl Acting {
    /// Takes the plan off the agenda: what was done is about to be written down. If it is not there, it has been
    /// undone, or is being undone.
    pub(crate) fn strike(&self, txn: &mut Txn) -> Result<()> {
        let owner = self.mounted.info.id;
        if !agenda::stands_at(txn, owner, self.at, self.tag)? {
            let text = "this took so long that it was given up and undone; try again";
            return Err(Error::new(Fault::Upstream, text));
        }
        agenda::forget_undo(txn, self.mounted.info.id, self.tag)?;
        agenda::strike(txn, owner, self.at, self.tag)
    }
}

impl Kernel {
    /// Asks outside. That there was no answer is one, too: it is told where the answer would be.
    pub(crate) async fn hear(
        &self,
        mounted: Option<&Mounted>,
        asking: Asking,
        reads: Vec<ReadSet>,
        address: Option<IpAddr>,
    ) -> Result<Told> {
        let (_places, _phone) = match asking.awaits() {
            Awaited::Systems => (Some(self.outside_places(mounted, address).await?), None),
            Awaited::People => (None, Some(self.phones.try_acquire().map_err(|_| ringing())?)),
            Awaited::Nobody => (None, None),
        };
        let heard = self.patiently(asking.ask(Arc::clone(&self.env.world))).await;
        Ok(Told { heard, reads })
    }

    /// Asks others about the second factors that a login has shown.
    pub(crate) async fn prove(&self, round: &Round) -> Result<Proofs> {
        let _place = self.phones.try_acquire().map_err(|_| ringing())?;
        self.patiently(async { Ok(round.ask(&*self.env.world, &self.waiting).await) }).await
    }

    /// Does what is planned. If it fails, what it began is undone.
    pub(crate) async fn act(&self, acting: Acting, address: Option<IpAddr>) -> Result<Arc<Acted>> {
        let done = match self.outside_places(Some(&acting.mounted), address).await {
            Ok(_places) => {
                let world = &*self.env.world;
                self.patiently(acting.mounted.engine.act(acting.endpoint, &acting.plan, world)).await
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => Ok(Arc::new(Acted { acting, done })),
            Err(error) => {
                self.undo_soon(&acting).await;
                Err(error)
            }
        }
    }

    /// A place among those of a mount, and one among all. Whoever waits for that of the mount holds up nobody else.
    async fn outside_places(
        &self,
        mounted: Option<&Mounted>,
        address: Option<IpAddr>,
    ) -> Result<(Option<Place>, Place)> {
        let of_mount = match mounted {
            Some(mounted) => Some(self.turn_at(&mounted.outside, address).await?),
            None => None,
        };
        Ok((of_mount, self.turn_at(&self.outside, address).await?))
    }

    /// A place, once it is the turn of those who ask from there, within reason.
    async fn turn_at(&self, pool: &Pool, address: Option<IpAddr>) -> Result<Place> {
        tokio::select! {
            biased;
            place = pool.place(address) => place,
            () = self.env.world.pause(TURN) => Err(pool.busy()),
        }
    }

    /// Has the agenda undo at once what a request began and could not finish.
    pub(crate) async fn undo_soon(&self, acting: &Acting) {
        let mut txn = self.store.begin();
        let owner = acting.mounted.info.id;
        let moved = agenda::stands_at(&txn, owner, acting.at, acting.tag).and_then(|stands| {
            if !stands {
                return Ok(());
            }
            let item = acting.item();
            agenda::strike(&mut txn, owner, acting.at, acting.tag)?;
            agenda::enter(&mut txn, self.now(), acting.tag, &item)
        });
        let moved = match moved {
            Ok(()) => self.commit(txn).await.map(drop),
            Err(error) => Err(error),
        };
        match moved {
            Ok(()) => self.wake(),
            Err(error) => {
                tracing::warn!(%error, "a failed effect is undone when its date comes, not at once")
            }
        }
    }

    /// Writes a plan down, and that it is undone if nothing more is heard of it.
    pub(crate) fn enter_plan(
        &self,
        txn: &mut Txn,
        mounted: &Arc<Mounted>,
        endpoint: usize,
        plan: Value,
        now: Time,
    ) -> Result<Acting> {
        let mut tag = [0; 16];
        self.env.random.fill(&mut tag);
        let at = now.plus(CLAIM);
        let acting = Acting { mounted: Arc::clone(mounted), endpoint, plan, warnings: Vec::new(), at, tag };
        agenda::enter(txn, at, tag, &acting.item())?;
        agenda::note_undo(txn, mounted.info.id, tag)?;
        Ok(acting)
    }

    /// Whether an item can only be done by going outside.
    pub(crate) fn is_outside(&self, txn: &Txn, item: &Item) -> Result<bool> {
        match item {
            Item::Lease { id } => {
                Ok(matches!(leases::find(txn, id)?, Some(Lease::Thing(thing)) if thing.outside()))
            }
            Item::Operation { due, .. } if due.doing == kit::Doing::Undo => Ok(true),
            Item::Operation { mount, due, .. } => {
                let router = self.router(txn.snapshot())?;
                let Some(mounted) = router.value().by_id(&mount_id(mount)?) else { return Ok(false) };
                let endpoint = mounted.engine.find_internal(&due.operation);
                let kind = endpoint.and_then(|endpoint| mounted.engine.kind(endpoint));
                Ok(matches!(kind, Some(Kind::Ask | Kind::Effect)))
            }
            _ => Ok(false),
        }
    }

    /// Takes an item up: it is due again only when this claim has run out.
    pub(crate) fn claim(&self, txn: &mut Txn, found: &Found) -> Result<Option<Claimed>> {
        if !agenda::stands(txn, found)? {
            return Ok(None);
        }
        let at = self.now().plus(CLAIM);
        match &found.item {
            Item::Lease { id } => match leases::find(txn, id)? {
                Some(Lease::Thing(thing)) => leases::end_at(txn, id, thing, at)?,
                _ => return agenda::strike_found(txn, found).map(|()| None),
            },
            item => {
                agenda::strike_found(txn, found)?;
                agenda::enter(txn, at, found.tag, item)?;
            }
        }
        Ok(Some(Claimed(Found { at, tag: found.tag, item: found.item.clone() })))
    }

    /// Does what is due outside, and writes down what came of it. If it fails it is tried again later.
    pub async fn outside(&self, claimed: Claimed) {
        if let Err(error) = self.settle_outside(&claimed.0).await {
            match error.fault() {
                // Nothing is wrong with it.
                Fault::Busy => {
                    tracing::debug!(%error, "what was due outside found no place; it is tried again soon")
                }
                _ => {
                    tracing::error!(%error, cause = error.cause(), "what was due outside failed; it is tried again later");
                }
            }
        }
    }

    /// Ends a lease on something outside now, and says if that failed; then it is tried again later.
    pub(crate) async fn end_outside(&self, id: &LeaseId) -> Result<()> {
        let mut claimed = None;
        self.settled(|txn| {
            let Some(Lease::Thing(thing)) = leases::find(txn, id)? else { return Ok(()) };
            if leases::is_taken_up(&thing, self.now()) {
                let text =
                    "this lease is being ended already; look it up in a minute to see whether it is gone";
                return Err(Error::new(Fault::Busy, text));
            }
            let found = Found { at: thing.expires, tag: thing.tag, item: Item::Lease { id: id.clone() } };
            claimed = self.claim(txn, &found)?;
            Ok(())
        })
        .await?;
        match claimed {
            Some(Claimed(found)) => self.settle_outside(&found).await,
            // The agenda was faster.
            None => Ok(()),
        }
    }

    async fn settle_outside(&self, found: &Found) -> Result<()> {
        let done = match &found.item {
            Item::Lease { id } => return self.undo_lease(id).await,
            Item::Operation { mount, due, .. } if due.doing == kit::Doing::Undo => {
                match self.undo_plan(mount, due).await {
                    Ok(()) => return self.undone(found, mount_id(mount)?).await,
                    failed => failed,
                }
            }
            Item::Operation { mount, due, .. } => self.run_outside(found, mount, due).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.settled(|txn| match error.fault() {
                Fault::Busy => self.put_off(txn, found),
                _ => self.postpone(txn, found),
            })
            .await?;
            return Err(error);
        }
        Ok(())
    }

    /// Ends a lease on something outside.
    async fn undo_lease(&self, id: &LeaseId) -> Result<()> {
        let Some(Lease::Thing(thing)) = leases::find(&self.store.snapshot(), id)? else { return Ok(()) };
        let undone = self.undo_plan(&thing.mount, &thing.end).await;
        self.settled(|txn| {
            let Some(Lease::Thing(thing)) = leases::find(txn, id)? else { return Ok(()) };
            match &undone {
                Ok(()) => leases::forget(txn, id, &thing),
                Err(error) => leases::postpone(txn, id, thing, error, self.now()),
            }
        })
        .await?;
        undone
    }

    async fn undo_plan(&self, mount: &str, due: &kit::Due) -> Result<()> {
        let router = self.router(&self.store.snapshot())?;
        let Some(mounted) = router.value().to_undo(&mount_id(mount)?).cloned() else {
            tracing::warn!(mount, "what an effect did is not undone: its mount is gone");
            return Ok(());
        };
        let endpoint = mounted.engine.find_effect(&due.operation).ok_or_else(|| {
            Error::internal(format!("{} has no effect {:?}", mounted.entry.path, due.operation))
        })?;
        self.patiently(mounted.engine.undo(endpoint, &due.fields, &*self.env.world)).await
    }

    /// Runs an internal operation that goes outside, as a scheduled rotation does.
    async fn run_outside(&self, found: &Found, mount: &str, due: &kit::Due) -> Result<()> {
        let today = self.store.snapshot();
        let router = self.router(&today)?;
        let Some(mounted) = router.value().by_id(&mount_id(mount)?).cloned() else {
            return self.struck(found).await;
        };
        let endpoint = mounted.engine.find_internal(&due.operation).ok_or_else(|| {
            Error::internal(format!("{} has no operation {:?}", mounted.entry.path, due.operation))
        })?;
        let body = serde_json::to_vec(&due.fields)?;
        let fields = Fields { body: &body, ..Fields::default() };
        if mounted.engine.kind(endpoint) == Some(Kind::Effect) {
            return self.run_effect(found, &mounted, endpoint, due, &fields).await;
        }
        let (asking, reads) = {
            let (nobody, remote) = (Caller::nobody(), Remote::default());
            let txn = Txn::on(today);
            let cx = Recording::new(&Right::Due, &txn, &mounted.info, &nobody, &remote, self.now());
            (mounted.engine.facts(endpoint, &cx, &fields)?, cx.finish())
        };
        let told = self.hear(Some(&mounted), asking, reads, None).await?;
        let heard = told.heard?;
        self.settled(|txn| {
            // What the question was made from is held, as for a request: else it is asked anew when it is next due.
            if !told.reads.iter().all(|reads| txn.snapshot().holds(reads)) {
                return Err(changing());
            }
            told.reads.iter().for_each(|reads| txn.join(reads));
            self.due_in(txn, &mounted, |cx| mounted.engine.decide(endpoint, cx, &fields, &heard).map(drop))?;
            self.enter_next(txn, mount, due)?;
            agenda::strike_found(txn, found)
        })
        .await
    }

    async fn run_effect(
        &self,
        found: &Found,
        mounted: &Arc<Mounted>,
        endpoint: usize,
        due: &kit::Due,
        fields: &Fields<'_>,
    ) -> Result<()> {
        let mut planned = None;
        self.settled(|txn| {
            check_lives(txn, mounted)?;
            let plan = self.due_in(txn, mounted, |cx| mounted.engine.plan(endpoint, cx, fields))?;
            planned = Some(self.enter_plan(txn, mounted, endpoint, plan, self.now())?);
            Ok(())
        })
        .await?;
        let acting = planned.ok_or_else(|| Error::internal("a plan was committed and is not there"))?;
        let acted = self.act(acting, None).await?;
        let mount = mounted.entry.uuid.clone();
        let recorded = self
            .settled(|txn| {
                check_lives(txn, mounted)?;
                acted.acting.strike(txn)?;
                let (plan, done) = (&acted.acting.plan, &acted.done);
                self.due_in(txn, mounted, |cx| mounted.engine.record(endpoint, plan, done, cx).map(drop))?;
                self.enter_next(txn, &mount, due)?;
                agenda::strike_found(txn, found)
            })
            .await;
        if recorded.is_err() {
            self.undo_soon(&acted.acting).await;
        }
        recorded
    }

    /// Runs what is due in a transaction, in the name of the agenda.
    pub(crate) fn due_in<T>(
        &self,
        txn: &mut Txn,
        mounted: &Arc<Mounted>,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T>,
    ) -> Result<T> {
        let (nobody, remote) = (Caller::nobody(), Remote::default());
        // The agenda runs in a thread of its own.
        let mut once = Once::in_pool();
        let (info, now) = (&mounted.info, self.now());
        let mut cx =
            Writing::new(&Right::Due, txn, info, &nobody, &remote, now, &*self.env.random, &mut once);
        let value = work(&mut cx)?;
        let (due, _, _) = cx.finish();
        self.enter_due(txn, &mounted.entry.uuid, due)?;
        Ok(value)
    }

    /// Takes an item off the agenda that is undone.
    async fn undone(&self, found: &Found, mount: kit::MountId) -> Result<()> {
        self.settled(|txn| {
            agenda::forget_undo(txn, mount, found.tag)?;
            agenda::strike_found(txn, found)
        })
        .await
    }

    /// Takes an item off the agenda: it is done, or there is nobody left to do it.
    async fn struck(&self, found: &Found) -> Result<()> {
        self.settled(|txn| agenda::strike_found(txn, found)).await
    }

    /// Commits what `body` gathers, again after each conflict.
    pub(crate) async fn settled(&self, mut body: impl FnMut(&mut Txn) -> Result<()>) -> Result<()> {
        for _ in 0..RACES_MAX {
            let mut txn = self.store.begin();
            body(&mut txn)?;
            if self.commit(txn).await?.is_ok() {
                return Ok(());
            }
        }
        let _turn = self.turns.alone().await;
        let mut txn = self.store.begin();
        body(&mut txn)?;
        self.commit(txn)
            .await?
            .map(drop)
            .map_err(|_| Error::internal("a commit lost a race that it ran alone"))
    }

    /// Waits for the outside, within reason.
    pub(crate) async fn patiently<T>(&self, outside: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            result = outside => result,
            () = self.env.world.pause(PATIENCE) => {
                let text = format!("no answer from outside within {} seconds", PATIENCE.as_secs());
                Err(Error::new(Fault::Upstream, text))
            }
        }
    }
}

impl Acting {
    fn item(&self) -> Item {
        let route: Option<Route> = self.mounted.engine.route(self.endpoint);
        let operation = route.map_or("", |route| route.pattern).into();
        let due = kit::Due { at: self.at, operation, fields: self.plan.clone(), doing: kit::Doing::Undo };
        Item::Operation { mount: self.mounted.entry.uuid.clone(), due, attempts: 0 }
    }
}

/// What is due of a mount is not begun, and not written down, once it is unmounted.
fn check_lives(txn: &Txn, mounted: &Mounted) -> Result<()> {
    match mounts::lives(txn, &mounted.entry.uuid)? {
        true => Ok(()),
        false => Err(Error::new(Fault::Upstream, "its mount is gone")),
    }
}

/// What was asked about has changed while it was asked.
pub(crate) fn changing() -> Error {
    Error::new(Fault::Busy, "what this asks about outside keeps changing; try again")
}

fn ringing() -> Error {
    Error::new(Fault::Busy, "too many logins wait for a second factor; try again in a minute")
}
