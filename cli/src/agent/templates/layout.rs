//! Moments as Go writes them: by showing how a certain second of 2006 would look.

use gotmpl::Value;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use super::{
    functions::{string, wrong},
    language::Made,
    values::text,
};
use crate::agent::moment::Moment;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// What stands for a part of a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Month(Word),
    Weekday(Word),
    Zone,
    Year,
    YearOfCentury,
    /// `-07:00`, and whether UTC is written as Z.
    Offset {
        colon: bool,
        z: bool,
    },
    MonthNumber(Digits),
    Day(Digits),
    Hour24,
    Hour12(Digits),
    Minute(Digits),
    Second(Digits),
    Half,
    DayOfYear,
    /// So many digits of a second, none of which is known here.
    Fraction(usize),
}

/// How a name is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Whole,
    ThreeLetters,
}

/// How a small number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    Two,
    AsNeeded,
    Padded,
}

/// The longest first, where one begins like another.
const MARKS: [(&str, Mark); 25] = [
    ("January", Mark::Month(Word::Whole)),
    ("Jan", Mark::Month(Word::ThreeLetters)),
    ("Monday", Mark::Weekday(Word::Whole)),
    ("Mon", Mark::Weekday(Word::ThreeLetters)),
    ("MST", Mark::Zone),
    ("2006", Mark::Year),
    ("-07:00", Mark::Offset { colon: true, z: false }),
    ("-0700", Mark::Offset { colon: false, z: false }),
    ("Z07:00", Mark::Offset { colon: true, z: true }),
    ("Z0700", Mark::Offset { colon: false, z: true }),
    ("002", Mark::DayOfYear),
    ("01", Mark::MonthNumber(Digits::Two)),
    ("02", Mark::Day(Digits::Two)),
    ("03", Mark::Hour12(Digits::Two)),
    ("04", Mark::Minute(Digits::Two)),
    ("05", Mark::Second(Digits::Two)),
    ("06", Mark::YearOfCentury),
    ("15", Mark::Hour24),
    ("_2", Mark::Day(Digits::Padded)),
    ("PM", Mark::Half),
    ("1", Mark::MonthNumber(Digits::AsNeeded)),
    ("2", Mark::Day(Digits::AsNeeded)),
    ("3", Mark::Hour12(Digits::AsNeeded)),
    ("4", Mark::Minute(Digits::AsNeeded)),
    ("5", Mark::Second(Digits::AsNeeded)),
];

/// `timestamp`, `timestamp "unix"`, `timestamp "2006-01-02"`, always in UTC.
pub(super) fn timestamp(now: Moment, args: &[Value]) -> Made {
    match args.len() {
        0 => Ok(text(now.to_string())),
        _ => match string(args, 0)? {
            "unix" => Ok(text(now.seconds().to_string())),
            layout => write(now.seconds(), (0, "UTC"), layout)
                .map(text)
                .ok_or_else(|| wrong("there is no such moment")),
        },
    }
}

/// A moment, in seconds since 1970, where clocks are so many seconds ahead and their zone has this name.
pub(super) fn write(seconds: i64, (offset, zone): (i64, &str), layout: &str) -> Option<String> {
    let offset = UtcOffset::from_whole_seconds(i32::try_from(offset).ok()?).ok()?;
    let t = OffsetDateTime::from_unix_timestamp(seconds).ok()?.checked_to_offset(offset)?;
    let mut out = String::new();
    for piece in pieces(layout) {
        match piece {
            Piece::Plain(c) => out.push(c),
            Piece::Mark(mark) => out.push_str(&shown(mark, t, zone)?),
        }
    }
    Some(out)
}

