use kit::Writing;
use kit::{
    Beyond, Command, Error, Fault, Fields, MountId, Query, Reading, Reads, Reply, Result, Route, Secret, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::Snapshot;

use super::Sys;
use crate::control_group::{self, Replay};
use crate::envelope::Attached;
use crate::envelope::Unwrapped;
use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::request::Request;
use crate::tokens::{self, TokenHash, TokenRecord};
use crate::walk::{Ground, Trip};
use crate::wrapping::{self, WrapInfo, Wrapping};

/// What of `sys/` has to do with wrapping.
const BELOW: &str = "sys/wrapping/";

/// Whether a request to look at, open or renew a wrapping shows one that is good. It is asked before who asks:
/// whoever holds a wrapping that was opened by another is to learn that, and not that they are unknown.
///
/// # Errors
/// If it does not.
pub(crate) fn verify(
    kernel: &Kernel,
    ground: &Ground<'_>,
    trip: &Trip,
    path: &str,
    fields: &Fields<'_>,
) -> Result<()> {
    if !matches!(path.strip_prefix(BELOW), Some("lookup" | "unwrap" | "rewrap")) {
        return Ok(());
    }
    let refused = |why: &str| Error::new(Fault::Denied, format!("error validating wrapping token: {why}"));
    let given = fields.as_map()?.remove("token");
    let id = match given.as_ref().and_then(Value::as_str) {
        Some("") => return Err(refused("empty token in request body")),
        Some(id) => id,
        None => trip.token(ground.request).ok_or_else(|| refused("token is empty"))?.expose(),
    };
    let (id, now) = (kernel.wrap_key.token(id)?, trip.now);
    let unwraps = path.strip_prefix(BELOW) == Some("unwrap");
    match tokens::find(ground.today, kernel.tokens.hash(&id))? {
        Some(record) if good(&record, now) => Ok(()),
        Some(record) if unwraps && waits(&record, now) => Ok(()),
        _ => Err(wrapping::invalid()),
    }
}

/// Whether a request to wrap something says for how long.
///
/// # Errors
/// If it does not.
pub(crate) fn check_wish(request: &Request, path: &str) -> Result<()> {
    let wrap = path.strip_prefix(BELOW) == Some("wrap");
    if wrap && request.wrap_ttl.is_none_or(|ttl| ttl.is_zero()) {
        return Err(Error::invalid("endpoint requires response wrapping to be used"));
    }
    Ok(())
}

fn good(record: &TokenRecord, now: Time) -> bool {
    wrapping::is_wrapping(record)
        && record.uses_left != Some(0)
        && record.expires.is_none_or(|expires| expires > now)
}

/// Whether a request waits under this token for the consent of others.
fn waits(record: &TokenRecord, now: Time) -> bool {
    control_group::is_waiting(record) && record.expires.is_none_or(|expires| expires > now)
}

/// Wraps what the request says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Wrap {
    #[serde(rename = "*")]
    data: Map<String, Value>,
}

impl Query<Sys> for Wrap {
    const ROUTE: Route = Route::post("wrapping/wrap");
    type Reply = Map<String, Value>;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        Ok(self.data.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    creation_path: String,
    creation_time: String,
    creation_ttl: u64,
}

/// Shows when a wrapping was made and by which request, without opening it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Lookup {
    /// The wrapping token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Query<Sys> for Lookup {
    const ROUTE: Route = Route::post("wrapping/lookup").unauthenticated();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        look(engine, cx, self.token)
    }
}

/// Shows when a wrapping was made and by which request, without opening it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LookupOwn {
    /// The wrapping token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Query<Sys> for LookupOwn {
    const ROUTE: Route = Route::get("wrapping/lookup").unauthenticated();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        look(engine, cx, self.token)
    }
}

fn look(engine: &Sys, cx: &Reading<'_>, token: Option<Secret<String>>) -> Result<Reply<Shown>> {
    let kernel = engine.kernel()?;
    let snapshot = cx.beyond(&Beyond::for_the_kernel());
    let hash = asked(&kernel, cx, token.as_ref())?.1;
    let record = tokens::find(snapshot, hash)?.ok_or_else(wrapping::invalid)?;
    if !good(&record, cx.now()) {
        return Err(wrapping::invalid());
    }
    let (_, info) = wrapping::held(snapshot, cubbyhole(&kernel, snapshot, record.namespace)?, hash)?;
    let WrapInfo { creation_path, creation_time, creation_ttl, .. } = info;
    Ok(Shown { creation_path, creation_time, creation_ttl }.into())
}

