//! The health checks: what each looks at, its thresholds, and what it says.

use serde_json::{Map, Value};

use super::{
    health::{Finding, Status, Thresholds},
    probe::{Probe, Seen, flag, strings},
};
use crate::{
    pem::{self, day},
    secret::Secret,
    settings::unix_now,
    span::Span,
    stop::Stop,
    table::plain,
};

/// One check.
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// Whether it runs unless disabled.
    pub(super) standard: bool,
    /// Its settings, as JSON.
    settings: &'static str,
}

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CaValidity,
    CrlValidity,
    HardwareRoot,
    RootLeaves,
    Localhost,
    GlobWildcards,
    NoStore,
    AuditVisibility,
    IfModifiedSince,
    AutoTidy,
    TidyLastRun,
    TooManyCerts,
    AcmeIssuance,
    AcmeHeaders,
}

/// All checks in the order in which they run.
#[rustfmt::skip]
pub(super) const CHECKS: [Check; 14] = [
    Check { kind: Kind::CaValidity, name: "ca_validity_period", standard: true, settings: r#"{"root_expiry_critical":"180d","root_expiry_warning":"365d","root_expiry_informational":"730d","intermediate_expiry_critical":"30d","intermediate_expiry_warning":"60d","intermediate_expiry_informational":"180d"}"# },
    Check { kind: Kind::CrlValidity, name: "crl_validity_period", standard: true, settings: r#"{"crl_expiry_pct_critical":"95","delta_crl_expiry_pct_critical":"95"}"# },
    Check { kind: Kind::HardwareRoot, name: "hardware_backed_root", standard: false, settings: "{}" },
    Check { kind: Kind::RootLeaves, name: "root_issued_leaves", standard: true, settings: r#"{"certs_to_fetch":100}"# },
    Check { kind: Kind::Localhost, name: "role_allows_localhost", standard: true, settings: "{}" },
    Check { kind: Kind::GlobWildcards, name: "role_allows_glob_wildcards", standard: true, settings: "{}" },
    Check { kind: Kind::NoStore, name: "role_no_store_false", standard: true, settings: r#"{"allowed_roles":[]}"# },
    Check { kind: Kind::AuditVisibility, name: "audit_visibility", standard: true, settings: r#"{"ignored_parameters":[]}"# },
    Check { kind: Kind::IfModifiedSince, name: "allow_if_modified_since", standard: true, settings: "{}" },
    Check { kind: Kind::AutoTidy, name: "enable_auto_tidy", standard: true, settings: r#"{"interval_duration_critical":"7d","interval_duration_warning":"2d","pause_duration_critical":"1s","pause_duration_warning":"200ms"}"# },
    Check { kind: Kind::TidyLastRun, name: "tidy_last_run", standard: true, settings: r#"{"last_run_critical":"7d","last_run_warning":"2d"}"# },
    Check { kind: Kind::TooManyCerts, name: "too_many_certs", standard: true, settings: r#"{"count_critical":250000,"count_warning":50000}"# },
    Check { kind: Kind::AcmeIssuance, name: "enable_acme_issuance", standard: true, settings: "{}" },
    Check { kind: Kind::AcmeHeaders, name: "allow_acme_headers", standard: true, settings: "{}" },
];

/// Parameters of requests and answers that an investigator wants to read, and that betray nothing.
const REQUEST_IN_CLEAR: [&str; 25] = [
    "csr",
    "certificate",
    "issuer_ref",
    "common_name",
    "alt_names",
    "other_sans",
    "ip_sans",
    "uri_sans",
    "ttl",
    "not_after",
    "serial_number",
    "key_type",
    "private_key_format",
    "managed_key_name",
    "managed_key_id",
    "ou",
    "organization",
    "country",
    "locality",
    "province",
    "street_address",
    "postal_code",
    "permitted_dns_domains",
    "policy_identifiers",
    "ext_key_usage_oids",
];
const RESPONSE_IN_CLEAR: [&str; 5] = ["certificate", "issuing_ca", "serial_number", "error", "ca_chain"];
/// Parameters that must never be readable in an audit log.
const ALWAYS_SECRET: [&str; 2] = ["private_key", "pem_bundle"];
/// What ACME clients need of the answer's headers.
const ACME_HEADERS: [&str; 3] = ["Replay-Nonce", "Link", "Location"];

impl Check {
    /// The settings without a configuration.
    pub(super) fn defaults(&self) -> Map<String, Value> {
        serde_json::from_str(self.settings).expect("the table above holds JSON objects, and a test reads it")
    }
}

/// Runs one check.
pub(super) async fn run(kind: Kind, probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    match kind {
        Kind::CaValidity => ca_validity(probe, set).await,
        Kind::CrlValidity => crl_validity(probe, set).await,
        Kind::HardwareRoot => hardware_root(probe).await,
        Kind::RootLeaves => root_leaves(probe, set).await,
        Kind::Localhost | Kind::GlobWildcards | Kind::NoStore => roles(kind, probe, set).await,
        Kind::AuditVisibility => audit_visibility(probe, set).await,
        Kind::IfModifiedSince => if_modified_since(probe).await,
        Kind::AutoTidy => auto_tidy(probe, set).await,
        Kind::TidyLastRun => tidy_last_run(probe, set).await,
        Kind::TooManyCerts => too_many_certs(probe, set).await,
        Kind::AcmeIssuance => acme_issuance(probe).await,
        Kind::AcmeHeaders => acme_headers(probe).await,
    }
}

impl Probe<'_> {
    fn found(&self, status: Status, path: &str, message: impl Into<String>) -> Finding {
        let endpoint = match path.strip_prefix("sys/") {
            Some(rest) => format!("/sys/{rest}"),
            None => format!("/{}/{path}", self.mount),
        };
        Finding { status, endpoint, message: message.into() }
    }

    /// The finding that a check could not look, if it could not.
    fn blind(&self, seen: &Seen, path: &str) -> Option<Finding> {
        match seen {
            Seen::Denied => Some(self.found(
                Status::InsufficientPermissions,
                path,
                "The token may not read this, so this check cannot judge it.",
            )),
            Seen::Unknown => Some(self.found(
                Status::InvalidVersion,
                path,
                "The server does not know this path, so this check cannot judge it.",
            )),
            Seen::Failed(why) => Some(self.found(
                Status::Warning,
                path,
                format!("The server failed to answer, so this check cannot judge it: {why}"),
            )),
            Seen::Data(_) | Seen::Nothing => None,
        }
    }

    fn tune_path(&self) -> String {
        format!("sys/mounts/{}/tune", self.mount)
    }
}

async fn ca_validity(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let now = unix_now();
    let mut findings = Vec::new();
    for (id, cert) in probe.issuers().await? {
        let path = format!("issuer/{id}");
        let kind = if cert.is_root { "root" } else { "intermediate" };
        let until = day(cert.not_after);
        let mut finding = probe.found(Status::Ok, &path, format!("Issuer's validity ({until}) is OK"));
        for (status, name) in [
            (Status::Critical, "critical"),
            (Status::Warning, "warning"),
            (Status::Informational, "informational"),
        ] {
            let window = set.seconds(&format!("{kind}_expiry_{name}"))?;
            if cert.not_after < now + window {
                let days = window / 86_400;
                finding = probe.found(
                    status,
                    &path,
                    format!("The issuer is valid until {until}, which is less than {days} days away. Make its successor now, so that nothing stops when it expires."),
                );
                break;
            }
        }
        findings.push(finding);
    }
    Ok(findings)
}

async fn crl_validity(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let now = unix_now();
    let disabled = match probe.read("config/crl").await? {
        Seen::Data(config) => flag(&config, "disable"),
        _ => false,
    };
    let mut findings = Vec::new();
    for (id, _) in probe.issuers().await? {
        for (title, end, setting) in
            [("CRL", "", "crl_expiry_pct_critical"), ("Delta CRL", "/delta", "delta_crl_expiry_pct_critical")]
        {
            let path = format!("issuer/{id}/crl{end}");
            let Seen::Data(secret) = probe.read(&path).await? else { continue };
            let Some(list) = secret.text("crl").and_then(pem::revocation_list) else { continue };
            let part = set.count(setting)?.clamp(1, 99);
            let due = list.this_update + (list.next_update - list.this_update) * part / 100;
            let (from, to) = (day(list.this_update), day(list.next_update));
            findings.push(if now < due {
                probe.found(Status::Ok, &path, format!("{title}'s validity ({from} to {to}) is OK."))
            } else {
                let status = if disabled { Status::Informational } else { Status::Critical };
                let mut message = format!("The {title} of {from} is past {part}% of its validity (it ends on {to}). Rotate it, and see why that did not happen by itself.");
                if disabled {
                    message.push_str(" CRLs are disabled for this mount, so this matters less.");
                }
                probe.found(status, &path, message)
            });
        }
    }
    Ok(findings)
}

async fn hardware_root(probe: &Probe<'_>) -> Result<Vec<Finding>, Stop> {
    let mut findings = Vec::new();
    for (id, cert) in probe.issuers().await?.into_iter().filter(|(_, cert)| cert.is_root) {
        let path = format!("issuer/{id}");
        let seen = probe.read(&path).await?;
        if let Some(blind) = probe.blind(&seen, &path) {
            findings.push(blind);
            continue;
        }
        let key = match &seen {
            Seen::Data(secret) => secret.text("key_id").unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let managed = match probe.read(&format!("key/{key}")).await? {
            Seen::Data(secret) if !key.is_empty() => secret.field("managed_key_id").is_some(),
            _ => false,
        };
        let name = cert.common_name;
        findings.push(match (key.is_empty(), managed) {
            (true, _) => probe.found(Status::NotApplicable, &path, format!("The key of the root {name} is not in this mount.")),
            (false, true) => probe.found(Status::Ok, &path, format!("The key of the root {name} is kept by hardware.")),
            (false, false) => probe.found(Status::Warning, &path, format!("The key of the root {name} is kept in software. Consider hardware, or a root that stays offline.")),
        });
    }
    Ok(findings)
}

async fn root_leaves(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let issuers = probe.issuers().await?;
    let roots: Vec<_> = issuers.iter().filter(|(_, cert)| cert.is_root).collect();
    let (seen, serials) = probe.list("certs").await?;
    if let Some(blind) = probe.blind(&seen, "certs") {
        return Ok(vec![blind]);
    }
    let most = usize::try_from(set.count("certs_to_fetch")?).unwrap_or_default();
    for serial in serials.iter().take(most) {
        let path = format!("cert/{serial}");
        let Seen::Data(secret) = probe.read(&path).await? else { continue };
        let Some(cert) = secret.text("certificate").and_then(pem::certificate) else { continue };
        let from_root = roots.iter().any(|(_, root)| root.subject == cert.issuer);
        if from_root && !cert.is_ca {
            return Ok(vec![probe.found(
                Status::Warning,
                &path,
                "A root of this mount has issued a leaf directly. Let an intermediate issue leaves, so that the root's key can stay away from daily work.",
            )]);
        }
    }
    let fine = "Root certificate(s) in this mount have not directly issued non-CA leaf certificates.";
    Ok(vec![probe.found(Status::Ok, "certs", fine)])
}

async fn roles(kind: Kind, probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let (seen, roles) = probe.roles().await?;
    let mut findings: Vec<Finding> = probe.blind(&seen, "roles").into_iter().collect();
    let allowed = set.names("allowed_roles");
    for (name, role) in roles {
        let path = format!("roles/{name}");
        findings.push(match kind {
            Kind::Localhost => localhost(probe, &path, &role),
            Kind::GlobWildcards => glob_wildcards(probe, &path, &role),
            _ => no_store(probe, &path, &role, allowed.contains(&name)),
        });
    }
    Ok(findings)
}

fn localhost(probe: &Probe<'_>, path: &str, role: &Secret) -> Finding {
    let open = flag(role, "allow_any_name") || flag(role, "allow_localhost");
    if !open {
        return probe.found(Status::Ok, path, "The role issues no certificates for localhost.");
    }
    probe.found(
        Status::Warning,
        path,
        "The role issues certificates for localhost, which every machine is. Set allow_localhost=false, and name what the role is for in allowed_domains.",
    )
}

fn glob_wildcards(probe: &Probe<'_>, path: &str, role: &Secret) -> Finding {
    let domains = strings(role, "allowed_domains").iter().any(|domain| domain.contains('*'));
    if flag(role, "allow_glob_domains") && flag(role, "allow_wildcard_certificates") && domains {
        return probe.found(
            Status::Warning,
            path,
            "The role has globs in allowed_domains and issues wildcard certificates: together they allow more names than either. Set allow_wildcard_certificates=false.",
        );
    }
    probe.found(Status::Ok, path, "The role does not combine globs with wildcard certificates.")
}

fn no_store(probe: &Probe<'_>, path: &str, role: &Secret, expected: bool) -> Finding {
    if flag(role, "no_store") {
        return probe.found(Status::Ok, path, "The role stores no certificates.");
    }
    if expected {
        return probe.found(Status::Ok, path, "The role stores certificates, as the configuration expects.");
    }
    probe.found(
        Status::Warning,
        path,
        "The role stores every certificate. For many short-lived ones, no_store=true keeps the mount small; but then they cannot be revoked by serial number.",
    )
}

async fn audit_visibility(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let path = probe.tune_path();
    let seen = probe.tuning().await?;
    if let Some(blind) = probe.blind(&seen, &path) {
        return Ok(vec![blind]);
    }
    let Seen::Data(tuning) = seen else { return Ok(Vec::new()) };
    let ignored = set.names("ignored_parameters");
    let mut findings = Vec::new();
    for (list, wanted) in [
        ("audit_non_hmac_request_keys", REQUEST_IN_CLEAR.as_slice()),
        ("audit_non_hmac_response_keys", RESPONSE_IN_CLEAR.as_slice()),
    ] {
        let shown = strings(&tuning, list);
        let wanted = wanted.iter().filter(|key| !ignored.iter().any(|name| name == *key));
        for key in wanted.filter(|key| !shown.iter().any(|name| name == *key)) {
            let message = format!(
                "Audit devices hide {key}, because it is not in {list}. It is no secret, and readable it helps an investigation."
            );
            findings.push(probe.found(Status::Informational, &path, message));
        }
        for key in ALWAYS_SECRET.iter().filter(|key| shown.iter().any(|name| name == *key)) {
            let message = format!(
                "Audit devices show {key} in clear, because it is in {list}. It is a secret: take it out."
            );
            findings.push(probe.found(Status::Warning, &path, message));
        }
    }
    if findings.is_empty() {
        findings.push(probe.found(
            Status::Ok,
            &path,
            "Audit devices show what helps, and hide what is secret.",
        ));
    }
    Ok(findings)
}

async fn if_modified_since(probe: &Probe<'_>) -> Result<Vec<Finding>, Stop> {
    let path = probe.tune_path();
    let seen = probe.tuning().await?;
    if let Some(blind) = probe.blind(&seen, &path) {
        return Ok(vec![blind]);
    }
    let Seen::Data(tuning) = seen else { return Ok(Vec::new()) };
    let has =
        |list: &str, name: &str| strings(&tuning, list).iter().any(|item| item.eq_ignore_ascii_case(name));
    let ready = has("passthrough_request_headers", "If-Modified-Since")
        && has("allowed_response_headers", "Last-Modified");
    Ok(vec![if ready {
        probe.found(Status::Ok, &path, "Clients can ask whether a CA or CRL has changed.")
    } else {
        probe.found(Status::Informational, &path, "Clients cannot ask whether a CA or CRL has changed, so they fetch it whole each time. Tune the mount with -passthrough-request-headers=If-Modified-Since -allowed-response-headers=Last-Modified.")
    }])
}

async fn auto_tidy(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let path = "config/auto-tidy";
    let seen = probe.read(path).await?;
    if let Some(blind) = probe.blind(&seen, path) {
        return Ok(vec![blind]);
    }
    let Seen::Data(config) = seen else { return Ok(Vec::new()) };
    if !flag(&config, "enabled") {
        let message = "Auto-tidy is off: expired certificates stay until somebody runs tidy. Turn it on, which keeps the mount small and fast.";
        return Ok(vec![probe.found(Status::Informational, path, message)]);
    }
    let mut findings = Vec::new();
    for name in ["interval_duration", "pause_duration"] {
        let set_to: Option<Span> = config.field(name).and_then(|value| plain(value).parse().ok());
        let Some(value) = set_to else { continue };
        let status = if value >= set.span(&format!("{name}_critical"))? {
            Status::Critical
        } else if value >= set.span(&format!("{name}_warning"))? {
            Status::Warning
        } else {
            continue;
        };
        let message =
            format!("Auto-tidy has a long {name} ({value}): it runs too seldom, or takes too long.");
        findings.push(probe.found(status, path, message));
    }
    if findings.is_empty() {
        findings.push(probe.found(Status::Ok, path, "Auto-tidy is on and well set."));
    }
    Ok(findings)
}

async fn tidy_last_run(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let path = "tidy-status";
    let seen = probe.read(path).await?;
    if let Some(blind) = probe.blind(&seen, path) {
        return Ok(vec![blind]);
    }
    let Seen::Data(status) = seen else { return Ok(Vec::new()) };
    let finished = status.text("time_finished").or_else(|| status.text("last_auto_tidy_finished"));
    let finished = finished.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let Some(finished) = finished.map(OffsetDateTime::unix_timestamp).filter(|seconds| *seconds > 0) else {
        let message =
            "Tidy has never run since the server started. Turn on auto-tidy, or see why it does not run.";
        return Ok(vec![probe.found(Status::Critical, path, message)]);
    };
    let age = unix_now() - finished;
    let finding = if age >= set.seconds("last_run_critical")? {
        Status::Critical
    } else if age >= set.seconds("last_run_warning")? {
        Status::Warning
    } else {
        Status::Ok
    };
    let message = match finding {
        Status::Ok => format!("Tidy last ran on {}, which is recent enough.", day(finished)),
        _ => format!(
            "Tidy last ran on {}, too long ago. Turn on auto-tidy, or see why it does not run.",
            day(finished)
        ),
    };
    Ok(vec![probe.found(finding, path, message)])
}

async fn too_many_certs(probe: &Probe<'_>, set: &Thresholds) -> Result<Vec<Finding>, Stop> {
    let (seen, serials) = probe.list("certs").await?;
    if let Some(blind) = probe.blind(&seen, "certs") {
        return Ok(vec![blind]);
    }
    let count = i64::try_from(serials.len()).unwrap_or(i64::MAX);
    let status = if count >= set.count("count_critical")? {
        Status::Critical
    } else if count >= set.count("count_warning")? {
        Status::Warning
    } else {
        return Ok(vec![probe.found(
            Status::Ok,
            "certs",
            "This mount has an OK number of stored certificates.",
        )]);
    };
    let message = format!(
        "The mount stores {count} certificates. Tidy it, and consider no_store=true for roles with short lifetimes."
    );
    Ok(vec![probe.found(status, "certs", message)])
}

async fn acme_issuance(probe: &Probe<'_>) -> Result<Vec<Finding>, Stop> {
    let path = "config/acme";
    let seen = probe.read(path).await?;
    if let Some(blind) = probe.blind(&seen, path) {
        return Ok(vec![blind]);
    }
    if probe.issuers().await?.iter().all(|(_, cert)| cert.is_root) {
        let message = "Mount contains only root issuers, ACME is not required.";
        return Ok(vec![probe.found(Status::NotApplicable, path, message)]);
    }
    let enabled = matches!(&seen, Seen::Data(config) if flag(config, "enabled"));
    Ok(vec![if enabled {
        probe.found(Status::Ok, path, "ACME is on for this mount's intermediates.")
    } else {
        probe.found(
            Status::Informational,
            path,
            "ACME is off. With it, servers get and renew their certificates by themselves.",
        )
    }])
}

async fn acme_headers(probe: &Probe<'_>) -> Result<Vec<Finding>, Stop> {
    let seen = probe.read("config/acme").await?;
    if !matches!(&seen, Seen::Data(config) if flag(config, "enabled")) {
        let message = "ACME is not enabled, no additional response headers required.";
        return Ok(vec![probe.found(Status::NotApplicable, "config/acme", message)]);
    }
    let path = probe.tune_path();
    let seen = probe.tuning().await?;
    if let Some(blind) = probe.blind(&seen, &path) {
        return Ok(vec![blind]);
    }
    let allowed = match &seen {
        Seen::Data(tuning) => strings(tuning, "allowed_response_headers"),
        _ => Vec::new(),
    };
    let missing =
        ACME_HEADERS.iter().filter(|name| !allowed.iter().any(|item| item.eq_ignore_ascii_case(name)));
    let missing: Vec<&str> = missing.copied().collect();
    Ok(vec![if missing.is_empty() {
        probe.found(Status::Ok, &path, "The mount may set the headers that ACME clients need.")
    } else {
        let message = format!(
            "ACME is on, but its answers lack headers that clients need. Tune the mount with -allowed-response-headers={}.",
            missing.join(" -allowed-response-headers=")
        );
        probe.found(Status::Warning, &path, message)
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_checks_can_be_read() {
        let names: std::collections::BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
        assert!(CHECKS.iter().all(|check| check.defaults().values().all(|value| !value.is_null())));
    }
}
