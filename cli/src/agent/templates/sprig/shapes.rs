//! The shape of words: how their letters are, and where lines end.

use gotmpl::Value;

use super::numbers::whole;
use crate::agent::templates::{
    functions::{Function, argument, large, small, string},
    language::Made,
    values::text,
};

pub(super) const ALL: [(&str, Function); 9] = [
    ("title", |args| Ok(text(titled(string(args, 0)?)))),
    ("untitle", |args| Ok(text(untitled(string(args, 0)?)))),
    ("swapcase", |args| Ok(text(swapped(string(args, 0)?)))),
    ("initials", |args| {
        let words = string(args, 0)?.split_whitespace();
        Ok(text(words.filter_map(|word| word.chars().next()).collect::<String>()))
    }),
    ("camelcase", |args| Ok(text(camel(string(args, 0)?)))),
    ("snakecase", |args| Ok(text(words(string(args, 0)?).join("_")))),
    ("kebabcase", |args| Ok(text(words(string(args, 0)?).join("-")))),
    ("wrap", |args| Ok(text(wrapped(string(args, 1)?, whole(argument(args, 0)?), "\n", LongWords::Stay)))),
    ("wrapWith", wrap_with),
];

fn wrap_with(args: &[Value]) -> Made {
    let (width, between) = (whole(argument(args, 0)?), string(args, 1)?);
    let between = if between.is_empty() { "\n" } else { between };
    Ok(text(wrapped(string(args, 2)?, width, between, LongWords::AreCut)))
}

/// What begins a word for Go's oldest idea of a title: an apostrophe ends one.
fn titled(whole: &str) -> String {
    let mut begins = true;
    let title = |c: char| {
        let raised = if begins { large(c) } else { c };
        begins = match c {
            _ if c.is_ascii() => !(c.is_ascii_alphanumeric() || c == '_'),
            _ => !c.is_alphanumeric() && c.is_whitespace(),
        };
        raised
    };
    whole.chars().map(title).collect()
}

fn untitled(whole: &str) -> String {
    let mut begins = true;
    let untitle = |c: char| {
        let lowered = if begins { small(c) } else { c };
        begins = c.is_whitespace();
        lowered
    };
    whole.chars().map(untitle).collect()
}

fn swapped(whole: &str) -> String {
    whole.chars().map(|c| if c.is_uppercase() { small(c) } else { large(c) }).collect()
}

fn connects(c: char) -> bool {
    c == '_' || c == '-' || c.is_whitespace()
}

/// The words of a text in small letters: `HTTPServer` is two, and so is `http-server`. A number belongs to the word before
/// it, unless small letters follow.
fn words(whole: &str) -> Vec<String> {
    let letters: Vec<char> = whole.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in letters.iter().enumerate() {
        if connects(*c) {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| letters.get(at)).copied();
        if before.is_some_and(|before| begins(before, *c, letters.get(at + 1..).unwrap_or_default())) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(small(*c));
        }
    }
    words
}

/// Whether a character begins a word, by what stands around it.
fn begins(before: char, c: char, after: &[char]) -> bool {
    if c.is_uppercase() {
        let in_capitals = before.is_uppercase() && !after.first().copied().is_some_and(char::is_lowercase);
        return before.is_alphanumeric() && !in_capitals;
    }
    let follows = after.iter().find(|c| !c.is_numeric());
    c.is_numeric() && before.is_alphabetic() && follows.copied().is_some_and(char::is_lowercase)
}

/// The words of a text as one, each beginning large. What connects at the beginning and at the end stays.
fn camel(whole: &str) -> String {
    let start = whole.find(|c| !connects(c)).unwrap_or(whole.len());
    let (before, rest) = whole.split_at(start);
    let mut out = before.to_owned();
    let mut letters = rest.chars();
    let Some(mut last) = letters.next().map(large) else { return out };
    for c in letters {
        match (connects(last), connects(c)) {
            (true, true) => out.push(last),
            (true, false) => {
                last = large(c);
                continue;
            }
            (false, _) => out.push(last),
        }
        last = c;
    }
    out.push(last);
    out
}

/// Whether a word that is longer than a line is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LongWords {
    Stay,
    AreCut,
}

/// Lines of at most this many bytes, broken at spaces.
fn wrapped(whole: &str, width: i64, between: &str, long: LongWords) -> String {
    let width = usize::try_from(width).unwrap_or(0).max(1);
    let mut out = String::with_capacity(whole.len());
    let mut rest = whole;
    while rest.len() > width {
        if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
            continue;
        }
        let space = rest.bytes().take(width + 1).rposition(|byte| byte == b' ');
        let (line, after) = match (space, long) {
            (Some(at), _) => (rest.get(..at), rest.get(at + 1..)),
            (None, LongWords::AreCut) => {
                let cut = (width..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
                (rest.get(..cut), rest.get(cut..))
            }
            (None, LongWords::Stay) => match rest.bytes().skip(width).position(|byte| byte == b' ') {
                None => break,
                Some(at) => (rest.get(..width + at), rest.get(width + at + 1..)),
            },
        };
        out.push_str(line.unwrap_or_default());
        out.push_str(between);
        rest = after.unwrap_or_default();
    }
    out.push_str(rest);
    out
}
