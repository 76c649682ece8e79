use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Weak};

use kit::{AnyEngine, Engine, Error, Kept, Name, Result, Time, World};
use storage::{Open, Random, Snapshot, Txn};
use tokio::sync::{Notify, Semaphore};

use crate::audit::Audits;
use crate::ceremonies::Ceremonies;
use crate::cubbyhole::Cubbyhole;
use crate::flights::Flights;
use crate::identity::Identity;
use crate::identity::mfa::Waiting;
use crate::lockout::Lockouts;
use crate::metrics::Metrics;
use crate::mounts::{self, Mounts, Registry, System};
use crate::namespaces::{self, Namespace, Ns};
use crate::outside::{OUTSIDE_BUSY, OUTSIDE_MAX, PHONES_MAX};
use crate::pool::Pool;
use crate::quotas::Quotas;
use crate::regulars::Regulars;
use crate::router::Router;
use crate::settings::{AuditSpec, Settings};
use crate::shelf::Shelf;
use crate::spending::Spendings;
use crate::sys::Sys;
use crate::token::Token;
use crate::token_record::ROOT_PATH;
use crate::tokens::{TokenRecord, Tokens};
use crate::turns::{RACES_MAX, Turns};
use crate::unsealing::Unsealing;
use crate::web::Web;
use crate::wrap_key::WrapKey;
use crate::{ids, policies};

/// What vouches for a backup is sealed for this.
const BACKUP: &[u8] = b"backup 1";
/// A clock that is set back by less, in nanoseconds, is waited for.
const SET_RIGHT: u64 = 2_000_000_000;
/// Facts about this server that are made once and kept: its id, its name, and the key of wrapping tokens.
const FACTS: Shelf<String> = Shelf::new(10);
/// The one that is a secret: what signs wrapping tokens.
const WRAP_KEY: &str = "wrapping-key";

/// An unsealed server: the store, and what is known about it. Sealing drops it.
pub struct Kernel {
    pub(crate) store: Open,
    pub(crate) mounts: Mounts,
    pub(crate) tokens: Tokens,
    pub(crate) wrap_key: WrapKey,
    pub(crate) audits: Audits,
    pub(crate) lockouts: Lockouts,
    pub(crate) regulars: Regulars,
    /// Logins that still owe a second factor.
    pub(crate) waiting: Waiting,
    pub(crate) metrics: Metrics,
    pub(crate) ceremonies: Ceremonies,
    pub(crate) unsealing: Unsealing,
    pub(crate) quotas: Quotas,
    pub(crate) web: Web,
    pub(crate) flights: Flights,
    pub(crate) spendings: Spendings,
    pub(crate) env: Env,
    /// The latest moment that was handed out.
    latest: AtomicU64,
    /// Costly work runs on few threads, so that cheap requests are not starved.
    pub(crate) pool: Pool,
    /// Places to wait for the outside.
    pub(crate) outside: Pool,
    /// Places to wait for people's phones.
    pub(crate) phones: Semaphore,
    pub(crate) turns: Turns,
    woken: Notify,
    pub(crate) request_ids: ids::RequestIds,
    cluster: Cluster,
    system: Engines,
}

/// How this server is called.
struct Cluster {
    id: String,
    name: String,
}

/// The engines that see beyond their mount.
struct Engines {
    sys: Arc<Sys>,
    token: Arc<Token>,
    cubbyhole: Arc<Cubbyhole>,
    identity: Arc<Identity>,
}

/// What a test replaces.
pub struct Env {
    /// The clock.
    pub now: Box<dyn Fn() -> Time + Send + Sync>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// Every engine and method there is.
    pub registry: Arc<dyn Registry>,
    /// What the operator decided.
    pub settings: Settings,
    /// What lies outside.
    pub world: Arc<dyn World>,
    /// The server around the kernel.
    pub control: Arc<dyn Control>,
}

/// What the kernel asks of the server around it.
pub trait Control: Send + Sync {
    /// Drops the keys, once the requests in flight have ended.
    fn seal(&self);

    /// The server's configuration without secrets, for `sys/config/state/sanitized`.
    fn describe(&self) -> serde_json::Value;

    /// How much each part of the server logs.
    fn loggers(&self) -> BTreeMap<String, String>;

    /// Has a part of the server log more or less; without a name all of it, without a level as the configuration says.
    ///
    /// # Errors
    /// If there is no such part or no such level.
    fn log_level(&self, part: Option<&str>, level: Option<&str>) -> Result<()>;
}

