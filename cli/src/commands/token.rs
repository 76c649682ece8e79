use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Field;
use crate::{
    argv::go_bool,
    call::Call,
    doc::Doc,
    output::say,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::plain,
};

/// Work with tokens
#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    Create(Box<Create>),
    Lookup(Lookup),
    Renew(Renew),
    Revoke(Revoke),
    Capabilities(Capabilities),
}

impl Token {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Token::Create(verb) => verb.run(session).await,
            Token::Lookup(verb) => verb.run(session).await,
            Token::Renew(verb) => verb.run(session).await,
            Token::Revoke(verb) => verb.run(session).await,
            Token::Capabilities(verb) => verb.run(session).await,
        }
    }
}

/// Make a token, a child of your own
#[derive(Args, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    field: Field,
    /// Name that audit lines show
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Alias of the entity to which the token belongs; needs -role
    #[arg(long, value_name = "NAME")]
    entity_alias: Option<String>,
    /// Lifetime that no renewal passes
    #[arg(long, value_name = "DURATION")]
    explicit_max_ttl: Option<Span>,
    /// Value of the token; random if left out, which is safer
    #[arg(long, value_name = "TOKEN")]
    id: Option<String>,
    /// Metadata that audit lines show, as key=value; repeatable
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// Leave out the policy `default`
    #[arg(long)]
    no_default_policy: bool,
    /// Make it no child of yours: it outlives your token
    #[arg(long)]
    orphan: bool,
    /// Period within which renewals keep it alive without end
    #[arg(long, value_name = "DURATION")]
    period: Option<Span>,
    /// Policy of the token; repeatable [default: yours]
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// Whether it can be renewed [true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    renewable: Option<String>,
    /// Token role whose settings apply
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// First lifetime
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// Type: service or batch
    #[arg(long = "type", value_name = "TYPE", default_value = "service")]
    type_name: String,
    /// Requests that it is good for; 0 for any number
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    use_limit: u64,
}

impl Create {
    async fn run(self, session: &Session) -> Outcome {
        let path = match self.role.as_deref().map(str::trim).filter(|role| !role.is_empty()) {
            Some(role) => format!("auth/token/create/{role}"),
            None => "auth/token/create".to_owned(),
        };
        let call = Call::post(path, Value::Object(self.body()?));
        let secret = session.client.write(call).await.map_err(|e| e.during("Error creating token"))?;
        let secret = secret.ok_or_else(|| Stop::remote("Error creating token: the server returned none"))?;
        session.output.secret_or_field(&secret, self.field.field.as_deref())
    }

    fn body(&self) -> Result<Map<String, Value>, Stop> {
        let span = |span: Option<Span>| span.unwrap_or(Span::from_seconds(0)).to_string();
        let renewable = match self.renewable.as_deref().map(go_bool) {
            None => true,
            Some(Some(yes)) => yes,
            Some(None) => return Err(Stop::local("-renewable must be true or false")),
        };
        let mut body = Map::new();
        let mut set = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        set("ttl", json!(span(self.ttl)));
        set("explicit_max_ttl", json!(span(self.explicit_max_ttl)));
        set("period", json!(span(self.period)));
        set("display_name", json!(self.display_name.clone().unwrap_or_default()));
        set("entity_alias", json!(self.entity_alias.clone().unwrap_or_default()));
        set("num_uses", json!(self.use_limit));
        set("renewable", json!(renewable));
        set("type", json!(self.type_name));
        if !self.policy.is_empty() {
            set("policies", json!(self.policy));
        }
        if let Some(id) = &self.id {
            set("id", json!(id));
        }
        if self.orphan {
            set("no_parent", json!(true));
        }
        if self.no_default_policy {
            set("no_default_policy", json!(true));
        }
        if !self.metadata.is_empty() {
            let mut metadata = Map::new();
            for pair in &self.metadata {
                let wrong = || Stop::local("-metadata must be given as key=value");
                let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
                metadata.insert(key.to_owned(), json!(value));
            }
            set("meta", Value::Object(metadata));
        }
        Ok(body)
    }
}

/// Print what the server knows about a token
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    #[command(flatten)]
    field: Field,
    /// The argument is an accessor
    #[arg(long)]
    accessor: bool,
    /// Token, or with -accessor its accessor; your own if left out
    #[arg(value_name = "TOKEN|ACCESSOR")]
    token: Option<String>,
}

impl Lookup {
    async fn run(self, session: &Session) -> Outcome {
        let call = match (&self.token, self.accessor) {
            (None, true) => {
                return Err(Stop::local("Not enough arguments with -accessor (expected 1, got 0)"));
            }
            (None, false) => Call::get("auth/token/lookup-self"),
            (Some(token), false) => Call::post("auth/token/lookup", json!({ "token": token.trim() })),
            (Some(accessor), true) => {
                Call::post("auth/token/lookup-accessor", json!({ "accessor": accessor.trim() }))
            }
        };
        let secret = session.client.write(call).await.map_err(|e| e.during("Error looking up token"))?;
        let secret = secret.ok_or_else(|| Stop::remote("Error looking up token: the server knows none"))?;
        session.output.secret_or_field(&secret, self.field.field.as_deref())
    }
}

