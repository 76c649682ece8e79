use serde_json::{Value, json};

use super::accounts::{bind, bind_as, certificate_beside};
use super::{Client, Header, der, open, refuses};
use crate::{Desk, EC, role};

#[test]
fn what_an_account_and_an_authorization_may_not_become() {
    let (bench, _) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let account = client.rest(&json!(client.kid));
    let later = json!({"externalAccountBinding": {"protected": "", "payload": "", "signature": ""}});
    refuses(&client.post(&account, later), 400, "malformed", "not allowed to update EAB");
    let order = client.order(&["a.example.com"]).is(201);
    let authorization = client.rest(&order.data["authorizations"][0]);
    for wish in [json!({"status": "valid"}), json!({"status": "pending"}), json!({})] {
        refuses(&client.post(&authorization, wish), 400, "malformed", "only be deactivated");
    }
    assert_eq!(client.look(&authorization).is(200).data["status"], "pending");
}

#[test]
fn a_binding_is_of_the_key_that_it_names_and_of_this_request() {
    let (bench, _) = open(json!({"eab_policy": "always-required"}));
    let made = bench.post("acme/new-eab", json!({})).is(200).data;
    let (client, other) = (Client::new(&bench, "acme/"), Client::new(&bench, "acme/"));
    let nonce = |header: &mut Header| header.nonce = Some("x".to_owned());
    refuses(&bind(&bench, &client, &made, nonce), 400, "malformed", "it has a nonce");
    for key in [other.jwk(), json!({}), json!("x")] {
        let refused = bind_as(&bench, &client, &key, &made, |_| {});
        assert_eq!((refused.status, super::problem(&refused)), (400, "malformed"), "{refused:?}");
    }
    bind(&bench, &client, &made, |_| {}).is(201);
}

#[test]
fn where_bindings_are_wanted_an_account_without_one_is_not_even_found() {
    let (bench, _) = open(json!({}));
    let mut client = Client::with_account(&bench, "acme/");
    bench.post("config/acme", json!({"eab_policy": "always-required"})).is(200);
    client.kid = None;
    for search in [json!({}), json!({"onlyReturnExisting": true})] {
        refuses(&client.post("new-account", search), 401, "unauthorized", "bound to nobody");
    }
}

#[test]
fn a_key_change_is_meant_for_here_and_signed_by_the_key_that_comes() {
    let (bench, _) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let new = Client::new(&bench, "acme/");
    let change = |spoil: &dyn Fn(&mut Header)| {
        let mut header = Header { nonce: None, ..new.header("key-change") };
        spoil(&mut header);
        let inner = json!({"account": client.kid, "oldKey": client.jwk()});
        client.post("key-change", new.sign(&header, &inner.to_string()))
    };
    let elsewhere = change(&|header| header.url = client.url("new-order"));
    refuses(&elsewhere, 400, "malformed", "'url'");
    refuses(&change(&|header| header.nonce = Some("x".to_owned())), 400, "malformed", "a nonce");
    refuses(&change(&|header| header.alg = "none"), 400, "badSignatureAlgorithm", "");
    refuses(&change(&|header| header.jwk = None), 400, "malformed", "'jwk'");
    refuses(&change(&|header| header.jwk = Some(client.jwk())), 400, "malformed", "signature");
    client.order(&["a.example.com"]).is(201);
}

/// An account's URL is that of its directory, and its id is no other's.
#[test]
fn an_account_is_known_in_its_directory_only() {
    let (bench, _) = open(json!({}));
    let mut other = Client::with_account(&bench, "roles/r/acme/");
    let id = other.rest(&json!(other.kid)).replace("account/", "");
    other.directory = "acme/";
    other.kid = Some(other.url(&format!("account/{id}")));
    refuses(&other.order(&["a.example.com"]), 400, "accountDoesNotExist", "");
}

#[test]
fn an_issuer_answers_for_whom_the_mount_lets_it() {
    let (bench, _) = open(json!({}));
    let root = json!({"common_name": "Second", "key_type": "ec", "issuer_name": "second"});
    bench.post("root/generate/internal", root).is(200);
    bench.get("issuer/second/acme/directory").is(200);
    bench.post("config/acme", json!({"allowed_issuers": ["default"]})).is(200);
    refuses(&bench.get("issuer/second/acme/directory"), 500, "serverInternal", "not allowed by ACME policy");
    let client = Client::new(&bench, "acme/");
    client.post("new-account", json!({})).is(201);
    bench.post("config/acme", json!({"allowed_issuers": ["*"]})).is(200);
    let client = Client::with_account(&bench, "issuer/second/acme/");
    bench.patch("issuer/second", json!({"usage": "read-only"})).is(200);
    // Who has certificates of it goes on; only new ones are not to be had.
    bench.get("issuer/second/acme/directory").is(200);
    refuses(&client.order(&["a.example.com"]), 503, "serverInternal", "usage or key");
}

#[test]
fn a_role_says_which_keys_and_whether_addresses() {
    let (bench, web) = open(json!({"default_directory_policy": "role:r"}));
    let client = Client::with_account(&bench, "acme/");
    role(&bench, json!({"key_type": "rsa", "key_bits": 2048, "allow_ip_sans": false})).is(200);
    let address = json!({"identifiers": [{"type": "ip", "value": "10.1.1.1"}]});
    refuses(&client.post("new-order", address), 400, "rejectedIdentifier", "allow_ip_sans");
    let order = client.order(&["a.example.com"]).is(201);
    client.prove(&web, &order, "a.example.com");
    let place = client.rest(&json!(order.header("location").unwrap()));
    let csr = Desk::new("acme-keys").csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    refuses(&client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)})), 400, "badCSR", "");
}