/// Opens a wrapping, once: its token ends in the same moment. If a request waits under the token for the consent of
/// others, and they have given it, the request is done now, and its answer is the answer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Unwrap {
    /// The wrapping token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Command<Sys> for Unwrap {
    const ROUTE: Route = Route::post("wrapping/unwrap");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        if let Some(replay) = waiting(&kernel, cx, self.token.as_ref())? {
            let replay = Attached::Replay(Box::new(replay));
            cx.notes().attach(&Beyond::for_the_kernel(), Box::new(replay));
            return Ok(Reply::Nothing);
        }
        let (held, _) = open(&kernel, cx, self.token.as_ref())?;
        let unwrapped = Attached::Unwrapped(Unwrapped(held.into_bytes()));
        cx.notes().attach(&Beyond::for_the_kernel(), Box::new(unwrapped));
        Ok(Reply::Nothing)
    }
}

/// Puts what a wrapping holds into a new one, which lives as long as the old did at first.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rewrap {
    /// The wrapping token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Command<Sys> for Rewrap {
    const ROUTE: Route = Route::post("wrapping/rewrap");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let beyond = Beyond::for_the_kernel();
        let (held, info) = open(&kernel, cx, self.token.as_ref())?;
        let now = cx.now();
        let path = info.creation_path.clone();
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let display_name = cx.caller().display_name.clone();
        let wrapping = Wrapping {
            tokens: &kernel.tokens,
            display_name: &display_name,
            space: router.value().here(cx)?,
            path: &path,
            ttl: std::time::Duration::from_secs(info.creation_ttl),
            now,
            random: cx.randomness(),
        };
        let info = WrapInfo { creation_time: now.rfc3339(), ..info };
        let wrapped = wrapping.put(cx.beyond(&beyond), held, info)?;
        cx.notes().attach(&beyond, Box::new(Attached::Wrapped(wrapped)));
        Ok(Reply::Nothing)
    }
}

/// The request that waits under the token that is meant, if one does.
///
/// # Errors
/// If not all have consented who must.
fn waiting(kernel: &Kernel, cx: &Writing<'_>, token: Option<&Secret<String>>) -> Result<Option<Replay>> {
    let beyond = Beyond::for_the_kernel();
    let meant = token.filter(|token| !token.expose().is_empty()).or_else(|| cx.remote().token.token(&beyond));
    let Some(meant) = meant else { return Ok(None) };
    let meant = Secret::new(kernel.wrap_key.token(meant.expose())?.into_owned());
    let (txn, hash) = (cx.peek(&beyond), kernel.tokens.hash(meant.expose()));
    let record = tokens::find(txn, hash)?.filter(|record| waits(record, cx.now()));
    let Some(record) = record else { return Ok(None) };
    let cubbyhole = cubbyhole(kernel, txn.snapshot(), record.namespace)?;
    let parked = control_group::parked(txn, cubbyhole, hash)?.ok_or_else(wrapping::invalid)?;
    match parked.approved(txn, None)? {
        true => Replay::new(parked, hash, &meant).map(Some),
        false => Err(control_group::not_approved()),
    }
}

/// Takes out what a wrapping holds and ends its token, in one transaction. Of two who open it at once, the
/// second runs into a conflict, comes back, and finds it gone.
fn open(kernel: &Kernel, cx: &mut Writing<'_>, token: Option<&Secret<String>>) -> Result<(String, WrapInfo)> {
    let beyond = Beyond::for_the_kernel();
    let (whose, hash) = asked(kernel, cx, token)?;
    let now = cx.now();
    let record = tokens::find(cx.peek(&beyond), hash)?.ok_or_else(wrapping::invalid)?;
    let cubbyhole = cubbyhole(kernel, cx.peek(&beyond).snapshot(), record.namespace)?;
    let txn = cx.beyond(&beyond);
    // The use of a token that opens its own wrapping has been spent already.
    let good = match whose {
        Whose::Own => wrapping::is_wrapping(&record),
        Whose::Other => good(&record, now),
    };
    if !good {
        return Err(wrapping::invalid());
    }
    let held = wrapping::held(txn, cubbyhole, hash)?;
    tokens::revoke(txn, hash, now)?;
    Ok(held)
}

/// Whether a wrapping is opened by its own token or by another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    Own,
    Other,
}

/// The wrapping token that a request means.
fn asked(kernel: &Kernel, cx: &impl Reads, token: Option<&Secret<String>>) -> Result<(Whose, TokenHash)> {
    let own = cx.remote().token.token(&Beyond::for_the_kernel()).map(|id| kernel.tokens.hash(id.expose()));
    match token.filter(|token| !token.expose().is_empty()) {
        None => Ok((Whose::Own, own.ok_or_else(wrapping::invalid)?)),
        Some(token) => {
            let hash = kernel.tokens.hash(&kernel.wrap_key.token(token.expose())?);
            Ok((if own == Some(hash) { Whose::Own } else { Whose::Other }, hash))
        }
    }
}

/// Where what a token of this namespace wraps lies. A namespace that was deleted has no wrappings any more.
fn cubbyhole(kernel: &Kernel, snapshot: &Snapshot, ns: Ns) -> Result<MountId> {
    let router = kernel.router(snapshot)?;
    let space = router.value().space(ns).filter(|space| space.lives());
    space.ok_or_else(wrapping::invalid)?.cubbyhole()
}
