//! The one writer: it checks transactions against what is published and against each other, makes a group of them
//! durable with one commit of the backend, publishes the next snapshot, and only then answers.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::Index;
use crate::backend::{Backend, Cipher, SealedKey, SealedWrite, View};
use crate::cache::Entry;
use crate::error::{Error, Result};
use crate::key::Logical;
use crate::keyring::{Keyring, SEALS_PER_TERM_MAX};
use crate::names;
use crate::queue::Queue;
use crate::random::Random;
use crate::ring::{Ring, RingChange, RingId, Rings};
use crate::snapshot::{Moment, Shared, Snapshot};
use crate::stripes::Stripe;
use crate::txn::{Conflict, Prepared, PreparedWrite, Txn};

/// The disk keeps so much free beyond what is written, so that the store can still be opened and emptied.
pub(crate) const HEADROOM: u64 = 16 * 1024 * 1024;
/// What takes away more than it writes writes no more than this: a revocation notes what is left to be swept.
const RELIEVING_MAX: usize = 16 * 1024;
/// The stored count of seals runs ahead of the true one by at most this, so that a crash never makes it too small.
pub(crate) const SEALS_RESERVED: u64 = 65_536;
/// Without writes for so long, the backend is brought into the form that opens fast.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) const INDEX: &str = "index";
pub(crate) const COUNT: &str = "seals";
pub(crate) const KEYRING: &str = "keyring";

/// Is told what became of a transaction. Runs in the thread of the committer, so it must be short.
pub type Done = Box<dyn FnOnce(Result<Result<Index, Conflict>>) + Send>;
/// Tells the time in nanoseconds since 1970. It only stamps new key terms.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

type Answer = Result<Result<Index, Conflict>>;

mod doubt;

use doubt::told;

pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: ArcSwap<Moment>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) clock: Clock,
    pub(crate) threaded: bool,
    writer: Mutex<Writer>,
    /// The stored count of seals of the active term.
    reserved: AtomicU64,
    /// The committer has been asked to renew it.
    renewing: AtomicBool,
    queue: Queue,
    trouble: Mutex<Option<Arc<str>>>,
    /// Writes are refused at the door while the disk is being tried again.
    doubtful: AtomicBool,
}

/// What only the one who writes may touch.
pub(crate) struct Writer {
    marked: Marked,
    unsettled: bool,
    /// A commit of which it is not known whether it is stored.
    doubt: Option<Change>,
    /// The committer tries the disk again and again until it is known; nobody else does meanwhile.
    waited: bool,
}

/// What becomes visible when a commit is durable.
struct Change {
    index: Index,
    cause: Arc<str>,
    bumps: Vec<Stripe>,
    entries: Vec<(u64, Logical, Arc<Entry>)>,
    keyring: Option<Arc<Keyring>>,
    /// Rings that come, go or have a new term.
    rings: Vec<(RingId, RingChange)>,
    /// Rings that sealed something of it.
    used: Vec<Arc<Ring>>,
}

/// Whether a batch leaves less to store than there was. It needs no room that is kept free, for it makes some: what is
/// revoked must not wait for a larger disk.
fn relieves(batch: &[SealedWrite]) -> bool {
    let puts = || batch.iter().filter(|write| write.value.is_some());
    let size: usize = puts().map(SealedWrite::size).sum();
    2 * puts().count() < batch.len() && size <= RELIEVING_MAX || size == 0
}

/// The stripes that the transactions of one group write.
struct Marked(Box<[u64]>);

impl Core {
    pub(crate) fn new(
        moment: Moment,
        backend: Arc<dyn Backend>,
        random: Arc<dyn Random>,
        clock: Clock,
        threaded: bool,
    ) -> Self {
        Self {
            shared: Arc::clone(&moment.shared),
            current: ArcSwap::from_pointee(moment),
            backend,
            random,
            clock,
            threaded,
            writer: Mutex::new(Writer {
                marked: Marked::none(),
                unsettled: true,
                doubt: None,
                waited: false,
            }),
            reserved: AtomicU64::new(0),
            renewing: AtomicBool::new(false),
            queue: Queue::new(),
            trouble: Mutex::new(None),
            doubtful: AtomicBool::new(false),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        if self.shared.sick.load(Ordering::Relaxed) {
            self.heal();
        }
        Snapshot(self.current.load_full())
    }

    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        lock(&self.trouble).clone()
    }

