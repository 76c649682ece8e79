//! The log: lines of text or JSON on standard error or in a file. No secret ever gets here; see the types.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Format, Level, Log};
use crate::run::Failure;
use crate::world;

/// The log, to be changed while the server runs.
pub(crate) struct Logs {
    level: reload::Handle<LevelFilter, Registry>,
    sink: Sink,
}

#[derive(Clone)]
enum Sink {
    Standard,
    File(PathBuf, Arc<Mutex<File>>),
}

impl Logs {
    /// Begins to log.
    pub(crate) fn begin(wanted: &Log) -> Result<Self, Failure> {
        let sink = match &wanted.file {
            None => Sink::Standard,
            Some(path) => {
                let file = append(path).map_err(|error| {
                    Failure::start(format!("the log file {} cannot be written: {error}", path.display()))
                })?;
                Sink::File(path.clone(), Arc::new(Mutex::new(file)))
            }
        };
        let (filter, level) = reload::Layer::new(filter(wanted.level));
        let lines = tracing_subscriber::fmt::layer()
            .with_timer(Clock)
            .with_ansi(false)
            .with_target(wanted.level != Level::Info)
            .with_writer(sink.clone());
        let lines: Box<dyn Layer<_> + Send + Sync> = match wanted.format {
            Format::Text => Box::new(lines),
            Format::Json => Box::new(lines.json().flatten_event(true)),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init()
            .map_err(|error| Failure::start(format!("logging cannot begin: {error}")))?;
        Ok(Self { level, sink })
    }

    /// Logs more or less from now on.
    pub(crate) fn set_level(&self, level: Level) {
        if let Err(error) = self.level.reload(filter(level)) {
            tracing::error!(%error, "the log level stays as it was");
        }
    }

    /// Opens the file anew, as after a rotation.
    pub(crate) fn reopen(&self) {
        if let Sink::File(path, current) = &self.sink {
            match append(path) {
                Ok(file) => *current.lock().unwrap_or_else(PoisonError::into_inner) = file,
                Err(error) => {
                    tracing::error!(%error, "the log file cannot be opened anew; the old one is written on")
                }
            }
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    }
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        // Milliseconds are enough, and of equal width.
        let now = world::now();
        let millis = now.0 / 1_000_000 % 1_000;
        let seconds = now.truncated().rfc3339();
        write!(writer, "{}.{millis:03}Z", seconds.trim_end_matches('Z'))
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line on its way.
struct Line<'a>(&'a Sink);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Sink::Standard => io::stderr().write(bytes),
            Sink::File(_, file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
