use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::loose::Span;
use policy::hcl::{Block, Body, Item, ParseError, Value};

use super::environment::Environment;
use super::finding::Findings;
use super::nearest::nearest;

/// A block, or all files together, read key by key. What nobody asked for by the end is unknown, and an error.
pub(super) struct Section<'a> {
    name: String,
    parts: Vec<(&'a str, &'a Body)>,
    line: usize,
    asked: RefCell<BTreeSet<&'static str>>,
    findings: &'a Findings,
}

/// A block with labels.
pub(super) struct Labelled<'a> {
    pub(super) labels: Vec<&'a str>,
    pub(super) section: Section<'a>,
}

impl<'a> Section<'a> {
    /// All files, in the order in which they were given: a later one overrides single values of an earlier one.
    pub(super) fn files(parts: Vec<(&'a str, &'a Body)>, findings: &'a Findings) -> Self {
        Self { name: String::new(), parts, line: 0, asked: RefCell::default(), findings }
    }

    /// A text; a number or boolean is taken for one.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.read(key, "a text in quotes", |value| value.as_text().map(str::to_owned))
    }

    /// A text that variables override, the first of them that is set. An empty one is none.
    pub(super) fn setting(
        &self,
        key: &'static str,
        environment: &Environment,
        variables: &[&str],
    ) -> Option<String> {
        // Asked for in any case, or the key would be unknown when a variable is set.
        let written = self.text(key);
        let set = variables.iter().find_map(|variable| environment.setting(variable)).map(str::to_owned);
        set.or(written).filter(|text| !text.is_empty())
    }

    /// An error in such a setting, which names the variable if that is where it comes from.
    pub(super) fn wrong_setting(
        &self,
        key: &'static str,
        environment: &Environment,
        variables: &[&str],
        text: &str,
    ) {
        match variables.iter().find_map(|variable| environment.variable(variable)) {
            Some(variable) => self.findings.error(&variable, 0, text.to_owned()),
            None => self.error(key, text),
        }
    }

    /// A boolean, or a text or number that says one.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A whole number.
    pub(super) fn number(&self, key: &'static str) -> Option<i64> {
        self.read(key, "a whole number", Value::as_i64)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, key: &'static str) -> Option<u32> {
        self.read(key, "a whole number from 0", |value| {
            value.as_i64().and_then(|number| u32::try_from(number).ok())
        })
    }

    /// A span of time: seconds, or a text such as `"90s"` or `"768h"`.
    pub(super) fn span(&self, key: &'static str) -> Option<Duration> {
        self.read(key, "a span of time such as \"90s\", \"15m\" or \"768h\"", |value| {
            let nanos = Span::parse(value.as_text()?)?.0;
            u64::try_from(nanos).ok().map(Duration::from_nanos)
        })
    }

    /// A list of texts, or one text with commas.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, "a list of texts", |value| match value {
            Value::List(list) => list.iter().map(|one| one.as_text().map(str::to_owned)).collect(),
            one => one.as_text().map(|text| {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }),
        })
    }

    /// A value of any kind.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        let (file, item) = self.last(key)?;
        if item.keys.len() == 1 {
            return Some(&item.value);
        }
        self.findings.error(file, item.line, wrong(self, item, "a value"));
        None
    }

    /// The names and texts in a block, such as `options { … }`.
    pub(super) fn pairs(&self, key: &'static str) -> BTreeMap<String, String> {
        self.blocks(key, 0).iter().flat_map(|block| block.section.every_text(", ")).collect()
    }

    /// Every key of a block whose keys are free, with its text; a list of texts becomes one with commas.
    pub(super) fn every_text(&self, between: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (file, body) in &self.parts {
            for item in &body.items {
                let text = match &item.value {
                    Value::List(list) => list
                        .iter()
                        .map(Value::as_text)
                        .collect::<Option<Vec<_>>>()
                        .map(|all| all.join(between)),
                    one => one.as_text().map(str::to_owned),
                };
                match text {
                    Some(text) if item.keys.len() == 1 => pairs.push((item.key().to_owned(), text)),
                    _ => self.findings.error(file, item.line, wrong(self, item, "a text in quotes")),
                }
            }
        }
        pairs
    }

    /// The blocks of a type, each with so many labels.
    pub(super) fn blocks(&self, kind: &'static str, labels: usize) -> Vec<Labelled<'a>> {
        self.found(kind, |body| body.blocks(kind, labels))
    }

    /// The same, where labels may stand in the block itself under these names, as files in JSON often have it.
    pub(super) fn named_blocks(&self, kind: &'static str, names: &[&'static str]) -> Vec<Labelled<'a>> {
        let found = self.found(kind, |body| body.named_blocks(kind, names));
        for block in &found {
            for (name, label) in names.iter().copied().zip(&block.labels) {
                if block.section.text(name).is_some_and(|text| text != *label) {
                    let text = format!(
                        "\"{name}\" says otherwise than \"{label}\" before the brace: keep one of the two"
                    );
                    block.section.error(name, &text);
                }
            }
        }
        found
    }

    fn found(
        &self,
        kind: &'static str,
        look: impl Fn(&'a Body) -> Result<Vec<Block<'a>>, ParseError>,
    ) -> Vec<Labelled<'a>> {
        self.asked.borrow_mut().insert(kind);
        let mut found = Vec::new();
        for &(file, body) in &self.parts {
            match look(body) {
                Ok(blocks) => found.extend(blocks.into_iter().map(|block| {
                    let labels: Vec<String> =
                        block.labels.iter().map(|label| format!(" {label:?}")).collect();
                    let section = Section {
                        name: format!("{kind}{}", labels.concat()),
                        parts: vec![(file, block.body)],
                        line: block.line,
                        asked: RefCell::default(),
                        findings: self.findings,
                    };
                    Labelled { labels: block.labels, section }
                })),
                Err(error) => self.findings.error(file, error.line, error.message),
            }
        }
        found
    }

    /// Whether a key or block is there. It is known from then on.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.last(key).is_some()
    }

    /// Keys that are known and do nothing here.
    pub(super) fn ignore(&self, keys: &[&'static str], why: &str) {
        for key in keys {
            if let Some((file, item)) = self.last(key) {
                self.findings.warning(
                    file,
                    item.line,
                    format!("{}\"{key}\" has no effect: {why}", self.within()),
                );
            }
        }
    }

    /// Keys that are known and that it would be dangerous to pass over.
    pub(super) fn refuse(&self, keys: &[&'static str], why: &str) {
        for key in keys {
            if let Some((file, item)) = self.last(key) {
                self.findings.error(
                    file,
                    item.line,
                    format!("{}\"{key}\" is not supported: {why}", self.within()),
                );
            }
        }
    }

    /// An error that points at a key, or at the block if the key is not there.
    pub(super) fn error(&self, key: &'static str, text: &str) {
        let (file, line) = self.place(key);
        self.findings.error(file, line, format!("{}{text}", self.within()));
    }

    /// A warning that points at a key, or at the block if the key is not there.
    pub(super) fn warning(&self, key: &'static str, text: &str) {
        let (file, line) = self.place(key);
        self.findings.warning(file, line, format!("{}{text}", self.within()));
    }

    /// Reports every key that nobody asked for, and every one that one file sets twice.
    pub(super) fn close(self) {
        let asked = self.asked.borrow();
        for (file, body) in &self.parts {
            if let Some(item) = body.repeated() {
                let text = format!("{}\"{}\" is set twice: keep one of them", self.within(), item.key());
                self.findings.error(file, item.line, text);
            }
            for item in body.items.iter().filter(|item| !asked.contains(item.key())) {
                let text = unknown(&self.within(), item.key(), &asked);
                self.findings.error(file, item.line, text);
            }
        }
    }

    fn read<T>(&self, key: &'static str, wanted: &str, take: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let (file, item) = self.last(key)?;
        let value = (item.keys.len() == 1).then(|| take(&item.value)).flatten();
        if value.is_none() {
            self.findings.error(file, item.line, wrong(self, item, wanted));
        }
        value
    }

    fn last(&self, key: &'static str) -> Option<(&'a str, &'a Item)> {
        self.asked.borrow_mut().insert(key);
        let last = |(file, body): &(&'a str, &'a Body)| body.all(key).last().map(|item| (*file, item));
        self.parts.iter().rev().find_map(last)
    }

    fn place(&self, key: &'static str) -> (&'a str, usize) {
        match self.last(key) {
            Some((file, item)) => (file, item.line),
            None => (self.parts.first().map_or("", |(file, _)| file), self.line),
        }
    }

    fn within(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) }
    }
}

fn wrong(section: &Section<'_>, item: &Item, wanted: &str) -> String {
    let shown = match &item.value {
        // The value may be a key or password that stands in the wrong place.
        Value::Number(_) | Value::Bool(_) => item.value.to_string(),
        other => other.kind().to_owned(),
    };
    format!("{}\"{}\" must be {wanted}, not {shown}", section.within(), item.key())
}

fn unknown(within: &str, key: &str, asked: &BTreeSet<&'static str>) -> String {
    match nearest(key, asked.iter().copied()) {
        Some(known) => format!("{within}unknown key \"{key}\": did you mean \"{known}\"?"),
        None => {
            let known: Vec<&str> = asked.iter().copied().collect();
            format!("{within}unknown key \"{key}\": remove it; known here are {}", known.join(", "))
        }
    }
}
