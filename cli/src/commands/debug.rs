use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    call::Call,
    output::{say, warn},
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
};

/// Collect what helps to find out what is wrong with a server, without secrets
///
/// It asks again and again for a while and writes the answers into one archive: the configuration without secrets, the
/// host, health and seal status, metrics, requests in flight, profiles, and the log. What the token may not read is left out, and
/// the index says so. Nothing in it is a secret, but it names mounts, addresses and paths of requests.
#[derive(Args, Debug)]
pub(crate) struct Debug {
    /// How long to collect
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    duration: Span,
    /// How often to ask
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    interval: Span,
    /// How often to ask for metrics
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    metrics_interval: Span,
    /// Pack the folder into an archive; -compress=false leaves the folder
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compress: Option<bool>,
    /// Leave a folder in place of an archive, as -compress=false does
    #[arg(long, hide = true)]
    no_compress: bool,
    /// Form of the lines of the log: standard or json
    #[arg(long, value_name = "FORMAT", default_value = "standard")]
    log_format: String,
    /// Where to write it; keep-debug-TIME here if left out
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What to collect: config, host, metrics, replication-status, server-status, requests, pprof, log; repeatable, all if left out
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
}

/// What is collected, from where, and whether once or again and again.
const TARGETS: &[(&str, &[(&str, &str)])] = &[
    ("config", &[("config", "sys/config/state/sanitized"), ("versions", "sys/version-history?list=true")]),
    ("host", &[("host", "sys/host-info")]),
    ("metrics", &[("metrics", "sys/metrics")]),
    (
        "server-status",
        &[("seal_status", "sys/seal-status"), ("health", "sys/health"), ("ha_status", "sys/ha-status")],
    ),
    // What other servers tell of their copies; this one has none.
    ("replication-status", &[]),
    ("requests", &[("in_flight", "sys/in-flight-req")]),
    ("pprof", &[]),
    ("log", &[]),
];

/// Profiles, as text.
const PROFILES: [&str; 3] = ["goroutine", "heap", "threadcreate"];

/// Asking more often would be the trouble that it looks for.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

impl Debug {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let targets = self.targets()?;
        let began = now();
        let stamp = began.replace(':', "-");
        let folder = self.output.clone().unwrap_or_else(|| format!("keep-debug-{stamp}").into());
        let name = folder.to_string_lossy().into_owned();
        let name = name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".tgz")).unwrap_or(&name);
        let (folder, archive) = (PathBuf::from(name), PathBuf::from(format!("{name}.tar.gz")));
        for taken in [&folder, &archive] {
            if taken.exists() {
                return Err(Stop::local(format!("{} is there already", taken.display()))
                    .hint("Choose another -output."));
            }
        }
        if !matches!(self.log_format.as_str(), "standard" | "json") {
            return Err(Stop::local(format!(
                "-log-format must be standard or json, not {:?}",
                self.log_format
            )));
        }
        fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
        let span = duration(self.duration);
        let every = duration(self.interval).max(INTERVAL_MIN);
        warn(format!(
            "==> Collecting {} for {} from {}; interrupt to stop earlier",
            targets.join(", "),
            self.duration.human(),
            session.client.address.base
        ));
        let collected = RefCell::new(Collected::default());
        let log = targets.contains(&"log").then(|| folder.join("sealkeep.log"));
        let every_metrics = duration(self.metrics_interval).max(INTERVAL_MIN);
        let (metrics, others): (Vec<_>, Vec<_>) =
            targets.iter().copied().partition(|name| *name == "metrics");
        let round = || {
            let mut collected = collected.borrow_mut();
            collected.rounds += 1;
            warn(format!("    round {} done", collected.rounds));
        };
        // Metrics change fastest.
        let asking = collect(session, &others, &folder, every, (&collected, round));
        let measuring = collect(session, &metrics, &folder, every_metrics, (&collected, || {}));
        let logging = follow(session, log.as_deref(), &self.log_format);
        tokio::select! {
            () = asking => {}
            () = measuring => {}
            () = logging => {}
            () = tokio::time::sleep(span) => {}
            _ = tokio::signal::ctrl_c() => warn("==> Interrupted; writing what there is"),
        }
        let collected = collected.into_inner();
        let index = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "address": session.client.address.base,
            "began": began,
            "ended": now(),
            "rounds": collected.rounds,
            "targets": targets,
            "left_out": collected.left_out,
        });
        write(&folder.join("index.json"), &index)?;
        if self.no_compress || self.compress == Some(false) {
            say(format!("Success! Wrote the bundle to: {}", folder.display()));
            return Ok(0);
        }
        pack(&folder, &archive)?;
        say(format!("Success! Wrote the bundle to: {}", archive.display()));
        Ok(0)
    }

    fn targets(&self) -> Result<Vec<&'static str>, Stop> {
        let all = TARGETS.iter().map(|(name, _)| *name);
        if self.target.is_empty() {
            return Ok(all.collect());
        }
        let known: Vec<&str> = all.collect();
        if let Some(wrong) = self.target.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(Stop::local(format!("Unknown target: {wrong}"))
                .hint(format!("There are: {}.", known.join(", "))));
        }
        Ok(known.into_iter().filter(|name| self.target.iter().any(|wanted| wanted == name)).collect())
    }
}

