use std::collections::BTreeMap;

use kit::Verb;
use serde_json::{Map, Value, json};

use crate::expression::{Expression, Kind, Within};

/// Requests under one name, made one after the other.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Whether they are made at all; nothing: they are.
    pub when: Option<Expression>,
    /// The requests.
    pub steps: Vec<Step>,
}

/// A request as it is written down.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What is to be done: `read`, `update` …
    pub operation: Expression,
    /// Where.
    pub path: Expression,
    /// By which token; nothing: by that of whoever asks.
    pub token: Option<Expression>,
    /// Its parameters.
    pub data: Option<Expression>,
    /// Its headers.
    pub headers: Option<Expression>,
    /// Whether it is made; nothing: it is.
    pub when: Option<Expression>,
    /// Whether the rest goes on if it is refused; nothing: not.
    pub allow_failure: Option<Expression>,
}

/// A workflow has no more requests.
pub const STEPS_MAX: usize = 100;

/// A request as it is made.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done, as it was written.
    pub operation: String,
    /// The same.
    pub verb: Verb,
    /// Where, without a slash in front.
    pub path: String,
    /// By which token; nothing: by that of whoever asks. Empty: by none.
    pub token: Option<String>,
    /// Its parameters.
    pub data: Map<String, Value>,
    /// Its headers.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Whether it is made.
    pub made: bool,
    /// Whether the rest goes on if it is refused.
    pub may_fail: bool,
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    status: u16,
    body: Value,
}

impl Group {
    /// Whether its requests are made.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn is_made(&self, within: &Within<'_>) -> Result<bool, String> {
        flag(&self.when, within, "when").map(|made| made.unwrap_or(true))
    }
}

impl Step {
    /// The request, with what it takes from elsewhere.
    ///
    /// # Errors
    /// If something is not there, or of the wrong kind.
    pub fn asked(&self, within: &Within<'_>) -> Result<Asked, String> {
        let operation = text("operation", &self.operation, within)?;
        let path = text("path", &self.path, within)?;
        let token = self.token.as_ref().map(|token| text("token", token, within)).transpose()?;
        let data = match of("data", &self.data, within)? {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err("failed to evaluate data: it is no map".to_owned()),
        };
        let headers = headers(of("headers", &self.headers, within)?)?;
        let may_fail = flag(&self.allow_failure, within, "allow failure")?.unwrap_or(false);
        let made = flag(&self.when, within, "when")?.unwrap_or(true);
        let verb = verb(&operation).ok_or("cannot handle internal-only request operation")?;
        let path = path.strip_prefix('/').map_or(path.clone(), str::to_owned);
        Ok(Asked { operation, verb, path, token, data, headers, made, may_fail })
    }
}

/// What is done by an operation of this name.
pub fn verb(operation: &str) -> Option<Verb> {
    Some(match operation {
        "create" | "update" => Verb::Post,
        "read" => Verb::Get,
        "delete" => Verb::Delete,
        "list" => Verb::List,
        "scan" => Verb::Scan,
        "patch" => Verb::Patch,
        _ => return None,
    })
}

fn of(name: &str, expression: &Option<Expression>, within: &Within<'_>) -> Result<Option<Value>, String> {
    let failed = |why| format!("failed to evaluate {name}: {why}");
    expression.as_ref().map(|expression| expression.evaluate(within).map_err(failed)).transpose()
}

fn text(name: &str, expression: &Expression, within: &Within<'_>) -> Result<String, String> {
    let failed = |why| format!("failed to evaluate {name}: {why}");
    match Kind::Text.cast(expression.evaluate(within).map_err(failed)?) {
        Ok(Value::String(text)) => Ok(text),
        _ => Err(failed("it is no text".to_owned())),
    }
}

fn flag(expression: &Option<Expression>, within: &Within<'_>, name: &str) -> Result<Option<bool>, String> {
    let Some(value) = of(name, expression, within)? else { return Ok(None) };
    match Kind::Bool.cast(value) {
        Ok(Value::Bool(flag)) => Ok(Some(flag)),
        _ => Err(format!("failed to evaluate {name}: it is neither true nor false")),
    }
}

fn headers(value: Option<Value>) -> Result<BTreeMap<String, Vec<String>>, String> {
    let wrong = || "failed to evaluate headers: each is a text, or a list of texts".to_owned();
    let one = |value: Value| match Kind::Text.cast(value) {
        Ok(Value::String(text)) => Ok(text),
        _ => Err(wrong()),
    };
    let fields = match value {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(wrong()),
    };
    let each = fields.into_iter().map(|(name, value)| {
        let values = match value {
            Value::Array(values) => values.into_iter().map(one).collect::<Result<_, _>>()?,
            other => vec![one(other)?],
        };
        Ok((name.to_lowercase(), values))
    });
    each.collect()
}

impl Told {
    /// An answer as it came.
    pub fn new(status: u16, body: &[u8]) -> Self {
        let body = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => {
                json!({ "data": { "http_status_code": status, "http_raw_body": String::from_utf8_lossy(body) } })
            }
        };
        Self { status, body }
    }

    /// Why it was refused, if it was. That something is not there is an answer.
    pub fn refusal(&self) -> Option<String> {
        let errors: Vec<&str> = match self.body.get("errors") {
            Some(Value::Array(errors)) => errors.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        match self.status {
            200..=399 => None,
            404 if errors.is_empty() => None,
            status if errors.is_empty() => Some(format!("the answer was {status}")),
            _ => Some(errors.join(", ")),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The answer as later requests see it.
    pub(crate) fn shown(&self) -> Value {
        let Value::Object(body) = &self.body else { return Value::Null };
        if self.status == 404 && body.get("data").is_none() {
            return Value::Null;
        }
        let part = |name: &str| body.get(name).cloned().unwrap_or(Value::Null);
        // What stands alone on the wire has no envelope around it.
        if body.get("request_id").is_none() && body.get("wrap_info").is_none() && body.get("data").is_none() {
            return json!({ "auth": null, "data": body, "warnings": null, "wrap_info": null });
        }
        json!({
            "auth": part("auth"), "data": part("data"), "warnings": part("warnings"),
            "wrap_info": part("wrap_info"), "lease_id": part("lease_id"),
            "lease_duration": part("lease_duration"), "renewable": part("renewable"),
        })
    }
}
