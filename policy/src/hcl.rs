//! HCL version 1 and its JSON form, as policies, password policies and the server's configuration are written.
//!
//! Both become the same tree, a [`Body`]: items in the order of the text, each with its line. Nothing is
//! interpreted here: `${…}` stays text, a repeated key stays repeated, and the reader of the tree decides.

mod json;
mod lexer;
mod parser;

use std::fmt;

/// Longest text that is parsed.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of objects and lists that is parsed.
pub const DEPTH_MAX: usize = 100;

/// What stands between two braces, or in a whole file: items, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// The items in the order of the text.
    pub items: Vec<Item>,
}

/// An attribute (`key = value`) or a block (`type "label" { … }`).
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The key of an attribute, or the type and the labels of a block.
    pub keys: Vec<String>,
    /// What the item holds.
    pub value: Value,
    /// The line on which the item begins, from 1.
    pub line: usize,
    /// The column at which the value begins, from 1.
    pub column: usize,
}

/// What an attribute can hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A quoted text or a here-document, with its escapes resolved.
    String(String),
    /// A number as it was written: decimal, hexadecimal, octal, with fraction or exponent.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// `[ … ]`
    List(Vec<Value>),
    /// `{ … }`
    Object(Body),
}

/// A block found by [`Body::blocks`].
#[derive(Clone, Debug, PartialEq)]
pub struct Block<'a> {
    /// As many labels as were asked for.
    pub labels: Vec<&'a str>,
    /// What the block holds.
    pub body: &'a Body,
    /// The line on which the block begins.
    pub line: usize,
}

/// What blocks are looked for.
struct Wanted<'n> {
    kind: &'n str,
    labels: usize,
    /// Under which names labels may stand in a block.
    names: &'n [&'n str],
}

/// Where and why a text is not HCL or JSON.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("At {line}:{column}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses HCL version 1.
pub fn parse(text: &str) -> Result<Body, ParseError> {
    check_size(text)?;
    parser::parse(text)
}

/// Parses the JSON form. Repeated keys are kept and a trailing comma is allowed, as in HCL; `null` is absence.
pub fn parse_json(text: &str) -> Result<Body, ParseError> {
    check_size(text)?;
    json::parse(text)
}

/// Parses JSON if the text begins with a brace, otherwise HCL.
pub fn parse_any(text: &str) -> Result<Body, ParseError> {
    if text.trim_start().starts_with('{') { parse_json(text) } else { parse(text) }
}

fn check_size(text: &str) -> Result<(), ParseError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("text is longer than {TEXT_BYTES_MAX} bytes");
    Err(ParseError { line: 1, column: 1, message })
}

impl Body {
    /// All items whose first key is `key`, in order.
    pub fn all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.key() == key)
    }

    /// The value of the attribute `key`; the last one, if it is repeated.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.all(key).filter(|item| item.keys.len() == 1).last().map(|item| &item.value)
    }

    /// The second item of the first attribute key that is set twice; repeated objects are blocks and no error.
    pub fn repeated(&self) -> Option<&Item> {
        self.items.iter().enumerate().find_map(|(index, item)| {
            let is_attribute = |item: &Item| item.keys.len() == 1 && !matches!(item.value, Value::Object(_));
            let mut earlier = self.items.iter().take(index);
            (is_attribute(item) && earlier.any(|other| other.keys == item.keys && is_attribute(other)))
                .then_some(item)
        })
    }

    /// The blocks of one type, each with `labels` labels.
    ///
    /// Reads all the spellings in use: `listener "tcp" { … }`, `listener { tcp { … } }`, and in JSON
    /// `{"listener": {"tcp": {…}}}` and `{"listener": [{"tcp": {…}}, {"tcp": {…}}]}`.
    pub fn blocks<'a>(&'a self, kind: &str, labels: usize) -> Result<Vec<Block<'a>>, ParseError> {
        self.collect(&Wanted { kind, labels, names: &[] })
    }

    /// The same, where labels may stand in the block itself under these names: `listener { type = "tcp" … }`, and in JSON
    /// `{"listener": [{"type": "tcp", …}]}`.
    pub fn named_blocks<'a>(&'a self, kind: &str, names: &[&str]) -> Result<Vec<Block<'a>>, ParseError> {
        self.collect(&Wanted { kind, labels: names.len(), names })
    }

    fn collect<'a>(&'a self, wanted: &Wanted<'_>) -> Result<Vec<Block<'a>>, ParseError> {
        let mut blocks = Vec::new();
        for item in self.all(wanted.kind) {
            let given: Vec<&str> = item.keys.iter().skip(1).map(String::as_str).collect();
            item.value.collect_blocks(wanted, given, item, &mut blocks)?;
        }
        Ok(blocks)
    }

    /// The labels that stand in the block, if all of them do.
    fn labels_within(&self, names: &[&str]) -> Option<Vec<&str>> {
        names
            .iter()
            .map(|name| self.attribute(name)?.as_str())
            .collect::<Option<Vec<_>>>()
            .filter(|all| !all.is_empty())
    }
}

impl Item {
    /// The key of an attribute or the type of a block.
    pub fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// An error that points at this item.
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string, number or boolean: readers of HCL take one for the other.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::List(_) | Self::Object(_) => None,
        }
    }

    /// A boolean, or a text or number that says one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_text()? {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }

    /// A whole number, or a text that says one; decimal, `0x…` or `0…`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(text) | Self::String(text) => whole(text),
            _ => None,
        }
    }

    /// A number, or a text that says one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(text) | Self::String(text) => whole(text)
                .map(|number| number as f64)
                .or_else(|| text.parse().ok().filter(|f: &f64| f.is_finite())),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The body of an object.
    pub fn as_body(&self) -> Option<&Body> {
        match self {
            Self::Object(body) => Some(body),
            _ => None,
        }
    }

    /// What it is, for error texts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn collect_blocks<'a>(
        &'a self,
        wanted: &Wanted<'_>,
        mut labels: Vec<&'a str>,
        item: &'a Item,
        blocks: &mut Vec<Block<'a>>,
    ) -> Result<(), ParseError> {
        let (kind, count) = (wanted.kind, wanted.labels);
        match self {
            Self::List(list) => {
                list.iter().try_for_each(|one| one.collect_blocks(wanted, labels.clone(), item, blocks))
            }
            Self::Object(body) if labels.len() == count => {
                blocks.push(Block { labels, body, line: item.line });
                Ok(())
            }
            Self::Object(body) if labels.len() < count => {
                let missing = wanted.names.get(labels.len()..).unwrap_or_default();
                if let Some(within) = body.labels_within(missing) {
                    labels.extend(within);
                    blocks.push(Block { labels, body, line: item.line });
                    return Ok(());
                }
                body.items.iter().try_for_each(|inner| {
                    let mut labels = labels.clone();
                    labels.extend(inner.keys.iter().map(String::as_str));
                    inner.value.collect_blocks(wanted, labels, inner, blocks)
                })
            }
            Self::Object(_) => Err(item.error(format!(
                "\"{kind}\" takes {count} label(s), not {}: remove \"{}\"",
                labels.len(),
                labels.get(count..).unwrap_or_default().join("\" \"")
            ))),
            other => Err(item.error(format!("\"{kind}\" must be a block in braces, not {}", other.kind()))),
        }
    }
}

/// Reads a whole number as Go reads it with base 0.
fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    // Parsed wider than the answer, so that the smallest number of all is reached too.
    i128::from_str_radix(digits, radix).ok().and_then(|number| i64::try_from(sign * number).ok())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_text().unwrap_or(self.kind()))
    }
}
