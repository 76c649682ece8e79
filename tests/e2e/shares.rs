//! Shares of a key that nobody hears of.

use std::cell::Cell;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Keys, Server, Storage};

/// What a server says that has nobody to tell the keys to.
const GIVEN_UP: &str = "the client went away before it was told";
/// Seldom the answer is there before it is known that nobody waits.
const TURNS: usize = 10;

/// Sends a request, and is gone. Whether it was given up: the server can have had its answer ready before it could know.
fn ask_and_go(server: &Server, path: &str, token: &str, body: &Value, done: &str) -> bool {
    let body = body.to_string();
    let head = format!("POST /v1/{path} HTTP/1.1\r\nHost: a\r\nX-Vault-Token: {token}\r\n");
    let asks = Cell::new(0);
    server.until("it is done or given up", |client| {
        let log = server.log();
        if log.contains(done) || log.contains(GIVEN_UP) {
            return true;
        }
        // What is gone before it is read comes to nothing, and is sent again.
        if asks.replace(asks.get() + 1) % 20 == 0 {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            let size = body.len();
            stream.write_all(format!("{head}Content-Length: {size}\r\n\r\n{body}").as_bytes()).unwrap();
            client.get("sys/health");
        }
        false
    });
    !server.log().contains(done)
}

/// Begins a rotation and shows all shares that it wants but the last. The body that shows the last.
fn all_but_the_last(root: &Client, keys: &Keys) -> Value {
    let begun =
        root.post("sys/rotate/root/init", json!({"secret_shares": 3, "secret_threshold": 2})).must(200);
    let nonce = begun.at("/data/nonce");
    let (last, others) = keys.shares[..keys.threshold].split_last().unwrap();
    for share in others {
        root.post("sys/rotate/root/update", json!({"key": share, "nonce": nonce})).must(200);
    }
    json!({"key": last, "nonce": nonce})
}

#[test]
fn a_rotation_that_nobody_waits_for_changes_nothing() {
    assert!((0..TURNS).any(|_| rotation_is_given_up()));
}

fn rotation_is_given_up() -> bool {
    let folder = Scratch::new();
    let (server, keys) = Server::opened(&Binary::sealkeep(), &Config::new(Storage::File, folder.path()));
    let root = server.anonymous().with(&keys.root);
    let last = all_but_the_last(&root, &keys);
    if !ask_and_go(&server, "sys/rotate/root/update", &keys.root, &last, "a new key has been made") {
        return false;
    }
    root.post("sys/seal", json!({})).must(204);
    server.unseal(&keys);
    let last = all_but_the_last(&root, &keys);
    let told = root.post("sys/rotate/root/update", last).must(200);
    assert_eq!(told.json()["data"]["complete"], true, "who waits is told: {told}");
    true
}

#[test]
fn an_initialisation_that_nobody_waits_for_stores_nothing() {
    assert!((0..TURNS).any(|_| initialisation_is_given_up()));
}

fn initialisation_is_given_up() -> bool {
    let folder = Scratch::new();
    let server = Server::configured(&Binary::sealkeep(), &Config::new(Storage::File, folder.path()));
    let wanted = json!({"secret_shares": 3, "secret_threshold": 2});
    if !ask_and_go(&server, "sys/init", "", &wanted, "INFO initialised") {
        return false;
    }
    let keys = server.init(3, 2);
    server.unseal(&keys);
    true
}
