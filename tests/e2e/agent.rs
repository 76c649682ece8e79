//! The real `bao agent` and `bao proxy`: they log in, write tokens, render templates, start programs and keep what they were given.

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tests::binary::Binary;
use tests::http::Client;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::server::Server;

const POLICY: &str = r#"
path "secret/data/app/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/revoke" { capabilities = ["update"] }
"#;

/// A server with a secret and a role that may read it, and a folder for what runs beside it.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) root: Client,
    pub(crate) folder: Scratch,
}

impl Site {
    pub(crate) fn new() -> Self {
        let server = Server::dev(&Binary::sealkeep());
        let (root, folder) = (server.root(), Scratch::new());
        root.post("sys/policies/acl/app", json!({"policy": POLICY})).must(204);
        root.post("sys/auth/approle", json!({"type": "approle"})).must(204);
        let role = json!({"token_policies": "app", "token_ttl": "20m"});
        root.post("auth/approle/role/web", role).must(204);
        let id = root.get("auth/approle/role/web/role-id").must(200).at("/data/role_id");
        folder.file("role", &id);
        let secret = root.post("auth/approle/role/web/secret-id", json!({})).must(200);
        folder.file("secret", &secret.at("/data/secret_id"));
        let site = Self { server, root, folder };
        site.keep("first");
        site
    }

    /// Puts a new version of the secret.
    pub(crate) fn keep(&self, password: &str) {
        let body = json!({"data": {"user": "u", "password": password}});
        self.root.post("secret/data/app/db", body).must(200);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok().filter(|text| !text.is_empty())
    }

    /// Starts the agent or the proxy; `@` in its configuration is the folder.
    fn start(&self, what: &str, config: &str) -> Program {
        Program::start(&self.command(&Binary::bao(), what, config))
    }

    /// The command that runs the agent or the proxy of a program; `@` in its configuration is the folder.
    pub(crate) fn command(&self, program: &Binary, what: &str, config: &str) -> Command {
        let config = config.replace('@', &self.folder.path().display().to_string());
        let file = self.folder.file(&format!("{what}.hcl"), &config);
        let mut command = Command::new(program.path());
        command.arg(what).arg(format!("-config={}", file.display()));
        command.env("BAO_ADDR", self.server.url()).env_remove("BAO_TOKEN");
        command
    }
}

pub(crate) const APPROLE: &str = r#"
  method "approle" {
    config = {
      role_id_file_path = "@/role"
      secret_id_file_path = "@/secret"
      remove_secret_id_file_after_reading = true
    }
  }
"#;

#[test]
fn an_agent_writes_its_token_and_renders_what_changes() {
    let site = Site::new();
    let config = r#"
sink "file" { config = { path = "@/token", mode = 0600 } }
sink "file" {
  wrap_ttl = "5m"
  config = { path = "@/wrapped" }
}"#;
    let template = r#"
template {
  contents = "{{ with secret \"secret/data/app/db\" }}{{ .Data.data.user }}:{{ .Data.data.password }}{{ end }}"
  destination = "@/rendered"
  perms = 0640
}
template_config { static_secret_render_interval = "1s" }"#;
    let agent = site.start("agent", &format!("auto_auth {{{APPROLE}{config}\n}}{template}"));
    let rendered =
        |text: &str| agent.until(text, || site.read("rendered").filter(|now| now == text).map(drop));
    rendered("u:first");
    assert!(!site.path("secret").exists(), "the agent takes the secret id away");
    let mode = std::fs::metadata(site.path("rendered")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let token = agent.until("its token", || site.read("token"));
    let own = site.server.anonymous().with(&token);
    let looked = own.get("auth/token/lookup-self").must(200).json();
    assert_eq!(looked["data"]["path"], "auth/approle/login", "{looked}");
    let wrapped = agent.until("the wrapped token", || site.read("wrapped"));
    let wrapped: Value = serde_json::from_str(&wrapped).unwrap();
    let taker = site.server.anonymous().with(wrapped["token"].as_str().unwrap());
    let unwrapped = taker.post("sys/wrapping/unwrap", json!({})).must(200);
    assert_eq!(unwrapped.at("/data/token"), token);
    site.keep("second");
    rendered("u:second");
    assert!(agent.stop().success());
}

#[test]
fn an_agent_starts_a_program_with_its_secrets() {
    let site = Site::new();
    let exec = r#"
env_template "DB_PASSWORD" {
  contents = "{{ with secret \"secret/data/app/db\" }}{{ .Data.data.password }}{{ end }}"
  error_on_missing_key = true
}
exec {
  command = ["sh", "-c", "printf %s \"$DB_PASSWORD\" > @/seen; exit 7"]
  restart_on_secret_changes = "never"
}"#;
    let mut agent = site.start("agent", &format!("auto_auth {{{APPROLE}\n}}{exec}"));
    assert_eq!(agent.end().code(), Some(7), "its end is the agent's: {}", agent.log());
    assert_eq!(site.read("seen").as_deref(), Some("first"));
}

/// A token that Sealkeep itself signed stands for a build platform's.
#[test]
fn an_agent_logs_in_with_a_signed_token() {
    let site = Site::new();
    let root = &site.root;
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    let rule = r#"path "identity/oidc/token/job" { capabilities = ["read"] }"#;
    root.post("sys/policies/acl/sign", json!({"policy": rule})).must(204);
    root.post("auth/userpass/users/job", json!({"password": "pw", "token_policies": "sign"})).must(204);
    let key = json!({"allowed_client_ids": "*", "algorithm": "ES256"});
    root.post("identity/oidc/key/k", key).must_be_any(&[200, 204]);
    let role = json!({"key": "k", "client_id": "vault", "ttl": "10m"});
    root.post("identity/oidc/role/job", role).must_be_any(&[200, 204]);
    let job = site.server.anonymous().post("auth/userpass/login/job", json!({"password": "pw"})).must(200);
    let job = site.server.anonymous().with(&job.at("/auth/client_token"));
    site.folder.file("jwt", &job.get("identity/oidc/token/job").must(200).at("/data/token"));
    root.post("sys/auth/jwt", json!({"type": "jwt"})).must(204);
    let keys = format!("{}/v1/identity/oidc/.well-known/keys", site.server.url());
    root.post("auth/jwt/config", json!({"jwks_url": keys})).must_be_any(&[200, 204]);
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "app", "token_ttl": "20m"
    });
    root.post("auth/jwt/role/deploy", role).must_be_any(&[200, 204]);
    let config = r#"
