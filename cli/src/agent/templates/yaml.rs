//! YAML as templates read it: what a plain word means is decided as Go's usual library decides it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use gotmpl::{TemplateError, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{functions::wrong, values::text};

/// No document nests deeper.
const DEPTH_MAX: usize = 64;
/// Nor has it more values, each counted as often as it is referred to.
const VALUES_MAX: usize = 100_000;

/// The first document of a text.
pub(super) fn read(source: &str) -> Result<Value, TemplateError> {
    let mut reader = Reader { parser: Parser::new_from_str(source), anchors: BTreeMap::new(), values: 0 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd => return Ok(Value::Map(Arc::default())),
            event => return Ok(reader.value(event, 0)?.value),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Counted>,
    values: usize,
}

#[derive(Clone)]
struct Counted {
    value: Value,
    /// How many values it is made of.
    size: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, TemplateError> {
        let event = self.parser.next_event().ok_or_else(|| wrong("parseYAML is given no YAML"))?;
        let (event, _) =
            event.map_err(|error| wrong(format!("parseYAML: line {} is no YAML", error.marker().line())))?;
        Ok(event)
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Counted, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(wrong("parseYAML: it nests deeper than 64"));
        }
        let before = self.values;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let known = known.ok_or_else(|| wrong("parseYAML: a reference goes nowhere"))?;
                self.count(known.size)?;
                return Ok(known);
            }
            Event::Scalar(word, style, anchor, tag) => (scalar(&word, style, tag)?, anchor),
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(wrong("parseYAML is given no YAML")),
        };
        self.count(1)?;
        let made = Counted { value, size: self.values - before };
        if anchor > 0 {
            self.anchors.insert(anchor, made.clone());
        }
        Ok(made)
    }

    fn count(&mut self, more: usize) -> Result<(), TemplateError> {
        self.values = self.values.saturating_add(more);
        match self.values > VALUES_MAX {
            true => Err(wrong("parseYAML: it has more than 100000 values")),
            false => Ok(()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, TemplateError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::List(items.into())),
                event => items.push(self.value(event, depth + 1)?.value),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, TemplateError> {
        let mut fields: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut beneath: Vec<Value> = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                event => {
                    let merges =
                        matches!(&event, Event::Scalar(word, ScalarStyle::Plain, _, None) if word == "<<");
                    (!merges).then(|| self.value(event, depth + 1)).transpose()?
                }
            };
            let event = self.next()?;
            let value = self.value(event, depth + 1)?.value;
            match key {
                Some(key) => drop(fields.insert(name(&key.value)?, value)),
                None => beneath.push(value),
            }
        }
        for value in beneath {
            lay_beneath(&mut fields, &value)?;
        }
        Ok(Value::Map(Arc::new(fields)))
    }
}

/// `<<`: what the map itself does not say.
fn lay_beneath(fields: &mut BTreeMap<Arc<str>, Value>, value: &Value) -> Result<(), TemplateError> {
    match value {
        Value::Map(more) => {
            for (key, value) in more.iter() {
                fields.entry(Arc::clone(key)).or_insert_with(|| value.clone());
            }
            Ok(())
        }
        Value::List(items) if items.iter().all(|item| matches!(item, Value::Map(_))) => {
            items.iter().try_for_each(|item| lay_beneath(fields, item))
        }
        _ => Err(wrong("parseYAML: << wants a map, or a list of maps")),
    }
}

fn name(key: &Value) -> Result<Arc<str>, TemplateError> {
    match key {
        Value::String(name) => Ok(Arc::clone(name)),
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
            Ok(key.to_string().into())
        }
        _ => Err(wrong("parseYAML: a list or a map cannot be a key")),
    }
}

fn scalar(word: &str, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Result<Value, TemplateError> {
    let kind = tag.as_ref().filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let no = || wrong("parseYAML: a value is not of the kind that its tag says");
    match (kind, style) {
        (Some("str" | "binary"), _) => Ok(text(word)),
        (Some("int"), _) => whole(word).ok_or_else(no),
        (Some("float"), _) => match plain(word) {
            Value::Int(number) => Ok(Value::Float(number as f64)),
            number @ Value::Float(_) => Ok(number),
            _ => Err(no()),
        },
        (Some("bool" | "null"), _) | (None, ScalarStyle::Plain) => Ok(plain(word)),
        _ => Ok(text(word)),
    }
}

/// What a word without quotes means.
fn plain(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Nil,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let begins = word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let number = if begins { whole(word).or_else(|| float(word)) } else { None };
    number.unwrap_or_else(|| text(word))
}

fn whole(word: &str) -> Option<Value> {
    let bare = word.replace('_', "");
    let (sign, digits) = match bare.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", bare.strip_prefix('+').unwrap_or(&bare)),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    match i64::from_str_radix(&format!("{sign}{digits}"), base) {
        Ok(number) => Some(Value::Int(number)),
        Err(_) if sign.is_empty() => u64::from_str_radix(digits, base).ok().map(Value::Uint),
        Err(_) => None,
    }
}

fn float(word: &str) -> Option<Value> {
    let bare = word.replace('_', "");
    let (mantissa, exponent) = match bare.find(['e', 'E']) {
        Some(at) => (bare.get(..at)?, Some(bare.get(at + 1..)?)),
        None => (bare.as_str(), None),
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = match unsigned(mantissa).split_once('.') {
        Some((before, after)) => (before.to_owned(), after.to_owned()),
        None => (unsigned(mantissa), String::new()),
    };
    let shaped =
        (digits(&before) && (after.is_empty() || digits(&after))) || (before.is_empty() && digits(&after));
    if !shaped || exponent.is_some_and(|exponent| !digits(&unsigned(exponent))) {
        return None;
    }
    bare.parse().ok().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_they_mean_in_go() {
        for (word, means) in [
            ("017", Value::Int(15)),
            ("0o7", Value::Int(7)),
            ("08", Value::Float(8.0)),
            ("1_000", Value::Int(1000)),
            ("12345678901234567890", Value::Uint(12_345_678_901_234_567_890)),
            ("-0x10", Value::Int(-16)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("1e3", Value::Float(1000.0)),
            ("1e", text("1e")),
            ("0x", text("0x")),
            ("1:30", text("1:30")),
            ("-", text("-")),
            ("2020-01-01", text("2020-01-01")),
            ("off", Value::Bool(false)),
        ] {
            assert_eq!(plain(word), means, "{word}");
        }
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, of) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e")] {
            bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(",")));
        }
        assert!(read(&bomb).is_err_and(|why| why.to_string().contains("100000")));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("a: [").is_err_and(|why| why.to_string().contains("line")));
        assert!(read("? [a]\n: b").is_err());
        assert_eq!(read("").unwrap(), Value::Map(Arc::default()));
    }
}
