use std::collections::BTreeMap;
use std::sync::Arc;

use kit::loose::Json;
use kit::{Beyond, Error, Fault, Query, Reading, Reads, Reply, Result, Route};
use policy::Acl;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use super::capabilities::{acl, own};
use super::shown::MountShown;
use crate::kernel::Kernel;
use crate::mounts::Mounted;
use crate::tokens::Uses;

/// A mount as those see it who may use it, or as everyone does.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum Seen {
    /// All that there is to see.
    Whole(Box<MountShown>),
    /// What it is.
    Part {
        description: String,
        options: Option<BTreeMap<String, String>>,
        #[serde(rename = "type")]
        kind: String,
    },
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Mounts {
    auth: BTreeMap<String, Seen>,
    secret: BTreeMap<String, Seen>,
}

/// Lists the mounts that the token that asks may use, and those that are shown to everyone.
#[derive(Deserialize, JsonSchema)]
pub(super) struct All {}

impl Query<Sys> for All {
    const ROUTE: Route = Route::get("internal/ui/mounts").unauthenticated();
    type Reply = Mounts;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Mounts>> {
        let kernel = engine.kernel()?;
        let acl = known_acl(&kernel, cx)?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let mut mounts = Mounts { auth: BTreeMap::new(), secret: BTreeMap::new() };
        for mounted in router.value().here(cx)?.all() {
            let entry = &mounted.entry;
            let open = entry.config.listing_visibility == "unauth";
            let usable = acl.as_ref().is_some_and(|acl| usable(acl, mounted, cx));
            let seen = match &acl {
                Some(_) if open || usable => Seen::Whole(Box::new(MountShown::of(mounted, &kernel))),
                None if open => Seen::Part {
                    description: entry.description.clone(),
                    options: entry.options.clone(),
                    kind: entry.kind.clone(),
                },
                _ => continue,
            };
            match entry.path.strip_prefix("auth/") {
                Some(path) => mounts.auth.insert(path.to_owned(), seen),
                None => mounts.secret.insert(entry.path.clone(), seen),
            };
        }
        Ok(mounts.into())
    }
}

/// Shows the mount that a path belongs to, to those who may use it. `kv` commands ask before they ask for a secret.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// The path.
    path: String,
}

impl Query<Sys> for One {
    const ROUTE: Route = Route::get("internal/ui/mounts/{path+}").unauthenticated();
    type Reply = MountShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<MountShown>> {
        let kernel = engine.kernel()?;
        let acl = known_acl(&kernel, cx)?.ok_or_else(Error::denied)?;
        let path = format!("{}/", self.path.trim_matches('/'));
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        // `team/kv` asks about the mount of a namespace beneath.
        let full = router.value().here(cx)?.full(&path);
        let (space, local) = router.value().locate(&full);
        let mounted = space.nearest(local).map(|(mounted, _)| mounted);
        let mounted = mounted.filter(|mounted| usable(&acl, mounted, cx)).ok_or_else(|| {
            let text = format!("preflight capability check returned 403, please ensure client's policies grant access to path {path:?}");
            Error::new(Fault::Denied, text)
        })?;
        let (entry, mut shown) = (&mounted.entry, MountShown::of(mounted, &kernel));
        let below = mounted.namespace.path.strip_prefix(&cx.mount().namespace).unwrap_or_default();
        shown.path = Some(format!("{below}{}", entry.path.strip_prefix("auth/").unwrap_or(&entry.path)));
        Ok(shown.into())
    }
}

/// The rules of who asks, if a good token was shown; none, if no token was.
pub(super) fn known_acl(kernel: &Kernel, cx: &Reading<'_>) -> Result<Option<Arc<Acl>>> {
    let beyond = Beyond::for_the_kernel();
    let Some(id) = cx.remote().token.token(&beyond) else { return Ok(None) };
    let today = cx.beyond(&beyond);
    let tokens = &kernel.tokens;
    let known = tokens.identify(id.expose(), &kernel.store, today, cx.now(), cx.remote(), Uses::Left)?;
    tokens.acl(known.value(), today, cx.now()).map(Some)
}

/// Whether a token may do anything at all below a mount.
pub(super) fn usable(acl: &Acl, mounted: &Mounted, cx: &impl Reads) -> bool {
    let path = format!("{}{}", mounted.namespace.path, mounted.entry.path);
    acl.allowed_anything_under(&path, cx.now().0)
}

/// Shows what the token that asks may do, by path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ResultantAcl {}

impl Query<Sys> for ResultantAcl {
    const ROUTE: Route = Route::get("internal/ui/resultant-acl");
    type Reply = Json;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Json>> {
        let acl = acl(cx, &own(&*engine.kernel()?, cx)?)?;
        Ok(Json(serde_json::to_value(acl.resultant(cx.now().0))?).into())
    }
}
