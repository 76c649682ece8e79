use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cel::{self, Outcome, Program};
use crate::history::History;
use crate::input::Input;
use crate::sources;
use crate::template::{Chance, Template};

/// A value, or where to take it from when its request is made.
#[derive(Clone, Debug)]
pub enum Expression {
    /// As it stands.
    Literal(Value),
    /// One after the other.
    List(Vec<Expression>),
    /// By name.
    Map(Vec<(String, Expression)>),
    /// From elsewhere, as this type.
    Taken(Box<Source>, Kind),
}

/// Where a value is taken from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: Expression,
        /// Whether it must be set.
        required: bool,
    },
    /// The text of a file.
    File(Expression),
    /// What an earlier request asked, or was answered.
    Earlier {
        /// Which of both.
        side: Side,
        /// The group of the request.
        group: String,
        /// Its name.
        request: String,
        /// Which part.
        selectors: Vec<Selector>,
    },
    /// What a program comes to.
    Cel(Program),
    /// A text with holes.
    Template {
        /// The text.
        template: Template,
        /// What it sees beside requests, answers and input.
        data: Vec<(String, Expression)>,
    },
    /// What the caller gave.
    Input(String),
}

/// Which half of an earlier exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// What was asked.
    Request,
    /// What was answered.
    Response,
}

/// A step into a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// A field of a map.
    Field(String),
    /// A place in a list.
    Index(usize),
}

/// What a value is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Whatever it is.
    Any,
    /// True or false.
    Bool,
    /// A number.
    Float,
    /// A whole number.
    Int,
    /// A map.
    Map,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
}

/// What lies outside of requests: only a server that sets itself up may look there.
pub trait Outside {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// What there is to take values from.
pub struct Within<'a> {
    /// What was asked and answered.
    pub history: &'a History,
    /// What the caller gave.
    pub input: Option<&'a Input>,
    /// What lies outside.
    pub outside: Option<&'a dyn Outside>,
    /// Time and randomness, for templates.
    pub chance: Chance,
}

impl Expression {
    /// A text that stands there as it is.
    pub fn text(text: &str) -> Self {
        Self::Literal(Value::String(text.to_owned()))
    }

    /// What it is now.
    ///
    /// # Errors
    /// If something is not there, or is of another type. The text never shows a value.
    pub fn evaluate(&self, within: &Within<'_>) -> Result<Value, String> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::List(items) => {
                let each = items.iter().enumerate();
                let each = each
                    .map(|(index, item)| item.evaluate(within).map_err(|why| format!("list.{index}: {why}")));
                each.collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Map(entries) => evaluate_map(entries, within).map(Value::Object),
            Self::Taken(source, kind) => {
                let name = source.name();
                let value = source
                    .take(within)
                    .map_err(|why| format!("failed to evaluate source '{name}': {why}"))?;
                kind.cast(value)
                    .map_err(|why| format!("failed to convert value to type '{}': {why}", kind.name()))
            }
        }
    }
}

fn evaluate_map(entries: &[(String, Expression)], within: &Within<'_>) -> Result<Map<String, Value>, String> {
    let each = entries.iter().map(|(key, entry)| match entry.evaluate(within) {
        Ok(value) => Ok((key.clone(), value)),
        Err(why) => Err(format!("while evaluating map.{key}: {why}")),
    });
    each.collect()
}

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::Variable { .. } => "env",
            Self::File(_) => "file",
            Self::Earlier { side: Side::Request, .. } => "request",
            Self::Earlier { side: Side::Response, .. } => "response",
            Self::Cel(_) => "cel",
            Self::Template { .. } => "template",
            Self::Input(_) => "input",
        }
    }

    fn take(&self, within: &Within<'_>) -> Result<Value, String> {
        let outside = || within.outside.ok_or("there is no such source here");
        match self {
            Self::Variable { name, required } => {
                let name = text(name, within)?;
                match outside()?.variable(&name) {
                    Some(value) => Ok(value.into()),
                    None if *required => Err(format!("the variable {name} is not set")),
                    None => Ok("".into()),
                }
            }
            Self::File(path) => {
                let path = PathBuf::from(text(path, within)?);
                outside()?.file(&path).map(Value::String)
            }
            Self::Earlier { side, group, request, selectors } => {
                within.history.find(*side, group, request, selectors).cloned()
            }
            Self::Cel(program) => evaluate_cel(program, within),
            Self::Template { template, data } => fill(template, data, within),
            Self::Input(name) => {
                let input = within.input.ok_or("there is no input here")?;
                input.settled.get(name).cloned().ok_or_else(|| format!("there is no input {name:?}"))
            }
        }
    }
}

fn text(expression: &Expression, within: &Within<'_>) -> Result<String, String> {
    match expression.evaluate(within)? {
        Value::String(text) => Ok(text),
        _ => Err("a text is wanted".to_owned()),
    }
}

