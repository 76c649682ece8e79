//! A request that brings its login along: it is let in by that, and nothing of the login is left.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::Verb::{self, Get, List, Post};
use serde_json::{Value, json};
use tests::desk::{Desk, Said, request};

const LOGIN: &str = "auth/userpass/login/ann";

fn desk(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/a", r#"{"x":1}"#).expect(204);
    policy(&desk, "path \"kv/*\" { capabilities = [\"create\", \"read\", \"update\"] }");
    // What its tokens are otherwise does not matter: a number of uses, a kind.
    let user = r#"{"password":"pw","token_policies":"p","token_num_uses":1,"token_type":"service"}"#;
    desk.ask(Post, "auth/userpass/users/ann", user).expect(204);
    desk
}

fn policy(desk: &Desk, text: &str) {
    desk.ask(Post, "sys/policies/acl/p", &json!({ "policy": text }).to_string()).expect(204);
}

fn parameter(key: &str, value: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "key": key, "value": value }).to_string())
}

fn headers(login: &str, password: &str) -> Vec<(String, String)> {
    let header = |name: &str, value: String| (format!("x-vault-inline-auth-{name}"), value);
    vec![header("path", login.to_owned()), header("parameter-1", parameter("password", password))]
}

fn ask(desk: &Desk, password: &str, verb: Verb, path: &str, body: &str) -> Said {
    let mut asked = request("", verb, path, body);
    asked.headers = headers(LOGIN, password);
    desk.send(&asked)
}

fn accessors(desk: &Desk) -> usize {
    desk.ask(List, "auth/token/accessors", "").expect(200).json["data"]["keys"].as_array().unwrap().len()
}

