use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kit::Writing;
use kit::loose::{Flag, Seconds};
use kit::{Ask, Beyond, Command, Error, Query, Reading, Reads, Recording, Reply, Result, Route, Time, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::Txn;

use super::Sys;
use crate::agenda::{self, Found, Item};
use crate::envelope::{Attached, Ending, LeaseShown};
use crate::kernel::Kernel;
use crate::leases::{self, Lease, LeaseId, Thing};
use crate::mounts::Mounted;
use crate::namespaces::{Namespace, Ns};
use crate::outside::CLAIM;
use crate::request::JSON;
use crate::router::{Router, Space};
use crate::shelf::Source;

/// How many leases are ended in one transaction.
const PIECE: usize = 256;
/// More than this are ended in the pool for costly work: each may be a certificate to revoke.
const QUICK_MAX: usize = 16;
/// How many irrevocable leases are shown unless more are asked for.
const SHOWN_MAX: usize = 10_000;

/// A lease as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    expire_time: Option<String>,
    id: String,
    issue_time: String,
    last_renewal: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace_path: String,
    path: String,
    renewable: bool,
    ttl: u64,
}

/// Shows when a lease ends and whether it can be renewed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Lookup {
    /// The lease.
    #[serde(default)]
    lease_id: String,
}

impl Query<Sys> for Lookup {
    const ROUTE: Route = Route::post("leases/lookup");
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        if self.lease_id.is_empty() {
            return Err(Error::invalid("lease_id must be specified"));
        }
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(snapshot)?;
        let invalid = || Error::invalid("invalid lease");
        let here = router.value().here(cx)?;
        let (namespace, id) = lease(router.value(), here, &self.lease_id).ok_or_else(invalid)?;
        Ok(shown(snapshot, namespace, &id, cx.now())?.ok_or_else(invalid)?.into())
    }
}

/// The lease that someone names. Its end says of which namespace it is; none can be named from outside that one but
/// from above.
fn lease<'a>(router: &'a Router, here: &Space, id: &str) -> Option<(&'a Namespace, LeaseId)> {
    let start = id.rfind('/').map_or(0, |slash| slash + 1);
    let (path, suffix) = match id.get(start..)?.split_once('.') {
        Some((leaf, suffix)) => (id.get(..start + leaf.len())?, Some(suffix)),
        None => (id, None),
    };
    let namespace = &router.by_suffix(suffix)?.namespace;
    here.namespace.holds(namespace).then(|| (&**namespace, LeaseId::new(namespace.ns, path)))
}

fn shown(source: &impl Source, namespace: &Namespace, id: &LeaseId, now: Time) -> Result<Option<Shown>> {
    let (path, _) = id.path.rsplit_once('/').unwrap_or(("", &id.path));
    let shown = |issued: Time, renewed: Option<Time>, expires: Option<Time>, renewable: bool| Shown {
        expire_time: expires.map(Time::rfc3339),
        id: namespace.mark(id.path.clone()),
        issue_time: issued.rfc3339(),
        last_renewal: renewed.map(Time::rfc3339),
        namespace_path: namespace.path.clone(),
        path: path.to_owned(),
        renewable,
        ttl: expires.map_or(0, |expires| now.until(expires).as_secs()),
    };
    Ok(match leases::find(source, id)? {
        None => None,
        Some(Lease::Thing(thing)) => Some(shown(
            thing.issued,
            thing.renewed,
            Some(thing.expires),
            thing.renewable && !thing.irrevocable(),
        )),
        Some(Lease::Token { hash }) => crate::tokens::find(source, hash)?
            .map(|token| shown(token.created, token.renewed, token.expires, token.renewable)),
    })
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    keys: Vec<String>,
}

/// Lists leases and folders of leases below a prefix.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// The folder to list.
    prefix: String,
}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("leases/lookup/{prefix*}").sudo();
    type Reply = Keys;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(snapshot)?;
        let here = &router.value().here(cx)?.namespace;
        let names = leases::list(snapshot, here.ns, self.prefix.trim_matches('/'))?;
        let mark = |name: String| if name.ends_with('/') { name } else { here.mark(name) };
        let keys: Vec<String> = names.into_iter().map(mark).collect();
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

