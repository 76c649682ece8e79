//! When to renew, and how long to wait after a failure. Pure: the clock and the dice are arguments.

use std::time::Duration;

use super::moment::Moment;

/// Below this a certificate is renewed at half its life, above it at two thirds.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 3600);
/// Renewals are spread over this share of the life, and only towards earlier.
const SPREAD_SHARE: f64 = 0.05;
/// No budget makes an agent renew before this share of the life has passed.
const EARLIEST_SHARE: f64 = 0.10;
/// Not even the CA's wish makes an agent renew before this share: one that always wishes must not be asked without end.
const EARLIEST_WISH_SHARE: f64 = 0.01;
/// The ceiling of the first wait after a failure; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The highest ceiling, while the certificate still has a long time.
const BACKOFF_CEILING: Duration = Duration::from_secs(300);
/// The highest ceiling when time is short or over: then somebody is waiting.
const BACKOFF_CEILING_URGENT: Duration = Duration::from_secs(30);
/// The first wait before a service is told again; it doubles.
const REDELIVERY_FIRST: Duration = Duration::from_secs(15);
/// Two tries are never closer than this.
const BACKOFF_FLOOR: Duration = Duration::from_millis(100);
/// A server that names a longer pause is asked again after this one.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(3600);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
}

/// When the CA wants the renewal to happen (RFC 9773).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Window {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

impl Life {
    pub(crate) fn length(self) -> Duration {
        self.until.since(self.from)
    }

    fn share(self, share: f64) -> Duration {
        self.length().mul_f64(share)
    }

    /// The latest moment at which to renew: two thirds of the life (half of a short one), or earlier, so that an outage of
    /// `survive` that begins then ends before the certificate does.
    pub(crate) fn latest_renewal(self, survive: Duration) -> Moment {
        let share = if self.length() < SHORT_LIFE { 1.0 / 2.0 } else { 2.0 / 3.0 };
        let nominal = self.from.plus(self.share(share));
        nominal.min(self.until.minus(survive)).max(self.earliest_renewal())
    }

    fn earliest_renewal(self) -> Moment {
        self.from.plus(self.share(EARLIEST_SHARE))
    }

    /// The earliest moment at which a wish of the CA is followed.
    pub(crate) fn earliest_wish(self) -> Moment {
        self.from.plus(self.share(EARLIEST_WISH_SHARE))
    }

    /// The moment of this agent: `chance` in [0, 1) spreads agents evenly, none later than the latest moment.
    pub(crate) fn renewal(self, survive: Duration, chance: f64) -> Moment {
        let latest = self.latest_renewal(survive);
        latest.minus(self.share(SPREAD_SHARE).mul_f64(chance)).max(self.earliest_renewal())
    }

    /// Whether a renewal of this life leaves the outage budget.
    pub(crate) fn survives(self, survive: Duration) -> bool {
        self.length() >= life_needed(survive)
    }
}

impl Window {
    /// The moment of this agent, evenly within the window; one that is over means now.
    pub(crate) fn renewal(self, chance: f64) -> Moment {
        self.start.plus(self.end.since(self.start).mul_f64(chance))
    }
}

/// How long a certificate must live so that every agent, also the one that renews earliest, has this outage budget.
pub(crate) fn life_needed(survive: Duration) -> Duration {
    let seconds = survive.as_secs_f64() / (1.0 - SPREAD_SHARE - EARLIEST_SHARE);
    Duration::from_secs(seconds.ceil() as u64)
}

/// How long to wait after the `failures`th failure in a row, with `left` of the certificate's life: anything up to a
/// ceiling that doubles ("full jitter"), so that thousands who failed together do not come back together.
pub(crate) fn backoff(failures: u32, left: Duration, chance: f64) -> Duration {
    let highest = (left / 10).clamp(BACKOFF_CEILING_URGENT, BACKOFF_CEILING);
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(highest).mul_f64(chance).max(BACKOFF_FLOOR)
}

/// How long to wait before a service that did not take its certificate is told again. Reloads cost a service something,
/// and what is wrong with it is put right by people: seconds do not matter.
pub(crate) fn redelivery(failures: u32, left: Duration, chance: f64) -> Duration {
    let highest = (left / 10).clamp(BACKOFF_CEILING_URGENT, BACKOFF_CEILING);
    let doubled = REDELIVERY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(highest).mul_f64(0.5 + chance / 2.0)
}

