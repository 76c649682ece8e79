//! JSON into the same tree, with lines and repeated keys kept.

use super::{Body, DEPTH_MAX, Item, ParseError, Value};

pub(super) fn parse(text: &str) -> Result<Body, ParseError> {
    let mut reader = Reader { rest: text, line: 1, column: 1, depth: 0 };
    reader.skip_blanks();
    reader.expect('{')?;
    let body = reader.object()?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(body),
        Some(c) => Err(reader.error(format!("expected the end of the text after the object, got {c:?}"))),
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn object(&mut self) -> Result<Body, ParseError> {
        self.deeper()?;
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            let line = self.line;
            match self.take() {
                Some('}') => break,
                Some('"') => {
                    let key = self.string()?;
                    self.skip_blanks();
                    self.expect(':')?;
                    self.skip_blanks();
                    let column = self.column;
                    if let Some(value) = self.value()? {
                        items.push(Item { keys: vec![key], value, line, column });
                    }
                }
                other => return Err(self.unexpected("a key in quotes or '}'", other)),
            }
            self.skip_blanks();
            match self.take() {
                Some(',') => {}
                Some('}') => break,
                other => return Err(self.unexpected("',' or '}'", other)),
            }
        }
        self.depth -= 1;
        Ok(Body { items })
    }

    fn list(&mut self) -> Result<Vec<Value>, ParseError> {
        self.deeper()?;
        let mut list = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek() == Some(']') {
                self.take();
                break;
            }
            match self.value()? {
                Some(value) => list.push(value),
                None => return Err(self.error("unexpected token while parsing list: NULL")),
            }
            self.skip_blanks();
            match self.take() {
                Some(',') => {}
                Some(']') => break,
                other => return Err(self.unexpected("',' or ']'", other)),
            }
        }
        self.depth -= 1;
        Ok(list)
    }

    /// A value, or `None` for `null`.
    fn value(&mut self) -> Result<Option<Value>, ParseError> {
        Ok(Some(match self.peek() {
            Some('{') => {
                self.take();
                Value::Object(self.object()?)
            }
            Some('[') => {
                self.take();
                Value::List(self.list()?)
            }
            Some('"') => {
                self.take();
                Value::String(self.string()?)
            }
            Some('-' | '0'..='9') => self.number()?,
            Some('a'..='z') => match self.word(|c| c.is_ascii_lowercase()) {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => return Ok(None),
                other => return Err(self.error(format!("{other:?} is not a value: put it in quotes"))),
            },
            other => return Err(self.unexpected("a value", other)),
        }))
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let text = self.word(|c| matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'));
        match serde_json::from_str::<serde_json::Number>(text) {
            Ok(_) => Ok(Value::Number(text.to_owned())),
            Err(_) => Err(self.error(format!("{text:?} is not a number"))),
        }
    }

    /// The rest of a quoted text, whose first quote is read. The escapes are those of JSON.
    fn string(&mut self) -> Result<String, ParseError> {
        let text = self.rest;
        let mut length = 0;
        loop {
            match self.take() {
                None | Some('\n') => return Err(self.error("literal not terminated")),
                Some('"') => break,
                Some('\\') => length += 1 + self.take().map_or(0, char::len_utf8),
                Some(c) => length += c.len_utf8(),
            }
        }
        let inner = text.get(..length).unwrap_or_default();
        if !inner.contains('\\') && !inner.contains(|c: char| c.is_ascii_control()) {
            return Ok(inner.to_owned());
        }
        serde_json::from_str(&format!("\"{inner}\""))
            .map_err(|_| self.error("illegal char or char escape in string"))
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let text = self.rest;
        while self.peek().is_some_and(&belongs) {
            self.take();
        }
        text.get(..text.len() - self.rest.len()).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.word(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    fn expect(&mut self, wanted: char) -> Result<(), ParseError> {
        match self.take() {
            Some(c) if c == wanted => Ok(()),
            other => Err(self.unexpected(&format!("{wanted:?}"), other)),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        Err(self.error(format!("nested deeper than {DEPTH_MAX} levels")))
    }

    fn unexpected(&self, wanted: &str, got: Option<char>) -> ParseError {
        match got {
            Some(c) => self.error(format!("expected {wanted}, got {c:?}")),
            None => self.error(format!("expected {wanted}, got the end of the text")),
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column.saturating_sub(1).max(1), message: message.into() }
    }
}
