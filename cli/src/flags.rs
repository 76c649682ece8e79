//! The flags that every command has, and the client and output they ask for.

use std::{sync::Arc, time::Duration};

use clap::Args;
use http::{HeaderName, HeaderValue};

use crate::{
    address::{Address, Scheme},
    agent::config::Server,
    argv::go_bool,
    client::{Client, Mode, Redirects},
    limit::Limit,
    output::{Detail, Format, Output},
    session::Session,
    settings::{ADDRESS_DEFAULT, Settings},
    span::Span,
    stop::Stop,
    tls::{self, Pem, Trust, Verify},
    token_store::TokenStore,
    transport::Transport,
};

/// How long one request may take, unless set.
const TIMEOUT_SECONDS_DEFAULT: u64 = 60;
/// More retries would only hide an outage.
const RETRIES_MAX: u32 = 100;

/// How to reach the server and how to print.
#[derive(Args, Debug)]
#[command(next_help_heading = "HTTP Options")]
pub(crate) struct Globals {
    /// Address of the server [KEEP_ADDR; default https://127.0.0.1:8200]
    #[arg(long, global = true, value_name = "URL")]
    address: Option<String>,
    /// Address of an agent, used in place of the server's [KEEP_AGENT_ADDR]
    #[arg(long, global = true, value_name = "URL")]
    agent_address: Option<String>,
    /// PEM file of the CA that signed the server's certificate [KEEP_CACERT]
    #[arg(long, global = true, value_name = "FILE")]
    ca_cert: Option<String>,
    /// Folder of PEM files of trusted CAs [KEEP_CAPATH]
    #[arg(long, global = true, value_name = "DIR")]
    ca_path: Option<String>,
    /// PEM file of a client certificate; needs -client-key [KEEP_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<String>,
    /// PEM file of the client certificate's key [KEEP_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<String>,
    /// Do not follow redirects [KEEP_DISABLE_REDIRECTS]
    #[arg(long, global = true)]
    disable_redirects: bool,
    /// Further request header, as name=value; repeatable
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// MFA credential, as method:passcode; repeatable [KEEP_MFA]
    #[arg(long, global = true, value_name = "METHOD:CODE")]
    mfa: Vec<String>,
    /// Namespace in which the command runs [KEEP_NAMESPACE]
    #[arg(long, alias = "ns", global = true, value_name = "PATH")]
    namespace: Option<String>,
    /// Never ask a question; fail instead
    #[arg(long, global = true)]
    non_interactive: bool,
    /// Print the curl command that would send the request, and do not send it
    #[arg(long, global = true)]
    output_curl_string: bool,
    /// Print the policy that would allow the request, and do not send it
    #[arg(long, global = true)]
    output_policy: bool,
    /// Override soft-mandatory policies
    #[arg(long, global = true)]
    policy_override: bool,
    /// Name to ask for, and to expect, in the TLS handshake [KEEP_TLS_SERVER_NAME]
    #[arg(long, global = true, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Accept any server certificate; anyone in between can read what you send [KEEP_SKIP_VERIFY]
    #[arg(long, global = true)]
    tls_skip_verify: bool,
    /// Key that `keep namespace lock` printed, `@file`, or `-` for a pipe; `keep namespace unlock` uses it
    #[arg(long, global = true, value_name = "KEY")]
    unlock_key: Option<String>,
    /// Wrap the answer in a token that lives this long [KEEP_WRAP_TTL]
    #[arg(long, global = true, value_name = "DURATION")]
    wrap_ttl: Option<Span>,
    /// Output as table, json, yaml, or (read only) raw [KEEP_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Output Options")]
    format: Option<String>,
}

impl Globals {
    /// Turns flags and surroundings into what a command runs with. Nothing is contacted yet.
    pub(crate) fn session(&self, settings: Settings) -> Result<Session, Stop> {
        let output = self.output(&settings)?;
        let tokens = TokenStore::new(&settings)?;
        Ok(Session {
            output,
            tokens,
            interactive: !self.non_interactive,
            unlock_key: self.unlock_key.clone(),
            client: self.client(&settings)?,
            server: self.server(&settings)?,
            settings,
        })
    }

