//! Roles, their secret ids, and logins with them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "not every test asks for everything")]
#[path = "../../engines/tests/bench/mod.rs"]
mod bench;

use std::time::Duration;

use bench::{Answer, Bench};
use serde_json::{Value, json};

fn approle() -> Bench {
    let (engine, method) = auth::open("approle", &json!({})).unwrap();
    Bench::new(engine, Some(method))
}

fn text(answer: Answer, field: &str) -> String {
    answer.data[field].as_str().unwrap_or_else(|| panic!("no {field}")).to_owned()
}

fn role_id(bench: &Bench, role: &str) -> String {
    text(bench.get(&format!("role/{role}/role-id")).is(200), "role_id")
}

fn secret_id(bench: &Bench, role: &str, body: Value) -> (String, String) {
    let made = bench.post(&format!("role/{role}/secret-id"), body).is(200).data;
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    (field("secret_id"), field("secret_id_accessor"))
}

fn log_in(bench: &Bench, role: &str, secret_id: &str) -> Answer {
    bench.post("login", json!({"role_id": role_id(bench, role), "secret_id": secret_id}))
}

const WRONG: &str = "invalid role or secret ID";

#[test]
fn a_role_is_made_read_changed_and_deleted() {
    let bench = approle();
    bench.list("role").is(404);
    bench.get("role/app").is(404);
    assert_eq!(bench.exists("role/app"), Some(false));
    bench.post("role/App", json!({})).is(204);
    assert_eq!(bench.exists("role/app"), Some(true));
    assert_eq!(
        bench.get("role/APP").is(200).data,
        json!({"bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": null,
            "secret_id_num_uses": 0, "secret_id_ttl": 0, "token_bound_cidrs": [], "token_explicit_max_ttl": 0,
            "token_max_ttl": 0, "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
            "token_policies": [], "token_strictly_bind_ip": false, "token_ttl": 0, "token_type": "default"})
    );
    let body = json!({"bound_cidr_list": "127.0.0.1/32", "policies": "Zed,a", "period": "1m",
        "secret_id_num_uses": 5, "secret_id_ttl": "10m", "role_id": "mine", "token_ttl": 60});
    bench.post("role/app", body).is(204);
    let shown = bench.get("role/app").is(200).data;
    assert_eq!((&shown["period"], &shown["token_period"]), (&json!(60), &json!(60)));
    assert_eq!((&shown["policies"], &shown["token_policies"]), (&json!(["zed", "a"]), &json!(["zed", "a"])));
    assert_eq!(shown["secret_id_bound_cidrs"], json!(["127.0.0.1/32"]));
    assert_eq!((&shown["secret_id_num_uses"], &shown["secret_id_ttl"]), (&json!(5), &json!(600)));
    assert_eq!(role_id(&bench, "app"), "mine");
    bench.post("role/other", json!({"role_id": "mine"})).refuses(400, "role_id already in use");
    bench.get("role/other").is(404);
    let long = bench.post("role/long", json!({"token_max_ttl": 99_999_999})).is(200);
    assert!(
        long.warnings[0].starts_with("token_max_ttl is greater than the backend mount's maximum TTL value")
    );
    assert_eq!(bench.list("role?after=app&limit=1").is(200).data, json!({"keys": ["long"]}));
    bench.delete("role/app").is(204);
    bench.delete("role/app").is(204);
    bench.get("role/app").is(404);
    bench.post("role/other", json!({"role_id": "mine"})).is(204);
}

