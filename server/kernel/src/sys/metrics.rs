use std::fmt::Write as _;
use std::fs::{read_dir, read_to_string};
use std::time::Duration;

use kit::{Beyond, Caller, Gauge, Query, Reading, Reads, Reply, Result, Right, Route, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Sys;
use crate::kernel::Kernel;
use crate::metrics::Timed;
use crate::quotas::Holding;
use crate::request::JSON;
use crate::router::Router;

/// The path at which metrics may be had without a token, if the configuration says so.
pub(crate) const PATH: &str = "sys/metrics";
/// The content type that Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Something that was measured.
struct Sample {
    /// With dots; Prometheus sees underscores.
    name: &'static str,
    about: &'static str,
    kind: Kind,
    value: f64,
    labels: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Gauge,
    Counter,
}

/// Something that takes time, again and again. In milliseconds, as dashboards for Vault expect it.
struct Timing {
    name: &'static str,
    about: &'static str,
    timed: Timed,
}

/// Shows what the server measures about itself, as JSON or as Prometheus reads it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Metrics {
    /// `prometheus`, or nothing for JSON, or for what the client's Accept header says.
    #[serde(default)]
    format: String,
}

impl Query<Sys> for Metrics {
    const ROUTE: Route = Route::get("metrics").root_only();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let samples = || {
            let mut samples = samples(&kernel, router.value(), cx.now());
            samples.extend(of_engines(router.value(), cx));
            samples
        };
        let (status, kind, body) = match self.format.as_str() {
            "" => (200, JSON, json(&samples(), &timings(&kernel), cx.now())),
            "prometheus" => (200, TEXT, text(&samples()) + &histograms(&timings(&kernel))),
            other => (400, "text/plain", format!("metric response format {other:?} unknown")),
        };
        Ok(Reply::Raw { status, kind, bytes: body.into_bytes() })
    }
}

fn samples(kernel: &Kernel, router: &Router, now: Time) -> Vec<Sample> {
    let cluster = || vec![("cluster", kernel.cluster_name().to_owned())];
    let gauge = |name, about, value, labels| Sample { name, about, kind: Kind::Gauge, value, labels };
    let mut samples = vec![
        gauge("vault.core.active", "Whether this node leads.", 1.0, cluster()),
        gauge("vault.core.unsealed", "Whether the server is unsealed.", 1.0, cluster()),
        gauge(
            "vault.core.in_flight_requests",
            "Requests being answered.",
            kernel.metrics.in_flight() as f64,
            cluster(),
        ),
        gauge(
            "vault.core.locked_users",
            "Users that failed to log in lately.",
            kernel.lockouts.all(now).len() as f64,
            cluster(),
        ),
    ];
    for (kind, local) in [("auth", false), ("auth", true), ("logical", false), ("logical", true)] {
        let here = router.all_mounts().filter(|mounted| {
            mounted.entry.local == local && mounted.entry.path.starts_with("auth/") == (kind == "auth")
        });
        let labels = [cluster(), vec![("local", local.to_string()), ("type", kind.to_owned())]].concat();
        samples.push(gauge("vault.core.mount_table.num_entries", "Mounts.", here.count() as f64, labels));
    }
    for (operation, class, count) in kernel.metrics.answers() {
        samples.push(Sample {
            name: "sealkeep.core.answers_total",
            about: "Requests answered, by operation and class of status.",
            kind: Kind::Counter,
            value: count as f64,
            labels: vec![("operation", operation.to_owned()), ("status", class.to_owned())],
        });
    }
    samples.extend(held(kernel, router));
    samples.extend(audits(kernel));
    samples.push(Sample {
        name: "vault.quota.rate_limit.violation",
        about: "Requests that were over their limit.",
        kind: Kind::Counter,
        value: kernel.metrics.over_quota_count() as f64,
        labels: Vec::new(),
    });
    samples.push(Sample {
        name: "sealkeep.core.clock_set_back_total",
        about: "How often the clock of the machine was set back by two seconds or more.",
        kind: Kind::Counter,
        value: kernel.metrics.clocks_set_back() as f64,
        labels: Vec::new(),
    });
    let keys = kernel.store.key_status();
    let term = vec![("term", keys.term.to_string())];
    let about = "Entries sealed with the active key.";
    samples.push(gauge("vault.barrier.estimated_encryptions", about, keys.encryptions as f64, term));
    let refusing = f64::from(u8::from(kernel.trouble().is_some()));
    samples.push(gauge(
        "sealkeep.store.refusing_writes",
        "Whether the disk takes no writes.",
        refusing,
        Vec::new(),
    ));
    let unsettled = f64::from(u8::from(kernel.store.unsettled().is_some()));
    let about = "Whether what is committed cannot be moved into the store: soon it takes no writes.";
    samples.push(gauge("sealkeep.store.unsettled", about, unsettled, Vec::new()));
    let damaged = kernel.store.damaged() as f64;
    samples.push(gauge("sealkeep.store.damaged_entries", "Entries found damaged.", damaged, Vec::new()));
    samples.extend(process());
    samples
}

