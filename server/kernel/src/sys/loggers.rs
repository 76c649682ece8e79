use std::collections::BTreeMap;

use kit::{Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;

/// Shows how much each part of the server logs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct All {}

impl Query<Sys> for All {
    const ROUTE: Route = Route::get("loggers").root_only();
    type Reply = BTreeMap<String, String>;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        Ok(engine.kernel()?.env.control.loggers().into())
    }
}

/// Shows how much a part of the server logs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// The part.
    name: String,
}

impl Query<Sys> for One {
    const ROUTE: Route = Route::get("loggers/{name:any}").root_only();
    type Reply = BTreeMap<String, String>;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let mut loggers = engine.kernel()?.env.control.loggers();
        loggers.retain(|name, _| *name == self.name);
        Ok(loggers.into())
    }
}

/// Has every part of the server log more or less, until it is set back or the server ends.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetAll {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[serde(default)]
    level: String,
}

impl Command<Sys> for SetAll {
    const ROUTE: Route = Route::post("loggers").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(engine, cx, None, Some(&self.level))
    }
}

/// Has a part of the server log more or less, until it is set back or the server ends.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SetOne {
    /// The part.
    name: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[serde(default)]
    level: String,
}

impl Command<Sys> for SetOne {
    const ROUTE: Route = Route::post("loggers/{name:any}").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(engine, cx, Some(&self.name), Some(&self.level))
    }
}

/// Has every part of the server log as the configuration says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ResetAll {}

impl Command<Sys> for ResetAll {
    const ROUTE: Route = Route::delete("loggers").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(engine, cx, None, None)
    }
}

/// Has a part of the server log as the configuration says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ResetOne {
    /// The part.
    name: String,
}

impl Command<Sys> for ResetOne {
    const ROUTE: Route = Route::delete("loggers/{name:any}").logged().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        set(engine, cx, Some(&self.name), None)
    }
}

/// No level: as the configuration says.
fn set(
    engine: &Sys,
    cx: &mut Writing<'_>,
    name: Option<&str>,
    level: Option<&str>,
) -> Result<Reply<kit::Nothing>> {
    if level == Some("") {
        return Err(Error::invalid("level is required"));
    }
    let control = engine.kernel()?;
    cx.once(|| control.env.control.log_level(name, level))?;
    Ok(Reply::Nothing)
}
