//! Many certificates at once: every holder is asked to renew, then the old ones are revoked.

use serde_json::{Value, json};
use x509::{Certificate, RevocationList};

use crate::bench::Bench;
use crate::{NOW, entity, is_wanted, ready, role, text};

fn issue(bench: &Bench, under: &str) -> String {
    let leaf = bench.post(&format!("issue/{under}"), json!({"common_name": "a.example.com"})).is(200);
    text(&leaf, "certificate").to_owned()
}

fn revoked(bench: &Bench) -> usize {
    RevocationList::from_der(&bench.get("crl").is(200).bytes).unwrap().revoked.len()
}

fn start(bench: &Bench, body: Value) -> String {
    text(&bench.post("reissue", body).is(200), "id").to_owned()
}

fn state(bench: &Bench, id: &str) -> Value {
    bench.get(&format!("reissue/{id}")).is(200).data
}

/// A mount with two roles whose certificates live for two days.
fn two_roles() -> Bench {
    let bench = ready();
    role(&bench, json!({"ttl": "48h"}));
    let body =
        json!({"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "ttl": "48h"});
    bench.post("roles/other", body).is(200);
    bench
}

#[test]
fn holders_are_asked_at_once_and_the_old_ones_revoked_after_the_grace() {
    let mut bench = two_roles();
    let old: Vec<String> = (0..130).map(|_| issue(&bench, "r")).collect();
    let others: Vec<String> = (0..5).map(|_| issue(&bench, "other")).collect();
    assert!(old.iter().all(|pem| !is_wanted(&bench, pem)));
    bench.wait(10);
    let id = start(&bench, json!({"role": "r", "revoke_after": "1h", "reason": "a leak"}));
    assert!(old.iter().all(|pem| is_wanted(&bench, pem)), "before anything was counted");
    bench.wait(1);
    let new = issue(&bench, "r");
    assert!(!is_wanted(&bench, &new), "what came after is good");
    assert!(others.iter().all(|pem| !is_wanted(&bench, pem)));
    bench.tick();
    let shown = state(&bench, &id);
    assert_eq!(
        (&shown["state"], &shown["matched"], &shown["revoked"]),
        (&json!("waiting"), &json!(130), &json!(0))
    );
    assert_eq!((&shown["reason"], &shown["role"]), (&json!("a leak"), &json!("r")));
    bench.wait(3500);
    bench.tick();
    assert_eq!(revoked(&bench), 0, "the grace is not over");

    // A restart in the midst of it changes nothing: what is to come lies on the agenda.
    let mut bench = bench.reopen(engines::open("pki", &json!({})).unwrap());
    bench.wait(200);
    bench.tick();
    let mut counts = vec![revoked(&bench)];
    for _ in 0..3 {
        bench.wait(1);
        bench.tick();
        counts.push(revoked(&bench));
    }
    assert_eq!(counts, [50, 100, 130, 130], "fifty in a second, and no more");
    let shown = state(&bench, &id);
    assert_eq!(
        (&shown["state"], &shown["revoked"], &shown["failed"]),
        (&json!("done"), &json!(130), &json!(0))
    );
    let list = RevocationList::from_der(&bench.get("crl").is(200).bytes).unwrap();
    for pem in others.iter().chain([&new]) {
        assert!(list.revoked_at(Certificate::from_pem(pem).unwrap().serial()).is_none());
    }
    assert!(
        !is_wanted(&bench, &new) && is_wanted(&bench, &old[0]),
        "a revoked one is to be renewed for ever"
    );
}

#[test]
fn monitoring_sees_how_far_re_issues_and_the_roll_are() {
    let mut bench = two_roles();
    let seen = |bench: &Bench, of: &str| bench.gauges().get(&format!("sealkeep.pki.{of}")).copied();
    let far = |bench: &Bench| {
        bench.gauges().keys().filter(|name| name.contains("reissue") || name.contains("roll.")).count()
    };
    assert_eq!(far(&bench), 0, "what never was is not shown");
    (0..3).for_each(|_| drop(issue(&bench, "r")));
    bench.wait(1);
    start(&bench, json!({"role": "r", "revoke_after": "1h"}));
    bench.tick();
    assert_eq!(seen(&bench, "reissue.count state=waiting"), Some(1.0));
    assert_eq!(seen(&bench, "reissue.count state=done"), Some(0.0));
    assert_eq!(seen(&bench, "reissue.left "), Some(3.0));
    assert_eq!(seen(&bench, "reissue.revoke_at_seconds "), Some((NOW + 3601) as f64));
    bench.wait(3600);
    bench.tick();
    assert_eq!(seen(&bench, "reissue.count state=done"), Some(1.0));
    assert_eq!((seen(&bench, "reissue.left "), seen(&bench, "reissue.revoked ")), (Some(0.0), Some(3.0)));
    assert_eq!(
        (seen(&bench, "reissue.failed "), seen(&bench, "reissue.revoke_at_seconds ")),
        (Some(0.0), None)
    );
    issue(&bench, "r");
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    assert_eq!(seen(&bench, "roll.state state=published"), Some(1.0));
    assert_eq!(seen(&bench, "roll.publish_until_seconds "), Some((NOW + 7201) as f64));
    bench.wait(3600);
    bench.tick();
    assert_eq!(
        (seen(&bench, "roll.state state=published"), seen(&bench, "roll.state state=draining")),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(
        (seen(&bench, "roll.leaves "), seen(&bench, "roll.publish_until_seconds ")),
        (Some(1.0), None)
    );
    assert_eq!(seen(&bench, "roll.last_leaf_ends_seconds "), Some((NOW + 3601 + 48 * 3600) as f64));
    assert_eq!(far(&bench), 8 + 7);
}

#[test]
fn owners_keys_and_issuers_are_found() {
    let mut bench = two_roles();
    bench.caller = entity("ann");
    let of_ann = issue(&bench, "r");
    bench.caller = entity("bob");
    let (of_bob, also_bob) = (issue(&bench, "r"), issue(&bench, "other"));
    bench.wait(1);
    let all = [&of_ann, &of_bob, &also_bob];
    let wanted = |bench: &Bench, body: Value| {
        let id = start(bench, body);
        let wanted = all.map(|pem| is_wanted(bench, pem));
        bench.post(&format!("reissue/{id}/abort"), json!({})).is(204);
        assert!(all.iter().all(|pem| !is_wanted(bench, pem)), "what is given up asks nobody");
        wanted
    };
    assert_eq!(wanted(&bench, json!({"entity_id": "bob"})), [false, true, true]);
    assert_eq!(wanted(&bench, json!({"entity_id": "bob", "role": "r"})), [false, true, false]);
    assert_eq!(wanted(&bench, json!({"issuer_ref": "default"})), [true; 3]);
    let key = Certificate::from_pem(&of_ann).unwrap();
    let id: String = key.public_key().key_id().iter().map(|byte| format!("{byte:02X}:")).collect();
    assert_eq!(wanted(&bench, json!({"key_id": id.trim_end_matches(':')})), [true, false, false]);
    bench.tick();
    bench.wait(48 * 3600);
    bench.tick();
    assert_eq!(revoked(&bench), 0, "nothing of what was given up is revoked");
}

#[test]
fn the_certificates_of_one_key_are_revoked_among_many() {
    let mut bench = two_roles();
    let desk = crate::Desk::new("one-key");
    let csr = desk.csr(&format!("{} -subj /CN=a.example.com", crate::EC));
    let sign = || bench.post("sign/r", json!({"csr": csr})).is(200);
    let own: Vec<_> = (0..3).map(|_| text(&sign(), "certificate").to_owned()).collect();
    for _ in 0..40 {
        issue(&bench, "r");
    }
    desk.openssl("req -in r.pem -noout -pubkey -out p.pem");
    desk.openssl("pkey -pubin -in p.pem -outform DER -out p.der");
    let digest = desk.openssl("dgst -sha256 -r p.der");
    bench.wait(1);
    let body = json!({"key_id": digest.split(' ').next(), "revoke_after": "1h", "reason": "keyCompromise"});
    let id = start(&bench, body);
    assert!(own.iter().all(|pem| is_wanted(&bench, pem)));
    bench.tick();
    assert_eq!(state(&bench, &id)["matched"], 3);
    bench.wait(3600);
    bench.tick();
    assert_eq!((&state(&bench, &id)["state"], revoked(&bench)), (&json!("done"), 3));
    bench.post("sign/r", json!({"csr": csr})).refuses(400, "the key is blocked");
}

#[test]
fn a_dry_run_counts_and_does_nothing() {
    let mut bench = two_roles();
    let leaf = issue(&bench, "r");
    issue(&bench, "other");
    bench.wait(1);
    let id = start(&bench, json!({"issuer_ref": "default", "dry_run": true}));
    assert!(!is_wanted(&bench, &leaf));
    bench.tick();
    let shown = state(&bench, &id);
    assert_eq!((&shown["state"], &shown["matched"]), (&json!("done"), &json!(2)), "a root is no leaf");
    bench.wait(47 * 3600);
    bench.tick();
    assert_eq!(revoked(&bench), 0);
    bench.post(&format!("reissue/{id}/abort"), json!({})).refuses(400, "it is done already");
}

#[test]
fn without_revocation_holders_are_asked_until_the_last_has_ended() {
    let mut bench = two_roles();
    let leaf = issue(&bench, "r");
    bench.wait(1);
    let id = start(&bench, json!({"role": "r", "revoke": false}));
    bench.tick();
    assert!(is_wanted(&bench, &leaf));
    assert_eq!(state(&bench, &id)["revoke_at"], Value::Null);
    bench.wait(48 * 3600);
    bench.tick();
    assert_eq!(state(&bench, &id)["state"], "done");
    assert_eq!(revoked(&bench), 0);
}

#[test]
fn who_has_not_renewed_is_named() {
    let mut bench = two_roles();
    bench.caller = entity("ann");
    let report = |host: &str| {
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
        let body = json!({"serial_number": leaf.data["serial_number"], "host": host, "name": "web"});
        bench.post("inventory/report", body).is(204);
    };
    report("h1");
    report("h2");
    bench.wait(1);
    let id = start(&bench, json!({"role": "r"}));
    bench.wait(1);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let body = json!({"serial_number": leaf.data["serial_number"], "host": "h1", "name": "web"});
    bench.post("inventory/report", body).is(204);
    let shown = state(&bench, &id);
    assert_eq!((&shown["waiting_for"], &shown["waiting_hosts"]), (&json!(1), &json!(["h2/web"])));
    let listed = bench.list("reissue").is(200).data;
    assert_eq!(listed["key_info"][&id]["started"], "2026-01-01T00:00:01Z");
    assert_eq!(NOW + 1, 1_767_225_601);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let bench = two_roles();
    for (body, why) in [
        (json!({}), "nothing says which certificates"),
        (json!({"role": "r", "revoke_after": "5m"}), "need 900 s at least"),
        (json!({"key_id": "abc"}), "key_id must be"),
        (json!({"role": "r", "reason": "a\u{7}"}), "control characters"),
        (
            json!({"issuer_ref": "nobody"}),
            "unable to find PKI issuer for reference: nobody; `bao list mount/issuers`",
        ),
        (
            json!({"role": "nope"}),
            "there is no role nope in mount/, and nothing was issued under it; `bao list mount/roles`",
        ),
        (json!({"role": "cel/nope", "dry_run": true}), "there is no role cel/nope"),
        (json!({"entity_id": "nope"}), "nothing was issued to the entity nope in mount/"),
        (json!({"key_id": "ab".repeat(20)}), "no certificate in mount/ that is still good has the key abab"),
    ] {
        bench.post("reissue", body).refuses(400, why);
    }
    for _ in 0..16 {
        start(&bench, json!({"role": "r"}));
    }
    bench.post("reissue", json!({"role": "r"})).refuses(400, "16 re-issues go on already");
}

/// More than one piece of the search looks at, by the re-issue and by the roll of the CA.
#[test]
fn each_certificate_counts_once_in_however_many_pieces_they_are_looked_at() {
    const MANY: usize = 1003;
    let mut bench = two_roles();
    (0..MANY).for_each(|_| drop(issue(&bench, "r")));
    bench.wait(1);
    let id = start(&bench, json!({"role": "r", "dry_run": true}));
    let until_done = |bench: &Bench, what: &str, done: &dyn Fn() -> bool| {
        let ticks = (0..10).find(|_| {
            bench.tick();
            done()
        });
        assert!(ticks.is_some(), "{what} has not come to its end");
    };
    until_done(&bench, "the count", &|| state(&bench, &id)["state"] == "done");
    assert_eq!(state(&bench, &id)["matched"], MANY);
    bench.post("roll", json!({"publish_for": "1h"})).is(200);
    bench.wait(3600);
    let roll = || bench.get("roll").is(200).data;
    until_done(&bench, "the search", &|| roll()["leaves"] == MANY);
    assert_eq!(roll()["state"], "draining");
}

/// What a role issued is found without looking at what others did, for a re-issue as for the roll of a CA.
#[test]
fn to_replace_a_few_costs_what_they_are_however_many_there_are() {
    let cost = |others: usize| {
        let (mut bench, disk) = Bench::counting(engines::open("pki", &json!({})).unwrap());
        let root = |name: &str| {
            let body = json!({"common_name": name, "issuer_name": name, "key_type": "ec", "ttl": "700h"});
            bench.post("root/generate/internal", body).is(200);
        };
        root("one");
        root("two");
        role(&bench, json!({"ttl": "48h"}));
        let body = json!({"allow_any_name": true, "key_type": "ec", "ttl": "48h", "issuer_ref": "two"});
        bench.post("roles/other", body).is(200);
        (0..others).for_each(|_| drop(issue(&bench, "r")));
        (0..10).for_each(|_| drop(issue(&bench, "other")));
        bench.wait(1);
        let before = disk.reads();
        let id = start(&bench, json!({"role": "other", "revoke_after": "1h"}));
        bench.tick();
        bench.wait(3600);
        bench.tick();
        assert_eq!(
            (&state(&bench, &id)["state"], &state(&bench, &id)["revoked"]),
            (&json!("done"), &json!(10))
        );
        let replaced = disk.reads() - before;
        (0..10).for_each(|_| drop(issue(&bench, "other")));
        bench.post("roll", json!({"issuer_ref": "two", "publish_for": "1h"})).is(200);
        bench.wait(3600);
        let before = disk.reads();
        bench.tick();
        assert_eq!(bench.get("roll").is(200).data["leaves"], 10);
        (replaced, disk.reads() - before)
    };
    let (few, many) = (cost(1), cost(700));
    assert_eq!(few, many, "reads of a re-issue, and of the search of a roll");
    assert!(few.0 < 400 && few.1 < 200, "{few:?}");
}
