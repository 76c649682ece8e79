//! `listener "tcp" { … }` and `listener "unix" { … }`.

mod network;
mod proxies;
mod tls;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use proxies::{Behavior, CertificateHeader, Decoder, Forwarded, ProxyProtocol};
pub(crate) use tls::{ClientCertificate, Source, Tls, TlsVersion};

use super::section::{Labelled, Section};

/// One door of the server.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) place: Place,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) metrics: Metrics,
    pub(crate) ceremonies: Ceremonies,
    /// Only requests with `X-Vault-Request: true` are heard: a browser cannot be tricked into sending one.
    pub(crate) wants_request_header: bool,
    pub(crate) forwarded: Option<Forwarded>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(crate) cors: Option<Cors>,
    pub(crate) response_headers: Vec<HeaderRule>,
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// An address with a port, to be resolved.
    Tcp(String),
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Who may connect, as bits of a file mode.
        mode: Option<u32>,
    },
}

/// What a request may cost before anything is known about who sends it. `None`: no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    pub(crate) body_size_max: Option<u64>,
    pub(crate) json_memory_max: Option<u64>,
    pub(crate) json_strings_max: Option<u64>,
    pub(crate) request_duration_max: Duration,
}

/// How long a client may take. `None`: for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Times {
    /// Between two requests.
    pub(crate) idle: Option<Duration>,
    /// To send the head of a request.
    pub(crate) head: Option<Duration>,
    /// To send its body.
    pub(crate) body: Option<Duration>,
}

/// What this door has to do with metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Metrics {
    /// `sys/metrics` wants a token.
    #[default]
    WithToken,
    /// `sys/metrics` wants none.
    Open,
    /// `sys/metrics` wants none, and nothing else answers.
    Only,
    /// `sys/metrics` does not answer.
    Never,
}

/// What holders of shares may do through this door without a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ceremonies {
    /// `sys/rekey` and `sys/rekey-recovery-key` answer.
    pub(crate) rekey: bool,
    /// `sys/generate-root` answers.
    pub(crate) generate_root: bool,
}

/// Which web pages of other origins may ask.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cors {
    /// Origins; `*` is every one.
    pub(crate) origins: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) credentials: bool,
}

/// A header that is added to answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderRule {
    pub(crate) status: StatusRule,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// To which answers a header is added.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatusRule {
    /// All.
    Any,
    /// Those of a hundred: 4 for `4xx`.
    Class(u16),
    /// Those with one status.
    One(u16),
}

/// The default size limit of a body.
const BODY_SIZE_MAX: i64 = 32 << 20;
/// What a body may cost in memory once parsed, by the estimate of [`crate::http::json`].
const JSON_MEMORY_MAX: i64 = 34_078_720;
/// How many strings a body may hold.
const JSON_STRINGS_MAX: i64 = 1000;
/// How long a request may take.
const REQUEST_DURATION: Duration = Duration::from_secs(90);
const IDLE: Duration = Duration::from_secs(300);
const HEAD: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);

impl Default for Listener {
    fn default() -> Self {
        Self {
            place: Place::Tcp("127.0.0.1:8200".to_owned()),
            tls: None,
            limits: Limits {
                body_size_max: u64::try_from(BODY_SIZE_MAX).ok(),
                json_memory_max: u64::try_from(JSON_MEMORY_MAX).ok(),
                json_strings_max: u64::try_from(JSON_STRINGS_MAX).ok(),
                request_duration_max: REQUEST_DURATION,
            },
            times: Times { idle: Some(IDLE), head: Some(HEAD), body: Some(BODY) },
            metrics: Metrics::default(),
            ceremonies: Ceremonies::default(),
            wants_request_header: false,
            forwarded: None,
            proxy_protocol: None,
            cors: None,
            response_headers: Vec::new(),
        }
    }
}

impl Listener {
    /// Whether this door does not let in strangers with shares to `path`.
    pub(crate) fn hides(&self, path: &str) -> bool {
        match path.strip_prefix("sys/").and_then(|rest| rest.split_once('/')) {
            Some(("rekey", "init" | "update" | "verify") | ("rekey-recovery-key", _)) => {
                !self.ceremonies.rekey
            }
            Some(("generate-root", "attempt" | "update")) => !self.ceremonies.generate_root,
            _ => false,
        }
    }
}

