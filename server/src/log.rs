//! The log: lines of text or JSON on standard error or in a file. No secret ever gets here; see the types.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Format, Level, Log};
use crate::run::Failure;
use crate::world;
use taps::Taps;

mod taps;

pub(crate) use taps::Feed;

/// The log, to be changed while the server runs.
pub(crate) struct Logs {
    filter: reload::Handle<Targets, Registry>,
    levels: Mutex<Levels>,
    sink: Sink,
    taps: Taps,
}

/// How much is logged: as the configuration says, and where it was changed since.
struct Levels {
    configured: Level,
    all: Option<Level>,
    parts: BTreeMap<&'static str, Level>,
}

#[derive(Clone)]
enum Sink {
    Standard,
    File(PathBuf, Arc<Mutex<File>>),
}

/// The parts of the server that log, and where their lines come from.
const PARTS: [(&str, &[&str]); 8] = [
    ("audit", &["kernel::audit"]),
    ("auth", &["auth"]),
    ("core", &["kernel", "sealkeep"]),
    ("expiration", &["kernel::tick"]),
    ("policy", &["policy"]),
    ("quotas", &["kernel::quotas"]),
    ("secrets", &["engines"]),
    ("storage", &["storage"]),
];

impl Levels {
    fn of(&self, part: &str) -> Level {
        self.parts.get(part).copied().or(self.all).unwrap_or(self.configured)
    }

    fn targets(&self) -> Targets {
        let mut targets = Targets::new().with_default(filter(self.all.unwrap_or(self.configured)));
        for (part, modules) in PARTS {
            if let Some(level) = self.parts.get(part) {
                let changed = modules.iter().map(|module| ((*module).to_owned(), filter(*level)));
                targets = targets.with_targets(changed);
            }
        }
        targets
    }
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
        let levels = Levels { configured: wanted.level, all: None, parts: BTreeMap::new() };
        let (targets, filter) = reload::Layer::new(levels.targets());
        let lines = tracing_subscriber::fmt::layer()
            .with_timer(Clock)
            .with_ansi(false)
            .with_target(wanted.level != Level::Info)
            .with_writer(sink.clone());
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match wanted.format {
            Format::Text => Box::new(lines.with_filter(targets)),
            Format::Json => Box::new(lines.json().flatten_event(true).with_filter(targets)),
        };
        let (taps, tapped) = Taps::new();
        let layers: Vec<_> = std::iter::once(lines).chain(tapped).collect();
        tracing_subscriber::registry()
            .with(layers)
            .try_init()
            .map_err(|error| Failure::start(format!("logging cannot begin: {error}")))?;
        Ok(Self { filter, levels: Mutex::new(levels), sink, taps })
    }

    /// Logs as a changed configuration says.
    pub(crate) fn set_level(&self, level: Level) {
        self.change(|levels| levels.configured = level);
    }

    /// How much each part logs.
    pub(crate) fn levels(&self) -> BTreeMap<String, String> {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        PARTS.iter().map(|(part, _)| ((*part).to_owned(), levels.of(part).word().to_owned())).collect()
    }

    /// Has a part log more or less; without a name all of them, without a level as the configuration says. False: there is
    /// no such part.
    pub(crate) fn set_part(&self, part: Option<&str>, level: Option<Level>) -> bool {
        let Some(name) = part else {
            self.change(|levels| {
                levels.all = level;
                levels.parts.clear();
            });
            return true;
        };
        let Some((known, _)) = PARTS.iter().find(|(known, _)| *known == name) else { return false };
        self.change(|levels| match level {
            Some(level) => drop(levels.parts.insert(known, level)),
            None => drop(levels.parts.insert(known, levels.configured)),
        });
        true
    }

    /// Lines as they come, from this level on. `None`: too many are watching already.
    pub(crate) fn watch(&self, level: Level, format: Format) -> Option<Feed> {
        self.taps.watch(filter(level), format)
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels);
        if let Err(error) = self.filter.reload(levels.targets()) {
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

pub(crate) struct Clock;

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
