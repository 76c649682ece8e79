//! Paths as version 1 has them. Clients that take the mount for one are told so, in the form they know.

use kit::{Error, Fault, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;

use super::V2;

/// Where this engine does answer. Whoever comes here with one of these has the wrong verb.
const FOLDERS: [&str; 7] =
    ["data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata"];

fn answer(path: &str, listing: bool, word: &str, cx: &Reading<'_>) -> Result<Reply<()>> {
    let (first, _) = path.split_once('/').unwrap_or((path, ""));
    if FOLDERS.contains(&first) || (path == "config" && !listing) {
        return Err(Error::new(Fault::Verb, "unsupported operation").wrapped());
    }
    cx.warn(format!(
        "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to \
         use. If using the OpenBao CLI, use 'bao kv {word}' for this operation."
    ));
    Ok(Reply::Gone(()))
}

macro_rules! stray {
    ($($name:ident: $verb:ident, $listing:literal, $word:literal;)*) => {$(
        /// Tells a client that this mount has versions.
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct $name {
            /// Anything.
            path: String,
            /// Anything: the path is what is wrong.
            #[serde(rename = "*", default)]
            _rest: serde_json::Map<String, serde_json::Value>,
        }

        impl Query<V2> for $name {
            const ROUTE: Route = Route::$verb("{path*}");
            type Reply = ();

            fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<()>> {
                answer(&self.path, $listing, $word, cx)
            }
        }
    )*};
}

stray! {
    Get: get, false, "get";
    List: list, true, "list";
    Scan: scan, true, "scan";
    Post: post, false, "put";
    Patch: patch, false, "patch";
    Delete: delete, false, "delete";
}
