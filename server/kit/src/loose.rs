//! Vault's loose input as types: `"1h"` or `3600`, `"a,b"` or `["a","b"]`, `"true"` or `true`.
//!
//! Each reads what `mapstructure` in weak mode reads, so that clients need not change, and is strict after.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::time::Time;

/// The longest name that a thing can be given, in bytes.
pub const NAME_SIZE_MAX: usize = 512;

/// A boolean: `true`, `"true"`, `"1"`, `1`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flag(pub bool);

/// A whole number: `5`, `"5"`, `5.0`, `"0x10"`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Number(pub i64);

/// A number with or without a fraction: `5`, `0.5`, `"0.5"`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decimal(pub f64);

/// A span of time in nanoseconds: `3600`, `"3600"`, `"1h30m"`, `"1d"`. May be negative.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub i64);

/// A span of time in whole seconds: `3600`, `"3600"`, `"1h"`. A negative one is refused.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seconds(pub u64);

/// Text: a string, or a number or boolean as it was written.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Text(pub String);

/// A list of texts: `["a","b"]`, or `"a,b"`, each trimmed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Texts(pub Vec<String>);

/// A name that people read and things are found by: of at most [`NAME_SIZE_MAX`] bytes, each of its characters to be seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name(pub String);

/// A list of names, given like [`Texts`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names(pub Vec<String>);

/// A text for people: no control characters but ends of lines and tabs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prose(pub String);

/// A list of texts in which a comma divides nothing: `["a,b"]`, or `"a,b"`, which is one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Slice(pub Vec<String>);

/// Text by text: an object, the same as a JSON string, or a list of `"key=value"`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pairs(pub BTreeMap<String, String>);

/// A JSON object; an empty list is one without names, for languages in which the two look the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(pub Map<String, Value>);

/// Any JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json(pub Value);

/// A moment: RFC 3339, or seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment(pub Time);