fn shown(mark: Mark, t: OffsetDateTime, zone: &str) -> Option<String> {
    let word = |name: &str, word: Word| match word {
        Word::Whole => name.to_owned(),
        Word::ThreeLetters => name.chars().take(3).collect(),
    };
    let digits = |number: u8, digits: Digits| match digits {
        Digits::Two => format!("{number:02}"),
        Digits::AsNeeded => number.to_string(),
        Digits::Padded => format!("{number:2}"),
    };
    Some(match mark {
        Mark::Month(form) => word(MONTHS.get(usize::from(u8::from(t.month())) - 1)?, form),
        Mark::Weekday(form) => word(DAYS.get(usize::from(t.weekday().number_days_from_sunday()))?, form),
        Mark::Zone => zone.to_owned(),
        Mark::Year => format!("{:04}", t.year()),
        Mark::YearOfCentury => format!("{:02}", t.year().rem_euclid(100)),
        Mark::Offset { z: true, .. } if t.offset().is_utc() => "Z".to_owned(),
        Mark::Offset { colon, .. } => {
            let minutes = t.offset().whole_minutes();
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60);
            format!("{sign}{hours:02}{}{minutes:02}", if colon { ":" } else { "" })
        }
        Mark::MonthNumber(form) => digits(u8::from(t.month()), form),
        Mark::Day(form) => digits(t.day(), form),
        Mark::Hour24 => format!("{:02}", t.hour()),
        Mark::Hour12(form) => digits(if t.hour().is_multiple_of(12) { 12 } else { t.hour() % 12 }, form),
        Mark::Minute(form) => digits(t.minute(), form),
        Mark::Second(form) => digits(t.second(), form),
        Mark::Half => if t.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        Mark::DayOfYear => format!("{:03}", t.ordinal()),
        Mark::Fraction(0) => String::new(),
        Mark::Fraction(digits) => format!(".{}", "0".repeat(digits)),
    })
}

/// What a text of a layout shows: as seconds since 1970 for clocks in UTC, and how far its clocks are ahead if it says so.
pub(super) fn read(layout: &str, text: &str) -> Option<(i64, Option<i64>)> {
    let mut found =
        Found { year: 0, month: 1, day: 1, hour: 0, minute: 0, second: 0, half: None, offset: None };
    let mut rest = text;
    for piece in pieces(layout) {
        rest = match piece {
            Piece::Plain(c) => rest.strip_prefix(c)?,
            Piece::Mark(mark) => found.take(mark, rest)?,
        };
    }
    if !rest.is_empty() {
        return None;
    }
    let hour = match found.half {
        None => found.hour,
        Some(_) if found.hour > 12 => return None,
        Some(Half::Before) => found.hour % 12,
        Some(Half::After) => found.hour % 12 + 12,
    };
    let date = Date::from_calendar_date(found.year, Month::try_from(found.month).ok()?, found.day).ok()?;
    let time = Time::from_hms(hour, found.minute, found.second).ok()?;
    Some((PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp(), found.offset))
}

/// What was read so far.
struct Found {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    half: Option<Half>,
    offset: Option<i64>,
}

#[derive(Clone, Copy)]
enum Half {
    Before,
    After,
}

impl Found {
    /// Takes one part from the beginning of a text. What is left.
    fn take<'a>(&mut self, mark: Mark, text: &'a str) -> Option<&'a str> {
        let (number, rest) = match mark {
            Mark::Year => number(text, 4, 4)?,
            Mark::MonthNumber(Digits::Two)
            | Mark::Day(Digits::Two)
            | Mark::Hour12(Digits::Two)
            | Mark::Minute(Digits::Two)
            | Mark::Second(Digits::Two)
            | Mark::YearOfCentury
            | Mark::Hour24 => number(text, 2, 2)?,
            Mark::MonthNumber(_) | Mark::Day(_) | Mark::Hour12(_) | Mark::Minute(_) | Mark::Second(_) => {
                number(text.trim_start_matches(' '), 1, 2)?
            }
            Mark::Month(form) => {
                let (at, rest) = name(text, &MONTHS, form)?;
                (u32::try_from(at + 1).ok()?, rest)
            }
            Mark::Weekday(form) => return name(text, &DAYS, form).map(|(_, rest)| rest),
            Mark::Half => {
                self.half = Some(if text.starts_with("PM") { Half::After } else { Half::Before });
                return text.strip_prefix("PM").or_else(|| text.strip_prefix("AM"));
            }
            Mark::Zone => {
                // A name says nothing sure about how far clocks are ahead, but for this one.
                if text.starts_with("UTC") {
                    self.offset = Some(0);
                }
                let end = text.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(text.len());
                return text.get(end..).filter(|_| end >= 3);
            }
            Mark::Offset { colon, z } => return self.take_offset(text, colon, z),
            // A part of a second is nothing here, and a day of the year says no more than month and day.
            Mark::Fraction(_) => {
                return Some(
                    text.strip_prefix('.')
                        .map_or(text, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit())),
                );
            }
            Mark::DayOfYear => return number(text, 3, 3).map(|(_, rest)| rest),
        };
        let small = u8::try_from(number);
        match mark {
            Mark::Year => self.year = i32::try_from(number).ok()?,
            // Go's own choice of a century.
            Mark::YearOfCentury => {
                self.year = i32::try_from(number).ok()? + if number >= 69 { 1900 } else { 2000 }
            }
            Mark::Month(_) | Mark::MonthNumber(_) => self.month = small.ok()?,
            Mark::Day(_) => self.day = small.ok()?,
            Mark::Hour24 | Mark::Hour12(_) => self.hour = small.ok()?,
            Mark::Minute(_) => self.minute = small.ok()?,
            _ => self.second = small.ok()?,
        }
        Some(rest)
    }

    fn take_offset<'a>(&mut self, text: &'a str, colon: bool, z: bool) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix('Z').filter(|_| z) {
            self.offset = Some(0);
            return Some(rest);
        }
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let (hours, rest) = number(rest, 2, 2)?;
        let rest = if colon { rest.strip_prefix(':')? } else { rest };
        let (minutes, rest) = number(rest, 2, 2)?;
        self.offset = Some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60));
        Some(rest)
    }
}

