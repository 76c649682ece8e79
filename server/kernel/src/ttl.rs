use std::time::Duration;

use kit::loose::Span;
use kit::{Error, Result, Time};

/// Everything that bounds how long a token or lease may live. Zero stands for "says nothing".
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// What the caller asks for.
    pub(crate) increment: Duration,
    /// What the role or engine says.
    pub(crate) ttl: Duration,
    /// What the role or engine says at most.
    pub(crate) max_ttl: Duration,
    /// Each renewal begins anew for this long.
    pub(crate) period: Duration,
    /// At most, whatever else changes.
    pub(crate) explicit_max_ttl: Duration,
    /// What the mount says.
    pub(crate) mount_ttl: Duration,
    /// What the mount says at most.
    pub(crate) mount_max_ttl: Duration,
}

/// How long from now, and what to warn of.
#[derive(Debug, PartialEq)]
pub(crate) struct Granted {
    pub(crate) ttl: Duration,
    pub(crate) warnings: Vec<String>,
}

impl Bounds {
    /// How long something issued at `issued` may live from `now` on.
    ///
    /// # Errors
    /// If its time is over.
    pub(crate) fn grant(&self, issued: Time, now: Time) -> Result<Granted> {
        let whole = Self {
            increment: whole(self.increment),
            ttl: whole(self.ttl),
            max_ttl: whole(self.max_ttl),
            period: whole(self.period),
            explicit_max_ttl: whole(self.explicit_max_ttl),
            ..*self
        };
        whole.grant_whole(issued, now)
    }

    fn grant_whole(&self, issued: Time, now: Time) -> Result<Granted> {
        // What was issued later than now was issued before the clock was set back.
        let issued = issued.min(now);
        let mut warnings = Vec::new();
        let mut max = self.mount_max_ttl;
        for bound in [self.max_ttl, self.explicit_max_ttl] {
            if !bound.is_zero() {
                max = max.min(bound);
            }
        }
        let (mut ttl, end) = if self.period.is_zero() {
            let ttl = [self.increment, self.ttl, self.mount_ttl].into_iter().find(|ttl| !ttl.is_zero());
            (ttl.unwrap_or(max), Some(issued.plus(max)))
        } else {
            if self.period > max {
                let (period, max) = (short(self.period), short(max));
                warnings.push(format!(
                    "period of {period:?} exceeded the effective max_ttl of {max:?}; period value is capped accordingly"
                ));
            }
            let end = (!self.explicit_max_ttl.is_zero()).then(|| issued.plus(self.explicit_max_ttl));
            (self.period.min(max), end)
        };
        if let Some(end) = end {
            let left = Duration::from_secs(now.truncated().until(end.truncated()).as_secs());
            if left.is_zero() {
                return Err(Error::invalid("past the max TTL, cannot renew"));
            }
            if ttl > left {
                let (asked, within) = (short(ttl), short(left));
                warnings.push(format!(
                    "TTL of {asked:?} exceeded the effective max_ttl of {within:?}; TTL value is capped accordingly"
                ));
                ttl = left;
            }
        }
        Ok(Granted { ttl: Duration::from_secs(ttl.as_secs()), warnings })
    }
}

/// A time in whole seconds, as they are stored: begun ones count, for none would mean no bound, or be over at once.
pub(crate) fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0)))
}

/// A duration as people write it: `768h`, `30m`, `1h30m5s`.
pub(crate) fn short(span: Duration) -> String {
    let mut text = Span(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)).go();
    if text.ends_with("m0s") {
        text.truncate(text.len() - 2);
    }
    if text.ends_with("h0m") {
        text.truncate(text.len() - 2);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[track_caller]
    fn check(bounds: Bounds, age: Duration, expect: Option<(u64, &[&str])>) {
        let mount = Bounds { mount_ttl: HOUR * 768, mount_max_ttl: HOUR * 768, ..bounds };
        let issued = Time::from_seconds(1_000_000);
        let granted = mount.grant(issued, issued.plus(age)).ok();
        let found = granted.as_ref().map(|granted| (granted.ttl.as_secs(), granted.warnings.clone()));
        let expect =
            expect.map(|(ttl, warnings)| (ttl, warnings.iter().map(|&text| text.to_owned()).collect()));
        assert_eq!(found, expect, "{bounds:?} at {age:?}");
    }

    #[test]
    fn begun_seconds_count() {
        for (millis, seconds) in [(0, 0), (1, 1), (500, 1), (1000, 1), (1500, 2)] {
            assert_eq!(whole(Duration::from_millis(millis)), Duration::from_secs(seconds));
        }
        assert_eq!(whole(Duration::MAX), Duration::from_secs(u64::MAX));
    }

    #[test]
    fn bounds_are_kept() {
        let none = Bounds::default();
        check(none, Duration::ZERO, Some((2_764_800, &[])));
        check(Bounds { increment: HOUR, ..none }, Duration::ZERO, Some((3600, &[])));
        check(Bounds { ttl: HOUR * 2, increment: HOUR, ..none }, Duration::ZERO, Some((3600, &[])));
        let warning =
            "TTL of \"9999h\" exceeded the effective max_ttl of \"768h\"; TTL value is capped accordingly";
        check(Bounds { increment: HOUR * 9999, ..none }, Duration::ZERO, Some((2_764_800, &[warning])));
        let warning = "TTL of \"768h\" exceeded the effective max_ttl of \"767h59m59s\"; TTL value is capped accordingly";
        check(none, Duration::from_secs(1), Some((2_764_799, &[warning])));
        check(Bounds { max_ttl: HOUR, increment: HOUR / 2, ..none }, HOUR / 2, Some((1800, &[])));
        check(Bounds { max_ttl: HOUR, ..none }, HOUR, None);
        check(Bounds { period: HOUR, ..none }, HOUR * 10_000, Some((3600, &[])));
        check(Bounds { period: HOUR, explicit_max_ttl: HOUR * 2, ..none }, HOUR * 2, None);
    }
}
