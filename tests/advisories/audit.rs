//! I and M. The audit file: no secret in it, no request past it, no weapon made of it.

use crate::stage::{CANARY, Stage, raw};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tests::http::Request;

#[test]
fn row_083_no_token_lies_in_the_audit_file() {
    let stage = Stage::audited();
    let mut secrets = vec![stage.root.token().to_owned()];
    let made =
        stage.root.post("auth/token/create", json!({"policies": ["default"], "meta": {"a": "b"}})).must(200);
    secrets.extend([made.at("/auth/client_token"), made.at("/auth/accessor")]);
    let caller = stage.root.with(&made.at("/auth/client_token"));
    stage.root.post("auth/token/lookup", json!({"token": caller.token()})).must(200);
    stage.root.post("auth/token/lookup-accessor", json!({"accessor": made.at("/auth/accessor")})).must(200);
    let wrapped =
        stage.root.send(&Request::new("GET", "/v1/sys/mounts").header("X-Vault-Wrap-TTL", "60")).must(200);
    secrets.extend([wrapped.at("/wrap_info/token"), wrapped.at("/wrap_info/accessor")]);
    stage.root.post("sys/wrapping/unwrap", json!({"token": wrapped.at("/wrap_info/token")})).must(200);
    let role = stage.approle("web", json!({}));
    let secret = stage.root.post("auth/approle/role/web/secret-id", json!({})).must(200);
    secrets.extend([secret.at("/data/secret_id"), secret.at("/data/secret_id_accessor")]);
    let body = json!({"role_id": role, "secret_id": secret.at("/data/secret_id")});
    let login = stage.anonymous().post("auth/approle/login", body).must(200);
    secrets.extend([login.at("/auth/client_token"), login.at("/auth/accessor")]);
    stage.userpass(json!({}));
    stage.anonymous().post("auth/userpass/login/bob", json!({"password": "correct-password"})).must(200);
    secrets.push("correct-password".to_owned());
    stage.pki(json!({"allow_any_name": true}));
    let issued = stage.root.post("pki/issue/web", json!({"common_name": "a.b"})).must(200);
    let key = issued.at("/data/private_key");
    secrets.push(key.lines().nth(1).expect("a key has lines").to_owned());
    let bearer =
        Request::new("GET", "/v1/kv/a").header("Authorization", &format!("Bearer {}", caller.token()));
    stage.anonymous().send(&bearer);
    caller.post("auth/token/revoke-self", json!({})).must(204);
    let text = stage.audit_text();
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} lies in the audit file");
        assert!(!stage.server.log().contains(&secret), "{secret} lies in the log");
    }
    assert!(text.contains("hmac-sha256:"));
}

#[test]
fn row_085_one_raw_device_makes_no_other_raw() {
    let stage = Stage::audited();
    let raw_file = stage.folder.path().join("raw.log").display().to_string();
    for _ in 0..3 {
        stage.enable_audit("raw", json!({"file_path": raw_file, "log_raw": "true"}));
        stage.root.post("kv/a", json!({"x": CANARY})).must(204);
        stage.root.get("kv/a").must(200);
        stage.root.delete("sys/audit/raw").must(204);
        stage.root.get("kv/a").must(200);
    }
    assert!(std::fs::read_to_string(&raw_file).unwrap().contains(CANARY));
    assert!(!stage.audit_text().contains(CANARY));
}

#[test]
fn also_a_raw_file_makes_no_socket_raw() {
    let stage = Stage::audited();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = json!({"address": socket.local_addr().unwrap().to_string(), "socket_type": "udp"});
    stage.root.post("sys/audit/net", json!({"type": "socket", "options": options})).must(204);
    let raw_file = stage.folder.path().join("raw.log").display().to_string();
    stage.enable_audit("raw", json!({"file_path": raw_file, "log_raw": "true"}));
    stage.root.post("kv/a", json!({"x": CANARY})).must(204);
    stage.root.get("kv/a").must(200);
    stage.root.get("kv/last").must(404);
    assert!(std::fs::read_to_string(&raw_file).unwrap().contains(CANARY));
    let mut buffer = vec![0; 65_536];
    loop {
        let count = socket.recv(&mut buffer).unwrap();
        let line = std::str::from_utf8(&buffer[..count]).unwrap();
        assert!(!line.contains(CANARY) && !line.contains(stage.root.token()), "{line}");
        if line.contains("kv/last") {
            break;
        }
    }
}

