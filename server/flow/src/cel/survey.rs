use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, SelectExpr, operators};
use cel::common::ast::{LiteralValue, StructExpr};
use serde_json::Value as Json;

use super::{Scope, TREE_DEPTH_MAX};

/// What is known of a value before a program runs.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// Which one it is.
    Known(&'a Json),
    /// That it weighs no more than this.
    UpTo(u64),
}

/// Reckons what an expression comes to at worst, and finds what is not there.
pub(super) struct Survey<'a> {
    scope: &'a Scope,
    known: &'a BTreeMap<&'a str, Shape<'a>>,
    /// The names that the lists around this place have given.
    locals: Vec<(String, Shape<'a>)>,
    depth: usize,
    weights: RefCell<HashMap<usize, u64>>,
}

/// What a part of an expression comes to at worst.
struct Seen<'a> {
    cost: u64,
    shape: Shape<'a>,
}

/// How the result of a function grows with what it is given, and what it costs.
#[derive(Clone, Copy)]
enum Growth {
    /// It is small, and everything given is looked at once.
    Small,
    /// It is no larger than what is given, so many times.
    Times(u64),
    /// It is no larger than the target and all the rest multiplied, and costs as much.
    Product,
    /// It is small, and costs as Product does.
    Search,
    /// A regular expression is made.
    Pattern,
}

/// What types are called.
const TYPES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "google",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "timestamp",
    "type",
];
/// The first parts of the names of functions that have two.
const SPACES: [&str; 5] = ["base64", "lists", "math", "optional", "strings"];
/// What a value is at least counted as, where its size does not depend on what is given.
const SMALL: u64 = 64;
/// What making a regular expression costs, and each byte of its pattern.
const PATTERN_COST: u64 = 4_000;
const PATTERN_BYTE_COST: u64 = 100;

impl<'a> Shape<'a> {
    /// A text.
    pub(super) fn of_text(text: &str) -> Self {
        Self::UpTo(text.len() as u64 + 1)
    }

    /// What it weighs at most.
    pub(super) fn weight(self) -> u64 {
        match self {
            Self::Known(json) => weight(json),
            Self::UpTo(weight) => weight,
        }
    }

    fn field(self, name: &str) -> Self {
        match self {
            Self::Known(Json::Object(fields)) => fields.get(name).map_or(Self::UpTo(1), Self::Known),
            Self::Known(_) => Self::UpTo(1),
            upto @ Self::UpTo(_) => upto,
        }
    }
}

fn weight(json: &Json) -> u64 {
    let own = match json {
        Json::String(text) => text.len() as u64,
        Json::Array(items) => items.iter().map(weight).fold(0, u64::saturating_add),
        Json::Object(fields) => fields
            .iter()
            .map(|(key, field)| weight(field).saturating_add(key.len() as u64))
            .fold(0, u64::saturating_add),
        _ => 0,
    };
    own.saturating_add(1)
}

impl<'a> Survey<'a> {
    pub(super) fn new(scope: &'a Scope, known: &'a BTreeMap<&'a str, Shape<'a>>) -> Self {
        Self { scope, known, locals: Vec::new(), depth: 0, weights: RefCell::default() }
    }

    /// How many steps an expression comes to at worst.
    ///
    /// # Errors
    /// If it uses what is not there, or is too deep.
    pub(super) fn cost(mut self, tree: &IdedExpr) -> Result<u64, String> {
        self.look(tree).map(|seen| seen.cost)
    }

