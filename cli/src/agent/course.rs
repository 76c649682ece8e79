//! The course of one certificate: obtain, deliver, watch, renew. One turn does what is due and says when to come again.
//!
//! Everything outside comes in a [`World`] and a `Disk`, so the same code runs for a service and in a simulation of
//! thousands. A turn may be cut off anywhere: the record and the link on the disk say where to go on.

mod advice;
mod delivery;
mod files;
mod report;

use std::{io::ErrorKind, rc::Rc, time::Duration};

pub(crate) use files::astray;
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    config::Certificate,
    ledger::Ledger,
    log::Level,
    login::{Identity, envelope},
    moment::Moment,
    pair,
    record::{Held, Mistake, Record},
    repeats::Repeats,
    schedule,
    shelf::{Hold, Shelf},
    world::{Alert, Cause, Event, Trouble, World},
};
use crate::{call::Call, client::Reply};

/// A single failure is no news; after this many in a row a person should know.
const FAILURES_BEFORE_ALERT: u32 = 3;
/// The same news is told again only after this long.
const ALERT_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A folder in which another process works is tried again after this.
const BETWEEN_LOCKS: Duration = Duration::from_secs(5);
/// The longest that anything but a renewal waits: a day, and the spread of one.
const FARTHEST: Duration = Duration::from_secs(2 * 24 * 3600);

/// One certificate on its way.
pub(crate) struct Course {
    pub(crate) plan: Certificate,
    pub(crate) record: Record,
    shelf: Shelf,
    identity: Rc<Mutex<Identity>>,
    ledger: Rc<Ledger>,
    /// A key and its request that brought no certificate yet: a server that is down does not make the machine make keys.
    waiting: Option<pair::Request>,
    /// The server is not asked before this moment: it is not there, or wants to be left alone.
    quiet_until: Moment,
    /// Whether the service was not yet seen with its certificate since this process began: it may be starting as well.
    starting: bool,
    /// When the files of a pair were last found missing.
    lost_at: Option<Moment>,
    /// What was told, and when.
    told: Vec<(Event, Moment)>,
    /// What the log has of failures already: of tries, of its own state, of the inventory.
    repeats: Repeats,
    unsaved: Repeats,
    unreported: Repeats,
    unshared: Repeats,
    alone: bool,
}

impl Course {
    /// Takes up where the disk says it was left.
    pub(crate) fn open(
        plan: Certificate,
        shelf: Shelf,
        identity: Rc<Mutex<Identity>>,
        ledger: Rc<Ledger>,
    ) -> Course {
        let mut course = Course {
            record: Record::new(&plan.name),
            plan,
            shelf,
            identity,
            ledger,
            waiting: None,
            quiet_until: Moment::default(),
            starting: true,
            lost_at: None,
            told: Vec::new(),
            repeats: Repeats::default(),
            unsaved: Repeats::default(),
            unreported: Repeats::default(),
            unshared: Repeats::default(),
            alone: true,
        };
        course.alone = course.shelf.hold().err().is_none_or(|e| e.kind() != ErrorKind::WouldBlock);
        course.take_up();
        course
    }

    /// Reads where it was left, and tidies if nobody else is at work here.
    fn take_up(&mut self) {
        let plan = &self.plan;
        let mut record = Record::load(self.shelf.disk.as_ref(), &plan.folder, &plan.name);
        record.number = record.number.max(self.shelf.shown().unwrap_or(0));
        // Where it was looked at under another configuration says nothing now.
        record.served.retain(|seen| plan.places.iter().any(|place| place.address == seen.address));
        // What the service shows now, nobody knows.
        record.watch_at = Moment::default();
        self.record = record;
        if self.alone {
            self.tidy();
        }
        self.ledger.show(&self.plan, &self.record);
    }

    /// Takes away what is neither needed nor shown. What cannot be taken away now can wait.
    fn tidy(&self) {
        let mut needed = self.record.needed();
        needed.extend(self.shelf.shown());
        let _ = self.shelf.keep_only(&needed);
    }

