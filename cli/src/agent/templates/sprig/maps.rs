//! Maps. None is changed where it is: a function that changes one gives another back.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{TemplateError, Value};

use super::{list, shown};
use crate::agent::templates::{
    functions::{Function, argument, string, wrong},
    language::Made,
    maps::{self, Wins},
    values::text,
};

type Fields = BTreeMap<Arc<str>, Value>;

pub(super) const ALL: [(&str, Function); 15] = [
    ("dict", dict),
    ("get", |args| Ok(fields(args, 0)?.get(string(args, 1)?).cloned().unwrap_or_else(|| text("")))),
    ("hasKey", |args| Ok(Value::Bool(fields(args, 0)?.contains_key(string(args, 1)?)))),
    ("set", |args| {
        let mut all = fields(args, 0)?.clone();
        all.insert(string(args, 1)?.into(), argument(args, 2)?.clone());
        map(all)
    }),
    ("unset", |args| {
        let mut all = fields(args, 0)?.clone();
        all.remove(string(args, 1)?);
        map(all)
    }),
    ("keys", |args| {
        let mut all = Vec::new();
        for at in 0..args.len() {
            all.extend(fields(args, at)?.keys().map(|key| Value::String(Arc::clone(key))));
        }
        list(all)
    }),
    ("values", |args| list(fields(args, 0)?.values().cloned().collect::<Vec<Value>>())),
    ("pluck", |args| {
        let mut all = Vec::new();
        for at in 1..args.len() {
            all.extend(fields(args, at)?.get(string(args, 0)?).cloned());
        }
        list(all)
    }),
    ("pick", |args| {
        let names = names(args)?;
        map(fields(args, 0)?.iter().filter(|(key, _)| names.contains(&&***key)).map(copied).collect())
    }),
    ("omit", |args| {
        let names = names(args)?;
        map(fields(args, 0)?.iter().filter(|(key, _)| !names.contains(&&***key)).map(copied).collect())
    }),
    ("merge", |args| merged(args, Wins::First)),
    ("mustMerge", |args| merged(args, Wins::First)),
    ("mergeOverwrite", |args| merged(args, Wins::Second)),
    ("mustMergeOverwrite", |args| merged(args, Wins::Second)),
    ("dig", dig),
];

fn fields(args: &[Value], at: usize) -> Result<&Fields, TemplateError> {
    match argument(args, at)? {
        Value::Map(fields) => Ok(fields),
        other => Err(wrong(format!("a function wants a map and is given {}", other.type_name()))),
    }
}

fn map(fields: Fields) -> Made {
    Ok(Value::Map(Arc::new(fields)))
}

fn copied((key, value): (&Arc<str>, &Value)) -> (Arc<str>, Value) {
    (Arc::clone(key), value.clone())
}

/// The names behind a map.
fn names(args: &[Value]) -> Result<Vec<&str>, TemplateError> {
    (1..args.len()).map(|at| string(args, at)).collect()
}

fn dict(args: &[Value]) -> Made {
    let pair = |pair: &[Value]| {
        let key: Arc<str> = shown(pair.first().unwrap_or(&Value::Nil)).into();
        (key, pair.get(1).cloned().unwrap_or_else(|| text("")))
    };
    map(args.chunks(2).map(pair).collect())
}

fn merged(args: &[Value], wins: Wins) -> Made {
    let mut all = argument(args, 0)?.clone();
    for at in 1..args.len() {
        all = maps::merged(&all, argument(args, at)?, wins)?;
    }
    Ok(all)
}

/// `dig "a" "b" DEFAULT MAP`
fn dig(args: &[Value]) -> Made {
    let [keys @ .., usual, whole] = args else {
        return Err(wrong("dig wants at least a key, a default and a map"));
    };
    let mut at = whole;
    for key in keys {
        let (Value::Map(fields), Value::String(key)) = (at, key) else {
            return Err(wrong("dig goes through maps by names"));
        };
        match fields.get(key) {
            None => return Ok(usual.clone()),
            Some(inner) => at = inner,
        }
    }
    Ok(at.clone())
}
