//! What opens the store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::tree::Check;
use crate::config::{Config, Environment, KeySource, Seal, StaticKey, Storage};
use crate::store;

pub(super) fn check(config: &Config, environment: &Environment) -> Check {
    let mut check = Check::new("Check Seal");
    let Seal::Static { current, previous } = &config.seal else {
        check
            .says("Shares in the hands of people: they unseal after each start with `keep operator unseal`.");
        return check;
    };
    let keys = check.add(Check::new("Read Keys"));
    match store::keys(&config.seal, environment) {
        Ok(_) => keys.says("The server unseals itself."),
        Err(failure) => keys.fails(failure.text),
    }
    for key in [Some(current), previous.as_ref()].into_iter().flatten() {
        check.add(file(key, &config.storage));
    }
    check
}

/// Whether the file of a key is as well guarded as the key has to be.
fn file(key: &StaticKey, storage: &Storage) -> Check {
    let mut check = Check::new(format!("Check Key {:?}", key.id));
    let path = match &key.source {
        KeySource::File(path) => path,
        KeySource::Variable(name) => {
            check.says(format!("It is in the variable {name}, which whoever sees this process can read."));
            return check;
        }
        KeySource::Here(_) => {
            check.warns("It stands in the configuration.");
            check.advises("Move it to a file with mode 0600, and write current_key = \"file:///…\".");
            return check;
        }
    };
    private(&mut check, path);
    let beside = match storage {
        Storage::Embedded { folder, .. } | Storage::Sled { folder } => path.starts_with(folder),
        Storage::Memory => false,
    };
    if beside {
        check.warns(format!(
            "{} lies in the folder of the storage: a copy of one is a copy of both.",
            path.display()
        ));
        check.advises("Move it elsewhere, out of the backups of the storage.");
    }
    check
}

/// Warns of a file that holds a key and can be read by others.
pub(super) fn private(check: &mut Check, path: &Path) {
    let Ok(data) = fs::metadata(path) else { return };
    let mode = data.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        check.says(format!("{} is its owner's alone.", path.display()));
    } else {
        check.warns(format!("{} is open to others (mode {mode:o}).", path.display()));
        check.advises(format!("chmod 600 {}", path.display()));
    }
}
