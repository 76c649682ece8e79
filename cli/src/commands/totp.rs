use clap::{Args, Subcommand};
use serde_json::json;

use super::Field;
use crate::{
    call::Call,
    output::say,
    paths,
    session::Session,
    stop::{Outcome, REMOTE, Stop},
};

/// Work with one-time passwords
#[derive(Subcommand, Debug)]
pub(crate) enum Totp {
    Code(Code),
    Verify(Verify),
}

impl Totp {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Totp::Code(verb) => verb.run(session).await,
            Totp::Verify(verb) => verb.run(session).await,
        }
    }
}

/// Print the code of this half minute
#[derive(Args, Debug)]
pub(crate) struct Code {
    #[command(flatten)]
    field: Field,
    /// Where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "totp")]
    mount: String,
    /// Name of the key
    name: String,
}

impl Code {
    async fn run(self, session: &Session) -> Outcome {
        let path = format!("{}/code/{}", paths::clean(&self.mount), paths::clean(&self.name));
        let found = session.client.read(Call::get(&path)).await;
        let secret = found
            .map_err(|e| e.during(format!("Error reading {path}")))?
            .ok_or_else(|| Stop::remote(format!("No value found at {path}")))?;
        session.output.secret_or_field(&secret, self.field.field.as_deref())
    }
}

/// Check a code that somebody typed; exits with 2 if it is wrong
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "totp")]
    mount: String,
    /// Name of the key
    name: String,
    /// Code
    code: String,
}

impl Verify {
    async fn run(self, session: &Session) -> Outcome {
        let path = format!("{}/code/{}", paths::clean(&self.mount), paths::clean(&self.name));
        let call = Call::put(&path, json!({ "code": self.code.trim() }));
        let answer =
            session.client.write(call).await.map_err(|e| e.during(format!("Error checking {path}")))?;
        let secret = answer.unwrap_or_default();
        let valid = secret.field("valid").and_then(serde_json::Value::as_bool) == Some(true);
        if !session.output.is_table() {
            session.output.secret(&secret)?;
        } else {
            say(if valid { "Success! The code is valid" } else { "The code is not valid" });
        }
        Ok(if valid { 0 } else { REMOTE })
    }
}
