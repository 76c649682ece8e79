use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::Result;
use storage::{Index, Snapshot};

use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::router::Router;
use crate::{leases, tokens};

/// How many tokens and leases each namespace has. Nothing is counted before somebody asks; then by one look at all of them, and
/// by each commit from then on.
#[derive(Default)]
pub(crate) struct Held {
    known: Mutex<HashMap<Ns, Tally>>,
    /// One looks at a time.
    looking: Mutex<()>,
}

struct Tally {
    /// What was committed up to here is in what was looked at, and what came later in the changes.
    since: Index,
    looked: Option<Holding>,
    changed: Holding,
}

/// What a namespace holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Holding {
    /// Tokens that end by themselves: each is a lease too.
    pub(crate) tokens: i64,
    /// Tokens that do not.
    pub(crate) endless: i64,
    /// Leases on what engines made.
    pub(crate) things: i64,
    /// Those of them that could not be ended.
    pub(crate) irrevocable: i64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Token,
    Endless,
    Thing,
    Irrevocable,
}

impl What {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Token => 't',
            Self::Endless => 'e',
            Self::Thing => 'l',
            Self::Irrevocable => 'i',
        }
    }

    /// A label without its last part, and that part.
    pub(crate) fn of(label: &str) -> Option<(&str, Self)> {
        let (label, letter) = label.rsplit_once('\0')?;
        let all = [Self::Token, Self::Endless, Self::Thing, Self::Irrevocable];
        let what = all.into_iter().find(|what| letter.chars().eq([what.letter()]))?;
        Some((label, what))
    }

    /// Whether a limit of leases counts it: an irrevocable one was counted when it was made.
    pub(crate) fn is_lease(self) -> bool {
        matches!(self, Self::Token | Self::Thing)
    }
}

impl Holding {
    pub(crate) fn add(&mut self, what: What, change: i64) {
        *match what {
            What::Token => &mut self.tokens,
            What::Endless => &mut self.endless,
            What::Thing => &mut self.things,
            What::Irrevocable => &mut self.irrevocable,
        } += change;
    }

    fn with(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            endless: self.endless + other.endless,
            things: self.things + other.things,
            irrevocable: self.irrevocable + other.irrevocable,
        }
    }
}

impl Held {
    fn known(&self) -> MutexGuard<'_, HashMap<Ns, Tally>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was committed.
    pub(crate) fn committed(&self, changes: &[(String, i64)], index: Index) {
        if changes.is_empty() {
            return;
        }
        let mut known = self.known();
        if known.is_empty() {
            return;
        }
        for (label, change) in changes {
            let Some((label, what)) = What::of(label) else { continue };
            let ns = label.split('\0').next().and_then(Ns::parse);
            let tally = ns.and_then(|ns| known.get_mut(&ns)).filter(|tally| index > tally.since);
            if let Some(tally) = tally {
                tally.changed.add(what, *change);
            }
        }
    }
}

impl Kernel {
    /// What each open namespace holds, by its path. One that is sealed, or cannot be read, is left out.
    pub(crate) fn held(&self, router: &Router) -> Vec<(String, Holding)> {
        let held = &self.quotas.held;
        let _one = held.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<_> = router.spaces().filter(|space| !space.sealed).collect();
        // What was sealed meanwhile is looked at anew.
        held.known().retain(|ns, _| open.iter().any(|space| space.namespace.ns == *ns));
        let counted = open.into_iter().filter_map(|space| {
            let ns = space.namespace.ns;
            if self.look_at(ns).is_err() {
                held.known().remove(&ns);
            }
            let tally = held.known().get(&ns).and_then(|tally| Some(tally.looked?.with(tally.changed)));
            Some((space.namespace.path.clone(), tally?))
        });
        counted.collect()
    }

    /// Counts what a namespace holds, if that was not done yet.
    fn look_at(&self, ns: Ns) -> Result<()> {
        let today = {
            let mut known = self.quotas.held.known();
            if known.contains_key(&ns) {
                return Ok(());
            }
            // Under the lock: who commits after this counts itself.
            let today = self.store.snapshot();
            let (looked, changed) = (None, Holding::default());
            known.insert(ns, Tally { since: today.index(), looked, changed });
            today
        };
        let looked = all_of(&today, ns)?;
        if let Some(tally) = self.quotas.held.known().get_mut(&ns) {
            tally.looked = Some(looked);
        }
        Ok(())
    }
}

fn all_of(today: &Snapshot, ns: Ns) -> Result<Holding> {
    let mut holding = Holding::default();
    leases::each(today, ns, |what| holding.add(what, 1))?;
    holding.endless = tokens::how_many(today, ns)?.saturating_sub(holding.tokens);
    Ok(holding)
}
