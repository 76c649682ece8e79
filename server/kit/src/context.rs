mod memos;

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use policy::Permit;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use storage::{Key, Name, Place, Random, ReadSet, Snapshot, Txn, Value};

use crate::ask::Ask;
use crate::caller::{Caller, Entity, Mount, Remote};
use crate::effect::Effect;
use crate::error::{Error, Fault, Result};
use crate::notes::Notes;
use crate::once::Once;
use crate::operation::{Command, Engine};
use crate::time::Time;
use memos::Joined;

/// By what right a transaction runs. There is no fifth.
pub enum Right<'a> {
    /// A policy allowed it.
    Judged(&'a Permit),
    /// A login, which has no caller yet.
    Login,
    /// The agenda: it was judged when it was entered.
    Due,
    /// The route is declared to want no token.
    Open,
}

/// What a request stands in: which mount, who asks, from where, and when.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    mount: &'a Mount,
    caller: &'a Caller,
    remote: &'a Remote,
    now: Time,
    sudo: bool,
}

/// Something granted for a while. The kernel makes a lease of it in the same transaction.
#[derive(Debug)]
pub struct Grant {
    /// How long, at first.
    pub ttl: Duration,
    /// How long in all; nothing: as long as the mount allows.
    pub max_ttl: Option<Duration>,
    /// Whether it may be prolonged.
    pub renewable: bool,
    /// What takes it back.
    pub end: Due,
}

/// An operation with a date. Leases, tidies, rotations and rollbacks are all this.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Due {
    /// When.
    pub at: Time,
    /// The pattern of an internal operation of the same mount, or of an effect.
    pub operation: Cow<'static, str>,
    /// Its parameters, or the effect's plan.
    pub fields: Json,
    /// What is to be done with it.
    #[serde(default)]
    pub doing: Doing,
}

/// What a date is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// An internal operation runs.
    #[default]
    Run,
    /// What an effect did is undone.
    Undo,
}

/// What every context can do.
pub trait Reads {
    /// One record.
    ///
    /// # Errors
    /// If the store does not answer, or the record was damaged.
    fn get(&self, table: u8, name: Name<'_>) -> Result<Option<Value>>;

    /// The names right below `folder`, sorted; folders end in a slash.
    ///
    /// # Errors
    /// If the store does not answer.
    fn list(&self, table: u8, folder: &str) -> Result<Arc<[String]>>;

    /// Every path below `folder`, relative to it, in order.
    ///
    /// # Errors
    /// If the store does not answer.
    fn walk(&self, table: u8, folder: &str, each: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<()>;

    /// The records with ids from `from` up to `until`, in order.
    ///
    /// # Errors
    /// If the store does not answer, or a record was damaged.
    fn scan(&self, table: u8, from: &[u8], until: Option<&[u8]>, each: &mut Each<'_>) -> Result<()>;

    /// When this request is.
    fn now(&self) -> Time;

    /// Who asks.
    fn caller(&self) -> &Caller;

    /// From where.
    fn remote(&self) -> &Remote;

    /// Through which mount.
    fn mount(&self) -> &Mount;

    /// Whether the rule that let this request pass grants `sudo` too.
    fn sudo(&self) -> bool;

    /// What has been said beside the reply.
    fn notes(&self) -> &Notes;

    /// A value worked out from records of this mount, kept until one of them changes. It is made from what
    /// is committed, so what this transaction itself has written does not show.
    ///
    /// # Errors
    /// Those of `make`; a failure is not kept.
    fn memo<T: Send + Sync + 'static>(
        &self,
        key: &str,
        make: impl FnOnce(&Recording<'_>) -> Result<T>,
    ) -> Result<Arc<T>>
    where
        Self: Sized;

    /// A value that says by a stamp what it was made from, kept until the stamp is another. For what comes of so many
    /// records that reads of its own would be spoilt by any other write.
    ///
    /// # Errors
    /// Those of `make`; a failure is not kept.
    fn memo_stamped<T: Send + Sync + 'static>(
        &self,
        key: &str,
        stamp: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>>
    where
        Self: Sized;

    /// What this mount has one of in memory and no record tells: logins under way, counters. Whatever else is remembered, it
    /// stays until the server is sealed.
    fn lasting<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mount = self.mount();
        mount.memos.lasting(mount.id)
    }

    /// A sentence for the caller that is no error.
    fn warn(&self, text: impl Into<String>)
    where
        Self: Sized,
    {
        self.notes().warn(text);
    }
}

/// Takes one record of a scan.
pub type Each<'a> = dyn FnMut(&[u8], Value) -> Result<ControlFlow<()>> + 'a;

/// A moment of the store that never changes. There is no `put` on this type.
pub struct Reading<'a> {
    snapshot: &'a Snapshot,
    scene: Scene<'a>,
    notes: Notes,
}

/// A reading that takes note of what it read, for a memo.
pub struct Recording<'a> {
    txn: &'a Txn,
    joined: RefCell<Vec<Joined>>,
    scene: Scene<'a>,
    notes: Notes,
}

