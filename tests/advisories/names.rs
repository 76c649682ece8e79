//! B. One name, one spelling: what is judged is what is acted on.

use crate::stage::{Stage, raw};
use serde_json::json;

const SPELLINGS: [&str; 8] =
    ["AdMiN", "ADMIN", "%41dmin", "admin%20", "%20admin", "admin%09", "./admin", "x/../admin"];

#[test]
fn row_023_no_spelling_of_root_is_a_way_to_it() {
    let stage = Stage::dev();
    let creator = stage.caller(r#"path "auth/token/create" { capabilities = ["update", "sudo"] }"#);
    for name in [
        "root",
        "ROOT",
        "Root",
        " root",
        "root ",
        "\troot",
        "root\u{0}",
        "ｒｏｏｔ",
        "rооt",
        "root\n",
        "root/",
        "./root",
    ] {
        let reply = creator.post("auth/token/create", json!({"policies": [name]}));
        if reply.status == 200 {
            let policies = reply.json()["auth"]["policies"].clone();
            assert!(!policies.as_array().unwrap().contains(&json!("root")), "{name:?} gave {policies}");
            stage.root.with(&reply.at("/auth/client_token")).get("sys/mounts").must_be_any(&[400, 403, 500]);
        } else {
            reply.must(400);
        }
    }
}

#[test]
fn row_025_no_login_ends_as_root() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.approle("web", json!({}));
    let operator = stage.caller(
        r#"path "auth/userpass/users/*" { capabilities = ["create", "update"] }
           path "auth/approle/role/*" { capabilities = ["create", "update", "read"] }
           path "auth/token/roles/*" { capabilities = ["create", "update"] }
           path "auth/token/create/*" { capabilities = ["update", "sudo"] }"#,
    );
    for name in ["root", "ROOT", " Root "] {
        operator.post("auth/userpass/users/eve", json!({"password": "pw-of-eve", "token_policies": [name]}));
        let login = stage.anonymous().post("auth/userpass/login/eve", json!({"password": "pw-of-eve"}));
        assert!(!login.text().contains("\"root\""), "{name:?}: {login}");
        operator.post("auth/approle/role/eve", json!({"token_policies": [name], "role_id": "eve"}));
        let secret = operator.post("auth/approle/role/eve/secret-id", json!({}));
        let secret = secret.json()["data"]["secret_id"].clone();
        let login =
            stage.anonymous().post("auth/approle/login", json!({"role_id": "eve", "secret_id": secret}));
        assert!(!login.text().contains("\"root\""), "{name:?}: {login}");
        operator.post("auth/token/roles/eve", json!({"allowed_policies": [name]}));
        let made = operator.post("auth/token/create/eve", json!({"policies": [name]}));
        assert!(made.status != 200 || !made.text().contains("\"root\""), "{name:?}: {made}");
    }
    operator.get("sys/raw/core/mounts").must(403);
}

#[test]
fn row_026_a_deny_holds_for_every_spelling() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.approle("admin", json!({"token_policies": ["before"]}));
    let admin = json!({"password": "old-password", "token_policies": ["before"]});
    stage.root.post("auth/userpass/users/admin", admin).must(204);
    stage.policy("admin", "path \"before/*\" { capabilities = [\"read\"] }");
    stage.pki(json!({"allow_any_name": true}));
    stage.root.post("pki/roles/admin", json!({"max_ttl": "1h"})).must(200);
    let caller = stage.caller(
        r#"path "auth/userpass/users/*" { capabilities = ["create", "read", "update", "delete"] }
           path "auth/userpass/users/admin" { capabilities = ["deny"] }
           path "auth/userpass/users/admin/*" { capabilities = ["deny"] }
           path "auth/approle/role/*" { capabilities = ["create", "read", "update", "delete"] }
           path "auth/approle/role/admin" { capabilities = ["deny"] }
           path "auth/approle/role/admin/*" { capabilities = ["deny"] }
           path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete"] }
           path "sys/policies/acl/admin" { capabilities = ["deny"] }
           path "sys/policy/*" { capabilities = ["create", "read", "update", "delete"] }
           path "sys/policy/admin" { capabilities = ["deny"] }
           path "pki/roles/*" { capabilities = ["create", "read", "update", "delete"] }
           path "pki/roles/admin" { capabilities = ["deny"] }"#,
    );
    let attack = |path: &str, body: &serde_json::Value| {
        for verb in ["POST", "DELETE"] {
            let mut request = raw(verb, path);
            if verb == "POST" {
                request = request.json(body);
            }
            caller.send(&request);
        }
    };
    for name in SPELLINGS {
        let taken = json!({"password": "taken-password", "token_policies": ["taken"]});
        attack(&format!("auth/userpass/users/{name}"), &taken);
        attack(&format!("auth/userpass/users/{name}/password"), &taken);
        attack(&format!("auth/userpass/users/{name}/policies"), &taken);
        attack(&format!("auth/approle/role/{name}"), &json!({"token_policies": ["taken"]}));
        attack(&format!("auth/approle/role/{name}/policies"), &json!({"token_policies": ["taken"]}));
        attack(
            &format!("sys/policies/acl/{name}"),
            &json!({"policy": "path \"taken/*\" { capabilities = [\"read\"] }"}),
        );
        attack(
            &format!("sys/policy/{name}"),
            &json!({"policy": "path \"taken/*\" { capabilities = [\"read\"] }"}),
        );
        attack(&format!("pki/roles/{name}"), &json!({"max_ttl": "99h"}));
    }
    let login =
        stage.anonymous().post("auth/userpass/login/admin", json!({"password": "old-password"})).must(200);
    assert!(login.text().contains("before") && !login.text().contains("taken"), "{login}");
    let role = stage.root.get("auth/approle/role/admin").must(200);
    assert!(role.text().contains("before") && !role.text().contains("taken"), "{role}");
    assert!(stage.root.get("sys/policies/acl/admin").must(200).text().contains("before"));
    assert_eq!(stage.root.get("pki/roles/admin").must(200).at("/data/max_ttl"), "3600");
}

#[test]
fn row_030_one_person_is_one_entity_however_spelled() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    let login = |name: &str| {
        stage.anonymous().send(
            &raw("POST", &format!("auth/userpass/login/{name}"))
                .json(&json!({"password": "correct-password"})),
        )
    };
    let entity = login("bob").must(200).at("/auth/entity_id");
    for name in ["BOB", "Bob", "%62ob", "bob%20", "%20bob", "bob%09", "b%6Fb"] {
        let reply = login(name);
        assert!(
            reply.status != 200 || reply.at("/auth/entity_id") == entity,
            "{name} is someone else: {reply}"
        );
    }
}

#[test]
fn row_037_a_wildcard_segment_is_one_segment() {
    let stage = Stage::dev();
    stage.root.post("kv/a/data/x", json!({"x": 1})).must(204);
    let caller = stage.caller(r#"path "+/data/*" { capabilities = ["read"] }"#);
    caller.get("kv/a/data/x").must(403);
    caller.send(&raw("GET", "kv%2fa/data/x")).must_be_any(&[301, 307, 400, 403, 404]);
}
