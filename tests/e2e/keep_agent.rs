//! What `keep agent` does as Vault Agent's configuration has it: proofs that go after their use, TLS at its doors; and keys
//! of ML-DSA, which are ours.

use crate::agent::Site;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};
use tests::authority::{Door, Holder, Wanted};
use tests::binary::Binary;
use tests::program::Program;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

fn start(site: &Site, config: &str) -> Program {
    Program::start(&site.command(&Binary::keep(), "agent", config))
}

#[test]
fn a_password_that_goes_after_its_use_serves_until_it_is_refused() {
    let site = Site::new();
    let root = &site.root;
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    let user = json!({"password": "one", "token_policies": "app", "token_ttl": "20m"});
    root.post("auth/userpass/users/job", user).must(204);
    let real = site.folder.file("real", "one\n");
    std::os::unix::fs::symlink(&real, site.path("password")).unwrap();
    let agent = start(
        &site,
        r#"auto_auth {
  method "userpass" {
    config = {
      username = "job"
      password_file_path = "@/password"
      remove_password_follows_symlinks = true
    }
  }
  sinks {
    sink "file" { config = { path = "@/token" } }
  }
}
template {
  contents = "{{ with secret \"secret/app/db\" }}{{ .Data.data.password }}{{ end }}"
  destination = "@/rendered"
}
template_config { static_secret_render_interval = "1s" }"#,
    );
    let first = agent.until("its token", || site.read("token"));
    agent.until("the file goes", || (!real.exists()).then_some(()));
    agent.until("it renders", || site.read("rendered"));
    // It logs in anew, from memory, and so do those who have its token from the file.
    root.post("auth/token/revoke", json!({"token": first})).must(204);
    site.keep("second");
    agent.until("it goes on", || site.read("rendered").filter(|now| now == "second"));
    agent.until("the sink follows", || site.read("token").filter(|now| *now != first));
    root.post("auth/userpass/users/job/password", json!({"password": "two"})).must(204);
    let accessors = root.list("auth/token/accessors").must(200).json();
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let seen = root.post("auth/token/lookup-accessor", json!({"accessor": accessor})).must(200).json();
        if seen["data"]["path"] == "auth/userpass/login/job" {
            root.post("auth/token/revoke-accessor", json!({"accessor": accessor})).must(204);
        }
    }
    site.keep("third");
    agent.until("it says what it wants", || {
        agent.log().contains("has served its time: put a new one there").then_some(())
    });
    site.folder.file("real", "two\n");
    agent.until("it takes the new one", || site.read("rendered").filter(|now| now == "third"));
    agent.until("that goes too", || (!real.exists()).then_some(()));
    assert!(agent.stop().success());
}

/// curl at a door of the agent, with or without a certificate of its own.
fn curl(port: u16, shown: Option<(&Path, &Path)>, flags: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "30"]).args(flags);
    if let Some((cert, key)) = shown {
        curl.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    curl.arg(format!("https://127.0.0.1:{port}/v1/secret/data/app/db")).output().unwrap()
}

