//! Whoever writes to the same thing at the same time as others loses nothing: it comes to what it comes to one after another.

use std::thread;

use kernel::Handled;
use kit::Verb::{Get, Post};
use serde_json::{Value, json};
use tests::desk::{Desk, request};

/// How often each race is run.
const ROUNDS: usize = 4;

fn desk(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    for kind in ["userpass", "approle", "jwt", "kubernetes", "ldap"] {
        desk.ask(Post, &format!("sys/auth/{kind}"), &json!({ "type": kind }).to_string()).expect(204);
    }
    for kind in ["transit", "totp"] {
        desk.ask(Post, &format!("sys/mounts/{kind}"), &json!({ "type": kind }).to_string()).expect(204);
    }
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv","options":{"version":"2"}}"#).expect(204);
    desk
}

fn write(desk: &Desk, path: &str, body: &Value) {
    let said = desk.ask(Post, path, &body.to_string());
    assert!(matches!(said.status, 200 | 204), "{path}: {said:?}");
}

/// Writes all of them at once.
fn at_once(desk: &Desk, path: &str, bodies: &[Value]) {
    let statuses: Vec<u16> = thread::scope(|scope| {
        let write = |body: &Value| desk.ask(Post, path, &body.to_string()).status;
        let threads: Vec<_> = bodies.iter().map(|body| scope.spawn(move || write(body))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 204)), "{path}: {statuses:?}");
}

/// What a path shows, without what is another's by nature.
fn shown(desk: &Desk, path: &str) -> Value {
    let mut data = desk.ask(Get, path, "").expect(200).json["data"].clone();
    let own = ["role_id", "client_id", "client_secret", "keys", "name", "id"];
    let when = ["created_time", "updated_time", "creation_time", "last_update_time", "modify_index"];
    for own in own.into_iter().chain(when) {
        data.as_object_mut().unwrap().remove(own);
    }
    data
}

/// A field each, written at once and one after another, must come to the same.
#[track_caller]
fn check(desk: &Desk, path: &str, base: &Value, parts: &[Value]) {
    let one = format!("{path}/one");
    write(desk, &one, base);
    let untouched = shown(desk, &one);
    for part in parts {
        write(desk, &one, part);
    }
    let expected = shown(desk, &one);
    let told = |data: &Value| data.as_object().unwrap().len();
    assert!(told(&expected) >= parts.len() && expected != untouched, "{path}: nothing shows of it");
    for round in 0..ROUNDS {
        let other = format!("{path}/n{round}");
        write(desk, &other, base);
        at_once(desk, &other, parts);
        assert_eq!(shown(desk, &other), expected, "{path}");
    }
}

#[test]
fn roles_of_logins_keep_what_each_has_written() {
    let desk = desk(110);
    let token = [
        json!({"token_ttl": "1h"}),
        json!({"token_policies": ["a", "b"]}),
        json!({"token_num_uses": 7}),
        json!({"token_bound_cidrs": "10.0.0.0/8"}),
        json!({"token_explicit_max_ttl": "9h"}),
        json!({"token_no_default_policy": true}),
    ];
    let account = json!({"bound_service_account_names": "sa", "bound_service_account_namespaces": "ns"});
    let claims = json!({"role_type": "jwt", "bound_audiences": "a", "user_claim": "sub"});
    check(&desk, "auth/userpass/users", &json!({"password": "pw"}), &token);
    check(&desk, "auth/approle/role", &json!({}), &token);
    check(
        &desk,
        "auth/approle/role",
        &json!({}),
        &[json!({"secret_id_ttl": "1h"}), json!({"secret_id_num_uses": 3})],
    );
    // A role of this method says in every write what kind it is.
    let of_jwt = |part: &Value| {
        let mut whole = claims.clone();
        whole.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        whole
    };
    check(&desk, "auth/jwt/role", &claims, &token.each_ref().map(of_jwt));
    check(&desk, "auth/kubernetes/role", &account, &token);
    check(
        &desk,
        "auth/token/roles",
        &json!({}),
        &[json!({"orphan": true}), json!({"allowed_policies": "p"}), json!({"path_suffix": "there"})],
    );
}

