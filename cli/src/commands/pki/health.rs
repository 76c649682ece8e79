use std::fs;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    checks::{self, CHECKS, Check},
    probe::Probe,
};
use crate::{
    call::Call,
    client::Found,
    doc::Doc,
    output::{Format, say},
    paths,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
    table::{plain, table},
};

/// Check the health of a mount against good practice and coming trouble
///
/// Exits with 0 if all is well, 1 for a mistake here, 2 for information, 3 for warnings, 4 for something
/// critical, 5 if the server lacks what a check needs, 6 if the token may not read it.
#[derive(Args, Debug)]
pub(crate) struct HealthCheck {
    /// Run only the checks that the configuration enables
    #[arg(long)]
    default_disabled: bool,
    /// JSON file that changes the checks and their thresholds; -list shows its shape
    #[arg(long, value_name = "FILE")]
    health_config: Option<String>,
    /// Print the checks and their thresholds, and run none
    #[arg(long)]
    list: bool,
    /// Lowest result that makes the exit code: default, informational, warning, critical or permission
    #[arg(long, value_name = "RESULT", default_value = "default", value_parser = ["default", "informational", "warning", "critical", "permission"])]
    return_indicator: String,
    /// Mount
    mount: Option<String>,
}

/// How a finding is judged; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    NotApplicable = 0,
    Ok = 1,
    Informational = 2,
    Warning = 3,
    Critical = 4,
    InvalidVersion = 5,
    InsufficientPermissions = 6,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::NotApplicable => "not_applicable",
            Status::Ok => "ok",
            Status::Informational => "informational",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::InvalidVersion => "invalid_version",
            Status::InsufficientPermissions => "insufficient_permissions",
        }
    }
}

/// One finding of a check.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) endpoint: String,
    pub(super) message: String,
}

/// The settings of one check.
pub(super) struct Thresholds(Map<String, Value>);

impl Thresholds {
    /// A length of time, in seconds.
    pub(super) fn seconds(&self, name: &str) -> Result<i64, Stop> {
        let text = self.0.get(name).map(plain).unwrap_or_default();
        let span: Span =
            text.parse().map_err(|e| Stop::local(format!("The health configuration: {name}: {e}")))?;
        Ok(span.seconds())
    }

    /// A length of time as written.
    pub(super) fn span(&self, name: &str) -> Result<Span, Stop> {
        let text = self.0.get(name).map(plain).unwrap_or_default();
        text.parse().map_err(|e| Stop::local(format!("The health configuration: {name}: {e}")))
    }

    /// A number.
    pub(super) fn count(&self, name: &str) -> Result<i64, Stop> {
        let text = self.0.get(name).map(plain).unwrap_or_default();
        text.parse().map_err(|_| Stop::local(format!("The health configuration: {name} must be a number")))
    }

    /// A list of names.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().map(plain).collect()
    }
}