    /// Whether no other process works in its folder.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Sees to it that nobody else works in the folder. If somebody does, this one waits and follows what it is told on
    /// the disk.
    fn hold(&mut self, world: &impl World, now: Moment) -> bool {
        let folder = self.plan.folder.display();
        match self.shelf.hold() {
            Ok(Hold::Before) => {}
            Ok(Hold::Now) => {
                if !self.alone {
                    world.log(Level::Info, &format!("{}: takes over {folder}", self.plan.name));
                }
                self.alone = true;
                self.take_up();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let said = format!(
                    "{}: another `keep` is at work in {folder}, an agent or `keep cert get`: end it; until then this one leaves the folder alone",
                    self.plan.name
                );
                if self.unshared.is_news(&said, now) {
                    world.log(Level::Warn, &said);
                }
                self.alone = false;
                self.take_up();
                return false;
            }
            Err(e) => {
                // A folder that cannot be made or written is told of when something is to be written.
                let said = format!("{}: {folder} cannot be locked ({e}): run one agent only", self.plan.name);
                if e.kind() == ErrorKind::Unsupported && self.unshared.is_news(&said, now) {
                    world.log(Level::Warn, &said);
                }
                self.alone = true;
            }
        }
        true
    }

    /// Asks for a certificate at the next turn, whatever the schedule says.
    pub(crate) fn begin_now(&mut self) {
        self.record.renew_at = Moment::default();
        self.record.try_at = Moment::default();
    }

    /// Tries at the next turn: whoever runs it once does not want to wait for what was decided before.
    pub(crate) fn hasten(&mut self) {
        self.record.try_at = Moment::default();
        self.starting = false;
    }

    /// Says that it waits, and why, if that was decided by an earlier run.
    pub(crate) fn say_wait(&self, world: &impl World) {
        if let Some(mistake) = self.record.last_error.as_ref().filter(|_| self.record.try_at > world.now()) {
            let line = format!(
                "{}: waits for its next try at {}, as before this start: {}",
                self.plan.name, self.record.try_at, mistake.text
            );
            world.log(Level::Warn, &line);
        }
    }

    /// Does what is due, and says when the next turn is.
    pub(crate) async fn turn(&mut self, world: &impl World) -> Moment {
        let now = world.now();
        if !self.hold(world, now) {
            return now.plus(BETWEEN_LOCKS);
        }
        self.bound_dates(now);
        let pressed = self.press(world, now).await;
        let renewed = matches!(pressed, Ok(true));
        self.settle(world, pressed);
        // Whatever becomes of a service, the CA is heard and told.
        if !renewed && now >= self.quiet_until && self.owes(now) {
            let heeded = self.heed(world, now).await;
            self.settle(world, heeded);
        }
        self.ledger.show(&self.plan, &self.record);
        self.next_turn()
    }

    /// No date that the agent sets itself lies further away than this. One that does was reckoned by a clock that was wrong, and
    /// would have it wait for years.
    fn bound_dates(&mut self, now: Moment) {
        let farthest = now.plus(FARTHEST);
        let Record { try_at, watch_at, ask_at, report_at, .. } = &mut self.record;
        for date in [try_at, watch_at, ask_at, report_at] {
            if *date > farthest {
                *date = now;
            }
        }
        if self.quiet_until > farthest {
            self.quiet_until = now;
        }
    }

    fn next_turn(&self) -> Moment {
        let record = &self.record;
        if record.held.is_none() {
            return record.try_at;
        }
        let watch = if self.plan.places.is_empty() { record.renew_at } else { record.watch_at };
        let own = if record.delivered { record.renew_at.min(watch) } else { record.try_at };
        own.max(record.try_at).min(self.duty_at().max(self.quiet_until))
    }

    /// When the CA is to be asked or told next.
    fn duty_at(&self) -> Moment {
        let Record { ask_at, report_at, .. } = self.record;
        if self.plan.report { ask_at.min(report_at) } else { ask_at }
    }

