//! One-time passwords.

use serde_json::{Value, json};

use crate::{Bench, mount, ready, sign};

/// A mount with the role `o` for the users `ann` and `bob` on machines of two networks.
fn passwords() -> Bench {
    let bench = mount();
    role(&bench, json!({}));
    bench
}

fn role(bench: &Bench, changes: Value) {
    let mut body = json!({"key_type": "otp", "default_user": "ann", "allowed_users": "bob, eve",
        "cidr_list": "10.0.0.0/8, fd00::/8", "exclude_cidr_list": "10.9.0.0/16"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("roles/o", body).is(204);
}

fn make(bench: &Bench) -> String {
    let made = bench.post("creds/o", json!({"ip": "10.1.1.1"})).is(200).data;
    assert_eq!(
        made,
        json!({"ip": "10.1.1.1", "key": made["key"], "key_type": "otp", "port": 22, "username": "ann"})
    );
    made["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_password_is_taken_once() {
    let bench = passwords();
    let (first, second) = (make(&bench), make(&bench));
    assert_ne!(first, second);
    let verify = |otp: &str| bench.post("verify", json!({ "otp": otp }));
    let expect = json!({"ip": "10.1.1.1", "role_name": "o", "username": "ann"});
    assert_eq!(verify(&first).is(200).data, expect);
    verify(&first).refuses(400, "OTP not found");
    for wrong in [format!(" {second}"), second.to_uppercase(), String::new(), "nope".to_owned()] {
        verify(&wrong).refuses(400, "OTP not found");
    }
    assert_eq!(verify(&second).is(200).data, expect);
    assert_eq!(verify("verify-echo-request").is(200).data, json!({"message": "verify-echo-response"}));
}

#[test]
fn a_password_ends_with_its_lease_and_lies_nowhere_in_clear() {
    let mut bench = passwords();
    let password = make(&bench);
    let (count, stored) = bench.ids(3);
    assert_eq!(count, 1);
    assert!(!String::from_utf8_lossy(&stored).contains(&password));
    bench.wait(2_764_800);
    assert_eq!(bench.tick(), 1);
    bench.post("verify", json!({ "otp": password })).refuses(400, "OTP not found");
}

#[test]
fn users_and_machines_are_those_of_the_role() {
    let bench = passwords();
    let ask = |body: Value| bench.post("creds/o", body);
    for (ip, shown) in [("10.8.0.1", "10.8.0.1"), ("::ffff:10.1.1.1", "10.1.1.1"), ("fd00::0:1", "fd00::1")] {
        assert_eq!(ask(json!({"ip": ip, "username": "eve"})).is(200).data["ip"], shown);
    }
    for ip in ["11.1.1.1", "10.9.1.1", "::ffff:10.9.1.1", "fe80::1"] {
        ask(json!({ "ip": ip })).refuses(400, "Error validating IP: IP does not belong to role");
    }
    for ip in ["zz", "10.1.1.1/8", "10.1.1.1\n", "010.1.1.1", "localhost"] {
        ask(json!({ "ip": ip })).refuses(400, "Invalid IP");
    }
    ask(json!({})).refuses(400, "Missing ip");
    ask(json!({"ip": "10.1.1.1", "username": "root"}))
        .refuses(400, "Username is not present is allowed users list");
    role(&bench, json!({"allowed_users": ""}));
    ask(json!({"ip": "10.1.1.1", "username": "bob"}))
        .refuses(400, "Username has to be either in allowed users list");
    role(&bench, json!({"allowed_users": "*", "port": 2222}));
    assert_eq!(ask(json!({"ip": "10.1.1.1", "username": "root"})).is(200).data["port"], 2222);
    ask(json!({"ip": "10.1.1.1", "username": "ro\not"})).refuses(400, "username must be at most");
    bench.post("creds/nope", json!({"ip": "10.1.1.1"})).refuses(400, "Role \"nope\" not found");
}

#[test]
fn a_role_is_for_one_thing() {
    let bench = ready(json!({"default_user": "ann"}));
    role(&bench, json!({}));
    bench
        .post("creds/r", json!({"ip": "10.1.1.1"}))
        .refuses(400, "is of key type ca, which gives no passwords");
    bench.post("issue/o", json!({})).refuses(400, "role key type 'otp' not allowed to issue key pairs");
    bench
        .post("sign/o", json!({"public_key": crate::USER_KEY}))
        .refuses(400, "cert_type 'user' is not allowed by role");
    sign(&bench, json!({})).is(200);
}

#[test]
fn any_address_is_for_roles_that_are_named() {
    let bench = passwords();
    let lookup = |ip: &str| bench.post("lookup", json!({ "ip": ip })).is(200).data["roles"].clone();
    assert_eq!(lookup("10.1.1.1"), json!(["o"]));
    assert_eq!(lookup("10.9.1.1"), Value::Null);
    bench.get("config/zeroaddress").is(404);
    bench.post("config/zeroaddress", json!({})).refuses(400, "Missing roles");
    bench.post("config/zeroaddress", json!({"roles": "o,nope"})).refuses(400, "Role \"nope\" does not exist");
    bench.post("config/zeroaddress", json!({"roles": "o"})).is(204);
    assert_eq!(bench.get("config/zeroaddress").data, json!({"roles": ["o"]}));
    assert_eq!(lookup("10.1.1.1"), json!(["o"]));
    assert_eq!(lookup("11.1.1.1"), json!(["o"]));
    bench.post("creds/o", json!({"ip": "11.1.1.1"})).is(200);
    // A later role of the same name does not inherit it.
    bench.delete("roles/o").is(204);
    role(&bench, json!({}));
    bench.post("creds/o", json!({"ip": "11.1.1.1"})).refuses(400, "IP does not belong to role");
    bench.delete("config/zeroaddress").is(204);
    bench.get("config/zeroaddress").is(404);
    bench.post("lookup", json!({})).refuses(400, "Missing ip");
    bench.post("lookup", json!({"ip": "zz"})).refuses(400, "Invalid IP");
    assert_eq!(bench.delete("tidy/dynamic-keys").is(200).data["message"], "Removed 0 of 0 host keys.");
}
