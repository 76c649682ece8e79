//! A and N. Tokens: what a child may not have, what a renewal may not give, when one ends.

use crate::stage::Stage;
use serde_json::json;
use tests::http::Request;

#[test]
fn row_010_a_child_does_not_gain_default() {
    let stage = Stage::dev();
    stage.policy("creator", r#"path "auth/token/create" { capabilities = ["update"] }"#);
    let parent = stage.token(json!({"policies": ["creator"], "no_default_policy": true}));
    parent.post("auth/token/create", json!({"policies": ["default"]})).must_be_any(&[400, 403]);
    for body in [json!({}), json!({"policies": ["creator"]}), json!({"no_default_policy": false})] {
        let reply = parent.post("auth/token/create", body).must(200);
        assert!(!reply.text().contains("\"default\""), "{reply}");
    }
}

#[test]
fn row_011_a_child_is_bound_where_its_parent_is() {
    let stage = Stage::dev();
    stage.policy("creator", r#"path "auth/token/create" { capabilities = ["update"] }"#);
    let role = json!({"allowed_policies": ["creator"], "token_bound_cidrs": ["127.0.0.1/32"]});
    stage.root.post("auth/token/roles/here", role).must(204);
    let made = stage.root.post("auth/token/create/here", json!({"policies": ["creator"]})).must(200);
    let parent = stage.root.with(&made.at("/auth/client_token"));
    let child =
        parent.post("auth/token/create", json!({"policies": ["creator"]})).must(200).at("/auth/client_token");
    let child = stage.root.post("auth/token/lookup", json!({"token": child})).must(200);
    assert_eq!(child.json()["data"]["bound_cidrs"], json!(["127.0.0.1"]), "{child}");
    let role = json!({"allowed_policies": ["creator"], "token_bound_cidrs": ["10.9.9.0/24"]});
    stage.root.post("auth/token/roles/there", role).must(204);
    let made = stage.root.post("auth/token/create/there", json!({"policies": ["creator"]})).must(200);
    let far = stage.root.with(&made.at("/auth/client_token"));
    far.get("auth/token/lookup-self").must(403);
    // A header that any client can send does not move it.
    for name in ["X-Forwarded-For", "X-Real-Ip", "Forwarded"] {
        far.send(&Request::new("GET", "/v1/auth/token/lookup-self").header(name, "10.9.9.9")).must(403);
    }
}

#[test]
fn row_034_an_accessor_is_no_key() {
    let stage = Stage::dev();
    let victim = stage.token(json!({"policies": ["default"], "ttl": "1h"}));
    let accessor = victim.get("auth/token/lookup-self").must(200).at("/data/accessor");
    let caller = stage.token(json!({"policies": ["default"]}));
    for path in ["lookup-accessor", "renew-accessor", "revoke-accessor"] {
        caller.post(&format!("auth/token/{path}"), json!({"accessor": accessor})).must(403);
    }
    caller.with(&accessor).get("auth/token/lookup-self").must(403);
    victim.get("auth/token/lookup-self").must(200);
}

#[test]
fn row_145_renewing_at_the_end_gives_no_second_life() {
    let stage = Stage::dev();
    let token = stage.token(json!({"policies": ["default"], "ttl": "3s", "explicit_max_ttl": "3s"}));
    // Renewed without pause until it is refused: at no moment may a renewal move the end.
    let mut renewals = 0_u32;
    loop {
        let reply = token.post("auth/token/renew-self", json!({"increment": "1h"}));
        if reply.status != 200 {
            reply.must_be_any(&[400, 403, 500]);
            break;
        }
        let ttl = reply.json()["auth"]["lease_duration"].as_u64().expect("a renewal says for how long");
        assert!(ttl <= 3, "{reply}");
        renewals += 1;
        assert!(renewals < 1_000_000, "it is renewed for ever");
    }
    assert!(renewals > 0);
    stage.server.until("it has ended", |client| {
        client.with(token.token()).get("auth/token/lookup-self").status == 403
    });
}

#[test]
fn row_146_a_batch_token_ends_and_its_leases_with_it() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "generate_lease": true, "ttl": "1h"}));
    stage.policy("issuer", r#"path "pki/issue/web" { capabilities = ["update"] }"#);
    let batch = stage.token(json!({"type": "batch", "policies": ["issuer"], "ttl": "3s"}));
    let issued = batch.post("pki/issue/web", json!({"common_name": "a.b"})).must(200);
    assert!(issued.json()["lease_duration"].as_u64() <= Some(3), "the lease outlives its token: {issued}");
    let lease = issued.at("/lease_id");
    stage.server.until("token and lease have ended", |client| {
        let ended = client.with(batch.token()).get("auth/token/lookup-self").status == 403;
        ended && stage.root.post("sys/leases/lookup", json!({"lease_id": lease})).status == 400
    });
}

