//! Finding what was issued, what monitoring is shown of it, and forgetting what has ended.

use kit::Entity;
use serde_json::{Value, json};

use crate::bench::{Answer, Bench};
use crate::{Desk, EC, NOW, ready, role, text};

fn issue(bench: &Bench, role: &str, name: &str, ttl: &str) -> String {
    let body = json!({"common_name": name, "ttl": ttl});
    text(&bench.post(&format!("issue/{role}"), body).is(200), "serial_number").to_owned()
}

fn found(answer: &Answer) -> Vec<&str> {
    let keys = answer.data["keys"].as_array().unwrap().iter();
    let found: Vec<_> = keys.map(|key| key.as_str().unwrap()).collect();
    assert!(found.iter().all(|serial| answer.data["key_info"][serial]["serial_number"] == *serial));
    assert_eq!(answer.data["key_info"].as_object().unwrap().len(), found.len());
    found
}

/// One of those that were found.
fn shown(answer: &Answer, at: usize) -> &Value {
    &answer.data["key_info"][found(answer)[at]]
}

fn search(bench: &Bench, query: &str) -> Answer {
    bench.list(&format!("certs/search{query}")).is(200)
}

/// Certificates of two roles for two owners, those that end first, first.
fn stocked() -> (Bench, Vec<String>) {
    let mut bench = ready();
    bench.patch("issuer/default", json!({"issuer_name": "main"})).is(200);
    role(&bench, json!({}));
    bench
        .post("roles/other", json!({"allow_any_name": true, "key_type": "ed25519", "max_ttl": "72h"}))
        .is(200);
    let mut serials = Vec::new();
    for (owner, name, role, ttl) in [
        ("e1", "a.example.com", "r", "1h"),
        ("e2", "b.example.com", "other", "2h"),
        ("e1", "c.example.com", "other", "3h"),
        ("", "www.c.example.com", "r", "4h"),
    ] {
        bench.caller.entity =
            (!owner.is_empty()).then(|| Entity { id: owner.to_owned(), ..Entity::default() });
        bench.caller.accessor = "accessor".to_owned();
        serials.push(issue(&bench, role, name, ttl));
    }
    (bench, serials)
}

#[test]
fn certificates_are_found_by_what_is_known_of_them() {
    let (bench, serials) = stocked();
    let of = |places: &[usize]| places.iter().map(|at| serials[*at].as_str()).collect::<Vec<_>>();
    for (query, expect) in [
        ("?issuer=main&ends_before=2026-01-20T00:00:00Z", of(&[0, 1, 2, 3])),
        ("?role=r", of(&[0, 3])),
        ("?role=other", of(&[1, 2])),
        ("?owner=e1", of(&[0, 2])),
        ("?owner=e1&role=r", of(&[0])),
        ("?owner=nobody", of(&[])),
        ("?name=B.example.com", of(&[1])),
        ("?name=*.c.example.com", of(&[3])),
        ("?name=*c.example.com", of(&[2, 3])),
        ("?ends_before=2026-01-01T02:30:00Z", of(&[0, 1])),
        ("?ends_after=2026-01-01T02:30:00Z&ends_before=2026-01-01T03:30:00Z", of(&[2])),
        (&format!("?serial_number={}", serials[2]), of(&[2])),
        (&format!("?serial_number={}&role=r", serials[2]), of(&[])),
    ] {
        assert_eq!(found(&search(&bench, query)), expect, "{query}");
    }
    let all = search(&bench, "?role=r");
    let key = shown(&all, 0)["key_id"].as_str().unwrap().to_owned();
    assert_eq!(found(&search(&bench, &format!("?key_id={key}"))), of(&[0]));
    assert_eq!(found(&search(&bench, &format!("?key_id={key}&role=other"))), of(&[]));
    assert_eq!(found(&search(&bench, &format!("?key_id={key}&serial_number={}", serials[1]))), of(&[]));
    bench.list("certs/search?key_id=abc").refuses(400, "key_id must be");
    assert_eq!(shown(&all, 0)["owner"], "e1");
    assert_eq!(shown(&all, 1)["owner"], "", "a token is nobody that holds certificates");
    assert_eq!(shown(&all, 0)["issuer_name"], "main");
    assert!(all.data.get("next").is_none());
    bench.list("certs/search?after=zz").refuses(400, "after is the next of an earlier answer");
    bench.list("certs/search?issuer=nope").refuses(500, "unable to find PKI issuer");
}

