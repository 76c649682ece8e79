//! How the real agent proves who it is besides roles and signed tokens: by certificate, and as a pod.

use crate::issuer::{Answer, FROM, Issuer, Site, UNTIL};
use serde_json::json;
use std::process::Command;
use tests::authority::{Door, Wanted};
use tests::binary::Binary;
use tests::http::Client;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

/// Starts the agent; `@` in its configuration is the folder.
fn agent(folder: &Scratch, config: &str) -> Program {
    let config = config.replace('@', &folder.path().display().to_string());
    let file = folder.file("agent.hcl", &config);
    let mut command = Command::new(Binary::bao().path());
    command.arg("agent").arg(format!("-config={}", file.display()));
    command.env_remove("BAO_ADDR").env_remove("BAO_TOKEN");
    Program::start(&command)
}

/// What the agent wrote is a token that came in at this mount, with this policy; and the agent ends when asked.
#[track_caller]
fn came_in(server: &Server, folder: &Scratch, agent: Program, path: &str) {
    let read = || std::fs::read_to_string(folder.path().join("token")).ok().filter(|text| !text.is_empty());
    let token = agent.until("its token", read);
    let looked = server.anonymous().with(&token).get("auth/token/lookup-self").must(200).json();
    assert_eq!(looked["data"]["path"], path, "{looked}");
    assert_eq!(looked["data"]["policies"], json!(["app", "default"]), "{looked}");
    assert!(agent.stop().success());
}

#[test]
fn an_agent_logs_in_by_its_certificate() {
    let folder = Scratch::new();
    let port = free_port();
    let door = Door::new(folder.path(), port);
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root: Client = server.anonymous().with(&keys.root);
    let ca = Wanted::ca("ours").by_itself();
    Wanted::client("web").by(&ca).files(folder.path(), "web", &[]);
    root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    let role = json!({"certificate": ca.pem(), "allowed_common_names": "web", "token_policies": "app"});
    root.post("auth/cert/certs/web", role).must(204);
    let config = format!(
        r#"
vault {{
  address = "https://127.0.0.1:{port}"
  ca_cert = "@/door-ca.pem"
  client_cert = "@/web.pem"
  client_key = "@/web.key"
}}
auto_auth {{
  method "cert" {{ config = {{ name = "web", ca_cert = "@/door-ca.pem", client_cert = "@/web.pem", client_key = "@/web.key" }} }}
  sink "file" {{ config = {{ path = "@/token" }} }}
}}"#
    );
    let agent = agent(&folder, &config);
    came_in(&server, &folder, agent, "auth/cert/login");
}

#[test]
fn an_agent_logs_in_as_a_pod() {
    let (server, folder) = (Server::dev(&Binary::sealkeep()), Scratch::new());
    let (root, site, issuer) = (server.root(), Site::open(), Issuer::new());
    let user = json!({"username": "system:serviceaccount:shop:web", "uid": "u1"});
    let status = json!({"status": {"authenticated": true, "audiences": ["a"], "user": user}});
    site.does("/apis/authentication.k8s.io/v1/tokenreviews", Answer::Say(201, status.to_string()));
    let ca = Wanted::ca("cluster").by_itself().pem();
    root.post("sys/auth/kubernetes", json!({"type": "kubernetes"})).must(204);
    let config = json!({"kubernetes_host": site.url, "kubernetes_ca_cert": ca});
    root.post("auth/kubernetes/config", config).must(204);
    let role = json!({"bound_service_account_names": "web", "bound_service_account_namespaces": "shop",
        "token_policies": "app"});
    root.post("auth/kubernetes/role/web", role).must_be_any(&[200, 204]);
    let account = json!({"namespace": "shop", "serviceaccount": {"name": "web", "uid": "u1"}});
    let claims = json!({"aud": ["a"], "iat": FROM, "exp": UNTIL, "kubernetes.io": account});
    folder.file("jwt", &issuer.token("k", &claims));
    let config = format!(
        r#"
vault {{ address = "{}" }}
auto_auth {{
  method "kubernetes" {{ config = {{ role = "web", token_path = "@/jwt" }} }}
  sink "file" {{ config = {{ path = "@/token" }} }}
}}"#,
        server.url()
    );
    let agent = agent(&folder, &config);
    came_in(&server, &folder, agent, "auth/kubernetes/login");
}
