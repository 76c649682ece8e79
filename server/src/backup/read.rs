use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use storage::{Options, PIECE_SIZE_MAX, Phase, Redb, Restoring, Sealed};

use super::{ABOUT, About, KIND, SUMS, VERSION, VOUCHER, line, piece};

/// What is not a piece of the store is never longer.
const SMALL: usize = 16 * 1024 * 1024;

/// A store that was filled from a backup, beside the one that serves.
pub(crate) struct Restored {
    pub(crate) sealed: Sealed,
    pub(crate) sums: Vec<u8>,
    pub(crate) voucher: Vec<u8>,
}

/// Why a backup was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bad {
    /// It is not whole, or none.
    #[error("the backup cannot be used: {0}. Nothing was changed")]
    Archive(String),
    /// The disk would not have it.
    #[error("the backup could not be stored: {0}. Nothing was changed")]
    Disk(#[from] storage::Error),
}

/// Reads all of a backup into a store beside the one in `folder`, and looks whether it is whole.
pub(crate) fn read(archive: &mut dyn Read, folder: &Path, options: Options) -> Result<Restored, Bad> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let mut files = Files { entries: tar.entries().map_err(|error| cut(&error))?, sums: String::new() };
    about(&files.next(ABOUT, SMALL)?)?;
    let mut restoring = Restoring::into(Box::new(Redb::beside(folder)?))?;
    let mut number = 0;
    let said = loop {
        let sums = files.sums.len();
        let (name, bytes) = files.either(&piece(number), SUMS)?;
        if name == SUMS {
            files.sums.truncate(sums);
            break bytes;
        }
        restoring.piece(&bytes).map_err(|error| match error {
            storage::Error::Foreign(why) => Bad::Archive(why),
            other => Bad::Disk(other),
        })?;
        number += 1;
    };
    if files.sums.as_bytes() != said {
        return Err(Bad::Archive("its digests do not fit what is in it: it is damaged".to_owned()));
    }
    let voucher = files.next(VOUCHER, SMALL)?;
    // The end of the compressed stream says whether all of it came over well.
    io::copy(&mut tar.into_inner().take(SMALL as u64), &mut io::sink()).map_err(|error| cut(&error))?;
    match restoring.finish(options)? {
        Phase::Sealed(sealed) => Ok(Restored { sealed, sums: said, voucher }),
        Phase::Blank(_) => Err(Bad::Archive("there is nothing in it".to_owned())),
    }
}

fn about(bytes: &[u8]) -> Result<(), Bad> {
    let about: Option<About> = serde_json::from_slice(bytes).ok();
    match about {
        Some(about) if about.kind == KIND && about.version == VERSION => Ok(()),
        Some(about) if about.kind == KIND => Err(Bad::Archive(format!(
            "it is of version {}, and this program knows version {VERSION}: use the Sealkeep that made it ({})",
            about.version, about.server
        ))),
        _ => Err(Bad::Archive(
            "it is no backup of Sealkeep; those of Vault and OpenBao are not read".to_owned(),
        )),
    }
}

struct Files<'a, R: Read> {
    entries: tar::Entries<'a, R>,
    /// The digests of all that was read.
    sums: String,
}

impl<R: Read> Files<'_, R> {
    /// The next file, which has to be called so.
    fn next(&mut self, name: &str, max: usize) -> Result<Vec<u8>, Bad> {
        let (found, bytes) = self.any(max)?;
        if found == name { Ok(bytes) } else { Err(unexpected(&found, name)) }
    }

    /// The next file, which has to be a piece of the store or what comes after the last.
    fn either(&mut self, one: &str, other: &str) -> Result<(String, Vec<u8>), Bad> {
        let (found, bytes) = self.any(PIECE_SIZE_MAX)?;
        if found == one || found == other { Ok((found, bytes)) } else { Err(unexpected(&found, one)) }
    }

    fn any(&mut self, max: usize) -> Result<(String, Vec<u8>), Bad> {
        let ended = || Bad::Archive("it ends in the middle".to_owned());
        let mut entry = self.entries.next().ok_or_else(ended)?.map_err(|error| cut(&error))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.size() > max as u64 || !entry.header().entry_type().is_file() {
            return Err(Bad::Archive(format!("{name} in it is too large, or no file")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| cut(&error))?;
        if bytes.len() as u64 != entry.size() {
            return Err(ended());
        }
        self.sums.push_str(&line(&name, &bytes));
        Ok((name, bytes))
    }
}

fn unexpected(found: &str, wanted: &str) -> Bad {
    Bad::Archive(format!("{found:?} lies in it where {wanted:?} should"))
}

fn cut(error: &io::Error) -> Bad {
    Bad::Archive(format!("it is no archive, damaged or cut short ({error})"))
}
