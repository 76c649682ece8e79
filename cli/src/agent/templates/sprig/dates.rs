//! Moments. They are whole seconds since 1970, which every function here takes and gives.

use gotmpl::Value;

use super::{
    Dated, duration,
    numbers::whole,
    zones::{self, Zone},
};
use crate::agent::{
    moment::Moment,
    templates::{
        functions::{argument, string, wrong},
        language::Made,
        layout,
        values::text,
    },
};

pub(super) const ALL: [(&str, Dated); 16] = [
    ("now", |now, _| Ok(Value::Int(now.seconds()))),
    ("date", |now, args| written(string(args, 0)?, seconds(now, argument(args, 1)?), &zones::local())),
    ("dateInZone", in_zone),
    ("date_in_zone", in_zone),
    ("htmlDate", |now, args| written(DAY, seconds(now, argument(args, 0)?), &zones::local())),
    ("htmlDateInZone", |now, args| {
        written(DAY, seconds(now, argument(args, 0)?), &zones::named(string(args, 1)?))
    }),
    ("unixEpoch", |_, args| Ok(text(whole(argument(args, 0)?).to_string()))),
    ("toDate", |_, args| Ok(Value::Int(read(args)?.unwrap_or(YEAR_ONE)))),
    ("mustToDate", |_, args| {
        read(args)?.map(Value::Int).ok_or_else(|| wrong("mustToDate is given no moment of this layout"))
    }),
    ("dateModify", |_, args| moved(args).or_else(|_| Ok(Value::Int(whole(argument(args, 1)?))))),
    ("date_modify", |_, args| moved(args).or_else(|_| Ok(Value::Int(whole(argument(args, 1)?))))),
    ("mustDateModify", |_, args| moved(args)),
    ("must_date_modify", |_, args| moved(args)),
    ("ago", |now, args| {
        let gone = now.seconds().saturating_sub(seconds(now, argument(args, 0)?));
        Ok(text(duration::written(gone)))
    }),
    ("duration", |_, args| Ok(text(duration::written(whole(argument(args, 0)?))))),
    ("durationRound", |_, args| match argument(args, 0)? {
        Value::String(span) => Ok(text(duration::rounded(duration::read(span).unwrap_or(0)))),
        other => Ok(text(duration::rounded(i128::from(whole(other))))),
    }),
];

const DAY: &str = "2006-01-02";
/// What Go says for a moment that it cannot read.
const YEAR_ONE: i64 = -62_135_596_800;

fn in_zone(now: Moment, args: &[Value]) -> Made {
    written(string(args, 0)?, seconds(now, argument(args, 1)?), &zones::named(string(args, 2)?))
}

/// A moment that is given; now, for what is none.
fn seconds(now: Moment, given: &Value) -> i64 {
    match given {
        Value::Int(_) | Value::Uint(_) => whole(given),
        _ => now.seconds(),
    }
}

fn written(layout: &str, seconds: i64, zone: &Zone) -> Made {
    let (offset, name) = zone.at(seconds);
    layout::write(seconds, (offset, &name), layout).map(text).ok_or_else(|| wrong("there is no such moment"))
}

fn read(args: &[Value]) -> Result<Option<i64>, gotmpl::TemplateError> {
    let read = layout::read(string(args, 0)?, string(args, 1)?);
    Ok(read.map(|(seconds, offset)| {
        seconds - offset.unwrap_or_else(|| zones::local().offset_on_the_spot(seconds))
    }))
}

fn moved(args: &[Value]) -> Made {
    let span = duration::read(string(args, 0)?).ok_or_else(|| wrong("a length of time is like -1h30m"))?;
    let by = i64::try_from(span / duration::SECOND).map_err(|_| wrong("the length of time is too long"))?;
    Ok(Value::Int(whole(argument(args, 1)?).saturating_add(by)))
}
