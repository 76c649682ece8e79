//! Who has shown shares of a namespace's key, and what sealing and unsealing one comes to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::{Error, Result};
use storage::seal::Split;
use storage::seal::shamir::Share;
use storage::{RingId, UnsealError};

use crate::ceremonies::{Added, Shown};
use crate::kernel::Kernel;
use crate::namespaces::{self, Ns};
use crate::router::Space;
use crate::{ids, mounts};

/// How many namespaces can be on the way to being unsealed; there are no more of such.
const UNSEALING_MAX: usize = storage::RINGS_MAX;
/// The key that the shares make is another.
const WRONG: &str = "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: cipher: message authentication failed";

/// Shares that were shown so far, by namespace. Soft: a restart forgets them. Held while a namespace is sealed or
/// unsealed, so that none is opened beneath one that is being closed.
#[derive(Default)]
pub(crate) struct Unsealing(Mutex<HashMap<Ns, Begun>>);

/// A namespace on the way to being unsealed.
#[derive(Default)]
struct Begun {
    nonce: String,
    shown: Shown,
}

/// How far the unsealing of a namespace has come.
pub(crate) struct Progress {
    pub(crate) sealed: bool,
    pub(crate) split: Split,
    pub(crate) shown: usize,
    pub(crate) nonce: String,
}

type Table<'a> = MutexGuard<'a, HashMap<Ns, Begun>>;

impl Kernel {
    /// How far the unsealing of a namespace has come.
    ///
    /// # Errors
    /// If it has no seal of its own, or the disk fails.
    pub(crate) fn unseal_progress(&self, space: &Space) -> Result<Progress> {
        self.progress(&self.unsealing.lock(), ring(space)?)
    }

    /// Forgets the shares that were shown.
    pub(crate) fn forget_shares(&self, space: &Space) -> Result<Progress> {
        let ns = ring(space)?;
        let mut table = self.unsealing.lock();
        table.remove(&ns);
        self.progress(&table, ns)
    }

    /// Takes a share. With enough of them the namespace is unsealed, or all of them are forgotten.
    ///
    /// # Errors
    /// If they are not shares of its key.
    pub(crate) fn show_share(&self, path: &str, share: Share) -> Result<Progress> {
        let mut table = self.unsealing.lock();
        // Looked at once nobody can seal it: it might lie in one that was closed a moment ago.
        let router = self.router(&self.store.snapshot())?;
        let space = router.value().sealable(path).ok_or_else(|| Error::invalid("namespace doesn't exist"))?;
        let ns = ring(space)?;
        let split = self.split(ns)?;
        if !self.store.snapshot().is_sealed(ns.mount()) {
            return self.progress(&table, ns);
        }
        if table.len() >= UNSEALING_MAX {
            // Some may have been deleted meanwhile.
            let today = self.store.snapshot();
            table.retain(|ns, _| today.ring(ns.mount()).is_some());
        }
        if table.len() >= UNSEALING_MAX && !table.contains_key(&ns) {
            return Err(Error::internal("more namespaces are being unsealed than there are"));
        }
        let begun = table.entry(ns).or_default();
        if begun.shown.count() == 0 {
            begun.nonce = ids::new_uuid(&*self.env.random);
        }
        if let Added::Enough(shares) = begun.shown.add(share, split.threshold) {
            table.remove(&ns);
            self.open_ring(ns, split, &shares)?;
        }
        self.progress(&table, ns)
    }

    fn open_ring(&self, ns: Ns, split: Split, shares: &[Share]) -> Result<()> {
        let key = split.combine(shares).map_err(|_| Error::invalid(WRONG))?;
        match self.store.unseal_ring(RingId::of(ns.mount()), &key) {
            Ok(()) => {}
            Err(UnsealError::WrongKey) => return Err(Error::invalid(WRONG)),
            Err(UnsealError::Storage(error)) => return Err(error.into()),
            Err(damaged @ UnsealError::Damaged) => return Err(Error::internal(damaged.to_string())),
        }
        tracing::info!("a namespace with a seal of its own was unsealed");
        self.write(|txn| {
            let ring = RingId::of(ns.mount());
            let inside = namespaces::with_root(txn)?.into_iter().filter(|ns| RingId::of(ns.mount()) == ring);
            inside.into_iter().try_for_each(|ns| mounts::first_mounts(txn, ns, &*self.env.random))
        })?;
        self.ceremonies.forget(&[ns]);
        self.quotas.counts.forget();
        self.wake();
        Ok(())
    }

    /// Seals a namespace and those beneath it that have a seal of their own. What is remembered of them is forgotten.
    ///
    /// # Errors
    /// If it has no seal of its own.
    pub(crate) fn seal_namespace(&self, path: &str) -> Result<()> {
        let mut table = self.unsealing.lock();
        let router = self.router(&self.store.snapshot())?;
        let space = router.value().sealable(path).ok_or_else(|| Error::invalid("namespace doesn't exist"))?;
        let ns = ring(space)?;
        let beneath = router.value().beneath(path).filter(|space| space.has_seal());
        let closed: Vec<Ns> = std::iter::once(ns).chain(beneath.map(|space| space.namespace.ns)).collect();
        closed.iter().for_each(|ns| drop(table.remove(ns)));
        let rings: Vec<RingId> = closed.iter().map(|ns| RingId::of(ns.mount())).collect();
        self.store.seal_rings(&rings);
        self.ceremonies.forget(&closed);
        let today = self.store.snapshot();
        self.waiting.keep(|ns| !today.is_sealed(ns.mount()));
        self.tokens.forget();
        self.regulars.forget();
        self.mounts.forget(|mount| !today.is_sealed(mount));
        self.quotas.counts.forget();
        tracing::info!(namespaces = closed.len(), "a namespace with a seal of its own was sealed");
        Ok(())
    }

    fn progress(&self, table: &Table<'_>, ns: Ns) -> Result<Progress> {
        let begun = table.get(&ns).filter(|begun| begun.shown.count() > 0);
        Ok(Progress {
            sealed: self.store.snapshot().is_sealed(ns.mount()),
            split: self.split(ns)?,
            shown: begun.map_or(0, |begun| begun.shown.count()),
            nonce: begun.map(|begun| begun.nonce.clone()).unwrap_or_default(),
        })
    }

    fn split(&self, ns: Ns) -> Result<Split> {
        Ok(self.store.ring_split(RingId::of(ns.mount()))?)
    }
}

impl Unsealing {
    fn lock(&self) -> Table<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The namespace, if it has a seal of its own.
fn ring(space: &Space) -> Result<Ns> {
    match space.has_seal() {
        true => Ok(space.namespace.ns),
        false => Err(Error::invalid("namespace is not sealable")),
    }
}
