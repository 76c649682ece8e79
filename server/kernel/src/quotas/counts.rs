use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::{Error, Fault, Kept, Result};
use policy::Path;
use storage::{Index, Snapshot};

use super::held::What;
use super::rules::Rules;
use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::router::Router;
use crate::tokens::{Known, TokenRecord};
use crate::walk::Trip;
use crate::{ids, leases};

/// How many leases there are under each limit. Made by one look at all of them when a limit is set and first needed,
/// and kept up to date by each commit from then on. Without limits nothing is counted.
#[derive(Default)]
pub(crate) struct Counts {
    known: Mutex<Option<Tally>>,
    /// Leases that requests in flight are about to make, by the stamp of their limit.
    pending: Arc<Mutex<HashMap<u64, u64>>>,
}

struct Tally {
    version: u64,
    /// What paths meant when it was made. A mount that moves takes its limit along, and leaves its leases behind.
    router: Arc<Kept<Router>>,
    /// What was committed up to here is in it.
    since: Index,
    by_stamp: HashMap<u64, i64>,
}

/// A place for one lease that is about to be made, held while its request is in flight.
pub(crate) struct Ticket {
    pending: Arc<Mutex<HashMap<u64, u64>>>,
    stamp: u64,
}

/// What is counted of a lease: its namespace, the path that made it, the role of a login, and what it is.
pub(crate) fn label(ns: Ns, path: &str, role: &str, what: What) -> String {
    format!("{}\0{path}\0{role}\0{}", ids::uuid(ns.mount().0), what.letter())
}

impl Tally {
    /// Whether it holds by these rules and mounts. Of mounts that came, went or moved since it was made those alone matter that
    /// have leases: they may count towards another limit now.
    fn is_of(&mut self, rules: &Rules, router: &Arc<Kept<Router>>, today: &Snapshot) -> Result<bool> {
        if self.version != rules.leases_version {
            return Ok(false);
        }
        if !Arc::ptr_eq(&self.router, router) {
            for (ns, path) in moved(self.router.value(), router.value()) {
                if leases::any_beneath(today, ns, &path)? {
                    return Ok(false);
                }
            }
            self.router = Arc::clone(router);
        }
        Ok(true)
    }
}

/// What the two lead to otherwise: paths of namespaces, and namespaces as a whole.
fn moved(old: &Router, new: &Router) -> Vec<(Ns, String)> {
    let mut moved = Vec::new();
    for (one, other) in [(old, new), (new, old)] {
        for space in one.spaces() {
            let ns = space.namespace.ns;
            let same = other.space(ns).filter(|there| {
                (&there.namespace.path, there.sealed) == (&space.namespace.path, space.sealed)
            });
            let Some(same) = same else {
                moved.push((ns, String::new()));
                continue;
            };
            let elsewhere = space.all().filter(|mounted| {
                same.at(&mounted.entry.path).is_none_or(|there| there.info.id != mounted.info.id)
            });
            moved.extend(elsewhere.map(|mounted| (ns, mounted.entry.path.clone())));
        }
    }
    moved
}

impl Counts {
    /// Counts anew when it is next needed.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Tally>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pending(pending: &Mutex<HashMap<u64, u64>>) -> MutexGuard<'_, HashMap<u64, u64>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut pending = pending(&self.pending);
        if let Some(count) = pending.get_mut(&self.stamp) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                pending.remove(&self.stamp);
            }
        }
    }
}

impl Kernel {
    /// A place for one more lease at `path`; nothing, if no limit holds there.
    ///
    /// # Errors
    /// If there are too many already.
    pub(crate) fn place_for_lease(
        &self,
        today: &Snapshot,
        path: &str,
        role: Option<&str>,
    ) -> Result<Option<Ticket>> {
        let kept = self.quota_rules(today)?;
        if kept.value().leases.is_empty() {
            return Ok(None);
        }
        let router = self.router(today)?;
        let (space, rest) = router.value().locate(path);
        let Some(limit) = kept.value().leases.at(router.value(), space, rest, role) else { return Ok(None) };
        let (stamp, max) = (limit.stamp, limit.max);
        let have = self.leases_under(&kept, stamp)?;
        let mut pending = pending(&self.quotas.counts.pending);
        let coming = pending.entry(stamp).or_default();
        if have.saturating_add(*coming) >= max {
            let text = format!("request path {path:?}: lease count quota exceeded");
            return Err(Error::new(Fault::Busy, text).wrapped());
        }
        *coming += 1;
        Ok(Some(Ticket { pending: Arc::clone(&self.quotas.counts.pending), stamp }))
    }

