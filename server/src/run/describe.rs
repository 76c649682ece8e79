use std::collections::BTreeMap;
use std::time::Duration;

use kernel::{AuditSpec, Lockout};
use serde_json::{Map, Value, json};

use crate::config::{Config, Format, LEASE_TTL, Listener, Metrics, Place, Seal, StatusRule};
use crate::store;

/// Settings of OpenBao that this server has not: each is as it is there where nobody sets it, for clients read them.
const TEXTS_UNSET: [&str; 3] = ["cluster_cipher_suites", "detect_deadlocks", "log_requests_level"];
const NUMBERS_UNSET: [&str; 4] =
    ["cache_size", "default_max_request_duration", "plugin_file_permissions", "plugin_file_uid"];
const FLAGS_UNSET: [&str; 13] = [
    "disable_cache",
    "disable_clustering",
    "disable_indexing",
    "disable_performance_standby",
    "disable_printable_check",
    "disable_sealwrap",
    "disable_sentinel_trace",
    "disable_standby_reads",
    "enable_response_header_hostname",
    "enable_response_header_raft_node_id",
    "imprecise_lease_role_tracking",
    "unsafe_cross_namespace_identity",
    "unsafe_relative_paths",
];
/// Where metrics could be sent; here they are fetched.
const SINKS_UNSET: [&str; 19] = [
    "circonus_api_app",
    "circonus_api_token",
    "circonus_api_url",
    "circonus_broker_id",
    "circonus_broker_select_tag",
    "circonus_check_display_name",
    "circonus_check_force_metric_activation",
    "circonus_check_id",
    "circonus_check_instance_id",
    "circonus_check_search_tag",
    "circonus_check_tags",
    "circonus_submission_interval",
    "circonus_submission_url",
    "dogstatsd_addr",
    "metrics_prefix",
    "stackdriver_location",
    "stackdriver_namespace",
    "stackdriver_project_id",
    "statsd_address",
];

/// The configuration without its secrets, in the shape of `sys/config/state/sanitized`.
pub(super) fn describe(config: &Config) -> Value {
    let seal = match config.seal {
        Seal::Shamir => "shamir",
        Seal::Static { .. } => "static",
    };
    // A bound that nobody has set is 0.
    let ttl = |ttl: Duration| if ttl == LEASE_TTL { 0 } else { ttl.as_secs() };
    let mut described = json!({
        "api_addr": config.api_addr.clone().unwrap_or_default(),
        "cluster_addr": config.cluster_addr.clone().unwrap_or_default(),
        "cluster_name": config.cluster_name.clone().unwrap_or_default(),
        "default_lease_ttl": ttl(config.default_lease_ttl),
        "max_lease_ttl": ttl(config.max_lease_ttl),
        "disable_ssct_tokens": true,
        "enable_ui": config.ui,
        "introspection_endpoint": config.introspection_endpoint,
        "profiling_endpoint": config.profiling_endpoint,
        "allow_unauthenticated_workflows": config.allow_unauthenticated_workflows,
        "raw_storage_endpoint": config.raw_storage_endpoint,
        "unsafe_allow_api_audit_creation": config.allow_audit_api,
        "allow_audit_log_prefixing": config.allow_audit_prefix,
        "log_level": config.log.level.word(),
        "log_format": match config.log.format { Format::Text => "standard", Format::Json => "json" },
        "pid_file": config.pid_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "plugin_directory": "",
        "seals": [{ "type": seal, "disabled": false }],
        "storage": storage(config),
        "telemetry": telemetry(),
        "listeners": config.listeners.iter().map(listener).collect::<Vec<_>>(),
    });
    if let Some(all) = described.as_object_mut() {
        all.extend(TEXTS_UNSET.map(|name| (name.to_owned(), "".into())));
        all.extend(NUMBERS_UNSET.map(|name| (name.to_owned(), 0.into())));
        all.extend(FLAGS_UNSET.map(|name| (name.to_owned(), false.into())));
        if !config.audits.is_empty() {
            all.insert("audits".to_owned(), config.audits.iter().map(audit).collect());
        }
        if !config.lockouts.is_empty() {
            let shown = config.lockouts.iter().map(|one| lockout(one, &config.lockouts));
            all.insert("user_lockout_configs".to_owned(), shown.collect());
        }
    }
    described
}

fn storage(config: &Config) -> Value {
    let kind = store::kind(&config.storage);
    let mut shown = json!({
        "type": kind,
        "cluster_addr": config.cluster_addr.clone().unwrap_or_default(),
        "redirect_addr": config.api_addr.clone().unwrap_or_default(),
        "disable_clustering": false,
    });
    if let Some(shown) = shown.as_object_mut().filter(|_| kind == "raft") {
        shown.insert("raft".to_owned(), json!({ "max_entry_size": "" }));
    }
    shown
}

/// Spans are in nanoseconds.
fn telemetry() -> Value {
    let mut shown = json!({
        "add_lease_metrics_namespace_labels": false,
        "disable_hostname": true,
        "dogstatsd_tags": null,
        "lease_metrics_epsilon": 3_600_000_000_000_u64,
        "maximum_gauge_cardinality": 500,
        "num_lease_metrics_buckets": 168,
        "prometheus_retention_time": 86_400_000_000_000_u64,
        "stackdriver_debug_logs": false,
        "statsite_address": "",
        "usage_gauge_period": 600_000_000_000_u64,
    });
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(SINKS_UNSET.map(|name| (name.to_owned(), "".into())));
    }
    shown
}

