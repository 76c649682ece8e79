//! The folder that `file` may read in, and no way out of it: not by `..`, not by a link, and not by a link that is put in
//! the way while it is looked at.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open, openat};

/// No file that a template reads is larger.
const FILE_SIZE_MAX: u64 = 16 * 1024 * 1024;
/// How a file is opened: without waiting for whoever may be at its other end.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sandbox(PathBuf);

impl Sandbox {
    pub(crate) fn at(folder: PathBuf) -> Sandbox {
        Sandbox(folder)
    }

    /// Whether a path leads into it, as things are now. What is not there yet is judged by its name.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let climbs = path.components().any(|part| part == Component::ParentDir);
        !climbs && real(path).starts_with(real(&self.0))
    }

    /// What a file in it says.
    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        let (root, real) = (self.0.canonicalize()?, path.canonicalize()?);
        let outside = |_| io::Error::new(ErrorKind::PermissionDenied, "it lies outside of sandbox_path");
        text(beneath(&root, real.strip_prefix(&root).map_err(outside)?)?)
    }
}

/// What a file says, wherever it lies.
pub(super) fn read(path: &Path) -> io::Result<String> {
    text(File::from(open(path, FILE, Mode::empty())?))
}

/// A pipe that nobody writes into would hold up everything that the agent does.
fn text(file: File) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    file.take(FILE_SIZE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_SIZE_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(text)
}

/// Opens what has no link on its way: links were followed before, so one that is there now was put there since.
fn beneath(root: &Path, inner: &Path) -> io::Result<File> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = FILE.union(OFlags::NOFOLLOW);
    let mut at: OwnedFd = open(root, folder, Mode::empty())?;
    let mut names = inner.components().peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { folder | OFlags::NOFOLLOW } else { file };
        at = openat(&at, name.as_os_str(), flags, Mode::empty())?;
    }
    Ok(File::from(at))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_link_that_is_put_there_while_it_is_looked_at_leads_nowhere() {
        let folder = std::env::temp_dir().join(format!("keep-sandbox-{}", std::process::id()));
        let (inside, outside) = (folder.join("in"), folder.join("out"));
        for (place, text) in [(inside.join("deep"), "ours"), (outside.join("deep"), "theirs")] {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("file"), text).unwrap();
            fs::write(place.parent().unwrap().join("file"), text).unwrap();
        }
        let sandbox = Sandbox::at(inside.clone());
        let read = |path: &str| sandbox.read(&inside.join(path));
        symlink("deep/file", inside.join("link")).unwrap();
        symlink(outside.join("file"), inside.join("away")).unwrap();
        symlink(&outside, inside.join("off")).unwrap();
        assert_eq!((read("file").unwrap(), read("link").unwrap()), ("ours".to_owned(), "ours".to_owned()));
        for (path, is_there) in [("away", true), ("off/file", true), ("../out/file", true), ("none", false)] {
            assert_eq!(sandbox.holds(&inside.join(path)), !is_there, "{path}");
            assert!(read(path).is_err(), "{path}");
        }
        let pipe = inside.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for read in [sandbox.read(&pipe), super::read(&pipe)] {
            assert!(read.unwrap_err().to_string().contains("no regular file"));
        }
        // What was found a moment ago is a link by now, itself or on its way.
        let root = inside.canonicalize().unwrap();
        for (path, swapped, to) in [("file", "file", "out/file"), ("deep/file", "deep", "out/deep")] {
            assert!(beneath(&root, Path::new(path)).is_ok(), "{path}");
            fs::rename(inside.join(swapped), folder.join(format!("was-{swapped}"))).unwrap();
            symlink(folder.join(to), inside.join(swapped)).unwrap();
            assert!(beneath(&root, Path::new(path)).is_err(), "{path}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
