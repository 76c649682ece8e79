use std::collections::BTreeMap;

use kit::loose::{Number, Text};
use kit::{Error, Name, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::record::{Record, SECRETS};
use super::ledger::{Ledger, Metadata};
use super::listing::{part, scanned};
use super::{PATHS, V2};

/// Lists what lies in a folder, with what is known of it.
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

/// Names, and what is known of each.
#[derive(JsonSchema, Serialize)]
pub(super) struct Details {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    key_info: BTreeMap<String, Detail>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// What is known of a secret; nothing of a folder.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum Detail {
    Secret(Box<Metadata>),
    Folder {},
}

impl Query<V2> for List {
    const ROUTE: Route = Route::list("detailed-metadata/{path*}");
    type Reply = Details;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Details>> {
        let keys = part(&PATHS.list(cx, &self.path)?, self.after.as_ref(), self.limit);
        if keys.is_empty() { Err(Error::not_found()) } else { details(cx, &self.path, keys) }
    }
}

/// Lists every secret below a folder, with what is known of it.
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
    const ROUTE: Route = Route::scan("detailed-metadata/{path*}");
    type Reply = Details;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Details>> {
        details(cx, &self.path, scanned(PATHS.walk(cx, &self.path)?, self.after.as_ref(), self.limit))
    }
}

fn details(cx: &Reading<'_>, folder: &str, keys: Vec<String>) -> Result<Reply<Details>> {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    let mut key_info = BTreeMap::new();
    for key in &keys {
        let path = if folder.is_empty() { key.clone() } else { format!("{folder}/{key}") };
        key_info.insert(key.clone(), detail(cx, &path)?);
    }
    Ok(Details { key_info, keys }.into())
}

fn detail(cx: &Reading<'_>, path: &str) -> Result<Detail> {
    if path.ends_with('/') {
        return Ok(Detail::Folder {});
    }
    let Some(bytes) = cx.get(SECRETS, Name::Path(path))? else { return Ok(Detail::Folder {}) };
    let ledger = match Record::parse(&bytes)? {
        Record::Plain(plain) => Ledger::of_unversioned(plain.written),
        Record::Versioned(secret) => secret.ledger()?,
    };
    Ok(Detail::Secret(Box::new(ledger.metadata())))
}
