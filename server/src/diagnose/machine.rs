//! The machine and the user: files, memory, disk.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::tree::Check;
use crate::config::{Config, Storage};
use crate::http::listener::CONNECTIONS_MAX;
use crate::run::files::RESERVE;

/// A disk with less room than this is full before anybody looks.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Percent of a disk from which on it counts as full.
const FULL_PERCENT: u64 = 95;

pub(super) fn check(config: Option<&Config>) -> Check {
    let mut system = Check::new("Check Operating System");
    let user = system.add(Check::new("Check User"));
    let id = rustix::process::geteuid();
    user.says(format!("Looked as the user with the id {}.", id.as_raw()));
    if id.is_root() {
        user.advises("root may read and write everything: look as the user that the server runs as, for example with sudo -u sealkeep.");
    }
    system.add(open_files());
    system.add(locked_memory());
    for folder in config.map(folders).unwrap_or_default() {
        system.add(disk(&folder));
    }
    system
}

fn open_files() -> Check {
    let mut check = Check::new("Check Open File Limits");
    let limit = getrlimit(Resource::Nofile).maximum;
    let wanted = u64::from(CONNECTIONS_MAX) + RESERVE;
    match limit {
        None => check.says("There is no limit of open files."),
        Some(limit) if limit >= wanted => check.says(format!("Open file limits are set to {limit}.")),
        Some(limit) => {
            let connections = limit.saturating_sub(RESERVE).max(RESERVE);
            check.warns(format!(
                "Open file limits are set to {limit}, which is enough for {connections} connections."
            ));
            check.advises(format!(
                "Raise the hard limit to {wanted}: LimitNOFILE in a unit of systemd, or ulimit -Hn."
            ));
        }
    }
    check
}

fn locked_memory() -> Check {
    let mut check = Check::new("Check Memory Lock");
    match locked::Bytes::zeroed(1) {
        Ok(_page) if locked::all_locked() => check.says("Keys stay out of swap and of core dumps."),
        Ok(_page) => {
            check.warns("The system refuses to lock memory: keys may be written to swap.");
            check.advises(
                "Raise the limit of locked memory: LimitMEMLOCK in a unit of systemd, or ulimit -l.",
            );
        }
        Err(error) => check.fails(format!("The system gives no memory: {error}")),
    }
    check
}

/// Where the server writes.
fn folders(config: &Config) -> Vec<PathBuf> {
    let storage = match &config.storage {
        Storage::Embedded { folder, .. } | Storage::Sled { folder } => Some(folder.clone()),
        Storage::Memory => None,
    };
    let audits = config.audits.iter().filter_map(super::outputs::file_of);
    let logs = config.log.file.iter().cloned();
    let parent = |file: PathBuf| file.parent().map(Path::to_owned);
    let mut found: Vec<PathBuf> = storage.into_iter().chain(audits.chain(logs).filter_map(parent)).collect();
    found.sort();
    found.dedup();
    found
}

fn disk(folder: &Path) -> Check {
    let mut check = Check::new("Check Disk Usage");
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else { return check };
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let stat = match rustix::fs::statvfs(there) {
        Ok(stat) => stat,
        Err(error) => {
            check.warns(format!("{}: how full its disk is cannot be seen: {error}", there.display()));
            return check;
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let whole = stat.f_blocks.saturating_mul(stat.f_frsize).max(1);
    let percent_free = u64::try_from(u128::from(free) * 100 / u128::from(whole)).unwrap_or(100).min(100);
    let used = 100 - percent_free;
    let text = format!("{}: {used} % full, {} MiB free.", there.display(), free >> 20);
    if used >= FULL_PERCENT || free < FREE_BYTES_MIN {
        check.warns(text);
        check.advises("A full disk refuses every write: make room, or take a larger disk.");
    } else {
        check.says(text);
    }
    check
}
