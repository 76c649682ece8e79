use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    client::Client,
    commands::logical::Page,
    doc::Doc,
    output::say,
    paths,
    refused::Refused,
    session::Session,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Certificates that one listing asks for, unless -limit says otherwise.
const LIMIT_DEFAULT: usize = 1_000;

/// List the certificates that a mount has issued and stored
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    page: Page,
    /// Only the revoked ones
    #[arg(long)]
    revoked: bool,
    /// Mount
    mount: String,
}

impl List {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mount = paths::clean(&self.mount);
        let folder = if self.revoked { format!("{mount}/certs/revoked") } else { format!("{mount}/certs") };
        let during = |e: Refused| e.during(format!("Error listing {folder}"));
        let detailed =
            if self.revoked { None } else { self.detailed(session, &mount).await.map_err(during)? };
        let rows = match detailed {
            Some(rows) => rows,
            None => {
                let call = self.page.ask(Call::list(&folder));
                let secret = session.client.read(call).await.map_err(during)?;
                let keys = secret.as_ref().and_then(|secret| secret.keys()).cloned().unwrap_or_default();
                let serials: Vec<String> = keys.iter().map(plain).take(LIMIT_DEFAULT).collect();
                one_by_one(&session.client, &mount, serials).await?
            }
        };
        if rows.is_empty() && session.output.is_table() {
            return Err(Stop::remote(format!("No certificates found at {folder}")));
        }
        print(session, &rows)
    }

    /// One request, where the server knows the detailed listing.
    async fn detailed(&self, session: &Session, mount: &str) -> Result<Option<Vec<Row>>, Refused> {
        let call = self.page.ask(Call::list(format!("{mount}/certs/detailed")));
        let Some(secret) = session.client.read(call).await? else { return Ok(None) };
        let Some(details) = secret.field("key_info").and_then(Value::as_object) else { return Ok(None) };
        let text = |value: &Value, key: &str| value.get(key).map(plain).unwrap_or_default();
        Ok(Some(
            details
                .iter()
                .map(|(serial, value)| Row {
                    serial: serial.clone(),
                    common_name: text(value, "common_name"),
                    not_after: text(value, "not_after"),
                    whole: value.clone(),
                })
                .collect(),
        ))
    }
}

struct Row {
    serial: String,
    common_name: String,
    not_after: String,
    whole: Value,
}

async fn one_by_one(client: &Client, mount: &str, serials: Vec<String>) -> Result<Vec<Row>, Stop> {
    let mut rows = Vec::new();
    for serial in serials {
        let path = format!("{mount}/cert/{serial}");
        let found =
            client.read(Call::get(&path)).await.map_err(|e| e.during(format!("Error reading {path}")))?;
        let Some(secret) = found else { continue };
        let cert = secret.text("certificate").and_then(crate::pem::certificate);
        let (common_name, not_after) =
            cert.map_or_else(Default::default, |cert| (cert.common_name, crate::pem::day(cert.not_after)));
        let whole = json!({ "common_name": common_name, "not_after": not_after });
        rows.push(Row { serial, common_name, not_after, whole });
    }
    Ok(rows)
}

fn print(session: &Session, rows: &[Row]) -> Outcome {
    if session.output.is_table() {
        let cells = |row: &Row| vec![row.serial.clone(), row.common_name.clone(), row.not_after.clone()];
        say(table(&["Serial Number", "Common Name", "Not After"], rows.iter().map(cells).collect()));
        return Ok(0);
    }
    let map: Map<String, Value> = rows.iter().map(|row| (row.serial.clone(), row.whole.clone())).collect();
    session.output.doc(&Doc::Value(Value::Object(map)))
}