#[test]
fn row_147_the_lowest_limit_holds() {
    let stage = Stage::dev();
    stage.userpass(json!({"token_ttl": "3h", "token_max_ttl": "5h"}));
    let login = || {
        let reply = stage
            .anonymous()
            .post("auth/userpass/login/bob", json!({"password": "correct-password"}))
            .must(200);
        reply.json()["auth"]["lease_duration"].as_u64().unwrap()
    };
    assert_eq!(login(), 3 * 3600);
    stage
        .root
        .post("sys/auth/userpass/tune", json!({"default_lease_ttl": "1h", "max_lease_ttl": "2h"}))
        .must(204);
    assert_eq!(login(), 2 * 3600, "the mount's maximum");
    stage.root.post("auth/userpass/users/bob", json!({"token_ttl": "30m", "token_max_ttl": "45m"})).must(204);
    assert_eq!(login(), 30 * 60);
    stage.root.post("auth/userpass/users/bob", json!({"token_ttl": "0", "token_max_ttl": "45m"})).must(204);
    assert_eq!(login(), 45 * 60, "the mount's default, capped by the user's maximum");
}

#[test]
fn row_149_the_last_use_leaves_no_lease() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "generate_lease": true}));
    stage.policy("issuer", r#"path "pki/issue/web" { capabilities = ["update"] }"#);
    let caller = stage.token(json!({"policies": ["issuer"], "num_uses": 2}));
    let first = caller.post("pki/issue/web", json!({"common_name": "a.b"})).must(200).at("/lease_id");
    let last = caller.post("pki/issue/web", json!({"common_name": "c.d"}));
    assert!(last.status == 400 && !last.text().contains("PRIVATE KEY"), "{last}");
    stage.server.until("the leases of the spent token are gone", |_| {
        let first = stage.root.post("sys/leases/lookup", json!({"lease_id": first})).status == 400;
        first && stage.root.list("sys/leases/lookup/pki/issue/web").status == 404
    });
    caller.post("pki/issue/web", json!({"common_name": "a.b"})).must(403);
}

#[test]
fn also_a_use_limit_is_a_limit_under_load() {
    let stage = Stage::dev();
    stage.root.post("kv/a", json!({"x": 1})).must(204);
    stage.policy("reader", r#"path "kv/*" { capabilities = ["read"] }"#);
    for _ in 0..10 {
        let caller = stage.token(json!({"policies": ["reader"], "num_uses": 3}));
        let callers: Vec<_> = (0..12)
            .map(|_| {
                let caller = caller.clone();
                std::thread::spawn(move || caller.get("kv/a").status)
            })
            .collect();
        let statuses: Vec<u16> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert!(served <= 3 && statuses.iter().all(|status| [200, 403].contains(status)), "{statuses:?}");
    }
}

#[test]
fn also_a_wrapped_answer_is_opened_once_under_load() {
    let stage = Stage::dev();
    stage.root.post("kv/a", json!({"x": 1})).must(204);
    for _ in 0..10 {
        let wrapped =
            stage.root.send(&Request::new("GET", "/v1/kv/a").header("X-Vault-Wrap-TTL", "60")).must(200);
        let holder = stage.root.with(&wrapped.at("/wrap_info/token"));
        let openers: Vec<_> = (0..12)
            .map(|_| {
                let holder = holder.clone();
                std::thread::spawn(move || holder.call("POST", "sys/wrapping/unwrap").status)
            })
            .collect();
        let statuses: Vec<u16> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();
        let opened = statuses.iter().filter(|status| **status == 200).count();
        assert!(
            opened <= 1 && statuses.iter().all(|status| [200, 400, 403].contains(status)),
            "{statuses:?}"
        );
    }
}
