use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Mount,
    mount::{Place, Version},
};
use crate::{
    call::Call,
    client::Client,
    commands::{Field, logical::written},
    output::say,
    pairs,
    refused::Refused,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::{banner, banner_over},
};

/// Read a secret
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    field: Field,
    #[command(flatten)]
    mount: Mount,
    /// Version to read; the newest if left out
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    version: Option<i64>,
    /// Path of the secret
    path: String,
}

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let place = self.mount.find(&session.client, &self.path).await?;
        let path = place.api("data");
        let mut call = Call::get(&path);
        if let Some(version) = self.version.filter(|version| *version > 0 && place.version == Version::Two) {
            call = call.query("version", version.to_string());
        }
        let found = session.client.find(call).await.map_err(|e| e.during(format!("Error reading {path}")))?;
        let secret = found.or_end(|| format!("No value found at {path}"))?;
        match &self.field.field {
            Some(name) => field(session, &secret, place.version, &path, name),
            None => show(session, &secret, place.version, &path),
        }
    }
}

/// One field of the data; a field called `data` of the user's own wins over the whole of it.
fn field(session: &Session, secret: &Secret, version: Version, path: &str, name: &str) -> Outcome {
    if version == Version::One || secret.wrap_info.is_some() {
        return session.output.secret_or_field(secret, Some(name));
    }
    session.output.warnings(secret);
    let Some(data) = secret.field("data").and_then(Value::as_object) else {
        let nothing = Stop::remote(format!("No data found at {path}"));
        return Err(match secret.data() {
            None => nothing,
            Some(_) => {
                nothing.hint("This version is deleted or destroyed; `keep kv metadata get` lists the others.")
            }
        });
    };
    match data.get(name) {
        None if name == "data" => session.output.field(secret.field("data"), name, "secret"),
        value => session.output.field(value, name, "map"),
    }
}

fn show(session: &Session, secret: &Secret, version: Version, path: &str) -> Outcome {
    let output = session.output;
    if secret.wrap_info.is_some() || !output.is_table() {
        return output.secret(secret);
    }
    output.warnings(secret);
    let object = |name: &str| secret.field(name).and_then(Value::as_object);
    let data = match version {
        Version::One => secret.data(),
        Version::Two => {
            title_path(path, "Secret Path");
            if let Some(metadata) = object("metadata") {
                say(banner_over("Metadata", metadata));
                output.object(metadata)?;
                say("");
            }
            object("data")
        }
    };
    if let Some(data) = data {
        say(banner_over("Data", data));
        output.object(data)?;
    }
    Ok(0)
}

/// Prints a path under its title.
pub(crate) fn title_path(path: &str, title: &str) {
    say(banner(title, path.len()));
    say(path);
    say("");
}

/// Write a secret, in place of what is there
#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    field: Field,
    #[command(flatten)]
    mount: Mount,
    /// Write only if this is the newest version; 0 if there must be none [default -1: always]
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    cas: Option<i64>,
    /// Path of the secret
    path: String,
    /// Data, as key=value, key=@file, key=- or @file.json; a single `-` reads an object from standard input
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Put {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let data = given(&self.data, session)?;
        let place = self.mount.find(&session.client, &self.path).await?;
        let path = place.api("data");
        let field = self.field.field.as_deref();
        if place.version == Version::One {
            let result = session.client.write(Call::put(&path, Value::Object(data))).await;
            return written(session.output, result, &path, field);
        }
        let result = session.client.write(Call::put(&path, versioned(data, self.cas))).await;
        stored(session, result, &path, field)
    }
}

