use super::*;

fn encrypt(bench: &Bench, name: &str, body: Value) -> String {
    text(&bench.post(&format!("encrypt/{name}"), body).is(200), "ciphertext").to_owned()
}

fn decrypt(bench: &Bench, name: &str, body: Value) -> String {
    text(&bench.post(&format!("decrypt/{name}"), body).is(200), "plaintext").to_owned()
}

#[test]
fn what_is_encrypted_decrypts_and_using_a_key_writes_nothing() {
    let bench = transit();
    for kind in CIPHERS.into_iter().chain(["rsa-2048"]) {
        key(&bench, kind, json!({"type": kind}));
        let index = bench.index();
        let one = encrypt(&bench, kind, json!({"plaintext": b64("secret")}));
        let two = encrypt(&bench, kind, json!({"plaintext": b64("secret")}));
        assert!(one.starts_with("vault:v1:") && one != two, "{kind}: a nonce of its own for each");
        assert_eq!(decrypt(&bench, kind, json!({"ciphertext": one})), b64("secret"));
        let wrapped = bench.post(&format!("datakey/plaintext/{kind}"), json!({})).is(200);
        let opened = decrypt(&bench, kind, json!({"ciphertext": text(&wrapped, "ciphertext")}));
        assert_eq!(opened, text(&wrapped, "plaintext"));
        bench.post(&format!("rewrap/{kind}"), json!({"ciphertext": two})).is(200);
        assert_eq!(bench.index(), index, "{kind}: nothing was committed");
    }
}

#[test]
fn data_beside_the_plaintext_is_authenticated() {
    let bench = transit();
    for kind in CIPHERS {
        key(&bench, kind, json!({"type": kind}));
        let body = json!({"plaintext": b64("secret"), "associated_data": b64("beside")});
        let ciphertext = encrypt(&bench, kind, body);
        let with = json!({"ciphertext": ciphertext, "associated_data": b64("beside")});
        assert_eq!(decrypt(&bench, kind, with), b64("secret"));
        let path = format!("decrypt/{kind}");
        bench.post(&path, json!({"ciphertext": ciphertext})).refuses(400, "message authentication failed");
        let other = json!({"ciphertext": ciphertext, "associated_data": b64("others")});
        bench.post(&path, other).refuses(400, "message authentication failed");
    }
    key(&bench, "rsa", json!({"type": "rsa-2048"}));
    let body = json!({"plaintext": b64("secret"), "associated_data": b64("beside")});
    bench.post("encrypt/rsa", body).refuses(400, "provided for non-AEAD cipher suite rsa-2048");
}

#[test]
fn each_context_has_its_own_key() {
    let bench = transit();
    for kind in CIPHERS {
        key(&bench, kind, json!({"type": kind, "derived": true}));
        let plain = json!({"plaintext": b64("secret")});
        bench.post(&format!("encrypt/{kind}"), plain).refuses(400, "missing 'context' for key derivation");
        let ciphertext = encrypt(&bench, kind, json!({"plaintext": b64("secret"), "context": b64("a")}));
        let own = json!({"ciphertext": ciphertext, "context": b64("a")});
        assert_eq!(decrypt(&bench, kind, own), b64("secret"));
        let other = json!({"ciphertext": ciphertext, "context": b64("b")});
        bench.post(&format!("decrypt/{kind}"), other).refuses(400, "message authentication failed");
    }
}

#[test]
fn convergent_keys_encrypt_equal_plaintexts_equally() {
    let bench = transit();
    for kind in CIPHERS {
        key(&bench, kind, json!({"type": kind, "derived": true, "convergent_encryption": true}));
        let encrypt = |plain: &str, context: &str| {
            encrypt(&bench, kind, json!({"plaintext": b64(plain), "context": b64(context)}))
        };
        assert_eq!(encrypt("secret", "a"), encrypt("secret", "a"));
        assert_ne!(encrypt("secret", "a"), encrypt("secret", "b"));
        assert_ne!(encrypt("secret", "a"), encrypt("public", "a"));
        let body = json!({"ciphertext": encrypt("secret", "a"), "context": b64("a")});
        assert_eq!(decrypt(&bench, kind, body), b64("secret"));
    }
    bench
        .post("keys/k", json!({"convergent_encryption": true}))
        .refuses(400, "convergent encryption requires derivation to be enabled");
}

