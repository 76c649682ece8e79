//! `keep cert` and `keep agent` with a real nginx: docs/guide/agent.md as it stands, and services that do not do as told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::binary::{Binary, source_root};
use tests::http::Client;
use tests::program::{Program, QUESTIONS_MAX};
use tests::scratch::Scratch;
use tests::server::{DEV_TOKEN, Server, free_port};

/// A server, an nginx, and a folder that stands for `/etc`.
pub(crate) struct Site {
    folder: Scratch,
    pub(crate) server: Server,
    nginx: Program,
    port: u16,
}

impl Drop for Site {
    fn drop(&mut self) {
        // Its workers are nobody's children once it is killed: asked to, it ends with them.
        self.nginx.signal(rustix::process::Signal::TERM);
        for _ in 0..QUESTIONS_MAX {
            if self.nginx.ended().is_some() {
                return;
            }
            self.nginx.wait_a_little();
        }
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        let (folder, server) = (Scratch::new(), Server::dev(&Binary::sealkeep()));
        for name in ["nginx/conf.d", "agent.d", "bin", "units"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let own = folder.path().display().to_string();
        let config = format!(
            "daemon off; pid {own}/nginx.pid; error_log stderr; events {{}}\nhttp {{ access_log off; client_body_temp_path {own}/t1; \
             proxy_temp_path {own}/t2; fastcgi_temp_path {own}/t3; uwsgi_temp_path {own}/t4; scgi_temp_path {own}/t5; include {own}/nginx/conf.d/*.conf; }}\n"
        );
        folder.file("nginx/nginx.conf", &config);
        // `nginx` on the path of everything below is the one of this test.
        let script = format!("#!/bin/sh\nexec /usr/sbin/nginx -e stderr -c {own}/nginx/nginx.conf \"$@\"\n");
        let wrapper = folder.file("bin/nginx", &script);
        make_executable(&wrapper);
        let nginx = Program::start(&Command::new(&wrapper));
        nginx.until("nginx runs", || {
            std::fs::read_to_string(folder.path().join("nginx.pid")).ok().filter(|pid| pid.ends_with('\n'))
        });
        Self { folder, server, nginx, port: free_port() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn environment(&self, command: &mut Command) {
        let keep = Binary::keep();
        let bin = keep.path().parent().unwrap().display().to_string();
        let path = format!("{}:{bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.folder.path());
        command.env("KEEP_ADDR", self.server.url()).env("KEEP_AGENT_CONFIG", self.path("agent.d"));
    }

    #[track_caller]
    pub(crate) fn shell(&self, script: &str) -> Output {
        let mut bash = Command::new("bash");
        self.environment(&mut bash);
        bash.args(["-c", &format!("set -euo pipefail\n{script}")]).env("KEEP_TOKEN", DEV_TOKEN);
        let output = bash.current_dir(self.folder.path()).output().unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// The agent without the operator's token.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Program {
        Program::start(self.keep().arg("agent").args(arguments))
    }

    /// `keep` without the operator's token.
    pub(crate) fn keep(&self) -> Command {
        let mut command = Command::new(Binary::keep().path());
        self.environment(&mut command);
        command
    }

    /// A CA whose role gives certificates of this life.
    pub(crate) fn authority(&self, ttl: &str) -> Client {
        let root = self.server.root();
        root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
        let body = json!({"common_name": "CA", "key_type": "ec", "key_bits": 256, "ttl": "700h"});
        root.post("pki/root/generate/internal", body).must(200);
        let body = json!({"allowed_domains": ["internal"], "allow_subdomains": true, "key_type": "ec", "key_bits": 256, "ttl": ttl});
        root.post("pki/roles/web", body).must(200);
        root
    }

    /// nginx's site for the certificate in `tls`.
    fn site(&self) {
        let (tls, port) = (self.path("tls").display().to_string(), self.port);
        let text = format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {tls}/current/fullchain.pem; ssl_certificate_key {tls}/current/key.pem; \
             location / {{ return 200 hello; }} }}\n"
        );
        self.folder.file("nginx/conf.d/app.conf", &text);
    }

    /// A certificate of short life for nginx, its configuration with alerts into a file, the agent at work, and the
    /// first certificate served.
    pub(crate) fn rotating(&self, ttl: &str) -> (Program, String) {
        self.rotating_with(ttl, "")
    }

    /// The same, with an outage budget: the certificate is renewed when so much is left of it, and nobody has to wait for
    /// half of its life.
    fn rotating_early(&self, ttl: &str, survive: &str) -> (Program, String) {
        self.rotating_with(ttl, &format!("-survive={survive}"))
    }

    fn rotating_with(&self, ttl: &str, flags: &str) -> (Program, String) {
        self.authority(ttl);
        let (tls, port) = (self.path("tls").display().to_string(), self.port);
        self.shell(&format!(
            "keep cert get -name=app.internal -role=web {flags} -dir={tls} -reload=nginx -verify=127.0.0.1:{port}"
        ));
        let file = self.path("agent.d/app.internal.hcl");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("verify {", "verify {\n timeout = \"2s\"\n");
        let alerts = self.path("alerts").display().to_string();
        let more = format!("alert {{ command = \"cat >> {alerts}; echo >> {alerts}\" }}\n");
        std::fs::write(&file, format!("{text}\n{more}")).unwrap();
        self.site();
        let agent = self.agent(&[]);
        let first = agent.until("the first certificate is served", || self.served());
        (agent, first)
    }

    /// Where nginx listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The serial that nginx shows.
    pub(crate) fn served(&self) -> Option<String> {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{} -servername app.internal </dev/null 2>/dev/null | openssl x509 -noout -serial",
            self.port
        );
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().strip_prefix("serial=").map(|serial| serial.to_lowercase())
    }