impl Kernel {
    /// Takes over an open store. On a new one it makes what every server has.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn open(store: Open, env: Env) -> Result<Arc<Self>> {
        first(&store, &env)?;
        let settings = &env.settings;
        let snapshot = store.snapshot();
        let fact = |name: &str| Ok::<_, Error>(FACTS.get(&snapshot, Name::Path(name))?.unwrap_or_default());
        let name = match &settings.cluster_name {
            Some(name) => name.clone(),
            None => fact("cluster-name")?,
        };
        let cluster = Cluster { id: fact("cluster-id")?, name };
        let mounts =
            Mounts::new(Arc::clone(&env.registry), settings.default_lease_ttl, settings.max_lease_ttl);
        let audits = Audits::new(settings, Arc::clone(&env.world));
        // A device that does not open is said now, and not when the first request is refused.
        audits.trail(&snapshot, &store)?;
        audits.try_new((env.now)(), &*env.random);
        let tokens = Tokens::new(&store);
        let wrap_key = WrapKey::read(&fact(WRAP_KEY)?)?;
        let request_ids = ids::RequestIds::new(&*env.random);
        let lockouts = Lockouts::new(&*env.random);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let busy = "too many costly requests at once; try again in a second";
        let pool = Pool::new(cores.saturating_sub(1).max(1), busy);
        Ok(Arc::new_cyclic(|kernel: &Weak<Self>| {
            let system = Engines {
                sys: Arc::new(Sys::new(Weak::clone(kernel))),
                token: Arc::new(Token::new(Weak::clone(kernel))),
                cubbyhole: Arc::new(Cubbyhole),
                identity: Arc::new(Identity::new(Weak::clone(kernel))),
            };
            Self {
                store,
                mounts,
                tokens,
                wrap_key,
                audits,
                lockouts,
                regulars: Regulars::new(),
                waiting: Waiting::default(),
                metrics: Metrics::default(),
                ceremonies: Ceremonies::default(),
                unsealing: Unsealing::default(),
                quotas: Quotas::default(),
                web: Web::default(),
                flights: Flights::default(),
                spendings: Spendings::default(),
                env,
                latest: AtomicU64::new(0),
                pool,
                outside: Pool::new(OUTSIDE_MAX, OUTSIDE_BUSY),
                phones: Semaphore::new(PHONES_MAX),
                turns: Turns::new(),
                woken: Notify::new(),
                request_ids,
                cluster,
                system,
            }
        }))
    }

    /// The first root token. It does not end, and is shown once.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn first_root_token(&self) -> Result<String> {
        self.root_token(None)
    }

    /// A root token of a chosen id, as a development server has one.
    ///
    /// # Errors
    /// If a token of this id exists.
    pub fn root_token(&self, id: Option<String>) -> Result<String> {
        let now = self.now();
        self.write(|txn| {
            let (random, root) = (&*self.env.random, Namespace::root());
            if let Some(id) = &id {
                self.tokens.free(txn, id)?;
            }
            let made = self.tokens.make(txn, random, &root, id.clone(), root_record(now))?;
            Ok(made.id.expose().clone())
        })
    }

    /// The id of the cluster, a UUID.
    pub fn cluster_id(&self) -> &str {
        &self.cluster.id
    }

    /// The name of the cluster.
    pub fn cluster_name(&self) -> &str {
        &self.cluster.name
    }

    /// The number of the last commit.
    pub fn index(&self) -> storage::Index {
        self.store.snapshot().index()
    }

    /// Why writes are refused at the moment, if they are.
    pub fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// What keeps the root key while the server is sealed.
    ///
    /// # Errors
    /// If the disk fails or the record of the seal is damaged.
    pub fn seal_config(&self) -> Result<storage::seal::SealConfig> {
        Ok(self.store.seal_config()?)
    }

    /// All that is stored at this moment, sealed, for a backup.
    pub fn copy(&self) -> storage::Copy {
        self.store.copy()
    }

    /// Seals what proves that a backup is whole, with the keys of this store.
    ///
    /// # Errors
    /// If the seal had to be counted first and the disk fails.
    pub fn vouch(&self, sums: &[u8]) -> Result<Vec<u8>> {
        Ok(self.store.seal_blob(BACKUP, sums)?)
    }

    /// What opens the store again.
    pub fn unseal_key(&self) -> storage::seal::UnsealKey {
        self.store.unseal_key()
    }

    /// Whether a store of another moment has the keys of this one, and these vouched for the backup that it came from.
    /// Hands it back as it was.
    ///
    /// # Errors
    /// If the disk fails, or the keys are others.
    pub fn knows(&self, other: storage::Sealed, sums: &[u8], voucher: &[u8]) -> Result<storage::Sealed> {
        let foreign = || {
            Error::invalid(
                "the backup is of another server, or of a time before its keys were made anew: to restore it all the same, use snapshot-force, and unseal with the key shares of that time",
            )
        };
        let random = Arc::clone(&self.env.random);
        let open = other.unseal(&self.store.unseal_key(), random).map_err(|_| foreign())?;
        let good = open.open_blob(BACKUP, voucher).is_some_and(|known| *known == sums);
        let sealed = open.shut();
        if good { Ok(sealed) } else { Err(foreign()) }
    }

    /// Opens audit files anew, as after a rotation.
    pub fn reopen_audits(&self) {
        self.audits.reopen();
    }

    /// Takes what the configuration declares of audit devices now.
    pub fn declare_audits(&self, specs: &[AuditSpec]) {
        self.audits.declare(specs);
        match self.audits.trail(&self.store.snapshot(), &self.store) {
            Ok(_) => self.audits.try_new(self.now(), &*self.env.random),
            Err(error) => tracing::error!(%error, "the audit devices could not be read"),
        }
    }

    /// Waits until there may be something due.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Takes no more writes, commits those that wait, and hands back the store without its keys.
    pub fn shut(&self) -> storage::Sealed {
        self.store.shut()
    }

    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// The time. It does not run backwards, as where a clock is set right by a little: it stands still for so long. One that
    /// is set back by more is followed, and people are told.
    pub(crate) fn now(&self) -> Time {
        // Read before the clock is: whoever is held up between the two finds a clock that is ahead, never one set back.
        let latest = self.latest.load(Acquire);
        let now = (self.env.now)().0;
        if latest.saturating_sub(now) < SET_RIGHT {
            return Time(self.latest.fetch_max(now, AcqRel).max(now));
        }
        if self.latest.compare_exchange(latest, now, AcqRel, Relaxed).is_ok() {
            let seconds = (latest - now) / 1_000_000_000;
            tracing::warn!(
                seconds,
                "the clock was set back; what was made under the later time ends that much later"
            );
            self.metrics.clock_set_back();
        }
        Time(now)
    }

    pub(crate) fn router(&self, today: &Snapshot) -> Result<Arc<Kept<Router>>> {
        self.mounts.router(today, self)
    }

    /// Runs `body` until its transaction is committed, and waits for that. For the agenda and the start; a
    /// request goes through `finish`.
    pub(crate) fn write<T>(&self, body: impl FnMut(&mut Txn) -> Result<T>) -> Result<T> {
        self.write_after(RACES_MAX, body)
    }

    /// The same, with as many races as may be lost before it runs while nobody else commits.
    pub(crate) fn write_after<T>(
        &self,
        races: u32,
        mut body: impl FnMut(&mut Txn) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..races {
            let mut txn = self.store.begin();
            let value = body(&mut txn)?;
            if txn.is_empty() {
                return Ok(value);
            }
            let counts = txn.take_counts();
            if let Ok(index) = self.store.commit(txn)? {
                self.count_committed(&counts, index);
                return Ok(value);
            }
        }
        let mut counts = Vec::new();
        let value = self.store.alone(|txn| {
            let value = body(txn);
            counts = txn.take_counts();
            value
        })?;
        self.count_committed(&counts, self.store.snapshot().index());
        value
    }
}

