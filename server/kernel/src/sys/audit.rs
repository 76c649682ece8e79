use std::collections::BTreeMap;

use kit::loose::{Flag, Pairs, Prose};
use kit::{Beyond, Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::audit::{self, AuditEntry};
use crate::ids;

const BY_CONFIGURATION: &str =
    "cannot enable audit device via API; use declarative, config-based audit device management instead";

/// An audit device as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    description: String,
    local: bool,
    options: BTreeMap<String, String>,
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Lists the audit devices.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Sys> for List {
    const ROUTE: Route = Route::get("audit").sudo().merged().root_only();
    type Reply = BTreeMap<String, Shown>;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let entries = engine.kernel()?.audits.entries(cx.beyond(&Beyond::for_the_kernel()))?;
        let shown = entries.into_iter().map(|entry| {
            let AuditEntry { path, kind, description, options, local, .. } = entry;
            (path.clone(), Shown { description, local, options, path, kind })
        });
        Ok(shown.collect::<BTreeMap<_, _>>().into())
    }
}

/// Enables an audit device. A record must reach it first.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Enable {
    /// The name of the device.
    path: String,
    /// Its type: `file`, `socket`, `syslog` or `http`.
    #[serde(rename = "type", default)]
    kind: String,
    /// What it is for, for people.
    #[serde(default)]
    description: Prose,
    /// Those of its type, and for all: `log_raw`, `hmac_accessor`, `elide_list_responses`, `prefix`.
    options: Option<Pairs>,
    /// Kept and shown.
    #[serde(default)]
    local: Flag,
}

impl Command<Sys> for Enable {
    const ROUTE: Route = Route::post("audit/{path+}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let beyond = Beyond::for_the_kernel();
        if !kernel.env.settings.allow_audit_api {
            return Err(Error::invalid(BY_CONFIGURATION));
        }
        let path = format!("{}/", self.path.trim_matches('/'));
        // A device does not lie in another: names of the two could not be told apart by their beginnings.
        let meets = |entry: &AuditEntry| entry.path.starts_with(&path) || path.starts_with(&entry.path);
        if kernel.audits.entries(cx.peek(&beyond))?.iter().any(meets) {
            return Err(Error::invalid("path already in use"));
        }
        let entry = AuditEntry {
            path,
            kind: self.kind,
            description: self.description.0,
            options: self.options.unwrap_or_default().0,
            local: self.local.0,
            salt: hex::encode(cx.random::<16>()),
        };
        let device = kernel.audits.open(&entry, &kernel.store)?;
        let (now, id) = (cx.now(), ids::new_uuid(cx.randomness()));
        cx.once(|| {
            kernel.audits.probe(&device, now, &id).map_err(|why| match entry.kind.as_str() {
                "file" => {
                    let file = entry.options.get("file_path").or_else(|| entry.options.get("path"));
                    let file = file.map_or("", String::as_str);
                    Error::invalid(format!("sanity check failed; unable to open {file:?} for writing: {why}"))
                }
                _ => Error::invalid(format!("audit backend failed test message: {why}")),
            })
        })?;
        kernel.audits.adopt(&entry, device);
        audit::put(cx.beyond(&beyond), &entry)?;
        Ok(Reply::Nothing)
    }
}

/// Disables an audit device. What it wrote stays where it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Disable {
    /// The name of the device.
    path: String,
}

impl Command<Sys> for Disable {
    const ROUTE: Route = Route::delete("audit/{path+}").logged().sudo().root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let path = format!("{}/", self.path.trim_matches('/'));
        if engine.kernel()?.audits.is_declared(&path) {
            return Err(Error::invalid(format!(
                "cannot disable {path:?} via API, for the server's configuration declares it; take it out there and send the server SIGHUP"
            )));
        }
        audit::delete(cx.beyond(&Beyond::for_the_kernel()), &path)?;
        Ok(Reply::Nothing)
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Hashed {
    hash: String,
}

/// Hashes a value as an audit device does, so that it can be found in the log.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Hash {
    /// The name of the device.
    path: String,
    /// The value.
    #[serde(default)]
    input: String,
}

impl Query<Sys> for Hash {
    const ROUTE: Route = Route::post("audit-hash/{path+}").merged().root_only();
    type Reply = Hashed;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Hashed>> {
        if self.input.is_empty() {
            return Err(Error::invalid("the \"input\" parameter is empty"));
        }
        let kernel = engine.kernel()?;
        let path = format!("{}/", self.path.trim_matches('/'));
        let trail = kernel.audits.trail(cx.beyond(&Beyond::for_the_kernel()), &kernel.store)?;
        let device = trail.value().devices.iter().find(|device| device.path == path);
        let device = device.ok_or_else(|| Error::invalid(format!("unknown audit backend {path:?}")))?;
        Ok(Hashed { hash: device.hash(&self.input) }.into())
    }
}
