//! What a run writes on this machine, so that one that leads to nothing leaves everything as it was: a configuration that
//! cannot work would be run by the agent, and one that worked must go on working.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::get::CONFIG_MODE;
use crate::agent::disk::{self, Disk, Machine};

/// The paths of a run, and what lay there before.
pub(super) struct Litter {
    fresh: Vec<PathBuf>,
    /// The folders above those that were not there, the innermost first.
    folders: Vec<PathBuf>,
    before: Vec<(PathBuf, Zeroizing<Vec<u8>>)>,
}

impl Litter {
    /// Remembers what lies at these paths.
    pub(super) fn watch(paths: impl IntoIterator<Item = PathBuf>) -> Litter {
        let (there, fresh): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| path.symlink_metadata().is_ok());
        // What is there and cannot be read cannot be overwritten either; a folder is not.
        let before = there.into_iter().filter_map(|path| Some((path.clone(), Machine.read(&path).ok()?)));
        let above = fresh.iter().flat_map(|path| path.ancestors().skip(1));
        let missing = above.filter(|folder| folder.symlink_metadata().is_err()).map(Path::to_owned);
        let mut folders: Vec<PathBuf> = missing.collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
        folders.dedup();
        Litter { before: before.collect(), fresh, folders }
    }

    /// Takes away what came since and puts back what is another. Whether anything was, or the path at which that failed.
    pub(super) fn clear(&self) -> Result<bool, PathBuf> {
        let mut cleared = false;
        for path in self.fresh.iter().filter(|path| path.symlink_metadata().is_ok()) {
            Machine.remove(path).map_err(|_| path.clone())?;
            cleared = true;
        }
        for (path, text) in &self.before {
            if Machine.read(path).is_ok_and(|now| now == *text) {
                continue;
            }
            disk::replace(&Machine, path, text, CONFIG_MODE).map_err(|_| path.clone())?;
            cleared = true;
        }
        for folder in &self.folders {
            // One that somebody else uses by now stays.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(cleared)
    }
}
