use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kit::{AnyEngine, AnyMethod, Error, Kind, Memo, Memos, MountId, Name, Result, Time};
use serde::{Deserialize, Serialize};
use storage::{Random, Snapshot, Txn};

use crate::namespaces::{self, Namespace, Ns};
use crate::outside::{OUTSIDE_BUSY, OUTSIDE_OF_MOUNT_MAX};
use crate::pool::Pool;
use crate::router::Router;
use crate::shelf::{OfNamespaces, SharedTable, Shelf, Source};

/// What is mounted where. Few, so that a change makes the whole router anew.
const MOUNTS: Shelf<MountEntry, OfNamespaces> = Shelf::shared(SharedTable::Mounts);

/// How many mounts there may be.
pub(crate) const MOUNTS_MAX: usize = 100_000;

/// Whether a mount holds secrets, lets people in, or belongs to the server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// A secrets engine.
    Secret,
    /// An auth method.
    Auth,
    /// `sys/`, `cubbyhole/`, `auth/token/`: always there.
    System,
}

/// A mount as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MountEntry {
    /// Random, never used again, and what its keys lie under.
    pub uuid: String,
    /// The namespace that it is mounted in.
    #[serde(default, skip_serializing_if = "Ns::is_root")]
    pub namespace: Ns,
    /// What it is.
    pub class: Class,
    /// Where it answers in its namespace, with its trailing slash; `auth/` in front for auth methods.
    pub path: String,
    /// The type it was mounted as.
    pub kind: String,
    /// `kv_1a2b3c4d`.
    pub accessor: String,
    /// For people.
    pub description: String,
    /// The options it was mounted with.
    pub options: Option<BTreeMap<String, String>>,
    /// What can be tuned.
    pub config: MountConfig,
    /// Kept and shown for clients; one node replicates nothing.
    pub local: bool,
    /// Kept and shown for clients; everything is sealed.
    pub seal_wrap: bool,
    /// Kept and shown for clients.
    pub external_entropy_access: bool,
    /// Since when it is unmounted: it answers no one any more, and is there until what it did outside is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

/// What of a mount can be tuned.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct MountConfig {
    /// Seconds; 0: the server's.
    pub default_lease_ttl: u64,
    /// Seconds; 0: the server's.
    pub max_lease_ttl: u64,
    /// Kept and shown for clients.
    pub force_no_cache: bool,
    /// What kind of tokens an auth method gives: empty, `default-service`, `default-batch`, `service`, `batch`.
    pub token_type: String,
    /// `unauth` or `hidden`; empty is hidden.
    pub listing_visibility: String,
    /// Keys that audit leaves readable in what is asked.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Keys that audit leaves readable in what is answered.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Headers that the engine is shown.
    pub passthrough_request_headers: Vec<String>,
    /// Headers that the engine may set.
    pub allowed_response_headers: Vec<String>,
    /// When an auth method locks out; nothing: as the server says.
    pub user_lockout_config: Option<LockoutConfig>,
    /// Kept and shown for clients.
    pub plugin_version: String,
}

/// When an auth method locks a user out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct LockoutConfig {
    /// After so many failures.
    pub lockout_threshold: u64,
    /// For so many seconds.
    pub lockout_duration: u64,
    /// A quiet time of so many seconds forgets them.
    pub lockout_counter_reset_duration: u64,
    /// Never.
    pub lockout_disable: bool,
}

/// Every engine and method there is. The binary introduces them; the kernel does not know them.
pub trait Registry: Send + Sync {
    /// The engine of this type.
    ///
    /// # Errors
    /// If there is none, or its options are wrong.
    fn engine(&self, kind: &str, options: &serde_json::Value) -> Result<Arc<dyn AnyEngine>>;

    /// The auth method of this type, twice the same value.
    ///
    /// # Errors
    /// If there is none, or its options are wrong.
    fn method(
        &self,
        kind: &str,
        options: &serde_json::Value,
    ) -> Result<(Arc<dyn AnyEngine>, Arc<dyn AnyMethod>)>;

    /// The types of secrets engines.
    fn engine_kinds(&self) -> &'static [&'static str];

    /// The types of auth methods.
    fn method_kinds(&self) -> &'static [&'static str];
}

