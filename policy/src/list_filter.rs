//! Templates that turn a key of a listing into the path that the caller must be able to read.
//!
//! A small part of Go's template language, enough to build a path: text, `{{ .path }}`, `{{ .key }}`, literals,
//! parentheses, pipes, trim marks, comments and the functions named in [`FUNCTIONS`].

use std::fmt;

/// Longest path a filter may build.
const OUTPUT_BYTES_MAX: usize = crate::PATH_BYTES_MAX;
/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 16;
/// What can be called in a filter.
pub(crate) const FUNCTIONS: [&str; 6] = ["lowercase", "uppercase", "replace", "truncate", "printf", "print"];

/// Turns a key of a listing into the path whose rules decide whether the caller sees the key.
#[derive(Clone, PartialEq)]
pub struct ListFilter {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Action(Expression),
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Path,
    Key,
    Text(String),
    Number(usize),
    Call { function: &'static str, arguments: Vec<Expression> },
}

impl ListFilter {
    /// Reads a filter and tries it out: two different keys must lead to two different paths.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let compile = |reason: String| {
            format!("unable to compile template for list_scan_response_keys_filter_path: {reason}")
        };
        let pieces = parse_pieces(source).map_err(compile)?;
        let filter = Self { source: source.to_owned(), pieces };
        let validate = |reason| format!("failed to validate list_scan_response_keys_filter_path: {reason}");
        let one = filter.path_of("folder/", "Qd3f7KxW0aZ1").map_err(validate)?;
        let other = filter.path_of("folder/", "b8RtLm2VyPc5").map_err(validate)?;
        if one == other {
            return Err(
                "list_scan_response_keys_filter_path resulted in same path for two different keys".into()
            );
        }
        Ok(filter)
    }

    /// The path that stands for `key` in a listing of `path`, or why there is none; then the key is not shown.
    pub fn path_of(&self, path: &str, key: &str) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Action(expression) => text.push_str(&expression.value(path, key)?),
            }
            if text.len() > OUTPUT_BYTES_MAX {
                return Err(format!("the path is longer than {OUTPUT_BYTES_MAX} bytes"));
            }
        }
        Ok(text)
    }

    /// The filter as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for ListFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListFilter").field(&self.source).finish()
    }
}

impl Expression {
    fn value(&self, path: &str, key: &str) -> Result<String, String> {
        Ok(match self {
            Self::Path => path.to_owned(),
            Self::Key => key.to_owned(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Call { function, arguments } => {
                let values: Vec<String> =
                    arguments.iter().map(|argument| argument.value(path, key)).collect::<Result<_, _>>()?;
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                call(function, &values)?
            }
        })
    }
}

fn call(function: &str, arguments: &[&str]) -> Result<String, String> {
    match (function, arguments) {
        ("lowercase", [text]) => Ok(text.to_lowercase()),
        ("uppercase", [text]) => Ok(text.to_uppercase()),
        ("replace", [find, with, text]) if !find.is_empty() => {
            let grows_by = text.matches(find).count().saturating_mul(with.len());
            if grows_by > OUTPUT_BYTES_MAX {
                return Err(format!("the path is longer than {OUTPUT_BYTES_MAX} bytes"));
            }
            Ok(text.replace(find, with))
        }
        ("truncate", [length, text]) => match length.parse() {
            Ok(length) => Ok(text.chars().take(length).collect()),
            Err(_) => Err("truncate takes a length and a text".into()),
        },
        ("print", texts) => Ok(texts.concat()),
        ("printf", [format, texts @ ..]) => printf(format, texts),
        (other, _) => Err(format!("wrong number of args for {other}")),
    }
}

fn printf(format: &str, texts: &[&str]) -> Result<String, String> {
    let mut texts = texts.iter();
    let mut output = String::new();
    let mut format = format.chars();
    while let Some(c) = format.next() {
        if c != '%' {
            output.push(c);
            continue;
        }
        match format.next() {
            Some('%') => output.push('%'),
            Some('s' | 'v' | 'd') => output.push_str(texts.next().ok_or("printf has too few arguments")?),
            _ => return Err("printf knows %s, %v, %d and %% here".into()),
        }
    }
    if texts.next().is_some() {
        return Err("printf has too many arguments".into());
    }
    Ok(output)
}

fn parse_pieces(source: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = source;
    let mut trims_start = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let text = if trims_start { text.trim_start() } else { text };
        let trims_end = action.is_some_and(|action| action.starts_with("- "));
        let text = if trims_end { text.trim_end() } else { text };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let mut reader = Reader { rest: action.strip_prefix("- ").unwrap_or(action), depth: 0 };
        let expression = reader.action()?;
        pieces.extend(expression.map(Piece::Action));
        trims_start = reader.rest.starts_with("-}}");
        let end = reader.rest.strip_prefix('-').unwrap_or(reader.rest);
        rest = end.strip_prefix("}}").ok_or("unable to parse template: unclosed action")?;
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    /// A comment, or operands with pipes between them.
    fn action(&mut self) -> Result<Option<Expression>, String> {
        self.skip_blanks();
        if let Some(comment) = self.rest.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or("unable to parse template: unclosed comment")?;
            self.rest = after.trim_start();
            return Ok(None);
        }
        self.pipeline().map(Some)
    }

