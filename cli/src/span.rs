//! Lengths of time as this trade writes them: `1h30m`, `90` (seconds), `7d`; `-1` where a flag allows it.

use std::{fmt, str::FromStr};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A length of time, possibly negative, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(i64);

impl Span {
    /// Whole seconds.
    pub(crate) fn from_seconds(seconds: i64) -> Span {
        Span(seconds.saturating_mul(NANOS_PER_SECOND as i64))
    }

    /// The length in whole seconds, rounded towards zero.
    pub(crate) fn seconds(self) -> i64 {
        self.0 / NANOS_PER_SECOND as i64
    }

    /// The value that the API takes for a mount's lifetime: empty for zero, `system` for a negative one.
    pub(crate) fn for_mount(self) -> String {
        match self.0 {
            0 => String::new(),
            ..0 => "system".to_owned(),
            _ => self.to_string(),
        }
    }

    /// The length as tables show it, without the zeros: `768h`, `1h5s`.
    pub(crate) fn human(self) -> String {
        let mut text = self.to_string();
        if text.ends_with("m0s") {
            text.truncate(text.len() - 2);
        }
        match text.find("h0m") {
            Some(at) if at > 0 => format!("{}{}", &text[..=at], &text[at + 3..]),
            _ => text,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || format!("invalid duration \"{text}\": write it like 90s, 15m, 1h30m or 7d");
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest.is_empty() {
            return Err(wrong());
        }
        if rest.bytes().all(|b| b.is_ascii_digit()) {
            let seconds: i64 = rest.parse().map_err(|_| wrong())?;
            return Ok(Span::from_seconds(sign * seconds));
        }
        let mut total: i128 = 0;
        let mut rest = rest;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(number_end);
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let nanos = unit_nanos(unit).ok_or_else(wrong)?;
            total += scaled(number, nanos).ok_or_else(wrong)?;
            rest = tail;
        }
        i64::try_from(i128::from(sign) * total).map(Span).map_err(|_| wrong())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let per_second = NANOS_PER_SECOND as u64;
        if nanos < per_second {
            return match nanos {
                ..1_000 => write!(f, "{nanos}ns"),
                1_000..1_000_000 => write!(f, "{}µs", fraction(nanos, 1_000)),
                _ => write!(f, "{}ms", fraction(nanos, 1_000_000)),
            };
        }
        let (minutes, rest) = (nanos / per_second / 60, nanos % (60 * per_second));
        let (hours, minutes) = (minutes / 60, minutes % 60);
        if hours > 0 {
            write!(f, "{hours}h{minutes}m")?;
        } else if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", fraction(rest, per_second))
    }
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        "d" => 86_400 * NANOS_PER_SECOND,
        "w" => 7 * 86_400 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// `1.5` of a unit, exactly.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part_value: i128 = if part.is_empty() { 0 } else { part.get(..part.len().min(18))?.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(part.len().min(18)).ok()?)?;
    whole.checked_mul(unit)?.checked_add(part_value.checked_mul(unit)? / scale)
}

fn fraction(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, written: &str, human: &str) {
        let span: Span = input.parse().expect("a duration");
        assert_eq!((span.to_string().as_str(), span.human().as_str()), (written, human));
    }

    #[test]
    fn spans_are_written_as_the_api_writes_them() {
        check("3600", "1h0m0s", "1h");
        check("1h30m", "1h30m0s", "1h30m");
        check("3605s", "1h0m5s", "1h5s");
        check("7d", "168h0m0s", "168h");
        check("90s", "1m30s", "1m30s");
        check("1.5h", "1h30m0s", "1h30m");
        check("250ms", "250ms", "250ms");
        check("1m0.5s", "1m0.5s", "1m0.5s");
        check("-1", "-1s", "-1s");
        check("0", "0s", "0s");
        assert_eq!("-1s".parse::<Span>().map(Span::for_mount), Ok("system".to_owned()));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "-", "xx", "1x", "1h30", ".", "99999999999999999999s", "99999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
