//! C. Out of a namespace: into the one that holds it, or the one beside it.

use crate::stage::Stage;
use serde_json::{Value, json};
use tests::http::{Client, Reply, Request};

/// Asks in a namespace that the header names.
fn within(client: &Client, namespace: &str, verb: &str, path: &str, body: &Value) -> Reply {
    let mut request = Request::new(verb, &format!("/v1/{path}")).header("X-Vault-Namespace", namespace);
    if !body.is_null() {
        request = request.json(body);
    }
    if verb == "PATCH" {
        request = request.header("Content-Type", "application/merge-patch+json");
    }
    client.send(&request)
}

/// A namespace with `kv/a` in it, and the client of one who may do everything there.
fn team(stage: &Stage, name: &str) -> Client {
    stage.root.post(&format!("sys/namespaces/{name}"), json!({})).must(200);
    let everything =
        r#"path "*" { capabilities = ["create","read","update","patch","delete","list","scan","sudo"] }"#;
    let root = |path: &str, body: &Value| within(&stage.root, name, "POST", path, body);
    root("sys/policies/acl/admin", &json!({"policy": everything})).must(204);
    root("sys/mounts/kv", &json!({"type": "kv"})).must(204);
    root("kv/a", &json!({"of": name})).must(204);
    let made = root("auth/token/create", &json!({"policies": ["admin"]})).must(200);
    stage.root.with(&made.at("/auth/client_token"))
}

#[test]
fn row_027_the_name_root_does_not_mean_the_namespace_itself() {
    let stage = Stage::dev();
    let admin = team(&stage, "t1");
    let before = stage.root.get("sys/namespaces/t1").must(200).at("/data/uuid");
    for name in ["root", "root/", "%72oot", "", "ROOT", "r%6fot/"] {
        let path = format!("sys/namespaces/{name}");
        within(&admin, "t1", "DELETE", &path, &Value::Null).must_be_any(&[200, 400, 404, 405]);
        within(&admin, "t1", "PATCH", &path, &json!({"custom_metadata": {"a": "b"}}))
            .must_be_any(&[400, 404, 405]);
        let lock = format!("sys/namespaces/api-lock/lock/{}", name.trim_end_matches('/'));
        if !name.is_empty() {
            within(&admin, "t1", "PUT", &lock, &Value::Null).must_be_any(&[400, 404]);
        }
    }
    for name in ["root", "%72oot"] {
        within(&admin, "t1", "POST", &format!("sys/namespaces/{name}"), &json!({})).must(400);
    }
    for header in ["t1/root", "root/t1", "t1/..", "t1/../", "../", "t1/."] {
        within(&admin, header, "GET", "sys/namespaces/t1", &Value::Null).must_be_any(&[400, 404]);
    }
    let after = stage.root.get("sys/namespaces/t1").must(200);
    assert_eq!((after.at("/data/uuid"), after.json()["data"]["locked"].clone()), (before, json!(false)));
    within(&admin, "t1", "GET", "kv/a", &Value::Null).must(200);
}

#[test]
fn row_031_a_policy_of_another_namespace_is_another_policy() {
    let stage = Stage::dev();
    let (a, b) = (team(&stage, "a"), team(&stage, "b"));
    let policy = |client: &Client, namespace: &str, path: &str| {
        let text = format!("path \"{path}\" {{ capabilities = [\"read\"] }}");
        within(client, namespace, "POST", "sys/policies/acl/p", &json!({"policy": text})).must(204);
    };
    policy(&a, "a", "*");
    policy(&b, "b", "kv/narrow");
    let token = |admin: &Client, namespace: &str, policies: Value| {
        let body = json!({"policies": policies, "no_default_policy": true});
        let made = within(admin, namespace, "POST", "auth/token/create", &body).must(200);
        stage.root.with(&made.at("/auth/client_token"))
    };
    let (wide, narrow) = (token(&a, "a", json!(["p"])), token(&b, "b", json!(["p"])));
    for _ in 0..200 {
        within(&wide, "a", "GET", "kv/a", &Value::Null).must(200);
        within(&narrow, "b", "GET", "kv/a", &Value::Null).must(403);
    }
    for name in ["a/p", "../a/p", "/a/p", "a\\p", "a%2fp"] {
        let body = json!({"policies": [name], "no_default_policy": true});
        let made = within(&b, "b", "POST", "auth/token/create", &body).must_be_any(&[200, 400]);
        if made.status == 200 {
            let odd = stage.root.with(&made.at("/auth/client_token"));
            for namespace in ["a", "b"] {
                within(&odd, namespace, "GET", "kv/a", &Value::Null).must(403);
            }
        }
    }
}

