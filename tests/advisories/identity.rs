//! A, B. Identity: nobody becomes somebody else, or root, by what they are called.

use crate::stage::Stage;
use serde_json::{Value, json};
use tests::http::Client;

/// What an operator of identities may do, and no more.
const OPERATOR: &str =
    r#"path "identity/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;

/// The accessor of userpass.
fn accessor(stage: &Stage) -> String {
    stage.root.get("sys/auth").must(200).at("/data/userpass~1/accessor")
}

/// Someone who has logged in, and the entity that they are.
fn person(stage: &Stage, name: &str) -> (Client, String) {
    stage.root.post(&format!("auth/userpass/users/{name}"), json!({"password": "pw"})).must(204);
    let login = stage.anonymous().post(&format!("auth/userpass/login/{name}"), json!({"password": "pw"}));
    let login = login.must(200);
    (stage.root.with(&login.at("/auth/client_token")), login.at("/auth/entity_id"))
}

#[test]
fn row_006_one_alias_at_each_mount() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    let (_, entity) = person(&stage, "ann");
    let accessor = accessor(&stage);
    let second = json!({"name": "other", "mount_accessor": accessor, "canonical_id": entity});
    stage.root.post("identity/entity-alias", second).must(400);
    // A merge leaves one of two, too.
    let (_, other) = person(&stage, "eve");
    let merge = json!({"to_entity_id": entity, "from_entity_ids": [other]});
    stage.root.post("identity/entity/merge", merge).must(400);
    let shown = stage.root.get(&format!("identity/entity/id/{entity}")).must(200).json();
    assert_eq!(shown["data"]["aliases"].as_array().unwrap().len(), 1);
}

#[test]
fn row_019_a_batch_is_judged_as_one_door_and_is_all_or_nothing() {
    let stage = Stage::dev();
    let id = stage.root.post("identity/entity", json!({"name": "victim"})).must(200).at("/data/id");
    let caller = stage.caller(r#"path "identity/entity/id/*" { capabilities = ["read"] }"#);
    caller.delete(&format!("identity/entity/id/{id}")).must(403);
    caller.post("identity/entity/batch-delete", json!({"entity_ids": [id]})).must(403);
    stage.root.get(&format!("identity/entity/id/{id}")).must(200);
}

#[test]
fn row_023_and_025_nobody_becomes_root_by_identity() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.policy("operator", OPERATOR);
    let (own, entity) = person(&stage, "ann");
    stage.root.post(&format!("identity/entity/id/{entity}"), json!({"policies": ["operator"]})).must(204);
    let group = own
        .post("identity/group", json!({"name": "g", "member_entity_ids": [entity]}))
        .must(200)
        .at("/data/id");
    let other = own.post("identity/entity", json!({"name": "other"})).must(200).at("/data/id");
    for name in ["root", "ROOT", "Root", " root", "root ", "\troot", "root\n", "\u{a0}root"] {
        for path in [
            "identity/entity".to_owned(),
            "identity/entity/name/someone".to_owned(),
            format!("identity/entity/id/{other}"),
            "identity/group".to_owned(),
            format!("identity/group/id/{group}"),
        ] {
            let reply = own.post(&path, json!({"policies": ["operator", name]}));
            let reply = reply.must(400);
            assert!(reply.errors().contains("policies cannot contain root"), "{path} {name:?}: {reply}");
        }
    }
    // What only looks like it is another policy, which grants nothing.
    for name in ["ｒｏｏｔ", "r\u{43e}ot"] {
        own.post(&format!("identity/group/id/{group}"), json!({"policies": [name]})).must(204);
        own.get("sys/policies/acl/operator").must(403);
    }
    let alias =
        json!({"name": "x", "mount_accessor": accessor(&stage), "custom_metadata": {"policies": "root"}});
    own.post("identity/entity-alias", alias).must(200);
    let policies = own.get("auth/token/lookup-self").must(200).json();
    assert!(!policies["data"]["identity_policies"].as_array().unwrap().contains(&json!("root")));
    own.get("sys/mounts").must(403);
}

