//! Namespaces with a seal of their own: closed to everybody while sealed, the server included; whole after a crash; gone
//! with everything when they are deleted.

use std::ops::ControlFlow;
use std::time::Duration;

use kernel::Request;
use kit::Verb;
use kit::Verb::{Delete, Get, List, Patch, Post};
use serde_json::json;
use storage::faulty::PowerCut;
use storage::{Error, Key, MountId, Place, Snapshot};
use tests::desk::{Desk, Said, request};

const KERNEL: MountId = MountId(*b"sealkeep/kernel\0");
/// The kernel's tables that hold rows of namespaces.
const SHARED: [u8; 8] = [1, 3, 5, 7, 14, 18, 19, 29];
/// Numbers of tables, those included that nobody has yet.
const TABLES: std::ops::Range<u8> = 0..64;
const ALL: &str = r#"{"policy":"path \"*\" { capabilities = [\"create\",\"read\",\"update\",\"patch\",\"delete\",\"list\",\"scan\",\"sudo\"] }"}"#;

pub(crate) fn within(desk: &Desk, namespace: &str, token: &str, verb: Verb, path: &str, body: &str) -> Said {
    desk.send(&Request { namespace: namespace.to_owned(), ..request(token, verb, path, body) })
}

/// Makes a namespace with a seal of two of three shares. It is sealed.
pub(crate) fn sealed(desk: &Desk, parent: &str, name: &str) -> Vec<String> {
    let body = json!({"seal": "seal \"shamir\" {\n shares = 3\n threshold = 2\n}"}).to_string();
    let said = within(desk, parent, &desk.root, Post, &format!("sys/namespaces/{name}"), &body).expect(200);
    assert_eq!(said.json["data"]["key_threshold"], 2);
    let shares = said.json["data"]["key_shares"].as_array().unwrap();
    assert_eq!(shares.len(), 3);
    shares.iter().map(|share| share.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn show(desk: &Desk, parent: &str, name: &str, share: &str) -> Said {
    let body = json!({"key": share}).to_string();
    within(desk, parent, &desk.root, Post, &format!("sys/namespaces/{name}/unseal"), &body)
}

pub(crate) fn unseal(desk: &Desk, parent: &str, name: &str, shares: &[String]) {
    show(desk, parent, name, &shares[2]).expect(200);
    let said = show(desk, parent, name, &shares[0]).expect(200);
    assert_eq!(said.json["data"]["sealed"], false, "{said:?}");
}

pub(crate) fn seal(desk: &Desk, parent: &str, name: &str) {
    within(desk, parent, &desk.root, Post, &format!("sys/namespaces/{name}/seal"), "").expect(204);
}

pub(crate) fn is_sealed(desk: &Desk, parent: &str, name: &str) -> bool {
    let path = format!("sys/namespaces/{name}/seal-status");
    within(desk, parent, &desk.root, Get, &path, "").expect(200).json["data"]["sealed"].as_bool().unwrap()
}

/// Furnishes a namespace with `kv/`, a secret, and a token that may do everything in it.
pub(crate) fn furnish(desk: &Desk, path: &str) -> String {
    let ask = |verb, at: &str, body: &str| within(desk, path, &desk.root, verb, at, body);
    ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    ask(Post, "kv/secret", &json!({"of": path}).to_string()).expect(204);
    ask(Post, "sys/policies/acl/admin", ALL).expect(204);
    ask(Post, "auth/token/create", r#"{"policies":["admin"],"ttl":"1h"}"#).expect(200).token()
}

#[track_caller]
fn closed(said: Said) {
    let said = said.expect(503);
    assert!(said.error() == "namespace is sealed" || said.error().contains("Vault is sealed"), "{said:?}");
}

/// How many rows of the kernel's tables, and which entries of other owners, there are.
fn counts(snapshot: &Snapshot) -> (usize, usize) {
    let (mut readable, mut hidden) = (0, 0);
    for table in SHARED {
        let place = Place { mount: KERNEL, table };
        let each = &mut |_: &[u8], _| {
            readable += 1;
            Ok(ControlFlow::Continue(()))
        };
        snapshot.scan(place, &[], None, each).unwrap();
    }
    // Whatever table it is in: a table of rows that are sealed so and not cleared away would show here.
    for table in TABLES {
        let place = Place { mount: KERNEL, table };
        hidden += snapshot.ids_of_rings(place, &[], usize::MAX, &|_| true).unwrap().len();
    }
    (readable, hidden)
}

#[test]
fn nobody_reaches_what_is_sealed_and_all_is_there_again() {
    let desk = Desk::new(80);
    let shares = sealed(&desk, "", "a");
    assert!(is_sealed(&desk, "", "a"), "it begins sealed");
    closed(within(&desk, "a", &desk.root, Post, "sys/mounts/kv", r#"{"type":"kv"}"#));
    unseal(&desk, "", "a", &shares);
    let admin = furnish(&desk, "a");
    within(&desk, "a", &desk.root, Post, "sys/namespaces/b", "").expect(200);
    let below = furnish(&desk, "a/b");
    within(&desk, "a", &admin, Get, "kv/secret", "").expect(200);

    seal(&desk, "", "a");
    seal(&desk, "", "a");
    let strange = String::new();
    for token in [&desk.root, &admin, &below, &strange] {
        closed(within(&desk, "a", token, Get, "kv/secret", ""));
        closed(within(&desk, "", token, Get, "a/kv/secret", ""));
        closed(within(&desk, "", token, Get, "a/b/kv/secret", ""));
        closed(within(&desk, "a", token, List, "sys/namespaces", ""));
    }
    for token in [&admin, &below] {
        let said = within(&desk, "", token, Get, "auth/token/lookup-self", "");
        assert!(matches!(said.status, 403 | 503), "{said:?}");
        within(&desk, "", token, Get, "secret/x", "").expect(503);
    }
    // Who lies within is not known even by name.
    within(&desk, "a/b", &desk.root, Get, "kv/secret", "").expect(404);
    desk.ask(Get, "sys/namespaces/a", "").expect(200);
    desk.ask(Patch, "sys/namespaces/a", r#"{"custom_metadata":{"x":"y"}}"#).expect(200);
    desk.ask(Post, "sys/mounts/a", r#"{"type":"kv"}"#).expect(400);
    closed(desk.ask(Delete, "sys/namespaces/a", ""));

    unseal(&desk, "", "a", &shares);
    assert_eq!(within(&desk, "a", &admin, Get, "kv/secret", "").expect(200).json["data"]["of"], "a");
    assert_eq!(within(&desk, "a/b", &below, Get, "kv/secret", "").expect(200).json["data"]["of"], "a/b");
}

#[test]
fn the_server_cannot_open_what_a_namespace_sealed() {
    let desk = Desk::new(81);
    let shares = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    furnish(&desk, "a");
    within(&desk, "a", &desk.root, Post, "sys/namespaces/b", "").expect(200);
    let mounts = within(&desk, "a", &desk.root, Get, "sys/mounts", "").expect(200);
    let uuid = mounts.json["data"]["kv/"]["uuid"].as_str().unwrap().replace('-', "");
    let kv = MountId(u128::from_str_radix(&uuid, 16).unwrap().to_be_bytes());
    // A look is a start with the server's key alone.
    let (desk, (tokens, hidden)) = desk.look(|snapshot| {
        assert!(snapshot.is_sealed(kv));
        let place = Place { mount: kv, table: 1 };
        let secret = snapshot.get(&Key::path(place, "secret"));
        assert!(matches!(secret, Err(Error::Sealed)), "a value");
        assert!(matches!(snapshot.list(place, ""), Err(Error::Sealed)), "a name");
        let mut tokens = 0;
        let each = &mut |_: &[u8], _| {
            tokens += 1;
            Ok(ControlFlow::Continue(()))
        };
        snapshot.scan(Place { mount: KERNEL, table: 3 }, &[], None, each).unwrap();
        let of = |table| {
            let place = Place { mount: KERNEL, table };
            snapshot.ids_of_rings(place, &[], 100, &|_| true).unwrap().len()
        };
        (tokens, [of(1), of(3), of(18)])
    });
    assert_eq!(tokens, 1, "of all tokens the server reads that of its own root");
    assert_eq!(hidden, [9, 1, 1], "the mounts of both, the token, and that there is a namespace in it");
    assert!(is_sealed(&desk, "", "a"), "a start seals");
    closed(within(&desk, "a", &desk.root, Get, "kv/secret", ""));
    unseal(&desk, "", "a", &shares);
    within(&desk, "a", &desk.root, Get, "kv/secret", "").expect(200);
    within(&desk, "a", &desk.root, Get, "b/sys/mounts", "").expect(200);
}

#[test]
fn wrong_shares_open_nothing_and_are_forgotten() {
    let desk = Desk::new(82);
    let (a, b) = (sealed(&desk, "", "a"), sealed(&desk, "", "b"));
    let said = show(&desk, "", "a", &a[0]).expect(200);
    assert_eq!(said.json["data"]["progress"], 1);
    let nonce = said.json["data"]["nonce"].clone();
    let said = show(&desk, "", "a", &a[0]).expect(200);
    assert_eq!((said.json["data"]["progress"].clone(), &said.json["data"]["nonce"]), (1.into(), &nonce));
    // Shares of another namespace make another key.
    show(&desk, "", "a", &b[1]).expect(400);
    let status = desk.ask(Get, "sys/namespaces/a/seal-status", "").expect(200);
    assert_eq!((&status.json["data"]["progress"], &status.json["data"]["nonce"]), (&0.into(), &"".into()));
    show(&desk, "", "a", &a[1]).expect(200);
    desk.ask(Post, "sys/namespaces/a/unseal", r#"{"reset":true}"#).expect(200);
    show(&desk, "", "a", &a[2]).expect(200);
    assert!(is_sealed(&desk, "", "a"), "what was shown before the reset does not count");
    for bad in ["zz", "00", "", &"ab".repeat(40)] {
        assert!(show(&desk, "", "a", bad).status >= 400, "{bad}");
    }
    show(&desk, "", "a", &a[0]).expect(200);
    assert!(!is_sealed(&desk, "", "a") && is_sealed(&desk, "", "b"));
    let token = desk.ask(Post, "auth/token/create", r#"{"policies":["default"]}"#).expect(200).token();
    for path in ["a/seal", "a/unseal"] {
        desk.ask_as(&token, Post, &format!("sys/namespaces/{path}"), "{}").expect(403);
    }
    desk.ask_as(&token, Delete, "sys/namespaces/b/delete-sealed", "").expect(403);
}

#[test]
fn a_seal_closes_those_beneath_and_each_opens_with_its_own() {
    let desk = Desk::new(83);
    let top = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &top);
    let inner = sealed(&desk, "a", "b");
    unseal(&desk, "a", "b", &inner);
    furnish(&desk, "a/b");
    // The inner one alone.
    seal(&desk, "a", "b");
    closed(within(&desk, "a/b", &desk.root, Get, "kv/secret", ""));
    within(&desk, "a", &desk.root, Get, "sys/mounts", "").expect(200);
    unseal(&desk, "a", "b", &inner);
    // Both, with the outer one.
    seal(&desk, "", "a");
    closed(show(&desk, "a", "b", &inner[0]));
    unseal(&desk, "", "a", &top);
    assert!(is_sealed(&desk, "a", "b"));
    unseal(&desk, "a", "b", &inner);
    within(&desk, "a/b", &desk.root, Get, "kv/secret", "").expect(200);
    within(&desk, "a", &desk.root, Get, "sys/namespaces/b/seal-status", "").expect(200);
    // A plain one has no seal, and lies under the nearest.
    within(&desk, "a/b", &desk.root, Post, "sys/namespaces/c", "").expect(200);
    let said = within(&desk, "a/b", &desk.root, Post, "sys/namespaces/c/seal", "").expect(400);
    assert_eq!(said.error(), "namespace is not sealable");
}

#[test]
fn keys_of_a_namespace_have_terms_of_their_own() {
    let desk = Desk::new(84);
    let shares = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    furnish(&desk, "a");
    let term = |namespace: &str| {
        let said = within(&desk, namespace, &desk.root, Get, "sys/key-status", "").expect(200);
        said.json["data"]["term"].as_u64().unwrap()
    };
    within(&desk, "a", &desk.root, Post, "sys/rotate/keyring", "").expect(204);
    assert_eq!((term("a"), term("")), (2, 1));
    within(&desk, "a", &desk.root, Post, "kv/new", r#"{"a":1}"#).expect(204);
    seal(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    for name in ["new", "secret"] {
        within(&desk, "a", &desk.root, Get, &format!("kv/{name}"), "").expect(200);
    }
    desk.ask(Post, "sys/namespaces/plain", "").expect(200);
    within(&desk, "plain", &desk.root, Get, "sys/key-status", "").expect(400);
    let moved = desk.ask(Post, "sys/remount", r#"{"from":"a/kv","to":"kv"}"#).expect(400);
    assert!(moved.error().contains("seal of its own"), "{moved:?}");
}

#[test]
fn what_ends_while_sealed_is_ended_afterwards_and_nothing_is_looked_at_meanwhile() {
    let desk = Desk::new(85);
    let shares = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    let admin = furnish(&desk, "a");
    // Somebody from above lends in it, and dies while it is sealed.
    let above = desk.ask(Post, "auth/token/create", r#"{"policies":["root"]}"#).expect(200).token();
    within(&desk, "a", &above, Post, "cubbyhole/mine", r#"{"a":1}"#).expect(204);
    let child = within(&desk, "a", &above, Post, "auth/token/create", r#"{"policies":["admin"]}"#);
    let child = child.expect(200).token();
    seal(&desk, "", "a");
    desk.wait(Duration::from_secs(2 * 3600));
    assert_eq!(desk.kernel.tick().unwrap().count, 0, "nothing of it is due");
    desk.ask(Post, "auth/token/revoke", &json!({"token": above}).to_string()).expect(204);
    desk.tick();
    assert_eq!(desk.kernel.tick().unwrap().count, 0, "what cannot be done is not tried again and again");
    unseal(&desk, "", "a", &shares);
    for token in [&admin, &child] {
        within(&desk, "a", token, Get, "kv/secret", "").expect(403);
    }
    desk.wait(Duration::from_secs(700));
    desk.tick();
    let (_, left) = desk.look(|snapshot| {
        let of = |table| {
            let place = Place { mount: KERNEL, table };
            snapshot.ids_of_rings(place, &[], 100, &|_| true).unwrap().len()
        };
        [of(3), of(5), of(19)]
    });
    assert_eq!(left, [0, 0, 0], "tokens, children and drawers are cleared away");
}

#[test]
fn a_deleted_one_leaves_nothing_through_crashes() {
    for (number, without_keys) in [false, true].into_iter().enumerate() {
        let desk = Desk::new(86 + number as u64);
        desk.tick();
        let (desk, before) = desk.look(counts);
        let shares = sealed(&desk, "", "a");
        unseal(&desk, "", "a", &shares);
        let admin = furnish(&desk, "a");
        for number in 0..270 {
            let token = within(&desk, "a", &admin, Post, "auth/token/create", r#"{"policies":["admin"]}"#);
            within(&desk, "a", &token.expect(200).token(), Post, "cubbyhole/x", r#"{"a":1}"#).expect(204);
            within(&desk, "a", &admin, Post, &format!("kv/s/{number}"), r#"{"a":1}"#).expect(204);
        }
        let mut desk = desk;
        if without_keys {
            let inner = sealed(&desk, "a", "b");
            unseal(&desk, "a", "b", &inner);
            furnish(&desk, "a/b");
            desk.ask(Delete, "sys/namespaces/a/delete-sealed", "").expect(400);
            seal(&desk, "", "a");
            let said = desk.ask(Delete, "sys/namespaces/a/delete-sealed", "").expect(400);
            assert!(said.error().contains("force=true"), "{said:?}");
            desk.ask(Delete, "sys/namespaces/a/delete-sealed?force=true", "").expect(200);
        } else {
            desk.ask(Delete, "sys/namespaces/a", "").expect(200);
        }
        // It is shown until all is cleared away, if that takes its keys.
        desk.ask(Get, "sys/namespaces/a", "").expect(if without_keys { 404 } else { 200 });
        within(&desk, "a", &admin, Get, "kv/secret", "").expect(404);
        if !without_keys {
            // A crash seals it; its leases can be ended once it is unsealed.
            desk.kernel.tick().unwrap();
            desk = desk.crash(PowerCut::Drop);
            desk.tick();
            unseal(&desk, "", "a", &shares);
        }
        for _ in 0..3 {
            desk.kernel.tick().unwrap();
            if without_keys {
                desk = desk.crash(PowerCut::Drop);
            }
        }
        desk.wait(Duration::from_secs(60));
        desk.tick();
        let (desk, after) = desk.look(counts);
        assert_eq!(after, before, "without keys: {without_keys}");
        let (desk, rings) = desk.look(Snapshot::ring_count);
        assert_eq!(rings, 0);
        // The name is free.
        sealed(&desk, "", "a");
    }
}

#[test]
fn a_crash_at_any_moment_of_its_making_leaves_it_whole_or_not_at_all() {
    let desk = Desk::new(88);
    let start = desk.disk.changes();
    sealed(&desk, "", "a");
    let points = desk.disk.changes() - start;
    for point in 0..points {
        let desk = Desk::new(88);
        let body = json!({"seal": "seal \"shamir\" { shares = 1 threshold = 1 }"}).to_string();
        desk.disk.cut_at(desk.disk.changes() + point);
        let made = desk.ask(Post, "sys/namespaces/a", &body);
        let desk = desk.crash(PowerCut::Tail);
        match desk.ask(Get, "sys/namespaces/a", "").status {
            404 => assert_ne!(made.status, 200, "what was acknowledged is lost at {point}"),
            _ if made.status == 200 => {
                let share = made.json["data"]["key_shares"][0].as_str().unwrap();
                show(&desk, "", "a", share).expect(200);
                furnish(&desk, "a");
            }
            _ => assert!(is_sealed(&desk, "", "a"), "at {point}"),
        }
    }
}

#[test]
fn a_login_that_owes_a_second_factor_is_forgotten_with_the_seal() {
    let desk = Desk::new(89);
    let shares = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    let ask = |token: &str, verb, path: &str, body: &str| within(&desk, "a", token, verb, path, body);
    let root = desk.root.as_str();
    ask(root, Post, "sys/auth/userpass", r#"{"type":"userpass"}"#).expect(204);
    ask(root, Post, "auth/userpass/users/ann", r#"{"password":"pw"}"#).expect(204);
    let log_in = || ask("", Post, "auth/userpass/login/ann", r#"{"password":"pw"}"#).expect(200);
    let entity = log_in().json["auth"]["entity_id"].clone();
    let method = r#"{"issuer":"Here","method_name":"phone","max_validation_attempts":9}"#;
    let made = ask(root, Post, "identity/mfa/method/totp", method).expect(200);
    let method = made.json["data"]["method_id"].as_str().unwrap().to_owned();
    let enrol = json!({ "method_id": method, "entity_id": entity }).to_string();
    let url = ask(root, Post, "identity/mfa/method/totp/admin-generate", &enrol).expect(200);
    let url = url.json["data"]["url"].as_str().unwrap().to_owned();
    let secret = kit::Secret::new(url.split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned());
    let body = json!({ "mfa_method_ids": [method], "auth_method_types": ["userpass"] }).to_string();
    ask(root, Post, "identity/mfa/login-enforcement/e", &body).expect(204);
    let validate = |id: &serde_json::Value| {
        let digits = otp::Digits::try_from(6).unwrap();
        let code = otp::code(&secret, otp::Algorithm::Sha1, digits, desk.seconds() / 30).unwrap();
        let body = json!({ "mfa_request_id": id, "mfa_payload": { method.as_str(): [code.to_string()] } });
        ask("", Post, "sys/mfa/validate", &body.to_string())
    };
    let begun = || log_in().json["auth"]["mfa_requirement"]["mfa_request_id"].clone();
    let waiting = begun();
    seal(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    assert_eq!(validate(&waiting).expect(400).error(), "invalid request ID");
    validate(&begun()).expect(200);
}

#[test]
fn those_in_a_sealed_namespace_outlive_a_parent_that_was_ended_alone() {
    let desk = Desk::new(95);
    let shares = sealed(&desk, "", "v");
    unseal(&desk, "", "v", &shares);
    let made = desk.ask(Post, "auth/token/create", r#"{"ttl":"9h"}"#).expect(200);
    let parent = made.token();
    let body = r#"{"ttl":"8h","policies":["default"]}"#;
    let child = within(&desk, "v", &parent, Post, "auth/token/create", body).expect(200).token();
    seal(&desk, "", "v");
    let body = json!({ "token": parent }).to_string();
    desk.ask(Post, "auth/token/revoke-orphan", &body).expect(204);
    desk.tick();
    desk.ask_as(&parent, Get, "auth/token/lookup-self", "").expect(403);
    desk.wait(Duration::from_secs(1000));
    desk.tick();
    unseal(&desk, "", "v", &shares);
    for _ in 0..2 {
        let said = within(&desk, "v", &child, Get, "auth/token/lookup-self", "").expect(200);
        assert_eq!(said.json["data"]["orphan"], true);
        desk.wait(Duration::from_secs(1000));
        desk.tick();
    }
}
