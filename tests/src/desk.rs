//! A server in a drawer: a disk in memory, a dial for a clock, a seed for randomness. No socket, no thread, no wait.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kernel::{Answer, Control, Env, Handled, Kernel, Pending, Registry, Request, Settings, Ticked};
use kit::{AnyEngine, AnyMethod, Call, Fault, Secret, Soon, Time, Told, Verb, World};
use policy::Path;
use serde_json::Value;
use storage::faulty::{LyingDisk, PowerCut};
use storage::seal::{SealChoice, Split, UnsealKey};
use storage::{Committer, Options, Phase, Random};

use crate::dice::Dice;

/// When every desk begins: the first of January 2026.
pub const START_SECONDS: u64 = 1_767_225_600;

/// A server in a drawer.
pub struct Desk {
    /// The kernel itself.
    pub kernel: Arc<Kernel>,
    /// The disk, which can fail and lose power.
    pub disk: LyingDisk,
    /// The first root token.
    pub root: String,
    /// The shares that its owners were given, in hex.
    pub shares: Vec<String>,
    clock: Arc<AtomicU64>,
    key: UnsealKey,
    settings: Settings,
    seed: u64,
    surroundings: Surroundings,
}

/// What a desk stands in: the engines it can mount, and the world outside.
#[derive(Clone)]
pub struct Surroundings {
    /// The engines and methods.
    pub registry: Arc<dyn Registry>,
    /// The world.
    pub world: Arc<dyn World>,
}

/// A world in which nobody answers and no time passes.
pub struct Nobody;

/// Randomness that a seed repeats.
pub struct Seeded(Mutex<Dice>);

impl Seeded {
    /// Starts the stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Dice::new(seed)))
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&dice.roll().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Every engine and method there is.
pub struct Everything;

impl Registry for Everything {
    fn engine(&self, kind: &str, options: &Value) -> kit::Result<Arc<dyn AnyEngine>> {
        engines::open(kind, options)
    }

    fn method(&self, kind: &str, options: &Value) -> kit::Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)> {
        auth::open(kind, options)
    }

    fn engine_kinds(&self) -> &'static [&'static str] {
        static KINDS: LazyLock<Vec<&str>> =
            LazyLock::new(|| engines::KINDS.iter().map(|(kind, _)| *kind).collect());
        &KINDS
    }

    fn method_kinds(&self) -> &'static [&'static str] {
        static KINDS: LazyLock<Vec<&str>> =
            LazyLock::new(|| auth::KINDS.iter().map(|(kind, _)| *kind).collect());
        &KINDS
    }
}

impl World for Nobody {
    fn now(&self) -> Time {
        Time::from_seconds(START_SECONDS)
    }

    fn pause(&self, _: Duration) -> Soon<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn fetch(&self, call: Call) -> Soon<'_, kit::Result<Told>> {
        let text = format!("no answer from {}: nobody is there", call.url);
        Box::pin(std::future::ready(Err(kit::Error::new(Fault::Upstream, text))))
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, kit::Result<std::net::TcpStream>> {
        let text = format!("no connection to {host}:{port}: nobody is there");
        Box::pin(std::future::ready(Err(kit::Error::new(Fault::Upstream, text))))
    }
}

struct Alone;

impl Control for Alone {
    fn seal(&self) {}

    fn describe(&self) -> Value {
        Value::Null
    }

    fn loggers(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn log_level(&self, _: Option<&str>, _: Option<&str>) -> kit::Result<()> {
        Ok(())
    }
}

/// What a desk answered.
#[derive(Debug)]
pub struct Said {
    /// The status.
    pub status: u16,
    /// The body as it went out.
    pub raw: Vec<u8>,
    /// The body as JSON; null if it is none.
    pub json: Value,
    /// Headers of its own.
    pub headers: Vec<(&'static str, String)>,
}

impl Desk {
    /// A new server, unsealed.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Settings { allow_audit_api: true, ..Settings::default() })
    }

    /// A new server with settings of its own.
    pub fn with(seed: u64, settings: Settings) -> Self {
        let surroundings = Surroundings { registry: Arc::new(Everything), world: Arc::new(Nobody) };
        Self::within(seed, settings, surroundings)
    }

