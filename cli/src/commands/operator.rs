use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    generate_root::GenerateRoot,
    of_server::{Diagnose, ValidateConfig},
    raft::Raft,
    rekey::{Door, Rekey},
    status,
};
use crate::{
    call::Call,
    doc::Doc,
    output::{folded, say},
    prompt,
    secret::Secret,
    session::Session,
    stop::{Outcome, REMOTE, Stop},
    table::{columns, plain, table},
};

/// Set up and run the server
#[derive(Subcommand, Debug)]
pub(crate) enum Operator {
    Init(Init),
    Unseal(Unseal),
    /// Seal the server: it forgets its keys until it is unsealed again
    Seal,
    /// Begin a new term of the encryption key; old data stays readable
    Rotate,
    /// Print the term of the encryption key
    KeyStatus,
    /// Make another node of the cluster the leader
    StepDown,
    /// List the nodes of the cluster
    Members,
    GenerateRoot(GenerateRoot),
    Rekey(Rekey),
    /// Make new unseal keys, where OpenBao has it: it wants a token for it
    RotateKeys(Rekey),
    #[command(subcommand)]
    Raft(Raft),
    Diagnose(Diagnose),
    ValidateConfig(ValidateConfig),
}

impl Operator {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Operator::Init(verb) => verb.run(session).await,
            Operator::Unseal(verb) => verb.run(session).await,
            Operator::Seal => seal(session).await,
            Operator::Rotate => rotate(session).await,
            Operator::KeyStatus => {
                let status = key_status(session).await.map_err(|e| e.during("Error reading key status"))?;
                print_key_status(session, &status)
            }
            Operator::StepDown => step_down(session).await,
            Operator::Members => members(session).await,
            Operator::GenerateRoot(verb) => verb.run(session).await,
            Operator::Rekey(verb) => verb.run(session, Door::Rekey).await,
            Operator::RotateKeys(verb) => verb.run(session, Door::Rotate).await,
            Operator::Raft(verb) => verb.run(session).await,
            Operator::Diagnose(verb) => verb.run(session),
            Operator::ValidateConfig(verb) => verb.run(),
        }
    }
}

/// Initialise a new server: make its keys and its first token
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Shares into which the unseal key is split
    #[arg(long, value_name = "COUNT")]
    key_shares: Option<u32>,
    /// Shares that are needed to unseal
    #[arg(long, value_name = "COUNT")]
    key_threshold: Option<u32>,
    /// PGP keys that encrypt the shares, as base64 or @file, separated by commas
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pgp_keys: Vec<String>,
    /// Shares of the recovery key, where another system unseals
    #[arg(long, value_name = "COUNT")]
    recovery_shares: Option<u32>,
    /// Recovery shares that are needed
    #[arg(long, value_name = "COUNT")]
    recovery_threshold: Option<u32>,
    /// PGP keys that encrypt the recovery shares
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    recovery_pgp_keys: Vec<String>,
    /// PGP key that encrypts the first token
    #[arg(long, value_name = "KEY")]
    root_token_pgp_key: Option<String>,
    /// Only say whether the server is initialised: exits with 0, or 2 if it is not
    #[arg(long)]
    status: bool,
}

/// The customary split of the key.
const SHARES_DEFAULT: u32 = 5;
const THRESHOLD_DEFAULT: u32 = 3;

impl Init {
    async fn run(self, session: &Session) -> Outcome {
        let seal = session.client.bare(Call::get("sys/seal-status").preflight()).await?;
        let flag = |name: &str| seal.get(name).and_then(Value::as_bool).unwrap_or_default();
        if self.status {
            let initialised = flag("initialized");
            say(if initialised { "The server is initialized" } else { "The server is not initialized" });
            return Ok(if initialised { 0 } else { REMOTE });
        }
        let recovery = flag("recovery_seal");
        let body = self.body(recovery)?;
        let answer = session
            .client
            .bare(Call::put("sys/init", body))
            .await
            .map_err(|e| e.during("Error initializing"))?;
        self.print(session, &answer, recovery)
    }

    fn body(&self, recovery: bool) -> Result<Value, Stop> {
        let mut body = json!({
            "secret_shares": 0, "secret_threshold": 0, "recovery_shares": 0, "recovery_threshold": 0,
        });
        let mut set = |key: &str, value: Value| {
            if let Some(map) = body.as_object_mut() {
                map.insert(key.to_owned(), value);
            }
        };
        let shares = |count: Option<u32>| json!(count.unwrap_or(SHARES_DEFAULT));
        let threshold = |count: Option<u32>| json!(count.unwrap_or(THRESHOLD_DEFAULT));
        if recovery {
            set("recovery_shares", shares(self.recovery_shares));
            set("recovery_threshold", threshold(self.recovery_threshold));
        } else {
            set("secret_shares", shares(self.key_shares));
            set("secret_threshold", threshold(self.key_threshold));
        }
        if !self.pgp_keys.is_empty() {
            set("pgp_keys", json!(pgp(&self.pgp_keys)?));
        }
        if !self.recovery_pgp_keys.is_empty() {
            set("recovery_pgp_keys", json!(pgp(&self.recovery_pgp_keys)?));
        }
        if let Some(key) = &self.root_token_pgp_key {
            set("root_token_pgp_key", json!(pgp(std::slice::from_ref(key))?.first()));
        }
        Ok(body)
    }

