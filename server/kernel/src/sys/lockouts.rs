use std::collections::BTreeMap;

use kit::{Beyond, Command, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::lockout::Rule;
use crate::router::Space;

#[derive(JsonSchema, Serialize)]
pub(super) struct Locked {
    by_namespace: Vec<ByNamespace>,
    total: usize,
}

#[derive(JsonSchema, Serialize)]
struct ByNamespace {
    namespace_id: String,
    namespace_path: String,
    counts: usize,
    mount_accessors: Vec<ByMount>,
}

#[derive(JsonSchema, Serialize)]
struct ByMount {
    mount_accessor: String,
    counts: usize,
    /// Nothing, if it was asked for and nobody is locked out of it.
    alias_identifiers: Option<Vec<String>>,
}

/// Lists the users that are locked out after too many failed logins.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Only those of this auth method.
    #[serde(default)]
    mount_accessor: String,
}

impl Query<Sys> for List {
    const ROUTE: Route = Route::get("locked-users");
    type Reply = Locked;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Locked>> {
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let here = router.value().here(cx)?;
        let all = kernel.lockouts.all(cx.now());
        let rules = &kernel.env.settings.lockouts;
        let asked = |accessor: &str| self.mount_accessor.is_empty() || self.mount_accessor == accessor;
        let of_space = |space: &Space| {
            let mut locked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for known in all.iter().filter(|known| asked(&known.accessor)) {
                let mounted = space.all().find(|mounted| *mounted.entry.accessor == *known.accessor);
                let rule = mounted.and_then(|mounted| Rule::of(mounted, rules));
                if rule.is_some_and(|rule| known.locks(rule, cx.now())) {
                    locked.entry(&known.accessor).or_default().push(known.who.clone().into());
                }
            }
            if !self.mount_accessor.is_empty() && space.namespace.ns.is_root() {
                locked.entry(&self.mount_accessor).or_default();
            }
            ByNamespace::of(space, locked)
        };
        let family = std::iter::once(here).chain(router.value().beneath(&here.namespace.path));
        let by_namespace: Vec<_> = family.map(|space| of_space(space)).collect();
        let total = by_namespace.iter().map(|namespace| namespace.counts).sum();
        Ok(Locked { by_namespace, total }.into())
    }
}

impl ByNamespace {
    fn of(space: &Space, locked: BTreeMap<&str, Vec<String>>) -> Self {
        let by_mount = |(accessor, mut alias_identifiers): (&str, Vec<String>)| {
            alias_identifiers.sort_unstable();
            let counts = alias_identifiers.len();
            let alias_identifiers = Some(alias_identifiers).filter(|names| !names.is_empty());
            ByMount { mount_accessor: accessor.to_owned(), counts, alias_identifiers }
        };
        let mount_accessors: Vec<ByMount> = locked.into_iter().map(by_mount).collect();
        Self {
            namespace_id: space.namespace.id.clone(),
            namespace_path: space.namespace.path.clone(),
            counts: mount_accessors.iter().map(|mount| mount.counts).sum(),
            mount_accessors,
        }
    }
}

/// Lets a user who was locked out try again.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Unlock {
    /// The accessor of the auth method.
    mount_accessor: String,
    /// The name of the user there, in full or as it is listed.
    alias_identifier: String,
}

impl Command<Sys> for Unlock {
    const ROUTE: Route =
        Route::post("locked-users/{mount_accessor:any}/unlock/{alias_identifier:any-long}").logged();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.peek(&Beyond::for_the_kernel()).snapshot())?;
        // Each namespace lets its own users in again.
        if router.value().here(cx)?.all().any(|mounted| mounted.entry.accessor == self.mount_accessor) {
            kernel.lockouts.release(&self.mount_accessor, &self.alias_identifier);
        }
        Ok(Reply::Nothing)
    }
}
