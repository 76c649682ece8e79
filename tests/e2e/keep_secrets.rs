//! `keep agent` with secrets: templates, a program's environment, a door for others, a cache for outages; and the same
//! templates rendered by `bao agent`.

use crate::agent::{APPROLE, Site, Socket};
use serde_json::json;
use std::fs;
use std::process::{Command, Output};
use tests::binary::Binary;
use tests::program::Program;

/// An identity that is there again at the next start.
const STAYS: &str = r#"
auto_auth {
  method "approle" {
    config = {
      role_id_file_path = "@/role"
      secret_id_file_path = "@/secret"
      remove_secret_id_file_after_reading = false
    }
  }
}"#;

const PASSWORD: &str = r#"{{ with secret \"secret/data/app/db\" }}{{ .Data.data.password }}{{ end }}"#;

fn start(site: &Site, config: &str) -> Program {
    Program::start(&site.command(&Binary::keep(), "agent", config))
}

/// Runs the agent until everything is there, or it gives up.
fn once(site: &Site, config: &str) -> Output {
    let mut command = site.command(&Binary::keep(), "agent", config);
    command.arg("--once").env("HOME", site.folder.path()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `keep agent check` says of a configuration, and whether it takes it.
fn check(site: &Site, config: &str) -> (bool, String) {
    let mut command = Command::new(Binary::keep().path());
    let config = config.replace('@', &site.folder.path().display().to_string());
    let file = site.folder.file("checked.hcl", &config);
    let output =
        command.args(["agent", "check"]).arg(format!("-config={}", file.display())).output().unwrap();
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), said(&output)))
}

#[test]
fn a_template_is_rendered_again_when_its_secret_changes_and_its_command_runs_once_for_each() {
    let site = Site::new();
    let config = format!(
        r#"auto_auth {{{APPROLE}
  sink "file" {{
    wrap_ttl = "5m"
    config = {{ path = "@/wrapped" }}
  }}
}}
template {{
  contents = "{PASSWORD}"
  destination = "@/deep/rendered"
  exec {{ command = ["sh", "-c", "cat @/deep/rendered >> @/runs; echo >> @/runs"] }}
}}
template_config {{ static_secret_render_interval = "1s" }}"#
    );
    let agent = start(&site, &config);
    let runs = |text: &str| agent.until(text, || site.read("runs").filter(|now| now == text).map(drop));
    runs("first\n");
    assert!(!site.path("secret").exists(), "the agent takes the secret id away");
    let mode = fs::metadata(site.path("deep/rendered")).map(|there| {
        use std::os::unix::fs::PermissionsExt;
        there.permissions().mode() & 0o777
    });
    assert_eq!(mode.unwrap(), 0o600);
    let wrapped = agent.until("the wrapped token", || site.read("wrapped"));
    let wrapped: serde_json::Value = serde_json::from_str(&wrapped).unwrap();
    let taker = site.server.anonymous().with(wrapped["token"].as_str().unwrap());
    let token = taker.post("sys/wrapping/unwrap", json!({})).must(200).at("/data/token");
    site.server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    site.keep("second");
    runs("first\nsecond\n");
    // Its token is revoked: it logs in anew. Its secret is gone: the file stays.
    site.root.delete("secret/metadata/app/db").must(204);
    agent.until("it misses the secret", || agent.log().contains("no secret exists").then_some(()));
    assert_eq!(site.read("deep/rendered").as_deref(), Some("second"));
    site.keep("third");
    runs("first\nsecond\nthird\n");
    assert!(agent.stop().success());
}