    pub(crate) fn held(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path("tls/state.json")).ok()?;
        let state: Value = serde_json::from_str(&text).ok()?;
        state["held"]["serial"].as_str().map(|serial| serial.replace(':', ""))
    }

    fn state(&self, key: &str) -> Value {
        let text = std::fs::read_to_string(self.path("tls/state.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()[key].clone()
    }

    fn alerts(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("alerts")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn alert(&self, event: &str) -> Option<String> {
        let found = self.alerts().into_iter().find(|alert| alert["event"] == event)?;
        Some(found["message"].as_str().unwrap().to_owned())
    }
}

fn make_executable(file: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(file, mode).unwrap();
}

/// The commands of the guide that make a certificate renew itself: its first block.
fn transcript() -> String {
    let page = std::fs::read_to_string(source_root().join("docs/guide/agent.md")).unwrap();
    let (_, rest) = page.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// R1: at most five commands and one file by hand, from a running server to an nginx that renews and is looked at.
#[test]
fn five_commands_make_an_nginx_that_renews() {
    let site = Site::new();
    let script = transcript();
    let commands: Vec<&str> = script.lines().filter(|line| line.starts_with("keep ")).collect();
    let files = script.lines().filter(|line| line.starts_with("cat > ")).count();
    assert!(commands.len() <= 5 && files <= 1, "{} commands and {files} files: {commands:?}", commands.len());
    let inside: String =
        script.split("NGINX").enumerate().filter(|(n, _)| n % 2 == 0).map(|(_, part)| part).collect();
    let others = inside.lines().filter(|line| !line.starts_with("keep ") && !line.starts_with("cat > "));
    assert_eq!(
        others.filter(|line| line.chars().any(char::is_alphanumeric)).count(),
        0,
        "a hidden step:\n{inside}"
    );
    let (etc, port) = (site.path("nginx").display().to_string(), site.port);
    let script =
        script.replace("/etc/nginx", &etc).replace("127.0.0.1:443", &format!("127.0.0.1:{port}")).replace(
            "keep agent install",
            &format!("keep agent install -unit-dir={}", site.path("units").display()),
        );
    site.shell(&script);
    // systemd's part: it starts what the unit says, without the operator's token.
    let unit = std::fs::read_to_string(site.path("units/keep-agent.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    site.environment(&mut command);
    let agent = Program::start(command.args(words));
    let curl = format!(
        "curl -fsS --cacert {etc}/tls/current/ca.pem --resolve app.internal:{port}:127.0.0.1 https://app.internal:{port}/"
    );
    agent.until("HTTPS answers under its name", || {
        let output = Command::new("bash").args(["-c", &curl]).output().unwrap();
        (output.stdout == b"hello\n").then_some(())
    });
    agent.until("the agent has seen it", || {
        let state: Value =
            serde_json::from_str(&std::fs::read_to_string(site.path("nginx/tls/state.json")).ok()?).ok()?;
        (state["delivered"] == true).then_some(())
    });
    let status = site.shell("keep cert status");
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("served") && said.contains(&format!("127.0.0.1:{port}")), "{said}");
    site.shell("keep agent check");
    assert_what_the_identity_may(&site);
    assert!(agent.stop().success(), "it ends when it is told to");
}

/// The identity that was made may have certificates of its role signed, and nothing else.
fn assert_what_the_identity_may(site: &Site) {
    let read =
        |name: &str| std::fs::read_to_string(site.path(&format!("agent.d/app.internal.{name}"))).unwrap();
    let body = json!({"role_id": read("role-id").trim(), "secret_id": read("secret-id").trim()});
    let token = site.server.anonymous().post("auth/approle/login", body).must(200).at("/auth/client_token");
    let agent = site.server.anonymous().with(&token);
    agent.post("pki/sign/web", json!({"csr": "x"})).must(400);
    agent.post("pki/issue/web", json!({"common_name": "app.internal"})).must(403);
    agent.get("pki/roles/web").must(403);
    agent.get("sys/auth").must(403);
}

#[test]
fn it_renews_and_nginx_shows_each_new_one() {
    let site = Site::new();
    let (agent, mut last) = site.rotating_early("30s", "24s");
    for round in 0..2 {
        let next =
            agent.until("another certificate is served", || site.served().filter(|serial| *serial != last));
        assert_ne!(next, last, "round {round}");
        last = next;
    }
    assert_eq!(site.alerts(), [Value::Null; 0], "nothing is wrong, nobody is told");
    assert!(agent.stop().success());
}

/// R12: nginx's configuration is broken when the certificate is renewed.
#[test]
fn a_broken_nginx_keeps_its_certificate_and_people_are_told() {
    let site = Site::new();
    let (agent, first) = site.rotating_early("40s", "33s");
    site.folder.file("nginx/conf.d/broken.conf", "this is no configuration\n");
    let message = agent.until("people are told", || site.alert("delivery_failed"));
    assert!(message.contains("does not take the new certificate") && message.contains("nginx"), "{message}");
    assert_eq!(site.served(), Some(first.clone()), "it serves what it had");
    let shown = std::fs::read_link(site.path("tls/current")).unwrap();
    assert_eq!(shown, Path::new("pair-000001"), "and finds that on the disk if it is restarted");
    assert_eq!(site.state("delivered"), false);
    std::fs::remove_file(site.path("nginx/conf.d/broken.conf")).unwrap();
    let second = agent.until("the new one is served", || site.served().filter(|serial| *serial != first));
    agent.until("people are told that all is well", || site.alert("recovered"));
    assert_eq!(Some(second), site.held());
    assert!(agent.stop().success());
}

/// R12: nginx takes the signal and does nothing.
#[test]
fn an_nginx_that_ignores_the_signal_is_found_out() {
    let site = Site::new();
    let (agent, first) = site.rotating_early("30s", "24s");
    let before = site.held();
    // Its master sleeps; its workers go on serving.
    site.nginx.signal(rustix::process::Signal::STOP);
    let message = agent.until("people are told", || site.alert("delivery_failed"));
    assert!(message.contains("shows"), "{message}");
    assert_ne!(site.held(), before, "there is a new one");
    assert_eq!(site.served(), Some(first.clone()));
    assert_eq!(std::fs::read_link(site.path("tls/current")).unwrap(), Path::new("pair-000001"));
    site.nginx.signal(rustix::process::Signal::CONT);
    agent.until("a new one is served", || site.served().filter(|serial| *serial != first));
    assert!(agent.stop().success());
}

/// Each way to log in fetches a certificate, and the secret id that lay there wrapped serves a second time.
#[test]
fn every_way_to_log_in_fetches_a_certificate() {
    let site = Site::new();
    let root = site.authority("1h");
    let rule = "path \"pki/sign/web\" { capabilities = [\"update\"] }";
    root.post("sys/policies/acl/sign", json!({"policy": rule})).must(204);
    for kind in ["approle", "userpass"] {
        root.post(&format!("sys/auth/{kind}"), json!({"type": kind})).must(204);
    }
    root.post("auth/approle/role/a", json!({"token_policies": "sign"})).must(204);
    site.folder.file("role", &root.get("auth/approle/role/a/role-id").must(200).at("/data/role_id"));
    let wrapped = tests::http::Request::new("POST", "/v1/auth/approle/role/a/secret-id")
        .header("X-Vault-Wrap-TTL", "5m");
    site.folder.file("wrapped", &root.send(&wrapped.json(&json!({}))).must(200).at("/wrap_info/token"));
    root.post("auth/userpass/users/u", json!({"password": "pw", "token_policies": "sign"})).must(204);
    site.folder.file("password", "pw\n");
    let token = root.post("auth/token/create", json!({"policies": ["sign"], "period": "1h"})).must(200);
    site.folder.file("token", &token.at("/auth/client_token"));
    let approle = "role_id_file_path = \"@/role\"\nsecret_id_file_path = \"@/wrapped\"\nremove_secret_id_file_after_reading = false\n\
                   secret_id_response_wrapping_path = \"auth/approle/role/a/secret-id\"";
    for (round, kind, config) in [
        (1, "approle", approle),
        (2, "approle", approle),
        (3, "userpass", "username = \"u\"\npassword_file_path = \"@/password\""),
        (4, "token_file", "token_file_path = \"@/token\""),
    ] {
        let text = format!(
            "auto_auth {{\n method \"{kind}\" {{ config = {{\n{config}\n}} }}\n sink \"file\" {{ config = {{ path = \"@/sink\" }} }} }}\n\
             certificate \"app.internal\" {{\n role = \"web\"\n folder = \"@/tls-{round}\"\n }}\n"
        );
        let file =
            site.folder.file("once.hcl", &text.replace('@', &site.folder.path().display().to_string()));
        let mut agent = site.agent(&["-once", &format!("-config={}", file.display())]);
        assert_eq!(agent.end().code(), Some(0), "{kind}: {}", agent.log());
        assert!(site.path(&format!("tls-{round}/current/fullchain.pem")).exists(), "{kind}");
        let sunk = std::fs::read_to_string(site.path("sink")).unwrap();
        site.server.anonymous().with(&sunk).get("auth/token/lookup-self").must(200);
    }
    // A wrapping token made elsewhere is a trap, and says so.
    let trap = tests::http::Request::new("POST", "/v1/sys/wrapping/wrap").header("X-Vault-Wrap-TTL", "5m");
    site.folder
        .file("wrapped", &root.send(&trap.json(&json!({"secret_id": "x"}))).must(200).at("/wrap_info/token"));
    let text = format!(
        "auto_auth {{ method \"approle\" {{ config = {{\n{approle}\n}} }} }}\ncertificate \"app.internal\" {{\n role = \"web\"\n folder = \"@/tls-5\"\n }}\n"
    );
    let file = site.folder.file("once.hcl", &text.replace('@', &site.folder.path().display().to_string()));
    let mut agent = site.agent(&["-once", &format!("-config={}", file.display())]);
    assert_eq!(agent.end().code(), Some(1));
    assert!(agent.log().contains("somebody has replaced it"), "{}", agent.log());
}

/// What cannot work is refused before anything is made: a budget that the role cannot give, a role that is not there.
#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let site = Site::new();
    site.authority("24h");
    let tls = site.path("tls").display().to_string();
    let refused = |flags: &str| {
        let output = site.shell(&format!("! keep cert get -name=app.internal -dir={tls} {flags}"));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("-role=web -survive=72h");
    assert!(said.contains("84h42m22s"), "{said}");
    assert!(refused("-role=nothing").contains("keep write pki/roles/nothing"));
    assert!(refused("-role=web -reload=apache").contains("systemd:UNIT"));
    assert!(refused("-role=web -verify=nowhere").contains("HOST:PORT"));
    assert!(refused("-role=web -alt-names=example.com -once").contains("example.com"));
    assert!(!site.path("agent.d/app.internal.hcl").exists());
    let said = refused("-role=web -alt-names=example.com");
    assert!(said.contains("example.com") && said.contains("taken away again"), "{said}");
    assert_eq!(said.matches("not allowed by this role").count(), 1, "it is said once: {said}");
    assert!(!site.path("agent.d/app.internal.hcl").exists() && !site.path("tls").exists());
}

/// The counters can be read over HTTP and as a file.
#[test]
fn the_counters_can_be_read() {
    let site = Site::new();
    let port = site.port;
    let text_file = site.path("keep.prom").display().to_string();
    site.folder.file(
        "agent.d/metrics.hcl",
        &format!("telemetry {{\n listen = \"127.0.0.1:{}\"\n text_file = \"{text_file}\"\n}}\n", port + 1),
    );
    let (agent, _) = site.rotating("1h");
    let metrics = || {
        let request = tests::http::Request::new("GET", "/metrics");
        request.send(([127, 0, 0, 1], port + 1).into()).ok().map(|reply| reply.text())
    };
    let text = agent.until("it is delivered", || {
        metrics().filter(|text| text.contains("keep_certificate_delivered{certificate=\"app.internal\"} 1"))
    });
    for line in [
        "keep_certificate_hook_total{certificate=\"app.internal\",result=\"ok\"} 1",
        "keep_certificate_verify_total{certificate=\"app.internal\",result=\"ok\"} 1",
        "keep_certificate_key_reused{certificate=\"app.internal\"} 0",
        "keep_certificate_disk_errors_total{certificate=\"app.internal\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let value = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let (from, until) =
        (value("keep_certificate_obtained_seconds"), value("keep_certificate_not_after_seconds"));
    let renewal = value("keep_certificate_next_renewal_seconds");
    assert!(renewal > from + (until - from) * 0.4 && renewal <= from + (until - from) / 2.0 + 1.0);
    agent.until("the file is written", || {
        std::fs::read_to_string(&text_file).ok().filter(|text| text.contains("keep_certificate_delivered"))
    });
    assert!(agent.stop().success());
}
