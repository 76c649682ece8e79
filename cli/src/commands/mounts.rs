//! What secrets engines and auth methods have in common: both are mounted, listed, tuned and moved.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    doc::Doc,
    output::{Output, say, warn},
    paths,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// How often a move is asked whether it is done.
const MOVE_POLL: Duration = Duration::from_millis(500);
/// The order in which programs read a mount.
const ORDER: [&str; 13] = [
    "uuid",
    "type",
    "description",
    "accessor",
    "config",
    "options",
    "local",
    "seal_wrap",
    "external_entropy_access",
    "plugin_version",
    "running_plugin_version",
    "running_sha256",
    "deprecation_status",
];
/// The order in which programs read a mount's configuration.
const CONFIG_ORDER: [&str; 10] = [
    "default_lease_ttl",
    "max_lease_ttl",
    "force_no_cache",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "listing_visibility",
    "passthrough_request_headers",
    "allowed_response_headers",
    "token_type",
    "user_lockout_config",
];

/// The two kinds of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Secrets,
    Auth,
}

impl Kind {
    /// The kind as a sentence calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Secrets => "secrets engine",
            Kind::Auth => "auth method",
        }
    }

    /// The path under which mounts of this kind are managed.
    pub(crate) fn root(self) -> &'static str {
        match self {
            Kind::Secrets => "sys/mounts",
            Kind::Auth => "sys/auth",
        }
    }

    fn tune_path(self, mount: &str) -> String {
        match self {
            Kind::Secrets => format!("sys/mounts/{mount}/tune"),
            Kind::Auth => format!("sys/mounts/auth/{mount}/tune"),
        }
    }

    /// The mount's path in the whole tree.
    fn routed(self, mount: &str) -> String {
        match self {
            Kind::Secrets => mount.to_owned(),
            Kind::Auth if mount.starts_with("auth/") => mount.to_owned(),
            Kind::Auth => format!("auth/{mount}"),
        }
    }
}

/// The settings that can be given when a mount is made, and changed later.
#[derive(Args, Debug)]
pub(crate) struct Tuning {
    /// Response header that the mount may set; repeatable
    #[arg(long, value_name = "NAME")]
    allowed_response_headers: Vec<String>,
    /// Request key that audit devices record in clear; repeatable
    #[arg(long, value_name = "KEY")]
    audit_non_hmac_request_keys: Vec<String>,
    /// Response key that audit devices record in clear; repeatable
    #[arg(long, value_name = "KEY")]
    audit_non_hmac_response_keys: Vec<String>,
    /// Lifetime of leases that ask for none; -1 for the server's
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    default_lease_ttl: Option<Span>,
    /// What the mount is for, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whether the mount shows to those who are not logged in: unauth or hidden
    #[arg(long, value_name = "VISIBILITY")]
    listing_visibility: Option<String>,
    /// Longest lifetime of leases; -1 for the server's
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    max_lease_ttl: Option<Span>,
    /// Option of the engine, as key=value; repeatable
    #[arg(long, value_name = "K=V")]
    options: Vec<String>,
    /// Request header that the mount may see; repeatable
    #[arg(long, value_name = "NAME")]
    passthrough_request_headers: Vec<String>,
    /// Version of the plugin to run
    #[arg(long, value_name = "VERSION")]
    plugin_version: Option<String>,
    /// Version of the engine, as in -version=2 for kv
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
}

impl Tuning {
    fn options(&self) -> Result<Option<Map<String, Value>>, Stop> {
        let mut options = Map::new();
        for pair in &self.options {
            let wrong = || Stop::local("-options must be given as key=value");
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            options.insert(key.to_owned(), json!(value));
        }
        if let Some(version) = self.version {
            options.insert("version".to_owned(), json!(version.to_string()));
        }
        Ok((!options.is_empty()).then_some(options))
    }

    /// Only what was given: nothing else changes.
    fn config(&self, spell: fn(Span) -> String) -> Map<String, Value> {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| {
            config.insert(key.to_owned(), value);
        };
        if let Some(ttl) = self.default_lease_ttl {
            set("default_lease_ttl", json!(spell(ttl)));
        }
        if let Some(ttl) = self.max_lease_ttl {
            set("max_lease_ttl", json!(spell(ttl)));
        }
        if let Some(visibility) = &self.listing_visibility {
            set("listing_visibility", json!(visibility));
        }
        for (key, list) in [
            ("allowed_response_headers", &self.allowed_response_headers),
            ("audit_non_hmac_request_keys", &self.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &self.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &self.passthrough_request_headers),
        ] {
            if !list.is_empty() {
                set(key, json!(list));
            }
        }
        if let Some(version) = &self.plugin_version {
            set("plugin_version", json!(version));
        }
        config
    }
}

