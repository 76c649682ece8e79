//! Control groups: each person consents once, and nothing goes past the audit log.

use serde_json::{Value, json};

use crate::stage::Stage;
use tests::http::Client;

const RULE: &str = r#"path "kv/x" { capabilities = ["read"] control_group = { ttl = "1h"
    factor "two" { controlled_capabilities = ["read"] identity { group_names = ["boss"] approvals = 2 } } } }"#;

/// A server on which ann has to ask two of the group `boss` for `kv/x`: bob, whose tokens it gives, and carol.
fn stage() -> (Stage, Client, impl Fn(&Stage, &str) -> Client) {
    let stage = Stage::audited();
    stage.root.post("kv/x", json!({"a": "1"})).must(204);
    stage.policy("asking", RULE);
    stage.policy("consenting", r#"path "sys/control-group/*" { capabilities = ["update"] }"#);
    stage
        .root
        .post("auth/token/roles/people", json!({"allowed_entity_aliases": ["ann", "bob", "carol"]}))
        .must(204);
    let person = |stage: &Stage, name: &str| {
        let policy = if name == "ann" { "asking" } else { "consenting" };
        let body = json!({"entity_alias": name, "policies": [policy]});
        stage.root.post("auth/token/create/people", body).must(200)
    };
    let ids = ["bob", "carol"].map(|name| person(&stage, name).at("/auth/entity_id"));
    stage.root.post("identity/group", json!({"name": "boss", "member_entity_ids": ids})).must(200);
    let ann = stage.root.with(&person(&stage, "ann").at("/auth/client_token"));
    (stage, ann, move |stage: &Stage, name: &str| {
        stage.root.with(&person(stage, name).at("/auth/client_token"))
    })
}

#[test]
fn row_013_one_who_consents_with_two_tokens_has_consented_once() {
    let (stage, ann, person) = stage();
    let wrap = ann.get("kv/x").must(200);
    let (token, accessor) = (wrap.at("/wrap_info/token"), wrap.at("/wrap_info/accessor"));
    let consent = |client: &Client| client.post("sys/control-group/authorize", json!({"accessor": accessor}));
    consent(&person(&stage, "bob")).must(200);
    consent(&person(&stage, "bob")).must(500);
    let status = stage.root.post("sys/control-group/request", json!({"accessor": accessor})).must(200);
    assert_eq!(status.json()["data"]["approved"], false);
    ann.post("sys/wrapping/unwrap", json!({"token": token})).must(400);
    consent(&person(&stage, "carol")).must(200);
    ann.post("sys/wrapping/unwrap", json!({"token": token})).must(200);
}

#[test]
fn row_022_asking_consenting_and_doing_stand_in_the_audit_log() {
    let (stage, ann, person) = stage();
    let wrap = ann.get("kv/x").must(200);
    let (token, accessor) = (wrap.at("/wrap_info/token"), wrap.at("/wrap_info/accessor"));
    for name in ["bob", "carol"] {
        person(&stage, name).post("sys/control-group/authorize", json!({"accessor": accessor})).must(200);
    }
    let before = stage.audit_text().lines().count();
    stage.anonymous().with(&token).post("sys/wrapping/unwrap", json!({})).must(200);
    let text = stage.audit_text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |path: &str, kind: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["request"]["path"] == path && line["type"] == kind).collect()
    };
    // It was asked for and put aside, and later done, under one id; both times with question and answer.
    let (asked, answered) = (of("kv/x", "request"), of("kv/x", "response"));
    let asked: Vec<_> = asked.into_iter().filter(|line| line["request"]["operation"] == "read").collect();
    let answered: Vec<_> =
        answered.into_iter().filter(|line| line["request"]["operation"] == "read").collect();
    assert_eq!((asked.len(), answered.len()), (2, 2), "{text}");
    assert!(asked.iter().chain(&answered).all(|line| line["request"]["id"] == asked[0]["request"]["id"]));
    assert_eq!(
        asked[0]["auth"]["display_name"], asked[1]["auth"]["display_name"],
        "in the name of who asked"
    );
    // The consents name the same accessor, hashed; and whoever had it done stands there too.
    let hashed = &answered[0]["response"]["wrap_info"]["accessor"];
    let consents = of("sys/control-group/authorize", "request");
    assert_eq!(consents.len(), 2);
    assert!(consents.iter().all(|line| line["request"]["data"]["accessor"] == *hashed), "{text}");
    assert_eq!(lines.len() - before, 4, "the unwrapping and what it did: a question and an answer each");
    assert!(!text.contains(&token) && !text.contains(&accessor));
}
