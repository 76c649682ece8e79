//! What the agent knows of one certificate, kept beside it, so that a restart changes neither schedule nor duties.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    disk::{self, Disk},
    moment::Moment,
    schedule::{Life, Window},
};

const VERSION: u32 = 1;
const FILE: &str = "state.json";
const MODE: u32 = 0o600;

/// The state of one certificate. It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) name: String,
    /// The number of the newest pair ever begun.
    pub(crate) number: u64,
    /// The newest pair.
    pub(crate) held: Option<Held>,
    /// The pair that the service was last seen with before, kept to go back to.
    pub(crate) earlier: Option<Held>,
    /// Whether the service shows the newest pair, as far as that can be checked.
    pub(crate) delivered: bool,
    pub(crate) renew_at: Moment,
    /// Nothing is tried before this moment.
    pub(crate) try_at: Moment,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) last_success: Option<Moment>,
    pub(crate) last_error: Option<Mistake>,
    pub(crate) served: Vec<Seen>,
    /// When the service is looked at next.
    pub(crate) watch_at: Moment,
    /// When the CA is asked next when it wants a renewal.
    pub(crate) ask_at: Moment,
    pub(crate) window: Option<Window>,
    /// Whether the key of the newest pair was used before.
    pub(crate) key_reused: bool,
    /// Whether the newest pair was obtained because the CA wished it, and the CA has not been content since.
    #[serde(default)]
    pub(crate) wished: bool,
    /// Whether the CA wants the newest pair replaced now.
    #[serde(default)]
    pub(crate) wanted: bool,
    /// When the server's inventory is told next.
    #[serde(default)]
    pub(crate) report_at: Moment,
    /// When it was told last.
    #[serde(default)]
    pub(crate) last_report: Option<Moment>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) number: u64,
    pub(crate) serial: String,
    /// When it was obtained: its life counts from here, as CAs date certificates back.
    pub(crate) obtained: Moment,
    pub(crate) not_after: Moment,
    /// The first end in the chain and the anchors.
    pub(crate) bundle_not_after: Option<Moment>,
    /// What the CA calls it when asked for its renewal window.
    pub(crate) ari_id: Option<String>,
    /// SHA-256 of the CAs beside it, as the server knows bundles.
    #[serde(default)]
    pub(crate) bundle: Option<String>,
    /// Whether the CA wanted it replaced at once when it was.
    #[serde(default)]
    pub(crate) unwanted: bool,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mistake {
    pub(crate) at: Moment,
    pub(crate) text: String,
}

/// A place where the service was seen with a certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) address: String,
    pub(crate) serial: String,
    pub(crate) at: Moment,
}

impl Held {
    pub(crate) fn life(&self) -> Life {
        Life { from: self.obtained, until: self.not_after }
    }
}

impl Record {
    pub(crate) fn new(name: &str) -> Record {
        Record { version: VERSION, name: name.to_owned(), ..Record::default() }
    }

    /// Reads the record of a folder. One that is gone or damaged is begun anew: what it says can be had again.
    pub(crate) fn load(disk: &dyn Disk, folder: &Path, name: &str) -> Record {
        let read = disk.read(&folder.join(FILE)).ok();
        let parsed = read.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        parsed.filter(|record| record.version == VERSION).unwrap_or_else(|| Record::new(name))
    }

    pub(crate) fn save(&self, disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?;
        disk::replace(disk, &folder.join(FILE), &bytes, MODE)
    }

    /// The pairs that must stay on the disk.
    pub(crate) fn needed(&self) -> Vec<u64> {
        self.held.iter().chain(&self.earlier).map(|held| held.number).collect()
    }
}
