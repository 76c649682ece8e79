//! The agent's configuration: HCL or JSON, and where it says the same as Vault Agent's, in the same words.

mod auth;
mod certificate;
mod listener;
mod secrets;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use auth::Auth;

use super::{
    deliver::Reload,
    disk::Owner,
    mail::{self, Mail},
    pair::{KeyKind, Names},
    probe::Place,
    proxy::Lending,
};
use crate::hcl::value::{self, Stanza};

pub(crate) use auth::{Exits, Pacing, Sink};
pub(crate) use certificate::{PATIENCE_DEFAULT, quoted};
pub(crate) use secrets::Secrets;

/// What Vault Agent says of its log, and where it goes here: taken, and said when the agent starts.
const LOG_ELSEWHERE: [&str; 5] =
    ["log_file", "log_rotate_bytes", "log_rotate_duration", "log_rotate_max_files", "log_format"];

/// Where a program sends counters by itself, which this agent does not do.
const COUNTERS_SENT: [&str; 6] = [
    "circonus_api_token",
    "dogstatsd_addr",
    "stackdriver_project_id",
    "statsd_address",
    "statsite_address",
    "circonus_submission_url",
];

/// Everything that one agent does.
#[derive(Default)]
pub(crate) struct Config {
    /// One for each file: a server, an identity there, and what is fetched with it.
    pub(crate) posts: Vec<Post>,
    /// Doors to a server for programs that bring tokens of their own.
    pub(crate) bare: Vec<(Server, Secrets)>,
    pub(crate) metrics: Metrics,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) pid_file: Option<PathBuf>,
    /// Whether to end once everything is there.
    pub(crate) exit_after: bool,
    /// What was taken and is not done, for people.
    pub(crate) notes: Vec<String>,
}

/// What one file says.
pub(crate) struct Post {
    pub(crate) auth: Auth,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) secrets: Secrets,
}

/// How the server is reached; what is missing comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Option<String>,
    pub(crate) ca_cert: Option<String>,
    pub(crate) ca_path: Option<String>,
    pub(crate) client_cert: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) tls_server_name: Option<String>,
    pub(crate) tls_skip_verify: bool,
    pub(crate) namespace: Option<String>,
    /// How often something is tried, where the agent gives up at all.
    pub(crate) tries: Option<u32>,
}

/// One certificate and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) name: String,
    pub(crate) names: Names,
    pub(crate) mount: String,
    pub(crate) role: String,
    pub(crate) ttl: Option<Duration>,
    /// The outage that it must survive; zero if nothing is asked.
    pub(crate) survive: Duration,
    pub(crate) folder: PathBuf,
    pub(crate) owner: Owner,
    pub(crate) key: KeyKind,
    pub(crate) reuse_key: bool,
    /// Whether the server's inventory is told who holds it and where it is served.
    pub(crate) report: bool,
    pub(crate) reloads: Vec<Reload>,
    pub(crate) places: Vec<Place>,
    /// How long a service may take until it shows a new certificate.
    pub(crate) patience: Duration,
}

/// Where the counters can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) text_file: Option<PathBuf>,
}

/// Who is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Webhook(String),
    /// A line for the shell; it finds the alert as JSON on its standard input.
    Command(String),
    Mail(Mail),
}

impl Config {
    /// Reads files, and folders of files that end in `.hcl` or `.json`.
    pub(crate) fn load(paths: &[PathBuf]) -> Result<Config, String> {
        let mut config = Config::default();
        let mut files = Vec::new();
        for path in paths {
            files.extend(files_of(path)?);
        }
        if files.is_empty() {
            return Err("there is no configuration: `keep cert get` writes one, or name yours with -config"
                .to_owned());
        }
        for file in files {
            let text =
                fs::read_to_string(&file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
            config.read(&text, &file)?;
        }
        config.check()?;
        Ok(config)
    }

    /// All certificates.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.posts.iter().flat_map(|post| &post.certificates)
    }

