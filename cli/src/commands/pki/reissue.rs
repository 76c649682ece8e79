use std::{fs, path::Path};

use clap::Args;
use serde_json::{Map, Value, json};
use x509_parser::{parse_x509_certificate, pem::Pem};

use crate::{
    call::Call,
    doc::Doc,
    output::{say, warn},
    paths,
    secret::Secret,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// What stands behind a flag that was given no value.
const PLAIN: &str = "true";

/// Have many certificates replaced, and then revoke the old ones
///
/// Every certificate of an issuer, a role, an entity or a key, and if several are given, those for which all hold. Whoever
/// holds one is told at the next question that it must be renewed now; agents ask every five minutes. When the grace is over,
/// the old certificates are revoked.
///
/// `keep pki revoke -status` shows what goes on, `-status=ID` who has not renewed, `-abort=ID` ends it.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Certificates of this issuer: a name, an id or `default`
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// Certificates of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Certificates that this entity asked for: its id or its name
    #[arg(long, value_name = "ENTITY")]
    entity: Option<String>,
    /// Certificates of this key: a file with a certificate or the public key, or the key's identifier in hex
    #[arg(long, value_name = "FILE|HEX")]
    key: Option<String>,
    /// How long holders have to renew [24h]
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span>,
    /// Do not revoke: let the old ones end by themselves
    #[arg(long, conflicts_with = "grace")]
    replace_only: bool,
    /// How many are revoked in a second [50]
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Count them and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Show what goes on, or how far one is
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    status: Option<String>,
    /// End one: nobody is asked to renew any more, and nothing more is revoked
    #[arg(long, value_name = "ID")]
    abort: Option<String>,
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

impl Revoke {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let path = format!("{}/reissue", paths::clean(&self.mount));
        match (&self.status, &self.abort) {
            (Some(id), _) if id.is_empty() || id == PLAIN => list(session, &path).await,
            (Some(id), _) => {
                let read = session.client.find(Call::get(format!("{path}/{id}"))).await;
                let found = read.map_err(|e| e.during("Error reading how far it is"))?;
                session.output.secret(&found.or_end(|| format!("There is no re-issue {id}"))?)
            }
            (_, Some(id)) => {
                let call = Call::post(format!("{path}/{id}/abort"), json!({}));
                session.client.write(call).await.map_err(|e| match e.is_nothing() {
                    true => Stop::remote(format!("There is no re-issue {id}")),
                    false => e.during("Error ending it"),
                })?;
                say(format!("Success! It is ended. What was revoked stays revoked: {id}"));
                Ok(0)
            }
            _ => self.start(session, &path).await,
        }
    }

    async fn start(&self, session: &Session, path: &str) -> Outcome {
        let mut body = Map::new();
        let mut put =
            |key: &str, value: Option<Value>| body.extend(value.map(|value| (key.to_owned(), value)));
        put("issuer_ref", self.issuer.clone().map(Value::from));
        put("role", self.role.clone().map(Value::from));
        put(
            "entity_id",
            match &self.entity {
                Some(entity) => Some(entity_id(session, entity).await?.into()),
                None => None,
            },
        );
        put("key_id", self.key.as_deref().map(key_id).transpose()?.map(Value::from));
        put("revoke_after", self.grace.map(|span| format!("{}s", span.seconds()).into()));
        put("revoke", self.replace_only.then_some(false.into()));
        put("per_second", self.rate.map(Value::from));
        put("reason", self.reason.clone().map(Value::from));
        put("dry_run", self.dry_run.then_some(true.into()));
        let made = session.client.write(Call::post(path, Value::Object(body))).await;
        let made = made.map_err(|e| e.during("Error beginning the re-issue"))?;
        let made = made.ok_or_else(|| Stop::remote("The server returned no id"))?;
        if session.output.is_table() {
            let id = made.text("id").unwrap_or_default();
            warn(format!("How far it is: keep pki revoke -status={id}"));
        }
        session.output.secret(&made)
    }
}

async fn list(session: &Session, path: &str) -> Outcome {
    let read = session.client.read(Call::list(path)).await;
    let found: Option<Secret> = read.map_err(|e| e.during("Error listing re-issues"))?;
    let details =
        found.as_ref().and_then(|found| found.field("key_info")).and_then(Value::as_object).cloned();
    let details = details.unwrap_or_default();
    if !session.output.is_table() {
        return session.output.doc(&Doc::Value(Value::Object(details)));
    }
    let row = |(id, one): (&String, &Value)| {
        let text = |key: &str| one.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
        let mut cells = vec![id.clone()];
        cells.extend(["state", "matched", "revoked", "started", "revoke_at", "reason"].map(text));
        cells
    };
    let header = ["Id", "State", "Matched", "Revoked", "Started", "Revoke at", "Reason"];
    say(table(&header, details.iter().map(row).collect()));
    Ok(0)
}

/// The id of an entity that may be given by its name.
async fn entity_id(session: &Session, given: &str) -> Result<String, Stop> {
    let is_uuid = given.len() == 36 && given.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if is_uuid || given.starts_with("token:") {
        return Ok(given.to_owned());
    }
    let read = session.client.read(Call::get(format!("identity/entity/name/{given}"))).await;
    let found = read.map_err(|e| e.during("Error looking for the entity"))?;
    let id = found.as_ref().and_then(|found| found.text("id")).map(str::to_owned);
    id.ok_or_else(|| Stop::remote(format!("There is no entity {given:?}")))
}

/// A key by its identifier, or as it stands in a file.
fn key_id(given: &str) -> Result<String, Stop> {
    if !Path::new(given).exists() {
        return Ok(given.to_owned());
    }
    let wrong = || Stop::local(format!("{given} holds no certificate and no public key in PEM"));
    let text = fs::read(given).map_err(|e| Stop::local(format!("{given} cannot be read: {e}")))?;
    let block = Pem::iter_from_buffer(&text).next().and_then(Result::ok).ok_or_else(wrong)?;
    let spki = match block.label.as_str() {
        "PUBLIC KEY" => block.contents,
        "CERTIFICATE" => {
            let (_, cert) = parse_x509_certificate(&block.contents).map_err(|_| wrong())?;
            cert.public_key().raw.to_vec()
        }
        _ => return Err(wrong()),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
