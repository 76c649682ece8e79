//! Finding the one rule that decides.

use super::{Entry, Grant, Pattern};
use crate::capability::Capability;
use std::collections::HashMap;
use std::sync::Arc;

/// All entries, arranged for lookup.
///
/// A pattern with wildcards is filed under its head, the text before the first wildcard. Heads that are prefixes
/// of each other form chains, so the heads that a path begins with are found by one binary search and a walk up
/// the chain, and the longest head comes first, as ranking wants it.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    exact: HashMap<Box<str>, usize>,
    heads: Vec<Head>,
    /// How many segments the longest pattern has.
    segments_max: usize,
}

#[derive(Clone, Debug)]
struct Head {
    text: Box<str>,
    /// The longest other head that this one begins with.
    parent: Option<usize>,
    /// The entries filed here, the closest first.
    entries: Vec<usize>,
}

impl Index {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        let mut exact = HashMap::new();
        let mut wild: Vec<(usize, &Pattern)> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match &entry.pattern {
                Pattern::Exact(path) => drop(exact.insert(path.as_str().into(), index)),
                pattern => wild.push((index, pattern)),
            }
        }
        wild.sort_by(|(_, one), (_, other)| {
            one.head().cmp(other.head()).then_with(|| one.cmp_closeness(other))
        });
        let mut heads: Vec<Head> = Vec::new();
        // The heads that the current one begins with, from the shortest to the longest.
        let mut chain: Vec<usize> = Vec::new();
        for (index, pattern) in wild {
            let text = pattern.head();
            if let Some(last) = heads.last_mut().filter(|last| *last.text == *text) {
                last.entries.push(index);
                continue;
            }
            while chain
                .last()
                .and_then(|top| heads.get(*top))
                .is_some_and(|top| !text.starts_with(&*top.text))
            {
                chain.pop();
            }
            heads.push(Head { text: text.into(), parent: chain.last().copied(), entries: vec![index] });
            chain.push(heads.len() - 1);
        }
        let segments_max = entries.iter().map(|entry| entry.pattern.segments()).max().unwrap_or(0);
        Self { entries, exact, heads, segments_max }
    }

    /// The rule that decides about a path. For listings, an exact rule counts with and without the slash at the
    /// end, and what no rule with wildcards matches with the slash is tried without it.
    pub(crate) fn find(&self, path: &str, capability: Capability, now: u64) -> Option<&Arc<Grant>> {
        let bare = path.strip_suffix('/').filter(|_| capability.looks_at_folder());
        self.find_exact(path, now)
            .or_else(|| self.find_exact(bare?, now))
            .or_else(|| self.find_wild(path, now))
            .or_else(|| self.find_wild(bare?, now))
    }

    /// All entries.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All rules that are not expired.
    pub(crate) fn live(&self, now: u64) -> impl Iterator<Item = (&Pattern, &Arc<Grant>)> {
        self.entries.iter().filter_map(move |entry| entry.live(now).map(|grant| (&entry.pattern, grant)))
    }

    pub(crate) fn allows_anything_under(&self, folder: &str, now: u64) -> bool {
        let allows = |grant: &Arc<Grant>| {
            let capabilities = grant.terms().capabilities;
            !capabilities.is_empty() && !capabilities.has(Capability::Deny)
        };
        // A path so deep below the folder that only rules match it which match everything there.
        let deep = format!("{folder}{}", "\u{1}/".repeat(self.segments_max));
        self.find(folder, Capability::List, now).is_some_and(allows)
            || [folder, &deep].into_iter().any(|path| self.find_wild(path, now).is_some_and(allows))
            || self.live(now).any(|(pattern, grant)| pattern.reaches_below(folder) && allows(grant))
    }

    fn find_exact(&self, path: &str, now: u64) -> Option<&Arc<Grant>> {
        self.entries.get(*self.exact.get(path)?)?.live(now)
    }

    fn find_wild(&self, path: &str, now: u64) -> Option<&Arc<Grant>> {
        // The longest head that the path begins with is the last head not greater than the path, or one that
        // this head begins with.
        let mut at = self.heads.partition_point(|head| *head.text <= *path).checked_sub(1);
        while let Some(head) = at.and_then(|at| self.heads.get(at)) {
            if path.starts_with(&*head.text) {
                let matching = head.entries.iter().filter_map(|index| self.entries.get(*index));
                let mut live =
                    matching.filter(|entry| entry.pattern.matches(path)).filter_map(|entry| entry.live(now));
                if let Some(grant) = live.next() {
                    return Some(grant);
                }
            }
            at = head.parent;
        }
        None
    }
}