    fn read(&mut self, text: &str, file: &Path) -> Result<(), String> {
        let mut all = value::read(text, &file.display().to_string())?;
        all.refuse("seal", "the agent has nothing to unseal: this belongs into the server's configuration")?;
        self.take_log(&mut all)?;
        if let Some(mut found) = all.stanza("telemetry")? {
            self.metrics = metrics(&mut found.stanza)?;
            found.stanza.finish()?;
        }
        for mut found in all.stanzas("alert")? {
            self.receivers.extend(receivers(&mut found.stanza)?);
            found.stanza.finish()?;
        }
        self.pid_file = all.text("pid_file")?.map(PathBuf::from).or(self.pid_file.take());
        self.exit_after |= all.flag("exit_after_auth")?.unwrap_or(false);
        let server = server(&mut all)?;
        let auth = auth::read(&mut all, &server)?;
        let mut certificates = Vec::new();
        for found in all.stanzas("certificate")? {
            certificates.push(certificate::read(found)?);
        }
        let secrets = secrets::read(&mut all, &server)?;
        let nobody = certificates.is_empty()
            && secrets.templates.is_empty()
            && secrets.manners.lending == Lending::Never;
        match auth {
            Some(auth) => self.posts.push(Post { auth, certificates, secrets }),
            None if !nobody => {
                return Err(format!("{}: auto_auth is missing: who is the agent?", all.place));
            }
            None if secrets.is_empty() => {}
            None => self.bare.push((server, secrets)),
        }
        all.finish()
    }

    /// What is said of the log: it is on standard error, in plain lines, and its level has one meaning for a program that
    /// writes a line when something happens.
    fn take_log(&mut self, all: &mut Stanza) -> Result<(), String> {
        all.text("log_level")?;
        for key in LOG_ELSEWHERE {
            let said = all.text(key)?.filter(|text| !matches!(text.as_str(), "" | "0" | "standard"));
            if said.is_some() {
                self.notes.push(format!(
                    "{}: {key}: the agent writes plain lines to standard error, and to no file: systemd keeps them, or send them to a file",
                    all.place
                ));
            }
        }
        Ok(())
    }

    /// What no single stanza can know.
    fn check(&self) -> Result<(), String> {
        if self.posts.is_empty() && self.bare.is_empty() {
            return Err("the configuration says nothing to do: it has no auto_auth, certificate, template or listener; \
                        `keep cert get` writes one, and docs/guide/agent.md shows them"
                .to_owned());
        }
        let mut names: Vec<&str> = Vec::new();
        let mut folders: Vec<&Path> = Vec::new();
        for certificate in self.certificates() {
            if names.contains(&certificate.name.as_str()) {
                return Err(format!("two certificates are called {:?}", certificate.name));
            }
            if folders.contains(&certificate.folder.as_path()) {
                return Err(format!("two certificates share {}", certificate.folder.display()));
            }
            names.push(&certificate.name);
            folders.push(&certificate.folder);
        }
        Ok(())
    }
}

impl Server {
    /// The stanza as HCL.
    pub(crate) fn hcl(&self) -> String {
        let skip = self.tls_skip_verify.then(|| "true".to_owned());
        let namespace = self.namespace.as_ref().map(|text| text.trim_matches('/').to_owned());
        let lines: String = [
            ("address", &self.address),
            ("ca_cert", &self.ca_cert),
            ("ca_path", &self.ca_path),
            ("client_cert", &self.client_cert),
            ("client_key", &self.client_key),
            ("tls_server_name", &self.tls_server_name),
            ("tls_skip_verify", &skip),
            ("namespace", &namespace),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("  {key} = {}\n", quoted(value.as_deref()?))))
        .collect();
        format!("vault {{\n{lines}}}\n")
    }
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = path.display();
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "hcl" || end == "json"));
    files.sort();
    Ok(files)
}

fn server(all: &mut Stanza) -> Result<Server, String> {
    let Some(mut found) = all.stanza("vault")? else { return Ok(Server::default()) };
    let vault = &mut found.stanza;
    let mut server = Server {
        address: vault.text("address")?,
        ca_cert: vault.text("ca_cert")?,
        ca_path: vault.text("ca_path")?,
        client_cert: vault.text("client_cert")?,
        client_key: vault.text("client_key")?,
        tls_server_name: vault.text("tls_server_name")?,
        tls_skip_verify: vault.flag("tls_skip_verify")?.unwrap_or(false),
        namespace: vault.text("namespace")?,
        tries: None,
    };
    // The agent never gives up, and paces itself, unless exit_on_retry_failure says otherwise.
    if let Some(mut retry) = vault.stanza("retry")? {
        server.tries = tries(&mut retry.stanza)?;
        retry.stanza.finish()?;
    }
    found.stanza.finish()?;
    Ok(server)
}

/// `num_retries`: 0 means the usual number, -1 none.
fn tries(stanza: &mut Stanza) -> Result<Option<u32>, String> {
    let Some(text) = stanza.text("num_retries")? else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(-1) => Ok(Some(0)),
        Ok(number) if number > 0_i64 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
        _ => Err(format!("{}: num_retries must be a whole number, not {text:?}", stanza.place)),
    }
}

