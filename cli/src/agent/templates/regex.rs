//! Regular expressions as Go writes them, run by a library that writes them a little differently.

use std::fmt::Write;

use gotmpl::TemplateError;
use regex::{Captures, Regex};

use super::functions::wrong;

/// No expression that is compiled is larger.
const SIZE_MAX: usize = 1024 * 1024;

/// Whether an expression is found in a text.
pub(super) fn found(pattern: &str, text: &str) -> Result<bool, TemplateError> {
    Ok(compiled(pattern)?.is_match(text))
}

/// A text with all that an expression finds replaced; `$1` and `${name}` stand for what its groups found.
pub(super) fn replaced(pattern: &str, with: &str, text: &str) -> Result<String, TemplateError> {
    Ok(compiled(pattern)?.replace_all(text, |found: &Captures<'_>| expanded(with, found)).into_owned())
}

/// Everything that an expression finds, up to so many.
pub(super) fn all_found(pattern: &str, text: &str, most: usize) -> Result<Vec<String>, TemplateError> {
    Ok(compiled(pattern)?.find_iter(text).take(most).map(|found| found.as_str().to_owned()).collect())
}

/// The pieces of a text between what an expression finds, at most so many.
pub(super) fn split(pattern: &str, text: &str, most: usize) -> Result<Vec<String>, TemplateError> {
    let compiled = compiled(pattern)?;
    if most == 0 {
        return Ok(Vec::new());
    }
    if text.is_empty() {
        return Ok(vec![String::new()]);
    }
    let (mut pieces, mut from, mut end) = (Vec::new(), 0, 0);
    for found in compiled.find_iter(text) {
        if pieces.len() + 1 >= most {
            break;
        }
        end = found.start();
        // What is found of nothing at the beginning divides nothing.
        if found.end() > 0 {
            pieces.push(text.get(from..end).unwrap_or_default().to_owned());
        }
        from = found.end();
    }
    if end != text.len() {
        pieces.push(text.get(from..).unwrap_or_default().to_owned());
    }
    Ok(pieces)
}

/// An expression that finds just this text.
pub(super) fn quoted(text: &str) -> String {
    let special = |c: char| "\\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn compiled(pattern: &str) -> Result<Regex, TemplateError> {
    let built = regex::RegexBuilder::new(&translated(pattern)).size_limit(SIZE_MAX).build();
    built.map_err(|_| wrong("a regular expression cannot be read, or is too large"))
}

/// The same expression in the library's words. Go's classes `\d`, `\w`, `\s` and `\b` know ASCII only, a brace that counts
/// nothing is a brace, `\Q…\E` quotes, and a class in brackets has no classes and no sums of classes in it.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\\' => escape(&mut out, rest),
            '[' => class(&mut out, rest),
            '{' if !counts(rest) => {
                out.push_str("\\{");
                rest.get(1..).unwrap_or_default()
            }
            other => {
                out.push(other);
                rest.get(other.len_utf8()..).unwrap_or_default()
            }
        };
    }
    out
}

/// What `\` begins, outside of brackets. What follows it.
fn escape<'a>(out: &mut String, rest: &'a str) -> &'a str {
    let Some(escaped) = rest.chars().nth(1) else {
        out.push('\\');
        return "";
    };
    let after = rest.get(1 + escaped.len_utf8()..).unwrap_or_default();
    match escaped {
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return after;
        }
        'd' | 'w' | 's' => out.push_str(&format!("[{}]", ascii(escaped))),
        'D' | 'W' | 'S' => out.push_str(&format!("[^{}]", ascii(escaped))),
        'b' => out.push_str("(?-u:\\b)"),
        // Their braces name something.
        'x' | 'p' | 'P' if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |at| at + 1);
            let (named, after) = after.split_at(end);
            out.push('\\');
            out.push(escaped);
            out.push_str(named);
            return after;
        }
        // The library's own words for the ends of words; here they are these characters.
        '<' | '>' => out.push(escaped),
        _ => {
            out.push('\\');
            out.push(escaped);
        }
    }
    after
}

