//! One mount on a disk in memory: enough of a server to ask an engine something and see what comes of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kit::{
    AnyEngine, AnyMethod, Asking, Body, Call, Caller, Claim, Due, Entity, Error, Fault, Fields, Found, Gauge,
    Heard, Kind, Match, Memos, Mount, MountId, Notes, Once, People, Reading, Recording, Remote, Renewal,
    Right, Soon, Terms, Time, Told, Verb, World, Writing,
};
use serde_json::{Value, json};
use storage::seal::{SealChoice, Split};
use storage::{
    Backend, Cipher, Committer, EachSealed, Memory, Open, Options, Phase, Random, SealedKey, SealedWrite,
    Txn, View,
};

/// When every bench begins: the first of January 2026.
const START_SECONDS: u64 = 1_767_225_600;

/// A mount and what it stands on.
pub(crate) struct Bench {
    open: Open,
    mount: Mount,
    engine: Arc<dyn AnyEngine>,
    method: Option<Arc<dyn AnyMethod>>,
    now: Time,
    random: Arc<Counter>,
    /// Who asks.
    pub(crate) caller: Caller,
    /// From where requests come.
    pub(crate) remote: Remote,
    due: Mutex<Vec<Due>>,
    people: &'static Known,
    /// What lies outside; nothing, unless a test puts something there.
    pub(crate) world: Arc<dyn World>,
}

/// Whom identity knows, by their ids.
#[derive(Debug, Default)]
struct Known(Mutex<BTreeMap<String, Entity>>);

impl People for Known {
    fn entity(&self, _: &Txn, book: &str, id: &str) -> kit::Result<Option<Entity>> {
        Ok(self.0.lock().unwrap().get(id).filter(|entity| entity.book == book).cloned())
    }
}

/// An outside where nobody answers.
struct Nowhere;

impl World for Nowhere {
    fn now(&self) -> Time {
        Time::from_seconds(START_SECONDS)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn fetch(&self, _: Call) -> Soon<'_, kit::Result<Told>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }

    fn dial<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, kit::Result<TcpStream>> {
        Box::pin(std::future::ready(Err(Error::new(Fault::Upstream, "nobody is there"))))
    }
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) data: Value,
    /// `data` as it was written.
    pub(crate) text: String,
    /// The body as it was written, whatever it is.
    pub(crate) bytes: Vec<u8>,
    pub(crate) warnings: Vec<String>,
    pub(crate) advised: Option<u64>,
    pub(crate) errors: Vec<String>,
    pub(crate) claim: Option<Claim>,
    pub(crate) headers: Vec<(&'static str, String)>,
    elsewhere: bool,
}

/// Randomness that does not repeat itself, and is the same in each run.
struct Counter(AtomicU64);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut word = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}

/// A disk that counts what is read of it and written to it.
struct Counting {
    disk: Memory,
    counts: Arc<Counts>,
}

struct CountingView {
    view: Arc<dyn View>,
    counts: Arc<Counts>,
}

/// What a disk has counted.
#[derive(Default)]
pub(crate) struct Counts {
    reads: AtomicU64,
    bytes_written: AtomicU64,
}

impl Counts {
    /// How many entries were read.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many bytes were written, in names and values.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }
}

/// How much of a long test is done: as much as a variable of the environment says, or the least.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place where the tests of engines read their environment"
)]
pub(crate) fn soak(variable: &str, least: usize) -> usize {
    std::env::var(variable).map_or(least, |times| times.parse().unwrap())
}

impl Backend for Counting {
    fn view(&self) -> io::Result<Arc<dyn View>> {
        Ok(Arc::new(CountingView { view: self.disk.view()?, counts: Arc::clone(&self.counts) }))
    }

    fn commit(&self, batch: &[SealedWrite]) -> io::Result<()> {
        let size = |write: &SealedWrite| write.key().as_bytes().len() + write.value().map_or(0, <[u8]>::len);
        let bytes: usize = batch.iter().map(size).sum();
        self.counts.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.disk.commit(batch)
    }

    fn reopen(&self) -> io::Result<()> {
        self.disk.reopen()
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

impl View for CountingView {
    fn get(&self, key: &SealedKey) -> io::Result<Option<Cipher>> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        self.view.get(key)
    }

    fn scan(&self, from: &SealedKey, until: &SealedKey, each: EachSealed<'_>) -> io::Result<()> {
        self.view.scan(from, until, &mut |key, value| {
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            each(key, value)
        })
    }
}

impl Bench {
    pub(crate) fn new(engine: Arc<dyn AnyEngine>, method: Option<Arc<dyn AnyMethod>>) -> Self {
        Self::on(Box::new(Memory::new()), Options::new(|| START_SECONDS), engine, method)
    }

