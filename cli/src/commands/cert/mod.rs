mod get;
mod interrupt;
mod litter;
mod status;

use clap::Subcommand;

use crate::{session::Session, stop::Outcome};

/// Certificates of this machine, renewed by `keep agent`
#[derive(Subcommand, Debug)]
pub(crate) enum Cert {
    Get(Box<get::Get>),
    Status(status::Status),
}

impl Cert {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Cert::Get(verb) => verb.run(session).await,
            Cert::Status(verb) => verb.run(session),
        }
    }
}