/// A transaction. What is written here happens if `run` returns `Ok`, and all at once.
pub struct Writing<'a> {
    txn: &'a mut Txn,
    joined: RefCell<Vec<Joined>>,
    scene: Scene<'a>,
    random: &'a dyn Random,
    once: &'a mut Once,
    notes: Notes,
    due: Vec<Due>,
    grant: Option<Grant>,
}

/// Lets the kernel's own engines (sys, token, identity) see beyond their mount. Only the kernel names this
/// type; a test of the source sees to it.
pub struct Beyond(());

impl Beyond {
    /// For the kernel alone.
    pub fn for_the_kernel() -> Self {
        Self(())
    }
}

impl Right<'_> {
    fn sudo(&self) -> bool {
        match self {
            Self::Judged(permit) => permit.sudo(),
            Self::Due => true,
            Self::Login | Self::Open => false,
        }
    }
}

impl<'a> Reading<'a> {
    /// For an operation that reads.
    pub fn new(
        right: &Right<'_>,
        snapshot: &'a Snapshot,
        mount: &'a Mount,
        caller: &'a Caller,
        remote: &'a Remote,
        now: Time,
    ) -> Self {
        let scene = Scene { mount, caller, remote, now, sudo: right.sudo() };
        Self { snapshot, scene, notes: Notes::default() }
    }

    /// The whole store.
    pub fn beyond(&self, _: &Beyond) -> &'a Snapshot {
        self.snapshot
    }

    /// What was said beside the reply.
    pub fn into_notes(self) -> Notes {
        self.notes
    }
}

impl<'a> Recording<'a> {
    /// For the facts of an operation that asks outside: what is read here is held until it has decided.
    pub fn new(
        right: &Right<'_>,
        txn: &'a Txn,
        mount: &'a Mount,
        caller: &'a Caller,
        remote: &'a Remote,
        now: Time,
    ) -> Self {
        let scene = Scene { mount, caller, remote, now, sudo: right.sudo() };
        Self { txn, joined: RefCell::default(), scene, notes: Notes::default() }
    }

    /// The whole store as it is read here.
    pub fn peek(&self, _: &Beyond) -> &'a Txn {
        self.txn
    }

    /// What was read, memos included.
    pub fn finish(self) -> Vec<ReadSet> {
        let joined = self.joined.into_inner();
        joined.iter().map(|kept| kept.reads().clone()).chain([self.txn.reads()]).collect()
    }
}

