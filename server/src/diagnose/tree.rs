//! What was found, as a tree whose knots are as bad as the worst below them. Names of states and keys are those of
//! `bao operator diagnose`, so that programs can read either.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Status {
    Skipped,
    Success,
    Warning,
    Failure,
}

impl Status {
    /// What the process ends with.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Skipped | Self::Success => 0,
            Self::Warning => 2,
            Self::Failure => 4,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }

    fn json(self) -> &'static str {
        match self {
            Self::Skipped => "invalid",
            Self::Success => "ok",
            Self::Warning => "warn",
            Self::Failure => "fail",
        }
    }

    fn color(self) -> u8 {
        match self {
            Self::Skipped => 90,
            Self::Success => 32,
            Self::Warning => 33,
            Self::Failure => 31,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Check {
    name: String,
    time: String,
    status: Status,
    /// What was found.
    message: Option<String>,
    warnings: Vec<String>,
    failures: Vec<String>,
    /// What to do about it.
    advice: Option<String>,
    children: Vec<Check>,
}

impl Check {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            time: crate::world::now().rfc3339(),
            status: Status::Success,
            message: None,
            warnings: Vec::new(),
            failures: Vec::new(),
            advice: None,
            children: Vec::new(),
        }
    }

    /// Something that was not looked at, and why.
    pub(super) fn skipped(name: impl Into<String>, why: &str) -> Self {
        Self { status: Status::Skipped, message: Some(why.to_owned()), ..Self::new(name) }
    }

    /// All is well, and this is what was found.
    pub(super) fn says(&mut self, text: impl Into<String>) {
        self.message = Some(text.into());
    }

    pub(super) fn warns(&mut self, text: impl Into<String>) {
        self.status = self.status.max(Status::Warning);
        self.warnings.push(text.into());
    }

    pub(super) fn fails(&mut self, text: impl Into<String>) {
        self.status = Status::Failure;
        self.failures.push(text.into());
    }

    pub(super) fn advises(&mut self, text: impl Into<String>) {
        self.advice = Some(text.into());
    }

    pub(super) fn add(&mut self, child: Check) -> &mut Check {
        self.children.push(child);
        self.children.last_mut().expect("a child was put in just now")
    }

    /// How bad this is, with all below it.
    pub(super) fn worst(&self) -> Status {
        self.children.iter().map(Check::worst).fold(self.status, Status::max)
    }

    /// The tree as JSON.
    pub(super) fn json(&self) -> Value {
        let mut shown = json!({
            "time": self.time,
            "name": self.name,
            "status": self.worst().json(),
            "Advice": self.advice.as_deref().unwrap_or_default(),
        });
        let message = self.failures.iter().chain(&self.message).cloned().collect::<Vec<_>>().join("\n");
        let children: Vec<Value> = self.children.iter().map(Check::json).collect();
        if let Some(shown) = shown.as_object_mut() {
            let parts = [
                ("message", (!message.is_empty()).then(|| json!(message))),
                ("warnings", (!self.warnings.is_empty()).then(|| json!(self.warnings))),
                ("children", (!children.is_empty()).then(|| json!(children))),
            ];
            shown.extend(parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        }
        shown
    }

    /// The tree as lines, with colors for a terminal.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0, std::io::stdout().is_terminal());
        out.trim_end().to_owned()
    }

    fn write(&self, out: &mut String, depth: usize, colored: bool) {
        let pad = "  ".repeat(depth);
        let line = |out: &mut String, status: Status, text: &str| {
            let word = status.word();
            // Writing into a String cannot fail.
            let _ = if colored {
                writeln!(out, "{pad}\x1b[{}m[ {word} ]\x1b[0m {text}", status.color())
            } else {
                writeln!(out, "{pad}[ {word} ] {text}")
            };
        };
        let found: Vec<(Status, &String)> = self
            .failures
            .iter()
            .map(|text| (Status::Failure, text))
            .chain(self.warnings.iter().map(|text| (Status::Warning, text)))
            .collect();
        match found.as_slice() {
            [] => match &self.message {
                Some(message) => line(out, self.worst(), &format!("{}: {message}", self.name)),
                None => line(out, self.worst(), &self.name),
            },
            found => {
                for (status, text) in found {
                    line(out, *status, &format!("{}: {text}", self.name));
                }
            }
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(out, "{pad}  {advice}");
        }
        for child in &self.children {
            child.write(out, depth + 1, colored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knot_is_as_bad_as_the_worst_below_it() {
        let mut root = Check::new("root");
        root.add(Check::skipped("left", "not here"));
        assert_eq!(root.worst(), Status::Success);
        let child = root.add(Check::new("right"));
        child.warns("one");
        child.fails("two");
        child.advises("mend it");
        assert_eq!((root.worst(), root.worst().code()), (Status::Failure, 4));
        assert_eq!(
            root.text(),
            "[ failure ] root\n  [ skipped ] left: not here\n  [ failure ] right: two\n  [ warning ] right: one\n    mend it"
        );
        assert_eq!(root.json()["children"][1]["warnings"], json!(["one"]));
        assert_eq!(root.json()["children"][1]["message"], "two");
        assert_eq!(root.json()["children"][0]["status"], "invalid");
    }
}
