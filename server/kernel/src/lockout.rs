use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::Time;

use crate::mounts::Mounted;
use crate::settings::Lockout;

/// Failed logins by mount and name. Soft by design: a restart forgets them. Bounded: when there is no room
/// the quietest are forgotten.
#[derive(Default)]
pub(crate) struct Lockouts {
    failures: Mutex<HashMap<(String, String), Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u64,
    last: Time,
}

/// How many names are remembered.
const NAMES_MAX: usize = 65_536;
/// The methods for which a name can be locked out.
const METHODS: [&str; 3] = ["userpass", "ldap", "approle"];

/// When a mount locks a name out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    pub(crate) threshold: u64,
    pub(crate) duration: Duration,
    pub(crate) reset: Duration,
}

impl Rule {
    /// The rule for a mount: its own, else the configuration's, else five failures in a quarter of an hour.
    pub(crate) fn of(mounted: &Mounted, configured: &[Lockout]) -> Option<Self> {
        let kind = mounted.entry.kind.as_str();
        if !METHODS.contains(&kind) {
            return None;
        }
        let quarter = Duration::from_secs(900);
        let mut rule = Self { threshold: 5, duration: quarter, reset: quarter };
        let mut off = false;
        for wide in ["all", kind] {
            for lockout in configured.iter().filter(|lockout| lockout.method == wide) {
                off = lockout.disabled;
                rule.threshold = lockout.threshold.map_or(rule.threshold, u64::from);
                rule.duration = lockout.duration.unwrap_or(rule.duration);
                rule.reset = lockout.counter_reset.unwrap_or(rule.reset);
            }
        }
        if let Some(own) = &mounted.entry.config.user_lockout_config {
            let seconds = |own: u64, other| if own == 0 { other } else { Duration::from_secs(own) };
            off = own.lockout_disable;
            rule.threshold = if own.lockout_threshold == 0 { rule.threshold } else { own.lockout_threshold };
            rule.duration = seconds(own.lockout_duration, rule.duration);
            rule.reset = seconds(own.lockout_counter_reset_duration, rule.reset);
        }
        (!off && rule.threshold > 0).then_some(rule)
    }
}

impl Lockouts {
    /// Whether a name is locked out now. It is asked for only where some have failed.
    pub(crate) fn locked(&self, accessor: &str, who: impl FnOnce() -> String, rule: Rule, now: Time) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if failures.is_empty() { None } else { failures.get(&(accessor.to_owned(), who())) };
        known.is_some_and(|known| known.count >= rule.threshold && known.last.until(now) < rule.duration)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, accessor: &str, who: &str, rule: Rule, now: Time) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= NAMES_MAX {
            let oldest = failures.values().map(|known| known.last).min().unwrap_or_default();
            failures.retain(|_, known| known.last > oldest);
        }
        let known =
            failures.entry((accessor.to_owned(), who.to_owned())).or_insert(Failures { count: 0, last: now });
        if known.last.until(now) >= rule.reset {
            known.count = 0;
        }
        *known = Failures { count: known.count + 1, last: now };
    }

    /// Forgets the failures of a name: it has come in, or an operator says so. It is asked for only where some have failed.
    pub(crate) fn clear(&self, accessor: &str, who: impl FnOnce() -> String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !failures.is_empty() {
            failures.remove(&(accessor.to_owned(), who()));
        }
    }

    /// Every name that is locked out, by mount accessor.
    pub(crate) fn all(&self) -> Vec<(String, String, u64, Time)> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .iter()
            .map(|((accessor, who), known)| (accessor.clone(), who.clone(), known.count, known.last))
            .collect()
    }
}