fn evaluate_cel(program: &Program, within: &Within<'_>) -> Result<Value, String> {
    // The program is given only what it can name: what it does not look at must not be too much for it.
    let (requests, responses) = (within.history.side(Side::Request), within.history.side(Side::Response));
    let given = |name: &str, map: &Map<String, Value>| match sources::mentions(program, name) {
        true => Value::Object(map.clone()),
        false => Value::Object(Map::new()),
    };
    let (requests, responses) = (given("requests", requests), given("responses", responses));
    let input = within.input.map(|input| Value::Object(input.given.clone()));
    let mut facts =
        vec![("requests", cel::Fact::Json(&requests)), ("responses", cel::Fact::Json(&responses))];
    if let Some(input) = &input {
        facts.push(("input", cel::Fact::Json(input)));
    }
    let failed = |why| format!("CEL source failed to evaluate: {why}");
    match program.evaluate(sources::scope(within.input.is_some()), &facts).map_err(failed)? {
        Outcome::Plain(value) => Ok(value),
        Outcome::Record { fields, .. } => Ok(Value::Object(fields)),
    }
}

fn fill(template: &Template, data: &[(String, Expression)], within: &Within<'_>) -> Result<Value, String> {
    let mut seen = evaluate_map(data, within)?;
    for (name, side) in [("requests", Side::Request), ("responses", Side::Response)] {
        seen.insert(name.to_owned(), Value::Object(within.history.side(side).clone()));
    }
    if let Some(input) = within.input {
        seen.insert("input".to_owned(), Value::Object(input.given.clone()));
    }
    let filled = template.fill(&Value::Object(seen), &within.chance);
    filled.map(Value::String).map_err(|why| format!("failed to execute templator: {why}"))
}

impl Kind {
    /// The type of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::Text,
            "int" => Self::Int,
            "float" | "float64" => Self::Float,
            "bool" => Self::Bool,
            "[]string" => Self::Texts,
            "map" | "map[string]any" | "map[string]interface{}" => Self::Map,
            "any" | "interface{}" => Self::Any,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Bool => "bool",
            Self::Float => "float64",
            Self::Int => "int",
            Self::Map => "map",
            Self::Text => "string",
            Self::Texts => "[]string",
        }
    }

    /// The value as this type.
    ///
    /// # Errors
    /// If it is another.
    pub fn cast(self, value: Value) -> Result<Value, String> {
        let wrong = || Err(format!("conversion-error: cannot convert value to type '{}'", self.name()));
        match (self, value) {
            (Self::Any, value)
            | (Self::Text, value @ Value::String(_))
            | (Self::Map, value @ Value::Object(_))
            | (Self::Bool, value @ Value::Bool(_))
            | (Self::Float, value @ Value::Number(_)) => Ok(value),
            (Self::Text, Value::Null) => Ok("".into()),
            (Self::Text, value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into()),
            (Self::Map, Value::Null) => Ok(Value::Object(Map::new())),
            (Self::Map, Value::String(text)) => match serde_json::from_str(&text) {
                Ok(value @ Value::Object(_)) => Ok(value),
                _ => wrong(),
            },
            (Self::Int, Value::Null) => Ok(0.into()),
            (Self::Int, Value::Bool(flag)) => Ok(i64::from(flag).into()),
            (Self::Int, Value::String(text)) => {
                text.trim().parse::<i64>().map(Value::from).or_else(|_| wrong())
            }
            (Self::Int, Value::Number(number)) => whole(&number).map(Value::from).map_or_else(wrong, Ok),
            (Self::Float, Value::Null) => Ok(0.into()),
            (Self::Float, Value::String(text)) => match serde_json::from_str(text.trim()) {
                Ok(value @ Value::Number(_)) => Ok(value),
                _ => wrong(),
            },
            (Self::Bool, Value::Null) => Ok(false.into()),
            (Self::Bool, Value::String(text)) => match text.trim() {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true.into()),
                "false" | "0" | "f" | "F" | "FALSE" | "False" | "" => Ok(false.into()),
                _ => wrong(),
            },
            (Self::Bool, Value::Number(number)) => Ok((number.as_f64() != Some(0.0)).into()),
            (Self::Texts, Value::String(text)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(parts.collect::<Vec<_>>().into())
            }
            (Self::Texts, Value::Null) => Ok(Value::Array(Vec::new())),
            (Self::Texts, Value::Array(items)) => items
                .into_iter()
                .map(|item| Self::Text.cast(item))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            _ => wrong(),
        }
    }
}

/// A number that is whole, or that is cut to a whole one.
fn whole(number: &serde_json::Number) -> Option<i64> {
    /// Beyond this, whole numbers are not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is in range, and cut on purpose")]
    let cut = |float: f64| (float.abs() <= EXACT).then_some(float as i64);
    number.as_i64().or_else(|| number.as_f64().and_then(cut))
}
