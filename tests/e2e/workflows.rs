//! docs/guide/workflows.md, typed as it stands, with the real `bao` command line.

use std::process::Command;

use tests::binary::{Binary, source_root};
use tests::scratch::Scratch;
use tests::server::{DEV_TOKEN, Server};

/// The commands of the page: its blocks that are marked `sh`.
fn commands() -> String {
    let page = std::fs::read_to_string(source_root().join("docs/guide/workflows.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let script: Vec<&str> = blocks.map(|(block, _)| block).collect();
    format!("set -euo pipefail\n{}\n", script.join("\n"))
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let server = Server::dev(&Binary::sealkeep());
    let home = Scratch::new();
    let bin = Scratch::new();
    std::os::unix::fs::symlink(Binary::bao().path(), bin.path().join("bao")).unwrap();
    let output = Command::new("bash")
        .args(["-c", &commands()])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", format!("{}:/usr/bin:/bin", bin.path().display()))
        .env("BAO_ADDR", server.url())
        .env("BAO_TOKEN", DEV_TOKEN)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}\n{}", server.log());
    for expected in ["ask your team lead for the rest", "\"history\"", "a new colleague", "onboard"] {
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}\n{wrong}");
    }
    assert_eq!(std::fs::read_to_string(home.path().join("password")).unwrap().trim().len(), 24);
}