    /// A new server with settings, engines and a world of its own.
    pub fn within(seed: u64, settings: Settings, surroundings: Surroundings) -> Self {
        Self::sealed_within(
            &SealChoice::Shamir(Split { shares: 1, threshold: 1 }),
            seed,
            settings,
            surroundings,
        )
    }

    /// A new server under a seal of its own.
    ///
    /// # Panics
    /// If the choice cannot be.
    pub fn sealed_by(choice: &SealChoice, seed: u64, settings: Settings) -> Self {
        let surroundings = Surroundings { registry: Arc::new(Everything), world: Arc::new(Nobody) };
        Self::sealed_within(choice, seed, settings, surroundings)
    }

    fn sealed_within(choice: &SealChoice, seed: u64, settings: Settings, surroundings: Surroundings) -> Self {
        let disk = LyingDisk::new();
        let backend = Box::new(disk.redb().unwrap());
        let clock = Arc::new(AtomicU64::new(START_SECONDS * 1_000_000_000));
        let Phase::Blank(blank) = storage::open(backend, options()).unwrap() else {
            panic!("a new disk is blank")
        };
        let (sealed, initialised) = blank.init(choice, &Seeded::new(seed)).unwrap();
        let given = initialised.shares.iter().chain(&initialised.recovery);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let shares = given.map(|share| hex(share.as_bytes())).collect();
        let store = sealed.unseal(&initialised.key, Arc::new(Seeded::new(seed ^ 1))).unwrap();
        let kernel = Kernel::open(store, env(&clock, seed ^ 2, settings.clone(), &surroundings)).unwrap();
        let root = kernel.first_root_token().unwrap();
        Self { kernel, disk, root, shares, clock, key: initialised.key, settings, seed, surroundings }
    }

    /// Pulls the plug and starts again from what the disk holds.
    ///
    /// # Panics
    /// If what the disk holds does not open.
    #[must_use]
    pub fn crash(self, cut: PowerCut) -> Self {
        let Self { kernel, disk, root, shares, clock, key, settings, seed, surroundings } = self;
        drop(kernel);
        let seed = seed.wrapping_add(7);
        disk.restart(cut, &Seeded::new(seed));
        let backend = Box::new(disk.redb().unwrap());
        let Phase::Sealed(sealed) = storage::open(backend, options()).unwrap() else {
            panic!("a used disk is sealed")
        };
        let store = sealed.unseal(&key, Arc::new(Seeded::new(seed ^ 1))).unwrap();
        let kernel = Kernel::open(store, env(&clock, seed ^ 2, settings.clone(), &surroundings)).unwrap();
        Self { kernel, disk, root, shares, clock, key, settings, seed, surroundings }
    }

    /// Stops, and starts again with other settings.
    ///
    /// # Panics
    /// If what the disk holds does not open.
    #[must_use]
    pub fn start_again_with(self, settings: Settings) -> Self {
        Self { settings, ..self }.look(|_| ()).0
    }

    /// Looks at what is stored, beneath the kernel, and starts again.
    ///
    /// # Panics
    /// If what the disk holds does not open.
    pub fn look<T>(self, look: impl FnOnce(&storage::Snapshot) -> T) -> (Self, T) {
        let Self { kernel, disk, root, shares, clock, key, settings, seed, surroundings } = self;
        drop(kernel);
        let backend = Box::new(disk.redb().unwrap());
        let Phase::Sealed(sealed) = storage::open(backend, options()).unwrap() else {
            panic!("a used disk is sealed")
        };
        let seed = seed.wrapping_add(7);
        let store = sealed.unseal(&key, Arc::new(Seeded::new(seed ^ 1))).unwrap();
        let seen = look(&store.snapshot());
        let kernel = Kernel::open(store, env(&clock, seed ^ 2, settings.clone(), &surroundings)).unwrap();
        (Self { kernel, disk, root, shares, clock, key, settings, seed, surroundings }, seen)
    }

    /// What the clock shows, in seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.clock.load(Ordering::Relaxed) / 1_000_000_000
    }

    /// Turns the clock on.
    pub fn wait(&self, span: Duration) {
        self.clock.fetch_add(u64::try_from(span.as_nanos()).unwrap(), Ordering::Relaxed);
    }

