use kit::loose::{Flag, Number};
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Sys;
use super::target::{Target, store};
use crate::quotas::{self, Kind, Limit};

#[derive(JsonSchema, Serialize)]
pub(in crate::sys) struct Shown {
    /// How many there are.
    counter: u64,
    inheritable: bool,
    max_leases: u64,
    name: String,
    path: String,
    role: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Shows a limit of leases, and how many there are.
#[derive(Deserialize, JsonSchema)]
pub(in crate::sys) struct Get {
    /// Its name.
    name: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("quotas/lease-count/{name}").root_only();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let kernel = engine.kernel()?;
        let today = cx.beyond(&Beyond::for_the_kernel());
        let router = kernel.router(today)?;
        let record = quotas::find(today, Kind::LeaseCount, &self.name)?.ok_or_else(Error::not_found)?;
        let path = record.path(router.value()).ok_or_else(Error::not_found)?;
        let Limit::Leases { max } = record.limit else {
            return Err(Error::internal("a limit of leases limits something else"));
        };
        let counter = kernel.leases_under(&*kernel.quota_rules(today)?, record.stamp)?;
        Ok(Shown {
            counter,
            inheritable: record.inheritable,
            max_leases: max,
            name: self.name,
            path,
            role: record.role,
            kind: "lease-count",
        }
        .into())
    }
}

/// Limits how many leases there may be, those of tokens among them: everywhere, or of a mount, of a path of it, or of a
/// role of an auth method. Who has the root policy is not bound by it.
#[derive(Deserialize, JsonSchema)]
pub(in crate::sys) struct Put {
    /// Its name.
    name: String,
    /// So many.
    max_leases: Option<Number>,
    /// A mount, or a path in one, which may end in a star. Empty: everything.
    #[serde(default)]
    path: String,
    /// A role of the auth method at `path`.
    #[serde(default)]
    role: String,
    /// Namespaces below are limited by it, too.
    inheritable: Option<Flag>,
    /// Of no account; the path says it.
    #[serde(rename = "type")]
    _kind: Option<String>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("quotas/lease-count/{name}").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let max = u64::try_from(self.max_leases.unwrap_or_default().0).ok().filter(|max| *max > 0);
        let max = max.ok_or_else(|| Error::invalid("'max_leases' is invalid: it must be 1 or more"))?;
        let inheritable = self.inheritable.map(|flag| flag.0);
        let target = Target { path: &self.path, role: &self.role, inheritable };
        store(&*engine.kernel()?, cx, Kind::LeaseCount, &self.name, &target, Limit::Leases { max })?;
        Ok(Reply::Nothing)
    }
}
