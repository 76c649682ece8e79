//! I and K. The key that a server unseals itself with: another one opens nothing, and none is told to anybody.

use std::process::Command;

use serde_json::json;
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

#[test]
fn row_091_and_118_another_key_opens_nothing_and_stands_in_no_log() {
    let folder = Scratch::new();
    let config = |key: &str| {
        let seal = format!("seal \"static\" {{\n  current_key_id = \"a\"\n  current_key = \"{key}\"\n}}");
        Config::new(Storage::Raft, folder.path()).with(&seal).with("log_level = \"trace\"")
    };
    let (right, wrong) = ("5a".repeat(32), "5b".repeat(32));
    let server = Server::configured(&Binary::sealkeep(), &config(&right));
    let shares = json!({"recovery_shares": 1, "recovery_threshold": 1});
    server.anonymous().post("sys/init", shares).must(200);
    let mut said = server.log();
    assert!(server.stop().success());
    let file = folder.file("wrong.hcl", &config(&wrong).hcl(free_port()));
    let mut again = Command::new(Binary::sealkeep().path());
    let ended = again.arg("server").arg(format!("-config={}", file.display())).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "it does not start without what it cannot open");
    said.push_str(&String::from_utf8_lossy(&ended.stderr));
    said.push_str(&String::from_utf8_lossy(&ended.stdout));
    assert!(!said.contains(&right) && !said.contains(&wrong), "a key lies in the log");
    let server = Server::configured(&Binary::sealkeep(), &config(&right));
    server.until("it has unsealed itself", |client| client.get("sys/health").status == 200);
}
