use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    client::{Client, Found},
    commands::logical::Page,
    doc::Doc,
    output::{say, warn, warnings},
    paths, pem,
    refused::Refused,
    secret::Secret,
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
    #[command(flatten)]
    wanted: Wanted,
    /// Mount
    mount: String,
}

/// What the certificates are to be like
#[derive(Args, Debug)]
struct Wanted {
    /// Only those with this name; * stands for any text
    #[arg(long)]
    name: Option<String>,
    /// Only those of this issuer
    #[arg(long, value_name = "REF")]
    issuer: Option<String>,
    /// Only those issued under this role
    #[arg(long)]
    role: Option<String>,
    /// Only those that the entity of this id asked for
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
    /// Only the one with this serial number
    #[arg(long)]
    serial: Option<String>,
    /// Only those that end within this span, such as 30d
    #[arg(long, value_name = "SPAN")]
    ends_within: Option<String>,
    /// Only those that end at this time or later; without it, what has ended is left out
    #[arg(long, value_name = "TIME")]
    ends_after: Option<String>,
    /// Only those that end before this time
    #[arg(long, value_name = "TIME")]
    ends_before: Option<String>,
}

impl Wanted {
    /// As the server names them.
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("name", &self.name),
            ("issuer", &self.issuer),
            ("role", &self.role),
            ("owner", &self.owner),
            ("serial_number", &self.serial),
            ("ends_within", &self.ends_within),
            ("ends_after", &self.ends_after),
            ("ends_before", &self.ends_before),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

impl List {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mount = paths::clean(&self.mount);
        if !self.wanted.fields().is_empty() {
            return self.search(session, &mount).await;
        }
        let folder = if self.revoked { format!("{mount}/certs/revoked") } else { format!("{mount}/certs") };
        let during = |e: Refused| e.during(format!("Error listing {folder}"));
        let detailed =
            if self.revoked { None } else { self.detailed(session, &mount).await.map_err(during)? };
        let rows = match detailed {
            Some(rows) => rows,
            None => {
                let call = self.page.ask(Call::list(&folder));
                let nothing = || format!("No certificates found at {folder}");
                let secret = match session.client.find(call).await.map_err(during)? {
                    Found::Secret(secret) => *secret,
                    // Such as that nothing is mounted there.
                    Found::Nothing { reason: Some(reason) } => {
                        return Err(Found::end(nothing(), Some(reason)));
                    }
                    Found::Nothing { reason: None } => Secret::default(),
                };
                let Some(keys) = secret.keys().cloned().or_else(|| secret.warnings.is_none().then(Vec::new))
                else {
                    return Err(warnings(&secret).into_iter().fold(Stop::remote(nothing()), Stop::hint));
                };
                let serials: Vec<String> = keys.iter().map(plain).take(LIMIT_DEFAULT).collect();
                one_by_one(&session.client, &mount, serials).await?
            }
        };
        if rows.is_empty() && session.output.is_table() {
            return Err(Stop::remote(format!("No certificates found at {folder}")));
        }
        print(session, &rows)
    }

    /// Asks for those that are wanted, page by page.
    async fn search(&self, session: &Session, mount: &str) -> Outcome {
        let path = format!("{mount}/certs/search");
        let mut rows = Vec::new();
        let mut page = self.page.ask(Call::list(&path));
        loop {
            for (name, value) in self.wanted.fields() {
                page = page.query(name, value);
            }
            if self.revoked {
                page = page.query("revoked", "true");
            }
            let during = |e: Refused| e.during(format!("Error searching {path}"));
            let secret = session.client.read(page).await.map_err(during)?;
            let field = |name: &str| secret.as_ref().and_then(|secret| secret.field(name));
            let text = |value: &Value, key: &str| value.get(key).map(plain).unwrap_or_default();
            let details = field("key_info");
            let keys = field("keys").and_then(Value::as_array).into_iter().flatten().map(plain);
            let found = keys.filter_map(|serial| Some((details?.get(&serial)?, serial)));
            rows.extend(found.map(|(value, serial)| Row {
                serial,
                common_name: text(value, "common_name"),
                not_after: text(value, "not_after"),
                whole: value.clone(),
            }));
            let next = field("next").map(plain).filter(|_| !self.page.is_limited());
            match next {
                Some(next) => page = Call::list(&path).query("after", next),
                None => break,
            }
        }
        if rows.is_empty() && session.output.is_table() {
            return Err(Stop::remote(format!("No such certificates found in {mount}")));
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

/// Reads the certificates of these serial numbers. One that cannot be read is told and shown by its number: the others are none
/// the worse for it.
async fn one_by_one(client: &Client, mount: &str, serials: Vec<String>) -> Result<Vec<Row>, Stop> {
    let mut rows = Vec::new();
    for serial in serials {
        let path = format!("{mount}/cert/{serial}");
        let secret = match client.read(Call::get(&path)).await {
            Ok(Some(secret)) => secret,
            Ok(None) => continue,
            Err(refused) if refused.status() == Some(500) => {
                warn(format!("{path}: {}; only its serial number is shown.", refused.reason()));
                rows.push(Row::unread(serial));
                continue;
            }
            Err(refused) => return Err(refused.during(format!("Error reading {path}"))),
        };
        let Some(cert) = secret.text("certificate").and_then(pem::listed) else {
            warn(format!("The certificate at {path} cannot be read; only its serial number is shown."));
            rows.push(Row::unread(serial));
            continue;
        };
        let names = Some(&cert.dns_names).filter(|names| !names.is_empty());
        let whole = json!({
            "common_name": cert.common_name, "dns_names": names, "issuer": cert.issuer, "key_bits": cert.key_bits,
            "key_type": cert.key_type, "not_after": cert.not_after, "not_before": cert.not_before,
        });
        rows.push(Row { serial, common_name: cert.common_name, not_after: cert.not_after, whole });
    }
    Ok(rows)
}

impl Row {
    /// Of a certificate that nobody here can read.
    fn unread(serial: String) -> Row {
        Row { serial, common_name: String::new(), not_after: String::new(), whole: json!({}) }
    }
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
