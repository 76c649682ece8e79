//! What can be mounted. Everything is built in: nothing can be registered, pinned or reloaded.

use kit::{Error, Query, Reading, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Sys;
use crate::kernel::Kernel;

/// The kinds of things that can be mounted, as the catalogue calls them.
const TYPES: [&str; 3] = ["auth", "database", "secret"];

/// Further names of `kv`.
const ALIASES: [&str; 3] = ["generic", "kv-v1", "kv-v2"];

/// The names of one kind, in order.
fn names(kernel: &Kernel, kind: &str) -> Result<Vec<&'static str>> {
    let registry = kernel.mounts.registry();
    let mut names: Vec<&str> = match kind {
        "auth" => registry.method_kinds().to_vec(),
        "secret" => registry.engine_kinds().iter().copied().filter(|name| !ALIASES.contains(name)).collect(),
        "database" => Vec::new(),
        _ => return Err(Error::not_found()),
    };
    names.sort_unstable();
    Ok(names)
}

/// Lists what can be mounted, and in which version.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Catalog {}

impl Query<Sys> for Catalog {
    const ROUTE: Route = Route::get("plugins/catalog").or_folder();
    type Reply = Map<String, Value>;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let version = kernel.audits.running.clone();
        let (mut shown, mut detailed) = (Map::new(), Vec::new());
        for kind in TYPES {
            let names = names(&kernel, kind)?;
            detailed.extend(names.iter().map(|name| {
                json!({"builtin": true, "deprecation_status": "supported", "name": name, "type": kind, "version": version})
            }));
            shown.insert(kind.to_owned(), json!(names));
        }
        shown.insert("detailed".to_owned(), Value::Array(detailed));
        Ok(shown.into())
    }
}

/// Lists what of a kind can be mounted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OfType {
    /// `auth`, `database` or `secret`.
    r#type: String,
}

impl Query<Sys> for OfType {
    const ROUTE: Route = Route::list("plugins/catalog/{type}").sudo();
    type Reply = Map<String, Value>;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let names = names(&*engine.kernel()?, &self.r#type)?;
        Ok(Map::from_iter([("keys".to_owned(), json!(names))]).into())
    }
}

/// Shows something that can be mounted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// `auth`, `database` or `secret`.
    r#type: String,
    /// Its name.
    name: String,
}

impl Query<Sys> for One {
    const ROUTE: Route = Route::get("plugins/catalog/{type}/{name+}").sudo();
    type Reply = Map<String, Value>;

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        if !names(&kernel, &self.r#type)?.contains(&self.name.as_str()) {
            return Err(Error::not_found());
        }
        let shown = json!({
            "args": null, "builtin": true, "command": "", "declarative": false, "deprecation_status": "supported",
            "name": self.name, "oci": false, "sha256": "", "version": kernel.audits.running.clone(),
        });
        match shown {
            Value::Object(shown) => Ok(shown.into()),
            _ => Err(Error::internal("an object was written")),
        }
    }
}
