//! Certificates: making, signing, listing them, and looking after their authority.

mod authority;
mod checks;
mod health;
mod inventory;
mod leaf;
mod probe;

use clap::Subcommand;

use crate::{session::Session, stop::Outcome};

/// Work with certificates
#[derive(Subcommand, Debug)]
pub(crate) enum Pki {
    HealthCheck(health::HealthCheck),
    Issue(leaf::Issue),
    Sign(leaf::Sign),
    List(inventory::List),
}

impl Pki {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Pki::HealthCheck(verb) => verb.run(session).await,
            Pki::Issue(verb) => verb.run(session).await,
            Pki::Sign(verb) => verb.run(session).await,
            Pki::List(verb) => verb.run(session).await,
        }
    }
}
