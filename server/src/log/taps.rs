//! The log as it is written, for those who watch it over `sys/monitor`.

use std::any::Any;
use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{broadcast, mpsc};
use tracing::Metadata;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Layer, Registry, reload};

use super::Clock;
use crate::config::Format;

/// How many may watch at once.
const WATCHERS_MAX: usize = 16;
/// How many lines wait for a slow watcher; later ones pass it by.
const LINES_MAX: usize = 512;

/// Where watchers get their lines from. Without watchers no line is made.
pub(super) struct Taps {
    lines: broadcast::Sender<Line>,
    watchers: Arc<Watchers>,
}

#[derive(Clone)]
struct Line {
    level: LevelFilter,
    format: Format,
    text: Bytes,
}

struct Watchers {
    filters: Vec<reload::Handle<LevelFilter, Registry>>,
    levels: Mutex<Vec<LevelFilter>>,
}

/// What one watcher is sent: the body of an answer that does not end.
pub(crate) struct Feed {
    lines: mpsc::Receiver<Bytes>,
    _watching: Watching,
    /// What must not end before it does.
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl Feed {
    /// Keeps this until the watcher is gone.
    pub(crate) fn hold(&mut self, thing: Box<dyn Any + Send + Sync>) {
        self.held = Some(thing);
    }
}

/// Ends with the watcher.
struct Watching {
    watchers: Arc<Watchers>,
    level: LevelFilter,
}

type Tapped = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

impl Taps {
    /// The taps, and the layers that feed them.
    pub(super) fn new() -> (Self, Tapped) {
        let (lines, _) = broadcast::channel(LINES_MAX);
        let mut layers: Tapped = Vec::new();
        let mut filters = Vec::new();
        for format in [Format::Text, Format::Json] {
            let (off, handle) = reload::Layer::new(LevelFilter::OFF);
            filters.push(handle);
            let writer = Tap { lines: lines.clone(), format };
            let layer =
                tracing_subscriber::fmt::layer().with_timer(Clock).with_ansi(false).with_writer(writer);
            layers.push(match format {
                Format::Text => Box::new(layer.with_filter(off)),
                Format::Json => Box::new(layer.json().flatten_event(true).with_filter(off)),
            });
        }
        let watchers = Arc::new(Watchers { filters, levels: Mutex::default() });
        (Self { lines, watchers }, layers)
    }

    /// Lines from this level on.
    pub(super) fn watch(&self, level: LevelFilter, format: Format) -> Option<Feed> {
        let watching = Watching::begin(&self.watchers, level)?;
        let mut all = self.lines.subscribe();
        let (sender, lines) = mpsc::channel(LINES_MAX);
        tokio::spawn(async move {
            loop {
                let line = match all.recv().await {
                    Ok(line) if line.format == format && line.level <= level => line.text,
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Lagged(count)) => {
                        Bytes::from(format!("({count} lines are left out: they came too fast)\n"))
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Some(Feed { lines, _watching: watching, held: None })
    }
}

impl Watching {
    fn begin(watchers: &Arc<Watchers>, level: LevelFilter) -> Option<Self> {
        let mut levels = watchers.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= WATCHERS_MAX {
            return None;
        }
        levels.push(level);
        watchers.apply(&levels);
        drop(levels);
        Some(Self { watchers: Arc::clone(watchers), level })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut levels = self.watchers.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = levels.iter().position(|level| *level == self.level) {
            levels.swap_remove(place);
        }
        self.watchers.apply(&levels);
    }
}

impl Watchers {
    fn apply(&self, levels: &[LevelFilter]) {
        let most = levels.iter().copied().max().unwrap_or(LevelFilter::OFF);
        // A filter that is gone has no lines to filter.
        self.filters.iter().for_each(|filter| drop(filter.reload(most)));
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.lines.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

struct Tap {
    lines: broadcast::Sender<Line>,
    format: Format,
}

/// One line on its way.
pub(super) struct Draft<'a> {
    tap: &'a Tap,
    level: LevelFilter,
}

impl<'a> MakeWriter<'a> for Tap {
    type Writer = Draft<'a>;

    fn make_writer(&'a self) -> Draft<'a> {
        Draft { tap: self, level: LevelFilter::INFO }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Draft<'a> {
        Draft { tap: self, level: LevelFilter::from_level(*meta.level()) }
    }
}

impl Write for Draft<'_> {
    /// A line comes whole.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = Bytes::copy_from_slice(bytes);
        // Nobody may be watching any more.
        let _ = self.tap.lines.send(Line { level: self.level, format: self.tap.format, text });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
