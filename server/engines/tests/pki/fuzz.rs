//! Whatever is sent to the doors of a mount is answered: with what was asked for, or with a refusal that says why. Never
//! with a fault of the server's own, and never with another thing kept than what was answered.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::{Value, json};
use x509::pem;

use crate::acme::{Client, open};
use crate::bench::{Answer, Bench};
use crate::near::{config, ders, near, near_text, texts};
use crate::{ready, role};

/// Sends what a strategy makes up, and asserts that each answer is clean.
#[track_caller]
fn check<S: Strategy>(
    seed: u64,
    cases: u32,
    clean: fn(&Answer) -> bool,
    sent: S,
    answer: impl Fn(S::Value) -> Answer,
) {
    let outcome = TestRunner::new(config(seed, cases)).run(&sent, |sent| {
        let answer = answer(sent);
        prop_assert!(clean(&answer), "{:?}", answer);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, sent)) => panic!("{why}\n{sent:?}"),
        Err(error) => panic!("{error}"),
    }
}

/// A refusal is the caller's fault, or says in words what is wrong here.
fn is_clean(answer: &Answer) -> bool {
    let says = |text: &String| !text.is_empty() && text.len() < 2_000 && !text.contains("internal error");
    answer.status < 400
        || (answer.status <= 500 && !answer.errors.is_empty() && answer.errors.iter().all(says))
}

fn requests() -> impl Strategy<Value = String> {
    let touched = near(ders("requests")).prop_map(|der| pem::encode(pem::REQUEST, &der));
    prop_oneof![touched, near_text(texts("requests")), any::<String>()]
}

#[test]
fn requests_are_signed_or_refused() {
    let bench = ready();
    role(&bench, json!({"allow_any_name": true, "key_type": "any", "enforce_hostnames": false})).is(200);
    let doors = ["sign/r", "sign-verbatim", "root/sign-intermediate", "issuer/default/sign/r"];
    check(21, 600, is_clean, (select(doors.to_vec()), requests()), |(door, csr)| {
        let kept = bench.ids(4).0;
        let answer = bench.post(door, json!({"csr": csr, "common_name": "a.example.com"}));
        assert_eq!(bench.ids(4).0 - kept, usize::from(answer.status == 200), "what is refused is not kept");
        answer
    });
}

#[test]
fn certificates_are_taken_or_refused() {
    let bench = ready();
    let touched = near(ders("certificates")).prop_map(|der| pem::encode(pem::CERTIFICATE, &der));
    let sent = prop_oneof![touched, near_text(texts("certificates")), any::<String>()];
    check(
        22,
        400,
        is_clean,
        (select(vec!["revoke", "root/sign-self-issued"]), sent),
        |(door, certificate)| bench.post(door, json!({"certificate": certificate})),
    );
}

#[test]
fn bundles_are_imported_or_refused() {
    let touched = || near(ders("certificates")).prop_map(|der| pem::encode(pem::CERTIFICATE, &der));
    let keys = || near(ders("keys")).prop_map(|der| pem::encode("PRIVATE KEY", &der));
    let pairs = (touched(), keys()).prop_map(|(one, other)| format!("{one}\n{other}"));
    let text = near_text([texts("certificates"), texts("keys"), texts("requests")].concat());
    let sent = prop_oneof![touched(), keys(), pairs, text, any::<String>()];
    let doors = [
        "issuers/import/bundle",
        "issuers/import/cert",
        "config/ca",
        "keys/import",
        "intermediate/set-signed",
    ];
    let bench = std::cell::RefCell::new(ready());
    check(23, 300, is_clean, (select(doors.to_vec()), sent), |(door, bundle)| {
        let mut bench = bench.borrow_mut();
        let answer = bench.post(door, json!({"pem_bundle": bundle}));
        if answer.status == 200 {
            // What was taken can be shown, and asked about.
            for shown in ["ca_chain", "crl/pem", "issuer/default/json"] {
                assert!(is_clean(&bench.get(shown)), "{shown} after {bundle}");
            }
            *bench = ready();
        }
        answer
    });
}

#[test]
fn questions_about_certificates_are_answered_or_refused() {
    let bench = ready();
    let touched = near(ders("questions")).prop_map(|der| STANDARD.encode(&der.0));
    let sent = prop_oneof![touched, "[A-Za-z0-9+/=_-]{0,80}", any::<String>()];
    let clean =
        |answer: &Answer| [200, 400, 401].contains(&answer.status) && answer.bytes.first() == Some(&0x30);
    check(24, 600, clean, sent, |question| bench.post("ocsp", json!({"req": question})));
}

#[test]
fn paths_to_certificates_and_lists_lead_somewhere_or_nowhere() {
    let bench = ready();
    let name = prop_oneof!["[0-9a-fA-F:-]{0,70}", "[a-z]{0,8}", "[^/?]{0,12}"];
    let form =
        ["cert/{}", "cert/{}/raw", "cert/{}/raw/pem", "issuer/{}/json", "issuer/{}/crl", "issuer/{}/crl/der"];
    // Where there is nothing there is nothing to say.
    let clean = |answer: &Answer| answer.status == 404 || is_clean(answer);
    check(25, 600, clean, (select(form.to_vec()), name), |(form, name)| {
        bench.get(&form.replace("{}", &name))
    });
}

/// An id that nothing has.
const ID: &str = "00000000-0000-4000-8000-000000000000";

