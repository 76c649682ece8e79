use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::hmac;
use kit::{Error, Result, Time};

/// How often it is looked whether the file of a device is still the one at its path.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where audit lines go.
pub(crate) struct Device {
    pub(crate) path: String,
    key: hmac::Key,
    pub(crate) options: Options,
    sink: Mutex<Sink>,
}

/// What can be set on a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    target: Target,
    mode: u32,
    prefix: String,
    /// Nothing is hashed.
    pub(crate) log_raw: bool,
    /// Accessors are hashed too.
    pub(crate) hmac_accessor: bool,
    /// Lists are written as their length.
    pub(crate) elide_list_responses: bool,
}

#[derive(Clone, Debug, Default)]
enum Target {
    #[default]
    Discard,
    Stdout,
    File(PathBuf),
}

/// An open target. Nothing: it could not be opened, and lines are refused until it can.
struct Sink {
    file: Option<File>,
    looked: Time,
}

/// Hashes what a line shows.
pub(crate) enum Hasher<'a> {
    /// With the key of a device.
    Keyed(&'a hmac::Key),
    /// Not at all: the device logs raw.
    Raw,
    /// For tests.
    #[cfg(test)]
    Fixed(&'static str),
}

impl Options {
    /// Reads the options of a device of type `file`.
    ///
    /// # Errors
    /// With the option that is wrong, and what would be right.
    pub(crate) fn parse(options: &BTreeMap<String, String>, allow_prefix: bool) -> Result<Self> {
        let flag = |name: &str, default: bool| match options.get(name).map(String::as_str) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0" | "") => Ok(false),
            Some(other) => {
                Err(Error::invalid(format!("the audit option {name:?} must be true or false, not {other:?}")))
            }
        };
        let path = options.get("file_path").or_else(|| options.get("path")).map(String::as_str);
        let target = match path {
            None | Some("") => return Err(Error::invalid("file_path is required")),
            Some("stdout") => Target::Stdout,
            Some("discard") => Target::Discard,
            Some(path) => Target::File(PathBuf::from(path)),
        };
        if let Some(format) = options.get("format").filter(|format| !matches!(format.as_str(), "" | "json")) {
            return Err(Error::invalid(format!(
                "unknown format type {format:?}; this server writes \"json\""
            )));
        }
        let prefix = options.get("prefix").cloned().unwrap_or_default();
        if !prefix.is_empty() && !allow_prefix {
            return Err(Error::invalid(
                "audit log prefixing is not allowed; set allow_audit_log_prefixing in the server's configuration",
            ));
        }
        let mode = match options.get("mode").map(String::as_str) {
            None | Some("") => 0o600,
            Some(text) => u32::from_str_radix(text, 8).map_err(|_| {
                Error::invalid(format!("the audit option \"mode\" must be octal, like 0600, not {text:?}"))
            })?,
        };
        Ok(Self {
            target,
            mode,
            prefix,
            log_raw: flag("log_raw", false)?,
            hmac_accessor: flag("hmac_accessor", true)?,
            elide_list_responses: flag("elide_list_responses", false)?,
        })
    }
}

