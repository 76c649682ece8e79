use kit::Result;
use storage::Txn;

use crate::agenda::{self, Item};
use crate::kernel::Kernel;
use crate::leases::{self, Lease};
use crate::namespaces::{self, Ns};
use crate::{mounts, tokens};

/// How much one step clears away at most.
const PIECE: usize = 256;

/// How far the clearing of a deleted namespace or an unmounted engine has come.
pub(crate) enum Razed {
    /// Nothing is left of it.
    Wholly,
    /// There is more to do.
    InPart,
    /// Leases are left that could not be ended, and are tried again by their own dates.
    Waiting,
}

impl Kernel {
    /// Ends and clears away a piece of what a deleted namespace held. The order matters: what its engines lent is
    /// taken back while they are still there to do it; then its tokens end, then its mounts, then its own tables.
    pub(crate) fn raze(&self, txn: &mut Txn, ns: Ns) -> Result<Razed> {
        let now = self.now();
        let lent = leases::below(txn, ns, "", now, PIECE)?;
        let mut left = 0;
        for id in &lent {
            match leases::find(txn, id)? {
                Some(Lease::Thing(thing)) if thing.irrevocable() => {
                    tracing::error!(
                        lease = id.path,
                        why = thing.error,
                        "what a lease of a deleted namespace stands for was not taken back yet"
                    );
                    // Nobody can look at the lease any more. What lies outside is tried on, and the mount stays for that.
                    self.end_any(txn, id, true)?;
                }
                // It is being tried by its own date.
                Some(Lease::Thing(thing)) if thing.attempts > 0 || thing.ending => left += 1,
                _ => self.end_any(txn, id, false)?,
            }
        }
        if !lent.is_empty() {
            return Ok(if left == lent.len() { Razed::Waiting } else { Razed::InPart });
        }
        let ended = tokens::of_namespace(txn, ns, PIECE)?;
        for hash in &ended {
            tokens::revoke(txn, *hash, now)?;
        }
        if !ended.is_empty() {
            return Ok(Razed::InPart);
        }
        let unmounted = mounts::of_namespace(txn, ns, PIECE)?;
        for entry in &unmounted {
            if agenda::undoes(txn, entry.id()?)? {
                return Ok(Razed::Waiting);
            }
        }
        for entry in &unmounted {
            entry.forget(txn)?;
            let mut tag = [0; 16];
            self.env.random.fill(&mut tag);
            agenda::enter(txn, now, tag, &Item::Sweep { mount: entry.uuid.clone() })?;
        }
        if !unmounted.is_empty() || txn.sweep(ns.mount(), PIECE)? > 0 {
            return Ok(Razed::InPart);
        }
        namespaces::forget(txn, ns)?;
        Ok(Razed::Wholly)
    }

    /// Ends a piece of what an unmounted engine lent. Once nothing is left outside, its id dies, and what it stored is
    /// swept.
    pub(crate) fn clear_mount(&self, txn: &mut Txn, uuid: &str) -> Result<Razed> {
        let Some(entry) = mounts::find(txn, uuid)? else { return Ok(Razed::Wholly) };
        let now = self.now();
        let until = entry.ended.unwrap_or(now);
        let lent = leases::of_mount(txn, &entry, until, PIECE)?;
        for id in &lent.fresh {
            self.end_any(txn, id, false)?;
        }
        if !lent.fresh.is_empty() {
            return Ok(Razed::InPart);
        }
        if lent.tried || agenda::undoes(txn, entry.id()?)? {
            return Ok(Razed::Waiting);
        }
        entry.forget(txn)?;
        let mut tag = [0; 16];
        self.env.random.fill(&mut tag);
        agenda::enter(txn, now, tag, &Item::Sweep { mount: entry.uuid.clone() })?;
        Ok(Razed::Wholly)
    }
}