auto_auth {
  method "jwt" { config = { path = "@/jwt", role = "deploy" } }
  sink "file" { config = { path = "@/token" } }
}"#;
    let agent = site.start("agent", config);
    let token = agent.until("its token", || site.read("token"));
    let own = site.server.anonymous().with(&token);
    assert_eq!(own.get("secret/data/app/db").must(200).at("/data/data/password"), "first");
    assert!(agent.stop().success());
}

/// A socket of the proxy, asked by curl without a token.
pub(crate) struct Socket(pub(crate) PathBuf);

impl Socket {
    /// What it says of its cache, and the answer.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> (String, Value) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%header{x-cache}"]);
        curl.arg("--unix-socket").arg(&self.0).args(["--data", &body.to_string()]);
        let output = curl.arg(format!("http://proxy/{path}")).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{path}: {out}{}", String::from_utf8_lossy(&output.stderr));
        let (body, cache) = out.rsplit_once('\n').unwrap();
        (cache.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A token made through the proxy, and whether it came out of its cache.
    #[track_caller]
    pub(crate) fn token(&self) -> (String, String) {
        let (cache, made) = self.post("v1/auth/token/create", &json!({"ttl": "5m"}));
        (cache, made["auth"]["client_token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned())
    }

    /// It gives a token twice, until that is revoked or `clear` empties its cache.
    #[track_caller]
    pub(crate) fn remembers(&self, site: &Site, clear: &str) {
        let (cache, first) = self.token();
        assert_eq!(cache, "MISS");
        assert_eq!(self.token(), ("HIT".to_owned(), first.clone()));
        self.post("v1/auth/token/revoke", &json!({"token": first}));
        site.server.anonymous().with(&first).get("auth/token/lookup-self").must(403);
        let (cache, second) = self.token();
        assert_eq!(cache, "MISS", "a revoked token leaves the cache");
        assert_ne!(first, second);
        self.post(clear, &json!({"type": "all"}));
        assert_eq!(self.token().0, "MISS");
    }
}

#[test]
fn a_proxy_adds_its_token_and_keeps_what_it_was_given() {
    let site = Site::new();
    let rest = r#"
api_proxy { use_auto_auth_token = true }
cache {}
listener "unix" {
  address = "@/socket"
  tls_disable = true
}"#;
    let proxy = site.start("proxy", &format!("auto_auth {{{APPROLE}\n}}{rest}"));
    let socket = Socket(site.path("socket"));
    proxy.until("it has a token", || proxy.log().contains("authentication successful").then_some(()));
    proxy.until("it listens", || socket.0.exists().then_some(()));
    let mut bao = Command::new(Binary::bao().path());
    bao.args(["read", "-format=json", "secret/data/app/db"]).env_remove("BAO_TOKEN");
    bao.env("HOME", site.folder.path()).env("BAO_AGENT_ADDR", format!("unix://{}", socket.0.display()));
    let output = bao.output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), proxy.log());
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["data"]["data"]["password"], "first", "{read}");
    socket.remembers(&site, "proxy/v1/cache-clear");
    assert!(proxy.stop().success());
}