/// How far the collecting has come.
#[derive(Default)]
struct Collected {
    rounds: u64,
    /// What was not given, and why.
    left_out: std::collections::BTreeMap<String, String>,
}

/// Asks for these again and again, at a beat of their own, and tells of each time. Whoever waits for this ends it.
async fn collect(
    session: &Session,
    targets: &[&str],
    folder: &Path,
    every: Duration,
    (collected, mut each): (&RefCell<Collected>, impl FnMut()),
) {
    let mut beat = tokio::time::interval(every);
    loop {
        beat.tick().await;
        ask(session, targets, folder, collected).await;
        if targets.contains(&"pprof") {
            profile(session, folder, collected).await;
        }
        each();
    }
}

/// Asks once for all of these.
async fn ask(session: &Session, targets: &[&str], folder: &Path, collected: &RefCell<Collected>) {
    let places =
        TARGETS.iter().filter(|(name, _)| targets.contains(name)).flat_map(|(_, places)| places.iter());
    for (file, path) in places {
        let (path, lists) = path.split_once('?').map_or((*path, false), |(path, _)| (path, true));
        let call = if lists { Call::list(path) } else { Call::get(path) };
        let kept = match session.client.bare(call).await {
            Ok(answer) => {
                let entry = json!({ "timestamp": now(), "answer": answer });
                append(&folder.join(format!("{file}.jsonl")), &entry)
            }
            Err(refused) => Err(refused.during(path.to_owned())),
        };
        if let Err(Stop::Failed { message, .. }) = kept {
            collected.borrow_mut().left_out.insert((*file).to_owned(), message);
        }
    }
}

/// Asks what the server does with its processors and its memory.
async fn profile(session: &Session, folder: &Path, collected: &RefCell<Collected>) {
    for name in PROFILES {
        let call = Call::get(format!("sys/pprof/{name}")).query("debug", "2");
        let mut text = Vec::new();
        let asked = session.client.stream(call, |piece| text.extend_from_slice(piece)).await;
        let kept = match asked {
            Ok(_) => append(
                &folder.join(format!("{name}.jsonl")),
                &json!({ "timestamp": now(), "answer": String::from_utf8_lossy(&text) }),
            ),
            Err(refused) => Err(refused.during(format!("sys/pprof/{name}"))),
        };
        if let Err(Stop::Failed { message, .. }) = kept {
            collected.borrow_mut().left_out.insert(name.to_owned(), message);
        }
    }
}

/// Writes the log down as it comes. Without a file, or once there is no more of it, it waits to be ended.
async fn follow(session: &Session, file: Option<&Path>, format: &str) {
    use std::io::Write as _;
    if let Some(file) = file
        && let Ok(mut out) = fs::File::create(file)
    {
        let call = Call::get("sys/monitor").query("log_level", "debug").query("log_format", format);
        let keep = |piece: &[u8]| {
            // A full disk shows in the other files, which say so.
            let _ = out.write_all(piece);
        };
        if let Err(refused) = session.client.stream(call, keep).await
            && let Stop::Failed { message, .. } = refused.during("The log is left out")
        {
            warn(message);
        }
    }
    std::future::pending().await
}

fn append(file: &Path, entry: &Value) -> Result<(), Stop> {
    use std::io::Write as _;
    let mut out =
        fs::OpenOptions::new().create(true).append(true).open(file).map_err(|e| unwritable(file, &e))?;
    writeln!(out, "{entry}").map_err(|e| unwritable(file, &e))
}

fn write(file: &Path, value: &Value) -> Result<(), Stop> {
    fs::write(file, format!("{value:#}\n")).map_err(|e| unwritable(file, &e))
}

fn pack(folder: &Path, archive: &Path) -> Result<(), Stop> {
    let failed = |e: std::io::Error| unwritable(archive, &e);
    let out = GzEncoder::new(fs::File::create(archive).map_err(failed)?, Compression::default());
    let mut tar = tar::Builder::new(out);
    let name = folder.file_name().unwrap_or_default();
    tar.append_dir_all(name, folder).map_err(failed)?;
    tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
    fs::remove_dir_all(folder).map_err(|e| unwritable(folder, &e))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Stop {
    Stop::local(format!("{} cannot be written: {error}", file.display()))
}

fn duration(span: Span) -> Duration {
    Duration::from_secs(u64::try_from(span.seconds()).unwrap_or_default())
}

fn now() -> String {
    let now = OffsetDateTime::from_unix_timestamp(crate::settings::unix_now())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}
