//! The configuration: files in HCL or JSON with OpenBao's keys, and variables that override them.
//!
//! Everything is read once, checked whole, and turned into types that cannot be wrong. What is misspelt is
//! refused, with file and line: a setting that silently does nothing is how servers end up open.

mod audit;
mod environment;
mod finding;
mod initialize;
mod listener;
mod nearest;
mod seal;
mod section;
mod storage;
mod telemetry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kernel::{AuditSpec, Lockout};
use policy::hcl;

pub(crate) use environment::Environment;
use finding::Findings;
pub(crate) use finding::{Finding, Weight};
pub(crate) use listener::{
    Behavior, CertificateHeader, ClientCertificate, Cors, Decoder, Forwarded, HeaderRule, Limits, Listener,
    Metrics, Place, ProxyProtocol, Source, StatusRule, Times, Tls, TlsVersion,
};
pub(crate) use seal::{KeySource, Seal, StaticKey};
use section::Section;
pub(crate) use storage::Storage;

/// A whole server, as its operator wants it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) storage: Storage,
    pub(crate) seal: Seal,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) audits: Vec<AuditSpec>,
    pub(crate) initialize: Vec<flow::Group>,
    pub(crate) lockouts: Vec<Lockout>,
    pub(crate) cluster_name: Option<String>,
    pub(crate) api_addr: Option<String>,
    pub(crate) cluster_addr: Option<String>,
    pub(crate) default_lease_ttl: Duration,
    pub(crate) max_lease_ttl: Duration,
    pub(crate) outside_timeout: Duration,
    pub(crate) ui: bool,
    pub(crate) raw_storage_endpoint: bool,
    pub(crate) introspection_endpoint: bool,
    pub(crate) profiling_endpoint: bool,
    /// Strangers may run workflows that allow it.
    pub(crate) allow_unauthenticated_workflows: bool,
    pub(crate) allow_audit_api: bool,
    pub(crate) allow_audit_prefix: bool,
    pub(crate) log: Log,
    pub(crate) pid_file: Option<PathBuf>,
}

/// What the server says, how and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) format: Format,
    pub(crate) file: Option<PathBuf>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// A lease lives so long unless a mount or the configuration says otherwise.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(768 * 3600);

/// How long an answer over HTTP from outside may take in all, at most: more than two of them fit into no login.
pub(crate) const OUTSIDE_MAX: Duration = Duration::from_secs(30);

/// No directory of configuration files holds more than this.
const FILES_MAX: usize = 256;

/// A configuration with what was found on the way, or what makes it wrong.
type Loaded = Result<(Config, Vec<Finding>), Vec<Finding>>;

/// Whether storage and listeners must be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extent {
    Whole,
    Partial,
}

/// Reads files and directories, in order. The warnings come with the configuration; one error, and there is none.
pub(crate) fn load(paths: &[PathBuf], environment: &Environment) -> Loaded {
    load_as(Extent::Whole, paths, environment)
}

/// The same, for a development server, which has storage and a listener of its own.
pub(crate) fn load_partial(paths: &[PathBuf], environment: &Environment) -> Loaded {
    load_as(Extent::Partial, paths, environment)
}

fn load_as(extent: Extent, paths: &[PathBuf], environment: &Environment) -> Loaded {
    let findings = Findings::default();
    let mut texts = Vec::new();
    for path in paths {
        read(path, &mut texts, &findings);
    }
    let bodies: Vec<(&str, hcl::Body)> = texts
        .iter()
        .filter_map(|(file, text)| match hcl::parse_any(text) {
            Ok(body) => Some((file.as_str(), body)),
            Err(error) => {
                findings.error(file, error.line, error.message);
                None
            }
        })
        .collect();
    // What a file that does not read would have said is not known: nothing else can be called missing or wrong.
    if findings.has_errors() {
        return Err(findings.into_vec());
    }
    let parts = bodies.iter().map(|(file, body)| (*file, body)).collect();
    let config = whole(Section::files(parts, &findings), extent, environment);
    let findings = findings.into_vec();
    match config {
        config if findings.iter().all(|finding| finding.weight == Weight::Warning) => Ok((config, findings)),
        _ => Err(findings.into_iter().filter(|finding| finding.weight == Weight::Error).collect()),
    }
}