/// All listeners, in the order of the files.
pub(super) fn read_all(section: &Section<'_>) -> Vec<Listener> {
    let blocks = section.named_blocks("listener", &["type"]);
    if blocks.is_empty() {
        section.error(
            "listener",
            "no listener: add listener \"tcp\" { address = \"127.0.0.1:8200\"  tls_cert_file = …  tls_key_file = … }",
        );
    }
    let listeners: Vec<Listener> = blocks.into_iter().filter_map(read).collect();
    let taken = |(index, listener): (usize, &Listener)| {
        listeners.iter().take(index).any(|earlier| earlier.place == listener.place)
    };
    if listeners.iter().enumerate().any(taken) {
        section.error("listener", "two listeners have the same address: give each its own");
    }
    listeners
}

fn read(block: Labelled<'_>) -> Option<Listener> {
    let kind = block.labels.first().copied().unwrap_or_default();
    let stanza = block.section;
    let place = match kind {
        "tcp" => tcp_place(&stanza),
        "unix" => unix_place(&stanza),
        other => {
            stanza.error("address", &format!("there is no listener \"{other}\": take \"tcp\" or \"unix\""));
            return None;
        }
    };
    let limit =
        |key, default| u64::try_from(stanza.number(key).unwrap_or(default)).ok().filter(|limit| *limit > 0);
    let span =
        |key, default| Some(stanza.span(key).unwrap_or(default)).filter(|span: &Duration| !span.is_zero());
    let listener = Listener {
        tls: if kind == "tcp" { tls::read(&stanza) } else { tls::none(&stanza) },
        limits: Limits {
            body_size_max: limit("max_request_size", BODY_SIZE_MAX),
            json_memory_max: limit("max_request_json_memory", JSON_MEMORY_MAX),
            json_strings_max: limit("max_request_json_strings", JSON_STRINGS_MAX),
            request_duration_max: span("max_request_duration", REQUEST_DURATION).unwrap_or(REQUEST_DURATION),
        },
        times: Times {
            idle: span("http_idle_timeout", IDLE),
            head: span("http_read_header_timeout", HEAD),
            body: span("http_read_timeout", BODY),
        },
        metrics: metrics(&stanza),
        ceremonies: Ceremonies {
            rekey: stanza.flag("disable_unauthed_rekey_endpoints") == Some(false),
            generate_root: stanza.flag("disable_unauthed_generate_root_endpoints") == Some(false),
        },
        wants_request_header: stanza.flag("require_request_header").unwrap_or(false),
        forwarded: proxies::forwarded(&stanza),
        proxy_protocol: proxies::proxy_protocol(&stanza),
        cors: cors(&stanza),
        response_headers: response_headers(&stanza),
        place,
    };
    without_effect(&stanza);
    stanza.close();
    Some(listener)
}

fn tcp_place(stanza: &Section<'_>) -> Place {
    let address = stanza.text("address").unwrap_or_else(|| "127.0.0.1:8200".to_owned());
    // A name without a port means the usual one.
    let without_port = address.ends_with(']') || !address.contains(':');
    let whole = match address.parse::<Ipv6Addr>() {
        Ok(six) => format!("[{six}]:8200"),
        Err(_) if without_port => format!("{address}:8200"),
        Err(_) => address,
    };
    let (host, port) = whole.rsplit_once(':').unwrap_or((&whole, ""));
    let port_fits = port.parse::<u16>().is_ok();
    if !port_fits || host.contains([':', '[']) && whole.parse::<SocketAddr>().is_err() {
        stanza.error(
            "address",
            "\"address\" must be a host and a port up to 65535, such as \"127.0.0.1:8200\" or \"[::1]:8200\"",
        );
    }
    // `:8200` is Go's way to say every address.
    Place::Tcp(if host.is_empty() { format!("[::]{whole}") } else { whole })
}

