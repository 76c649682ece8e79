//! HCL as settings: what a program that is configured in it asks for, one key at a time.

use std::time::Duration;

use super::{
    json,
    parse::{self, Body, Entry, Item, Value},
};
use crate::span::Span;

/// The keys of one stanza. What is asked for is taken out, so that what is left over at the end was never understood.
#[derive(Debug)]
pub(crate) struct Stanza {
    /// How messages call it: `certificate "app.internal"`.
    pub(crate) place: String,
    items: Vec<Item>,
    /// What was asked for: the names that are known here.
    asked: Vec<String>,
}

/// A stanza and the labels behind its key.
#[derive(Debug)]
pub(crate) struct Labelled {
    pub(crate) labels: Vec<String>,
    pub(crate) stanza: Stanza,
}

/// Reads a whole file: HCL, or JSON, which begins with a brace.
pub(crate) fn read(text: &str, place: &str) -> Result<Stanza, String> {
    let read = if text.trim_start().starts_with('{') { json::parse } else { parse::parse };
    let body = read(text).map_err(|why| format!("{place}: {why}"))?;
    Ok(Stanza::new(place.to_owned(), body))
}

impl Stanza {
    fn new(place: String, body: Body) -> Stanza {
        let items = body.entries.into_iter().filter_map(|entry| match entry {
            Entry::Item(item) => Some(item),
            Entry::Comment { .. } => None,
        });
        Stanza { place, items: items.collect(), asked: Vec::new() }
    }

    /// Text. Numbers and truth values count as text too, as everywhere in HCL.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        let Some(item) = self.take(key)? else { return Ok(None) };
        match &item.value {
            Value::Literal(text) => literal(text).map(Some).map_err(|why| self.wrong(key, item.start, &why)),
            _ => Err(self.wrong(key, item.start, "it must be a text")),
        }
    }

    /// Text that must be there.
    pub(crate) fn needed(&mut self, key: &str) -> Result<String, String> {
        self.text(key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("{}: {key} is missing", self.place))
    }

    /// A list of texts; a single one counts as a list of one.
    pub(crate) fn list(&mut self, key: &str) -> Result<Vec<String>, String> {
        let Some(item) = self.take(key)? else { return Ok(Vec::new()) };
        let one = |value: &Value| match value {
            Value::Literal(text) => literal(text),
            _ => Err("its elements must be texts".to_owned()),
        };
        let read = match &item.value {
            Value::Literal(_) => one(&item.value).map(|text| vec![text]),
            Value::List(list) => list.elements.iter().map(|element| one(&element.value)).collect(),
            Value::Object(_) => Err("it must be a list of texts".to_owned()),
        };
        read.map_err(|why| self.wrong(key, item.start, &why))
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        crate::argv::go_bool(&text)
            .map(Some)
            .ok_or_else(|| format!("{}: {key} must be true or false, not {text:?}", self.place))
    }

    /// A whole number; with a leading zero it is octal, as modes of files are written.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<u32>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let parsed = match text
            .strip_prefix("0o")
            .or_else(|| text.strip_prefix('0'))
            .filter(|rest| !rest.is_empty())
        {
            Some(octal) => u32::from_str_radix(octal, 8),
            None => text.parse(),
        };
        parsed.map(Some).map_err(|_| format!("{}: {key} must be a whole number, not {text:?}", self.place))
    }

    /// A length of time that is not zero.
    pub(crate) fn span(&mut self, key: &str) -> Result<Option<Duration>, String> {
        match self.seconds(key)? {
            Some(..=0) => Err(format!("{}: {key} must be at least one second", self.place)),
            seconds => Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)),
        }
    }

    /// A length of time; nothing, and zero, are none.
    pub(crate) fn span_if_any(&mut self, key: &str) -> Result<Option<Duration>, String> {
        match self.seconds(key)? {
            Some(..0) => Err(format!("{}: {key} must not be negative", self.place)),
            seconds => {
                let seconds = seconds.filter(|seconds| *seconds > 0);
                Ok(seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs))
            }
        }
    }

    fn seconds(&mut self, key: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.text(key)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        let span: Span = text.parse().map_err(|why| format!("{}: {key}: {why}", self.place))?;
        Ok(Some(span.seconds()))
    }

    /// All stanzas of this name, in their order.
    pub(crate) fn stanzas(&mut self, key: &str) -> Result<Vec<Labelled>, String> {
        let mut found = Vec::new();
        self.asked.push(key.to_owned());
        let (taken, left) = std::mem::take(&mut self.items).into_iter().partition(|item| name(item) == key);
        self.items = left;
        for item in taken {
            let labels: Result<Vec<String>, String> =
                item.keys.iter().skip(1).map(|text| literal(text)).collect();
            let labels = labels.map_err(|why| self.wrong(key, item.start, &why))?;
            let Value::Object(body) = item.value else {
                return Err(self.wrong(key, item.start, "it must be a stanza in braces"));
            };
            let shown: String = labels.iter().map(|label| format!(" {label:?}")).collect();
            let place = format!("{}: {key}{shown}", self.place);
            found.push(Labelled { labels, stanza: Stanza::new(place, body) });
        }
        Ok(found)
    }

    /// The one stanza of this name, if there is any.
    pub(crate) fn stanza(&mut self, key: &str) -> Result<Option<Labelled>, String> {
        let mut found = self.stanzas(key)?;
        if found.len() > 1 {
            return Err(format!("{}: {key} stands there {} times; once is meant", self.place, found.len()));
        }
        Ok(found.pop())
    }

    /// Like `stanza`, but leaves a value that is no stanza for whoever asks for it as a text.
    pub(crate) fn stanza_if_block(&mut self, key: &str) -> Result<Option<Labelled>, String> {
        let block = |item: &Item| name(item) == key && matches!(item.value, Value::Object(_));
        if self.items.iter().any(block) { self.stanza(key) } else { Ok(None) }
    }

    /// Refuses a key that is known and not done here, with what to do about it.
    pub(crate) fn refuse(&self, key: &str, advice: &str) -> Result<(), String> {
        match self.items.iter().find(|item| name(item) == key) {
            None => Ok(()),
            Some(item) => Err(self.wrong(key, item.start, advice)),
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.items.iter().any(|item| name(item) == key)
    }

    /// The end of reading: what nobody asked for is a mistake, and says where.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.items.first() {
            None => Ok(()),
            Some(item) => {
                let name = name(item);
                let near = self.asked.iter().find(|known| **known != name && is_near(known, &name));
                let meant = near.map_or(String::new(), |known| format!("; is {known} meant?"));
                Err(format!("{}: {}{name:?} is not known here{meant}", self.place, line(item.start)))
            }
        }
    }

    fn take(&mut self, key: &str) -> Result<Option<Item>, String> {
        self.asked.push(key.to_owned());
        let Some(at) = self.items.iter().position(|item| name(item) == key && item.keys.len() == 1) else {
            return Ok(None);
        };
        let item = self.items.remove(at);
        if let Some(second) = self.items.iter().find(|item| name(item) == key) {
            return Err(self.wrong(key, second.start, "it stands there twice"));
        }
        Ok(Some(item))
    }

    fn wrong(&self, key: &str, line: usize, why: &str) -> String {
        format!("{}: {}{key}: {why}", self.place, self::line(line))
    }
}

