//! What the agent counts, and how Prometheus reads it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use super::{config::Certificate, record::Record};

const CERTIFICATE: &str = "certificate";
const TEMPLATE: &str = "template";

/// The counters of one agent.
#[derive(Default)]
pub(crate) struct Ledger(RefCell<Book>);

#[derive(Default)]
struct Book {
    counters: BTreeMap<(Counter, String, &'static str), u64>,
    gauges: BTreeMap<(Gauge, String), f64>,
    certificates: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    Renewals,
    Hooks,
    Verifications,
    Reports,
    DiskErrors,
    Alerts,
    Logins,
    Renders,
    TemplateFailures,
    Restarts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gauge {
    Obtained,
    NotAfter,
    BundleNotAfter,
    NextRenewal,
    Wanted,
    LastReport,
    LastSuccess,
    Survive,
    KeyReused,
    Delivered,
    Failures,
    ClockOffset,
    TemplateSuccess,
    TemplateFailing,
}

impl Counter {
    const ALL: [Counter; 10] = [
        Counter::Renewals,
        Counter::Hooks,
        Counter::Verifications,
        Counter::Reports,
        Counter::DiskErrors,
        Counter::Alerts,
        Counter::Logins,
        Counter::Renders,
        Counter::TemplateFailures,
        Counter::Restarts,
    ];

    /// What the names of its rows are names of.
    fn label(self) -> &'static str {
        match self {
            Counter::Renders | Counter::TemplateFailures => TEMPLATE,
            _ => CERTIFICATE,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Counter::Renewals => {
                ("keep_certificate_renewals_total", "Certificates asked for, by how that went.")
            }
            Counter::Hooks => ("keep_certificate_hook_total", "Reloads of services, by how they went."),
            Counter::Verifications => (
                "keep_certificate_verify_total",
                "Looks at services, by whether they showed the certificate held.",
            ),
            Counter::Reports => {
                ("keep_certificate_reports_total", "Reports to the server's inventory, by how they went.")
            }
            Counter::DiskErrors => {
                ("keep_certificate_disk_errors_total", "Writes that the file system refused.")
            }
            Counter::Alerts => ("keep_agent_alerts_total", "Alerts sent, by whether the receiver took them."),
            Counter::Logins => ("keep_agent_logins_total", "Logins to the server, by how they went."),
            Counter::Renders => {
                ("keep_template_renders_total", "How often a template came out other than before.")
            }
            Counter::TemplateFailures => (
                "keep_template_failures_total",
                "What went wrong with a template: secrets that could not be had, texts, files, commands.",
            ),
            Counter::Restarts => {
                ("keep_exec_restarts_total", "Restarts of the program of exec because a secret changed.")
            }
        }
    }
}

impl Gauge {
    const ALL: [Gauge; 14] = [
        Gauge::Obtained,
        Gauge::NotAfter,
        Gauge::BundleNotAfter,
        Gauge::NextRenewal,
        Gauge::Wanted,
        Gauge::LastReport,
        Gauge::LastSuccess,
        Gauge::Survive,
        Gauge::KeyReused,
        Gauge::Delivered,
        Gauge::Failures,
        Gauge::ClockOffset,
        Gauge::TemplateSuccess,
        Gauge::TemplateFailing,
    ];

    /// What the names of its rows are names of.
    fn label(self) -> &'static str {
        match self {
            Gauge::TemplateSuccess | Gauge::TemplateFailing => TEMPLATE,
            _ => CERTIFICATE,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Gauge::Obtained => {
                ("keep_certificate_obtained_seconds", "When the certificate held was obtained.")
            }
            Gauge::NotAfter => ("keep_certificate_not_after_seconds", "When the certificate held ends."),
            Gauge::BundleNotAfter => {
                ("keep_certificate_bundle_not_after_seconds", "When the first certificate of its chain ends.")
            }
            Gauge::NextRenewal => ("keep_certificate_next_renewal_seconds", "When it will be renewed."),
            Gauge::Wanted => {
                ("keep_certificate_wanted", "1 if the CA wants it replaced now, as it will be revoked or is.")
            }
            Gauge::LastReport => {
                ("keep_certificate_last_report_seconds", "When the server's inventory was last told of it.")
            }
            Gauge::LastSuccess => {
                ("keep_certificate_last_success_seconds", "When it was last renewed and delivered.")
            }
            Gauge::Survive => ("keep_certificate_survive_seconds", "The outage that it must survive."),
            Gauge::KeyReused => ("keep_certificate_key_reused", "1 if its key was used before."),
            Gauge::Delivered => ("keep_certificate_delivered", "1 if the service shows it."),
            Gauge::Failures => ("keep_certificate_failures", "Failures in a row."),
            Gauge::ClockOffset => (
                "keep_agent_clock_offset_seconds",
                "How far the clock of this machine is ahead of the server's.",
            ),
            Gauge::TemplateSuccess => (
                "keep_template_last_success_seconds",
                "When a template was last seen to say what the server says; 0 if never since the agent started.",
            ),
            Gauge::TemplateFailing => ("keep_template_failures", "Failures of a template in a row."),
        }
    }
}

