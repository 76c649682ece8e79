use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kit::loose::Json;
use kit::{Beyond, Command, Error, Fault, Name, Query, Reading, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Txn;

use super::Sys;
use crate::identity::{self, Book};
use crate::namespaces::Ns;
use crate::settings::Settings;
use crate::shelf::Shelf;
use crate::tokens;

/// Which versions of the server have opened this store, in the order of their dates.
const VERSIONS: Shelf<Version> = Shelf::new(15);

/// A version that opened the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Version {
    version: String,
    commit_date: String,
    installed: Time,
}

/// Writes down that this version opens the store, if it is the first time.
///
/// # Errors
/// If the store does not answer.
pub(crate) fn note_version(txn: &mut Txn, settings: &Settings, now: Time) -> Result<()> {
    let mut known = false;
    VERSIONS.scan(txn, &[], None, |_, version| {
        known |= version.version == settings.version;
        Ok(if known { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if known {
        return Ok(());
    }
    let version = Version {
        version: settings.version.clone(),
        commit_date: settings.commit_date.clone(),
        installed: now,
    };
    VERSIONS.put(txn, Name::Id(&now.0.to_be_bytes()), &version)
}

#[derive(JsonSchema, Serialize)]
pub(super) struct History {
    key_info: BTreeMap<String, Installed>,
    keys: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
struct Installed {
    commit_date: String,
    previous_version: Option<String>,
    timestamp_installed: String,
}

/// Lists the versions of the server that have opened this store, oldest first.
#[derive(Deserialize, JsonSchema)]
pub(super) struct VersionHistory {}

impl Query<Sys> for VersionHistory {
    const ROUTE: Route = Route::list("version-history");
    type Reply = History;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<History>> {
        let (mut key_info, mut keys) = (BTreeMap::new(), Vec::new());
        VERSIONS.scan(cx.beyond(&Beyond::for_the_kernel()), &[], None, |_, version| {
            let Version { version, commit_date, installed } = version;
            let timestamp_installed = installed.truncated().rfc3339();
            let previous_version = keys.last().cloned();
            key_info
                .insert(version.clone(), Installed { commit_date, previous_version, timestamp_installed });
            keys.push(version);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(History { key_info, keys }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

#[derive(JsonSchema, Serialize)]
struct Node {
    hostname: String,
    api_address: String,
    cluster_address: String,
    active_node: bool,
    last_echo: Option<String>,
    version: String,
}

/// Lists the nodes of the cluster.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HaStatus {}

impl Query<Sys> for HaStatus {
    const ROUTE: Route = Route::get("ha-status").merged();
    type Reply = Nodes;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Nodes>> {
        let kernel = engine.kernel()?;
        let settings = &kernel.env.settings;
        let node = Node {
            hostname: super::host::name(),
            api_address: settings.api_addr.clone(),
            cluster_address: settings.cluster_addr.clone(),
            active_node: true,
            last_echo: None,
            version: settings.version.clone(),
        };
        Ok(Nodes { nodes: vec![node] }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Replication {
    mode: &'static str,
    dr: Mode,
    performance: Mode,
}

#[derive(JsonSchema, Serialize)]
struct Mode {
    mode: &'static str,
}

/// Says that there is no replication to other clusters, to clients that ask.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReplicationStatus {}

impl Query<Sys> for ReplicationStatus {
    const ROUTE: Route = Route::get("replication/status").unauthenticated().root_only();
    type Reply = Replication;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Replication>> {
        let disabled = || Mode { mode: "disabled" };
        Ok(Replication { mode: "disabled", dr: disabled(), performance: disabled() }.into())
    }
}

/// Shows the configuration of the server without its secrets.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Sanitized {}

impl Query<Sys> for Sanitized {
    const ROUTE: Route = Route::get("config/state/sanitized").root_only();
    type Reply = Json;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Json>> {
        Ok(Json(engine.kernel()?.env.control.describe()).into())
    }
}

/// Seals the server: it drops its keys and answers nothing more until it is unsealed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Seal {}

impl Command<Sys> for Seal {
    const ROUTE: Route = Route::post("seal").sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, _: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        // The seal falls when the requests in flight have ended, this one with its audit line among them.
        engine.kernel()?.env.control.seal();
        Ok(Reply::Nothing)
    }
}

/// Hands leadership to another node. Where there is no other, this one leads on.
#[derive(Deserialize, JsonSchema)]
pub(super) struct StepDown {}

impl Command<Sys> for StepDown {
    const ROUTE: Route = Route::post("step-down").sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        Ok(Reply::Nothing)
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct TokenCounters {
    counters: ServiceTokens,
}

#[derive(JsonSchema, Serialize)]
struct ServiceTokens {
    service_tokens: Total,
}

#[derive(JsonSchema, Serialize)]
struct Total {
    total: usize,
}

/// Counts the service tokens. It looks at each.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CountTokens {}

impl Query<Sys> for CountTokens {
    const ROUTE: Route = Route::get("internal/counters/tokens");
    type Reply = TokenCounters;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<TokenCounters>> {
        let total = tokens::accessors(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), usize::MAX)?.len();
        Ok(TokenCounters { counters: ServiceTokens { service_tokens: Total { total } } }.into())
    }
}

/// Nothing of this server's configuration is read again part by part: SIGHUP reads what can be.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Reload {
    /// What is to be read again.
    #[serde(rename = "subsystem")]
    _subsystem: String,
}

impl Command<Sys> for Reload {
    const ROUTE: Route = Route::post("config/reload/{subsystem}");
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        Err(Error::new(Fault::NotFound, "unsupported path").wrapped())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct EntityCounters {
    counters: Entities,
}

#[derive(JsonSchema, Serialize)]
struct Entities {
    entities: Total,
}

/// Counts the entities of this namespace.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CountEntities {}

impl Query<Sys> for CountEntities {
    const ROUTE: Route = Route::get("internal/counters/entities");
    type Reply = EntityCounters;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<EntityCounters>> {
        let today = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(today)?;
        let here = router.value().here(cx)?.at(identity::PATH);
        let book = here.map(|mounted| Book::of(mounted.info.id));
        let total = book.map_or(Ok(0), |book| book.count_entities(today))?;
        Ok(EntityCounters { counters: Entities { entities: Total { total } } }.into())
    }
}

/// Counted requests by month once.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CountRequests {}

impl Query<Sys> for CountRequests {
    const ROUTE: Route = Route::get("internal/counters/requests");
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        Err(Error::new(Fault::NotFound, "The functionality has been removed on this path"))
    }
}