/// Change some keys of a secret and leave the others
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    field: Field,
    #[command(flatten)]
    mount: Mount,
    /// Write only if this is the newest version
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    cas: Option<i64>,
    /// How: `patch` needs that capability, `rw` reads and writes [default: patch, else rw]
    #[arg(long, value_name = "METHOD", value_parser = ["patch", "rw"])]
    method: Option<String>,
    /// Key to remove; repeatable
    #[arg(long, value_name = "KEY")]
    remove_data: Vec<String>,
    /// Path of the secret
    path: String,
    /// Data, as key=value, key=@file, key=- or @file.json; a single `-` reads an object from standard input
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Patch {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let mut data = pairs::read(&self.data, session.interactive)?;
        for key in self.remove_data.iter().flat_map(|keys| keys.split(',')) {
            data.insert(key.to_owned(), Value::Null);
        }
        if data.is_empty() {
            return Err(Stop::local("Must supply data"));
        }
        let place = self.mount.find(&session.client, &self.path).await?;
        if place.version == Version::One {
            return Err(Stop::remote("K/V engine mount must be version 2 for patch support"));
        }
        let field = self.field.field.as_deref();
        let path = place.api("data");
        if self.method.as_deref() != Some("rw") {
            let call = Call::patch(&path, versioned(data.clone(), self.cas));
            match session.client.write(call).await {
                // A server that knows no PATCH: read and write instead.
                Err(refused) if refused.status() == Some(405) && self.method.is_none() => {}
                result => return stored(session, result.map_err(with_advice), &path, field),
            }
        }
        let result = read_then_write(&session.client, &place, data, self.cas).await?;
        stored(session, result, &path, field)
    }
}

/// Merges on this side; the newest version is checked, so nothing written in between is lost.
async fn read_then_write(
    client: &Client,
    place: &Place,
    changes: Map<String, Value>,
    cas: Option<i64>,
) -> Result<Result<Option<Secret>, Refused>, Stop> {
    let path = place.api("data");
    let found = client
        .read(Call::get(&path))
        .await
        .map_err(|e| e.during(format!("Error doing pre-read at {path}")))?;
    let nothing = || Stop::remote(format!("No value found at {path}"));
    let secret = found.ok_or_else(nothing)?;
    let current = secret.field("data").and_then(Value::as_object).ok_or_else(nothing)?;
    let version =
        secret.field("metadata").and_then(|metadata| metadata.get("version")).and_then(Value::as_i64);
    let mut data = current.clone();
    for (key, value) in changes {
        if value.is_null() {
            data.remove(&key);
        } else {
            data.insert(key, value);
        }
    }
    Ok(client.write(Call::put(&path, versioned(data, cas.or(version)))).await)
}

fn with_advice(refused: Refused) -> Refused {
    match refused {
        Refused::Answer(mut answer) if answer.status == 404 && answer.says_nothing() => {
            answer.errors.push("nothing is stored at this path, so there is nothing to patch".to_owned());
            Refused::Answer(answer)
        }
        other => other,
    }
}

/// Prints what the second version says of a new version.
fn stored(
    session: &Session,
    result: Result<Option<Secret>, Refused>,
    path: &str,
    field: Option<&str>,
) -> Outcome {
    let shown = result.is_ok() && field.is_none() && session.output.is_table();
    match result {
        Ok(Some(secret)) if shown && secret.wrap_info.is_none() => {
            session.output.warnings(&secret);
            title_path(path, "Secret Path");
            if let Some(metadata) = secret.data() {
                say(banner_over("Metadata", metadata));
                session.output.object(metadata)?;
            }
            Ok(0)
        }
        other => written(session.output, other, path, field),
    }
}

/// The body of the second version.
pub(crate) fn versioned(data: Map<String, Value>, cas: Option<i64>) -> Value {
    let options = match cas.filter(|cas| *cas >= 0) {
        Some(cas) => json!({ "cas": cas }),
        None => json!({}),
    };
    json!({ "data": data, "options": options })
}

fn given(args: &[String], session: &Session) -> Result<Map<String, Value>, Stop> {
    if args.is_empty() {
        return Err(Stop::local("Must supply data"));
    }
    pairs::read(args, session.interactive)
}