    fn look(&mut self, tree: &IdedExpr) -> Result<Seen<'a>, String> {
        if self.depth == TREE_DEPTH_MAX {
            return Err(format!("an expression is no more than {TREE_DEPTH_MAX} deep: use variables"));
        }
        self.depth += 1;
        let seen = match &tree.expr {
            Expr::Literal(literal) => Ok(Seen { cost: 1, shape: Shape::UpTo(literal_weight(literal)) }),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.parts(list.elements.iter()),
            Expr::Map(map) => {
                let entries = map.entries.iter().flat_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                    EntryExpr::StructField(field) => vec![&field.value],
                });
                self.parts(entries)
            }
            Expr::Struct(record) => self.record(record),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Unspecified => Err("a part of it is missing".to_owned()),
        };
        self.depth -= 1;
        seen
    }

    fn name(&self, name: &str) -> Result<Seen<'a>, String> {
        let name = name.trim_start_matches('.');
        let local = self.locals.iter().rev().find(|(local, _)| local == name).map(|(_, shape)| *shape);
        let shape = local.or_else(|| self.known.get(name).copied());
        let shape = shape.or_else(|| TYPES.contains(&name).then_some(Shape::UpTo(1)));
        match shape.or_else(|| (name == "uint").then_some(Shape::UpTo(1))) {
            Some(shape) => Ok(Seen { cost: 1, shape }),
            None => Err(format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Seen<'a>, String> {
        let operand = self.look(&select.operand)?;
        let shape = if select.test { Shape::UpTo(1) } else { operand.shape.field(&select.field) };
        Ok(Seen { cost: operand.cost.saturating_add(1), shape })
    }

    /// Everything in a list or map.
    fn parts<'t>(&mut self, parts: impl Iterator<Item = &'t IdedExpr>) -> Result<Seen<'a>, String> {
        let (mut cost, mut weight) = (1_u64, 1_u64);
        for part in parts {
            let seen = self.look(part)?;
            let own = self.weigh(seen.shape);
            cost = cost.saturating_add(seen.cost).saturating_add(own);
            weight = weight.saturating_add(own);
        }
        Ok(Seen { cost, shape: Shape::UpTo(weight) })
    }

    fn record(&mut self, record: &StructExpr) -> Result<Seen<'a>, String> {
        let name = record.type_name.trim_start_matches('.');
        let Some(kind) = self.scope.records.iter().find(|kind| kind.name == name) else {
            return Err(format!("undeclared reference to '{name}' (in container '')"));
        };
        let mut values = Vec::new();
        for entry in &record.entries {
            if let EntryExpr::StructField(field) = &entry.expr {
                if !kind.fields.contains(&field.field.as_str()) {
                    return Err(format!("undefined field '{}'", field.field));
                }
                values.push(&field.value);
            }
        }
        self.parts(values.into_iter())
    }

    fn call(&mut self, call: &CallExpr) -> Result<Seen<'a>, String> {
        let mut name = call.func_name.trim_start_matches('.').to_owned();
        let mut args = Vec::new();
        if let Some(target) = &call.target {
            match &target.expr {
                Expr::Ident(space) if SPACES.contains(&space.as_str()) && self.name(space).is_err() => {
                    name = format!("{space}.{name}");
                }
                _ => args.push(self.look(target)?),
            }
        }
        for arg in &call.args {
            args.push(self.look(arg)?);
        }
        let cost = args.iter().map(|arg| arg.cost).fold(1, u64::saturating_add);
        let weights: Vec<u64> = args.iter().map(|arg| self.weigh(arg.shape)).collect();
        let all = weights.iter().copied().fold(0, u64::saturating_add);
        let larger = weights.iter().copied().max().unwrap_or(0);
        let (own, shape) = match name.as_str() {
            operators::CONDITIONAL => (1, Shape::UpTo(larger)),
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => {
                let key = call.args.last().and_then(literal_text);
                let target = args.first().map_or(Shape::UpTo(0), |arg| arg.shape);
                (1, key.map_or(Shape::UpTo(self.weigh(target)), |key| target.field(key)))
            }
            operators::ADD => (all, Shape::UpTo(all)),
            other => {
                let growth = growth(other)
                    .ok_or_else(|| format!("undeclared reference to '{other}' (in container '')"))?;
                applied(growth, &weights, all)
            }
        };
        Ok(Seen { cost: cost.saturating_add(own), shape })
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Result<Seen<'a>, String> {
        let range = self.look(&it.iter_range)?;
        let init = self.look(&it.accu_init)?;
        let (rounds, item) = match range.shape {
            Shape::Known(Json::Array(items)) => {
                (items.len() as u64, items.iter().map(|item| self.weigh(Shape::Known(item))).max())
            }
            Shape::Known(Json::Object(fields)) => {
                (fields.len() as u64, fields.keys().map(|key| key.len() as u64 + 1).max())
            }
            Shape::Known(_) => (0, None),
            Shape::UpTo(weight) => (weight, Some(weight)),
        };
        let item = item.unwrap_or(0);
        self.locals.push((it.iter_var.clone(), Shape::UpTo(item)));
        if let Some(second) = &it.iter_var2 {
            self.locals.push((second.clone(), Shape::UpTo(item)));
        }
        // The macros only ever add to what they gather, so what one round adds to nothing is what each adds.
        self.locals.push((it.accu_var.clone(), Shape::UpTo(0)));
        let condition = self.look(&it.loop_cond)?;
        let step = self.look(&it.loop_step)?;
        let grown = self.weigh(step.shape).saturating_mul(rounds).saturating_add(self.weigh(init.shape));
        self.locals.truncate(self.locals.len() - 2 - usize::from(it.iter_var2.is_some()));
        self.locals.push((it.accu_var.clone(), Shape::UpTo(grown)));
        let result = self.look(&it.result)?;
        self.locals.pop();
        let round = condition.cost.saturating_add(step.cost).saturating_add(item).saturating_add(2);
        let cost = [range.cost, init.cost, round.saturating_mul(rounds), result.cost, grown];
        Ok(Seen { cost: cost.into_iter().fold(1, u64::saturating_add), shape: result.shape })
    }

    /// What a shape weighs. What is known is weighed once.
    fn weigh(&self, shape: Shape<'a>) -> u64 {
        match shape {
            Shape::UpTo(weight) => weight,
            Shape::Known(json) => {
                let place = std::ptr::from_ref(json).addr();
                *self.weights.borrow_mut().entry(place).or_insert_with(|| weight(json))
            }
        }
    }
}