/// Who has proved some names of a certificate has not proved the rest of it, and one without names is nobody's.
#[test]
fn what_was_not_proved_whole_is_not_revoked() {
    let (bench, web) = open(json!({}));
    role(&bench, json!({"key_type": "ec", "require_cn": false, "allowed_uri_sans": "spiffe://*"})).is(200);
    let prover = Client::with_account(&bench, "acme/");
    prover.prove(&web, &prover.order(&["a.example.com"]).is(201), "a.example.com");
    for (more, may) in [
        (json!({"alt_names": "a.example.com"}), true),
        (json!({"alt_names": "a.example.com", "uri_sans": "spiffe://x/admin"}), false),
        (json!({"alt_names": "a.example.com,me@a.example.com"}), false),
        (json!({"alt_names": "a.example.com,b.example.com"}), false),
        (json!({"alt_names": "a.example.com", "ip_sans": "10.1.1.1"}), false),
        (json!({"common_name": "a.example.com", "exclude_cn_from_sans": true}), false),
    ] {
        let pem = certificate_beside(&bench, &more);
        let answer = prover.post("revoke-cert", json!({"certificate": der(&pem)}));
        assert_eq!(answer.status, if may { 200 } else { 403 }, "{more}: {answer:?}");
    }
}

/// Nobody is visited for an account that is gone, or for a mount that offers nothing any more.
#[test]
fn a_proof_that_nobody_waits_for_is_not_looked_for() {
    let stops: [fn(&Client<'_>); 2] = [
        |client| {
            let account = client.rest(&json!(client.kid));
            drop(client.post(&account, json!({"status": "deactivated"})).is(200));
        },
        |client| drop(client.bench.post("config/acme", json!({"enabled": false})).is(200)),
    ];
    for stop in stops {
        let (bench, web) = open(json!({}));
        web.host("a.example.com", &["10.1.2.3"]);
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        let (challenge, _) = client.challenge(&order, "http-01");
        client.post(&challenge, json!({})).is(200);
        stop(&client);
        bench.tick();
        assert_eq!(web.visited(), Vec::<String>::new());
    }
}

/// A certificate that somebody has signed for it proves nothing of who runs the host.
#[test]
fn a_proof_in_a_certificate_is_signed_by_itself() {
    let desk = Desk::new("acme-alpn-signed");
    desk.openssl(&format!("req -x509 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=ca {EC}"));
    let tried = |by: &str| {
        let (mut bench, web) = open(json!({}));
        web.host("a.example.com", &["10.1.1.1"]);
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        let (path, token) = client.challenge(&order, "tls-alpn-01");
        let answer = format!("{token}.{}", client.thumbprint());
        let shown = super::proofs::proof(&desk, &format!("DNS:a.example.com{by}"), "critical,", &answer);
        web.certificates.lock().unwrap().insert("a.example.com".to_owned(), shown);
        client.post(&path, json!({})).is(200);
        let (key, kid) = (client.key, client.kid);
        let status: Value = super::proofs::looked(&mut bench, key, &kid, &path).data["status"].clone();
        status
    };
    assert_eq!(tried(""), "valid");
    assert_eq!(tried(" -CA ca.pem -CAkey ca.key"), "invalid");
}

/// A name that the CA could not certify is refused before it is proved; a key that it does not certify is the request's fault.
#[test]
fn what_the_ca_cannot_certify_is_told_by_its_kind() {
    let (mut bench, _) = open(json!({}));
    bench.remote.is_jose = false;
    let bound = json!({"common_name": "Bound", "key_type": "ec", "issuer_name": "bound", "permitted_dns_domains": "example.com"});
    bench.post("root/generate/internal", bound).is(200);
    let csr =
        Desk::new("acme-blocked").csr(&format!("{EC} -subj / -addext subjectAltName=DNS:a.example.com"));
    role(&bench, json!({"key_type": "any"})).is(200);
    let leaf = bench.post("sign/r", json!({"csr": csr, "common_name": "a.example.com", "ttl": "1h"})).is(200);
    let body = json!({"serial_number": leaf.data["serial_number"], "reason": "keyCompromise"});
    bench.post("revoke", body).is(200);
    bench.remote.is_jose = true;
    let client = Client::with_account(&bench, "issuer/bound/acme/");
    let outside = client.order(&["a.example.org"]);
    refuses(
        &outside,
        400,
        "rejectedIdentifier",
        "lies outside of what the name constraints of the CA permit",
    );
    client.order(&["a.example.com"]).is(201);
    let client = Client::bound(&bench, "acme/", "a.example.com");
    let order = client.order(&["a.example.com"]).is(201);
    let place = client.rest(&json!(order.header("location").unwrap()));
    let blocked = client.post(&format!("{place}/finalize"), json!({"csr": der(&csr)}));
    refuses(&blocked, 400, "badCSR", "was revoked for keyCompromise");
}

/// The certificates of ACME are for servers: a CA that is for clients alone refuses the order, before anything is proved.
#[test]
fn a_ca_for_clients_takes_no_orders() {
    let (mut bench, _) = open(json!({}));
    bench.remote.is_jose = false;
    let clients = json!({"common_name": "Clients", "key_type": "ec", "issuer_name": "clients", "ext_key_usage": "ClientAuth"});
    bench.post("root/generate/internal", clients).is(200);
    bench.remote.is_jose = true;
    let client = Client::with_account(&bench, "issuer/clients/acme/");
    let beyond =
        "the purpose ServerAuth lies outside of what the extended key usage of the CA permits: ClientAuth";
    refuses(&client.order(&["a.example.com"]), 400, "rejectedIdentifier", beyond);
}
