//! The one clock, and the one source of randomness. Everything below the server gets time in a context.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use kit::Time;

/// The time of day.
pub(crate) fn now() -> Time {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// How long this process has been up. Not moved by whoever sets the time of day.
pub(crate) fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    let now = Instant::now();
    now.duration_since(*START.get_or_init(|| now))
}