fn applied<'a>(growth: Growth, weights: &[u64], all: u64) -> (u64, Shape<'a>) {
    let target = weights.first().copied().unwrap_or(0).saturating_add(1);
    let rest = weights.iter().skip(1).copied().fold(1, u64::saturating_add);
    let product = target.saturating_mul(rest).saturating_add(all);
    match growth {
        Growth::Small => (all, Shape::UpTo(1)),
        Growth::Times(times) => (all, Shape::UpTo(all.saturating_mul(times).saturating_add(SMALL))),
        Growth::Product => (product, Shape::UpTo(product.saturating_add(SMALL))),
        Growth::Search => (product, Shape::UpTo(1)),
        Growth::Pattern => {
            let pattern = rest.saturating_mul(PATTERN_BYTE_COST).saturating_add(PATTERN_COST);
            (pattern.saturating_add(all), Shape::UpTo(1))
        }
    }
}

/// How the result of a function grows. Nothing: there is no such function, or none that is let in.
fn growth(function: &str) -> Option<Growth> {
    Some(match function {
        operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT
        | operators::NOT_STRICTLY_FALSE
        | operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO
        | operators::NEGATE
        | operators::EQUALS
        | operators::NOT_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::IN => Growth::Small,
        "bool" | "double" | "duration" | "int" | "size" | "timestamp" | "type" | "uint" => Growth::Small,
        "contains" | "endsWith" | "startsWith" | "check_valid_email" | "hasValue" => Growth::Small,
        "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getFullYear" | "getHours"
        | "getMilliseconds" | "getMinutes" | "getMonth" | "getSeconds" => Growth::Small,
        "matches" => Growth::Pattern,
        "indexOf" | "lastIndexOf" => Growth::Search,
        "charAt" | "lowerAscii" | "substring" | "trim" | "upperAscii" => Growth::Times(1),
        "first" | "flatten" | "last" | "reverse" | "slice" => Growth::Times(1),
        "bytes" | "dyn" | "or" | "orValue" | "string" | "value" => Growth::Times(1),
        "optional.none" | "optional.of" | "optional.ofNonZeroValue" => Growth::Times(1),
        "base64.decode" | "base64.encode" | "decode_json" | "strings.quote" => Growth::Times(2),
        "encode_json" => Growth::Times(6),
        // Each conversion of a format writes down to a hundred digits beside its argument.
        "format" => Growth::Times(128),
        "distinct" | "join" | "replace" | "sort" | "split" => Growth::Product,
        "math.abs" | "math.bitAnd" | "math.bitNot" | "math.bitOr" | "math.bitShiftLeft"
        | "math.bitShiftRight" | "math.bitXor" | "math.ceil" | "math.floor" | "math.isFinite"
        | "math.isInf" | "math.isNaN" | "math.round" | "math.sign" | "math.sqrt" | "math.trunc" => {
            Growth::Small
        }
        _ => return None,
    })
}

fn literal_text(tree: &IdedExpr) -> Option<&str> {
    match &tree.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn literal_weight(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => text.inner().len() as u64 + 1,
        LiteralValue::Bytes(bytes) => bytes.inner().len() as u64 + 1,
        _ => 1,
    }
}
