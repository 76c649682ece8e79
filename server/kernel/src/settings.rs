use std::collections::BTreeMap;
use std::time::Duration;

/// What the operator decided when the server was started. It holds until the next start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The version that clients read, `2.7.2+sealkeep.X.Y.Z`.
    pub version: String,
    /// When this version was made, in RFC 3339.
    pub commit_date: String,
    /// What `storage_type` says.
    pub storage_kind: String,
    /// The name of the cluster; without one, the kernel makes one up and keeps it.
    pub cluster_name: Option<String>,
    /// The address that clients use, as a URL.
    pub api_addr: String,
    /// The address that other nodes would use, as a URL.
    pub cluster_addr: String,
    /// How long leases and tokens live unless something says otherwise.
    pub default_lease_ttl: Duration,
    /// How long they may live at most.
    pub max_lease_ttl: Duration,
    /// How long a request may take.
    pub max_request_duration: Duration,
    /// Audit devices can be enabled and disabled through the API.
    pub allow_audit_api: bool,
    /// Audit devices may put a prefix before each line.
    pub allow_audit_prefix: bool,
    /// `sys/raw` answers.
    pub raw_storage_endpoint: bool,
    /// `sys/internal/inspect` answers.
    pub introspection_endpoint: bool,
    /// `sys/pprof` answers.
    pub profiling_endpoint: bool,
    /// Strangers may run workflows that allow it.
    pub allow_unauthenticated_workflows: bool,
    /// `sys/metrics` answers without a token on some listener. HTTP refuses it on the others.
    pub open_metrics: bool,
    /// `sys/rekey` answers without a token on some listener. HTTP refuses it on the others.
    pub open_rekey: bool,
    /// `sys/generate-root` answers without a token on some listener. HTTP refuses it on the others.
    pub open_generate_root: bool,
    /// The web UI is served.
    pub ui: bool,
    /// Audit devices from the configuration. They are there while the configuration names them.
    pub declared_audits: Vec<AuditSpec>,
    /// When failed logins lock a user out, from the configuration.
    pub lockouts: Vec<Lockout>,
}

/// An audit device as it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditSpec {
    /// Its type: `file`, `socket`, `syslog` or `http`.
    pub kind: String,
    /// Its name, with a slash at the end.
    pub path: String,
    /// What it is for.
    pub description: String,
    /// The options of its type.
    pub options: BTreeMap<String, String>,
}

impl AuditSpec {
    /// Looks whether its type and its options are right.
    ///
    /// # Errors
    /// With what is wrong, and what would be right.
    pub fn check(&self, allow_prefix: bool) -> Result<(), String> {
        crate::audit::check(&self.kind, &self.options, allow_prefix)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

/// When failed logins lock a user out of a kind of auth method.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lockout {
    /// The type of auth method, or `all`.
    pub method: String,
    /// This many failures lock; `None` leaves it as for `all`.
    pub threshold: Option<u32>,
    /// For so long.
    pub duration: Option<Duration>,
    /// And so much time without a failure forgets the earlier ones.
    pub counter_reset: Option<Duration>,
    /// No lockout at all.
    pub disabled: bool,
}

impl Settings {
    /// The version that everything built in has.
    pub(crate) fn running_version(&self) -> String {
        // A semantic version may have one `+`; clients parse it.
        let version = self.version.split_once('+').map_or(self.version.as_str(), |(version, _)| version);
        format!("v{version}+builtin.bao")
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MONTH: Duration = Duration::from_secs(768 * 3600);
        Self {
            version: String::new(),
            commit_date: String::new(),
            storage_kind: String::new(),
            cluster_name: None,
            api_addr: String::new(),
            cluster_addr: String::new(),
            default_lease_ttl: MONTH,
            max_lease_ttl: MONTH,
            max_request_duration: Duration::from_secs(90),
            allow_audit_api: false,
            allow_audit_prefix: false,
            raw_storage_endpoint: false,
            introspection_endpoint: false,
            profiling_endpoint: false,
            allow_unauthenticated_workflows: false,
            open_metrics: false,
            open_rekey: false,
            open_generate_root: false,
            ui: false,
            declared_audits: Vec::new(),
            lockouts: Vec::new(),
        }
    }
}
