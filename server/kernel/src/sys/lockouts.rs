use std::collections::BTreeMap;

use kit::{Beyond, Command, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::lockout::Rule;

#[derive(JsonSchema, Serialize)]
pub(super) struct Locked {
    by_namespace: Vec<ByNamespace>,
    total: usize,
}

#[derive(JsonSchema, Serialize)]
struct ByNamespace {
    namespace_id: &'static str,
    namespace_path: &'static str,
    counts: usize,
    mount_accessors: Vec<ByMount>,
}

#[derive(JsonSchema, Serialize)]
struct ByMount {
    mount_accessor: String,
    counts: usize,
    alias_identifiers: Vec<String>,
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
        let mut locked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (accessor, who, _, _) in kernel.lockouts.all() {
            let mounted = router.value().all().find(|mounted| mounted.entry.accessor == accessor);
            let rule = mounted.and_then(|mounted| Rule::of(mounted, &kernel.env.settings.lockouts));
            let asked = self.mount_accessor.is_empty() || self.mount_accessor == accessor;
            if rule.is_some_and(|rule| asked && kernel.lockouts.locked(&accessor, &who, rule, cx.now())) {
                locked.entry(accessor).or_default().push(who);
            }
        }
        let by_mount = |(mount_accessor, mut alias_identifiers): (String, Vec<String>)| {
            alias_identifiers.sort_unstable();
            ByMount { mount_accessor, counts: alias_identifiers.len(), alias_identifiers }
        };
        let mount_accessors: Vec<ByMount> = locked.into_iter().map(by_mount).collect();
        let total = mount_accessors.iter().map(|mount| mount.counts).sum();
        let root = ByNamespace { namespace_id: "root", namespace_path: "", counts: total, mount_accessors };
        Ok(Locked { by_namespace: vec![root], total }.into())
    }
}

/// Lets a user who was locked out try again.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Unlock {
    /// The accessor of the auth method.
    mount_accessor: String,
    /// The name of the user there.
    alias_identifier: String,
}

impl Command<Sys> for Unlock {
    const ROUTE: Route = Route::post("locked-users/{mount_accessor:any}/unlock/{alias_identifier:any}");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, _: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        engine.kernel()?.lockouts.clear(&self.mount_accessor, &self.alias_identifier);
        Ok(Reply::Nothing)
    }
}