    /// On a disk that counts, with nothing kept in memory.
    pub(crate) fn counting(engine: Arc<dyn AnyEngine>) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let disk = Counting { disk: Memory::new(), counts: Arc::clone(&counts) };
        let options = Options { cache_bytes: 0, ..Options::new(|| START_SECONDS) };
        (Self::on(Box::new(disk), options, engine, None), counts)
    }

    fn on(
        disk: Box<dyn Backend>,
        mut options: Options,
        engine: Arc<dyn AnyEngine>,
        method: Option<Arc<dyn AnyMethod>>,
    ) -> Self {
        let random = Arc::new(Counter(AtomicU64::new(1)));
        options.committer = Committer::Inline;
        let phase = storage::open(disk, options).unwrap();
        let Phase::Blank(blank) = phase else { panic!("a new disk is blank") };
        let choice = SealChoice::Shamir(Split { shares: 1, threshold: 1 });
        let (sealed, made) = blank.init(&choice, &*random).unwrap();
        let Ok(open) = sealed.unseal(&made.key, Arc::clone(&random) as Arc<dyn Random>) else {
            panic!("the key was just made")
        };
        // As long as the test: there is no end to wait for.
        let people: &'static Known = Box::leak(Box::default());
        let mount = Mount {
            id: MountId([1; 16]),
            path: "mount/".to_owned(),
            namespace: String::new(),
            namespace_id: MountId([0; 16]),
            accessor: "mount_1".to_owned(),
            kind: engine.name().to_owned(),
            options: json!({}),
            default_ttl: Duration::from_secs(2_764_800),
            max_ttl: Duration::from_secs(2_764_800),
            memos: Arc::new(Memos::new(1000)),
            people,
        };
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let remote = Remote { address: Some(address), ..Remote::default() };
        let (due, caller) = (Mutex::default(), Caller::default());
        let (now, world) = (Time::from_seconds(START_SECONDS), Arc::new(Nowhere));
        Self { open, mount, engine, method, now, random, caller, remote, due, world, people }
    }

    /// Puts another engine on the same data, as a tuned mount does.
    pub(crate) fn reopen(self, engine: Arc<dyn AnyEngine>) -> Self {
        Self { engine, ..self }
    }

    /// Has identity know somebody from now on.
    pub(crate) fn knows(&self, entity: Entity) {
        self.people.0.lock().unwrap().insert(entity.id.clone(), entity);
    }

    /// Has identity know somebody no more.
    pub(crate) fn forgets(&self, id: &str) {
        self.people.0.lock().unwrap().remove(id);
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    pub(crate) fn now(&self) -> String {
        self.now.rfc3339()
    }

    /// How many entries the backend would show of this table of paths.
    pub(crate) fn paths(&self, table: u8) -> usize {
        let mut count = 0;
        let place = storage::Place { mount: self.mount.id, table };
        let mut each = |_: &str, _: &[u8]| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        };
        self.open.snapshot().walk(place, "", &mut each).unwrap();
        count
    }

    /// The number of the last commit.
    pub(crate) fn index(&self) -> u64 {
        self.open.snapshot().index()
    }

    /// How many entries there are under ids of this table, and all their bytes.
    pub(crate) fn ids(&self, table: u8) -> (usize, Vec<u8>) {
        let (mut count, mut all) = (0, Vec::new());
        let place = storage::Place { mount: self.mount.id, table };
        let mut each = |id: &[u8], value: storage::Value| {
            count += 1;
            all.extend_from_slice(id);
            all.extend_from_slice(&value);
            Ok(std::ops::ControlFlow::Continue(()))
        };
        self.open.snapshot().scan(place, &[], None, &mut each).unwrap();
        (count, all)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(Verb::Get, path, "")
    }

