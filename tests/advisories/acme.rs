//! L. ACME: what is signed strangely is refused at once, and what proves a name stands in no log. Rows 121, 122 and 133
//! are held beside the code, in the tests of the engine.

use crate::stage::Stage;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::acme::Signer;
use tests::http::{Reply, Request};

fn offer(stage: &Stage) -> Signer {
    stage.root.post("sys/mounts/pki", json!({"type": "pki"})).must(204);
    stage.root.post("pki/root/generate/internal", json!({"common_name": "Root", "key_type": "ec"})).must(200);
    let path = format!("{}/v1/pki", stage.server.url());
    stage.root.post("pki/config/cluster", json!({"path": path})).must(200);
    stage.root.post("pki/config/acme", json!({"enabled": true})).must(200);
    Signer::new(&format!("{path}/acme/"))
}

fn post(stage: &Stage, signer: &Signer, rest: &str, payload: &Value) -> Reply {
    let nonce = stage.server.anonymous().get("pki/acme/new-nonce").must(204);
    let body = signer.sign(rest, nonce.header("replay-nonce").unwrap(), payload);
    stage.server.anonymous().post_signed(&format!("pki/acme/{rest}"), &body)
}

#[test]
fn row_086_what_proves_a_name_stands_in_no_audit_line() {
    let stage = Stage::audited();
    let mut signer = offer(&stage);
    let made =
        post(&stage, &signer, "new-account", &json!({"contact": ["mailto:canary@example.org"]})).must(201);
    signer.kid = made.header("location").map(str::to_owned);
    let identifiers = json!({"identifiers": [{"type": "dns", "value": "canary.example.org"}]});
    let order = post(&stage, &signer, "new-order", &identifiers).must(201);
    let authorization = signer.rest(&order.json()["authorizations"][0]);
    let shown = post(&stage, &signer, &authorization, &Value::Null).must(200);
    let token = shown.at("/challenges/0/token");
    let text = stage.audit_text();
    assert!(text.contains("pki/acme/new-order"));
    let encoded = URL_SAFE_NO_PAD.encode(identifiers.to_string());
    for hidden in
        [token.as_str(), &signer.answer(&token), &encoded, "canary@example.org", "canary.example.org"]
    {
        assert!(!text.contains(hidden), "{hidden} stands in the audit log");
    }
}

#[test]
fn row_114_strange_signatures_cost_nothing() {
    let stage = Stage::dev();
    let signer = offer(&stage);
    let url = format!("{}new-account", signer.base);
    let jwk = signer.jwk();
    let headers = [
        json!({"alg": "PBES2-HS512+A256KW", "p2c": 2_147_483_647_u32, "p2s": "AAAA", "enc": "A256GCM", "url": url, "jwk": jwk}),
        json!({"alg": "ES256", "zip": "DEF", "url": url, "jwk": jwk}),
        json!({"alg": "ES256", "crit": ["exp"], "exp": 1, "url": url, "jwk": jwk}),
        json!({"alg": "none", "url": url, "jwk": jwk}),
        json!({"alg": "HS256", "url": url, "jwk": jwk}),
        json!({"alg": ["ES256"], "url": url, "jwk": jwk}),
        json!(null),
        json!([]),
        json!("."),
    ];
    let anonymous = stage.server.anonymous();
    for header in headers {
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let body = json!({"protected": protected, "payload": "e30", "signature": "AAAA"});
        anonymous.post_signed("pki/acme/new-account", &body).must(400);
    }
    for part in [".".repeat(1 << 20), "A".repeat(1 << 20), "\u{0}".to_owned()] {
        for name in ["protected", "payload", "signature"] {
            let mut body = json!({"protected": "e30", "payload": "e30", "signature": "AAAA"});
            body[name] = json!(part);
            anonymous.post_signed("pki/acme/new-account", &body).must(400);
        }
    }
    for body in [json!({"protected": 1, "payload": [], "signature": {}}), json!({"protected": null})] {
        anonymous.post_signed("pki/acme/new-account", &body).must(400);
    }
}

/// RFC 8555, sections 6.2 and 6.3.
#[test]
fn what_is_no_signed_message_is_told_so() {
    let stage = Stage::dev();
    let mut signer = offer(&stage);
    let made = post(&stage, &signer, "new-account", &json!({})).must(201);
    signer.kid = made.header("location").map(str::to_owned);
    let anonymous = stage.server.anonymous();
    for kind in [None, Some("application/json"), Some("text/plain"), Some("application/jose")] {
        let nonce = anonymous.get("pki/acme/new-nonce").must(204);
        let body =
            signer.sign("new-order", nonce.header("replay-nonce").unwrap(), &json!({"identifiers": []}));
        let request = Request::new("POST", "/v1/pki/acme/new-order").json(&body);
        let request = kind.map_or(request.clone(), |kind| request.header("Content-Type", kind));
        let refused = anonymous.send(&request).must(415);
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        assert_eq!(refused.at("/type"), "urn:ietf:params:acme:error:malformed");
    }
    let account = signer.rest(&json!(signer.kid));
    for place in [account.as_str(), "new-order", "order/x", "order/x/finalize", "challenge/x/http-01"] {
        let refused = anonymous.get(&format!("pki/acme/{place}")).must(405);
        assert_eq!((refused.header("allow"), refused.at("/status").as_str()), (Some("POST"), "405"));
        assert_eq!(refused.at("/type"), "urn:ietf:params:acme:error:malformed");
    }
}