#[test]
fn row_087_bytes_are_no_plain_text() {
    let stage = Stage::audited();
    let reply = stage.root.post("sys/tools/hash", json!({"input": "Q0FOQVJZLTdmMWM5ZTUy"})).must(200);
    let random = stage.root.post("sys/tools/random", json!({"bytes": 32})).must(200).at("/data/random_bytes");
    let text = stage.audit_text();
    assert!(!text.contains("Q0FOQVJZ") && !text.contains("CANARY"));
    assert!(!text.contains(&random) && !text.contains(&reply.at("/data/sum")));
}

#[test]
fn row_089_a_value_of_the_wrong_type_is_still_a_secret() {
    let stage = Stage::audited();
    stage.approle("web", json!({}));
    let shapes = [json!(CANARY), json!([CANARY]), json!({"a": {"b": CANARY}}), json!([[CANARY]])];
    let mut leaked = Vec::new();
    for (path, field) in [
        ("auth/token/create", "meta"),
        ("auth/token/create", "ttl"),
        ("auth/token/create", "num_uses"),
        ("auth/approle/role/web/secret-id", "metadata"),
        ("auth/approle/role/web", "token_ttl"),
        ("auth/approle/role/web", "token_bound_cidrs"),
        ("sys/mounts/x", "config"),
        ("sys/mounts/x", "options"),
    ] {
        for shape in &shapes {
            let before = stage.audit_text().len();
            stage.root.post(path, json!({field: shape}));
            // A refusal may quote what was wrong to whoever sent it; its line in the audit file may not.
            if stage.audit_text()[before..].contains(CANARY) {
                leaked.push(format!("{path} {field} {shape}"));
            }
        }
    }
    assert!(leaked.is_empty(), "{leaked:#?}");
    assert!(!stage.server.log().contains(CANARY), "in the log");
    stage.lives();
}

