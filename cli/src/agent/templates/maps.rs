//! Maps: taken apart by the slashes in their keys, and laid over each other.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{TemplateError, Value};

use super::functions::wrong;

type Fields = BTreeMap<Arc<str>, Value>;

/// No key of `explodeMap` goes deeper.
const DEPTH_MAX: usize = 64;

/// Which of two values stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wins {
    /// The first, unless it is empty.
    First,
    Second,
}

/// `a/b` becomes `b` in `a`.
pub(super) fn exploded(value: &Value) -> Result<Value, TemplateError> {
    let mut out = Fields::new();
    for (key, value) in fields(value)? {
        if key.matches('/').count() >= DEPTH_MAX {
            return Err(wrong("explodeMap: a key has more than 64 parts"));
        }
        explode(&mut out, key, value)?;
    }
    Ok(Value::Map(Arc::new(out)))
}

fn explode(out: &mut Fields, key: &str, value: &Value) -> Result<(), TemplateError> {
    let Some((top, rest)) = key.split_once('/') else {
        if !key.is_empty() {
            out.insert(key.into(), value.clone());
        }
        return Ok(());
    };
    let inner = out.entry(top.into()).or_insert_with(|| Value::Map(Arc::default()));
    match inner {
        Value::Map(inner) => explode(Arc::make_mut(inner), rest, value),
        _ => Err(wrong("explodeMap: a key stands for a value, and for a map as well")),
    }
}

/// Two maps as one; where both have a map, these become one too.
pub(super) fn merged(first: &Value, second: &Value, wins: Wins) -> Result<Value, TemplateError> {
    let (first, second) = (fields(first)?, fields(second)?);
    let mut out = first.clone();
    merge(&mut out, second, wins);
    Ok(Value::Map(Arc::new(out)))
}

fn merge(out: &mut Fields, second: &Fields, wins: Wins) {
    for (key, value) in second {
        match (out.get_mut(key), value) {
            (Some(Value::Map(inner)), Value::Map(second)) => merge(Arc::make_mut(inner), second, wins),
            (Some(there), _) if wins == Wins::First && there.is_truthy() => {}
            _ => drop(out.insert(Arc::clone(key), value.clone())),
        }
    }
}

fn fields(value: &Value) -> Result<&Fields, TemplateError> {
    match value {
        Value::Map(fields) => Ok(fields),
        other => Err(wrong(format!("a function wants a map and is given {}", other.type_name()))),
    }
}