/// A field that tells a null from nothing, as a merge patch does. Its name ends in `?` (see
/// [`Fields::parse`](crate::Fields::parse)), and it needs `#[serde(default)]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Given<T> {
    /// The request does not speak of it.
    #[default]
    Absent,
    /// The request says null.
    Null,
    /// The request gives a value.
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::Null, Self::Value))
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl Span {
    /// Whole seconds, as most of the API shows them.
    pub fn seconds(self) -> i64 {
        self.0 / 1_000_000_000
    }

    /// Whole seconds, a begun one among them: none would mean no bound, or be over at once.
    pub fn begun_seconds(self) -> i64 {
        self.seconds() + i64::from(self.0 % 1_000_000_000 > 0)
    }

    /// As a duration; nothing if it is negative.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// From whole seconds.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Reads `3600`, `1h30m`, `1.5h`, `1d`, `-1s`. `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// The same; if it is none of these, it says why as Go does, whose words clients look for.
    ///
    /// # Errors
    /// If it is no span, or longer than 292 years.
    pub fn read(text: &str) -> Result<Self, String> {
        policy::parse_duration(text).map(Self)
    }

    /// Reads a JSON value as [`Span::read`] reads its text.
    fn read_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::read(text),
            Value::Number(number) => Self::read(&number.to_string()),
            _ => Err("could not parse duration from input".to_owned()),
        }
    }

    /// Writes it as Go does: `768h0m0s` is `"768h0m0s"`, half a second `"500ms"`.
    pub fn go(self) -> String {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let seconds = nanos / 1_000_000_000;
        let fraction = nanos % 1_000_000_000;
        if seconds == 0 {
            return match nanos {
                0 => "0s".to_owned(),
                n if n < 1_000 => format!("{sign}{n}ns"),
                n if n < 1_000_000 => format!("{sign}{}µs", decimal(n, 1_000)),
                n => format!("{sign}{}ms", decimal(n, 1_000_000)),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let rest = decimal(seconds % 60 * 1_000_000_000 + fraction, 1_000_000_000);
        match (hours, minutes) {
            (0, 0) => format!("{sign}{rest}s"),
            (0, _) => format!("{sign}{minutes}m{rest}s"),
            _ => format!("{sign}{hours}h{minutes}m{rest}s"),
        }
    }
}

fn decimal(amount: u64, unit: u64) -> String {
    let digits = unit.to_string().len() - 1;
    let text = format!("{}.{:0digits$}", amount / unit, amount % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Bool(flag) => Ok(Self(flag)),
            Value::Number(number) => match number.as_u64() {
                Some(0) => Ok(Self(false)),
                Some(1) => Ok(Self(true)),
                _ => Err(D::Error::custom("expected a boolean: true or false")),
            },
            Value::String(text) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Self(true)),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Self(false)),
                _ => Err(D::Error::custom("expected a boolean: true or false")),
            },
            _ => Err(D::Error::custom("expected a boolean: true or false")),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("expected a whole number");
        match Value::deserialize(from)? {
            Value::Bool(flag) => Ok(Self(i64::from(flag))),
            Value::Number(number) => {
                if let Some(whole) = number.as_i64() {
                    return Ok(Self(whole));
                }
                let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
                // The range was checked, and the fraction is zero.
                #[expect(clippy::cast_possible_truncation, reason = "within the range checked above")]
                float.map(|float| Self(float as i64)).ok_or_else(wrong)
            }
            Value::String(text) if text.is_empty() => Ok(Self(0)),
            Value::String(text) => match text.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16).map(Self).map_err(|_| wrong()),
                None => text.trim().parse().map(Self).map_err(|_| wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(from)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map(Self).ok_or_else(|| D::Error::custom("expected a number"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::read_json(&Value::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = Span::deserialize(from)?.begun_seconds();
        u64::try_from(seconds)
            .map(Self)
            .map_err(|_| D::Error::custom(format!("cannot provide negative value '{seconds}'")))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(Value::deserialize(from)?).map(Self).ok_or_else(|| D::Error::custom("expected a string"))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some("0".to_owned()),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let trimmed = |text: &str| text.trim().to_owned();
        Ok(Self(match Value::deserialize(from)? {
            Value::String(text) if text.trim().is_empty() => Vec::new(),
            Value::String(text) => text.split(',').map(trimmed).collect(),
            value => list(value)
                .ok_or_else(|| D::Error::custom("expected a list of strings"))?
                .iter()
                .map(|text| trimmed(text))
                .collect(),
        }))
    }
}

/// What is wrong with a name, if anything is.
fn fault(name: &str) -> Option<String> {
    if name.len() > NAME_SIZE_MAX {
        return Some(format!("a name is longer than {NAME_SIZE_MAX} bytes; choose a shorter one"));
    }
    let seen = name.chars().all(policy::is_printable);
    (!seen).then(|| "a name holds a character that nobody can see; leave it out".to_owned())
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Text(name) = Text::deserialize(from)?;
        fault(&name).map_or(Ok(Self(name)), |fault| Err(D::Error::custom(fault)))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Texts(names) = Texts::deserialize(from)?;
        let fault = names.iter().find_map(|name| fault(name));
        fault.map_or(Ok(Self(names)), |fault| Err(D::Error::custom(fault)))
    }
}

impl<'de> Deserialize<'de> for Prose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(from)?;
        match text.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\r' | '\t')) {
            true => Err(D::Error::custom("the text holds a control character; leave it out")),
            false => Ok(Self(text)),
        }
    }
}

impl<'de> Deserialize<'de> for Slice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        if value.as_str() == Some("") {
            return Ok(Self::default());
        }
        list(value).map(Self).ok_or_else(|| D::Error::custom("expected a list of strings"))
    }
}

fn list(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.into_iter().map(text).collect(),
        Value::Null => Some(Vec::new()),
        // What has no names and what has no items look the same in some languages.
        Value::Object(names) if names.is_empty() => Some(Vec::new()),
        single => text(single).map(|text| vec![text]),
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("expected an object of strings, or a list of \"key=value\"");
        pairs(Value::deserialize(from)?).map(Self).ok_or_else(wrong)
    }
}

fn pairs(value: Value) -> Option<BTreeMap<String, String>> {
    let pair = |item: &str| item.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    match value {
        Value::Null => Some(BTreeMap::new()),
        Value::Object(map) => {
            let said = |value: Value| if value.is_null() { Some(String::new()) } else { text(value) };
            map.into_iter().map(|(key, value)| Some((key, said(value)?))).collect()
        }
        Value::Array(items) => items.into_iter().map(|item| pair(&text(item)?)).collect(),
        Value::String(text) if text.trim_start().starts_with('{') => pairs(serde_json::from_str(&text).ok()?),
        Value::String(text) => Some(BTreeMap::from([pair(&text)?])),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Object(map) => Ok(Self(map)),
            Value::Array(items) if items.is_empty() => Ok(Self::default()),
            Value::Null => Ok(Self::default()),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = text(Value::deserialize(from)?).unwrap_or_default();
        let wrong = || D::Error::custom("expected a time: RFC 3339, or seconds since 1970");
        Time::parse(&text).map(Self).ok_or_else(wrong)
    }
}

