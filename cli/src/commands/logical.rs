//! The verbs of the API itself, on any path.

use clap::Args;
use serde_json::{Map, Value};

use super::Field;
use crate::{
    call::Call,
    output::{Detail, Format, Output, raw, say},
    pairs, paths,
    refused::Refused,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table,
};

/// Read data and retrieve secrets
#[derive(Args, Debug)]
pub(crate) struct Read {
    #[command(flatten)]
    field: Field,
    /// Path to read
    path: String,
    /// Parameters of the request, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Read {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let data = pairs::read(&self.data, session.interactive)?;
        let call = with_query(Call::get(&path), &data);
        let nothing = || format!("No value found at {path}");
        if session.output.format == Format::Raw && self.field.field.is_none() {
            return match session.client.send(call).await {
                Ok(reply) => {
                    raw(&(String::from_utf8_lossy(&reply.body) + "\n"));
                    Ok(0)
                }
                Err(refused) if refused.status() == Some(404) => Err(Stop::remote(nothing())),
                Err(refused) => Err(refused.during(format!("Error reading {path}"))),
            };
        }
        let found = session.client.find(call).await.map_err(|e| e.during(format!("Error reading {path}")))?;
        session.output.secret_or_field(&found.or_end(nothing)?, self.field.field.as_deref())
    }
}

/// Write data, configuration and secrets
#[derive(Args, Debug)]
pub(crate) struct Write {
    #[command(flatten)]
    field: Field,
    /// Write even without data
    #[arg(short, long)]
    force: bool,
    /// Path to write to
    path: String,
    /// Data, as key=value, key=@file, key=- or @file.json; a single `-` reads an object from standard input
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Write {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let data = body(&self.data, self.force, session)?;
        let secret = session.client.write(Call::put(&path, data)).await;
        written(session.output, secret, &path, self.field.field.as_deref())
    }
}

/// Change some fields and leave the others
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    field: Field,
    /// Patch even without data
    #[arg(short, long)]
    force: bool,
    /// Path to patch
    path: String,
    /// Data, as key=value, key=@file, key=- or @file.json; a single `-` reads an object from standard input
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Patch {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let data = body(&self.data, self.force, session)?;
        let secret = session.client.write(Call::patch(&path, data)).await;
        written(session.output, secret, &path, self.field.field.as_deref())
    }
}

/// Delete secrets and configuration
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    field: Field,
    /// Path to delete
    path: String,
    /// Parameters of the request, as key=value
    #[arg(value_name = "K=V")]
    data: Vec<String>,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let data = pairs::read(&self.data, session.interactive)?;
        let secret = session
            .client
            .write(with_query(Call::delete(&path), &data))
            .await
            .map_err(|e| failed(session.output, e, format!("Error deleting {path}")))?;
        deleted(session.output, secret.as_ref(), &path, self.field.field.as_deref())
    }
}

/// Prints what a deletion returned, or that it is done.
pub(crate) fn deleted(output: Output, secret: Option<&Secret>, path: &str, field: Option<&str>) -> Outcome {
    match secret {
        Some(secret) => output.secret_or_field(secret, field),
        None => {
            if output.is_table() {
                say(format!("Success! Data deleted (if it existed) at: {path}"));
            }
            Ok(0)
        }
    }
}

/// List data or secrets
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    page: Page,
    /// Path to list
    path: String,
}

/// Names, page by page.
#[derive(Args, Debug)]
pub(crate) struct Page {
    /// Also print what the server knows about each name [KEEP_DETAILED]
    #[arg(long)]
    detailed: bool,
    /// Begin after this name
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// Return at most so many names
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    limit: Option<i64>,
}

impl Page {
    pub(crate) fn ask(&self, mut call: Call) -> Call {
        if let Some(after) = &self.after {
            call = call.query("after", after);
        }
        match self.limit {
            Some(limit) if limit > 0 => call.query("limit", limit.to_string()),
            _ => call,
        }
    }

    /// Whether more than a part of what there is would be too much.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some_and(|limit| limit > 0)
    }

    /// Whether the details were asked for in this very command.
    pub(crate) fn is_detailed(&self) -> bool {
        self.detailed
    }

    pub(crate) fn shape(&self, output: Output) -> Output {
        if self.detailed { Output { detail: Detail::Full, ..output } } else { output }
    }
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = self.page.ask(Call::list(&path));
        let found = session.client.find(call).await.map_err(|e| e.during(format!("Error listing {path}")))?;
        self.page.shape(session.output).listing(found, &path)
    }
}

/// List names below a path, folders included, all the way down
#[derive(Args, Debug)]
pub(crate) struct Scan {
    #[command(flatten)]
    page: Page,
    /// Path to scan
    path: String,
}

impl Scan {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = self.page.ask(Call::scan(&path));
        let found =
            session.client.find(call).await.map_err(|e| e.during(format!("Error scanning {path}")))?;
        self.page.shape(session.output).listing(found, &path)
    }
}

/// Prints what a write returned, or that it is done.
pub(crate) fn written(
    output: Output,
    result: Result<Option<Secret>, Refused>,
    path: &str,
    field: Option<&str>,
) -> Outcome {
    match result.map_err(|e| failed(output, e, format!("Error writing data to {path}")))? {
        Some(secret) => output.secret_or_field(&secret, field),
        None => {
            if output.is_table() {
                say(format!("Success! Data written to: {path}"));
            }
            Ok(0)
        }
    }
}

/// Why nothing was changed. A refusal that is an answer all the same, with its warnings, is printed where programs read it.
pub(crate) fn failed(output: Output, refused: Refused, what: String) -> Stop {
    let said = match &refused {
        Refused::Answer(answer) => answer.secret().filter(Secret::says_something),
        _ => None,
    };
    match said.filter(|_| !output.is_table()).map(|secret| output.secret(&secret)) {
        Some(Err(unprintable)) => unprintable,
        _ => refused.during(what),
    }
}

fn body(args: &[String], force: bool, session: &Session) -> Result<Value, Stop> {
    let data = pairs::read(args, session.interactive)?;
    if data.is_empty() && args.is_empty() && !force {
        return Err(Stop::local("Must supply data or use -force"));
    }
    Ok(Value::Object(data))
}

fn with_query(mut call: Call, data: &Map<String, Value>) -> Call {
    for (key, value) in data {
        call = match value {
            Value::Array(list) => list.iter().fold(call, |call, value| call.query(key, table::plain(value))),
            value => call.query(key, table::plain(value)),
        };
    }
    call
}
