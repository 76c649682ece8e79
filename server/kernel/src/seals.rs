//! Whose seal a request is about: the server's, or that of a namespace that has one of its own.

use kit::{Error, Result};
use storage::seal::shamir::Share;
use storage::seal::{Initialised, KeyBytes, SealChoice, SealConfig, Split};
use storage::{KeyStatus, MountId, NewSeal, RingId};

use crate::kernel::Kernel;
use crate::namespaces::{self, Ns};
use crate::shelf::KERNEL;

/// A seal, and the keys that it keeps.
#[derive(Clone, Copy)]
pub(crate) struct SealOf<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) ns: Ns,
    /// Nothing: it is the server's.
    ring: Option<RingId>,
}

impl Kernel {
    /// The seal of a namespace; in the root, that of the server.
    ///
    /// # Errors
    /// If the namespace has none of its own.
    pub(crate) fn seal_of(&self, ns: Ns) -> Result<SealOf<'_>> {
        if ns.is_root() {
            return Ok(SealOf { kernel: self, ns, ring: None });
        }
        // Namespaces in one with a seal have ids of its family, and are closed with it; the seal is not theirs.
        let entry = namespaces::find(&self.store.snapshot(), ns)?.filter(|entry| entry.above.is_some());
        entry.ok_or_else(|| Error::invalid("namespace is not sealable"))?;
        Ok(SealOf { kernel: self, ns, ring: Some(RingId::of(ns.mount())) })
    }
}

impl SealOf<'_> {
    /// What is kept about the seal lies under this.
    pub(crate) fn owner(&self) -> MountId {
        self.ring.map_or(KERNEL, RingId::owner)
    }

    /// What the stored seal says of itself.
    pub(crate) fn config(&self) -> Result<SealConfig> {
        let store = &self.kernel.store;
        Ok(match self.ring {
            None => store.seal_config()?,
            Some(ring) => SealConfig::Shamir(store.ring_split(ring)?),
        })
    }

    /// The shares that it takes to prove to be an owner: of the unseal key, or of the recovery key.
    pub(crate) fn owners(&self) -> Result<Option<Split>> {
        Ok(self.config()?.split())
    }

    /// How many of them it takes; none, if there is nobody to prove it.
    pub(crate) fn required(&self) -> Result<Option<u8>> {
        Ok(self.owners()?.map(|split| split.threshold))
    }

    /// Whether these shares are those of an owner.
    pub(crate) fn prove(&self, shares: &[Share]) -> Result<bool> {
        let Some(split) = self.owners()? else { return Ok(false) };
        match split.combine(shares) {
            Ok(key) => self.admits(&key),
            Err(_) => Ok(false),
        }
    }

    fn admits(&self, key: &KeyBytes) -> Result<bool> {
        let store = &self.kernel.store;
        Ok(match self.ring {
            None => store.admits(key)?,
            Some(ring) => store.ring_admits(ring, key)?,
        })
    }

    /// Makes a new seal of shares, which does not hold before [`install`](Self::install).
    pub(crate) fn draft(&self, split: Split) -> Result<(NewSeal, Initialised)> {
        Ok(self.kernel.store.draft_seal(&SealChoice::Shamir(split))?)
    }

    /// Makes a new seal hold, with a new root key.
    pub(crate) fn install(&self, seal: NewSeal) -> Result<()> {
        let store = &self.kernel.store;
        let done = match self.ring {
            None => store.install(seal),
            Some(ring) => store.install_ring(ring, seal),
        };
        Ok(done?)
    }

    /// Makes a new root key, under the seal as it is.
    pub(crate) fn reroot(&self) -> Result<()> {
        let store = &self.kernel.store;
        let done = match self.ring {
            None => store.reroot(),
            Some(ring) => store.reroot_ring(ring),
        };
        Ok(done?)
    }

    /// Begins a new term.
    pub(crate) fn rotate(&self) -> Result<KeyStatus> {
        let store = &self.kernel.store;
        Ok(match self.ring {
            None => store.rotate()?,
            Some(ring) => store.rotate_ring(ring)?,
        })
    }

    /// The active term.
    pub(crate) fn status(&self) -> Result<KeyStatus> {
        let store = &self.kernel.store;
        Ok(match self.ring {
            None => store.key_status(),
            Some(ring) => store.ring_status(ring)?,
        })
    }
}