impl<'a> Writing<'a> {
    /// For an operation that writes.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one thing a request stands in, and only the kernel calls it"
    )]
    pub fn new(
        right: &Right<'_>,
        txn: &'a mut Txn,
        mount: &'a Mount,
        caller: &'a Caller,
        remote: &'a Remote,
        now: Time,
        random: &'a dyn Random,
        once: &'a mut Once,
    ) -> Self {
        once.at = 0;
        let scene = Scene { mount, caller, remote, now, sudo: right.sudo() };
        let joined = RefCell::default();
        Self { txn, joined, scene, random, once, notes: Notes::default(), due: Vec::new(), grant: None }
    }

    /// Puts one record.
    ///
    /// # Errors
    /// If it is too large.
    pub fn put(&mut self, table: u8, name: Name<'_>, value: Vec<u8>) -> Result<()> {
        let place = self.place(table);
        Ok(self.txn.put(&Key { place, name }, value)?)
    }

    /// Deletes one record, if it is there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn delete(&mut self, table: u8, name: Name<'_>) -> Result<()> {
        let place = self.place(table);
        Ok(self.txn.delete(&Key { place, name })?)
    }

    /// Somebody who has asked for something once, and in whose name it is done now: who they are by now; nothing, if they
    /// are gone or disabled. `book` and `id` are what their [`Entity`] said.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn entity(&self, book: &str, id: &str) -> Result<Option<Entity>> {
        self.scene.mount.people.entity(self.txn, book, id)
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// The source of randomness.
    pub fn randomness(&self) -> &'a dyn Random {
        self.random
    }

    /// Does costly, pure work once, however often the command is run again. The calls of one operation must
    /// come in the same order each time.
    ///
    /// # Errors
    /// Those of `work`; a failure is not kept.
    pub fn once<T: Clone + Send + 'static>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let at = self.once.at;
        self.once.at += 1;
        if let Some(kept) = self.once.kept.get(at).and_then(|kept| kept.downcast_ref::<T>()) {
            return Ok(kept.clone());
        }
        let value = work()?;
        self.once.kept.truncate(at);
        self.once.kept.push(Box::new(value.clone()));
        Ok(value)
    }

    /// Says that what follows costs many milliseconds of a core, where a route is not always
    /// [`heavy`](crate::Route::heavy). Pass its error on: the command is then run again in the bounded pool.
    ///
    /// # Errors
    /// Outside the pool.
    pub fn costly(&self) -> Result<()> {
        if self.once.pooled {
            Ok(())
        } else {
            Err(Error::new(Fault::Costly, "this is done in the pool for costly work"))
        }
    }

    /// Grants what this operation made for `ttl`, after which `end` runs: in this very transaction or not at all.
    ///
    /// # Errors
    /// If `end` cannot be written down.
    pub fn lease<E: Engine, U: Command<E> + Serialize>(
        &mut self,
        ttl: Duration,
        max_ttl: Option<Duration>,
        end: &U,
    ) -> Result<()> {
        let end = due::<E, U>(self.scene.now.plus(ttl), end)?;
        self.grant = Some(Grant { ttl, max_ttl, renewable: false, end });
        Ok(())
    }

    /// Keeps what the effect `O` did for `ttl`, after which it is undone.
    ///
    /// # Errors
    /// If the plan cannot be written down.
    pub fn hold<E: Engine, O: Effect<E>>(
        &mut self,
        ttl: Duration,
        max_ttl: Option<Duration>,
        plan: &O::Plan,
    ) -> Result<()> {
        let at = self.scene.now.plus(ttl);
        let (operation, fields) = (O::ROUTE.pattern.into(), serde_json::to_value(plan)?);
        let end = Due { at, operation, fields, doing: Doing::Undo };
        self.grant = Some(Grant { ttl, max_ttl, renewable: true, end });
        Ok(())
    }

    /// Runs `operation` after `wait`.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn later<E: Engine, O: Command<E> + Serialize>(
        &mut self,
        wait: Duration,
        operation: &O,
    ) -> Result<()> {
        self.due.push(due::<E, O>(self.scene.now.plus(wait), operation)?);
        Ok(())
    }

    /// Asks outside after `wait`, and then decides.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn ask_later<E: Engine, O: Ask<E> + Serialize>(&mut self, wait: Duration, ask: &O) -> Result<()> {
        let (operation, fields) = (O::ROUTE.pattern.into(), serde_json::to_value(ask)?);
        self.due.push(Due { at: self.scene.now.plus(wait), operation, fields, doing: Doing::Run });
        Ok(())
    }

    /// The whole transaction.
    pub fn beyond(&mut self, _: &Beyond) -> &mut Txn {
        self.txn
    }

    /// The whole store as this transaction sees it.
    pub fn peek(&self, _: &Beyond) -> &Txn {
        self.txn
    }

    /// What was asked to happen later, what was granted, and what was said; the kernel stores it with the rest.
    pub fn finish(self) -> (Vec<Due>, Option<Grant>, Notes) {
        self.joined.borrow().iter().for_each(|kept| self.txn.join(kept.reads()));
        (self.due, self.grant, self.notes)
    }

    fn place(&self, table: u8) -> Place {
        Place { mount: self.scene.mount.id, table }
    }
}

