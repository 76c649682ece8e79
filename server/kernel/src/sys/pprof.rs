//! `sys/pprof`: on what the server spends its processors and its memory.
//!
//! What a Go program tells of its goroutines is told here of threads and tasks, as far as Linux and the runtime know it. Stacks
//! and allocations by place are known to nobody, and nothing here shows memory.

use std::collections::BTreeMap;
use std::fs::{read, read_dir, read_to_string};
use std::sync::Arc;
use std::time::Duration;

use kit::loose::Number;
use kit::{Ask, Error, Fault, Recording, Reply, Result, Route, Time, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use super::profile::{Profile, Row, nanos};
use crate::kernel::Kernel;

/// How long processors are watched if nobody says.
const WATCHED_SECONDS: u64 = 30;
/// And at most: what is asked for takes no longer than any other request.
const WATCHED_SECONDS_MAX: u64 = 55;
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// What takes a secret on the command line.
const SECRET_FLAG: &str = "-dev-root-token-id";
const INDEX: &str = "cmdline       how the server was started\n\
    goroutine     tasks of the runtime; with debug=2 every thread\n\
    heap          memory by what it is for\n\
    profile       time that processors spend in each thread, over seconds=30\n\
    symbol        how many symbols are known: none\n\
    threadcreate  threads by name\n\n\
    With debug=1 each is text; otherwise a file for pprof. Stacks are not known.\n";

/// Shows on what the server spends its processors and its memory, for `go tool pprof` or as text. It answers where the
/// configuration says `profiling_endpoint = true`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Pprof {
    /// Which: `cmdline`, `goroutine`, `heap`, `profile`, `symbol` or `threadcreate`; none lists them.
    #[serde(default)]
    profile: String,
    /// `profile`: how long processors are watched; 30, if left out, and 55 at most.
    #[serde(default)]
    seconds: Number,
    /// 1 or more: as text.
    #[serde(default)]
    debug: Number,
}

/// A thread, as Linux tells of it.
struct Thread {
    id: u64,
    name: String,
    state: char,
    /// Ticks of processors in the program and in the system for it.
    ticks: [u64; 2],
}

impl Ask<Sys> for Pprof {
    const ROUTE: Route = Route::get("pprof/{profile*}").sudo().root_only();
    type Facts = Arc<Kernel>;
    type Heard = (&'static str, Vec<u8>);
    type Reply = kit::Nothing;

    fn facts(&self, engine: &Sys, _: &Recording<'_>) -> Result<Arc<Kernel>> {
        let kernel = engine.kernel()?;
        if !kernel.env.settings.profiling_endpoint {
            return Err(missing(
                "sys/pprof is off: profiling_endpoint = true in the configuration turns it on",
            ));
        }
        Ok(kernel)
    }

    async fn ask(&self, kernel: &Arc<Kernel>, world: &dyn World) -> Result<Self::Heard> {
        let at = world.now();
        let profile = match self.profile.as_str() {
            "" => return Ok((TEXT, INDEX.into())),
            "cmdline" => return Ok((TEXT, without_secret(&read("/proc/self/cmdline").unwrap_or_default()))),
            "symbol" => return Ok((TEXT, "num_symbols: 0\n".into())),
            "goroutine" if self.debug.0 > 1 => return Ok((TEXT, table(&threads()).into())),
            "goroutine" => moment(at, &["goroutine", "count"], tasks()),
            "heap" => moment(at, &["inuse_space", "bytes"], memory(kernel)),
            "threadcreate" => moment(at, &["threadcreate", "count"], by_name(&threads())),
            "profile" => {
                let seconds = u64::try_from(self.seconds.0).unwrap_or(0);
                let seconds = if seconds == 0 { WATCHED_SECONDS } else { seconds.min(WATCHED_SECONDS_MAX) };
                watch(world, Duration::from_secs(seconds)).await
            }
            "allocs" | "block" | "mutex" | "trace" => {
                return Err(missing(
                    "nobody counts these here: there are goroutine, heap, profile, threadcreate",
                ));
            }
            _ => return Err(missing("unsupported path").wrapped()),
        };
        Ok(match self.debug.0 {
            ..=0 => (BYTES, profile.encode()),
            _ => (TEXT, profile.text(&self.profile).into()),
        })
    }

    fn run(self, _: &Sys, heard: &Self::Heard, _: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let (kind, bytes) = heard;
        Ok(Reply::Raw { status: 200, kind, bytes: bytes.clone() })
    }
}

fn missing(text: &str) -> Error {
    Error::new(Fault::NotFound, text)
}

fn moment(at: Time, measure: &'static [&'static str; 2], rows: Vec<Row>) -> Profile {
    Profile {
        measures: std::slice::from_ref(measure),
        rows,
        at,
        span: Duration::ZERO,
        period: Duration::ZERO,
    }
}

fn row(name: &str, value: u64) -> Row {
    Row { frames: vec![name.to_owned()], values: vec![value] }
}

