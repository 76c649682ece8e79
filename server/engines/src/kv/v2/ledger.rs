use std::collections::BTreeMap;
use std::time::Duration;

use kit::Time;
use kit::loose::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{After, Config};

/// How many versions are kept where nobody says otherwise.
const VERSIONS_DEFAULT: u64 = 10;

/// What there is to know of a secret, its data aside.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(in super::super) struct Ledger {
    pub(super) created: Time,
    pub(super) updated: Time,
    /// The number of the last version; 0 before the first.
    pub(in super::super) current: u64,
    /// The lowest number that was not pruned; 0 until something was.
    pub(super) oldest: u64,
    /// The versions by number.
    pub(in super::super) versions: BTreeMap<u64, Written>,
    pub(super) settings: Settings,
    /// What users wrote down about it.
    pub(super) custom: BTreeMap<String, String>,
    /// How often the settings were changed.
    pub(super) revision: u64,
}

/// One version.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(in super::super) struct Written {
    pub(in super::super) created: Time,
    /// When it was or will be deleted; 0: never.
    pub(in super::super) deleted: Time,
    pub(in super::super) destroyed: bool,
}

/// What a secret asks for itself, beside what the mount asks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) max_versions: u64,
    pub(super) cas_required: bool,
    pub(super) metadata_cas_required: bool,
    pub(super) delete_version_after: Duration,
}

impl Written {
    /// It cannot be read any more.
    pub(super) fn is_gone(&self, now: Time) -> bool {
        self.destroyed || (self.deleted.0 != 0 && self.deleted <= now)
    }
}

impl Ledger {
    /// The ledger of what was written before the mount had versions.
    pub(in super::super) fn of_unversioned(written: Time) -> Self {
        let first = Written { created: written, ..Written::default() };
        Self {
            created: written,
            updated: written,
            current: 1,
            oldest: 1,
            versions: BTreeMap::from([(1, first)]),
            ..Self::default()
        }
    }

    /// The ledger of what is about to be written.
    pub(super) fn new(now: Time) -> Self {
        Self { created: now, updated: now, ..Self::default() }
    }

    /// Enters the next version, and takes out what is now one too many: their numbers.
    pub(super) fn enter(&mut self, config: &Config, now: Time) -> Vec<u64> {
        self.current += 1;
        self.updated = now;
        let version = Written { created: now, deleted: self.deletion(config, now), destroyed: false };
        self.versions.insert(self.current, version);
        let kept = match self.settings.max_versions.max(config.max_versions) {
            0 => VERSIONS_DEFAULT,
            kept => kept,
        };
        let Some(last_pruned) = self.current.checked_sub(kept).filter(|last| *last > 0) else {
            return Vec::new();
        };
        self.oldest = last_pruned + 1;
        let kept = self.versions.split_off(&self.oldest);
        std::mem::replace(&mut self.versions, kept).into_keys().collect()
    }

    /// When a version that is written or brought back now is to be deleted; 0: never.
    pub(super) fn deletion(&self, config: &Config, now: Time) -> Time {
        let own = self.settings.delete_version_after;
        let after = match config.delete_version_after {
            After::Never => return Time(0),
            After::Unset => own,
            After::Span(mount) if own.is_zero() => mount,
            After::Span(mount) => mount.min(own),
        };
        if after.is_zero() { Time(0) } else { now.plus(after) }
    }

    /// What data reads and writes show of a version.
    pub(in super::super) fn shown(&self, number: u64) -> Shown {
        let version = self.versions.get(&number).copied().unwrap_or_default();
        Shown {
            created_time: version.created.rfc3339(),
            custom_metadata: self.shown_custom(),
            deletion_time: moment(version.deleted),
            destroyed: version.destroyed,
            version: number,
        }
    }