#[test]
fn a_program_gets_new_secrets_by_being_started_again() {
    let site = Site::new();
    let exec = format!(
        r#"auto_auth {{{APPROLE}
}}
env_template "DB_PASSWORD" {{
  contents = "{PASSWORD}"
  error_on_missing_key = true
}}
exec {{
  command = ["sh", "-c", "trap 'echo usr1 >> @/seen' USR1; trap 'exit 7' TERM; echo $DB_PASSWORD >> @/seen; while :; do sleep 0.1; done"]
}}
template_config {{ static_secret_render_interval = "1s" }}"#
    );
    let mut agent = site.command(&Binary::keep(), "agent", &exec);
    let port = tests::server::free_port();
    let telemetry = format!("telemetry {{ listen = \"127.0.0.1:{port}\" }}\n");
    agent.arg(format!("-config={}", site.folder.file("telemetry.hcl", &telemetry).display()));
    let agent = Program::start(&agent);
    let counters = |lines: &[&str]| {
        let request = tests::http::Request::new("GET", "/metrics");
        agent.until("the counters say so", || {
            let text = request.clone().send(([127, 0, 0, 1], port).into()).ok()?.text();
            lines.iter().all(|line| text.lines().any(|found| found == *line)).then_some(text)
        })
    };
    let seen = |text: &str| agent.until(text, || site.read("seen").filter(|now| now == text).map(drop));
    seen("first\n");
    let renders = "keep_template_renders_total{template=\"DB_PASSWORD\"}";
    counters(&[&format!("{renders} 1"), "keep_exec_restarts_total 0"]);
    site.keep("second");
    seen("first\nsecond\n");
    let well = "keep_template_failures{template=\"DB_PASSWORD\"} 0";
    let text = counters(&[&format!("{renders} 2"), "keep_exec_restarts_total 1", well]);
    assert!(!text.contains("keep_template_last_success_seconds{template=\"DB_PASSWORD\"} 0\n"), "{text}");
    site.root.delete("secret/metadata/app/db").must(204);
    agent.until("the counters say that it fails", || (!counters(&[]).contains(well)).then_some(()));
    let text = counters(&[]);
    assert!(!text.contains("keep_template_failures_total{template=\"DB_PASSWORD\"} 0"), "{text}");
    site.keep("second");
    counters(&[well]);
    agent.signal(rustix::process::Signal::USR1);
    seen("first\nsecond\nusr1\n");
    assert_eq!(agent.stop().code(), Some(7), "the program's end is the agent's");
    let bad = exec.replace("trap 'exit 7' TERM;", "exit 9;");
    let secret = site.root.post("auth/approle/role/web/secret-id", json!({})).must(200);
    site.folder.file("secret", &secret.at("/data/secret_id"));
    assert_eq!(start(&site, &bad).end().code(), Some(9), "it ends when its program does");
}

#[test]
fn a_door_lends_the_agents_token_and_remembers_what_has_a_lease() {
    let site = Site::new();
    let config = format!(
        r#"auto_auth {{{APPROLE}
}}
api_proxy {{ use_auto_auth_token = true }}
cache {{}}
listener "unix" {{
  address = "@/socket"
  tls_disable = true
}}
listener "unix" {{
  address = "@/guarded"
  require_request_header = true
  agent_api {{ enable_quit = true }}
}}"#
    );
    let mut proxy = start(&site, &config);
    let (socket, guarded) = (Socket(site.path("socket")), Socket(site.path("guarded")));
    proxy.until("it listens", || (socket.0.exists() && guarded.0.exists()).then_some(()));
    for address in ["BAO_ADDR", "BAO_AGENT_ADDR"] {
        let mut bao = Command::new(Binary::bao().path());
        bao.args(["read", "-field=data", "secret/data/app/db"]).env_remove("BAO_TOKEN");
        bao.env("HOME", site.folder.path()).env(address, format!("unix://{}", socket.0.display()));
        let output = bao.output().unwrap();
        assert!(output.status.success(), "{}\n{}", said(&output), proxy.log());
        assert!(String::from_utf8_lossy(&output.stdout).contains("password:first"));
    }
    socket.remembers(&site, "agent/v1/cache-clear");
    let (_, own) = socket.post("v1/auth/token/lookup-self", &json!({}));
    assert!(own["data"]["id"].is_null(), "who borrows the token does not learn it: {own}");
    for path in ["v1/auth/token/lookup%2Dself", "v1/auth/token/lookup-self/", "v1//auth/token/lookup-self"] {
        let (_, own) = socket.post(path, &json!({}));
        assert!(!own.to_string().contains("s."), "{path}: {own}");
    }
    let (_, refused) = guarded.post("v1/auth/token/lookup-self", &json!({}));
    assert_eq!(refused["errors"][0], "missing 'X-Vault-Request' header");
    let (_, refused) = socket.post("agent/v1/quit", &json!({}));
    assert!(refused["errors"][0].as_str().unwrap().contains("enable_quit"));
    let mut quit = Command::new("curl");
    quit.args([
        "--silent",
        "--fail",
        "--max-time",
        "30",
        "--request",
        "POST",
        "--header",
        "X-Vault-Request: true",
    ]);
    let quit = quit.arg("--unix-socket").arg(&guarded.0).arg("http://agent/agent/v1/quit").status().unwrap();
    assert!(quit.success());
    assert!(proxy.end().success());
}

