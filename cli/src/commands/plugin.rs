//! What can be mounted on a server. Sealkeep has everything built in; other servers can be given more.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Field;
use crate::{
    call::Call,
    doc::Doc,
    output::say,
    refused::Refused,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Work with the catalog of what can be mounted
#[derive(Subcommand, Debug)]
pub(crate) enum Plugin {
    List(List),
    Info(Info),
    Register(Register),
    Deregister(Deregister),
    Reload(Reload),
    ReloadStatus(ReloadStatus),
}

impl Plugin {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Plugin::List(verb) => verb.run(session).await,
            Plugin::Info(verb) => verb.run(session).await,
            Plugin::Register(verb) => verb.run(session).await,
            Plugin::Deregister(verb) => verb.run(session).await,
            Plugin::Reload(verb) => verb.run(session).await,
            Plugin::ReloadStatus(verb) => verb.run(session).await,
        }
    }
}

/// The kinds of plugins, and the numbers by which the catalog's oldest form knows them.
const KINDS: [(&str, u8); 3] = [("auth", 1), ("database", 2), ("secret", 3)];
/// The order in which programs read an entry of the catalog.
const ORDER: [&str; 6] = ["type", "name", "version", "sha256", "builtin", "deprecation_status"];

/// The number of a kind, or which kinds there are.
fn kind(name: &str) -> Result<u8, Stop> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(|| {
        Stop::remote(format!("{name:?} is not a supported plugin type"))
            .hint("There are: auth, database and secret.")
    })
}

/// What a refusal means on a server that has everything built in.
fn refused(refused: Refused, during: String) -> Stop {
    let closed = matches!(refused.status(), Some(404 | 405));
    let stop = refused.during(during);
    if !closed {
        return stop;
    }
    stop.hint("Sealkeep has its engines and methods built in: none is registered, removed or reloaded.")
}

/// List what can be mounted
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Also print whether it is still supported
    #[arg(long)]
    detailed: bool,
    /// Only this kind: auth, database or secret
    #[arg(value_name = "TYPE")]
    kind: Option<String>,
}

impl List {
    async fn run(self, session: &Session) -> Outcome {
        if let Some(name) = &self.kind {
            kind(name).map_err(|_| {
                Stop::remote(format!("Error parsing type: {name:?} is not a supported plugin type"))
                    .hint("There are: auth, database and secret.")
            })?;
        }
        let during = "Error listing available plugins";
        let secret =
            session.client.standing(Call::get("sys/plugins/catalog")).await.map_err(|e| e.during(during))?;
        let catalog = secret.data().cloned().unwrap_or_default();
        let wanted = |name: &str| self.kind.as_deref().is_none_or(|kind| kind == name);
        let text = |entry: &Value, key: &str| entry.get(key).map(plain).unwrap_or_default();
        let details = catalog.get("detailed").and_then(Value::as_array).cloned().unwrap_or_default();
        let details: Vec<Value> = details.into_iter().filter(|entry| wanted(&text(entry, "type"))).collect();
        if !session.output.is_table() {
            let names = KINDS.iter().filter(|(name, _)| wanted(name));
            let mut parts: Vec<(String, Doc)> = names
                .filter_map(|(name, _)| Some(((*name).to_owned(), catalog.get(*name)?.clone().into())))
                .collect();
            let details = details.iter().map(|entry| Doc::ordered(entry, &ORDER)).collect();
            parts.push(("details".to_owned(), Doc::List(details)));
            parts.sort_by(|(a, _), (b, _)| a.cmp(b));
            return session.output.doc(&Doc::Map(parts));
        }
        let mut columns = vec![("Name", "name"), ("Type", "type"), ("Version", "version")];
        if self.kind.is_some() && !self.detailed {
            columns.remove(1);
        }
        if self.detailed {
            columns.push(("Deprecation Status", "deprecation_status"));
        }
        let header: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        let row = |entry: &Value| columns.iter().map(|(_, key)| text(entry, key)).collect();
        say(table(&header, details.iter().map(row).collect()));
        Ok(0)
    }
}

/// Which plugin is meant.
#[derive(Args, Debug)]
struct Which {
    /// Its version, such as v1.0.0
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Kind: auth, database or secret
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Name in the catalog
    #[arg(value_name = "NAME")]
    name: String,
}

impl Which {
    fn path(&self) -> Result<String, Stop> {
        kind(&self.kind)?;
        Ok(format!("sys/plugins/catalog/{}/{}", self.kind, self.name.trim()))
    }
}

/// Print what the catalog knows of one
#[derive(Args, Debug)]
pub(crate) struct Info {
    #[command(flatten)]
    field: Field,
    #[command(flatten)]
    which: Which,
}

/// What of an entry is shown, as ever.
const SHOWN: [&str; 7] = ["args", "builtin", "command", "deprecation_status", "name", "sha256", "version"];

impl Info {
    async fn run(self, session: &Session) -> Outcome {
        let mut call = Call::get(self.which.path()?);
        if let Some(version) = &self.which.version {
            call = call.query("version", version);
        }
        let name = self.which.name.trim();
        let during = format!("Error reading plugin named {name}");
        let secret: Secret = session.client.standing(call).await.map_err(|e| {
            let missing = e.status() == Some(404);
            let stop = e.during(during);
            if missing {
                stop.hint(format!("`keep plugin list {}` prints what there is.", self.which.kind))
            } else {
                stop
            }
        })?;
        let known = secret.data().cloned().unwrap_or_default();
        let shown: Map<String, Value> = SHOWN
            .iter()
            .map(|key| ((*key).to_owned(), known.get(*key).cloned().unwrap_or_default()))
            .collect();
        if let Some(field) = &self.field.field {
            let value = if field == "args" { None } else { shown.get(field) };
            return session.output.field(value.or(known.get(field)), field, "map");
        }
        if !session.output.is_table() {
            return session.output.doc(&Doc::Value(Value::Object(shown)));
        }
        let cell = |key: &str, value: &Value| match (key, value) {
            ("args", Value::Null) => "[]".to_owned(),
            (_, Value::Null) => String::new(),
            (_, value) => plain(value),
        };
        let rows = shown.iter().map(|(key, value)| vec![key.clone(), cell(key, value)]).collect();
        say(table(&["Key", "Value"], rows));
        Ok(0)
    }
}

