//! Authlib, a relying party that nobody here wrote, lets people in through Sealkeep.

use std::process::Command;
use tests::binary::{Binary, source_root};
use tests::server::{DEV_TOKEN, Server};

#[test]
fn an_application_lets_people_in_through_sealkeep() {
    let server = Server::dev(&Binary::sealkeep());
    let script = source_root().join("tests/e2e/relying_party.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(server.url())
        .arg(DEV_TOKEN)
        .output()
        .expect("python3 is installed");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\nthe server said:\n{}", server.log());
    assert!(out.trim_end().ends_with("all of it"), "{out}");
}
