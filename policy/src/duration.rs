//! Durations and dates as policies spell them.

use crate::hcl::Value;

const NANOS: i128 = 1_000_000_000;

/// Reads what [`parse_duration`] reads, or a number of seconds.
pub(crate) fn parse_value(value: &Value) -> Result<i64, String> {
    match value {
        Value::Number(text) => {
            let seconds = value.as_f64().ok_or_else(|| format!("time: invalid duration \"{text}\""))?;
            // Fractions of a number are cut off: only a text can say less than a second.
            Ok((seconds.trunc() * 1e9) as i64)
        }
        Value::String(text) => parse_duration(text),
        _ => Err("could not parse duration from input".to_owned()),
    }
}

/// Reads seconds (`60`), days (`3d`) or a span with units (`1h30m`, `-1.5s`) as Go and OpenBao do; nanoseconds come out.
///
/// # Errors
/// If it is none of these, or longer than 292 years; in Go's words.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return nanoseconds(text, i128::from(seconds) * NANOS);
    }
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
        return nanoseconds(text, i128::from(days) * 86_400 * NANOS);
    }
    parse_units(text)
}

/// Reads `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`, with the units of Go.
fn parse_units(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, text.get(1..).unwrap_or_default()),
        Some(b'+') => (1, text.get(1..).unwrap_or_default()),
        _ => (1, text),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || number.len() > 40 {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration \"{text}\"")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS,
            "m" => 60 * NANOS,
            "h" => 3_600 * NANOS,
            other => return Err(format!("time: unknown unit \"{other}\" in duration \"{text}\"")),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = whole.checked_mul(scale).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        let mut part = scale;
        for digit in fraction.chars().filter_map(|c| c.to_digit(10)) {
            part /= 10;
            total += part * i128::from(digit);
        }
        rest = next;
    }
    nanoseconds(text, sign * total)
}

fn nanoseconds(text: &str, value: i128) -> Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("time: invalid duration \"{text}\""))
}

/// Reads RFC 3339 or seconds since 1970; nanoseconds since 1970 come out, 0 for what lies before.
pub(crate) fn parse_date(text: &str) -> Result<u64, String> {
    let nanos = match text.parse::<i64>() {
        Ok(seconds) => Some(i128::from(seconds) * NANOS),
        Err(_) => parse_rfc3339(text),
    };
    match nanos {
        Some(nanos) => Ok(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)),
        None => Err("could not parse string as date and time".to_owned()),
    }
}

fn parse_rfc3339(text: &str) -> Option<i128> {
    let number = |range: std::ops::Range<usize>, max: i64| -> Option<i64> {
        let digits = text.get(range)?;
        let value = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        (value <= max).then_some(value)
    };
    let mark = |at: usize, allowed: &str| text.get(at..=at).filter(|c| allowed.contains(*c)).map(|_| ());
    mark(4, "-")?;
    mark(7, "-")?;
    mark(10, "Tt ")?;
    mark(13, ":")?;
    mark(16, ":")?;
    let (year, month, day) = (number(0..4, 9999)?, number(5..7, 12)?, number(8..10, 31)?);
    if month == 0 || day == 0 || day > month_days(year, month) {
        return None;
    }
    let seconds = number(11..13, 23)? * 3600 + number(14..16, 59)? * 60 + number(17..19, 59)?;
    let mut rest = text.get(19..)?;
    let mut nanos = 0_i64;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        let (digits, after) = fraction.split_at(end);
        if digits.is_empty() {
            return None;
        }
        nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?;
        rest = after;
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = number(at..at + 2, 23)? * 60 + number(at + 3..at + 5, 59)?;
            if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
        }
        _ => return None,
    };
    let total = days_since_1970(year, month, day) * 86_400 + seconds - offset;
    Some(i128::from(total) * NANOS + i128::from(nanos))
}

fn month_days(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts days of the Gregorian calendar, with years that begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<i128, &str>) {
        let expect = expect.map(|nanos| i64::try_from(nanos).unwrap()).map_err(str::to_owned);
        assert_eq!(parse_duration(text), expect, "{text}");
    }

    #[test]
    fn durations() {
        check("", Ok(0));
        check("60", Ok(60 * NANOS));
        check("-5", Ok(-5 * NANOS));
        check("2d", Ok(172_800 * NANOS));
        check("1h30m", Ok(5_400 * NANOS));
        check("1.5s", Ok(3 * NANOS / 2));
        check(".5s", Ok(NANOS / 2));
        check("-1m", Ok(-60 * NANOS));
        check("100ms", Ok(NANOS / 10));
        check("xs", Err("time: invalid duration \"xs\""));
        check("1w", Err("time: unknown unit \"w\" in duration \"1w\""));
        check("1.5", Err("time: missing unit in duration \"1.5\""));
        check("9999999999h", Err("time: invalid duration \"9999999999h\""));
        check("é", Err("time: invalid duration \"é\""));
        assert_eq!(parse_value(&Value::Number("1.9".into())), Ok(1_000_000_000));
        assert_eq!(parse_value(&Value::Bool(true)), Err("could not parse duration from input".into()));
    }

    #[test]
    fn dates() {
        for (text, expect) in [
            ("1600000000", Some(1_600_000_000_000_000_000)),
            ("2020-01-01T00:00:00Z", Some(1_577_836_800_000_000_000)),
            ("2020-02-29T23:59:59.25+01:00", Some(1_583_017_199_250_000_000)),
            ("1970-01-01T00:00:00-00:30", Some(1_800_000_000_000)),
            ("1960-01-01T00:00:00Z", Some(0)),
            ("2021-02-29T00:00:00Z", None),
            ("2020-13-01T00:00:00Z", None),
            ("2020-01-01T00:00:00", None),
            ("2020-01-01T00:00:00+1:00", None),
            ("2020-01-01", None),
            ("1h", None),
            ("", None),
            ("2020-01-01T00:00:0éZ", None),
        ] {
            assert_eq!(parse_date(text).ok(), expect, "{text}");
        }
    }
}