/// Whether a word is another but for a letter or two: one too many, one too few, one that is wrong.
fn is_near(known: &str, word: &str) -> bool {
    let (known, word): (Vec<char>, Vec<char>) =
        (known.chars().collect(), word.to_lowercase().chars().collect());
    // How many changes make what is known so far into each beginning of the word.
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (at, letter) in known.iter().enumerate() {
        let mut next = vec![at + 1];
        for ((other, pair), left) in word.iter().zip(row.windows(2)).zip(0..) {
            let [diagonal, above] = *pair else { continue };
            let before: usize = next.get(left).copied().unwrap_or(usize::MAX);
            next.push((diagonal + usize::from(letter != other)).min(above + 1).min(before.saturating_add(1)));
        }
        row = next;
    }
    row.last().is_some_and(|changes| *changes <= 2 && *changes < known.len().min(word.len()))
}

/// Where it stands, if that is known: in JSON it is the path that says so.
fn line(number: usize) -> String {
    if number == 0 { String::new() } else { format!("line {number}: ") }
}

fn name(item: &Item) -> String {
    item.keys.first().and_then(|key| literal(key).ok()).unwrap_or_default()
}

/// A literal without its quotes, escapes resolved.
fn literal(text: &str) -> Result<String, String> {
    if text.starts_with("<<") {
        return Ok(heredoc(text));
    }
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Ok(text.to_owned());
    };
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(plain @ ('"' | '\\')) => out.push(plain),
            Some(other) => return Err(format!("\\{other} is no escape; write \\\\ for a backslash")),
            None => return Err("it ends in a backslash".to_owned()),
        }
    }
    Ok(out)
}