impl HealthCheck {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        if self.list {
            return list(session);
        }
        let Some(mount) = &self.mount else {
            return Err(Stop::local("Not enough arguments (expected mount path, got nothing)"));
        };
        let config = self.config()?;
        let mount = paths::clean(mount);
        is_one(session, &mount).await?;
        let probe = Probe::new(&session.client, mount);
        let mut results: Vec<(&Check, Vec<Finding>)> = Vec::new();
        for check in &CHECKS {
            let Some(thresholds) = self.thresholds(check, &config)? else { continue };
            results.push((check, checks::run(check.kind, &probe, &thresholds).await?));
        }
        print(session, &results)?;
        let worst = results.iter().flat_map(|(_, findings)| findings).map(|finding| finding.status).max();
        let worst = worst.unwrap_or(Status::Ok);
        let least = match self.return_indicator.as_str() {
            "permission" => Status::InvalidVersion,
            "critical" => Status::Critical,
            "warning" => Status::Warning,
            _ => Status::Informational,
        };
        Ok(if worst >= least { worst as u8 } else { 0 })
    }

    fn config(&self) -> Result<Map<String, Value>, Stop> {
        let Some(file) = &self.health_config else { return Ok(Map::new()) };
        let text = fs::read_to_string(file)
            .map_err(|e| Stop::local(format!("Failed to read configuration file {file}: {e}")))?;
        let config: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|e| Stop::local(format!("Failed to parse configuration file {file}: {e}")))?;
        match config.keys().find(|name| CHECKS.iter().all(|check| check.name != name.as_str())) {
            Some(unknown) => Err(Stop::local(format!(
                "The health configuration {file} names a check that does not exist: {unknown}"
            ))
            .hint("`keep pki health-check -list` prints them all.")),
            None => Ok(config),
        }
    }

    /// The settings of a check, or nothing if it is not to run.
    fn thresholds(&self, check: &Check, config: &Map<String, Value>) -> Result<Option<Thresholds>, Stop> {
        let mut settings = check.defaults();
        let given = config.get(check.name).and_then(Value::as_object).cloned().unwrap_or_default();
        settings.extend(given);
        let standard = check.standard && !self.default_disabled;
        let enabled = settings.get("enabled").and_then(Value::as_bool).unwrap_or(standard);
        Ok(enabled.then_some(Thresholds(settings)))
    }
}

/// Whether certificates are issued at this mount at all; a token that may not know is believed.
async fn is_one(session: &Session, mount: &str) -> Result<(), Stop> {
    let known = session.client.find(Call::get(format!("sys/internal/ui/mounts/{mount}")).preflight()).await;
    if let Ok(Found::Secret(known)) = known {
        return match known.text("type") {
            None | Some("pki") => Ok(()),
            Some(other) => {
                Err(Stop::local(format!("refusing to run pki health-check on mount of type {other}"))
                    .hint("`keep secrets list` shows the mounts and their types."))
            }
        };
    }
    match session.client.find(Call::get(format!("{mount}/cert/ca")).preflight()).await {
        Ok(Found::Nothing { reason: Some(reason) }) => {
            let no_route = "route entry not found";
            let reason = if reason.contains(no_route) { no_route } else { &reason };
            Err(Stop::local(format!(
                "refusing to run PKI health-check on non-PKI mount: path cert/ca did not exist: {reason}"
            ))
            .hint("`keep secrets list` shows the mounts and their types."))
        }
        _ => Ok(()),
    }
}

fn list(session: &Session) -> Outcome {
    let all = CHECKS.iter().map(|check| {
        let mut settings = check.defaults();
        if !check.standard {
            settings.insert("enabled".to_owned(), json!(false));
        }
        (check.name.to_owned(), Value::Object(settings))
    });
    let all = Doc::Value(Value::Object(all.collect()));
    if session.output.format == Format::Table {
        say("Default health check config:");
        say(all.json());
        return Ok(0);
    }
    session.output.doc(&all)
}

fn print(session: &Session, results: &[(&Check, Vec<Finding>)]) -> Outcome {
    if session.output.is_table() {
        for (check, findings) in results {
            say(check.name);
            say("-".repeat(check.name.len()));
            let row = |finding: &Finding| {
                vec![finding.status.name().to_owned(), finding.endpoint.clone(), finding.message.clone()]
            };
            say(table(&["status", "endpoint", "message"], findings.iter().map(row).collect()));
            say("\n");
        }
        return Ok(0);
    }
    let doc = |finding: &Finding| {
        Doc::map(vec![
            ("status_code", json!(finding.status as u8).into()),
            ("status", json!(finding.status.name()).into()),
            ("endpoint", json!(finding.endpoint).into()),
            ("message", json!(finding.message).into()),
        ])
    };
    let mut checks: Vec<(String, Doc)> = results
        .iter()
        .map(|(check, findings)| (check.name.to_owned(), Doc::List(findings.iter().map(doc).collect())))
        .collect();
    checks.sort_by(|a, b| a.0.cmp(&b.0));
    session.output.doc(&Doc::Map(checks))
}
