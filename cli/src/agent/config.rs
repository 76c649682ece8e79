//! The agent's configuration: HCL or JSON, and where it says the same as Vault Agent's, in the same words.

mod auth;
mod certificate;
mod ground;
mod listener;
mod log;
mod secrets;
mod server;
mod watching;

use std::{
    fs,
    path::{Path, PathBuf},
};

use auth::Auth;

use super::{log::LogPlan, proxy::Lending};
use crate::hcl::value;

pub(crate) use auth::{Exits, Pacing, Sink};
pub(crate) use certificate::{Certificate, PATIENCE_DEFAULT, quoted};
pub(crate) use secrets::Secrets;
pub(crate) use server::Server;
pub(crate) use watching::{Metrics, Receiver};

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
    /// What the log looks like, and where it goes.
    pub(crate) log: LogPlan,
}

/// What one file says.
pub(crate) struct Post {
    pub(crate) auth: Auth,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) secrets: Secrets,
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
        self.log = log::read(&mut all)?.or(std::mem::take(&mut self.log));
        if let Some(mut found) = all.stanza("telemetry")? {
            self.metrics = watching::metrics(&mut found.stanza)?;
            found.stanza.finish()?;
        }
        for mut found in all.stanzas("alert")? {
            self.receivers.extend(watching::receivers(&mut found.stanza)?);
            found.stanza.finish()?;
        }
        self.pid_file = all.text("pid_file")?.map(PathBuf::from).or(self.pid_file.take());
        self.exit_after |= all.flag("exit_after_auth")?.unwrap_or(false);
        let server = server::read(&mut all)?;
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
            Some(auth) => {
                let post = Post { auth, certificates, secrets };
                post.check_wrapping().map_err(|why| format!("{}: {why}", all.place))?;
                self.posts.push(post);
            }
            None if !nobody => {
                return Err(format!("{}: auto_auth is missing: who is the agent?", all.place));
            }
            None if secrets.is_empty() => {}
            None => self.bare.push((server, secrets)),
        }
        all.finish()
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