    fn owes(&self, now: Moment) -> bool {
        self.record.held.is_some() && now >= self.duty_at()
    }

    /// The one most pressing thing of its own. `Ok(true)` if something was achieved that ends a row of failures.
    async fn press(&mut self, world: &impl World, now: Moment) -> Result<bool, Trouble> {
        let mended = self.mend(world, now);
        if now < self.record.try_at {
            return Ok(false);
        }
        mended?;
        if self.record.held.is_some() && now < self.record.renew_at {
            return self.keep_up(world, now).await;
        }
        let Err(trouble) = self.obtain(world).await else {
            return self.deliver(world).await.map(|()| true);
        };
        // What is held serves on meanwhile: an outage is no reason not to show it.
        match self.keep_up(world, now).await {
            Ok(_) => Err(trouble),
            Err(other) => Err(Trouble { text: format!("{}; and {}", trouble.text, other.text), ..trouble }),
        }
    }

    /// Sees to it that the service shows what is held, as long as it has not ended.
    async fn keep_up(&mut self, world: &impl World, now: Moment) -> Result<bool, Trouble> {
        let Some(held) = self.record.held.clone().filter(|held| now < held.not_after) else {
            return Ok(false);
        };
        if !self.record.delivered {
            return self.deliver(world).await.map(|()| true);
        }
        if !self.plan.places.is_empty() && now >= self.record.watch_at {
            self.watch(world, &held).await?;
        }
        Ok(false)
    }

    /// Asks the CA what it wants, and tells the inventory how things stand.
    async fn heed(&mut self, world: &impl World, now: Moment) -> Result<bool, Trouble> {
        let Some(held) = self.record.held.clone() else { return Ok(false) };
        if now >= self.record.ask_at {
            self.ask_advice(world, &held).await?;
        }
        if self.plan.report && now >= self.record.report_at {
            self.report(world).await;
        }
        Ok(false)
    }

    /// Writes down how a turn went.
    fn settle(&mut self, world: &impl World, done: Result<bool, Trouble>) {
        let now = world.now();
        match done {
            Ok(false) => {}
            Ok(true) => {
                self.record.failures = 0;
                self.repeats.over();
                self.record.last_success = Some(now);
                self.record.last_error = None;
                let before = self.told.len();
                self.told.retain(|(event, _)| *event == Event::BudgetShort);
                if self.told.len() < before {
                    self.tell(world, Event::Recovered, "the certificate is renewed and served again");
                }
            }
            Err(trouble) => self.fail(world, now, &trouble),
        }
        let saved = self.record.save(self.shelf.disk.as_ref(), &self.plan.folder);
        if let Err(error) = saved {
            self.ledger.disk_failed(&self.plan.name);
            let said = self.unwritable("the state", &error).advised();
            if self.unsaved.is_news(&said, now) {
                world.log(Level::Error, &format!("{}: {said}", self.plan.name));
            }
            self.tell(world, Event::DiskFailed, &said);
        } else {
            self.unsaved.over();
        }
    }

    fn unwritable(&self, what: &str, error: &std::io::Error) -> Trouble {
        Trouble::disk(&format!("{what} cannot be written below {}", self.plan.folder.display()), error)
    }

