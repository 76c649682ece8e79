//! G and M. What a stranger learns, and which doors stand open.

use crate::stage::{Stage, raw};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::binary::Binary;
use tests::http::{Request, exchange};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

#[test]
fn row_073_a_stranger_cannot_tell_which_mounts_exist() {
    let stage = Stage::dev();
    for verb in ["GET", "LIST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "SCAN"] {
        let answer = |path: &str| {
            let reply = stage.anonymous().send(&raw(verb, path));
            let names: Vec<String> = reply.headers.iter().map(|(name, _)| name.clone()).collect();
            (reply.status, reply.text().replace(path, "…"), names)
        };
        for (there, not) in [
            ("kv/a", "no/a"),
            ("secret/data/a", "nosuch/data/a"),
            ("auth/token/lookup", "auth/nosuch/lookup"),
        ] {
            assert_eq!(answer(there), answer(not), "{verb} {there} and {not}");
        }
    }
    let mounts = stage.anonymous().get("sys/internal/ui/mounts").must(200);
    assert!(!mounts.text().contains("kv/") && !mounts.text().contains("secret/"), "{mounts}");
    let (there, not) = ("sys/internal/ui/mounts/kv", "sys/internal/ui/mounts/no");
    assert_eq!(stage.anonymous().get(there).status, stage.anonymous().get(not).status);
}

#[test]
fn row_074_a_broken_request_learns_no_address() {
    let stage = Stage::dev();
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let hostname = hostname.trim();
    for request in [
        "GET /v1/kv/a HTTP/1.0\r\n\r\n",
        "GET /v1//kv/a HTTP/1.0\r\n\r\n",
        "GET /ui HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
        "GET /v1/../x HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        "BROKEN\r\n\r\n",
        "GET /v1/x HTTP/9.9\r\n\r\n",
    ] {
        let Ok(reply) = exchange(stage.server.address(), request.as_bytes()) else { continue };
        let said = format!("{:?} {}", reply.headers, reply.text());
        for private in ["10.", "192.168.", "172.16.", "172.17."] {
            assert!(!said.contains(&format!("//{private}")), "{request:?}: {said}");
        }
        assert!(hostname.len() < 5 || !said.contains(hostname), "{request:?}: {said}");
    }
}

/// All that anyone may ask without a token, by the start of the path.
const OPEN: [&str; 25] = [
    "sys/init",
    "sys/seal-status",
    "sys/unseal",
    "sys/health",
    "sys/leader",
    // A development server shows its metrics; another one only if its listener says so.
    "sys/metrics",
    "sys/decode-token",
    // Says that there is no replication, which clients of Vault ask before they have a token.
    "sys/replication/status",
    // One node has nothing to step down from, and OpenBao says so to anyone.
    "sys/step-down",
    "sys/generate-root",
    "sys/generate-recovery-token",
    "sys/rekey",
    "sys/rotate/",
    "sys/mfa/validate",
    "sys/wrapping/lookup",
    "sys/wrapping/pubkey",
    "sys/storage/raft/bootstrap/",
    "sys/storage/raft/join",
    "sys/internal/specs/openapi",
    "sys/internal/ui/mounts",
    "sys/internal/ui/namespaces",
    "sys/workflows/unauthed-execute",
    "identity/oidc/",
    "auth/",
    "pki/",
];

#[test]
fn row_075_every_other_door_wants_a_token() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    stage.userpass(json!({}));
    stage.approle("web", json!({}));
    let document = stage.root.get("sys/internal/specs/openapi").must(200).json();
    let paths = document["paths"].as_object().expect("the document lists paths");
    assert!(paths.len() > 100, "{} paths", paths.len());
    let mut tried = 0;
    for (path, operations) in paths {
        let path = path.trim_start_matches('/');
        let login = path.starts_with("auth/") && (path.contains("login") || path.contains("oidc"));
        let public = path.starts_with("pki/")
            && !["roles", "config", "keys", "sign", "root", "issue/"].iter().any(|word| path.contains(word));
        let open = OPEN.iter().any(|open| path.starts_with(open))
            && !path.starts_with("auth/")
            && !path.starts_with("pki/");
        if login || public || open {
            continue;
        }
        let filled: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for verb in operations.as_object().into_iter().flatten().map(|(verb, _)| verb.to_uppercase()) {
            if !["GET", "POST", "PUT", "DELETE"].contains(&verb.as_str()) {
                continue;
            }
            tried += 1;
            let reply = stage.anonymous().send(&raw(&verb, &filled).json(&json!({})));
            assert!([307, 400, 403, 404, 405].contains(&reply.status), "{verb} {filled}: {reply}");
            assert!(reply.json()["data"].is_null(), "{verb} {filled} tells a stranger: {reply}");
        }
    }
    assert!(tried > 150, "only {tried} doors were tried");
}