/// What can only be chosen when a mount is made.
#[derive(Args, Debug)]
pub(crate) struct Making {
    /// Path of the mount; its type if left out
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Keep the mount out of replication
    #[arg(long)]
    local: bool,
    /// Wrap the most sensitive values with the seal as well
    #[arg(long)]
    seal_wrap: bool,
    /// Draw on outside entropy
    #[arg(long)]
    external_entropy_access: bool,
    /// Name of the plugin, where it differs from the type
    #[arg(long, value_name = "NAME")]
    plugin_name: Option<String>,
}

/// Mounts an engine or a method and returns its path with the final slash.
pub(crate) async fn enable(
    session: &Session,
    kind: Kind,
    type_name: &str,
    making: &Making,
    tuning: &Tuning,
    more: Map<String, Value>,
) -> Result<String, Stop> {
    let type_name = type_name.trim();
    let type_name = match type_name {
        "plugin" => making
            .plugin_name
            .as_deref()
            .ok_or_else(|| Stop::local("Missing plugin name, use -plugin-name to name it"))?,
        given => given,
    };
    let path = paths::clean(making.path.as_deref().unwrap_or(type_name));
    let mut config = tuning.config(|span| span.to_string());
    config.extend(more);
    let mut body = json!({
        "type": type_name,
        "description": tuning.description.clone().unwrap_or_default(),
        "config": config,
        "local": making.local,
        "seal_wrap": making.seal_wrap,
        "external_entropy_access": making.external_entropy_access,
    });
    if let (Some(options), Some(body)) = (tuning.options()?, body.as_object_mut()) {
        body.insert("options".to_owned(), Value::Object(options));
    }
    let during = match kind {
        Kind::Secrets => "Error enabling".to_owned(),
        Kind::Auth => format!("Error enabling {type_name} auth"),
    };
    let call = Call::post(format!("{}/{path}", kind.root()), body);
    session.client.send(call).await.map_err(|e| e.during(during))?;
    Ok(paths::mount(&path))
}

/// Changes the settings of a mount.
pub(crate) async fn tune(
    session: &Session,
    kind: Kind,
    path: &str,
    tuning: &Tuning,
    more: Map<String, Value>,
) -> Outcome {
    let mount = paths::clean(path);
    let mut body = tuning.config(Span::for_mount);
    body.extend(more);
    if let Some(description) = &tuning.description {
        body.insert("description".to_owned(), json!(description));
    }
    if let Some(options) = tuning.options()? {
        body.insert("options".to_owned(), Value::Object(options));
    }
    let shown = paths::mount(&mount);
    session
        .client
        .send(Call::post(kind.tune_path(&mount), Value::Object(body)))
        .await
        .map_err(|e| e.during(format!("Error tuning {} {shown}", kind.name())))?;
    say(format!("Success! Tuned the {} at: {shown}", kind.name()));
    Ok(0)
}

/// Unmounts.
pub(crate) async fn disable(session: &Session, kind: Kind, path: &str) -> Outcome {
    let mount = paths::clean(path);
    let shown = paths::mount(&mount);
    session
        .client
        .send(Call::delete(format!("{}/{mount}", kind.root())))
        .await
        .map_err(|e| e.during(format!("Error disabling {} at {shown}", kind.name())))?;
    say(format!("Success! Disabled the {} (if it existed) at: {shown}", kind.name()));
    Ok(0)
}

/// Moves a mount and waits until the server says it is done.
pub(crate) async fn remount(session: &Session, kind: Kind, from: &str, to: &str) -> Outcome {
    let (from, to) = (paths::mount(&paths::clean(from)), paths::mount(&paths::clean(to)));
    let during = format!("Error moving {} {from} to {to}", kind.name());
    let body = json!({ "from": kind.routed(&from), "to": kind.routed(&to) });
    let started =
        session.client.write(Call::post("sys/remount", body)).await.map_err(|e| e.during(&during))?;
    let id = started.as_ref().and_then(|secret| secret.text("migration_id")).map(str::to_owned);
    let Some(id) = id else {
        // A server without migrations has moved it already.
        say(format!("Success! Moved {} {from} to: {to}", kind.name()));
        return Ok(0);
    };
    say(format!("Started moving {} {from} to {to}, with migration ID {id}", kind.name()));
    let what = format!("migration of {} {from} to {to}, with migration ID {id}", kind.name());
    let mut told = false;
    loop {
        let asked = session.client.read(Call::get(format!("sys/remount/status/{id}"))).await;
        let state = asked.map_err(|e| e.during(format!("Error checking the {what}")))?;
        let info = state.as_ref().and_then(|secret| secret.field("migration_info"));
        match info.and_then(|info| info.get("status")).and_then(Value::as_str) {
            Some("success") => {
                say(format!(
                    "Success! Finished moving {} {from} to {to}, with migration ID {id}",
                    kind.name()
                ));
                return Ok(0);
            }
            Some("failure") => {
                return Err(Stop::local(format!(
                    "Failure! Error encountered moving {} {from} to {to}, with migration ID {id}",
                    kind.name()
                )));
            }
            _ if told => {}
            _ => {
                say(format!("Waiting for terminal status in {what}"));
                told = true;
            }
        }
        tokio::time::sleep(MOVE_POLL).await;
    }
}

