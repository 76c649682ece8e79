//! A server that sets itself up from its configuration.

use serde_json::json;
use tests::binary::Binary;
use tests::http::Request;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

const SEAL: &str = "seal \"static\" {\n  current_key_id = \"one\"\n  \
    current_key = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n}\n";

/// Programs and templates say where, conditions whether, headers in which namespace.
const MORE: &str = r#"
initialize "never" {
  when = { eval_source = "cel" eval_type = "bool" expression = "responses.people.login.auth.renewable == false" }
  request "never" {
    operation = "update"
    path = "secret/data/never"
    data = { data = { a = "b" } }
  }
}
initialize "team" {
  request "namespace" {
    operation = "update"
    path = { eval_source = "template" eval_type = "string" template = "sys/namespaces/{{ .name }}" data = { name = "team" } }
  }
  request "mount" {
    operation = "update"
    path = "sys/mounts/kv"
    headers = { X-Vault-Namespace = "team" }
    data = { type = "kv" }
  }
  request "note" {
    operation = "update"
    path = { eval_source = "cel" eval_type = "string" expression = "requests.team.namespace.path.split('/')[2] + '/kv/note'" }
    data = { method = { eval_source = "cel" eval_type = "string" expression = "responses.people.login.auth.metadata.username" } }
  }
  request "left-out" {
    operation = "delete"
    path = "sys/namespaces/team"
    when = false
  }
}
"#;

fn config(folder: &Scratch, password_file: &str) -> Config {
    let config = Config::new(Storage::Raft, folder.path()).with(SEAL).with(&format!(
        r#"
initialize "mounts" {{
  request "secret" {{
    operation = "update"
    path = "sys/mounts/secret"
    data = {{ type = "kv", options = {{ version = "2" }} }}
  }}
  request "twice" {{
    operation = "update"
    path = "sys/mounts/secret"
    data = {{ type = "kv" }}
    allow_failure = true
  }}
}}
initialize "people" {{
  request "method" {{
    operation = "update"
    path = "sys/auth/userpass"
    data = {{ type = "userpass" }}
  }}
  request "policy" {{
    operation = "update"
    path = "sys/policies/acl/admin"
    data = {{ policy = "path \"*\" {{ capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }}" }}
  }}
  request "ann" {{
    operation = "update"
    path = "auth/userpass/users/ann"
    data = {{
      password = {{ eval_source = "file", eval_type = "string", path = "{password_file}" }}
      token_policies = ["admin"]
    }}
  }}
  request "login" {{
    operation = "update"
    path = "auth/userpass/login/ann"
    data = {{
      password = {{
        eval_source = "request"
        eval_type = "string"
        initialize_name = "people"
        request_name = "ann"
        field_selector = ["data", "password"]
      }}
    }}
  }}
  request "first-secret" {{
    operation = "create"
    path = "secret/data/first"
    token = {{
      eval_source = "response"
      eval_type = "string"
      initialize_name = "people"
      response_name = "login"
      field_selector = ["auth", "client_token"]
    }}
    data = {{ data = {{ who = "ann" }} }}
  }}
}}
"#
    ));
    config.with(MORE)
}

#[test]
fn a_server_sets_itself_up_once_and_leaves_no_root_token() {
    let folder = Scratch::new();
    let password = folder.path().join("password");
    std::fs::write(&password, "correct-password").unwrap();
    let config = config(&folder, &password.display().to_string());
    let server = Server::configured(&Binary::sealkeep(), &config);
    let anonymous = server.anonymous();
    assert_eq!(anonymous.get("sys/health").must(200).json()["sealed"], false);
    let login = json!({"password": "correct-password"});
    let token = anonymous.post("auth/userpass/login/ann", login.clone()).must(200).at("/auth/client_token");
    let ann = anonymous.with(&token);
    assert_eq!(ann.get("secret/data/first").must(200).at("/data/data/who"), "ann");
    // Programs and templates say where, conditions whether, headers in which namespace.
    ann.get("secret/data/never").must(404);
    assert_eq!(ann.get("team/kv/note").must(200).at("/data/method"), "ann");
    // No token of the beginning is left.
    let accessors = ann.list("auth/token/accessors").must(200).json();
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let shown = ann.post("auth/token/lookup-accessor", json!({"accessor": accessor})).must(200);
        assert!(!shown.text().contains("\"root\""), "{shown}");
    }
    // Nobody has a recovery key yet; the owner makes one.
    ann.post("sys/generate-root-token/attempt", json!({})).must(400);
    let made =
        ann.post("sys/rotate/recovery/init", json!({"secret_shares": 1, "secret_threshold": 1})).must(200);
    assert_eq!(made.json()["data"]["complete"], true);
    ann.send(&Request::new("DELETE", "/v1/secret/data/first")).must(204);
    drop(server);
    // It is done once: what was changed since stays.
    let server = Server::configured(&Binary::sealkeep(), &config);
    server.until("it is unsealed", |client| client.get("sys/health").status == 200);
    let token = server.anonymous().post("auth/userpass/login/ann", login).must(200).at("/auth/client_token");
    server.anonymous().with(&token).get("secret/data/first").must(404);
}
