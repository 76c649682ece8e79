//! From tokens to the tree.

use super::lexer::{Kind, Lexer, Token};
use super::{Body, DEPTH_MAX, Item, ParseError, Value};

pub(super) fn parse(text: &str) -> Result<Body, ParseError> {
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0 };
    let (body, end) = parser.body()?;
    match end.kind {
        Kind::End => Ok(body),
        _ => Err(expected_key(&end)),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    depth: usize,
}

impl Parser<'_> {
    /// Items until something that cannot begin one, which is handed back.
    fn body(&mut self) -> Result<(Body, Token), ParseError> {
        let mut items = Vec::new();
        let mut token = self.lexer.next()?;
        loop {
            match token.kind {
                Kind::End | Kind::RightBrace => return Ok((Body { items }, token)),
                _ => items.push(self.item(token)?),
            }
            token = self.lexer.next()?;
            // One comma may stand after each item.
            if token.kind == Kind::Comma {
                token = self.lexer.next()?;
            }
        }
    }

    fn item(&mut self, first: Token) -> Result<Item, ParseError> {
        let line = first.line;
        let mut keys = Vec::new();
        let mut written = Vec::new();
        let mut token = first;
        loop {
            if matches!(token.kind, Kind::Ident(_) | Kind::String(_)) {
                written.push(token.kind.text());
            }
            match token.kind {
                Kind::Ident(key) | Kind::String(key) => keys.push(key),
                Kind::Assign if keys.is_empty() => return Err(error(&token, "no object keys found!")),
                Kind::Assign if keys.len() > 1 => {
                    return Err(error(&token, "nested object expected: LBRACE got: ASSIGN"));
                }
                Kind::Assign => {
                    let token = self.lexer.next()?;
                    let column = token.column;
                    return Ok(Item { keys, value: self.value(token)?, line, column });
                }
                Kind::LeftBrace if keys.is_empty() => {
                    return Err(error(&token, "expected: IDENT | STRING got: LBRACE"));
                }
                Kind::LeftBrace => {
                    let column = token.column;
                    return Ok(Item { keys, value: Value::Object(self.object()?), line, column });
                }
                _ if keys.is_empty() => return Err(expected_key(&token)),
                _ => {
                    let written = written.join(" ");
                    let message =
                        format!("key '{written}' expected start of object ('{{') or assignment ('=')");
                    return Err(error(&token, message));
                }
            }
            token = self.lexer.next()?;
        }
    }

    fn value(&mut self, token: Token) -> Result<Value, ParseError> {
        Ok(match token.kind {
            Kind::String(text) | Kind::Heredoc(text) => Value::String(text),
            Kind::Number(text) | Kind::Float(text) => Value::Number(text),
            Kind::Bool(value) => Value::Bool(value),
            Kind::LeftBrace => Value::Object(self.object()?),
            Kind::LeftBracket => Value::List(self.list()?),
            _ => {
                let Token { line, column, kind } = &token;
                let message = format!("Unknown token: {line}:{column} {} {}", kind.name(), kind.text());
                return Err(error(&token, message));
            }
        })
    }

    fn object(&mut self) -> Result<Body, ParseError> {
        self.deeper()?;
        let (body, end) = self.body()?;
        self.depth -= 1;
        match end.kind {
            Kind::RightBrace => Ok(body),
            other => Err(ParseError {
                line: end.line,
                column: end.column,
                message: format!("object expected closing RBRACE got: {}", other.name()),
            }),
        }
    }

    /// Elements with commas between them; commas in excess are forgiven, missing ones are not.
    fn list(&mut self) -> Result<Vec<Value>, ParseError> {
        self.deeper()?;
        let mut list = Vec::new();
        let mut needs_comma = false;
        loop {
            let token = self.lexer.next()?;
            match token.kind {
                Kind::RightBracket => break,
                Kind::Comma => needs_comma = false,
                Kind::End => {
                    return Err(error(&token, "list expected closing RBRACK got: EOF"));
                }
                _ if needs_comma => {
                    let message =
                        format!("error parsing list, expected comma or list end, got: {}", token.kind.name());
                    return Err(error(&token, message));
                }
                _ => {
                    list.push(self.value(token)?);
                    needs_comma = true;
                }
            }
        }
        self.depth -= 1;
        Ok(list)
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        let here = self.lexer.next()?;
        Err(error(&here, format!("nested deeper than {DEPTH_MAX} levels")))
    }
}

fn expected_key(token: &Token) -> ParseError {
    error(token, format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {}", token.kind.name()))
}

fn error(token: &Token, message: impl Into<String>) -> ParseError {
    ParseError { line: token.line, column: token.column, message: message.into() }
}
