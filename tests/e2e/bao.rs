//! The real `bao` command line, doing what people do with it.

use serde_json::Value;
use std::process::{Command, Output};
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

/// The command line of one user, pointed at one server.
struct Cli {
    address: String,
    token: String,
    home: Scratch,
}

impl Cli {
    fn new(server: &Server, token: &str) -> Self {
        Self { address: server.url(), token: token.to_owned(), home: Scratch::new() }
    }

    fn with(&self, token: &str) -> Self {
        Self { address: self.address.clone(), token: token.to_owned(), home: Scratch::new() }
    }

    fn output(&self, line: &[&str]) -> Output {
        let mut command = Command::new(Binary::bao().path());
        command
            .args(line)
            .env("BAO_ADDR", &self.address)
            .env("HOME", self.home.path())
            .env("BAO_FORMAT", "json");
        match self.token.as_str() {
            "" => command.env_remove("BAO_TOKEN"),
            token => command.env("BAO_TOKEN", token),
        };
        command.env("BAO_MAX_RETRIES", "0").output().expect("bao can be started")
    }

    /// What it prints, as JSON or as text; it must succeed.
    #[track_caller]
    fn run(&self, line: &[&str]) -> Value {
        let output = self.output(line);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "bao {}: {}\n{out}{error}", line.join(" "), output.status);
        serde_json::from_str(&out).unwrap_or_else(|_| Value::String(out.trim().to_owned()))
    }

    /// What it says when it fails with this code.
    #[track_caller]
    fn fail(&self, code: i32, line: &[&str]) -> String {
        let output = self.output(line);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "bao {}: {said}", line.join(" "));
        said
    }
}

#[track_caller]
fn is(value: &Value, pointer: &str, expected: impl Into<Value>) {
    assert_eq!(value.pointer(pointer), Some(&expected.into()), "{pointer} in {value:#}");
}

#[track_caller]
fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
        .to_owned()
}

fn dev() -> (Server, Cli) {
    let server = Server::dev(&Binary::sealkeep());
    let cli = Cli::new(&server, tests::server::DEV_TOKEN);
    (server, cli)
}

#[test]
fn init_unseal_seal() {
    let folder = Scratch::new();
    let server = Server::configured(&Binary::sealkeep(), &Config::new(Storage::Raft, folder.path()));
    let cli = Cli::new(&server, "");
    cli.fail(2, &["status"]);
    cli.fail(2, &["operator", "init", "-status"]);
    let keys = cli.run(&["operator", "init", "-key-shares=5", "-key-threshold=3"]);
    assert_eq!(keys["unseal_keys_b64"].as_array().map(Vec::len), Some(5));
    is(&keys, "/unseal_threshold", 3);
    let said = cli.fail(2, &["operator", "init"]);
    assert!(said.contains("already initialized"), "{said}");
    let said = cli.fail(2, &["operator", "unseal", "abcd"]);
    assert!(said.contains("shorter than minimum"), "{said}");
    // Shares are taken in hex and in base64, in any order.
    is(&cli.run(&["operator", "unseal", &text(&keys, "/unseal_keys_hex/4")]), "/progress", 1);
    is(&cli.run(&["operator", "unseal", "-reset"]), "/progress", 0);
    cli.run(&["operator", "unseal", &text(&keys, "/unseal_keys_hex/4")]);
    is(&cli.run(&["operator", "unseal", &text(&keys, "/unseal_keys_b64/0")]), "/progress", 2);
    cli.run(&["operator", "unseal", &text(&keys, "/unseal_keys_hex/2")]);
    server.until("it is active", |client| client.get("sys/health").status == 200);
    let root = cli.with(&text(&keys, "/root_token"));
    is(&root.run(&["status"]), "/sealed", false);
    is(&root.run(&["operator", "key-status"]), "/term", 1);
    root.run(&["operator", "rotate"]);
    is(&root.run(&["operator", "key-status"]), "/term", 2);
    root.run(&["operator", "seal"]);
    cli.fail(2, &["status"]);
    let said = root.fail(2, &["secrets", "list"]);
    assert!(said.contains("sealed"), "{said}");
    let keys: Vec<String> = (0..3).map(|share| text(&keys, &format!("/unseal_keys_b64/{share}"))).collect();
    keys.iter().for_each(|key| drop(cli.run(&["operator", "unseal", key])));
    server.until("it is active again", |client| client.get("sys/health").status == 200);
    is(&root.run(&["operator", "key-status"]), "/term", 2);
}

