//! The one place where the server's state is: blank, sealed, or open.
//!
//! The hot path loads one pointer. Everything that changes the phase (init, unseal, seal) runs under one lock, in
//! threads that may block, and swaps that pointer when it is done. While it runs, the old phase still answers.

mod health;
mod init;
mod restore;
mod status;
mod unseal;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use kernel::{Answer, Kernel};
use kit::Time;
use storage::seal::{NamedKey, SealConfig, UnsealKey};
use storage::{Random, UnsealError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use unseal::Progress;

/// What the server is at the moment.
pub(crate) enum Phase {
    /// Nothing was ever stored.
    Blank,
    /// There is data, and no key.
    Sealed(SealConfig),
    /// It serves.
    Open {
        /// What serves.
        kernel: Arc<Kernel>,
        /// What would keep the key, were it sealed.
        seal: SealConfig,
        /// Since when.
        since: Time,
    },
}

/// The state of the server, shared by all its connections.
pub(crate) struct State {
    phase: ArcSwap<Phase>,
    /// The store while no kernel has it. Held for as long as a change of phase takes.
    store: Mutex<Option<storage::Phase>>,
    /// Shares that were shown so far.
    progress: Mutex<Progress>,
    facts: Facts,
    random: Arc<dyn Random>,
    begin: Begin,
    changed: tokio::sync::watch::Sender<u64>,
}

/// Makes a kernel of an open store.
pub(crate) type Begin = Box<dyn Fn(storage::Open) -> kit::Result<Arc<Kernel>> + Send + Sync>;

/// What the server knows about itself from its start.
pub(crate) struct Facts {
    /// `2.7.2+sealkeep.X.Y.Z`
    pub(crate) version: String,
    /// When this version was made.
    pub(crate) commit_date: String,
    /// What `storage_type` shows.
    pub(crate) storage_kind: String,
    /// Where the store lies, if backups can be restored there.
    pub(crate) folder: Option<PathBuf>,
    /// Storage that will be a cluster one day, and says so to clients.
    pub(crate) clusters: bool,
    /// URL for clients.
    pub(crate) api_addr: String,
    /// URL for other nodes.
    pub(crate) cluster_addr: String,
    /// Keys with which the server unseals itself.
    pub(crate) keys: Option<Keys>,
}

/// Keys of the static seal.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) current: NamedKey,
    pub(crate) previous: Option<NamedKey>,
}

