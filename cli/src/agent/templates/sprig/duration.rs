//! Lengths of time as Go writes them.

/// In nanoseconds.
pub(super) const SECOND: i128 = 1_000_000_000;
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];

/// `-1h30m` and `1.5h`, in nanoseconds.
pub(super) fn read(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = format!("0.{fraction}0").parse().ok()?;
        sum = sum.checked_add(whole.checked_mul(unit)?)?.checked_add((fraction * unit as f64) as i128)?;
        rest = after;
    }
    Some(sign * sum)
}

/// Whole seconds: `1h0m5s`.
pub(super) fn written(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let all = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (all / 3_600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Its largest unit alone.
pub(super) fn rounded(span: i128) -> String {
    let size = span.unsigned_abs();
    let units: [(&str, u128); 6] =
        [("y", 365 * 86_400), ("mo", 30 * 86_400), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let found = units
        .into_iter()
        .map(|(name, unit)| (name, unit * SECOND.unsigned_abs()))
        .find(|(_, unit)| size > *unit);
    found.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", size / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written() {
        for (text, nanoseconds) in [
            ("1h30m", Some(5_400 * SECOND)),
            ("-1.5h", Some(-5_400 * SECOND)),
            ("300ms", Some(300_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            (".5s", Some(SECOND / 2)),
            ("", None),
            ("5", None),
            ("h", None),
            ("1x", None),
        ] {
            assert_eq!(read(text), nanoseconds, "{text}");
        }
        let all = [0, 59, 95, 3_600, -3_661].map(written);
        assert_eq!(all, ["0s", "59s", "1m35s", "1h0m0s", "-1h1m1s"]);
    }
}