fn metrics(stanza: &mut Stanza) -> Result<Metrics, String> {
    let listen = match stanza.text("listen")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            format!("{}: listen must be ADDRESS:PORT, like 127.0.0.1:9211, not {text:?}", stanza.place)
        })?),
    };
    for key in COUNTERS_SENT {
        stanza.refuse(key, "the agent sends its counters nowhere: have them fetched (listen), or write them to a file (text_file)")?;
    }
    // Counters are always there, and carry no name of the machine.
    for key in [
        "prometheus_retention_time",
        "disable_hostname",
        "enable_hostname_label",
        "metrics_prefix",
        "usage_gauge_period",
    ] {
        stanza.text(key)?;
    }
    Ok(Metrics { listen, text_file: stanza.text("text_file")?.map(PathBuf::from) })
}

fn receivers(stanza: &mut Stanza) -> Result<Vec<Receiver>, String> {
    let webhooks = stanza.list("webhook")?.into_iter().map(Receiver::Webhook);
    let commands = stanza.list("command")?.into_iter().map(Receiver::Command);
    let mail = mail(stanza)?.map(Receiver::Mail);
    let all: Vec<Receiver> = webhooks.chain(commands).chain(mail).collect();
    if all.is_empty() {
        return Err(format!("{}: it names neither webhook nor command nor mail", stanza.place));
    }
    Ok(all)
}

