use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    doc::Doc,
    output::say,
    paths,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Show who holds which certificate, where it is served, and when that was last seen
///
/// It is what agents report: each of its own certificates, after every delivery and once an hour. What is not as it should
/// be stands in the last column: `silent` (nothing was heard for three hours), `not_served` (the port shows another
/// certificate), `revoked`.
#[derive(Args, Debug)]
pub(crate) struct Inventory {
    /// Only what is not as it should be
    #[arg(long)]
    stale: bool,
    /// A holder who has said nothing for so long is silent
    #[arg(long, value_name = "DURATION")]
    not_seen_for: Option<Span>,
    /// Of this host alone
    #[arg(long, value_name = "HOST", conflicts_with_all = ["serial", "stale"])]
    host: Option<String>,
    /// Of this certificate alone
    #[arg(long, value_name = "SERIAL", conflicts_with = "stale")]
    serial: Option<String>,
    /// Of this role alone
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Return at most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

impl Inventory {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let path = format!("{}/inventory", paths::clean(&self.mount));
        let (call, list) = match (&self.host, &self.serial) {
            (Some(host), _) => (Call::get(format!("{path}/host/{host}")), "certificates"),
            (_, Some(serial)) => (Call::get(format!("{path}/certificate/{serial}")), "holders"),
            _ => (self.all(&path), "key_info"),
        };
        let read = session.client.read(call).await;
        let Some(found) = read.map_err(|e| e.during("Error reading the inventory"))? else {
            if !session.output.is_table() {
                session.output.doc(&Doc::Value(json!([])))?;
                return Ok(0);
            }
            return Err(Stop::remote("Nobody has reported such a certificate"));
        };
        let rows: Vec<Value> = match found.field(list) {
            Some(Value::Object(map)) => map.values().cloned().collect(),
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        if !session.output.is_table() {
            return session.output.doc(&Doc::Value(json!(rows)));
        }
        say(table(
            &["Host", "Name", "Serial", "Not after", "Next renewal", "Served at", "Last seen", "Stale"],
            rows.iter().filter_map(Value::as_object).map(row).collect(),
        ));
        Ok(0)
    }

    fn all(&self, path: &str) -> Call {
        let mut call = Call::list(path);
        let flags = [
            ("stale", self.stale.then(|| "true".to_owned())),
            ("not_seen_for", self.not_seen_for.map(|span| format!("{}s", span.seconds()))),
            ("role", self.role.clone()),
            ("limit", self.limit.map(|count| count.to_string())),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        call
    }
}

fn row(one: &Map<String, Value>) -> Vec<String> {
    let text = |key: &str| one.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
    let list = |key: &str| one.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let served: Vec<String> =
        list("served").iter().filter_map(|place| Some(place.get("address")?.as_str()?.to_owned())).collect();
    let stale: Vec<String> = list("stale").iter().map(plain).collect();
    let mut cells: Vec<String> =
        ["host", "name", "serial_number", "not_after", "next_renewal"].map(text).into();
    cells.extend([served.join(", "), text("last_seen"), stale.join(", ")]);
    cells
}
