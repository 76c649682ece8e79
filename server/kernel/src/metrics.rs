use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kit::{Time, Verb};

/// What the server counts about its requests. Each count is one atomic addition.
#[derive(Default)]
pub(crate) struct Metrics {
    /// How long requests took, from the first look to the answer.
    pub(crate) requests: Timings,
    /// How long logins took.
    pub(crate) logins: Timings,
    /// How long questions took to be written down, on all devices together.
    pub(crate) questions: Timings,
    /// How long answers took to be.
    pub(crate) answered: Timings,
    /// Questions that no audit device took.
    unasked: AtomicU64,
    /// Answers by verb and by the first digit of their status.
    answers: [[AtomicU64; CLASSES.len()]; VERBS.len()],
    begun: AtomicU64,
    ended: AtomicU64,
    /// Answers that no audit device took.
    unaudited: AtomicU64,
    /// Requests that were over their limit.
    over_quota: AtomicU64,
    clocks_set_back: AtomicU64,
    /// The second in which the log was last told of a write that was refused.
    told: AtomicU64,
}

/// The verbs, as audit calls them.
const VERBS: [(Verb, &str); 6] = [
    (Verb::Get, "read"),
    (Verb::List, "list"),
    (Verb::Scan, "scan"),
    (Verb::Post, "update"),
    (Verb::Patch, "patch"),
    (Verb::Delete, "delete"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The upper bounds of the classes of a duration. What takes longer than the last is in a class of its own.
const BOUNDS: [Duration; 14] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];

/// How long something took, again and again: two atomic additions each time.
#[derive(Default)]
pub(crate) struct Timings {
    classes: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// Timings at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timed {
    /// By upper bound, how many took no longer.
    pub(crate) within: Vec<(Duration, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: Duration,
}

impl Timings {
    pub(crate) fn note(&self, took: Duration) {
        let class = BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn read(&self) -> Timed {
        let mut count = 0;
        let mut upto = |class: &AtomicU64| {
            count += class.load(Relaxed);
            count
        };
        let within =
            BOUNDS.into_iter().zip(&self.classes).map(|(bound, class)| (bound, upto(class))).collect();
        self.classes.last().map(&mut upto);
        Timed { within, count, sum: Duration::from_nanos(self.nanos.load(Relaxed)) }
    }
}

impl Metrics {
    /// A request has come in.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// It is answered.
    pub(crate) fn end(&self, verb: Verb, status: u16) {
        self.ended.fetch_add(1, Relaxed);
        let row = VERBS.iter().position(|(known, _)| *known == verb).and_then(|row| self.answers.get(row));
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = row.and_then(|row| row.get(class)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The clock of the machine was set back.
    pub(crate) fn clock_set_back(&self) {
        self.clocks_set_back.fetch_add(1, Relaxed);
    }

    /// How often the clock of the machine was set back.
    pub(crate) fn clocks_set_back(&self) -> u64 {
        self.clocks_set_back.load(Relaxed)
    }

    /// A question could not be audited.
    pub(crate) fn unasked(&self) {
        self.unasked.fetch_add(1, Relaxed);
    }

    /// How many questions could not be audited.
    pub(crate) fn unasked_count(&self) -> u64 {
        self.unasked.load(Relaxed)
    }

    /// Whether the log is told of a write that was refused: of one a second. Clients try again, and the log may lie on the disk that
    /// is full.
    pub(crate) fn tells(&self, now: Time) -> bool {
        // Zero is no second in which anything was told.
        let second = now.seconds().saturating_add(1);
        self.told.swap(second, Relaxed) != second
    }

    /// An answer could not be audited.
    pub(crate) fn unaudited(&self) {
        self.unaudited.fetch_add(1, Relaxed);
    }

    /// A request was over its limit.
    pub(crate) fn over_quota(&self) {
        self.over_quota.fetch_add(1, Relaxed);
    }

    /// How many requests were over their limit.
    pub(crate) fn over_quota_count(&self) -> u64 {
        self.over_quota.load(Relaxed)
    }

    /// How many answers could not be audited.
    pub(crate) fn unaudited_count(&self) -> u64 {
        self.unaudited.load(Relaxed)
    }

    /// How many requests are being answered.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.ended.load(Relaxed);
        self.begun.load(Relaxed).saturating_sub(ended)
    }

    /// How many answers there were, by verb and class of status; those that never were are left out.
    pub(crate) fn answers(&self) -> Vec<(&'static str, &'static str, u64)> {
        let rows = VERBS.iter().zip(&self.answers);
        let cells = rows.flat_map(|((_, verb), row)| {
            CLASSES.iter().zip(row).map(|(class, count)| (*verb, *class, count))
        });
        cells
            .map(|(verb, class, count)| (verb, class, count.load(Relaxed)))
            .filter(|(.., count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_fall_into_classes() {
        let timings = Timings::default();
        for micros in [0, 50, 51, 1_000, 10_000_001] {
            timings.note(Duration::from_micros(micros));
        }
        let Timed { within, count, sum } = timings.read();
        assert_eq!((count, sum), (5, Duration::from_micros(10_001_102)));
        let upto = |bound| within.iter().find(|(known, _)| *known == bound).map(|(_, count)| *count);
        assert_eq!(upto(Duration::from_micros(50)), Some(2));
        assert_eq!(upto(Duration::from_micros(100)), Some(3));
        assert_eq!(upto(Duration::from_millis(1)), Some(4));
        assert_eq!(upto(Duration::from_secs(10)), Some(4));
    }

    #[test]
    fn the_log_is_told_once_a_second() {
        let metrics = Metrics::default();
        let told =
            [0, 0, 999, 1_000, 1_999, 2_000, 61_000].map(|milli| metrics.tells(Time(milli * 1_000_000)));
        assert_eq!(told, [true, false, false, true, false, true, true]);
    }

    #[test]
    fn answers_are_counted_by_verb_and_class() {
        let metrics = Metrics::default();
        for (verb, status) in
            [(Verb::Get, 200), (Verb::Get, 204), (Verb::Get, 404), (Verb::Post, 500), (Verb::Get, 900)]
        {
            metrics.begin();
            metrics.end(verb, status);
        }
        metrics.begin();
        assert_eq!(metrics.in_flight(), 1);
        assert_eq!(metrics.answers(), [("read", "2xx", 2), ("read", "4xx", 1), ("update", "5xx", 1)]);
    }
}
