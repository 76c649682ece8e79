use kit::loose::{Decimal, Flag, Span};
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Sys;
use super::target::{Target, store};
use crate::quotas::{self, Kind, Limit};

#[derive(JsonSchema, Serialize)]
pub(in crate::sys) struct Shown {
    block_interval: u64,
    inheritable: bool,
    interval: u64,
    name: String,
    path: String,
    /// A whole number where it is one.
    rate: Value,
    role: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Shows a limit of requests.
#[derive(Deserialize, JsonSchema)]
pub(in crate::sys) struct Get {
    /// Its name.
    name: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("quotas/rate-limit/{name}").root_only();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let today = cx.beyond(&Beyond::for_the_kernel());
        let router = engine.kernel()?.router(today)?;
        let record = quotas::find(today, Kind::RateLimit, &self.name)?.ok_or_else(Error::not_found)?;
        let path = record.path(router.value()).ok_or_else(Error::not_found)?;
        let Limit::Rate { rate, interval_seconds, block_seconds } = record.limit else {
            return Err(Error::internal("a rate limit limits something else"));
        };
        Ok(Shown {
            block_interval: block_seconds,
            inheritable: record.inheritable,
            interval: interval_seconds,
            name: self.name,
            path,
            rate: number(rate),
            role: record.role,
            kind: "rate-limit",
        }
        .into())
    }
}

/// Limits how many requests one address may send in an interval: everywhere, or at a mount, below a path of it, or by a
/// role of an auth method.
#[derive(Deserialize, JsonSchema)]
pub(in crate::sys) struct Put {
    /// Its name.
    name: String,
    /// So many requests in an interval.
    rate: Option<Decimal>,
    /// How long that is; a second, if left out.
    interval: Option<Span>,
    /// Who asks more often is not heard for so long.
    block_interval: Option<Span>,
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
    const ROUTE: Route = Route::post("quotas/rate-limit/{name}").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let interval = positive("interval", self.interval)?;
        let block_seconds = positive("block_interval", self.block_interval)?;
        let rate = self.rate.unwrap_or_default().0;
        if rate <= 0.0 {
            return Err(Error::invalid("'rate' is invalid"));
        }
        let limit = Limit::Rate { rate, interval_seconds: interval.max(1), block_seconds };
        let inheritable = self.inheritable.map(|flag| flag.0);
        let target = Target { path: &self.path, role: &self.role, inheritable };
        store(&*engine.kernel()?, cx, Kind::RateLimit, &self.name, &target, limit)?;
        Ok(Reply::Nothing)
    }
}

fn positive(field: &str, span: Option<Span>) -> Result<u64> {
    let seconds = span.unwrap_or_default().seconds();
    u64::try_from(seconds).map_err(|_| {
        let text = format!(
            "Field validation failed: error converting input for field {field:?}: cannot provide negative value '{seconds}'"
        );
        Error::invalid(text)
    })
}

fn number(rate: f64) -> Value {
    const WHOLE_MAX: f64 = 9e15;
    if rate.fract() == 0.0 && rate < WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within the range checked above")]
        let whole = rate as i64;
        return whole.into();
    }
    rate.into()
}