fn audit(spec: &AuditSpec) -> Value {
    json!({ "type": spec.kind, "path": spec.path, "description": spec.description })
}

/// What holds for a type of auth method: what it says, else what is said for all, else five failures in a quarter of an hour.
fn lockout(own: &Lockout, all: &[Lockout]) -> Value {
    let general = all.iter().find(|other| other.method == "all");
    let quarter = Duration::from_secs(900);
    let span = |of: fn(&Lockout) -> Option<Duration>| {
        of(own).or_else(|| general.and_then(of)).unwrap_or(quarter).as_nanos().to_string().parse::<u64>().ok()
    };
    json!({
        "type": own.method,
        "lockout_threshold": own.threshold.or_else(|| general.and_then(|other| other.threshold)).unwrap_or(5),
        "lockout_duration": span(|lockout| lockout.duration),
        "lockout_counter_reset": span(|lockout| lockout.counter_reset),
        "disable_lockout": own.disabled,
    })
}

/// A listener, with what of it is not as it would be anyway.
fn listener(listener: &Listener) -> Value {
    let mut shown = Map::new();
    let mut say = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    let kind = match &listener.place {
        Place::Tcp(address) => {
            say("address", address.as_str().into());
            say("tls_disable", listener.tls.is_none().into());
            "tcp"
        }
        Place::Unix { path, mode } => {
            say("address", path.display().to_string().into());
            if let Some(mode) = mode {
                say("socket_mode", format!("{mode:04o}").into());
            }
            "unix"
        }
    };
    bounds(listener).into_iter().for_each(|(name, value)| say(name, value));
    for (name, opens) in [
        ("disable_unauthed_rekey_endpoints", listener.ceremonies.rekey),
        ("disable_unauthed_generate_root_endpoints", listener.ceremonies.generate_root),
    ] {
        if opens {
            say(name, false.into());
        }
    }
    match listener.metrics {
        Metrics::WithToken => {}
        Metrics::Open => say("telemetry", json!([{ "unauthenticated_metrics_access": true }])),
        Metrics::Only => say("telemetry", json!([{ "metrics_only": true }])),
        Metrics::Never => say("telemetry", json!([{ "disallow_metrics": true }])),
    }
    if let Some(forwarded) = &listener.forwarded {
        let believed = forwarded.believed.iter().map(ToString::to_string).collect::<Vec<_>>();
        say("x_forwarded_for_authorized_addrs", believed.join(",").into());
        say("x_forwarded_for_hop_skips", forwarded.hop_skips.into());
        say("x_forwarded_for_reject_not_authorized", forwarded.reject_not_believed.into());
        say("x_forwarded_for_reject_not_present", forwarded.reject_not_present.into());
    }
    if !listener.response_headers.is_empty() {
        say("custom_response_headers", json!([headers(listener)]));
    }
    json!({ "type": kind, "config": shown })
}

/// Its bounds that are not the usual ones.
fn bounds(listener: &Listener) -> Vec<(&'static str, Value)> {
    let usual = Listener::default();
    let mut said = Vec::new();
    // No limit is a negative one.
    let limit = |limit: Option<u64>| limit.map_or(Value::from(-1), Value::from);
    for (name, own, usual) in [
        ("max_request_size", listener.limits.body_size_max, usual.limits.body_size_max),
        ("max_request_json_memory", listener.limits.json_memory_max, usual.limits.json_memory_max),
        ("max_request_json_strings", listener.limits.json_strings_max, usual.limits.json_strings_max),
    ] {
        if own != usual {
            said.push((name, limit(own)));
        }
    }
    let span = |span: Option<Duration>| Value::from(format!("{}s", span.unwrap_or_default().as_secs_f64()));
    for (name, own, usual) in [
        (
            "max_request_duration",
            Some(listener.limits.request_duration_max),
            Some(usual.limits.request_duration_max),
        ),
        ("http_idle_timeout", listener.times.idle, usual.times.idle),
        ("http_read_header_timeout", listener.times.head, usual.times.head),
        ("http_read_timeout", listener.times.body, usual.times.body),
    ] {
        if own != usual {
            said.push((name, span(own)));
        }
    }
    said
}

/// The headers that answers are given, by their statuses.
fn headers(listener: &Listener) -> BTreeMap<String, Vec<BTreeMap<String, Vec<String>>>> {
    let mut all: BTreeMap<String, Vec<BTreeMap<String, Vec<String>>>> = BTreeMap::new();
    for rule in &listener.response_headers {
        let statuses = match rule.status {
            StatusRule::Any => "default".to_owned(),
            StatusRule::Class(class) => format!("{class}xx"),
            StatusRule::One(status) => status.to_string(),
        };
        let groups = all.entry(statuses).or_insert_with(|| vec![BTreeMap::new()]);
        if let Some(group) = groups.first_mut() {
            group.entry(rule.name.clone()).or_default().push(rule.value.clone());
        }
    }
    all
}