/// Lets what a lease stands for live longer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Renew {
    /// The lease.
    #[serde(default)]
    lease_id: String,
    /// The lease, if the path names it.
    url_lease_id: String,
    /// How long from now; as long as at first, if left out.
    increment: Option<Seconds>,
}

impl Ask<Sys> for Renew {
    const ROUTE: Route = Route::post("leases/renew/{url_lease_id*}");
    type Facts = Option<Extension>;
    type Heard = ();
    type Reply = kit::Nothing;

    fn facts(&self, engine: &Sys, cx: &Recording<'_>) -> Result<Self::Facts> {
        extension(engine, cx, &named(&self.lease_id, &self.url_lease_id)?, self.increment)
    }

    async fn ask(&self, facts: &Self::Facts, world: &dyn World) -> Result<()> {
        extend(facts.as_ref(), world).await
    }

    fn run(self, engine: &Sys, (): &(), cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        renew(engine, cx, named(&self.lease_id, &self.url_lease_id)?, self.increment)
    }
}

/// Lets what a lease stands for live longer. Early clients call it here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyRenew {
    /// The lease.
    #[serde(default)]
    lease_id: String,
    /// The lease, if the path names it.
    url_lease_id: String,
    /// How long from now; as long as at first, if left out.
    increment: Option<Seconds>,
}

impl Ask<Sys> for LegacyRenew {
    const ROUTE: Route = Route::post("renew/{url_lease_id*}");
    type Facts = Option<Extension>;
    type Heard = ();
    type Reply = kit::Nothing;

    fn facts(&self, engine: &Sys, cx: &Recording<'_>) -> Result<Self::Facts> {
        extension(engine, cx, &named(&self.lease_id, &self.url_lease_id)?, self.increment)
    }

    async fn ask(&self, facts: &Self::Facts, world: &dyn World) -> Result<()> {
        extend(facts.as_ref(), world).await
    }

    fn run(self, engine: &Sys, (): &(), cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        renew(engine, cx, named(&self.lease_id, &self.url_lease_id)?, self.increment)
    }
}

/// Something outside that is to last longer before its lease does.
pub(super) struct Extension {
    mounted: Arc<Mounted>,
    endpoint: usize,
    plan: Value,
    until: Time,
}

/// What there is to be prolonged outside, if anything.
fn extension(
    engine: &Sys,
    cx: &Recording<'_>,
    id: &str,
    increment: Option<Seconds>,
) -> Result<Option<Extension>> {
    let beyond = Beyond::for_the_kernel();
    let kernel = engine.kernel()?;
    let id = meant(&kernel, cx, cx.peek(&beyond), id)?;
    let thing = renewable(cx.peek(&beyond), &id, cx.now())?;
    if !thing.outside() {
        return Ok(None);
    }
    let mounted = mounted(&kernel, cx.peek(&beyond), &thing)?;
    let endpoint = mounted.engine.find_effect(&thing.end.operation).ok_or_else(missing)?;
    let increment = Duration::from_secs(increment.map_or(0, |increment| increment.0));
    let (until, _) = leases::prolonged(&thing, increment, &mounted.info, cx.now())?;
    Ok(Some(Extension { mounted, endpoint, plan: thing.end.fields, until }))
}

async fn extend(extension: Option<&Extension>, world: &dyn World) -> Result<()> {
    match extension {
        Some(it) => it.mounted.engine.extend(it.endpoint, &it.plan, it.until, world).await,
        None => Ok(()),
    }
}

/// The lease that a request means.
fn meant(kernel: &Kernel, cx: &impl Reads, txn: &Txn, id: &str) -> Result<LeaseId> {
    let router = kernel.router(txn.snapshot())?;
    let (_, id) = lease(router.value(), router.value().here(cx)?, id).ok_or_else(missing)?;
    Ok(id)
}