#[test]
fn row_033_leases_of_another_namespace_are_out_of_reach() {
    let stage = Stage::dev();
    let (a, b) = (team(&stage, "a"), team(&stage, "b"));
    let listed = within(&a, "a", "LIST", "sys/leases/lookup/auth/token/create", &Value::Null).must(200);
    let leaf = listed.at("/data/keys/0");
    let full = format!("auth/token/create/{leaf}");
    let bare = full.rsplit_once('.').unwrap().0.to_owned();
    for id in [full.clone(), bare.clone(), format!("a/{full}"), format!("a/{bare}"), format!("../a/{bare}")] {
        let body = json!({"lease_id": id});
        for namespace in ["b", ""] {
            within(&b, namespace, "POST", "sys/leases/lookup", &body).must_be_any(&[400, 403]);
            within(&b, namespace, "POST", "sys/leases/renew", &body).must_be_any(&[400, 403]);
            within(&b, namespace, "POST", "sys/leases/revoke", &body).must_be_any(&[204, 400, 403]);
            for way in ["revoke-prefix", "revoke-force"] {
                within(&b, namespace, "POST", &format!("sys/leases/{way}/{id}"), &json!({}))
                    .must_be_any(&[204, 307, 400, 403]);
            }
        }
        b.post("a/sys/leases/revoke", body).must(403);
    }
    within(&b, "b", "POST", "sys/leases/revoke-prefix/auth", &json!({})).must(204);
    within(&a, "a", "GET", "kv/a", &Value::Null).must(200);
}

#[test]
fn row_034_an_accessor_of_another_namespace_opens_nothing() {
    let stage = Stage::dev();
    let (a, b) = (team(&stage, "a"), team(&stage, "b"));
    let own = within(&a, "a", "GET", "auth/token/lookup-self", &Value::Null).must(200);
    let accessor = own.at("/data/accessor");
    let bare = accessor.split_once('.').unwrap().0;
    let suffix =
        within(&b, "b", "GET", "auth/token/lookup-self", &Value::Null).must(200).at("/data/accessor");
    let borrowed = format!("{bare}.{}", suffix.split_once('.').unwrap().1);
    for accessor in [&accessor, bare, &borrowed] {
        let body = json!({"accessor": accessor, "paths": ["kv/a"]});
        for way in ["lookup", "renew", "revoke"] {
            let path = format!("auth/token/{way}-accessor");
            // An accessor that is none is nothing to revoke, which is answered with a warning.
            within(&b, "b", "POST", &path, &body).must_be_any(&[200, 400, 500]);
            within(&b, "a", "POST", &path, &body).must(403);
        }
        within(&b, "b", "POST", "sys/capabilities-accessor", &body).must_be_any(&[400, 500]);
    }
    let now = within(&a, "a", "GET", "auth/token/lookup-self", &Value::Null).must(200);
    assert_eq!(now.at("/data/expire_time"), own.at("/data/expire_time"));
}

