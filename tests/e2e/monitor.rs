//! Who may, watches the log as it is written.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::binary::Binary;
use tests::http::Request;
use tests::scratch::Scratch;
use tests::server::{Config, DEV_TOKEN, Server, Storage};

#[test]
fn a_line_reaches_whoever_watches() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    root.get("sys/monitor?log_level=loud").must(400);
    server.anonymous().get("sys/monitor").must(403);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "GET /v1/sys/monitor?log_level=warn&log_format=json HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {DEV_TOKEN}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("200"));
    // The head has come, so the watching has begun.
    root.send(&Request::new("DELETE", "/v1/sys/raw/kernel/10/nothing")).must(204);
    let line = lines.find(|line| line.contains("deleted by hand")).unwrap();
    assert!(line.contains("\"level\":\"WARN\""), "{line}");
    drop(lines);
    root.get("auth/token/lookup-self").must(200);
}

#[test]
fn what_is_done_for_operators_is_in_the_log_and_what_clients_do_is_not() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let path = "sys/monitor?log_level=info&log_format=json";
    let head = format!("GET /v1/{path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {DEV_TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("200"));
    let mut next = || {
        let line = lines.find(|line| line.starts_with('{')).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let said = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (said("message"), said("operation"), said("path"))
    };
    let done = |operation: &str, path: &str| {
        ("done for an operator".to_owned(), operation.to_owned(), path.to_owned())
    };
    root.post("sys/auth/people", json!({"type": "userpass", "description": "a\nb INFO forged"})).must(204);
    assert_eq!(next(), done("update", "sys/auth/people"));
    root.post("sys/auth/people", json!({"type": "userpass"})).must(400);
    root.post("auth/people/users/ann", json!({"password": "right"})).must(204);
    root.get("auth/people/users/ann").must(200);
    root.post("sys/policies/acl/readers", json!({"policy": "path \"a\" {}"})).must(204);
    assert_eq!(next().2, "sys/policies/acl/readers");
    for _ in 0..5 {
        server.anonymous().post("auth/people/login/ann", json!({"password": "wrong"})).must(400);
    }
    assert_eq!(next().0, "failed logins have locked a user out");
    root.post("sys/leases/revoke-prefix/auth/people", json!({})).must(204);
    assert_eq!(next(), done("update", "sys/leases/revoke-prefix/auth/people"));
    root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    assert_eq!(next(), done("update", "sys/mounts/pki"));
    root.post("pki/root/generate/internal", json!({"common_name": "ours", "key_type": "ec"})).must(200);
    assert_eq!(next(), done("update", "pki/root/generate/internal"));
    root.post("sys/rotate", json!({})).must(204);
    assert_eq!(next().2, "sys/rotate");
    root.delete("sys/auth/people").must(204);
    assert_eq!(next(), done("delete", "sys/auth/people"));
}

#[test]
fn whoever_watches_is_not_idle() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path())
        .with("raw_storage_endpoint = true")
        .listening_with("http_idle_timeout = \"1s\"");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("GET /v1/{path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\n\r\n", keys.root);
        stream.write_all(head.as_bytes()).unwrap();
        BufReader::new(stream).lines().map_while(Result::ok)
    };
    let mut watched = ask("sys/monitor?log_level=warn&log_format=json");
    assert!(watched.next().unwrap().contains("200"));
    // The server closes a connection that asks nothing more: that is how long it waits for the other, too. Twice.
    for _ in 0..2 {
        assert!(ask("sys/health").count() > 1);
    }
    server
        .anonymous()
        .with(&keys.root)
        .send(&Request::new("DELETE", "/v1/sys/raw/kernel/10/nothing"))
        .must(204);
    assert!(watched.any(|line| line.contains("deleted by hand")), "the watcher was cut off");
}

#[test]
fn a_part_of_the_server_is_heard_more() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    assert_eq!(root.get("sys/loggers/core").must(200).json()["data"], json!({"core": "info"}));
    root.post("sys/loggers/core", json!({"level": "debug"})).must(204);
    assert_eq!(root.get("sys/loggers").must(200).json()["data"]["core"], "debug");
    assert_eq!(root.get("sys/loggers").must(200).json()["data"]["storage"], "info");
    root.send(&Request::new("DELETE", "/v1/sys/loggers/core")).must(204);
    assert_eq!(root.get("sys/loggers/core").must(200).json()["data"], json!({"core": "info"}));
}

#[test]
fn the_server_tells_what_it_is_busy_with_and_lets_pages_in() {
    let server = Server::dev(&Binary::sealkeep());
    let root = server.root();
    let shown = root.get("sys/in-flight-req").must(200).json();
    let flights = shown.as_object().unwrap();
    assert_eq!(flights.len(), 1, "{shown}");
    assert!(flights.values().all(|flight| flight["request_path"] == "/v1/sys/in-flight-req"));
    root.post("sys/config/cors", json!({"allowed_origins": "*", "allow_credentials": true})).must(400);
    root.post("sys/config/cors", json!({"allowed_origins": "https://app.example.com"})).must(204);
    let from = |origin: &str| {
        server.anonymous().send(&Request::new("GET", "/v1/sys/health").header("Origin", origin))
    };
    let reply = from("https://app.example.com").must(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
    from("https://evil.example.com").must(403);
    root.post("sys/config/ui/headers/X-Frame-Options", json!({"values": "DENY"})).must(200);
    let page = server.anonymous().send(&Request::new("GET", "/ui/"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
}
