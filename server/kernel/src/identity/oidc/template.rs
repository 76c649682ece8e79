//! Templates of claims: JSON in which `{{identity.entity.name}}` and its like stand for JSON values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::Span;
use kit::{Entity, Error, Result, Time};
use serde_json::{Map, Value, json};

/// Claims that a template cannot set: they say who made a token, for whom, and until when.
const RESERVED: [&str; 10] =
    ["iat", "aud", "exp", "iss", "sub", "namespace", "nonce", "auth_time", "at_hash", "c_hash"];
/// The longest template.
const SIZE_MAX: usize = 64 * 1024;

/// Takes a template as it was written: JSON, or the same in base64.
///
/// # Errors
/// If it is no template of a JSON object, or sets what it must not.
pub(super) fn accepted(text: &str) -> Result<String> {
    if text.len() > SIZE_MAX {
        return Err(Error::invalid(format!("template is longer than {SIZE_MAX} bytes")));
    }
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let template = decoded.unwrap_or_else(|| text.to_owned());
    for key in claims(&template, None, Time::default())?.keys() {
        if RESERVED.contains(&key.as_str()) {
            let reserved = RESERVED.join(", ");
            return Err(Error::invalid(format!(
                "top level key {key:?} not allowed. Restricted keys: {reserved}"
            )));
        }
    }
    Ok(template)
}

/// The claims that a template gives for an entity; for nobody, those of an entity without anything.
///
/// # Errors
/// The words that clients know.
pub(super) fn claims(template: &str, entity: Option<&Entity>, now: Time) -> Result<Map<String, Value>> {
    if template.is_empty() {
        return Ok(Map::new());
    }
    let filled = fill(template, entity, now)
        .map_err(|error| Error::invalid(format!("error parsing template: {error}")))?;
    let parsed: Value = serde_json::from_str(&filled)
        .map_err(|error| Error::invalid(format!("error parsing template JSON: {error}")))?;
    match parsed {
        Value::Object(claims) => Ok(claims),
        _ => Err(Error::invalid("error parsing template JSON: it is no object")),
    }
}

fn fill(template: &str, entity: Option<&Entity>, now: Time) -> Result<String, &'static str> {
    let unbalanced = "unbalanced templating characters";
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A closing pair may belong to the JSON around it, so the first one ends the directive.
        let (directive, rest) = part.split_once("}}").ok_or(unbalanced)?;
        filled.push_str(&value(directive.trim(), entity, now)?.to_string());
        filled.push_str(rest);
    }
    Ok(filled)
}

const UNKNOWN: &str = "no value could be found for one of the template directives";

fn value(directive: &str, entity: Option<&Entity>, now: Time) -> Result<Value, &'static str> {
    let nobody = Entity::default();
    if let Some(rest) = directive.strip_prefix("identity.entity.") {
        return of_entity(rest, entity.unwrap_or(&nobody));
    }
    if let Some(rest) = directive.strip_prefix("identity.groups.") {
        let groups = entity.map_or(&[][..], |entity| &entity.groups);
        if groups.is_empty() {
            return Err("string contains groups template directives but no groups were provided");
        }
        return of_group(rest, groups);
    }
    directive.strip_prefix("time.").map_or(Err(UNKNOWN), |rest| of_time(rest, now))
}

fn of_entity(rest: &str, entity: &Entity) -> Result<Value, &'static str> {
    let of = |metadata: &std::collections::BTreeMap<String, String>, key: &str| {
        json!(metadata.get(key).map_or("", String::as_str))
    };
    match rest {
        "id" => return Ok(json!(entity.id)),
        "name" => return Ok(json!(entity.name)),
        "metadata" => return Ok(json!(entity.metadata)),
        "groups.names" => return Ok(listed(entity.groups.iter().map(|group| &group.name))),
        "groups.ids" => return Ok(listed(entity.groups.iter().map(|group| &group.id))),
        _ => {}
    }
    if let Some(key) = rest.strip_prefix("metadata.") {
        return Ok(of(&entity.metadata, key));
    }
    let selector = rest.strip_prefix("aliases.").ok_or(UNKNOWN)?;
    let (accessor, field) = selector.split_once('.').ok_or("invalid alias selector")?;
    let none = kit::Alias::default();
    let alias = entity.aliases.get(accessor).unwrap_or(&none);
    match field.split_once('.') {
        None if field == "id" => Ok(json!(alias.id)),
        None if field == "name" => Ok(json!(alias.name)),
        None if field == "metadata" => Ok(json!(alias.metadata)),
        None if field == "custom_metadata" => Ok(json!(alias.custom_metadata)),
        Some(("metadata", key)) => Ok(of(&alias.metadata, key)),
        Some(("custom_metadata", key)) => Ok(of(&alias.custom_metadata, key)),
        _ => Err(UNKNOWN),
    }
}