#[test]
fn versions_come_and_go() {
    let bench = transit();
    key(&bench, "k", json!({}));
    let old = encrypt(&bench, "k", json!({"plaintext": b64("old")}));
    assert_eq!(bench.post("keys/k/rotate", json!({})).is(200).data["latest_version"], 2);
    let new = encrypt(&bench, "k", json!({"plaintext": b64("new")}));
    assert!(new.starts_with("vault:v2:"));
    assert_eq!(decrypt(&bench, "k", json!({"ciphertext": old})), b64("old"));
    let chosen = encrypt(&bench, "k", json!({"plaintext": b64("old"), "key_version": 1}));
    assert!(chosen.starts_with("vault:v1:"));
    let moved = bench.post("rewrap/k", json!({"ciphertext": old})).is(200);
    assert_eq!(
        (moved.data["key_version"].as_u64(), &text(&moved, "ciphertext")[..9]),
        (Some(2), "vault:v2:")
    );

    bench.post("keys/k/config", json!({"min_encryption_version": 2})).is(200);
    let body = json!({"plaintext": b64("old"), "key_version": 1});
    bench.post("encrypt/k", body).refuses(400, "less than the minimum encryption key version");
    bench.post("keys/k/config", json!({"min_decryption_version": 2})).is(200);
    bench.post("decrypt/k", json!({"ciphertext": old})).refuses(400, "disallowed by policy (too old)");
    bench.post("keys/k/config", json!({"min_decryption_version": 1})).is(200);
    assert_eq!(decrypt(&bench, "k", json!({"ciphertext": old})), b64("old"), "what is too old is kept");
    bench.post("keys/k/config", json!({"min_decryption_version": 2})).is(200);
    bench.post("keys/k/trim", json!({"min_available_version": 2})).is(200);
    bench
        .post("keys/k/config", json!({"min_decryption_version": 1}))
        .refuses(400, "min decryption version should not be less then min available version");

    let body = json!({"plaintext": b64("a"), "key_version": 3});
    bench.post("encrypt/k", body).refuses(400, "higher than the latest key version");
    let body = json!({"plaintext": b64("a"), "key_version": -1});
    bench.post("encrypt/k", body).refuses(400, "requested version for encryption is negative");
    let future = new.replace("v2", "v3");
    bench.post("decrypt/k", json!({"ciphertext": future})).refuses(400, "version is too new");
}

#[test]
fn what_is_no_ciphertext_is_refused() {
    let bench = transit();
    key(&bench, "k", json!({}));
    let refused = |ciphertext: &str, why: &str| {
        bench.post("decrypt/k", json!({"ciphertext": ciphertext})).refuses(400, why);
    };
    refused("", "missing ciphertext to decrypt");
    refused("x", "invalid ciphertext: no prefix");
    refused("vault:v1", "invalid ciphertext: wrong number of fields");
    refused("vault:va:YQ==", "invalid ciphertext: version number could not be decoded");
    refused("vault:v1:!", "invalid ciphertext: could not decode base64");
    refused("vault:v1:YQ==", "invalid ciphertext length");
    refused(&format!("vault:v1:{}", b64([0; 40])), "cipher: message authentication failed");
    bench.post("encrypt/k", json!({})).refuses(400, "missing plaintext to encrypt");
    bench.post("encrypt/k", json!({"plaintext": "!"})).refuses(400, "illegal base64 data at input byte 0");
    bench.post("decrypt/none", json!({"ciphertext": "x"})).refuses(400, "encryption key not found");
    let canary = bench.post("encrypt/k", json!({"plaintext": ["CANARY"]}));
    canary.refuses(400, "error converting input for field \"plaintext\"");
    assert!(!canary.errors.concat().contains("CANARY"));
}

