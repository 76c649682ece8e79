//! A, G, H. AppRole and userpass: whose secret it is, what a failure tells, and how often one may guess.

use crate::stage::{CANARY, Stage, raw};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::binary::Binary;
use tests::http::{Client, Request};
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

#[test]
fn row_009_a_secret_id_belongs_to_its_role() {
    let stage = Stage::dev();
    stage.approle("a", json!({}));
    let role = stage.approle("b", json!({}));
    let made = stage.root.post("auth/approle/role/b/secret-id", json!({})).must(200);
    let (secret, accessor) = (made.at("/data/secret_id"), made.at("/data/secret_id_accessor"));
    let caller = stage.caller(
        r#"path "auth/approle/role/a/secret-id-accessor/*" { capabilities = ["update", "read", "delete"] }
           path "auth/approle/role/a/secret-id/*" { capabilities = ["update", "read", "delete"] }"#,
    );
    for (path, body) in [
        ("secret-id-accessor/destroy", json!({"secret_id_accessor": accessor})),
        ("secret-id-accessor/lookup", json!({"secret_id_accessor": accessor})),
        ("secret-id/destroy", json!({"secret_id": secret})),
        ("secret-id/lookup", json!({"secret_id": secret})),
    ] {
        let reply = caller.post(&format!("auth/approle/role/a/{path}"), body);
        let told = reply.text().contains("secret_id_num_uses") || reply.text().contains("creation_time");
        assert!(!told && (reply.status >= 400 || reply.status == 204), "{path}: {reply}");
    }
    stage.anonymous().post("auth/approle/login", json!({"role_id": role, "secret_id": secret})).must(200);
}

#[test]
fn row_017_a_failed_login_leaves_nothing() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage
        .root
        .post("sys/auth/userpass/tune", json!({"user_lockout_config": {"lockout_disable": true}}))
        .must(204);
    let role = stage.approle("web", json!({}));
    let accessors =
        || stage.root.list("auth/token/accessors").must(200).json()["data"]["keys"].as_array().unwrap().len();
    let before = accessors();
    for number in 0..20 {
        stage
            .anonymous()
            .post("auth/userpass/login/bob", json!({"password": format!("wrong{number}")}))
            .must(400);
        stage.anonymous().post("auth/userpass/login/nobody", json!({"password": "wrong"})).must(400);
        let body = json!({"role_id": role, "secret_id": format!("wrong{number}")});
        stage.anonymous().post("auth/approle/login", body).must_be_any(&[400, 403]);
    }
    assert_eq!(accessors(), before);
    stage.root.list("sys/leases/lookup/auth/userpass/").must(404);
}

#[test]
fn row_021_a_login_is_who_it_proved_to_be() {
    let stage = Stage::dev();
    stage.userpass(json!({"token_policies": ["mine"]}));
    stage
        .root
        .post("auth/userpass/users/admin", json!({"password": "other", "token_policies": ["theirs"]}))
        .must(204);
    let bodies = [
        json!({"password": "correct-password", "username": "admin", "user": "admin", "entity_id": "x"})
            .to_string(),
        json!({"password": "correct-password", "policies": ["theirs"], "token_policies": ["theirs"]})
            .to_string(),
        r#"{"password":"correct-password","username":"bob","username":"admin"}"#.to_owned(),
        r#"{"password":"other","password":"correct-password","username":"admin"}"#.to_owned(),
    ];
    for body in bodies {
        let reply = stage.anonymous().send(&raw("POST", "auth/userpass/login/bob").body(body.clone()));
        if reply.status == 200 {
            assert_eq!(reply.at("/auth/metadata/username"), "bob", "{body}");
            assert_eq!(reply.json()["auth"]["token_policies"], json!(["default", "mine"]), "{body}");
        } else {
            reply.must(400);
        }
    }
}

/// The median time of a request, over as many as asked.
#[allow(clippy::disallowed_methods, reason = "this test is about time and nothing else")]
fn median(times: usize, request: impl Fn()) -> Duration {
    let mut all: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            request();
            start.elapsed()
        })
        .collect();
    all.sort();
    all[times / 2]
}

#[test]
fn row_069_a_failure_does_not_say_who_exists() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage
        .root
        .post("sys/auth/userpass/tune", json!({"user_lockout_config": {"lockout_disable": true}}))
        .must(204);
    let try_as = |name: &str| {
        stage.anonymous().post(&format!("auth/userpass/login/{name}"), json!({"password": "wrong"}))
    };
    let (there, not) = (try_as("bob").must(400), try_as("eve").must(400));
    assert_eq!(there.text(), not.text());
    // The full test compares distributions; this one sees the whole password hash left out, on a busy machine too.
    let there = median(9, || drop(try_as("bob")));
    let not = median(9, || drop(try_as("eve")));
    assert!(not * 3 > there && there * 3 > not, "existing {there:?}, not existing {not:?}");
}