fn unix_place(stanza: &Section<'_>) -> Place {
    let path = stanza.text("address").unwrap_or_default();
    if path.is_empty() {
        stanza.error("address", "say where the socket shall be: address = \"/run/sealkeep/sealkeep.sock\"");
    }
    let mode = stanza.text("socket_mode").filter(|mode| !mode.is_empty());
    let bits = mode.as_ref().map(|mode| u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o777));
    if bits == Some(None) {
        stanza.error("socket_mode", "\"socket_mode\" must be a file mode in quotes such as \"660\"");
    }
    stanza.refuse(
        &["socket_user", "socket_group"],
        "start the server as the user and group that shall own the socket",
    );
    Place::Unix { path: PathBuf::from(path), mode: bits.flatten() }
}

fn metrics(stanza: &Section<'_>) -> Metrics {
    let mut metrics = Metrics::default();
    for block in stanza.blocks("telemetry", 0) {
        let flag = |key| block.section.flag(key).unwrap_or(false);
        let (open, only, never) =
            (flag("unauthenticated_metrics_access"), flag("metrics_only"), flag("disallow_metrics"));
        if never && (open || only) {
            block.section.error(
                "disallow_metrics",
                "\"disallow_metrics\" contradicts the other keys: keep one of them",
            );
        }
        block.section.ignore(&["metrics_path"], "metrics are at /v1/sys/metrics");
        metrics = match (open, only, never) {
            (_, true, _) => Metrics::Only,
            (_, _, true) => Metrics::Never,
            (true, ..) => Metrics::Open,
            _ => Metrics::WithToken,
        };
        block.section.close();
    }
    match stanza.text("role").as_deref() {
        None | Some("" | "default") => metrics,
        Some("metrics_only") => Metrics::Only,
        Some(_) => {
            stanza.error("role", "\"role\" must be \"default\" or \"metrics_only\"");
            metrics
        }
    }
}

fn cors(stanza: &Section<'_>) -> Option<Cors> {
    let enabled = stanza.flag("cors_enabled").unwrap_or(false);
    let cors = Cors {
        origins: stanza.texts("cors_allowed_origins").unwrap_or_default(),
        headers: stanza.texts("cors_allowed_headers").unwrap_or_default(),
        credentials: stanza.flag("cors_allow_credentials").unwrap_or(false),
    };
    if enabled && cors.origins.is_empty() {
        stanza.error(
            "cors_allowed_origins",
            "say who may ask: cors_allowed_origins = [\"https://app.example.com\"]",
        );
    }
    if cors.credentials && cors.origins.iter().any(|origin| origin == "*") {
        stanza.error(
            "cors_allow_credentials",
            "\"cors_allow_credentials\" with every origin lets any page act: name the origins",
        );
    }
    enabled.then_some(cors)
}

fn response_headers(stanza: &Section<'_>) -> Vec<HeaderRule> {
    let mut rules = Vec::new();
    for block in stanza.blocks("custom_response_headers", 1) {
        let label = block.labels.first().copied().unwrap_or_default();
        let status = match (label, label.strip_suffix("xx"), label.parse::<u16>()) {
            ("default", ..) => Some(StatusRule::Any),
            (_, Some(class), _) => {
                class.parse().ok().filter(|class| (1..=5).contains(class)).map(StatusRule::Class)
            }
            (.., Ok(status)) if (100..=599).contains(&status) => Some(StatusRule::One(status)),
            _ => None,
        };
        let Some(status) = status else {
            stanza.error(
                "custom_response_headers",
                "headers are set for \"default\", a class such as \"4xx\", or a status such as \"404\"",
            );
            continue;
        };
        // Several values are one, put together as OpenBao does it.
        for (name, value) in block.section.every_text("; ") {
            if name.to_ascii_lowercase().starts_with("x-vault-") {
                stanza.error(
                    "custom_response_headers",
                    &format!("the header \"{name}\" is not yours to set: names with X-Vault- have a meaning"),
                );
            }
            rules.push(HeaderRule { status, name, value });
        }
    }
    rules
}

fn without_effect(stanza: &Section<'_>) {
    stanza.ignore(&["cluster_address", "purpose"], "there is one node for now");
    stanza.ignore(&["http_write_timeout"], "an answer that nobody reads ends with \"http_idle_timeout\"");
    for kind in ["profiling", "inflight_requests_logging"] {
        for block in stanza.blocks(kind, 0) {
            let keys = ["unauthenticated_pprof_access", "unauthenticated_in_flight_request_access"];
            block.section.ignore(&keys, "there is no such endpoint without a token");
            block.section.close();
        }
    }
}