fn due<E: Engine, O: Command<E> + Serialize>(at: Time, operation: &O) -> Result<Due> {
    let (operation, fields) = (O::ROUTE.pattern.into(), serde_json::to_value(operation)?);
    Ok(Due { at, operation, fields, doing: Doing::Run })
}

macro_rules! reads {
    ($type:ident, $source:ident, |$it:ident| $memo:expr) => {
        impl Reads for $type<'_> {
            fn get(&self, table: u8, name: Name<'_>) -> Result<Option<Value>> {
                let place = Place { mount: self.scene.mount.id, table };
                Ok(self.$source.get(&Key { place, name })?)
            }

            fn list(&self, table: u8, folder: &str) -> Result<Arc<[String]>> {
                Ok(self.$source.list(Place { mount: self.scene.mount.id, table }, folder)?)
            }

            fn walk(
                &self,
                table: u8,
                folder: &str,
                each: &mut dyn FnMut(&str) -> ControlFlow<()>,
            ) -> Result<()> {
                let place = Place { mount: self.scene.mount.id, table };
                Ok(self.$source.walk(place, folder, &mut |path, _| Ok(each(path)))?)
            }

            fn scan(&self, table: u8, from: &[u8], until: Option<&[u8]>, each: &mut Each<'_>) -> Result<()> {
                let place = Place { mount: self.scene.mount.id, table };
                let mut failed = None;
                self.$source.scan(place, from, until, &mut |id, value| match each(id, value) {
                    Ok(flow) => Ok(flow),
                    Err(error) => {
                        failed = Some(error);
                        Ok(ControlFlow::Break(()))
                    }
                })?;
                failed.map_or(Ok(()), Err)
            }

            fn now(&self) -> Time {
                self.scene.now
            }

            fn caller(&self) -> &Caller {
                self.scene.caller
            }

            fn remote(&self) -> &Remote {
                self.scene.remote
            }

            fn mount(&self) -> &Mount {
                self.scene.mount
            }

            fn sudo(&self) -> bool {
                self.scene.sudo
            }

            fn notes(&self) -> &Notes {
                &self.notes
            }

            fn memo<T: Send + Sync + 'static>(
                &self,
                key: &str,
                make: impl FnOnce(&Recording<'_>) -> Result<T>,
            ) -> Result<Arc<T>> {
                let $it = self;
                $memo(key, make)
            }

            fn memo_stamped<T: Send + Sync + 'static>(
                &self,
                key: &str,
                stamp: &str,
                make: impl FnOnce() -> Result<T>,
            ) -> Result<Arc<T>> {
                self.scene.memo_stamped(key, stamp, make)
            }
        }
    };
}

reads!(Reading, snapshot, |it| |key, make| Ok(it.scene.memo(it.snapshot, key, make)?.0));
reads!(Recording, txn, |it| |key, make| it.scene.memo_joined(it.txn.snapshot(), &it.joined, key, make));
reads!(Writing, txn, |it| |key, make| it.scene.memo_joined(it.txn.snapshot(), &it.joined, key, make));
