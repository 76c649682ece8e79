//! The owners of a namespace's seal make its keys anew, and a root token of it. Nobody else can, and the server's own
//! keys have nothing to do with it.

use std::time::Duration;

use kit::Verb::{Delete, Get, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said};

use crate::keys::{keys, share};
use crate::sealed_namespaces::{furnish, is_sealed, seal, sealed, show, unseal, within};

const TWO_OF_THREE: &str = r#"{"secret_shares":3,"secret_threshold":2}"#;

fn asked(desk: &Desk, namespace: &str, verb: kit::Verb, path: &str, body: &str) -> Said {
    within(desk, namespace, &desk.root, verb, path, body)
}

/// An open namespace with something in it, and the shares of its key.
fn stage(seed: u64) -> (Desk, Vec<String>) {
    let desk = Desk::new(seed);
    let shares = sealed(&desk, "", "a");
    unseal(&desk, "", "a", &shares);
    furnish(&desk, "a");
    (desk, shares)
}

/// Shows shares of the key that holds until the new ones are handed out.
#[track_caller]
fn renew(desk: &Desk, shares: &[String], wish: &str) -> Value {
    let begun = asked(desk, "a", Post, "sys/rotate/root/init", wish).expect(200).json["data"].clone();
    assert_eq!(begun["required"], 2);
    let show = |key: &String| {
        asked(desk, "a", Post, "sys/rotate/root/update", &share(key, &begun["nonce"])).expect(200)
    };
    show(&shares[0]);
    show(&shares[2]).json["data"].clone()
}

#[track_caller]
fn opens(desk: &Desk, shares: &[String]) -> bool {
    seal(desk, "", "a");
    show(desk, "", "a", &shares[0]).expect(200);
    let said = show(desk, "", "a", &shares[1]);
    assert!(matches!(said.status, 200 | 400), "{said:?}");
    said.status == 200
}