impl System for Kernel {
    fn engine(&self, kind: &str) -> Option<Arc<dyn AnyEngine>> {
        match kind {
            Sys::NAME => Some(Arc::clone(&self.system.sys) as _),
            Token::NAME => Some(Arc::clone(&self.system.token) as _),
            Cubbyhole::NAME => Some(Arc::clone(&self.system.cubbyhole) as _),
            Identity::NAME => Some(Arc::clone(&self.system.identity) as _),
            _ => None,
        }
    }
}

/// A token of the owner: it may do everything, and does not end.
pub(crate) fn root_record(now: Time) -> TokenRecord {
    TokenRecord {
        policies: vec!["root".to_owned()],
        path: ROOT_PATH.to_owned(),
        display_name: "root".to_owned(),
        created: now,
        ..TokenRecord::default()
    }
}

/// Makes what every server has, once, and writes down which version opens it.
fn first(store: &Open, env: &Env) -> Result<()> {
    let mut txn = store.begin();
    let now = (env.now)();
    crate::sys::note_version(&mut txn, &env.settings, now)?;
    if FACTS.get(&txn, Name::Path("cluster-id"))?.is_none() {
        let random = &*env.random;
        FACTS.put(&mut txn, Name::Path("cluster-id"), &ids::new_uuid(random))?;
        let name = format!("sealkeep-cluster-{}", ids::base62(random, 8).to_lowercase());
        FACTS.put(&mut txn, Name::Path("cluster-name"), &name)?;
        policies::first_policies(&mut txn, Ns::ROOT, now)?;
    }
    if FACTS.get(&txn, Name::Path(WRAP_KEY))?.is_none() {
        FACTS.put(&mut txn, Name::Path(WRAP_KEY), &*WrapKey::generate()?)?;
    }
    for ns in namespaces::with_root(&txn)? {
        mounts::first_mounts(&mut txn, ns, &*env.random)?;
    }
    if !txn.is_empty() {
        store.commit(txn)?.map_err(|_| Error::internal("another process writes to this store"))?;
    }
    Ok(())
}
