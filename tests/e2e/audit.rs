//! The audit file: complete, without a secret, reopened when asked, and a condition of every answer.

use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

fn audited() -> (Scratch, Server, Client) {
    let folder = Scratch::new();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    enable(&root, "file", &folder.path().join("audit.log"), &json!({}));
    (folder, server, root)
}

fn enable(root: &Client, name: &str, file: &Path, more: &Value) {
    let mut options = json!({"file_path": file.display().to_string()});
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    root.post(&format!("sys/audit/{name}"), json!({"type": "file", "options": options})).must(204);
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the audit file is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is one JSON object")).collect()
}

#[test]
fn every_request_has_a_question_and_an_answer() {
    let (folder, server, root) = audited();
    let file = folder.path().join("audit.log");
    let before = lines(&file).len();
    root.post("kv/a", json!({"password": "hunter2-hunter2"})).must(204);
    root.get("kv/a").must(200);
    server.anonymous().get("kv/a").must(403);
    root.get("kv/none").must(404);
    let said = &lines(&file)[before..];
    let kinds: Vec<&str> = said.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "request").count(), 4, "{said:#?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "response").count(), 4, "{said:#?}");
    for pair in said.chunks(2) {
        assert_eq!([&pair[0]["type"], &pair[1]["type"]], ["request", "response"]);
        assert_eq!(
            pair[0]["request"]["id"], pair[1]["request"]["id"],
            "a question and its answer stand together"
        );
    }
    let wrong: Vec<bool> = said.iter().step_by(2).map(|question| question["error"].is_string()).collect();
    assert_eq!(
        wrong,
        [false, false, true, false],
        "the question of a stranger says that it was refused, no other"
    );
    for line in said {
        assert_eq!(line["request"]["mount_type"], "kv");
        assert!(
            line["request"]["id"].is_string()
                && line["time"].is_string()
                && line["request"]["path"].is_string()
        );
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hunter2") && !text.contains(root.token()), "a secret lies in the audit file");
    let digest =
        root.post("sys/audit-hash/file", json!({"input": "hunter2-hunter2"})).must(200).at("/data/hash");
    assert!(text.contains(&digest), "the digest of a value is what audit-hash gives");
}

#[test]
fn what_a_door_does_not_answer_is_in_the_log_all_the_same() {
    let (folder, server, _root) = audited();
    let file = folder.path().join("audit.log");
    for path in ["sys/rekey/init", "sys/generate-root/attempt"] {
        let before = lines(&file).len();
        server.anonymous().post(path, json!({})).must(405);
        let said = &lines(&file)[before..];
        assert_eq!(said.len(), 2, "{said:#?}");
        assert_eq!(
            (&said[1]["request"]["path"], &said[1]["error"]),
            (&json!(path), &json!("unsupported operation"))
        );
    }
}

#[test]
fn raw_is_raw_for_one_device_only() {
    let (folder, _server, root) = audited();
    let raw = folder.path().join("raw.log");
    enable(&root, "raw", &raw, &json!({"log_raw": "true"}));
    root.post("kv/a", json!({"password": "hunter2-hunter2"})).must(204);
    assert!(std::fs::read_to_string(&raw).unwrap().contains("hunter2-hunter2"));
    assert!(!std::fs::read_to_string(folder.path().join("audit.log")).unwrap().contains("hunter2"));
}

#[test]
fn sighup_reopens_the_file() {
    let (folder, server, root) = audited();
    let (file, moved) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    std::fs::rename(&file, &moved).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.until("the file is there again", |_| {
        root.get("kv/none");
        file.exists() && std::fs::metadata(&file).is_ok_and(|data| data.len() > 0)
    });
    let before = lines(&moved).len();
    root.get("kv/none").must(404);
    assert_eq!(lines(&moved).len(), before, "the old file is left alone");
    // What tools send that know other servers ends nothing.
    for signal in [rustix::process::Signal::USR1, rustix::process::Signal::USR2] {
        server.signal(signal);
    }
    root.get("kv/none").must(404);
    server.signal(rustix::process::Signal::HUP);
    root.get("kv/none").must(404);
}

#[test]
fn what_cannot_be_audited_is_refused() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Raft, folder.path()).with("unsafe_allow_api_audit_creation = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    root.post("kv/a", json!({"x": "1"})).must(204);
    // Everything written to /dev/full fails with "no space left on device"; enabling it may be refused already.
    let body = json!({"type": "file", "options": {"file_path": "/dev/full", "mode": "0000"}});
    if root.post("sys/audit/full", body).status == 204 {
        root.post("kv/a", json!({"x": "2"})).must(500);
        root.get("kv/a").must(500);
        root.get("sys/health").must(200);
    }
}

/// What has begun goes on to its end without whoever asked for it, and is written down like all else.
#[test]
fn a_write_whose_client_has_gone_has_an_answer_too() {
    const WRITES: usize = 100;
    let (folder, server, root) = audited();
    let file = folder.path().join("audit.log");
    for at in 0..WRITES {
        let head = format!(
            "POST /v1/kv/gone{at} HTTP/1.1\r\nHost: a\r\nX-Vault-Token: {}\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}",
            root.token()
        );
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
    }
    let count = |kind: &str| {
        let ours = |line: &Value| {
            line["type"] == kind
                && line["request"]["path"].as_str().is_some_and(|path| path.starts_with("kv/gone"))
        };
        lines(&file).iter().filter(|line| ours(line)).count()
    };
    // Of whom it had not yet heard all when they went, it does not do the rest.
    server.until("every write that has begun is answered", |client| {
        client.get("sys/health").must(200);
        let begun = count("request");
        begun > 0 && begun == count("response")
    });
    let (begun, kept) = (count("request"), root.list("kv").must(200).json()["data"]["keys"].clone());
    assert_eq!(kept.as_array().map(Vec::len), Some(begun));
}

#[test]
fn a_line_says_who_logged_in_and_what_let_root_in() {
    let (folder, server, root) = audited();
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    root.post("auth/userpass/users/ann", json!({"password": "pw"})).must(204);
    server.anonymous().post("auth/userpass/login/ann", json!({"password": "pw"})).must(200);
    root.get("kv/none").must(404);
    let said = lines(&folder.path().join("audit.log"));
    let login = said.iter().rfind(|line| line["response"]["auth"].is_object()).unwrap();
    assert_eq!(login["response"]["auth"]["metadata"], json!({"username": "ann"}), "{login:#}");
    let missing = said.last().unwrap();
    assert!(missing.get("error").is_none(), "{missing:#}");
    let granted = json!([{"name": "root", "namespace_id": "root", "type": "acl"}]);
    assert_eq!(missing["auth"]["policy_results"]["granting_policies"], granted, "{missing:#}");
}

/// Whoever starts a server must not learn of it from the first request that is refused.
#[test]
fn a_declared_device_that_does_not_open_is_said_at_once() {
    let folder = Scratch::new();
    let file = folder.path().join("missing/audit.log");
    let device =
        format!("audit \"file\" \"declared\" {{\n options {{ file_path = \"{}\" }}\n}}", file.display());
    let config = Config::new(Storage::File, folder.path()).with(&device);
    let server = Server::configured(&Binary::sealkeep(), &config);
    let keys = server.init(1, 1);
    server.anonymous().post("sys/unseal", json!({"key": keys.shares[0]})).must(200);
    server.until("the log tells of it", |_| server.log().contains("an audit device does not open"));
}
