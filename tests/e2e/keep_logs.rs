//! The log of `keep agent`: plain, as `bao agent` has it, and as JSON; on standard error and in a file; and never a secret.

use crate::agent::Site;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Output;
use tests::binary::Binary;
use tests::program::Program;

const WORK: &str = r#"
auto_auth {
  method "approle" {
    config = {
      role_id_file_path = "@/role"
      secret_id_file_path = "@/secret"
      remove_secret_id_file_after_reading = false
    }
  }
  sink "file" { config = { path = "@/token", mode = 0600 } }
}
template {
  contents = "{{ with secret \"secret/app/db\" }}{{ .Data.data.password }}{{ end }}"
  destination = "@/rendered"
}
template_config { static_secret_render_interval = "1s" }
"#;

/// The lines of a log, each one JSON; what each has in it.
#[track_caller]
fn objects(log: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}\n{log}"));
    log.lines().map(read).collect()
}

fn once(site: &Site, config: &str, flags: &[&str]) -> Output {
    ended(site, config, &[flags, &["-once"]].concat())
}

fn ended(site: &Site, config: &str, flags: &[&str]) -> Output {
    let mut command = site.command(&Binary::keep(), "agent", config);
    command.args(flags).env("HOME", site.folder.path()).output().unwrap()
}

#[test]
fn a_log_in_json_has_what_bao_agents_has_and_no_secret() {
    let site = Site::new();
    let config = format!("log_format = \"json\"\nlog_file = \"@/agent.log\"\n{WORK}");
    let mut agent = site.command(&Binary::keep(), "agent", &config);
    agent.arg("-log-level=debug");
    let agent = Program::start(&agent);
    let rendered =
        |text: &str| agent.until(text, || site.read("rendered").filter(|now| now == text).map(drop));
    let said = |words: &str| agent.until(words, || agent.log().contains(words).then_some(()));
    rendered("first");
    // What goes wrong is where secrets leak.
    let token = agent.until("its token", || site.read("token"));
    site.root.delete("secret/metadata/app/db").must(204);
    said("no secret exists at secret/app/db");
    site.root.post("auth/token/revoke", json!({"token": token})).must(204);
    let secret = site.read("secret").unwrap();
    site.root.post("auth/approle/role/web/secret-id/destroy", json!({"secret_id": secret})).must(204);
    said("are these the credentials");
    let log = agent.log();
    // A line goes to standard error first, and to the file next.
    let file = agent.until("every line in the file", || {
        site.read("agent.log").filter(|file| file.lines().count() >= log.lines().count())
    });
    agent.kill();
    let lines = objects(&log);
    let levels: BTreeSet<&str> = lines.iter().filter_map(|line| line["@level"].as_str()).collect();
    assert_eq!(levels, BTreeSet::from(["info", "warn"]));
    let mut theirs = site.command(&Binary::bao(), "agent", &WORK.replace("@/rendered", "@/theirs"));
    let again = site.root.post("auth/approle/role/web/secret-id", json!({})).must(200);
    site.folder.file("secret", &again.at("/data/secret_id"));
    let theirs = Program::start(theirs.arg("-log-format=json"));
    let line = theirs.until("a line of bao's", || {
        theirs.log().lines().find(|line| line.contains("authenticating")).map(str::to_owned)
    });
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let stamp = |line: &Value| line["@timestamp"].as_str().unwrap().len();
    let line: Value = serde_json::from_str(&line).unwrap();
    for ours in &lines {
        assert_eq!((keys(ours), stamp(ours)), (keys(&line), stamp(&line)), "{ours}");
    }
    objects(&file);
    let role = site.read("role").unwrap();
    for (what, text) in [("token", &token), ("secret id", &secret), ("role id", &role)] {
        assert!(!log.contains(text.as_str()) && !file.contains(text.as_str()), "the {what} is in the log");
    }
    for password in ["first", "second"] {
        assert!(!log.contains(password), "{log}");
    }
}

#[test]
fn levels_files_and_flags_of_the_log_are_as_they_are_said_to_be() {
    let site = Site::new();
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777
    };
    std::fs::create_dir(site.path("logs")).unwrap();
    let folder = site.path("logs").display().to_string();
    let output = once(&site, WORK, &[&format!("-log-file={folder}"), "-log-level=info"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.starts_with("rendered "), "it is plain: {text}");
    let kept = site.read("logs/keep.log").unwrap();
    assert!(kept.contains("Z [INFO]  agent: rendered "), "{kept}");
    assert_eq!(mode("logs/keep.log"), 0o640);
    // A flag counts more than the environment, and that more than the configuration.
    std::fs::remove_file(site.path("rendered")).unwrap();
    let config = format!("log_format = \"json\"\nlog_level = \"error\"\n{WORK}");
    let mut command = site.command(&Binary::keep(), "agent", &config);
    let command = command.args(["-once", "-log-format=standard"]).env("KEEP_LOG_LEVEL", "info");
    let text = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(text.contains("Z [INFO]  agent: rendered "), "{text}");
    std::fs::remove_file(site.path("rendered")).unwrap();
    let quiet = once(&site, &config, &[]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{quiet:?}");
    // Files that are put aside are counted.
    let flags = ["-log-file=rotated.log", "-log-rotate-bytes=1", "-log-rotate-max-files=2"];
    for _ in 0..5 {
        std::fs::remove_file(site.path("rendered")).unwrap();
        let mut command = site.command(&Binary::keep(), "agent", WORK);
        command.args(flags).arg("-once").current_dir(site.folder.path());
        assert!(command.output().unwrap().status.success());
    }
    let names = std::fs::read_dir(site.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().starts_with("rotated")).count();
    assert_eq!(kept, 3, "the one that is written, and two");
}

#[test]
fn what_cannot_be_logged_as_it_is_said_is_refused_with_what_to_do() {
    let site = Site::new();
    for (flag, words) in [
        ("-log-format=xml", "log_format must be standard or json, not \"xml\""),
        ("-log-level=loud", "log_level must be trace, debug, info, warn or error"),
        ("-log-file=/nowhere/a/b.log", "its folder must be there"),
    ] {
        let output = once(&site, WORK, &[flag]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(words), "{flag}: {text}");
    }
    // Where JSON is read, the end is JSON too.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!(
        "log_format = \"json\"\n{WORK}\napi_proxy {{ use_auto_auth_token = true }}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n"
    );
    let output = ended(&site, &config, &[]);
    assert_eq!(output.status.code(), Some(1));
    let lines = objects(&String::from_utf8(output.stderr).unwrap());
    let last = lines.last().unwrap();
    assert_eq!(last["@level"], "error");
    assert!(last["@message"].as_str().unwrap().contains("cannot listen on"), "{last}");
    // An agent that is to end opens no doors.
    assert!(once(&site, &config, &[]).status.success());
}
