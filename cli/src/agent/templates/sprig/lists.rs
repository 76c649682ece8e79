//! Lists.

use gotmpl::Value;

use super::{LENGTH_MAX, items, list, numbers::whole};
use crate::agent::templates::{
    functions::{Function, argument, wrong},
    language::Made,
};

pub(super) const ALL: [(&str, Function); 34] = [
    ("list", |args| list(args.to_vec())),
    ("tuple", |args| list(args.to_vec())),
    ("append", append),
    ("mustAppend", append),
    ("push", append),
    ("mustPush", append),
    ("prepend", prepend),
    ("mustPrepend", prepend),
    ("first", |args| Ok(items(args, 0)?.first().cloned().unwrap_or(Value::Nil))),
    ("mustFirst", |args| Ok(items(args, 0)?.first().cloned().unwrap_or(Value::Nil))),
    ("last", |args| Ok(items(args, 0)?.last().cloned().unwrap_or(Value::Nil))),
    ("mustLast", |args| Ok(items(args, 0)?.last().cloned().unwrap_or(Value::Nil))),
    ("rest", |args| list(items(args, 0)?.iter().skip(1).cloned().collect::<Vec<Value>>())),
    ("mustRest", |args| list(items(args, 0)?.iter().skip(1).cloned().collect::<Vec<Value>>())),
    ("initial", initial),
    ("mustInitial", initial),
    ("reverse", |args| list(items(args, 0)?.iter().rev().cloned().collect::<Vec<Value>>())),
    ("mustReverse", |args| list(items(args, 0)?.iter().rev().cloned().collect::<Vec<Value>>())),
    ("uniq", uniq),
    ("mustUniq", uniq),
    ("without", without),
    ("mustWithout", without),
    ("has", has),
    ("mustHas", has),
    ("slice", slice),
    ("mustSlice", slice),
    ("chunk", chunk),
    ("mustChunk", chunk),
    ("compact", compact),
    ("mustCompact", compact),
    ("until", |args| counted(0, whole(argument(args, 0)?), None)),
    ("untilStep", |args| {
        counted(whole(argument(args, 0)?), whole(argument(args, 1)?), Some(whole(argument(args, 2)?)))
    }),
    ("seq", seq),
    ("concat", |args| {
        let mut all = Vec::new();
        for at in 0..args.len() {
            all.extend_from_slice(items(args, at)?);
        }
        list(all)
    }),
];

fn append(args: &[Value]) -> Made {
    let mut all = items(args, 0)?.to_vec();
    all.push(argument(args, 1)?.clone());
    list(all)
}

fn prepend(args: &[Value]) -> Made {
    let mut all = vec![argument(args, 1)?.clone()];
    all.extend_from_slice(items(args, 0)?);
    list(all)
}

fn initial(args: &[Value]) -> Made {
    let all = items(args, 0)?;
    list(all.iter().take(all.len().saturating_sub(1)).cloned().collect::<Vec<Value>>())
}

fn uniq(args: &[Value]) -> Made {
    let mut seen: Vec<Value> = Vec::new();
    for item in items(args, 0)? {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
    }
    list(seen)
}

fn without(args: &[Value]) -> Made {
    let omitted = args.get(1..).unwrap_or_default();
    list(items(args, 0)?.iter().filter(|item| !omitted.contains(item)).cloned().collect::<Vec<Value>>())
}

fn has(args: &[Value]) -> Made {
    Ok(Value::Bool(items(args, 1)?.contains(argument(args, 0)?)))
}

fn slice(args: &[Value]) -> Made {
    let all = items(args, 0)?;
    let bound = |at: usize, usual: usize| match args.get(at) {
        None => Some(usual),
        Some(value) => usize::try_from(whole(value)).ok(),
    };
    let ends = bound(1, 0).zip(bound(2, all.len()));
    let part = ends.and_then(|(from, to)| all.get(from..to));
    list(part.ok_or_else(|| wrong("slice goes beyond the ends of the list"))?.to_vec())
}

fn chunk(args: &[Value]) -> Made {
    let size = usize::try_from(whole(argument(args, 0)?)).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| wrong("chunk wants a number above zero"))?;
    list(items(args, 1)?.chunks(size).map(|part| Value::List(part.into())).collect::<Vec<Value>>())
}

fn compact(args: &[Value]) -> Made {
    list(items(args, 0)?.iter().filter(|item| item.is_truthy()).cloned().collect::<Vec<Value>>())
}

/// The numbers from one to before the other.
fn numbers(from: i64, to: i64, step: i64) -> Result<Vec<i64>, gotmpl::TemplateError> {
    let goes = (from < to && step > 0) || (to < from && step < 0);
    let mut all = Vec::new();
    let mut at = from;
    while goes && ((step > 0 && at < to) || (step < 0 && at > to)) {
        if all.len() >= LENGTH_MAX {
            return Err(wrong("it counts to 100000 at most"));
        }
        all.push(at);
        at = at.saturating_add(step);
    }
    Ok(all)
}

fn counted(from: i64, to: i64, step: Option<i64>) -> Made {
    let step = step.unwrap_or(if to < 0 { -1 } else { 1 });
    list(numbers(from, to, step)?.into_iter().map(Value::Int).collect::<Vec<Value>>())
}

/// Numbers with spaces between, as the program `seq` counts them.
fn seq(args: &[Value]) -> Made {
    let number = |at: usize| args.get(at).map_or(0, whole);
    let (from, step, to) = match args.len() {
        1 => (1, None, number(0)),
        2 => (number(0), None, number(1)),
        3 => (number(0), Some(number(1)), number(2)),
        _ => return Ok(crate::agent::templates::values::text("")),
    };
    let way = if to < from { -1 } else { 1 };
    if to < from && step.is_some_and(|step| step > 0) {
        return Ok(crate::agent::templates::values::text(""));
    }
    let all = numbers(from, to.saturating_add(way), step.unwrap_or(way))?;
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    Ok(crate::agent::templates::values::text(all.join(" ")))
}