#[test]
fn row_090_a_broken_body_is_not_repeated() {
    let stage = Stage::audited();
    stage.root.post("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})).must(204);
    stage.server.until("kv is ready", |_| stage.root.get("secret/config").status == 200);
    let bodies = [
        format!(r#"{{"data":"{CANARY}"}}"#),
        format!(r#"{{"data":["{CANARY}"]}}"#),
        format!(r#"{{"data":{{"x":"{CANARY}"}},"options":"{CANARY}"}}"#),
        format!(r#"{{"data":{{"x":"{CANARY}"}},"options":{{"cas":"{CANARY}"}}}}"#),
        format!(r#"{{"data":{{"x":"{CANARY}"#),
        format!(r#"{{"data":{{"x":"{CANARY}"}}}} {CANARY}"#),
        CANARY.to_owned(),
        format!(r#""{CANARY}""#),
        format!(r#"["{CANARY}"]"#),
        format!(r#"{{"data":{{"x":"{CANARY}\q"}}}}"#),
    ];
    for body in bodies {
        let reply = stage.root.send(&raw("POST", "secret/data/x").body(body.clone()));
        assert!(reply.status == 400 && !reply.text().contains(CANARY), "{body}: {reply}");
    }
    assert!(!stage.audit_text().contains(CANARY), "in the audit file");
    assert!(!stage.server.log().contains(CANARY), "in the log");
}

#[test]
fn row_094_a_failure_is_logged_without_its_request() {
    let stage = Stage::audited();
    stage.root.post("kv/a", json!({"x": CANARY})).must(204);
    // The audit file becomes a folder's name: nothing can be written, each request fails.
    let (file, aside) = (stage.audit_path(), format!("{}.aside", stage.audit_path()));
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    stage.server.signal(rustix::process::Signal::HUP);
    for _ in 0..20 {
        stage.root.post("kv/b", json!({"x": CANARY}));
        stage.root.get("kv/a");
    }
    assert!(!stage.server.log().contains(CANARY), "{}", stage.server.log());
}

#[test]
fn row_137_the_audit_file_is_no_program() {
    let stage = Stage::audited();
    let target = stage.folder.path().join("program");
    for options in [
        json!({"file_path": target, "mode": "0755"}),
        json!({"file_path": target, "mode": "0777", "prefix": "#!/bin/sh\nid\n"}),
        json!({"file_path": target, "prefix": "#!/bin/sh\n"}),
    ] {
        let reply = stage.root.post("sys/audit/x", json!({"type": "file", "options": options}));
        assert_eq!(reply.status, 400, "{options}: {}", reply.text());
        if reply.status == 204 {
            stage.root.delete("sys/audit/x").must(204);
        }
        if let Ok(data) = std::fs::metadata(&target) {
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            assert!(
                data.permissions().mode() & 0o111 == 0 || !text.starts_with("#!"),
                "{options} made a program"
            );
            std::fs::remove_file(&target).unwrap();
        }
    }
}

#[test]
fn row_138_the_old_name_of_an_option_is_guarded_too() {
    let stage = Stage::audited();
    let target = stage.folder.path().join("program");
    for options in [
        json!({"path": target, "mode": "0755", "prefix": "#!/bin/sh\n"}),
        json!({"PATH": target, "mode": "0755", "prefix": "#!/bin/sh\n"}),
        json!({"path": target, "file_path": stage.audit_path(), "mode": "0755", "prefix": "#!/bin/sh\n"}),
    ] {
        stage.root.post("sys/audit/x", json!({"type": "file", "options": options}));
        let text = std::fs::read_to_string(&target).unwrap_or_default();
        assert!(!text.starts_with("#!"), "{options} made a program");
        stage.root.delete("sys/audit/x");
    }
}

#[test]
fn also_a_vanished_audit_file_is_noticed() {
    let stage = Stage::audited();
    std::fs::remove_file(stage.audit_path()).unwrap();
    // Written again or refused: within a second or so no request goes by unrecorded.
    stage.server.until("the file is back or requests are refused", |_| {
        let reply = stage.root.get("kv/none");
        reply.status == 500
            || std::fs::read_to_string(stage.audit_path()).is_ok_and(|text| text.contains("kv/none"))
    });
}

#[test]
fn row_018_a_token_is_shown_to_nobody_as_a_header() {
    let stage = Stage::audited();
    // What audit may show, a mount may be passed.
    for name in ["authorization", "x-vault-token", "x-other"] {
        let shown =
            stage.root.post(&format!("sys/config/auditing/request-headers/{name}"), json!({"hmac": false}));
        shown.must_be_any(&[204, 400]);
    }
    let tune = json!({"passthrough_request_headers": ["Authorization", "X-Vault-Token", "X-Other"]});
    stage.root.post("sys/mounts/kv/tune", tune).must_be_any(&[204, 400]);
    let token = stage.root.token().to_owned();
    for (name, value) in [
        ("Authorization", format!("Bearer {token}")),
        ("Authorization", format!("bearer {token}")),
        ("Authorization", format!("BEARER {token}")),
        ("X-Vault-Token", token.clone()),
    ] {
        let request = Request::new("GET", "/v1/kv/a").header(name, &value).header("X-Other", "canary-header");
        stage.anonymous().send(&request).must_be_any(&[403, 404]);
    }
    let text = stage.audit_text();
    assert!(text.contains("canary-header"), "headers that are asked for are shown");
    assert!(!text.contains(&token), "a token is in the audit file");
}
