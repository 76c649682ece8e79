//! The life of a server: open, listen, serve, stop.

mod control;
mod describe;
pub(crate) mod files;
mod signals;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::{Env, Kernel, Settings, Ticked};
use storage::seal::{SealConfig, Split};
use storage::{SystemRandom, UnsealError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Environment, Metrics, Place, Seal, StaticKey};
use crate::http::conn::Door;
use crate::http::listener::{Bound, CONNECTIONS_MAX};
use crate::http::tls::Certificates;
use crate::log::Logs;
use crate::outside::Outside;
use crate::phase::{Facts, Phase, State, Stuck};
use crate::registry::All;
use crate::{store, world};
use control::Around;
use signals::{Declared, Reload};

/// What is needed to start.
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// The files that are looked at again at SIGHUP, for the log level.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) environment: Environment,
    pub(crate) logs: Logs,
}

/// A server that is listening, or about to be. What starts it may still prepare it.
pub(crate) struct Running {
    pub(crate) state: Arc<State>,
    /// Where it listens, in the order of the configuration.
    pub(crate) addresses: Vec<String>,
}

/// Why the server ended otherwise than it was told to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One line that says what to do.
    pub(crate) text: String,
    /// What the process ends with.
    pub(crate) code: u8,
}

impl Failure {
    /// It could not start, or go on.
    pub(crate) fn start(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// It was asked for something wrong: the command line or the configuration.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }
}

/// In-flight requests get so long to end.
const GRACE: Duration = Duration::from_secs(8);
/// And the disk so long after them.
const SETTLE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_secs(1);
/// How long nothing is looked up after nothing was found.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until told to stop. `prepare` is called once the addresses are taken, before anybody is let in.
pub(crate) fn run(plan: Plan, prepare: impl FnOnce(&Running) -> Result<(), Failure>) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
        .map_err(|error| Failure::start(format!("the system gives no threads: {error}")))?;
    let ended = runtime.block_on(serve(plan, prepare));
    runtime.shutdown_timeout(SETTLE);
    ended
}

async fn serve(plan: Plan, prepare: impl FnOnce(&Running) -> Result<(), Failure>) -> Result<(), Failure> {
    let Plan { config, files, environment, logs } = plan;
    let logs = Arc::new(logs);
    let declared = Arc::new(Mutex::new(config.audits.clone()));
    let (state, seal_wanted) = state(&config, &environment, Arc::clone(&declared), &logs)?;
    let mut doors = Vec::new();
    for listener in &config.listeners {
        let door = Door::new(listener.clone(), Arc::clone(&state), config.ui, Arc::clone(&logs));
        doors.push(Bound::new(door).await.map_err(|error| Failure::start(error.to_string()))?);
    }
    let addresses = doors.iter().map(Bound::shown).collect();
    let signals = signals::Signals::begin()?;
    let running = Running { state: Arc::clone(&state), addresses };
    // Unsealing reads the disk, and preparing may write it; nobody else runs yet.
    tokio::task::block_in_place(|| {
        locked::scrub(|| {
            state.unseal_itself().map_err(|stuck| stays_sealed(&stuck, &config.seal))?;
            prepare(&running)
        })
    })?;
    write_pid(&config)?;
    if !locked::all_locked() {
        tracing::warn!(
            "the system refuses to lock all key memory: raise the limit on locked memory (ulimit -l)"
        );
    }
    let certificates: Vec<_> = doors.iter().filter_map(Bound::certificates).collect();
    let sweepers: Vec<_> = doors.iter().map(Bound::sweeper).collect();
    let (stop, stopped) = watch::channel(false);
    let mut work = JoinSet::new();
    let files_max = files::take();
    if files_max < u64::from(CONNECTIONS_MAX) {
        tracing::warn!(
            "few files may be open, and each connection is one: raise the limit (LimitNOFILE in a unit of systemd, ulimit -Hn), or idle clients keep others out"
        );
    }
    let share = files_max / u64::try_from(doors.len().max(1)).unwrap_or(u64::MAX);
    let connections = u32::try_from(share).map_or(CONNECTIONS_MAX, |share| share.min(CONNECTIONS_MAX));
    for door in doors {
        work.spawn(door.serve(connections, stopped.clone(), GRACE));
    }
    let mut chores = JoinSet::new();
    chores.spawn(tick(Arc::clone(&state), sweepers));
    chores.spawn(control::seal_when_wanted(Arc::clone(&state), seal_wanted));
    for certificates in &certificates {
        chores.spawn(look_at_certificate(Arc::clone(certificates)));
    }
    tracing::info!(addresses = running.addresses.join(" "), "listening");
    say_what_is_next(&running, config.api_addr.as_deref().unwrap_or_default());
    let read_again = Reload { state: &state, certificates, logs, files, environment, declared };
    signals.until_stop(|| read_again.reload()).await;
    tracing::info!("stopping: requests in flight are answered, new ones are not taken");
    let _ = stop.send(true);
    while work.join_next().await.is_some() {}
    chores.shutdown().await;
    close(state).await;
    remove_pid(&config);
    tracing::info!("stopped");
    Ok(())
}