/// What an honest client would say at each door of ACME.
fn said() -> Vec<(String, String)> {
    let names = json!([{"type": "dns", "value": "a.example.com"}, {"type": "ip", "value": "10.0.0.1"}]);
    let inner = json!({"protected": "e30", "payload": "e30", "signature": "AAAA"});
    let csr = URL_SAFE_NO_PAD.encode(&ders("requests")[1]);
    let certificate = URL_SAFE_NO_PAD.encode(&ders("certificates")[2]);
    let said = [
        (
            "new-account",
            json!({"contact": ["mailto:me@example.org"], "externalAccountBinding": inner, "termsOfServiceAgreed": true}),
        ),
        (
            "new-order",
            json!({"identifiers": names, "notAfter": "2026-01-02T00:00:00Z", "replaces": "AA.BB", "profile": "p"}),
        ),
        ("new-order", json!({"identifiers": names})),
        ("new-authz", json!({"identifier": names[0]})),
        ("revoke-cert", json!({"certificate": certificate, "reason": 1})),
        ("key-change", inner.clone()),
        ("orders", json!({})),
        ("order/{}", json!({})),
        ("order/{}/finalize", json!({"csr": csr})),
        ("authorization/{}", json!({"status": "deactivated"})),
        ("challenge/{}/http-01", json!({})),
        ("account/{}", json!({"contact": []})),
    ];
    said.into_iter().map(|(door, said)| (door.replace("{}", ID), said.to_string())).collect()
}

/// A refusal of ACME is a problem document, with a nonce for the next request.
fn is_problem(answer: &Answer) -> bool {
    let kind = answer.data["type"].as_str().unwrap_or_default();
    let detail = answer.data["detail"].as_str().unwrap_or_default();
    answer.status < 300
        || ((400..500).contains(&answer.status)
            && kind.starts_with("urn:ietf:params:acme:error:")
            && (1..2_000).contains(&detail.len())
            && answer.data["status"] == answer.status
            && answer.header("replay-nonce").is_some())
}

/// A message that is signed by the client, whatever it says.
fn signed(client: &Client<'_>, header: &str, payload: &[u8]) -> Value {
    let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let message = format!("{header}.{payload}");
    let signature = client.key.sign(&aws_lc_rs::rand::SystemRandom::new(), message.as_bytes()).unwrap();
    json!({"protected": header, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)})
}

fn header(client: &Client<'_>, rest: &str) -> Value {
    let mut header = json!({"alg": "ES256", "nonce": client.nonce(), "url": client.url(rest)});
    match &client.kid {
        Some(kid) if rest != "new-account" => header["kid"] = json!(kid),
        _ => header["jwk"] = client.jwk(),
    }
    header
}

fn acme(
    seed: u64,
    sent: impl Strategy<Value = (usize, String)>,
    send: impl Fn(&Bench, &Client<'_>, usize, String) -> Answer,
) {
    let (bench, _) = open(json!({}));
    let client = Client::with_account(&bench, "acme/");
    check(seed, 500, is_problem, sent, |(at, text)| send(&bench, &client, at, text));
}

fn doors() -> impl Strategy<Value = usize> {
    0..said().len()
}

#[test]
fn payloads_are_obeyed_or_refused_as_problems() {
    let sent = doors().prop_flat_map(|at| (Just(at), near_text(vec![said()[at].1.clone()])));
    let doors = said();
    acme(26, sent, |_, client, at, payload| {
        let rest = doors[at].0.clone();
        client.send(&rest, &signed(client, &header(client, &rest).to_string(), payload.as_bytes()))
    });
}

#[test]
fn headers_are_believed_or_refused_as_problems() {
    let edits = near_text(vec![
        json!({"alg": "ES256", "nonce": "NONCE", "url": "URL", "kid": "KID"}).to_string(),
        json!({"alg": "ES256", "nonce": "NONCE", "url": "URL", "jwk": "JWK"}).to_string(),
    ]);
    let doors_of = said();
    acme(27, (doors(), edits), |_, client, at, text| {
        let rest = doors_of[at].0.clone();
        let honest = header(client, &rest);
        let kid = client.kid.clone().unwrap_or_default();
        let text =
            text.replace("NONCE", honest["nonce"].as_str().unwrap()).replace("URL", &client.url(&rest));
        let text = text.replace("KID", &kid).replace("\"JWK\"", &client.jwk().to_string());
        client.send(&rest, &signed(client, &text, doors_of[at].1.as_bytes()))
    });
}

#[test]
fn keys_and_bodies_of_messages_are_read_or_refused_as_problems() {
    let keys = [
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "EC", "crv": "P-521", "x": "_".repeat(88), "y": "-".repeat(88)}),
        json!({"kty": "RSA", "n": "_".repeat(342), "e": "AQAB"}),
        json!({"kty": "RSA", "n": "_".repeat(1_366), "e": "_".repeat(200)}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}),
    ];
    let sent = near_text(keys.iter().map(Value::to_string).collect());
    acme(28, (doors(), sent), |bench, client, at, key| {
        let header = format!(
            r#"{{"alg":"ES256","nonce":"{}","url":"{}","jwk":{key}}}"#,
            client.nonce(),
            client.url("new-account")
        );
        let mut message = signed(client, &header, b"{}");
        // Every second time the message is broken instead of the key.
        if at % 2 == 0 {
            message["signature"] = json!(key);
        }
        bench.send(kit::Verb::Post, "acme/new-account", &message.to_string())
    });
}

#[test]
fn requests_for_orders_are_refused_as_problems() {
    let (bench, _) = open(json!({}));
    let client = Client::bound(&bench, "acme/", "*.example.com");
    let order = client.order(&["z.example.com"]).is(201);
    assert_eq!(order.data["status"], "ready");
    let finalize = format!("{}/finalize", client.rest(&json!(order.header("location").unwrap())));
    let clean = |answer: &Answer| is_problem(answer) && crate::acme::problem(answer) == "badCSR";
    check(29, 400, clean, near(ders("requests")), |der| {
        client.post(&finalize, json!({"csr": URL_SAFE_NO_PAD.encode(&der.0)}))
    });
}
