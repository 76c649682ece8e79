use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Field, logical::written, namespace_seals};
use crate::{
    call::Call,
    client::Found,
    output::{say, warn},
    pairs, paths,
    secret::Secret,
    session::Session,
    stop::{Outcome, REMOTE, Stop},
    table::{plain, table},
};

/// Work with namespaces: servers within the server, each with its own mounts, policies and tokens
#[derive(Subcommand, Debug)]
pub(crate) enum Namespace {
    List(List),
    Scan(Scan),
    Lookup(Lookup),
    Create(Create),
    Patch(Patch),
    Delete(Delete),
    Lock(Lock),
    Unlock(Unlock),
    Seal(namespace_seals::Seal),
    Unseal(namespace_seals::Unseal),
    SealStatus(namespace_seals::SealStatus),
    DeleteSealed(namespace_seals::DeleteSealed),
}

impl Namespace {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Namespace::List(verb) => listing(session, Call::list("sys/namespaces"), verb.detailed).await,
            Namespace::Scan(verb) => listing(session, Call::scan("sys/namespaces"), verb.detailed).await,
            Namespace::Lookup(verb) => verb.run(session).await,
            Namespace::Create(verb) => verb.run(session).await,
            Namespace::Patch(verb) => verb.run(session).await,
            Namespace::Delete(verb) => verb.run(session).await,
            Namespace::Lock(verb) => verb.run(session).await,
            Namespace::Unlock(verb) => verb.run(session).await,
            Namespace::Seal(verb) => verb.run(session).await,
            Namespace::Unseal(verb) => verb.run(session).await,
            Namespace::SealStatus(verb) => verb.run(session).await,
            Namespace::DeleteSealed(verb) => verb.run(session).await,
        }
    }
}

/// List the namespaces right below
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Also print their ids and metadata
    #[arg(long)]
    detailed: bool,
}

/// List all namespaces below
#[derive(Args, Debug)]
pub(crate) struct Scan {
    /// Also print their ids and metadata
    #[arg(long)]
    detailed: bool,
}

async fn listing(session: &Session, call: Call, detailed: bool) -> Outcome {
    let secret = match session.client.find(call).await.map_err(|e| e.during("Error listing namespaces"))? {
        Found::Secret(secret) => *secret,
        Found::Nothing { reason: None } => Secret::default(),
        // Such as that there is no namespace in which to look.
        Found::Nothing { reason } => return Err(Found::end("No namespaces found".to_owned(), reason)),
    };
    let Some(keys) = secret.keys().filter(|keys| !keys.is_empty()) else {
        if session.output.is_table() {
            warn("No namespaces found");
            return Ok(REMOTE);
        }
        return session.output.listing(Found::Nothing { reason: None }, "sys/namespaces");
    };
    if !detailed || !session.output.is_table() {
        return match (detailed, secret.field("key_info").and_then(Value::as_object)) {
            (true, Some(facts)) => session.output.object(facts),
            _ => session.output.listed(&secret, "sys/namespaces"),
        };
    }
    let fact = |path: &str, name: &str| {
        let fact = secret.field("key_info").and_then(|facts| facts.get(path)?.get(name).cloned());
        fact.as_ref().map(plain).unwrap_or_default()
    };
    let facts = secret.field("key_info").and_then(Value::as_object);
    let each = facts.into_iter().flat_map(Map::values).filter_map(Value::as_object);
    let names: BTreeSet<&str> = each.flat_map(|facts| facts.keys().map(String::as_str)).collect();
    let head: Vec<&str> = std::iter::once("Keys").chain(names.iter().copied()).collect();
    let rows = keys.iter().map(plain).map(|path| {
        let facts: Vec<String> = names.iter().map(|name| fact(&path, name)).collect();
        std::iter::once(path).chain(facts).collect()
    });
    say(table(&head, rows.collect()));
    Ok(0)
}

/// Print what the server knows about a namespace
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    #[command(flatten)]
    field: Field,
    /// Namespace
    path: String,
}

impl Lookup {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::get(format!("sys/namespaces/{path}"));
        let found = session
            .client
            .read(call)
            .await
            .map_err(|e| e.during(format!("Error looking up namespace {path}")))?;
        let secret = found.ok_or_else(|| Stop::remote(format!("Namespace not found: {path}")))?;
        session.output.secret_or_field(&secret, self.field.field.as_deref())
    }
}