/// Prints all mounts of a kind.
pub(crate) async fn list(session: &Session, kind: Kind, detail: Columns) -> Outcome {
    let during = match kind {
        Kind::Secrets => "Error listing secrets engines",
        Kind::Auth => "Error listing enabled authentications",
    };
    let secret = session.client.standing(Call::get(kind.root())).await.map_err(|e| e.during(during))?;
    let mounts = secret.data().cloned().unwrap_or_default();
    print(session.output, kind, &mounts, detail)
}

/// How much of each mount is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    Brief,
    Detailed,
}

impl Columns {
    pub(crate) fn when(detailed: bool) -> Columns {
        if detailed { Columns::Detailed } else { Columns::Brief }
    }
}

fn print(output: Output, kind: Kind, mounts: &Map<String, Value>, detail: Columns) -> Outcome {
    if !output.is_table() {
        let docs = mounts.iter().map(|(path, mount)| (path.clone(), mount_doc(mount)));
        return output.doc(&Doc::Map(docs.collect()));
    }
    if mounts.is_empty() {
        warn("No mounts found.");
        return Ok(0);
    }
    let text = match detail {
        Columns::Brief => {
            let mut header = vec!["Path", "Type", "Accessor", "Description"];
            if kind == Kind::Auth {
                header.push("Version");
            }
            table(&header, mounts.iter().map(|(path, mount)| brief(kind, path, mount)).collect())
        }
        Columns::Detailed => {
            table(&header(kind), mounts.iter().map(|(path, mount)| detailed(kind, path, mount)).collect())
        }
    };
    say(text);
    Ok(0)
}

/// A mount with its keys, and those of its configuration, in their usual order.
fn mount_doc(mount: &Value) -> Doc {
    let mut mount = mount.clone();
    if let Some(mount) = mount.as_object_mut() {
        // Programs expect the key, and servers may leave it out.
        mount.entry("deprecation_status").or_insert_with(|| json!(""));
    }
    match Doc::ordered(&mount, &ORDER) {
        Doc::Map(parts) => Doc::Map(
            parts
                .into_iter()
                .map(|(key, doc)| match doc {
                    Doc::Value(value) if key == "config" => (key, Doc::ordered(&value, &CONFIG_ORDER)),
                    doc => (key, doc),
                })
                .collect(),
        ),
        other => other,
    }
}

fn text(mount: &Value, key: &str) -> String {
    mount.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
}

fn brief(kind: Kind, path: &str, mount: &Value) -> Vec<String> {
    let mut row =
        vec![path.to_owned(), text(mount, "type"), text(mount, "accessor"), text(mount, "description")];
    if kind == Kind::Auth {
        row.push(text(mount, "plugin_version"));
    }
    row
}

fn header(kind: Kind) -> Vec<&'static str> {
    let mut header = vec!["Path", "Plugin", "Accessor", "Default TTL", "Max TTL"];
    header.push(match kind {
        Kind::Secrets => "Force No Cache",
        Kind::Auth => "Token Type",
    });
    header.extend([
        "Replication",
        "Seal Wrap",
        "External Entropy Access",
        "Options",
        "Description",
        "UUID",
        "Version",
        "Running Version",
        "Running SHA256",
        "Deprecation Status",
    ]);
    header
}

fn detailed(kind: Kind, path: &str, mount: &Value) -> Vec<String> {
    let config = mount.get("config").cloned().unwrap_or_default();
    let type_name = text(mount, "type");
    // Leases of these engines are not governed by the mount.
    let fixed = kind == Kind::Secrets && matches!(type_name.as_str(), "system" | "cubbyhole");
    let ttl = |key: &str| match (fixed, config.get(key).and_then(Value::as_i64)) {
        (true, _) => String::new(),
        (false, None | Some(0)) => "system".to_owned(),
        (false, Some(seconds)) => seconds.to_string(),
    };
    let special = match kind {
        Kind::Secrets => text(&config, "force_no_cache"),
        Kind::Auth => text(&config, "token_type"),
    };
    let local = mount.get("local").and_then(Value::as_bool).unwrap_or_default();
    let options = match mount.get("options") {
        Some(options) if !options.is_null() => plain(options),
        _ => "map[]".to_owned(),
    };
    let plugin = if type_name == "plugin" { text(&config, "plugin_name") } else { type_name };
    let (default_ttl, max_ttl) = (ttl("default_lease_ttl"), ttl("max_lease_ttl"));
    let mut row = vec![path.to_owned(), plugin, text(mount, "accessor"), default_ttl, max_ttl, special];
    row.push(if local { "local" } else { "replicated" }.to_owned());
    row.extend(["seal_wrap", "external_entropy_access"].map(|key| text(mount, key)));
    row.push(options);
    row.extend(
        [
            "description",
            "uuid",
            "plugin_version",
            "running_plugin_version",
            "running_sha256",
            "deprecation_status",
        ]
        .map(|key| text(mount, key)),
    );
    row
}