fn read(path: &Path, texts: &mut Vec<(String, String)>, findings: &Findings) {
    let shown = path.display().to_string();
    let files = if path.is_dir() { directory(path) } else { Ok(vec![path.to_owned()]) };
    let files = match files {
        Ok(files) => files,
        Err(error) => return findings.error(&shown, 0, format!("cannot be listed: {error}")),
    };
    if files.is_empty() {
        findings.error(&shown, 0, "holds no file that ends in .hcl or .json: put one there, or name a file");
    }
    for file in files {
        let shown = file.display().to_string();
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((shown, text)),
            Err(error) => findings.error(&shown, 0, format!("cannot be read: {error}")),
        }
    }
}

fn directory(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)?.take(FILES_MAX) {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "hcl" || extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn whole(section: Section<'_>, extent: Extent, environment: &Environment) -> Config {
    let storage = match extent {
        Extent::Partial if !section.has("storage") => None,
        _ => storage::read(&section, environment),
    };
    let seal = seal::read(&section, environment);
    let listeners = match extent {
        Extent::Partial if !section.has("listener") => Vec::new(),
        _ => listener::read_all(&section),
    };
    let max_lease_ttl = section.span("max_lease_ttl").filter(|ttl| !ttl.is_zero()).unwrap_or(LEASE_TTL);
    let outside_timeout =
        section.span("outside_timeout").filter(|time| !time.is_zero()).unwrap_or(OUTSIDE_MAX);
    if outside_timeout > OUTSIDE_MAX {
        section
            .error("outside_timeout", "\"outside_timeout\" must not be longer than 30s: logins wait for it");
    }
    let default_lease_ttl = section.span("default_lease_ttl").filter(|ttl| !ttl.is_zero());
    if default_lease_ttl.is_some_and(|ttl| ttl > max_lease_ttl) {
        section.error("default_lease_ttl", "\"default_lease_ttl\" must not be longer than \"max_lease_ttl\"");
    }
    let address = |key, variables: &[&str]| {
        let address = section.setting(key, environment, variables)?;
        if !address.starts_with("https://") && !address.starts_with("http://") {
            let text = format!("\"{key}\" must be a URL such as \"https://vault.example.com:8200\"");
            section.wrong_setting(key, environment, variables, &text);
        }
        Some(address.trim_end_matches('/').to_owned())
    };
    let flag = |key| section.flag(key).unwrap_or(false);
    let config = Config {
        api_addr: address("api_addr", &["API_ADDR", "ADVERTISE_ADDR", "REDIRECT_ADDR"]),
        cluster_addr: address("cluster_addr", &["CLUSTER_ADDR"]),
        audits: audit::read(&section, flag("allow_audit_log_prefixing")),
        initialize: initialize::read_all(&section),
        lockouts: telemetry::lockouts(&section),
        cluster_name: section.text("cluster_name").filter(|name| !name.is_empty()),
        default_lease_ttl: default_lease_ttl.unwrap_or(LEASE_TTL.min(max_lease_ttl)),
        max_lease_ttl,
        outside_timeout,
        ui: environment.setting("UI").map_or(flag("ui"), |ui| matches!(ui, "1" | "t" | "true")),
        raw_storage_endpoint: flag("raw_storage_endpoint"),
        introspection_endpoint: flag("introspection_endpoint"),
        profiling_endpoint: flag("profiling_endpoint"),
        allow_unauthenticated_workflows: flag("allow_unauthenticated_workflows"),
        allow_audit_api: flag("unsafe_allow_api_audit_creation"),
        allow_audit_prefix: flag("allow_audit_log_prefixing"),
        log: log(&section, environment),
        pid_file: section.text("pid_file").filter(|file| !file.is_empty()).map(PathBuf::from),
        storage: storage.unwrap_or(Storage::Memory),
        seal,
        listeners,
    };
    if !config.initialize.is_empty() && matches!(config.seal, Seal::Shamir) {
        section.error(
            "initialize",
            "a server sets itself up only if it unseals itself: add seal \"static\" { … }",
        );
    }
    telemetry::check(&section);
    without_effect(&section);
    section.close();
    config
}

impl Config {
    /// What a server is that nothing is known of but its storage.
    pub(crate) fn bare(storage: Storage) -> Self {
        Self {
            storage,
            seal: Seal::default(),
            listeners: Vec::new(),
            audits: Vec::new(),
            initialize: Vec::new(),
            lockouts: Vec::new(),
            cluster_name: None,
            api_addr: None,
            cluster_addr: None,
            default_lease_ttl: LEASE_TTL,
            max_lease_ttl: LEASE_TTL,
            outside_timeout: OUTSIDE_MAX,
            ui: false,
            raw_storage_endpoint: false,
            introspection_endpoint: false,
            profiling_endpoint: false,
            allow_unauthenticated_workflows: false,
            allow_audit_api: false,
            allow_audit_prefix: false,
            log: Log::default(),
            pid_file: None,
        }
    }
}

impl Log {
    /// As variables alone want it.
    pub(crate) fn of(environment: &Environment) -> Result<Self, crate::run::Failure> {
        let wrong = crate::run::Failure::usage;
        let level = environment.setting("LOG_LEVEL").map(str::parse).transpose().map_err(wrong)?;
        let format = environment.setting("LOG_FORMAT").map(str::parse).transpose().map_err(wrong)?;
        Ok(Self { level: level.unwrap_or_default(), format: format.unwrap_or_default(), file: None })
    }
}

fn log(section: &Section<'_>, environment: &Environment) -> Log {
    let word = |key, variable| section.setting(key, environment, &[variable]);
    let level = word("log_level", "LOG_LEVEL").map(|word| {
        word.parse().unwrap_or_else(|text: String| {
            section.wrong_setting("log_level", environment, &["LOG_LEVEL"], &text);
            Level::Info
        })
    });
    let format = word("log_format", "LOG_FORMAT").map(|word| {
        word.parse().unwrap_or_else(|text: String| {
            section.wrong_setting("log_format", environment, &["LOG_FORMAT"], &text);
            Format::Text
        })
    });
    let file = section.text("log_file").filter(|file| !file.is_empty()).map(PathBuf::from);
    Log { level: level.unwrap_or_default(), format: format.unwrap_or_default(), file }
}

impl Level {
    /// As the configuration writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.trim().to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" | "notice" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "err" => Ok(Self::Error),
            _ => Err(format!("the log level \"{word}\" is unknown: take trace, debug, info, warn or error")),
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.trim().to_ascii_lowercase().as_str() {
            "standard" | "text" | "not set" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("the log format \"{word}\" is unknown: take standard or json")),
        }
    }
}