impl Post {
    /// A token that only whoever opens its wrapping has is of no use to the agent itself.
    fn check_wrapping(&self) -> Result<(), String> {
        if self.auth.wrap_ttl.is_none() {
            return Ok(());
        }
        let wants = match self.certificates.first() {
            Some(certificate) => format!("get the certificate {:?}", certificate.name),
            None if !self.secrets.templates.is_empty() => "render templates".to_owned(),
            None if self.secrets.manners.lending != Lending::Never => {
                "lend it (use_auto_auth_token)".to_owned()
            }
            None => return Ok(()),
        };
        Err(format!(
            "wrap_ttl of the method: the agent never has the token that is wrapped, and so cannot {wants}: write wrap_ttl into the \
             sink instead, or put one of the two into a file of its own"
        ))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::log::{Format, Level, Rotation};
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
        for (text, words) in [
            ("log_format = \"xml\"", "a.hcl: log_format must be standard or json, not \"xml\""),
            ("log_level = \"loud\"", "a.hcl: log_level must be trace, debug"),
            ("log_rotate_bytes = \"x\"", "log_rotate_bytes must be a whole number"),
            ("log_rotate_duration = \"x\"", "log_rotate_duration: invalid duration \"x\""),
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
    fn what_is_said_of_the_log_is_understood() {
        let text = format!(
            "{AUTH}log_format = \"JSON\"\nlog_level = \"notice\"\nlog_file = \"/l\"\nlog_rotate_bytes = 100\n\
             log_rotate_duration = \"1h\"\nlog_rotate_max_files = -1\n"
        );
        let rotation = Rotation { bytes: Some(100), after: Some(Duration::from_secs(3600)), kept: Some(-1) };
        let plan = LogPlan {
            format: Some(Format::Json),
            level: Some(Level::Info),
            file: Some("/l".into()),
            rotation,
        };
        assert_eq!(read(&text).expect("a configuration").log, plan);
        let usual =
            "log_file = \"\"\nlog_rotate_bytes = 0\nlog_rotate_duration = 0\nlog_rotate_max_files = 0\n";
        let usual = read(&format!("{AUTH}{usual}")).expect("as it is without").log;
        assert_eq!((usual.file, usual.rotation.after), (None, None));
        let flags = LogPlan { level: Some(Level::Error), ..LogPlan::default() };
        assert_eq!(flags.or(plan.clone()), LogPlan { level: Some(Level::Error), ..plan });
    }

    #[test]
    fn a_wrapped_login_serves_nobody_but_its_sink() {
        let wrapped = AUTH.replace("method \"approle\" {", "method \"approle\" { wrap_ttl = \"5m\"\n");
        let sink = "sink \"file\" { config = { path = \"/t\" } }\n";
        let with = |inner: &str, outer: &str| {
            read(&format!("{}{outer}", wrapped.replace(" } }\n", &format!(" }}\n{inner} }}\n"))))
        };
        let config = with(sink, "").expect("a configuration");
        let auth = config.posts.first().map(|post| &post.auth).expect("a post");
        assert_eq!(auth.wrap_ttl, Some(Duration::from_secs(300)));
        for (inner, outer, words) in [
            ("", "", "there are 0"),
            (&*sink.repeat(2), "", "there are 2"),
            (
                "sink \"file\" { wrap_ttl = \"1m\"\n config = { path = \"/t\" } }\n",
                "",
                "leave one of them out",
            ),
            (sink, "template {\n contents = \"a\"\n destination = \"/d\"\n}", "cannot render templates"),
            (
                sink,
                "certificate \"a\" { role = \"r\"\n folder = \"/d\" }",
                "cannot get the certificate \"a\"",
            ),
            (
                sink,
                "api_proxy { use_auto_auth_token = true }\nlistener \"unix\" { address = \"/s\" }",
                "cannot lend it",
            ),
        ] {
            let why = with(inner, outer).err().expect(words);
            assert!(why.contains(words), "{words}: {why}");
        }
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

    /// What cannot work is said before it is needed.
    #[test]
    fn what_could_never_work_is_refused() {
        let certificate =
            |words: &str| format!("certificate \"a\" {{\n role = \"r\"\n folder = \"/d\"\n {words}\n}}");
        for (text, words) in [
            ("alert { webhook = [\"notaurl\"] }".to_owned(), "webhook: the URL names no host"),
            ("alert { command = \"\" }".to_owned(), "command is empty"),
            (certificate("reload { http = \"ftp://x\" }"), "http: ftp:// is no way to post"),
            (certificate("reload { http = \"notaurl\" }"), "http: the URL names no host"),
            (certificate("reload { command = \"\" }"), "command is empty"),
            (certificate("alt_names = [\"a b\"]"), "alt_names: \"a b\" is no name"),
            (certificate("common_name = \"\""), "common_name: \"\" is no name"),
        ] {
            let why = read(&format!("{AUTH}{text}\n")).err().expect(words);
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn what_the_machine_lacks_is_said() {
        let text = format!(
            "{AUTH}certificate \"a\" {{\n role = \"r\"\n folder = \"/dev/null/x\"\n reload {{ command = [\"/nonexist/reload\"] }}\n}}\n\
             telemetry {{ text_file = \"/nonexist/x.prom\" }}\nalert {{\n sendmail = \"/nonexist/m\"\n mail = [\"ops@x\"]\n}}\n"
        );
        let missing = read(&text).expect("a configuration").missing();
        let expect = ["/dev/null is no folder", "/nonexist/reload", "no folder /nonexist", "/nonexist/m"];
        assert_eq!(missing.len(), expect.len(), "{missing:?}");
        assert!(missing.iter().zip(expect).all(|(line, part)| line.contains(part)), "{missing:?}");
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
