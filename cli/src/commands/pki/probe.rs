//! What the health checks read of a mount, each thing once.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    call::Call,
    client::Client,
    pem::{self, Certificate},
    refused::Refused,
    secret::Secret,
    stop::Stop,
    table::plain,
};

/// Reads a mount for the checks.
pub(super) struct Probe<'a> {
    client: &'a Client,
    pub(super) mount: String,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What came of reading one path.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Data(Box<Secret>),
    Nothing,
    Denied,
    /// The server does not know the path.
    Unknown,
    /// The server failed, and said this.
    Failed(String),
}

impl<'a> Probe<'a> {
    pub(super) fn new(client: &'a Client, mount: String) -> Probe<'a> {
        Probe { client, mount, seen: Mutex::new(BTreeMap::new()) }
    }

    /// Reads a path below the mount.
    pub(super) async fn read(&self, path: &str) -> Result<Seen, Stop> {
        self.ask(Call::get(format!("{}/{path}", self.mount))).await
    }

    /// Lists a path below the mount.
    pub(super) async fn list(&self, path: &str) -> Result<(Seen, Vec<String>), Stop> {
        let seen = self.ask(Call::list(format!("{}/{path}", self.mount))).await?;
        let names = match &seen {
            Seen::Data(secret) => secret.keys().into_iter().flatten().map(plain).collect(),
            _ => Vec::new(),
        };
        Ok((seen, names))
    }

    /// The settings of the mount itself.
    pub(super) async fn tuning(&self) -> Result<Seen, Stop> {
        self.ask(Call::get(format!("sys/mounts/{}/tune", self.mount))).await
    }

    /// Every issuer with its certificate. A mount without one is not yet in use, and nothing can be judged.
    pub(super) async fn issuers(&self) -> Result<Vec<(String, Certificate)>, Stop> {
        let (seen, ids) = self.list("issuers").await?;
        if ids.is_empty() {
            return Err(Stop::local(match seen {
                Seen::Denied => format!("Failed to run health check: this token may not list {}/issuers", self.mount),
                Seen::Unknown => format!("Failed to run health check: {}/ is no PKI mount", self.mount),
                Seen::Failed(why) => format!("Failed to run health check: {}/issuers: {why}", self.mount),
                Seen::Data(_) | Seen::Nothing => {
                    "Failed to run health check: this mount lacks any configured issuers, limiting health check usefulness".to_owned()
                }
            }));
        }
        let mut issuers = Vec::new();
        for id in ids {
            if let Seen::Data(secret) = self.read(&format!("issuer/{id}/json")).await?
                && let Some(cert) = secret.text("certificate").and_then(pem::certificate)
            {
                issuers.push((id, cert));
            }
        }
        Ok(issuers)
    }

    /// Every role that can be read, and whether all could.
    pub(super) async fn roles(&self) -> Result<(Seen, Vec<(String, Secret)>), Stop> {
        let (mut seen, names) = self.list("roles").await?;
        let mut roles = Vec::new();
        for name in names {
            match self.read(&format!("roles/{name}")).await? {
                Seen::Data(secret) => roles.push((name, *secret)),
                Seen::Denied => seen = Seen::Denied,
                Seen::Nothing | Seen::Unknown | Seen::Failed(_) => {}
            }
        }
        Ok((seen, roles))
    }

    async fn ask(&self, call: Call) -> Result<Seen, Stop> {
        let key = call.target("");
        let mut seen = self.seen.lock().await;
        if let Some(known) = seen.get(&key) {
            return Ok(known.clone());
        }
        let found = match self.client.read(call).await {
            Ok(Some(secret)) => Seen::Data(Box::new(secret)),
            Ok(None) => Seen::Nothing,
            Err(Refused::Answer(answer)) if answer.status == 403 => Seen::Denied,
            Err(Refused::Answer(answer)) if matches!(answer.status, 400 | 404 | 405) => Seen::Unknown,
            Err(Refused::Answer(answer)) if answer.status == 500 => Seen::Failed(answer.errors.join("; ")),
            Err(other) => return Err(other.during("Failed to run health check").code(1)),
        };
        seen.insert(key, found.clone());
        Ok(found)
    }
}

/// A truth value of an answer.
pub(super) fn flag(secret: &Secret, name: &str) -> bool {
    secret.field(name).and_then(Value::as_bool).unwrap_or_default()
}

/// The strings of a list in an answer.
pub(super) fn strings(secret: &Secret, name: &str) -> Vec<String> {
    let list = secret.field(name).and_then(Value::as_array);
    list.into_iter().flatten().map(plain).collect()
}
