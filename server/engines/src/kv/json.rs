//! The form in which secrets are stored and shown: keys sorted, as clients know it from Go, numbers as they
//! were written. It is brought about once, when a secret is written; reads copy bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kit::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// How deep objects and lists may lie in each other.
const DEPTH_MAX: usize = 128;
/// The largest secret that is looked into at all: the store takes none larger than a mebibyte.
const TEXT_SIZE_MAX: usize = 4 * 1024 * 1024;

/// A JSON value whose numbers stay as they were written, to the digit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Node {
    Object(BTreeMap<String, Self>),
    List(Vec<Self>),
    /// A string in its final form, a number, `true`, `false`, `null`.
    Leaf(Box<str>),
}

impl Node {
    /// Nothing.
    pub(super) fn null() -> Self {
        Self::Leaf("null".into())
    }

    /// Reads JSON text. A refusal does not repeat it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > TEXT_SIZE_MAX {
            return Err(Error::invalid(format!(
                "the secret is larger than {TEXT_SIZE_MAX} bytes: divide it"
            )));
        }
        let wrong =
            |error: serde_json::Error| Error::invalid(format!("failed to decode JSON input: {error}"));
        Self::parse_at(text, 0).map_err(wrong)
    }

    fn parse_at(text: &str, depth: usize) -> serde_json::Result<Self> {
        if depth > DEPTH_MAX {
            return Err(de::Error::custom(format!("the value lies deeper than {DEPTH_MAX} levels")));
        }
        let text = text.trim_ascii();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let parsed =
                    members.into_iter().map(|(key, raw)| Ok((key, Self::parse_at(raw.get(), depth + 1)?)));
                Self::Object(parsed.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let parsed = items.into_iter().map(|raw| Self::parse_at(raw.get(), depth + 1));
                Self::List(parsed.collect::<serde_json::Result<_>>()?)
            }
            Some(b'"') => Self::Leaf(quoted(&serde_json::from_str::<String>(text)?)?.into()),
            _ => Self::Leaf(text.into()),
        })
    }

    /// Writes it, keys sorted.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write(&mut out)?;
        Ok(out)
    }

    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Object(members) => return write_object(members, out),
            Self::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out)?;
                }
                out.push(b']');
            }
            Self::Leaf(text) => out.extend_from_slice(text.as_bytes()),
        }
        Ok(())
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Leaf(text) if &**text == "null")
    }
}

/// Writes an object, keys sorted.
pub(super) fn object_bytes(members: &BTreeMap<String, Node>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write_object(members, &mut out)?;
    Ok(out)
}

fn write_object(members: &BTreeMap<String, Node>, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.push(b'{');
    for (at, (key, value)) in members.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(quoted(key)?.as_bytes());
        out.push(b':');
        value.write(out)?;
    }
    out.push(b'}');
    Ok(())
}

fn quoted(text: &str) -> serde_json::Result<String> {
    Ok(escape(serde_json::to_string(text)?))
}

/// Escapes `<`, `>`, `&` and two line separators, as Go does. In JSON text these stand within strings and
/// nowhere else, so no parser is needed.
pub(super) fn escape(json: String) -> String {
    const SPECIAL: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(SPECIAL) {
        return json;
    }
    let escaped = |char: char| match char {
        '<' => Cow::Borrowed("\\u003c"),
        '>' => Cow::Borrowed("\\u003e"),
        '&' => Cow::Borrowed("\\u0026"),
        '\u{2028}' => Cow::Borrowed("\\u2028"),
        '\u{2029}' => Cow::Borrowed("\\u2029"),
        other => Cow::Owned(other.to_string()),
    };
    json.chars().map(escaped).collect()
}

/// Changes `target` as a merge patch (RFC 7396) says: a null removes, an object is merged, all else replaces.
pub(super) fn merge(target: &mut BTreeMap<String, Node>, patch: BTreeMap<String, Node>) {
    for (key, change) in patch {
        match change {
            null if null.is_null() => drop(target.remove(&key)),
            Node::Object(change) => {
                let at = target.entry(key).or_insert_with(Node::null);
                if !matches!(at, Node::Object(_)) {
                    *at = Node::Object(BTreeMap::new());
                }
                if let Node::Object(at) = at {
                    merge(at, change);
                }
            }
            other => drop(target.insert(key, other)),
        }
    }
}

/// The keys of an object down to `depth`, all else null. No depth: down to the leaves.
pub(super) fn keys(members: &BTreeMap<String, Node>, depth: Option<u64>) -> BTreeMap<String, Node> {
    let below = |value: &Node| match (value, depth) {
        (Node::Object(members), _) if members.is_empty() => Node::null(),
        (Node::Object(members), None) => Node::Object(keys(members, None)),
        (Node::Object(members), Some(depth)) if depth > 1 => Node::Object(keys(members, Some(depth - 1))),
        _ => Node::null(),
    };
    members.iter().map(|(key, value)| (key.clone(), below(value))).collect()
}

/// An object as Vault reads it, which takes a list of objects for one. The refusal repeats no value.
pub(super) fn object(field: &str, node: Node) -> Result<BTreeMap<String, Node>> {
    object_at(field, "", node)
}

