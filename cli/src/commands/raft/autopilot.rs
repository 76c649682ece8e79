use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::refused;
use crate::{
    call::Call,
    output::say,
    session::Session,
    span::Span,
    stop::Outcome,
    table::{plain, table},
};

/// What the cluster does with nodes that fall behind or are gone
#[derive(Subcommand, Debug)]
pub(crate) enum Autopilot {
    /// Print how well the nodes are
    State,
    /// Print its settings
    GetConfig,
    SetConfig(SetConfig),
}

const SETTINGS: &str = "sys/storage/raft/autopilot/configuration";
/// The settings, in the order of their table.
const TITLES: [(&str, &str); 6] = [
    ("Cleanup Dead Servers", "cleanup_dead_servers"),
    ("Last Contact Threshold", "last_contact_threshold"),
    ("Dead Server Last Contact Threshold", "dead_server_last_contact_threshold"),
    ("Server Stabilization Time", "server_stabilization_time"),
    ("Min Quorum", "min_quorum"),
    ("Max Trailing Logs", "max_trailing_logs"),
];

impl Autopilot {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Autopilot::State => {
                let data = ask(session, "sys/storage/raft/autopilot/state", "Error checking autopilot state")
                    .await?;
                session.output.object(&data)
            }
            Autopilot::GetConfig => {
                let data = ask(session, SETTINGS, "Error reading autopilot configuration").await?;
                if !session.output.is_table() {
                    return session.output.object(&data);
                }
                let rows = TITLES.iter().map(|(title, key)| {
                    vec![(*title).to_owned(), data.get(*key).map(plain).unwrap_or_default()]
                });
                say(table(&["Key", "Value"], rows.collect()));
                Ok(0)
            }
            Autopilot::SetConfig(verb) => verb.run(session).await,
        }
    }
}

async fn ask(session: &Session, path: &str, during: &str) -> Result<Map<String, Value>, crate::stop::Stop> {
    let secret = session.client.standing(Call::get(path)).await.map_err(|e| refused(e, during))?;
    Ok(secret.data().cloned().unwrap_or_default())
}

/// Change its settings; what is left out stays
#[derive(Args, Debug)]
pub(crate) struct SetConfig {
    /// Remove nodes that are gone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_dead_servers: Option<bool>,
    /// How long a node is gone before it is removed
    #[arg(long, value_name = "DURATION")]
    dead_server_last_contact_threshold: Option<Span>,
    /// How long a node may be silent and still count as well
    #[arg(long, value_name = "DURATION")]
    last_contact_threshold: Option<Span>,
    /// How far a node may be behind and still count as well
    #[arg(long, value_name = "COUNT")]
    max_trailing_logs: Option<u64>,
    /// Never fewer nodes than this
    #[arg(long, value_name = "COUNT")]
    min_quorum: Option<u64>,
    /// How long a new node must be well before it has a vote
    #[arg(long, value_name = "DURATION")]
    server_stabilization_time: Option<Span>,
}

impl SetConfig {
    async fn run(self, session: &Session) -> Outcome {
        let span = |span: Option<Span>| span.map(|span| json!(span.to_string()));
        let count = |count: Option<u64>| count.map(|count| json!(count));
        let body: Map<String, Value> = [
            ("cleanup_dead_servers", self.cleanup_dead_servers.map(|yes| json!(yes))),
            ("dead_server_last_contact_threshold", span(self.dead_server_last_contact_threshold)),
            ("last_contact_threshold", span(self.last_contact_threshold)),
            ("max_trailing_logs", count(self.max_trailing_logs)),
            ("min_quorum", count(self.min_quorum)),
            ("server_stabilization_time", span(self.server_stabilization_time)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
        let call = Call::put(SETTINGS, Value::Object(body));
        session.client.send(call).await.map_err(|e| refused(e, "Error updating autopilot configuration"))?;
        Ok(0)
    }
}