/// The time that processors spend in each thread meanwhile, in the steps in which Linux counts it.
async fn watch(world: &dyn World, span: Duration) -> Profile {
    let at = world.now();
    let before: BTreeMap<u64, [u64; 2]> = threads().iter().map(|thread| (thread.id, thread.ticks)).collect();
    world.pause(span).await;
    let after = threads();
    let step = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    let mut rows = Vec::new();
    for thread in &after {
        let began = before.get(&thread.id).copied().unwrap_or_default();
        for ((what, now), began) in ["program", "system"].iter().zip(thread.ticks).zip(began) {
            let ticks = now.saturating_sub(began);
            let frames =
                vec![(*what).to_owned(), format!("{} {}", thread.name, thread.id), thread.name.clone()];
            if ticks > 0 {
                rows.push(Row { frames, values: vec![ticks, ticks.saturating_mul(nanos(step))] });
            }
        }
    }
    let measures = &[["samples", "count"], ["cpu", "nanoseconds"]];
    let span = Duration::from_nanos(world.now().0.saturating_sub(at.0));
    Profile { measures, rows, at, span, period: step }
}

/// The threads of this process; elsewhere than on Linux none.
fn threads() -> Vec<Thread> {
    let folders = read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = folders.filter_map(|folder| read_to_string(folder.path().join("stat")).ok());
    let mut threads: Vec<Thread> = stats.filter_map(|stat| thread(&stat)).collect();
    threads.sort_unstable_by_key(|thread| thread.id);
    threads
}

/// `42 (name) S 1 …`. The name may hold anything, so what follows is counted from its last bracket.
fn thread(stat: &str) -> Option<Thread> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (id, name) = head.split_once(" (")?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut ticks = fields.skip(10).map_while(|field| field.parse().ok());
    Some(Thread { id: id.parse().ok()?, name: name.to_owned(), state, ticks: [ticks.next()?, ticks.next()?] })
}

fn by_name(threads: &[Thread]) -> Vec<Row> {
    let mut counts = BTreeMap::new();
    threads.iter().for_each(|thread| *counts.entry(thread.name.as_str()).or_insert(0) += 1);
    counts.into_iter().map(|(name, count)| row(name, count)).collect()
}

fn table(threads: &[Thread]) -> String {
    let mut table = "thread\tstate\tticks in the program\tin the system\tname\n".to_owned();
    for Thread { id, name, state, ticks: [program, system] } in threads {
        table.push_str(&format!("{id}\t{state}\t{program}\t{system}\t{name}\n"));
    }
    table
}

/// What the runtime does: its tasks, of which some wait for a worker.
fn tasks() -> Vec<Row> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Vec::new() };
    let metrics = runtime.metrics();
    let (all, queued) = (metrics.num_alive_tasks() as u64, metrics.global_queue_depth() as u64);
    let workers = metrics.num_workers();
    vec![
        row("in the queue of the runtime", queued),
        row(&format!("waiting, or run by one of {workers} workers"), all.saturating_sub(queued)),
    ]
}

/// Memory that is in use, by what it is for.
fn memory(kernel: &Kernel) -> Vec<Row> {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    let cached = kernel.store.cached_bytes();
    vec![
        row("entries and names of the store, still sealed", cached),
        row("everything else that was allocated", bytes("RssAnon").saturating_sub(cached)),
        row("program and files", bytes("RssFile")),
        row("shared", bytes("RssShmem")),
    ]
}

/// The command line, its words divided by zeros, without what is secret in it.
fn without_secret(line: &[u8]) -> Vec<u8> {
    let mut hidden = false;
    let words = line.split(|byte| *byte == 0).map(|word| {
        let text = String::from_utf8_lossy(word);
        let (flag, value) = text.split_once('=').map_or((&*text, None), |(flag, value)| (flag, Some(value)));
        let named =
            flag.starts_with('-') && flag.trim_start_matches('-') == SECRET_FLAG.trim_start_matches('-');
        let shown = match (std::mem::replace(&mut hidden, named && value.is_none()), named, value) {
            (true, ..) => "…".to_owned(),
            (_, true, Some(_)) => format!("{flag}=…"),
            _ => text.clone().into_owned(),
        };
        shown.into_bytes()
    });
    words.collect::<Vec<_>>().join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_may_have_any_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0";
        let thread = thread(stat).unwrap();
        assert_eq!((thread.id, thread.name.as_str(), thread.state), (42, "a) b (c", 'S'));
        assert_eq!(thread.ticks, [77, 88]);
        assert!(super::thread("42 nothing").is_none());
    }

    #[test]
    fn a_command_line_is_shown_without_its_secret() {
        let shown = |line: &str| String::from_utf8(without_secret(line.as_bytes())).unwrap();
        assert_eq!(shown("a\0-dev-root-token-id=secret\0-dev"), "a\0-dev-root-token-id=…\0-dev");
        assert_eq!(shown("a\0--dev-root-token-id\0secret\0-dev"), "a\0--dev-root-token-id\0…\0-dev");
        assert_eq!(shown("a\0-config=x"), "a\0-config=x");
    }
}
