//! What a JSON body would cost, and whether it is one, before anything is made of it.
//!
//! One pass over the bytes, no allocation: nobody has to show a token to send a body, so looking at it must be
//! cheap however it is made. The texts are those of Go, which clients of Vault know.

use std::fmt;

use crate::config::Limits;

/// How deep objects and lists may be nested. What parses the body later gives up at 128.
pub(crate) const DEPTH_MAX: u32 = 120;

/// What a body is, as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whole {
    /// Nothing but space.
    Nothing,
    Null,
    Object,
    Array,
    String,
    Number,
    Bool,
}

/// Why a body is refused. Nothing of its content is repeated but the one character that was wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// It is no JSON.
    Syntax(String),
    /// It is more than we want to parse.
    TooMuch(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) => write!(f, "failed to decode JSON input: {text}"),
            Self::TooMuch(text) => write!(f, "refused JSON input due to high complexity: {text}"),
        }
    }
}

impl Whole {
    /// As Go names it when it wanted something else.
    pub(crate) fn go(self) -> &'static str {
        match self {
            Self::Nothing | Self::Null => "null",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
        }
    }
}

/// The estimated cost in bytes of what is parsed, by kind.
mod cost {
    pub(super) const REQUEST: u64 = 16;
    pub(super) const WORD: u64 = 1;
    pub(super) const NUMBER: u64 = 8;
    pub(super) const STRING: u64 = 16;
    pub(super) const ARRAY: u64 = 24;
    pub(super) const OBJECT: u64 = 72;
}

/// Looks through a body.
pub(crate) fn check(body: &[u8], limits: &Limits) -> Result<Whole, Refused> {
    if std::str::from_utf8(body).is_err() {
        return Err(Refused::Syntax("invalid UTF-8".to_owned()));
    }
    let mut scan = Scan {
        body,
        at: 0,
        memory: limits.json_memory_max.map_or(u64::MAX, |max| max.saturating_sub(cost::REQUEST)),
        strings: limits.json_strings_max.unwrap_or(u64::MAX),
        objects: 0,
        depth: 0,
    };
    scan.whole()
}

struct Scan<'a> {
    body: &'a [u8],
    at: usize,
    /// What is left of the limits.
    memory: u64,
    strings: u64,
    /// One bit for each level that is open, the innermost lowest: an object, or else a list.
    objects: u128,
    depth: u32,
}

type Step<T = ()> = Result<T, Refused>;

