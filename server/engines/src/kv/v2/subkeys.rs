use std::collections::BTreeMap;

use kit::loose::Number;
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::json::{self, Node, object};
use super::super::record::{Secret, data_of};
use super::data::version;
use super::ledger::Shown;
use super::{V2, at};

/// Shows the structure of a secret without its values.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Where the secret lies.
    path: String,
    /// Which version; 0: the current one.
    version: Option<Number>,
    /// How deep; 0: down to the leaves.
    #[serde(default)]
    depth: Option<Number>,
}

/// The structure of a secret.
#[derive(JsonSchema, Serialize)]
pub(super) struct Subkeys {
    /// What is known of this version.
    metadata: Shown,
    /// The keys, every value null; null itself if this version was deleted.
    subkeys: Option<BTreeMap<String, Node>>,
}

impl Query<V2> for Read {
    const ROUTE: Route = Route::get("subkeys/{path*}");
    type Reply = Subkeys;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Subkeys>> {
        let path = at(&self.path)?;
        let secret = Secret::load(cx, path)?.ok_or_else(Error::not_found)?;
        let current = secret.ledger.current;
        let number = Some(version(self.version)).filter(|number| *number != 0).unwrap_or(current);
        let written = secret.ledger.versions.get(&number).ok_or_else(Error::not_found)?;
        let metadata = secret.ledger.shown(number);
        if written.is_gone(cx.now()) {
            return Ok(Reply::Gone(Subkeys { metadata, subkeys: None }));
        }
        let data: Option<Node> = if number == current {
            serde_json::from_slice(&secret.data)?
        } else {
            serde_json::from_slice(&data_of(cx, path, number)?)?
        };
        let depth = match self.depth {
            None | Some(Number(0)) => None,
            Some(Number(depth)) => Some(u64::try_from(depth).unwrap_or(1)),
        };
        let data = data.map(|data| object("data", data)).transpose()?;
        Ok(Subkeys { metadata, subkeys: data.map(|data| json::keys(&data, depth)) }.into())
    }
}
