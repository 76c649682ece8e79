//! The file system as the agent uses it. Small, so that a twin for tests that dies or fills up at any step is one page.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

/// Nothing that the agent reads is larger: keys, certificates, credentials.
const FILE_SIZE_MAX: u64 = 1024 * 1024;
/// The bits of a mode that are for everybody else.
const OTHERS: u32 = 0o007;

/// Who owns what the agent writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// A folder that one process alone writes in. It is free again when this is dropped, and when the process ends in any way.
pub(crate) struct Lock(Option<File>);

impl Lock {
    /// The lock of a disk that nobody shares.
    #[cfg(test)]
    pub(crate) fn alone() -> Lock {
        Lock(None)
    }

    /// Whether it still is the lock of what lies there: a folder that was taken away and made again is another.
    pub(crate) fn is_of(&self, folder: &Path) -> bool {
        let Some(file) = &self.0 else { return true };
        let (Ok(held), Ok(there)) = (file.metadata(), fs::metadata(folder)) else { return false };
        (held.dev(), held.ino()) == (there.dev(), there.ino())
    }
}

/// A file system.
pub(crate) trait Disk {
    /// Makes a folder and those above it; one that is there is left as it is.
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Writes a file that is not there yet, durably.
    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Gives a file or folder to somebody.
    fn give(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// Takes the rights of users who are neither owner nor in the group. Whether there were any.
    fn close(&self, path: &Path) -> io::Result<bool>;
    /// Makes the entries of a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Moves in one step, over what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link.
    fn link(&self, target: &Path, at: &Path) -> io::Result<()>;
    /// Takes away a file, a link or a folder with all in it; what is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>>;
    /// Where a symbolic link points.
    fn target(&self, path: &Path) -> io::Result<PathBuf>;
    /// The names in a folder.
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes this process the only one that writes in a folder. `WouldBlock` if another is, `Unsupported` if this file
    /// system cannot say.
    fn lock(&self, folder: &Path) -> io::Result<Lock>;
}

/// The machine's own.
pub(crate) struct Machine;

impl Disk for Machine {
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        std::os::unix::fs::lchown(path, owner.user, owner.group)
    }

    fn close(&self, path: &Path) -> io::Result<bool> {
        // What is looked at is what is changed: whoever owns the folder may put a link to another file there meanwhile.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let mode = file.metadata()?.mode();
        if mode & OTHERS == 0 {
            return Ok(false);
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777 & !OTHERS))?;
        Ok(file.metadata()?.mode() & OTHERS == 0)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        symlink(target, at)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(e) => Err(e),
        };
        removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_SIZE_MAX {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn lock(&self, folder: &Path) -> io::Result<Lock> {
        let file = File::open(folder)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(Some(file))),
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Err(e.into()),
            Err(e) => Err(io::Error::new(ErrorKind::Unsupported, e)),
        }
    }
}

/// Makes durable which files a folder has. Network file systems have their own ways to that, and refuse to be asked.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all().or_else(|error| if refuses_sync(&error) { Ok(()) } else { Err(error) })
}

/// Whether a file system says that folders are nothing to make durable, as CIFS does.
fn refuses_sync(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refusals = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| refusals.contains(&errno))
}

/// A file as text without the newline at its end, for credentials.
pub(crate) fn read_text(disk: &dyn Disk, path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = disk.read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is no text", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Writes a file in place of any other, so that a crash leaves the old one or the new one.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is no path of a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let fresh = folder.join(format!(".{}.new", name.to_string_lossy()));
    disk.remove(&fresh)?;
    let made = disk.write_new(&fresh, bytes, mode).and_then(|()| disk.rename(&fresh, path));
    if made.is_err() {
        // Half a file helps nobody; the error that is told is the one that came first.
        let _ = disk.remove(&fresh);
    }
    made?;
    disk.sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_file_system_that_syncs_no_folders_is_no_failure() {
        for errno in [Errno::INVAL, Errno::NOTSUP, Errno::NOSYS] {
            assert!(refuses_sync(&errno.into()), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::DQUOT] {
            assert!(!refuses_sync(&errno.into()), "{errno}");
        }
        assert!(sync_folder(&std::env::temp_dir()).is_ok());
        assert!(sync_folder(Path::new("/nowhere")).is_err());
    }
}
