//! The server is operated: mounts come, move and go, and what hangs on them with them; keys turn; leases end.

use std::time::Duration;

use kit::Verb::{Delete, Get, List, Patch, Post};
use serde_json::json;
use storage::faulty::PowerCut;
use tests::desk::{Desk, request};

/// A desk with a userpass method and a user in it.
fn with_ann(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    enable_ann(&desk);
    desk
}

fn enable_ann(desk: &Desk) {
    desk.ask(Post, "sys/auth/people", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/people/users/ann", r#"{"password":"pw","token_ttl":"1h"}"#).expect(204);
}

fn log_in(desk: &Desk) -> String {
    desk.ask_as("", Post, "auth/people/login/ann", r#"{"password":"pw"}"#).expect(200).token()
}

#[test]
fn mounts_do_not_nest_and_the_servers_own_stay() {
    let desk = Desk::new(20);
    desk.ask(Post, "sys/mounts/a/b", r#"{"type":"kv"}"#).expect(204);
    for (path, why) in [
        ("a", "path is already in use at a/b/"),
        ("a/b/c", "path is already in use at a/b/"),
        ("sys/x", "cannot mount \"sys/x/\""),
        ("auth/x", "cannot mount \"auth/x/\""),
        ("cubbyhole", "cannot mount \"cubbyhole/\""),
    ] {
        let said = desk.ask(Post, &format!("sys/mounts/{path}"), r#"{"type":"kv"}"#).expect(400);
        assert_eq!(said.error(), why);
    }
    for path in ["sys", "cubbyhole", "auth/token"] {
        desk.ask(Delete, &format!("sys/mounts/{path}"), "").expect(400);
    }
    desk.ask(Delete, "sys/auth/token", "").expect(400);
    desk.ask(Post, "sys/mounts/x", r#"{"type":"nonsense"}"#).expect(400);
    desk.ask(Get, "sys/mounts/x", "").expect(400);
}

#[test]
fn what_a_mount_held_goes_with_it() {
    let desk = Desk::new(21);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/x", r#"{"a":1}"#).expect(204);
    desk.ask(Delete, "sys/mounts/kv", "").expect(204);
    desk.ask(Get, "kv/x", "").expect(404);
    // A new mount at the same path has nothing of the old, before the sweep and after it.
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Get, "kv/x", "").expect(404);
    desk.ask(Post, "kv/y", r#"{"a":2}"#).expect(204);
    desk.tick();
    desk.ask(Get, "kv/y", "").expect(200);
}

#[test]
fn tokens_end_with_the_method_that_they_came_by() {
    let desk = with_ann(22);
    let old = log_in(&desk);
    desk.ask_as(&old, Get, "auth/token/lookup-self", "").expect(200);
    desk.ask(Delete, "sys/auth/people", "").expect(204);
    desk.ask_as(&old, Get, "auth/token/lookup-self", "").expect(403);
    enable_ann(&desk);
    let new = log_in(&desk);
    desk.tick();
    desk.ask_as(&new, Get, "auth/token/lookup-self", "").expect(200);
    desk.ask_as(&old, Get, "auth/token/lookup-self", "").expect(403);
    let keys = desk.ask(List, "sys/leases/lookup/auth/people/login/ann", "").expect(200);
    assert_eq!(keys.json["data"]["keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_mount_moves_with_what_it_holds() {
    let desk = with_ann(23);
    let token = log_in(&desk);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/x", r#"{"a":1}"#).expect(204);
    let moved = desk.ask(Post, "sys/remount", r#"{"from":"kv","to":"deep/kv"}"#).expect(200);
    desk.ask(Get, "kv/x", "").expect(404);
    assert_eq!(desk.ask(Get, "deep/kv/x", "").expect(200).json["data"]["a"], 1);
    let id = moved.json["data"]["migration_id"].as_str().unwrap();
    let status = desk.ask(Get, &format!("sys/remount/status/{id}"), "").expect(200);
    assert_eq!(status.json["data"]["migration_info"]["status"], "success");
    // Leases carry the old path, so they end; the users of the method stay.
    desk.ask(Post, "sys/remount", r#"{"from":"auth/people","to":"auth/crowd"}"#).expect(200);
    desk.tick();
    desk.ask_as(&token, Get, "auth/token/lookup-self", "").expect(403);
    desk.ask_as("", Post, "auth/crowd/login/ann", r#"{"password":"pw"}"#).expect(200);
    desk.ask(Post, "sys/remount", r#"{"from":"auth/crowd","to":"crowd"}"#).expect(400);
}

#[test]
fn a_kv_mount_becomes_versioned_and_never_less() {
    let desk = Desk::new(24);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/x", r#"{"a":1}"#).expect(204);
    desk.ask(Post, "sys/mounts/kv/tune", r#"{"options":{"version":"2"}}"#).expect(204);
    assert_eq!(desk.ask(Get, "kv/data/x", "").expect(200).json["data"]["data"]["a"], 1);
    let said = desk.ask(Post, "sys/mounts/kv/tune", r#"{"options":{"version":"1"}}"#).expect(400);
    assert_eq!(said.error(), "cannot downgrade mount from version 2");
}

#[test]
fn a_policy_that_changes_changes_what_its_tokens_may() {
    let desk = Desk::new(25);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/x", r#"{"a":1}"#).expect(204);
    let write = |body: &str| desk.ask(Post, "sys/policies/acl/Reader", body);
    write(r#"{"policy":"path \"kv/*\" { capabilities = [\"read\"] }"}"#).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["reader"]}"#).expect(200).token();
    desk.ask_as(&token, Get, "kv/x", "").expect(200);
    write(r#"{"policy":"path \"kv/*\" { capabilities = [\"list\"] }","cas":2}"#).expect(400);
    desk.ask_as(&token, Get, "kv/x", "").expect(200);
    write(r#"{"policy":"path \"kv/*\" { capabilities = [\"list\"] }","cas":1}"#).expect(204);
    desk.ask_as(&token, Get, "kv/x", "").expect(403);
    write(r#"{"policy":"path \"kv/*\" { capabilities = [\"read\"] }","ttl":"1h"}"#).expect(204);
    desk.ask_as(&token, Get, "kv/x", "").expect(200);
    desk.wait(Duration::from_secs(3601));
    desk.ask_as(&token, Get, "kv/x", "").expect(403);
    desk.ask(Patch, "sys/policies/acl/reader", r#"{"ttl":"1h"}"#).expect(200);
    desk.ask_as(&token, Get, "kv/x", "").expect(200);
    desk.ask(Delete, "sys/policies/acl/reader", "").expect(204);
    desk.ask_as(&token, Get, "kv/x", "").expect(403);
}

#[test]
fn a_decision_is_explained() {
    let desk = Desk::new(26);
    let rules = r#"{"policy":"path \"kv/*\" { capabilities = [\"read\"] }\npath \"kv/no\" { capabilities = [\"deny\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/some", rules).expect(204);
    let explain = |body: &str| desk.ask(Post, "sys/policies/explain", body).expect(200).json["data"].clone();
    let denied = explain(r#"{"path":"kv/no","operation":"read","policies":["some"]}"#);
    assert_eq!((&denied["verdict"], &denied["decided_by"][0]["line"]), (&"denied".into(), &2.into()));
    assert_eq!(explain(r#"{"path":"kv/no","operation":"read"}"#)["verdict"], "allowed");
    // What wants sudo is denied without it, whatever else is granted.
    let rules = r#"{"policy":"path \"sys/*\" { capabilities = [\"read\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/sys", rules).expect(204);
    assert_eq!(
        explain(r#"{"path":"sys/auth/x","operation":"read","policies":["sys"]}"#)["verdict"],
        "denied"
    );
    assert_eq!(explain(r#"{"path":"sys/auth","operation":"read","policies":["sys"]}"#)["verdict"], "allowed");
    // What everybody may ask, no policy decides.
    desk.ask(Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    for (path, operation) in
        [("sys/health", "read"), ("sys/unseal", "update"), ("auth/userpass/login/ann", "update")]
    {
        for policies in ["", r#","policies":["sys"]"#] {
            let open = explain(&format!(r#"{{"path":"{path}","operation":"{operation}"{policies}}}"#));
            assert_eq!(open["verdict"], "allowed", "{path}");
            assert!(open["reason"].as_str().unwrap().starts_with("open to everybody"), "{open}");
        }
    }
    // To ask about another's token takes sudo.
    let may = r#"{"policy":"path \"sys/policies/explain\" { capabilities = [\"update\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/asker", may).expect(204);
    let asker = desk.ask(Post, "auth/token/create", r#"{"policies":["asker"]}"#).expect(200).token();
    let body = format!(r#"{{"path":"kv/x","operation":"read","token":"{}"}}"#, desk.root);
    desk.ask_as(&asker, Post, "sys/policies/explain", &body).expect(400);
    desk.ask(Post, "sys/policies/explain", &body).expect(200);
}

#[test]
fn a_wrapping_opens_once() {
    let desk = Desk::new(27);
    let open = |token: &str| desk.ask(Post, "sys/wrapping/unwrap", &format!(r#"{{"token":"{token}"}}"#));
    let wrapping = desk.ask_wrapped(&desk.root, Get, "sys/policies/acl/default", "");
    desk.ask_as("", Post, "sys/wrapping/lookup", &format!(r#"{{"token":"{wrapping}"}}"#)).expect(200);
    assert_eq!(open(&wrapping).expect(200).json["data"]["name"], "default");
    assert_eq!(open(&wrapping).expect(400).error(), "wrapping token is not valid or does not exist");
    // By itself as well.
    let wrapping = desk.ask_wrapped(&desk.root, Get, "sys/policies/acl/default", "");
    desk.ask_as(&wrapping, Post, "sys/wrapping/unwrap", "").expect(200);
    desk.ask_as(&wrapping, Post, "sys/wrapping/unwrap", "").expect(400);
    // What it holds outlives a rewrap, its first token does not; and no stranger opens it.
    let wrapping = desk.ask_wrapped(&desk.root, Get, "sys/policies/acl/default", "");
    let again = desk.ask(Post, "sys/wrapping/rewrap", &format!(r#"{{"token":"{wrapping}"}}"#)).expect(200);
    let again = again.json["wrap_info"]["token"].as_str().unwrap().to_owned();
    open(&wrapping).expect(400);
    desk.ask_as("", Post, "sys/wrapping/unwrap", &format!(r#"{{"token":"{again}"}}"#)).expect(403);
    desk.wait(Duration::from_secs(30));
    open(&again).expect(200);
    // It ends at its date.
    let late = desk.ask_wrapped(&desk.root, Get, "sys/policies/acl/default", "");
    desk.wait(Duration::from_secs(61));
    open(&late).expect(400);
    // No other token is a wrapping.
    open(&desk.root).expect(400);
}

#[test]
fn leases_end_with_their_mount_however_many_they_are() {
    let desk = Desk::new(28);
    desk.ask(Post, "sys/auth/machines", r#"{"type":"approle"}"#).expect(204);
    desk.ask(Post, "auth/machines/role/r", r#"{"token_ttl":"1h"}"#).expect(204);
    let told = |path: &str, verb, field: &str| {
        desk.ask(verb, path, "").expect(200).json["data"][field].as_str().unwrap().to_owned()
    };
    let role = told("auth/machines/role/r/role-id", Get, "role_id");
    let secret = told("auth/machines/role/r/secret-id", Post, "secret_id");
    let body = format!(r#"{{"role_id":"{role}","secret_id":"{secret}"}}"#);
    let log_in = || desk.ask_as("", Post, "auth/machines/login", &body).expect(200).token();
    let tokens: Vec<String> = (0..300).map(|_| log_in()).collect();
    desk.ask(Delete, "sys/auth/machines", "").expect(204);
    desk.tick();
    desk.ask(List, "sys/leases/lookup/auth/machines/login", "").expect(404);
    for token in &tokens {
        desk.ask_as(token, Get, "auth/token/lookup-self", "").expect(403);
    }
    let count = desk.ask(Get, "sys/internal/counters/tokens", "").expect(200);
    assert_eq!(count.json["data"]["counters"]["service_tokens"]["total"], 1);
}

#[test]
fn leases_of_kv_end_whatever_their_mount_has_become() {
    for (seed, options) in [(91, r#"{"version":"2"}"#), (92, r#"{"leased_passthrough":"false"}"#)] {
        let desk = Desk::new(seed);
        let mount = r#"{"type":"kv","options":{"leased_passthrough":"true"}}"#;
        desk.ask(Post, "sys/mounts/lk", mount).expect(204);
        desk.ask(Post, "lk/a", r#"{"x":1}"#).expect(204);
        for _ in 0..3 {
            desk.ask(Get, "lk/a", "").expect(200);
        }
        let leases = desk.ask(List, "sys/leases/lookup/lk/a", "").expect(200).json["data"]["keys"].clone();
        desk.ask(Post, "sys/mounts/lk/tune", &format!(r#"{{"options":{options}}}"#)).expect(204);
        let lease = format!(r#"{{"lease_id":"lk/a/{}"}}"#, leases[0].as_str().unwrap());
        desk.ask(Post, "sys/leases/revoke", &lease).expect(204);
        desk.ask(Post, "sys/leases/revoke-prefix/lk", "").expect(204);
        desk.tick();
        desk.ask(List, "sys/leases/lookup/lk/a", "").expect(404);
    }
}

#[test]
fn keys_turn_by_hand_and_by_themselves() {
    let desk = Desk::new(29);
    let term =
        |desk: &Desk| desk.ask(Get, "sys/key-status", "").expect(200).json["data"]["term"].as_u64().unwrap();
    assert_eq!(term(&desk), 1);
    desk.ask(Post, "sys/rotate", "").expect(204);
    assert_eq!(term(&desk), 2);
    desk.ask(Post, "sys/rotate/config", r#"{"interval":"1h"}"#).expect(400);
    desk.ask(Post, "sys/rotate/config", r#"{"interval":"30h"}"#).expect(204);
    desk.tick();
    assert_eq!(term(&desk), 2);
    desk.ask(Post, "sys/policies/acl/kept", r#"{"policy":"path \"a\" { capabilities = [\"read\"] }"}"#)
        .expect(204);
    desk.wait(Duration::from_secs(31 * 3600));
    desk.tick();
    assert_eq!(term(&desk), 3);
    let desk = desk.crash(PowerCut::Drop);
    assert_eq!(term(&desk), 3);
    desk.ask(Get, "sys/policies/acl/kept", "").expect(200);
}

/// A request for an answer that is wrapped in a signed token.
fn signed(desk: &Desk, path: &str) -> String {
    let mut asked = request(&desk.root, Get, path, "");
    asked.wrap_ttl = Some(Duration::from_secs(60));
    asked.wrap_format = kernel::WrapFormat::Jwt;
    desk.send(&asked).expect(200).json["wrap_info"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_signed_wrapping_token_is_as_good_as_the_one_in_it_and_no_better() {
    let desk = Desk::new(38);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "kv/x", r#"{"a":"1"}"#).expect(204);
    let token = signed(&desk, "kv/x");
    assert_eq!(token.split('.').count(), 3);
    let desk = desk.crash(PowerCut::Drop);
    desk.ask_as(&token, Get, "kv/x", "").expect(403);
    desk.ask(Post, "auth/token/lookup", &serde_json::json!({ "token": token }).to_string()).expect(403);
    let body = serde_json::json!({ "token": token }).to_string();
    desk.ask(Post, "sys/wrapping/lookup", &body).expect(200);
    assert_eq!(desk.ask_as(&token, Post, "sys/wrapping/unwrap", "").expect(200).json["data"]["a"], "1");
    desk.ask(Post, "sys/wrapping/unwrap", &body).expect(400);
    // One that another server signed, and one of a namespace.
    let other = Desk::new(39);
    other.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    other.ask(Post, "kv/x", r#"{"a":"1"}"#).expect(204);
    let foreign = signed(&other, "kv/x");
    let body = serde_json::json!({ "token": foreign }).to_string();
    assert!(desk.ask(Post, "sys/wrapping/unwrap", &body).expect(403).error().contains("signature"));
    desk.ask_as(&foreign, Post, "sys/wrapping/unwrap", "").expect(403);
    desk.ask(Post, "sys/namespaces/team", "{}").expect(200);
    desk.ask(Post, "team/sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "team/kv/x", r#"{"a":"2"}"#).expect(204);
    let token = signed(&desk, "team/kv/x");
    assert_eq!(desk.ask_as(&token, Post, "sys/wrapping/unwrap", "").expect(200).json["data"]["a"], "2");
}

#[test]
fn capabilities_and_explain_say_what_the_request_itself_hears_in_every_spelling() {
    let desk = Desk::new(25);
    enable_ann(&desk);
    desk.ask(Post, "sys/auth/ldap", r#"{"type":"ldap"}"#).expect(204);
    desk.ask(Post, "auth/ldap/config", r#"{"url":"ldap://127.0.0.1:1"}"#).expect(204);
    desk.ask(Post, "auth/ldap/groups/Admin", r#"{"policies":["x"]}"#).expect(204);
    desk.ask(Post, "identity/entity/name/Admin", "{}").expect(200);
    let policy = r#"
        path "identity/entity/name/*" { capabilities = ["read", "update", "list"] }
        path "identity/entity/name/ADMIN" { capabilities = ["deny"] }
        path "auth/people/users/Ann" { capabilities = ["read"] }
        path "auth/ldap/groups/*" { capabilities = ["read"] }
        path "auth/ldap/groups/admin" { capabilities = ["deny"] }
        path "sys/policies/acl/Mine" { capabilities = ["read", "list"] }
        path "sys/host-info" { capabilities = ["read", "sudo"] }"#;
    let body = serde_json::json!({ "policy": policy }).to_string();
    desk.ask(Post, "sys/policies/acl/p", &body).expect(204);
    let token = desk
        .ask(Post, "auth/token/create", r#"{"policies":["p"],"no_default_policy":true}"#)
        .expect(200)
        .token();
    for (path, may) in [
        ("identity/entity/name/Admin", false),
        ("identity/entity/name/admin", false),
        ("identity/entity/name/other", true),
        ("identity/entity/Name/other", false),
        ("auth/people/users/ann", true),
        ("auth/people/users/ANN", true),
        ("auth/people/users/bob", false),
        ("auth/ldap/groups/ADMIN", false),
        ("auth/ldap/groups/Other", true),
        ("sys/policies/acl/mine", true),
        ("sys/policies/acl/MINE", true),
        ("sys/host-info", true),
        ("sys/host-info/", false),
    ] {
        let real = desk.send(&request(&token, Get, path, ""));
        assert_eq!(real.status != 403, may, "{path}: {}", real.json);
        let asked = serde_json::json!({ "token": token, "paths": [path], "path": path, "operation": "read" });
        let explained = desk.ask(Post, "sys/policies/explain", &asked.to_string()).expect(200);
        let verdict = if may { "allowed" } else { "denied" };
        assert_eq!(explained.json["data"]["verdict"], verdict, "{path}: {}", explained.json);
        let shown = desk.ask(Post, "sys/capabilities", &asked.to_string()).expect(200);
        let words = shown.json["data"][path].as_array().unwrap().clone();
        assert_eq!(words.contains(&"read".into()), may, "{path}: {words:?}");
    }
    // The rule is named as it holds, and whose it is.
    let asked =
        serde_json::json!({ "token": token, "path": "identity/entity/name/aDMIN", "operation": "read" });
    let explained = desk.ask(Post, "sys/policies/explain", &asked.to_string()).expect(200);
    assert_eq!(explained.json["data"]["rule"], "identity/entity/name/admin");
    assert_eq!(explained.json["data"]["decided_by"][0]["policy"], "p");
}

#[test]
fn a_rule_holds_with_a_slash_at_the_end_where_the_same_answers() {
    let desk = Desk::new(26);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "sys/policies/acl/mine", r#"{"policy":"path \"x\" { capabilities = [\"read\"] }"}"#)
        .expect(204);
    let all = r#"capabilities = ["create", "read", "update", "delete", "list", "sudo"]"#;
    let token = |name: &str, more: &str| {
        let body = serde_json::json!({ "policy": format!("path \"*\" {{ {all} }}\n{more}") }).to_string();
        desk.ask(Post, &format!("sys/policies/acl/{name}"), &body).expect(204);
        let wish = serde_json::json!({ "policies": [name], "no_default_policy": true }).to_string();
        desk.ask(Post, "auth/token/create", &wish).expect(200).token()
    };
    let denied = token(
        "denied",
        r#"path "sys/mounts/kv" { capabilities = ["deny"] }
           path "sys/policies/acl/+" { capabilities = ["deny"] }
           path "sys/host-info" { capabilities = ["list"] }
           path "identity/oidc/config" { capabilities = ["deny"] }
           path "kv/a" { capabilities = ["deny"] }"#,
    );
    let free = token("free", "");
    // Whoever writes the slash means it.
    let meant = token(
        "meant",
        r#"path "sys/mounts/kv" { capabilities = ["deny"] }
           path "sys/mounts/kv/" { capabilities = ["read", "sudo"] }"#,
    );
    for (verb, path) in [
        (Get, "sys/mounts/kv/"),
        (Delete, "sys/mounts/kv/"),
        (Get, "sys/policies/acl/mine/"),
        (Delete, "sys/policies/acl/mine/"),
        (Get, "sys/host-info/"),
        (Get, "identity/oidc/config/"),
    ] {
        assert_eq!(desk.ask_as(&denied, verb, path, "").status, 403, "{path}");
        assert_eq!(desk.ask_as(&denied, verb, path.trim_end_matches('/'), "").status, 403, "{path}");
        let operation = if verb == Get { "read" } else { "delete" };
        for (token, may) in [(&denied, false), (&free, true)] {
            let asked =
                serde_json::json!({ "token": token, "path": path, "operation": operation }).to_string();
            let said = desk.ask(Post, "sys/policies/explain", &asked).expect(200);
            assert_eq!(
                said.json["data"]["verdict"],
                if may { "allowed" } else { "denied" },
                "{path}: {said:?}"
            );
            let said = desk.ask(Post, "sys/capabilities", &asked).expect(200).json["data"][path].clone();
            assert_eq!(said.as_array().unwrap().contains(&operation.into()), may, "{path}: {said}");
        }
    }
    desk.ask_as(&free, Get, "sys/mounts/kv/", "").expect(200);
    desk.ask_as(&meant, Get, "sys/mounts/kv/", "").expect(200);
    desk.ask_as(&meant, Get, "sys/mounts/kv", "").expect(403);
    // A secret's path with a slash at the end is that of another thing.
    assert_ne!(desk.ask_as(&denied, Get, "kv/a/", "").status, 403);
    desk.ask(Get, "sys/policies/acl/mine", "").expect(200);
}

#[test]
fn a_listing_is_sieved_by_what_a_request_for_each_key_would_hear() {
    let desk = Desk::new(27);
    for name in ["Admin", "Ann", "bob"] {
        desk.ask(Post, &format!("identity/entity/name/{name}"), "{}").expect(200);
    }
    let policy = r#"
        path "identity/entity/name" { capabilities = ["list"] list_scan_response_keys_filter_path = "{{ .path }}{{ .key }}" }
        path "identity/entity/name/+" { capabilities = ["read"] }
        path "identity/entity/name/admin" { capabilities = ["deny"] }"#;
    let body = serde_json::json!({ "policy": policy }).to_string();
    desk.ask(Post, "sys/policies/acl/p", &body).expect(204);
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["p"]}"#).expect(200).token();
    desk.ask_as(&token, Get, "identity/entity/name/Admin", "").expect(403);
    let said = desk.ask_as(&token, List, "identity/entity/name", "").expect(200);
    let mut keys: Vec<&str> =
        said.json["data"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["Ann", "bob"]);
}

#[test]
fn the_document_of_generic_paths_has_the_operations_of_every_mount() {
    let desk = Desk::new(930);
    for kind in ["jwt", "kubernetes", "userpass"] {
        desk.ask(Post, &format!("sys/auth/{kind}"), &json!({ "type": kind }).to_string()).expect(204);
    }
    for kind in ["transit", "ssh", "totp"] {
        desk.ask(Post, &format!("sys/mounts/{kind}"), &json!({ "type": kind }).to_string()).expect(204);
    }
    let said = desk.ask(Get, "sys/internal/specs/openapi?generic_mount_paths=true", "").expect(200);
    let paths = said.json["paths"].as_object().unwrap();
    for path in [
        "/auth/{jwt_mount_path}/config",
        "/auth/{kubernetes_mount_path}/config",
        "/auth/{jwt_mount_path}/role/{name}",
        "/auth/{kubernetes_mount_path}/role/{name}",
        "/auth/{userpass_mount_path}/login/{username}",
        "/{transit_mount_path}/keys/{name}",
        "/{ssh_mount_path}/roles/{role}",
        "/{totp_mount_path}/keys/{name}",
    ] {
        assert!(paths.contains_key(path), "{path}: {:?}", paths.keys().collect::<Vec<_>>());
    }
    // OpenAPI 3.0 knows no constants, and no items that may be anything but a schema.
    let text = String::from_utf8(said.raw).unwrap();
    assert!(!text.contains(r#""const":"#) && !text.contains(r#""items":true"#));
}
