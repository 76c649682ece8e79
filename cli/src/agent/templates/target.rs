//! The file that a template becomes: replaced in one step, and left as it is by everything that goes wrong.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::language::Piece;
use crate::agent::{
    disk::{Disk, Machine, Owner},
    owner,
};

/// Who may read a file unless somebody says otherwise.
const MODE_DEFAULT: u32 = 0o600;
/// Folders that have to be made.
const FOLDER_MODE: u32 = 0o755;

/// Where a template goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePlan {
    pub(crate) path: PathBuf,
    /// As the file that is there has it, if nothing is said; 0600 if there is none.
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Owner,
    pub(crate) folders: Folders,
    pub(crate) backup: Backup,
}

/// Whether folders above a file are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folders {
    Made,
    Required,
}

/// Whether the file before stays beside the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backup {
    Kept,
    Dropped,
}

/// What writing a file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Changed,
    Same,
}

impl FilePlan {
    /// Writes the file if it does not say this already.
    pub(crate) fn put(&self, text: &str) -> Result<Put, String> {
        self.write(text).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory => {
                format!("cannot be written: {e}; there must be such a folder, and the agent's user must be able to write there")
            }
            ErrorKind::IsADirectory => format!("cannot be written: {e}; destination must name a file"),
            _ => format!("cannot be written: {e}"),
        })
    }

    fn write(&self, text: &str) -> io::Result<Put> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => Some(there),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if there.is_some() && fs::read(&self.path)? == text.as_bytes() {
            return Ok(Put::Same);
        }
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this is no path of a file"));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if self.folders == Folders::Made {
            Machine.make_folder(folder, FOLDER_MODE)?;
        }
        let kept = there.as_ref().map(|there| there.permissions().mode() & 0o7777);
        let mode = self.mode.or(kept).unwrap_or(MODE_DEFAULT);
        let fresh = folder.join(format!(".{}.new", name.to_string_lossy()));
        Machine.remove(&fresh)?;
        let made =
            self.fill(&fresh, text, mode, there.as_ref()).and_then(|()| self.swap(&fresh, there.is_some()));
        if made.is_err() {
            // The error that is told is the one that came first.
            let _ = Machine.remove(&fresh);
        }
        made?;
        Machine.sync_folder(folder)?;
        Ok(Put::Changed)
    }

    fn fill(&self, fresh: &Path, text: &str, mode: u32, there: Option<&fs::Metadata>) -> io::Result<()> {
        Machine.write_new(fresh, text.as_bytes(), mode & 0o600)?;
        let own = fs::metadata(fresh)?;
        let old = there.filter(|there| there.uid() != own.uid() || there.gid() != own.gid());
        if self.owner != Owner::default() {
            Machine.give(fresh, self.owner)?;
        } else if let Some(old) = old {
            // Only root may give files away; the content is what matters.
            let _ = Machine.give(fresh, Owner { user: Some(old.uid()), group: Some(old.gid()) });
        }
        // Given away first, opened for others then.
        fs::set_permissions(fresh, fs::Permissions::from_mode(mode))
    }

    fn swap(&self, fresh: &Path, replaces: bool) -> io::Result<()> {
        if replaces && self.backup == Backup::Kept {
            let mut name = self.path.clone().into_os_string();
            name.push(".bak");
            Machine.remove(Path::new(&name))?;
            fs::hard_link(&self.path, &name)?;
        }
        Machine.rename(fresh, &self.path)
    }
}

/// Writes what `writeToFile` was given.
pub(super) fn put_pieces(pieces: &[Piece]) -> Result<Put, String> {
    let mut whole: Vec<(Piece, String)> = Vec::new();
    for piece in pieces {
        match whole.iter_mut().find(|(earlier, _)| earlier.path == piece.path) {
            Some((_, text)) if piece.appended => text.push_str(&piece.text),
            Some((_, text)) => piece.text.as_str().clone_into(text),
            None => whole.push((piece.clone(), piece.text.to_string())),
        }
    }
    let mut put = Put::Same;
    for (piece, text) in whole {
        let put_piece = plan(&piece)?.put(&text);
        if put_piece.map_err(|why| format!("writeToFile {}: {why}", piece.path.display()))? == Put::Changed {
            put = Put::Changed;
        }
    }
    Ok(put)
}

fn plan(piece: &Piece) -> Result<FilePlan, String> {
    let shown = piece.path.display();
    let digits = piece.perms.trim_start_matches("0o");
    let mode = u32::from_str_radix(digits, 8)
        .map_err(|_| format!("writeToFile {shown}: its mode must be written like \"0600\""))?;
    let named = |name: &str, find: fn(&str) -> Result<u32, String>| match name {
        "" => Ok(None),
        // The name is not repeated: it may have been worked out from a secret.
        name => find(name)
            .map(Some)
            .map_err(|_| format!("writeToFile {shown}: its user or group is not known here")),
    };
    let owner = Owner { user: named(&piece.user, owner::user)?, group: named(&piece.group, owner::group)? };
    let path = piece.path.clone();
    Ok(FilePlan { path, mode: Some(mode), owner, folders: Folders::Made, backup: Backup::Dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_keeps_its_mode() {
        let folder = std::env::temp_dir().join(format!("keep-target-{}", std::process::id()));
        let path = folder.join("deep/file");
        let plan = FilePlan {
            path: path.clone(),
            mode: None,
            owner: Owner::default(),
            folders: Folders::Made,
            backup: Backup::Kept,
        };
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(plan.put("one"), Ok(Put::Changed));
        assert_eq!(mode(), 0o600);
        assert_eq!(plan.put("one"), Ok(Put::Same));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(plan.put("two"), Ok(Put::Changed));
        assert_eq!(
            (mode(), fs::read_to_string(folder.join("deep/file.bak")).unwrap().as_str()),
            (0o640, "one")
        );
        let lost = FilePlan { path: folder.join("no/where"), folders: Folders::Required, ..plan };
        assert!(lost.put("x").is_err_and(|why| why.contains("there must be such a folder")));
        fs::remove_dir_all(&folder).unwrap();
    }
}
