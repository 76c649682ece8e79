//! Opens what the configuration names.

use std::os::unix::fs::PermissionsExt;
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
        other => Failure::start(format!("the data in {} cannot be opened: {other}", folder.display())),
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
