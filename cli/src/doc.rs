//! What is printed as JSON or YAML: JSON values, with an order of keys where clients expect one.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::yaml;

/// A document to print.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doc {
    /// Any value; objects in it are sorted by key.
    Value(Value),
    /// An object in this order.
    Map(Vec<(String, Doc)>),
    /// A list of documents.
    List(Vec<Doc>),
}

impl Doc {
    /// An object in the order given.
    pub(crate) fn map<K: Into<String>>(parts: Vec<(K, Doc)>) -> Doc {
        Doc::Map(parts.into_iter().map(|(key, doc)| (key.into(), doc)).collect())
    }

    /// `value` with the keys that `order` names first, then all others by name.
    pub(crate) fn ordered(value: &Value, order: &[&str]) -> Doc {
        let Some(object) = value.as_object() else { return Doc::Value(value.clone()) };
        let first = order.iter().filter_map(|key| object.get_key_value(*key));
        let rest = object.iter().filter(|(key, _)| !order.contains(&key.as_str()));
        Doc::Map(first.chain(rest).map(|(key, v)| (key.clone(), Doc::Value(v.clone()))).collect())
    }

    /// The document as indented JSON, escaped for pages as Go's encoder does.
    pub(crate) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("strings and JSON values always serialize");
        escape_for_pages(&text)
    }

    /// The document as YAML, keys sorted.
    pub(crate) fn yaml(&self) -> String {
        let value = serde_json::to_value(self).expect("strings and JSON values always serialize");
        yaml::write(&value)
    }
}

/// Escapes what could end a script element; these bytes occur in JSON only inside strings.
pub(crate) fn escape_for_pages(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

impl From<Value> for Doc {
    fn from(value: Value) -> Doc {
        Doc::Value(value)
    }
}

impl Serialize for Doc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Doc::Value(value) => value.serialize(serializer),
            Doc::List(list) => list.serialize(serializer),
            Doc::Map(parts) => {
                let mut map = serializer.serialize_map(Some(parts.len()))?;
                for (key, doc) in parts {
                    map.serialize_entry(key, doc)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_is_kept_and_pages_are_safe() {
        let doc = Doc::ordered(&json!({"a": "<b>&", "z": [], "m": {}, "uuid": 1}), &["uuid", "z"]);
        let expect = "{\n  \"uuid\": 1,\n  \"z\": [],\n  \"a\": \"\\u003cb\\u003e\\u0026\",\n  \"m\": {}\n}";
        assert_eq!(doc.json(), expect);
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        let value: Value = serde_json::from_str("[1.50,12345678901234567890]").expect("json");
        assert_eq!(Doc::from(value).json(), "[\n  1.50,\n  12345678901234567890\n]");
    }
}
