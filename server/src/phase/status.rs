use kernel::Answer;
use serde::Serialize;
use storage::seal::{SealConfig, Split};

use super::{Phase, State};

/// What `sys/seal-status` and `sys/unseal` answer. The order of the fields is the one that clients print.
#[derive(Serialize)]
struct SealStatus<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    initialized: bool,
    sealed: bool,
    t: u8,
    n: u8,
    progress: usize,
    nonce: String,
    recovery_seal: bool,
    version: &'a str,
    commit_date: &'a str,
    build_date: &'a str,
    migration: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<&'a str>,
    storage_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_seal_type: Option<&'static str>,
}

#[derive(Serialize)]
struct Leader<'a> {
    ha_enabled: bool,
    is_self: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_time: Option<String>,
    leader_address: &'a str,
    leader_cluster_address: &'a str,
    performance_standby: bool,
    performance_standby_last_remote_wal: u64,
    /// How many commits there have been; all of them have been applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    raft_committed_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raft_applied_index: Option<u64>,
}

impl State {
    /// `GET sys/seal-status`
    pub(super) fn seal_status(&self) -> Answer {
        let phase = self.phase();
        let anew;
        let (seal, kernel) = match &**phase {
            Phase::Blank => (None, None),
            Phase::Sealed(seal) => (Some(seal), None),
            Phase::Open { kernel, seal, .. } => {
                // The key may have been made anew since it was opened.
                anew = kernel.seal_config().unwrap_or_else(|_| seal.clone());
                (Some(&anew), Some(kernel))
            }
        };
        let own_keys = self.facts.keys.is_some();
        let static_seal = seal.map_or(own_keys, |seal| matches!(seal, SealConfig::Static { .. }));
        let Split { shares, threshold } =
            seal.and_then(SealConfig::split).unwrap_or(Split { shares: 0, threshold: 0 });
        let progress = self.progress();
        let status = SealStatus {
            kind: if static_seal { "static" } else { "shamir" },
            initialized: seal.is_some(),
            sealed: kernel.is_none(),
            t: threshold,
            n: shares,
            progress: progress.count(),
            nonce: progress.nonce(),
            recovery_seal: static_seal,
            version: &self.facts.version,
            commit_date: &self.facts.commit_date,
            build_date: &self.facts.commit_date,
            migration: false,
            cluster_name: kernel.map(|kernel| kernel.cluster_name()),
            cluster_id: kernel.map(|kernel| kernel.cluster_id()),
            storage_type: &self.facts.storage_kind,
            recovery_seal_type: (static_seal && seal.is_some()).then_some("shamir"),
        };
        written(200, &status)
    }

    /// `GET sys/leader`
    pub(super) fn leader(&self) -> Answer {
        let phase = self.phase();
        let clusters = self.facts.clusters;
        let (since, index) = match &**phase {
            Phase::Open { since, kernel, .. } => (Some(since), Some(kernel.index())),
            // Who leads a cluster is not known to who is sealed. One alone has nothing to hide.
            _ if clusters => return super::refused(503, "Vault is sealed"),
            _ => (None, None),
        };
        let index = index.filter(|_| clusters);
        let shown = |address| if clusters { address } else { "" };
        let leader = Leader {
            ha_enabled: clusters,
            is_self: clusters,
            active_time: since.filter(|_| clusters).map(|since| since.rfc3339()),
            leader_address: shown(&self.facts.api_addr),
            leader_cluster_address: shown(&self.facts.cluster_addr),
            performance_standby: false,
            performance_standby_last_remote_wal: 0,
            raft_committed_index: index,
            raft_applied_index: index,
        };
        written(200, &leader)
    }

    /// `GET sys/init`
    pub(super) fn initialised(&self) -> Answer {
        let initialised = !matches!(&**self.phase(), Phase::Blank);
        super::bare(200, &serde_json::json!({ "initialized": initialised }))
    }
}

/// Writes down what cannot fail to be written: plain structs of texts and numbers.
pub(super) fn written(status: u16, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            Answer::json(status, body)
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            super::refused(500, "internal error")
        }
    }
}