impl Ledger {
    /// Writes down how a certificate stands.
    pub(crate) fn show(&self, plan: &Certificate, record: &Record) {
        let mut book = self.0.borrow_mut();
        let name = plan.name.clone();
        let seconds = |moment: super::moment::Moment| moment.millis() as f64 / 1000.0;
        let mut put = |gauge, value: Option<f64>| match value {
            Some(value) => drop(book.gauges.insert((gauge, name.clone()), value)),
            None => drop(book.gauges.remove(&(gauge, name.clone()))),
        };
        let held = record.held.as_ref();
        put(Gauge::Obtained, held.map(|held| seconds(held.obtained)));
        put(Gauge::NotAfter, held.map(|held| seconds(held.not_after)));
        put(Gauge::BundleNotAfter, held.and_then(|held| held.bundle_not_after).map(seconds));
        put(Gauge::NextRenewal, held.map(|_| seconds(record.renew_at)));
        put(Gauge::Wanted, held.map(|_| f64::from(u8::from(record.wanted))));
        put(Gauge::LastReport, record.last_report.map(seconds));
        put(Gauge::LastSuccess, record.last_success.map(seconds));
        put(Gauge::Survive, Some(plan.survive.as_secs_f64()));
        put(Gauge::KeyReused, Some(f64::from(u8::from(record.key_reused))));
        put(Gauge::Delivered, Some(f64::from(u8::from(record.delivered))));
        put(Gauge::Failures, Some(f64::from(record.failures)));
        if book.certificates.insert(name.clone()) {
            // A counter that is there from the start shows its first step.
            for (counter, result) in
                [(Counter::Renewals, "ok"), (Counter::Hooks, "failed"), (Counter::Verifications, "failed")]
            {
                book.counters.entry((counter, name.clone(), result)).or_insert(0);
            }
            book.counters.entry((Counter::DiskErrors, name, "")).or_insert(0);
        }
    }

    pub(crate) fn renewed(&self, name: &str, result: &'static str) {
        self.count(Counter::Renewals, name, result);
    }

    pub(crate) fn hooked(&self, name: &str, result: &'static str) {
        self.count(Counter::Hooks, name, result);
    }

    pub(crate) fn verified(&self, name: &str, result: &'static str) {
        self.count(Counter::Verifications, name, result);
    }

    pub(crate) fn reported(&self, name: &str, result: &'static str) {
        self.count(Counter::Reports, name, result);
    }

    pub(crate) fn disk_failed(&self, name: &str) {
        self.count(Counter::DiskErrors, name, "");
    }

    pub(crate) fn alerted(&self, result: &'static str) {
        self.count(Counter::Alerts, "", result);
    }

    /// A template that will be rendered: its rows are there from the start.
    pub(crate) fn expect_template(&self, name: &str) {
        let mut book = self.0.borrow_mut();
        for counter in [Counter::Renders, Counter::TemplateFailures] {
            book.counters.entry((counter, name.to_owned(), "")).or_insert(0);
        }
        for gauge in [Gauge::TemplateSuccess, Gauge::TemplateFailing] {
            book.gauges.insert((gauge, name.to_owned()), 0.0);
        }
    }

    pub(crate) fn rendered(&self, name: &str) {
        self.count(Counter::Renders, name, "");
    }

    pub(crate) fn template_failed(&self, name: &str) {
        self.count(Counter::TemplateFailures, name, "");
    }

    /// How a template stands: failures in a row, and the moment if there are none.
    pub(crate) fn show_template(&self, name: &str, failures: u32, now: super::moment::Moment) {
        let gauges = &mut self.0.borrow_mut().gauges;
        gauges.insert((Gauge::TemplateFailing, name.to_owned()), f64::from(failures));
        if failures == 0 {
            gauges.insert((Gauge::TemplateSuccess, name.to_owned()), now.millis() as f64 / 1000.0);
        }
    }

    /// A program of exec: its row is there from the start.
    pub(crate) fn expect_program(&self) {
        self.0.borrow_mut().counters.entry((Counter::Restarts, String::new(), "")).or_insert(0);
    }

    pub(crate) fn restarted(&self) {
        self.count(Counter::Restarts, "", "");
    }

    /// Sets how many logins there were.
    pub(crate) fn logins(&self, good: u64, failed: u64) {
        let counters = &mut self.0.borrow_mut().counters;
        counters.insert((Counter::Logins, String::new(), "ok"), good);
        counters.insert((Counter::Logins, String::new(), "failed"), failed);
    }

    /// How far this machine's clock is ahead.
    pub(crate) fn clock_offset(&self, ahead: Duration, behind: Duration) {
        let offset = ahead.as_secs_f64() - behind.as_secs_f64();
        self.0.borrow_mut().gauges.insert((Gauge::ClockOffset, String::new()), offset);
    }

    /// All of it as text for Prometheus.
    pub(crate) fn text(&self) -> String {
        let book = self.0.borrow();
        let mut out = String::new();
        for gauge in Gauge::ALL {
            let values = book.gauges.iter().filter(|((kind, _), _)| *kind == gauge);
            let rows: Vec<String> = values
                .map(|((_, name), value)| format!("{} {value}", labels((gauge.label(), name), "")))
                .collect();
            family(&mut out, gauge.words(), "gauge", &rows);
        }
        for counter in Counter::ALL {
            let values = book.counters.iter().filter(|((kind, _, _), _)| *kind == counter);
            let rows: Vec<String> = values
                .map(|((_, name, result), count)| {
                    format!("{} {count}", labels((counter.label(), name), result))
                })
                .collect();
            family(&mut out, counter.words(), "counter", &rows);
        }
        out
    }

    fn count(&self, counter: Counter, name: &str, result: &'static str) {
        let mut book = self.0.borrow_mut();
        let count = book.counters.entry((counter, name.to_owned(), result)).or_insert(0);
        *count = count.saturating_add(1);
    }
}

fn family(out: &mut String, (name, help): (&str, &str), kind: &str, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    // Writing into a string cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for row in rows {
        let _ = writeln!(out, "{name}{row}");
    }
}

fn labels(named: (&str, &str), result: &str) -> String {
    let pairs: Vec<String> = [named, ("result", result)]
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}
