use kit::Result;
use storage::{Key, RingId, Txn};

use crate::agenda::{self, Found, Item};
use crate::kernel::Kernel;
use crate::leases::{self, Lease};
use crate::namespaces::{self, Ns};
use crate::shelf::SharedTable;
use crate::{mounts, tokens};

/// How much one step clears away at most.
const PIECE: usize = 256;
/// How many things are named that hold a clearing up.
const WAITS_SHOWN_MAX: usize = 20;

/// How far the clearing of a deleted namespace or an unmounted engine has come.
pub(crate) enum Razed {
    /// Nothing is left of it.
    Wholly,
    /// There is more to do.
    InPart,
    /// What is left cannot be cleared away now: leases that could not be ended, or what lies in a sealed namespace.
    Waiting,
}

impl Kernel {
    /// Ends and clears away a piece of what a deleted namespace held. The order matters: what its engines lent is
    /// taken back while they are still there to do it; then its tokens end, then its mounts, then its own tables.
    pub(crate) fn raze(&self, txn: &mut Txn, ns: Ns) -> Result<Razed> {
        let now = self.now();
        let Some(entry) = namespaces::find(txn, ns)? else { return Ok(Razed::Wholly) };
        if txn.is_sealed(ns.mount()) {
            // What it lent can only be taken back once somebody unseals it. Without its keys it is deleted otherwise.
            return Ok(Razed::Waiting);
        }
        let lent = leases::below(txn, ns, "", now, PIECE)?;
        let mut left = 0;
        for id in &lent {
            match leases::find(txn, id)? {
                Some(Lease::Thing(thing)) if thing.irrevocable() || (entry.forced && thing.attempts > 0) => {
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
        for mount in &unmounted {
            if agenda::undoes(txn, mount.id()?)? && !entry.forced {
                return Ok(Razed::Waiting);
            }
        }
        for entry in &unmounted {
            entry.forget(txn)?;
            let mut tag = [0; 16];
            self.env.random.fill(&mut tag);
            agenda::enter(txn, now, tag, &Item::Sweep { mount: entry.uuid.clone() })?;
        }
        if !unmounted.is_empty() {
            return Ok(Razed::InPart);
        }
        if let Some(above) = entry.above {
            self.drop_sealable(txn, ns, above)?;
            return Ok(Razed::Wholly);
        }
        if txn.sweep(ns.mount(), PIECE)? > 0 {
            return Ok(Razed::InPart);
        }
        namespaces::forget(txn, ns)?;
        Ok(Razed::Wholly)
    }

    /// What keeps a deleted namespace from being cleared away, for people. Nothing: its turn has only not come yet.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) fn waits_for(&self, txn: &Txn, ns: Ns) -> Result<Vec<String>> {
        if txn.is_sealed(ns.mount()) {
            let text =
                "it is sealed: unseal it, so that what it lent is taken back, or delete it by delete-sealed";
            return Ok(vec![text.to_owned()]);
        }
        let mut waits = Vec::new();
        for id in leases::below(txn, ns, "", self.now(), PIECE)? {
            let Some(Lease::Thing(thing)) = leases::find(txn, &id)? else { continue };
            if let Some(why) = thing.error.filter(|_| waits.len() < WAITS_SHOWN_MAX) {
                waits.push(format!("lease {} was not ended in {} attempts: {why}", id.path, thing.attempts));
            }
        }
        for mount in mounts::of_namespace(txn, ns, PIECE)? {
            if waits.len() < WAITS_SHOWN_MAX && agenda::undoes(txn, mount.id()?)? {
                let text = format!("what {} ({}) did outside is not undone yet", mount.path, mount.kind);
                waits.push(text);
            }
        }
        Ok(waits)
    }

    /// Ends a namespace with a seal of its own. With this commit its keys are gone; what they sealed is swept behind.
    pub(crate) fn drop_sealable(&self, txn: &mut Txn, ns: Ns, above: Ns) -> Result<()> {
        let mut tag = [0; 16];
        self.env.random.fill(&mut tag);
        namespaces::forget(txn, ns)?;
        self.ceremonies.forget(&[ns]);
        txn.drop_ring(RingId::of(ns.mount()));
        agenda::enter(txn, self.now(), tag, &Item::Wipe { above, ring: ns, table: 0, from: String::new() })
    }

    /// Clears away a piece of what nobody can read any more: all under the ids of its family, and then its rows in the
    /// kernel's own tables, in the order of these.
    pub(crate) fn wipe(
        &self,
        txn: &mut Txn,
        found: &Found,
        (above, ring): (Ns, Ns),
        table: u8,
        from: &str,
    ) -> Result<()> {
        let id = RingId::of(ring.mount());
        if txn.sweep_family(id, PIECE)? > 0 {
            return self.again(txn, true, found);
        }
        let Some(shared) = SharedTable::ALL.get(usize::from(table)) else { return Ok(()) };
        let place = shared.place();
        let start = hex::decode(from).unwrap_or_default();
        let rows = txn.snapshot().ids_of_rings(place, &start, PIECE, &|found| found == id)?;
        rows.iter().try_for_each(|row| txn.delete(&Key::id(place, row)))?;
        let (table, from) = match rows.last() {
            Some(last) if rows.len() == PIECE => (table, hex::encode(last)),
            _ => (table + 1, String::new()),
        };
        self.wake();
        agenda::enter(txn, self.now(), found.tag, &Item::Wipe { above, ring, table, from })
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
