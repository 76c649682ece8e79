//! Finding the one rule that decides.

use super::segments::Segments;
use super::{Entry, Grant, Pattern, Source};
use crate::any_case::AnyCase;
use crate::capability::Capability;
use crate::permit::Question;
use std::collections::HashMap;
use std::sync::Arc;

/// All entries, arranged for lookup: exact paths by hash, prefixes sorted, patterns with `+` as a tree. Nothing
/// but the prefixes that a path begins with and the branches that it fits is looked at, however many rules there are.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    /// Where among all patterns with wildcards each entry stands, the closest first.
    ranks: Vec<usize>,
    exact: HashMap<Box<str>, usize>,
    prefixes: Vec<Prefix>,
    segments: Segments,
    /// The entries that would be others in lower case.
    cased: Vec<usize>,
    /// How many segments the longest pattern has.
    segments_max: usize,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<str>,
    entry: usize,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
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
        let mut segments = Segments::default();
        let mut prefixes = Vec::new();
        for (entry, pattern) in &wild {
            match pattern {
                Pattern::Segments { text, is_glob: true } => segments.add_glob(text, *entry),
                Pattern::Segments { text, is_glob: false } => segments.add(text, *entry),
                pattern => prefixes.push((pattern.head(), *entry)),
            }
        }
        let prefixes = chain(prefixes);
        wild.sort_by(|(_, one), (_, other)| one.cmp_closeness(other));
        let mut ranks = vec![usize::MAX; entries.len()];
        for (rank, (entry, _)) in wild.iter().enumerate() {
            if let Some(slot) = ranks.get_mut(*entry) {
                *slot = rank;
            }
        }
        let segments_max = entries.iter().map(|entry| entry.pattern.segments()).max().unwrap_or(0);
        let cased = |(index, entry): (usize, &Entry)| entry.pattern.has_case().then_some(index);
        let cased = entries.iter().enumerate().filter_map(cased).collect();
        Self { cased, ranks, exact, prefixes, segments, segments_max, entries }
    }

    /// The entries that match a path if these of their segments are put in lower case, those that become alike merged.
    /// Nothing, if that makes no difference.
    pub(crate) fn in_lower_case(&self, names: AnyCase, path: &str) -> Option<Self> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        let lowered = |entry: &Entry| {
            let pattern = entry.pattern.lowered(names);
            (pattern.matches(path) || pattern.matches(bare)).then_some(pattern)
        };
        let mut cased = self.cased.iter().filter_map(|at| self.entries.get(*at));
        cased.find_map(lowered)?;
        let mut merged: Vec<(Pattern, Vec<Source>)> = Vec::new();
        for (entry, pattern) in self.entries.iter().filter_map(|entry| Some((entry, lowered(entry)?))) {
            match merged.iter_mut().find(|(known, _)| *known == pattern) {
                Some((_, sources)) => sources.extend(entry.sources.iter().cloned()),
                None => merged.push((pattern, entry.sources.clone())),
            }
        }
        Some(Self::new(merged.into_iter().map(|(pattern, sources)| Entry::new(pattern, sources)).collect()))
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

    /// The rule about a path without the slash at its end, if the same operation answers there and the rule is closer to that
    /// than any is to the path itself.
    pub(crate) fn nearer_bare(&self, question: &Question<'_>) -> Option<&Arc<Grant>> {
        let (path, now) = (question.path.as_str(), question.now);
        let bare = path.strip_suffix('/').filter(|_| question.or_bare)?;
        if self.find_exact(path, now).is_some() {
            return None;
        }
        self.find_exact(bare, now).or_else(|| {
            let (rank, grant) = self.closest_wild(bare, now)?;
            self.closest_wild(path, now).is_none_or(|(own, _)| rank < own).then_some(grant)
        })
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

    /// The closest of the longest prefix and all patterns with `+` that match.
    fn find_wild(&self, path: &str, now: u64) -> Option<&Arc<Grant>> {
        self.closest_wild(path, now).map(|(_, grant)| grant)
    }

    /// The same, with where it stands among all with wildcards.
    fn closest_wild(&self, path: &str, now: u64) -> Option<(usize, &Arc<Grant>)> {
        let mut closest = self.find_prefix(path, now);
        self.segments.each_match(path, &mut |entry| {
            let rank = self.ranks.get(entry).copied().unwrap_or(usize::MAX);
            if closest.is_none_or(|(best, _)| rank < best)
                && let Some(grant) = self.entries.get(entry).and_then(|entry| entry.live(now))
            {
                closest = Some((rank, grant));
            }
        });
        closest
    }

    fn find_prefix(&self, path: &str, now: u64) -> Option<(usize, &Arc<Grant>)> {
        // The longest prefix of the path is the last one not greater than the path, or one that this one begins with.
        let mut at = self.prefixes.partition_point(|prefix| *prefix.text <= *path).checked_sub(1);
        while let Some(prefix) = at.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&*prefix.text)
                && let Some(grant) = self.entries.get(prefix.entry)?.live(now)
            {
                return Some((*self.ranks.get(prefix.entry)?, grant));
            }
            at = prefix.parent;
        }
        None
    }
}

/// Sorts prefixes and links each to the longest one that it begins with.
fn chain(mut prefixes: Vec<(&str, usize)>) -> Vec<Prefix> {
    prefixes.sort_unstable();
    let mut chained: Vec<Prefix> = Vec::with_capacity(prefixes.len());
    // The prefixes that the current one begins with, from the shortest to the longest.
    let mut open: Vec<usize> = Vec::new();
    for (text, entry) in prefixes {
        while open.last().and_then(|top| chained.get(*top)).is_some_and(|top| !text.starts_with(&*top.text)) {
            open.pop();
        }
        chained.push(Prefix { text: text.into(), entry, parent: open.last().copied() });
        open.push(chained.len() - 1);
    }
    chained
}
