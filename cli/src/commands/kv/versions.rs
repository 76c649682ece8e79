use clap::Args;
use serde_json::{Value, json};

use super::{Mount, data::versioned, mount::Version};
use crate::{
    call::Call,
    commands::{
        Field,
        logical::{deleted, failed, written},
    },
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
};

/// Delete the newest version of a secret, or the versions named; they can be brought back
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    field: Field,
    #[command(flatten)]
    mount: Mount,
    /// Versions to delete, as 1,2,3
    #[arg(long, value_name = "NUMBERS")]
    versions: Vec<String>,
    /// Path of the secret
    path: String,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let place = self.mount.find(&session.client, &self.path).await?;
        let versions = numbers(&self.versions);
        // A script whose variable is empty does not mean the newest.
        if versions.is_empty() && !self.versions.is_empty() {
            return Err(Stop::local(
                "-versions is given and names none: name the versions to delete, or leave the flag out to delete the newest.",
            ));
        }
        let path = place.api("data");
        let call = if place.version == Version::One || versions.is_empty() {
            Call::delete(&path)
        } else {
            Call::put(place.api("delete"), json!({ "versions": versions }))
        };
        let result = session.client.write(call).await;
        let secret = result.map_err(|e| failed(session.output, e, format!("Error deleting {path}")))?;
        deleted(session.output, secret.as_ref(), &path, self.field.field.as_deref())
    }
}

/// Bring back deleted versions
#[derive(Args, Debug)]
pub(crate) struct Undelete {
    #[command(flatten)]
    mount: Mount,
    /// Versions to bring back, as 1,2,3
    #[arg(long, value_name = "NUMBERS")]
    versions: Vec<String>,
    /// Path of the secret
    path: String,
}

impl Undelete {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        change(session, &self.mount, &self.path, &self.versions, "Undelete").await
    }
}

/// Remove versions for good
#[derive(Args, Debug)]
pub(crate) struct Destroy {
    #[command(flatten)]
    mount: Mount,
    /// Versions to remove, as 1,2,3
    #[arg(long, value_name = "NUMBERS")]
    versions: Vec<String>,
    /// Path of the secret
    path: String,
}

impl Destroy {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        change(session, &self.mount, &self.path, &self.versions, "Destroy").await
    }
}

async fn change(session: &Session, mount: &Mount, path: &str, versions: &[String], what: &str) -> Outcome {
    let verb = what.to_lowercase();
    let versions = numbers(versions);
    if versions.is_empty() {
        return Err(Stop::local(format!(
            "No versions provided, use the \"-versions\" flag to specify the version to {verb}."
        )));
    }
    let place = mount.find(&session.client, path).await?;
    if place.version == Version::One {
        return Err(Stop::local(format!("{what} not supported on KV Version 1")));
    }
    let path = place.api(&verb);
    let result = session.client.write(Call::put(&path, json!({ "versions": versions }))).await;
    written(session.output, result, &path, None)
}

/// Write an old version again, as the newest
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    #[command(flatten)]
    mount: Mount,
    /// Version to go back to
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
    /// Path of the secret
    path: String,
}

impl Rollback {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let version = self.version.ok_or_else(|| Stop::local("Version flag must be specified"))?;
        let place = self.mount.find(&session.client, &self.path).await?;
        if place.version == Version::One {
            return Err(Stop::remote("K/V engine mount must be version 2 for rollback support"));
        }
        let path = place.api("data");
        let nothing = || Stop::remote(format!("No value found at {path}"));
        let during = || format!("Error doing pre-read at {path}");
        let newest =
            session.client.read(Call::get(&path).preflight()).await.map_err(|e| e.during(during()))?;
        let newest = newest.ok_or_else(nothing)?;
        let cas = metadata(&newest, "version").and_then(Value::as_i64);
        let call = Call::get(&path).query("version", version.to_string()).preflight();
        let old = session.client.read(call).await.map_err(|e| e.during(during()))?.ok_or_else(nothing)?;
        if metadata(&old, "destroyed").and_then(Value::as_bool) == Some(true) {
            return Err(Stop::remote("Cannot roll back to a version that has been destroyed"));
        }
        if metadata(&old, "deletion_time").and_then(Value::as_str).is_some_and(|time| !time.is_empty()) {
            return Err(Stop::remote("Cannot roll back to a version that has been deleted"));
        }
        let data = old.field("data").and_then(Value::as_object).ok_or_else(nothing)?;
        let result = session.client.write(Call::put(&path, versioned(data.clone(), cas))).await;
        written(session.output, result, &path, None)
    }
}

fn metadata<'a>(secret: &'a Secret, name: &str) -> Option<&'a Value> {
    secret.field("metadata")?.get(name)
}

/// `-versions=1,2 -versions=3`: the server judges whether they are numbers.
fn numbers(flags: &[String]) -> Vec<String> {
    let parts = flags.iter().flat_map(|flag| flag.split(','));
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
