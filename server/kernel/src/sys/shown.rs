use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::kernel::Kernel;
use crate::mounts::{Class, MountConfig, MountEntry, Mounted};

/// A mount as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct MountShown {
    accessor: String,
    config: ConfigShown,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecation_status: Option<&'static str>,
    description: String,
    external_entropy_access: bool,
    local: bool,
    options: Option<BTreeMap<String, String>>,
    /// Where it is; only where the question does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    plugin_version: String,
    running_plugin_version: String,
    running_sha256: &'static str,
    seal_wrap: bool,
    #[serde(rename = "type")]
    kind: String,
    uuid: String,
}

/// What of it can be tuned, as it was set: 0 stands for what the server says.
#[derive(JsonSchema, Serialize)]
struct ConfigShown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_response_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_request_keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_response_keys: Vec<String>,
    default_lease_ttl: u64,
    force_no_cache: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    listing_visibility: String,
    max_lease_ttl: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passthrough_request_headers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_config: Option<LockoutShown>,
}

#[derive(JsonSchema, Serialize)]
struct LockoutShown {
    user_lockout_counter_reset_duration: u64,
    user_lockout_disable: bool,
    user_lockout_duration: u64,
    user_lockout_threshold: u64,
}

/// What of a mount can be tuned, as it holds: the server's values where nothing was set.
#[derive(JsonSchema, Serialize)]
pub(super) struct TuneShown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_response_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_request_keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audit_non_hmac_response_keys: Vec<String>,
    default_lease_ttl: u64,
    description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    external_entropy_access: bool,
    force_no_cache: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    listing_visibility: String,
    max_lease_ttl: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passthrough_request_headers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_counter_reset_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_disable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lockout_threshold: Option<u64>,
}

impl MountShown {
    pub(super) fn of(mounted: &Mounted, kernel: &Kernel) -> Self {
        let entry = &mounted.entry;
        Self {
            accessor: entry.accessor.clone(),
            config: ConfigShown::of(entry),
            deprecation_status: (entry.class != Class::System).then_some("supported"),
            description: entry.description.clone(),
            external_entropy_access: entry.external_entropy_access,
            local: entry.local,
            options: entry.options.clone(),
            path: None,
            plugin_version: entry.config.plugin_version.clone(),
            running_plugin_version: kernel.audits.running.clone(),
            running_sha256: "",
            seal_wrap: entry.seal_wrap,
            kind: entry.shown_kind().into_owned(),
            uuid: entry.uuid.clone(),
        }
    }
}

impl ConfigShown {
    fn of(entry: &MountEntry) -> Self {
        let config = entry.config.clone();
        let lockout = config.user_lockout_config.map(|lockout| LockoutShown {
            user_lockout_counter_reset_duration: lockout.lockout_counter_reset_duration,
            user_lockout_disable: lockout.lockout_disable,
            user_lockout_duration: lockout.lockout_duration,
            user_lockout_threshold: lockout.lockout_threshold,
        });
        Self {
            token_type: token_type(entry, &config),
            allowed_response_headers: config.allowed_response_headers,
            audit_non_hmac_request_keys: config.audit_non_hmac_request_keys,
            audit_non_hmac_response_keys: config.audit_non_hmac_response_keys,
            default_lease_ttl: config.default_lease_ttl,
            force_no_cache: config.force_no_cache,
            listing_visibility: config.listing_visibility,
            max_lease_ttl: config.max_lease_ttl,
            passthrough_request_headers: config.passthrough_request_headers,
            user_lockout_config: lockout,
        }
    }
}

impl TuneShown {
    pub(super) fn of(mounted: &Mounted) -> Self {
        let config = mounted.entry.config.clone();
        let lockout = config.user_lockout_config;
        Self {
            token_type: token_type(&mounted.entry, &config),
            allowed_response_headers: config.allowed_response_headers,
            audit_non_hmac_request_keys: config.audit_non_hmac_request_keys,
            audit_non_hmac_response_keys: config.audit_non_hmac_response_keys,
            default_lease_ttl: mounted.info.default_ttl.as_secs(),
            description: mounted.entry.description.clone(),
            external_entropy_access: mounted.entry.external_entropy_access,
            force_no_cache: config.force_no_cache,
            listing_visibility: config.listing_visibility,
            max_lease_ttl: mounted.info.max_ttl.as_secs(),
            options: mounted.entry.options.clone().unwrap_or_default(),
            passthrough_request_headers: config.passthrough_request_headers,
            user_lockout_counter_reset_duration: lockout
                .map(|lockout| lockout.lockout_counter_reset_duration),
            user_lockout_disable: lockout.map(|lockout| lockout.lockout_disable),
            user_lockout_duration: lockout.map(|lockout| lockout.lockout_duration),
            user_lockout_threshold: lockout.map(|lockout| lockout.lockout_threshold),
        }
    }
}

/// What kind of tokens an auth method gives; a secrets engine gives none.
fn token_type(entry: &MountEntry, config: &MountConfig) -> Option<String> {
    if !entry.path.starts_with("auth/") {
        return None;
    }
    Some(if config.token_type.is_empty() { "default-service".to_owned() } else { config.token_type.clone() })
}