#[test]
fn it_is_let_in_and_nothing_is_left() {
    let desk = desk(1);
    let before = accessors(&desk);
    assert_eq!(ask(&desk, "pw", Get, "kv/a", "").expect(200).json["data"]["x"], 1);
    ask(&desk, "pw", Post, "kv/b", r#"{"y":2}"#).expect(204);
    desk.ask(Get, "kv/b", "").expect(200);
    ask(&desk, "pw", Get, "sys/mounts", "").expect(403);
    let token = ask(&desk, "pw", Get, "auth/token/lookup-self", "").expect(200).json["data"].clone();
    assert_eq!((&token["id"], &token["type"]), (&json!(""), &json!("batch")));
    assert!(token["ttl"].as_u64().unwrap() <= 90, "{token}");
    ask(&desk, "pw", Post, "auth/token/create", "{}").expect(403);
    ask(&desk, "pw", Post, "cubbyhole/a", r#"{"a":1}"#).expect(400);
    assert_eq!(accessors(&desk), before);
    desk.ask(List, "sys/leases/lookup/auth/userpass/login", "").expect(404);
    assert_eq!(ask(&desk, "wrong", Get, "kv/a", "").expect(400).header("x-vault-inline-auth-failed"), "true");
}

#[test]
fn who_may_log_in_no_more_is_not_let_in() {
    let desk = desk(2);
    ask(&desk, "pw", Get, "kv/a", "").expect(200);
    let all = desk.ask(List, "identity/entity/id", "").expect(200).json["data"]["keys"].clone();
    let entity = format!("identity/entity/id/{}", all[0].as_str().unwrap());
    desk.ask(Post, &entity, r#"{"disabled":true}"#).expect(204);
    ask(&desk, "pw", Get, "kv/a", "").expect(403);
    desk.ask(Post, &entity, r#"{"disabled":false}"#).expect(204);
    ask(&desk, "pw", Get, "kv/a", "").expect(200);
    // What is open to strangers is no login: it is not even asked.
    for path in
        ["sys/seal-status", "sys/wrapping/unwrap", "kv/a", "nothing/x", "auth/userpass/users/ann", "../x", ""]
    {
        let mut asked = request("", Get, "kv/a", "");
        asked.headers = headers(path, "pw");
        let said = desk.send(&asked).expect(403);
        assert!(said.error().starts_with("permission denied; the header X-Vault-Inline-Auth-Path"), "{path}");
    }
}

#[test]
fn tries_are_counted_as_those_of_any_login() {
    let desk = desk(3);
    for _ in 0..5 {
        ask(&desk, "wrong", Get, "kv/a", "").expect(400);
    }
    ask(&desk, "pw", Get, "kv/a", "").expect(403);
    desk.ask_as("", Post, LOGIN, r#"{"password":"pw"}"#).expect(403);
    desk.wait(Duration::from_secs(1000));
    ask(&desk, "pw", Get, "kv/a", "").expect(200);
    let limit = r#"{"path":"auth/userpass/","rate":2,"interval":"1h"}"#;
    desk.ask(Post, "sys/quotas/rate-limit/logins", limit).expect(204);
    (0..2).for_each(|_| drop(ask(&desk, "pw", Get, "kv/a", "").expect(200)));
    let over = ask(&desk, "pw", Get, "kv/a", "").expect(429);
    assert_eq!(over.error(), "request path \"auth/userpass/login/ann\": rate limit quota exceeded");
    assert_eq!(over.header("x-vault-inline-auth-failed"), "true");
}

#[test]
fn what_would_outlive_the_request_is_refused() {
    let desk = desk(4);
    desk.ask(Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
    desk.ask(Post, "pki/root/generate/internal", r#"{"common_name":"ca","ttl":"700h"}"#).expect(200);
    let role = r#"{"allow_any_name":true,"generate_lease":true,"ttl":"1h"}"#;
    desk.ask(Post, "pki/roles/r", role).expect(200);
    policy(
        &desk,
        r#"path "pki/issue/r" { capabilities = ["update"] }
           path "kv/a" { capabilities = ["read"] control_group = { factor "boss" { controlled_capabilities = ["read"] identity { group_names = ["boss"] approvals = 1 } } } }"#,
    );
    let count = |desk: &Desk| {
        desk.ask(List, "pki/certs", "").expect(200).json["data"]["keys"].as_array().map_or(0, Vec::len)
    };
    let before = count(&desk);
    let said = ask(&desk, "pw", Post, "pki/issue/r", r#"{"common_name":"a.example"}"#).expect(400);
    assert_eq!(said.error(), "requests with inline authentication cannot generate leases");
    assert_eq!(count(&desk), before, "nothing was issued");
    let said = ask(&desk, "pw", Get, "kv/a", "").expect(400);
    assert!(said.error().contains("cannot wait for the consent of others"), "{}", said.error());
}

#[test]
fn a_parameter_is_given_once_and_keeps_its_kind() {
    let desk = desk(5);
    let mut asked = request("", Get, "kv/a", "");
    asked.headers = headers(LOGIN, "pw");
    asked.headers.push(("x-vault-inline-auth-parameter-2".to_owned(), parameter("password", "pw")));
    let said = desk.send(&asked).expect(400);
    assert!(said.error().ends_with("the parameter \"password\" is given twice; give each in one header"));
    let number =
        |value: Value| URL_SAFE_NO_PAD.encode(json!({ "key": "password", "value": value }).to_string());
    for value in [json!(1), json!(["pw"]), json!({ "pw": 1 }), json!(true)] {
        asked.headers = headers(LOGIN, "pw");
        asked.headers[1].1 = number(value);
        desk.send(&asked).expect(400);
    }
}

#[test]
fn both_requests_stand_in_the_audit_log_without_a_password() {
    let folder = tests::scratch::Scratch::new();
    let file = folder.path().join("audit.log");
    let settings = kernel::Settings { allow_audit_api: true, ..kernel::Settings::default() };
    let desk = Desk::with(6, settings);
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/userpass/users/ann", r#"{"password":"very-secret"}"#).expect(204);
    for header in ["path", "parameter-1"] {
        let path = format!("sys/config/auditing/request-headers/x-vault-inline-auth-{header}");
        desk.ask(Post, &path, r#"{"hmac":false}"#).expect(204);
    }
    let device = json!({ "type": "file", "options": { "file_path": file } }).to_string();
    desk.ask(Post, "sys/audit/f", &device).expect(204);
    let skip = std::fs::read_to_string(&file).unwrap().lines().count();
    ask(&desk, "very-secret", Get, "auth/token/lookup-self", "").expect(200);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().skip(skip).map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["type"].as_str().unwrap(), line["request"]["path"].as_str().unwrap()))
        .collect();
    let own = "auth/token/lookup-self";
    assert_eq!(said, [("request", LOGIN), ("response", LOGIN), ("request", own), ("response", own)]);
    let id = lines[2]["request"]["id"].as_str().unwrap();
    assert_eq!(lines[0]["request"]["id"], format!("{id}.inline-auth"));
    // By the hash of its token one is known to be the other's.
    assert_eq!(lines[1]["response"]["auth"]["client_token"], lines[2]["request"]["client_token"]);
    assert_eq!(lines[2]["auth"]["display_name"], "userpass-ann");
    assert_eq!(lines[2]["request"]["headers"], json!({ "x-vault-inline-auth-path": [LOGIN] }));
    assert!(!text.contains("very-secret") && !text.contains(&parameter("password", "very-secret")));
}
