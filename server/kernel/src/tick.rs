use std::collections::HashSet;
use std::time::Duration;

use kit::{Doing, Due, Error, Fields, MountId, Result, Time};
use storage::{Place, Txn};

use crate::agenda::{self, Found, Item};
use crate::finish::costly;
use crate::kernel::Kernel;
use crate::leases::{self, Lease, LeaseId, Thing};
use crate::namespaces::Ns;
use crate::outside::Claimed;
use crate::raze::Razed;
use crate::router::Router;
use crate::turns::RACES_MAX;
use crate::{cubbyhole, drawers, ids, tokens};

/// How much of the agenda one tick does at most.
const PIECE: usize = 256;
/// How many small items one commit settles at most: to store each by itself costs more than to settle it.
const TOGETHER: usize = 64;
/// Such a commit takes no more in once it writes so many entries: nobody else commits meanwhile.
const WRITES_MAX: usize = 1024;
/// How long a failing operation waits before it is tried again; each next wait is twice as long, up to an hour.
const RETRY: Duration = Duration::from_secs(10);
/// How long what found no place outside waits for one.
const PUT_OFF: Duration = Duration::from_secs(1);
/// How long what a dead token left in a sealed namespace waits before it is looked for again.
const SEALED_WAIT: Duration = Duration::from_secs(600);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// What one tick came to.
#[derive(Default)]
pub struct Ticked {
    /// How many items were due.
    pub count: usize,
    /// There are more of them.
    pub more: bool,
    /// What of them lies outside. Each is to be given to [`Kernel::outside`], which waits.
    pub outside: Vec<Claimed>,
}

impl Kernel {
    /// Does what is due, a bounded piece of it, and says how much. The leader calls this every second and when
    /// it is woken, a simulation whenever it likes. One failing item never stops the others.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn tick(&self) -> Result<Ticked> {
        let now = self.now();
        let today = self.store.snapshot();
        if let Err(error) = crate::sys::rotate_if_due(self, &today, now) {
            tracing::error!(%error, "the keyring is due for a new term and could not begin it");
        }
        let mut seen = HashSet::new();
        let mut due = agenda::due(&today, now, PIECE)?;
        due.retain(|found| seen.insert((found.at, found.tag)));
        let router = self.router(&today)?;
        drop(today);
        let mut ticked = Ticked { count: due.len(), more: due.len() >= PIECE, outside: Vec::new() };
        let is_small = |found: &&Found| is_small(router.value(), &found.item);
        let mut rest = &*due;
        while !rest.is_empty() {
            let alike = rest.iter().take(TOGETHER).take_while(is_small).count().max(1);
            let (piece, _) = rest.split_at_checked(alike).unwrap_or((rest, &[]));
            let done = self.settle_piece(piece, &mut ticked.outside)?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(ticked)
    }

    /// Settles the first of these items, one of them at least, and tells how many. What fails is put off.
    fn settle_piece(&self, piece: &[Found], outside: &mut Vec<Claimed>) -> Result<usize> {
        // Alone it waits for one commit of others at most; what it did in vain would grow with its size.
        let races = if piece.len() > 1 { 1 } else { RACES_MAX };
        let settled = self.write_after(races, |txn| {
            let (mut done, mut claimed) = (0, Vec::new());
            for found in piece {
                if txn.written() >= WRITES_MAX {
                    break;
                }
                done += 1;
                match self.is_outside(txn, &found.item)? {
                    true => claimed.extend(self.claim(txn, found)?),
                    false => self.settle(txn, found)?,
                }
            }
            Ok((done, claimed))
        });
        match (settled, piece) {
            (Ok((done, claimed)), _) => {
                outside.extend(claimed);
                Ok(done)
            }
            // It was sealed a moment ago, and is due again when it is opened.
            (Err(_), [found]) if self.store.snapshot().is_sealed(found.item.owner()) => Ok(1),
            (Err(error), [found]) => {
                tracing::error!(%error, cause = error.cause(), "what was due failed; it is tried again later");
                self.write(|txn| self.postpone(txn, found))?;
                Ok(1)
            }
            // One of them fails, and nothing is done: each by itself, so that it does not stop the others.
            (Err(_), piece) => {
                for found in piece.chunks(1) {
                    self.settle_piece(found, outside)?;
                }
                Ok(piece.len())
            }
        }
    }

