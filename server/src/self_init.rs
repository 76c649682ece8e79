//! A new server that sets itself up as its configuration says, once, and forgets the token that it did so with.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::Kernel;
use kit::Verb;
use serde_json::{Map, Value, json};
use storage::seal::Split;
use zeroize::Zeroizing;

use crate::config::{Environment, Expression, Kind, Side, Stanza, Step, ValueSource as Source};
use crate::inside;
use crate::phase::Phase;
use crate::run::{Failure, Running};

const ONE: Split = Split { shares: 1, threshold: 1 };
/// A file that is longer than this is no parameter.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// What was asked and answered so far, by stanza and request.
type History = BTreeMap<(String, String), (Value, Value)>;

/// Makes the store and everything that the stanzas say, if there is no store yet.
pub(crate) fn run(running: &Running, stanzas: &[Stanza], environment: &Environment) -> Result<(), Failure> {
    if stanzas.is_empty() || !matches!(&**running.state.phase(), Phase::Blank) {
        return Ok(());
    }
    let failed = |text: String| {
        Failure::start(format!(
            "the server could not set itself up: {text}. Mend the configuration, move the storage away, and start again"
        ))
    };
    let shares = running.state.init_open(ONE, None).map_err(|stuck| failed(stuck.to_string()))?;
    let kernel = running.state.kernel().ok_or_else(|| failed("it is sealed".to_owned()))?;
    let done = all(&kernel, &shares.root_token, stanzas, environment);
    // Whatever came of it, nobody is left with this token.
    let revoked = inside::ask(&kernel, &shares.root_token, Verb::Post, "auth/token/revoke-self", Vec::new());
    done.map_err(failed)?;
    match revoked.map(|answer| inside::refusal(&answer)) {
        Ok(None) => {}
        Ok(Some(text)) | Err(text) => return Err(failed(format!("its first token is not revoked: {text}"))),
    }
    tracing::info!("the server has set itself up as its configuration says");
    Ok(())
}

fn all(
    kernel: &Arc<Kernel>,
    root: &str,
    stanzas: &[Stanza],
    environment: &Environment,
) -> Result<(), String> {
    let mut history = History::new();
    for stanza in stanzas {
        for step in &stanza.requests {
            let place = format!("initialize \"{}\", request \"{}\"", stanza.name, step.name);
            match one(kernel, root, step, environment, &history) {
                Ok((exchange, refusal)) => {
                    history.insert((stanza.name.clone(), step.name.clone()), exchange);
                    match refusal {
                        None => tracing::info!(stanza = stanza.name, request = step.name, "done"),
                        Some(text) if step.allow_failure => {
                            tracing::warn!(
                                stanza = stanza.name,
                                request = step.name,
                                text,
                                "refused, which is allowed"
                            );
                        }
                        Some(text) => return Err(format!("{place}: {text}")),
                    }
                }
                Err(text) => return Err(format!("{place}: {text}")),
            }
        }
    }
    Ok(())
}

/// Makes one request. With what was asked and answered, and why it was refused.
fn one(
    kernel: &Arc<Kernel>,
    root: &str,
    step: &Step,
    environment: &Environment,
    history: &History,
) -> Result<((Value, Value), Option<String>), String> {
    let value = |expression: &Expression| evaluated(expression, environment, history);
    let text = |name: &str, expression: &Expression| match value(expression)? {
        Value::String(text) => Ok(text),
        _ => Err(format!("\"{name}\" is no text")),
    };
    let path = text("path", &step.path)?;
    let token = match &step.token {
        None => Zeroizing::new(root.to_owned()),
        Some(token) => Zeroizing::new(text("token", token)?),
    };
    let data = value(&step.data)?;
    if !data.is_object() {
        return Err("\"data\" is no map".to_owned());
    }
    let body = if data == json!({}) { Vec::new() } else { data.to_string().into_bytes() };
    let answer = inside::ask(kernel, &token, step.verb, path.trim_start_matches('/'), body)?;
    let response = serde_json::from_slice(&answer.body).unwrap_or_default();
    let request = json!({ "path": path, "token": *token, "data": data });
    Ok(((request, response), inside::refusal(&answer)))
}

fn evaluated(expression: &Expression, environment: &Environment, history: &History) -> Result<Value, String> {
    match expression {
        Expression::Literal(value) => Ok(value.clone()),
        Expression::List(items) => items
            .iter()
            .map(|item| evaluated(item, environment, history))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Expression::Map(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                map.insert(key.clone(), evaluated(entry, environment, history)?);
            }
            Ok(Value::Object(map))
        }
        Expression::Taken(source, kind) => cast(fetched(source, environment, history)?, *kind),
    }
}

fn fetched(source: &Source, environment: &Environment, history: &History) -> Result<Value, String> {
    match source {
        Source::Variable { name, required } => match environment.plain(name) {
            Some(text) => Ok(text.into()),
            None if *required => Err(format!("the variable {name} is not set")),
            None => Ok("".into()),
        },
        Source::File(path) => {
            let wrong = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
            let file = std::fs::File::open(path).map_err(wrong)?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_SIZE_MAX), &mut text)
                .map_err(wrong)?;
            Ok(text.into())
        }
        Source::Earlier { side, stanza, request, fields } => {
            let exchange = history.get(&(stanza.clone(), request.clone()));
            let (asked, answered) =
                exchange.ok_or_else(|| format!("no request {stanza}/{request} was made before this one"))?;
            let mut value = if *side == Side::Request { asked } else { answered };
            for field in fields {
                value = value
                    .get(field)
                    .ok_or_else(|| format!("{stanza}/{request} has no field {:?}", fields.join(".")))?;
            }
            Ok(value.clone())
        }
    }
}

/// The value as the type that was asked for.
fn cast(value: Value, kind: Kind) -> Result<Value, String> {
    let wrong = |wanted: &str| Err(format!("a value that was taken from elsewhere is not {wanted}"));
    match (kind, value) {
        (Kind::Any, value)
        | (Kind::Text, value @ Value::String(_))
        | (Kind::Map, value @ Value::Object(_)) => Ok(value),
        (Kind::Text, value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into()),
        (Kind::Text, _) => wrong("a text"),
        (Kind::Map, Value::String(text)) => match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => wrong("a map"),
        },
        (Kind::Map, _) => wrong("a map"),
        (Kind::Int, Value::String(text)) => {
            text.trim().parse::<i64>().map(Value::from).or_else(|_| wrong("a whole number"))
        }
        (Kind::Int, value) if value.is_i64() => Ok(value),
        (Kind::Int, _) => wrong("a whole number"),
        (Kind::Float, Value::String(text)) => {
            text.trim().parse::<f64>().map(Value::from).or_else(|_| wrong("a number"))
        }
        (Kind::Float, value) if value.is_number() => Ok(value),
        (Kind::Float, _) => wrong("a number"),
        (Kind::Bool, Value::String(text)) => match text.trim() {
            "true" | "1" => Ok(true.into()),
            "false" | "0" | "" => Ok(false.into()),
            _ => wrong("true or false"),
        },
        (Kind::Bool, value) if value.is_boolean() => Ok(value),
        (Kind::Bool, _) => wrong("true or false"),
        (Kind::Texts, Value::String(text)) => {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().into())
        }
        (Kind::Texts, value @ Value::Array(_)) => Ok(value),
        (Kind::Texts, _) => wrong("a list of texts"),
    }
}
