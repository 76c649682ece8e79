use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::Told;
use serde_json::{Value, json};

use super::{Client, Web, open, problem, refuses};
use crate::bench::{Answer, Bench};
use crate::{Desk, EC};

/// Has the server look until it gives up, and shows the challenge.
pub(super) fn looked(
    bench: &mut Bench,
    key: aws_lc_rs::signature::EcdsaKeyPair,
    kid: &Option<String>,
    path: &str,
) -> Answer {
    for _ in 0..4 {
        bench.tick();
        bench.wait(30);
    }
    bench.tick();
    let client = Client { bench, key, directory: "acme/", kid: kid.clone() };
    client.look(path).is(200)
}

/// What comes of one attempt to prove `a.example.com` by a page, with the web prepared like this.
fn attempt(config: Value, prepare: impl FnOnce(&Web, &str, &str)) -> (Answer, Vec<String>) {
    let (mut bench, web) = open(config);
    let (path, key, kid) = {
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        let (path, token) = client.challenge(&order, "http-01");
        let url = format!("http://a.example.com/.well-known/acme-challenge/{token}");
        prepare(&web, &url, &format!("{token}.{}", client.thumbprint()));
        client.post(&path, json!({})).is(200);
        (path, client.key, client.kid)
    };
    let answer = looked(&mut bench, key, &kid, &path);
    (answer, web.visited())
}

#[track_caller]
fn fails(config: Value, kind: &str, prepare: impl FnOnce(&Web, &str, &str)) -> Vec<String> {
    let (answer, visited) = attempt(config, prepare);
    assert_eq!(answer.data["status"], "invalid", "{answer:?}");
    let mut error = answer;
    error.data = error.data["error"].take();
    assert_eq!(problem(&error), kind, "{error:?}");
    assert!(
        !error.data["detail"].as_str().unwrap().contains("hush"),
        "what was read is not repeated: {error:?}"
    );
    visited
}

#[test]
fn a_page_that_does_not_prove_it_fails_with_the_reason() {
    let nothing = |web: &Web, _: &str, _: &str| web.host("a.example.com", &["10.1.1.1"]);
    fails(json!({}), "connection", nothing);
    fails(json!({}), "dns", |_, _, _| {});
    fails(json!({}), "dns", |web, _, _| web.host("a.example.com", &[]));
    fails(json!({}), "incorrectResponse", |web, url, _| {
        web.host("a.example.com", &["10.1.1.1"]);
        web.page(url, 200, "hush");
    });
    fails(json!({}), "incorrectResponse", |web, url, answer| {
        web.host("a.example.com", &["10.1.1.1"]);
        web.page(url, 404, answer);
    });
    fails(json!({}), "incorrectResponse", |web, url, answer| {
        web.host("a.example.com", &["10.1.1.1"]);
        web.page(url, 200, &format!("{answer}x"));
    });
}

/// CVE-2026-5052 and its kin: whoever owns a name does not choose where the server goes.
#[test]
fn the_server_goes_to_no_address_that_is_only_meant_ill() {
    for address in
        ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
    {
        let visited = fails(json!({}), "unauthorized", |web, url, answer| {
            web.host("a.example.com", &[address]);
            web.page(url, 200, answer);
        });
        assert!(visited.is_empty(), "{address} was visited: {visited:?}");
    }
    let denied = json!({"denied_targets": "10.0.0.0/8"});
    let visited = fails(denied, "unauthorized", |web, _, _| web.host("a.example.com", &["10.1.1.1"]));
    assert!(visited.is_empty());
    // Of several addresses only those are tried that may be.
    let (answer, visited) = attempt(json!({}), |web, url, answer| {
        web.host("a.example.com", &["127.0.0.1", "10.1.1.1"]);
        web.page(url, 200, answer);
    });
    assert_eq!(answer.data["status"], "valid");
    assert!(visited.iter().all(|visit| visit.starts_with("10.1.1.1 ")), "{visited:?}");
    let (answer, _) = attempt(json!({"allowed_targets": "127.0.0.1"}), |web, url, answer| {
        web.host("a.example.com", &["127.0.0.1"]);
        web.page(url, 200, answer);
    });
    assert_eq!(answer.data["status"], "valid", "what the operator allows is allowed");
}

/// A page that sends on to another place, which would prove it.
fn sends_on(web: &Web, url: &str, answer: &str, location: &str, address: &str) {
    web.host("a.example.com", &["10.1.1.1"]);
    web.host("b.example.com", &[address]);
    let told = Told { status: 302, location: location.to_owned(), ..Told::default() };
    web.pages.lock().unwrap().insert(url.to_owned(), told);
    web.page(location, 200, answer);
}

