//! A CA is replaced: published, then signing, and the old one goes with its last leaf.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{Desk, advice, entity, is_wanted, mount, ready, renewal_name, role, text};

const DAY: u64 = 24 * 3600;

fn state(bench: &Bench) -> Value {
    bench.get("roll").is(200).data
}

fn leaf(bench: &Bench, name: &str) -> String {
    let answer = bench.post("issue/r", json!({"common_name": name})).is(200);
    let chain: Vec<&str> =
        answer.data["ca_chain"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert!(!chain.is_empty());
    text(&answer, "certificate").to_owned()
}

fn bundle_of(bench: &Bench, pem: &str) -> String {
    bench.get(&format!("bundle/{}", renewal_name(pem))).is(200).text
}

fn count(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

/// What a peer with this bundle thinks of a leaf, as openssl judges.
#[track_caller]
fn trusts(bundle: &str, leaf: &str, name: &str, at: u64) {
    let desk = Desk::new(name);
    desk.put("ca.pem", bundle).put("leaf.pem", leaf);
    desk.openssl(&format!("verify -attime {at} -CAfile ca.pem leaf.pem"));
}

#[test]
fn a_root_is_rolled_step_by_step() {
    let mut bench = ready();
    role(&bench, json!({"ttl": "48h"}));
    let old = leaf(&bench, "old.example.com");
    let alone = bundle_of(&bench, &old);
    assert_eq!(count(&alone), 1);
    bench.get("roll").is(404);
    let begun = bench.post("roll", json!({"publish_for": "1h"})).is(200).data;
    assert_eq!((&begun["state"], &begun["abortable"]), (&json!("published"), &json!(true)));
    assert_eq!(
        (&begun["old"]["common_name"], &begun["next"]["common_name"]),
        (&json!("Root"), &json!("Root 2"))
    );
    let next = begun["next"]["issuer_id"].as_str().unwrap().to_owned();

    // Published: both are trusted, the old one signs, the new one cannot even be asked to.
    let both = bundle_of(&bench, &old);
    assert_eq!(count(&both), 2);
    assert!(both.starts_with(&alone));
    assert_eq!(bench.get("issuer/default/bundle").text, both);
    assert_eq!(bench.get(&format!("issuer/{next}/bundle")).text, both, "one roll has one bundle");
    assert_eq!(advice(&bench, &old)["bundle"], begun["bundle"]);
    let during = leaf(&bench, "during.example.com");
    let start = crate::NOW + 60;
    trusts(&alone, &during, "roll-1", start);
    bench
        .post(&format!("issuer/{next}/issue/r"), json!({"common_name": "a.example.com"}))
        .refuses(500, "does not allow issuing-certificates");
    bench.post("roll", json!({})).refuses(400, "one CA of a mount is rolled at a time");
    bench.wait(3599);
    bench.tick();
    assert_eq!(state(&bench)["state"], "published");

    // The switch: the new one signs, the old one does not any more, both are trusted.
    bench.wait(1);
    bench.tick();
    let shown = state(&bench);
    assert_eq!(
        (&shown["state"], &shown["leaves"], &shown["abortable"]),
        (&json!("draining"), &json!(2), &json!(false))
    );
    let new = leaf(&bench, "new.example.com");
    let at = start + 3600;
    for (name, pem) in [("roll-2", &old), ("roll-3", &during), ("roll-4", &new)] {
        assert_eq!(bundle_of(&bench, pem), both, "{name}");
        trusts(&both, pem, name, at);
        assert!(!is_wanted(&bench, pem), "they are renewed when they would have been");
    }
    bench.post("roll/abort", json!({})).refuses(400, "it can be given up until the next CA signs");
    let old_ref = shown["old"]["issuer_id"].as_str().unwrap().to_owned();
    bench
        .post(&format!("issuer/{old_ref}/issue/r"), json!({"common_name": "a.example.com"}))
        .refuses(500, "does not allow issuing-certificates");

    // The old one leaves the bundle with its last leaf and not before; the lists of its revocations go on.
    bench.wait(2 * DAY - 3600 - 2);
    bench.tick();
    assert_eq!(state(&bench)["state"], "draining");
    assert_eq!(bundle_of(&bench, &new), both);
    bench.wait(10);
    bench.tick();
    let shown = state(&bench);
    assert_eq!((&shown["state"], &shown["leaves"]), (&json!("finished"), &json!(0)));
    let after = bundle_of(&bench, &new);
    assert_eq!(both.trim_start_matches(&alone), after);
    trusts(&after, &leaf(&bench, "later.example.com"), "roll-5", at + 2 * DAY);
    bench.get(&format!("issuer/{old_ref}/crl/der")).is(200);
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    assert_eq!(state(&bench)["next"]["common_name"], "Root 3");
}

#[test]
fn a_roll_is_given_up_before_the_switch() {
    let mut bench = ready();
    let old = leaf(&bench, "old.example.com");
    bench.post("roll", json!({"publish_for": "1h", "issuer_name": "g2"})).is(200);
    assert_eq!(bench.post("roll/abort", json!({})).is(200).data["state"], "aborted");
    assert_eq!(count(&bundle_of(&bench, &old)), 1);
    bench.wait(7200);
    bench.tick();
    assert_eq!(state(&bench)["state"], "aborted", "its date comes to nothing");
    bench.post("issuer/g2/issue/r", json!({"common_name": "a.example.com"})).refuses(500, "does not allow");
    bench.post("roll/switch", json!({})).refuses(400, "aborted already");
}

#[test]
fn revoked_leaves_hold_nothing_up() {
    let mut bench = ready();
    role(&bench, json!({"ttl": "600h", "max_ttl": "600h"}));
    let old = leaf(&bench, "old.example.com");
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    bench.wait(3600);
    bench.tick();
    assert_eq!(state(&bench)["leaves"], 1);
    bench.post("revoke", json!({"certificate": old})).is(200);
    bench.wait(DAY);
    bench.tick();
    assert_eq!(state(&bench)["state"], "finished");
}

#[test]
fn the_switch_waits_for_those_who_do_not_trust_the_next_ca() {
    let mut bench = ready();
    role(&bench, json!({"ttl": "48h"}));
    bench.caller = entity("ann");
    let answer = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let pem = text(&answer, "certificate").to_owned();
    let report = |bench: &Bench, bundle: &Value| {
        let serial = &answer.data["serial_number"];
        let body = json!({"serial_number": serial, "host": "h1", "name": "web", "bundle": bundle});
        bench.post("inventory/report", body).is(204);
    };
    let alone = advice(&bench, &pem)["bundle"].clone();
    report(&bench, &alone);
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    bench.wait(2 * 3600);
    bench.tick();
    let shown = state(&bench);
    assert_eq!((&shown["state"], &shown["waiting_for"]), (&json!("published"), &json!(1)));
    assert_eq!(shown["waiting_hosts"], json!(["h1/web"]));
    report(&bench, &advice(&bench, &pem)["bundle"]);
    bench.wait(60);
    bench.tick();
    assert_eq!(state(&bench)["state"], "draining");

    // By hand it goes at once, with a warning.
    let mut bench = ready();
    bench.caller = entity("ann");
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let body = json!({"serial_number": leaf.data["serial_number"], "host": "h1", "name": "web"});
    bench.post("inventory/report", body).is(204);
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    let switched = bench.post("roll/switch", json!({})).is(200);
    assert!(switched.warnings[0].contains("1 holders do not trust"), "{:?}", switched.warnings);
    assert_eq!(switched.data["state"], "draining");
    bench.wait(3600);
    bench.tick();
}

#[test]
fn roles_that_name_the_old_ca_follow_and_what_was_not_stored_is_waited_for() {
    let mut bench = mount();
    let body = json!({"common_name": "Root", "issuer_name": "g1", "key_type": "ec", "ttl": "700h"});
    bench.post("root/generate/internal", body).is(200);
    role(&bench, json!({"issuer_ref": "g1", "no_store": true, "max_ttl": "72h"}));
    let old = bench.post("issue/r", json!({"common_name": "a.example.com", "ttl": "72h"})).is(200);
    let next =
        bench.post("roll", json!({"publish_for": "1h", "issuer_name": "g2"})).is(200).data["next"].clone();
    bench.wait(3600);
    bench.tick();
    assert_eq!(bench.get("roles/r").data["issuer_ref"], next["issuer_id"]);
    let new = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    assert_ne!(new.data["issuing_ca"], old.data["issuing_ca"]);
    assert_eq!(bench.get("config/issuers").data["default"], next["issuer_id"]);
    bench.wait(3 * DAY - 10);
    bench.tick();
    assert_eq!(state(&bench)["state"], "draining");
    bench.wait(20);
    bench.tick();
    assert_eq!(state(&bench)["state"], "finished");
}

#[test]
fn an_intermediate_is_rolled_to_one_that_was_brought() {
    let mut bench = ready();
    let root = bench.get("issuer/default").data["issuer_id"].clone();
    let intermediate = |bench: &Bench, name: &str| {
        let asked = bench
            .post("issuers/generate/intermediate/internal", json!({"common_name": name, "key_type": "ec"}))
            .is(200);
        let body = json!({"csr": asked.data["csr"], "common_name": name, "ttl": "600h"});
        let signed =
            bench.post(&format!("issuer/{}/sign-intermediate", root.as_str().unwrap()), body).is(200);
        let set =
            bench.post("intermediate/set-signed", json!({"certificate": signed.data["certificate"]})).is(200);
        set.data["imported_issuers"][0].as_str().unwrap().to_owned()
    };
    let (first, second) = (intermediate(&bench, "I1"), intermediate(&bench, "I2"));
    bench.post("config/issuers", json!({"default": first})).is(200);
    let leaf = leaf(&bench, "a.example.com");
    let bundle = bundle_of(&bench, &leaf);
    bench.post("roll", json!({"publish_for": "1h"})).refuses(400, "the CA is no root");
    bench.post("roll", json!({"publish_for": "1m", "next_ref": second})).refuses(400, "need 900 s");
    bench.post("roll", json!({"next_ref": first})).refuses(400, "that is to be replaced");
    bench.post("roll", json!({"publish_for": "1h", "next_ref": second})).is(200);
    assert_eq!(bundle_of(&bench, &leaf), bundle, "both stand below one root");
    bench.wait(3600);
    bench.tick();
    assert_eq!(bench.get("config/issuers").data["default"], second.as_str());
    let answer = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    let desk = Desk::new("roll-intermediate");
    desk.put("ca.pem", &bundle)
        .put("i.pem", text(&answer, "issuing_ca"))
        .put("leaf.pem", text(&answer, "certificate"));
    desk.openssl(&format!("verify -attime {} -CAfile ca.pem -untrusted i.pem leaf.pem", crate::NOW + 3700));
}