#[test]
fn an_agent_starts_without_its_server_from_what_it_kept_but_not_from_what_is_too_old() {
    let site = Site::new();
    let config = |stale: &str| {
        format!(
            r#"{STAYS}
template {{
  contents = "{PASSWORD}"
  destination = "@/rendered"
}}
vault {{ address = "{}" }}
cache {{
  persist "file" {{
    path = "@/cache"
    {stale}
  }}
}}"#,
            site.server.url()
        )
    };
    let (long, short) = (config(""), config("max_stale = \"1s\""));
    let output = once(&site, &long);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(site.read("rendered").as_deref(), Some("first"));
    for file in fs::read_dir(site.path("cache/answers")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(5).any(|window| window == b"first"), "the cache is sealed");
    }
    fs::remove_file(site.path("rendered")).unwrap();
    site.server.signal(rustix::process::Signal::KILL);
    let output = once(&site, &long);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("comes from the cache"), "{}", said(&output));
    assert_eq!(site.read("rendered").as_deref(), Some("first"));
    // The cache ages while it is asked.
    let refused = (0..20).find_map(|_| {
        fs::remove_file(site.path("rendered")).ok();
        let output = once(&site, &short);
        (!output.status.success()).then_some(said(&output))
    });
    let refused = refused.expect("what is older than a second is refused");
    assert!(refused.contains("max_stale"), "{refused}");
    assert_eq!(site.read("rendered"), None);
}

#[test]
fn a_certificate_that_lies_there_is_taken_again_while_it_is_young() {
    let site = Site::new();
    let root = &site.root;
    root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    root.post("pki/root/generate/internal", json!({"common_name": "ca", "key_type": "ec"})).must(200);
    let role =
        json!({"allowed_domains": "internal", "allow_subdomains": true, "key_type": "ec", "ttl": "24h"});
    root.post("pki/roles/web", role).must(200);
    let policy = r#"path "pki/issue/web" { capabilities = ["update"] }"#;
    root.post("sys/policies/acl/app", json!({"policy": policy})).must(204);
    let text = r#"{{ with pkiCert "pki/issue/web" "common_name=a.internal" }}{{ .Data.Cert }}{{ .Data.CA }}{{ .Data.Key }}
{{- .Data.Key | writeToFile "@/key.pem" "" "" "0600" }}{{ end }}"#;
    site.folder.file("t.ctmpl", &text.replace('@', &site.folder.path().display().to_string()));
    let config =
        format!("{STAYS}\ntemplate {{\n  source = \"@/t.ctmpl\"\n  destination = \"@/pair.pem\"\n}}");
    let run = || {
        let output = once(&site, &config);
        assert!(output.status.success(), "{}", said(&output));
        site.read("pair.pem").unwrap()
    };
    let first = run();
    assert_eq!(first.matches("BEGIN CERTIFICATE").count(), 2, "{first}");
    assert!(first.contains(&site.read("key.pem").unwrap()), "{first}");
    assert_eq!(run(), first, "no other is issued");
    fs::remove_file(site.path("pair.pem")).unwrap();
    assert_ne!(run(), first);
}

/// The sample of its documentation, with a method that we have.
const SAMPLE: &str = r#"
pid_file = "./pidfile"

vault {
  address = "https://vault-fqdn:8200"
  retry {
    num_retries = 5
  }
}

auto_auth {
  method "kubernetes" {
    mount_path = "auth/kubernetes"
    config = {
      role = "foobar"
    }
  }

  sink "file" {
    config = {
      path = "/tmp/file-foo"
    }
  }

  sink "file" {
    wrap_ttl = "5m"
    config = {
      path = "/tmp/file-bar"
    }
  }
}

cache {
  // An empty cache stanza still enables caching
}

api_proxy {
  use_auto_auth_token = true
}

listener "unix" {
  address = "/path/to/socket"
  tls_disable = true

  agent_api {
    enable_quit = true
  }
}

listener "tcp" {
  address = "127.0.0.1:8100"
  tls_disable = true
}

template_config {
  static_secret_render_interval = "10m"
  exit_on_retry_failure = true
  max_connections_per_host = 20
}

template {
  source      = "@/server.key.ctmpl"
  destination = "/etc/vault/server.key"
}

template {
  contents     = "{{ with secret \"secret/my-secret\" }}{{ .Data.data.foo }}{{ end }}"
  destination  = "/tmp/agent/render-content.txt"
  error_on_missing_key = true
  wait {
    min = "2s"
    max = "10s"
  }
  command = "systemctl reload nginx"
}
"#;

