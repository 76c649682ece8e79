use clap::Subcommand;

use crate::{
    output::say,
    session::Session,
    stop::{Outcome, Stop},
};

/// Print what this program would use
#[derive(Subcommand, Debug)]
pub(crate) enum Print {
    /// Print the token: that of the environment, else the stored one
    Token,
}

impl Print {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match (self, &session.client.token) {
            (Print::Token, Some(token)) => {
                say(token.as_str());
                Ok(0)
            }
            (Print::Token, None) => Err(Stop::local("There is no token").hint("Run `keep login`.")),
        }
    }
}
