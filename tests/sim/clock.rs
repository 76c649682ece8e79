//! A clock that is set back is followed: what is made then lives as long as was asked, and is dated as everybody's clocks are.

use std::time::Duration;

use kit::Verb::{Get, Post};
use serde_json::json;
use tests::desk::{Desk, START_SECONDS};
use x509::{Certificate, RevocationList};

const AHEAD: Duration = Duration::from_secs(3 * 3600);
const SECONDS: Duration = Duration::from_secs(5);

/// A desk whose clock is three hours ahead.
fn ahead(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    desk.wait(AHEAD);
    desk.ask(Get, "sys/mounts", "").expect(200);
    desk
}

fn token(desk: &Desk, ttl: &str) -> String {
    let body = json!({ "policies": ["default"], "ttl": ttl }).to_string();
    desk.ask(Post, "auth/token/create", &body).expect(200).token()
}

fn lives(desk: &Desk, token: &str) -> bool {
    desk.ask_as(token, Get, "auth/token/lookup-self", "").status == 200
}

#[test]
fn what_is_made_after_it_ends_in_time() {
    let desk = ahead(940);
    desk.set_back(AHEAD);
    let token = token(&desk, "3s");
    assert!(lives(&desk, &token));
    desk.wait(SECONDS);
    assert!(!lives(&desk, &token));
    let said = desk.ask(Get, "sys/metrics?format=prometheus", "").expect(200);
    let text = String::from_utf8(said.raw).unwrap();
    assert!(text.contains("sealkeep_core_clock_set_back_total 1\n"), "{text}");
}

#[test]
fn a_little_is_waited_for() {
    let desk = Desk::new(941);
    let token = token(&desk, "10s");
    desk.wait(Duration::from_secs(9));
    assert!(lives(&desk, &token));
    desk.wait(Duration::from_millis(1500));
    assert!(!lives(&desk, &token));
    desk.set_back(Duration::from_millis(1400));
    assert!(!lives(&desk, &token), "what is over does not live again");
}

#[test]
fn what_was_renewed_after_it_has_its_bounds_from_then() {
    let desk = ahead(942);
    let body = r#"{"policies":["default"],"ttl":"60s","explicit_max_ttl":"120s"}"#;
    let token = desk.ask(Post, "auth/token/create", body).expect(200).token();
    desk.set_back(AHEAD);
    desk.ask_as(&token, Post, "auth/token/renew-self", r#"{"increment":"120s"}"#).expect(200);
    desk.wait(Duration::from_secs(121));
    assert!(!lives(&desk, &token));
}

#[test]
fn nobody_stays_shut_out_until_it_has_caught_up() {
    let desk = ahead(943);
    desk.ask(Post, "sys/auth/people", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/people/users/ann", r#"{"password":"pw"}"#).expect(204);
    let log_in = |password: &str| {
        let body = json!({ "password": password }).to_string();
        desk.ask_as("", Post, "auth/people/login/ann", &body).status
    };
    (0..5).for_each(|_| assert_eq!(log_in("wrong"), 400));
    assert_eq!(log_in("pw"), 403, "locked out");
    let rate = r#"{"path":"auth/people","rate":1,"interval":"10s"}"#;
    desk.ask(Post, "sys/quotas/rate-limit/people", rate).expect(204);
    assert_eq!(log_in("pw"), 403);
    assert_eq!(log_in("pw"), 429, "over the limit");
    desk.set_back(AHEAD);
    assert_eq!(log_in("pw"), 429, "not a way round it");
    desk.wait(Duration::from_secs(10));
    assert_eq!(log_in("pw"), 403, "still locked out");
    desk.wait(Duration::from_secs(900));
    assert_eq!(log_in("pw"), 200);
}

#[test]
fn certificates_and_lists_begin_in_nobodys_future() {
    let desk = Desk::new(944);
    desk.ask(Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
    let root = r#"{"common_name":"Root","key_type":"ec","ttl":"600h"}"#;
    desk.ask(Post, "pki/root/generate/internal", root).expect(200);
    desk.ask(Post, "pki/roles/web", r#"{"allow_any_name":true,"key_type":"ec","max_ttl":"24h"}"#).expect(200);
    let issue = || desk.ask(Post, "pki/issue/web", r#"{"common_name":"a.internal","ttl":"1h"}"#).expect(200);
    let revoke = |serial: &serde_json::Value| {
        desk.ask(Post, "pki/revoke", &json!({ "serial_number": serial }).to_string()).expect(200);
    };
    let list = || {
        let said = desk.ask(Get, "pki/crl", "").expect(200);
        let list = RevocationList::from_der(&said.raw).unwrap();
        (list.number.unwrap(), list.this_update, list.revoked.len())
    };
    desk.wait(AHEAD);
    revoke(&issue().json["data"]["serial_number"]);
    let (before, _, count) = list();
    assert_eq!(count, 1);
    desk.set_back(AHEAD);
    let issued = issue();
    let certificate = Certificate::from_pem(issued.json["data"]["certificate"].as_str().unwrap()).unwrap();
    let now = START_SECONDS + 60;
    assert!(certificate.validity().not_before <= now);
    let (number, begins, count) = list();
    assert!(begins <= now && number >= before && count == 1, "{begins} {number} {before} {count}");
    revoke(&issued.json["data"]["serial_number"]);
    let (after, begins, count) = list();
    assert!(begins <= now && after > number && count == 2, "{begins} {after} {number} {count}");
}
