//! Patterns with `+`, as a tree of segments.

use std::collections::HashMap;

/// The tree, in one list, so that a pattern of absurd length is no deep recursion when it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    nodes: Vec<Node>,
}

/// Where the patterns stand that share their first segments.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The entry whose pattern ends here.
    end: Option<usize>,
    /// The entries whose pattern ends in a star in the next segment, with what stands before the star.
    globs: Vec<(Box<str>, usize)>,
    literal: HashMap<Box<str>, usize>,
    plus: Option<usize>,
}

impl Default for Segments {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Segments {
    /// Files a pattern without a star.
    pub(super) fn add(&mut self, text: &str, entry: usize) {
        let node = self.grow(text.split('/'));
        if let Some(node) = self.nodes.get_mut(node) {
            node.end = Some(entry);
        }
    }

    /// Files a pattern with a star at its end, given without the star.
    pub(super) fn add_glob(&mut self, text: &str, entry: usize) {
        let (before, last) = match text.rsplit_once('/') {
            Some((before, last)) => (Some(before), last),
            None => (None, text),
        };
        let node = self.grow(before.into_iter().flat_map(|before| before.split('/')));
        if let Some(node) = self.nodes.get_mut(node) {
            node.globs.push((last.into(), entry));
        }
    }

    /// Calls back with every entry whose pattern matches. Each branch is entered at most once.
    pub(super) fn each_match(&self, path: &str, found: &mut dyn FnMut(usize)) {
        self.walk(0, path, found);
    }

    fn walk(&self, node: usize, path: &str, found: &mut dyn FnMut(usize)) {
        let Some(node) = self.nodes.get(node) else { return };
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        for (start, entry) in &node.globs {
            if segment.starts_with(&**start) {
                found(*entry);
            }
        }
        let literal = if node.literal.is_empty() { None } else { node.literal.get(segment).copied() };
        for next in [literal, node.plus].into_iter().flatten() {
            match rest {
                Some(rest) => self.walk(next, rest, found),
                None => {
                    if let Some(entry) = self.nodes.get(next).and_then(|node| node.end) {
                        found(entry);
                    }
                }
            }
        }
    }

    /// The node at the end of these segments, made if it is not there.
    fn grow<'a>(&mut self, segments: impl Iterator<Item = &'a str>) -> usize {
        let mut at = 0;
        for segment in segments {
            let new = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return at };
            at = match segment {
                "+" => *node.plus.get_or_insert(new),
                text => *node.literal.entry(text.into()).or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;
    use super::*;

    #[test]
    fn the_tree_finds_what_the_patterns_match() {
        let patterns =
            ["+", "a/+", "a/+/c", "a/+/c*", "a/+/*", "+/b/+", "+/b*", "a/+b", "a/+/", "+/+/+/+*/x"];
        let patterns = patterns.map(Pattern::new);
        let mut tree = Segments::default();
        for (entry, pattern) in patterns.iter().enumerate() {
            match pattern {
                Pattern::Segments { text, is_glob: true } => tree.add_glob(text, entry),
                Pattern::Segments { text, is_glob: false } => tree.add(text, entry),
                other => panic!("{other:?} has no plus"),
            }
        }
        for path in
            ["", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/cd", "x/b/c/d", "a/+b", "a/+/c", "a/b/c/+*/x", "/b/"]
        {
            let mut found = Vec::new();
            tree.each_match(path, &mut |entry| found.push(entry));
            found.sort_unstable();
            let expected: Vec<_> = (0..patterns.len()).filter(|at| patterns[*at].matches(path)).collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_of_absurd_length_is_no_deep_recursion() {
        let mut tree = Segments::default();
        tree.add(&"+/".repeat(300_000), 0);
        tree.each_match(&"a/".repeat(2_000), &mut |_| panic!("too short to match"));
    }
}
