//! JSON as the same tree: what a program that is configured in HCL also takes.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    DEPTH_MAX,
    parse::{Body, Element, Entry, Item, List, Value},
};

/// Stanzas with labels: in JSON these are the keys of an object whose values are objects themselves.
const LABELLED: [&str; 6] = ["method", "sink", "listener", "persist", "env_template", "certificate"];

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Body, String> {
    let pairs: Pairs =
        serde_json::from_str(text).map_err(|e| format!("line {}: it is no JSON: {e}", e.line()))?;
    body(pairs, "", 0)
}

/// The pairs of an object in their order, and each as often as it stands there.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in braces")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// One value, read as far as its own braces.
enum Node {
    Nothing,
    Literal(String),
    List(Vec<Box<RawValue>>),
    Object(Pairs),
}

fn node(raw: &RawValue, path: &str) -> Result<Node, String> {
    let text = raw.get();
    let wrong = |e: serde_json::Error| format!("{path}: it is no JSON: {e}");
    Ok(match text.bytes().next() {
        Some(b'{') => Node::Object(serde_json::from_str(text).map_err(wrong)?),
        Some(b'[') => Node::List(serde_json::from_str(text).map_err(wrong)?),
        Some(b'"') => Node::Literal(quoted(&serde_json::from_str::<String>(text).map_err(wrong)?)),
        Some(b'n') => Node::Nothing,
        _ => Node::Literal(text.to_owned()),
    })
}

fn body(Pairs(pairs): Pairs, path: &str, depth: usize) -> Result<Body, String> {
    if depth >= DEPTH_MAX {
        return Err(format!("{path}: it nests deeper than {DEPTH_MAX}"));
    }
    let mut out = Body::default();
    for (key, raw) in pairs {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let keys = vec![quoted(&key)];
        match node(&raw, &path)? {
            Node::Nothing => {}
            Node::Literal(text) => out.entries.push(item(keys, Value::Literal(text))),
            Node::Object(pairs) => stanza(&mut out, &key, pairs, (&path, depth))?,
            Node::List(items) => list(&mut out, &key, items, (&path, depth))?,
        }
    }
    Ok(out)
}

/// A list of texts is a value, a list of objects the same stanza several times.
fn list(
    out: &mut Body,
    key: &str,
    items: Vec<Box<RawValue>>,
    (path, depth): (&str, usize),
) -> Result<(), String> {
    let mut elements = Vec::new();
    let mut stanzas = 0;
    for (at, raw) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match node(raw, &path)? {
            Node::Literal(text) => {
                elements.push(Element { lead: Vec::new(), value: Value::Literal(text), trailing: None });
            }
            Node::Object(pairs) => {
                stanzas += 1;
                stanza(out, key, pairs, (&path, depth))?;
            }
            Node::Nothing | Node::List(_) => return Err(format!("{path}: it must be a text or an object")),
        }
    }
    match (stanzas, elements.is_empty()) {
        (0, _) => out.entries.push(item(vec![quoted(key)], Value::List(List::of(elements)))),
        (_, true) => {}
        (_, false) => return Err(format!("{path}: it must hold texts or objects, not both")),
    }
    Ok(())
}

fn stanza(out: &mut Body, key: &str, pairs: Pairs, (path, depth): (&str, usize)) -> Result<(), String> {
    let nested =
        |(name, raw): &(String, Box<RawValue>)| name != "config" && raw.get().starts_with(['{', '[']);
    if !LABELLED.contains(&key) || pairs.0.is_empty() || !pairs.0.iter().all(nested) {
        out.entries.push(item(vec![quoted(key)], Value::Object(body(pairs, path, depth + 1)?)));
        return Ok(());
    }
    for (label, raw) in pairs.0 {
        let path = format!("{path}.{label}");
        let inner = match node(&raw, &path)? {
            Node::Object(pairs) => vec![pairs],
            Node::List(items) => items
                .iter()
                .map(|raw| match node(raw, &path)? {
                    Node::Object(pairs) => Ok(pairs),
                    _ => Err(format!("{path}: it must be an object")),
                })
                .collect::<Result<_, String>>()?,
            Node::Nothing | Node::Literal(_) => Vec::new(),
        };
        for pairs in inner {
            let keys = vec![quoted(key), quoted(&label)];
            out.entries.push(item(keys, Value::Object(body(pairs, &path, depth + 1)?)));
        }
    }
    Ok(())
}

fn item(keys: Vec<String>, value: Value) -> Entry {
    // No line: whoever says what is wrong says it by its path.
    Entry::Item(Item { keys, assigned: true, value, trailing: None, start: 0, end: 0 })
}

/// A text as HCL writes it.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r"))
}