    /// Takes a place for the lease that a request is about to make, once for all its attempts. Who has the root policy
    /// needs none: someone must be able to set things right.
    pub(crate) fn take_place(&self, today: &Snapshot, trip: &mut Trip, path: &str) -> Result<()> {
        let owner = |known: &Arc<Kept<Known>>| is_root(&known.value().record);
        if trip.ticket.is_none() && !trip.known.as_ref().is_some_and(owner) {
            trip.ticket = self.place_for_lease(today, path, trip.role.as_deref())?;
        }
        Ok(())
    }

    /// The same for the token that an answer is wrapped in: it is a lease beside that of what it holds.
    pub(crate) fn take_place_for_wrapping(
        &self,
        today: &Snapshot,
        trip: &mut Trip,
        path: &Path,
    ) -> Result<()> {
        let owner = |known: &Arc<Kept<Known>>| is_root(&known.value().record);
        if trip.wrapping.is_none() && !trip.known.as_ref().is_some_and(owner) {
            let path = trip.path.as_ref().unwrap_or(path).as_str();
            trip.wrapping = self.place_for_lease(today, path, None)?;
        }
        Ok(())
    }

    /// How many leases there are under the limit with this stamp.
    pub(crate) fn leases_under(&self, kept: &Kept<Rules>, stamp: u64) -> Result<u64> {
        let today = self.store.snapshot();
        let router = self.router(&today)?;
        let mut known = self.quotas.counts.known();
        let holds = known.as_mut().map(|known| known.is_of(kept.value(), &router, &today)).transpose()?;
        if holds != Some(true) {
            *known = Some(self.look_at_all(kept.value())?);
        }
        let count = known.as_ref().and_then(|known| known.by_stamp.get(&stamp)).copied().unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Counts what was committed. What cannot be counted is counted anew when it is next needed.
    pub(crate) fn count_committed(&self, changes: &[(String, i64)], index: Index) {
        self.quotas.held.committed(changes, index);
        let mut slot = self.quotas.counts.known();
        let Some(known) = slot.as_mut().filter(|known| index > known.since) else { return };
        let today = self.store.snapshot();
        let (Ok(kept), Ok(router)) = (self.quota_rules(&today), self.router(&today)) else {
            *slot = None;
            return;
        };
        if !known.is_of(kept.value(), &router, &today).unwrap_or(false) {
            *slot = None;
            return;
        }
        for (label, change) in changes {
            if let Some(stamp) = holding(kept.value(), router.value(), label) {
                *known.by_stamp.entry(stamp).or_default() += change;
            }
        }
    }

    /// Counts every lease. Commits wait with their counts until it is done, and then count only what came later.
    fn look_at_all(&self, rules: &Rules) -> Result<Tally> {
        let today = self.store.snapshot();
        let router = self.router(&today)?;
        let mut by_stamp = HashMap::new();
        for space in router.value().spaces().filter(|space| !space.sealed) {
            leases::labels(&today, space.namespace.ns, |label| {
                if let Some(stamp) = holding(rules, router.value(), label) {
                    *by_stamp.entry(stamp).or_default() += 1;
                }
            })?;
        }
        Ok(Tally { version: rules.leases_version, since: today.index(), by_stamp, router })
    }
}

/// Whether a token may do everything.
pub(crate) fn is_root(record: &TokenRecord) -> bool {
    record.policies.iter().any(|policy| policy == "root")
}

/// The stamp of the limit that a lease counts towards.
fn holding(rules: &Rules, router: &Router, label: &str) -> Option<u64> {
    let (label, _) = What::of(label).filter(|(_, what)| what.is_lease())?;
    let mut parts = label.splitn(3, '\0');
    let space = router.space(Ns::parse(parts.next()?)?)?;
    let (path, role) = (parts.next()?, parts.next().filter(|role| !role.is_empty()));
    rules.leases.at(router, space, path, role).map(|limit| limit.stamp)
}
