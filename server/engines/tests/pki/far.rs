//! Certificates that end when nobody is there to see it, and that began before computers counted.

use serde_json::{Value, json};
use x509::Certificate;

use crate::bench::Bench;
use crate::twins::{Foreign, import, key};
use crate::{Desk, NOW, mount, role, text};

const LAST: &str = "9999-12-31T23:59:59Z";
const YEAR_3000: u64 = 32_503_680_000;

fn end(answer: &crate::bench::Answer) -> u64 {
    let end = Certificate::from_pem(text(answer, "certificate")).unwrap().validity().not_after;
    assert_eq!(answer.data["expiration"], end);
    end
}

fn root(bench: &Bench, not_after: &str) -> u64 {
    let made = json!({"common_name": "Root", "key_type": "ec", "not_after": not_after});
    end(&bench.post("root/generate/internal", made).is(200))
}

fn issue(bench: &Bench, body: Value) -> crate::bench::Answer {
    let mut whole = json!({"common_name": "a.example.com"});
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    bench.post("issue/r", whole)
}

#[test]
fn a_leaf_ends_in_9999_if_that_is_asked_for() {
    let (bench, desk) = (mount(), Desk::new("far"));
    assert_eq!(root(&bench, LAST), x509::NO_EXPIRY);
    role(&bench, json!({})).is(200);
    let leaf = issue(&bench, json!({"not_after": LAST})).is(200);
    assert_eq!(end(&leaf), x509::NO_EXPIRY);
    assert!(leaf.warnings.is_empty(), "{:?}", leaf.warnings);
    desk.put("ca.pem", bench.get("ca/pem").text).put("l.pem", text(&leaf, "certificate"));
    desk.openssl(&format!("verify -x509_strict -attime {} -CAfile ca.pem l.pem", NOW + 60));
    let listed = bench.list("certs/detailed").is(200).data["key_info"].clone();
    assert_eq!(listed[text(&leaf, "serial_number")]["not_after"], LAST);
    let found = bench.list("certs/search").is(200).data.to_string();
    assert!(found.contains(LAST), "{found}");
    assert_eq!(end(&issue(&bench, json!({"not_after": "3000-01-01T00:00:00Z"})).is(200)), YEAR_3000);
    bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
    role(&bench, json!({"not_after": LAST})).is(200);
    assert_eq!(end(&issue(&bench, json!({})).is(200)), x509::NO_EXPIRY);
    role(&bench, json!({"not_after_bound": "3000-01-01T00:00:00Z"})).is(200);
    issue(&bench, json!({"not_after": LAST}))
        .refuses(400, "notAfter of 9999-12-31T23:59:59Z that is beyond the maximum timestamp of 3000-01-01");
    assert_eq!(end(&issue(&bench, json!({"not_after": "3000-01-01T00:00:00Z"})).is(200)), YEAR_3000);
    role(&bench, json!({"not_after_bound": "ttl-limited"})).is(200);
    issue(&bench, json!({"not_after": LAST})).refuses(400, "beyond the TTL of");
}

#[test]
fn a_leaf_of_a_ca_that_ends_in_3000_ends_with_it() {
    let bench = mount();
    assert_eq!(root(&bench, "3000-01-01T00:00:00Z"), YEAR_3000);
    role(&bench, json!({})).is(200);
    let leaf = issue(&bench, json!({"not_after": LAST})).is(200);
    assert_eq!(end(&leaf), YEAR_3000);
    assert!(leaf.warnings[0].contains("at 3000-01-01T00:00:00Z, not at 9999-12-31"), "{:?}", leaf.warnings);
    bench.post("issuer/default", json!({"leaf_not_after_behavior": "err"})).is(200);
    issue(&bench, json!({"not_after": LAST}))
        .refuses(400, "beyond the expiration of the CA certificate at 3000-01-01T00:00:00Z");
    bench.post("issuer/default", json!({"leaf_not_after_behavior": "permit"})).is(200);
    assert_eq!(end(&issue(&bench, json!({"not_after": LAST})).is(200)), x509::NO_EXPIRY);
    let early = issue(&bench, json!({"not_before": "1960-01-01T00:00:00Z"})).is(200);
    assert_eq!(early.data["not_before"], 0);
    assert!(
        early.warnings.iter().any(|warning| warning.contains("from 1970-01-01T00:00:00Z on")),
        "{early:?}"
    );
    let unset = issue(&bench, json!({"not_before": "0001-01-01T00:00:00Z"})).is(200);
    assert_eq!(
        unset.data["not_before"],
        crate::NOW - 30,
        "as programs in Go write that nothing is wished for"
    );
    issue(&bench, json!({"not_before": "1960-02-30T00:00:00Z"})).refuses(400, "it should be a time in UTC");
    issue(&bench, json!({"not_after": "10000-01-01T00:00:00Z"})).refuses(400, "it should be a time in UTC");
}

#[test]
fn a_ca_of_before_1970_is_taken_in() {
    let bench = mount();
    let signer = key();
    let made = Foreign { life: (crate::NOW, 2_208_988_800), ..Foreign::root("Old", &signer, 7) }.sign();
    let mut der = made.der().to_vec();
    let at = der.windows(13).position(|it| it == b"260101000000Z").unwrap();
    der[at..at + 2].copy_from_slice(b"60");
    let old = Certificate::from_der(&der).unwrap();
    assert_eq!(old.validity().not_before, 0);
    let id = import(&bench, &old, Some(&signer));
    role(&bench, json!({"issuer_ref": id})).is(200);
    issue(&bench, json!({})).is(200);
    assert_eq!(bench.get(&format!("issuer/{id}/der")).is(200).bytes, der, "byte for byte");
    for wrong in [b"6a", b"-1", b" 6"] {
        der[at..at + 2].copy_from_slice(wrong);
        assert!(Certificate::from_der(&der).is_err(), "{wrong:?}");
    }
}
