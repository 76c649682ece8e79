//! The folder that a durable backend lies in: made private, locked against a second process, and refused if it is
//! somebody else's.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// What a data folder of Vault or OpenBao is known by: the first two are raft's, the others those of `storage "file"`.
const FOREIGN: [&str; 5] = ["vault.db", "raft/raft.db", "core/_keyring", "core/_seal-config", "sys/policy"];

/// The files that the backends lock.
const LOCKED: [&str; 2] = ["sealkeep.redb", "sealkeep.lock"];

/// Looks at a folder without making or changing anything; whether it holds a store.
///
/// # Errors
/// If another process has it, or it is another program's.
pub fn survey(folder: &Path) -> Result<bool> {
    own(folder)?;
    let mut found = false;
    for file in LOCKED.map(|name| folder.join(name)) {
        if !file.try_exists()? {
            continue;
        }
        found = true;
        match File::open(&file)?.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(file.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Makes the folder if need be, and refuses one that holds the data of another program.
pub(crate) fn prepare(folder: &Path) -> Result<()> {
    own(folder)?;
    if !folder.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
    }
    Ok(())
}

/// Refuses a folder that holds the data of another program.
fn own(folder: &Path) -> Result<()> {
    if let Some(sign) = FOREIGN.iter().find(|sign| folder.join(sign).exists()) {
        return Err(Error::Foreign(format!(
            "{} is a data folder of Vault or OpenBao (it holds {sign}), which Sealkeep does not read; it was left as it is. \
             Give Sealkeep an empty folder, and copy what you need from the old server through its API",
            folder.display()
        )));
    }
    Ok(())
}

/// Opens a file that only its owner reads, and takes it for this process as long as it stays open.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Makes the names in a folder durable, as fsync of a file does not.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// How many bytes a user may still write where `file` lies.
pub(crate) fn free_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
