//! TOML, in the layout that Go's usual library gives it: what is plain first, tables behind, each sorted by name.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{TemplateError, Value};

use super::{functions::wrong, values::Numbers};

type Fields = BTreeMap<Arc<str>, Value>;
type Written = Result<(), TemplateError>;

/// A value as TOML, without blanks around it.
pub(super) fn write(value: &Value, numbers: &Numbers) -> Result<String, TemplateError> {
    let mut writer = Writer { out: String::new(), numbers };
    match value {
        Value::Map(fields) => writer.fields(&mut Vec::new(), fields)?,
        other => writer.element(other)?,
    }
    Ok(writer.out.trim().to_owned())
}

struct Writer<'a> {
    out: String,
    numbers: &'a Numbers,
}

impl Writer<'_> {
    fn fields<'v>(&mut self, path: &mut Vec<&'v str>, fields: &'v Fields) -> Written {
        let there = || fields.iter().filter(|(_, value)| !matches!(value, Value::Nil));
        for (key, value) in there().filter(|(_, value)| !is_table(value)) {
            self.out.push_str(&"  ".repeat(path.len()));
            self.out.push_str(&name(key));
            self.out.push_str(" = ");
            self.element(value)?;
            self.out.push('\n');
        }
        for (key, value) in there().filter(|(_, value)| is_table(value)) {
            path.push(key);
            self.tables(path, value)?;
            path.pop();
        }
        Ok(())
    }

    fn tables<'v>(&mut self, path: &mut Vec<&'v str>, value: &'v Value) -> Written {
        match value {
            Value::Map(fields) => {
                // Tables at the top stand apart.
                self.head(path, ("[", "]"), path.len() == 1);
                self.fields(path, fields)
            }
            Value::List(items) => {
                for item in items.iter() {
                    self.head(path, ("[[", "]]"), true);
                    if let Value::Map(fields) = item {
                        self.fields(path, fields)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn head(&mut self, path: &[&str], (open, close): (&str, &str), apart: bool) {
        if apart && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&"  ".repeat(path.len().saturating_sub(1)));
        let names: Vec<String> = path.iter().map(|key| name(key)).collect();
        self.out.push_str(&format!("{open}{}{close}\n", names.join(".")));
    }

    fn element(&mut self, value: &Value) -> Written {
        match value {
            Value::Bool(flag) => self.out.push_str(&flag.to_string()),
            Value::Int(number) => self.out.push_str(&number.to_string()),
            Value::Uint(number) => self.out.push_str(&number.to_string()),
            Value::Float(number) => self.out.push_str(&float(*number)),
            Value::String(text) if self.numbers.has(text) => self.out.push_str(&number(text)),
            Value::String(text) => self.out.push_str(&quoted(text)),
            Value::List(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    self.element(item)?;
                }
                self.out.push(']');
            }
            Value::Map(fields) => {
                self.out.push('{');
                let there = fields.iter().filter(|(_, value)| !matches!(value, Value::Nil));
                for (at, (key, value)) in there.enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    self.out.push_str(&name(key));
                    self.out.push_str(" = ");
                    self.element(value)?;
                }
                self.out.push('}');
            }
            Value::Nil => return Err(wrong("toTOML: TOML has no list with nothing in it as an element")),
            _ => return Err(wrong("toTOML: a function is no data")),
        }
        Ok(())
    }
}

/// A map, or a list of nothing but maps.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Map(_) => true,
        Value::List(items) => !items.is_empty() && items.iter().all(|item| matches!(item, Value::Map(_))),
        _ => false,
    }
}

fn name(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A number of the server, as it was written if it is whole.
fn number(text: &str) -> String {
    match text.parse::<i64>() {
        Ok(whole) => whole.to_string(),
        Err(_) => text.parse().map_or_else(|_| quoted(text), float),
    }
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}
