//! node-vault, the client that services in Node.js use.

use std::path::PathBuf;
use std::process::Command;
use tests::binary::{Binary, setting};
use tests::server::{DEV_TOKEN, Server};

use crate::script::run;

#[test]
fn node_vault_does_what_services_do() {
    let server = Server::dev(&Binary::sealkeep());
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules());
    run(node, "node/client.js", &server, DEV_TOKEN);
}

/// Where tests/run puts what node/package-lock.json names: `NODE_MODULES`, or `node/node_modules` in the target folder.
fn modules() -> PathBuf {
    let modules = setting("NODE_MODULES").map_or_else(installed, PathBuf::from);
    assert!(
        modules.join("node-vault").exists(),
        "{} holds no node-vault: tests/run installs it",
        modules.display()
    );
    modules
}

fn installed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // …/target/debug/deps/e2e-0123 → …/target/node/node_modules
    test.ancestors().nth(3).unwrap().join("node/node_modules")
}