    fn print(&self, session: &Session, answer: &Value, recovery: bool) -> Outcome {
        if !session.output.is_table() {
            return session.output.doc(&self.doc(answer, recovery));
        }
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        for (at, share) in list("keys_base64").iter().enumerate() {
            say(format!("Unseal Key {}: {}", at + 1, plain(share)));
        }
        for (at, share) in list("recovery_keys_base64").iter().enumerate() {
            say(format!("Recovery Key {}: {}", at + 1, plain(share)));
        }
        say("");
        say(format!("Initial Root Token: {}", answer.get("root_token").map(plain).unwrap_or_default()));
        say("");
        let shares = if recovery { self.recovery_shares } else { self.key_shares }.unwrap_or(SHARES_DEFAULT);
        let threshold =
            if recovery { self.recovery_threshold } else { self.key_threshold }.unwrap_or(THRESHOLD_DEFAULT);
        let told = if recovery {
            format!(
                "The server is initialized with {shares} recovery shares and a threshold of {threshold}. Hand the \
                 shares out; they are needed to make a new root token."
            )
        } else {
            format!(
                "The server is initialized with {shares} key shares and a key threshold of {threshold}. Please \
                 securely distribute the key shares printed above. When the server is sealed or restarted, at least \
                 {threshold} of these keys must be given to `keep operator unseal` before it can start servicing \
                 requests.\n\nThe server does not store the generated root key. Without at least {threshold} keys to \
                 reconstruct the root key, it will remain permanently sealed!"
            )
        };
        say(folded(&told, 0));
        Ok(0)
    }

    fn doc(&self, answer: &Value, recovery: bool) -> Doc {
        let part = |key: &str| Doc::Value(answer.get(key).cloned().unwrap_or_default());
        let count = |given: Option<u32>, default: u32, counts: bool| -> Doc {
            json!(if counts { given.unwrap_or(default) } else { 0 }).into()
        };
        Doc::map(vec![
            ("unseal_keys_b64", part("keys_base64")),
            ("unseal_keys_hex", part("keys")),
            ("unseal_shares", count(self.key_shares, SHARES_DEFAULT, !recovery)),
            ("unseal_threshold", count(self.key_threshold, THRESHOLD_DEFAULT, !recovery)),
            ("recovery_keys_b64", part("recovery_keys_base64")),
            ("recovery_keys_hex", part("recovery_keys")),
            ("recovery_keys_shares", count(self.recovery_shares, SHARES_DEFAULT, recovery)),
            ("recovery_keys_threshold", count(self.recovery_threshold, THRESHOLD_DEFAULT, recovery)),
            ("root_token", part("root_token")),
        ])
    }
}

/// Keys as base64 without armour, from arguments or files.
pub(super) fn pgp(keys: &[String]) -> Result<Vec<String>, Stop> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    keys.iter()
        .map(|key| {
            if key.starts_with("keybase:") {
                return Err(Stop::local(
                    "Keys from keybase are not fetched: a key share should not depend on a third party",
                )
                .hint("Export the key to a file and give it as @file."));
            }
            let Some(file) = key.strip_prefix('@') else { return Ok(key.clone()) };
            let bytes =
                std::fs::read(file).map_err(|e| Stop::local(format!("Error reading PGP key {file}: {e}")))?;
            let text = String::from_utf8_lossy(&bytes);
            if text.contains("BEGIN PGP") {
                return Ok(armoured(&text));
            }
            let compact: String = text.split_whitespace().collect();
            let already = STANDARD.decode(&compact).is_ok();
            Ok(if already { compact } else { STANDARD.encode(&bytes) })
        })
        .collect()
}

/// The base64 lines between the headers and the checksum of an armoured key.
fn armoured(text: &str) -> String {
    let body = text.lines().skip_while(|line| !line.trim().is_empty()).skip(1);
    body.map(str::trim).take_while(|line| !line.starts_with('=') && !line.starts_with("-----")).collect()
}

/// Give the server a share of its unseal key
///
/// The share is asked for without showing it. Each share holder runs this once, until enough are given.
#[derive(Args, Debug)]
pub(crate) struct Unseal {
    /// Forget the shares given so far
    #[arg(long)]
    reset: bool,
    /// Move to another seal
    #[arg(long)]
    migrate: bool,
    /// Share, or `-` to read it from a pipe; asked for if left out, which keeps it out of the shell's history
    key: Option<String>,
}