    pub(crate) fn list(&self, path: &str) -> Answer {
        self.send(Verb::List, path, "")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send(Verb::Delete, path, "")
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Verb::Post, path, &body.to_string())
    }

    pub(crate) fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Verb::Patch, path, &body.to_string())
    }

    /// Whether a write would be judged as an update; nothing if the engine does not say.
    pub(crate) fn exists(&self, path: &str) -> Option<bool> {
        let Found::Here { endpoint, captures, .. } = self.engine.find(Verb::Post, path) else {
            panic!("nothing takes a write at {path}")
        };
        let snapshot = self.open.snapshot();
        let cx = Reading::new(&Right::Open, &snapshot, &self.mount, &self.caller, &self.remote, self.now);
        self.engine.exists(endpoint, &captures, &cx).unwrap()
    }

    pub(crate) fn send(&self, verb: Verb, target: &str, body: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<(Cow<'_, str>, Cow<'_, str>)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let fields = |captures| Fields { path: captures, query: &query, body: body.as_bytes() };
        if let Some(method) = &self.method
            && let Some((point, _, fit)) = method.find_login(verb, path)
        {
            match fit {
                Match::Yes(captures) => match self.log_in(point, &fields(captures)) {
                    // What answers is the operation of the same route.
                    answer if answer.elsewhere => {}
                    answer => return answer,
                },
                Match::Lower(_) => return self.send(verb, &target.to_lowercase(), body),
                Match::No => panic!("a login that does not fit was found"),
            }
        }
        match self.engine.find(verb, path) {
            Found::Here { endpoint, kind: Kind::Query, captures, .. } => {
                let snapshot = self.open.snapshot();
                let cx =
                    Reading::new(&Right::Open, &snapshot, &self.mount, &self.caller, &self.remote, self.now);
                let result = self.engine.query(endpoint, &cx, &fields(captures));
                Answer::of(result, &cx.into_notes())
            }
            Found::Here { endpoint, kind: Kind::Ask, captures, .. } => {
                let heard = self.hear(&Right::Open, |cx| self.engine.facts(endpoint, cx, &fields(captures)));
                let heard = match heard {
                    Ok(heard) => heard,
                    Err(error) => return Answer::of(Err(error), &Notes::default()),
                };
                let (result, notes) = self
                    .write(&Right::Open, |cx| self.engine.decide(endpoint, cx, &fields(captures), &heard));
                Answer::of(result, &notes)
            }
            Found::Here { endpoint, captures, .. } => {
                let (result, notes) =
                    self.write(&Right::Open, |cx| self.engine.command(endpoint, cx, &fields(captures)));
                Answer::of(result, &notes)
            }
            Found::Lower(range) => {
                let mut lower = target.to_owned();
                lower.replace_range(range.clone(), &path[range].to_lowercase());
                self.send(verb, &lower, body)
            }
            Found::OtherVerb => Answer::error(405),
            Found::Nowhere => Answer::error(404),
        }
    }

    fn log_in(&self, point: usize, fields: &Fields<'_>) -> Answer {
        let method = self.method.as_ref().unwrap();
        let heard = match method.asks(point) {
            false => None,
            true => match self.hear(&Right::Login, |cx| method.facts(point, cx, fields)) {
                Ok(heard) => Some(heard),
                Err(error) => return Answer::of(Err(error), &Notes::default()),
            },
        };
        let (result, notes) = self.write(&Right::Login, |cx| method.login(point, cx, fields, heard.as_ref()));
        match result {
            Ok(claim) => Answer { claim: Some(claim), ..Answer::error(200) },
            Err(error) => Answer::of(Err(error), &notes),
        }
    }

    /// Finds out what to ask, and asks. What lies outside of a bench answers at once or never.
    fn hear(
        &self,
        right: &Right<'_>,
        facts: impl FnOnce(&Recording<'_>) -> kit::Result<Asking>,
    ) -> kit::Result<Heard> {
        let txn = self.open.begin();
        let cx = Recording::new(right, &txn, &self.mount, &self.caller, &self.remote, self.now);
        let mut asking = pin!(facts(&cx)?.ask(Arc::clone(&self.world)));
        match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(heard) => heard,
            Poll::Pending => Err(Error::new(Fault::Upstream, "no answer from outside")),
        }
    }

    fn write<T>(
        &self,
        right: &Right<'_>,
        run: impl Fn(&mut Writing<'_>) -> kit::Result<T>,
    ) -> (kit::Result<T>, Notes) {
        // The bench is its own pool for costly work.
        let mut once = Once::in_pool();
        loop {
            let mut txn = self.open.begin();
            let mut cx = Writing::new(
                right,
                &mut txn,
                &self.mount,
                &self.caller,
                &self.remote,
                self.now,
                &*self.random,
                &mut once,
            );
            let result = run(&mut cx);
            let (due, grant, notes) = cx.finish();
            if result.is_err() {
                return (result, notes);
            }
            if self.open.commit(txn).unwrap().is_ok() {
                let ends = grant.map(|grant| grant.end);
                self.due.lock().unwrap().extend(due.into_iter().chain(ends));
                return (result, notes);
            }
        }
    }

    /// What monitoring is shown: names with their labels, and how much.
    pub(crate) fn gauges(&self) -> BTreeMap<String, f64> {
        let snapshot = self.open.snapshot();
        let cx = Reading::new(&Right::Open, &snapshot, &self.mount, &self.caller, &self.remote, self.now);
        let gauges = self.engine.gauges(&cx).unwrap();
        let named = |gauge: Gauge| {
            let labels: Vec<_> = gauge.labels.iter().map(|(label, of)| format!("{label}={of}")).collect();
            (format!("{} {}", gauge.name, labels.join(",")), gauge.value)
        };
        gauges.into_iter().map(named).collect()
    }

    /// Runs what is due, and what that makes due. Returns how many operations ran.
    pub(crate) fn tick(&self) -> usize {
        let mut ran = 0;
        loop {
            let next = {
                let mut due = self.due.lock().unwrap();
                due.iter().position(|due| due.at <= self.now).map(|at| due.remove(at))
            };
            let Some(next) = next else { return ran };
            let endpoint = self.engine.find_internal(&next.operation).expect("what is due is an operation");
            let body = next.fields.to_string();
            let fields = Fields { body: body.as_bytes(), ..Fields::default() };
            if self.engine.kind(endpoint) == Some(Kind::Ask) {
                let heard = self.hear(&Right::Due, |cx| self.engine.facts(endpoint, cx, &fields)).unwrap();
                self.write(&Right::Due, |cx| self.engine.decide(endpoint, cx, &fields, &heard)).0.unwrap();
            } else {
                self.write(&Right::Due, |cx| self.engine.command(endpoint, cx, &fields)).0.unwrap();
            }
            ran += 1;
        }
    }

    /// Takes up what is due first and has to ask outside, as it stands while no answer comes.
    pub(crate) fn take_up(&self) -> Asking {
        let operation =
            |due: &Due| self.engine.find_internal(&due.operation).expect("what is due is an operation");
        let asks = |due: &Due| due.at <= self.now && self.engine.kind(operation(due)) == Some(Kind::Ask);
        let mut due = self.due.lock().unwrap();
        let at = due.iter().position(asks).expect("something is to be asked");
        let next = due.remove(at);
        let endpoint = operation(&next);
        let body = next.fields.to_string();
        let fields = Fields { body: body.as_bytes(), ..Fields::default() };
        let txn = self.open.begin();
        let cx = Recording::new(&Right::Due, &txn, &self.mount, &self.caller, &self.remote, self.now);
        self.engine.facts(endpoint, &cx, &fields).unwrap()
    }

    /// Whether a token with this claim behind it may live longer.
    pub(crate) fn renew(&self, claim: &Claim) -> kit::Result<Terms> {
        let snapshot = self.open.snapshot();
        let cx = Reading::new(&Right::Open, &snapshot, &self.mount, &self.caller, &self.remote, self.now);
        let past =
            Renewal { internal: &claim.internal, policies: &claim.terms.policies, metadata: &claim.metadata };
        self.method.as_ref().unwrap().renew(&past, &cx)
    }
}

