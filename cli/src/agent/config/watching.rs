//! `telemetry { … }` and `alert { … }`: who sees what the agent does.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    agent::{
        mail::{self, Mail},
        post,
    },
    hcl::value::Stanza,
};

/// Where a program sends counters by itself, which this agent does not do.
const COUNTERS_SENT: [&str; 6] = [
    "circonus_api_token",
    "dogstatsd_addr",
    "stackdriver_project_id",
    "statsd_address",
    "statsite_address",
    "circonus_submission_url",
];

/// Where the counters can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) text_file: Option<PathBuf>,
}

/// Who is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Webhook(String),
    /// A line for the shell; it finds the alert as JSON on its standard input.
    Command(String),
    Mail(Mail),
}

/// Reads `telemetry`.
pub(super) fn metrics(stanza: &mut Stanza) -> Result<Metrics, String> {
    let listen = match stanza.text("listen")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            format!("{}: listen must be ADDRESS:PORT, like 127.0.0.1:9211, not {text:?}", stanza.place)
        })?),
    };
    for key in COUNTERS_SENT {
        stanza.refuse(key, "the agent sends its counters nowhere: have them fetched (listen), or write them to a file (text_file)")?;
    }
    // Counters are always there, and carry no name of the machine.
    for key in [
        "prometheus_retention_time",
        "disable_hostname",
        "enable_hostname_label",
        "metrics_prefix",
        "usage_gauge_period",
    ] {
        stanza.text(key)?;
    }
    Ok(Metrics { listen, text_file: stanza.text("text_file")?.map(PathBuf::from) })
}

/// Reads one `alert`.
pub(super) fn receivers(stanza: &mut Stanza) -> Result<Vec<Receiver>, String> {
    let (webhooks, commands) = (stanza.list("webhook")?, stanza.list("command")?);
    for url in &webhooks {
        post::check(url).map_err(|why| format!("{}: webhook: {why}", stanza.place))?;
    }
    if commands.iter().any(|line| line.trim().is_empty()) {
        return Err(format!("{}: command is empty", stanza.place));
    }
    let webhooks = webhooks.into_iter().map(Receiver::Webhook);
    let commands = commands.into_iter().map(Receiver::Command);
    let mail = mail(stanza)?.map(Receiver::Mail);
    let all: Vec<Receiver> = webhooks.chain(commands).chain(mail).collect();
    if all.is_empty() {
        return Err(format!("{}: it names neither webhook nor command nor mail", stanza.place));
    }
    Ok(all)
}

fn mail(stanza: &mut Stanza) -> Result<Option<Mail>, String> {
    let (to, from) = (stanza.list("mail")?, stanza.text("mail_from")?);
    let program = stanza.text("sendmail")?.unwrap_or_else(|| mail::SENDMAIL.to_owned());
    if let Some(wrong) = to.iter().chain(&from).find(|text| !mail::is_address(text)) {
        return Err(format!("{}: {wrong:?} is no address for mail", stanza.place));
    }
    Ok((!to.is_empty()).then(|| Mail { to, from, program: PathBuf::from(program) }))
}
