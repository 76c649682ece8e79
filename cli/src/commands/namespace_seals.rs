//! Namespaces with a seal of their own.

use clap::Args;
use serde_json::{Value, json};

use super::operator::{pgp, share};
use crate::{
    call::Call,
    output::{folded, say},
    paths,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::plain,
};

/// What seal a new namespace is to have.
#[derive(Args, Debug)]
pub(crate) struct Wish {
    /// Gives it a seal of its own, and splits the key that unseals it into so many shares
    #[arg(long, short = 'n', value_name = "COUNT", requires = "key_threshold", conflicts_with = "seal")]
    key_shares: Option<u32>,
    /// Shares that are needed to unseal it
    #[arg(long, short = 't', value_name = "COUNT", requires = "key_shares")]
    key_threshold: Option<u32>,
    /// PGP keys that encrypt the shares, as base64 or @file, separated by commas
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pgp_keys: Vec<String>,
    /// File with one seal stanza in HCL, in place of the two counts
    #[arg(long, value_name = "FILE")]
    seal: Option<String>,
}

impl Wish {
    /// Says it in the body of the request, if there is a wish.
    pub(crate) fn enter(&self, body: &mut Value) -> Result<(), Stop> {
        let text = match (&self.seal, self.key_shares, self.key_threshold) {
            (Some(file), ..) => Some(
                std::fs::read_to_string(file)
                    .map_err(|e| Stop::local(format!("Error reading the seal's file {file}: {e}")))?,
            ),
            (None, Some(shares), Some(threshold)) => {
                Some(format!("seal \"shamir\" {{\n    shares = {shares}\n    threshold = {threshold}\n}}"))
            }
            _ => None,
        };
        if let Some(text) = text {
            body["seal"] = json!(text);
        }
        if !self.pgp_keys.is_empty() {
            body["pgp_keys"] = json!(pgp(&self.pgp_keys)?);
        }
        Ok(())
    }
}

/// Prints the shares of a new namespace, if it has any, and what they are for.
pub(crate) fn hand_out(made: &Secret) {
    let Some(shares) = made.field("key_shares").and_then(Value::as_array) else { return };
    for (at, share) in shares.iter().enumerate() {
        say(format!("Unseal Key {}: {}", at + 1, plain(share)));
    }
    let threshold = made.field("key_threshold").map(plain).unwrap_or_default();
    say("");
    let told = format!(
        "The namespace has a seal of its own with {} key shares and a key threshold of {threshold}. Please securely \
         distribute the key shares printed above. It is sealed now, and after each restart of the server: at least \
         {threshold} of them must be given to `keep namespace unseal`. Nobody can make them anew.",
        shares.len()
    );
    say(folded(&told, 0));
    say("");
}

/// Seal a namespace that has a seal of its own: not even the server can read it until it is unsealed
#[derive(Args, Debug)]
pub(crate) struct Seal {
    /// Namespace
    path: String,
}

impl Seal {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::put(format!("sys/namespaces/{path}/seal"), json!({}));
        session.client.send(call).await.map_err(|e| e.during(format!("Error sealing namespace {path}")))?;
        say(format!("Success! Namespace is sealed: {path}"));
        Ok(0)
    }
}

/// Give a namespace a share of its unseal key
///
/// The share is asked for without showing it. Each share holder runs this once, until enough are given.
#[derive(Args, Debug)]
pub(crate) struct Unseal {
    /// Forget the shares given so far
    #[arg(long)]
    reset: bool,
    /// Namespace
    path: String,
    /// Share, or `-` to read it from a pipe; asked for if left out, which keeps it out of the shell's history
    key: Option<String>,
}

impl Unseal {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let body = match self.reset {
            true => json!({ "reset": true }),
            false => {
                let key = share(session, self.key.as_deref(), "Unseal Key (will be hidden): ")?;
                json!({ "key": key.as_str() })
            }
        };
        let call = Call::put(format!("sys/namespaces/{path}/unseal"), body);
        let status = session.client.write(call).await;
        let status = status.map_err(|e| e.during(format!("Error unsealing namespace {path}")))?;
        session.output.secret_or_field(&status.unwrap_or_default(), None)
    }
}

/// Print whether a namespace is sealed, and how many shares of its key were given
#[derive(Args, Debug)]
pub(crate) struct SealStatus {
    /// Namespace
    path: String,
}

impl SealStatus {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::get(format!("sys/namespaces/{path}/seal-status"));
        let found = session.client.read(call).await;
        let found =
            found.map_err(|e| e.during(format!("Error reading the seal status of namespace {path}")))?;
        let status = found.ok_or_else(|| Stop::remote(format!("Namespace not found: {path}")))?;
        session.output.secret_or_field(&status, None)
    }
}

/// Delete a sealed namespace without unsealing it
///
/// For one whose shares are lost. What it lent outside, such as users of a database, is not taken back.
#[derive(Args, Debug)]
pub(crate) struct DeleteSealed {
    /// Also delete the namespaces in it
    #[arg(long)]
    force: bool,
    /// Namespace
    path: String,
}

impl DeleteSealed {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let path = paths::clean(&self.path);
        let call = Call::delete(format!("sys/namespaces/{path}/delete-sealed"));
        let call = if self.force { call.query("force", "true") } else { call };
        let secret = session.client.write(call).await;
        let secret = secret.map_err(|e| e.during(format!("Error deleting sealed namespace {path}")))?;
        secret.iter().for_each(|secret| session.output.warnings(secret));
        say(format!("Success! Namespace deleted at: {path}"));
        Ok(0)
    }
}