macro_rules! plain {
    ($($type:ident as $name:literal: $schema:tt, |$it:ident| $shown:expr;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let $it = self;
                $shown.serialize(to)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

plain! {
    Flag as "Flag": { "type": "boolean" }, |it| it.0;
    Number as "Number": { "type": "integer" }, |it| it.0;
    Decimal as "Decimal": { "type": "number", "format": "float" }, |it| it.0;
    Span as "Span": { "type": "string", "format": "duration" }, |it| it.seconds();
    Seconds as "Span": { "type": "string", "format": "duration" }, |it| it.0;
    Text as "Text": { "type": "string" }, |it| it.0;
    Texts as "Texts": { "type": "array", "items": { "type": "string" } }, |it| it.0;
    Name as "Text": { "type": "string" }, |it| it.0;
    Prose as "Text": { "type": "string" }, |it| it.0;
    Names as "Texts": { "type": "array", "items": { "type": "string" } }, |it| it.0;
    Slice as "Slice": { "type": "array", "items": { "type": "string" } }, |it| it.0;
    Pairs as "Pairs": { "type": "object", "format": "kvpairs" }, |it| it.0;
    Object as "Object": { "type": "object" }, |it| &it.0;
    Json as "Json": { "type": "object" }, |it| it.0;
    Moment as "Moment": { "type": "string", "format": "date-time" }, |it| it.0.rfc3339();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(json: &str, expect: Option<T>) {
        assert_eq!(serde_json::from_str::<T>(json).ok(), expect, "{json}");
    }

    #[test]
    fn loose_input_is_read() {
        check("\"true\"", Some(Flag(true)));
        check("1", Some(Flag(true)));
        check("\"yes\"", None::<Flag>);
        check("-1", None::<Flag>);
        check("2", None::<Flag>);
        check("\"\"", Some(Number(0)));
        check("\"12\"", Some(Number(12)));
        check("12.0", Some(Number(12)));
        check("12.5", None::<Number>);
        check("3600", Some(Span::from_seconds(3600)));
        check("\"1h30m\"", Some(Span::from_seconds(5400)));
        check("\"1.5h\"", Some(Span::from_seconds(5400)));
        check("\"2d\"", Some(Span::from_seconds(172_800)));
        check("\"-1s\"", Some(Span::from_seconds(-1)));
        check("1.5", None::<Span>);
        check("1.5", None::<Seconds>);
        check("60", Some(Seconds(60)));
        check("-1", None::<Seconds>);
        check("\"soon\"", None::<Span>);
        check("99999999999999", None::<Span>);
        check("\"a, b\"", Some(Texts(vec!["a".into(), "b".into()])));
        check("[\"a\",1]", Some(Texts(vec!["a".into(), "1".into()])));
        check("\"a,b\"", Some(Slice(vec!["a,b".into()])));
        check("\"\"", Some(Slice(Vec::new())));
        check("{}", Some(Slice(Vec::new())));
        check("{}", Some(Texts(Vec::new())));
        check("{\"a\":1}", None::<Texts>);
        check("\"a, b\"", Some(Names(vec!["a".into(), "b".into()])));
        check("[\"a\\u0000b\"]", None::<Names>);
        check("\"e\\u0301 \"", Some(Name("e\u{301} ".into())));
        check(&format!("\"{}\"", "a".repeat(NAME_SIZE_MAX)), Some(Name("a".repeat(NAME_SIZE_MAX))));
        check(&format!("\"{}\"", "a".repeat(NAME_SIZE_MAX + 1)), None::<Name>);
        check("\"a\\u202eb\"", None::<Name>);
        check("\"a\\n\\tb\"", Some(Prose("a\n\tb".into())));
        check("\"a\\u001bb\"", None::<Prose>);
        check("5", Some(Prose("5".into())));
        check("[]", Some(Object::default()));
        check("[1]", None::<Object>);
        check("{\"a\":null}", Some(Pairs(BTreeMap::from([("a".into(), String::new())]))));
        check("{\"a\":1}", Some(Pairs(BTreeMap::from([("a".into(), "1".into())]))));
        check("\"\"", None::<Pairs>);
        check("[\"a=b=c\"]", Some(Pairs(BTreeMap::from([("a".into(), "b=c".into())]))));
    }

    #[test]
    fn spans_print_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (1_000_000_000, "1s"),
            (61_500_000_000, "1m1.5s"),
            (2_764_800_000_000_000, "768h0m0s"),
            (-3_600_000_000_000, "-1h0m0s"),
        ] {
            assert_eq!(Span(nanos).go(), text);
        }
    }
}
