//! `keep agent` over time: what it stands on when it starts again, and what becomes of leases.

use crate::agent::{APPROLE, Site};
use serde_json::{Value, json};
use std::process::Output;
use tests::binary::Binary;
use tests::program::Program;

fn start(site: &Site, config: &str) -> Program {
    Program::start(&site.command(&Binary::keep(), "agent", config))
}

/// Runs the agent until everything is there, or it gives up.
fn once(site: &Site, config: &str) -> (Output, String) {
    let mut command = site.command(&Binary::keep(), "agent", config);
    let output = command.arg("--once").env("HOME", site.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// The real agent gives up here: it knows no secret id any more.
#[test]
fn an_agent_whose_secret_id_is_taken_away_starts_again_from_its_token_and_its_cache() {
    let site = Site::new();
    let config = format!(
        r#"auto_auth {{{APPROLE}
  sink "file" {{ config = {{ path = "@/token" }} }}
}}
template {{
  contents = "{{{{ with secret \"secret/data/app/db\" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}"
  destination = "@/rendered"
}}
template_config {{ static_secret_render_interval = "1s" }}
cache {{ persist "file" {{ path = "@/kept" }} }}"#
    );
    let run = |expect: &str, words: &str| {
        std::fs::remove_file(site.path("rendered")).ok();
        let (output, said) = once(&site, &config);
        assert!(output.status.success() && said.contains(words), "{said}");
        assert_eq!(site.read("rendered").as_deref(), Some(expect), "{said}");
    };
    run("first", "rendered");
    assert!(!site.path("secret").exists(), "the agent takes the secret id away");
    site.keep("second");
    run("second", "goes on with the token of its last run");
    let token = site.read("token").unwrap();
    for file in std::fs::read_dir(site.path("kept/answers")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        let clear = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!clear, "the token is sealed");
    }
    site.root.post("auth/token/revoke", json!({"token": token})).must(204);
    site.keep("third");
    std::fs::remove_file(site.path("rendered")).unwrap();
    let agent = start(&site, &config);
    agent.until("it says what it lacks", || {
        let log = agent.log();
        (log.contains("nothing to log in with") && log.contains("/secret is not there")).then_some(())
    });
    assert_eq!(
        site.read("rendered"),
        None,
        "the server answers: what was kept for outages stays where it is"
    );
    let secret = site.root.post("auth/approle/role/web/secret-id", json!({})).must(200);
    site.folder.file("secret", &secret.at("/data/secret_id"));
    agent.until("it takes the new secret id", || site.read("rendered").filter(|now| now == "third"));
    assert!(!site.path("secret").exists());
    assert!(agent.stop().success());
    site.server.signal(rustix::process::Signal::KILL);
    std::fs::remove_file(site.path("rendered")).unwrap();
    let (output, said) = once(&site, &config);
    assert!(said.contains("comes from the cache"), "{said}");
    assert_eq!(site.read("rendered").as_deref(), Some("third"), "{said}");
    assert!(!output.status.success(), "there is no token for the sink, and a single run says so");
}

