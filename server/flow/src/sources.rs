use std::sync::LazyLock;

use policy::hcl::{Body, Item, Value};
use serde_json::Value as Json;

use crate::cel::{Program, Scope, Variable};
use crate::expression::{Expression, Kind, Selector, Side, Source};
use crate::read::Dialect;
use crate::template::Template;

/// What programs of requests see: what was asked and answered, and what the caller gave if there is a caller.
pub(crate) fn scope(with_input: bool) -> &'static Scope {
    static ALONE: LazyLock<Scope> = LazyLock::new(|| Scope::new(&["requests", "responses"], &[]));
    static ASKED: LazyLock<Scope> = LazyLock::new(|| Scope::new(&["requests", "responses", "input"], &[]));
    if with_input { &ASKED } else { &ALONE }
}

/// Whether a name stands anywhere in a program.
pub(crate) fn mentions(program: &Program, name: &str) -> bool {
    let mut texts = program.variables.iter().map(|variable| &variable.expression);
    texts.any(|text| text.contains(name)) || program.expression.contains(name)
}

impl Expression {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is to be taken from somewhere, and that is not said rightly.
    pub fn read(value: &Value, dialect: &Dialect) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Literal(Json::String(text.clone()))),
            Value::Bool(flag) => Ok(Self::Literal(Json::Bool(*flag))),
            Value::Number(text) => {
                let number = serde_json::from_str(text).map(Json::Number);
                number.map(Self::Literal).map_err(|_| format!("{text} is not a number that JSON knows"))
            }
            Value::List(items) => {
                items.iter().map(|item| Self::read(item, dialect)).collect::<Result<_, _>>().map(Self::List)
            }
            Value::Object(body) => {
                match (body.attribute("eval_source").is_some(), body.attribute("eval_type").is_some()) {
                    (true, true) => taken(body, dialect),
                    (false, false) => entries(body, dialect, &[]).map(Self::Map),
                    _ => Err("malformed object; missing either 'eval_type' or 'eval_source'".to_owned()),
                }
            }
        }
    }
}

/// The entries of a map, without some.
fn entries(body: &Body, dialect: &Dialect, without: &[&str]) -> Result<Vec<(String, Expression)>, String> {
    let mut map = Vec::new();
    for item in body.items.iter().filter(|item| !without.contains(&item.key())) {
        let inner = Expression::read(&item.value, dialect)?;
        let mut keys = item.keys.iter().rev();
        let first = keys.next_back();
        let inner = keys.fold(inner, |inner, key| Expression::Map(vec![(key.clone(), inner)]));
        map.push((first.cloned().unwrap_or_default(), inner));
    }
    Ok(map)
}

fn taken(body: &Body, dialect: &Dialect) -> Result<Expression, String> {
    let name = text(body, "eval_type")?;
    let kind = Kind::named(&name).ok_or_else(|| {
        format!(
            "\"eval_type\" is string, int, float64, bool, []string, map or any, not \"{name}\": unsupported type conversion"
        )
    })?;
    let name = text(body, "eval_source")?;
    let source = match name.as_str() {
        "env" if dialect.looks_outside() => {
            let required = body.attribute("require_present").and_then(Value::as_bool).unwrap_or(false);
            Source::Variable { name: expression(body, "env_var", dialect)?, required }
        }
        "file" if dialect.looks_outside() => Source::File(expression(body, "path", dialect)?),
        "request" => {
            let request = text(body, "request_name")?;
            earlier(body, Side::Request, request, dialect)?
        }
        "response" => {
            let request = text(body, "response_name").or_else(|_| text(body, "request_name"))?;
            earlier(body, Side::Response, request, dialect)?
        }
        "cel" => {
            let program = program(body)?;
            let failed = |why| {
                format!("failed to validate source 'cel': CEL source failed to validate program: {why}")
            };
            program.check(scope(dialect.inputs().is_some())).map_err(failed)?;
            Source::Cel(program)
        }
        "template" => {
            let failed =
                |why| format!("failed to validate source 'template': failed to build new templator: {why}");
            let template = Template::new(&text(body, "template")?).map_err(failed)?;
            let data = match body.attribute("data") {
                Some(Value::Object(data)) => entries(data, dialect, &[])?,
                None => Vec::new(),
                Some(_) => return Err("field 'data' is of wrong type: expected a map".to_owned()),
            };
            Source::Template { template, data }
        }
        "input" if dialect.inputs().is_some() => {
            let field = text(body, "field_name")?;
            if !dialect.inputs().is_some_and(|inputs| inputs.contains(&field)) {
                return Err(format!("referenced field {field:?} is missing from schema"));
            }
            Source::Input(field)
        }
        other => return Err(format!("unknown value for 'eval_source': {other}: take {}", dialect.sources())),
    };
    Ok(Expression::Taken(Box::new(source), kind))
}

fn text(body: &Body, key: &str) -> Result<String, String> {
    match body.attribute(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("a source needs \"{key}\", a text in quotes")),
    }
}

fn expression(body: &Body, key: &str, dialect: &Dialect) -> Result<Expression, String> {
    let value = body.attribute(key).ok_or_else(|| format!("a source needs \"{key}\""))?;
    Expression::read(value, dialect)
}

fn earlier(body: &Body, side: Side, request: String, dialect: &Dialect) -> Result<Source, String> {
    let selector = |value: &Value| match value {
        Value::Number(_) => value.as_i64().and_then(|index| usize::try_from(index).ok()).map(Selector::Index),
        other => other.as_str().map(|field| Selector::Field(field.to_owned())),
    };
    let selectors = match body.attribute("field_selector") {
        Some(Value::List(fields)) => fields.iter().map(selector).collect(),
        Some(one) => selector(one).map(|field| vec![field]),
        None => Some(Vec::new()),
    };
    let selectors = selectors.ok_or("\"field_selector\" is a text or a whole number, or a list of these")?;
    let group = text(body, &format!("{}_name", dialect.outer()))?;
    Ok(Source::Earlier { side, group, request, selectors })
}

fn program(body: &Body) -> Result<Program, String> {
    let variables = match body.attribute("variables") {
        Some(Value::List(variables)) => variables.iter().map(variable).collect::<Result<_, _>>()?,
        None => Vec::new(),
        Some(_) => return Err("field 'variables' is a list of { name, expression }".to_owned()),
    };
    Ok(Program { variables, expression: text(body, "expression")? })
}

fn variable(value: &Value) -> Result<Variable, String> {
    let wrong = "a variable has a name and an expression, and nothing else";
    let body = value.as_body().ok_or(wrong)?;
    let is_known = |item: &Item| item.keys.len() == 1 && ["name", "expression"].contains(&item.key());
    if !body.items.iter().all(is_known) {
        return Err(wrong.to_owned());
    }
    Ok(Variable { name: text(body, "name")?, expression: text(body, "expression")? })
}
