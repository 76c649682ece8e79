use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kit::Verb;

/// What the server counts about its requests. Each count is one atomic addition.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Answers by verb and by the first digit of their status.
    answers: [[AtomicU64; CLASSES.len()]; VERBS.len()],
    begun: AtomicU64,
    ended: AtomicU64,
    /// Answers that no audit device took.
    unaudited: AtomicU64,
}

/// The verbs, as audit calls them.
const VERBS: [(Verb, &str); 6] = [
    (Verb::Get, "read"),
    (Verb::List, "list"),
    (Verb::Scan, "scan"),
    (Verb::Post, "update"),
    (Verb::Patch, "patch"),
    (Verb::Delete, "delete"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// A request has come in.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// It is answered.
    pub(crate) fn end(&self, verb: Verb, status: u16) {
        self.ended.fetch_add(1, Relaxed);
        let row = VERBS.iter().position(|(known, _)| *known == verb).and_then(|row| self.answers.get(row));
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = row.and_then(|row| row.get(class)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// An answer could not be audited.
    pub(crate) fn unaudited(&self) {
        self.unaudited.fetch_add(1, Relaxed);
    }

    /// How many answers could not be audited.
    pub(crate) fn unaudited_count(&self) -> u64 {
        self.unaudited.load(Relaxed)
    }

    /// How many requests are being answered.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.ended.load(Relaxed);
        self.begun.load(Relaxed).saturating_sub(ended)
    }

    /// How many answers there were, by verb and class of status; those that never were are left out.
    pub(crate) fn answers(&self) -> Vec<(&'static str, &'static str, u64)> {
        let rows = VERBS.iter().zip(&self.answers);
        let cells = rows.flat_map(|((_, verb), row)| {
            CLASSES.iter().zip(row).map(|(class, count)| (*verb, *class, count))
        });
        cells
            .map(|(verb, class, count)| (verb, class, count.load(Relaxed)))
            .filter(|(.., count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_verb_and_class() {
        let metrics = Metrics::default();
        for (verb, status) in
            [(Verb::Get, 200), (Verb::Get, 204), (Verb::Get, 404), (Verb::Post, 500), (Verb::Get, 900)]
        {
            metrics.begin();
            metrics.end(verb, status);
        }
        metrics.begin();
        assert_eq!(metrics.in_flight(), 1);
        assert_eq!(metrics.answers(), [("read", "2xx", 2), ("read", "4xx", 1), ("update", "5xx", 1)]);
    }
}