    fn output(&self, settings: &Settings) -> Result<Output, Stop> {
        let format = match self.format.as_deref().or(settings.format.as_deref()) {
            None => Format::Table,
            Some(name) => {
                Format::named(name).ok_or_else(|| Stop::local(format!("Invalid output format: {name}")))?
            }
        };
        let full = settings.detailed.as_deref().and_then(go_bool);
        let detail = if full == Some(true) { Detail::Full } else { Detail::Brief };
        Ok(Output { format, detail })
    }

    fn client(&self, settings: &Settings) -> Result<Client, Stop> {
        let address = self.address(settings)?;
        let transport = self.transport(settings, &address)?;
        let mut client = Client::new(address, transport, settings);
        client.namespace = self.namespace(settings);
        client.headers = self.headers(settings)?;
        client.timeout = timeout(settings)?;
        client.retries_max = retries(settings)?;
        let wrap_ttl = self.wrap_ttl.map(|span| span.to_string()).or_else(|| settings.wrap_ttl.clone());
        client.wrap_ttl = wrap_ttl.filter(|ttl| ttl != "0s" && ttl != "0");
        client.limit = limit(settings)?;
        let refuse = yes_or_no("KEEP_DISABLE_REDIRECTS", settings.disable_redirects.as_deref())?;
        if self.disable_redirects || refuse {
            client.redirects = Redirects::Refuse;
        }
        client.mode = match (self.output_curl_string, self.output_policy) {
            (true, true) => {
                return Err(Stop::local("-output-curl-string and -output-policy cannot be used together"));
            }
            (true, false) => Mode::Curl,
            (false, true) => Mode::Policy,
            (false, false) => Mode::Send,
        };
        Ok(client)
    }

    fn address(&self, settings: &Settings) -> Result<Address, Stop> {
        let agent = self.agent_address.as_deref().or(settings.agent_address.as_deref());
        let server = self.address.as_deref().or(settings.address.as_deref());
        // A flag is closer to the user than a variable, so -address wins over an agent in the environment.
        let chosen =
            if self.address.is_some() { self.agent_address.as_deref().or(server) } else { agent.or(server) };
        Address::parse(chosen.unwrap_or(ADDRESS_DEFAULT))
    }

    /// The same way to the server for a program that runs later, without these flags and variables.
    fn server(&self, settings: &Settings) -> Result<Server, Stop> {
        let first_run_ca = first_run_ca(settings);
        let trust = self.trust(settings, &first_run_ca)?;
        let own_ca =
            first_run_ca.as_ref().filter(|file| file.exists()).map(|file| file.display().to_string());
        let elsewhere = trust.ca_path.is_some() || trust.ca_cert_bytes.is_some();
        Ok(Server {
            address: Some(self.address(settings)?.base),
            ca_cert: trust.ca_cert.map(str::to_owned).or(own_ca.filter(|_| !elsewhere)),
            ca_path: trust.ca_path.map(str::to_owned),
            client_cert: self.client_cert.clone().or_else(|| settings.client_cert.clone()),
            client_key: self.client_key.clone().or_else(|| settings.client_key.clone()),
            tls_server_name: self.tls_server_name.clone().or_else(|| settings.tls_server_name.clone()),
            tls_skip_verify: trust.verify == Verify::Skip,
            namespace: self.namespace(settings),
            tries: None,
        })
    }

    fn transport(&self, settings: &Settings, address: &Address) -> Result<Transport, Stop> {
        let route = address.route(settings)?;
        if address.scheme == Scheme::Http {
            return Ok(Transport { route, tls: None });
        }
        let config = tls::client_config(&self.trust(settings, &first_run_ca(settings))?)?;
        let name = match self.tls_server_name.as_deref().or(settings.tls_server_name.as_deref()) {
            None => address.server_name().map_err(Stop::local)?,
            Some(name) => rustls::pki_types::ServerName::try_from(name.to_owned())
                .map_err(|_| Stop::local(format!("-tls-server-name: {name:?} is no host name")))?,
        };
        Ok(Transport { route, tls: Some((Arc::new(config), name)) })
    }

