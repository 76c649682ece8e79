use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kit::{Error, MountId, Name, Result};
use serde::{Deserialize, Serialize};
use storage::Txn;

use crate::ids;
use crate::namespaces::Ns;
use crate::router::{Router, Space};
use crate::shelf::{Shelf, Source};

/// Limits by kind and name: `rate-limit/all`.
const QUOTAS: Shelf<QuotaRecord> = Shelf::new(25);
/// How rate limits are told of. One record.
const CONFIG: Shelf<Config> = Shelf::new(26);
const RECORD: Name<'static> = Name::Id(b"config");

/// How many limits there may be.
const QUOTAS_MAX: usize = 10_000;

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Requests.
    RateLimit,
    /// Leases.
    LeaseCount,
}

/// A limit as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct QuotaRecord {
    /// The mount that it is for; nothing: for all. The id, so that it moves and goes with its mount.
    pub(crate) mount: Option<String>,
    /// The namespace that it is for, if it is for no mount of it; nothing: the root, which is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<Ns>,
    /// The path below the mount; may end in a star. Empty: the whole mount.
    pub(crate) suffix: String,
    /// The role of the auth method. Empty: any.
    pub(crate) role: String,
    pub(crate) inheritable: bool,
    pub(crate) limit: Limit,
    /// Tells one state of it from the next, so that a changed limit begins with nothing used.
    pub(crate) stamp: u64,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// So many requests from one address in an interval.
    Rate { rate: f64, interval_seconds: u64, block_seconds: u64 },
    /// So many leases.
    Leases { max: u64 },
}

/// How rate limits are told of.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Config {
    pub(crate) audit_refusals: bool,
    pub(crate) response_headers: bool,
    pub(crate) exempt_paths: Vec<String>,
}

impl Default for Config {
    /// What nobody must be kept from: to look after the server, and to get back into it.
    fn default() -> Self {
        let exempt = [
            "sys/generate-recovery-token/attempt",
            "sys/generate-recovery-token/update",
            "sys/generate-root/attempt",
            "sys/generate-root/update",
            "sys/health",
            "sys/seal-status",
            "sys/unseal",
        ];
        let exempt_paths = exempt.map(str::to_owned).to_vec();
        Self { audit_refusals: false, response_headers: false, exempt_paths }
    }
}

/// All limits, as requests look them up.
pub(crate) struct Rules {
    pub(crate) config: Config,
    pub(crate) rates: Index<Rate>,
    pub(crate) leases: Index<Leases>,
    /// Equal while no limit of leases has changed.
    pub(crate) leases_version: u64,
}

/// A limit of requests.
#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) stamp: u64,
    pub(crate) limit: u64,
    pub(crate) interval: Duration,
    pub(crate) block: Duration,
}

/// A limit of leases.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) stamp: u64,
    pub(crate) max: u64,
}

/// Limits by what they are for.
pub(crate) struct Index<T> {
    all: Option<Arc<T>>,
    /// Those of namespaces, and whether what is beneath them is meant too.
    namespaces: HashMap<Ns, (Arc<T>, bool)>,
    mounts: HashMap<MountId, OfMount<T>>,
}

/// The limits of one mount.
struct OfMount<T> {
    whole: Option<Arc<T>>,
    exact: HashMap<String, Arc<T>>,
    /// What comes before the star. The longest that fits holds.
    prefixes: Vec<(String, Arc<T>)>,
    roles: HashMap<String, Arc<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { all: None, namespaces: HashMap::new(), mounts: HashMap::new() }
    }
}

impl<T> Default for OfMount<T> {
    fn default() -> Self {
        Self { whole: None, exact: HashMap::new(), prefixes: Vec::new(), roles: HashMap::new() }
    }
}

impl Rules {
    /// Reads them all. A limit whose mount is gone limits nothing.
    pub(crate) fn read(txn: &mut Txn, router: &Router) -> Result<Self> {
        let mut rules = Self {
            config: config(txn)?,
            rates: Index::default(),
            leases: Index::default(),
            leases_version: 0,
        };
        for kind in [Kind::RateLimit, Kind::LeaseCount] {
            for name in names(txn, kind)? {
                let Some(record) = find(txn, kind, &name)? else { continue };
                if record.path(router).is_none() {
                    continue;
                }
                let mount = record.mounted(router);
                let stamp = record.stamp;
                match record.limit {
                    Limit::Rate { rate, interval_seconds, block_seconds } => rules.rates.enter(
                        mount,
                        &record,
                        Rate {
                            stamp,
                            limit: whole(rate),
                            interval: Duration::from_secs(interval_seconds.max(1)),
                            block: Duration::from_secs(block_seconds),
                        },
                    ),
                    Limit::Leases { max } => {
                        rules.leases_version = rules.leases_version.wrapping_mul(31).wrapping_add(stamp | 1);
                        rules.leases.enter(mount, &record, Leases { stamp, max });
                    }
                }
            }
        }
        Ok(rules)
    }

    /// Whether a path is never counted.
    pub(crate) fn exempts(&self, path: &str) -> bool {
        self.config.exempt_paths.iter().any(|exempt| match exempt.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == exempt,
        })
    }
}

/// A rate in whole requests, as OpenBao rounds it; at least one.
fn whole(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let limit = rate.round() as u64;
    limit.max(1)
}

