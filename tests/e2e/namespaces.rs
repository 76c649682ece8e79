//! The guide of namespaces, as it stands, done by the real `bao` command line.

use serde_json::json;
use std::process::Command;
use tests::binary::Binary;
use tests::http::Request;
use tests::scratch::Scratch;
use tests::server::Server;

#[test]
fn every_command_of_the_guide_works() {
    let server = Server::dev(&Binary::sealkeep());
    let (root, home) = (server.root(), Scratch::new());
    let bao = Binary::bao();
    let folder = bao.path().parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let script = format!("set -eux\nPATH=\"{folder}:$PATH\"\n{}", crate::guide::commands("namespaces.md"));
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("BAO_ADDR", server.url())
        .env("BAO_TOKEN", root.token())
        .env("BAO_MAX_RETRIES", "0")
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let reads = said.lines().filter(|line| line.split_whitespace().eq(["password", "x"])).count();
    assert!(reads == 2, "both forms read the secret: {said}");
    let team = root.get("sys/namespaces/team").must(200);
    assert_eq!(team.json()["data"]["custom_metadata"], json!({"owner": "ann"}));
    assert_eq!(team.json()["data"]["locked"], false);
    let ask = |path: &str| root.send(&Request::new("GET", path).header("X-Vault-Namespace", "team/ops"));
    ask("/v1/moved/db").must(404);
    root.get("team/kv/db").must(404);
}
