use clap::Args;
use serde_json::{Value, json};

use super::operator::{pgp, share};
use crate::{
    call::Call,
    doc::Doc,
    output::{folded, say, warn},
    session::Session,
    stop::{Outcome, Stop},
    table::{columns, plain},
};

/// Make new unseal keys out of enough of the old ones
///
/// First `-init`, which fixes how many new shares there will be; then every holder of an old share runs it without
/// flags; the last answer prints the new shares. The server stays up meanwhile.
#[derive(Args, Debug)]
pub(crate) struct Rekey {
    /// Begin
    #[arg(long)]
    init: bool,
    /// Give up what was begun
    #[arg(long)]
    cancel: bool,
    /// Print how far it is
    #[arg(long)]
    status: bool,
    /// Do that to the verification of the new shares; with -init, the same as -require-verification
    #[arg(long)]
    verify: bool,
    /// With -init: the new shares count only once enough of them were given back with -verify
    #[arg(long)]
    require_verification: bool,
    /// New shares
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 5)]
    key_shares: u32,
    /// New shares that are needed to unseal
    #[arg(long, short = 't', value_name = "COUNT", default_value_t = 3)]
    key_threshold: u32,
    /// PGP keys that encrypt the new shares, as base64 or @file, separated by commas
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pgp_keys: Vec<String>,
    /// With -init and -pgp-keys: the server keeps a copy of the encrypted shares
    #[arg(long)]
    backup: bool,
    /// Print the copy
    #[arg(long)]
    backup_retrieve: bool,
    /// Delete the copy
    #[arg(long)]
    backup_delete: bool,
    /// Keys to make anew: `barrier`, or `recovery` where another system unseals
    #[arg(long, value_name = "TARGET", default_value = "barrier")]
    target: String,
    /// Nonce of what was begun
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Share, or `-` to read it from a pipe; asked for if left out
    key: Option<String>,
}

/// Where the old verb and the new one do their work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `sys/rekey`, as Vault has it. It wants no token.
    Rekey,
    /// `sys/rotate`, as OpenBao has it.
    Rotate,
}

const ORDER: [&str; 13] = [
    "nonce",
    "started",
    "t",
    "n",
    "progress",
    "required",
    "complete",
    "keys",
    "keys_base64",
    "pgp_fingerprints",
    "backup",
    "verification_required",
    "verification_nonce",
];

impl Rekey {
    pub(crate) async fn run(self, session: &Session, door: Door) -> Outcome {
        let place = self.place(door)?;
        if self.backup_retrieve {
            let backup =
                ask(session, Call::get(format!("{place}/backup")), "Error retrieving the backup").await?;
            return print(session, &backup);
        }
        if self.backup_delete {
            return done(
                session,
                Call::delete(format!("{place}/backup")),
                "Backup deleted (if there was one)",
            )
            .await;
        }
        let attempt = if self.verify { format!("{place}/verify") } else { format!("{place}/init") };
        if self.cancel {
            return done(session, Call::delete(attempt), "Canceled rekeying (if it was started)").await;
        }
        if self.init {
            // With -init there is nothing to verify yet: there, -verify asks for it, as in `bao operator rotate-keys`.
            return self.begin(session, &format!("{place}/init")).await;
        }
        let status = ask(session, Call::get(attempt), "Error getting rekey status").await?;
        if self.status {
            return print(session, &status);
        }
        let update = if self.verify { format!("{place}/verify") } else { format!("{place}/update") };
        self.provide(session, update, &status).await
    }