/// A mount, ready to answer.
pub(crate) struct Mounted {
    pub(crate) entry: MountEntry,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) info: kit::Mount,
    pub(crate) engine: Arc<dyn AnyEngine>,
    /// The same value once more, if it can let people in.
    pub(crate) method: Option<Arc<dyn AnyMethod>>,
    /// Places to wait for the outside.
    pub(crate) outside: Pool,
}

/// Makes the router from what is stored, and keeps it while that reads the same.
pub(crate) struct Mounts {
    memo: Memo<(), Router>,
    registry: Arc<dyn Registry>,
    memos: Arc<Memos>,
    default_ttl: Duration,
    max_ttl: Duration,
}

/// The places of one mount to wait for the outside.
struct Places(Pool);

impl Default for Places {
    fn default() -> Self {
        Self(Pool::new(OUTSIDE_OF_MOUNT_MAX, OUTSIDE_BUSY))
    }
}

/// How many parsed things all mounts together keep.
const MEMOS_MAX: usize = 4096;

/// The engines that live in the kernel, by type.
pub(crate) trait System {
    fn engine(&self, kind: &str) -> Option<Arc<dyn AnyEngine>>;
}

impl Mounts {
    pub(crate) fn new(registry: Arc<dyn Registry>, default_ttl: Duration, max_ttl: Duration) -> Self {
        Self { memo: Memo::new(1), registry, memos: Arc::new(Memos::new(MEMOS_MAX)), default_ttl, max_ttl }
    }

    /// Forgets what was parsed, so that it is wiped; and all of the mounts that are not to be kept.
    pub(crate) fn forget(&self, keep: impl Fn(MountId) -> bool) {
        self.memo.forget();
        self.memos.forget(keep);
    }

