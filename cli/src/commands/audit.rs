use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::mounts::Columns;
use crate::{
    call::Call,
    doc::Doc,
    output::say,
    pairs, paths,
    session::Session,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Work with audit devices
#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    List(List),
    Enable(Enable),
    Disable(Disable),
}

impl Audit {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Audit::List(verb) => verb.run(session).await,
            Audit::Enable(verb) => verb.run(session).await,
            Audit::Disable(verb) => verb.run(session).await,
        }
    }
}

/// List the audit devices
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Also print their options
    #[arg(long)]
    detailed: bool,
}

impl List {
    async fn run(self, session: &Session) -> Outcome {
        let secret = session
            .client
            .standing(Call::get("sys/audit"))
            .await
            .map_err(|e| e.during("Error listing audits"))?;
        let devices = secret.data().cloned().unwrap_or_default();
        if !session.output.is_table() {
            let order = ["type", "description", "options", "local", "path"];
            let docs = devices.iter().map(|(path, device)| (path.clone(), Doc::ordered(device, &order)));
            return session.output.doc(&Doc::Map(docs.collect()));
        }
        if devices.is_empty() {
            say("No audit devices are enabled.");
            return Ok(2);
        }
        say(rows(&devices, Columns::when(self.detailed)));
        Ok(0)
    }
}

fn rows(devices: &Map<String, Value>, columns: Columns) -> String {
    let text =
        |device: &Value, key: &str| device.get(key).filter(|v| !v.is_null()).map(plain).unwrap_or_default();
    let brief =
        |path: &String, device: &Value| vec![path.clone(), text(device, "type"), text(device, "description")];
    if columns == Columns::Brief {
        let rows = devices.iter().map(|(path, device)| brief(path, device)).collect();
        return table(&["Path", "Type", "Description"], rows);
    }
    let rows = devices.iter().map(|(path, device)| {
        let local = device.get("local").and_then(Value::as_bool).unwrap_or_default();
        let options = device.get("options").and_then(Value::as_object);
        let options: Vec<String> =
            options.into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value))).collect();
        let mut row = brief(path, device);
        row.push(if local { "local" } else { "replicated" }.to_owned());
        row.push(options.join(" "));
        row
    });
    table(&["Path", "Type", "Description", "Replication", "Options"], rows.collect())
}

/// Enable an audit device
#[derive(Args, Debug)]
pub(crate) struct Enable {
    /// What the device is for, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Keep the device out of replication
    #[arg(long)]
    local: bool,
    /// Path of the device; its type if left out
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Type of the device, such as file
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// Options of the device, as key=value
    #[arg(value_name = "CONFIG K=V")]
    options: Vec<String>,
}

impl Enable {
    async fn run(self, session: &Session) -> Outcome {
        let type_name = self.type_name.trim();
        let path = paths::clean(self.path.as_deref().unwrap_or(type_name));
        let options = pairs::read_text(&self.options, session.interactive)?;
        let body = json!({
            "type": type_name,
            "description": self.description.clone().unwrap_or_default(),
            "options": options,
            "local": self.local,
        });
        let call = Call::put(format!("sys/audit/{path}"), body);
        session.client.send(call).await.map_err(|e| e.during("Error enabling audit device"))?;
        say(format!("Success! Enabled the {type_name} audit device at: {}", paths::mount(&path)));
        Ok(0)
    }
}

/// Disable an audit device
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// Path of the device
    path: String,
}

impl Disable {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        if path.is_empty() {
            return Err(Stop::local("The path is empty"));
        }
        session
            .client
            .send(Call::delete(format!("sys/audit/{path}")))
            .await
            .map_err(|e| e.during("Error disabling audit device"))?;
        say(format!("Success! Disabled audit device (if it was enabled) at: {}", paths::mount(&path)));
        Ok(0)
    }
}