/// The lines between the markers; with `<<-` without the indent that all of them share.
fn heredoc(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let indented = text.starts_with("<<-");
    lines.pop();
    let body = lines.get(1..).unwrap_or_default();
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shared = body.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let cut = if indented { shared } else { 0 };
    body.iter().map(|line| format!("{}\n", line.get(cut..).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_kind() {
        let text = "a = \"x\\\"\\n\"\nb = 0640\nc = [\"1\", 2]\nd = true\nspan = \"1h30m\"\nm \"t\" { k = 1 }\n\
                    w = <<-E\n  one\n    two\n  E\n\"q\" = 3";
        let mut all = read(text, "f").expect("HCL");
        assert_eq!(all.text("a"), Ok(Some("x\"\n".to_owned())));
        assert_eq!(all.number("b"), Ok(Some(0o640)));
        assert_eq!(all.list("c"), Ok(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(all.flag("d"), Ok(Some(true)));
        assert_eq!(all.span("span"), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(all.text("w"), Ok(Some("one\n  two\n".to_owned())));
        let mut inner = all.stanza("m").expect("one").expect("a stanza");
        assert_eq!((inner.labels.as_slice(), inner.stanza.number("k")), (&["t".to_owned()][..], Ok(Some(1))));
        assert_eq!(all.number("q"), Ok(Some(3)));
        all.finish().expect("all is read");
    }

    #[test]
    fn json_says_the_same() {
        let text = r#"{"a": "x\"\n\\", "b": 640, "c": ["1", 2], "d": true, "none": null, "empty": [],
            "method": {"approle": {"config": {"k": 1}}}, "sink": [{"file": [{"p": 1}, {"p": 2}]}, {"type": "file", "config": {}}],
            "template": [{"p": 3}, {"p": 4}]}"#;
        let mut all = read(text, "f").expect("JSON");
        assert_eq!(all.text("a"), Ok(Some("x\"\n\\".to_owned())));
        assert_eq!((all.number("b"), all.flag("d")), (Ok(Some(640)), Ok(Some(true))));
        assert_eq!(all.list("c"), Ok(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!((all.text("none"), all.list("empty")), (Ok(None), Ok(vec![])));
        let mut method = all.stanza("method").expect("one").expect("a stanza");
        assert_eq!(
            (method.labels.as_slice(), method.stanza.place.as_str()),
            (&["approle".to_owned()][..], "f: method \"approle\"")
        );
        assert_eq!(
            method.stanza.stanza("config").expect("one").expect("a stanza").stanza.number("k"),
            Ok(Some(1))
        );
        let sinks = all.stanzas("sink").expect("stanzas");
        assert_eq!(sinks.iter().map(|sink| sink.labels.len()).collect::<Vec<_>>(), [1, 1, 0]);
        assert_eq!(all.stanzas("template").expect("stanzas").len(), 2);
        all.finish().expect("all is read");
        for (text, words) in [
            ("{\"a\": 1,}", "f: line 1: it is no JSON"),
            ("{\n\"a\": [1", "f: line 2: it is no JSON"),
            ("{\"m\": {\"x\": [{\"y\": [[]]}]}}", "f: m.x[0].y[0]: it must be a text or an object"),
            ("{\"m\": [1, {}]}", "f: m: it must hold texts or objects, not both"),
        ] {
            let why = read(text, "f").expect_err(text);
            assert!(why.contains(words), "{why}");
        }
        assert!(read(&"{\"a\":".repeat(100_000), "f").is_err());
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert!(read(&deep, "f").is_err_and(|why| why.contains("deeper than 64")));
        let mut twice = read("{\"a\": 1, \"a\": 2, \"typo\": {}}", "f").expect("JSON");
        assert_eq!(twice.text("a"), Err("f: a: it stands there twice".to_owned()));
        assert_eq!(twice.finish(), Err("f: \"a\" is not known here".to_owned()));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        let mut all = read("a = {}\nb = [[]]\nb = 1\ns = \"0s\"\ntypo = 1\n", "f").expect("HCL");
        assert_eq!(all.text("a"), Err("f: line 1: a: it must be a text".to_owned()));
        assert_eq!(all.list("b"), Err("f: line 3: b: it stands there twice".to_owned()));
        assert!(all.span("s").is_err());
        assert!(all.flag("typo").is_ok());
        for (word, meant) in [
            ("survives", "; is survive meant?"),
            ("surviv", "; is survive meant?"),
            ("srvive", "; is survive meant?"),
            ("Verify", "; is verify meant?"),
            ("revive", ""),
            ("else", ""),
        ] {
            let mut all = read(&format!("{word} = 1\n"), "f").expect("HCL");
            assert_eq!(
                (all.text("survive"), all.stanza("verify").map(|found| found.is_some())),
                (Ok(None), Ok(false))
            );
            assert_eq!(all.finish(), Err(format!("f: line 1: {word:?} is not known here{meant}")));
        }
        let left = read("x {}\n", "f").expect("HCL").finish();
        assert_eq!(left, Err("f: line 1: \"x\" is not known here".to_owned()));
    }
}
