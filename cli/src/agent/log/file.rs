//! The file of a log, and those that were put aside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Rotation;
use crate::agent::moment::Moment;

/// Who may read a log is the group's affair; it holds no secret.
const MODE: u32 = 0o640;
/// A file is put aside after this, unless somebody says otherwise.
const AFTER_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Its name, where only a folder is named.
const NAME: &str = "keep.log";

/// The path of the file, where only its folder may be named.
pub(super) fn whole(path: &Path) -> PathBuf {
    let folder = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if folder { path.join(NAME) } else { path.to_owned() }
}

/// A file that is written to its end.
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<Open>,
    /// Whether it was said that it cannot be written.
    complained: bool,
}

struct Open {
    file: File,
    size: u64,
    since: Moment,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation, now: Moment) -> Result<LogFile, String> {
        let mut log = LogFile { path: whole(path), rotation, open: None, complained: false };
        match log.begin(now) {
            Ok(()) => Ok(log),
            Err(e) => Err(format!(
                "log_file: {} cannot be written: {e}; its folder must be there, and the agent's user must be able to write in it",
                log.path.display()
            )),
        }
    }

    /// Writes a line. That it cannot be written is told once, until it can.
    pub(super) fn write(&mut self, line: &str, now: Moment) -> Result<(), String> {
        match self.put(line, now) {
            Ok(()) => {
                self.complained = false;
                Ok(())
            }
            Err(_) if std::mem::replace(&mut self.complained, true) => Ok(()),
            Err(e) => {
                let path = self.path.display();
                Err(format!("log_file: {path} cannot be written: {e}; is there room? lines are lost there"))
            }
        }
    }

    fn put(&mut self, line: &str, now: Moment) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| self.is_full(open, now)) {
            self.open = None;
            self.put_aside(now)?;
        }
        if self.open.is_none() {
            self.begin(now)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let line = format!("{line}\n");
        open.file.write_all(line.as_bytes())?;
        open.size += line.len() as u64;
        Ok(())
    }

    fn is_full(&self, open: &Open, now: Moment) -> bool {
        let most = self.rotation.bytes.filter(|most| *most > 0);
        most.is_some_and(|most| open.size >= most)
            || now.since(open.since) >= self.rotation.after.unwrap_or(AFTER_DEFAULT)
    }

    fn begin(&mut self, now: Moment) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(&self.path)?;
        let size = file.metadata()?.len();
        self.open = Some(Open { file, size, since: now });
        Ok(())
    }

    /// Renames the file after the moment, and takes away those that are too many.
    fn put_aside(&self, now: Moment) -> io::Result<()> {
        let (stem, end) = self.halves();
        let nanos = now.millis().saturating_mul(1_000_000);
        let free = |nanos: &i64| !self.path.with_file_name(format!("{stem}-{nanos}{end}")).exists();
        let nanos = (nanos..).find(free).unwrap_or(nanos);
        fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{nanos}{end}")))?;
        let most = match self.rotation.kept.unwrap_or(0) {
            0 => return Ok(()),
            kept => usize::try_from(kept).unwrap_or(0),
        };
        let aside = self.aside(&stem, &end)?;
        for old in aside.iter().take(aside.len().saturating_sub(most)) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    /// Those that were put aside, the oldest first; no file that only has a similar name.
    fn aside(&self, stem: &str, end: &str) -> io::Result<Vec<PathBuf>> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let ours = |name: &str| {
            let moment = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(end)?;
            moment.parse::<u64>().ok()
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            if let Some(moment) = ours(&entry.file_name().to_string_lossy()) {
                found.push((moment, entry.path()));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// The name without its end, and the end.
    fn halves(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let end = text(self.path.extension()).map_or_else(|| ".log".to_owned(), |end| format!(".{end}"));
        (text(self.path.file_stem()).unwrap_or_default(), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("keep-log-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        /// The files, with what is in them.
        fn files(&self) -> Vec<(String, String)> {
            let read = |entry: io::Result<fs::DirEntry>| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            };
            let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(read).collect();
            files.sort();
            files
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn at(second: i64) -> Moment {
        Moment::from_seconds(1_700_000_000 + second)
    }

    fn pairs(files: &[(String, String)]) -> Vec<(&str, &str)> {
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let folder = Folder::new("size");
        fs::write(folder.0.join("a.log"), "before\n").unwrap();
        fs::write(folder.0.join("a-other.log"), "mine").unwrap();
        let rotation = Rotation { bytes: Some(10), after: None, kept: Some(2) };
        let mut log = LogFile::open(&folder.0.join("a.log"), rotation, at(0)).unwrap();
        for line in ["one", "two", "three", "four", "fives", "six", "seven"] {
            log.write(line, at(5)).unwrap();
        }
        let expect = [
            ("a-1700000005000000001.log", "two\nthree\n"),
            ("a-1700000005000000002.log", "four\nfives\n"),
            ("a-other.log", "mine"),
            ("a.log", "six\nseven\n"),
        ];
        assert_eq!(pairs(&folder.files()), expect);
    }

    #[test]
    fn a_file_is_put_aside_by_its_age() {
        let folder = Folder::new("age");
        let rotation = Rotation { bytes: None, after: Some(Duration::from_secs(60)), kept: Some(-1) };
        let mut log = LogFile::open(&folder.0, rotation, at(0)).unwrap();
        log.write("one", at(59)).unwrap();
        log.write("two", at(60)).unwrap();
        assert_eq!(pairs(&folder.files()), [("keep.log", "two\n")], "none that was put aside stays");
        let mut log = LogFile::open(&folder.0.join("b"), Rotation::default(), at(0)).unwrap();
        log.write("one", at(24 * 3600 - 1)).unwrap();
        log.write("two", at(24 * 3600)).unwrap();
        assert!(folder.files().iter().any(|(name, _)| name == "b-1700086400000000000.log"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once() {
        let folder = Folder::new("lost");
        let path = folder.0.join("sub");
        let why = LogFile::open(&path.join("a.log"), Rotation::default(), at(0)).err().unwrap();
        assert!(why.contains("its folder must be there"), "{why}");
        fs::create_dir(&path).unwrap();
        let rotation = Rotation { bytes: Some(1), after: None, kept: None };
        let mut log = LogFile::open(&path.join("a.log"), rotation, at(0)).unwrap();
        log.write("one", at(1)).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(log.write("two", at(2)).unwrap_err().contains("lines are lost there"));
        assert_eq!(log.write("three", at(3)), Ok(()));
        fs::create_dir(&path).unwrap();
        log.write("four", at(4)).unwrap();
        assert_eq!(fs::read_to_string(path.join("a.log")).unwrap(), "four\n");
    }
}
