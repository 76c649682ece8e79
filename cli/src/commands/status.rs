use clap::Args;
use serde_json::{Map, Value};

use super::Field;
use crate::{
    call::Call,
    client::Client,
    doc::Doc,
    output::{Output, say},
    refused::Refused,
    session::Session,
    stop::{LOCAL, Outcome, REMOTE},
    table::{plain, table},
};

/// The order in which programs read a status.
const ORDER: [&str; 23] = [
    "type",
    "initialized",
    "sealed",
    "t",
    "n",
    "progress",
    "nonce",
    "version",
    "commit_date",
    "migration",
    "cluster_name",
    "cluster_id",
    "recovery_seal",
    "recovery_seal_type",
    "storage_type",
    "build_date",
    "ha_enabled",
    "is_self",
    "active_time",
    "leader_address",
    "leader_cluster_address",
    "raft_committed_index",
    "raft_applied_index",
];

/// Print whether the server is sealed, and what it is
///
/// Exits with 0 if it is unsealed, 2 if it is sealed, and 1 if it cannot be asked.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    field: Field,
}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let status = fetch(&session.client, Call::get("sys/seal-status"))
            .await
            .map_err(|e| e.during("Error checking seal status").code(LOCAL))?;
        let sealed = status.flag("sealed");
        match &self.field.field {
            Some(name) => {
                session.output.field(status.0.get(name), name, "map")?;
            }
            None => {
                status.print(session.output)?;
            }
        }
        Ok(if sealed { REMOTE } else { 0 })
    }
}

/// A seal status, completed with what the leader says of a cluster.
pub(crate) struct Seal(Map<String, Value>);

/// Sends `call`, which answers with a seal status, and adds the state of the cluster.
pub(crate) async fn fetch(client: &Client, call: Call) -> Result<Seal, Refused> {
    let status = client.bare(call).await?;
    let mut status = Seal(status.as_object().cloned().unwrap_or_default());
    // Programs expect the key, and servers may leave it out.
    status.0.entry("build_date").or_insert_with(|| Value::String(String::new()));
    if status.flag("sealed") {
        // A sealed node does not know its leader; whether it would have one shows in its storage.
        let clustered = status.0.get("storage_type").and_then(Value::as_str) == Some("raft");
        let enabled = status.0.get("ha_enabled").and_then(Value::as_bool).unwrap_or(clustered);
        status.0.insert("ha_enabled".to_owned(), Value::Bool(enabled));
        return Ok(status);
    }
    let leader = client.bare(Call::get("sys/leader").preflight()).await?;
    let enabled = leader.get("ha_enabled").and_then(Value::as_bool).unwrap_or_default();
    status.0.insert("ha_enabled".to_owned(), Value::Bool(enabled));
    for (key, value) in leader.as_object().into_iter().flatten() {
        let said = match value {
            Value::String(text) => !text.is_empty() && !text.starts_with("0001-01-01"),
            Value::Bool(yes) => *yes,
            Value::Number(number) => number.as_u64() != Some(0),
            _ => false,
        };
        if said && ORDER.contains(&key.as_str()) {
            status.0.insert(key.clone(), value.clone());
        }
    }
    Ok(status)
}

impl Seal {
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn text(&self, name: &str) -> String {
        self.0.get(name).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
    }

    /// Prints the status.
    pub(crate) fn print(&self, output: Output) -> Outcome {
        if output.is_table() {
            say(table(&["Key", "Value"], self.rows()));
            return Ok(0);
        }
        output.doc(&Doc::ordered(&Value::Object(self.0.clone()), &ORDER))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut row = |title: &str, value: String| rows.push(vec![title.to_owned(), value]);
        let recovery = self.flag("recovery_seal");
        row("Seal Type", self.text("type"));
        if recovery {
            row("Recovery Seal Type", self.text("recovery_seal_type"));
        }
        row("Initialized", self.text("initialized"));
        row("Sealed", self.text("sealed"));
        row(if recovery { "Total Recovery Shares" } else { "Total Shares" }, self.text("n"));
        row("Threshold", self.text("t"));
        if self.flag("sealed") {
            row("Unseal Progress", format!("{}/{}", self.text("progress"), self.text("t")));
            row("Unseal Nonce", self.text("nonce"));
        }
        if self.flag("migration") {
            row("Seal Migration in Progress", self.text("migration"));
        }
        for (title, key) in
            [("Version", "version"), ("Commit Date", "commit_date"), ("Storage Type", "storage_type")]
        {
            if !self.text(key).is_empty() {
                row(title, self.text(key));
            }
        }
        if !self.text("cluster_name").is_empty() && !self.text("cluster_id").is_empty() {
            row("Cluster Name", self.text("cluster_name"));
            row("Cluster ID", self.text("cluster_id"));
        }
        row("HA Enabled", self.text("ha_enabled"));
        if self.flag("ha_enabled") && !self.flag("sealed") {
            row("HA Cluster", self.text("leader_cluster_address"));
            row("HA Mode", if self.flag("is_self") { "active" } else { "standby" }.to_owned());
            if self.flag("is_self") && !self.text("active_time").is_empty() {
                row("Active Since", self.text("active_time"));
            }
            if !self.flag("is_self") && !self.text("leader_address").is_empty() {
                row("Active Node Address", self.text("leader_address"));
            }
        }
        for (title, key) in
            [("Raft Committed Index", "raft_committed_index"), ("Raft Applied Index", "raft_applied_index")]
        {
            if !matches!(self.text(key).as_str(), "" | "0") {
                row(title, self.text(key));
            }
        }
        rows
    }
}