#[test]
fn redirects_are_followed_where_they_do_no_harm() {
    for (location, address, follows) in [
        ("http://b.example.com/proof", "203.0.113.1", true),
        ("https://b.example.com/proof", "203.0.113.1", true),
        ("https://a.example.com/proof", "10.1.1.1", true),
        ("http://b.example.com/proof", "10.1.1.2", false),
        ("http://b.example.com/proof", "127.0.0.1", false),
        ("http://127.0.0.1/proof", "203.0.113.1", false),
        ("http://169.254.169.254/latest", "203.0.113.1", false),
        ("http://b.example.com:8080/proof", "203.0.113.1", false),
        ("gopher://b.example.com/proof", "203.0.113.1", false),
    ] {
        let (answer, visited) =
            attempt(json!({}), |web, url, answer| sends_on(web, url, answer, location, address));
        let status = if follows { "valid" } else { "invalid" };
        assert_eq!(answer.data["status"], status, "{location} at {address}: {answer:?}");
        assert_eq!(visited.len(), if follows { 2 } else { 1 }, "{location}: {visited:?}");
    }
    let allowed = json!({"allowed_targets": "10.1.1.2/32"});
    let (answer, _) = attempt(allowed, |web, url, answer| {
        sends_on(web, url, answer, "http://b.example.com/proof", "10.1.1.2");
    });
    assert_eq!(answer.data["status"], "valid");
    let visited = fails(json!({}), "incorrectResponse", |web, url, _| {
        web.host("a.example.com", &["10.1.1.1"]);
        let told = Told { status: 301, location: url.to_owned(), ..Told::default() };
        web.pages.lock().unwrap().insert(url.to_owned(), told);
    });
    assert_eq!(visited.len(), 44, "a circle ends, each time the server looks");
}

/// The address of a host is the one that was looked up for it: a name server that says something else the next time leads
/// the server nowhere.
#[test]
fn a_redirect_within_a_host_stays_where_it_came_from() {
    let admin = "http://a.example.com/admin?really=1";
    // A name that moves between two looks.
    let (_, visited) = attempt(json!({}), |web, url, answer| {
        web.host("a.example.com", &["203.0.113.1"]);
        web.moved.lock().unwrap().insert("a.example.com".to_owned(), vec![[10, 9, 9, 9].into()]);
        web.sends_on(&format!("203.0.113.1 {url}"), admin);
        web.page(admin, 418, answer);
    });
    assert!(visited.contains(&format!("203.0.113.1 {admin}")), "{visited:?}");
    assert!(!visited.contains(&format!("10.9.9.9 {admin}")), "{visited:?}");
    // One with two addresses, of which the first answers once.
    let (_, visited) = attempt(json!({}), |web, url, answer| {
        web.host("a.example.com", &["203.0.113.1", "10.9.9.9"]);
        web.sends_on(&format!("203.0.113.1 {url}"), admin);
        web.page(&format!("10.9.9.9 {admin}"), 200, answer);
    });
    assert!(!visited.contains(&format!("10.9.9.9 {admin}")), "{visited:?}");
    // And one that is sent back to by another host.
    let visited = fails(json!({}), "unauthorized", |web, url, answer| {
        web.host("a.example.com", &["10.9.9.9"]);
        web.host("b.example.com", &["203.0.113.1"]);
        web.sends_on(url, "http://b.example.com/back");
        web.sends_on("http://b.example.com/back", admin);
        web.page(admin, 200, answer);
    });
    assert_eq!(visited.len(), 2, "{visited:?}");
}

/// What is told of the answer of a host at this address.
fn told_of(address: &str, prepare: impl FnOnce(&Web, &str)) -> String {
    let (found, _) = attempt(json!({}), |web, url, _| {
        web.host("a.example.com", &[address]);
        web.host("b.example.com", &[address]);
        prepare(web, url);
    });
    found.data["error"]["detail"].as_str().unwrap().to_owned()
}