impl Unseal {
    async fn run(self, session: &Session) -> Outcome {
        if self.reset {
            let call = Call::put("sys/unseal", json!({ "reset": true }));
            let status = status::fetch(&session.client, call)
                .await
                .map_err(|e| e.during("Error resetting unseal process"))?;
            return status.print(session.output);
        }
        let key = share(session, self.key.as_deref(), "Unseal Key (will be hidden): ")?;
        let call = Call::put("sys/unseal", json!({ "key": key.as_str(), "migrate": self.migrate }));
        let status = status::fetch(&session.client, call).await.map_err(|e| e.during("Error unsealing"))?;
        status.print(session.output)
    }
}

/// A key share from the argument, a pipe, or a hidden prompt.
pub(super) fn share(session: &Session, given: Option<&str>, ask: &str) -> Result<Zeroizing<String>, Stop> {
    let text = match given {
        Some("-") => prompt::piped().map_err(Stop::local)?,
        Some(key) => Zeroizing::new(key.to_owned()),
        None if session.interactive => prompt::hidden(ask)?,
        None => {
            return Err(Stop::local("The key share is not given and -non-interactive forbids to ask for it"));
        }
    };
    Ok(Zeroizing::new(text.trim().to_owned()))
}

async fn seal(session: &Session) -> Outcome {
    session.client.send(Call::put("sys/seal", json!({}))).await.map_err(|e| e.during("Error sealing"))?;
    say("Success! The server is sealed.");
    Ok(0)
}

async fn rotate(session: &Session) -> Outcome {
    let during = "Error rotating key";
    session.client.send(Call::put("sys/rotate", json!({}))).await.map_err(|e| e.during(during))?;
    let status = key_status(session).await.map_err(|e| e.during("Error reading key status"))?;
    if session.output.is_table() {
        say("Success! Rotated key");
        say("");
    }
    print_key_status(session, &status)
}

async fn key_status(session: &Session) -> Result<Secret, crate::refused::Refused> {
    session.client.standing(Call::get("sys/key-status")).await
}

fn print_key_status(session: &Session, secret: &Secret) -> Outcome {
    let part = |key: &str| secret.field(key).cloned().unwrap_or_default();
    if !session.output.is_table() {
        let parts = ["term", "install_time", "encryptions"].map(|key| (key, Doc::Value(part(key))));
        return session.output.doc(&Doc::map(parts.to_vec()));
    }
    let installed = part("install_time");
    let row = |title: &str, value: String| vec![title.to_owned(), value];
    say(columns(&[
        row("Key Term", plain(&part("term"))),
        row("Install Time", rfc822(installed.as_str().unwrap_or_default())),
        row("Encryption Count", plain(&part("encryptions"))),
    ]));
    Ok(0)
}

/// `26 Nov 26 15:32 UTC`, from the API's `2026-11-26T15:32:39Z`.
fn rfc822(time: &str) -> String {
    use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
    match OffsetDateTime::parse(time, &Rfc3339) {
        Err(_) => time.to_owned(),
        Ok(moment) => {
            let utc = moment.to_offset(UtcOffset::UTC);
            let month: String = utc.month().to_string().chars().take(3).collect();
            let (day, year) = (utc.day(), utc.year() % 100);
            format!("{day:02} {month} {year:02} {:02}:{:02} UTC", utc.hour(), utc.minute())
        }
    }
}

async fn step_down(session: &Session) -> Outcome {
    let call = Call::put("sys/step-down", json!({}));
    session.client.send(call).await.map_err(|e| e.during("Error stepping down"))?;
    say(format!("Success! Stepped down: {}", session.client.address.base));
    Ok(0)
}

async fn members(session: &Session) -> Outcome {
    let secret = session.client.read(Call::get("sys/ha-status")).await?.unwrap_or_default();
    let nodes = secret.field("nodes").cloned().unwrap_or_else(|| json!([]));
    if !session.output.is_table() {
        return session.output.doc(&Doc::map(vec![("Nodes", Doc::Value(nodes))]));
    }
    let keys = [
        "hostname",
        "api_address",
        "cluster_address",
        "active_node",
        "version",
        "upgrade_version",
        "last_echo",
    ];
    let cell = |node: &Value, key: &str| {
        node.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
    };
    let rows = nodes.as_array().into_iter().flatten();
    let rows = rows.map(|node| keys.iter().map(|key| cell(node, key)).collect()).collect();
    let header = [
        "Host Name",
        "API Address",
        "Cluster Address",
        "Active Node",
        "Version",
        "Upgrade Version",
        "Last Echo",
    ];
    say(table(&header, rows));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_times_are_short() {
        assert_eq!(rfc822("2026-11-26T15:34:51.215281571Z"), "26 Nov 26 15:34 UTC");
        assert_eq!(rfc822("2026-01-02T01:00:00+02:00"), "01 Jan 26 23:00 UTC");
        assert_eq!(rfc822("soon"), "soon");
    }

    #[test]
    fn armour_is_taken_off() {
        let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nAAAA\nBBBB\n=cccc\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(armoured(text), "AAAABBBB");
    }
}