/// Create a namespace
#[derive(Args, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    field: Field,
    /// Something to remember about it; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
    #[command(flatten)]
    seal: namespace_seals::Wish,
    /// Namespace
    path: String,
}

impl Create {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let metadata = pairs::read_text(&self.custom_metadata, session.interactive)?;
        let mut body = json!({ "custom_metadata": metadata });
        self.seal.enter(&mut body)?;
        let call = Call::put(format!("sys/namespaces/{path}"), body);
        let made = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error creating namespace {path}")))?;
        let made = made.unwrap_or_default();
        if session.output.is_table() && self.field.field.is_none() {
            namespace_seals::hand_out(&made);
        }
        session.output.secret_or_field(&made, self.field.field.as_deref())
    }
}

/// Change what is remembered about a namespace
#[derive(Args, Debug)]
pub(crate) struct Patch {
    #[command(flatten)]
    field: Field,
    /// Something to remember about it; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
    /// Something to forget about it; repeatable
    #[arg(long, value_name = "KEY")]
    remove_custom_metadata: Vec<String>,
    /// Namespace
    path: String,
}

impl Patch {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let metadata = pairs::read_text(&self.custom_metadata, session.interactive)?;
        let mut metadata: Map<String, Value> =
            metadata.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        metadata.extend(self.remove_custom_metadata.into_iter().map(|key| (key, Value::Null)));
        if metadata.is_empty() {
            return Err(Stop::local("Give -custom-metadata or -remove-custom-metadata"));
        }
        let call = Call::patch(format!("sys/namespaces/{path}"), json!({ "custom_metadata": metadata }));
        let made = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error patching namespace {path}")))?;
        session.output.secret_or_field(&made.unwrap_or_default(), self.field.field.as_deref())
    }
}

/// Delete a namespace and everything in it
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Namespace
    path: String,
}

impl Delete {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::delete(format!("sys/namespaces/{path}"));
        let secret = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("Error deleting namespace {path}")))?;
        // One that is not there is not an error, and nothing was deleted.
        let missing = |secret: &&Secret| {
            secret.warnings.iter().flatten().any(|warning| warning.ends_with("namespace does not exist"))
        };
        if secret.iter().find(missing).is_some() {
            warn("Requested namespace does not exist");
            return Ok(0);
        }
        secret.iter().for_each(|secret| session.output.warnings(secret));
        say(format!("Success! Namespace deleted at: {path}"));
        Ok(0)
    }
}

/// Lock a namespace and all below it: every request but the unlocking is refused
///
/// The answer holds the key that unlocks it. It is shown once.
#[derive(Args, Debug)]
pub(crate) struct Lock {
    #[command(flatten)]
    field: Field,
    /// Namespace; that of the command if left out
    path: Option<String>,
}

impl Lock {
    async fn run(self, session: &Session) -> Outcome {
        let path = format!("sys/namespaces/api-lock/lock/{}", paths::clean(&self.path.unwrap_or_default()));
        let secret = session.client.write(Call::put(paths::clean(&path), json!({}))).await;
        let field = self.field.field.as_deref();
        if session.output.is_table()
            && field.is_none()
            && let Ok(Some(locked)) = &secret
            && let Some(key) = locked.field("unlock_key").and_then(Value::as_str)
        {
            say(format!(
                "Unlock Key: {key}\n\nNamespace is now locked. Please securely store the unlock key printed above.\nYou must supply the unlock key to re-enable access to the namespace.\nIf the unlock key is lost, sudo capability is required to unlock the namespace without it."
            ));
            return Ok(0);
        }
        written(session.output, secret, &path, field)
    }
}

/// Unlock a namespace
///
/// With the key that `keep namespace lock` printed, in -unlock-key; a root token needs none.
#[derive(Args, Debug)]
pub(crate) struct Unlock {
    /// Namespace; that of the command if left out
    path: Option<String>,
}

impl Unlock {
    async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path.unwrap_or_default());
        let key = session.unlock_key.as_ref().map(|key| format!("unlock_key={key}"));
        let body = pairs::read_text(key.as_slice(), session.interactive)?;
        let call = Call::put(paths::clean(&format!("sys/namespaces/api-lock/unlock/{path}")), json!(body));
        session.client.send(call).await.map_err(|e| e.during(format!("Error unlocking namespace {path}")))?;
        say(format!("Success! Namespace unlocked: {}", if path.is_empty() { "." } else { &path }));
        Ok(0)
    }
}
