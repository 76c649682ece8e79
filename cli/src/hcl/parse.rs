//! HCL as a tree that remembers lines and comments.

use super::{
    DEPTH_MAX,
    tokens::{self, Kind, Token},
};

/// What stands between two braces, or in the whole file.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) entries: Vec<Entry>,
}

/// One thing in a body.
#[derive(Debug)]
pub(super) enum Entry {
    /// Comments on neighbouring lines.
    Comment {
        lines: Vec<String>,
        start: usize,
        end: usize,
    },
    Item(Item),
}

/// `key = value` or `key "label" { … }`.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) keys: Vec<String>,
    pub(super) assigned: bool,
    pub(super) value: Value,
    /// A comment behind it on its last line.
    pub(super) trailing: Option<String>,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The right side.
#[derive(Debug)]
pub(super) enum Value {
    Literal(String),
    List(List),
    Object(Body),
}

/// A list, with the comments in it.
#[derive(Debug)]
pub(super) struct List {
    pub(super) elements: Vec<Element>,
    /// Comments after the last element.
    pub(super) rest: Vec<String>,
    spread: bool,
}

impl List {
    /// A list on one line, without comments.
    pub(super) fn of(elements: Vec<Element>) -> List {
        List { elements, rest: Vec::new(), spread: false }
    }
}

/// One element of a list.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) lead: Vec<String>,
    pub(super) value: Value,
    pub(super) trailing: Option<String>,
}

impl Entry {
    pub(super) fn start(&self) -> usize {
        match self {
            Entry::Comment { start, .. } => *start,
            Entry::Item(item) => item.start,
        }
    }
}

impl Item {
    pub(super) fn is_one_line(&self) -> bool {
        self.value.is_one_line()
    }
}

impl Value {
    /// Whether the value is written on one line.
    pub(super) fn is_one_line(&self) -> bool {
        match self {
            Value::Literal(text) => !text.contains('\n'),
            Value::Object(body) => body.entries.is_empty(),
            Value::List(list) => {
                !list.spread
                    && list.rest.is_empty()
                    && list.elements.iter().all(|element| {
                        element.lead.is_empty() && element.trailing.is_none() && element.value.is_one_line()
                    })
            }
        }
    }
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Body, String> {
    let tokens = tokens::read(text)?;
    let lines = text.lines().count() + usize::from(text.ends_with('\n'));
    let mut parser = Parser { tokens: &tokens, last_line: lines.max(1) };
    let body = parser.body(0)?;
    match parser.tokens.first() {
        None => Ok(body),
        Some(token) => Err(format!("line {}: expected a key, found `{}`", token.start, token.text)),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    last_line: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.first()
    }

    fn next_is(&self, mark: char) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    fn wrong<T>(&self, wanted: &str) -> Result<T, String> {
        Err(match self.peek() {
            Some(token) => format!("line {}: expected {wanted}, found `{}`", token.start, token.text),
            None => format!("line {}: expected {wanted}, found the end of the file", self.last_line),
        })
    }

    /// Entries up to a closing brace or the end, which stays.
    fn body(&mut self, depth: usize) -> Result<Body, String> {
        let mut body = Body::default();
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Mark('}') => break,
                Kind::Comment => self.comment(&mut body),
                Kind::Word | Kind::Text => body.entries.push(Entry::Item(self.item(depth)?)),
                _ => return self.wrong("a key"),
            }
        }
        Ok(body)
    }

    /// A comment joins the one above it, or stands behind the item on its line.
    fn comment(&mut self, body: &mut Body) {
        let Some(token) = self.next() else { return };
        match body.entries.last_mut() {
            Some(Entry::Item(item)) if item.end == token.start && item.trailing.is_none() => {
                item.trailing = Some(token.text);
            }
            Some(Entry::Comment { lines, end, .. }) if *end + 1 == token.start => {
                lines.push(token.text);
                *end = token.end;
            }
            _ => body.entries.push(Entry::Comment {
                lines: vec![token.text],
                start: token.start,
                end: token.end,
            }),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, String> {
        let start = self.peek().map_or(self.last_line, |token| token.start);
        let mut keys = Vec::new();
        while self.peek().is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Text)) {
            keys.extend(self.next().map(|token| token.text));
        }
        let assigned = self.next_is('=');
        if assigned {
            self.next();
        } else if !self.next_is('{') {
            return self.wrong("`=` or `{`");
        }
        let (value, end) = self.value(depth)?;
        // A comma between items is allowed and says nothing.
        if self.next_is(',') {
            self.next();
        }
        Ok(Item { keys, assigned, value, trailing: None, start, end })
    }

    fn value(&mut self, depth: usize) -> Result<(Value, usize), String> {
        if depth >= DEPTH_MAX {
            return self.wrong("less nesting");
        }
        let Some(kind) = self.peek().map(|token| token.kind) else { return self.wrong("a value") };
        match kind {
            Kind::Word | Kind::Text | Kind::Number | Kind::Heredoc => {
                let token = self.next().expect("the token was seen above");
                Ok((Value::Literal(token.text), token.end))
            }
            Kind::Mark('[') => self.list(depth),
            Kind::Mark('{') => {
                self.next();
                let body = self.body(depth + 1)?;
                if !self.next_is('}') {
                    return self.wrong("`}`");
                }
                let end = self.next().map_or(self.last_line, |token| token.end);
                Ok((Value::Object(body), end))
            }
            _ => self.wrong("a value"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<(Value, usize), String> {
        let opened = self.next().map_or(self.last_line, |token| token.start);
        let mut elements: Vec<Element> = Vec::new();
        let mut lead = Vec::new();
        let mut last_line = opened;
        loop {
            match self.peek().map(|token| token.kind) {
                Some(Kind::Comment) => {
                    let token = self.next().expect("the token was seen above");
                    match elements.last_mut() {
                        Some(last) if token.start == last_line && last.trailing.is_none() => {
                            last.trailing = Some(token.text);
                        }
                        _ => lead.push(token.text),
                    }
                }
                Some(Kind::Mark(']')) => {
                    let closed = self.next().map_or(self.last_line, |token| token.end);
                    let spread = last_line != opened && !elements.is_empty();
                    return Ok((Value::List(List { elements, rest: lead, spread }), closed));
                }
                Some(_) => {
                    let (value, end) = self.value(depth + 1)?;
                    last_line = end;
                    elements.push(Element { lead: std::mem::take(&mut lead), value, trailing: None });
                    if self.next_is(',') {
                        self.next();
                    } else if !self.next_is(']')
                        && self.peek().is_none_or(|token| token.kind != Kind::Comment)
                    {
                        return self.wrong("`,` or `]`");
                    }
                }
                None => return self.wrong("`]`"),
            }
        }
    }
}