#[test]
fn a_door_wants_the_certificates_of_its_clients_and_takes_a_new_one_of_its_own() {
    let site = Site::new();
    let folder = site.folder.path();
    let port = free_port();
    let ca = Wanted::ca("ours").by_itself();
    let put = |name: &str, ca: &Holder| Wanted::client(name).by(ca).files(folder, name, &[]);
    let (cert, key) = put("client", &ca);
    let (stranger, strangers_key) = put("stranger", &Wanted::ca("others").by_itself());
    let (door, door_key) = put("door", &ca);
    site.folder.file("ca.pem", &ca.pem());
    let agent = start(
        &site,
        &format!(
            r#"auto_auth {{{}
}}
api_proxy {{ use_auto_auth_token = true }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{}"
  tls_key_file = "{}"
  tls_min_version = "tls13"
  tls_client_ca_file = "@/ca.pem"
  tls_require_and_verify_client_cert = true
}}"#,
            crate::agent::APPROLE,
            door.display(),
            door_key.display(),
        ),
    );
    let good = || curl(port, Some((&cert, &key)), &[]);
    let first =
        agent.until("it lets the client in", || Some(good()).filter(|output| output.status.success()));
    assert!(String::from_utf8_lossy(&first.stdout).contains("first"));
    assert!(!curl(port, None, &[]).status.success(), "who shows none stays outside");
    assert!(!curl(port, Some((&stranger, &strangers_key)), &[]).status.success(), "a stranger too");
    assert!(!curl(port, Some((&cert, &key)), &["--tls-max", "1.2"]).status.success());
    let shown = || {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint"
        );
        String::from_utf8(Command::new("bash").args(["-c", &line]).output().unwrap().stdout).unwrap()
    };
    let before = shown();
    assert!(before.contains("ingerprint"), "{before}");
    std::fs::write(&door, "half of a certifi").unwrap();
    assert_eq!(shown(), before, "what cannot be used changes nothing");
    agent.until("it says so", || agent.log().contains("goes on with the certificate it has").then_some(()));
    put("door", &ca);
    agent.until("it shows the new one", || {
        Some(shown()).filter(|now| *now != before && now.contains("ingerprint"))
    });
    assert!(good().status.success());
    agent.signal(rustix::process::Signal::HUP);
    assert!(good().status.success(), "a hangup ends nothing");
    assert!(agent.stop().success());
}

/// The key never leaves, the certificate is signed by ML-DSA too, and with both the agent proves itself to a server.
#[test]
fn a_key_of_ml_dsa_is_made_here_and_opens_the_server() {
    let folder = Scratch::new();
    let port = free_port();
    let door = Door::new(folder.path(), port);
    let config = Config::new(Storage::Inmem, folder.path()).with(&door.stanza());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    let body = json!({"common_name": "CA", "key_type": "ml-dsa", "parameter_set": "87", "ttl": "700h"});
    let ca = root.post("pki/root/generate/internal", body).must(200).at("/data/certificate");
    let role = json!({"allowed_domains": "internal", "allow_subdomains": true, "key_type": "ml-dsa",
        "parameter_set": "65", "max_ttl": "72h"});
    root.post("pki/roles/web", role).must(200);
    let tls = folder.path().join("tls");
    let get = |flags: &[&str]| {
        let mut keep = Command::new(Binary::keep().path());
        keep.args(["cert", "get", "-once", "-name=app.internal", "-role=web"]).args(flags);
        keep.arg(format!("-dir={}", tls.display()))
            .env("KEEP_ADDR", server.url())
            .env("KEEP_TOKEN", &keys.root);
        keep.env("HOME", folder.path()).output().unwrap()
    };
    let wrong = get(&["-key-type=ec"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("ml-dsa"), "{said}");
    let got = get(&[]);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let key = std::fs::read_to_string(tls.join("current/key.pem")).unwrap();
    assert_eq!(key.lines().count(), 4, "a seed is short: {}", key.lines().count());
    root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    root.post("auth/cert/certs/web", json!({"certificate": ca, "token_policies": "default"})).must(204);
    let own = tls.display();
    let text = format!(
        r#"vault {{
  address = "https://127.0.0.1:{port}"
  ca_cert = "{folder}/door-ca.pem"
}}
auto_auth {{
  method "cert" {{ config = {{ name = "web", client_cert = "{own}/current/fullchain.pem", client_key = "{own}/current/key.pem" }} }}
  sink "file" {{ config = {{ path = "{folder}/token" }} }}
}}
exit_after_auth = true"#,
        folder = folder.path().display()
    );
    let file = folder.file("agent.hcl", &text);
    let mut agent = Command::new(Binary::keep().path());
    let mut agent = Program::start(agent.arg("agent").arg(format!("-config={}", file.display())));
    assert!(agent.end().success(), "{}", agent.log());
    let token = std::fs::read_to_string(folder.path().join("token")).unwrap();
    let seen = server.anonymous().with(&token).get("auth/token/lookup-self").must(200);
    assert_eq!(seen.at("/data/meta/common_name"), "app.internal");
}
