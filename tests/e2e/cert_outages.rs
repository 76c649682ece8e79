//! Logins by certificate while those who know what was revoked are slow or mad.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::authority::{Door, Wanted, revocation_list};
use tests::binary::Binary;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage, free_port};

use crate::issuer::{Answer, Site};

/// Longer than a login waits at a server that waits two seconds for each answer.
const BOUND: Duration = Duration::from_secs(20);

/// What a sick site says, wherever it is asked, and whether that is an answer at all.
fn sicknesses() -> [(Answer, bool); 7] {
    [
        (Answer::Say(500, "oops".to_owned()), false),
        (Answer::Say(200, "nonsense".to_owned()), true),
        (Answer::Say(200, "x".repeat(5_000_000)), false),
        (Answer::Say(302, String::new()), false),
        (Answer::LeadTo("http://127.0.0.1:1/".to_owned()), false),
        (Answer::Babble, false),
        (Answer::Hang, false),
    ]
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that a sick site holds nobody up is what this test is about")]
fn a_responder_that_is_slow_or_mad_lets_nobody_in_and_holds_nobody_up() {
    let folder = Scratch::new();
    let door = Door::new(folder.path(), free_port());
    let config =
        Config::new(Storage::Inmem, folder.path()).with("outside_timeout = \"2s\"").with(&door.stanza());
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    root.post("sys/auth/cert", json!({"type": "cert"})).must(204);
    let ca = Wanted::ca("Root").by_itself();
    let client = Wanted::client("a").by(&ca);
    let files = client.files(folder.path(), "client", &[]);
    let role = |asks: Value| {
        let mut body = json!({"certificate": ca.pem(), "token_policies": "dev"});
        body.as_object_mut().unwrap().extend(asks.as_object().unwrap().clone());
        root.post("auth/cert/certs/r", body).must(204);
    };
    let log_in = || {
        let begun = Instant::now();
        let said = door.post(Some(&files), "", "auth/cert/login", &json!({}));
        assert!(begun.elapsed() < BOUND, "{:?}: {said}", begun.elapsed());
        said
    };
    role(json!({}));
    log_in().must(200);
    for (answer, is_answer) in sicknesses() {
        let site = Site::open();
        site.does_always(answer);
        let asks =
            json!({"ocsp_enabled": true, "ocsp_servers_override": [site.url], "ocsp_fail_open": false});
        role(asks.clone());
        log_in().must(400);
        // Who would rather let people in where nobody answers has said so; what is answered must be right.
        let mut open = asks;
        open["ocsp_fail_open"] = json!(true);
        role(open);
        log_in().must(if is_answer { 400 } else { 200 });
        assert!(!site.asked().is_empty(), "it was asked");
        // A list that cannot be had is not kept, and what was kept before still holds.
        root.post("auth/cert/crls/far", json!({"url": format!("{}/crl", site.url)})).must_be_any(&[400, 502]);
        root.get("auth/cert/crls/far").must(400);
    }
    role(json!({"ocsp_enabled": false}));
    root.post("auth/cert/crls/ours", json!({"crl": revocation_list(&ca, &[7], 1)})).must(204);
    log_in().must(400);
}
