//! The functions that need nothing but their arguments. The last argument is what a pipe hands on.

use std::cmp::Ordering;

use aws_lc_rs::{digest, hmac};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use gotmpl::{TemplateError, Value};
use md5::{Digest, Md5};

use super::{
    language::Made,
    maps::{self, Wins},
    regex,
    values::{self, text},
    yaml,
};

/// A function of its arguments.
pub(super) type Function = fn(&[Value]) -> Made;

/// No list that `loop` counts is longer.
const LOOP_MAX: i64 = 100_000;
/// No text is indented by more.
const INDENT_MAX: i64 = 1_000;

/// All of them.
pub(super) const FUNCTIONS: [(&str, Function); 44] = [
    ("add", |args| math(args, i64::checked_add, |a, b| a + b)),
    ("subtract", |args| math(&swapped(args)?, i64::checked_sub, |a, b| a - b)),
    ("multiply", |args| math(args, i64::checked_mul, |a, b| a * b)),
    ("divide", |args| math(&swapped(args)?, i64::checked_div, |a, b| a / b)),
    ("modulo", |args| math(&swapped(args)?, i64::checked_rem, |a, b| a % b)),
    ("minimum", |args| math(args, |a, b| Some(a.min(b)), f64::min)),
    ("maximum", |args| math(args, |a, b| Some(a.max(b)), f64::max)),
    ("base64Encode", |args| Ok(text(STANDARD.encode(string(args, 0)?)))),
    ("base64Decode", |args| decoded(STANDARD.decode(string(args, 0)?).ok())),
    ("base64URLEncode", |args| Ok(text(URL_SAFE.encode(string(args, 0)?)))),
    ("base64URLDecode", |args| decoded(URL_SAFE.decode(string(args, 0)?).ok())),
    ("sha256Hex", |args| {
        Ok(text(hex(digest::digest(&digest::SHA256, string(args, 0)?.as_bytes()).as_ref())))
    }),
    ("hmacSHA256Hex", |args| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, string(args, 1)?.as_bytes());
        Ok(text(hex(hmac::sign(&key, string(args, 0)?.as_bytes()).as_ref())))
    }),
    ("toLower", |args| Ok(text(lowered(string(args, 0)?)))),
    ("toUpper", |args| Ok(text(raised(string(args, 0)?)))),
    ("toTitle", |args| Ok(text(title(string(args, 0)?)))),
    ("trimSpace", |args| Ok(text(string(args, 0)?.trim()))),
    ("trim", trimmed),
    ("trimPrefix", without_prefix),
    ("trimSuffix", without_suffix),
    ("replaceAll", replaced),
    ("indent", |args| indent(whole(args, 0)?, string(args, 1)?)),
    ("split", |args| {
        let whole = string(args, 1)?.trim();
        let parts = whole.split(string(args, 0)?).map(text);
        Ok(Value::List(if whole.is_empty() { Vec::new() } else { parts.collect() }.into()))
    }),
    ("join", |args| {
        let parts: Vec<String> = list(args, 1)?.iter().map(ToString::to_string).collect();
        Ok(text(parts.join(string(args, 0)?)))
    }),
    ("contains", |args| inside(argument(args, 1)?, argument(args, 0)?).map(Value::Bool)),
    ("in", |args| inside(argument(args, 0)?, argument(args, 1)?).map(Value::Bool)),
    ("containsAll", |args| Ok(Value::Bool(list(args, 0)?.iter().all(|needle| among(args, needle))))),
    ("containsAny", |args| Ok(Value::Bool(list(args, 0)?.iter().any(|needle| among(args, needle))))),
    ("containsNone", |args| Ok(Value::Bool(!list(args, 0)?.iter().any(|needle| among(args, needle))))),
    ("containsNotAll", |args| Ok(Value::Bool(!list(args, 0)?.iter().all(|needle| among(args, needle))))),
    ("loop", counted),
    ("parseBool", |args| {
        let flag = crate::argv::go_bool(string(args, 0)?);
        flag.map(Value::Bool)
            .ok_or_else(|| wrong("parseBool is given something that is neither true nor false"))
    }),
    ("parseInt", |args| parse(args, Value::Int)),
    ("parseUint", |args| parse(args, Value::Uint)),
    ("parseFloat", |args| parse(args, Value::Float)),
    ("parseJSON", |args| {
        let read = serde_json::from_str(if string(args, 0)?.is_empty() { "{}" } else { string(args, 0)? });
        read.map(|json| values::parsed(&json))
            .map_err(|_| wrong("parseJSON is given something that is no JSON"))
    }),
    ("parseYAML", |args| yaml::read(string(args, 0)?)),
    ("regexMatch", |args| regex::found(string(args, 0)?, string(args, 1)?).map(Value::Bool)),
    ("regexReplaceAll", |args| {
        regex::replaced(string(args, 0)?, string(args, 1)?, string(args, 2)?).map(text)
    }),
    ("md5sum", |args| Ok(text(hex(Md5::digest(string(args, 0)?).as_slice())))),
    ("explodeMap", |args| maps::exploded(argument(args, 0)?)),
    ("mergeMap", |args| maps::merged(argument(args, 0)?, argument(args, 1)?, Wins::First)),
    ("mergeMapWithOverride", |args| maps::merged(argument(args, 0)?, argument(args, 1)?, Wins::Second)),
    ("splitToMap", |args| {
        let (between, inner) = (string(args, 0)?, string(args, 1)?);
        let pairs = string(args, 2)?.split(between).filter_map(|pair| pair.split_once(inner));
        Ok(values::map(pairs.map(|(key, value)| (key, text(value)))))
    }),
];

/// An error of a function: its words hold no value.
pub(super) fn wrong(why: impl Into<String>) -> TemplateError {
    TemplateError::Exec(format!("{MARK}{}", why.into()))
}

