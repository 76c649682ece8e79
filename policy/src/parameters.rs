//! What a rule says about the parameters of a request.

use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The parameters of a request. Asked only when a rule constrains them, so that a body is not parsed for nothing.
pub trait Parameters {
    /// The parameters, or why there are none to be had; a request whose parameters matter is then denied.
    fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable>;
}

/// The body or query of a request could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot read the request's parameters: {0}")]
pub struct Unreadable(pub String);

/// A request without parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoParameters;

impl Parameters for NoParameters {
    fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable> {
        Ok(Cow::Owned(Map::new()))
    }
}

impl Parameters for Map<String, Value> {
    fn parameters(&self) -> Result<Cow<'_, Map<String, Value>>, Unreadable> {
        Ok(Cow::Borrowed(self))
    }
}

/// Values by parameter, in lower case. An empty list stands for every value.
pub(crate) type ValueLists = BTreeMap<String, Vec<Value>>;

/// The key that stands for every parameter.
const EVERY: &str = "*";

/// Joins two rules on parameters: all keys, all values, but an empty list swallows the others.
pub(crate) fn merge(into: &mut ValueLists, from: &ValueLists) {
    for (key, values) in from {
        match into.get_mut(key) {
            None => {
                into.insert(key.clone(), values.clone());
            }
            Some(existing) if existing.is_empty() || values.is_empty() => existing.clear(),
            Some(existing) => existing.extend(values.iter().cloned()),
        }
    }
}

/// The first parameter that is required and not there. It must be there as the engines read it: in lower case.
pub(crate) fn missing<'a>(required: &'a [String], given: &Map<String, Value>) -> Option<&'a str> {
    required.iter().find(|key| !given.contains_key(key.as_str())).map(String::as_str)
}

/// The first parameter that a list of denied values forbids.
pub(crate) fn denied<'a>(denied: &ValueLists, given: &'a Map<String, Value>) -> Option<&'a str> {
    if denied.contains_key(EVERY) {
        return given.keys().next().map(String::as_str);
    }
    let is_denied =
        |key: &str, value: &Value| denied.get(&key.to_lowercase()).is_some_and(|list| listed(value, list));
    given.iter().find(|(key, value)| is_denied(key, value)).map(|(key, _)| key.as_str())
}

/// The first parameter that a list of allowed values does not allow.
pub(crate) fn not_allowed<'a>(allowed: &ValueLists, given: &'a Map<String, Value>) -> Option<&'a str> {
    let allows_others = allowed.contains_key(EVERY);
    if allowed.is_empty() || allows_others && allowed.len() == 1 {
        return None;
    }
    let is_allowed = |key: &str, value: &Value| match allowed.get(&key.to_lowercase()) {
        Some(list) => listed(value, list),
        None => allows_others,
    };
    given.iter().find(|(key, value)| !is_allowed(key, value)).map(|(key, _)| key.as_str())
}

fn listed(value: &Value, list: &[Value]) -> bool {
    list.is_empty() || list.iter().any(|one| matches(one, value))
}

/// Texts match as globs, numbers by value, everything else must be equal and of the same type.
fn matches(listed: &Value, value: &Value) -> bool {
    match (listed, value) {
        (Value::String(glob), Value::String(text)) => glob_matches(glob, text),
        _ => equal(listed, value),
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = |n: &serde_json::Number| n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
            match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one == other,
                // A number too long for a float is compared as it is written, never rounded to another one.
                _ => {
                    one.as_str() == other.as_str() || one.as_f64().is_some() && one.as_f64() == other.as_f64()
                }
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => one == other,
    }
}

/// A star at the beginning, at the end or at both stands for anything; elsewhere, or alone, it is itself.
fn glob_matches(glob: &str, text: &str) -> bool {
    if glob.len() < 2 {
        return glob == text;
    }
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(rest), Some(_)) => text.contains(rest.strip_suffix('*').unwrap_or(rest)),
        (Some(suffix), None) => text.ends_with(suffix),
        (None, Some(prefix)) => text.starts_with(prefix),
        (None, None) => glob == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lists(value: Value) -> ValueLists {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn globs() {
        for (glob, text, expect) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("**", "", true),
            ("*", "*", true),
            ("*", "a", false),
            ("a*c", "abc", false),
            ("a*c", "a*c", true),
            ("", "", true),
            ("", "a", false),
            ("*b", "bc", false),
        ] {
            assert_eq!(glob_matches(glob, text), expect, "{glob} {text}");
        }
    }

    #[track_caller]
    fn check(allowed: Value, given: Value, expect: Option<&str>) {
        assert_eq!(not_allowed(&lists(allowed), given.as_object().unwrap()), expect, "allowed {given}");
    }

    #[test]
    fn allowed_values() {
        check(json!({}), json!({"x": 1}), None);
        check(json!({"x": []}), json!({"x": [1]}), None);
        check(json!({"x": []}), json!({"y": 1}), Some("y"));
        check(json!({"x": ["a*"]}), json!({"X": "abc"}), None);
        check(json!({"x": ["a*"]}), json!({"x": ["abc"]}), Some("x"));
        check(json!({"x": [["a"]]}), json!({"x": ["a"]}), None);
        check(json!({"x": [["a*"]]}), json!({"x": ["abc"]}), Some("x"));
        check(json!({"x": [1]}), json!({"x": 1.0}), None);
        check(json!({"x": [1]}), json!({"x": "1"}), Some("x"));
        check(json!({"x": [true]}), json!({"x": true}), None);
        check(json!({"x": [true]}), json!({"x": "true"}), Some("x"));
        check(json!({"x": ["a"]}), json!({"x": null}), Some("x"));
        check(json!({"x": [{"a": [1]}]}), json!({"x": {"a": [1]}}), None);
        check(json!({"*": ["a"]}), json!({"x": "b"}), None);
        check(json!({"*": [], "x": ["a"]}), json!({"y": 1, "x": "a"}), None);
        check(json!({"*": [], "x": ["a"]}), json!({"x": "b"}), Some("x"));
    }

    #[test]
    fn denied_values() {
        let check = |rule: Value, given: Value| {
            super::denied(&lists(rule), given.as_object().unwrap()).map(str::to_owned)
        };
        assert_eq!(check(json!({"*": ["z"]}), json!({"x": 1})).as_deref(), Some("x"));
        assert_eq!(check(json!({"*": []}), json!({})), None);
        assert_eq!(check(json!({"x": []}), json!({"X": 1})).as_deref(), Some("X"));
        assert_eq!(check(json!({"x": ["a"]}), json!({"x": "b", "y": "a"})), None);
        assert_eq!(check(json!({"x": [7]}), json!({"x": 7})).as_deref(), Some("x"));
        assert_eq!(check(json!({"x": [u64::MAX]}), json!({"x": u64::MAX})).as_deref(), Some("x"));
    }

    #[test]
    fn merging_keeps_all_values_unless_one_side_allows_any() {
        let mut both = lists(json!({"a": ["1"], "b": [], "c": ["1"]}));
        merge(&mut both, &lists(json!({"a": ["2"], "b": ["2"], "c": [], "d": ["2"]})));
        assert_eq!(both, lists(json!({"a": ["1", "2"], "b": [], "c": [], "d": ["2"]})));
    }

    #[test]
    fn a_required_parameter_is_looked_for_in_lower_case() {
        let required = ["x".to_owned()];
        assert_eq!(missing(&required, json!({"x": null}).as_object().unwrap()), None);
        assert_eq!(missing(&required, json!({"X": 1}).as_object().unwrap()), Some("x"));
    }
}