    fn fail(&mut self, world: &impl World, now: Moment, trouble: &Trouble) {
        self.record.failures = self.record.failures.saturating_add(1);
        let end = self.record.held.as_ref().map_or(now, |held| held.not_after);
        let left = end.since(now);
        let wait = match trouble.cause {
            Cause::Service => schedule::redelivery(self.record.failures, left, world.chance()),
            _ => schedule::backoff(self.record.failures, left, world.chance()),
        };
        let asked = trouble.pause.map(|asked| schedule::asked_pause(asked, left));
        // What the server asks for is spread too, or all who were told the same come back together.
        let asked = asked.map(|asked| asked + wait);
        self.record.try_at = now.plus(asked.unwrap_or(wait));
        if trouble.lost() || trouble.pause.is_some() || trouble.cause == Cause::Refused(429) {
            self.quiet_until = self.record.try_at;
        }
        let said = trouble.advised();
        self.record.last_error = Some(Mistake { at: now, text: said.clone() });
        if self.repeats.is_news(&said, now) {
            let times = match self.record.failures {
                1 => String::new(),
                times => format!("; failed {times} times in a row"),
            };
            let line = format!("{}: {said}{times}; next try at {}", self.plan.name, self.record.try_at);
            world.log(Level::Warn, &line);
        }
        match trouble.cause {
            Cause::Disk => {
                self.ledger.disk_failed(&self.plan.name);
                self.tell(world, Event::DiskFailed, &said);
            }
            Cause::Service => self.tell(world, Event::DeliveryFailed, &said),
            Cause::Unreachable
            | Cause::Untrusted
            | Cause::Handshake
            | Cause::Refused(_)
            | Cause::Unproven
            | Cause::Wrong => {
                if self.record.failures >= FAILURES_BEFORE_ALERT {
                    self.tell(world, Event::RenewalFailed, &said);
                }
            }
        }
    }

    /// Gets a new pair and puts it on the disk; it is not shown yet.
    async fn obtain(&mut self, world: &impl World) -> Result<(), Trouble> {
        let number = self.shelf.next(self.record.number);
        let got = self.obtain_pair(world, number).await;
        match got {
            Ok(held) => {
                self.ledger.renewed(&self.plan.name, "ok");
                self.take(world, held);
                // Kept at once: from here on a crash must find the pair, not ask for another.
                self.record
                    .save(self.shelf.disk.as_ref(), &self.plan.folder)
                    .map_err(|e| self.unwritable("the state", &e))?;
                self.tidy();
                Ok(())
            }
            Err(trouble) => {
                self.shelf.abandon(number);
                self.ledger.renewed(&self.plan.name, trouble.cause.word());
                Err(trouble)
            }
        }
    }