impl Device {
    /// Opens a device. One that does not open is kept, and refuses lines until it does.
    pub(crate) fn open(path: &str, key: &[u8], options: Options) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let file = match &options.target {
            Target::File(at) => match open_file(at, options.mode) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::error!(device = path, file = %at.display(), %error, "an audit device does not open");
                    None
                }
            },
            _ => None,
        };
        Self { path: path.to_owned(), key, options, sink: Mutex::new(Sink { file, looked: Time(0) }) }
    }

    /// Writes one line, or nothing of it.
    pub(crate) fn write(&self, line: &[u8], now: Time) -> io::Result<()> {
        let prefixed;
        let line = if self.options.prefix.is_empty() {
            line
        } else {
            prefixed = [self.options.prefix.as_bytes(), line].concat();
            &prefixed
        };
        match &self.options.target {
            Target::Discard => Ok(()),
            Target::Stdout => io::stdout().lock().write_all(line),
            Target::File(path) => {
                let mut sink = self.sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.look(&mut sink, path, now)?;
                let file = sink.file.as_mut().ok_or_else(|| io::Error::other("the file is not open"))?;
                append(file, line)
            }
        }
    }

    /// Notices within a second that the file was moved or removed, and opens the one at its path.
    fn look(&self, sink: &mut Sink, path: &Path, now: Time) -> io::Result<()> {
        if sink.file.is_some() && sink.looked.until(now) < LOOK_EVERY {
            return Ok(());
        }
        sink.looked = now;
        let there = std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let ours =
            sink.file.as_ref().and_then(|file| file.metadata().ok()).map(|meta| (meta.dev(), meta.ino()));
        if ours.is_some() && ours == there {
            return Ok(());
        }
        if ours.is_some() {
            tracing::warn!(device = self.path, file = %path.display(), "an audit file has gone from its path; it is opened anew");
        }
        sink.file = None;
        sink.file = Some(open_file(path, self.options.mode)?);
        Ok(())
    }

    /// Opens the file anew, as SIGHUP asks after a rotation.
    pub(crate) fn reopen(&self) {
        if let Target::File(path) = &self.options.target {
            let mut sink = self.sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sink.file = None;
            match open_file(path, self.options.mode) {
                Ok(file) => sink.file = Some(file),
                Err(error) => {
                    tracing::error!(device = self.path, %error, "an audit file does not open again")
                }
            }
        }
    }

    /// What hashes values for this device.
    pub(crate) fn hasher(&self) -> Hasher<'_> {
        if self.options.log_raw { Hasher::Raw } else { Hasher::Keyed(&self.key) }
    }

    /// What `sys/audit-hash` shows.
    pub(crate) fn hash(&self, input: &str) -> String {
        let mut out = Vec::with_capacity(76);
        keyed(&self.key, input.as_bytes(), &mut out);
        String::from_utf8(out).expect("hex is text")
    }
}

impl Hasher<'_> {
    /// The hash of a string, as JSON.
    pub(crate) fn text(&self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Raw => crate::audit::line::quote(text, out),
            Self::Keyed(key) => {
                out.push(b'"');
                keyed(key, text.as_bytes(), out);
                out.push(b'"');
            }
            #[cfg(test)]
            Self::Fixed(mark) => out.extend_from_slice(format!("\"{mark}\"").as_bytes()),
        }
    }

    /// The hash of a string, as it is.
    pub(crate) fn plain(&self, text: &str) -> String {
        match self {
            Self::Raw => text.to_owned(),
            Self::Keyed(key) => {
                let mut out = Vec::new();
                keyed(key, text.as_bytes(), &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
            #[cfg(test)]
            Self::Fixed(mark) => (*mark).to_owned(),
        }
    }

    /// The hash of what a JSON string stands for.
    pub(crate) fn hash_json_string(&self, json: &[u8], out: &mut Vec<u8>) {
        if matches!(self, Self::Raw) {
            out.extend_from_slice(json);
            return;
        }
        let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        match std::str::from_utf8(inner) {
            Ok(text) if !inner.contains(&b'\\') => self.text(text, out),
            _ => match serde_json::from_slice::<String>(json) {
                Ok(text) => self.text(&text, out),
                Err(_) => self.text(&String::from_utf8_lossy(inner), out),
            },
        }
    }
}

/// Appends the keyed hash of a value: `hmac-sha256:` and 64 hex digits. A request pays for it many times.
fn keyed(key: &hmac::Key, input: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; 64];
    hex::encode_to_slice(hmac::sign(key, input), &mut digits).expect("SHA-256 has 32 bytes");
    out.extend_from_slice(b"hmac-sha256:");
    out.extend_from_slice(&digits);
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