#[test]
fn row_037_a_policy_made_earlier_reaches_a_new_namespace_only_by_its_name() {
    let stage = Stage::dev();
    let early = stage.caller(r#"path "secret/*" { capabilities = ["read"] } path "kv/*" { capabilities = ["read"] } path "foo" { capabilities = ["read"] }"#);
    let named = stage.token(json!({"policies": ["named"]}));
    stage.policy("named", r#"path "foo/kv/*" { capabilities = ["read"] }"#);
    team(&stage, "foo");
    within(&early, "foo", "GET", "kv/a", &Value::Null).must(403);
    early.get("foo/kv/a").must(403);
    within(&named, "foo", "GET", "kv/a", &Value::Null).must(200);
}

#[test]
fn row_038_a_deny_in_one_namespace_is_no_deny_elsewhere() {
    let stage = Stage::dev();
    team(&stage, "a");
    team(&stage, "b");
    let deny = json!({"policy": r#"path "kv/*" { capabilities = ["deny"] }"#});
    within(&stage.root, "a", "POST", "sys/policies/acl/default", &deny).must(204);
    let reads = json!({"policy": r#"path "kv/*" { capabilities = ["read"] }"#});
    for (namespace, status) in [("a", 403), ("b", 200)] {
        within(&stage.root, namespace, "POST", "sys/policies/acl/reads", &reads).must(204);
        let body = json!({"policies": ["reads"]});
        let made = within(&stage.root, namespace, "POST", "auth/token/create", &body).must(200);
        let client = stage.root.with(&made.at("/auth/client_token"));
        within(&client, namespace, "GET", "kv/a", &Value::Null).must(status);
    }
    stage.root.post("kv/a", json!({"a": 1})).must(204);
    stage.caller(r#"path "kv/*" { capabilities = ["read"] }"#).get("kv/a").must(200);
}

#[test]
fn row_041_a_deleted_namespace_leaves_no_token_and_no_login() {
    let stage = Stage::dev();
    let admin = team(&stage, "gone");
    let up = json!({"type": "userpass"});
    within(&admin, "gone", "POST", "sys/auth/up", &up).must(204);
    let user = json!({"password": "pw", "token_policies": "admin"});
    within(&admin, "gone", "POST", "auth/up/users/ann", &user).must(204);
    let login =
        || within(&stage.anonymous(), "gone", "POST", "auth/up/login/ann", &json!({"password": "pw"}));
    let ann = stage.root.with(&login().must(200).at("/auth/client_token"));
    let batch = json!({"policies": ["admin"], "type": "batch"});
    let batch =
        within(&admin, "gone", "POST", "auth/token/create", &batch).must(200).at("/auth/client_token");
    let batch = stage.root.with(&batch);
    stage.root.delete("sys/namespaces/gone").must(200);
    team(&stage, "gone");
    for client in [&admin, &ann, &batch] {
        within(client, "gone", "GET", "kv/a", &Value::Null).must(403);
        client.get("auth/token/lookup-self").must(403);
        client.post("auth/token/renew-self", json!({})).must(403);
    }
    login().must(403);
}

#[test]
fn row_043_no_name_and_no_race_ends_the_server() {
    let stage = Stage::dev();
    let long = "n".repeat(3000);
    for name in [
        ".",
        "..",
        "%2e%2e",
        "%00",
        "%0a",
        "%E2%80%8B",
        "a%2Fb",
        "a%2F..%2Fb",
        "%20",
        "%C3%A9",
        "a;b",
        "{a}",
        "a%25b",
        "-",
        "~",
        "sys",
        "auth",
        "root",
        "x%22y",
        "%F0%9F%98%80",
        &long,
        &long[..512],
    ] {
        let reply = stage.root.call("POST", &format!("sys/namespaces/{name}"));
        assert!(reply.status < 500, "{name}: {reply}");
        let reply = stage.root.call("DELETE", &format!("sys/namespaces/{name}"));
        assert!(reply.status < 500, "{name}: {reply}");
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let made = stage.root.post("sys/namespaces/race", json!({}));
                    assert!(made.status == 200 || made.status == 400, "{made}");
                    let gone = stage.root.delete("sys/namespaces/race");
                    assert!(gone.status == 200, "{gone}");
                }
            });
        }
    });
    stage.lives();
}

#[test]
fn also_a_namespace_does_not_operate_the_server() {
    let stage = Stage::dev();
    let admin = team(&stage, "a");
    for (verb, path) in [
        ("GET", "sys/audit"),
        ("POST", "sys/audit/x"),
        ("GET", "sys/config/state/sanitized"),
        ("GET", "sys/config/auditing/request-headers"),
        ("GET", "sys/host-info"),
        ("POST", "sys/seal"),
        ("POST", "sys/step-down"),
        ("POST", "sys/rotate"),
        ("GET", "sys/key-status"),
        ("POST", "sys/rotate/root/init"),
        ("POST", "sys/rekey/init"),
        ("POST", "sys/generate-root/attempt"),
        ("GET", "sys/metrics"),
        ("GET", "sys/raw/core"),
        ("GET", "sys/storage/raft/configuration"),
    ] {
        for client in [&admin, &stage.root] {
            // 405: the door for holders of shares is closed, here as everywhere.
            within(client, "a", verb, path, &json!({})).must_be_any(&[400, 405]);
            client.send(&Request::new(verb, &format!("/v1/a/{path}"))).must_be_any(&[400, 405]);
        }
    }
    stage.lives();
}

#[test]
fn also_namespaces_that_may_not_be_seen_are_not_listed() {
    let stage = Stage::dev();
    let a = team(&stage, "a");
    team(&stage, "b");
    assert_eq!(a.get("sys/internal/ui/namespaces").must(200).json()["data"]["keys"], json!(["a/"]));
    let nobody = stage.token(json!({"policies": ["nothing"]}));
    assert_eq!(nobody.get("sys/internal/ui/namespaces").must(200).json()["data"], json!({}));
    stage.anonymous().get("sys/internal/ui/namespaces").must(500);
}

#[test]
fn row_035_a_batch_deletes_nobody_of_another_namespace() {
    let stage = Stage::dev();
    team(&stage, "a");
    let eve = team(&stage, "b");
    let entity = |namespace: &str, name: &str| {
        let made = within(&stage.root, namespace, "POST", "identity/entity", &json!({"name": name}));
        made.must(200).at("/data/id")
    };
    let (victim, other, own) = (
        entity("a", "victim"),
        stage.root.post("identity/entity", json!({"name": "root's"})),
        entity("b", "own"),
    );
    let other = other.must(200).at("/data/id");
    for ids in [json!([victim]), json!([other]), json!([own, victim, other])] {
        let body = json!({"entity_ids": ids});
        within(&eve, "b", "POST", "identity/entity/batch-delete", &body).must_be_any(&[204, 400, 404]);
    }
    within(&stage.root, "a", "GET", &format!("identity/entity/id/{victim}"), &Value::Null).must(200);
    stage.root.get(&format!("identity/entity/id/{other}")).must(200);
}

#[test]
fn row_039_what_binds_a_person_in_one_namespace_binds_nobody_in_another() {
    let stage = Stage::dev();
    let mut callers = Vec::new();
    for namespace in ["a", "b"] {
        team(&stage, namespace);
        let root = |path: &str, body: &Value| within(&stage.root, namespace, "POST", path, body);
        root("sys/auth/userpass", &json!({"type": "userpass"})).must(204);
        let reads = json!({"policy": r#"path "kv/*" { capabilities = ["read"] }"#});
        root("sys/policies/acl/reads", &reads).must(204);
        root("auth/userpass/users/ann", &json!({"password": "pw", "token_policies": "reads"})).must(204);
        let login = root("auth/userpass/login/ann", &json!({"password": "pw"})).must(200);
        callers.push((
            namespace,
            stage.root.with(&login.at("/auth/client_token")),
            login.at("/auth/entity_id"),
        ));
    }
    let deny = json!({"policy": r#"path "kv/*" { capabilities = ["deny"] }"#});
    within(&stage.root, "a", "POST", "sys/policies/acl/none", &deny).must(204);
    let bind = format!("identity/entity/id/{}", callers[0].2);
    within(&stage.root, "a", "POST", &bind, &json!({"policies": ["none"]})).must_be_any(&[200, 204]);
    for ((namespace, caller, _), status) in callers.iter().zip([403, 200]) {
        within(caller, namespace, "GET", "kv/a", &Value::Null).must(status);
    }
}

/// A proxy that confines its clients to a namespace puts its header in front of theirs.
#[test]
fn also_of_two_namespaces_the_first_is_asked() {
    let stage = Stage::dev();
    team(&stage, "t9");
    let ask = |first: &str, second: &str| {
        let request = Request::new("GET", "/v1/kv/a").header("X-Vault-Namespace", first);
        stage.root.send(&request.header("X-Vault-Namespace", second))
    };
    ask("t9", "nowhere").must(200);
    ask("nowhere", "t9").must(404);
}
