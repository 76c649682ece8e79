use clap::{Args, Subcommand};
use serde_json::{Map, json};

use super::mounts::{self, Columns, Kind, Making, Tuning};
use crate::{output::say, session::Session, stop::Outcome};

/// Work with secrets engines
#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    List(List),
    Enable(Enable),
    Disable(Disable),
    Tune(Tune),
    Move(Move),
}

impl Secrets {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Secrets::List(verb) => mounts::list(session, Kind::Secrets, Columns::when(verb.detailed)).await,
            Secrets::Enable(verb) => verb.run(session).await,
            Secrets::Disable(verb) => mounts::disable(session, Kind::Secrets, &verb.path).await,
            Secrets::Tune(verb) => {
                mounts::tune(session, Kind::Secrets, &verb.path, &verb.tuning, Map::new()).await
            }
            Secrets::Move(verb) => mounts::remount(session, Kind::Secrets, &verb.from, &verb.to).await,
        }
    }
}

/// List the secrets engines
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Also print lifetimes, options and versions
    #[arg(long)]
    detailed: bool,
}

/// Mount a secrets engine
#[derive(Args, Debug)]
pub(crate) struct Enable {
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    tuning: Tuning,
    /// Keep the engine's answers out of caches
    #[arg(long)]
    force_no_cache: bool,
    /// Type of the engine, such as kv, pki or transit
    #[arg(value_name = "TYPE")]
    type_name: String,
}

impl Enable {
    async fn run(self, session: &Session) -> Outcome {
        let mut more = Map::new();
        if self.force_no_cache {
            more.insert("force_no_cache".to_owned(), json!(true));
        }
        let path =
            mounts::enable(session, Kind::Secrets, &self.type_name, &self.making, &self.tuning, more).await?;
        say(format!("Success! Enabled the {} secrets engine at: {path}", self.type_name));
        Ok(0)
    }
}

/// Unmount a secrets engine, with everything in it
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// Path of the engine
    path: String,
}

/// Change the settings of a secrets engine
#[derive(Args, Debug)]
pub(crate) struct Tune {
    #[command(flatten)]
    tuning: Tuning,
    /// Path of the engine
    path: String,
}

/// Move a secrets engine to another path; its leases are revoked
#[derive(Args, Debug)]
pub(crate) struct Move {
    /// Where it is
    #[arg(value_name = "SOURCE")]
    from: String,
    /// Where it shall be
    #[arg(value_name = "DESTINATION")]
    to: String,
}
