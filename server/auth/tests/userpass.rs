//! Users, their passwords and what their tokens may do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every test asks for everything")]
#[path = "../../engines/tests/bench/mod.rs"]
mod bench;

use std::time::Duration;

use bench::Bench;
use serde_json::json;

fn userpass() -> Bench {
    let (engine, method) = auth::open("userpass", &json!({})).unwrap();
    Bench::new(engine, Some(method))
}

#[test]
fn a_user_is_made_read_changed_and_deleted() {
    let bench = userpass();
    bench.list("users").is(404);
    bench.post("users/bob", json!({})).refuses(400, "must provide either password or password_hash");
    bench
        .post("users/bob", json!({"password": ""}))
        .refuses(400, "must provide either password or password_hash");
    assert_eq!(bench.exists("users/bob"), Some(false));
    bench.post("users/Bob", json!({"password": "pw", "policies": "Dev, admin,dev"})).is(204);
    assert_eq!(bench.exists("users/bob"), Some(true));
    let shown = bench.get("users/BOB").is(200).data;
    assert_eq!(
        shown,
        json!({"policies": ["dev", "admin"], "token_bound_cidrs": [], "token_explicit_max_ttl": 0,
            "token_max_ttl": 0, "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": ["dev", "admin"], "token_strictly_bind_ip": false, "token_ttl": 0,
            "token_type": "default"})
    );
    bench
        .post("users/bob", json!({"ttl": "1h", "max_ttl": "2h", "bound_cidrs": "10.0.0.0/8,127.0.0.1"}))
        .is(204);
    let shown = bench.get("users/bob").is(200).data;
    assert_eq!(
        (&shown["ttl"], &shown["token_ttl"], &shown["max_ttl"]),
        (&json!(3600), &json!(3600), &json!(7200))
    );
    assert_eq!(shown["bound_cidrs"], json!(["10.0.0.0/8", "127.0.0.1"]));
    bench.post("users/bob", json!({"token_policies": ["a"]})).is(204);
    let shown = bench.get("users/bob").is(200).data;
    assert_eq!((&shown["token_policies"], &shown["policies"]), (&json!(["a"]), &json!(null)));
    bench.post("users/bob/policies", json!({"policies": "x,y"})).is(204);
    assert_eq!(bench.get("users/bob").data["policies"], json!(["x", "y"]));
    bench.post("users/bob/policies", json!({})).is(204);
    assert_eq!(bench.get("users/bob").data["token_policies"], json!(["x", "y"]));
    bench.post("users/eve", json!({"password": "pw"})).is(204);
    assert_eq!(bench.list("users/").is(200).data, json!({"keys": ["bob", "eve"]}));
    assert_eq!(bench.list("users/?after=bob&limit=1").is(200).data, json!({"keys": ["eve"]}));
    bench.delete("users/BOB").is(204);
    bench.delete("users/BOB").is(204);
    bench.get("users/bob").is(404);
    bench.get("users/eve/policies").is(405);
    bench.post("users/x@y.z", json!({"password": "pw"})).is(404);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let bench = userpass();
    for (field, value, text) in [
        ("token_type", json!("bogus"), "invalid 'token_type' value \"bogus\""),
        ("token_bound_cidrs", json!("bogus"), "error parsing address \"bogus\""),
        ("token_num_uses", json!(-1), "'token_num_uses' cannot be negative"),
        ("token_ttl", json!(-1), "error converting input for field \"token_ttl\""),
        ("token_ttl", json!("soon"), "error converting input for field \"token_ttl\""),
        ("password_hash", json!("y"), "only one of password or password_hash may be provided"),
    ] {
        bench.post("users/bob", json!({"password": "pw", field: value})).refuses(400, text);
        bench.get("users/bob").is(404);
    }
    bench
        .post("users/bob", json!({"password": "a".repeat(73)}))
        .refuses(400, "password length exceeds 72 bytes");
    bench.post("users/bob/password", json!({"password": "x"})).refuses(400, "username does not exist");
    bench.post("users/bob/policies", json!({"policies": "x"})).refuses(400, "username does not exist");
}

#[test]
fn the_right_password_lets_in_and_no_other() {
    let bench = userpass();
    let body = json!({"password": "pw", "token_policies": "dev", "token_ttl": 60, "token_num_uses": 3});
    bench.post("users/bob", body).is(204);
    let claim = bench.post("login/BOB", json!({"password": "pw"})).is(200).claim.unwrap();
    assert_eq!((claim.alias.as_str(), claim.display_name.as_str()), ("bob", "bob"));
    assert_eq!(claim.metadata["username"], "bob");
    assert_eq!((claim.terms.policies, claim.terms.ttl), (vec!["dev".to_owned()], Duration::from_secs(60)));
    assert_eq!(claim.terms.num_uses, 3);
    let unknown = bench.post("login/nobody", json!({"password": "pw"}));
    let wrong = bench.post("login/bob", json!({"password": "PW"}));
    unknown.refuses(400, "invalid username or password");
    assert_eq!(unknown.errors, wrong.errors);
    bench.post("login/bob", json!({"password": ["pw"]})).refuses(400, "password");
    for name in ["bob", "nobody"] {
        let missing = bench.post(&format!("login/{name}"), json!({}));
        assert_eq!((missing.status, missing.errors), (400, vec!["missing password".to_owned()]));
    }
    bench.get("login/bob").is(404);
}

#[test]
fn a_password_can_be_changed_and_brought_hashed() {
    let bench = userpass();
    bench.post("users/bob", json!({"password": "one"})).is(204);
    bench.post("users/bob/password", json!({})).refuses(400, "must provide either");
    bench.post("users/bob/password", json!({"password_hash": "y"})).refuses(400, "not a valid bcrypt hash");
    // What bcrypt's own test vectors give for "abc".
    let hash = "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i";
    bench.post("users/bob/password", json!({"password_hash": hash})).is(204);
    bench.post("login/bob", json!({"password": "one"})).is(400);
    bench.post("login/bob", json!({"password": "abc"})).is(200);
    bench.post("users/bob", json!({"token_ttl": 5})).is(204);
    bench.post("login/bob", json!({"password": "abc"})).is(200);
}

#[test]
fn addresses_bind_the_login() {
    let mut bench = userpass();
    bench.post("users/bob", json!({"password": "pw", "token_bound_cidrs": "10.0.0.0/8"})).is(204);
    bench.post("login/bob", json!({"password": "pw"})).refuses(403, "permission denied");
    bench.post("login/bob", json!({"password": "no"})).refuses(400, "invalid username or password");
    bench.remote.address = Some("10.9.9.9".parse().unwrap());
    bench.post("login/bob", json!({"password": "pw"})).is(200);
    bench.remote.address = None;
    bench.post("login/bob", json!({"password": "pw"})).refuses(403, "permission denied");
}

#[test]
fn a_renewal_wants_the_same_policies() {
    let bench = userpass();
    bench.post("users/bob", json!({"password": "pw", "token_policies": "a,b"})).is(204);
    let claim = bench.post("login/bob", json!({"password": "pw"})).is(200).claim.unwrap();
    bench.post("users/bob", json!({"token_ttl": 60})).is(204);
    assert_eq!(bench.renew(&claim).unwrap().ttl, Duration::from_secs(60));
    bench.post("users/bob/policies", json!({"token_policies": "a"})).is(204);
    assert_eq!(bench.renew(&claim).unwrap_err().to_string(), "policies have changed, not renewing");
    bench.delete("users/bob").is(204);
    assert!(bench.renew(&claim).unwrap_err().to_string().contains("does not exist any more"));
}