/// Why a change of phase did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stuck {
    /// It was done before.
    #[error("Vault is already initialized")]
    Initialised,
    /// The configuration and the data do not fit together.
    #[error("{0}")]
    Mismatch(String),
    /// The store did not open.
    #[error("{0}")]
    Unseal(#[from] UnsealError),
    /// Nobody would hear the keys.
    #[error("the client went away before it was told the keys: nothing is stored")]
    Gone,
    /// The store failed.
    #[error("{0}")]
    Storage(#[from] storage::Error),
    /// The kernel did not start. The text is for the log.
    #[error("{}", .0.cause().map_or_else(|| .0.to_string(), str::to_owned))]
    Kernel(kit::Error),
}

impl State {
    /// Takes over a store as it was found.
    pub(crate) fn new(store: storage::Phase, facts: Facts, random: Arc<dyn Random>, begin: Begin) -> Self {
        let phase = cold(&store);
        Self {
            phase: ArcSwap::from_pointee(phase),
            store: Mutex::new(Some(store)),
            progress: Mutex::default(),
            facts,
            random,
            begin,
            changed: tokio::sync::watch::Sender::new(0),
        }
    }

    /// The phase of this moment.
    pub(crate) fn phase(&self) -> Guard<Arc<Phase>> {
        self.phase.load()
    }

    /// The kernel, if the server is open.
    pub(crate) fn kernel(&self) -> Option<Arc<Kernel>> {
        match &**self.phase.load() {
            Phase::Open { kernel, .. } => Some(Arc::clone(kernel)),
            _ => None,
        }
    }

    /// What the server is called.
    pub(crate) fn version(&self) -> &str {
        &self.facts.version
    }

    /// Tells of every change of phase.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Unseals with the key that the server was given, if there is one and it is sealed. True if it is open then.
    pub(crate) fn unseal_itself(&self) -> Result<bool, Stuck> {
        let mut store = self.store();
        match (&**self.phase.load(), &self.facts.keys) {
            (Phase::Open { .. }, _) => return Ok(true),
            (Phase::Blank, _) | (Phase::Sealed(SealConfig::Shamir(_)), None) => return Ok(false),
            (Phase::Sealed(SealConfig::Static { .. }), Some(_)) => {}
            (Phase::Sealed(SealConfig::Static { key_id, .. }), None) => {
                let text = format!(
                    "the data is sealed with the static key \"{key_id}\": add seal \"static\" {{ … }} with that key to the configuration"
                );
                return Err(Stuck::Mismatch(text));
            }
            (Phase::Sealed(SealConfig::Shamir(_)), Some(_)) => {
                let text = "the data is sealed with key shares, and the configuration has a static seal: remove that stanza, as a store keeps the kind of seal that it was made with (a backup does, too). For a static seal begin a new store and copy what you need through the API";
                return Err(Stuck::Mismatch(text.to_owned()));
            }
        }
        if let Some(keys) = &self.facts.keys {
            let key = UnsealKey::Static { current: keys.current.clone(), previous: keys.previous.clone() };
            self.open(&mut store, &key)?;
        }
        Ok(true)
    }

    /// Seals. Requests in flight end; the last of them lets go of the keys.
    pub(crate) fn seal(&self) -> Result<(), Stuck> {
        let mut store = self.store();
        let phase = self.phase.load_full();
        let Phase::Open { kernel, seal, .. } = &*phase else { return Ok(()) };
        // The key may have been made anew since it was opened.
        let seal = kernel.seal_config().unwrap_or_else(|_| seal.clone());
        self.swap(Phase::Sealed(seal));
        *store = Some(storage::Phase::Sealed(Arc::clone(kernel).shut()));
        tracing::info!("sealed");
        Ok(())
    }

    /// Whether this is for an endpoint that answers in every phase.
    pub(crate) fn answers(&self, request: &kernel::Request) -> bool {
        self.place(request).is_some()
    }

    /// Which of these endpoints is asked, as it is called below `sys/`.
    fn place<'r>(&self, request: &'r kernel::Request) -> Option<&'r str> {
        let path = request.path.as_str();
        if let Some(place) = path.strip_prefix("sys/") {
            let known = matches!(place, "health" | "seal-status" | "leader" | "init" | "unseal" | "seal");
            return known.then_some(place);
        }
        let (_, place) = path.rsplit_once("/sys/").filter(|(_, place)| IN_NAMESPACES.contains(place))?;
        let kernel = self.kernel()?;
        (!request.help && kernel.leads_beneath(request, place)).then_some(place)
    }

    /// The endpoints that answer in every phase. `None`: this is not one of them.
    pub(crate) fn answer(self: &Arc<Self>, request: &kernel::Request) -> Option<Reaction> {
        let place = self.place(request)?;
        use kit::Verb::{Get, Post};
        let in_namespace = !request.namespace.is_empty();
        Some(match (place, request.verb) {
            ("seal", Post) => return self.seal_while_sealed(),
            ("health" | "init" | "unseal", _) if in_namespace => {
                refusal(400, "operation unavailable in namespaces")
            }
            ("health", Get) => Reaction::Now(self.health(&request.query)),
            ("seal-status", Get) => Reaction::Now(self.seal_status()),
            ("leader", Get) => Reaction::Now(self.leader()),
            ("init", Get) => Reaction::Now(self.initialised()),
            ("init", Post) => Reaction::Blocking(State::init_request),
            ("unseal", Post) => Reaction::Blocking(State::unseal_request),
            _ if !request.path.as_str().starts_with("sys/") => refusal(405, "unsupported operation"),
            _ => Reaction::Now(Answer { status: 405, ..Answer::json(405, b"{\"errors\":[]}\n".to_vec()) }),
        })
    }

    /// Sealing what is sealed is no error; anything else about it is the kernel's.
    fn seal_while_sealed(&self) -> Option<Reaction> {
        match &**self.phase.load() {
            Phase::Open { .. } => None,
            _ => Some(Reaction::Now(Answer::json(204, Vec::new()))),
        }
    }

    /// Opens the store that is in `store`, or leaves it there.
    fn open(&self, store: &mut Option<storage::Phase>, key: &UnsealKey) -> Result<Arc<Kernel>, Stuck> {
        let sealed = match store.take() {
            Some(storage::Phase::Sealed(sealed)) => sealed,
            None => {
                return Err(Stuck::Mismatch(
                    "an earlier attempt to open the store failed: restart the server".to_owned(),
                ));
            }
            other => {
                *store = other;
                return Err(Stuck::Mismatch("Vault is not initialized".to_owned()));
            }
        };
        let seal = sealed.seal_config().clone();
        let open = sealed.unseal(key, Arc::clone(&self.random)).map_err(|still| {
            *store = Some(storage::Phase::Sealed(still.sealed));
            still.why
        })?;
        let kernel = (self.begin)(open).map_err(Stuck::Kernel)?;
        let since = crate::world::now();
        self.swap(Phase::Open { kernel: Arc::clone(&kernel), seal, since });
        tracing::info!("unsealed");
        Ok(kernel)
    }

    fn swap(&self, phase: Phase) {
        self.phase.store(Arc::new(phase));
        self.progress().forget();
        self.changed.send_modify(|count| *count += 1);
    }

    fn store(&self) -> MutexGuard<'_, Option<storage::Phase>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an endpoint that answers in every phase does so.
pub(crate) enum Reaction {
    /// With what is known.
    Now(Answer),
    /// With work on the disk, which wants the body and a thread that may block.
    Blocking(fn(&State, &[u8], Client) -> Answer),
}

/// Who waits for an answer, as far as that can be known. Without a line to them they stay.
#[derive(Debug, Default)]
pub(crate) struct Client(Option<oneshot::Receiver<()>>);

impl Client {
    /// One who has gone once the other end of this is dropped.
    pub(crate) fn new(line: oneshot::Receiver<()>) -> Self {
        Self(Some(line))
    }

    /// Whether they have gone. To be asked where a thread may block.
    fn has_gone(self) -> bool {
        self.0.is_some_and(|line| Handle::current().block_on(kernel::has_gone(line)))
    }
}

/// What a server says of itself in every namespace.
const IN_NAMESPACES: [&str; 2] = ["leader", "seal-status"];

fn cold(store: &storage::Phase) -> Phase {
    match store {
        storage::Phase::Blank(_) => Phase::Blank,
        storage::Phase::Sealed(sealed) => Phase::Sealed(sealed.seal_config().clone()),
    }
}

fn refusal(status: u16, text: &str) -> Reaction {
    Reaction::Now(refused(status, text))
}

/// `{"errors":[text]}`
fn refused(status: u16, text: &str) -> Answer {
    crate::http::reply::error_answer(status, text)
}

/// Writes a bare object, with the newline that clients see.
fn bare(status: u16, value: &serde_json::Value) -> Answer {
    Answer::json(status, format!("{value}\n").into_bytes())
}

#[cfg(test)]
mod tests;
