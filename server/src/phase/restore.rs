use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError, TryLockError};

use kernel::Answer;
use storage::{Options, Redb};

use super::{Phase, State, Stuck, refused};
use crate::backup::{self, Bad, Restored};
use crate::world;

/// One at a time.
static RESTORING: Mutex<()> = Mutex::new(());

/// What whoever sent a backup is told.
struct Refusal {
    status: u16,
    why: String,
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        let status = match bad {
            Bad::Archive(_) => 400,
            Bad::Disk(_) => 500,
        };
        Self { status, why: bad.to_string() }
    }
}

impl State {
    /// Puts a backup in the place of all that is stored. Until it is known to be whole, and to be of this server, nothing
    /// changes; with `force` it may be of another.
    pub(crate) fn restore(&self, archive: &mut dyn Read, force: bool) -> Answer {
        let Some(folder) = &self.facts.folder else {
            let text = "only storage \"raft\" and storage \"file\" can be restored: start the server with one of them";
            return refused(400, text);
        };
        let _one = match RESTORING.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return refused(409, "another backup is being restored"),
        };
        let restored = backup::read(archive, folder, Options::new(|| world::now().0));
        match restored.map_err(Refusal::from).and_then(|restored| self.put_in_place(restored, folder, force))
        {
            Ok(()) => Answer::json(204, Vec::new()),
            Err(Refusal { status, why }) => {
                tracing::warn!(why, "a backup was not restored");
                if let Err(error) = Redb::give_up(folder) {
                    tracing::warn!(%error, "what was read of it could not be taken away");
                }
                refused(status, &why)
            }
        }
    }

    fn put_in_place(&self, restored: Restored, folder: &Path, force: bool) -> Result<(), Refusal> {
        let mut store = self.store();
        let phase = self.phase.load_full();
        let Phase::Open { kernel, .. } = &*phase else {
            return Err(Refusal { status: 503, why: "Vault is sealed".to_owned() });
        };
        let Restored { sealed, sums, voucher } = restored;
        let sealed = match force {
            true => sealed,
            false => kernel
                .knows(sealed, &sums, &voucher)
                .map_err(|error| Refusal { status: 400, why: format!("{error}. Nothing was changed") })?,
        };
        let key = kernel.unseal_key();
        Redb::supersede(folder).map_err(|error| Refusal {
            status: 500,
            why: format!("the backup could not be put in its place: {error}. Nothing was changed"),
        })?;
        self.swap(Phase::Sealed(sealed.seal_config().clone()));
        drop(kernel.shut());
        *store = Some(storage::Phase::Sealed(sealed));
        tracing::info!("a backup was restored");
        match self.open(&mut store, &key) {
            Ok(_) => Ok(()),
            Err(Stuck::Unseal(why)) => {
                tracing::warn!(%why, "what was restored is sealed: unseal it with the keys that it had when the backup was made");
                Ok(())
            }
            Err(other) => {
                tracing::error!(error = %other, "what was restored does not start");
                let why = "the backup was restored, and the server does not start on it; its log says why";
                Err(Refusal { status: 500, why: why.to_owned() })
            }
        }
    }
}