    /// What the metadata routes show.
    pub(super) fn metadata(&self) -> Metadata {
        let versions = self.versions.iter().map(|(number, version)| {
            let shown = ShownVersion {
                created_time: version.created.rfc3339(),
                deletion_time: moment(version.deleted),
                destroyed: version.destroyed,
            };
            (number.to_string(), shown)
        });
        let after = i64::try_from(self.settings.delete_version_after.as_nanos()).unwrap_or(i64::MAX);
        Metadata {
            cas_required: self.settings.cas_required,
            created_time: self.created.rfc3339(),
            current_metadata_version: self.revision,
            current_version: self.current,
            custom_metadata: self.shown_custom(),
            delete_version_after: Span(after).go(),
            max_versions: self.settings.max_versions,
            metadata_cas_required: self.settings.metadata_cas_required,
            oldest_version: self.oldest,
            updated_time: self.updated.rfc3339(),
            versions: versions.collect(),
        }
    }

    fn shown_custom(&self) -> Option<BTreeMap<String, String>> {
        Some(self.custom.clone()).filter(|custom| !custom.is_empty())
    }
}

fn moment(time: Time) -> String {
    if time.0 == 0 { String::new() } else { time.rfc3339() }
}

/// One version, as data reads and writes show it.
#[derive(JsonSchema, Serialize)]
pub(in super::super) struct Shown {
    /// When it was written.
    created_time: String,
    /// What users wrote down about the secret.
    custom_metadata: Option<BTreeMap<String, String>>,
    /// When it was or will be deleted; empty: never.
    deletion_time: String,
    /// Its data is no more.
    destroyed: bool,
    /// Its number.
    version: u64,
}

/// A secret, as the metadata routes show it.
#[derive(JsonSchema, Serialize)]
pub(super) struct Metadata {
    /// Every write has to name the version it supersedes.
    cas_required: bool,
    /// When it was first written.
    created_time: String,
    /// How often its settings were changed.
    current_metadata_version: u64,
    /// The number of the last version.
    current_version: u64,
    /// What users wrote down about it.
    custom_metadata: Option<BTreeMap<String, String>>,
    /// How long a version lives.
    delete_version_after: String,
    /// How many versions are kept; 0: as the mount says.
    max_versions: u64,
    /// Every change of the settings has to name the revision it supersedes.
    metadata_cas_required: bool,
    /// The lowest version that was not pruned.
    oldest_version: u64,
    /// When it was last written or its settings changed.
    updated_time: String,
    /// The versions by number.
    versions: BTreeMap<String, ShownVersion>,
}

#[derive(JsonSchema, Serialize)]
struct ShownVersion {
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[track_caller]
    fn check_deletion(mount: After, own: Duration, expect: u64) {
        let config = Config { delete_version_after: mount, ..Config::default() };
        let settings = Settings { delete_version_after: own, ..Settings::default() };
        let ledger = Ledger { settings, ..Ledger::default() };
        let due = if expect == 0 { Time(0) } else { Time::from_seconds(1000 + expect) };
        assert_eq!(ledger.deletion(&config, Time::from_seconds(1000)), due);
    }

    #[test]
    fn the_shorter_life_counts() {
        check_deletion(After::Unset, seconds(0), 0);
        check_deletion(After::Unset, seconds(5), 5);
        check_deletion(After::Span(seconds(10)), seconds(0), 10);
        check_deletion(After::Span(seconds(10)), seconds(5), 5);
        check_deletion(After::Span(seconds(10)), seconds(20), 10);
        check_deletion(After::Never, seconds(5), 0);
    }

    #[track_caller]
    fn check_pruning(mount: u64, own: u64, writes: u64, oldest: u64, left: u64) {
        let config = Config { max_versions: mount, ..Config::default() };
        let settings = Settings { max_versions: own, ..Settings::default() };
        let mut ledger = Ledger { settings, ..Ledger::default() };
        let pruned: Vec<u64> = (0..writes).flat_map(|_| ledger.enter(&config, Time(1))).collect();
        assert_eq!(pruned, (1..oldest.max(1)).collect::<Vec<_>>());
        assert_eq!((ledger.oldest, ledger.versions.len() as u64), (oldest, left));
    }

    #[test]
    fn the_larger_count_of_versions_is_kept() {
        check_pruning(0, 0, 10, 0, 10);
        check_pruning(0, 0, 11, 2, 10);
        check_pruning(5, 2, 7, 3, 5);
        check_pruning(1, 3, 8, 6, 3);
        check_pruning(0, 1, 2, 2, 1);
    }
}
