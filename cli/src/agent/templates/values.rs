//! JSON as the language has it, and back.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use gotmpl::Value;
use serde_json::{Map, Number, Value as Json};

use super::sprig;

/// Which texts are numbers of the server. Go's client keeps them as they were written, and as texts: `printf "%s"`, `eq .port "5432"`
/// and digits without end work, and only where JSON or YAML is made of them do they become numbers again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(HashSet<usize>);

impl Numbers {
    /// What the server said, as a value.
    pub(crate) fn read(&mut self, json: &Json) -> Value {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => {
                let text: Arc<str> = number.to_string().into();
                self.0.insert(address(&text));
                Value::String(text)
            }
            Json::String(text) => Value::String(text.as_str().into()),
            Json::Array(items) => Value::List(items.iter().map(|item| self.read(item)).collect()),
            Json::Object(fields) => map(fields.iter().map(|(key, field)| (key.as_str(), self.read(field)))),
        }
    }

    /// All of these are numbers too.
    pub(crate) fn join(&mut self, other: &Numbers) {
        self.0.extend(&other.0);
    }

    /// Whether a text is a number of the server.
    pub(crate) fn has(&self, text: &Arc<str>) -> bool {
        self.0.contains(&address(text))
    }

    /// A value as JSON.
    pub(crate) fn json(&self, value: &Value) -> Result<Json, String> {
        Ok(match value {
            Value::Nil => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) => Json::from(*number),
            Value::Uint(number) => Json::from(*number),
            Value::Float(number) => float(*number)?,
            Value::String(text) if self.has(text) => {
                let number: Result<Number, _> = text.parse();
                number.map_or_else(|_| Json::String(text.to_string()), Json::Number)
            }
            Value::String(text) => Json::String(text.to_string()),
            Value::List(items) => {
                let items: Result<Vec<Json>, String> = items.iter().map(|item| self.json(item)).collect();
                Json::Array(items?)
            }
            Value::Map(fields) if sprig::as_text(fields).is_some() => {
                Json::from(sprig::as_text(fields).unwrap_or_default())
            }
            Value::Map(fields) => {
                let mut object = Map::new();
                for (key, field) in fields.iter() {
                    object.insert(key.to_string(), self.json(field)?);
                }
                Json::Object(object)
            }
            _ => return Err("a function is no data".to_owned()),
        })
    }
}

/// JSON that a template itself reads: its numbers are floats, as Go's are.
pub(crate) fn parsed(json: &Json) -> Value {
    match json {
        Json::Number(number) => number.as_f64().map_or(Value::Nil, Value::Float),
        Json::Array(items) => Value::List(items.iter().map(parsed).collect()),
        Json::Object(fields) => map(fields.iter().map(|(key, field)| (key.as_str(), parsed(field)))),
        other => Numbers::default().read(other),
    }
}

/// Under this name a map holds what it is as a text, if it is more than a map.
pub(crate) const SHOWN: &str = "\u{1}shown";

/// How Go prints a value, where the library that runs templates prints it otherwise: with floats in it.
pub(crate) fn printed(value: &Value) -> Option<String> {
    match value {
        Value::Float(number) => Some(float_printed(*number)),
        Value::List(items) if items.iter().any(|item| printed(item).is_some()) => {
            let items: Vec<String> =
                items.iter().map(|item| printed(item).unwrap_or_else(|| item.to_string())).collect();
            Some(format!("[{}]", items.join(" ")))
        }
        Value::Map(fields) if sprig::as_text(fields).is_some() => sprig::as_text(fields).map(str::to_owned),
        Value::Map(fields) if fields.values().any(|field| printed(field).is_some()) => {
            let field = |(key, field): (&Arc<str>, &Value)| {
                format!("{key}:{}", printed(field).unwrap_or_else(|| field.to_string()))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            Some(format!("map[{}]", fields.join(" ")))
        }
        _ => None,
    }
}

fn float_printed(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    match scientific.split_once('e').and_then(|(digits, power)| Some((digits, power.parse::<i32>().ok()?))) {
        Some((digits, power)) if !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

/// A map of these.
pub(crate) fn map<'a>(fields: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let fields: BTreeMap<Arc<str>, Value> = fields.map(|(key, field)| (key.into(), field)).collect();
    Value::Map(Arc::new(fields))
}

/// A text.
pub(crate) fn text(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}

fn address(text: &Arc<str>) -> usize {
    text.as_ptr().addr()
}

fn float(number: f64) -> Result<Json, String> {
    // A float without a fraction is written as a whole number, as Go does.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Ok(Json::from(number as i64));
    }
    Number::from_f64(number).map(Json::Number).ok_or_else(|| "JSON has no such number".to_owned())
}
