//! Moments, to the millisecond: what schedules count in.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Moment(i64);

impl Moment {
    pub(crate) fn from_millis(millis: i64) -> Moment {
        Moment(millis)
    }

    pub(crate) fn from_seconds(seconds: i64) -> Moment {
        Moment(seconds.saturating_mul(1000))
    }

    pub(crate) fn millis(self) -> i64 {
        self.0
    }

    pub(crate) fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub(crate) fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(span)))
    }

    pub(crate) fn minus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(span)))
    }

    /// The same as text, with so many digits of the second's fraction.
    pub(crate) fn precise(self, digits: usize) -> String {
        let fraction = format!("{:03}{:0<6}", self.0.rem_euclid(1000), "");
        let fraction = fraction.get(..digits).unwrap_or(&fraction);
        self.to_string().replace('Z', &format!(".{fraction}Z"))
    }

    /// How long after `earlier` this is; nothing if it is before.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match time::OffsetDateTime::from_unix_timestamp(self.seconds()) {
            Ok(t) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                t.year(),
                u8::from(t.month()),
                t.day(),
                t.hour(),
                t.minute(),
                t.second()
            ),
            Err(_) => f.write_str("an impossible moment"),
        }
    }
}
