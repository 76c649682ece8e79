//! Moments as Go writes them: by showing how a certain second of 2006 would look.

use gotmpl::Value;

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

/// `timestamp`, `timestamp "unix"`, `timestamp "2006-01-02"`, always in UTC.
pub(super) fn timestamp(now: Moment, args: &[Value]) -> Made {
    match args.len() {
        0 => Ok(text(now.to_string())),
        _ => match string(args, 0)? {
            "unix" => Ok(text(now.seconds().to_string())),
            layout => write(now, layout).map(text).ok_or_else(|| wrong("there is no such moment")),
        },
    }
}

fn write(now: Moment, layout: &str) -> Option<String> {
    let t = time::OffsetDateTime::from_unix_timestamp(now.seconds()).ok()?;
    let month = MONTHS.get(usize::from(u8::from(t.month())) - 1)?;
    let day = DAYS.get(usize::from(t.weekday().number_days_from_sunday()))?;
    let hour = match t.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let half = if t.hour() < 12 { "AM" } else { "PM" };
    // The longest first, where one begins like another.
    let marks: [(&str, String); 24] = [
        ("January", (*month).to_owned()),
        ("Jan", month.chars().take(3).collect()),
        ("Monday", (*day).to_owned()),
        ("Mon", day.chars().take(3).collect()),
        ("MST", "UTC".to_owned()),
        ("2006", format!("{:04}", t.year())),
        ("-07:00", "+00:00".to_owned()),
        ("-0700", "+0000".to_owned()),
        ("Z07:00", "Z".to_owned()),
        ("Z0700", "Z".to_owned()),
        ("01", format!("{:02}", u8::from(t.month()))),
        ("02", format!("{:02}", t.day())),
        ("03", format!("{hour:02}")),
        ("04", format!("{:02}", t.minute())),
        ("05", format!("{:02}", t.second())),
        ("06", format!("{:02}", t.year() % 100)),
        ("15", format!("{:02}", t.hour())),
        ("_2", format!("{:2}", t.day())),
        ("PM", half.to_owned()),
        ("1", u8::from(t.month()).to_string()),
        ("2", t.day().to_string()),
        ("3", hour.to_string()),
        ("4", t.minute().to_string()),
        ("5", t.second().to_string()),
    ];
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let found = marks.iter().find(|(mark, _)| rest.starts_with(mark));
        let taken = found.map_or(first.len_utf8(), |(mark, _)| mark.len());
        match found {
            Some((_, written)) => out.push_str(written),
            None => out.push(first),
        }
        rest = rest.get(taken..)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_followed() {
        let now = Moment::from_seconds(1_700_000_000);
        let written = write(now, "Mon, 02 Jan 2006 15:04:05 MST, 3:04PM on the _2").expect("a moment");
        assert_eq!(written, "Tue, 14 Nov 2023 22:13:20 UTC, 10:13PM on the 14");
    }
}
