use std::collections::BTreeMap;

use kit::loose::Texts;
use kit::{Beyond, Error, Query, Reading, Reads, Reply, Result, Route, Secret, Verb};
use policy::{Acl, Path};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use crate::kernel::Kernel;
use crate::router::Router;
use crate::tokens::{self, TokenRecord};
use crate::{identity, spelling};

/// What may be done at each path.
type Shown = BTreeMap<String, Vec<&'static str>>;

/// Shows what the token that asks may do at some paths.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Own {
    /// The paths.
    paths: Option<Texts>,
    /// What `paths` was called.
    path: Option<Texts>,
    /// Of no account; older clients send it.
    #[serde(rename = "token")]
    _token: Option<Secret<String>>,
}

impl Query<Sys> for Own {
    const ROUTE: Route = Route::post("capabilities-self").merged();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let kernel = engine.kernel()?;
        let record = own(&kernel, cx)?;
        shown(&kernel, cx, &record, self.paths, self.path)
    }
}

/// Shows what a token may do at some paths.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfToken {
    /// The token.
    token: Option<Secret<String>>,
    /// The paths.
    paths: Option<Texts>,
    /// What `paths` was called.
    path: Option<Texts>,
}

impl Query<Sys> for OfToken {
    const ROUTE: Route = Route::post("capabilities").merged();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let token = self.token.filter(|token| !token.expose().is_empty());
        let token = token.ok_or_else(|| Error::listed("no token found"))?;
        let kernel = engine.kernel()?;
        let record = living(&kernel, cx, &token)?;
        let record = record.ok_or_else(|| Error::invalid("invalid token").wrapped())?;
        shown(&kernel, cx, &record, self.paths, self.path)
    }
}

/// Shows what the token that an accessor stands for may do at some paths.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfAccessor {
    /// The accessor.
    #[serde(default)]
    accessor: String,
    /// The paths.
    paths: Option<Texts>,
    /// What `paths` was called.
    path: Option<Texts>,
}

impl Query<Sys> for OfAccessor {
    const ROUTE: Route = Route::post("capabilities-accessor").merged();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        if self.accessor.is_empty() {
            return Err(Error::invalid("missing accessor"));
        }
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let kernel = engine.kernel()?;
        let router = kernel.router(snapshot)?;
        let namespace = &router.value().here(cx)?.namespace;
        let found = tokens::find_accessor(snapshot, namespace, &self.accessor)?;
        let found = found.filter(|(_, record)| lives(record, cx));
        let (_, record) = found.ok_or_else(|| Error::invalid("invalid accessor").wrapped())?;
        shown(&kernel, cx, &record, self.paths, self.path)
    }
}

fn shown(
    kernel: &Kernel,
    cx: &Reading<'_>,
    record: &TokenRecord,
    paths: Option<Texts>,
    path: Option<Texts>,
) -> Result<Reply<Shown>> {
    let paths = paths.filter(|paths| !paths.0.is_empty()).or(path).unwrap_or_default().0;
    if paths.is_empty() {
        return Err(Error::invalid("paths must be supplied"));
    }
    if paths.iter().any(String::is_empty) {
        return Err(Error::listed("missing path"));
    }
    let acl = acl(cx, record)?;
    let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
    let one = paths.len() == 1;
    let mut shown = Shown::new();
    for path in paths {
        let full = format!("{}{path}", cx.mount().namespace);
        let capabilities = as_judged(router.value(), cx, &acl, &full)?;
        if one {
            shown.insert("capabilities".to_owned(), capabilities.clone());
        }
        shown.insert(path, capabilities);
    }
    Ok(shown.into())
}

/// What may be done at a path, in the spelling in which requests to it are judged. Where nothing answers there is no
/// other than that in which it is asked.
fn as_judged(router: &Router, cx: &Reading<'_>, acl: &Acl, path: &str) -> Result<Vec<&'static str>> {
    let today = cx.beyond(&Beyond::for_the_kernel());
    if let Ok(asked) = Path::internal(path.trim_start_matches('/')) {
        for verb in [Verb::Get, Verb::Post, Verb::Delete, Verb::Patch, Verb::List, Verb::Scan] {
            let spelt = spelling::of_request(router, today, cx, &asked, verb)?;
            let Some(route) = spelt.route else { continue };
            if !route.folder && !route.answers_bare() && spelt.any_case.is_none() {
                break;
            }
            // A listing is asked for with a slash at the end, and found with and without it.
            let here = match path.ends_with('/') {
                false => spelt.path.without_slash(),
                true => spelt.path,
            };
            return Ok(acl.capabilities_in(&here, spelt.any_case, route.answers_bare(), cx.now().0));
        }
    }
    Ok(acl.capabilities(path, cx.now().0))
}

/// The rules that a token carries.
pub(super) fn acl(cx: &Reading<'_>, record: &TokenRecord) -> Result<Acl> {
    let today = cx.beyond(&Beyond::for_the_kernel());
    // Whoever is nobody any more may do nothing, and their token is none.
    let bearer = identity::bearer(today, record).map_err(|error| match error.fault() {
        kit::Fault::Denied => Error::invalid("invalid token").wrapped(),
        _ => error,
    })?;
    tokens::compile(today, &bearer, cx.now())
}

/// The token that asks.
pub(super) fn own(kernel: &Kernel, cx: &Reading<'_>) -> Result<TokenRecord> {
    let beyond = Beyond::for_the_kernel();
    let id = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?;
    found(kernel, cx, id)?.ok_or_else(Error::denied)
}

/// A token that someone names, if it lives.
pub(super) fn living(kernel: &Kernel, cx: &Reading<'_>, id: &Secret<String>) -> Result<Option<TokenRecord>> {
    Ok(found(kernel, cx, id)?.filter(|record| lives(record, cx)))
}

fn found(kernel: &Kernel, cx: &Reading<'_>, id: &Secret<String>) -> Result<Option<TokenRecord>> {
    if id.expose().starts_with("b.") {
        return Ok(kernel.tokens.open_batch(&kernel.store, id.expose()));
    }
    tokens::find(cx.beyond(&Beyond::for_the_kernel()), kernel.tokens.hash(id.expose()))
}

fn lives(record: &TokenRecord, cx: &Reading<'_>) -> bool {
    record.expires.is_none_or(|expires| expires > cx.now()) && record.uses_left != Some(0)
}