/// Put a plugin into the catalog
///
/// Its program must lie in the server's plugin directory. Sealkeep has everything built in and refuses.
#[derive(Args, Debug)]
pub(crate) struct Register {
    /// Arguments of the program; repeatable
    #[arg(long, value_name = "ARGUMENTS")]
    args: Vec<String>,
    /// Program to run; the plugin's name if left out
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// The server's configuration names it as an OCI image
    #[arg(long)]
    oci: bool,
    /// SHA-256 of the program, in hex
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl Register {
    async fn run(self, session: &Session) -> Outcome {
        let hash = self.sha256.as_deref().unwrap_or_default();
        if hash.is_empty() && !self.oci {
            return Err(Stop::local("SHA256 is required for all plugins, please provide -sha256"));
        }
        let path = self.which.path()?;
        let name = self.which.name.trim();
        let mut body = json!({
            "type": kind(&self.which.kind)?,
            "command": self.command.as_deref().unwrap_or(name),
            "sha256": hash,
        });
        let version = self.which.version.as_ref();
        let more = [
            ("args", (!self.args.is_empty()).then(|| json!(self.args))),
            ("oci", self.oci.then_some(Value::Bool(true))),
            ("version", version.map(|version| json!(version))),
        ];
        if let Some(body) = body.as_object_mut() {
            body.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        }
        let during = format!("Error registering plugin {name}");
        session.client.send(Call::put(path, body)).await.map_err(|e| refused(e, during))?;
        say(format!("Success! Registered plugin: {name}"));
        Ok(0)
    }
}

/// Take a plugin out of the catalog
#[derive(Args, Debug)]
pub(crate) struct Deregister {
    #[command(flatten)]
    which: Which,
}

impl Deregister {
    async fn run(self, session: &Session) -> Outcome {
        let name = self.which.name.trim();
        let version = self.which.version.clone().unwrap_or_default();
        let call = Call::delete(self.which.path()?).query("version", version);
        let during = format!("Error deregistering plugin named {name}");
        session.client.send(call).await.map_err(|e| refused(e, during))?;
        say(format!("Success! Deregistered plugin (if it was registered): {name}"));
        Ok(0)
    }
}

/// Start a plugin anew, everywhere it is mounted or at some mounts
#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Name in the catalog
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Paths of mounts, separated by commas
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    mounts: Vec<String>,
    /// `global`: on every node of the cluster
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
}

impl Reload {
    async fn run(self, session: &Session) -> Outcome {
        match (&self.plugin, self.mounts.is_empty()) {
            (None, true) => {
                return Err(Stop::local("Not enough arguments (expected 1, got 0)")
                    .hint("Give -plugin=NAME or -mounts=PATHS."));
            }
            (Some(_), false) => {
                return Err(Stop::local("Too many arguments (expected 1, got 2)")
                    .hint("Give -plugin or -mounts, not both."));
            }
            _ => {}
        }
        if let Some(scope) = self.scope.as_ref().filter(|scope| *scope != "global") {
            return Err(Stop::local(format!("Invalid reload scope: {scope}"))
                .hint("Leave it out for this node, or write -scope=global."));
        }
        let body = json!({
            "plugin": self.plugin.as_deref().unwrap_or_default(),
            "mounts": if self.mounts.is_empty() { Value::Null } else { json!(self.mounts) },
            "scope": self.scope.as_deref().unwrap_or_default(),
        });
        let during = "Error reloading plugin/mounts".to_owned();
        let answer = session
            .client
            .write(Call::put("sys/plugins/reload/backend", body))
            .await
            .map_err(|e| refused(e, during))?;
        let what = match &self.plugin {
            Some(name) => format!("plugin: {name}"),
            None => format!("mounts: [{}]", self.mounts.join(" ")),
        };
        let id = answer.as_ref().and_then(|secret| secret.text("reload_id"));
        match id.filter(|_| self.scope.is_some()) {
            Some(id) => say(format!("Success! Reloading {what}, reload_id: {id}")),
            None => say(format!("Success! Reloaded {what}")),
        }
        Ok(0)
    }
}

/// Print how far a reload on all nodes is
#[derive(Args, Debug)]
pub(crate) struct ReloadStatus {
    /// What `keep plugin reload -scope=global` printed
    #[arg(value_name = "RELOAD_ID")]
    id: String,
}

impl ReloadStatus {
    async fn run(self, session: &Session) -> Outcome {
        let call = Call::get("sys/plugins/reload/backend/status").query("reload_id", self.id.trim());
        let during = "Error retrieving plugin reload status".to_owned();
        let secret = session.client.standing(call).await.map_err(|e| refused(e, during))?;
        if !session.output.is_table() {
            return session.output.secret(&secret);
        }
        let results = secret.field("results").and_then(Value::as_object).cloned().unwrap_or_default();
        let text = |result: &Value, key: &str| result.get(key).map(plain).unwrap_or_default();
        let row = |(node, result): (&String, &Value)| {
            vec![node.clone(), text(result, "timestamp"), text(result, "error")]
        };
        say(table(&["Participant", "Timestamp", "Message"], results.iter().map(row).collect()));
        Ok(0)
    }
}