    fn pipeline(&mut self) -> Result<Expression, String> {
        let mut value = self.command(None)?;
        loop {
            self.skip_blanks();
            let Some(rest) = self.rest.strip_prefix('|') else { return Ok(value) };
            self.rest = rest;
            value = self.command(Some(value))?;
        }
    }

    /// A function with its operands, or one operand. What is piped in comes last.
    fn command(&mut self, piped: Option<Expression>) -> Result<Expression, String> {
        self.skip_blanks();
        let word_end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(word_end);
        if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.rest = after;
            let Some(function) = FUNCTIONS.into_iter().find(|known| *known == word) else {
                return Err(format!(
                    "unable to parse template: function \"{word}\" not defined; there are {}",
                    FUNCTIONS.join(", ")
                ));
            };
            let mut arguments = Vec::new();
            while let Some(argument) = self.operand()? {
                arguments.push(argument);
            }
            arguments.extend(piped);
            return Ok(Expression::Call { function, arguments });
        }
        let value = self.operand()?.ok_or("unable to parse template: missing value for command")?;
        if piped.is_some() || self.operand()?.is_some() {
            return Err("unable to parse template: only a function takes arguments".into());
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Option<Expression>, String> {
        self.skip_blanks();
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        match first {
            '.' => {
                let name = self.rest.get(1..).unwrap_or_default();
                let end =
                    name.find(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).unwrap_or(name.len());
                let (name, after) = name.split_at(end);
                self.rest = after;
                match name {
                    "path" => Ok(Some(Expression::Path)),
                    "key" => Ok(Some(Expression::Key)),
                    other => Err(format!("\".{other}\" is not known: there are .path and .key")),
                }
            }
            '"' => self.quoted().map(Some),
            '`' => {
                let inner = self.rest.get(1..).unwrap_or_default();
                let (text, after) = inner.split_once('`').ok_or("unterminated raw quoted string")?;
                self.rest = after;
                Ok(Some(Expression::Text(text.to_owned())))
            }
            '(' => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(format!("parentheses deeper than {DEPTH_MAX}"));
                }
                self.rest = self.rest.get(1..).unwrap_or_default();
                let value = self.pipeline()?;
                self.skip_blanks();
                self.rest = self.rest.strip_prefix(')').ok_or("unclosed left paren")?;
                self.depth -= 1;
                Ok(Some(value))
            }
            '0'..='9' => {
                let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
                let (digits, after) = self.rest.split_at(end);
                self.rest = after;
                digits
                    .parse()
                    .map(|number| Some(Expression::Number(number)))
                    .map_err(|_| "number too large".into())
            }
            _ => Ok(None),
        }
    }

    fn quoted(&mut self) -> Result<Expression, String> {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some(c @ ('\\' | '"')) => text.push(c),
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    _ => return Err("unknown escape in quoted string".into()),
                },
                Some(c) => text.push(c),
                None => return Err("unterminated quoted string".into()),
            }
        }
        self.rest = chars.as_str();
        Ok(Expression::Text(text))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expect: &str) {
        assert_eq!(ListFilter::parse(source).unwrap().path_of("kv/app/", "Db").unwrap(), expect, "{source}");
    }

    #[test]
    fn filters_build_paths() {
        check("{{ .path }}{{ .key }}", "kv/app/Db");
        check("kv/data/{{.key}}", "kv/data/Db");
        check("{{- .path -}}  x  {{- .key }}", "kv/app/xDb");
        check("{{/* why */}}{{.key}}", "Db");
        check("{{ .key | lowercase }}/{{uppercase .key}}", "db/DB");
        check("{{ .path | replace \"app\" \"data\" }}{{.key}}", "kv/data/Db");
        check("{{ printf \"%s%s%%\" .path (.key | truncate 1) }}", "kv/app/D%");
        check("{{`raw`}}{{\"q\\\"\"}}{{(.key)}}", "rawq\"Db");
        check("a{{ .key }}b}}", "aDbb}}");
    }

    #[test]
    fn nonsense_is_refused() {
        for (source, reason) in [
            ("x", "same path for two different keys"),
            ("{{ .path }}", "same path for two different keys"),
            ("{{ .path ", "unclosed action"),
            ("{{ foo }}", "function \"foo\" not defined"),
            ("{{ .foo }}", "there are .path and .key"),
            ("{{ .path .key }}", "only a function takes arguments"),
            ("{{ truncate .key 3 }}", "truncate takes a length"),
            ("{{ lowercase }}", "wrong number of args"),
            ("{{ printf \"%q\" .key }}", "printf knows"),
            ("{{ }}", "missing value"),
        ] {
            let error = ListFilter::parse(source).unwrap_err();
            assert!(error.contains(reason), "{source}: {error}");
        }
        assert!(ListFilter::parse(&format!("{{{{ {}.key }}}}", "(".repeat(10_000))).is_err());
    }
}