#[test]
fn what_a_host_inside_answers_is_not_told() {
    let refuses = |web: &Web, url: &str| web.page(url, 418, "hush");
    let public = told_of("203.0.113.1", refuses);
    assert!(public.contains("answers with status 418"), "{public}");
    let private = told_of("10.1.1.1", refuses);
    assert!(private.ends_with("does not hold the key authorization"), "{private}");
    for location in ["http://b.example.com/hush", "/hush"] {
        let lost = told_of("203.0.113.1", |web, url| web.sends_on(url, location));
        assert!(lost.ends_with("sends on, and nobody answers there"), "{lost}");
        let refused = told_of("203.0.113.1", |web, url| {
            web.sends_on(url, location);
            web.page("http://b.example.com/hush", 404, "");
            web.page("http://a.example.com/hush", 404, "");
        });
        assert!(refused.ends_with("sends on to answers with status 404"), "{refused}");
    }
    let nameless = told_of("203.0.113.1", |web, url| web.sends_on(url, "http://hush.example.com/"));
    assert!(nameless.ends_with("a redirect leads to no address"), "{nameless}");
}

#[test]
fn a_proof_that_comes_late_is_found() {
    let (mut bench, web) = open(json!({}));
    let (path, token, key, kid) = {
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        let (path, token) = client.challenge(&order, "http-01");
        client.post(&path, json!({})).is(200);
        bench.tick();
        let early = client.look(&path).is(200);
        // The next look comes after 2.3 seconds.
        assert_eq!((&early.data["status"], early.header("retry-after")), (&json!("processing"), Some("3")));
        assert_eq!(early.data["error"]["type"], "urn:ietf:params:acme:error:dns");
        (path, token, client.key, client.kid)
    };
    web.host("a.example.com", &["10.1.1.1"]);
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    let url = format!("http://a.example.com/.well-known/acme-challenge/{token}");
    web.page(&url, 200, &format!("{token}.{}", client.thumbprint()));
    let (key, kid) = (client.key, client.kid);
    bench.wait(3);
    assert_eq!(bench.tick(), 1);
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    let found = client.look(&path).is(200);
    assert_eq!((&found.data["status"], found.data["error"].is_null()), (&json!("valid"), true));
}

#[test]
fn a_failed_proof_fails_the_order_and_is_not_tried_again() {
    let (mut bench, _) = open(json!({}));
    let (order, path, other, key, kid) = {
        let client = Client::with_account(&bench, "acme/");
        let order = client.order(&["a.example.com"]).is(201);
        let (path, _) = client.challenge(&order, "http-01");
        let (other, _) = client.challenge(&order, "dns-01");
        client.post(&path, json!({})).is(200);
        (client.rest(&json!(order.header("location").unwrap())), path, other, client.key, client.kid)
    };
    for _ in 0..4 {
        bench.tick();
        bench.wait(30);
    }
    let client = Client { bench: &bench, key, directory: "acme/", kid };
    assert_eq!(client.look(&path).is(200).data["status"], "invalid");
    let shown = client.look(&order).is(200);
    assert_eq!((&shown.data["status"], &shown.data["error"]["status"]), (&json!("invalid"), &json!(500)));
    refuses(&client.post(&other, json!({})), 400, "malformed", "not pending");
    assert_eq!(client.post(&path, json!({})).is(200).data["status"], "invalid", "once is enough");
    assert_eq!(bench.tick(), 0);
}

#[test]
fn wildcards_are_proved_by_records_alone() {
    let (bench, web) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let order = client.order(&["*.example.com"]).is(201);
    let authorization = client.look(&client.rest(&order.data["authorizations"][0])).is(200);
    assert_eq!(authorization.data["wildcard"], true);
    assert_eq!(authorization.data["identifier"]["value"], "example.com");
    assert_eq!(authorization.data["challenges"].as_array().unwrap().len(), 1);
    let (path, token) = client.challenge(&order, "dns-01");
    let answer = format!("{token}.{}", client.thumbprint());
    let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, answer.as_bytes()));
    let records = vec!["other".to_owned(), expected];
    web.records.lock().unwrap().insert("_acme-challenge.example.com".to_owned(), records);
    client.post(&path, json!({})).is(200);
    bench.tick();
    assert_eq!(client.look(&path).is(200).data["status"], "valid");
    assert!(web.visited().is_empty());
}

