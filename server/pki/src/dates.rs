//! Dates of certificates: seconds since 1970, up to the year 9999. A [`Time`] ends in 2554.

use kit::Time;

/// The calendar repeats after so many years, and so many seconds.
const CYCLE_YEARS: u64 = 400;
const CYCLE_SECONDS: u64 = 146_097 * 24 * 3600;
/// Before this year nothing has to be moved.
const FAR_YEAR: u64 = 2400;
const YEAR_DIGITS: usize = 4;

/// The year whose beginning is 0.
const FIRST_YEAR: u64 = 1970;

/// Reads RFC 3339 as whole seconds since 1970. What lies before is 1970.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (year, rest) = text.split_at_checked(YEAR_DIGITS)?;
    let year: u64 = year.parse().ok().filter(|_| rest.starts_with('-'))?;
    if year < FIRST_YEAR {
        let later = format!("{:04}{rest}", year + (FIRST_YEAR - year).div_ceil(CYCLE_YEARS) * CYCLE_YEARS);
        return Time::parse(&later).map(|_| 0);
    }
    let cycles = if year < FAR_YEAR { 0 } else { (year - FAR_YEAR) / CYCLE_YEARS + 1 };
    let near = Time::parse(&format!("{:04}{rest}", year - cycles * CYCLE_YEARS))?;
    Some(near.seconds() + cycles * CYCLE_SECONDS)
}

/// RFC 3339 in UTC.
pub(super) fn shown(seconds: u64) -> String {
    let near = Time::from_seconds(seconds % CYCLE_SECONDS).rfc3339();
    let parts = near.split_at_checked(YEAR_DIGITS);
    let far = parts.and_then(|(year, rest)| {
        let year: u64 = year.parse().ok()?;
        Some(format!("{}{rest}", year + seconds / CYCLE_SECONDS * CYCLE_YEARS))
    });
    far.unwrap_or(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_up_to_the_last_one_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (13_569_465_599, "2399-12-31T23:59:59Z"),
            (13_569_465_600, "2400-01-01T00:00:00Z"),
            (13_574_563_200, "2400-02-29T00:00:00Z"),
            (19_910_299_199, "2600-12-07T06:39:59Z"),
            (x509::NO_EXPIRY, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(shown(seconds), text);
        }
        for text in ["1969-12-31T23:59:59Z", "1960-02-29T00:00:00+01:00", "0001-01-01T00:00:00Z"] {
            assert_eq!(parse(text), Some(0), "{text}");
        }
        for text in ["1961-02-29T00:00:00Z", "1960-13-01T00:00:00Z", "1960", "1960-01-01"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("2600-12-31T23:59:59.5+01:00"), parse("2600-12-31T22:59:59Z"));
        for wrong in ["", "1700000000", "2500-02-29T00:00:00Z", "soon", "grün"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
