use serde_json::{Value, json};

use crate::config::{Config, Format, Listener, Place, Seal};
use crate::store;

/// The configuration without its secrets, in the shape of `sys/config/state/sanitized`.
pub(super) fn describe(config: &Config) -> Value {
    let seal = match config.seal {
        Seal::Shamir => "shamir",
        Seal::Static { .. } => "static",
    };
    json!({
        "api_addr": config.api_addr.clone().unwrap_or_default(),
        "cluster_addr": config.cluster_addr.clone().unwrap_or_default(),
        "cluster_name": config.cluster_name.clone().unwrap_or_default(),
        "default_lease_ttl": config.default_lease_ttl.as_secs(),
        "max_lease_ttl": config.max_lease_ttl.as_secs(),
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
        "seals": [{ "type": seal, "disabled": false }],
        "storage": { "type": store::kind(&config.storage) },
        "listeners": config.listeners.iter().map(listener).collect::<Vec<_>>(),
    })
}

fn listener(listener: &Listener) -> Value {
    let (kind, address) = match &listener.place {
        Place::Tcp(address) => ("tcp", address.clone()),
        Place::Unix { path, .. } => ("unix", path.display().to_string()),
    };
    json!({ "type": kind, "config": { "address": address, "tls_disable": listener.tls.is_none() } })
}
