//! Clusters of servers that keep their storage together. Sealkeep is one node: there it says so.

mod autopilot;
mod snapshot;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    call::Call,
    output::say,
    refused::Refused,
    session::Session,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Work with the nodes of a cluster that keeps its storage by raft
#[derive(Subcommand, Debug)]
pub(crate) enum Raft {
    /// List the nodes of the cluster
    ListPeers,
    Join(Box<Join>),
    /// Take a node out of the cluster
    RemovePeer(Peer),
    /// Give a node that only listens a vote
    Promote(Peer),
    /// Take a node's vote; it goes on listening
    Demote(Peer),
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    #[command(subcommand)]
    Autopilot(autopilot::Autopilot),
}

impl Raft {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Raft::ListPeers => list_peers(session).await,
            Raft::Join(verb) => verb.run(session).await,
            Raft::RemovePeer(verb) => verb.run(session).await,
            Raft::Promote(verb) => verb.change(session, "promote", "Error promoting server").await,
            Raft::Demote(verb) => verb.change(session, "demote", "Error demoting server").await,
            Raft::Snapshot(verb) => verb.run(session).await,
            Raft::Autopilot(verb) => verb.run(session).await,
        }
    }
}

/// What a refusal means where there is no cluster.
fn refused(refused: Refused, during: &str) -> Stop {
    let alone = refused.status() == Some(404);
    let stop = refused.during(during);
    if alone {
        stop.hint("This server has no raft cluster. Sealkeep is one node: it has no peers.")
    } else {
        stop
    }
}

async fn list_peers(session: &Session) -> Outcome {
    let during = "Error reading the raft cluster configuration";
    let secret = session
        .client
        .read(Call::get("sys/storage/raft/configuration"))
        .await
        .map_err(|e| e.during(during))?
        .ok_or_else(|| {
            Stop::remote("No raft cluster configuration found")
                .hint("This server has no raft cluster. Sealkeep is one node: it has no peers.")
        })?;
    if !session.output.is_table() {
        return session.output.secret(&secret);
    }
    let servers = secret.field("config").and_then(|config| config.get("servers")).and_then(Value::as_array);
    let row = |server: &Value| {
        let text = |key: &str| server.get(key).map(plain).unwrap_or_default();
        let state = if text("leader") == "true" { "leader" } else { "follower" };
        vec![text("node_id"), text("address"), state.to_owned(), text("voter")]
    };
    say(table(&["Node", "Address", "State", "Voter"], servers.into_iter().flatten().map(row).collect()));
    Ok(0)
}

/// A node of the cluster.
#[derive(Args, Debug)]
pub(crate) struct Peer {
    /// Name of the node, as `keep operator raft list-peers` prints it
    #[arg(value_name = "NODE")]
    id: String,
}

impl Peer {
    async fn run(self, session: &Session) -> Outcome {
        let call = Call::put("sys/storage/raft/remove-peer", json!({ "server_id": self.id.trim() }));
        let during = "Error removing the peer from raft cluster";
        session.client.send(call).await.map_err(|e| refused(e, during))?;
        say("Peer removed successfully!");
        Ok(0)
    }

    async fn change(&self, session: &Session, verb: &str, during: &str) -> Outcome {
        let call = Call::put(format!("sys/storage/raft/{verb}"), json!({ "server_id": self.id.trim() }));
        session.client.send(call).await.map_err(|e| refused(e, during))?;
        say(format!("Server {verb}d successfully!"));
        Ok(0)
    }
}

/// Make the server a node of a cluster
#[derive(Args, Debug)]
pub(crate) struct Join {
    /// Port of addresses that the cloud names
    #[arg(long, value_name = "PORT", default_value_t = 8200)]
    auto_join_port: u16,
    /// Scheme of addresses that the cloud names
    #[arg(long, value_name = "SCHEME", default_value = "https")]
    auto_join_scheme: String,
    /// PEM of the CA of the leader, or @file
    #[arg(long, value_name = "PEM")]
    leader_ca_cert: Option<String>,
    /// PEM of the certificate to show to the leader, or @file
    #[arg(long, value_name = "PEM")]
    leader_client_cert: Option<String>,
    /// PEM of its key, or @file
    #[arg(long, value_name = "PEM")]
    leader_client_key: Option<String>,
    /// Only listen: no vote
    #[arg(long)]
    non_voter: bool,
    /// Try again until it works
    #[arg(long)]
    retry: bool,
    /// Address of the leader, or words for the cloud to find it
    #[arg(value_name = "LEADER")]
    leader: Option<String>,
}

impl Join {
    async fn run(self, session: &Session) -> Outcome {
        let leader = self.leader.as_deref().unwrap_or_default().trim();
        let found = leader.contains("provider=");
        let text = |given: &Option<String>| -> Result<String, Stop> {
            let given = given.as_deref().unwrap_or_default();
            let Some(file) = given.strip_prefix('@') else { return Ok(given.to_owned()) };
            std::fs::read_to_string(file).map_err(|e| Stop::local(format!("Error reading {file}: {e}")))
        };
        let body = json!({
            "auto_join": if found { leader } else { "" },
            "auto_join_scheme": if found { self.auto_join_scheme.as_str() } else { "" },
            "auto_join_port": if found { self.auto_join_port } else { 0 },
            "leader_api_addr": if found { "" } else { leader },
            "leader_ca_cert": text(&self.leader_ca_cert)?,
            "leader_client_cert": text(&self.leader_client_cert)?,
            "leader_client_key": text(&self.leader_client_key)?,
            "retry": self.retry,
            "non_voter": self.non_voter,
        });
        let during = "Error joining the node to the Raft cluster";
        let answer = session
            .client
            .bare(Call::post("sys/storage/raft/join", body))
            .await
            .map_err(|e| refused(e, during))?;
        let data = answer.as_object().cloned().unwrap_or_default();
        if !session.output.is_table() {
            return session.output.object(&data);
        }
        say(table(
            &["Key", "Value"],
            vec![vec!["Joined".to_owned(), data.get("joined").map(plain).unwrap_or_default()]],
        ));
        Ok(0)
    }
}