/// Keys of OpenBao and Vault that files in use hold, and that decide nothing here.
fn without_effect(section: &Section<'_>) {
    section.ignore(&["disable_mlock"], "keys are always locked in memory, and nothing else is");
    section.ignore(
        &["cache_size", "disable_cache"],
        "the caches are bounded in bytes and always right, so there is nothing to switch off",
    );
    section.ignore(
        &[
            "disable_clustering",
            "cluster_cipher_suites",
            "disable_standby_reads",
            "disable_performance_standby",
        ],
        "there is one node for now",
    );
    section.ignore(
        &[
            "disable_sealwrap",
            "disable_indexing",
            "disable_sentinel_trace",
            "disable_ssct_tokens",
            "detect_deadlocks",
        ],
        "it belongs to another product",
    );
    section.ignore(
        &["disable_printable_check", "unsafe_relative_paths"],
        "paths that are not canonical or not printable are always refused",
    );
    section.ignore(
        &["log_rotate_bytes", "log_rotate_duration", "log_rotate_max_files"],
        "leave rotation to logrotate or journald, and send SIGHUP after it",
    );
    section.ignore(&["log_requests_level"], "each request is in the audit log; add a device");
    section.ignore(
        &["enable_response_header_hostname", "enable_response_header_raft_node_id"],
        "answers name no host",
    );
    section.ignore(
        &["imprecise_lease_role_tracking", "default_max_request_duration", "service_registration"],
        "it is not needed here",
    );
    let plugins = [
        "plugin",
        "plugin_directory",
        "plugin_file_uid",
        "plugin_file_permissions",
        "plugin_auto_download",
        "plugin_auto_register",
        "plugin_download_behavior",
        "plugin_download_max_size",
    ];
    section.ignore(&plugins, "engines and auth methods are built in; there are no plugins");
    section.refuse(&["unsafe_cross_namespace_identity"], "identities stay in their namespace");
}

#[cfg(test)]
mod tests;
