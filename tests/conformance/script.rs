//! The format of a script, one request a line:
//!
//! ```text
//! # a comment
//! server blank                          the first line may ask for an uninitialised server; else a development one
//! server open                           the same, and it lets holders of shares in without a token
//! server recorded                       uninitialised, set up as the one that the exchanges in `recorded/` come from
//! VERB path [as:TOKEN] [was:STATUS] [Header=value]… [body] [=> name=/pointer …]
//! until 200 GET path                    asks until the status is this one; not compared
//! ```
//!
//! The path is what follows `/v1/`, or the whole target if it starts with a slash. Without `as:` the root token is
//! presented; `as:-` presents none. `was:` is the status that bao is known to answer. A body is JSON from `{`, `[` or `"` on, or any text in single quotes. `=>` keeps
//! values of the answer (by JSON pointer) under names; `$name` puts them into later lines. `%20` in a header's value
//! stands for a space.

use std::collections::BTreeMap;

/// Values that answers of one server gave, by the name the script keeps them under.
pub(crate) type Kept = BTreeMap<String, String>;

/// What kind of server a script runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A development server with its root token.
    Dev,
    /// Nothing initialised.
    Blank,
    /// The same, with every endpoint that can be opened to strangers.
    Open,
    /// Nothing initialised, and the store and the router can be looked at.
    Recorded,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) until: Option<u16>,
    pub(crate) verb: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) was: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
    pub(crate) keep: Vec<(String, String)>,
}

impl Step {
    /// The target as the wire has it.
    pub(crate) fn target(&self, kept: &Kept) -> String {
        let path = fill(&self.path, kept);
        if path.starts_with('/') { path } else { format!("/v1/{path}") }
    }
}

/// Reads a whole script; panics with the line that it does not understand.
pub(crate) fn parse(text: &str) -> (Start, Vec<Step>) {
    let mut start = Start::Dev;
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line {
            "server blank" => start = Start::Blank,
            "server open" => start = Start::Open,
            "server recorded" => start = Start::Recorded,
            _ => steps.push(step(index + 1, line)),
        }
    }
    (start, steps)
}

fn step(number: usize, line: &str) -> Step {
    let (until, line) = match line.strip_prefix("until ") {
        Some(rest) => {
            let (status, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("line {number}: until what?"));
            (Some(status.parse().unwrap_or_else(|_| panic!("line {number}: {status} is no status"))), rest)
        }
        None => (None, line),
    };
    let (request, keep) = line.rsplit_once(" => ").unwrap_or((line, ""));
    let mut words = request;
    let mut next = || -> Option<&str> {
        words = words.trim_start();
        if words.is_empty() || words.starts_with(['{', '[', '"', '\'']) {
            return None;
        }
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        words = rest;
        Some(word)
    };
    let verb = next().unwrap_or_else(|| panic!("line {number}: no verb")).to_owned();
    let path = next().unwrap_or_else(|| panic!("line {number}: no path")).to_owned();
    let (mut token, mut was, mut headers) = (None, None, Vec::new());
    while let Some(word) = next() {
        if let Some(name) = word.strip_prefix("as:") {
            token = Some(name.to_owned());
        } else if let Some(status) = word.strip_prefix("was:") {
            was = Some(status.parse().unwrap_or_else(|_| panic!("line {number}: {status} is no status")));
        } else if let Some((name, value)) = word.split_once('=') {
            headers.push((name.to_owned(), value.replace("%20", " ")));
        } else {
            panic!("line {number}: what is {word:?}?");
        }
    }
    let body = words.trim();
    let body = body.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(body);
    let body = if words.trim().is_empty() { None } else { Some(body.to_owned()) };
    let keep = keep.split_whitespace().map(|pair| {
        let (name, pointer) =
            pair.split_once('=').unwrap_or_else(|| panic!("line {number}: keep {pair:?} how?"));
        (name.to_owned(), pointer.to_owned())
    });
    Step { line: number, until, verb, path, token, was, headers, body, keep: keep.collect() }
}

/// Puts kept values in place of their names.
pub(crate) fn fill(text: &str, kept: &Kept) -> String {
    let mut filled = text.to_owned();
    // Longest first, so that $child2 is not taken for $child.
    let mut names: Vec<&String> = kept.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        filled = filled.replace(&format!("${name}"), &kept[name]);
    }
    filled
}

#[test]
fn a_line_is_read_into_its_parts() {
    let text = "# nothing\nPOST a/b as:$t was:204 X-Vault-Wrap-TTL=5m {\"a\": 1} => x=/data/x y=/y\nGET /raw as:- 'no json'";
    let (start, steps) = parse(text);
    assert_eq!(start, Start::Dev);
    assert_eq!(steps[0].body.as_deref(), Some("{\"a\": 1}"));
    assert_eq!(steps[0].was, Some(204));
    assert_eq!(steps[0].headers, [("X-Vault-Wrap-TTL".to_owned(), "5m".to_owned())]);
    assert_eq!(steps[0].keep[1], ("y".to_owned(), "/y".to_owned()));
    assert_eq!(steps[1].body.as_deref(), Some("no json"));
    let kept = Kept::from([("t".to_owned(), "1".to_owned()), ("t2".to_owned(), "2".to_owned())]);
    assert_eq!(fill("$t2/$t", &kept), "2/1");
}
