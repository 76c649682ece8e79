//! hvac, the Python client that most scripts use.

use std::process::Command;
use tests::binary::{Binary, source_root};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

#[test]
fn hvac_does_the_main_job() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let server = Server::configured(&Binary::sealkeep(), &config);
    let script = source_root().join("tests/e2e/hvac_client.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(server.url()).arg(folder.path());
    let output = python.output().expect("python3 is installed");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\nthe server said:\n{}", server.log());
    assert!(out.trim_end().ends_with("all of it"), "{out}");
}
