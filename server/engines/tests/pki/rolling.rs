//! A CA is replaced: published, then signing, and the old one goes with its last leaf.

use serde_json::{Value, json};
use x509::Certificate;

use crate::bench::{Answer, Bench};
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

/// An intermediate below the root of the mount, by its name.
fn intermediate(bench: &Bench, name: &str) -> String {
    let body = json!({"common_name": name, "key_type": "ec"});
    let asked = bench.post("issuers/generate/intermediate/internal", body).is(200);
    let body = json!({"csr": asked.data["csr"], "use_csr_values": true, "ttl": "600h", "max_path_length": 0});
    let signed = bench.post("root/sign-intermediate", body).is(200);
    let set =
        bench.post("intermediate/set-signed", json!({"certificate": signed.data["certificate"]})).is(200);
    set.data["imported_issuers"][0].as_str().unwrap().to_owned()
}

/// What a peer with this bundle thinks of an answer that has a leaf and its issuer, as openssl judges.
#[track_caller]
fn trusts_below(bundle: &str, answer: &Answer, name: &str, at: u64) {
    let desk = Desk::new(name);
    desk.put("ca.pem", bundle)
        .put("i.pem", text(answer, "issuing_ca"))
        .put("leaf.pem", text(answer, "certificate"));
    desk.openssl(&format!("verify -attime {at} -CAfile ca.pem -untrusted i.pem leaf.pem"));
}

#[test]
fn an_intermediate_is_rolled_to_one_that_was_brought() {
    let mut bench = ready();
    let (first, second) = (intermediate(&bench, "I1"), intermediate(&bench, "I2"));
    bench.post("config/issuers", json!({"default": first})).is(200);
    let leaf = leaf(&bench, "a.example.com");
    let bundle = bundle_of(&bench, &leaf);
    bench.post("roll", json!({"publish_for": "1m", "next_ref": second})).refuses(400, "need 900 s");
    bench.post("roll", json!({"next_ref": first})).refuses(400, "that is to be replaced");
    bench.post("roll", json!({"publish_for": "1h", "next_ref": second})).is(200);
    assert_eq!(bundle_of(&bench, &leaf), bundle, "both stand below one root");
    bench.wait(3600);
    bench.tick();
    assert_eq!(bench.get("config/issuers").data["default"], second.as_str());
    let answer = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    trusts_below(&bundle, &answer, "roll-intermediate", crate::NOW + 3700);
}

#[test]
fn an_intermediate_below_a_root_of_the_mount_is_made_and_signed() {
    let mut bench = ready();
    let first = intermediate(&bench, "Example I");
    let body = json!({"default": first, "default_follows_latest_issuer": true});
    bench.post("config/issuers", body).is(200);
    bench.patch(&format!("issuer/{first}"), json!({"leaf_not_after_behavior": "err"})).is(200);
    let old = leaf(&bench, "a.example.com");
    let bundle = bundle_of(&bench, &old);
    let begun = bench.post("roll", json!({"publish_for": "1h", "issuer_name": "i2"})).is(200).data;
    assert_eq!(
        (&begun["state"], &begun["next"]["common_name"], &begun["next"]["issuer_name"]),
        (&json!("published"), &json!("Example I 2"), &json!("i2"))
    );
    assert_eq!(bench.get("config/issuers").data["default"], first.as_str(), "it is nobody's default yet");
    let made = bench.get("issuer/i2").is(200);
    let (old_ca, new_ca) = (bench.get(&format!("issuer/{first}")), made);
    let [was, is] = [&old_ca, &new_ca].map(|ca| Certificate::from_pem(text(ca, "certificate")).unwrap());
    assert_eq!((is.path_length(), is.public_key().shape()), (Some(0), was.public_key().shape()));
    assert_eq!(new_ca.data["leaf_not_after_behavior"], "err");
    assert_eq!(new_ca.data["ca_chain"].as_array().unwrap().len(), 2);
    bench.get(&format!("cert/{}", is.serial().colons())).is(200);
    bench.wait(3600);
    bench.tick();
    let answer = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    assert_eq!(text(&answer, "issuing_ca").trim(), text(&new_ca, "certificate").trim());
    trusts_below(&bundle, &answer, "roll-made", crate::NOW + 3700);
    bench.wait(3600);
    bench.tick();
    assert_eq!(state(&bench)["state"], "finished");

    // Nobody would believe a CA any longer than the one above it: the last one ends with it, and has no successor.
    bench.wait(99 * 3600);
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    bench.wait(3600);
    bench.tick();
    assert_eq!(state(&bench)["state"], "finished");
    bench.post("roll", json!({"publish_for": "1h"})).refuses(400, "roll the CA above first");
}