    /// Hands a transaction to the committer, or commits it at once where there is no thread for that.
    pub(crate) fn submit(&self, prepared: Prepared, done: Done) {
        if !self.threaded {
            return self.run(vec![(prepared, done)]);
        }
        match self.refusal() {
            None => self.queue.push(prepared, done),
            Some(error) => done(Err(error)),
        }
    }

    /// The life of the committer's thread.
    pub(crate) fn serve(&self) {
        while let Some(group) = self.queue.next(self.backend.batch_size_max(), IDLE, || self.settle()) {
            self.run(group);
        }
    }

    /// Commits a group and answers once the writer's lock is released. Where it is not known what became of it, not before it is.
    fn run(&self, group: Vec<(Prepared, Done)>) {
        // Where there is no room some are refused, and each for itself.
        if group.len() > 1 && self.trouble().is_some() && !self.doubtful.load(Ordering::Relaxed) {
            return group.into_iter().for_each(|one| self.run(vec![one]));
        }
        let (prepared, dones): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let (answers, in_doubt) = {
            let mut writer = lock(&self.writer);
            let answers = self.group(&mut writer, prepared);
            writer.waited = self.threaded && writer.doubt.is_some();
            (answers, writer.waited)
        };
        let (unknown, known): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .zip(dones)
            .partition(|(answer, _)| matches!(answer, Err(Error::Uncertain(_))));
        Self::tell(known.into_iter());
        let fate = if in_doubt { self.mend() } else { None };
        Self::tell(unknown.into_iter().map(|(answer, done)| (told(answer, fate), done)));
    }