fn object_at(field: &str, place: &str, node: Node) -> Result<BTreeMap<String, Node>> {
    let kind = match node {
        Node::Object(members) => return Ok(members),
        Node::List(items) => {
            let mut all = BTreeMap::new();
            for (at, item) in items.into_iter().enumerate() {
                all.extend(object_at(field, &format!("{place}[{at}]"), item)?);
            }
            return Ok(all);
        }
        null if null.is_null() => return Ok(BTreeMap::new()),
        Node::Leaf(text) if text.starts_with('"') => "string",
        Node::Leaf(text) if &*text == "true" || &*text == "false" => "bool",
        Node::Leaf(_) => "json.Number",
    };
    Err(Error::invalid(format!(
        "error converting input for field {field:?}: '{place}' expected type 'map[string]interface {{}}', \
         got unconvertible type '{kind}'"
    )))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Self::parse(raw.get()).map_err(de::Error::custom)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes = self.bytes().map_err(ser::Error::custom)?;
        let text = String::from_utf8(bytes).map_err(ser::Error::custom)?;
        RawValue::from_string(text).map_err(ser::Error::custom)?.serialize(to)
    }
}

impl JsonSchema for Node {
    fn schema_name() -> Cow<'static, str> {
        "Node".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> BTreeMap<String, Node> {
        object("test", Node::parse(json).unwrap()).unwrap()
    }

    #[track_caller]
    fn check(json: &str, expect: &str) {
        let node: Node = serde_json::from_str(json).unwrap();
        assert_eq!(String::from_utf8(node.bytes().unwrap()).unwrap(), expect);
        assert_eq!(serde_json::to_string(&node).unwrap(), expect);
    }

    #[test]
    fn keys_are_sorted_and_numbers_kept_to_the_digit() {
        check(r#"{"b":1, "a":{"z":1,"y":[ ]} }"#, r#"{"a":{"y":[],"z":1},"b":1}"#);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
        let numbers = "[1.0,1e3,-0,1E+5,12345678901234567890123,0.1000]";
        check(numbers, numbers);
        check("[true,false,null]", "[true,false,null]");
    }

    #[test]
    fn what_go_escapes_is_escaped() {
        check(
            r#"{"<a>":"&\u2028\u2029€\/\n\u0001\u003c"}"#,
            r#"{"\u003ca\u003e":"\u0026\u2028\u2029€/\n\u0001\u003c"}"#,
        );
    }

    #[test]
    fn names_that_parsers_keep_for_themselves_are_ordinary() {
        for json in [r#"{"$serde_json::private::RawValue":"[1]"}"#, r#"{"$serde_json::private::Number":"x"}"#]
        {
            check(json, json);
        }
    }

    #[track_caller]
    fn check_refused(json: &str, expect: &str) {
        let refusal = Node::parse(json).unwrap_err().to_string();
        assert!(refusal.contains(expect), "{refusal}");
    }

    #[test]
    fn limits_hold() {
        check_refused(&("[".repeat(200) + &"]".repeat(200)), "deeper than 128 levels");
        check_refused(&format!("\"{}\"", "a".repeat(TEXT_SIZE_MAX)), "divide it");
        check_refused(r#"{"a":"\ud800"}"#, "failed to decode JSON input");
        check_refused(r#"{"CANARY":"\ud800"}"#, "hex escape");
        assert!(!Node::parse(r#"{"CANARY":"\ud800"}"#).unwrap_err().to_string().contains("CANARY"));
    }

    #[track_caller]
    fn check_merge(target: &str, patch: &str, expect: &str) {
        let mut map = members(target);
        merge(&mut map, members(patch));
        assert_eq!(map, members(expect), "{target} + {patch}");
    }

    #[test]
    fn patches_merge_as_the_rfc_says() {
        check_merge(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check_merge(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check_merge(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check_merge(r#"{"a":["b"]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        check_merge(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check_merge(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
        check_merge("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
        check_merge(r#"{"a":1}"#, r#"{"a":{"b":2}}"#, r#"{"a":{"b":2}}"#);
    }

    #[test]
    fn keys_end_at_the_depth() {
        let value = members(r#"{"x":{"y":{"z":1},"l":[1]},"q":2}"#);
        for (depth, expect) in [
            (None, r#"{"x":{"y":{"z":null},"l":null},"q":null}"#),
            (Some(1), r#"{"x":null,"q":null}"#),
            (Some(2), r#"{"x":{"y":null,"l":null},"q":null}"#),
        ] {
            assert_eq!(keys(&value, depth), members(expect));
        }
    }

    #[test]
    fn what_is_no_object_is_refused_without_its_value() {
        for (json, kind) in [
            ("\"CANARY\"", "'string'"),
            ("[\"CANARY\"]", "'string'"),
            ("7", "'json.Number'"),
            ("true", "'bool'"),
        ] {
            let refusal = object("data", Node::parse(json).unwrap()).unwrap_err().to_string();
            assert!(refusal.contains(kind) && !refusal.contains("CANARY"), "{refusal}");
        }
        assert_eq!(members("null").len() + members("[]").len(), 0);
        assert_eq!(members(r#"[{"a":1},{"b":2}]"#), members(r#"{"a":1,"b":2}"#));
    }
}