/// The wait when the server itself named one, but never so long that the certificate dies meanwhile.
pub(crate) fn asked_pause(asked: Duration, left: Duration) -> Duration {
    asked.min(PAUSE_ASKED_MAX).min((left / 2).max(BACKOFF_CEILING_URGENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn life(length: Duration) -> Life {
        let from = Moment::from_seconds(1_800_000_000);
        Life { from, until: from.plus(length) }
    }

    /// R5 and R6: the earliest and the latest renewal, in hours of life, of `length` with the budget `survive`.
    #[track_caller]
    fn check(length: Duration, survive: Duration, earliest: f64, latest: f64) {
        let life = life(length);
        let hours = |moment: Moment| moment.since(life.from).as_secs_f64() / 3600.0;
        let (soon, late) = (hours(life.renewal(survive, 0.999_999)), hours(life.renewal(survive, 0.0)));
        assert!((soon - earliest).abs() < 0.02 && (late - latest).abs() < 0.02, "{soon} {late}");
        assert_eq!(
            life.latest_renewal(survive),
            life.renewal(survive, 0.0),
            "never later than the nominal point"
        );
        assert_eq!(life.survives(survive), length.as_secs_f64() * 0.85 >= survive.as_secs_f64() - 1.0);
        if life.survives(survive) {
            assert!(life.until.since(life.renewal(survive, 0.0)) >= survive, "the budget is there");
        }
    }

    #[test]
    fn lives_and_budgets() {
        check(24 * HOUR, Duration::ZERO, 10.8, 12.0);
        check(90 * DAY, Duration::ZERO, 1332.0, 1440.0);
        check(9 * DAY, Duration::ZERO, 97.2, 108.0);
        check(10 * DAY, Duration::ZERO, 148.0, 160.0);
        // 12 of 24 hours are there by themselves; 18 want a renewal after 6; 20.4 are all that 24 hours can give.
        check(24 * HOUR, 12 * HOUR, 10.8, 12.0);
        check(24 * HOUR, 18 * HOUR, 4.8, 6.0);
        check(100 * HOUR, 85 * HOUR, 10.0, 15.0);
        // What cannot be had is not forced by renewing without end.
        check(24 * HOUR, 72 * HOUR, 2.4, 2.4);
        check(90 * DAY, 40 * DAY, 1092.0, 1200.0);
    }

    #[test]
    fn the_life_that_a_budget_needs_is_enough_and_no_less_is() {
        for hours in [1, 12, 72, 24 * 30] {
            let needed = life_needed(hours * HOUR);
            assert!(life(needed).survives(hours * HOUR));
            assert!(!life(needed - Duration::from_secs(2)).survives(hours * HOUR), "{hours}");
        }
        assert_eq!(life_needed(72 * HOUR).as_secs(), 304_942);
    }

    #[test]
    fn waits_double_up_to_their_ceiling_and_never_end() {
        let most = |failures, left| backoff(failures, left, 0.999_999).as_secs_f64().round() as u64;
        assert_eq!([1, 2, 3, 9, 10, 1000].map(|n| most(n, 24 * HOUR)), [1, 2, 4, 256, 300, 300]);
        assert_eq!(most(30, 20 * 60 * Duration::from_secs(1)), 120, "a tenth of what is left");
        assert_eq!(most(30, Duration::ZERO), 30, "after the end somebody waits");
        assert_eq!(backoff(5, DAY, 0.0), BACKOFF_FLOOR);
    }

    #[test]
    fn a_service_is_told_again_after_a_while() {
        let waits = |failures, left| {
            [0.0, 1.0].map(|chance| redelivery(failures, left, chance).as_secs_f64().round() as u64)
        };
        assert_eq!([waits(1, DAY), waits(3, DAY), waits(50, DAY)], [[8, 15], [30, 60], [150, 300]]);
        assert_eq!(waits(50, Duration::ZERO), [15, 30]);
    }

    #[test]
    fn a_pause_that_the_server_names_is_kept_unless_it_kills() {
        assert_eq!(asked_pause(120 * Duration::from_secs(1), DAY), Duration::from_secs(120));
        assert_eq!(asked_pause(DAY, 10 * DAY), HOUR);
        assert_eq!(asked_pause(HOUR, HOUR), HOUR / 2);
    }

    #[test]
    fn a_window_of_the_ca_is_used_whole() {
        let (start, end) = (Moment::from_seconds(100), Moment::from_seconds(200));
        let window = Window { start, end };
        assert_eq!([0.0, 0.5].map(|chance| window.renewal(chance).seconds()), [100, 150]);
    }
}