impl Scan<'_> {
    fn whole(&mut self) -> Step<Whole> {
        let Some(first) = self.skip_space() else { return Ok(Whole::Nothing) };
        let whole = match first {
            b'{' => Whole::Object,
            b'[' => Whole::Array,
            b'"' => Whole::String,
            b't' | b'f' => Whole::Bool,
            b'n' => Whole::Null,
            _ => Whole::Number,
        };
        self.value()?;
        while self.depth > 0 {
            self.inside()?;
        }
        match self.skip_space() {
            None => Ok(whole),
            Some(byte @ (b'{' | b'[' | b'"' | b'-' | b'0'..=b'9')) => {
                Err(wrong(byte, "after top-level value"))
            }
            Some(byte) => Err(wrong(byte, BEGINNING)),
        }
    }

    /// One member of the innermost container, with what stands before and behind it, or the container's end.
    fn inside(&mut self) -> Step {
        let object = self.objects & 1 == 1;
        if object {
            match self.need()? {
                b'"' => self.string()?,
                byte => return Err(wrong(byte, BEGINNING)),
            }
            match self.need()? {
                b':' => self.at += 1,
                byte => return Err(wrong(byte, "after object key")),
            }
        }
        let depth = self.depth;
        self.need()?;
        self.value()?;
        if self.depth == depth { self.behind() } else { Ok(()) }
    }

    /// What follows a value: a comma, or the end of one or several containers.
    fn behind(&mut self) -> Step {
        while self.depth > 0 {
            let object = self.objects & 1 == 1;
            let end = if object { b'}' } else { b']' };
            let byte = self.need()?;
            self.at += 1;
            if byte == b',' {
                // Go complains of the comma that has nothing behind it.
                return if self.need()? == end { Err(wrong(b',', BEGINNING)) } else { Ok(()) };
            }
            if byte != end {
                return Err(wrong(
                    byte,
                    if object { "after object key:value pair" } else { "after array element" },
                ));
            }
            self.leave();
        }
        Ok(())
    }

    /// A value. A container that is not empty is only entered.
    fn value(&mut self) -> Step {
        match self.need()? {
            b'{' => self.enter(true),
            b'[' => self.enter(false),
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number(),
            byte => Err(wrong(byte, BEGINNING)),
        }
    }

    fn enter(&mut self, object: bool) -> Step {
        self.pay(if object { cost::OBJECT } else { cost::ARRAY })?;
        if self.depth == DEPTH_MAX {
            return Err(Refused::Syntax("exceeded max depth".to_owned()));
        }
        self.at += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        if self.need()? == if object { b'}' } else { b']' } {
            self.at += 1;
            self.leave();
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn string(&mut self) -> Step {
        self.strings = match self.strings.checked_sub(1) {
            Some(left) => left,
            None => return Err(Refused::TooMuch("exceeded maximum number of strings")),
        };
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                control @ 0..=0x1f => return Err(wrong(control, "in string")),
                _ => {}
            }
        }
        let length = u64::try_from(self.at - 1 - start).unwrap_or(u64::MAX);
        self.pay(length.saturating_add(cost::STRING))
    }

    fn escape(&mut self) -> Step {
        let start = self.at - 1;
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let unit = self.hex(start)?;
                match unit {
                    // Half a character: the other half must follow.
                    0xd800..=0xdbff if self.body.get(self.at..self.at + 2) == Some(b"\\u") => {
                        self.at += 2;
                        let low = self.hex(start)?;
                        if (0xdc00..=0xdfff).contains(&low) { Ok(()) } else { Err(self.bad_escape(start)) }
                    }
                    0xd800..=0xdfff => Err(self.bad_escape(start)),
                    _ => Ok(()),
                }
            }
            _ => Err(self.bad_escape(start)),
        }
    }

    fn hex(&mut self, start: usize) -> Step<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16).ok_or_else(|| self.bad_escape(start))?;
            unit = unit << 4 | digit;
        }
        Ok(unit)
    }

    fn bad_escape(&self, start: usize) -> Refused {
        // An escape is short, and cannot hold much of a secret.
        let unit = self.body.get(start + 1) == Some(&b'u');
        let end = if unit { self.at.max(start + 6) } else { self.at }.min(self.body.len());
        let shown = String::from_utf8_lossy(self.body.get(start..end).unwrap_or_default());
        Refused::Syntax(format!("invalid escape sequence `{shown}` in string"))
    }

    fn word(&mut self, word: &str) -> Step {
        self.pay(cost::WORD)?;
        self.at += 1;
        for expected in word.bytes().skip(1) {
            let byte = self.byte()?;
            if byte != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(wrong(byte, &place));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Step {
        self.pay(cost::NUMBER)?;
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.byte()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            byte => return Err(wrong(byte, "in numeric literal")),
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        if whole && self.at - start < FITS_ALWAYS {
            return Ok(());
        }
        let text = std::str::from_utf8(self.body.get(start..self.at).unwrap_or_default()).unwrap_or_default();
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Ok(());
        }
        let shown = text.get(..FITS_ALWAYS).unwrap_or(text);
        Err(Refused::Syntax(format!("json: cannot unmarshal number {shown} into Go value of type float64")))
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Step {
        match self.byte()? {
            b'0'..=b'9' => {
                self.digits();
                Ok(())
            }
            byte => Err(wrong(byte, "in numeric literal")),
        }
    }

    fn pay(&mut self, price: u64) -> Step {
        match self.memory.checked_sub(price) {
            Some(left) => self.memory = left,
            None => return Err(Refused::TooMuch("exceeded maximum estimated memory limits")),
        }
        Ok(())
    }

    fn skip_space(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn need(&mut self) -> Step<u8> {
        self.skip_space().ok_or_else(ended)
    }

    fn byte(&mut self) -> Step<u8> {
        let byte = self.peek().ok_or_else(ended)?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }
}

/// A whole number with fewer digits is always a finite float.
const FITS_ALWAYS: usize = 300;
const BEGINNING: &str = "looking for beginning of value";

fn ended() -> Refused {
    Refused::Syntax("unexpected EOF".to_owned())
}

fn wrong(byte: u8, place: &str) -> Refused {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\r' => "\\r".to_owned(),
        0..=0x1f | 0x7f => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    Refused::Syntax(format!("invalid character '{shown}' {place}"))
}

#[cfg(test)]
mod tests;
