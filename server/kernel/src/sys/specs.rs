use kit::loose::{Flag, Json};
use kit::{Beyond, Query, Reading, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use super::ui::{known_acl, usable};
use crate::help;
use crate::openapi::{Document, Naming, Place};

/// Shows everything that the token that asks can ask, as an OpenAPI document.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// The paths of mounts are parameters.
    #[serde(default)]
    generic_mount_paths: Flag,
    /// Of no account; it stands in what the web UI sends.
    #[serde(rename = "context")]
    _context: Option<String>,
}

impl Query<Sys> for Read {
    const ROUTE: Route = Route::get("internal/specs/openapi").unauthenticated();
    type Reply = Json;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Json>> {
        document(engine, cx, self.generic_mount_paths)
    }
}

/// Shows everything that the token that asks can ask, as an OpenAPI document.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Posted {
    /// The paths of mounts are parameters.
    #[serde(default)]
    generic_mount_paths: Flag,
    /// Of no account; it stands in what the web UI sends.
    #[serde(rename = "context")]
    _context: Option<String>,
}

impl Query<Sys> for Posted {
    const ROUTE: Route = Route::post("internal/specs/openapi").unauthenticated();
    type Reply = Json;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Json>> {
        document(engine, cx, self.generic_mount_paths)
    }
}

fn document(engine: &Sys, cx: &Reading<'_>, generic: Flag) -> Result<Reply<Json>> {
    let kernel = engine.kernel()?;
    let naming = if generic.0 { Naming::Generic } else { Naming::AsMounted };
    let mut document = Document::default();
    // A stranger is told that there is a document, and nothing in it.
    if let Ok(Some(acl)) = known_acl(&kernel, cx) {
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        for mounted in router.value().here(cx)?.all().filter(|mounted| usable(&acl, mounted, cx)) {
            document.add(&Place::of(mounted, naming), &help::everything(mounted));
        }
    }
    Ok(Reply::Bare(Json(document.finish(&kernel.env.settings.version))))
}