    pub(crate) fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    /// The router as of `today`.
    pub(crate) fn router(&self, today: &Snapshot, system: &impl System) -> Result<Arc<kit::Kept<Router>>> {
        self.memo.get(&(), today, |txn| {
            let mut entries = Vec::new();
            let mut known = HashMap::from([(Ns::ROOT, Arc::new(Namespace::root()))]);
            for entry in namespaces::all(txn)? {
                let namespace = Arc::new(entry.namespace()?);
                known.insert(namespace.ns, Arc::clone(&namespace));
                entries.push((entry, namespace));
            }
            let mut mounted = Vec::new();
            MOUNTS.scan(txn, &[], None, |_, entry| {
                let path = entry.path.clone();
                let namespace = known.get(&entry.namespace);
                let namespace = namespace.ok_or_else(|| Error::internal("its namespace is gone"));
                // An entry that no longer opens must not take the others down with it.
                match namespace.and_then(|namespace| self.open(entry, Arc::clone(namespace), system)) {
                    Ok(opened) => mounted.push(Arc::new(opened)),
                    Err(error) => tracing::error!(path, %error, "a mount does not open"),
                }
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(Router::new(entries, mounted, &|ns| txn.is_sealed(ns.mount())))
        })
    }

    /// The engine of an entry, to see whether it opens.
    pub(crate) fn open(
        &self,
        entry: MountEntry,
        namespace: Arc<Namespace>,
        system: &impl System,
    ) -> Result<Mounted> {
        let options = serde_json::to_value(&entry.options)?;
        let (engine, method) = match entry.class {
            Class::System => {
                let engine = system.engine(&entry.kind);
                (engine.ok_or_else(|| Error::internal(format!("no system engine {:?}", entry.kind)))?, None)
            }
            Class::Secret => (self.registry.engine(&entry.kind, &options)?, None),
            Class::Auth => {
                let (engine, method) = self.registry.method(&entry.kind, &options)?;
                (engine, Some(method))
            }
        };
        let or =
            |seconds: u64, other: Duration| if seconds == 0 { other } else { Duration::from_secs(seconds) };
        let max_ttl = or(entry.config.max_lease_ttl, self.max_ttl);
        let info = kit::Mount {
            id: entry.id()?,
            path: entry.path.clone(),
            namespace: namespace.path.clone(),
            namespace_id: namespace.ns.mount(),
            accessor: entry.accessor.clone(),
            kind: entry.kind.clone(),
            options,
            default_ttl: or(entry.config.default_lease_ttl, self.default_ttl),
            max_ttl,
            memos: Arc::clone(&self.memos),
            people: &crate::identity::Everybody,
        };
        let outside = self.memos.lasting::<Places>(info.id).0.clone();
        Ok(Mounted { entry, namespace, info, engine, method, outside })
    }
}

impl MountEntry {
    /// The type as clients know it. What every namespace has, they know in a namespace by another name.
    pub(crate) fn shown_kind(&self) -> Cow<'_, str> {
        match self.class {
            Class::System if !self.namespace.is_root() => Cow::Owned(format!("ns_{}", self.kind)),
            _ => Cow::Borrowed(&self.kind),
        }
    }

    /// A new mount with an id of its own.
    pub(crate) fn new(ns: Ns, class: Class, path: &str, kind: &str, random: &dyn Random) -> Self {
        let id = ns.new_id(random);
        let mut short = [0; 4];
        random.fill(&mut short);
        let prefix = if class == Class::Auth { "auth_" } else { "" };
        Self {
            uuid: crate::ids::uuid(id.0),
            namespace: ns,
            class,
            path: path.to_owned(),
            kind: kind.to_owned(),
            accessor: format!("{prefix}{kind}_{}", hex::encode(short)),
            description: String::new(),
            options: None,
            config: MountConfig::default(),
            local: false,
            seal_wrap: false,
            external_entropy_access: false,
            ended: None,
        }
    }

    pub(crate) fn id(&self) -> Result<MountId> {
        crate::ids::mount(&self.uuid)
            .ok_or_else(|| Error::internal(format!("the mount {} has a damaged id", self.path)))
    }

    pub(crate) fn store(&self, txn: &mut Txn) -> Result<()> {
        MOUNTS.put(txn, self.namespace.mount(), Name::Id(&self.id()?.0), self)
    }

    pub(crate) fn forget(&self, txn: &mut Txn) -> Result<()> {
        MOUNTS.delete(txn, Name::Id(&self.id()?.0))
    }
}

impl Mounted {
    /// Whether it can do something outside, which is to be undone before it is gone.
    pub(crate) fn acts_outside(&self) -> bool {
        let kinds = (0..).map_while(|endpoint| self.engine.kind(endpoint));
        kinds.into_iter().any(|kind| kind == Kind::Effect)
    }
}

/// What is stored of a mount, unmounted or not.
pub(crate) fn find(source: &impl Source, uuid: &str) -> Result<Option<MountEntry>> {
    let Some(id) = crate::ids::mount(uuid) else { return Ok(None) };
    MOUNTS.get(source, Name::Id(&id.0))
}

/// Whether there is a mount of this id that answers.
pub(crate) fn lives(txn: &Txn, uuid: &str) -> Result<bool> {
    Ok(find(txn, uuid)?.is_some_and(|entry| entry.ended.is_none()))
}

/// Up to `limit` of the mounts that belong to a namespace.
pub(crate) fn of_namespace(source: &impl Source, ns: Ns, limit: usize) -> Result<Vec<MountEntry>> {
    let mut entries = Vec::new();
    MOUNTS.scan(source, &[], None, |_, entry| {
        if entry.namespace == ns {
            entries.push(entry);
        }
        Ok(if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(entries)
}

/// What every namespace has, the root included. One whose store is older than a part of it gets that part at the next
/// start.
pub(crate) fn first_mounts(txn: &mut Txn, ns: Ns, random: &dyn Random) -> Result<()> {
    let mut there = Vec::new();
    MOUNTS.scan(txn, &[], None, |_, entry| {
        if entry.class == Class::System && entry.namespace == ns {
            there.push(entry.path);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (path, kind, description) in [
        ("sys/", "system", "system endpoints used for control, policy and debugging"),
        ("cubbyhole/", "cubbyhole", "per-token private secret storage"),
        ("identity/", "identity", "identity store"),
        ("auth/token/", "token", "token based credentials"),
    ] {
        if there.iter().any(|known| known == path) {
            continue;
        }
        let mut entry = MountEntry::new(ns, Class::System, path, kind, random);
        if kind == "token" {
            entry.accessor = format!("auth_{}", entry.accessor);
            entry.config.token_type = if ns.is_root() { "default-service" } else { "default" }.to_owned();
        }
        match kind {
            "system" => {
                entry.seal_wrap = true;
                entry.config.passthrough_request_headers = vec!["Accept".to_owned()];
            }
            "cubbyhole" => entry.local = true,
            "identity" => entry.config.passthrough_request_headers = vec!["Authorization".to_owned()],
            _ => {}
        }
        entry.description = description.to_owned();
        entry.store(txn)?;
    }
    Ok(())
}
