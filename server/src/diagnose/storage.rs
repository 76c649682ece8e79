//! The folder of the store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::outputs::writable;
use super::tree::Check;
use crate::config::Storage;

pub(super) fn check(storage: &Storage) -> Check {
    let mut check = Check::new("Check Storage");
    let folder = match storage {
        Storage::Memory => {
            check.warns("The storage is memory: nothing survives the end of the server.");
            check.advises("Take storage \"raft\" { path = … } for anything that matters.");
            return check;
        }
        Storage::Embedded { folder, .. } | Storage::Sled { folder } => folder,
    };
    let data = check.add(Check::new("Check Data"));
    match ::storage::survey(folder) {
        Ok(true) => data.says(format!("{} holds a store, and no server uses it.", folder.display())),
        Ok(false) => data.says(format!("{} holds no store yet: the server makes one.", folder.display())),
        Err(error @ ::storage::Error::InUse(_)) => {
            data.fails(error.to_string());
            data.advises("If that is the server itself, look with -skip=storage -skip=listener.");
        }
        Err(error) => data.fails(error.to_string()),
    }
    check.add(permissions(folder));
    check.add(writing(folder));
    check
}

/// Whether others can look into it.
fn permissions(folder: &Path) -> Check {
    let mut check = Check::new("Check Folder Permissions");
    match fs::metadata(folder) {
        Err(_) => check.says("There is no folder yet: the server makes one that is its user's alone."),
        Ok(data) if !data.is_dir() => check.fails(format!("{} is no folder", folder.display())),
        Ok(data) => {
            let mode = data.permissions().mode() & 0o777;
            if mode & 0o077 == 0 {
                check.says(format!("{} is its owner's alone.", folder.display()));
            } else {
                check.warns(format!("{} is open to others (mode {mode:o}).", folder.display()));
                check.advises(format!(
                    "What is in it is encrypted, and still nobody else's: chmod 700 {}",
                    folder.display()
                ));
            }
        }
    }
    check
}

/// Whether a file can be made and made durable there.
fn writing(folder: &Path) -> Check {
    let mut check = Check::new("Check Writing");
    let there =
        folder.ancestors().find(|folder| folder.exists()).filter(|there| !there.as_os_str().is_empty());
    match writable(there.unwrap_or(Path::new("."))) {
        Ok(()) => check.says("A file can be written, and made durable."),
        Err(why) => check.fails(why),
    }
    check
}
