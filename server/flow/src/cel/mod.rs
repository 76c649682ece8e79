//! Programs in CEL, bounded before they run: in length, in depth, and in the work that they could come to at worst.
//!
//! The library that parses and evaluates has no limit on work, and a short program can ask for a lot of it: lists gone
//! through within lists, texts that double. So what a program may come to is reckoned from the sizes of what it is
//! given (`survey.rs`), and what would be too much is refused before it begins. Functions that are not on the list
//! there are refused, too.

mod convert;
mod functions;
mod survey;
mod words;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::IdedExpr;
use cel::parser::PrattParser;
use cel::{Context, Env, Value};
use kit::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

pub use functions::Record;
use survey::{Shape, Survey};

/// No expression is longer than this many bytes.
pub const EXPRESSION_SIZE_MAX: usize = 4 * 1024;
/// No program has more variables.
pub const VARIABLES_MAX: usize = 64;
/// No expression nests deeper.
const DEPTH_MAX: u16 = 64;
/// A parsed expression is no deeper: here a chain of sums counts, too.
const TREE_DEPTH_MAX: usize = 100;
/// So many steps a program may come to at worst; a step is about as costly as looking up a name.
const COST_MAX: u64 = 10_000_000;
/// What a program is given, and what its variables come to, weighs no more: a value counts one, and each byte of text.
pub const WEIGHT_MAX: u64 = 1 << 20;

/// A program: variables in their order, and an expression that may use them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Program {
    /// Named values, each of which may use those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// What the program comes to.
    #[serde(default)]
    pub expression: String,
}

/// A named value of a program.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Variable {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub expression: String,
}

/// What programs of one kind can see: names, and records that they can make.
pub struct Scope {
    names: Vec<&'static str>,
    records: Vec<Record>,
    env: Arc<Env>,
}

/// Something that a program is given.
pub enum Fact<'a> {
    /// A value. Its numbers are floating-point, as those of JSON are.
    Json(&'a Json),
    /// A text.
    Text(&'a str),
    /// A moment.
    Time(Time),
}

/// What a program came to.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A value; moments and spans are texts, bytes are in Base64.
    Plain(Json),
    /// A record, with the fields that were set.
    Record {
        /// Its name.
        name: String,
        /// Its fields.
        fields: Map<String, Json>,
    },
}

impl Scope {
    /// Programs that see these names.
    pub fn new(names: &[&'static str], records: &[Record]) -> Self {
        Self {
            names: names.to_vec(),
            records: records.to_vec(),
            env: Arc::new(functions::environment(records)),
        }
    }
}

impl Program {
    /// An expression without variables.
    pub fn of(expression: impl Into<String>) -> Self {
        Self { variables: Vec::new(), expression: expression.into() }
    }

    /// Looks whether it can be read, and uses nothing that is not there.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self, scope: &Scope) -> Result<(), String> {
        if self.variables.len() > VARIABLES_MAX {
            return Err(format!("a program has no more than {VARIABLES_MAX} variables"));
        }
        let mut known: BTreeMap<&str, Shape<'_>> =
            scope.names.iter().map(|name| (*name, Shape::UpTo(0))).collect();
        for (index, Variable { name, expression }) in self.variables.iter().enumerate() {
            let place = |why| format!("failed to validate variables: variable[{index}].{name}: {why}");
            if !is_name(name) {
                return Err(place("a name has letters, digits and underscores, no digit first".to_owned()));
            }
            let syntax =
                |why| place(format!("failed to validate: invalid CEL syntax for variable '{name}': {why}"));
            let tree = parse(expression).map_err(syntax)?;
            Survey::new(scope, &known).cost(&tree).map_err(place)?;
            known.insert(name, Shape::UpTo(0));
        }
        let syntax = |why| format!("invalid CEL syntax for main expression: {why}");
        let tree = parse(&self.expression).map_err(syntax)?;
        let unknown = |why| format!("error type-checking CEL MainProgram: {why}");
        Survey::new(scope, &known).cost(&tree).map(drop).map_err(unknown)
    }

    /// What it comes to with these facts.
    ///
    /// # Errors
    /// If it cannot be evaluated, or would be too much work. The text says why without showing a value.
    pub fn evaluate(&self, scope: &Scope, facts: &[(&'static str, Fact<'_>)]) -> Result<Outcome, String> {
        let guarded = catch_unwind(AssertUnwindSafe(|| self.run(scope, facts)));
        guarded.unwrap_or_else(|_| Err("failed to evaluate expression: it cannot be evaluated".to_owned()))
    }

    fn run(&self, scope: &Scope, facts: &[(&'static str, Fact<'_>)]) -> Result<Outcome, String> {
        let mut context = Context::with_env(Arc::clone(&scope.env));
        let mut known: BTreeMap<&str, Shape<'_>> = BTreeMap::new();
        let mut weight = 0_u64;
        for (name, fact) in facts {
            let (value, shape) = match fact {
                Fact::Json(json) => (convert::value(json), Shape::Known(json)),
                Fact::Text(text) => (Value::String(Arc::new((*text).to_owned())), Shape::of_text(text)),
                Fact::Time(time) => (convert::moment(*time), Shape::UpTo(1)),
            };
            weight = weight.saturating_add(shape.weight());
            if weight > WEIGHT_MAX {
                return Err("failed to evaluate expression: it is given too much to look at".to_owned());
            }
            context.add_variable_from_value(*name, value);
            known.insert(name, shape);
        }
        let mut left = COST_MAX;
        for (index, Variable { name, expression }) in self.variables.iter().enumerate() {
            let place = |why| format!("failed to evaluate variables: variable[{index}].{name}: {why}");
            let value = value(expression, scope, &known, &context, &mut left).map_err(place)?;
            weight = weight.saturating_add(convert::weight(&value));
            if weight > WEIGHT_MAX {
                return Err(place("the variables come to too much".to_owned()));
            }
            known.insert(name, Shape::UpTo(convert::weight(&value)));
            context.add_variable_from_value(name.clone(), value);
        }
        let value = value(&self.expression, scope, &known, &context, &mut left)
            .map_err(|why| format!("failed to evaluate expression: {why}"))?;
        convert::outcome(&value)
    }
}

fn value(
    expression: &str,
    scope: &Scope,
    known: &BTreeMap<&str, Shape<'_>>,
    context: &Context<'_, '_>,
    left: &mut u64,
) -> Result<Value, String> {
    let tree = parse(expression)?;
    let cost = Survey::new(scope, known).cost(&tree)?;
    *left = left.checked_sub(cost).ok_or_else(|| {
        "this could be too much work: go through shorter lists, and through fewer within each other"
            .to_owned()
    })?;
    Value::resolve(&tree, context).map_err(|error| words::fault(expression, &error))
}

fn parse(expression: &str) -> Result<IdedExpr, String> {
    if expression.len() > EXPRESSION_SIZE_MAX {
        return Err(format!("an expression has no more than {EXPRESSION_SIZE_MAX} bytes"));
    }
    let parser = PrattParser::new()
        .max_recursion_depth(DEPTH_MAX)
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(true);
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(expression)));
    let parsed = parsed.map_err(|_| "it cannot be read".to_owned())?;
    parsed.map_err(|errors| words::syntax(&errors))
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
