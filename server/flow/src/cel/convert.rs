use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cel::Value;
use cel::common::types::CelStruct;
use cel::objects::{Key, Map as CelMap};
use chrono::DateTime;
use kit::Time;
use serde_json::{Map, Number, Value as Json};

use super::Outcome;

/// JSON as a value. Numbers become floating-point: it is what they are in JSON, and what other servers make of them.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => number.as_f64().map_or(Value::Null, Value::Float),
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| (Key::from(key.as_str()), value(field)));
            Value::Map(CelMap { map: Arc::new(fields.collect::<HashMap<_, _>>()) })
        }
    }
}

/// A moment.
pub(super) fn moment(time: Time) -> Value {
    let nanos = i64::try_from(time.0).unwrap_or(i64::MAX);
    Value::Timestamp(DateTime::from_timestamp_nanos(nanos).fixed_offset())
}

/// What a value weighs: one for each value in it, and one for each byte of text.
pub(super) fn weight(value: &Value) -> u64 {
    let own = match value {
        Value::List(items) => items.iter().map(weight).fold(0, u64::saturating_add),
        Value::Map(CelMap { map }) => {
            let each = map.iter().map(|(key, value)| key_weight(key).saturating_add(weight(value)));
            each.fold(0, u64::saturating_add)
        }
        Value::String(text) => text.len() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::Struct(record) => fields(record).map(|(_, field)| weight(&field)).fold(0, u64::saturating_add),
        _ => 0,
    };
    own.saturating_add(1)
}

fn key_weight(key: &Key) -> u64 {
    match key {
        Key::String(text) => text.len() as u64,
        _ => 1,
    }
}

fn fields(record: &CelStruct<'static>) -> impl Iterator<Item = (String, Value)> {
    let fields = record.field_values().into_iter();
    fields.map(|(name, field)| (name, Value::try_from(&*field).unwrap_or(Value::Null)))
}

/// A value as JSON, or a record.
pub(super) fn outcome(value: &Value) -> Result<Outcome, String> {
    match value {
        Value::Struct(record) => {
            let fields: Result<Map<String, Json>, String> =
                fields(record).map(|(name, field)| Ok((name, json(&field)?))).collect();
            Ok(Outcome::Record { name: record.name().to_owned(), fields: fields? })
        }
        other => json(other).map(Outcome::Plain),
    }
}

/// A value as JSON.
pub(super) fn json(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => Json::from(*number),
        Value::UInt(number) => Json::from(*number),
        Value::Float(number) => float(*number),
        Value::String(text) => Json::String(text.as_ref().clone()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes.as_slice())),
        Value::Timestamp(moment) => Json::String(moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        Value::Duration(span) => Json::String(seconds(*span)),
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Map(CelMap { map }) => {
            let fields: Result<Map<String, Json>, String> =
                map.iter().map(|(key, field)| Ok((name(key), json(field)?))).collect();
            Json::Object(fields?)
        }
        Value::Struct(record) => {
            let fields: Result<Map<String, Json>, String> =
                fields(record).map(|(name, field)| Ok((name, json(&field)?))).collect();
            Json::Object(fields?)
        }
        _ => return Err("it comes to a value that cannot be written down, such as a type".to_owned()),
    })
}

/// A number as JSON. A whole one is written as such: what came as 5 goes on as 5, and not as 5.0.
fn float(number: f64) -> Json {
    /// The largest whole numbers of which none is left out.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and in range")]
        return Json::from(number as i64);
    }
    Number::from_f64(number).map_or(Json::Null, Json::Number)
}

fn name(key: &Key) -> String {
    match key {
        Key::String(text) => text.as_ref().clone(),
        Key::Int(number) => number.to_string(),
        Key::Uint(number) => number.to_string(),
        Key::Bool(flag) => flag.to_string(),
    }
}

fn seconds(span: chrono::Duration) -> String {
    let (whole, nanos) = (span.num_seconds(), span.subsec_nanos().unsigned_abs());
    if nanos == 0 {
        return format!("{whole}s");
    }
    let sign = if whole == 0 && span < chrono::Duration::zero() { "-" } else { "" };
    let fraction = format!("{nanos:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}
