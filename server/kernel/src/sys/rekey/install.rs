use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kit::{Beyond, Reads as _, Result, Writing};
use storage::NewSeal;

use super::backup::{self, Kept};
use crate::ceremonies::Target;
use crate::envelope::Attached;
use crate::kernel::Kernel;
use crate::namespaces::Ns;

/// A new seal whose shares stand in an answer. It holds once that answer is on the audit devices: an answer that is
/// refused takes the shares with it, and then the old ones must still open the store.
pub(crate) struct Installing {
    ns: Ns,
    target: Target,
    seal: Mutex<Option<NewSeal>>,
    kept: Option<Kept>,
}

impl Installing {
    pub(super) fn new(ns: Ns, target: Target, seal: NewSeal, kept: Option<Kept>) -> Arc<Self> {
        Arc::new(Self { ns, target, seal: Mutex::new(Some(seal)), kept })
    }

    /// Makes it hold.
    ///
    /// # Errors
    /// If the disk fails; then the old seal holds.
    pub(crate) fn run(&self, kernel: &Kernel) -> Result<()> {
        let taken = self.seal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(new) = taken else { return Ok(()) };
        let seal = kernel.seal_of(self.ns)?;
        if let Some(kept) = &self.kept {
            backup::keep(&seal, self.target, kept)?;
        }
        seal.install(new)?;
        tracing::info!("a new key has been made, and the old shares are worth nothing");
        Ok(())
    }
}

/// Has it hold once the answer of this request is audited.
pub(super) fn attach(cx: &Writing<'_>, installing: Option<Arc<Installing>>) {
    if let Some(installing) = installing {
        cx.notes().attach(&Beyond::for_the_kernel(), Box::new(Attached::Seal(installing)));
    }
}

impl fmt::Debug for Installing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installing").finish_non_exhaustive()
    }
}