impl<T> Index<T> {
    fn enter(&mut self, mount: Option<MountId>, record: &QuotaRecord, limit: T) {
        let limit = Arc::new(limit);
        let Some(mount) = mount else {
            match record.namespace {
                Some(ns) => drop(self.namespaces.insert(ns, (limit, record.inheritable))),
                None => self.all = Some(limit),
            }
            return;
        };
        let of_mount = self.mounts.entry(mount).or_default();
        if !record.role.is_empty() {
            of_mount.roles.insert(record.role.clone(), limit);
        } else if let Some(prefix) = record.suffix.strip_suffix('*') {
            of_mount.prefixes.push((prefix.to_owned(), limit));
            of_mount.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        } else if record.suffix.is_empty() {
            of_mount.whole = Some(limit);
        } else {
            of_mount.exact.insert(record.suffix.clone(), limit);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_none() && self.namespaces.is_empty() && self.mounts.is_empty()
    }

    /// Whether it takes the role of a login to say which limit holds.
    pub(crate) fn has_roles(&self, mount: MountId) -> bool {
        self.mounts.get(&mount).is_some_and(|of_mount| !of_mount.roles.is_empty())
    }

    /// The narrowest limit for a path of a namespace.
    pub(crate) fn at(
        &self,
        router: &Router,
        space: &Space,
        path: &str,
        role: Option<&str>,
    ) -> Option<&Arc<T>> {
        let narrow = space.nearest(path).and_then(|(mounted, rest)| {
            let of_mount = self.mounts.get(&mounted.info.id)?;
            of_mount.at(rest.trim_end_matches('/'), role)
        });
        narrow.or_else(|| self.of_namespace(router, space)).or(self.all.as_ref())
    }

    /// The limit of a namespace, or of the nearest one above it that means those beneath it too.
    fn of_namespace(&self, router: &Router, space: &Space) -> Option<&Arc<T>> {
        if self.namespaces.is_empty() {
            return None;
        }
        let own = self.namespaces.get(&space.namespace.ns).map(|(limit, _)| limit);
        own.or_else(|| {
            let mut path = space.namespace.path.trim_end_matches('/');
            while let Some((above, _)) = path.rsplit_once('/') {
                path = above;
                let found = router.space_at(&format!("{path}/"));
                let found = found.and_then(|space| self.namespaces.get(&space.namespace.ns));
                if let Some((limit, true)) = found {
                    return Some(limit);
                }
            }
            None
        })
    }
}

impl<T> OfMount<T> {
    fn at(&self, rest: &str, role: Option<&str>) -> Option<&Arc<T>> {
        let role = role.and_then(|role| self.roles.get(role));
        let prefixed =
            || self.prefixes.iter().find(|(prefix, _)| rest.starts_with(prefix)).map(|(_, limit)| limit);
        role.or_else(|| self.exact.get(rest)).or_else(prefixed).or(self.whole.as_ref())
    }
}

impl QuotaRecord {
    /// Where its mount is.
    pub(crate) fn mounted(&self, router: &Router) -> Option<MountId> {
        let id = ids::mount(self.mount.as_deref()?)?;
        router.by_id(&id).map(|mounted| mounted.info.id)
    }

    /// The path as it is shown; nothing if its mount is gone.
    pub(crate) fn path(&self, router: &Router) -> Option<String> {
        match (&self.mount, self.namespace) {
            (Some(uuid), _) => {
                let mounted = router.by_id(&ids::mount(uuid)?)?;
                Some(format!("{}{}{}", mounted.namespace.path, mounted.entry.path, self.suffix))
            }
            (None, Some(ns)) => Some(router.space(ns)?.namespace.path.clone()),
            (None, None) => Some(String::new()),
        }
    }

    /// Whether it is for the same as another.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.mount, self.namespace, &self.suffix, &self.role)
            == (&other.mount, other.namespace, &other.suffix, &other.role)
    }
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::RateLimit => "rate-limit",
            Self::LeaseCount => "lease-count",
        }
    }

    fn name(self, name: &str) -> String {
        format!("{}/{name}", self.folder())
    }
}

/// The names of all limits of a kind, those of mounts that are gone included.
pub(crate) fn names(source: &impl Source, kind: Kind) -> Result<Vec<String>> {
    Ok(QUOTAS.list(source, kind.folder())?.to_vec())
}

pub(crate) fn find(source: &impl Source, kind: Kind, name: &str) -> Result<Option<QuotaRecord>> {
    QUOTAS.get(source, Name::Path(&kind.name(name)))
}

pub(crate) fn put(txn: &mut Txn, kind: Kind, name: &str, record: &QuotaRecord) -> Result<()> {
    let names = names(txn, kind)?;
    if names.len() >= QUOTAS_MAX && !names.iter().any(|known| known == name) {
        let text = format!("there are {QUOTAS_MAX} quotas already: delete some first");
        return Err(Error::invalid(text));
    }
    QUOTAS.put(txn, Name::Path(&kind.name(name)), record)
}

pub(crate) fn delete(txn: &mut Txn, kind: Kind, name: &str) -> Result<()> {
    QUOTAS.delete(txn, Name::Path(&kind.name(name)))
}

pub(crate) fn config(source: &impl Source) -> Result<Config> {
    Ok(CONFIG.get(source, RECORD)?.unwrap_or_default())
}

pub(crate) fn put_config(txn: &mut Txn, config: &Config) -> Result<()> {
    CONFIG.put(txn, RECORD, config)
}