#[test]
fn encrypting_makes_the_key_unless_that_is_off() {
    let bench = transit();
    assert_eq!(bench.exists("encrypt/new"), Some(false));
    let ciphertext = encrypt(&bench, "new", json!({"plaintext": b64("a")}));
    assert_eq!(bench.exists("encrypt/new"), Some(true));
    assert_eq!(decrypt(&bench, "new", json!({"ciphertext": ciphertext})), b64("a"));
    let body = json!({"plaintext": b64("a"), "context": b64("c"), "type": "chacha20-poly1305"});
    encrypt(&bench, "derived", body);
    let made = bench.get("keys/derived").is(200).data;
    assert_eq!((&made["derived"], &made["type"]), (&json!(true), &json!("chacha20-poly1305")));
    let refused = |body: Value, why: &str| bench.post("encrypt/other", body).refuses(400, why);
    refused(json!({"plaintext": "", "type": "ed25519"}), "unknown key type ed25519");
    refused(json!({"plaintext": "", "type": "ecdsa-p256"}), "not supported for this operation");
    refused(json!({"plaintext": "", "convergent_encryption": true}), "so context is required");
    bench.post("config/keys", json!({"disable_upsert": true})).is(200);
    refused(json!({"plaintext": b64("a")}), "encryption key not found");
    encrypt(&bench, "new", json!({"plaintext": b64("a")}));
}

#[test]
fn a_batch_goes_on_after_an_item_that_fails() {
    let bench = transit();
    key(&bench, "k", json!({}));
    let items = json!([{"plaintext": b64("a"), "reference": "r"}, {"plaintext": "!"}, {"plaintext": ""}]);
    let answer = bench.post("encrypt/k", json!({"batch_input": items})).is(400);
    let results = answer.data["batch_results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert_eq!(results[0]["reference"], "r");
    assert_eq!(results[1], json!({"error": "illegal base64 data at input byte 0", "reference": ""}));
    let with = |code: i64| {
        bench.post("encrypt/k", json!({"batch_input": items, "partial_failure_response_code": code}))
    };
    with(207).is(207);
    let warned = with(700).is(400).warnings;
    assert_eq!(
        warned,
        ["invalid HTTP response code override from partial_failure_response_code, reverting to 400"]
    );
    let all_bad = json!({"batch_input": [{"plaintext": "!"}], "partial_failure_response_code": 207});
    bench.post("encrypt/k", all_bad).is(400);

    let items = json!([{"ciphertext": results[0]["ciphertext"]}, {"ciphertext": "x"}]);
    let opened = bench.post("decrypt/k", json!({"batch_input": items})).is(400).data;
    assert_eq!(
        opened["batch_results"],
        json!([
            {"plaintext": b64("a"), "reference": ""},
            {"plaintext": "", "error": "invalid ciphertext: no prefix", "reference": ""}
        ])
    );
    let rewrapped = bench.post("rewrap/k", json!({"batch_input": items})).is(200).data;
    assert_eq!(rewrapped["batch_results"][1]["error"], "invalid ciphertext: no prefix");

    bench.post("encrypt/k", json!({"batch_input": []})).refuses(400, "missing batch input to process");
    let wrong = bench.post("encrypt/k", json!({"batch_input": [{"plaintext": ["CANARY"]}]}));
    wrong.refuses(400, "field \"batch_input\"");
    assert!(!wrong.errors.concat().contains("CANARY"));
    let mixed = json!({"batch_input": [{"plaintext": "", "context": "YQ=="}, {"plaintext": ""}]});
    bench
        .post("encrypt/k", mixed)
        .refuses(400, "context should be set either in all the request blocks or in none");
}