/// A lease that can be renewed now.
fn renewable(source: &impl Source, id: &LeaseId, now: Time) -> Result<Thing> {
    let thing = match leases::find(source, id)?.ok_or_else(missing)? {
        Lease::Token { .. } => return Err(Error::invalid("tokens cannot be renewed through this endpoint")),
        Lease::Thing(thing) => thing,
    };
    if thing.irrevocable() {
        return Err(Error::invalid("lease is expired and has failed previous revocation attempts"));
    }
    if thing.expires <= now {
        return Err(Error::invalid("lease expired"));
    }
    Ok(thing)
}

fn mounted(kernel: &Kernel, txn: &Txn, thing: &Thing) -> Result<Arc<Mounted>> {
    let router = kernel.router(txn.snapshot())?;
    let mounted = crate::ids::mount(&thing.mount).and_then(|id| router.value().by_id(&id).cloned());
    mounted.ok_or_else(missing)
}

fn missing() -> Error {
    Error::invalid("lease not found")
}

fn renew(
    engine: &Sys,
    cx: &mut Writing<'_>,
    id: String,
    increment: Option<Seconds>,
) -> Result<Reply<kit::Nothing>> {
    let beyond = Beyond::for_the_kernel();
    let now = cx.now();
    let kernel = engine.kernel()?;
    let at = meant(&kernel, cx, cx.peek(&beyond), &id)?;
    let thing = renewable(cx.peek(&beyond), &at, now)?;
    let mounted = mounted(&kernel, cx.peek(&beyond), &thing)?;
    let increment = Duration::from_secs(increment.map_or(0, |increment| increment.0));
    let (thing, warnings) = leases::renew(cx.beyond(&beyond), &at, thing, increment, &mounted.info, now)?;
    warnings.into_iter().for_each(|warning| cx.warn(warning));
    let seconds = now.until(thing.expires).as_secs();
    let lease = LeaseShown { id, renewable: thing.renewable, seconds };
    cx.notes().attach(&beyond, Box::new(Attached::Lease(lease)));
    Ok(Reply::Nothing)
}

/// Ends a lease: what it stands for is taken back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Revoke {
    /// The lease.
    #[serde(default)]
    lease_id: String,
    /// The lease, if the path names it.
    url_lease_id: String,
    /// Whether the answer waits until it is done. It is by default.
    sync: Option<Flag>,
}

impl Command<Sys> for Revoke {
    const ROUTE: Route = Route::post("leases/revoke/{url_lease_id*}");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        revoke(engine, cx, &named(&self.lease_id, &self.url_lease_id)?, self.sync)
    }
}

/// Ends a lease. Early clients call it here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyRevoke {
    /// The lease.
    #[serde(default)]
    lease_id: String,
    /// The lease, if the path names it.
    url_lease_id: String,
    /// Whether the answer waits until it is done. It is by default.
    sync: Option<Flag>,
}

impl Command<Sys> for LegacyRevoke {
    const ROUTE: Route = Route::post("revoke/{url_lease_id*}");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        revoke(engine, cx, &named(&self.lease_id, &self.url_lease_id)?, self.sync)
    }
}

fn named(lease_id: &str, url_lease_id: &str) -> Result<String> {
    let id = if lease_id.is_empty() { url_lease_id } else { lease_id };
    if id.trim_matches('/').is_empty() {
        return Err(Error::invalid("lease_id must be specified"));
    }
    Ok(id.trim_matches('/').to_owned())
}

fn revoke(engine: &Sys, cx: &mut Writing<'_>, id: &str, sync: Option<Flag>) -> Result<Reply<kit::Nothing>> {
    let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
    let waits = sync.is_none_or(|Flag(flag)| flag);
    let router = kernel.router(cx.peek(&beyond).snapshot())?;
    let Some((_, id)) = lease(router.value(), router.value().here(cx)?, id) else { return Ok(ended(waits)) };
    let txn = cx.beyond(&beyond);
    match leases::find(txn, &id)? {
        // Who waits is told why it failed, and then nothing has changed.
        Some(Lease::Thing(thing)) if waits && thing.outside() => {
            kernel.end_lease(txn, &id)?;
            cx.notes().attach(&beyond, Box::new(Attached::Ending(Ending::Lease(id))));
        }
        Some(Lease::Thing(thing)) if waits => {
            kernel.take_back_thing(txn, &thing)?;
            leases::forget(txn, &id, &thing)?;
        }
        Some(_) => kernel.end_any(txn, &id, false)?,
        None => {}
    }
    Ok(ended(waits))
}

