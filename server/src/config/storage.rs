use std::path::PathBuf;

use super::environment::Environment;
use super::nearest::nearest;
use super::section::Section;

/// Where the data lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Storage {
    /// The embedded durable store, in this folder. `storage_type` shows the name under which it was asked for.
    Embedded {
        /// `raft` or `file`.
        called: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// sled, in this folder.
    Sled {
        /// The folder.
        folder: PathBuf,
    },
    /// Nowhere: gone when the server stops.
    Memory,
}

const KINDS: [&str; 4] = ["raft", "file", "sled", "inmem"];

/// Settings of a cluster that a single node has no use for.
const RAFT_TUNING: [&str; 8] = [
    "performance_multiplier",
    "trailing_logs",
    "snapshot_threshold",
    "snapshot_interval",
    "max_entry_size",
    "max_transaction_size",
    "autopilot_reconcile_interval",
    "autopilot_update_interval",
];

/// `storage "TYPE" { … }`, or `backend` as it was once called. Without an answer, an error has been noted.
pub(super) fn read(section: &Section<'_>, environment: &Environment) -> Option<Storage> {
    section.ignore(&["ha_storage", "ha_backend"], "the storage locks its folder by itself");
    let mut blocks = section.blocks("storage", 1);
    blocks.extend(section.blocks("backend", 1));
    let mut blocks = blocks.into_iter();
    let Some(block) = blocks.next() else {
        section.error(
            "storage",
            "no storage: add storage \"raft\" { path = \"/var/lib/sealkeep\"  node_id = \"n1\" }",
        );
        return None;
    };
    for second in blocks {
        second.section.error("path", "there is a storage already: keep one of the two");
        second.section.ignore(&[], "");
    }
    let kind = block.labels.first().copied().unwrap_or_default();
    let store = block.section;
    let folder = |variables: &[&str]| {
        let path = store.setting("path", environment, variables);
        if path.is_none() {
            store.error("path", "say where the data shall lie: path = \"/var/lib/sealkeep\"");
        }
        path.map(PathBuf::from)
    };
    let storage = match kind {
        "raft" => {
            let folder = folder(&["RAFT_PATH"]);
            // Kept for the day on which this node gets neighbours.
            let _ = store.text("node_id");
            let one_node = "this version runs as one node, which needs nobody to join; its data will grow into a cluster";
            store.refuse(&["retry_join", "retry_join_as_non_voter"], one_node);
            store.ignore(&RAFT_TUNING, "there is one node for now");
            folder.map(|folder| Storage::Embedded { called: "raft", folder })
        }
        "file" => folder(&[]).map(|folder| Storage::Embedded { called: "file", folder }),
        "sled" => folder(&[]).map(|folder| Storage::Sled { folder }),
        "inmem" | "inmem_transactional" | "inmem_ha" => Some(Storage::Memory),
        other => {
            let guess =
                nearest(other, KINDS).map_or(String::new(), |kind| format!(" Did you mean \"{kind}\"?"));
            let text = format!("there is no storage \"{other}\": take {}.{guess}", KINDS.join(", "));
            store.error("path", &text);
            return None;
        }
    };
    store.close();
    storage
}