fn ascii(class: char) -> &'static str {
    match class.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => "\\t\\n\\x0C\\r ",
    }
}

/// A class in brackets. What follows it.
fn class<'a>(out: &mut String, rest: &'a str) -> &'a str {
    out.push('[');
    let mut rest = rest.get(1..).unwrap_or_default();
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    let mut first = true;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        match next {
            ']' if !first => {
                out.push(']');
                return after;
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                let (named, after) = rest.split_at(end);
                out.push_str(named);
                (rest, first) = (after, false);
                continue;
            }
            '\\' => {
                rest = escape_in_class(out, after);
                first = false;
                continue;
            }
            // A hyphen at an end, or beside another, is one; between two characters it is a range.
            '-' if first || after.starts_with(']') || out.ends_with('-') => out.push_str("\\-"),
            '[' | '&' | '~' | ']' => {
                out.push('\\');
                out.push(next);
            }
            other => out.push(other),
        }
        (rest, first) = (after, false);
    }
    // The bracket is never closed, which the library says.
    ""
}

fn escape_in_class<'a>(out: &mut String, rest: &'a str) -> &'a str {
    let Some(escaped) = rest.chars().next() else {
        out.push('\\');
        return "";
    };
    match escaped {
        'd' | 'w' | 's' => out.push_str(ascii(escaped)),
        'D' | 'W' | 'S' => out.push_str(&format!("[^{}]", ascii(escaped))),
        _ => {
            out.push('\\');
            out.push(escaped);
        }
    }
    rest.get(escaped.len_utf8()..).unwrap_or_default()
}

/// Whether a brace begins `{2}`, `{2,}` or `{2,3}`.
fn counts(rest: &str) -> bool {
    let Some((inner, _)) = rest.get(1..).and_then(|rest| rest.split_once('}')) else { return false };
    let (from, to) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

/// What takes the place of something found, by Go's rules: a name is as long as it can be, one that is no group is
/// nothing, `$$` is a dollar, and so is a dollar that begins no name.
fn expanded(with: &str, found: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = with;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match name(after) {
            None => {
                out.push('$');
                rest = after;
            }
            Some((name, after)) => {
                let number: Option<usize> = name.parse().ok();
                let group = number.map_or_else(|| found.name(name), |number| found.get(number));
                // Writing into a string cannot fail.
                let _ = write!(out, "{}", group.map_or("", |group| group.as_str()));
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name that follows a dollar, and what follows the name.
fn name(after: &str) -> Option<(&str, &str)> {
    let braced = after.strip_prefix('{');
    let text = braced.unwrap_or(after);
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        None => Some((name, rest)),
        Some(_) => Some((name, rest.strip_prefix('}')?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_cannot_be_read_are_refused_without_their_text() {
        for pattern in ["(", "[a", "\\", "\\p{Nothing}", "(?<secret", "(?:x{1000}){1000}"] {
            let why = found(pattern, "secret").unwrap_err().to_string();
            assert!(why.contains("regular expression") && !why.contains("secret"), "{why}");
        }
    }

    /// What bao makes of them stands in tests/e2e/keep_secrets.ctmpl; these are corners of it.
    #[test]
    fn corners_of_the_language() {
        for (pattern, with, text, expect) in [
            ("\\x{e9}|\\pN|\\p{Greek}", "u", "é5αa", "uuua"),
            ("[]a]", "u", "]ab", "uub"),
            ("[^]]", "u", "]a", "]u"),
            ("[+--]", "u", "+,-.", "uuu."),
            ("[a-]", "u", "a-b", "uub"),
            ("a{,2}", "z", "a{,2}", "z"),
            ("\\Qa", "z", "a", "z"),
            ("(a)(b)?", "[$2$1]${1", "a", "[a]${1"),
            ("x*", "-", "abc", "-a-b-c-"),
        ] {
            assert_eq!(replaced(pattern, with, text).unwrap(), expect, "{pattern}");
        }
    }
}