fn ended(waits: bool) -> Reply<kit::Nothing> {
    if waits { Reply::Nothing } else { Reply::Raw { status: 202, kind: JSON, bytes: Vec::new() } }
}

/// Ends every lease below a prefix.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RevokePrefix {
    /// The folder of leases.
    prefix: String,
    /// Whether the answer waits until it is done. It does by default.
    sync: Option<Flag>,
}

impl Command<Sys> for RevokePrefix {
    const ROUTE: Route = Route::post("leases/revoke-prefix/{prefix:long+}").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let waits = self.sync.is_none_or(|Flag(flag)| flag);
        let rest = end_all(&*engine.kernel()?, cx, &self.prefix, false)?;
        leave(cx, rest, waits)?;
        Ok(ended(waits))
    }
}

/// Ends every lease below a prefix. Early clients call it here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyRevokePrefix {
    /// The folder of leases.
    prefix: String,
}

impl Command<Sys> for LegacyRevokePrefix {
    const ROUTE: Route = Route::post("revoke-prefix/{prefix:long+}").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let rest = end_all(&*engine.kernel()?, cx, &self.prefix, false)?;
        leave(cx, rest, true)?;
        Ok(Reply::Nothing)
    }
}

/// Ends every lease below a prefix, and forgets those whose things cannot be taken back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RevokeForce {
    /// The folder of leases.
    prefix: String,
}

impl Command<Sys> for RevokeForce {
    const ROUTE: Route = Route::post("leases/revoke-force/{prefix:long+}").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let rest = end_all(&*engine.kernel()?, cx, &self.prefix, true)?;
        leave(cx, rest, true)?;
        Ok(Reply::Nothing)
    }
}

/// Ends every lease below a prefix, and forgets those whose things cannot be taken back. Early clients call it here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyRevokeForce {
    /// The folder of leases.
    prefix: String,
}

impl Command<Sys> for LegacyRevokeForce {
    const ROUTE: Route = Route::post("revoke-force/{prefix:long+}").logged().sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let rest = end_all(&*engine.kernel()?, cx, &self.prefix, true)?;
        leave(cx, rest, true)?;
        Ok(Reply::Nothing)
    }
}

/// Ends a piece of what lies below a prefix, and tells what is left to be done, if there may be more.
fn end_all(kernel: &Kernel, cx: &mut Writing<'_>, prefix: &str, force: bool) -> Result<Option<Item>> {
    let (now, namespace, beyond) = (cx.now(), Ns::of(cx), Beyond::for_the_kernel());
    let prefix = prefix.trim_matches('/');
    let itself = LeaseId::new(namespace, prefix);
    if leases::find(cx.peek(&beyond), &itself)?.is_some() {
        return kernel.end_any(cx.beyond(&beyond), &itself, force).map(|()| None);
    }
    let prefix = format!("{prefix}/");
    let ids = leases::below(cx.peek(&beyond), namespace, &prefix, now, PIECE)?;
    if ids.len() > QUICK_MAX {
        cx.costly()?;
    }
    let txn = cx.beyond(&beyond);
    ids.iter().try_for_each(|id| kernel.end_any(txn, id, force))?;
    Ok((ids.len() == PIECE).then_some(Item::EndAll { namespace, prefix, force, until: now }))
}

/// Enters what is left to be done: the agenda does so at once. If somebody waits for it, it is done for them, and the
/// agenda does it should that not come to its end.
fn leave(cx: &mut Writing<'_>, rest: Option<Item>, waits: bool) -> Result<()> {
    let Some(item) = rest else { return Ok(()) };
    let (tag, beyond) = (cx.random::<16>(), Beyond::for_the_kernel());
    let at = if waits { cx.now().plus(CLAIM) } else { cx.now() };
    agenda::enter(cx.beyond(&beyond), at, tag, &item)?;
    if waits {
        let ending = Ending::Rest(Found { at, tag, item });
        cx.notes().attach(&beyond, Box::new(Attached::Ending(ending)));
    }
    Ok(())
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Irrevocables {
    lease_count: usize,
    leases: Vec<IrrevocableShown>,
}

#[derive(JsonSchema, Serialize)]
struct IrrevocableShown {
    error: String,
    lease_id: String,
}

/// Lists leases that could not be ended and are left to a person.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Irrevocable {
    /// `irrevocable`, the only kind that is listed.
    #[serde(rename = "type", default)]
    kind: String,
    /// How many are shown at most; `none`: all.
    #[serde(default)]
    limit: String,
    /// Those of the namespaces beneath this one, too.
    #[serde(default)]
    include_child_namespaces: Flag,
}

