//! What a command runs with.

use crate::{
    agent::config::Server, client::Client, output::Output, prompt, settings::Settings, stop::Stop,
    token_store::TokenStore,
};
use zeroize::Zeroizing;

/// One invocation: the server, the printer, the stored token, and whether somebody is there to ask.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) tokens: TokenStore,
    pub(crate) settings: Settings,
    /// How the server is reached, as an agent's configuration says it.
    pub(crate) server: Server,
    pub(crate) interactive: bool,
    /// What unlocks a namespace.
    pub(crate) unlock_key: Option<String>,
}

impl Session {
    /// Takes the token from the environment, else from the store.
    pub(crate) fn load_token(&mut self) -> Result<(), Stop> {
        self.client.token = match &self.settings.token {
            Some(token) => Some(token.clone()),
            None => self.tokens.load()?,
        };
        Ok(())
    }

    /// Asks for a secret without showing it. `what` completes "no … given".
    pub(crate) fn ask_hidden(&self, prompt: &str, what: &str) -> Result<Zeroizing<String>, Stop> {
        if !self.interactive {
            return Err(Stop::remote(format!("'{what}' not supplied and refusing to pull from stdin")));
        }
        prompt::hidden(prompt)
    }
}
