//! Revocation, lists, tidying.

use serde_json::json;
use x509::{Certificate, RevocationList, Serial};

use crate::bench::Bench;
use crate::{Desk, NOW, ready, role, text};

fn list(bench: &Bench) -> RevocationList {
    let list = RevocationList::from_der(&bench.get("crl").is(200).bytes).unwrap();
    let ca = Certificate::from_der(&bench.get("ca").is(200).bytes).unwrap();
    list.verify(ca.public_key()).unwrap();
    list
}

#[test]
fn a_revoked_certificate_is_on_the_list_at_once() {
    let (mut bench, desk) = (ready(), Desk::new("revoke"));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let serial = text(&leaf, "serial_number").to_owned();
    let before = list(&bench);
    assert!(before.revoked.is_empty());
    bench.list("certs/revoked").is(404);
    bench.wait(10);
    let revoked = bench.post("revoke", json!({"serial_number": serial.replace(':', "-")})).is(200);
    assert_eq!(revoked.data["state"], "revoked");
    assert_eq!(revoked.data["revocation_time"], NOW + 10);
    bench.wait(10);
    let again = bench.post("revoke", json!({"serial_number": serial})).is(200);
    assert_eq!(again.data, revoked.data);
    let after = list(&bench);
    assert_eq!(after.revoked_at(&Serial::parse(&serial).unwrap()), Some(NOW + 10));
    assert!(after.number > before.number && after.this_update == NOW + 10);
    let shown = bench.get(&format!("cert/{serial}")).is(200);
    assert_eq!(shown.data["revocation_time"], NOW + 10);
    assert_eq!(shown.data["issuer_id"], bench.get("issuer/default").data["issuer_id"]);
    assert_eq!(bench.list("certs/revoked").data, json!({"keys": [serial]}));
    desk.put("crl.pem", bench.get("crl/pem").text).put("ca.pem", bench.get("ca/pem").text);
    assert!(desk.openssl("crl -in crl.pem -noout -text -CAfile ca.pem").contains("verify OK"));
    assert_eq!(bench.get("issuer/default/crl").data["crl"].as_str().unwrap().trim(), desk.text("crl.pem"));

    bench.wait(71 * 3600);
    let later = list(&bench);
    assert!(later.next_update.unwrap() > NOW + 71 * 3600 + 3600, "a list is good for a while yet");
    assert_eq!(later.revoked.len(), 1);
    bench.get("crl/rotate").is(200);
    assert!(list(&bench).number > later.number);

    bench
        .post("revoke", json!({"serial_number": "aa:bb"}))
        .refuses(400, "certificate with serial aa:bb not found.");
    bench
        .post("revoke", json!({}))
        .refuses(400, "The serial number or certificate to revoke must be provided.");
    bench
        .post("revoke", json!({"certificate": "zz"}))
        .refuses(500, "provided certificate data was too short");
    let ca = bench.get("ca/pem").text;
    bench.post("revoke", json!({"certificate": ca})).refuses(400, "to its own CRL is not allowed");
}

#[test]
fn who_holds_the_key_may_revoke_and_nobody_elses_certificate() {
    let bench = ready();
    role(&bench, json!({"no_store": true}));
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let other = bench.post("issue/r", json!({"common_name": "b.example.com"})).is(200);
    let (certificate, key) = (text(&leaf, "certificate"), text(&leaf, "private_key"));
    bench.get(&format!("cert/{}", text(&leaf, "serial_number"))).is(404);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).refuses(400, "not found");
    bench
        .post("revoke-with-key", json!({"certificate": text(&other, "certificate"), "private_key": key}))
        .refuses(400, "doesn't match");
    bench
        .post("revoke-with-key", json!({"certificate": certificate, "private_key": "zz"}))
        .refuses(400, "Provided data for private_key was too short");
    bench.post("revoke-with-key", json!({"certificate": certificate, "private_key": key})).is(200);
    assert_eq!(list(&bench).revoked.len(), 1);
    let foreign = ready();
    foreign
        .post("revoke", json!({"certificate": certificate}))
        .refuses(400, "not signed by any issuer of this mount");
}

#[test]
fn a_leased_certificate_is_revoked_when_the_lease_ends() {
    let mut bench = ready();
    role(&bench, json!({"generate_lease": true}));
    bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(bench.tick(), 0);
    bench.post("config/crl", json!({"allow_expired_cert_revocation": true})).is(200);
    bench.wait(3601);
    assert_eq!(bench.tick(), 1);
    assert_eq!(list(&bench).revoked.len(), 1);
}

#[test]
fn many_revocations_survive_tidy_rotation_and_auto_rebuild() {
    let mut bench = ready();
    let mut revoked = Vec::new();
    for at in 0..60 {
        let ttl = if at % 2 == 0 { "1h" } else { "70h" };
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com", "ttl": ttl})).is(200);
        bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
        if at % 2 == 1 {
            revoked.push(Serial::parse(text(&leaf, "serial_number")).unwrap());
        }
    }
    revoked.sort();
    bench.wait(3600 * 2);
    let before = list(&bench);
    assert_eq!(before.revoked.len(), 60);
    let tidy = bench.post("tidy", json!({"tidy_cert_store": true, "tidy_revoked_certs": true, "safety_buffer": "30m", "page_size": 10})).is(202);
    assert!(tidy.warnings[0].contains("successfully started"));
    bench.post("tidy", json!({"safety_buffer": "-1h"})).refuses(400, "cannot provide negative value '-3600'");
    assert_eq!(bench.get("tidy-status").data["state"], "Running");
    assert!(bench.tick() > 6, "a tidy goes in pieces");
    let status = bench.get("tidy-status").is(200);
    assert_eq!(status.data["state"], "Finished");
    assert_eq!(status.data["cert_store_deleted_count"], 30);
    let kept = list(&bench);
    assert_eq!(kept.revoked.iter().map(|(serial, _)| serial.clone()).collect::<Vec<_>>(), revoked);
    assert!(kept.number > before.number);

    bench.post("config/crl", json!({"auto_rebuild": true, "enable_delta": true})).is(200);
    let complete = list(&bench);
    bench.wait(60);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
    assert_eq!(list(&bench), complete, "the list stays until it is rebuilt");
    let delta = RevocationList::from_der(&bench.get("crl/delta").is(200).bytes).unwrap();
    assert_eq!((delta.delta_of, delta.revoked.len()), (complete.number, 1));
    bench.wait(60 * 3600);
    assert_eq!(list(&bench).revoked.len(), 31);
    bench
        .post("config/crl", json!({"expiry": "zz"}))
        .refuses(400, "given expiry could not be decoded: time: invalid duration \"zz\"");
}