/// Bad input: one line that says what to do, and nothing half written.
#[test]
fn what_goes_wrong_is_said_once_and_leaves_nothing_half_written() {
    let site = Site::new();
    site.folder.file("bad", "wrong");
    let config = |role: &str, contents: &str, destination: &str| {
        format!(
            r#"auto_auth {{
  method "approle" {{
    config = {{
      role_id_file_path = "@/{role}"
      secret_id_file_path = "@/secret"
      remove_secret_id_file_after_reading = false
    }}
  }}
}}
template {{
  contents = "{contents}"
  destination = "@/{destination}"
  error_on_missing_key = true
}}"#
        )
    };
    let read = |path: &str, field: &str| {
        format!(r#"{{{{ with secret \"{path}\" }}}}{{{{ .Data.data.{field} }}}}{{{{ end }}}}"#)
    };
    let good = read("secret/data/app/db", "password");
    let refused = |config: &str, words: &str| {
        let (output, said) = once(&site, config);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().filter(|line| line.contains(words)).count(), 1, "{words}:\n{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(site.read("out"), None);
    };
    refused(&config("bad", &good, "out"), "; are these the credentials of a role of this server");
    refused(
        &config("role", &read("secret/data/else", "x"), "out"),
        "answered 403: permission denied; is the token of the agent still good, and do its policies allow",
    );
    refused(
        &config("role", &read("secret/data/app/db", "nothing"), "out"),
        "the data has no key \"nothing\"",
    );
    refused(&config("role", &good, "bad/out"), "there must be such a folder");
    refused(&config("role", &good, "."), "destination must name a file");
    let nowhere = format!("vault {{ address = \"http://127.0.0.1:1\" }}\n{}", config("role", &good, "out"));
    refused(&nowhere, "does the server run");
    let sink = config("role", &good, "bad/out");
    let sink = sink.split("template {").next().unwrap().trim_end().strip_suffix('}').unwrap().to_owned();
    refused(&format!("{sink}\n  sink \"file\" {{ config = {{ path = \"@/bad/token\" }} }}\n}}"), "the sink ");
    refused("", "the configuration says nothing to do");
    let child = |program: &str| {
        let config = config("role", &good, "out").replace("template {", "env_template \"X\" {");
        let config =
            config.lines().filter(|line| !line.contains("destination")).collect::<Vec<_>>().join("\n");
        let mut agent = start(&site, &format!("{config}\nexec {{ command = {program} }}"));
        (agent.end().code(), agent.log())
    };
    let (code, log) = child(r#"["sh", "-c", "exit 4"]"#);
    assert!(
        code == Some(4) && log.contains("exec: `sh` ended with exit status: 4; so does the agent"),
        "{log}"
    );
    let (code, log) = child(r#"["@/no-such-program"]"#);
    assert!(code == Some(1) && log.contains("the agent's user must be able to run it"), "{log}");
}

/// The clock of `cli/src/agent/templates/trial.rs` can jump; here it is the server that lends for seconds.
#[test]
fn leases_of_the_server_are_renewed_and_replaced_when_they_are_gone() {
    let site = Site::new();
    let root = &site.root;
    root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    root.post("pki/root/generate/internal", json!({"common_name": "ca", "key_type": "ec"})).must(200);
    let role = json!({"allowed_domains": "internal", "allow_subdomains": true, "key_type": "ec",
        "ttl": "6s", "generate_lease": true});
    root.post("pki/roles/web", role).must(200);
    let policy = r#"path "pki/issue/web" { capabilities = ["update"] }
path "auth/token/create" { capabilities = ["update"] }"#;
    root.post("sys/policies/acl/app", json!({"policy": policy})).must(204);
    let config = format!(
        r#"auto_auth {{{APPROLE}
}}
template {{
  contents = "{{{{ with secret \"auth/token/create\" \"ttl=3s\" }}}}{{{{ .Auth.ClientToken }}}}{{{{ end }}}}"
  destination = "@/token"
}}
template {{
  contents = "{{{{ with secret \"pki/issue/web\" \"common_name=a.internal\" }}}}{{{{ .LeaseID }}}}{{{{ end }}}}"
  destination = "@/lease"
}}"#
    );
    let agent = start(&site, &config);
    let first = agent.until("the first lease", || site.read("lease"));
    assert!(first.starts_with("pki/issue/web/"), "{first}");
    let known = |token: &str| {
        let reply = root.post("auth/token/lookup", json!({"token": token}));
        (reply.status == 200).then(|| reply.json())
    };
    // However slow this machine is: one of them will be renewed in time.
    let token = agent.until("a token is renewed", || {
        let token = site.read("token")?;
        let data = known(&token)?;
        (data["data"]["last_renewal_time"] != Value::Null).then_some(token)
    });
    root.post("auth/token/revoke", json!({"token": token})).must(204);
    agent.until("there is another token", || {
        let next = site.read("token").filter(|next| *next != token)?;
        known(&next)
    });
    // The lease of a certificate cannot be renewed: there is another certificate when two thirds of it are over.
    agent.until("there is another lease", || site.read("lease").filter(|next| *next != first));
    assert!(agent.stop().success());
}
