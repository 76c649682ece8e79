//! One `path` block of a policy.

use crate::capability::{Capabilities, Capability};
use crate::control_group::ControlGroup;
use crate::hcl::{Block, Body, Item, ParseError, Value};
use crate::list_filter::ListFilter;
use crate::parameters::{self, ValueLists};
use crate::policy::Trouble;
use crate::template::Template;
use crate::{control_group, duration};
use std::sync::Arc;
use std::time::Duration;

/// What a path block may say.
const KEYS: [&str; 13] = [
    "comment",
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "mfa_methods",
    "pagination_limit",
    "expiration",
    "list_scan_response_keys_filter_path",
    "control_group",
];

/// Capabilities that Vault knows and nothing here needs: accepted, and granted to nobody.
const FOREIGN_CAPABILITIES: [&str; 2] = ["subscribe", "recover"];

/// A path block, parsed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// The path as it was written, without a leading slash.
    pub(crate) path: Template,
    /// The same, as text.
    pub(crate) source: String,
    /// The line on which the block begins.
    pub(crate) line: usize,
    /// Nanoseconds since 1970 after which the rule is not there any more.
    pub(crate) expiration: Option<u64>,
    pub(crate) terms: Terms,
}

/// What a rule grants, and under which conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    pub(crate) capabilities: Capabilities,
    pub(crate) wrapping_min: Option<Duration>,
    pub(crate) wrapping_max: Option<Duration>,
    pub(crate) allowed: ValueLists,
    pub(crate) denied: ValueLists,
    /// In lower case.
    pub(crate) required: Vec<String>,
    pub(crate) mfa_methods: Vec<String>,
    pub(crate) pagination_limit: Option<u64>,
    pub(crate) list_filter: Option<Arc<ListFilter>>,
    pub(crate) control_group: Option<Arc<ControlGroup>>,
}

impl Rule {
    pub(crate) fn parse(path: &str, block: &Block<'_>) -> Result<Self, Trouble> {
        let template = Template::parse(path).map_err(|_| {
            Trouble::new(block.line, "failed to validate policy templating: unbalanced templating characters")
        })?;
        check_keys(block.body, &KEYS)?;
        let control_group = control_group::parse(block.body)?.map(Arc::new);
        let mut terms = decode(block.body).map_err(|trouble| trouble.at_path(path))?;
        let expiration = expiration(block.body).map_err(|trouble| trouble.at_path(path))?;
        let source = path.strip_prefix('/').unwrap_or(path);
        if source.contains("+*") {
            let trouble = Trouble::new(block.line, "invalid use of wildcards ('+*' is forbidden)");
            return Err(trouble.at_path(source));
        }
        terms.capabilities = capabilities(block.body).map_err(|trouble| trouble.at_path(path))?;
        if !terms.capabilities.has(Capability::Deny) {
            (terms.wrapping_min, terms.wrapping_max) = wrapping(block.body)?;
            terms.list_filter = list_filter(block.body, terms.capabilities)?;
            terms.control_group = control_group;
        }
        let path = match source.len() == path.len() {
            true => template,
            false => {
                Template::parse(source).map_err(|_| Trouble::new(block.line, "unbalanced templating"))?
            }
        };
        Ok(Self { path, source: source.to_owned(), line: block.line, expiration, terms })
    }
}

/// Refuses keys that are not in the list, all at once.
pub(crate) fn check_keys(body: &Body, valid: &[&str]) -> Result<(), Trouble> {
    let unknown: Vec<&Item> = body.items.iter().filter(|item| !valid.contains(&item.key())).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let errors = unknown.iter().map(|item| format!("invalid key {:?} on line {}", item.key(), item.line));
    Err(Trouble::several(first.line, errors.collect()))
}

/// The parts that are plain values; what must be checked against the capabilities is read later.
fn decode(body: &Body) -> Result<Terms, Trouble> {
    let mut terms = Terms {
        allowed: value_lists(body, "allowed_parameters")?,
        denied: value_lists(body, "denied_parameters")?,
        required: texts(body, "required_parameters")?,
        mfa_methods: texts(body, "mfa_methods")?,
        ..Terms::default()
    };
    for key in &mut terms.required {
        *key = key.to_lowercase();
    }
    for item in body.all("pagination_limit") {
        let limit = item.value.as_i64().ok_or_else(|| unknown_type(item, "pagination_limit"))?;
        // Zero and less say that there is no limit.
        terms.pagination_limit = u64::try_from(limit).ok().filter(|limit| *limit > 0);
    }
    Ok(terms)
}

/// The texts of a list; lists of a repeated key are joined.
pub(crate) fn texts(body: &Body, key: &str) -> Result<Vec<String>, Trouble> {
    let mut texts = Vec::new();
    for item in body.all(key) {
        let Value::List(list) = &item.value else {
            return Err(item
                .error(format!("{key} must be a list in brackets, not {}", item.value.kind()))
                .into());
        };
        for (index, value) in list.iter().enumerate() {
            match value {
                Value::String(text) | Value::Number(text) => texts.push(text.clone()),
                other => {
                    let message = format!("{key}[{index}] must be a text in quotes, not {}", other.kind());
                    return Err(item.error(message).into());
                }
            }
        }
    }
    Ok(texts)
}