impl Query<Sys> for Irrevocable {
    const ROUTE: Route = Route::get("leases").sudo();
    type Reply = Irrevocables;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Irrevocables>> {
        if self.kind != "irrevocable" {
            return Err(Error::not_found());
        }
        let limit = match self.limit.as_str() {
            "" => SHOWN_MAX,
            "none" => usize::MAX,
            text => text.parse().map_err(|_| {
                Error::listed(format!(
                    "invalid 'limit' provided: strconv.Atoi: parsing {text:?}: invalid syntax"
                ))
            })?,
        };
        let (mut lease_count, mut leases) = (0, Vec::new());
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(snapshot)?;
        for namespace in family(router.value(), cx, self.include_child_namespaces)? {
            leases::irrevocable(snapshot, namespace.ns, |id, thing| {
                lease_count += 1;
                if leases.len() < limit {
                    let lease_id = namespace.mark(id.to_owned());
                    leases.push(IrrevocableShown { error: thing.error.unwrap_or_default(), lease_id });
                }
            })?;
        }
        if leases.len() < lease_count {
            cx.warn(format!("only {limit} of {lease_count} leases are shown; ask for more with limit"));
        }
        Ok(Irrevocables { lease_count, leases }.into())
    }
}

/// The namespace that is asked about, and those beneath it if they are asked about too.
fn family<'a>(router: &'a Router, cx: &Reading<'_>, children: Flag) -> Result<Vec<&'a Namespace>> {
    let here = &router.here(cx)?.namespace;
    let mut family = vec![&**here];
    if children.0 {
        family.extend(router.beneath(&here.path).map(|space| &*space.namespace));
    }
    Ok(family)
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Counted {
    counts: BTreeMap<String, u64>,
    lease_count: u64,
}

/// Counts leases that could not be ended, by mount.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Count {
    /// `irrevocable`, the only kind that is counted.
    #[serde(rename = "type", default)]
    kind: String,
    /// Those of the namespaces beneath this one, too.
    #[serde(default)]
    include_child_namespaces: Flag,
}

impl Query<Sys> for Count {
    const ROUTE: Route = Route::get("leases/count");
    type Reply = Counted;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Counted>> {
        if self.kind != "irrevocable" {
            return Err(Error::not_found());
        }
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(snapshot)?;
        let place = |thing: &Thing| {
            let mounted = crate::ids::mount(&thing.mount).and_then(|id| router.value().by_id(&id));
            mounted.map_or_else(
                || "deleted".to_owned(),
                |mounted| format!("{}{}", mounted.namespace.path, mounted.entry.path),
            )
        };
        let mut counted = Counted { counts: BTreeMap::new(), lease_count: 0 };
        for namespace in family(router.value(), cx, self.include_child_namespaces)? {
            leases::irrevocable(snapshot, namespace.ns, |_, thing| {
                counted.lease_count += 1;
                *counted.counts.entry(place(&thing)).or_default() += 1;
            })?;
        }
        Ok(counted.into())
    }
}

/// Looks for indexes that point nowhere. There are none by construction: a lease, its date and what it stands for
/// are written and deleted in one transaction. The path is there for clients that call it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Tidy {}

impl Command<Sys> for Tidy {
    const ROUTE: Route = Route::post("leases/tidy");
    type Reply = Option<()>;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        cx.warn("Tidy operation successfully started. Any information from the operation will be printed to OpenBao's server logs.");
        Ok(Reply::Accepted(None))
    }
}