fn mail(stanza: &mut Stanza) -> Result<Option<Mail>, String> {
    let (to, from) = (stanza.list("mail")?, stanza.text("mail_from")?);
    let program = stanza.text("sendmail")?.unwrap_or_else(|| mail::SENDMAIL.to_owned());
    if let Some(wrong) = to.iter().chain(&from).find(|text| !mail::is_address(text)) {
        return Err(format!("{}: {wrong:?} is no address for mail", stanza.place));
    }
    Ok((!to.is_empty()).then(|| Mail { to, from, program: PathBuf::from(program) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::proxy::{Connections, Manners, Namespaces, Remembers};

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        config.read(text, Path::new("a.hcl"))?;
        config.check()?;
        Ok(config)
    }

    const AUTH: &str = "auto_auth { method \"approle\" { config = { role_id_file_path = \"/r\", secret_id_file_path = \"/s\" } } }\n";

    #[test]
    fn vault_agents_words_are_understood() {
        let text = format!(
            "pid_file = \"/run/keep.pid\"\nexit_after_auth = true\nvault {{ address = \"https://v:8200\"\n retry {{ num_retries = 5 }} }}\n{}",
            AUTH.replace(
                " } }\n",
                " }\n sink \"file\" { config = { path = \"/run/token\", mode = 0640 } } }\n"
            )
        );
        let config = read(&text).expect("a configuration");
        let post = config.posts.first().expect("a post");
        assert_eq!(post.auth.server.address.as_deref(), Some("https://v:8200"));
        assert_eq!(post.auth.sinks, [Sink { path: "/run/token".into(), mode: 0o640, wrap_ttl: None }]);
        assert!(config.exit_after);
    }

    #[test]
    fn what_the_agent_does_not_do_is_said() {
        for key in LOG_ELSEWHERE {
            let config = read(&format!("{AUTH}{key} = \"x\"\n")).expect(key);
            let [note] = config.notes.as_slice() else { panic!("{key}: {:?}", config.notes) };
            assert!(note.contains(&format!("a.hcl: {key}: the agent writes")), "{note}");
        }
        let config =
            read(&format!("{AUTH}log_format = \"standard\"\nlog_level = \"debug\"\n")).expect("usual");
        assert!(config.notes.is_empty());
        for (text, words) in [
            ("seal \"awskms\" {}", "line 2: seal: the agent has nothing to unseal"),
            (
                "telemetry {\n statsd_address = \"x\" }",
                "line 3: statsd_address: the agent sends its counters nowhere",
            ),
            ("disable_keep_alives = [\"auto-auth\", \"all\"]", "\"all\" is no part of the agent"),
            ("cache { cache_static_secrets = true }", "cache_static_secrets: no server tells this agent"),
            (
                "listener \"tcp\" {\n address = \"x:1\"\n tls_cipher_suites = \"y\" }",
                "line 4: tls_cipher_suites: what is safe",
            ),
            (
                "listener \"tcp\" {\n address = \"x:1\"\n tls_min_version = \"tls11\" }",
                "must be \"tls12\" or \"tls13\"",
            ),
            (
                "listener \"tcp\" {\n address = \"x:1\"\n tls_require_and_verify_client_cert = true }",
                "tls_client_ca_file is missing",
            ),
            (
                "template {\n contents = \"a\"\n destination = \"/d\"\n exec { splay = \"5s\" } }",
                "splay: agents come back at different moments",
            ),
            ("template_config { lease_renewal_threshold = 90 }", "must be a share of a lease"),
        ] {
            let why = read(&format!("{AUTH}{text}\n")).err().expect(text);
            assert!(why.contains(words), "{why}");
        }
        let twice = "template {\n contents = \"a\"\n destination = \"/d\"\n}\n".repeat(2);
        let why = read(&format!("{AUTH}{twice}")).err().expect("two templates for one file");
        assert!(why.contains("two templates have the destination /d"), "{why}");
        let why = read(&format!("{AUTH}certficate \"a\" {{}}")).err().expect("a typo");
        assert!(why.contains("line 2") && why.contains("certficate"), "{why}");
        let lonely = read("certificate \"a\" { role = \"r\"\n folder = \"/d\" }").err().expect("no identity");
        assert!(lonely.contains("auto_auth"), "{lonely}");
    }

    #[test]
    fn what_changes_nothing_here_is_taken() {
        let text = format!(
            "{AUTH}disable_idle_connections = [\"caching\", \"templating\"]\n\
             template_config {{ lease_renewal_threshold = 0.9\n max_connections_per_host = 10 }}\n\
             cache {{ cache_static_secrets = false\n disable_caching_dynamic_secrets = true\n static_secret_token_capability_refresh_interval = \"5m\" }}\n\
             api_proxy {{ use_auto_auth_token = true\n enforce_consistency = \"always\"\n when_inconsistent = \"forward\"\n prepend_configured_namespace = true }}\n\
             listener \"tcp\" {{ address = \"127.0.0.1:1\"\n tls_disable = true\n max_request_size = 100\n tls_prefer_server_cipher_suites = true }}\n\
             template {{ contents = \"a\"\n destination = \"/d\"\n exec {{ enabled = false\n command = [\"x\"] }} }}"
        );
        let config = read(&text).expect("a configuration");
        let secrets = &config.posts.first().expect("a post").secrets;
        assert_eq!(
            secrets.manners,
            Manners {
                lending: Lending::Missing,
                memory: Remembers::Nothing,
                namespaces: Namespaces::Prepended,
                connections: Connections::Closed,
            }
        );
        assert_eq!(secrets.pace.habit.lease_share, 0.9);
        assert!(secrets.templates.iter().all(|template| template.command.is_none()));
    }

    #[test]
    fn whoever_is_told_is_read() {
        let text = format!("{AUTH}alert {{ mail = [\"ops@example.internal\"]\n webhook = \"https://h\" }}");
        let config = read(&text).expect("a configuration");
        let [Receiver::Webhook(_), Receiver::Mail(mail)] = config.receivers.as_slice() else {
            panic!("{:?}", config.receivers)
        };
        assert_eq!(mail.program, Path::new("/usr/sbin/sendmail"));
        for wrong in ["alert { mail = \"-oQ\" }", "alert { mail_from = \"a@b\" }"] {
            assert!(read(&format!("{AUTH}{wrong}")).is_err(), "{wrong}");
        }
    }

    #[track_caller]
    fn budget(ttl: &str, survive: &str, expect: Option<&str>) {
        let text = format!(
            "{AUTH}certificate \"a.b\" {{ role = \"r\"\n folder = \"/d\"\n {ttl}\n survive = \"{survive}\" }}"
        );
        match (read(&text), expect) {
            (Ok(_), None) => {}
            (Err(why), Some(part)) => assert!(why.contains(part), "{why}"),
            (Ok(_), Some(part)) => panic!("{ttl} {survive} is accepted; it must say {part}"),
            (Err(why), None) => panic!("{ttl} {survive}: {why}"),
        }
    }

    /// R6: a life that cannot give the outage budget is refused, and the answer names the life that can.
    #[test]
    fn a_life_too_short_for_its_budget_is_refused_with_the_life_that_is_needed() {
        budget("ttl = \"24h\"", "12h", None);
        budget("ttl = \"24h\"", "20h", None);
        budget("ttl = \"24h\"", "21h", Some("at least 24h42m22s"));
        budget("ttl = \"24h\"", "72h", Some("at least 84h42m22s"));
        budget("ttl = \"85h\"", "72h", None);
        budget("ttl = \"84h\"", "72h", Some("at least 84h42m22s"));
        budget("ttl = \"90d\"", "40d", None);
        budget("", "72h", Some("ttl is missing"));
    }
}