#[test]
fn row_107_nobody_cancels_what_he_did_not_start() {
    let stage = Stage::dev();
    for path in [
        "sys/rekey/init",
        "sys/rekey-recovery-key/init",
        "sys/rotate/root/init",
        "sys/generate-root/attempt",
        "sys/generate-root-token/attempt",
    ] {
        for verb in ["DELETE", "PUT", "POST"] {
            let reply = stage
                .anonymous()
                .send(&raw(verb, path).json(&json!({"secret_shares": 1, "secret_threshold": 1})));
            assert!([400, 403, 404, 405].contains(&reply.status), "{verb} {path}: {reply}");
        }
    }
    stage.lives();
}

#[test]
fn row_141_the_cluster_is_not_run_by_strangers() {
    let stage = Stage::dev();
    for path in [
        "remove-peer",
        "demote",
        "promote",
        "configuration",
        "snapshot",
        "snapshot-force",
        "autopilot/configuration",
    ] {
        let path = format!("sys/storage/raft/{path}");
        for verb in ["GET", "POST", "PUT", "DELETE"] {
            let reply = stage.anonymous().send(&raw(verb, &path).json(&json!({"server_id": "one"})));
            assert!([400, 403, 404, 405].contains(&reply.status), "{verb} {path}: {reply}");
        }
    }
    stage.lives();
}

fn open_to_others(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push(format!("{} is {mode:o}", entry.path().display()));
        }
        if entry.path().is_dir() {
            open_to_others(&entry.path(), found);
        }
    }
}

#[test]
fn row_143_what_it_stores_is_its_own() {
    let folder = Scratch::new();
    // umask 000 in the server: a wrapper sets it and becomes the server.
    let binary = Binary::sealkeep();
    let script = format!("#!/bin/sh\numask 000\nexec {} \"$@\"\n", binary.path().display());
    let wrapper = folder.file("wrapper.sh", &script);
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::at(&wrapper), &config);
    let root = server.anonymous().with(&keys.root);
    let audit = folder.path().join("data/audit.log");
    root.post("sys/audit/file", json!({"type": "file", "options": {"file_path": audit}})).must(204);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    let mut found = Vec::new();
    open_to_others(&folder.path().join("data"), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn row_102_strangers_to_the_proxy_protocol_harm_nobody_but_themselves() {
    let (folder, port) = (Scratch::new(), free_port());
    let door = |behavior: &str, port: u16, addresses: &str| {
        format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n  \
             proxy_protocol_behavior = \"{behavior}\"\n  proxy_protocol_authorized_addrs = \"{addresses}\"\n}}\n"
        )
    };
    let other = free_port();
    let doors = door("deny_unauthorized", port, "192.0.2.1") + &door("deny_unauthorized", other, "127.0.0.1");
    let config = Config::new(Storage::Inmem, folder.path()).with(&doors);
    let (mut server, _) = Server::opened(&Binary::sealkeep(), &config);
    for _ in 0..20 {
        for head in ["", "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", "PROXY ", "\r\n\r\n\0\r\nQUIT\n!1"] {
            for port in [port, other] {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                assert!(!answer.starts_with(b"HTTP/1.1 200"), "{head:?}");
            }
        }
    }
    assert!(server.is_alive());
    let health = Request::new("GET", "/v1/sys/health");
    assert_eq!(health.send(SocketAddr::from(([127, 0, 0, 1], other))).unwrap().status, 200);
    server.anonymous().get("sys/health").must(200);
}

/// A page in a browser can send requests here, but not with headers of its own.
#[test]
fn also_a_listener_may_want_a_header_that_no_page_can_send() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).listening_with("require_request_header = true");
    let server = Server::configured(&Binary::sealkeep(), &config);
    let ask = |value: Option<&str>| {
        let request = raw("GET", "sys/init");
        let request = value.map_or(request.clone(), |value| request.header("X-Vault-Request", value));
        server.anonymous().send(&request)
    };
    ask(Some("true")).must(200);
    for wrong in [None, Some("false"), Some(""), Some("TRUE ")] {
        let refused = ask(wrong);
        assert_eq!(refused.status, 412, "{wrong:?}: {refused}");
        assert!(refused.text().contains("X-Vault-Request"), "{refused}");
    }
}
