//! What surrounds a command: environment variables, the user's folders, the clock. Nothing else in this
//! crate looks at them, so a test or a reader finds every such influence here.

use std::{env, path::PathBuf};

use zeroize::Zeroizing;

use crate::agent::moment::Moment;

/// The prefixes a variable may have, the strongest first: ours, then those of the tools we replace.
const PREFIXES: [&str; 3] = ["KEEP", "BAO", "VAULT"];

/// Where the server of a first run answers.
pub(crate) const ADDRESS_DEFAULT: &str = "https://127.0.0.1:8200";

/// The surroundings of one invocation, read once at the start.
pub(crate) struct Settings {
    pub(crate) address: Option<String>,
    pub(crate) agent_address: Option<String>,
    pub(crate) token: Option<Zeroizing<String>>,
    pub(crate) token_path: Option<PathBuf>,
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) namespace: Option<String>,
    pub(crate) ca_cert: Option<String>,
    pub(crate) ca_cert_bytes: Option<String>,
    pub(crate) ca_path: Option<String>,
    pub(crate) client_cert: Option<String>,
    pub(crate) client_cert_bytes: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) client_key_bytes: Option<Zeroizing<String>>,
    pub(crate) client_timeout: Option<String>,
    pub(crate) max_retries: Option<String>,
    pub(crate) skip_verify: Option<String>,
    pub(crate) disable_redirects: Option<String>,
    pub(crate) tls_server_name: Option<String>,
    pub(crate) wrap_ttl: Option<String>,
    pub(crate) mfa: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) log_format: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) detailed: Option<String>,
    pub(crate) unwrap_token: Option<Zeroizing<String>>,
    pub(crate) rate_limit: Option<String>,
    /// The proxy of this program alone: it is meant for every server, this machine's among them.
    pub(crate) proxy: Option<String>,
    pub(crate) http_proxy: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) home: Option<PathBuf>,
    /// Where the agent's configuration lies.
    pub(crate) agent_config: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME/sealkeep`: where a first run of the server leaves what its user needs.
    pub(crate) config_dir: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn read() -> Settings {
        let home = plain("HOME").map(PathBuf::from);
        let config_home =
            plain("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
        Settings {
            address: ours("ADDR"),
            agent_address: ours("AGENT_ADDR"),
            token: ours("TOKEN").map(Zeroizing::new),
            token_path: ours("TOKEN_PATH").map(PathBuf::from),
            config_path: ours("CONFIG_PATH").map(PathBuf::from),
            namespace: ours("NAMESPACE"),
            ca_cert: ours("CACERT"),
            ca_cert_bytes: ours("CACERT_BYTES"),
            ca_path: ours("CAPATH"),
            client_cert: ours("CLIENT_CERT"),
            client_cert_bytes: ours("CLIENT_CERT_BYTES"),
            client_key: ours("CLIENT_KEY"),
            client_key_bytes: ours("CLIENT_KEY_BYTES").map(Zeroizing::new),
            client_timeout: ours("CLIENT_TIMEOUT"),
            max_retries: ours("MAX_RETRIES"),
            skip_verify: ours("SKIP_VERIFY"),
            disable_redirects: ours("DISABLE_REDIRECTS"),
            tls_server_name: ours("TLS_SERVER_NAME"),
            wrap_ttl: ours("WRAP_TTL"),
            mfa: ours("MFA"),
            format: ours("FORMAT"),
            log_format: ours("LOG_FORMAT"),
            log_level: ours("LOG_LEVEL"),
            detailed: ours("DETAILED"),
            unwrap_token: ours("UNWRAP_TOKEN").map(Zeroizing::new),
            rate_limit: ours("RATE_LIMIT"),
            proxy: ours("PROXY_ADDR").or_else(|| ours("HTTP_PROXY")),
            http_proxy: either_case("HTTP_PROXY"),
            https_proxy: either_case("HTTPS_PROXY"),
            no_proxy: either_case("NO_PROXY"),
            user: plain("LOGNAME").or_else(|| plain("USER")),
            agent_config: ours("AGENT_CONFIG").map(PathBuf::from),
            config_dir: config_home.map(|folder| folder.join("sealkeep")),
            home,
        }
    }
}

/// A variable by its name, for templates that ask for it; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    plain(name)
}

/// Seconds since 1970, for judging how long a certificate is still good.
pub(crate) fn unix_now() -> i64 {
    now().seconds()
}

/// What this machine's clock says.
pub(crate) fn now() -> Moment {
    #[expect(clippy::disallowed_methods, reason = "the one clock of the command line")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn ours(name: &str) -> Option<String> {
    PREFIXES.iter().find_map(|prefix| plain(&format!("{prefix}_{name}")))
}

fn either_case(name: &str) -> Option<String> {
    plain(name).or_else(|| plain(&name.to_lowercase()))
}

/// An empty variable counts as unset, as everywhere in this trade.
fn plain(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
    let value = env::var(name).ok()?;
    (!value.is_empty()).then_some(value)
}