fn number(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let size = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(size).filter(|_| size >= least)?;
    Some((digits.parse().ok()?, rest))
}

fn name<'a>(text: &'a str, names: &[&str], form: Word) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = if form == Word::ThreeLetters { name.get(..3)? } else { name };
        Some((at, text.strip_prefix(name)?))
    })
}

enum Piece {
    Plain(char),
    Mark(Mark),
}

fn pieces(layout: &str) -> impl Iterator<Item = Piece> {
    let mut rest = layout;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let found = MARKS.iter().find(|(text, _)| rest.starts_with(text));
        let found = found.map(|(text, mark)| (text.len(), *mark)).or_else(|| fraction(rest));
        rest = rest.get(found.map_or(first.len_utf8(), |(size, _)| size)..)?;
        Some(found.map_or(Piece::Plain(first), |(_, mark)| Piece::Mark(mark)))
    })
}

/// `.000` and `.999`, if no other digit follows.
fn fraction(layout: &str) -> Option<(usize, Mark)> {
    let digits = layout.strip_prefix('.')?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let rest = digits.trim_start_matches(first);
    let size = digits.len() - rest.len();
    let ends = !rest.starts_with(|c: char| c.is_ascii_digit());
    ends.then_some((1 + size, Mark::Fraction(if first == '0' { size } else { 0 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_followed() {
        let written = write(1_700_000_000, (0, "UTC"), "Mon, 02 Jan 2006 15:04:05 MST, 3:04PM on the _2")
            .expect("a moment");
        assert_eq!(written, "Tue, 14 Nov 2023 22:13:20 UTC, 10:13PM on the 14");
        let written =
            write(1_700_000_000, (-19_800, "XYZ"), "2006-01-02T15:04:05Z07:00 -0700 MST January 06")
                .expect("a moment");
        assert_eq!(written, "2023-11-14T16:43:20-05:30 -0530 XYZ November 23");
    }

    #[test]
    fn what_is_written_is_read() {
        for layout in [
            "2006-01-02T15:04:05Z07:00",
            "Mon, 02 Jan 2006 15:04:05 -0700",
            "Monday, _2 January 2006 3:04:05 PM MST",
            "1/2/06 15:04:05 MST",
        ] {
            let text = write(1_700_000_005, (0, "UTC"), layout).expect("a moment");
            assert_eq!(read(layout, &text), Some((1_700_000_005, Some(0))), "{text}");
        }
        assert_eq!(read("2006-01-02", "2017-12-31"), Some((1_514_678_400, None)));
        assert_eq!(read("15:04 -07:00", "10:00 +02:00").map(|(_, offset)| offset), Some(Some(7_200)));
        for (layout, text) in [
            ("2006-01-02", "2017-13-01"),
            ("2006-01-02", "2017-12-31x"),
            ("2006-01-02", "17-12-31"),
            ("3PM", "13PM"),
            ("Jan", "Foo"),
        ] {
            assert_eq!(read(layout, text), None, "{text}");
        }
    }
}