/// A certificate that proves `name` by `answer`, with this alternative name and this much of the extension.
pub(super) fn proof(desk: &Desk, names: &str, critical: &str, answer: &str) -> Vec<u8> {
    let hash = digest(&SHA256, answer.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    desk.openssl(&format!(
        "req -x509 -nodes -keyout k.pem -out c.der -outform DER -days 9 -subj /CN=x {EC} -addext subjectAltName={names} -addext 1.3.6.1.5.5.7.1.31={critical}DER:0420{hash}"
    ));
    std::fs::read(desk.0.join("c.der")).unwrap()
}

#[test]
fn a_certificate_proves_a_name_or_an_address() {
    let desk = Desk::new("acme-alpn");
    let tried = |identifier: Value, asked: &str, names: &str, critical: &str, spoil: &str| {
        let (mut bench, web) = open(json!({}));
        web.host("a.example.com", &["10.1.1.1"]);
        let (path, key, kid) = {
            let client = Client::with_account(&bench, "acme/");
            let order = client.post("new-order", json!({"identifiers": [identifier]})).is(201);
            let (path, token) = client.challenge(&order, "tls-alpn-01");
            let answer = format!("{token}.{}{spoil}", client.thumbprint());
            let shown = proof(&desk, names, critical, &answer);
            web.certificates.lock().unwrap().insert(asked.to_owned(), shown);
            client.post(&path, json!({})).is(200);
            (path, client.key, client.kid)
        };
        let answer = looked(&mut bench, key, &kid, &path);
        answer.data["status"].as_str().unwrap().to_owned()
    };
    let host = json!({"type": "dns", "value": "a.example.com"});
    let address = json!({"type": "ip", "value": "10.1.1.1"});
    let (name, ip) = ("DNS:a.example.com", "IP:10.1.1.1");
    assert_eq!(tried(host.clone(), "a.example.com", name, "critical,", ""), "valid");
    assert_eq!(tried(address, "1.1.1.10.in-addr.arpa", ip, "critical,", ""), "valid");
    assert_eq!(tried(host.clone(), "a.example.com", name, "critical,", "x"), "invalid");
    assert_eq!(tried(host.clone(), "a.example.com", name, "", ""), "invalid");
    assert_eq!(
        tried(host.clone(), "a.example.com", "DNS:a.example.com,DNS:b.example.com", "critical,", ""),
        "invalid"
    );
    assert_eq!(tried(host.clone(), "a.example.com", "DNS:b.example.com", "critical,", ""), "invalid");
    assert_eq!(tried(host, "b.example.com", name, "critical,", ""), "invalid");
}

#[test]
fn an_address_is_proved_by_a_page() {
    let (bench, web) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    let identifiers = json!([{"type": "ip", "value": "10.1.1.1"}, {"type": "ip", "value": "fd00::1"}]);
    let order = client.post("new-order", json!({"identifiers": identifiers})).is(201);
    for (at, host) in ["10.1.1.1", "[fd00::1]"].iter().enumerate() {
        let authorization = client.look(&client.rest(&order.data["authorizations"][at])).is(200);
        let kinds: Vec<_> =
            authorization.data["challenges"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        assert_eq!(kinds, ["http-01", "tls-alpn-01"]);
        let challenge = &authorization.data["challenges"][0];
        let token = challenge["token"].as_str().unwrap();
        let url = format!("http://{host}/.well-known/acme-challenge/{token}");
        web.page(&url, 200, &format!("{token}.{}", client.thumbprint()));
        client.post(&client.rest(&challenge["url"]), json!({})).is(200);
        bench.tick();
    }
    let place = client.rest(&json!(order.header("location").unwrap()));
    assert_eq!(client.look(&place).is(200).data["status"], "ready");
    let desk = Desk::new("acme-ip");
    let csr = desk.csr(&format!("{EC} -subj / -addext subjectAltName=IP:10.1.1.1,IP:fd00::1"));
    client.post(&format!("{place}/finalize"), json!({"csr": super::der(&csr)})).is(200);
}

/// Proofs that hang delay others of their account, and nobody else's.
#[test]
fn proofs_that_hang_leave_others_their_places() {
    let (mut bench, web) = open(json!({}));
    let slow = Client::with_account(&bench, "acme/");
    for number in 0..9 {
        let host = format!("h{number}.example.com");
        web.host(&host, &["10.9.9.9"]);
        let order = slow.order(&[&host]).is(201);
        let (challenge, _) = slow.challenge(&order, "http-01");
        slow.post(&challenge, json!({})).is(200);
    }
    let hanging: Vec<_> = (0..8).map(|_| bench.take_up()).collect();
    assert!(hanging.iter().all(|asking| asking.awaits() == kit::Awaited::Systems));
    bench.tick();
    assert_eq!(web.visited(), [""; 0], "the ninth waits for its turn");
    let other = Client::with_account(&bench, "acme/");
    let order = other.order(&["b.example.com"]).is(201);
    other.prove(&web, &order, "b.example.com");
    drop((slow, other, hanging));
    web.visited();
    bench.wait(2);
    bench.tick();
    let visited = web.visited();
    assert!(visited.iter().any(|page| page.contains("http://h8.example.com/")), "{visited:?}");
}
