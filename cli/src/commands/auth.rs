use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    login,
    mounts::{self, Columns, Kind, Making, Tuning},
};
use crate::{
    call::Call,
    output::say,
    paths,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
};

/// Work with auth methods
#[derive(Subcommand, Debug)]
pub(crate) enum Auth {
    List(List),
    Enable(Enable),
    Disable(Disable),
    Tune(Tune),
    Move(Move),
    Help(Help),
}

impl Auth {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Auth::List(verb) => mounts::list(session, Kind::Auth, Columns::when(verb.detailed)).await,
            Auth::Enable(verb) => verb.run(session).await,
            Auth::Disable(verb) => mounts::disable(session, Kind::Auth, &verb.path).await,
            Auth::Tune(verb) => verb.run(session).await,
            Auth::Move(verb) => mounts::remount(session, Kind::Auth, &verb.from, &verb.to).await,
            Auth::Help(verb) => verb.run(session).await,
        }
    }
}

/// List the auth methods
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Also print lifetimes, options and versions
    #[arg(long)]
    detailed: bool,
}

/// Mount an auth method
#[derive(Args, Debug)]
pub(crate) struct Enable {
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    tuning: Tuning,
    /// Type of the tokens that logins get: service, batch, default-service or default-batch
    #[arg(long, value_name = "TYPE")]
    token_type: Option<String>,
    /// Type of the method, such as userpass or approle
    #[arg(value_name = "TYPE")]
    type_name: String,
}

impl Enable {
    async fn run(self, session: &Session) -> Outcome {
        let mut more = Map::new();
        if let Some(token_type) = &self.token_type {
            more.insert("token_type".to_owned(), json!(token_type));
        }
        let path =
            mounts::enable(session, Kind::Auth, &self.type_name, &self.making, &self.tuning, more).await?;
        say(format!("Success! Enabled {} auth method at: {path}", self.type_name));
        Ok(0)
    }
}

/// Unmount an auth method; every token it gave is revoked
#[derive(Args, Debug)]
pub(crate) struct Disable {
    /// Path of the method
    path: String,
}

/// Change the settings of an auth method
#[derive(Args, Debug)]
pub(crate) struct Tune {
    #[command(flatten)]
    tuning: Tuning,
    /// Type of the tokens that logins get: service, batch, default-service or default-batch
    #[arg(long, value_name = "TYPE")]
    token_type: Option<String>,
    /// Failed logins before a user is locked out
    #[arg(long, value_name = "COUNT")]
    user_lockout_threshold: Option<u64>,
    /// How long a user stays locked out
    #[arg(long, value_name = "DURATION")]
    user_lockout_duration: Option<Span>,
    /// How long after the last failure the count begins again
    #[arg(long, value_name = "DURATION")]
    user_lockout_counter_reset_duration: Option<Span>,
    /// Never lock users out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    user_lockout_disable: Option<String>,
    /// Path of the method
    path: String,
}

impl Tune {
    async fn run(self, session: &Session) -> Outcome {
        let mut more = Map::new();
        if let Some(token_type) = &self.token_type {
            more.insert("token_type".to_owned(), json!(token_type));
        }
        let lockout = self.lockout()?;
        if !lockout.is_empty() {
            more.insert("user_lockout_config".to_owned(), Value::Object(lockout));
        }
        mounts::tune(session, Kind::Auth, &self.path, &self.tuning, more).await
    }

    fn lockout(&self) -> Result<Map<String, Value>, Stop> {
        let mut lockout = Map::new();
        if let Some(threshold) = self.user_lockout_threshold {
            lockout.insert("lockout_threshold".to_owned(), json!(threshold.to_string()));
        }
        if let Some(span) = self.user_lockout_duration {
            lockout.insert("lockout_duration".to_owned(), json!(span.to_string()));
        }
        if let Some(span) = self.user_lockout_counter_reset_duration {
            lockout.insert("lockout_counter_reset_duration".to_owned(), json!(span.to_string()));
        }
        if let Some(text) = &self.user_lockout_disable {
            let yes = crate::argv::go_bool(text)
                .ok_or_else(|| Stop::local("-user-lockout-disable must be true or false"))?;
            lockout.insert("lockout_disable".to_owned(), json!(yes));
        }
        Ok(lockout)
    }
}

/// Move an auth method to another path; its tokens are revoked
#[derive(Args, Debug)]
pub(crate) struct Move {
    /// Where it is
    #[arg(value_name = "SOURCE")]
    from: String,
    /// Where it shall be
    #[arg(value_name = "DESTINATION")]
    to: String,
}

/// Explain how to log in with an auth method
#[derive(Args, Debug)]
pub(crate) struct Help {
    /// Type of the method, or the path of one on the server
    #[arg(value_name = "TYPE|PATH")]
    what: String,
}

impl Help {
    async fn run(self, session: &Session) -> Outcome {
        let what = paths::clean(&self.what);
        if let Some(method) = login::Method::named(&what) {
            say(method.help());
            return Ok(0);
        }
        let secret = session
            .client
            .standing(Call::get(Kind::Auth.root()))
            .await
            .map_err(|e| e.during("Error listing enabled authentications").code(1))?;
        let mount = secret.data().and_then(|data| data.get(&paths::mount(&what)).cloned());
        let Some(mount) = mount else {
            return Err(Stop::local(format!(
                "No auth method available on the server at \"{}\"",
                paths::mount(&what)
            )));
        };
        let type_name = mount.get("type").and_then(Value::as_str).unwrap_or_default();
        match login::Method::named(type_name) {
            Some(method) => {
                say(method.help());
                Ok(0)
            }
            None => Err(Stop::remote(format!(
                "No method-specific CLI handler available for auth method \"{type_name}\""
            ))
            .hint(format!(
                "`keep path-help auth/{what}` lists its paths; log in with `keep write auth/{what}/login …`."
            ))),
        }
    }
}
