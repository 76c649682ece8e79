//! What a rule's path matches, and which of two that match is the closer one.

use crate::any_case::AnyCase;
use std::cmp::Ordering;

/// A rule's path, by how it matches.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Pattern {
    /// Only itself.
    Exact(String),
    /// Everything that begins with it; written with a star at the end.
    Prefix(String),
    /// Segment by segment, `+` standing for any one; with a star at the end, the last one is a prefix.
    Segments { text: String, is_glob: bool },
}

impl Pattern {
    /// Sorts a path into its kind. The star of a glob is not part of the text.
    pub(crate) fn new(path: &str) -> Self {
        let has_plus = path == "+" || path.contains("/+") || path.starts_with("+/");
        match (path.strip_suffix('*'), has_plus) {
            (Some(text), true) => Self::Segments { text: text.to_owned(), is_glob: true },
            (None, true) => Self::Segments { text: path.to_owned(), is_glob: false },
            (Some(text), false) => Self::Prefix(text.to_owned()),
            (None, false) => Self::Exact(path.to_owned()),
        }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text.as_str()),
            Self::Segments { text, is_glob } => matches_segments(text, *is_glob, path),
        }
    }

    /// The pattern with these of its segments in lower case.
    pub(crate) fn lowered(&self, names: AnyCase) -> Self {
        match self {
            Self::Exact(text) => Self::Exact(names.lowered(text)),
            Self::Prefix(text) => Self::Prefix(names.lowered(text)),
            Self::Segments { text, is_glob } => {
                Self::Segments { text: names.lowered(text), is_glob: *is_glob }
            }
        }
    }

    /// Whether it would be another in lower case.
    pub(crate) fn has_case(&self) -> bool {
        let text = self.text();
        text.to_lowercase() != text
    }

    /// Whether it matches something on or below a folder (whose path ends in a slash).
    pub(crate) fn reaches_below(&self, folder: &str) -> bool {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text.starts_with(folder),
            Self::Segments { text, is_glob } => {
                let mut wanted = folder.strip_suffix('/').unwrap_or(folder).split('/');
                let mut segments = text.split('/').peekable();
                loop {
                    let Some(wanted) = wanted.next() else { return true };
                    let Some(segment) = segments.next() else { return false };
                    let is_last = segments.peek().is_none();
                    if is_last && *is_glob && wanted.starts_with(segment) {
                        return true;
                    }
                    if segment != "+" && segment != wanted {
                        return false;
                    }
                }
            }
        }
    }

    /// The text before the first wildcard: whatever matches begins with it.
    pub(crate) fn head(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Segments { text, .. } => text.split('+').next().unwrap_or_default(),
        }
    }

    /// Which of two patterns with wildcards goes first if both match: the closer one is the lesser.
    pub(crate) fn cmp_closeness(&self, other: &Self) -> Ordering {
        other
            .head()
            .len()
            .cmp(&self.head().len())
            .then_with(|| self.is_glob().cmp(&other.is_glob()))
            .then_with(|| self.pluses().cmp(&other.pluses()))
            .then_with(|| other.text().len().cmp(&self.text().len()))
            .then_with(|| other.text().cmp(self.text()))
    }

    /// The path as a policy would write it.
    pub(crate) fn display(&self) -> String {
        let star = if self.is_glob() { "*" } else { "" };
        format!("{}{star}", self.text())
    }

    /// How many segments it has.
    pub(crate) fn segments(&self) -> usize {
        self.text().split('/').count()
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Segments { text, .. } => text,
        }
    }

    fn is_glob(&self) -> bool {
        matches!(self, Self::Prefix(_) | Self::Segments { is_glob: true, .. })
    }

    fn pluses(&self) -> usize {
        match self {
            Self::Segments { text, .. } => text.split('/').filter(|segment| *segment == "+").count(),
            _ => 0,
        }
    }
}

fn matches_segments(text: &str, is_glob: bool, path: &str) -> bool {
    let mut segments = text.split('/').peekable();
    let mut parts = path.split('/');
    while let Some(segment) = segments.next() {
        let Some(part) = parts.next() else { return false };
        let is_last = segments.peek().is_none();
        let fits = segment == "+" || segment == part || is_glob && is_last && part.starts_with(segment);
        if !fits {
            return false;
        }
    }
    is_glob || parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expect: bool) {
        assert_eq!(Pattern::new(pattern).matches(path), expect, "{pattern} matches {path}");
    }

    #[test]
    fn matching() {
        check("a/b", "a/b", true);
        check("a/b", "a/b/", false);
        check("a/b*", "a/bc/d", true);
        check("*", "", true);
        check("a*b", "a*b", true);
        check("a*b", "axb", false);
        check("a/+", "a/b", true);
        check("a/+", "a/", true);
        check("a/+", "a", false);
        check("a/+", "a/b/c", false);
        check("+", "a", true);
        check("+/b", "a/b", true);
        check("a/+/c*", "a/b/cd/e", true);
        check("a/+/*", "a/b", false);
        check("a/+/*", "a/b/", true);
        check("a/+b", "a/xb", false);
        check("a/+b", "a/+b", true);
        check("a+/b", "ax/b", false);
        check("a+*", "a+b", true);
    }

    #[test]
    fn reaching_below_a_folder() {
        for (pattern, folder, expect) in [
            ("kv/a", "kv/", true),
            ("kv/", "kv/", true),
            ("kv", "kv/", false),
            ("kv/*", "kv/", true),
            ("+/a", "kv/", true),
            ("kv/+/x", "kv/", true),
            ("+", "kv/", true),
            ("+/a", "team/kv/", false),
            ("team/+/a", "team/kv/", true),
            ("+/k*", "team/kv/", true),
            ("x/+/a", "kv/", false),
        ] {
            assert_eq!(Pattern::new(pattern).reaches_below(folder), expect, "{pattern} below {folder}");
        }
    }
}