#[test]
fn roles_that_cannot_be_are_refused() {
    let bench = approle();
    let constraint = "at least one constraint should be enabled on the role";
    bench.post("role/a", json!({"bind_secret_id": false})).refuses(400, constraint);
    bench
        .post("role/a", json!({"secret_id_num_uses": -1}))
        .refuses(400, "secret_id_num_uses cannot be negative");
    bench.post("role/a", json!({"secret_id_ttl": -1})).refuses(400, "cannot provide negative value '-1'");
    let cidr = "failed to validate CIDR blocks: invalid CIDR address: 10.0.0.1";
    bench.post("role/a", json!({"secret_id_bound_cidrs": ["10.0.0.1"]})).refuses(400, cidr);
    bench.post("role/a", json!({"role_id": ""})).refuses(400, "invalid role_id supplied");
    bench.get("role/a").is(404);
    bench.post("role/a", json!({"local_secret_ids": true})).is(204);
    let local = "local_secret_ids can only be modified during role creation";
    bench.post("role/a", json!({"local_secret_ids": false})).refuses(400, local);
    assert_eq!(bench.get("role/a/local-secret-ids").is(200).data, json!({"local_secret_ids": true}));
    bench
        .post("role/a", json!({"token_type": "batch", "token_num_uses": 1}))
        .refuses(400, "limited use count");
    bench.post("role/b", json!({"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})).is(204);
    bench.delete("role/b/secret-id-bound-cidrs").refuses(400, constraint);
}

#[track_caller]
fn check_part(bench: &Bench, part: &str, body: Value, shown: Value, empty: Value) {
    let path = format!("role/app/{part}");
    bench.post(&path, body).is(204);
    assert_eq!(bench.get(&path).is(200).data, shown, "{part}");
    bench.delete(&path).is(204);
    assert_eq!(bench.get(&path).is(200).data, empty, "{part} taken back");
    bench.get(&format!("role/nope/{part}")).is(404);
    bench.delete(&format!("role/nope/{part}")).is(204);
}

#[test]
fn each_part_of_a_role_has_a_path() {
    let bench = approle();
    bench.post("role/app", json!({"secret_id_bound_cidrs": "1.0.0.0/8"})).is(204);
    let check = |part: &str, body, shown, empty| check_part(&bench, part, body, shown, empty);
    let (off, on) = (json!({"bind_secret_id": false}), json!({"bind_secret_id": true}));
    check("bind-secret-id", off.clone(), off, on);
    let blocks =
        |name: &str| (json!({name: "10.0.0.0/8"}), json!({name: ["10.0.0.0/8"]}), json!({name: null}));
    for part in ["bound-cidr-list", "secret-id-bound-cidrs", "token-bound-cidrs"] {
        let (body, shown, empty) = blocks(&part.replace('-', "_"));
        check(part, body, shown, empty);
    }
    for part in ["secret-id-num-uses", "secret-id-ttl", "token-ttl", "token-max-ttl", "token-num-uses"] {
        let name = part.replace('-', "_");
        check(part, json!({&*name: "7"}), json!({&*name: 7}), json!({&*name: 0}));
        bench.post(&format!("role/app/{part}"), json!({})).refuses(400, &format!("missing {name}"));
        bench.post(&format!("role/app/{part}"), json!({&*name: -1})).refuses(400, "negative");
        bench
            .post(&format!("role/nope/{part}"), json!({&*name: 1}))
            .refuses(404, "role \"nope\" does not exist");
    }
    check("period", json!({"token_period": 9}), json!({"token_period": 9}), json!({"token_period": 0}));
    check(
        "period",
        json!({"period": 9}),
        json!({"period": 9, "token_period": 9}),
        json!({"token_period": 0}),
    );
    check(
        "policies",
        json!({"token_policies": "B,a"}),
        json!({"token_policies": ["a", "b"]}),
        json!({"token_policies": []}),
    );
    let both = json!({"policies": ["x", "y"], "token_policies": ["x", "y"]});
    check("policies", json!({"policies": ["x", "Y"]}), both, json!({"token_policies": []}));
    bench.post("role/app/policies", json!({})).refuses(400, "missing token_policies");
    bench
        .post("role/app/secret-id-bound-cidrs", json!({"secret_id_bound_cidrs": ""}))
        .refuses(400, "missing");
    bench.post("role/app/role-id", json!({"role_id": ""})).refuses(400, "missing role_id");
    bench.post("role/app/role-id", json!({"role_id": "new"})).is(204);
    assert_eq!(role_id(&bench, "app"), "new");
    let warnings = bench.get("role/app/bound-cidr-list").is(200).warnings;
    assert!(warnings[0].contains("deprecated"));
}

#[test]
fn secret_ids_stay_within_what_the_role_allows() {
    let bench = approle();
    bench.post("role/app", json!({"secret_id_num_uses": 3, "secret_id_ttl": "10m"})).is(204);
    let refused =
        |body: Value, status, text: &str| bench.post("role/app/secret-id", body).refuses(status, text);
    refused(json!({"num_uses": 5}), 400, "num_uses cannot be higher than the role's secret_id_num_uses");
    refused(json!({"num_uses": 0}), 400, "num_uses cannot be higher");
    refused(json!({"num_uses": -1}), 400, "num_uses cannot be negative");
    refused(json!({"ttl": "1h"}), 400, "ttl cannot be longer than the role's secret_id_ttl");
    refused(json!({"ttl": 0}), 400, "ttl cannot be longer");
    refused(json!({"metadata": "x"}), 400, "failed to parse metadata");
    refused(json!({"metadata": {"a": "b"}}), 400, "error converting input for field \"metadata\"");
    refused(
        json!({"cidr_list": "bogus"}),
        400,
        "failed to validate CIDR blocks: invalid CIDR address: bogus",
    );
    refused(json!({"token_bound_cidrs": "bogus"}), 400, "failed to validate token CIDR blocks");
    bench.post("role/nope/secret-id", json!({})).refuses(404, "role \"nope\" does not exist");
    bench.list("role/nope/secret-id").refuses(400, "role \"nope\" does not exist");
    bench.list("role/app/secret-id").is(404);
    let made = bench.post("role/app/secret-id", json!({"num_uses": 2, "ttl": 30})).is(200).data;
    assert_eq!((&made["secret_id_num_uses"], &made["secret_id_ttl"]), (&json!(2), &json!(30)));
    assert_eq!(bench.list("role/app/secret-id").is(200).data, json!({"keys": [made["secret_id_accessor"]]}));
    bench.post("role/wide", json!({})).is(204);
    let made = bench.post("role/wide/secret-id", json!({"ttl": 99_999_999})).is(200).data;
    assert_eq!(made["secret_id_ttl"], json!(2_764_800));
    bench.post("role/bound", json!({"secret_id_bound_cidrs": "127.0.0.0/8"})).is(204);
    let subset = "failed to verify subset relationship between CIDR blocks on the role";
    bench.post("role/bound/secret-id", json!({"cidr_list": "10.0.0.0/8"})).refuses(400, subset);
    bench.post("role/bound", json!({"bind_secret_id": false})).is(204);
    bench.post("role/bound/secret-id", json!({})).refuses(400, "bind_secret_id is not set on the role");
}

#[test]
fn a_login_takes_a_use_and_says_who() {
    let mut bench = approle();
    bench.post("role/app", json!({"secret_id_num_uses": 2, "token_policies": "p", "token_ttl": 60})).is(204);
    let (secret, accessor) = secret_id(&bench, "app", json!({"metadata": r#"{"k":"v"}"#}));
    bench.wait(1);
    let claim = log_in(&bench, "app", &secret).is(200).claim.unwrap();
    assert_eq!(
        (claim.alias.clone(), claim.terms.policies.clone()),
        (role_id(&bench, "app"), vec!["p".to_owned()])
    );
    assert_eq!((claim.metadata["k"].as_str(), claim.metadata["role_name"].as_str()), ("v", "app"));
    assert_eq!(claim.terms.ttl, Duration::from_secs(60));
    let known = bench.post("role/app/secret-id/lookup", json!({"secret_id": secret})).is(200).data;
    assert_eq!((&known["secret_id_num_uses"], &known["last_updated_time"]), (&json!(1), &json!(bench.now())));
    assert_eq!(known["expiration_time"], json!("0001-01-01T00:00:00Z"));
    log_in(&bench, "app", &secret).is(200);
    log_in(&bench, "app", &secret).refuses(400, WRONG);
    bench.post("role/app/secret-id/lookup", json!({"secret_id": secret})).is(204);
    let by_accessor =
        bench.post("role/app/secret-id-accessor/lookup", json!({"secret_id_accessor": accessor}));
    assert!(text(by_accessor.is(404), "error").starts_with("failed to find accessor entry"));
    assert_eq!(bench.renew(&claim).unwrap().policies, ["p"]);
    bench.delete("role/app").is(204);
    assert!(bench.renew(&claim).unwrap_err().to_string().contains("does not exist during renewal"));
}

#[test]
fn a_wrong_login_is_refused() {
    let bench = approle();
    bench.post("login", json!({"role_id": "x", "secret_id": "y"})).refuses(400, WRONG);
    bench.post("role/app", json!({})).is(204);
    bench.post("role/other", json!({})).is(204);
    let (secret, _) = secret_id(&bench, "app", json!({}));
    log_in(&bench, "app", &secret).is(200);
    log_in(&bench, "other", &secret).refuses(400, WRONG);
    log_in(&bench, "app", &secret.to_uppercase()).refuses(400, WRONG);
    log_in(&bench, "app", &"x".repeat(5000)).refuses(400, WRONG);
    let id = role_id(&bench, "app");
    bench.post("login", json!({"role_id": id.to_uppercase(), "secret_id": secret})).refuses(400, WRONG);
    bench.post("login", json!({"role_id": id})).refuses(400, "missing secret_id");
    bench.post("login", json!({"role_id": "nope"})).refuses(400, WRONG);
    let missing = bench.post("login", json!({"secret_id": secret}));
    assert_eq!((missing.status, missing.errors), (400, vec!["missing role_id".to_owned()]));
    bench.post("role/app", json!({"role_id": "renamed"})).is(204);
    bench.post("login", json!({"role_id": id, "secret_id": secret})).refuses(400, WRONG);
    log_in(&bench, "app", &secret).is(200);
    bench.delete("role/app").is(204);
    bench.post("login", json!({"role_id": "renamed", "secret_id": secret})).refuses(400, WRONG);
    bench.post("role/app", json!({"role_id": "renamed"})).is(204);
    log_in(&bench, "app", &secret).refuses(400, WRONG);
}

#[test]
fn a_role_may_do_without_secret_ids() {
    let mut bench = approle();
    bench.post("role/net", json!({"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})).is(204);
    let login = json!({"role_id": role_id(&bench, "net")});
    bench.post("login", login.clone()).is(200);
    bench.remote.address = Some("10.0.0.1".parse().unwrap());
    bench
        .post("login", login.clone())
        .refuses(400, "source address \"10.0.0.1\" unauthorized through CIDR restrictions on the role");
    bench.remote.address = None;
    bench.post("login", login).refuses(400, "failed to get connection information");
}

#[test]
fn an_address_that_is_refused_spends_no_use() {
    let mut bench = approle();
    bench.post("role/app", json!({"secret_id_num_uses": 1})).is(204);
    let (secret, _) =
        secret_id(&bench, "app", json!({"cidr_list": "10.0.0.0/8", "token_bound_cidrs": "10.1.0.0/16"}));
    log_in(&bench, "app", &secret).refuses(400, "unauthorized through CIDR restrictions on the secret ID");
    bench.remote.address = Some("::ffff:10.2.3.4".parse().unwrap());
    let claim = log_in(&bench, "app", &secret).is(200).claim.unwrap();
    assert_eq!(claim.terms.bound_cidrs, ["10.1.0.0/16"]);
}

#[test]
fn custom_secret_ids_are_taken_once() {
    let bench = approle();
    bench.post("role/app", json!({})).is(204);
    bench.post("role/app/custom-secret-id", json!({})).refuses(400, "missing secret_id");
    let made = bench.post("role/app/custom-secret-id", json!({"secret_id": "mine"})).is(200);
    assert_eq!(text(made, "secret_id"), "mine");
    let again = bench.post("role/app/custom-secret-id", json!({"secret_id": "mine"}));
    again.refuses(400, "failed to store secret_id: SecretID is already registered");
    log_in(&bench, "app", "mine").is(200);
    bench
        .post("role/app/custom-secret-id", json!({"secret_id": "x".repeat(5000)}))
        .refuses(400, "longer than 4096");
}

#[test]
fn secret_ids_are_destroyed_within_their_role() {
    let bench = approle();
    bench.post("role/a", json!({})).is(204);
    bench.post("role/b", json!({})).is(204);
    let (secret, accessor) = secret_id(&bench, "b", json!({}));
    bench
        .post("role/a/secret-id-accessor/destroy", json!({"secret_id_accessor": accessor}))
        .refuses(403, "invalid secret id accessor");
    bench.post("role/a/secret-id-accessor/lookup", json!({"secret_id_accessor": accessor})).is(204);
    bench.post("role/a/secret-id/lookup", json!({"secret_id": secret})).is(204);
    bench.post("role/a/secret-id/destroy", json!({"secret_id": secret})).is(204);
    log_in(&bench, "b", &secret).is(200);
    bench.post("role/b/secret-id-accessor/destroy", json!({"secret_id_accessor": accessor})).is(204);
    log_in(&bench, "b", &secret).refuses(400, WRONG);
    for (path, field) in [("secret-id", "secret_id"), ("secret-id-accessor", "secret_id_accessor")] {
        let missing = format!("missing {field}");
        bench.post(&format!("role/b/{path}/destroy"), json!({})).refuses(400, &missing);
        bench.delete(&format!("role/b/{path}/destroy")).refuses(400, &missing);
        bench.post(&format!("role/b/{path}/lookup"), json!({})).refuses(400, &missing);
        let nowhere = bench.post(&format!("role/nope/{path}/destroy"), json!({field: "x"}));
        nowhere.refuses(400, "role \"nope\" does not exist");
    }
    bench.post("role/b/secret-id/destroy", json!({"secret_id": "nope"})).is(204);
    let unknown = bench.post("role/b/secret-id-accessor/destroy", json!({"secret_id_accessor": "nope"}));
    unknown.refuses(400, "failed to find accessor entry for secret_id_accessor: \"nope\"");
    let (secret, _) = secret_id(&bench, "b", json!({}));
    bench.delete(&format!("role/b/secret-id/destroy?secret_id={secret}")).is(204);
    log_in(&bench, "b", &secret).refuses(400, WRONG);
}

/// The tables of secret ids and accessors.
const SECRET_IDS: u8 = 4;
const ACCESSORS: u8 = 5;

#[test]
fn what_is_over_is_refused_at_once_and_swept_later() {
    let mut bench = approle();
    bench.post("role/app", json!({})).is(204);
    let (secret, _) = secret_id(&bench, "app", json!({"ttl": 10}));
    let (lasting, _) = secret_id(&bench, "app", json!({}));
    bench.wait(9);
    log_in(&bench, "app", &secret).is(200);
    assert_eq!(bench.tick(), 0);
    bench.wait(1);
    log_in(&bench, "app", &secret).refuses(400, WRONG);
    bench.post("role/app/secret-id/lookup", json!({"secret_id": secret})).is(204);
    assert_eq!(bench.list("role/app/secret-id").is(200).data["keys"].as_array().unwrap().len(), 1);
    assert_eq!(bench.ids(SECRET_IDS).0, 2);
    assert_eq!(bench.tick(), 1);
    assert_eq!((bench.ids(SECRET_IDS).0, bench.ids(ACCESSORS).0), (1, 1));
    log_in(&bench, "app", &lasting).is(200);
}

#[test]
fn tidy_goes_through_all_in_pieces() {
    let mut bench = approle();
    bench.post("role/app", json!({})).is(204);
    for index in 0..600 {
        secret_id(&bench, "app", if index % 2 == 0 { json!({"ttl": 10}) } else { json!({}) });
    }
    bench.wait(10);
    let begun = bench.post("tidy/secret-id", json!({})).is(202);
    assert!(begun.warnings[0].starts_with("Tidy operation successfully started."));
    bench.tick();
    assert_eq!((bench.ids(SECRET_IDS).0, bench.ids(ACCESSORS).0), (300, 300));
}

#[test]
fn a_role_takes_its_secret_ids_along() {
    let bench = approle();
    bench.post("role/app", json!({})).is(204);
    bench.post("role/other", json!({})).is(204);
    for _ in 0..300 {
        secret_id(&bench, "app", json!({}));
    }
    let (other, _) = secret_id(&bench, "other", json!({}));
    bench.delete("role/app").is(204);
    bench.tick();
    assert_eq!((bench.ids(SECRET_IDS).0, bench.ids(ACCESSORS).0), (1, 1));
    log_in(&bench, "other", &other).is(200);
}

#[test]
fn no_secret_id_is_stored() {
    let bench = approle();
    bench.post("role/app", json!({})).is(204);
    let (secret, _) = secret_id(&bench, "app", json!({}));
    bench.post("role/app/custom-secret-id", json!({"secret_id": "CANARY"})).is(200);
    for table in [2, SECRET_IDS, ACCESSORS] {
        let stored = String::from_utf8_lossy(&bench.ids(table).1).into_owned();
        assert!(!stored.contains("CANARY") && !stored.contains(&secret), "table {table}");
    }
}

/// What was allowed when a secret id was made is not allowed for ever.
#[test]
fn secret_ids_stay_within_what_the_role_allows_by_now() {
    let mut bench = approle();
    bench.remote.address = Some("10.1.2.3".parse().unwrap());
    bench.post("role/app", json!({})).is(204);
    let (secret, _) = secret_id(&bench, "app", json!({"cidr_list": "10.0.0.0/8"}));
    log_in(&bench, "app", &secret).is(200);
    bench.post("role/app", json!({"secret_id_bound_cidrs": "10.1.0.0/16"})).is(204);
    let subset = "failed to verify subset relationship between CIDR blocks";
    log_in(&bench, "app", &secret).refuses(400, subset);
    bench.post("role/app", json!({"secret_id_bound_cidrs": "10.0.0.0/8"})).is(204);
    log_in(&bench, "app", &secret).is(200);
    // Neither does one widen where the tokens of its role may be used.
    bench.post("role/app", json!({"token_bound_cidrs": "10.0.0.0/8"})).is(204);
    let make = |blocks: &str| bench.post("role/app/secret-id", json!({ "token_bound_cidrs": blocks }));
    make("10.2.0.0/16").is(200);
    for wide in ["0.0.0.0/0", "11.0.0.0/8", "10.0.0.0/8,11.0.0.0/8", "::/0"] {
        make(wide).refuses(400, subset);
    }
}