#[test]
fn identity_keeps_what_each_has_written() {
    let desk = desk(111);
    check(
        &desk,
        "identity/group/name",
        &json!({}),
        &[json!({"policies": ["p"]}), json!({"metadata": {"a": "b"}})],
    );
    check(
        &desk,
        "identity/oidc/client",
        &json!({}),
        &[
            json!({"redirect_uris": ["http://127.0.0.1/x"]}),
            json!({"id_token_ttl": "1h"}),
            json!({"access_token_ttl": "2h"}),
        ],
    );
    check(
        &desk,
        "identity/oidc/scope",
        &json!({}),
        &[json!({"description": "d"}), json!({"template": "{\"a\":1}"})],
    );
    check(
        &desk,
        "identity/oidc/key",
        &json!({}),
        &[
            json!({"allowed_client_ids": "*"}),
            json!({"verification_ttl": "1h"}),
            json!({"rotation_period": "48h"}),
        ],
    );
}

#[test]
fn keys_and_secrets_keep_what_each_has_written() {
    let desk = desk(112);
    for path in ["transit/keys/one", "transit/keys/other"] {
        desk.ask(Post, path, "{}").expect(200);
    }
    let parts = [
        json!({"deletion_allowed": true}),
        json!({"exportable": true}),
        json!({"allow_plaintext_backup": true}),
        json!({"auto_rotate_period": "48h"}),
    ];
    for part in &parts {
        desk.ask(Post, "transit/keys/one/config", &part.to_string()).expect(200);
    }
    at_once(&desk, "transit/keys/other/config", &parts);
    assert_eq!(shown(&desk, "transit/keys/other"), shown(&desk, "transit/keys/one"));
    // Each rotation is a version, each write of a secret too, and none takes another's place.
    at_once(&desk, "transit/keys/other/rotate", &vec![json!({}); 12]);
    assert_eq!(shown(&desk, "transit/keys/other")["latest_version"], 13);
    let bodies: Vec<Value> = (0..12).map(|n| json!({"data": {"n": n}})).collect();
    desk.ask(Post, "kv/config", r#"{"max_versions":20}"#).expect(204);
    at_once(&desk, "kv/data/a", &bodies);
    let mut seen: Vec<u64> = (1..=12)
        .map(|version| {
            let said = desk.ask(Get, &format!("kv/data/a?version={version}"), "").expect(200);
            said.json["data"]["data"]["n"].as_u64().unwrap()
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
    // Who writes over a version that he has seen is told that another was faster.
    let over = json!({"data": {"n": 99}, "options": {"cas": 12}}).to_string();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| desk.ask(Post, "kv/data/a", &over).status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 5, "{statuses:?}");
}

/// What a request gathered is no more than a wish until it is durable: whoever lost the right to it meanwhile does not get it.
#[test]
fn a_token_or_a_policy_that_goes_before_the_commit_takes_the_commit_along() {
    let goes: [fn(&Desk, &str); 2] = [
        |desk, token| {
            drop(desk.ask(Post, "auth/token/revoke", &json!({ "token": token }).to_string()).expect(204))
        },
        |desk, _| {
            let nothing = r#"{"policy":"path \"kv/*\" { capabilities = [\"read\"] }"}"#;
            drop(desk.ask(Post, "sys/policies/acl/writes", nothing).expect(204));
        },
    ];
    for (seed, go) in (112..).zip(goes) {
        let desk = desk(seed);
        let rules = r#"{"policy":"path \"kv/*\" { capabilities = [\"create\", \"update\"] }"}"#;
        desk.ask(Post, "sys/policies/acl/writes", rules).expect(204);
        let token = desk.ask(Post, "auth/token/create", r#"{"policies":["writes"]}"#).expect(200).token();
        desk.ask_as(&token, Post, "kv/data/before", r#"{"data":{"a":1}}"#).expect(200);
        let asked = request(&token, Post, "kv/data/after", r#"{"data":{"a":1}}"#);
        let Handled::Later(pending) = desk.kernel.handle(&asked) else { panic!("a write waits") };
        go(&desk, &token);
        desk.finish(pending, &asked).expect(403);
        desk.ask(Get, "kv/data/after", "").expect(404);
    }
}