#[test]
fn row_070_a_failure_does_not_say_which_role_exists() {
    let stage = Stage::dev();
    let role = stage.approle("web", json!({}));
    let login = |body: Value| stage.anonymous().post("auth/approle/login", body);
    let there = login(json!({"role_id": role, "secret_id": "wrong"}));
    let not = login(json!({"role_id": "00000000-0000-0000-0000-000000000000", "secret_id": "wrong"}));
    assert_eq!((there.status, there.text()), (not.status, not.text()));
}

#[test]
fn row_082_every_spelling_counts_as_one_guess() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    stage.root.post("auth/userpass/users/other", json!({"password": "of-other"})).must(204);
    let config =
        json!({"lockout_threshold": "5", "lockout_duration": "10m", "lockout_counter_reset_duration": "10m"});
    stage.root.post("sys/auth/userpass/tune", json!({"user_lockout_config": config})).must(204);
    let login = |name: &str, password: &str| {
        stage
            .anonymous()
            .send(&raw("POST", &format!("auth/userpass/login/{name}")).json(&json!({"password": password})))
    };
    for name in ["bob", "BOB", "Bob", "b%6Fb", "bOb"] {
        assert_ne!(login(name, "wrong").status, 200);
        login("other", "of-other").must(200);
    }
    login("bob", "correct-password").must(403);
    login("BOB", "correct-password").must(403);
    login("other", "of-other").must(200);
}

#[test]
fn also_a_secret_id_is_spent_once_under_load() {
    let stage = Stage::dev();
    let role = stage.approle("web", json!({"secret_id_num_uses": 1}));
    for _ in 0..10 {
        let secret =
            stage.root.post("auth/approle/role/web/secret-id", json!({})).must(200).at("/data/secret_id");
        let body = json!({"role_id": role, "secret_id": secret});
        let logins: Vec<_> = (0..12)
            .map(|_| {
                let (client, body) = (stage.anonymous(), body.clone());
                std::thread::spawn(move || client.post("auth/approle/login", body).status)
            })
            .collect();
        let statuses: Vec<u16> = logins.into_iter().map(|login| login.join().unwrap()).collect();
        assert!(statuses.iter().filter(|status| **status == 200).count() <= 1, "{statuses:?}");
    }
}

#[test]
fn also_what_was_wrong_is_not_repeated() {
    let stage = Stage::dev();
    stage.userpass(json!({}));
    let role = stage.approle("web", json!({}));
    for (path, body) in [
        ("auth/userpass/login/bob", json!({"password": CANARY})),
        ("auth/userpass/login/bob", json!({"password": {"x": CANARY}})),
        ("auth/approle/login", json!({"role_id": role, "secret_id": CANARY})),
        ("auth/approle/login", json!({"role_id": role, "secret_id": [CANARY, CANARY]})),
        ("auth/token/lookup", json!({"token": CANARY})),
        ("sys/wrapping/unwrap", json!({"token": CANARY})),
    ] {
        let reply = stage.root.post(path, body);
        assert!(reply.status >= 400 && !reply.text().contains(CANARY), "{path}: {reply}");
    }
    assert!(!stage.server.log().contains(CANARY));
}

#[test]
fn also_a_token_bound_to_its_login_stays_there() {
    let folder = Scratch::new();
    let proxy =
        "x_forwarded_for_authorized_addrs = \"127.0.0.1/32\"\nx_forwarded_for_reject_not_present = false";
    let config = Config::new(Storage::Inmem, folder.path()).listening_with(proxy);
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/auth/userpass", json!({"type": "userpass"})).must(204);
    let from = |client: &Client, address: &str, request: Request| {
        client.send(&request.header("X-Forwarded-For", address))
    };
    // One way to bind, not two of which one would win.
    let both = json!({"password": "pw", "token_strictly_bind_ip": true, "token_bound_cidrs": ["10.0.0.0/8"]});
    root.post("auth/userpass/users/ann", both).must(400);
    for user in ["bob", "cid"] {
        let body = json!({"password": "pw", "token_strictly_bind_ip": true});
        root.post(&format!("auth/userpass/users/{user}"), body).must(204);
        let login = raw("POST", &format!("auth/userpass/login/{user}")).json(&json!({"password": "pw"}));
        let made = from(&server.anonymous(), "10.1.2.3", login).must(200);
        let token = root.with(&made.at("/auth/client_token"));
        let looks = || raw("GET", "auth/token/lookup-self");
        let shown = from(&token, "10.1.2.3", looks()).must(200);
        assert_eq!(shown.json()["data"]["bound_cidrs"], json!(["10.1.2.3"]), "{user}: {shown}");
        from(&token, "10.1.2.4", looks()).must(403);
        token.send(&looks()).must(403);
        // Neither does a renewal set it free.
        from(&token, "10.1.2.3", raw("POST", "auth/token/renew-self")).must(200);
        from(&token, "10.1.2.4", looks()).must(403);
    }
}
