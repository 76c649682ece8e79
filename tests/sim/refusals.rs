//! What is over, and what was never of the kind, opens nothing, even before anybody has swept it away.

use std::time::Duration;

use kit::Verb::{Get, Post};
use serde_json::{Value, json};
use tests::desk::{Desk, Said};

fn post(desk: &Desk, path: &str, body: &Value) -> Said {
    desk.ask(Post, path, &body.to_string())
}

#[test]
fn a_wrapping_that_is_over_is_opened_by_nobody() {
    let desk = Desk::new(400);
    post(&desk, "sys/mounts/kv", &json!({"type": "kv"})).expect(204);
    post(&desk, "kv/a", &json!({"a": "1"})).expect(204);
    let ways = ["sys/wrapping/lookup", "sys/wrapping/unwrap", "sys/wrapping/rewrap"];
    let wrapped = desk.ask_wrapped(&desk.root, Get, "kv/a", "");
    post(&desk, ways[0], &json!({ "token": wrapped })).expect(200);
    // Nothing has swept by then.
    desk.wait(Duration::from_secs(61));
    for way in ways {
        post(&desk, way, &json!({ "token": wrapped })).expect(400);
        let own = desk.ask_as(&wrapped, Post, way, "{}");
        assert!(matches!(own.status, 400 | 403), "{way}: {own:?}");
    }
    // A token that holds nothing for anybody is no wrapping, and survives the attempt.
    let token = post(&desk, "auth/token/create", &json!({"policies": ["default"]})).expect(200).token();
    for way in ways {
        post(&desk, way, &json!({ "token": token })).expect(400);
    }
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(200);
    // And one that was opened is empty.
    let wrapped = desk.ask_wrapped(&desk.root, Get, "kv/a", "");
    post(&desk, "sys/wrapping/unwrap", &json!({ "token": wrapped })).expect(200);
    for way in ways {
        post(&desk, way, &json!({ "token": wrapped })).expect(400);
    }
}

#[test]
fn a_token_that_is_over_does_not_come_back() {
    let desk = Desk::new(401);
    let made = post(&desk, "auth/token/create", &json!({"policies": ["default"], "ttl": "10s"})).expect(200);
    let (token, accessor) = (made.token(), made.json["auth"]["accessor"].clone());
    desk.wait(Duration::from_secs(11));
    for verb in ["renew", "lookup"] {
        let said = post(&desk, &format!("auth/token/{verb}"), &json!({ "token": token }));
        assert!(matches!(said.status, 400 | 403 | 404), "{verb}: {said:?}");
        let said = post(&desk, &format!("auth/token/{verb}-accessor"), &json!({ "accessor": accessor }));
        assert!(matches!(said.status, 400 | 403 | 404), "{verb}: {said:?}");
    }
    desk.ask_as(&token, Post, "auth/token/renew-self", "{}").expect(403);
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
}

#[test]
fn a_batch_token_is_neither_renewed_nor_revoked_and_makes_no_others() {
    let desk = Desk::new(402);
    let policy = r#"path "auth/token/*" { capabilities = ["create", "update", "read", "sudo"] }"#;
    post(&desk, "sys/policies/acl/makes", &json!({ "policy": policy })).expect(204);
    let body = json!({"type": "batch", "policies": ["makes"], "ttl": "1h"});
    let batch = post(&desk, "auth/token/create", &body).expect(200).token();
    assert!(batch.starts_with("b."));
    for (path, why) in [("renew", "renewed"), ("revoke", "revoked"), ("revoke-orphan", "revoked")] {
        let said = post(&desk, &format!("auth/token/{path}"), &json!({ "token": batch })).expect(400);
        assert_eq!(said.error(), format!("batch tokens cannot be {why}"));
    }
    for path in ["create", "create-orphan"] {
        let said = desk.ask_as(&batch, Post, &format!("auth/token/{path}"), "{}").expect(400);
        assert_eq!(said.error(), "batch tokens cannot create more tokens");
    }
    desk.ask_as(&batch, Get, "auth/token/lookup-self", "").expect(200);
}

#[test]
fn a_key_signs_for_the_roles_that_it_lists() {
    let desk = Desk::new(403);
    post(&desk, "sys/auth/userpass", &json!({"type": "userpass"})).expect(204);
    let policy = r#"path "identity/oidc/token/*" { capabilities = ["read"] }"#;
    post(&desk, "sys/policies/acl/oidc", &json!({ "policy": policy })).expect(204);
    post(&desk, "auth/userpass/users/ann", &json!({"password": "pw", "token_policies": "oidc"})).expect(204);
    let ann = desk.ask_as("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#).expect(200).token();
    let key = |ids: Value| {
        let body = json!({"algorithm": "ES256", "allowed_client_ids": ids});
        post(&desk, "identity/oidc/key/k", &body).expect(204);
    };
    key(json!("*"));
    post(&desk, "identity/oidc/role/r", &json!({"key": "k", "client_id": "mine"})).expect(204);
    let issue = || desk.ask_as(&ann, Get, "identity/oidc/token/r", "");
    issue().expect(200);
    for others in [json!([]), json!(["other", "min", "mine2"])] {
        key(others);
        assert!(issue().expect(400).error().contains("as an allowed client ID"));
    }
    key(json!(["other", "mine"]));
    issue().expect(200);
}

#[test]
fn a_policy_is_not_made_to_have_ended_already() {
    let desk = Desk::new(404);
    let rules = r#"path "kv/*" { capabilities = ["read"] }"#;
    let write = |end: &str| post(&desk, "sys/policies/acl/p", &json!({"policy": rules, "expiration": end}));
    write("2025-12-31T23:59:59Z").expect(400);
    desk.ask(Get, "sys/policies/acl/p", "").expect(404);
    write("2026-01-01T01:00:00Z").expect(204);
}

#[test]
fn nothing_is_moved_into_or_out_of_a_namespace_that_is_locked() {
    let desk = Desk::new(405);
    for name in ["a", "b"] {
        post(&desk, &format!("sys/namespaces/{name}"), &json!({})).expect(200);
    }
    post(&desk, "a/sys/mounts/kv", &json!({"type": "kv"})).expect(204);
    let lock = desk.ask(Post, "sys/namespaces/api-lock/lock/a", "").expect(200);
    post(&desk, "sys/mounts/kv", &json!({"type": "kv"})).expect(204);
    for (from, to) in [("a/kv", "b/kv"), ("kv", "a/other"), ("a/kv", "kv2")] {
        let said = post(&desk, "sys/remount", &json!({"from": from, "to": to})).expect(400);
        assert!(said.error().contains("is locked"), "{from} -> {to}: {said:?}");
    }
    let unlock = json!({"unlock_key": lock.json["data"]["unlock_key"]});
    post(&desk, "sys/namespaces/api-lock/unlock/a", &unlock);
    post(&desk, "sys/remount", &json!({"from": "a/kv", "to": "b/kv"})).expect(200);
}
