use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since 1970. The only time an engine knows; it comes with the request. It follows the clock of the
/// machine, also where that is set back: what is kept may be dated later than now.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Time(pub u64);

const NANOS: u64 = 1_000_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Time {
    /// The start of a second since 1970.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOS))
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS
    }

    /// This moment with its fraction of a second cut off.
    pub const fn truncated(self) -> Self {
        Self(self.0 - self.0 % NANOS)
    }

    /// The moment `span` later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment `span` earlier, 1970 at the earliest.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it is until `later`; nothing if that is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }

    /// RFC 3339 in UTC, with as many digits of a second as are not zero: `2026-11-26T15:22:27.5Z`.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .ok()
            .and_then(|date| date.format(&Rfc3339).ok())
            .unwrap_or_default()
    }

    /// As headers of HTTP write it (RFC 9110 §5.6.7): `Thu, 26 Nov 2026 15:22:27 GMT`.
    pub fn http(self) -> String {
        let Ok(date) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)) else {
            return String::new();
        };
        let (weekday, month) = (date.weekday().to_string(), date.month().to_string());
        let short = |name: &str| name.chars().take(3).collect::<String>();
        let (hour, minute, second) = date.to_hms();
        format!(
            "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
            short(&weekday),
            date.day(),
            short(&month),
            date.year()
        )
    }

    /// Reads a date as headers of HTTP write it; of its three spellings the one that is not obsolete, with `UTC` for `GMT` too.
    pub fn parse_http(text: &str) -> Option<Self> {
        let text = text.strip_suffix(" GMT").or_else(|| text.strip_suffix(" UTC"))?;
        let [_, day, month, year, clock] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        let date = Self::parse(&format!("{year}-{month:02}-{day:0>2}T{clock}Z"))?;
        date.http().starts_with(text).then_some(date)
    }

    /// Reads RFC 3339, or seconds since 1970.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Self::from_seconds(seconds));
        }
        let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(date.unix_timestamp_nanos()).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_225_600_500_000_000, "2026-01-01T00:00:00.5Z"),
            (1_767_225_600_000_000_001, "2026-01-01T00:00:00.000000001Z"),
        ] {
            assert_eq!(Time(nanos).rfc3339(), text);
            assert_eq!(Time::parse(text), Some(Time(nanos)));
        }
        assert_eq!(Time(1_795_706_547_500_000_000).http(), "Thu, 26 Nov 2026 15:22:27 GMT");
        let date = Time::from_seconds(1_795_706_547);
        for text in ["Thu, 26 Nov 2026 15:22:27 GMT", "Thu, 26 Nov 2026 15:22:27 UTC"] {
            assert_eq!(Time::parse_http(text), Some(date));
        }
        for text in [
            "",
            "GMT",
            "1795706547",
            "Fri, 26 Nov 2026 15:22:27 GMT",
            "Thu, 31 Feb 2026 15:22:27 GMT",
            "2026-11-26T15:22:27Z",
        ] {
            assert_eq!(Time::parse_http(text), None, "{text}");
        }
        assert_eq!(Time::parse("1700000000"), Some(Time::from_seconds(1_700_000_000)));
        assert_eq!(Time::parse("yesterday"), None);
    }
}
