//! What the server counts of itself is what there is: seen first, or counted by each commit since.

use std::time::Duration;

use kit::Verb::{Get, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::Desk;

/// The gauges of one name, summed.
pub(crate) fn gauge(desk: &Desk, name: &str) -> f64 {
    let said = desk.ask(Get, "sys/metrics", "").expect(200);
    let gauges = said.json["Gauges"].as_array().unwrap();
    let of_name: Vec<&Value> = gauges.iter().filter(|gauge| gauge["Name"] == name).collect();
    assert!(!of_name.is_empty(), "{name}: {}", said.json);
    of_name.iter().map(|gauge| gauge["Value"].as_f64().unwrap()).sum()
}

/// Leases and tokens.
fn held(desk: &Desk) -> [f64; 2] {
    ["vault.expire.num_leases", "vault.token.count"].map(|name| gauge(desk, name))
}

fn token(desk: &Desk, body: &str) -> String {
    let made = desk.ask(Post, "auth/token/create", body).expect(200);
    made.json["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[test]
fn tokens_and_leases_are_counted_as_they_come_and_go() {
    let desk = Desk::new(240);
    token(&desk, r#"{"ttl":"1h"}"#);
    // The first question looks at all: the root token has no end, so it is no lease.
    assert_eq!(held(&desk), [1.0, 2.0]);
    let made = token(&desk, r#"{"ttl":"2h"}"#);
    token(&desk, r#"{"policies":["root"]}"#);
    token(&desk, r#"{"type":"batch","policies":["default"],"ttl":"1h"}"#);
    assert_eq!(held(&desk), [2.0, 4.0], "batch tokens are stored nowhere");
    desk.ask(Post, "auth/token/revoke", &json!({ "token": made }).to_string()).expect(204);
    assert_eq!(held(&desk), [1.0, 3.0]);
    desk.wait(Duration::from_secs(4000));
    desk.tick();
    assert_eq!(held(&desk), [0.0, 2.0]);
    // What an engine lends is a lease and no token. A namespace counts for itself.
    desk.ask(Post, "sys/namespaces/team", "{}").expect(200);
    token(&desk, r#"{"ttl":"1h"}"#);
    assert_eq!(held(&desk), [1.0, 3.0]);
    desk.ask(Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
    desk.ask(Post, "pki/root/generate/internal", r#"{"common_name":"x","key_type":"ec"}"#).expect(200);
    let role = r#"{"allow_any_name":true,"generate_lease":true,"key_type":"ec","ttl":"1h"}"#;
    desk.ask(Post, "pki/roles/web", role).expect(200);
    desk.ask(Post, "pki/issue/web", r#"{"common_name":"a.example"}"#).expect(200);
    assert_eq!(held(&desk), [2.0, 3.0]);
    let desk = desk.crash(PowerCut::Sectors);
    assert_eq!(held(&desk), [2.0, 3.0], "a look at all finds the same");
}