    fn place(&self, door: Door) -> Result<&'static str, Stop> {
        match (self.target.as_str(), door) {
            ("barrier", Door::Rekey) => Ok("sys/rekey"),
            ("recovery" | "hsm", Door::Rekey) => Ok("sys/rekey-recovery-key"),
            ("barrier", Door::Rotate) => Ok("sys/rotate/root"),
            ("recovery" | "hsm", Door::Rotate) => Ok("sys/rotate/recovery"),
            (other, _) => {
                Err(Stop::local(format!("Unknown target: {other}")).hint("It is barrier or recovery."))
            }
        }
    }

    async fn begin(&self, session: &Session, attempt: &str) -> Outcome {
        let body = json!({
            "secret_shares": self.key_shares,
            "secret_threshold": self.key_threshold,
            "pgp_keys": pgp(&self.pgp_keys)?,
            "backup": self.backup,
            "require_verification": self.require_verification || self.verify,
        });
        let status = ask(session, Call::put(attempt, body), "Error initializing rekey").await?;
        if session.output.is_table() && self.pgp_keys.is_empty() {
            warn(
                folded(
                    "WARNING! If you lose the keys after they are returned, there is no recovery. Consider canceling this \
                 operation and re-initializing with -require-verification, so that the new keys count only once they \
                 were given back.",
                    0,
                ) + "\n",
            );
        }
        print(session, &status)
    }

    async fn provide(&self, session: &Session, update: String, status: &Value) -> Outcome {
        if status.get("started").and_then(Value::as_bool) != Some(true) {
            return Err(Stop::local(
                "No rekey is in progress. Start a rekey process by running it with -init.",
            ));
        }
        let begun = status.get("nonce").and_then(Value::as_str).unwrap_or_default();
        if self.key.is_some() && self.nonce.is_none() {
            return Err(Stop::local("Missing nonce value: specify it via the -nonce flag")
                .hint(format!("The nonce of what is in progress is {begun}.")));
        }
        let nonce = self.nonce.as_deref().unwrap_or(begun);
        if session.output.is_table() {
            warn(format!("Rekey operation nonce: {nonce}"));
        }
        let key = share(session, self.key.as_deref(), "Unseal Key (will be hidden): ")?;
        let call = Call::put(update, json!({ "key": key.as_str(), "nonce": nonce }));
        let status = ask(session, call, "Error posting unseal key").await?;
        print(session, &status)
    }
}

/// Where the rekeying stands, inside an envelope or outside.
async fn ask(session: &Session, call: Call, during: &str) -> Result<Value, Stop> {
    let secret = session.client.write(call).await.map_err(|e| e.during(during))?.unwrap_or_default();
    Ok(secret.data.unwrap_or_default())
}

async fn done(session: &Session, call: Call, what: &str) -> Outcome {
    session.client.send(call).await.map_err(|e| e.during("Error"))?;
    say(format!("Success! {what}"));
    Ok(0)
}

fn print(session: &Session, status: &Value) -> Outcome {
    if !session.output.is_table() {
        return session.output.doc(&Doc::ordered(status, &ORDER));
    }
    let shares = status.get("keys_base64").and_then(Value::as_array).filter(|shares| !shares.is_empty());
    if let Some(shares) = shares {
        for (at, share) in shares.iter().enumerate() {
            say(format!("Key {}: {}", at + 1, plain(share)));
        }
        say("");
        say(format!("Operation nonce: {}", status.get("nonce").map(plain).unwrap_or_default()));
        say("");
        let told = match status.get("verification_required").and_then(Value::as_bool) {
            Some(true) => format!(
                "The new keys do not count yet. Give enough of them back with -verify -nonce={}; until then the old \
                 ones unseal.",
                status.get("verification_nonce").map(plain).unwrap_or_default()
            ),
            _ => {
                "These keys unseal from now on; the old ones do not any more. Hand them out and keep no copy."
                    .to_owned()
            }
        };
        say(folded(&told, 0));
        return Ok(0);
    }
    if status.get("complete").and_then(Value::as_bool) == Some(true) {
        say("Success! The new keys were verified. They unseal from now on.");
        return Ok(0);
    }
    let titles = [
        ("Nonce", "nonce"),
        ("Started", "started"),
        ("New Shares", "n"),
        ("New Threshold", "t"),
        ("Rekey Progress", "progress"),
        ("Required", "required"),
        ("Verification Required", "verification_required"),
        ("Verification Nonce", "verification_nonce"),
        ("Keys", "keys"),
    ];
    let shown = |key: &str| status.get(key).filter(|value| !value.is_null()).map(plain);
    let rows = titles.iter().filter_map(|(title, key)| Some(vec![(*title).to_owned(), shown(key)?]));
    say(columns(&rows.collect::<Vec<_>>()));
    Ok(0)
}