    /// One item, in one transaction, with its entry struck out.
    fn settle(&self, txn: &mut Txn, found: &Found) -> Result<()> {
        if !agenda::stands(txn, found)? {
            return Ok(());
        }
        agenda::strike_found(txn, found)?;
        let now = self.now();
        match &found.item {
            Item::Token { hash, .. } => match tokens::at(txn, *hash)? {
                Some(record) if record.is_over(now) => tokens::revoke(txn, *hash, now),
                // It has got another end since, or it is another token of the same chosen id.
                _ => Ok(()),
            },
            Item::Lease { id } => self.end_lease(txn, id),
            Item::Bury { hash, namespace, childless } => {
                // One of the same chosen id: whoever made it has cleared away all that the last one left.
                if tokens::at(txn, *hash)?.is_some_and(|next| !childless || !next.ended) {
                    return Ok(());
                }
                match self.bury(txn, *hash, *namespace, *childless)? {
                    // There is more in a namespace that is sealed; it is dead, and cleared away when that is opened.
                    Razed::Waiting => agenda::enter(txn, now.plus(SEALED_WAIT), found.tag, &found.item),
                    buried => self.again(txn, matches!(buried, Razed::InPart), found),
                }
            }
            Item::Sweep { mount } => {
                let swept = txn.sweep(mount_id(mount)?, PIECE)?;
                self.again(txn, swept == PIECE, found)
            }
            Item::EndAll { namespace, prefix, force, until } => {
                let more = self.end_piece(txn, *namespace, prefix, *force, *until)?;
                self.again(txn, more, found)
            }
            Item::Unmount { mount, attempts } => match self.clear_mount(txn, mount)? {
                Razed::Wholly => Ok(()),
                Razed::InPart => self.again(txn, true, found),
                Razed::Waiting => {
                    let item = Item::Unmount { mount: mount.clone(), attempts: attempts.saturating_add(1) };
                    agenda::enter(txn, now.plus(wait(*attempts)), found.tag, &item)
                }
            },
            Item::Wipe { above, ring, table, from } => self.wipe(txn, found, (*above, *ring), *table, from),
            Item::Raze { namespace, .. } => match self.raze(txn, *namespace)? {
                Razed::Wholly => Ok(()),
                Razed::InPart => self.again(txn, true, found),
                Razed::Waiting => agenda::enter(txn, now.plus(RETRY), found.tag, &found.item),
            },
            Item::Operation { mount, due, .. } => {
                self.run_due(txn, mount, due)?;
                self.enter_next(txn, mount, due)
            }
        }
    }

    /// Puts an item back on the list, with a date that has come.
    pub(crate) fn again(&self, txn: &mut Txn, more: bool, found: &Found) -> Result<()> {
        if !more {
            return Ok(());
        }
        self.wake();
        agenda::enter(txn, self.now(), found.tag, &found.item)
    }

    /// Puts an item that failed back on the list, with a later date.
    pub(crate) fn postpone(&self, txn: &mut Txn, found: &Found) -> Result<()> {
        agenda::strike_found(txn, found)?;
        let now = self.now();
        let mut item = found.item.clone();
        let mut pause = RETRY;
        if let Item::Operation { attempts, .. } = &mut item {
            *attempts = attempts.saturating_add(1);
            pause = wait(*attempts - 1);
        }
        agenda::enter(txn, now.plus(pause), found.tag, &item)
    }

    /// Puts an item that found no place back on the list. That is no failure, so its waits do not grow.
    pub(crate) fn put_off(&self, txn: &mut Txn, found: &Found) -> Result<()> {
        agenda::strike_found(txn, found)?;
        agenda::enter(txn, self.now().plus(PUT_OFF), found.tag, &found.item)
    }

    /// Ends a piece of the leases below a prefix that were issued until then. True: there are more of them. What has been
    /// begun goes on by its own date; by force it is forgotten.
    fn end_piece(&self, txn: &mut Txn, ns: Ns, prefix: &str, force: bool, until: Time) -> Result<bool> {
        let ids = match force {
            true => leases::below(txn, ns, prefix, until, PIECE)?,
            false => leases::fresh_below(txn, ns, prefix, until, PIECE)?,
        };
        for id in &ids {
            self.end_any(txn, id, force)?;
        }
        Ok(ids.len() == PIECE)
    }