/// A map of lists, keys in lower case; repeated keys are joined as rules of several policies are.
fn value_lists(body: &Body, key: &str) -> Result<ValueLists, Trouble> {
    let mut lists = ValueLists::new();
    for item in body.all(key) {
        let Value::Object(map) = &item.value else {
            return Err(item
                .error(format!("{key} must be an object in braces, not {}", item.value.kind()))
                .into());
        };
        for item in &map.items {
            let values = match &item.value {
                Value::List(list) => list.iter().map(json).collect(),
                Value::Object(_) => vec![json(&item.value)],
                other => {
                    let message = format!(
                        "the values of {key} must be lists in brackets, not {}: {:?}",
                        other.kind(),
                        item.key()
                    );
                    return Err(item.error(message).into());
                }
            };
            parameters::merge(&mut lists, &[(item.key().to_lowercase(), values)].into());
        }
    }
    Ok(lists)
}

/// The value as a request would carry it.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(value) => (*value).into(),
        Value::Number(text) => match (value.as_i64(), text.parse::<serde_json::Number>(), value.as_f64()) {
            (Some(whole), _, _) => whole.into(),
            (None, Ok(number), _) => serde_json::Value::Number(number),
            (None, Err(_), Some(float)) => float.into(),
            (None, Err(_), None) => text.as_str().into(),
        },
        Value::List(list) => list.iter().map(json).collect(),
        Value::Object(body) => body
            .items
            .iter()
            .map(|item| (item.keys.join("."), json(&item.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn capabilities(body: &Body) -> Result<Capabilities, Trouble> {
    use Capability::{Create, Delete, Deny, List, Read, Sudo, Update};
    let line = body.all("capabilities").next().map_or(0, |item| item.line);
    let mut granted = Capabilities::NONE;
    // As decoders of HCL do it, the last of repeated texts counts.
    if let Some(item) = body.all("policy").last() {
        let write = [Create, Read, Update, Delete, List].into_iter().collect::<Capabilities>();
        granted = match item.value.as_text() {
            None => return Err(unknown_type(item, "policy")),
            Some("") => granted,
            Some("deny") => return Ok(Capabilities::only(Deny)),
            Some("read") => [Read, List].into_iter().collect(),
            Some("write") => write,
            Some("sudo") => write.with(Sudo),
            Some(other) => return Err(Trouble::new(item.line, format!("invalid policy {other:?}"))),
        };
    }
    for word in texts(body, "capabilities")? {
        match word.parse() {
            Ok(Deny) => return Ok(Capabilities::only(Deny)),
            Ok(capability) if capability != Capability::Root => granted = granted.with(capability),
            _ if FOREIGN_CAPABILITIES.contains(&word.as_str()) => {}
            _ => return Err(Trouble::new(line, format!("invalid capability {word:?}"))),
        }
    }
    Ok(granted)
}

fn wrapping(body: &Body) -> Result<(Option<Duration>, Option<Duration>), Trouble> {
    let read = |key: &str| match body.all(key).last() {
        None => Ok((0, 0)),
        Some(item) => match duration::parse_value(&item.value) {
            Ok(nanos) => Ok((nanos, item.line)),
            Err(reason) => Err(Trouble::new(item.line, format!("error parsing {key}: {reason}"))),
        },
    };
    let ((min, _), (max, line)) = (read("min_wrapping_ttl")?, read("max_wrapping_ttl")?);
    if min != 0 && max != 0 && max < min {
        return Err(Trouble::new(line, "max_wrapping_ttl cannot be less than min_wrapping_ttl"));
    }
    // Zero and less say that there is no bound.
    let bound = |nanos: i64| u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Ok((bound(min), bound(max)))
}

fn list_filter(body: &Body, capabilities: Capabilities) -> Result<Option<Arc<ListFilter>>, Trouble> {
    let Some(item) = body.all("list_scan_response_keys_filter_path").last() else { return Ok(None) };
    let Some(source) = item.value.as_text() else {
        return Err(unknown_type(item, "list_scan_response_keys_filter_path"));
    };
    if source.is_empty() {
        return Ok(None);
    }
    if !capabilities.has(Capability::List) {
        return Err(Trouble::new(
            item.line,
            "list_scan_response_keys_filter_path needs to be used on a path with the list capability",
        ));
    }
    let filter = ListFilter::parse(source).map_err(|reason| Trouble::new(item.line, reason))?;
    Ok(Some(Arc::new(filter)))
}

fn expiration(body: &Body) -> Result<Option<u64>, Trouble> {
    let Some(item) = body.all("expiration").last() else { return Ok(None) };
    match item.value.as_text() {
        Some("") => Ok(None),
        Some(text) => match duration::parse_date(text) {
            Ok(nanos) => Ok(Some(nanos)),
            Err(reason) => Err(Trouble::new(item.line, format!("invalid expiration time: {reason}"))),
        },
        None => Err(unknown_type(item, "expiration")),
    }
}

pub(crate) fn unknown_type(item: &Item, key: &str) -> Trouble {
    Trouble::from(ParseError {
        line: item.line,
        column: item.column,
        message: format!("{key} cannot be {}", item.value.kind()),
    })
}
