//! `sys/quotas`: limits of requests and of leases.

pub(super) mod lease;
pub(super) mod rate;
mod target;

use std::marker::PhantomData;

use kit::loose::{Flag, Slice};
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::quotas::{self, Kind};

/// What differs between the two kinds.
pub(super) trait Limits: Send + Sync + 'static {
    const KIND: Kind;
    const LIST: Route;
    const DELETE: Route;
}

/// Limits of requests.
pub(super) struct Rates;
/// Limits of leases.
pub(super) struct Leases;

impl Limits for Rates {
    const KIND: Kind = Kind::RateLimit;
    const LIST: Route = Route::list("quotas/rate-limit").root_only();
    const DELETE: Route = Route::delete("quotas/rate-limit/{name}").logged().root_only();
}

impl Limits for Leases {
    const KIND: Kind = Kind::LeaseCount;
    const LIST: Route = Route::list("quotas/lease-count").root_only();
    const DELETE: Route = Route::delete("quotas/lease-count/{name}").logged().root_only();
}

#[derive(JsonSchema, Serialize)]
pub(super) struct ConfigShown {
    enable_rate_limit_audit_logging: bool,
    enable_rate_limit_response_headers: bool,
    rate_limit_exempt_paths: Vec<String>,
}

/// Shows how clients and the audit log are told of rate limits, and which paths are never counted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Config {}

impl Query<Sys> for Config {
    const ROUTE: Route = Route::get("quotas/config").root_only();
    type Reply = ConfigShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<ConfigShown>> {
        let config = quotas::config(cx.beyond(&Beyond::for_the_kernel()))?;
        Ok(ConfigShown {
            enable_rate_limit_audit_logging: config.audit_refusals,
            enable_rate_limit_response_headers: config.response_headers,
            rate_limit_exempt_paths: config.exempt_paths,
        }
        .into())
    }
}

/// Sets how clients and the audit log are told of rate limits, and which paths are never counted. What is left out is
/// off, or empty.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetConfig {
    /// Requests over a limit are audited.
    #[serde(default)]
    enable_rate_limit_audit_logging: Flag,
    /// Answers say what is left of a limit.
    #[serde(default)]
    enable_rate_limit_response_headers: Flag,
    /// Paths that are never counted. One that ends in a star stands for all that begin like it.
    #[serde(default)]
    rate_limit_exempt_paths: Slice,
}

impl Command<Sys> for SetConfig {
    const ROUTE: Route = Route::post("quotas/config").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let exempt_paths = self.rate_limit_exempt_paths.0;
        let config = quotas::Config {
            audit_refusals: self.enable_rate_limit_audit_logging.0,
            response_headers: self.enable_rate_limit_response_headers.0,
            exempt_paths: exempt_paths.into_iter().filter(|path| !path.is_empty()).collect(),
        };
        quotas::put_config(cx.beyond(&Beyond::for_the_kernel()), &config)?;
        Ok(Reply::Nothing)
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    keys: Vec<String>,
}

/// Lists the limits of a kind.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct ListOf<L> {
    #[serde(skip)]
    kind: PhantomData<L>,
}

impl<L: Limits> Query<Sys> for ListOf<L> {
    const ROUTE: Route = L::LIST;
    type Reply = Names;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Names>> {
        let today = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(today)?;
        let mut keys = quotas::names(today, L::KIND)?;
        let mut failed = None;
        keys.retain(|name| match quotas::find(today, L::KIND, name) {
            Ok(record) => record.is_some_and(|record| record.path(router.value()).is_some()),
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        match failed {
            Some(error) => Err(error),
            None if keys.is_empty() => Err(Error::not_found()),
            None => Ok(Names { keys }.into()),
        }
    }
}

/// Deletes a limit.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Delete<L> {
    /// Its name.
    name: String,
    #[serde(skip)]
    kind: PhantomData<L>,
}

impl<L: Limits> Command<Sys> for Delete<L> {
    const ROUTE: Route = L::DELETE;
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        quotas::delete(cx.beyond(&Beyond::for_the_kernel()), L::KIND, &self.name)?;
        Ok(Reply::Nothing)
    }
}
