//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the store, audit devices, logs, and calls to other systems.
pub(crate) const RESERVE: u64 = 128;

/// Takes as many as the system allows: what a shell gives at first is for programs that have a few. Tells for how many
/// connections that is.
pub(crate) fn take() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile)
        .current
        .map_or(u64::MAX, |current| current.saturating_sub(RESERVE).max(RESERVE))
}
