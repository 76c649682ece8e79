use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::parent::{Above, Parent};
use crate::{
    call::Call,
    output::{say, warn},
    paths,
    secret::Secret,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Replace a CA without a handshake that fails
///
/// The next CA is published first: agents fetch the bundle with both, and nothing is signed by it. Then it signs, and the old
/// one does not any more. When the last certificate of the old one has ended, it leaves the bundle. Where the CA above the
/// old one is elsewhere, the roll first waits for a certificate, and says for which request; -parent-mount has it signed by a CA
/// in another mount of this server.
#[derive(Subcommand, Debug)]
pub(crate) enum Roll {
    Start(Start),
    Sign(Sign),
    Status(Status),
    Switch(Switch),
    Abort(Abort),
}

impl Roll {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        match self {
            Roll::Start(verb) => verb.run(session).await,
            Roll::Sign(verb) => verb.run(session).await,
            Roll::Status(verb) => verb.run(session).await,
            Roll::Switch(verb) => post(session, &verb.mount, "/switch", json!({})).await,
            Roll::Abort(verb) => post(session, &verb.mount, "/abort", json!({})).await,
        }
    }
}

/// Begin: make the next CA, or take one that is there, and publish it
#[derive(Args, Debug)]
pub(crate) struct Start {
    /// CA that is replaced: a name, an id or `default`
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// CA that takes its place, if it is in the mount already; else one like the old one is made
    #[arg(long, value_name = "ISSUER")]
    next: Option<String>,
    /// How long it is published before it signs [24h]
    #[arg(long, value_name = "DURATION")]
    publish_for: Option<Span>,
    /// Do not wait with the switch for holders that do not trust the next CA yet
    #[arg(long)]
    no_wait: bool,
    /// Common name of the next CA
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,
    /// Name of the new issuer
    #[arg(long, value_name = "NAME")]
    issuer_name: Option<String>,
    /// How long the next CA lives; as long as the old one if left out
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    #[command(flatten)]
    above: Option<Above>,
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

impl Start {
    async fn run(self, session: &Session) -> Outcome {
        let mount = paths::clean(&self.mount);
        let old = self.issuer.as_deref().unwrap_or("default");
        let parent = match &self.above {
            Some(above) => Some(Parent::find(session, above, &mount, old).await?),
            None => None,
        };
        let seconds = |span: Span| format!("{}s", span.seconds());
        let fields = [
            ("issuer_ref", self.issuer),
            ("next_ref", self.next),
            ("publish_for", self.publish_for.map(seconds)),
            ("wait_for_holders", self.no_wait.then(|| "false".to_owned())),
            ("common_name", self.common_name),
            ("issuer_name", self.issuer_name),
            ("ttl", self.ttl.map(seconds)),
        ];
        let body: Map<String, Value> =
            fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
        let begun = write(session, &mount, "", Value::Object(body)).await?;
        match parent {
            // One whose CA above was in the mount after all needs nobody else.
            Some(parent) if begun.text("csr").is_some() => {
                session.output.warnings(&begun);
                show(session, &parent.sign(session, &mount, &begun).await?)
            }
            _ => show(session, &begun),
        }
    }
}

/// Have the request of a roll signed by a CA in another mount, and bring the certificate
#[derive(Args, Debug)]
#[command(mut_arg("parent_mount", |arg| arg.required(true)))]
pub(crate) struct Sign {
    #[command(flatten)]
    above: Above,
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

impl Sign {
    async fn run(self, session: &Session) -> Outcome {
        let mount = paths::clean(&self.mount);
        let roll = read(session, &mount).await?;
        let old = roll.field("old").and_then(|old| old.get("issuer_id")).map(plain).unwrap_or_default();
        let parent = Parent::find(session, &self.above, &mount, &old).await?;
        show(session, &parent.sign(session, &mount, &roll).await?)
    }
}

async fn read(session: &Session, mount: &str) -> Result<Secret, Stop> {
    let read = session.client.read(Call::get(format!("{mount}/roll"))).await;
    let found = read.map_err(|e| e.during("Error reading the roll"))?;
    found.ok_or_else(|| Stop::remote("No CA of this mount was ever rolled"))
}

/// Show how far it is, and whom it waits for
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

impl Status {
    async fn run(self, session: &Session) -> Outcome {
        show(session, &read(session, &paths::clean(&self.mount)).await?)
    }
}

/// Have the next CA sign now, without waiting any longer
#[derive(Args, Debug)]
pub(crate) struct Switch {
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

/// Give it up: the next CA leaves the bundle. Only before it signs
#[derive(Args, Debug)]
pub(crate) struct Abort {
    /// Mount
    #[arg(default_value = "pki")]
    mount: String,
}

async fn post(session: &Session, mount: &str, verb: &str, body: Value) -> Outcome {
    show(session, &write(session, &paths::clean(mount), verb, body).await?)
}

async fn write(session: &Session, mount: &str, verb: &str, body: Value) -> Result<Secret, Stop> {
    let path = format!("{mount}/roll{verb}");
    let done = session.client.write(Call::post(&path, body)).await;
    let done = done.map_err(|e| e.during(format!("Error writing {path}")))?;
    done.ok_or_else(|| Stop::remote("The server returned no roll"))
}

/// The steps in their order, each with its date or what it waits for.
fn show(session: &Session, roll: &Secret) -> Outcome {
    if !session.output.is_table() {
        return session.output.secret(roll);
    }
    session.output.warnings(roll);
    let text = |key: &str| roll.field(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
    let ca =
        |key: &str, field: &str| roll.field(key).and_then(|ca| ca.get(field)).map(plain).unwrap_or_default();
    let state = text("state");
    say(format!("{} → {}: {state}\n", ca("old", "common_name"), ca("next", "common_name")));
    let row = |step: &str, when: String, what: &str| vec![step.to_owned(), when, what.to_owned()];
    let leaves = match text("leaves").as_str() {
        "" => "the old CA leaves the bundle with its last certificate".to_owned(),
        count => format!("{count} certificates of the old CA are left"),
    };
    let until = match text("publish_until") {
        when if when.is_empty() => "later".to_owned(),
        when => format!("after {when}"),
    };
    let switched = match text("switched") {
        when if !when.is_empty() => row("signs", when, "the next CA signs, the old one does not"),
        _ if state == "aborted" => row("signs", "never".to_owned(), "it was given up"),
        _ => row("signs", until, "the next CA signs, the old one does not"),
    };
    let ends = match (text("finished"), text("last_leaf_ends")) {
        (when, _) if !when.is_empty() => when,
        (_, when) if !when.is_empty() => format!("after {when}"),
        _ => "later".to_owned(),
    };
    let published = match text("awaits") {
        awaits if awaits.is_empty() => text("started"),
        _ => "later".to_owned(),
    };
    let rows = vec![
        row("published", published, "both CAs are in the bundle"),
        switched,
        row("alone", ends, &leaves),
    ];
    say(table(&["Step", "When", "What"], rows));
    if !text("awaits").is_empty() {
        say(format!("\n{}\n\n{}", text("awaits"), text("csr")));
    }
    if text("waiting_for") != "0" && state == "published" {
        let hosts = roll.field("waiting_hosts").and_then(Value::as_array).cloned().unwrap_or_default();
        let hosts: Vec<String> = hosts.iter().map(plain).collect();
        warn(format!("{} holders do not trust the next CA yet: {}", text("waiting_for"), hosts.join(", ")));
    }
    Ok(0)
}
