use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::hmac;
use kit::{Error, Result, Time, World};
use quick_cache::sync::Cache;

use crate::audit::AuditEntry;
use crate::audit::file::FileSink;
use crate::audit::http::Web;
use crate::audit::line::TokenPart;
use crate::audit::options::{self, Options, Target};
use crate::audit::output::{self, Output};
use crate::audit::queue::{Queue, Receipt};
use crate::audit::socket::Socket;
use crate::audit::syslog::{self, Syslog};
use crate::tokens::Known;

/// Of so many tokens a device keeps what its lines say of them; of the others it is worked out each time.
const BEARERS_MAX: usize = 2048;

/// Where audit lines go.
pub(crate) struct Device {
    pub(crate) path: String,
    pub(crate) options: Options,
    key: hmac::Key,
    sink: Sink,
    /// By the number of the token.
    bearers: Cache<u64, Arc<TokenPart>>,
    refused: AtomicU64,
}

enum Sink {
    /// Takes a line at once, or refuses it.
    File(FileSink),
    /// Takes it when it can.
    Queue(Queue),
    /// Takes none, for this reason.
    Broken(String),
}

/// What a device did with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Took {
    /// It is written.
    Written,
    /// It is in the queue; a receipt tells the rest.
    Queued,
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

impl Device {
    /// Opens the device of an entry. A file that does not open is kept, and refuses lines until it does.
    ///
    /// # Errors
    /// With the type or the option that is wrong, and what would be right.
    pub(crate) fn open(
        entry: &AuditEntry,
        key: &[u8],
        allow_prefix: bool,
        world: &Arc<dyn World>,
    ) -> Result<Self> {
        let (target, options) = options::read(&entry.kind, &entry.options, allow_prefix)?;
        let path = entry.path.as_str();
        let queue = match target {
            Target::File(spot) => Err(FileSink::open(path, spot)),
            Target::Output => Ok(Queue::new(path, output::PATIENCE, Output)),
            Target::Socket(at) => Ok(Queue::new(path, at.write_timeout, Socket::new(at))),
            Target::Syslog(voice) => Ok(Queue::new(path, syslog::TIMEOUT, Syslog::new(voice))),
            Target::Http(post) => {
                Ok(Queue::new(path, post.write_timeout, Web::new(post, Arc::clone(world))?))
            }
        };
        let sink = match queue {
            Err(file) => Sink::File(file),
            Ok(queue) => Sink::Queue(queue.map_err(|error| {
                Error::internal(format!("there is no thread for the audit device {path}: {error}"))
            })?),
        };
        Ok(Self::with(path, options, key, sink))
    }

    /// The device of an entry that cannot be opened as things are: it refuses every line, and the others go on.
    pub(crate) fn broken(path: &str, key: &[u8], why: String) -> Self {
        Self::with(path, Options::default(), key, Sink::Broken(why))
    }

    fn with(path: &str, options: Options, key: &[u8], sink: Sink) -> Self {
        Self {
            path: path.to_owned(),
            options,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            sink,
            bearers: Cache::new(BEARERS_MAX),
            refused: AtomicU64::new(0),
        }
    }

    /// A line as this device wants it to begin.
    pub(crate) fn prefixed(&self, line: Vec<u8>) -> Vec<u8> {
        match self.options.prefix.as_str() {
            "" => line,
            prefix => [prefix.as_bytes(), &line].concat(),
        }
    }

    /// Hands over lines: one, or to a file several in one piece. With a receipt, the device tells there what became
    /// of what it could only queue.
    ///
    /// # Errors
    /// If it is not taken: nothing of it is written.
    pub(crate) fn take(&self, line: Vec<u8>, now: Time, receipt: Option<&Arc<Receipt>>) -> io::Result<Took> {
        match &self.sink {
            Sink::File(file) => {
                file.write(&self.path, &line, now).map(|()| Took::Written).inspect_err(|error| {
                    self.refused.fetch_add(1, Relaxed);
                    tracing::error!(device = self.path, %error, "an audit device refused a line");
                })
            }
            // It says itself when it is full, once and not for each line.
            Sink::Queue(queue) => queue.post(line, now, receipt.cloned()).map(|()| Took::Queued),
            Sink::Broken(why) => {
                self.refused.fetch_add(1, Relaxed);
                Err(io::Error::other(why.clone()))
            }
        }
    }

    /// How long a request that depends on this device waits for it; nothing, if it answers at once.
    pub(crate) fn patience(&self) -> Option<Duration> {
        match &self.sink {
            Sink::File(_) | Sink::Broken(_) => None,
            Sink::Queue(queue) => Some(queue.patience),
        }
    }

    /// Opens its file anew, as SIGHUP asks after a rotation.
    pub(crate) fn reopen(&self) {
        if let Sink::File(file) = &self.sink {
            file.reopen(&self.path);
        }
    }

    /// How many lines it has refused or lost.
    pub(crate) fn lost(&self) -> u64 {
        match &self.sink {
            Sink::File(_) | Sink::Broken(_) => self.refused.load(Relaxed),
            // What a full queue refuses is counted there.
            Sink::Queue(queue) => queue.lost(),
        }
    }

    /// How many lines wait in its queue.
    pub(crate) fn waiting(&self) -> usize {
        match &self.sink {
            Sink::File(_) | Sink::Broken(_) => 0,
            Sink::Queue(queue) => queue.length(),
        }
    }

    /// What lines say of this token. What a raw device says is a secret, and is not kept.
    pub(crate) fn bearer(&self, known: &Known, make: impl FnOnce() -> TokenPart) -> Arc<TokenPart> {
        if self.options.log_raw {
            return Arc::new(make());
        }
        if let Some(bearer) = self.bearers.get(&known.number) {
            return bearer;
        }
        let bearer = Arc::new(make());
        self.bearers.insert(known.number, Arc::clone(&bearer));
        bearer
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
