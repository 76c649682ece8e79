//! Lists of names, as every method answers them.

use kit::loose::{Number, Text};
use kit::{Error, Reply, Result, page};
use schemars::JsonSchema;
use serde::Serialize;

/// Names.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Keys {
    keys: Vec<String>,
}

impl Keys {
    /// All of them.
    ///
    /// # Errors
    /// 404, if there is none.
    pub(crate) fn of(keys: Vec<String>) -> Result<Reply<Self>> {
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Self { keys }.into()) }
    }

    /// Those after a name, at most so many; all, if neither is given.
    ///
    /// # Errors
    /// 404, if there is none.
    pub(crate) fn page(keys: &[String], after: Option<&Text>, limit: Option<Number>) -> Result<Reply<Self>> {
        Self::of(page(keys, after.map_or("", |after| &after.0), limit.map_or(0, |limit| limit.0)))
    }
}