#[test]
fn what_is_found_comes_in_pages_and_says_what_is_revoked() {
    let (mut bench, serials) = stocked();
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = search(&bench, &format!("?limit=2&ends_before=2026-01-20T00:00:00Z&after={after}"));
        seen.extend(found(&page).into_iter().map(str::to_owned));
        match page.data["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, serials);
    bench.post("revoke", json!({"serial_number": serials[1], "reason": "superseded"})).is(200);
    let revoked = search(&bench, "?revoked=true");
    assert_eq!(found(&revoked), [serials[1].as_str()]);
    assert_eq!(shown(&revoked, 0)["revocation_reason"], "superseded");
    assert_eq!(found(&search(&bench, "?role=other&revoked=false")), [serials[2].as_str()]);
    bench.wait(3601);
    assert_eq!(found(&search(&bench, "?role=r")), [serials[3].as_str()], "what has ended is not shown");
    assert_eq!(found(&search(&bench, "?role=r&ends_after=0")).len(), 2, "unless it is asked for");
}

#[test]
fn monitoring_sees_the_next_end_and_the_age_of_lists() {
    let (mut bench, serials) = stocked();
    let id = bench.get("issuer/default").data["issuer_id"].as_str().unwrap().to_owned();
    let next = |bench: &Bench, of: &str| bench.gauges().get(&format!("sealkeep.pki.{of}")).copied();
    let hour = |hours: u64| Some((NOW + hours * 3600) as f64);
    assert_eq!(next(&bench, &format!("issuer.next_end_seconds life=short,issuer={id}")), hour(1));
    assert_eq!(next(&bench, "role.next_end_seconds life=short,role=r"), hour(1));
    assert_eq!(next(&bench, "role.next_end_seconds life=short,role=other"), hour(2));
    assert_eq!(next(&bench, "owner.next_end_seconds life=short,owner=e1"), hour(1));
    assert_eq!(next(&bench, &format!("issuer.not_after_seconds issuer={id},name=main")), hour(700));
    bench.post("revoke", json!({"serial_number": serials[1]})).is(200);
    assert_eq!(
        next(&bench, "role.next_end_seconds life=short,role=other"),
        hour(3),
        "a revoked one does not count"
    );
    bench.wait(3601);
    assert_eq!(next(&bench, "owner.next_end_seconds life=short,owner=e1"), hour(3), "nor one that has ended");
    let made = |bench: &Bench| next(bench, &format!("crl.made_seconds issuer={id},name=main"));
    assert_eq!(made(&bench), hour(0));
    bench.get("crl/rotate").is(200);
    assert_eq!(made(&bench), Some((NOW + 3601) as f64));
    let ends = next(&bench, &format!("crl.next_update_seconds issuer={id},name=main"));
    assert_eq!(ends, Some((NOW + 3601 + 72 * 3600) as f64));
}

/// What a later certificate of the same names has replaced ends, and nobody need be told of it; whoever issued or asked for it.
#[test]
fn monitoring_sees_no_certificate_that_was_replaced() {
    let mut bench = ready();
    role(&bench, json!({"max_ttl": "600h"}));
    let next = |bench: &Bench, of: &str| bench.gauges().get(&format!("sealkeep.pki.{of}")).copied();
    let hour = |hours: u64| Some((NOW + hours * 3600) as f64);
    for ttl in ["90h", "100h"] {
        issue(&bench, "r", "a.example.com", ttl);
    }
    issue(&bench, "r", "b.example.com", "95h");
    assert_eq!(next(&bench, "role.next_end_seconds life=long,role=r"), hour(95), "a.example.com has another");
    let another = json!({"common_name": "Other", "key_type": "ec", "ttl": "700h"});
    let other = bench.post("root/generate/internal", another).is(200);
    bench.post("config/issuers", json!({"default": other.data["issuer_id"]})).is(200);
    bench.caller.entity = Some(Entity { id: "e1".to_owned(), ..Entity::default() });
    let newest = issue(&bench, "r", "b.example.com", "110h");
    assert_eq!(next(&bench, "role.next_end_seconds life=long,role=r"), hour(100));
    bench.post("revoke", json!({"serial_number": newest})).is(200);
    assert_eq!(
        next(&bench, "role.next_end_seconds life=long,role=r"),
        hour(95),
        "what is revoked replaces nothing"
    );
    assert_eq!(next(&bench, "owner.next_end_seconds life=long,owner=e1"), None);
    issue(&bench, "r", "job.example.com", "2h");
    assert_eq!(next(&bench, "role.next_end_seconds life=long,role=r"), hour(95));
    assert_eq!(
        next(&bench, "role.next_end_seconds life=short,role=r"),
        hour(2),
        "jobs hide nothing of the others"
    );
}

/// Where there is more than one look walks through, the next look goes on, and what a whole walk has found is shown meanwhile.
#[test]
fn monitoring_walks_through_many_certificates_in_pieces() {
    let (bench, disk) = Bench::counting(engines::open("pki", &json!({})).unwrap());
    bench
        .post("root/generate/internal", json!({"common_name": "R", "key_type": "ec", "ttl": "700h"}))
        .is(200);
    role(&bench, json!({"max_ttl": "600h"}));
    let csr = Desk::new("pieces").csr(&format!("{EC} -subj /CN=a.example.com"));
    let sign = |ttl: &str| {
        bench.post("sign/r", json!({"csr": &csr, "ttl": ttl})).is(200);
    };
    (0..2500).for_each(|_| sign("50h"));
    sign("60h");
    let key = "sealkeep.pki.role.next_end_seconds life=long,role=r";
    let look = || {
        let before = disk.reads();
        let found = bench.gauges().get(key).copied();
        assert!(disk.reads() - before < 3500, "{}", disk.reads() - before);
        found
    };
    let hour = |hours: u64| Some((NOW + hours * 3600) as f64);
    assert_eq!((look(), look()), (None, hour(60)));
    sign("70h");
    assert_eq!((look(), look()), (hour(60), hour(70)));
}

#[test]
fn what_has_ended_is_forgotten_in_bounded_steps() {
    let (mut bench, serials) = stocked();
    let auto = bench.get("config/auto-tidy").is(200);
    assert_eq!((&auto.data["enabled"], &auto.data["tidy_cert_store"]), (&json!(true), &json!(true)));
    for _ in 0..25 {
        issue(&bench, "r", "x.example.com", "30m");
    }
    bench.wait(2 * 3600 + 30 * 60);
    let tidy = json!({"tidy_cert_store": true, "safety_buffer": "1m", "page_size": 10});
    bench.post("tidy", tidy).is(202);
    assert!(bench.tick() >= 4, "ten at a time");
    let status = bench.get("tidy-status").is(200);
    assert_eq!(status.data["state"], "Finished");
    assert_eq!(status.data["cert_store_deleted_count"], 27);
    let kept: Value = bench.list("certs").is(200).data["keys"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 3, "the root and two leaves: {kept}");
    assert_eq!(found(&search(&bench, "?role=other&ends_after=0")), [serials[2].as_str()]);
    assert_eq!(found(&search(&bench, "?role=r&ends_after=0")), [serials[3].as_str()]);
}

#[test]
fn each_of_its_names_finds_a_certificate() {
    let bench = ready();
    let names = json!({
        "allow_ip_sans": true, "allowed_uri_sans": "spiffe://example.com/*", "allow_any_name": true, "enforce_hostnames": false,
    });
    role(&bench, names).is(200);
    let body = json!({
        "common_name": "a.example.com", "alt_names": "b.example.com,ann@example.com", "ip_sans": "10.1.2.3,2001:db8::1",
        "uri_sans": "spiffe://example.com/web",
    });
    let serial = text(&bench.post("issue/r", body).is(200), "serial_number").to_owned();
    issue(&bench, "r", "other.example.com", "1h");
    for name in [
        "a.example.com",
        "b.example.com",
        "ann@example.com",
        "10.1.2.3",
        "2001:db8::1",
        "spiffe://example.com/web",
    ] {
        assert_eq!(found(&search(&bench, &format!("?name={name}"))), [&*serial], "{name}");
    }
}
