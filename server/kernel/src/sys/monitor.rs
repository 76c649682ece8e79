use kit::{Error, Query, Reading, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use crate::request::TEXT;

/// Streams what the server logs. The kernel says who may; HTTP sends the lines.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Monitor {
    /// `trace`, `debug`, `info`, `warn` or `error`; `info`, if left out.
    #[serde(default)]
    log_level: String,
    /// `standard` or `json`.
    #[serde(default)]
    log_format: String,
}

impl Query<Sys> for Monitor {
    const ROUTE: Route = Route::get("monitor").root_only();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        const LEVELS: [&str; 9] = ["", "trace", "debug", "info", "notice", "warn", "warning", "error", "err"];
        if !LEVELS.contains(&self.log_level.to_lowercase().as_str()) {
            return Err(Error::invalid("unknown log level"));
        }
        if !["", "standard", "json"].contains(&self.log_format.to_lowercase().as_str()) {
            return Err(Error::invalid("unknown log format"));
        }
        Ok(Reply::Raw { status: 200, kind: TEXT, bytes: Vec::new() })
    }
}