    async fn obtain_pair(&mut self, world: &impl World, number: u64) -> Result<Held, Trouble> {
        let wrong = |why: String| Trouble::new(Cause::Wrong, why);
        let request = match self.waiting.take() {
            Some(request) => request,
            None => self.request().map_err(wrong)?,
        };
        self.shelf.begin(number, &request.key).map_err(|e| self.unwritable("the new key", &e))?;
        let signed = match self.sign(world, &request.csr).await {
            Ok(signed) => signed,
            Err(trouble) => {
                self.waiting = Some(request);
                return Err(trouble);
            }
        };
        let text = |name: &str| signed.text(name).unwrap_or_default().to_owned();
        let mut chain: Vec<String> = signed
            .field("ca_chain")
            .and_then(|value| value.as_array())
            .map(|list| list.iter().filter_map(|pem| pem.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        chain.insert(0, text("issuing_ca"));
        let leaf = text("certificate");
        let (mut pair, mut held) =
            pair::accept(&request, &self.plan.names, &leaf, &chain, number, world.now()).map_err(wrong)?;
        pair.anchors = self.bundle(world, &held, &pair.anchors).await;
        held.bundle = Some(pair::fingerprint(&pair.anchors));
        self.shelf.complete(number, &pair).map_err(|e| self.unwritable("the new pair", &e))?;
        Ok(held)
    }

    /// A fresh key and its request; the key that is there only if the plan says so.
    fn request(&mut self) -> Result<pair::Request, String> {
        // Where other files of the pair are lost, its key may be there all the same.
        let there = self.record.held.as_ref().map(|held| held.number).or_else(|| self.shelf.shown());
        let kept = there.filter(|_| self.plan.reuse_key);
        let kept = kept.and_then(|number| self.shelf.file(number, "key.pem").ok());
        self.record.key_reused = kept.is_some();
        pair::request(self.plan.key, kept, &self.plan.names)
    }

    async fn sign(&self, world: &impl World, csr: &str) -> Result<crate::secret::Secret, Trouble> {
        let names = &self.plan.names;
        let mut body = json!({ "csr": csr, "common_name": names.common, "format": "pem" });
        if let Some(body) = body.as_object_mut() {
            let addresses: Vec<String> = names.addresses.iter().map(ToString::to_string).collect();
            let lists = [
                ("alt_names", names.hosts.join(",")),
                ("ip_sans", addresses.join(",")),
                ("uri_sans", names.uris.join(",")),
                ("ttl", self.plan.ttl.map(|ttl| format!("{}s", ttl.as_secs())).unwrap_or_default()),
            ];
            body.extend(
                lists.into_iter().filter(|(_, text)| !text.is_empty()).map(|(k, v)| (k.to_owned(), json!(v))),
            );
        }
        let path = format!("{}/sign/{}", self.plan.mount, self.plan.role);
        let answer = self.ask_as_self(world, &path, body).await;
        envelope(&answer.map_err(|trouble| trouble.during("asking for a certificate"))?)
    }

    /// Asks with the agent's own token.
    async fn ask_as_self(
        &self,
        world: &impl World,
        path: &str,
        body: serde_json::Value,
    ) -> Result<Reply, Trouble> {
        // Others work with this identity, too: it is not held while the server is asked.
        let token = self.identity.lock().await.token(world).await?;
        let call = Call::post(path, body.clone()).with_token(token.clone());
        let first = world.ask(call).await.map_err(Trouble::from);
        match first {
            // The token may have been revoked meanwhile: a new one says whether it was that.
            Err(trouble) if trouble.denied() => {
                let mut identity = self.identity.lock().await;
                if identity.held().as_ref() == Some(&token) {
                    identity.forget();
                }
                let token = identity.token(world).await?;
                drop(identity);
                world.ask(Call::post(path, body).with_token(token)).await.map_err(Trouble::from)
            }
            other => other,
        }
    }

    /// Makes a new pair the one that is to be delivered.
    fn take(&mut self, world: &impl World, held: Held) {
        let (record, life) = (&mut self.record, held.life());
        if record.delivered {
            let unwanted = record.wanted;
            record.earlier = record.held.take().map(|held| Held { unwanted, ..held });
        }
        record.number = held.number;
        record.renew_at = life.renewal(self.plan.survive, world.chance());
        record.wished = record.window.is_some_and(|window| window.start <= world.now());
        record.wanted = false;
        record.window = None;
        // Asked for once it is delivered, and from then on as often as the CA wants.
        record.ask_at = world.now();
        record.delivered = false;
        let (serial, until) = (held.serial.clone(), held.not_after);
        record.held = Some(held);
        let line = format!(
            "{}: certificate {serial} until {until}; next renewal at {}",
            self.plan.name, self.record.renew_at
        );
        world.log(Level::Info, &line);
        if !life.survives(self.plan.survive) {
            let needed = schedule::life_needed(self.plan.survive).as_secs();
            let text = format!(
                "the certificate lives {} s; to survive an outage of {} s it must live {needed} s: raise ttl, and max_ttl of the role",
                life.length().as_secs(),
                self.plan.survive.as_secs()
            );
            self.tell(world, Event::BudgetShort, &text);
        }
    }

    fn tell(&mut self, world: &impl World, event: Event, message: &str) {
        let at = world.now();
        // What was told by a clock that went ahead is as not told.
        let is_news = |when: Moment| at < when || at >= when.plus(ALERT_EVERY);
        if self.told.iter().any(|(known, when)| *known == event && !is_news(*when)) {
            return;
        }
        if event != Event::Recovered {
            self.told.retain(|(known, _)| *known != event);
            self.told.push((event, at));
        }
        world.alert(Alert {
            event,
            certificate: self.plan.name.clone(),
            message: message.to_owned(),
            not_after: self.record.held.as_ref().map(|held| held.not_after),
            at,
        });
    }
}