/// Extend the life of a token
#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// The argument is an accessor
    #[arg(long)]
    accessor: bool,
    /// Lifetime to ask for
    #[arg(long, alias = "i", value_name = "DURATION")]
    increment: Option<Span>,
    /// Token, or with -accessor its accessor; your own if left out
    token: Option<String>,
}

impl Renew {
    async fn run(self, session: &Session) -> Outcome {
        let increment = self.increment.map_or(0, |span| span.seconds().max(0));
        let call = match (&self.token, self.accessor) {
            (None, true) => {
                return Err(Stop::local("Not enough arguments with -accessor (expected 1, got 0)"));
            }
            (None, false) => Call::put("auth/token/renew-self", json!({ "increment": increment })),
            (Some(token), false) => {
                Call::put("auth/token/renew", json!({ "token": token.trim(), "increment": increment }))
            }
            (Some(accessor), true) => Call::post(
                "auth/token/renew-accessor",
                json!({ "accessor": accessor.trim(), "increment": increment }),
            ),
        };
        let secret = session.client.write(call).await.map_err(|e| e.during("Error renewing token"))?;
        session.output.secret(&secret.unwrap_or_default())
    }
}

/// Revoke a token, and by default all its children
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The argument is an accessor
    #[arg(long)]
    accessor: bool,
    /// `orphan` spares the children; `path` revokes everything an auth path gave
    #[arg(long, value_name = "MODE", value_parser = ["orphan", "path"])]
    mode: Option<String>,
    /// Revoke your own token
    #[arg(long = "self")]
    own: bool,
    /// Token, or with -accessor its accessor, or with -mode=path a path
    token: Option<String>,
}

impl Revoke {
    async fn run(self, session: &Session) -> Outcome {
        let call = match (self.own, &self.token) {
            (false, None) => {
                return Err(Stop::local("Not enough arguments (expected 1 or -self, got 0)"));
            }
            (true, Some(_)) => {
                return Err(Stop::local("Too many arguments with -self (expected 0, got 1)"));
            }
            (true, None) if self.accessor || self.mode.is_some() => {
                return Err(Stop::local("Cannot use -self with -accessor or -mode"));
            }
            (true, None) => Call::put("auth/token/revoke-self", json!({})),
            (false, Some(token)) => self.call(token.trim())?,
        };
        session.client.send(call).await.map_err(|e| e.during("Error revoking token"))?;
        say("Success! Revoked token (if it existed)");
        Ok(0)
    }

    fn call(&self, token: &str) -> Result<Call, Stop> {
        Ok(match (self.accessor, self.mode.as_deref()) {
            (true, Some(mode)) => {
                return Err(Stop::local(format!("Cannot use -accessor with -mode={mode}")));
            }
            (true, None) => Call::post("auth/token/revoke-accessor", json!({ "accessor": token })),
            (false, Some("orphan")) => Call::put("auth/token/revoke-orphan", json!({ "token": token })),
            (false, Some(_)) => Call::put(format!("sys/leases/revoke-prefix/{token}"), json!({})),
            (false, None) => Call::put("auth/token/revoke", json!({ "token": token })),
        })
    }
}

/// Print what a token may do on a path
#[derive(Args, Debug)]
pub(crate) struct Capabilities {
    /// The first argument is an accessor
    #[arg(long)]
    accessor: bool,
    /// Token, if it is not your own; then the path
    #[arg(value_name = "[TOKEN] PATH", required = true)]
    first: String,
    /// Path, if a token was given
    #[arg(value_name = "PATH")]
    second: Option<String>,
}

impl Capabilities {
    async fn run(self, session: &Session) -> Outcome {
        let call = match (&self.second, self.accessor) {
            (None, true) => {
                return Err(Stop::local("Not enough arguments with -accessor (expected 2, got 1)"));
            }
            (None, false) => {
                let token = session.client.token.as_ref().map(|token| token.to_string()).unwrap_or_default();
                Call::post("sys/capabilities-self", json!({ "path": self.first, "token": token }))
            }
            (Some(path), true) => {
                Call::post("sys/capabilities-accessor", json!({ "accessor": self.first, "path": path }))
            }
            (Some(path), false) => {
                Call::post("sys/capabilities", json!({ "token": self.first, "path": path }))
            }
        };
        let secret = session.client.write(call).await.map_err(|e| e.during("Error listing capabilities"))?;
        let list = secret.as_ref().and_then(|secret| secret.field("capabilities")?.as_array().cloned());
        let mut names: Vec<String> = list.unwrap_or_default().iter().map(plain).collect();
        names.sort();
        if session.output.is_table() {
            say(names.join(", "));
            return Ok(0);
        }
        session.output.doc(&Doc::Value(json!(names)))
    }
}
