use std::cell::RefCell;
use std::fmt;

/// Something that is wrong, or of no effect, in a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// The file, as it was given.
    pub(crate) file: String,
    /// The line, from 1; 0 if the finding is about the whole file.
    pub(crate) line: usize,
    /// Whether the server can start in spite of it.
    pub(crate) weight: Weight,
    /// What is wrong, and what would be right.
    pub(crate) text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Weight {
    /// The server does not start.
    Error,
    /// The server starts, and says so in its log.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => f.write_str(&self.text),
            (file, 0) => write!(f, "{file}: {}", self.text),
            (file, line) => write!(f, "{file}:{line}: {}", self.text),
        }
    }
}

/// Findings as they come up. All of them are shown at once, so that one run of `validate` is enough.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub(super) fn error(&self, file: &str, line: usize, text: impl Into<String>) {
        self.add(Finding { file: file.to_owned(), line, weight: Weight::Error, text: text.into() });
    }

    pub(super) fn warning(&self, file: &str, line: usize, text: impl Into<String>) {
        self.add(Finding { file: file.to_owned(), line, weight: Weight::Warning, text: text.into() });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0.borrow().iter().any(|finding| finding.weight == Weight::Error)
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0.into_inner()
    }

    fn add(&self, finding: Finding) {
        let mut all = self.0.borrow_mut();
        if !all.contains(&finding) {
            all.push(finding);
        }
    }
}