#[test]
fn row_045_an_alias_is_not_turned_into_another() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    let (_, victim) = person(&stage, "victim");
    let (_, attacker) = person(&stage, "attacker");
    let read = |id: &str| stage.root.get(&format!("identity/entity/id/{id}")).must(200).json()["data"].take();
    let (before, own) = (read(&victim), read(&attacker));
    let alias = own["aliases"][0]["id"].as_str().unwrap();
    let caller =
        stage.caller(&format!(r#"path "identity/entity-alias/id/{alias}" {{ capabilities = ["update"] }}"#));
    let accessor = accessor(&stage);
    let attempts: [Value; 5] = [
        json!({"canonical_id": victim}),
        json!({"entity_id": victim}),
        json!({"name": "victim"}),
        json!({"name": "VICTIM", "mount_accessor": accessor}),
        json!({"name": "victim", "mount_accessor": accessor, "canonical_id": victim}),
    ];
    for attempt in attempts {
        caller.post(&format!("identity/entity-alias/id/{alias}"), attempt).must(400);
    }
    assert_eq!((read(&victim), read(&attacker)), (before, own));
}

#[test]
fn row_046_a_login_changes_its_own_alias_alone() {
    let stage = Stage::dev();
    let mut accessors = Vec::new();
    for mount in ["one", "two"] {
        stage.root.post(&format!("sys/auth/{mount}"), json!({"type": "approle"})).must(204);
        let role = json!({"role_id": "x", "token_policies": ["own"]});
        stage.root.post(&format!("auth/{mount}/role/r"), role).must(204);
        accessors.push(stage.root.get("sys/auth").must(200).at(&format!("/data/{mount}~1/accessor")));
    }
    let log_in = |mount: &str| {
        let metadata = json!({"metadata": format!("{{\"m\":\"{mount}\"}}")});
        let secret = stage.root.post(&format!("auth/{mount}/role/r/secret-id"), metadata).must(200);
        let body = json!({"role_id": "x", "secret_id": secret.at("/data/secret_id")});
        stage.anonymous().post(&format!("auth/{mount}/login"), body).must(200)
    };
    let entity = log_in("one").at("/auth/entity_id");
    let alias = json!({"name": "x", "mount_accessor": accessors[1], "canonical_id": entity});
    stage.root.post("identity/entity-alias", alias).must(200);
    let login = log_in("two");
    assert_eq!(login.at("/auth/entity_id"), entity);
    let shown = stage.root.get(&format!("identity/entity/id/{entity}")).must(200).json();
    for alias in shown["data"]["aliases"].as_array().unwrap() {
        let expect = if alias["mount_accessor"] == accessors[0].as_str() { "one" } else { "two" };
        assert_eq!(alias["metadata"]["m"], expect, "{alias}");
    }
    let policy = format!(
        "path \"secret/data/{{{{identity.entity.aliases.{}.metadata.m}}}}\" {{ capabilities = [\"read\"] }}",
        accessors[1]
    );
    stage.policy("own", &policy);
    let caller = stage.root.with(&login.at("/auth/client_token"));
    for (name, status) in [("two", 200), ("one", 403)] {
        stage.root.post(&format!("secret/data/{name}"), json!({"data": {"a": "b"}})).must(200);
        caller.get(&format!("secret/data/{name}")).must(status);
    }
}

#[test]
fn row_047_who_has_left_a_group_has_left_its_rights() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.policy("of-group", r#"path "kv/*" { capabilities = ["read"] }"#);
    stage.root.post("kv/a", json!({"a": "b"})).must(204);
    let (ann, entity) = person(&stage, "ann");
    let group = |body: Value| stage.root.post("identity/group", body).must_be_any(&[200, 204]);
    let may = |status: u16| drop(ann.get("kv/a").must(status));
    let inner = group(json!({"name": "inner", "member_entity_ids": [entity]})).at("/data/id");
    may(403);
    group(json!({"name": "outer", "policies": ["of-group"], "member_group_ids": [inner]}));
    may(200);
    group(json!({"name": "inner", "member_entity_ids": []}));
    may(403);
    group(json!({"name": "inner", "member_entity_ids": [entity]}));
    may(200);
    group(json!({"name": "outer", "policies": ["of-group"], "member_group_ids": []}));
    may(403);
    group(json!({"name": "outer", "policies": ["of-group"], "member_entity_ids": [entity]}));
    may(200);
    stage.root.delete("identity/group/name/outer").must(204);
    may(403);
    // A group whose members are those of a mount: it is the login that says who is in it, and the group that is gone.
    let outside =
        group(json!({"name": "outside", "type": "external", "policies": ["of-group"]})).at("/data/id");
    let alias = json!({"name": "anns", "mount_accessor": accessor(&stage), "canonical_id": outside});
    stage.root.post("identity/group-alias", alias).must(200);
    may(403);
}