/// What engines show of their mounts. One that cannot tell shows nothing; the others are shown all the same.
fn of_engines(router: &Router, cx: &Reading<'_>) -> Vec<Sample> {
    let (snapshot, nobody) = (cx.beyond(&Beyond::for_the_kernel()), Caller::nobody());
    let mut samples = Vec::new();
    for mounted in router.all_mounts() {
        let cx = Reading::new(&Right::Open, snapshot, &mounted.info, &nobody, cx.remote(), cx.now());
        for Gauge { name, about, value, mut labels } in mounted.engine.gauges(&cx).unwrap_or_default() {
            labels.push(("mount", format!("{}{}", mounted.info.namespace, mounted.info.path)));
            samples.push(Sample { name, about, kind: Kind::Gauge, value, labels });
        }
    }
    // Prometheus wants what has one name in one place.
    samples.sort_by_key(|sample| sample.name);
    samples
}

/// Leases and tokens. The namespaces that are sealed have none that could be counted.
fn held(kernel: &Kernel, router: &Router) -> Vec<Sample> {
    let held = kernel.held(router);
    let gauge = |name, about, value: i64, labels| Sample {
        name,
        about,
        kind: Kind::Gauge,
        value: value.max(0) as f64,
        labels,
    };
    let sum = |count: fn(&Holding) -> i64| held.iter().map(|(_, holding)| count(holding)).sum();
    let leases = sum(|holding| holding.tokens + holding.things);
    let about = "Leases, those of tokens too.";
    let mut samples = vec![gauge("vault.expire.num_leases", about, leases, Vec::new())];
    let about = "Leases that could not be ended, and wait for a person.";
    let irrevocable = sum(|holding| holding.irrevocable);
    samples.push(gauge("vault.expire.num_irrevocable_leases", about, irrevocable, Vec::new()));
    samples.extend(held.iter().map(|(path, holding)| {
        let name = if path.is_empty() { "root" } else { path.trim_end_matches('/') };
        let labels = vec![("cluster", kernel.cluster_name().to_owned()), ("namespace", name.to_owned())];
        gauge("vault.token.count", "Tokens, batch tokens aside.", holding.tokens + holding.endless, labels)
    }));
    samples
}

/// What became of audit lines.
fn audits(kernel: &Kernel) -> Vec<Sample> {
    let sample = |name, about, kind, value, labels| Sample { name, about, kind, value, labels };
    let about_questions = "Questions that no audit device took.";
    let about_answers = "Answers that no audit device took.";
    let (unasked, unaudited) = (kernel.metrics.unasked_count(), kernel.metrics.unaudited_count());
    let mut samples = vec![
        sample("vault.audit.log_request_failure", about_questions, Kind::Counter, unasked as f64, Vec::new()),
        sample(
            "vault.audit.log_response_failure",
            about_answers,
            Kind::Counter,
            unaudited as f64,
            Vec::new(),
        ),
    ];
    let devices = kernel.audits.losses();
    let of = |path: &String| vec![("path", path.clone())];
    let about = "Lines that an audit device has refused or lost.";
    samples.extend(devices.iter().map(|(path, lost, _)| {
        sample("sealkeep.audit.lost_lines_total", about, Kind::Counter, *lost as f64, of(path))
    }));
    let about = "Lines in the queue of an audit device.";
    samples.extend(devices.iter().map(|(path, _, waiting)| {
        sample("sealkeep.audit.waiting_lines", about, Kind::Gauge, *waiting as f64, of(path))
    }));
    samples
}

fn timings(kernel: &Kernel) -> [Timing; 4] {
    let metrics = &kernel.metrics;
    let timing =
        |name, about, timings: &crate::metrics::Timings| Timing { name, about, timed: timings.read() };
    [
        timing("vault.core.handle_request", "Requests, in milliseconds.", &metrics.requests),
        timing("vault.core.handle_login_request", "Logins, in milliseconds.", &metrics.logins),
        timing("vault.audit.log_request", "Writing questions down, in milliseconds.", &metrics.questions),
        timing("vault.audit.log_response", "Writing answers down, in milliseconds.", &metrics.answered),
    ]
}