#[test]
fn kv_versions() {
    let (_server, cli) = dev();
    is(&cli.run(&["kv", "put", "-mount=secret", "app", "user=u", "password=p"]), "/data/version", 1);
    is(&cli.run(&["kv", "put", "-cas=1", "-mount=secret", "app", "user=second"]), "/data/version", 2);
    let said = cli.fail(2, &["kv", "put", "-cas=1", "-mount=secret", "app", "user=third"]);
    assert!(said.contains("check-and-set"), "{said}");
    is(&cli.run(&["kv", "patch", "-mount=secret", "app", "more=x"]), "/data/version", 3);
    let secret = cli.run(&["kv", "get", "-mount=secret", "app"]);
    is(&secret, "/data/data/user", "second");
    is(&secret, "/data/data/more", "x");
    is(&cli.run(&["kv", "get", "-mount=secret", "-version=1", "app"]), "/data/data/password", "p");
    assert_eq!(cli.run(&["kv", "get", "-mount=secret", "-field=user", "app"]), "second");
    cli.run(&["kv", "delete", "-mount=secret", "app"]);
    is(&cli.run(&["kv", "get", "-mount=secret", "app"]), "/data/data", Value::Null);
    cli.run(&["kv", "undelete", "-mount=secret", "-versions=3", "app"]);
    is(&cli.run(&["kv", "get", "-mount=secret", "app"]), "/data/metadata/version", 3);
    cli.run(&["kv", "destroy", "-mount=secret", "-versions=1", "app"]);
    let metadata = cli.run(&["kv", "metadata", "get", "-mount=secret", "app"]);
    is(&metadata, "/data/versions/1/destroyed", true);
    cli.run(&[
        "kv",
        "metadata",
        "put",
        "-mount=secret",
        "-max-versions=2",
        "-custom-metadata=owner=me",
        "app",
    ]);
    is(&cli.run(&["kv", "metadata", "get", "-mount=secret", "app"]), "/data/custom_metadata/owner", "me");
    cli.run(&["kv", "rollback", "-mount=secret", "-version=2", "app"]);
    is(&cli.run(&["kv", "get", "-mount=secret", "app"]), "/data/data", serde_json::json!({"user": "second"}));
    cli.run(&["kv", "put", "-mount=secret", "folder/one", "a=b"]);
    assert_eq!(cli.run(&["kv", "list", "-mount=secret"]), serde_json::json!(["app", "folder/"]));
    cli.run(&["kv", "metadata", "delete", "-mount=secret", "app"]);
    cli.fail(2, &["kv", "get", "-mount=secret", "app"]);
}

#[test]
fn kv_version_1_and_mounts() {
    let (_server, cli) = dev();
    cli.run(&["secrets", "enable", "-path=first", "-version=1", "kv"]);
    cli.run(&["kv", "put", "first/a", "x=1"]);
    is(&cli.run(&["kv", "get", "first/a"]), "/data/x", "1");
    is(&cli.run(&["read", "first/a"]), "/data/x", "1");
    cli.run(&["write", "first/b", "y=2"]);
    assert_eq!(cli.run(&["list", "first"]), serde_json::json!(["a", "b"]));
    cli.run(&["delete", "first/b"]);
    cli.run(&["secrets", "tune", "-default-lease-ttl=30m", "-description=tuned", "first"]);
    let mounts = cli.run(&["secrets", "list", "-detailed"]);
    is(&mounts, "/first~1/description", "tuned");
    is(&mounts, "/first~1/config/default_lease_ttl", 1800);
    cli.run(&["secrets", "move", "first", "moved"]);
    is(&cli.run(&["kv", "get", "moved/a"]), "/data/x", "1");
    cli.run(&["secrets", "disable", "moved"]);
    cli.fail(2, &["kv", "get", "moved/a"]);
    cli.run(&["kv", "enable-versioning", "secret"]);
}

#[test]
fn policies_and_tokens() {
    let (_server, cli) = dev();
    let file =
        cli.home.file("app.hcl", "path \"secret/data/app/*\" { capabilities = [\"create\", \"read\"] }\n");
    cli.run(&["policy", "write", "app", &file.display().to_string()]);
    assert!(cli.run(&["policy", "list"]).as_array().is_some_and(|names| names.contains(&"app".into())));
    assert!(text(&cli.run(&["policy", "read", "app"]), "/policy").contains("secret/data/app/*"));
    let made = cli.run(&["token", "create", "-policy=app", "-ttl=1h", "-display-name=web"]);
    let app = cli.with(&text(&made, "/auth/client_token"));
    app.run(&["kv", "put", "-mount=secret", "app/db", "password=p"]);
    app.run(&["kv", "get", "-mount=secret", "app/db"]);
    let said = app.fail(2, &["kv", "get", "-mount=secret", "other"]);
    assert!(said.contains("permission denied"), "{said}");
    let granted = app.run(&["token", "capabilities", "secret/data/app/x"]);
    assert!(granted.to_string().contains("create") && granted.to_string().contains("read"), "{granted}");
    is(&app.run(&["token", "lookup"]), "/data/display_name", "token-web");
    app.run(&["token", "renew", "-increment=30m"]);
    let accessor = text(&made, "/auth/accessor");
    is(&cli.run(&["token", "lookup", "-accessor", &accessor]), "/data/accessor", accessor.as_str());
    cli.run(&["token", "revoke", "-accessor", &accessor]);
    app.fail(2, &["token", "lookup"]);
    cli.run(&["policy", "delete", "app"]);
    let batch = cli.run(&["token", "create", "-type=batch", "-policy=default", "-ttl=5m"]);
    is(&batch, "/auth/renewable", false);
    let twice = cli.run(&["token", "create", "-policy=default", "-use-limit=1"]);
    let once = cli.with(&text(&twice, "/auth/client_token"));
    once.run(&["token", "lookup"]);
    once.fail(2, &["token", "lookup"]);
}

