//! `initialize "NAME" { request "NAME" { … } }`: what a new server asks of itself, once, before anyone else does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kit::Verb;
use policy::hcl::{Body, Value};
use serde_json::Value as Json;

use super::section::{Labelled, Section};

/// A group of requests.
#[derive(Clone, Debug)]
pub(crate) struct Stanza {
    pub(crate) name: String,
    pub(crate) requests: Vec<Step>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) verb: Verb,
    pub(crate) path: Expression,
    /// Without one, the root token that nobody is ever shown.
    pub(crate) token: Option<Expression>,
    pub(crate) data: Expression,
    pub(crate) allow_failure: bool,
}

/// A value, or where to take it from when its request is made.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    /// As it stands.
    Literal(Json),
    List(Vec<Expression>),
    Map(Vec<(String, Expression)>),
    /// From outside, as this type.
    Taken(Source, Kind),
}

/// Where a value is taken from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A variable of the environment.
    Variable { name: String, required: bool },
    /// The text of a file.
    File(PathBuf),
    /// What an earlier request asked, or was answered.
    Earlier { side: Side, stanza: String, request: String, fields: Vec<String> },
}

/// Which half of an earlier exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What a value is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Any,
    Bool,
    Float,
    Int,
    Map,
    Text,
    Texts,
}

/// No server asks more of itself.
const REQUESTS_MAX: usize = 10_000;

/// All stanzas, in the order of the files.
pub(super) fn read_all(section: &Section<'_>) -> Vec<Stanza> {
    let mut stanzas: Vec<Stanza> = Vec::new();
    for block in section.blocks("initialize", 1) {
        let Some(stanza) = stanza(block) else { continue };
        if stanzas.iter().any(|known| known.name == stanza.name) {
            section.error(
                "initialize",
                &format!("two stanzas are named \"{}\": give each its own name", stanza.name),
            );
        }
        stanzas.push(stanza);
    }
    if stanzas.iter().map(|stanza| stanza.requests.len()).sum::<usize>() > REQUESTS_MAX {
        section.error("initialize", &format!("more than {REQUESTS_MAX} requests: make the others later"));
    }
    stanzas
}

fn stanza(block: Labelled<'_>) -> Option<Stanza> {
    let name = named(&block)?;
    let section = block.section;
    let requests: Vec<Step> = section.blocks("request", 1).into_iter().filter_map(step).collect();
    let mut names = BTreeSet::new();
    if requests.iter().any(|step| !names.insert(step.name.as_str())) {
        section.error("request", "two requests have the same name: give each its own");
    }
    if requests.is_empty() {
        section.error("request", "say what to do: request \"NAME\" { operation = \"update\"  path = … }");
    }
    section.close();
    Some(Stanza { name, requests })
}

fn step(block: Labelled<'_>) -> Option<Step> {
    let name = named(&block)?;
    let section = block.section;
    section.refuse(&["headers", "when"], "leave it out; a request is made with its path, token and data");
    let expression = |key| {
        let value = section.value(key)?;
        Expression::read(value).map_err(|why| section.error(key, &format!("\"{key}\": {why}"))).ok()
    };
    let verb = verb(&section);
    let path = expression("path");
    if path.is_none() {
        section.error("path", "say where: path = \"sys/mounts/secret\"");
    }
    let token = expression("token");
    let data = expression("data").unwrap_or(Expression::Map(Vec::new()));
    let allow_failure = section.flag("allow_failure").unwrap_or(false);
    section.close();
    Some(Step { name, verb: verb?, path: path?, token, data, allow_failure })
}

fn named(block: &Labelled<'_>) -> Option<String> {
    let name = block.labels.first().copied().unwrap_or_default();
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_');
    if first && chars.all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-') {
        return Some(name.to_owned());
    }
    block
        .section
        .error("name", "a name begins with a letter and has letters, digits, dashes and underscores");
    None
}

fn verb(section: &Section<'_>) -> Option<Verb> {
    let word = section.text("operation").unwrap_or_default();
    let verb = match word.as_str() {
        "create" | "update" => Verb::Post,
        "read" => Verb::Get,
        "delete" => Verb::Delete,
        "list" => Verb::List,
        "scan" => Verb::Scan,
        "patch" => Verb::Patch,
        _ => {
            section.error("operation", "\"operation\" is create, update, read, delete, list, scan or patch");
            return None;
        }
    };
    Some(verb)
}

impl Expression {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::Literal(Json::String(text.clone()))),
            Value::Bool(flag) => Ok(Self::Literal(Json::Bool(*flag))),
            Value::Number(text) => {
                let number = serde_json::from_str(text).map(Json::Number);
                number.map(Self::Literal).map_err(|_| format!("{text} is not a number that JSON knows"))
            }
            Value::List(items) => items.iter().map(Self::read).collect::<Result<_, _>>().map(Self::List),
            Value::Object(body) if body.attribute("eval_source").is_some() => taken(body),
            Value::Object(body) => {
                let mut map = Vec::new();
                for item in &body.items {
                    let inner = Self::read(&item.value)?;
                    let mut keys = item.keys.iter().rev();
                    let last = keys.next_back();
                    let inner = keys.fold(inner, |inner, key| Self::Map(vec![(key.clone(), inner)]));
                    map.push((last.cloned().unwrap_or_default(), inner));
                }
                Ok(Self::Map(map))
            }
        }
    }
}

fn taken(body: &Body) -> Result<Expression, String> {
    let text = |key: &str| match body.attribute(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("a source needs \"{key}\", a text in quotes")),
    };
    let kind = match text("eval_type")?.as_str() {
        "string" => Kind::Text,
        "int" => Kind::Int,
        "float" | "float64" => Kind::Float,
        "bool" => Kind::Bool,
        "[]string" => Kind::Texts,
        "map" => Kind::Map,
        "any" => Kind::Any,
        other => {
            return Err(format!(
                "\"eval_type\" is string, int, float64, bool, []string, map or any, not \"{other}\""
            ));
        }
    };
    let source = match text("eval_source")?.as_str() {
        "env" => {
            let required = matches!(body.attribute("require_present"), Some(Value::Bool(true)));
            Source::Variable { name: text("env_var")?, required }
        }
        "file" => Source::File(PathBuf::from(text("path")?)),
        "request" => earlier(body, Side::Request, text("initialize_name")?, text("request_name")?)?,
        "response" => {
            let request = text("response_name").or_else(|_| text("request_name"))?;
            earlier(body, Side::Response, text("initialize_name")?, request)?
        }
        other => {
            return Err(format!("there is no source \"{other}\" here: take env, file, request or response"));
        }
    };
    Ok(Expression::Taken(source, kind))
}

fn earlier(body: &Body, side: Side, stanza: String, request: String) -> Result<Source, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let fields = match body.attribute("field_selector") {
        Some(Value::List(fields)) => fields.iter().map(text).collect(),
        Some(one) => text(one).map(|field| vec![field]),
        None => None,
    };
    let fields = fields.ok_or("a source needs \"field_selector\", a text or a list of texts")?;
    Ok(Source::Earlier { side, stanza, request, fields })
}