/// What Linux tells of this process; elsewhere nothing.
fn process() -> Vec<Sample> {
    let pages = |field: usize| {
        let statm = read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split_whitespace().nth(field)?.parse().ok()?;
        Some(pages.saturating_mul(rustix::param::page_size() as u64) as f64)
    };
    let seconds = || {
        let stat = read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in brackets and may hold anything; what follows is counted from there.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
    };
    let files = || Some(read_dir("/proc/self/fd").ok()?.count() as f64);
    let measured = [
        ("process.cpu_seconds_total", "Time that processors spent.", Kind::Counter, seconds()),
        ("process.max_fds", "Files that may be open.", Kind::Gauge, files_max()),
        ("process.open_fds", "Open files.", Kind::Gauge, files()),
        ("process.resident_memory_bytes", "Memory in use.", Kind::Gauge, pages(1)),
        ("process.virtual_memory_bytes", "Memory asked for.", Kind::Gauge, pages(0)),
        ("vault.runtime.sys_bytes", "Memory in use.", Kind::Gauge, pages(1)),
    ];
    let sample = |(name, about, kind, value): (_, _, _, Option<f64>)| {
        Some(Sample { name, about, kind, value: value?, labels: Vec::new() })
    };
    measured.into_iter().filter_map(sample).collect()
}

/// How many files may be open; nothing, if as many as there is memory for.
fn files_max() -> Option<f64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|max| max as f64)
}

/// As Prometheus reads it.
fn text(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut last = "";
    for sample in samples {
        let name = sample.name.replace('.', "_");
        if sample.name != last {
            let kind = if sample.kind == Kind::Gauge { "gauge" } else { "counter" };
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", sample.about);
            last = sample.name;
        }
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            sample.labels.iter().map(|(key, value)| format!("{key}=\"{}\"", quoted(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {}", sample.value);
    }
    text
}

/// Timings as Prometheus reads them.
fn histograms(timings: &[Timing]) -> String {
    let mut text = String::new();
    for Timing { name, about, timed } in timings {
        let name = name.replace('.', "_");
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} histogram");
        for (bound, count) in &timed.within {
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", millis(*bound));
        }
        let (count, sum) = (timed.count, millis(timed.sum));
        let _ =
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
    text
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// As clients of the JSON form read it.
fn json(samples: &[Sample], timings: &[Timing], now: Time) -> String {
    let date = now.truncated().rfc3339().replace('T', " ").replace('Z', " +0000 UTC");
    let shown = |kind: Kind, value: &str| -> Vec<Value> {
        let some = samples.iter().filter(|sample| sample.kind == kind);
        let labels = |sample: &Sample| -> Map<String, Value> {
            sample.labels.iter().map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect()
        };
        some.map(|sample| json!({ "Name": sample.name, value: sample.value, "Labels": labels(sample) }))
            .collect()
    };
    json!({
        "Timestamp": date,
        "Gauges": shown(Kind::Gauge, "Value"),
        "Points": [],
        "Counters": shown(Kind::Counter, "Count"),
        "Samples": timings.iter().filter(|timing| timing.timed.count > 0).map(timed).collect::<Vec<_>>(),
    })
    .to_string()
}

fn timed(Timing { name, timed, .. }: &Timing) -> Value {
    let sum = millis(timed.sum);
    json!({ "Name": name, "Count": timed.count, "Sum": sum, "Mean": sum / timed.count as f64, "Labels": {} })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_reads_it() {
        let sample =
            |name, value, labels| Sample { name, about: "Something.", kind: Kind::Counter, value, labels };
        let samples =
            [sample("a.b", 1.0, vec![("x", "q\"uo\\te".to_owned())]), sample("a.b", 2.5, Vec::new())];
        assert_eq!(
            text(&samples),
            "# HELP a_b Something.\n# TYPE a_b counter\na_b{x=\"q\\\"uo\\\\te\"} 1\na_b 2.5\n"
        );
    }

    #[test]
    fn prometheus_reads_timings() {
        let within = vec![(Duration::from_micros(50), 1), (Duration::from_millis(1), 3)];
        let timed = Timed { within, count: 4, sum: Duration::from_micros(7_250) };
        assert_eq!(
            histograms(&[Timing { name: "a.b", about: "Something.", timed }]),
            "# HELP a_b Something.\n# TYPE a_b histogram\na_b_bucket{le=\"0.05\"} 1\na_b_bucket{le=\"1\"} 3\n\
             a_b_bucket{le=\"+Inf\"} 4\na_b_sum 7.25\na_b_count 4\n"
        );
    }
}