    fn trust<'a>(
        &'a self,
        settings: &'a Settings,
        first_run_ca: &'a Option<std::path::PathBuf>,
    ) -> Result<Trust<'a>, Stop> {
        let file = |flag: &'a Option<String>, text: Option<&'a str>, path: &'a Option<String>| match flag {
            Some(path) => Some(Pem::File(path)),
            None => text.map(Pem::Text).or_else(|| path.as_deref().map(Pem::File)),
        };
        let named = self.ca_cert.is_some() || self.ca_path.is_some();
        let skip = yes_or_no("KEEP_SKIP_VERIFY", settings.skip_verify.as_deref())? || self.tls_skip_verify;
        Ok(Trust {
            ca_cert_bytes: settings.ca_cert_bytes.as_deref().filter(|_| !named),
            ca_cert: self.ca_cert.as_deref().or(settings.ca_cert.as_deref().filter(|_| !named)),
            ca_path: self.ca_path.as_deref().or(settings.ca_path.as_deref()),
            first_run_ca: first_run_ca.as_deref(),
            client_cert: file(
                &self.client_cert,
                settings.client_cert_bytes.as_deref(),
                &settings.client_cert,
            ),
            client_key: file(
                &self.client_key,
                settings.client_key_bytes.as_ref().map(|text| text.as_str()),
                &settings.client_key,
            ),
            verify: if skip { Verify::Skip } else { Verify::Strictly },
        })
    }

    fn namespace(&self, settings: &Settings) -> Option<String> {
        let name = self.namespace.as_deref().or(settings.namespace.as_deref())?;
        let name = name.trim_matches('/');
        (!name.is_empty() && name != "root").then(|| format!("{name}/"))
    }

    fn headers(&self, settings: &Settings) -> Result<Vec<(HeaderName, HeaderValue)>, Stop> {
        let mut headers = Vec::new();
        for text in &self.header {
            let wrong =
                || Stop::local("-header must be given as name=value").hint("For example -header=X-Team=web.");
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            if name.as_str().starts_with("x-vault-") {
                return Err(Stop::local(format!(
                    "Setting headers starting by {name:?} is not allowed: names beginning with X-Vault- are reserved"
                )));
            }
            headers.push((name, HeaderValue::from_str(value).map_err(|_| wrong())?));
        }
        let from_env = settings.mfa.iter().filter(|_| self.mfa.is_empty());
        for credential in self.mfa.iter().chain(from_env) {
            let mut value = HeaderValue::from_str(credential)
                .map_err(|_| Stop::local("-mfa holds characters that a header cannot carry"))?;
            value.set_sensitive(true);
            headers.push((HeaderName::from_static("x-vault-mfa"), value));
        }
        if self.policy_override {
            let name = HeaderName::from_static("x-vault-policy-override");
            headers.push((name, HeaderValue::from_static("true")));
        }
        Ok(headers)
    }
}

/// What a variable says that is either; what is neither must not pass for a no.
fn yes_or_no(name: &str, text: Option<&str>) -> Result<bool, Stop> {
    let Some(text) = text else { return Ok(false) };
    go_bool(text).ok_or_else(|| Stop::local(format!("{name} must be true or false, not {text:?}")))
}

fn limit(settings: &Settings) -> Result<Option<Limit>, Stop> {
    let Some(text) = &settings.rate_limit else { return Ok(None) };
    Limit::read(text).map_err(|why| Stop::local(format!("KEEP_RATE_LIMIT {why}")))
}

fn first_run_ca(settings: &Settings) -> Option<std::path::PathBuf> {
    settings.config_dir.as_ref().map(|folder| folder.join("ca.pem"))
}

fn timeout(settings: &Settings) -> Result<Duration, Stop> {
    let Some(text) = &settings.client_timeout else {
        return Ok(Duration::from_secs(TIMEOUT_SECONDS_DEFAULT));
    };
    let span: Span = text.parse().map_err(|e| Stop::local(format!("KEEP_CLIENT_TIMEOUT: {e}")))?;
    match u64::try_from(span.seconds()) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(Stop::local("KEEP_CLIENT_TIMEOUT must be at least one second")),
    }
}

/// A person at a terminal retries by hand, so without the variable there are no retries.
fn retries(settings: &Settings) -> Result<u32, Stop> {
    let Some(text) = &settings.max_retries else { return Ok(0) };
    let wrong =
        || Stop::local(format!("KEEP_MAX_RETRIES must be a number up to {RETRIES_MAX}, not {text:?}"));
    let count: u32 = text.parse().map_err(|_| wrong())?;
    if count <= RETRIES_MAX { Ok(count) } else { Err(wrong()) }
}