    /// Ends the rest of what one commit did not, for someone who waits for it. If they do not any more, the agenda does so
    /// by its date.
    pub(crate) async fn end_rest(&self, rest: &Found) -> Result<()> {
        let Item::EndAll { namespace, prefix, force, until } = &rest.item else { return Ok(()) };
        let mut more = true;
        while more {
            let _place = self.pool.place(None).await?;
            self.settled(|txn| {
                more = false;
                if agenda::stands(txn, rest)? {
                    more = costly(|| self.end_piece(txn, *namespace, prefix, *force, *until))?;
                    if !more {
                        agenda::strike_found(txn, rest)?;
                    }
                }
                Ok(())
            })
            .await?;
        }
        self.wake();
        Ok(())
    }

    /// Ends a lease of any kind. With `force`, what cannot be taken back is forgotten.
    pub(crate) fn end_any(&self, txn: &mut Txn, id: &LeaseId, force: bool) -> Result<()> {
        match leases::find(txn, id)? {
            None => leases::forget_by_id(txn, id),
            Some(Lease::Token { hash }) => {
                tokens::revoke(txn, hash, self.now())?;
                leases::forget_by_id(txn, id)
            }
            Some(Lease::Thing(thing)) if force && thing.outside() => {
                // What it did is undone as soon as that is possible; nobody waits for it any more.
                let (mut tag, now) = ([0; 16], self.now());
                self.env.random.fill(&mut tag);
                let due = Due { at: now, ..thing.end.clone() };
                let item = Item::Operation { mount: thing.mount.clone(), due, attempts: 0 };
                agenda::enter(txn, now, tag, &item)?;
                agenda::note_undo(txn, mount_id(&thing.mount)?, tag)?;
                leases::forget(txn, id, &thing)
            }
            Some(Lease::Thing(thing)) if force => {
                if let Err(error) = self.take_back_thing(txn, &thing) {
                    tracing::warn!(lease = id.path, %error, "a lease was ended by force, and what it stood for was not taken back");
                }
                leases::forget(txn, id, &thing)
            }
            Some(Lease::Thing(_)) => self.end_lease(txn, id),
        }
    }

    /// Ends a lease: what it stands for is taken back, in this transaction. If that fails it is tried again later.
    pub(crate) fn end_lease(&self, txn: &mut Txn, id: &LeaseId) -> Result<()> {
        let Some(Lease::Thing(thing)) = leases::find(txn, id)? else { return Ok(()) };
        if thing.outside() {
            let now = self.now();
            self.wake();
            return if leases::is_taken_up(&thing, now) {
                Ok(())
            } else {
                leases::end_at(txn, id, thing, now)
            };
        }
        match self.take_back_thing(txn, &thing) {
            Ok(()) => leases::forget(txn, id, &thing),
            Err(error) => {
                tracing::warn!(lease = id.path, %error, attempts = thing.attempts + 1, "a lease could not be ended");
                leases::postpone(txn, id, thing, &error, self.now())
            }
        }
    }

    /// Takes back what a lease stands for.
    pub(crate) fn take_back_thing(&self, txn: &mut Txn, thing: &Thing) -> Result<()> {
        self.run_due(txn, &thing.mount, &thing.end)
    }

    /// Runs an internal operation of a mount. A mount that is gone has nothing left to do.
    fn run_due(&self, txn: &mut Txn, mount: &str, due: &kit::Due) -> Result<()> {
        let router = self.router(txn.snapshot())?;
        let Some(mounted) = router.value().by_id(&mount_id(mount)?) else { return Ok(()) };
        let endpoint = mounted.engine.find_internal(&due.operation).ok_or_else(|| {
            Error::internal(format!("{} has no operation {:?}", mounted.entry.path, due.operation))
        })?;
        if due.doing == Doing::Undo {
            return Err(Error::internal("an effect is undone outside, not in a transaction"));
        }
        let body = serde_json::to_vec(&due.fields)?;
        let fields = Fields { body: &body, ..Fields::default() };
        self.due_in(txn, mounted, |cx| mounted.engine.command(endpoint, cx, &fields).map(drop))
    }

