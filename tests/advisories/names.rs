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

/// Who may do anything with what is called otherwise, and nothing with what is called `admin`, `Admin` or `admins`.
const ALL_BUT_ADMIN: &str = r#"
    path "identity/+/name/*" { capabilities = ["create", "read", "update", "delete"] }
    path "identity/entity/name/admin" { capabilities = ["deny"] }
    path "identity/group/name/Admin" { capabilities = ["deny"] }
    path "identity/mfa/login-enforcement/*" { capabilities = ["create", "read", "update", "delete"] }
    path "identity/mfa/login-enforcement/admin" { capabilities = ["deny"] }
    path "auth/ldap/*" { capabilities = ["create", "read", "update", "delete"] }
    path "auth/ldap/groups/admin" { capabilities = ["deny"] }
    path "auth/ldap/users/ADMIN" { capabilities = ["deny"] }
    path "auth/approle/role/*" { capabilities = ["create", "read", "update", "delete"] }
    path "auth/approle/role/Admin" { capabilities = ["deny"] }"#;

#[test]
fn row_026_a_deny_holds_for_every_spelling_of_who_one_is() {
    let stage = Stage::dev();
    stage.root.post("sys/auth/ldap", json!({"type": "ldap"})).must(204);
    stage.root.post("auth/ldap/config", json!({"url": "ldap://127.0.0.1:1"})).must(204);
    stage.userpass(json!({}));
    stage.approle("admin", json!({"token_policies": ["before"]}));
    let method = stage.root.post("identity/mfa/method/totp", json!({"issuer": "i"})).must(200);
    let enforce =
        json!({"mfa_method_ids": [method.at("/data/method_id")], "auth_method_types": ["userpass"]});
    let places = [
        ("identity/entity/name", "Admin"),
        ("identity/group/name", "Admin"),
        ("identity/mfa/login-enforcement", "admin"),
        ("auth/ldap/groups", "admin"),
        ("auth/ldap/users", "admin"),
        ("auth/approle/role", "admin"),
    ];
    let body = |place: &str, policy: &str| match place {
        "identity/mfa/login-enforcement" => enforce.clone(),
        "auth/approle/role" => json!({"token_policies": [policy]}),
        _ => json!({"policies": [policy]}),
    };
    for (place, name) in places {
        stage.root.post(&format!("{place}/{name}"), body(place, "before")).must_be_any(&[200, 204]);
    }
    let caller = stage.caller(ALL_BUT_ADMIN);
    for (place, name) in places {
        // Another name is another matter.
        caller.post(&format!("{place}/other"), body(place, "before")).must_be_any(&[200, 204]);
        let before = stage.root.get(&format!("{place}/{name}")).must(200);
        for spelling in SPELLINGS.into_iter().chain(["Admin", "admin", "%EF%BC%A1dmin"]) {
            let path = format!("{place}/{spelling}");
            caller.send(&raw("POST", &path).json(&body(place, "taken")));
            caller.send(&raw("DELETE", &path));
        }
        let after = stage.root.get(&format!("{place}/{name}")).must(200);
        assert_eq!(after.json()["data"], before.json()["data"], "{place}");
    }
}

#[test]
fn row_026_an_allow_holds_for_every_spelling_too() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.root.post("identity/entity/name/Ann", json!({"policies": ["p"]})).must(200);
    let caller = stage.caller(
        r#"path "identity/entity/name/Ann" { capabilities = ["read"] }
           path "auth/userpass/users/A*" { capabilities = ["update"] }"#,
    );
    for name in ["Ann", "ann", "ANN"] {
        let entity = caller.get(&format!("identity/entity/name/{name}")).must(200);
        assert_eq!(entity.at("/data/name"), "Ann");
        caller.get(&format!("identity/entity/name/{name}x")).must(403);
        let path = format!("auth/userpass/users/{name}");
        caller.post(&path, json!({"password": "correct-password"})).must_be_any(&[204, 403]);
    }
    // What a name is in one place, it is not in another.
    caller.get("identity/Entity/name/Ann").must(403);
    stage.root.post("auth/userpass/users/Ann", json!({"password": "correct-password"})).must(204);
    caller.post("auth/userpass/users/aNN", json!({"password": "correct-password"})).must(204);
    caller.post("auth/userpass/users/Bob", json!({"password": "correct-password"})).must(403);
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