#[test]
fn the_documented_samples_of_vault_agent_are_taken_and_mistakes_have_a_file_and_a_line() {
    let site = Site::new();
    site.folder.file(
        "server.key.ctmpl",
        "{{ with secret \"pki/issue/x\" \"common_name=a\" }}{{ .Data.private_key }}{{ end }}\n",
    );
    let (taken, text) = check(&site, SAMPLE);
    assert!(taken, "{text}");
    for (from, to, words) in [
        ("pid_file", "pidfile", "checked.hcl: line 2: \"pidfile\" is not known here"),
        ("  retry {", "  retri {", "line 6: \"retri\" is not known here"),
        ("command = \"", "comand = \"", "\"comand\" is not known here"),
        (
            ".Data.data.foo }}",
            ".Data.data.foo | sprig_genPrivateKey }}",
            "contents: line 1: the function \"sprig_genPrivateKey\": keys and certificates are not made",
        ),
        ("127.0.0.1:8100", "0.0.0.0:8100", "hands the agent's token to everybody"),
        (
            "cache {",
            "cache {\n  cache_static_secrets = true",
            "cache_static_secrets: no server tells this agent when a secret changes",
        ),
    ] {
        assert!(SAMPLE.contains(from));
        let (taken, text) = check(&site, &SAMPLE.replacen(from, to, 1));
        assert!(!taken && text.contains(words), "{from} -> {to}: {text}");
    }
    let (taken, text) = check(&site, &SAMPLE.replace("pid_file", "log_format = \"x\"\npid_file"));
    assert!(!taken && text.contains("checked.hcl: log_format must be standard or json"), "{text}");
    let json = r#"{"auto_auth": {"method": [{"type": "approle", "config": {"role_id_file_path": "r"}}]},
        "template": [{"contents": "x", "destination": "@/a"}, {"contents": "{{ key \"x\" }}", "destination": "@/b"}]}"#;
    let (taken, text) = check(&site, json);
    assert!(
        !taken && text.contains("checked.hcl: template \"") && text.contains("line 1: the function \"key\""),
        "{text}"
    );
    assert!(!text.contains("line 0"), "{text}");
    site.folder.file("server.key.ctmpl", "fine\n{{ if true }}\n{{ key \"x\" }}{{ end }}");
    let (taken, text) = check(&site, SAMPLE);
    assert!(
        !taken && text.contains("server.key.ctmpl: line 3: the function \"key\": it asks Consul"),
        "{text}"
    );
}

/// What both agents must make the same of.
const TEMPLATE: &str = include_str!("keep_secrets.ctmpl");
/// And what of the functions of sprig.
const SPRIG: &str = include_str!("keep_sprig.ctmpl");

#[test]
fn both_agents_render_the_same() {
    let site = Site::new();
    let data = r#"{"data": {"n": 5432, "f": 1.25, "s": "a<b>&c", "l": ["x", 1, true, null],
        "m": {"k": "v", "z": [1, 2]}, "nul": null, "pem": "one\ntwo\n", "empty": "", "yes": "yes"}}"#;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    site.root.post("secret/data/app/all", data).must(200);
    let policy = r#"path "secret/*" { capabilities = ["read", "list"] }
path "auth/token/create" { capabilities = ["update"] }"#;
    site.root.post("sys/policies/acl/app", json!({"policy": policy})).must(204);
    site.folder.file("t.ctmpl", TEMPLATE);
    site.folder.file("t2.ctmpl", &TEMPLATE.replace("{{", "<<").replace("}}", ">>"));
    site.folder.file("sprig.ctmpl", SPRIG);
    let json = r#"{"auto_auth": {"method": [{"type": "approle", "config": {"role_id_file_path": "@/role",
        "secret_id_file_path": "@/secret", "remove_secret_id_file_after_reading": false}}]}, "exit_after_auth": true,
        "template": [{"contents": "{{ with secret \"secret/app/all\" }}{{ .Data.data.s }}{{ end }}", "destination": "@/$"}]}"#;
    let from_json = |program: &Binary, name: &str| {
        let mut agent = Program::start(&site.command(program, "agent", &json.replace('$', name)));
        assert!(agent.end().success(), "{}", agent.log());
        site.read(name)
    };
    let plain = Some("a<b>&c".to_owned());
    assert_eq!(
        (from_json(&Binary::bao(), "theirs"), from_json(&Binary::keep(), "ours")),
        (plain.clone(), plain)
    );
    let rendered = |program: &Binary, name: &str| {
        let config = format!(
            r#"{STAYS}
exit_after_auth = true
vault {{ retry {{ num_retries = -1 }} }}
template_config {{ exit_on_retry_failure = true }}
template {{
  source = "@/t.ctmpl"
  destination = "@/{name}"
}}
template {{
  source = "@/t2.ctmpl"
  destination = "@/{name}2"
  left_delimiter = "<<"
  right_delimiter = ">>"
}}
template {{
  source = "@/sprig.ctmpl"
  destination = "@/{name}3"
}}"#
        );
        let mut command = site.command(program, "agent", &config);
        command.env("FROM_OUTSIDE", "world");
        let mut agent = Program::start(&command);
        assert!(agent.end().success(), "{}", agent.log());
        (site.read(name), site.read(&format!("{name}2")), site.read(&format!("{name}3")).unwrap())
    };
    let (theirs, ours) = (rendered(&Binary::bao(), "theirs"), rendered(&Binary::keep(), "ours"));
    assert!(theirs.0.is_some());
    for (ours, theirs) in ours.2.lines().zip(theirs.2.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours, theirs);
}