/// The server was given a key, and it does not open the store.
fn stays_sealed(stuck: &Stuck, seal: &Seal) -> Failure {
    match (stuck, seal) {
        (Stuck::Unseal(UnsealError::WrongKey), Seal::Static { current: StaticKey { id, source }, .. }) => {
            Failure::start(format!(
                "the static key \"{id}\" ({source:?}) is not the key that this data is sealed with: put the right one back, or move the data away to begin anew"
            ))
        }
        _ => Failure::start(stuck.to_string()),
    }
}

/// What a person has to do before the server serves.
fn say_what_is_next(running: &Running, api_addr: &str) {
    // Where clients find it: its certificate is for that name, and hardly for 0.0.0.0.
    let listening = running.addresses.first().map_or("", String::as_str);
    let address = Some(api_addr).filter(|address| !address.is_empty()).unwrap_or(listening);
    match &**running.state.phase() {
        Phase::Open { .. } | Phase::Sealed(SealConfig::Static { .. }) => {}
        Phase::Blank => {
            tracing::info!("the storage is new: set it up with: KEEP_ADDR={address} keep operator init");
        }
        Phase::Sealed(SealConfig::Shamir(Split { shares, threshold })) => {
            tracing::info!(
                "sealed: give {threshold} of the {shares} key shares, each with: KEEP_ADDR={address} keep operator unseal"
            );
        }
    }
}

fn state(
    config: &Config,
    environment: &Environment,
    declared: Declared,
    logs: &Arc<Logs>,
) -> Result<(Arc<State>, Arc<tokio::sync::Notify>), Failure> {
    let keys = store::keys(&config.seal, environment)?;
    let store = store::open(&config.storage)?;
    let settings = settings(config);
    let facts = Facts {
        version: settings.version.clone(),
        commit_date: settings.commit_date.clone(),
        storage_kind: settings.storage_kind.clone(),
        folder: store::restorable(&config.storage),
        clusters: settings.storage_kind == "raft",
        api_addr: settings.api_addr.clone(),
        cluster_addr: settings.cluster_addr.clone(),
        keys,
    };
    let seal_wanted = Arc::new(tokio::sync::Notify::new());
    let around =
        Arc::new(Around::new(Arc::clone(&seal_wanted), describe::describe(config), Arc::clone(logs)));
    let outside = Arc::new(Outside::with_patience(config.outside_timeout));
    let begin = move |store| {
        let env = Env {
            now: Box::new(world::now),
            random: Arc::new(SystemRandom),
            registry: Arc::new(All),
            world: Arc::clone(&outside) as _,
            settings: Settings {
                declared_audits: declared.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                ..settings.clone()
            },
            control: Arc::clone(&around) as _,
        };
        Kernel::open(store, env)
    };
    let state = State::new(store, facts, Arc::new(SystemRandom), Box::new(begin));
    Ok((Arc::new(state), seal_wanted))
}

