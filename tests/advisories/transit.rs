//! Transit: nonces are nobody's to choose, odd settings bring nothing down, and no secret reaches the audit log.

use crate::stage::Stage;
use serde_json::{Value, json};

const KINDS: [&str; 12] = [
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
    "ed25519",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "rsa-2048",
    "rsa-3072",
    "hmac",
    "ml-dsa",
];

fn mount(stage: &Stage) {
    stage.root.post("sys/mounts/transit", json!({"type": "transit"})).must(204);
}

/// "a secret", in base64.
const SECRET: &str = "YSBzZWNyZXQ=";

#[test]
fn row_087_no_key_reaches_the_audit_log() {
    let stage = Stage::audited();
    mount(&stage);
    let mut secrets = Vec::new();
    let settings = json!({"exportable": true, "allow_plaintext_backup": true});
    stage.root.post("transit/keys/k", settings).must(200);
    let exported = stage.root.get("transit/export/encryption-key/k").must(200);
    secrets.push(exported.at("/data/keys/1"));
    let made = stage.root.post("transit/datakey/plaintext/k", json!({})).must(200);
    secrets.push(made.at("/data/plaintext"));
    secrets.push(stage.root.get("transit/backup/k").must(200).at("/data/backup"));
    let plain = "Q0FOQVJZLXRyYW5zaXQtQ0FOQVJZ";
    let sealed =
        stage.root.post("transit/encrypt/k", json!({"plaintext": plain})).must(200).at("/data/ciphertext");
    stage.root.post("transit/decrypt/k", json!({"ciphertext": sealed})).must(200);
    let items = json!([{"plaintext": plain}]);
    stage.root.post("transit/encrypt/k", json!({"batch_input": items})).must(200);
    stage.root.post("transit/encrypt/k", json!({"batch_input": [{"plaintext": [plain]}]})).must(400);
    secrets.push(plain.to_owned());
    let log = stage.audit_text();
    assert!(log.contains("transit/datakey/plaintext/k"), "the requests are in it");
    for secret in secrets {
        assert!(!log.contains(&secret), "a secret of {} letters is in the audit log", secret.len());
    }
}

#[test]
fn row_105_no_setting_of_a_key_brings_the_server_down() {
    let stage = Stage::dev();
    mount(&stage);
    let yes_or_no = [json!(false), json!(true)];
    for kind in KINDS {
        for derived in &yes_or_no {
            for convergent in &yes_or_no {
                for exportable in &yes_or_no {
                    let name = format!("{kind}-{derived}-{convergent}-{exportable}");
                    let body = json!({
                        "type": kind, "derived": derived, "convergent_encryption": convergent,
                        "exportable": exportable, "allow_plaintext_backup": exportable,
                        "key_size": if kind == "hmac" { 32 } else { 0 }, "parameter_set": "65",
                    });
                    let made = stage.root.post(&format!("transit/keys/{name}"), body.clone());
                    // bao answers what cannot be with 500, and clients know its words.
                    made.must_be_any(&[200, 400, 500]);
                    use_it(&stage, &name);
                }
            }
            let import = json!({
                "type": kind, "derived": derived, "public_key": "x", "ciphertext": "AAAA", "parameter_set": "65",
            });
            stage
                .root
                .post(&format!("transit/keys/in-{kind}-{derived}/import"), import)
                .must_be_any(&[400, 500]);
        }
    }
    stage.lives();
}

/// Whatever it is and can: each use is answered.
fn use_it(stage: &Stage, name: &str) {
    for (path, body) in [
        ("encrypt", json!({"plaintext": SECRET, "key_version": 1})),
        ("sign", json!({"input": SECRET})),
        ("hmac", json!({"input": SECRET})),
        ("verify", json!({"input": SECRET, "signature": "vault:v1:YQ=="})),
        ("decrypt", json!({"ciphertext": "vault:v1:YQ=="})),
        ("rewrap", json!({"ciphertext": "vault:v1:YQ=="})),
    ] {
        stage.root.post(&format!("transit/{path}/{name}"), body).must_be_any(&[200, 400, 500]);
    }
    stage.root.get(&format!("transit/backup/{name}")).must_be_any(&[200, 400]);
    stage.root.get(&format!("transit/export/public-key/{name}")).must_be_any(&[200, 404, 500]);
}

#[test]
fn row_115_a_nonce_is_not_for_the_caller_to_choose() {
    let stage = Stage::dev();
    mount(&stage);
    stage.root.post("transit/keys/k", json!({})).must(200);
    let nonce = "AAAAAAAAAAAAAAAA";
    let twice = |ask: &dyn Fn() -> Value| {
        let (one, other) = (ask(), ask());
        assert!(one.is_string() && one != other, "the nonce was taken: {one}");
    };
    let post = |path: &str, body: Value| stage.root.post(&format!("transit/{path}"), body).must(200).json();
    twice(&|| post("encrypt/k", json!({"plaintext": SECRET, "nonce": nonce}))["data"]["ciphertext"].clone());
    twice(&|| {
        let items = json!([{"plaintext": SECRET, "nonce": nonce}]);
        post("encrypt/k", json!({"batch_input": items}))["data"]["batch_results"][0]["ciphertext"].clone()
    });
    twice(&|| post("datakey/wrapped/k", json!({"nonce": nonce}))["data"]["ciphertext"].clone());
    let sealed = post("encrypt/k", json!({"plaintext": SECRET}))["data"]["ciphertext"].clone();
    twice(&|| post("rewrap/k", json!({"ciphertext": sealed, "nonce": nonce}))["data"]["ciphertext"].clone());
}