#[test]
fn people_and_programs_log_in() {
    let (_server, cli) = dev();
    cli.run(&["auth", "enable", "userpass"]);
    cli.run(&["write", "auth/userpass/users/bob", "password=pw", "token_policies=default", "token_ttl=1h"]);
    let anonymous = cli.with("");
    let made = anonymous.run(&["login", "-method=userpass", "-no-store", "username=bob", "password=pw"]);
    is(&made, "/auth/metadata/username", "bob");
    let bob = cli.with(&text(&made, "/auth/client_token"));
    is(&bob.run(&["token", "lookup"]), "/data/path", "auth/userpass/login/bob");
    anonymous.fail(2, &["login", "-method=userpass", "-no-store", "username=bob", "password=wrong"]);
    cli.run(&["auth", "enable", "approle"]);
    cli.run(&["write", "auth/approle/role/web", "token_policies=default", "secret_id_num_uses=1"]);
    let role = text(&cli.run(&["read", "auth/approle/role/web/role-id"]), "/data/role_id");
    let wrapped = cli.run(&["write", "-f", "-wrap-ttl=60s", "auth/approle/role/web/secret-id"]);
    let unwrapped = anonymous.run(&["unwrap", &text(&wrapped, "/wrap_info/token")]);
    let secret = text(&unwrapped, "/data/secret_id");
    let (role, secret) = (format!("role_id={role}"), format!("secret_id={secret}"));
    is(&anonymous.run(&["write", "auth/approle/login", &role, &secret]), "/auth/metadata/role_name", "web");
    anonymous.fail(2, &["write", "auth/approle/login", &role, &secret]);
    anonymous.fail(2, &["unwrap", &text(&wrapped, "/wrap_info/token")]);
    assert!(cli.run(&["auth", "list"]).get("approle/").is_some());
    cli.run(&["auth", "tune", "-max-lease-ttl=2h", "userpass/"]);
    cli.run(&["auth", "disable", "userpass"]);
    bob.fail(2, &["token", "lookup"]);
}

#[test]
fn certificates_and_leases() {
    let (_server, cli) = dev();
    cli.run(&["secrets", "enable", "pki"]);
    cli.run(&["secrets", "tune", "-max-lease-ttl=87600h", "pki"]);
    cli.run(&["write", "pki/root/generate/internal", "common_name=Root", "key_type=ec", "ttl=87600h"]);
    let domain = "allowed_domains=example.com";
    cli.run(&[
        "write",
        "pki/roles/web",
        domain,
        "allow_subdomains=true",
        "key_type=ec",
        "max_ttl=72h",
        "generate_lease=true",
    ]);
    let issued = cli.run(&["write", "pki/issue/web", "common_name=a.example.com", "ttl=1h"]);
    assert!(text(&issued, "/data/certificate").starts_with("-----BEGIN CERTIFICATE-----"));
    let lease = text(&issued, "/lease_id");
    is(&cli.run(&["lease", "lookup", &lease]), "/data/id", lease.as_str());
    cli.run(&["lease", "revoke", &lease]);
    let serial = text(&issued, "/data/serial_number");
    let stored = cli.run(&["read", &format!("pki/cert/{serial}")]);
    assert!(stored.pointer("/data/revocation_time").and_then(Value::as_u64) > Some(0), "{stored}");
    let said = cli.fail(2, &["write", "pki/issue/web", "common_name=other.org"]);
    assert!(said.contains("not allowed by this role"), "{said}");
    assert!(cli.run(&["list", "pki/certs"]).to_string().contains(&serial));
    cli.run(&["path-help", "pki"]);
}

#[test]
fn audit_devices() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let cli = Cli::new(&server, &keys.root);
    let file = folder.path().join("audit.log");
    cli.run(&["audit", "enable", "file", &format!("file_path={}", file.display())]);
    is(&cli.run(&["audit", "list", "-detailed"]), "/file~1/type", "file");
    cli.run(&["read", "auth/token/lookup-self"]);
    let lines = std::fs::read_to_string(&file).expect("the audit file is written");
    assert!(lines.lines().count() >= 3 && !lines.contains(&keys.root), "{lines}");
    cli.run(&["audit", "disable", "file"]);
}
