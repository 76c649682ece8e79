use kit::loose::{Number, Text};
use kit::{Error, Query, Reading, Reply, Result, Route, in_scan_order, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PATHS, V2};

/// Lists what lies in a folder.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// The folder; empty for the top.
    path: String,
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

/// Names.
#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// The part of `names` that a request asks for.
pub(super) fn part(names: &[String], after: Option<&Text>, limit: Option<Number>) -> Vec<String> {
    page(names, after.map_or("", |after| &after.0), limit.map_or(0, |limit| limit.0))
}

/// The part of what a SCAN has found that a request asks for. Pages are in the order of the alphabet, so that the last
/// path of one begins the next.
pub(super) fn scanned(mut paths: Vec<String>, after: Option<&Text>, limit: Option<Number>) -> Vec<String> {
    if after.is_some() || limit.is_some() {
        return part(&paths, after, limit);
    }
    in_scan_order(&mut paths);
    paths
}

impl Query<V2> for List {
    const ROUTE: Route = Route::list("metadata/{path*}");
    type Reply = Keys;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = part(&PATHS.list(cx, &self.path)?, self.after.as_ref(), self.limit);
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

/// Lists every secret below a folder.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Scan {
    /// The folder; empty for the top.
    path: String,
    /// Begins after this path.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<V2> for Scan {
    const ROUTE: Route = Route::scan("metadata/{path*}");
    type Reply = Keys;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = scanned(PATHS.walk(cx, &self.path)?, self.after.as_ref(), self.limit);
        Ok(Keys { keys }.into())
    }
}
