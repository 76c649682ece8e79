//! The key-value store, whose second version puts every path behind `data/`, `metadata/` and so on.

mod data;
mod listing;
mod metadata;
mod mount;
mod versions;

pub(crate) use mount::Version;

use clap::{Args, Subcommand};

use crate::{session::Session, stop::Outcome};

/// Work with the key-value store
#[derive(Subcommand, Debug)]
pub(crate) enum Kv {
    Get(data::Get),
    Put(data::Put),
    Patch(data::Patch),
    Delete(versions::Delete),
    Undelete(versions::Undelete),
    Destroy(versions::Destroy),
    Rollback(versions::Rollback),
    List(listing::List),
    Scan(listing::Scan),
    #[command(subcommand)]
    Metadata(metadata::Metadata),
    EnableVersioning(listing::EnableVersioning),
}

/// Where a secret is: `-mount=secret app`, or `secret/app` in one.
#[derive(Args, Debug)]
pub(crate) struct Mount {
    /// Mount of the store; then the path is only the part below it
    #[arg(long, value_name = "MOUNT")]
    mount: Option<String>,
}

impl Mount {
    /// Of a path that names its mount itself.
    pub(crate) fn within_path() -> Mount {
        Mount { mount: None }
    }
}

impl Kv {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Kv::Get(verb) => verb.run(session).await,
            Kv::Put(verb) => verb.run(session).await,
            Kv::Patch(verb) => verb.run(session).await,
            Kv::Delete(verb) => verb.run(session).await,
            Kv::Undelete(verb) => verb.run(session).await,
            Kv::Destroy(verb) => verb.run(session).await,
            Kv::Rollback(verb) => verb.run(session).await,
            Kv::List(verb) => verb.run(session).await,
            Kv::Scan(verb) => verb.run(session).await,
            Kv::Metadata(verb) => verb.run(session).await,
            Kv::EnableVersioning(verb) => verb.run(session).await,
        }
    }
}