    /// Enters the next date of what a mount does by itself. A piece of a longer job, which has parameters, is
    /// followed by what the job itself enters.
    pub(crate) fn enter_next(&self, txn: &mut Txn, mount: &str, due: &kit::Due) -> Result<()> {
        if due.fields.as_object().is_none_or(|fields| !fields.is_empty()) {
            return Ok(());
        }
        let router = self.router(txn.snapshot())?;
        let Some(mounted) = router.value().by_id(&mount_id(mount)?) else { return Ok(()) };
        let route =
            mounted.engine.find_internal(&due.operation).and_then(|endpoint| mounted.engine.route(endpoint));
        let Some(period) = route.and_then(|route| route.every) else { return Ok(()) };
        let next = kit::Due { at: self.now().plus(period), ..due.clone() };
        self.enter_due(txn, &mounted.entry.uuid, vec![next])
    }

    /// Clears away a piece of what a token that has ended left: its children, its leases, and its drawers.
    pub(crate) fn bury(
        &self,
        txn: &mut Txn,
        hash: tokens::TokenHash,
        home: Ns,
        childless: bool,
    ) -> Result<Razed> {
        let more = match childless {
            true => tokens::bury_alone(txn, hash)?,
            false => tokens::bury(txn, hash, self.now(), PIECE)?,
        };
        let held = leases::held(txn, hash, PIECE)?;
        for id in &held {
            self.end_lease(txn, id)?;
        }
        let drawers = self.empty_drawers(txn, hash, home)?;
        if more || held.len() == PIECE || drawers {
            return Ok(Razed::InPart);
        }
        Ok(if self.is_hidden(txn, hash, home)? { Razed::Waiting } else { Razed::Wholly })
    }

    /// Empties the drawers of a dead token, a bounded piece of them. True: there is more.
    fn empty_drawers(&self, txn: &mut Txn, hash: tokens::TokenHash, home: Ns) -> Result<bool> {
        let abroad = drawers::of(txn, hash, PIECE)?;
        if self.empty_drawer(txn, hash, home)? == PIECE {
            return Ok(true);
        }
        for ns in &abroad {
            if self.empty_drawer(txn, hash, *ns)? == PIECE {
                return Ok(true);
            }
            drawers::forget(txn, hash, *ns)?;
        }
        Ok(abroad.len() == PIECE)
    }

    /// Whether a dead token left something in a namespace that is sealed.
    fn is_hidden(&self, txn: &Txn, hash: tokens::TokenHash, home: Ns) -> Result<bool> {
        Ok(txn.is_sealed(home.mount())
            || tokens::children_hidden(txn, hash)?
            || leases::held_hidden(txn, hash)?
            || drawers::hidden(txn, hash)?)
    }

    fn empty_drawer(&self, txn: &mut Txn, hash: tokens::TokenHash, ns: Ns) -> Result<usize> {
        let router = self.router(txn.snapshot())?;
        // With a namespace its cubbyhole is swept as a whole.
        let Some(space) = router.value().space(ns) else { return Ok(0) };
        let Ok(mount) = space.cubbyhole() else { return Ok(0) };
        let place = Place { mount, table: cubbyhole::TABLE };
        Ok(txn.sweep_folder(place, &hash.drawer(), PIECE)?)
    }
}

/// Whether an item clears away one thing, so that others can be settled by the same commit.
fn is_small(router: &Router, item: &Item) -> bool {
    match item {
        Item::Token { .. } | Item::Lease { .. } | Item::Bury { .. } => true,
        Item::Operation { mount, due, .. } => {
            let mounted = mount_id(mount).ok().and_then(|id| router.by_id(&id));
            let route = mounted.and_then(|mounted| {
                mounted
                    .engine
                    .find_internal(&due.operation)
                    .and_then(|endpoint| mounted.engine.route(endpoint))
            });
            route.is_some_and(|route| route.small)
        }
        _ => false,
    }
}

/// How long what failed so often waits before it is tried again.
fn wait(failures: u32) -> Duration {
    (RETRY * 2_u32.saturating_pow(failures.min(16))).min(RETRY_MAX)
}

/// The id of a mount from its UUID.
pub(crate) fn mount_id(uuid: &str) -> Result<MountId> {
    ids::mount(uuid).ok_or_else(|| Error::internal("an entry names a damaged mount id"))
}
