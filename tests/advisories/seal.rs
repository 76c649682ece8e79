//! I and K. The key that a server unseals itself with: another one opens nothing, and none is told to anybody.

use std::process::Command;

use serde_json::json;
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

/// What is told of a secret by the time that a look-up takes lies in the code, and so does this test.
#[test]
fn row_077_shares_are_put_together_without_looking_anything_up() {
    let code = include_str!("../../storage/src/seal/shamir.rs").split("#[cfg(test)]").next().unwrap();
    for name in ["add", "mul", "invert"] {
        let (_, body) = code.split_once(&format!("\nfn {name}(")).expect("the field has this operation");
        let body = body.split("\n}").next().unwrap();
        let (_, body) = body.split_once(" {\n").unwrap();
        let lines = body.lines().map(|line| line.split("//").next().unwrap());
        let words: Vec<&str> =
            lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
        for branch in [
            "if",
            "match",
            "while",
            "for",
            "loop",
            "return",
            "get",
            "nth",
            "then",
            "then_some",
            "filter",
            "min",
            "max",
        ] {
            assert!(!words.contains(&branch), "{name} does not branch on a secret: {branch}");
        }
        for sign in ["[", "]", " / ", " % ", "&&", "||", "==", "checked_", "?"] {
            assert!(
                !body.lines().any(|line| line.split("//").next().unwrap().contains(sign)),
                "{name}: {sign}"
            );
        }
    }
    for table in ["const EXP", "const LOG", "\nstatic ", "[u8; 256]"] {
        assert!(!code.contains(table), "the field has no table: {table}");
    }
}

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
