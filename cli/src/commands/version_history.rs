use clap::Args;
use serde_json::Value;

use crate::{
    call::Call,
    output::say,
    secret::Secret,
    session::Session,
    stop::{Outcome, Stop},
    table::{close_columns, plain},
};

/// Print which versions of the server have run on its storage, and since when
#[derive(Args, Debug)]
pub(crate) struct VersionHistory {}

impl VersionHistory {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let during = "Error reading version history";
        let secret = session
            .client
            .read(Call::list("sys/version-history"))
            .await
            .map_err(|e| e.during(during))?
            .ok_or_else(|| Stop::remote("The server has no version history"))?;
        if !session.output.is_table() {
            return session.output.secret(&secret);
        }
        session.output.warnings(&secret);
        say(close_columns(&rows(&secret)));
        Ok(0)
    }
}

fn rows(secret: &Secret) -> Vec<Vec<String>> {
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![
        row(["Version", "Installation Time", "Commit Date"]),
        row(["-------", "-----------------", "-----------"]),
    ];
    for version in secret.keys().into_iter().flatten() {
        let version = plain(version);
        let known = secret.field("key_info").and_then(|all| all.get(&version));
        let text =
            |key: &str| known.and_then(|info| info.get(key)).and_then(Value::as_str).unwrap_or_default();
        rows.push(row([&version, text("timestamp_installed"), text("commit_date")]));
    }
    rows
}
