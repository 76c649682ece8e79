//! What goes wrong again and again, said in a log that people still want to read: once, when it is something else, and at
//! widening intervals while it stays.

use std::time::Duration;

use super::moment::Moment;

/// What stays wrong is said again after this, and then after twice as long each time,
const AGAIN_FIRST: Duration = Duration::from_secs(600);
/// but at least so often.
const AGAIN_LAST: Duration = Duration::from_secs(24 * 3600);
/// Reasons that take turns are no news either; so many are known.
const REASONS_MAX: usize = 8;

/// What was said of one thing since it went well last.
#[derive(Default)]
pub(crate) struct Repeats {
    said: Vec<Said>,
}

struct Said {
    reason: String,
    at: Moment,
    pause: Duration,
}

impl Repeats {
    /// Whether this is to be said now.
    pub(crate) fn is_news(&mut self, reason: &str, now: Moment) -> bool {
        if let Some(said) = self.said.iter_mut().find(|said| said.reason == reason) {
            let due = now.since(said.at) >= said.pause;
            if due {
                said.at = now;
                said.pause = (said.pause * 2).min(AGAIN_LAST);
            }
            return due;
        }
        if self.said.len() >= REASONS_MAX {
            self.said.remove(0);
        }
        self.said.push(Said { reason: reason.to_owned(), at: now, pause: AGAIN_FIRST });
        true
    }

    /// It went well: whatever comes next is news.
    pub(crate) fn over(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_wrong_is_said_at_widening_intervals() {
        let mut repeats = Repeats::default();
        let mut said = Vec::new();
        for minute in 0..7 * 24 * 60 {
            let reason = if minute % 2 == 0 { "refused" } else { "timed out" };
            if repeats.is_news(reason, Moment::from_seconds(minute * 60)) && minute % 2 == 0 {
                said.push(minute);
            }
        }
        assert_eq!(said, [0, 10, 30, 70, 150, 310, 630, 1270, 2550, 3990, 5430, 6870, 8310, 9750]);
        assert!(repeats.is_news("denied", Moment::from_seconds(0)), "something else is news");
        repeats.over();
        assert!(repeats.is_news("refused", Moment::from_seconds(0)), "it had gone well in between");
    }
}