    /// Sets the clock back.
    pub fn set_back(&self, span: Duration) {
        self.clock.fetch_sub(u64::try_from(span.as_nanos()).unwrap(), Ordering::Relaxed);
    }

    /// Does all that is due.
    pub fn tick(&self) {
        loop {
            let Ticked { count, outside, .. } = self.kernel.tick().unwrap();
            outside.into_iter().for_each(|claimed| block_on(self.kernel.outside(claimed)));
            if count == 0 {
                return;
            }
        }
    }

    /// Asks as root.
    pub fn ask(&self, verb: Verb, path: &str, body: &str) -> Said {
        self.ask_as(&self.root, verb, path, body)
    }

    /// Asks with a token, or without one if it is empty.
    pub fn ask_as(&self, token: &str, verb: Verb, path: &str, body: &str) -> Said {
        self.send(&request(token, verb, path, body))
    }

    /// Sends a signed message (`application/jose+json`) without a token.
    pub fn ask_signed(&self, path: &str, body: &str) -> Said {
        let mut request = request("", Verb::Post, path, body);
        request.remote.is_jose = true;
        self.send(&request)
    }

    /// Asks for an answer that is wrapped for a minute, and gives the wrapping token.
    pub fn ask_wrapped(&self, token: &str, verb: Verb, path: &str, body: &str) -> String {
        let request = Request { wrap_ttl: Some(Duration::from_secs(60)), ..request(token, verb, path, body) };
        let said = self.send(&request);
        said.json["wrap_info"]["token"].as_str().unwrap_or_else(|| panic!("not wrapped: {said:?}")).to_owned()
    }

    /// Sends a request as HTTP would.
    pub fn send(&self, request: &Request) -> Said {
        match self.kernel.handle(request) {
            Handled::Done(answer) => Said::of(answer.into_inner()),
            Handled::Later(pending) => self.finish(pending, request),
        }
    }

    /// Goes on with a request that had to wait.
    pub fn finish(&self, pending: Pending, request: &Request) -> Said {
        Said::of(block_on(self.kernel.finish(pending, request)).into_inner())
    }
}

impl Said {
    fn of(Answer { status, body, headers, .. }: Answer) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self { status, raw: body, json, headers }
    }

    /// The token of a login or a creation.
    pub fn token(&self) -> String {
        self.json["auth"]["client_token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token in {self:?}"))
            .to_owned()
    }

    /// The first header of this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The first error.
    pub fn error(&self) -> &str {
        self.json["errors"][0].as_str().unwrap_or_default()
    }

    /// Insists on a status.
    #[track_caller]
    #[allow(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "insisting is often all that is wanted"
    )]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.raw));
        self
    }
}

/// A request as HTTP makes it.
pub fn request(token: &str, verb: Verb, path: &str, body: &str) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let folder = matches!(verb, Verb::List | Verb::Scan) && !path.ends_with('/');
    Request {
        verb,
        path: Path::parse(&if folder { format!("{path}/") } else { path.to_owned() }).unwrap(),
        token: (!token.is_empty()).then(|| Secret::new(token.to_owned())),
        query: pairs.map(|(name, value)| (name.to_owned().into(), value.to_owned().into())).collect(),
        body: body.as_bytes().to_vec(),
        namespace: String::new(),
        wrap_ttl: None,
        wrap_format: kernel::WrapFormat::Plain,
        remote: kit::Remote { address: Some([127, 0, 0, 1].into()), ..kit::Remote::default() },
        headers: Vec::new(),
        help: false,
        meter: kernel::Meter::default(),
        lineage: kernel::Lineage::default(),
        hidden: false,
    }
}

fn options() -> Options {
    let mut options = Options::new(|| START_SECONDS * 1_000_000_000);
    options.committer = Committer::Inline;
    options.cache_bytes = 1024 * 1024;
    options
}

fn env(clock: &Arc<AtomicU64>, seed: u64, settings: Settings, surroundings: &Surroundings) -> Env {
    let dial = Arc::clone(clock);
    Env {
        // Each look moves it a little: two things never happen at once.
        now: Box::new(move || Time(dial.fetch_add(1000, Ordering::Relaxed))),
        random: Arc::new(Seeded::new(seed)),
        registry: Arc::clone(&surroundings.registry),
        world: Arc::clone(&surroundings.world),
        settings,
        control: Arc::new(Alone),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
