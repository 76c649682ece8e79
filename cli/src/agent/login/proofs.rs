//! What lies in files and proves who the agent is, and what remains of it when its file is taken away.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use zeroize::Zeroizing;

use super::method::{AfterReading, Proof};
use crate::agent::{
    disk::{self, Disk},
    log::Level,
    moment::Moment,
    world::{Cause, Trouble, World},
};

/// A proof from memory that was refused is not shown again before this: who does that often is locked out.
const REFUSED_AGAIN: Duration = Duration::from_secs(20 * 60);

/// The proofs of one identity.
pub(super) struct Proofs {
    disk: Rc<dyn Disk>,
    /// A proof whose file was taken away.
    remembered: Option<Zeroizing<String>>,
    /// The file of a proof that this login has from memory.
    recalled: Option<PathBuf>,
    /// When the proof from memory was refused.
    refused: Option<Moment>,
    /// A file with a proof that goes as soon as it has served.
    spent: Option<Proof>,
    /// The file that a login lacked.
    pub(super) lacks: Option<PathBuf>,
}

impl Proofs {
    pub(super) fn new(disk: Rc<dyn Disk>) -> Proofs {
        Proofs { disk, remembered: None, recalled: None, refused: None, spent: None, lacks: None }
    }

    /// A new login begins.
    pub(super) fn begin(&mut self) {
        (self.recalled, self.spent) = (None, None);
    }

    /// What lies in a file.
    pub(super) fn read(&mut self, path: &Path) -> Result<Zeroizing<String>, Trouble> {
        match self.look(path) {
            Ok(text) => Ok(text),
            Err(_) if self.is_gone(path) => {
                self.lacks = Some(path.to_owned());
                let why =
                    format!("there is nothing to log in with: {} is not there; put it there", path.display());
                Err(Trouble::new(Cause::Unproven, why))
            }
            Err(why) => Err(Trouble::new(Cause::Wrong, why)),
        }
    }

    /// The same, where nobody is told that it is not there.
    pub(super) fn look(&self, path: &Path) -> Result<Zeroizing<String>, String> {
        disk::read_text(self.disk.as_ref(), path)
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.disk.read(path).is_err_and(|e| e.kind() == ErrorKind::NotFound)
    }

    /// What lies in a file with a proof; what lay there, once it was taken away as the configuration wants it.
    pub(super) fn kept(&mut self, proof: &Proof, now: Moment) -> Result<Zeroizing<String>, Trouble> {
        if let Some(known) = &self.remembered
            && self.is_gone(&proof.path)
        {
            if self.refused.is_some_and(|at| now < at.plus(REFUSED_AGAIN)) {
                return Err(self.served_its_time(&proof.path));
            }
            self.recalled = Some(proof.path.clone());
            return Ok(known.clone());
        }
        self.refused = None;
        let text = self.read(&proof.path)?;
        self.remember(proof, &text);
        Ok(text)
    }

    /// Puts what was unwrapped in the place of what wrapped it, which opens only once.
    pub(super) fn put(&mut self, proof: &Proof, text: &Zeroizing<String>) -> Result<(), Trouble> {
        disk::replace(self.disk.as_ref(), &proof.path, text.as_bytes(), 0o600)
            .map_err(|e| Trouble::disk("the unwrapped secret id cannot be kept", &e))?;
        self.remember(proof, text);
        Ok(())
    }

    fn remember(&mut self, proof: &Proof, text: &Zeroizing<String>) {
        if proof.after_reading != AfterReading::Keep {
            self.spent = Some(proof.clone());
            self.remembered = Some(text.clone());
        }
    }

    /// What a login from memory failed of: a proof that was taken away may have ended since, and then only a new one helps.
    pub(super) fn outlived(&mut self, trouble: Trouble, now: Moment) -> Trouble {
        match self.recalled.take() {
            Some(path) if matches!(trouble.cause, Cause::Refused(400..=403)) => {
                self.refused = Some(now);
                self.served_its_time(&path).during(&trouble.text)
            }
            _ => trouble,
        }
    }

    fn served_its_time(&mut self, path: &Path) -> Trouble {
        self.lacks = Some(path.to_owned());
        let why = format!("what was in {} has served its time: put a new one there", path.display());
        Trouble::new(Cause::Unproven, why)
    }

    /// Removes the file with the proof that has served.
    pub(super) fn take_away(&mut self, world: &impl World) {
        let Some(Proof { path, after_reading }) = self.spent.take() else { return };
        let path = match after_reading {
            AfterReading::RemoveTarget => path.canonicalize().unwrap_or(path),
            AfterReading::Remove | AfterReading::Keep => path,
        };
        if let Err(e) = self.disk.remove(&path) {
            let line =
                format!("{} cannot be taken away after its use: {e}; remove it yourself", path.display());
            world.log(Level::Warn, &line);
        }
    }
}
