use std::collections::BTreeMap;

use kit::{Beyond, Error, Fault, Query, Reading, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::mounts::{Class, Mounted};

#[derive(JsonSchema, Serialize)]
pub(super) struct Row {
    accessor: String,
    mount_namespace: String,
    mount_path: String,
    mount_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tainted: Option<bool>,
    uuid: String,
}

/// Shows the router's table, by path, by id, by accessor, or by where a mount keeps its data.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Router {
    /// `root`, `uuid`, `accessor` or `storage`.
    tag: String,
}

impl Query<Sys> for Router {
    const ROUTE: Route = Route::get("internal/inspect/router/{tag}").sudo().root_only();
    type Reply = BTreeMap<String, Vec<Row>>;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        if !kernel.env.settings.introspection_endpoint {
            let text =
                "the Vault configuration must set \"introspection_endpoint\" to true to enable this endpoint";
            return Err(Error::invalid(text));
        }
        let whole = match self.tag.as_str() {
            "root" | "storage" => true,
            "uuid" | "accessor" => false,
            _ => return Err(Error::new(Fault::NotFound, "unsupported path").wrapped()),
        };
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let mut rows: Vec<Row> = router.value().all_mounts().map(|mounted| row(mounted, whole)).collect();
        match self.tag.as_str() {
            "uuid" => rows.sort_by(|one, other| one.uuid.cmp(&other.uuid)),
            "accessor" => rows.sort_by(|one, other| one.accessor.cmp(&other.accessor)),
            "storage" => rows.sort_by(|one, other| one.storage_prefix.cmp(&other.storage_prefix)),
            _ => rows.sort_by(|one, other| one.mount_path.cmp(&other.mount_path)),
        }
        Ok(BTreeMap::from([(self.tag, rows)]).into())
    }
}

fn row(mounted: &Mounted, whole: bool) -> Row {
    let entry = &mounted.entry;
    let path = entry.path.strip_prefix("auth/").unwrap_or(&entry.path);
    let class = match entry.class {
        Class::Auth => "auth",
        Class::Secret => "logical",
        Class::System => "sys",
    };
    Row {
        accessor: entry.accessor.clone(),
        mount_namespace: mounted.info.namespace.clone(),
        mount_path: path.to_owned(),
        mount_type: entry.kind.clone(),
        storage_prefix: whole.then(|| format!("{class}/{}/", entry.uuid)),
        tainted: whole.then_some(false),
        uuid: entry.uuid.clone(),
    }
}
