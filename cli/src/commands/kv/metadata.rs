use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Mount, data::title_path, mount::Version};
use crate::{
    argv::go_bool,
    call::Call,
    commands::logical::{deleted, written},
    output::{say, warnings},
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::banner_over,
};

/// Work with what is kept about a secret beside its versions
#[derive(Subcommand, Debug)]
pub(crate) enum Metadata {
    Get(Get),
    Put(Put),
    Patch(Patch),
    Delete(Delete),
}

impl Metadata {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Metadata::Get(verb) => verb.run(session).await,
            Metadata::Put(verb) => verb.run(session).await,
            Metadata::Patch(verb) => verb.run(session).await,
            Metadata::Delete(verb) => verb.run(session).await,
        }
    }
}

/// Read the metadata of a secret and of its versions
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    mount: Mount,
    /// Path of the secret
    path: String,
}

impl Get {
    async fn run(self, session: &Session) -> Outcome {
        let path = find(session, &self.mount, &self.path).await?;
        let found = session
            .client
            .find(Call::get(&path))
            .await
            .map_err(|e| e.during(format!("Error reading {path}")))?;
        let secret = found.or_end(|| format!("No value found at {path}"))?;
        if secret.wrap_info.is_some() || !session.output.is_table() {
            return session.output.secret(&secret);
        }
        let Some(mut data) = secret.data().cloned() else {
            let nothing = Stop::remote(format!("No value found at {path}"));
            return Err(warnings(&secret).into_iter().fold(nothing, Stop::hint));
        };
        session.output.warnings(&secret);
        let versions = data.remove("versions");
        title_path(&path, "Metadata Path");
        say(banner_over("Metadata", &data));
        session.output.object(&data)?;
        let mut versions: Vec<(u64, Map<String, Value>)> = versions
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(number, value)| Some((number.parse().ok()?, value.as_object()?.clone())))
            .collect();
        versions.sort_by_key(|(number, _)| *number);
        for (number, version) in versions {
            say("");
            say(banner_over(&format!("Version {number}"), &version));
            session.output.object(&version)?;
        }
        Ok(0)
    }
}

/// What can be set for a secret.
#[derive(Args, Debug)]
struct Settings {
    /// Whether every write must name the version it replaces
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cas_required: Option<String>,
    /// Metadata of your own, as key=value; repeatable
    #[arg(long, value_name = "K=V")]
    custom_metadata: Vec<String>,
    /// Delete every version this long after it was written
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    delete_version_after: Option<Span>,
    /// Versions to keep; -1 or 0 for the mount's setting
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    max_versions: Option<i64>,
}

impl Settings {
    fn body(&self) -> Result<Map<String, Value>, Stop> {
        let mut body = Map::new();
        if let Some(text) = &self.cas_required {
            let yes = go_bool(text).ok_or_else(|| Stop::local("-cas-required must be true or false"))?;
            body.insert("cas_required".to_owned(), json!(yes));
        }
        if let Some(count) = self.max_versions.filter(|count| *count >= 0) {
            body.insert("max_versions".to_owned(), json!(count));
        }
        if let Some(span) = self.delete_version_after.filter(|span| *span >= Span::from_seconds(0)) {
            body.insert("delete_version_after".to_owned(), json!(span.to_string()));
        }
        if !self.custom_metadata.is_empty() {
            let mut custom = Map::new();
            for pair in &self.custom_metadata {
                let wrong = || Stop::local("-custom-metadata must be given as key=value");
                let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
                custom.insert(key.to_owned(), json!(value));
            }
            body.insert("custom_metadata".to_owned(), Value::Object(custom));
        }
        Ok(body)
    }
}

/// Set the metadata of a secret, in place of what is there
#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    mount: Mount,
    #[command(flatten)]
    settings: Settings,
    /// Path of the secret
    path: String,
}

impl Put {
    async fn run(self, session: &Session) -> Outcome {
        let body = self.settings.body()?;
        let path = find(session, &self.mount, &self.path).await?;
        let result = session.client.write(Call::put(&path, Value::Object(body))).await;
        written(session.output, result, &path, None)
    }
}

/// Change some of the metadata of a secret
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    mount: Mount,
    #[command(flatten)]
    settings: Settings,
    /// Key of your own metadata to remove; repeatable
    #[arg(long, value_name = "KEY")]
    remove_custom_metadata: Vec<String>,
    /// Path of the secret
    path: String,
}

impl Patch {
    async fn run(self, session: &Session) -> Outcome {
        let mut body = self.settings.body()?;
        if !self.remove_custom_metadata.is_empty() {
            let custom = body.entry("custom_metadata").or_insert_with(|| json!({}));
            for key in self.remove_custom_metadata.iter().flat_map(|keys| keys.split(',')) {
                if let Some(map) = custom.as_object_mut() {
                    map.insert(key.to_owned(), Value::Null);
                }
            }
        }
        let path = find(session, &self.mount, &self.path).await?;
        let result = session.client.write(Call::patch(&path, Value::Object(body))).await;
        written(session.output, result, &path, None)
    }
}

/// Remove a secret with all its versions and metadata, for good
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    mount: Mount,
    /// Path of the secret
    path: String,
}

impl Delete {
    async fn run(self, session: &Session) -> Outcome {
        let path = find(session, &self.mount, &self.path).await?;
        let secret = session
            .client
            .write(Call::delete(&path))
            .await
            .map_err(|e| e.during(format!("Error deleting {path}")))?;
        deleted(session.output, secret.as_ref(), &path, None)
    }
}

async fn find(session: &Session, mount: &Mount, path: &str) -> Result<String, Stop> {
    let place = mount.find(&session.client, path).await?;
    match place.version {
        Version::One => Err(Stop::local("Metadata not supported on KV Version 1")),
        Version::Two => Ok(place.api("metadata")),
    }
}
