//! The parameters of roles and requests that only SSH has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Critical options or extensions: an object whose values are text, or become it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Options(pub(super) BTreeMap<String, String>);

/// Which sizes of keys may be signed, by the type of the key.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Lengths(pub(super) BTreeMap<String, Vec<u64>>);

/// More options than this in one certificate no server would take.
const OPTIONS_MAX: usize = 256;
const OPTION_SIZE_MAX: usize = 8192;
const LENGTHS_MAX: usize = 256;

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = object::<D>(from)?;
        if map.len() > OPTIONS_MAX {
            return Err(D::Error::custom(format!("expected at most {OPTIONS_MAX} entries")));
        }
        let entry = |(name, value): (String, Value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                Value::Null => String::new(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(D::Error::custom("expected an object whose values are strings"));
                }
            };
            let good = |text: &str| text.len() <= OPTION_SIZE_MAX && !text.chars().any(char::is_control);
            match !name.is_empty() && good(&name) && good(&text) {
                true => Ok((name, text)),
                false => Err(D::Error::custom(format!(
                    "expected names and values of at most {OPTION_SIZE_MAX} bytes without control characters"
                ))),
            }
        };
        map.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Lengths {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = object::<D>(from)?;
        if map.len() > LENGTHS_MAX {
            return Err(D::Error::custom(format!("expected at most {LENGTHS_MAX} entries")));
        }
        map.into_iter()
            .map(|(name, value)| {
                let wrong = "expected sizes in bits for each type of key, as 2048 or [2048, 3072]";
                sizes(&value).map(|sizes| (name, sizes)).ok_or_else(|| D::Error::custom(wrong))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn object<'de, D: Deserializer<'de>>(from: D) -> Result<serde_json::Map<String, Value>, D::Error> {
    match Value::deserialize(from)? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(serde_json::Map::new()),
        // Some languages write an object without names so.
        Value::Array(items) if items.is_empty() => Ok(serde_json::Map::new()),
        _ => Err(D::Error::custom("expected an object")),
    }
}

fn sizes(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Number(number) => Some(vec![number.as_u64()?]),
        Value::String(text) => text.split(',').map(|size| size.trim().parse().ok()).collect(),
        Value::Array(items) if items.len() <= LENGTHS_MAX => {
            items.iter().map(|item| sizes(item).filter(|sizes| sizes.len() == 1)?.first().copied()).collect()
        }
        _ => None,
    }
}

macro_rules! map_schema {
    ($($type:ident)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "object", "format": "map" })
            }
        }
    )+};
}

map_schema! { Options Lengths }