/// A list; null if there is nothing in it.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> Value {
    let names: Vec<&String> = names.collect();
    if names.is_empty() { Value::Null } else { json!(names) }
}

fn of_group(rest: &str, groups: &[kit::Group]) -> Result<Value, &'static str> {
    let (kind, rest) = rest.split_once('.').ok_or("invalid groups selector")?;
    let (key, field) = rest.split_once('.').ok_or("invalid groups selector")?;
    let group = groups.iter().find(|group| match kind {
        "ids" => group.id == key,
        "names" => group.name == key,
        _ => false,
    });
    let group = group.ok_or("entity is not a member of a group that the template names")?;
    match field.split_once('.') {
        None if field == "id" => Ok(json!(group.id)),
        None if field == "name" => Ok(json!(group.name)),
        Some(("metadata", key)) => Ok(json!(group.metadata.get(key).map_or("", String::as_str))),
        _ => Err(UNKNOWN),
    }
}

fn of_time(rest: &str, now: Time) -> Result<Value, &'static str> {
    let seconds = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    if rest == "now" {
        return Ok(json!(seconds));
    }
    let rest = rest.strip_prefix("now.").ok_or("invalid time selector")?;
    let (operator, span) = rest.split_once('.').ok_or("missing time operand")?;
    let span = Span::parse(span).ok_or("invalid duration in a template")?.seconds();
    match operator {
        "plus" => Ok(json!(seconds.saturating_add(span))),
        "minus" => Ok(json!(seconds.saturating_sub(span))),
        _ => Err("invalid time operator"),
    }
}

/// Adds claims to others. Reserved ones are left as they are, whatever a template says.
pub(super) fn merge(into: &mut Map<String, Value>, claims: Map<String, Value>) {
    into.extend(claims.into_iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Entity {
        Entity {
            id: "e1".to_owned(),
            name: "ann \"x\"".to_owned(),
            metadata: [("team".to_owned(), "red".to_owned())].into(),
            groups: vec![kit::Group { id: "g1".to_owned(), name: "ops".to_owned(), ..kit::Group::default() }],
            ..Entity::default()
        }
    }

    #[track_caller]
    fn check(template: &str, expect: Result<Value, &str>) {
        let got = claims(template, Some(&ann()), Time::from_seconds(100));
        let got = got.map(Value::Object).map_err(|error| error.to_string());
        assert_eq!(got, expect.map_err(str::to_owned), "{template}");
    }

    #[test]
    fn directives_become_json() {
        check(r#"{"n":{{identity.entity.name}}}"#, Ok(json!({"n": "ann \"x\""})));
        check(r#"{"o":{"m":{{ identity.entity.metadata }}}}"#, Ok(json!({"o": {"m": {"team": "red"}}})));
        check(r#"{"m":{{identity.entity.metadata.none}}}"#, Ok(json!({"m": ""})));
        check(r#"{"g":{{identity.entity.groups.names}}}"#, Ok(json!({"g": ["ops"]})));
        check(r#"{"g":{{identity.groups.names.ops.id}}}"#, Ok(json!({"g": "g1"})));
        check(r#"{"a":{{identity.entity.aliases.acc.name}}}"#, Ok(json!({"a": ""})));
        check(r#"{"t":{{time.now.plus.1m}}}"#, Ok(json!({"t": 160})));
        check("", Ok(json!({})));
        let unknown = "error parsing template: no value could be found for one of the template directives";
        check(r#"{"a":{{foo}}}"#, Err(unknown));
        check(r#"{"a":{{foo}"#, Err("error parsing template: unbalanced templating characters"));
    }

    #[test]
    fn a_template_is_looked_through_when_it_is_written() {
        let error = accepted(r#"{"sub":{{identity.entity.name}}}"#).unwrap_err();
        assert!(error.to_string().starts_with("top level key \"sub\" not allowed."), "{error}");
        accepted(r#"{"a":{{identity.entity.name}}"#).unwrap_err();
        assert_eq!(accepted("eyJhIjoxfQ==").unwrap(), r#"{"a":1}"#);
        assert_eq!(accepted("").unwrap(), "");
    }
}