#[test]
fn where_the_ca_above_is_elsewhere_the_roll_waits_for_a_certificate() {
    let above = ready();
    let mut bench = mount();
    let sign = |csr: &Value| {
        let body = json!({"csr": csr, "use_csr_values": true, "ttl": "600h"});
        above.post("root/sign-intermediate", body).is(200).data["certificate"].clone()
    };
    let body = json!({"common_name": "Example I", "key_type": "ec"});
    let asked = bench.post("intermediate/generate/internal", body).is(200);
    bench.post("intermediate/set-signed", json!({"certificate": sign(&asked.data["csr"])})).is(200);
    role(&bench, json!({}));
    let old = leaf(&bench, "a.example.com");
    let keys = |bench: &Bench| bench.list("keys").data["keys"].as_array().unwrap().len();

    // Given up before anybody has signed anything: its key goes too.
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    assert_eq!(keys(&bench), 2);
    assert_eq!(bench.post("roll/abort", json!({})).is(200).data["state"], "aborted");
    assert_eq!((keys(&bench), &state(&bench)["csr"]), (1, &Value::Null));

    let begun = bench.post("roll", json!({"publish_for": "1h", "issuer_name": "i2"})).is(200).data;
    assert_eq!((&begun["state"], &begun["publish_until"]), (&json!("requested"), &Value::Null));
    let awaits = begun["awaits"].as_str().unwrap();
    assert!(
        awaits.contains("signed by CN=Root") && awaits.contains("bao write mount/intermediate/set-signed")
    );
    bench.post("roll", json!({})).refuses(400, "one CA of a mount is rolled at a time");
    bench.post("roll/switch", json!({})).refuses(400, "have the request in csr signed by CN=Root");
    assert_eq!(count(&bundle_of(&bench, &old)), 1);
    bench.wait(5 * 3600);
    assert_eq!(bench.tick(), 0, "it waits as long as it takes");
    assert_eq!(
        begun["sign_with"],
        json!({"use_csr_values": true, "ttl": 600 * 3600 + 30, "max_path_length": -1})
    );
    let signed = sign(&begun["csr"]);
    let set = bench.post("intermediate/set-signed", json!({"certificate": signed})).is(200);
    let shown = state(&bench);
    assert_eq!(shown["state"], "published");
    assert_eq!(
        (&shown["next"]["issuer_id"], &shown["next"]["issuer_name"]),
        (&set.data["imported_issuers"][0], &json!("i2"))
    );
    assert_eq!((&shown["next"]["common_name"], &shown["awaits"]), (&json!("Example I 2"), &Value::Null));
    assert_eq!(shown["publish_until"], "2026-01-01T06:00:00Z");
    bench.post("issuer/i2/issue/r", json!({"common_name": "a.example.com"})).refuses(500, "does not allow");
    bench.wait(3600);
    bench.tick();
    assert_eq!(state(&bench)["switched"], "2026-01-01T06:00:00Z");
    let answer = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    assert_eq!(text(&answer, "issuing_ca").trim(), signed.as_str().unwrap().trim());
}

#[test]
fn a_next_ca_is_bound_by_the_same_constraints() {
    let names = |ca: &Answer| {
        let certificate = Certificate::from_pem(text(ca, "certificate")).unwrap();
        x509::NameConstraints::of(&certificate).unwrap().and_then(|constraints| constraints.subtrees())
    };
    // A root.
    let bench = mount();
    let body = json!({
        "common_name": "Root", "key_type": "ec", "ttl": "700h", "permitted_dns_domains": "example.com,.example.org",
        "excluded_ip_ranges": "10.9.0.0/16", "permitted_email_addresses": "example.com",
    });
    bench.post("root/generate/internal", body).is(200);
    bench.post("roll", json!({"publish_for": "1h", "issuer_name": "g2"})).is(200);
    let (old, new) = (bench.get("issuer/default"), bench.get("issuer/g2"));
    assert!(names(&old).is_some());
    assert_eq!(names(&old), names(&new));

    // An intermediate whose CA above is elsewhere: its constraints are among what is to be asked for.
    let (above, bench) = (ready(), mount());
    let sign = |csr: &Value, with: &Value| {
        let mut body = with.clone();
        body["csr"] = csr.clone();
        above.post("root/sign-intermediate", body).is(200).data["certificate"].clone()
    };
    let asked =
        bench.post("intermediate/generate/internal", json!({"common_name": "I", "key_type": "ec"})).is(200);
    let with = json!({
        "use_csr_values": true, "ttl": "600h", "max_path_length": 0, "excluded_uri_domains": ".example.net",
        "ext_key_usage": "ServerAuth",
    });
    bench.post("intermediate/set-signed", json!({"certificate": sign(&asked.data["csr"], &with)})).is(200);
    let begun =
        bench.post("roll", json!({"publish_for": "1h", "issuer_name": "g2", "ttl": "500h"})).is(200).data;
    assert_eq!(
        begun["sign_with"],
        json!({
            "use_csr_values": true, "ttl": 500 * 3600, "max_path_length": 0, "excluded_uri_domains": [".example.net"],
            "ext_key_usage_oids": ["1.3.6.1.5.5.7.3.1"],
        })
    );
    let signed = sign(&begun["csr"], &begun["sign_with"]);
    let set = bench.post("intermediate/set-signed", json!({"certificate": signed})).is(200);
    assert!(set.warnings.iter().any(|text| text.contains("does not outlive")), "{:?}", set.warnings);
    let (old, new) = (bench.get("issuer/default"), bench.get("issuer/g2"));
    assert!(names(&old).is_some());
    assert_eq!(names(&old), names(&new));
}

/// What binds a CA and cannot be asked for is not left out of the next one.
#[test]
fn a_ca_that_has_policies_is_not_rolled_without_them() {
    let (above, desk) = (ready(), Desk::new("roll-policies"));
    for (extension, is_lost) in [
        ("certificatePolicies=1.2.3.4", true),
        ("policyConstraints=critical,requireExplicitPolicy:0", true),
        ("inhibitAnyPolicy=critical,0", true),
        ("extendedKeyUsage=clientAuth", false),
    ] {
        let csr = desk.csr(&format!("{} -subj /CN=Below -addext {extension}", crate::EC));
        let body = json!({"csr": csr, "use_csr_values": true, "ttl": "600h"});
        let signed = above.post("root/sign-intermediate", body).is(200);
        let bench = mount();
        let body = json!({"pem_bundle": format!("{}\n{}", text(&signed, "certificate"), desk.text("k.pem"))});
        bench.post("issuers/import/bundle", body).is(200);
        let begun = bench.post("roll", json!({"publish_for": "1h"}));
        match is_lost {
            true => begun.refuses(400, "which the next one would lack"),
            false => drop(begun.is(200)),
        }
    }
}