    fn tell(answers: impl Iterator<Item = (Answer, Done)>) {
        for (answer, done) in answers {
            // Whoever is told may be wrong in its own ways; the others must still be told, and later ones served.
            if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
                tracing::error!("what waited for a commit panicked when it was told");
            }
        }
    }

    /// Runs `work` while nobody else can commit. It is not held up by a disk that has failed: then what stores something fails.
    pub(crate) fn exclusively<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = lock(&self.writer);
        let done = work(&mut writer);
        let left = writer.doubt.is_some() && !writer.waited;
        drop(writer);
        if left {
            self.leave_to_the_committer();
        }
        done
    }

    /// Commits transactions, each against the published state and the earlier ones. One answer for each.
    pub(crate) fn group(&self, writer: &mut Writer, group: Vec<Prepared>) -> Vec<Answer> {
        if self.is_closed() && !self.threaded {
            return group.iter().map(|_| Err(Error::Closed)).collect();
        }
        if let Err(error) = self.settle_doubt(writer) {
            return group.iter().map(|_| Err(error.clone())).collect();
        }
        let index = self.current.load().index + 1;
        let mut change = Change::to(index);
        let mut batch: BTreeMap<SealedKey, Option<Cipher>> = BTreeMap::new();
        let mut passed = Vec::with_capacity(group.len());
        for prepared in group {
            let fits = prepared.reads.holds(&self.shared.stripes, prepared.reads.index)
                && !prepared.reads.meets(&|stripe| writer.marked.has(stripe));
            passed.push(fits);
            if fits {
                prepared.bumps.iter().for_each(|stripe| writer.marked.add(*stripe));
                change.bumps.extend_from_slice(&prepared.bumps);
                change.rings.extend(prepared.rings);
                change.used.extend(prepared.used);
                prepared.writes.into_iter().for_each(|write| change.take(write, &mut batch));
            }
        }
        writer.marked.clear(&change.bumps);
        let stored = if batch.is_empty() && !self.renewing.load(Ordering::Relaxed) {
            Ok(index - 1)
        } else {
            let batch = batch.into_iter().map(|(key, value)| SealedWrite { key, value }).collect();
            self.store(writer, batch, change)
        };
        let answer = |fits| if fits { stored.clone().map(Ok) } else { Ok(Err(Conflict)) };
        passed.into_iter().map(answer).collect()
    }

    /// Makes a batch durable and visible, with whatever the store must note of itself.
    pub(crate) fn store_meta(
        &self,
        writer: &mut Writer,
        batch: Vec<SealedWrite>,
        keyring: Option<Keyring>,
    ) -> Result<Index> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.settle_doubt(writer)?;
        let mut change = Change::to(self.current.load().index + 1);
        change.keyring = keyring.map(Arc::new);
        self.store(writer, batch, change)
    }

    /// The same, with rings that change.
    pub(crate) fn store_rings(
        &self,
        writer: &mut Writer,
        batch: Vec<SealedWrite>,
        rings: Vec<(RingId, RingChange)>,
    ) -> Result<Index> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.settle_doubt(writer)?;
        let change = Change { rings, ..Change::to(self.current.load().index + 1) };
        self.store(writer, batch, change)
    }

    fn store(&self, writer: &mut Writer, mut batch: Vec<SealedWrite>, mut change: Change) -> Result<Index> {
        self.check_headroom(&batch)?;
        let index = change.index;
        let reserved = self.reserved.load(Ordering::Relaxed);
        self.count_seals(&mut batch, &mut change)?;
        self.count_rings(&mut batch, &mut change)?;
        let stored_index = Cipher(index.to_be_bytes().as_slice().into());
        batch.push(SealedWrite { key: names::meta(INDEX), value: Some(stored_index) });
        writer.unsettled = true;
        let committed = self.backend.commit(&batch).and_then(|()| self.backend.view());
        match committed {
            Ok(view) => {
                self.publish(change, view);
                self.set_trouble(None);
                Ok(index)
            }
            Err(error) => {
                // Perhaps the count was among what failed. The one of before holds in any case.
                self.reserved.store(reserved, Ordering::Relaxed);
                tracing::error!(%error, index, "a commit failed; the backend is opened anew to see whether it is stored");
                change.cause = error.to_string().into();
                writer.doubt = Some(change);
                self.ask_the_disk(writer)
            }
        }
    }

    fn publish(&self, change: Change, view: Arc<dyn View>) {
        let shared = &self.shared;
        if let Some(keyring) = change.keyring {
            shared.keyring.store(keyring);
        }
        if !change.rings.is_empty() {
            let mut rings = (**shared.rings.load()).clone();
            change.rings.into_iter().for_each(|(id, change)| rings.change(id, change));
            shared.rings.store(Arc::new(rings));
        }
        // Stripes first: who sees the new snapshot, or an entry of it, then sees that older entries no longer hold.
        change.bumps.iter().for_each(|stripe| shared.stripes.written(*stripe, change.index));
        for (hash, name, entry) in change.entries {
            shared.entries.insert(hash, name, entry);
        }
        self.current.store(Arc::new(Moment { index: change.index, view, shared: Arc::clone(shared) }));
        shared.published.store(change.index, Ordering::Relaxed);
    }

    fn check_headroom(&self, batch: &[SealedWrite]) -> Result<()> {
        let size: usize = batch.iter().map(SealedWrite::size).sum();
        let free = || self.backend.free_bytes().ok().flatten().unwrap_or(u64::MAX);
        // A copy on write needs room for the pages on the way to what changes as well.
        let wanted = HEADROOM.saturating_add(4 * size as u64);
        if relieves(batch) || free() >= wanted {
            return Ok(());
        }
        // What waits to be settled may need less than it was given.
        if let Err(error) = self.backend.settle() {
            tracing::warn!(%error, "the backend could not be settled");
        }
        let free = free();
        if free >= wanted {
            return Ok(());
        }
        let cause: Arc<str> = format!("the disk has only {free} bytes left").into();
        self.set_trouble(Some(Arc::clone(&cause)));
        Err(Error::Trouble(cause))
    }

    /// Keeps the stored count of seals ahead of the true one, and begins a new term before the old one is used up.
    fn count_seals(&self, batch: &mut Vec<SealedWrite>, change: &mut Change) -> Result<()> {
        let keyring = change.keyring.clone().unwrap_or_else(|| self.shared.keyring.load_full());
        let mut status = keyring.status();
        let mut active = keyring;
        if status.encryptions >= SEALS_PER_TERM_MAX {
            active = Arc::new(active.rotated(&*self.random, (self.clock)())?);
            status = active.status();
            let value = Some(active.sealed(&*self.random));
            batch.push(SealedWrite { key: names::meta(KEYRING), value });
            change.keyring = Some(Arc::clone(&active));
        }
        let reserved = self.reserved.load(Ordering::Relaxed);
        if change.keyring.is_some() || status.encryptions + SEALS_RESERVED / 2 > reserved {
            let reserved = status.encryptions + SEALS_RESERVED;
            self.reserved.store(reserved, Ordering::Relaxed);
            self.renewing.store(false, Ordering::Relaxed);
            batch.push(count_record(status.term, reserved));
        }
        Ok(())
    }

    /// Whether so many more seals would be more than the stored count says.
    fn count_nears(&self, more: u64) -> bool {
        self.shared.keyring.load().status().encryptions + more > self.reserved.load(Ordering::Relaxed)
    }

    /// Keeps the stored count ahead for a seal that no commit will count. It is renewed in time by the committer; where it
    /// has run out, as after a start, first.
    pub(crate) fn count_one_ahead(&self) -> Result<()> {
        // Others may seal at the same time.
        let few = SEALS_RESERVED / 64;
        if self.count_nears(few) {
            return self.exclusively(|writer| match self.count_nears(few) {
                true => self.store_meta(writer, Vec::new(), None).map(drop),
                false => Ok(()),
            });
        }
        if self.count_nears(SEALS_RESERVED / 4) && !self.renewing.swap(true, Ordering::Relaxed) {
            let nothing = Txn::on(self.snapshot()).prepare(&*self.random);
            self.submit(nothing, Box::new(drop));
        }
        Ok(())
    }

    /// The same for the rings that sealed something.
    fn count_rings(&self, batch: &mut Vec<SealedWrite>, change: &mut Change) -> Result<()> {
        let mut used = std::mem::take(&mut change.used);
        used.sort_unstable_by_key(|ring| ring.id);
        used.dedup_by_key(|ring| ring.id);
        let rings = self.shared.rings.load();
        for ring in used {
            // It may have had a new term or root key since: one more follows the keys of today.
            let today = rings.open(ring.id);
            let ring = today.unwrap_or(&ring);
            let count = ring.keyring.status().encryptions;
            if count >= SEALS_PER_TERM_MAX && today.is_some() {
                let ring = Arc::new(ring.rotated(&*self.random, (self.clock)())?);
                batch.push(ring.keys_write(&*self.random));
                batch.push(ring.used_write(SEALS_RESERVED));
                change.rings.push((ring.id, RingChange::Rotated(ring)));
            } else if count + SEALS_RESERVED / 2 > ring.reserved.load(Ordering::Relaxed) {
                batch.push(ring.used_write(count + SEALS_RESERVED));
            }
        }
        Ok(())
    }

    /// Makes rings open or sealed, and has everything be read anew. Nothing of it is stored.
    pub(crate) fn swap_rings(&self, _: &mut Writer, work: impl FnOnce(&mut Rings)) {
        let shared = &self.shared;
        let mut rings = (**shared.rings.load()).clone();
        work(&mut rings);
        shared.rings.store(Arc::new(rings));
        let current = self.current.load_full();
        let index = current.index + 1;
        shared.stripes.all_written(index);
        let moment = Moment { index, view: Arc::clone(&current.view), shared: Arc::clone(shared) };
        self.current.store(Arc::new(moment));
        shared.published.store(index, Ordering::SeqCst);
        // After that: who is about to remember something of before sees that it is not of today.
        shared.lists.clear();
        shared.folders.clear();
        shared.entries.clear();
    }

    /// Brings the backend into the form that opens fast, once after the last write.
    pub(crate) fn settle(&self) {
        let mut writer = lock(&self.writer);
        if !writer.unsettled || writer.doubt.is_some() {
            return;
        }
        match self.backend.settle().and_then(|()| self.backend.view()) {
            // The view of before may hold in memory what lies on the disk now.
            Ok(view) => {
                let Moment { index, shared, .. } = &**self.current.load();
                let moment = Moment { index: *index, view, shared: Arc::clone(shared) };
                self.current.store(Arc::new(moment));
                writer.unsettled = false;
            }
            Err(error) => {
                tracing::warn!(%error, "the backend could not be settled; the next open takes longer")
            }
        }
    }

    /// Stores the true count of seals, so that a clean end does not make it grow.
    pub(crate) fn store_count(&self) -> Result<()> {
        let mut writer = lock(&self.writer);
        self.settle_doubt(&mut writer)?;
        let status = self.shared.keyring.load().status();
        self.reserved.store(status.encryptions, Ordering::Relaxed);
        let mut batch = vec![count_record(status.term, status.encryptions)];
        let rings = self.shared.rings.load();
        batch.extend(rings.all_open().map(|ring| ring.used_write(ring.keyring.status().encryptions)));
        writer.unsettled = true;
        self.backend.commit(&batch)?;
        Ok(())
    }

    /// Takes no more writes. What waits is still committed.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn set_trouble(&self, cause: Option<Arc<str>>) {
        *lock(&self.trouble) = cause;
    }
}

