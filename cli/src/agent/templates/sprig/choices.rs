//! Choices between values, and what a value is.

use gotmpl::{TemplateError, Value};

use crate::agent::templates::{
    functions::{Function, argument, string, wrong},
    language::Made,
    sprig,
    values::{self, text},
};

pub(super) const ALL: [(&str, Function); 15] = [
    ("hello", |_| Ok(text("Hello!"))),
    ("kindOf", |args| kind(argument(args, 0)?).map(text)),
    ("kindIs", |args| Ok(Value::Bool(string(args, 0)? == kind(argument(args, 1)?)?))),
    ("fail", |args| Err(wrong(format!("the template gives up: {}", string(args, 0)?)))),
    ("fromJson", |args| from_json(args).or(Ok(Value::Nil))),
    ("mustFromJson", from_json),
    ("empty", |args| Ok(Value::Bool(!argument(args, 0)?.is_truthy()))),
    ("ternary", |args| match argument(args, 2)? {
        Value::Bool(flag) => Ok(argument(args, if *flag { 0 } else { 1 })?.clone()),
        _ => Err(wrong("ternary wants a truth value at its end")),
    }),
    ("deepCopy", |args| Ok(argument(args, 0)?.clone())),
    ("mustDeepCopy", |args| Ok(argument(args, 0)?.clone())),
    ("default", |args| {
        let given = args.get(1).filter(|given| given.is_truthy());
        Ok(given.unwrap_or(argument(args, 0)?).clone())
    }),
    ("coalesce", |args| Ok(args.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))),
    ("all", |args| Ok(Value::Bool(args.iter().all(Value::is_truthy)))),
    ("any", |args| Ok(Value::Bool(args.iter().any(Value::is_truthy)))),
    ("deepEqual", |args| Ok(Value::Bool(argument(args, 0)? == argument(args, 1)?))),
];

/// What Go calls it. Of whole numbers, which are all alike here, it knows several kinds.
fn kind(value: &Value) -> Result<&'static str, TemplateError> {
    Ok(match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(fields) if sprig::as_text(fields).is_some() => "ptr",
        Value::Map(_) => "map",
        _ => {
            return Err(wrong(
                "kindOf and kindIs are asked for a whole number, and there is one kind of these here: compare its text instead",
            ));
        }
    })
}

fn from_json(args: &[Value]) -> Made {
    let read = serde_json::from_str(string(args, 0)?);
    read.map(|json| values::parsed(&json))
        .map_err(|_| wrong("mustFromJson is given something that is no JSON"))
}
