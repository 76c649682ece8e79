//! Certificates: making, signing, listing them, and looking after their authority.

mod authority;
mod checks;
mod health;
mod holders;
mod inventory;
mod leaf;
mod parent;
mod probe;
mod reissue;
mod roll;

use clap::Subcommand;

use crate::{session::Session, stop::Outcome};

/// Work with certificates
#[derive(Subcommand, Debug)]
pub(crate) enum Pki {
    HealthCheck(health::HealthCheck),
    Issue(leaf::Issue),
    Sign(leaf::Sign),
    List(inventory::List),
    Inventory(holders::Inventory),
    Revoke(Box<reissue::Revoke>),
    #[command(subcommand)]
    Roll(roll::Roll),
}

impl Pki {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Pki::HealthCheck(verb) => verb.run(session).await,
            Pki::Issue(verb) => verb.run(session).await,
            Pki::Sign(verb) => verb.run(session).await,
            Pki::List(verb) => verb.run(session).await,
            Pki::Inventory(verb) => verb.run(session).await,
            Pki::Revoke(verb) => verb.run(session).await,
            Pki::Roll(verb) => verb.run(session).await,
        }
    }
}