fn settings(config: &Config) -> Settings {
    let open_metrics =
        |listener: &crate::config::Listener| matches!(listener.metrics, Metrics::Open | Metrics::Only);
    let duration = config.listeners.iter().map(|listener| listener.limits.request_duration_max).max();
    let defaults = Settings::default();
    Settings {
        version: crate::VERSION_ON_THE_WIRE.to_owned(),
        commit_date: crate::COMMIT_DATE.to_owned(),
        storage_kind: store::kind(&config.storage).to_owned(),
        cluster_name: config.cluster_name.clone(),
        api_addr: config.api_addr.clone().unwrap_or_else(|| guessed_address(config)),
        cluster_addr: config.cluster_addr.clone().unwrap_or_default(),
        default_lease_ttl: config.default_lease_ttl,
        max_lease_ttl: config.max_lease_ttl,
        max_request_duration: duration.unwrap_or(defaults.max_request_duration),
        allow_audit_api: config.allow_audit_api,
        allow_audit_prefix: config.allow_audit_prefix,
        raw_storage_endpoint: config.raw_storage_endpoint,
        introspection_endpoint: config.introspection_endpoint,
        profiling_endpoint: config.profiling_endpoint,
        allow_unauthenticated_workflows: config.allow_unauthenticated_workflows,
        open_metrics: config.listeners.iter().any(open_metrics),
        open_rekey: config.listeners.iter().any(|listener| listener.ceremonies.rekey),
        open_generate_root: config.listeners.iter().any(|listener| listener.ceremonies.generate_root),
        ui: config.ui,
        declared_audits: config.audits.clone(),
        lockouts: config.lockouts.clone(),
    }
}

/// The first address on which it listens, unless that is every address.
fn guessed_address(config: &Config) -> String {
    let guess = config.listeners.iter().find_map(|listener| match &listener.place {
        Place::Tcp(address) if !address.starts_with("0.0.0.0:") && !address.starts_with("[::]:") => {
            Some(format!("{}://{address}", if listener.tls.is_some() { "https" } else { "http" }))
        }
        _ => None,
    });
    guess.unwrap_or_default()
}

/// Runs what is due, and closes connections that wait too long.
async fn tick(state: Arc<State>, sweepers: Vec<impl Fn() + Send + Sync + 'static>) {
    let mut changes = state.changes();
    let mut beat = tokio::time::interval(TICK);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        let kernel = state.kernel();
        let woken = async {
            match &kernel {
                Some(kernel) => kernel.woken().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = beat.tick() => sweepers.iter().for_each(|sweep| sweep()),
            () = woken => {}
            () = std::future::ready(()), if more => {}
            _ = changes.changed() => continue,
        }
        let Some(kernel) = kernel else {
            more = false;
            continue;
        };
        more = settle(&kernel).await;
    }
}

/// Does a piece of what is due. True: there is more of it.
async fn settle(kernel: &Arc<Kernel>) -> bool {
    let ticking = Arc::clone(kernel);
    let ticked = tokio::task::spawn_blocking(move || ticking.tick()).await;
    match ticked {
        // Every commit wakes this task. A server that is written to all the time must not look all the time.
        Ok(Ok(Ticked { count: 0, .. })) | Err(_) => tokio::time::sleep(PAUSE).await,
        Ok(Ok(ticked)) => {
            for claimed in ticked.outside {
                let kernel = Arc::clone(kernel);
                tokio::spawn(async move { kernel.outside(claimed).await });
            }
            return ticked.more;
        }
        Ok(Err(error)) => {
            tracing::error!(%error, cause = error.cause(), "what is due could not be looked up");
            tokio::time::sleep(PAUSE).await;
        }
    }
    false
}

async fn look_at_certificate(certificates: Arc<Certificates>) {
    let mut beat = tokio::time::interval(certificates.look_every());
    loop {
        beat.tick().await;
        certificates.reload_if_changed();
    }
}

/// Seals, so that everything is on disk and the keys are gone before the process is.
async fn close(state: Arc<State>) {
    let sealed = tokio::task::spawn_blocking(move || state.seal());
    match tokio::time::timeout(SETTLE, sealed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(stuck))) => {
            tracing::error!(error = %stuck, "the storage did not close well; it is checked at the next start")
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the storage did not close well; it is checked at the next start")
        }
        Err(_) => tracing::error!("the storage did not close in time; it is checked at the next start"),
    }
}

fn write_pid(config: &Config) -> Result<(), Failure> {
    let Some(path) = &config.pid_file else { return Ok(()) };
    std::fs::write(path, std::process::id().to_string()).map_err(|error| {
        Failure::start(format!("the pid file {} cannot be written: {error}", path.display()))
    })
}

fn remove_pid(config: &Config) {
    if let Some(path) = &config.pid_file {
        // It may be gone, and nothing depends on it.
        let _ = std::fs::remove_file(path);
    }
}