#[test]
fn new_shares_open_it_and_the_old_ones_do_not() {
    let (desk, old) = stage(200);
    let done = renew(&desk, &old, TWO_OF_THREE);
    let new = keys(&done);
    assert_eq!((&done["complete"], new.len()), (&json!(true), 3));
    assert!(!opens(&desk, &old));
    unseal(&desk, "", "a", &new);
    asked(&desk, "a", Get, "kv/secret", "").expect(200);
    // A new root key changes no share; all of it outlives a restart.
    asked(&desk, "a", Post, "sys/rotate/root", "").expect(204);
    let desk = desk.crash(PowerCut::Drop);
    assert!(!opens(&desk, &old));
    unseal(&desk, "", "a", &new);
    asked(&desk, "a", Get, "kv/secret", "").expect(200);
    // The server's own shares are what they were.
    let begun = desk.ask(Post, "sys/rotate/root/init", r#"{"secret_shares":1,"secret_threshold":1}"#);
    let nonce = begun.expect(200).json["data"]["nonce"].clone();
    desk.ask(Post, "sys/rotate/root/update", &share(&desk.shares[0], &nonce)).expect(200);
}

#[test]
fn shares_that_must_be_proven_hold_when_they_are() {
    let (desk, old) = stage(201);
    let wish = r#"{"secret_shares":3,"secret_threshold":2,"require_verification":true}"#;
    let done = renew(&desk, &old, wish);
    let (new, nonce) = (keys(&done), &done["verification_nonce"]);
    assert!(opens(&desk, &old), "nobody has shown a new one");
    // Sealing forgets what was under way, the new key with it.
    asked(&desk, "a", Get, "sys/rotate/root/verify", "").expect(400);
    asked(&desk, "a", Post, "sys/rotate/root/verify", &share(&new[0], nonce)).expect(400);
    let done = renew(&desk, &old, wish);
    let (new, nonce) = (keys(&done), &done["verification_nonce"]);
    let prove = |key: &str| asked(&desk, "a", Post, "sys/rotate/root/verify", &share(key, nonce)).expect(200);
    prove(&new[1]);
    assert_eq!(prove(&new[2]).json["data"]["complete"], true);
    assert!(opens(&desk, &new) && !opens(&desk, &old));
}

#[test]
fn what_the_owners_of_one_seal_do_is_nothing_to_others() {
    let (desk, a) = stage(202);
    let b = sealed(&desk, "", "b");
    unseal(&desk, "", "b", &b);
    let begun = asked(&desk, "a", Post, "sys/rotate/root/init", TWO_OF_THREE).expect(200);
    let nonce = &begun.json["data"]["nonce"];
    for other in ["", "b"] {
        let said = asked(&desk, other, Get, "sys/rotate/root/init", "").expect(200);
        assert_eq!(said.json["data"]["started"], false, "{other}");
        asked(&desk, other, Post, "sys/rotate/root/update", &share(&a[0], nonce)).expect(400);
        asked(&desk, other, Delete, "sys/rotate/root/init", "").expect(204);
    }
    let update = |key: &str| asked(&desk, "a", Post, "sys/rotate/root/update", &share(key, nonce));
    update(&b[0]).expect(200);
    let refused = update(&b[1]).expect(400);
    assert!(refused.error().starts_with("failed to read root key"), "{refused:?}");
    update(&a[0]).expect(200);
    update(&desk.shares[0]).expect(400);
    update(&a[0]).expect(200);
    update(&a[1]).expect(200);
    assert!(!opens(&desk, &a));
}

#[test]
fn without_a_seal_of_its_own_a_namespace_has_no_keys_to_renew() {
    let (desk, _) = stage(203);
    desk.ask(Post, "sys/namespaces/plain", "").expect(200);
    asked(&desk, "a", Post, "sys/namespaces/inner", "").expect(200);
    let begun = desk.ask(Post, "sys/rotate/root/init", TWO_OF_THREE).expect(200).json["data"].clone();
    let root = desk.ask(Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    for namespace in ["plain", "a/inner"] {
        for (verb, path) in [
            (Get, "sys/key-status"),
            (Post, "sys/rotate"),
            (Post, "sys/rotate/keyring"),
            (Get, "sys/rotate/config"),
            (Post, "sys/rotate/keyring/config"),
            (Post, "sys/rotate/root"),
            (Post, "sys/rotate/root/init"),
            (Delete, "sys/rotate/root/init"),
            (Delete, "sys/rotate/root/backup"),
            (Post, "sys/generate-root-token/attempt"),
            (Delete, "sys/generate-root-token/attempt"),
        ] {
            let said = asked(&desk, namespace, verb, path, "{}").expect(400);
            assert_eq!(said.error(), "namespace is not sealable", "{namespace} {path}");
        }
        for path in ["sys/rekey/init", "sys/rekey-recovery-key/init", "sys/generate-root/attempt"] {
            let said = asked(&desk, namespace, Get, path, "").expect(400);
            assert_eq!(said.error(), "operation unavailable in namespaces", "{namespace} {path}");
        }
    }
    let still = |path: &str| desk.ask(Get, path, "").expect(200).json["data"]["nonce"].clone();
    assert_eq!(still("sys/rotate/root/init"), begun["nonce"]);
    assert_eq!(still("sys/generate-root-token/attempt"), root["nonce"]);
    asked(&desk, "a", Get, "sys/rotate/recovery/init", "").expect(400);
}

/// Makes a root token of the namespace with these shares.
#[track_caller]
fn root_token(desk: &Desk, shares: &[String]) -> String {
    let begun =
        asked(desk, "a", Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    let mut done = Value::Null;
    for key in shares {
        let said = asked(desk, "a", Post, "sys/generate-root-token/update", &share(key, &begun["nonce"]));
        done = said.expect(200).json["data"].clone();
    }
    assert_eq!(done["complete"], true);
    let body = json!({ "encoded_token": done["encoded_token"], "otp": begun["otp"] }).to_string();
    let decoded = asked(desk, "a", Post, "sys/decode-token", &body).expect(200);
    decoded.json["data"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_root_token_of_a_namespace_reaches_no_further() {
    let (desk, shares) = stage(204);
    asked(&desk, "a", Post, "sys/namespaces/inner", "").expect(200);
    desk.ask(Post, "sys/namespaces/b", "").expect(200);
    let token = root_token(&desk, &shares[..2]);
    let ask =
        |namespace: &str, verb, path: &str, body: &str| within(&desk, namespace, &token, verb, path, body);
    assert_eq!(
        ask("a", Get, "auth/token/lookup-self", "").expect(200).json["data"]["policies"],
        json!(["root"])
    );
    ask("a", Get, "kv/secret", "").expect(200);
    ask("a", Post, "sys/mounts/more", r#"{"type":"kv"}"#).expect(204);
    ask("a", Post, "sys/rotate/keyring", "").expect(204);
    ask("a/inner", Get, "sys/mounts", "").expect(200);
    for outside in ["", "b"] {
        ask(outside, Get, "sys/mounts", "").expect(403);
        ask(outside, Post, "sys/policies/acl/p", r#"{"policy":""}"#).expect(403);
    }
    ask("", Post, "sys/namespaces/a/seal", "").expect(403);
    ask("a", Get, "sys/audit", "").expect(400);
    // Nobody else in it can be given that power, not even by who has it.
    ask("a", Post, "auth/token/create", r#"{"policies":["root"]}"#).expect(400);
    let child = ask("a", Post, "auth/token/create", r#"{"policies":["default"]}"#).expect(200).token();
    within(&desk, "a", &child, Get, "kv/secret", "").expect(403);
    // The shares of the server make none of it.
    let begun =
        asked(&desk, "a", Post, "sys/generate-root-token/attempt", "").expect(200).json["data"].clone();
    let show =
        |key: &str| asked(&desk, "a", Post, "sys/generate-root-token/update", &share(key, &begun["nonce"]));
    show(&desk.shares[0]).expect(200);
    show(&shares[0]).expect(400);
    seal(&desk, "", "a");
    ask("a", Get, "kv/secret", "").expect(503);
    unseal(&desk, "", "a", &shares);
    ask("a", Get, "kv/secret", "").expect(200);
    desk.ask(Delete, "sys/namespaces/a/delete-sealed", "").expect(400);
    asked(&desk, "a", Delete, "sys/namespaces/inner", "").expect(200);
    desk.tick();
    desk.ask(Delete, "sys/namespaces/a", "").expect(200);
    ask("", Get, "auth/token/lookup-self", "").expect(403);
}

#[test]
fn terms_of_a_namespace_end_by_its_own_rule() {
    let (desk, shares) = stage(205);
    let term = |namespace: &str| {
        asked(&desk, namespace, Get, "sys/key-status", "").expect(200).json["data"]["term"].as_u64().unwrap()
    };
    let shown = asked(&desk, "a", Get, "sys/rotate/config", "").expect(200).json["data"].clone();
    assert_eq!(shown["interval"], 0);
    asked(&desk, "a", Post, "sys/rotate/config", r#"{"interval":"1h"}"#).expect(400);
    asked(&desk, "a", Post, "sys/rotate/keyring/config", r#"{"interval":"48h"}"#).expect(204);
    assert_eq!(
        asked(&desk, "a", Get, "sys/rotate/config", "").expect(200).json["data"]["interval"],
        "48h0m0s"
    );
    let servers = desk.ask(Get, "sys/rotate/config", "").expect(200);
    assert_eq!(servers.json["data"]["interval"], 0, "the server's rule is another");
    desk.wait(Duration::from_secs(47 * 3600));
    desk.tick();
    assert_eq!((term("a"), term("")), (1, 1));
    seal(&desk, "", "a");
    desk.wait(Duration::from_secs(2 * 3600));
    desk.tick();
    unseal(&desk, "", "a", &shares);
    assert_eq!(term("a"), 1, "nothing begins while it is sealed");
    desk.kernel.tick().unwrap();
    assert_eq!((term("a"), term("")), (2, 1));
    asked(&desk, "a", Get, "kv/secret", "").expect(200);
}

#[test]
fn a_power_cut_at_any_moment_leaves_shares_that_open_it() {
    let (desk, old) = stage(206);
    let start = desk.disk.changes();
    renew(&desk, &old, TWO_OF_THREE);
    let points = desk.disk.changes() - start;
    assert!(points > 1, "there is something to cut: {points}");
    for point in 0..=points {
        let (desk, old) = stage(206);
        let begun = asked(&desk, "a", Post, "sys/rotate/root/init", TWO_OF_THREE).expect(200);
        let nonce = begun.json["data"]["nonce"].clone();
        let show = |key: &str| asked(&desk, "a", Post, "sys/rotate/root/update", &share(key, &nonce));
        desk.disk.cut_at(desk.disk.changes() + point);
        show(&old[0]);
        let said = show(&old[2]);
        let desk = desk.crash(PowerCut::Tail);
        assert!(is_sealed(&desk, "", "a"));
        if said.status == 200 {
            let new = keys(&said.json["data"]);
            unseal(&desk, "", "a", &new);
            asked(&desk, "a", Get, "kv/secret", "").expect(200);
            continue;
        }
        // The answer was lost. Stored or not: the record tells, and what holds opens it.
        show_all(&desk, &old);
    }
}

fn show_all(desk: &Desk, shares: &[String]) {
    show(desk, "", "a", &shares[0]).expect(200);
    let said = show(desk, "", "a", &shares[1]);
    assert!(matches!(said.status, 200 | 400), "{said:?}");
    if said.status == 200 {
        asked(desk, "a", Get, "kv/secret", "").expect(200);
    }
}
