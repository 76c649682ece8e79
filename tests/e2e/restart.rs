//! What was stored is there after a stop, a seal and a start, and the server stops when asked.

use serde_json::json;
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

fn survives(storage: Storage) {
    let folder = Scratch::new();
    let config = Config::new(storage, folder.path());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    root.post("kv/a", json!({"x": "kept"})).must(204);
    root.post("sys/policies/acl/p", json!({"policy": "path \"kv/*\" { capabilities = [\"read\"] }"}))
        .must(204);
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    root.post("auth/userpass/users/bob", json!({"password": "pw", "token_policies": ["p"]})).must(204);
    let login = server.anonymous().post("auth/userpass/login/bob", json!({"password": "pw"})).must(200);
    let (token, accessor) = (login.at("/auth/client_token"), login.at("/auth/accessor"));
    let revoked =
        root.post("auth/token/create", json!({"policies": ["p"]})).must(200).at("/auth/client_token");
    root.post("auth/token/revoke", json!({"token": revoked})).must(204);
    assert!(server.stop().success(), "SIGTERM is a clean end");

    let server = Server::configured(&Binary::sealkeep(), &config);
    let anonymous = server.anonymous();
    assert_eq!(anonymous.get("sys/health").status, 503, "it comes back sealed");
    anonymous.with(&keys.root).get("kv/a").must(503);
    server.unseal(&keys);
    let bob = anonymous.with(&token);
    assert_eq!(bob.get("kv/a").must(200).at("/data/x"), "kept");
    assert_eq!(bob.get("auth/token/lookup-self").must(200).at("/data/accessor"), accessor);
    anonymous.with(&revoked).get("kv/a").must(403);
    anonymous.post("auth/userpass/login/bob", json!({"password": "wrong"})).must(400);
    anonymous.with(&keys.root).delete("kv/a").must(204);
    server.kill();

    let server = Server::configured(&Binary::sealkeep(), &config);
    server.unseal(&keys);
    server.anonymous().with(&token).get("kv/a").must(404);
}

#[test]
fn raft_storage_survives() {
    survives(Storage::Raft);
}

#[test]
fn file_storage_survives() {
    survives(Storage::File);
}

#[test]
fn sealing_shuts_every_door() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    root.post("secret/data/a", json!({"data": {"x": 1}})).must_be_any(&[200, 204]);
    root.call("PUT", "sys/seal").must(204);
    for path in
        ["secret/data/a", "sys/mounts", "auth/token/lookup-self", "sys/policies/acl/default", "nothing/x"]
    {
        let reply = root.get(path).must(503);
        assert_eq!(reply.errors(), "Vault is sealed");
    }
    root.post("auth/token/create", json!({})).must(503);
    root.get("sys/seal-status").must(200);
    root.get("sys/health").must(503);
}

#[test]
fn a_stop_waits_for_nobody_who_is_idle() {
    let server = Server::dev(&Binary::sealkeep());
    let idle = std::net::TcpStream::connect(server.address()).unwrap();
    assert!(server.stop().success());
    drop(idle);
}

/// Who starts a server by hand sees in its log what comes next.
#[test]
fn the_log_says_what_a_person_has_to_do() {
    let folder = Scratch::new();
    let config = Config::new(Storage::File, folder.path());
    let server = Server::configured(&Binary::sealkeep(), &config);
    // It listens, and then says so.
    let says = |server: &Server, words: &str| server.until(words, |_| server.log().contains(words));
    says(&server, &format!("KEEP_ADDR={} keep operator init", server.url()));
    server.init(3, 2);
    assert!(server.stop().success());
    let server = Server::configured(&Binary::sealkeep(), &config);
    says(&server, "2 of the 3 key shares");
    says(&server, &format!("KEEP_ADDR={} keep operator unseal", server.url()));
}