impl Change {
    fn to(index: Index) -> Self {
        Self {
            index,
            cause: "".into(),
            bumps: Vec::new(),
            entries: Vec::new(),
            keyring: None,
            rings: Vec::new(),
            used: Vec::new(),
        }
    }

    fn take(&mut self, prepared: PreparedWrite, batch: &mut BTreeMap<SealedKey, Option<Cipher>>) {
        let PreparedWrite { name, write: SealedWrite { key, value } } = prepared;
        if let Some((hash, name)) = name {
            let entry = Entry { index: self.index, sealed: key.clone(), cipher: value.clone() };
            self.entries.push((hash, name, Arc::new(entry)));
        }
        batch.insert(key, value);
    }
}

impl Marked {
    fn none() -> Self {
        Self(vec![0; (1 << 16) / 64].into())
    }

    fn has(&self, stripe: Stripe) -> bool {
        let (word, bit) = stripe.position();
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn add(&mut self, stripe: Stripe) {
        let (word, bit) = stripe.position();
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn clear(&mut self, stripes: &[Stripe]) {
        for stripe in stripes {
            let (word, _) = stripe.position();
            if let Some(word) = self.0.get_mut(word) {
                *word = 0;
            }
        }
    }
}

/// The last index that is stored, and a view of it.
pub(crate) fn read_anew(backend: &dyn Backend) -> io::Result<(Index, Arc<dyn View>)> {
    let view = backend.view()?;
    let stored = view.get(&names::meta(INDEX))?;
    let index = stored.and_then(|bytes| Some(Index::from_be_bytes((*bytes.0).try_into().ok()?)));
    let index = index.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the record of the last index is damaged")
    })?;
    Ok((index, view))
}

/// Term and count: how often the active term may have sealed.
pub(crate) fn count_record(term: u32, seals: u64) -> SealedWrite {
    let bytes = [&term.to_be_bytes()[..], &seals.to_be_bytes()].concat();
    SealedWrite { key: names::meta(COUNT), value: Some(Cipher(bytes.into())) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot leave half of a commit behind: what is visible is swapped in whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
