//! Opens what the configuration names.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use storage::seal::{KeyBytes, NamedKey};
use storage::{Backend, Options};
use zeroize::Zeroizing;

use crate::config::{Environment, KeySource, Seal, StaticKey, Storage};
use crate::phase::Keys;
use crate::run::Failure;
use crate::world;

/// A file that holds a key is not longer than this.
const KEY_FILE_SIZE_MAX: u64 = 4096;
const KEY_SIZE: usize = 32;

/// Opens the store: blank, or sealed.
pub(crate) fn open(storage: &Storage) -> Result<storage::Phase, Failure> {
    let backend: Box<dyn Backend> = match storage {
        Storage::Memory => Box::new(storage::Memory::new()),
        Storage::Embedded { folder, .. } => {
            Box::new(storage::Redb::open(folder).map_err(|error| named(folder, &error))?)
        }
        Storage::Sled { folder } => {
            tracing::warn!(
                "storage \"sled\" keeps every acknowledged write, but takes much more memory than \"raft\" and starts slowly after a kill"
            );
            Box::new(storage::Sled::open(folder).map_err(|error| named(folder, &error))?)
        }
    };
    let folder = folder(storage);
    storage::open(backend, Options::new(|| world::now().0)).map_err(|error| named(folder, &error))
}

/// Where the store lies, if another can be put in its place while the server runs.
pub(crate) fn restorable(storage: &Storage) -> Option<PathBuf> {
    match storage {
        Storage::Embedded { folder, .. } => Some(folder.clone()),
        Storage::Memory | Storage::Sled { .. } => None,
    }
}

/// What `storage_type` shows.
pub(crate) fn kind(storage: &Storage) -> &'static str {
    match storage {
        Storage::Memory => "inmem",
        Storage::Embedded { called, .. } => called,
        Storage::Sled { .. } => "sled",
    }
}

fn folder(storage: &Storage) -> &Path {
    match storage {
        Storage::Memory => Path::new("memory"),
        Storage::Embedded { folder, .. } | Storage::Sled { folder } => folder,
    }
}

fn named(folder: &Path, error: &storage::Error) -> Failure {
    match error {
        // These name the folder or file, and what to do.
        storage::Error::InUse(_) | storage::Error::Foreign(_) => Failure::start(error.to_string()),
        other => {
            let advice = match other {
                storage::Error::Io(error) => advice(folder, error).map(|advice| format!(". {advice}")),
                _ => None,
            };
            let advice = advice.unwrap_or_default();
            Failure::start(format!("the data in {} cannot be opened: {other}{advice}", folder.display()))
        }
    }
}

/// What is to be done about a folder that the system does not let us use.
fn advice(folder: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(denied(folder)),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{} lies on a file system that is mounted read-only: mount it for writing",
            folder.display()
        )),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists if !folder.is_dir() => {
            let shown = folder.display();
            Some(match folder.is_symlink() && !folder.exists() {
                true => format!("{shown} is a link that leads nowhere: make the folder that it names"),
                false => format!(
                    "{shown}, or a part of it, is a file: storage \"…\" {{ path }} has to be a folder"
                ),
            })
        }
        _ => None,
    }
}

/// Which of it is not ours to write, and whose it is.
fn denied(folder: &Path) -> String {
    let us = rustix::process::geteuid().as_raw();
    let within = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = std::iter::once(folder.to_path_buf()).chain(within);
    let refused = all.filter(|path| {
        let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
        rustix::fs::accessat(rustix::fs::CWD, path, access, rustix::fs::AtFlags::EACCESS).is_err()
    });
    let shown = refused.filter_map(|path| Some((std::fs::metadata(&path).ok()?, path))).next();
    match shown {
        Some((found, path)) => format!(
            "{} belongs to user {} and has mode {:o}, and the server runs as user {us}: chown -R {us} {} && chmod -R u+rwX {}",
            path.display(),
            found.uid(),
            found.mode() & 0o7777,
            folder.display(),
            folder.display()
        ),
        None => format!("The server runs as user {us}: let it into the folders above {}", folder.display()),
    }
}

/// Reads the keys with which the server unseals itself.
pub(crate) fn keys(seal: &Seal, environment: &Environment) -> Result<Option<Keys>, Failure> {
    let Seal::Static { current, previous } = seal else { return Ok(None) };
    let current = key(current, environment)?;
    let previous = previous.as_ref().map(|previous| key(previous, environment)).transpose()?;
    Ok(Some(Keys { current, previous }))
}

fn key(wanted: &StaticKey, environment: &Environment) -> Result<NamedKey, Failure> {
    let failed = |why: &str| {
        let text = format!("the static key \"{}\" ({:?}) {why}", wanted.id, wanted.source);
        Failure::start(format!(
            "{text}: it must be {KEY_SIZE} bytes in hex or base64, as from: openssl rand -base64 32"
        ))
    };
    let text = match &wanted.source {
        KeySource::Here(text) => Zeroizing::new(text.clone().into_bytes()),
        KeySource::Variable(name) => {
            let text = environment.plain(name).ok_or_else(|| failed("is not set"))?;
            Zeroizing::new(text.to_owned().into_bytes())
        }
        KeySource::File(path) => {
            let data =
                std::fs::metadata(path).map_err(|error| failed(&format!("cannot be read ({error})")))?;
            if data.len() > KEY_FILE_SIZE_MAX {
                return Err(failed("is a file that is much too long"));
            }
            if data.permissions().mode() & 0o077 != 0 {
                let file = path.display();
                tracing::warn!("others than its owner can read the static key: chmod 600 {file}");
            }
            Zeroizing::new(std::fs::read(path).map_err(|error| failed(&format!("cannot be read ({error})")))?)
        }
    };
    let key = decode(&text).ok_or_else(|| failed("is not a key"))?;
    Ok(NamedKey { id: wanted.id.clone(), key })
}

/// A key as raw bytes, in hex or in base64.
fn decode(text: &[u8]) -> Option<KeyBytes> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    if text.len() == KEY_SIZE {
        return KeyBytes::from_slice(text);
    }
    let text = text.trim_ascii();
    let bytes = Zeroizing::new(hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok())?);
    KeyBytes::from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_used_is_named_with_what_to_do() {
        let folder = std::env::temp_dir().join(format!("sealkeep-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("file"), folder.join("link"));
        std::fs::write(&file, "x").unwrap();
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(folder.join("nowhere"), &link).unwrap();
        let said =
            |path: &Path, kind: io::ErrorKind| named(path, &storage::Error::from(io::Error::from(kind))).text;
        assert!(said(&file, io::ErrorKind::NotADirectory).contains("file, or a part of it, is a file"));
        assert!(said(&link, io::ErrorKind::AlreadyExists).contains("is a link that leads nowhere"));
        assert!(said(&folder, io::ErrorKind::ReadOnlyFilesystem).contains("mount it for writing"));
        let us = format!("runs as user {}", rustix::process::geteuid().as_raw());
        assert!(said(&folder, io::ErrorKind::PermissionDenied).contains(&us));
        assert!(said(&folder, io::ErrorKind::StorageFull).ends_with(": storage: no storage space"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_comes_in_three_spellings() {
        let hex = "00".repeat(32);
        let base64 = format!("{}=", "A".repeat(43));
        for text in [hex.as_bytes(), base64.as_bytes(), format!("{hex}\n").as_bytes(), &[0; 32]] {
            assert_eq!(decode(text).unwrap().expose(), &[0; 32]);
        }
        for bad in ["", "00", "not a key", &"00".repeat(31)] {
            assert!(decode(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