/// Tells words that hold no value from those of the library, which may.
pub(super) const MARK: char = '\u{1}';

pub(super) fn argument(args: &[Value], at: usize) -> Result<&Value, TemplateError> {
    args.get(at).ok_or_else(|| wrong(format!("a function is given {} arguments and wants more", args.len())))
}

pub(super) fn string(args: &[Value], at: usize) -> Result<&str, TemplateError> {
    match argument(args, at)? {
        Value::String(text) => Ok(text),
        other => Err(wrong(format!("a function wants a text and is given {}", other.type_name()))),
    }
}

fn list(args: &[Value], at: usize) -> Result<&[Value], TemplateError> {
    match argument(args, at)? {
        Value::List(items) => Ok(items),
        other => Err(wrong(format!("a function wants a list and is given {}", other.type_name()))),
    }
}

fn whole(args: &[Value], at: usize) -> Result<i64, TemplateError> {
    match argument(args, at)? {
        Value::Int(number) => Ok(*number),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| wrong("the number is too large")),
        other => Err(wrong(format!("a function wants a whole number and is given {}", other.type_name()))),
    }
}

fn swapped(args: &[Value]) -> Result<[Value; 2], TemplateError> {
    Ok([argument(args, 1)?.clone(), argument(args, 0)?.clone()])
}

fn math(args: &[Value], ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Made {
    let (a, b) = (argument(args, 0)?, argument(args, 1)?);
    match (a, b) {
        (Value::Float(_), _) | (_, Value::Float(_)) => match (a.as_float(), b.as_float()) {
            (Some(a), Some(b)) => Ok(Value::Float(floats(a, b))),
            _ => Err(wrong(
                "a sum wants numbers; a number of a secret is a text, so write parseJSON before it",
            )),
        },
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => {
            ints(whole(args, 0)?, whole(args, 1)?)
                .map(Value::Int)
                .ok_or_else(|| wrong("a sum is too large, or divides by zero"))
        }
        _ => Err(wrong("a sum wants numbers")),
    }
}

fn decoded(bytes: Option<Vec<u8>>) -> Made {
    let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(text).ok_or_else(|| wrong("what is given does not decode to a text"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A letter as Go raises it: to one letter, or not at all.
pub(super) fn large(c: char) -> char {
    let mut raised = c.to_uppercase();
    raised.next().filter(|_| raised.next().is_none()).unwrap_or(c)
}

pub(super) fn small(c: char) -> char {
    let mut lowered = c.to_lowercase();
    lowered.next().filter(|_| lowered.next().is_none()).unwrap_or(c)
}

pub(super) fn raised(text: &str) -> String {
    text.chars().map(large).collect()
}

pub(super) fn lowered(text: &str) -> String {
    text.chars().map(small).collect()
}

/// Without any of these characters at its ends.
pub(super) fn trimmed(args: &[Value]) -> Made {
    let set = string(args, 0)?;
    Ok(text(string(args, 1)?.trim_matches(|c| set.contains(c))))
}

pub(super) fn without_prefix(args: &[Value]) -> Made {
    let whole = string(args, 1)?;
    Ok(text(whole.strip_prefix(string(args, 0)?).unwrap_or(whole)))
}

pub(super) fn without_suffix(args: &[Value]) -> Made {
    let whole = string(args, 1)?;
    Ok(text(whole.strip_suffix(string(args, 0)?).unwrap_or(whole)))
}

pub(super) fn replaced(args: &[Value]) -> Made {
    Ok(text(string(args, 2)?.replace(string(args, 0)?, string(args, 1)?)))
}

fn title(text: &str) -> String {
    let mut begins = true;
    text.chars()
        .flat_map(|c| {
            let raised = if begins { c.to_uppercase().next() } else { Some(c) };
            begins = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
            raised
        })
        .collect()
}

/// Lines that hold something begin with so many spaces more.
fn indent(spaces: i64, block: &str) -> Made {
    if !(0..=INDENT_MAX).contains(&spaces) {
        return Err(wrong("indent wants a number from 0 to 1000"));
    }
    let before = " ".repeat(usize::try_from(spaces).unwrap_or(0));
    let lines = block.split_inclusive('\n');
    let shifted: String =
        lines.map(|line| if line == "\n" { line.to_owned() } else { format!("{before}{line}") }).collect();
    Ok(text(shifted))
}

/// Whether something is in a list, in a text, or a key of a map.
fn inside(all: &Value, needle: &Value) -> Result<bool, TemplateError> {
    match (all, needle) {
        (Value::List(items), _) => Ok(items.contains(needle)),
        (Value::String(text), Value::String(part)) => Ok(text.contains(&**part)),
        (Value::Map(fields), Value::String(key)) => Ok(fields.contains_key(key)),
        (Value::Nil, _) => Ok(false),
        _ => Err(wrong("contains looks into lists, texts and maps")),
    }
}

fn among(args: &[Value], needle: &Value) -> bool {
    args.get(1).is_some_and(|all| inside(all, needle).unwrap_or(false))
}

fn counted(args: &[Value]) -> Made {
    let (from, to) = match args.len() {
        1 => (0, whole(args, 0)?),
        _ => (whole(args, 0)?, whole(args, 1)?),
    };
    match to.saturating_sub(from).cmp(&LOOP_MAX) {
        Ordering::Greater => Err(wrong("loop counts to 100000 at most")),
        _ => Ok(Value::List((from..to).map(Value::Int).collect())),
    }
}

fn parse<T: std::str::FromStr>(args: &[Value], make: fn(T) -> Value) -> Made {
    let parsed = string(args, 0)?.trim().parse();
    parsed.map(make).map_err(|_| wrong("a text that should be a number is none"))
}
