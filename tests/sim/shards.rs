//! Revocation lists in shards, and when they are made.

use std::time::Duration;

use kit::Verb::{Get, Post};
use tests::desk::Desk;
use x509::{RevocationList, Serial};

/// Lists come at fixed times, and who wants to know in between has the shards made anew, as they have no deltas.
#[test]
fn shards_are_made_anew_where_deltas_are_wanted() {
    let desk = Desk::new(79);
    desk.ask(Post, "sys/mounts/pki", r#"{"type":"pki"}"#).expect(204);
    desk.ask(Post, "pki/root/generate/internal", r#"{"common_name":"Root","key_type":"ec"}"#).expect(200);
    desk.ask(Post, "pki/config/cluster", r#"{"path":"https://ca.test/v1/pki"}"#).expect(200);
    desk.ask(Post, "pki/roles/web", r#"{"allow_any_name":true,"key_type":"ec"}"#).expect(200);
    let seen = |deltas: bool| {
        let config = format!(r#"{{"shards":2,"auto_rebuild":true,"enable_delta":{deltas}}}"#);
        desk.ask(Post, "pki/config/crl", &config).expect(200);
        let made = desk.ask(Post, "pki/issue/web", r#"{"common_name":"a.example.com"}"#).expect(200);
        let serial = made.json["data"]["serial_number"].as_str().unwrap().to_owned();
        desk.wait(Duration::from_secs(5));
        desk.ask(Post, "pki/revoke", &format!(r#"{{"serial_number":"{serial}"}}"#)).expect(200);
        desk.wait(Duration::from_secs(1));
        let serial = Serial::parse(&serial).unwrap();
        let on = |list: &str| {
            let said = desk.ask_as("", Get, &format!("pki/{list}"), "").expect(200);
            RevocationList::from_der(&said.raw).unwrap().revoked_at(&serial).is_some()
        };
        let shards = ["0", "1"].map(|shard| on(&format!("issuer/default/crl/shard/{shard}-of-2")));
        (shards.contains(&true), on("crl"))
    };
    assert_eq!(seen(true), (true, false));
    assert_eq!(seen(false), (false, false), "at fixed times alone, as asked");
}
