use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::{Error, Result, Time};

use crate::audit::options::Given;

/// How often it is looked whether the file of a device is still the one at its path.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a device of type `file` writes to.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// Nowhere.
    Discard,
    /// A file with these permissions; 0: as they are.
    File(PathBuf, u32),
}

/// An open spot. The thread of a request writes to it, for `write(2)` to a file does not wait.
pub(crate) struct FileSink {
    spot: Spot,
    open: Mutex<Opened>,
}

/// Nothing: it could not be opened, and lines are refused until it can.
struct Opened {
    file: Option<File>,
    looked: Time,
}

impl Spot {
    /// Reads the options of a file; nothing, if that is the output of the server.
    pub(crate) fn read(given: &Given<'_>) -> Result<Option<Self>> {
        let path = match given.text("file_path") {
            "" => given.text("path"),
            path => path,
        };
        let mode = match given.text("mode") {
            "" => 0o600,
            text => u32::from_str_radix(text, 8).map_err(|_| {
                Error::invalid(format!("the audit option \"mode\" must be octal, like 0600, not {text:?}"))
            })?,
        };
        if mode & 0o111 != 0 {
            return Err(Error::invalid(format!(
                "the audit option \"mode\" must not make the file a program: leave out the executable bits of {mode:04o}, as in {:04o}",
                mode & !0o111
            )));
        }
        Ok(match path {
            "" => return Err(Error::invalid("file_path is required")),
            "stdout" => None,
            "discard" => Some(Self::Discard),
            path => Some(Self::File(PathBuf::from(path), mode)),
        })
    }
}

impl FileSink {
    /// Opens it. One that does not open is kept, and refuses lines until it does.
    pub(crate) fn open(device: &str, spot: Spot) -> Self {
        let file = match &spot {
            Spot::File(path, mode) => match open_file(path, *mode) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::error!(device, file = %path.display(), %error, "an audit device does not open");
                    None
                }
            },
            Spot::Discard => None,
        };
        Self { spot, open: Mutex::new(Opened { file, looked: Time(0) }) }
    }

    /// Writes one line, or nothing of it.
    pub(crate) fn write(&self, device: &str, line: &[u8], now: Time) -> io::Result<()> {
        match &self.spot {
            Spot::Discard => Ok(()),
            Spot::File(path, mode) => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.look(device, path, *mode, now)?;
                let file = open.file.as_mut().ok_or_else(|| io::Error::other("the file is not open"))?;
                append(file, line)
            }
        }
    }

    /// Opens the file anew, as SIGHUP asks after a rotation.
    pub(crate) fn reopen(&self, device: &str) {
        let Spot::File(path, mode) = &self.spot else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.file = None;
        match open_file(path, *mode) {
            Ok(file) => open.file = Some(file),
            Err(error) => tracing::error!(device, %error, "an audit file does not open again"),
        }
    }
}

impl Opened {
    /// Notices within a second that the file was moved or removed, and opens the one at its path.
    fn look(&mut self, device: &str, path: &Path, mode: u32, now: Time) -> io::Result<()> {
        if self.file.is_some() && self.looked <= now && self.looked.until(now) < LOOK_EVERY {
            return Ok(());
        }
        self.looked = now;
        let there = std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let ours =
            self.file.as_ref().and_then(|file| file.metadata().ok()).map(|meta| (meta.dev(), meta.ino()));
        if ours.is_some() && ours == there {
            return Ok(());
        }
        if ours.is_some() {
            tracing::warn!(device, file = %path.display(), "an audit file has gone from its path; it is opened anew");
        }
        self.file = None;
        self.file = Some(open_file(path, mode)?);
        Ok(())
    }
}

fn open_file(path: &Path, mode: u32) -> io::Result<File> {
    // A pipe without a reader, or one that is full, must refuse lines and not hold the server up.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    options.append(true).create(true).custom_flags(nonblock);
    let file = options.mode(if mode == 0 { 0o600 } else { mode }).open(path)?;
    if mode != 0 && file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// All of the line, or nothing: what a full disk took of it is cut off again.
fn append(file: &mut File, line: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < line.len() {
        match file.write(line.get(written..).unwrap_or_default()) {
            Ok(0) => return undo(file, written, io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return undo(file, written, error),
        }
    }
    Ok(())
}

fn undo(file: &mut File, written: usize, error: io::Error) -> io::Result<()> {
    if written > 0
        && let Ok(meta) = file.metadata()
        && meta.is_file()
    {
        file.set_len(meta.len().saturating_sub(written as u64))?;
    }
    Err(error)
}
