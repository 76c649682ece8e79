//! From text to tokens.

use super::ParseError;
use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Ident(String),
    String(String),
    Heredoc(String),
    Number(String),
    Float(String),
    Bool(bool),
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Assign,
    Plus,
    Minus,
    Period,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Kind {
    /// The name used in error texts, which clients of the original know.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ident(_) => "IDENT",
            Self::String(_) => "STRING",
            Self::Heredoc(_) => "HEREDOC",
            Self::Number(_) => "NUMBER",
            Self::Float(_) => "FLOAT",
            Self::Bool(_) => "BOOL",
            Self::LeftBrace => "LBRACE",
            Self::RightBrace => "RBRACE",
            Self::LeftBracket => "LBRACK",
            Self::RightBracket => "RBRACK",
            Self::Comma => "COMMA",
            Self::Assign => "ASSIGN",
            Self::Plus => "ADD",
            Self::Minus => "SUB",
            Self::Period => "PERIOD",
            Self::End => "EOF",
        }
    }

    /// The token as it was written, for error texts.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Ident(text) | Self::Number(text) | Self::Float(text) => text.clone(),
            Self::String(text) | Self::Heredoc(text) => format!("\"{text}\""),
            Self::Bool(value) => value.to_string(),
            Self::LeftBrace => "{".into(),
            Self::RightBrace => "}".into(),
            Self::LeftBracket => "[".into(),
            Self::RightBracket => "]".into(),
            Self::Comma => ",".into(),
            Self::Assign => "=".into(),
            Self::Plus => "+".into(),
            Self::Minus => "-".into(),
            Self::Period => ".".into(),
            Self::End => String::new(),
        }
    }
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text.char_indices().peekable(), line: 1, column: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks()?;
        let start = self.offset();
        let Some(first) = self.take() else {
            return Ok(Token { kind: Kind::End, line: self.line, column: self.column + 1 });
        };
        let (line, column) = (self.line, self.column);
        let kind = match first {
            '{' => Kind::LeftBrace,
            '}' => Kind::RightBrace,
            '[' => Kind::LeftBracket,
            ']' => Kind::RightBracket,
            ',' => Kind::Comma,
            '=' => Kind::Assign,
            '+' => Kind::Plus,
            '"' => Kind::String(self.string()?),
            '<' => Kind::Heredoc(self.heredoc()?),
            '-' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                let first = self.take().unwrap_or('0');
                self.number(start, first)?
            }
            '-' => Kind::Minus,
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.skip_while(|c| c.is_ascii_digit());
                self.exponent();
                Kind::Float(self.since(start).to_owned())
            }
            '.' => Kind::Period,
            c if c.is_ascii_digit() => self.number(start, c)?,
            c if is_letter(c) => {
                self.skip_while(|c| is_letter(c) || c.is_numeric() || c == '-' || c == '.');
                match self.since(start) {
                    "true" => Kind::Bool(true),
                    "false" => Kind::Bool(false),
                    word => Kind::Ident(word.to_owned()),
                }
            }
            '\0' => return Err(self.error("unexpected null character (0x00)")),
            _ => return Err(self.error("illegal char")),
        };
        Ok(Token { kind, line, column })
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\n' | '\r') => {
                    self.take();
                }
                Some('#') => self.skip_while(|c| c != '\n'),
                Some('/') => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), ParseError> {
        self.take();
        match self.peek() {
            Some('/') => self.skip_while(|c| c != '\n'),
            Some('*') => {
                self.take();
                let mut before = ' ';
                loop {
                    match self.take() {
                        None => return Err(self.error("comment not terminated")),
                        Some('/') if before == '*' => return Ok(()),
                        Some(c) => before = c,
                    }
                }
            }
            _ => return Err(self.error("expected '/' for comment")),
        }
        Ok(())
    }

    fn number(&mut self, start: usize, first: char) -> Result<Kind, ParseError> {
        if first == '0' && matches!(self.peek(), Some('x' | 'X')) {
            self.take();
            let digits = self.offset();
            self.skip_while(|c| c.is_ascii_hexdigit());
            if self.since(digits).is_empty() {
                return Err(self.error("illegal hexadecimal number"));
            }
            return Ok(Kind::Number(self.since(start).to_owned()));
        }
        self.skip_while(|c| c.is_ascii_digit());
        let mut is_float = false;
        if self.peek() == Some('.') {
            self.take();
            self.skip_while(|c| c.is_ascii_digit());
            is_float = true;
        }
        is_float |= self.exponent();
        let text = self.since(start);
        if is_float {
            return Ok(Kind::Float(text.to_owned()));
        }
        if first == '0' && text.contains(['8', '9']) {
            return Err(self.error("illegal octal number"));
        }
        Ok(Kind::Number(text.to_owned()))
    }

    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(), Some('e' | 'E')) {
            return false;
        }
        self.take();
        if matches!(self.peek(), Some('+' | '-')) {
            self.take();
        }
        self.skip_while(|c| c.is_ascii_digit());
        true
    }

    /// A quoted text. Inside `${ … }` quotes and newlines are part of it, and nothing is unescaped.
    fn string(&mut self) -> Result<String, ParseError> {
        let mut text = String::new();
        let mut braces = 0_usize;
        loop {
            let c = match self.take() {
                None => return Err(self.error("literal not terminated")),
                Some('\n') if braces == 0 => return Err(self.error("literal not terminated")),
                Some('"') if braces == 0 => return Ok(text),
                Some('\0') => return Err(self.error("unexpected null character (0x00)")),
                Some('\\') if braces == 0 => {
                    let c = self.escape()?;
                    text.push(c);
                    continue;
                }
                Some(c) => c,
            };
            text.push(c);
            match c {
                '$' if braces == 0 && self.peek() == Some('{') => {
                    self.take();
                    text.push('{');
                    braces = 1;
                }
                '{' if braces > 0 => braces += 1,
                '}' if braces > 0 => braces -= 1,
                '\\' => text.extend(self.take()),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        Ok(match self.take() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\\' | '"')) => c,
            Some(c @ '0'..='7') => return self.code(Some(c), 8, 3),
            Some('x') => return self.code(None, 16, 2),
            Some('u') => return self.code(None, 16, 4),
            Some('U') => return self.code(None, 16, 8),
            _ => return Err(self.error("illegal char escape")),
        })
    }

    fn code(&mut self, first: Option<char>, radix: u32, digits: usize) -> Result<char, ParseError> {
        let mut code = first.and_then(|c| c.to_digit(radix)).unwrap_or(0);
        for _ in usize::from(first.is_some())..digits {
            let digit = self.peek().and_then(|c| c.to_digit(radix));
            let Some(digit) = digit else { return Err(self.error("illegal char escape")) };
            self.take();
            code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).unwrap_or(u32::MAX);
        }
        char::from_u32(code).ok_or_else(|| self.error("illegal char escape"))
    }

    /// `<<NAME` or `<<-NAME`, then lines until one that is only the name. With the dash, the indentation of the
    /// last line is taken off every line, unless a line has less.
    fn heredoc(&mut self) -> Result<String, ParseError> {
        if self.take() != Some('<') {
            return Err(self.error("heredoc expected second '<', didn't see it"));
        }
        let is_indented = self.peek() == Some('-');
        if is_indented {
            self.take();
        }
        let start = self.offset();
        self.skip_while(|c| is_letter(c) || c.is_numeric());
        let anchor = self.since(start);
        if anchor.is_empty() && matches!(self.peek(), Some('\r' | '\n')) {
            return Err(self.error("zero-length heredoc anchor"));
        }
        if self.peek() == Some('\r') {
            self.take();
        }
        match self.take() {
            Some('\n') => {}
            None => return Err(self.error("heredoc not terminated")),
            Some(_) => return Err(self.error("invalid characters in heredoc anchor")),
        }
        let mut lines = Vec::new();
        loop {
            let start = self.offset();
            self.skip_while(|c| c != '\n');
            let line = self.since(start);
            if line.trim_start().trim_end_matches('\r') == anchor {
                let indent = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
                let indent = if is_indented { indent } else { "" };
                return Ok(without_indent(&lines, indent));
            }
            lines.push(line);
            if self.take().is_none() {
                return Err(self.error("heredoc not terminated"));
            }
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn take(&mut self) -> Option<char> {
        let (_, c) = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 0;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn skip_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&holds) {
            self.take();
        }
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(offset, _)| *offset)
    }

    fn since(&mut self, start: usize) -> &'a str {
        let end = self.offset();
        self.text.get(start..end).unwrap_or_default()
    }

    fn error(&self, message: &str) -> ParseError {
        ParseError { line: self.line, column: self.column.max(1), message: message.to_owned() }
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn without_indent(lines: &[&str], indent: &str) -> String {
    let cut = if lines.iter().all(|line| line.starts_with(indent)) { indent } else { "" };
    let mut text = String::new();
    for line in lines {
        text.push_str(line.strip_prefix(cut).unwrap_or(line));
        text.push('\n');
    }
    text
}
