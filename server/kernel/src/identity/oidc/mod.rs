//! `identity/oidc/`: tokens that say to others who someone is, and the provider through which others let people in.

mod algorithm;
pub(super) mod assignment;
pub(super) mod authorize;
mod claims;
pub(super) mod client;
pub(super) mod config;
pub(super) mod discovery;
pub(super) mod exchange;
pub(super) mod introspect;
pub(super) mod issue;
pub(super) mod key;
pub(super) mod provider;
pub(super) mod role;
pub(super) mod scope;
mod template;
pub(super) mod userinfo;

use std::sync::Arc;

use kit::{Error, Nothing, Reply, Result};
use schemars::JsonSchema;
use serde::Serialize;

use storage::Snapshot;

use super::Identity;
use crate::namespaces::Namespace;
use crate::request::JSON;

/// A list of names.
#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    keys: Vec<String>,
}

/// The answer to a list of names, with the one that is always there; 404 if there is none.
fn keys(mut keys: Vec<String>, builtin: Option<&str>) -> Result<Reply<Keys>> {
    if let Some(name) = builtin.filter(|name| !keys.iter().any(|key| key == name)) {
        keys.push(name.to_owned());
        keys.sort();
    }
    if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
}

/// JSON without an envelope, as the standards want it.
fn plain(status: u16, body: &impl Serialize) -> Result<Reply<Nothing>> {
    Ok(Reply::Raw { status, kind: JSON, bytes: serde_json::to_vec(body)? })
}

/// The namespace of an identity mount.
fn namespace(identity: &Identity, today: &Snapshot, mount: &kit::Mount) -> Result<Arc<Namespace>> {
    let router = identity.kernel()?.router(today)?;
    let mounted = router.value().by_id(&mount.id);
    let mounted = mounted.ok_or_else(|| Error::internal("the identity mount is gone"))?;
    Ok(Arc::clone(&mounted.namespace))
}

/// Each once, sorted.
fn unique(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}