#[test]
fn row_117_nobody_computes_what_a_plaintext_becomes() {
    let stage = Stage::dev();
    mount(&stage);
    let seal = |name: &str| {
        let settings = json!({"derived": true, "convergent_encryption": true});
        let made = stage.root.post(&format!("transit/keys/{name}"), settings).must(200).json();
        assert_eq!(made["data"]["convergent_encryption_version"], -1, "each version has its own, the third");
        let body = json!({"plaintext": SECRET, "context": SECRET});
        let first = stage.root.post(&format!("transit/encrypt/{name}"), body.clone()).must(200);
        let second = stage.root.post(&format!("transit/encrypt/{name}"), body).must(200);
        assert_eq!(first.at("/data/ciphertext"), second.at("/data/ciphertext"));
        first.at("/data/ciphertext")
    };
    // Under another key the nonce, too, is another: it depends on the secret and not on plaintext and context alone.
    let (one, other) = (seal("one"), seal("other"));
    assert_ne!(one["vault:v1:".len()..][..16], other["vault:v1:".len()..][..16]);
}

/// With GCM, two tags under one nonce give away the key that authenticates, and then all can be forged: NIST SP 800-38D,
/// appendix A. OpenBao 2.7.2 gives equal plaintexts equal nonces, whatever is authenticated beside them.
#[test]
fn also_a_convergent_key_has_a_nonce_for_all_that_it_authenticates() {
    let stage = Stage::dev();
    mount(&stage);
    for kind in ["aes256-gcm96", "chacha20-poly1305"] {
        let settings = json!({"type": kind, "derived": true, "convergent_encryption": true});
        stage.root.post(&format!("transit/keys/{kind}"), settings).must(200);
        let seal = |plaintext: &str, beside: &str| {
            let mut body = json!({"plaintext": plaintext, "context": SECRET});
            if !beside.is_empty() {
                body["associated_data"] = json!(beside);
            }
            let sealed = stage.root.post(&format!("transit/encrypt/{kind}"), body.clone()).must(200);
            let sealed = sealed.at("/data/ciphertext");
            body.as_object_mut().unwrap().remove("plaintext");
            body["ciphertext"] = json!(sealed);
            let opened = stage.root.post(&format!("transit/decrypt/{kind}"), body).must(200);
            assert_eq!(opened.at("/data/plaintext"), plaintext);
            sealed
        };
        let nonce = |sealed: &str| sealed["vault:v1:".len()..][..16].to_owned();
        let alice = seal(SECRET, "YWxpY2U=");
        assert_eq!(alice, seal(SECRET, "YWxpY2U="), "it converges");
        let mut nonces: Vec<_> =
            [alice, seal(SECRET, "Ym9iYnk="), seal("eA==", "YWxpY2U="), seal(SECRET, "")]
                .map(|it| nonce(&it))
                .into();
        // The size of `alice`, `alice` and the plaintext, as one plaintext with nothing beside it.
        nonces.push(nonce(&seal("AAAAAAAAAAVhbGljZWEgc2VjcmV0", "")));
        nonces.sort();
        nonces.dedup();
        assert_eq!(nonces.len(), 5, "{kind}: two of them have one nonce");
    }
}

#[test]
fn also_a_backup_that_holds_no_key_is_refused() {
    let stage = Stage::dev();
    mount(&stage);
    // `{}`, `{"policy":null}`, `[]`, `{"policy":{}}`, in base64: the first takes a connection down with bao 2.7.2.
    for backup in ["e30=", "eyJwb2xpY3kiOm51bGx9", "W10=", "eyJwb2xpY3kiOnt9fQ=="] {
        stage.root.post("transit/restore/k", json!({"backup": backup})).must_be_any(&[400, 500]);
        stage.root.get("transit/keys/k").must(404);
    }
    stage.lives();
}

#[test]
fn row_167_a_rewrap_keeps_what_a_ciphertext_is_bound_to() {
    let stage = Stage::dev();
    mount(&stage);
    stage.root.post("transit/keys/k", json!({"derived": true})).must(200);
    stage.root.post("transit/keys/other", json!({"derived": true})).must(200);
    let (own, foreign) = ("b3du", "Zm9yZWlnbg==");
    let sealed = stage.root.post("transit/encrypt/k", json!({"plaintext": SECRET, "context": own})).must(200);
    let sealed = sealed.at("/data/ciphertext");
    stage.root.post("transit/keys/k/rotate", json!({})).must_be_any(&[200, 204]);
    let rewrap = |key: &str, context: &str| {
        stage.root.post(&format!("transit/rewrap/{key}"), json!({"ciphertext": sealed, "context": context}))
    };
    rewrap("k", foreign).must(400);
    rewrap("other", own).must(400);
    let wrapped = rewrap("k", own).must(200).at("/data/ciphertext");
    let open = |context: &str| {
        stage.root.post("transit/decrypt/k", json!({"ciphertext": wrapped, "context": context}))
    };
    open(foreign).must(400);
    assert_eq!(open(own).must(200).at("/data/plaintext"), SECRET);
}
