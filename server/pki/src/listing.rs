//! The shapes of lists.

use std::collections::BTreeMap;

use kit::loose::{Number, Text};
use kit::{Error, Reply, Result};
use schemars::JsonSchema;
use serde::Serialize;

/// The names of what there is.
#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    keys: Vec<String>,
}

/// The names of what there is, and something about each.
#[derive(JsonSchema, Serialize)]
pub(super) struct Detailed<T> {
    keys: Vec<String>,
    key_info: BTreeMap<String, T>,
}

/// A list; 404 when it is empty, as clients expect.
pub(super) fn keys(keys: Vec<String>) -> Result<Reply<Keys>> {
    match keys.is_empty() {
        true => Err(Error::not_found()),
        false => Ok(Reply::Data(Keys { keys })),
    }
}

/// A list with details; 404 when it is empty.
pub(super) fn detailed<T>(entries: Vec<(String, T)>) -> Result<Reply<Detailed<T>>> {
    if entries.is_empty() {
        return Err(Error::not_found());
    }
    let keys = entries.iter().map(|(key, _)| key.clone()).collect();
    Ok(Reply::Data(Detailed { keys, key_info: entries.into_iter().collect() }))
}

/// The part of a sorted list that follows `after`, at most `limit` entries of it.
pub(super) fn part<T>(
    entries: Vec<(String, T)>,
    after: Option<Text>,
    limit: Option<Number>,
) -> Vec<(String, T)> {
    let after = after.unwrap_or_default().0;
    let count =
        usize::try_from(limit.unwrap_or_default().0).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    entries.into_iter().skip_while(|(key, _)| !after.is_empty() && *key <= after).take(count).collect()
}