impl Answer {
    fn error(status: u16) -> Self {
        let (warnings, errors) = (Vec::new(), Vec::new());
        let (text, bytes) = (String::new(), Vec::new());
        let (data, advised, claim) = (Value::Null, None, None);
        let headers = Vec::new();
        Self { status, data, text, bytes, warnings, advised, errors, claim, headers, elsewhere: false }
    }

    fn of(result: kit::Result<Body, Error>, notes: &Notes) -> Self {
        let warnings = notes.take_warnings();
        let (status, bytes) = match result {
            Ok(Body::Data(bytes) | Body::Bare(bytes)) => (200, bytes),
            Ok(Body::Keys { data, .. }) => (200, data.to_vec()),
            Ok(Body::Raw { status, bytes, .. }) => (status, bytes),
            Ok(Body::Nothing) => (if warnings.is_empty() { 204 } else { 200 }, Vec::new()),
            Ok(Body::Accepted(bytes)) => (202, bytes),
            Ok(Body::Gone(bytes)) => (404, bytes),
            Ok(Body::Status { status, data }) => (status, data),
            Ok(Body::Empty) => (404, Vec::new()),
            Err(error) => {
                let elsewhere = error.fault() == Fault::Elsewhere;
                let page = error.page().cloned().unwrap_or_default();
                let (data, headers) = (serde_json::from_slice(&page.bytes).unwrap_or_default(), page.headers);
                let errors = error.texts();
                return Self { errors, data, headers, elsewhere, ..Self::error(error.status()) };
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let data = serde_json::from_str(&text).unwrap_or_default();
        Self {
            status,
            data,
            text,
            bytes,
            warnings,
            advised: notes.advised(),
            errors: Vec::new(),
            claim: None,
            headers: notes.take_headers(),
            elsewhere: false,
        }
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The status, checked against what it should be.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// A refusal with this status and a text that holds `text`.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.errors.iter().any(|error| error.contains(text)), "{:?} lacks {text:?}", self.errors);
    }
}
