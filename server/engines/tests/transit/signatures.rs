use super::*;

fn sign(bench: &Bench, path: &str, body: Value) -> String {
    text(&bench.post(&format!("sign/{path}"), body).is(200), "signature").to_owned()
}

fn valid(bench: &Bench, path: &str, body: Value) -> bool {
    bench.post(&format!("verify/{path}"), body).is(200).data["valid"].as_bool().unwrap()
}

#[test]
fn every_kind_signs_and_verifies() {
    let bench = transit();
    for kind in SIGNERS {
        key(&bench, kind, of(kind));
        let index = bench.index();
        for marshaling in ["asn1", "jws"] {
            for hash in ["sha2-256", "sha2-384", "sha2-512"] {
                let body = |input: &str| json!({"input": b64(input), "marshaling_algorithm": marshaling, "hash_algorithm": hash});
                let signature = sign(&bench, kind, body("message"));
                let with = |input: &str, signature: &str| {
                    let mut body = body(input);
                    body["signature"] = json!(signature);
                    valid(&bench, kind, body)
                };
                assert!(with("message", &signature), "{kind} {marshaling} {hash}");
                assert!(!with("massage", &signature), "{kind} {marshaling} {hash}");
            }
        }
        assert_eq!(bench.index(), index, "{kind}: signing writes nothing");
    }
}

#[test]
fn a_hash_made_elsewhere_is_signed_as_one_made_here() {
    let bench = transit();
    let digest = bench.post("hash/sha2-256", json!({"input": b64("message"), "format": "base64"})).is(200);
    let digest = text(&digest, "sum").to_owned();
    for kind in SIGNERS.into_iter().skip(1).filter(|kind| !ML_DSA.contains(kind)) {
        key(&bench, kind, json!({"type": kind}));
        let signature = sign(&bench, kind, json!({"input": digest, "prehashed": true}));
        assert!(valid(&bench, kind, json!({"input": b64("message"), "signature": signature})), "{kind}");
    }
}

#[test]
fn nobody_makes_a_signature_from_a_public_key() {
    let bench = transit();
    for (kind, size) in [("ecdsa-p256", 32), ("ecdsa-p384", 48), ("ecdsa-p521", 66)] {
        key(&bench, kind, json!({"type": kind}));
        let public = bench.get(&format!("keys/{kind}")).is(200);
        let public = public.data["keys"]["1"]["public_key"].as_str().unwrap();
        let lines: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(lines).unwrap();
        // Of the number 0, what stands in the key for its first coordinate is both halves of a good signature.
        let x = &der[der.len() - 2 * size..der.len() - size];
        let forged = format!("vault:v1:{}", URL_SAFE_NO_PAD.encode([x, x].concat()));
        let zeros = STANDARD.encode([0; 32]);
        for input in [json!(null), json!(""), json!("AA=="), json!(zeros)] {
            let body = json!({"input": input, "prehashed": true, "marshaling_algorithm": "jws"});
            let refused = bench.post(&format!("sign/{kind}"), body.clone());
            refused.refuses(400, "hash cannot be empty");
            let mut body = body;
            body["signature"] = json!(forged);
            assert!(!valid(&bench, kind, body), "{kind} {input}");
        }
    }
}

#[test]
fn an_hmac_is_checked_with_the_hash_that_is_named() {
    let bench = transit();
    key(&bench, "k", json!({}));
    let made = bench.post("hmac/k/sha2-512", json!({"input": b64("m")})).is(200);
    let hmac = text(&made, "hmac");
    let with = |path: &str, more: Value| {
        let mut body = json!({"input": b64("m"), "hmac": hmac});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.post(path, body)
    };
    for (path, more, expect) in [
        ("verify/k", json!({}), false),
        ("verify/k", json!({"hash_algorithm": "sha2-512"}), true),
        ("verify/k", json!({"algorithm": "sha2-512"}), true),
        ("verify/k", json!({"hash_algorithm": "", "algorithm": "sha2-512"}), true),
        ("verify/k", json!({"hash_algorithm": "sha2-256", "algorithm": "sha2-512"}), false),
        ("verify/k/sha2-512", json!({"hash_algorithm": "sha2-256"}), true),
        ("verify/k", json!({"algorithm": ""}), false),
    ] {
        assert_eq!(with(path, more.clone()).is(200).data["valid"], expect, "{path} {more}");
    }
    for field in ["hash_algorithm", "algorithm"] {
        with("verify/k", json!({field: "none"})).refuses(400, "algorithm cannot be none");
        with("verify/k", json!({field: "zz"})).refuses(400, "invalid hash algorithm \"zz\"");
    }
    with("verify/k/none", json!({})).refuses(400, "algorithm cannot be none");
    let items = json!([{"input": b64("m"), "hmac": hmac}]);
    let batch = bench.post("verify/k", json!({"hash_algorithm": "sha2-512", "batch_input": items})).is(200);
    assert_eq!(batch.data["batch_results"][0]["valid"], true);
}

#[test]
fn ed25519_takes_no_hash_too() {
    let bench = transit();
    key(&bench, "ed", json!({"type": "ed25519"}));
    let signature = sign(&bench, "ed", json!({"input": b64("m"), "hash_algorithm": "none"}));
    assert!(valid(
        &bench,
        "ed",
        json!({"input": b64("m"), "hash_algorithm": "none", "signature": signature})
    ));
    key(&bench, "ec", json!({"type": "ecdsa-p256"}));
    bench
        .post("sign/ec", json!({"input": b64("m"), "hash_algorithm": "none"}))
        .refuses(400, "requires both prehashed=true");
}

#[test]
fn rsa_pads_as_it_is_told() {
    let bench = transit();
    key(&bench, "k", json!({"type": "rsa-2048"}));
    for salt in ["auto", "hash", "0", "20", "222"] {
        let signature = sign(&bench, "k", json!({"input": b64("m"), "salt_length": salt}));
        assert!(
            valid(&bench, "k", json!({"input": b64("m"), "signature": signature, "salt_length": salt})),
            "{salt}"
        );
        assert!(valid(&bench, "k", json!({"input": b64("m"), "signature": signature})), "{salt}");
        let other = json!({"input": b64("m"), "signature": signature, "salt_length": "21"});
        assert!(!valid(&bench, "k", other), "{salt}");
        let other = json!({"input": b64("m"), "signature": signature, "signature_algorithm": "pkcs1v15"});
        assert!(!valid(&bench, "k", other), "{salt}");
    }
    let refused = |body: Value, status: u16, why: &str| bench.post("sign/k", body).refuses(status, why);
    refused(json!({"salt_length": "x"}), 400, "salt length neither 'auto', 'hash', nor an int: x");
    refused(json!({"salt_length": "-2"}), 400, "salt length is invalid: -2");
    refused(json!({"salt_length": "223"}), 400, "requested salt length 223 is invalid");
    refused(json!({"signature_algorithm": "x"}), 400, "unsupported rsa signature algorithm x");
    refused(json!({"hash_algorithm": "x"}), 400, "invalid hash algorithm \"x\"");
    refused(json!({"hash_algorithm": "none"}), 400, "requires both prehashed=true");
    refused(json!({"hash_algorithm": "sha3-256"}), 400, "no constant-time implementation");
    refused(json!({"input": "YQ==", "prehashed": true}), 400, "input must be hashed with given hash");
}

#[test]
fn each_context_signs_with_its_own_key() {
    let bench = transit();
    let made = key(&bench, "k", json!({"type": "ed25519", "derived": true})).data;
    assert_eq!(made["keys"]["1"]["public_key"], "");
    let answer = bench.post("sign/k", json!({"input": b64("m"), "context": b64("a")})).is(200);
    let body = |context: &str| json!({"input": b64("m"), "context": b64(context), "signature": answer.data["signature"]});
    assert!(valid(&bench, "k", body("a")));
    assert!(!valid(&bench, "k", body("b")));
    let read = bench.get("keys/k?context=YQ==").is(200).data;
    assert_eq!(read["keys"]["1"]["public_key"], answer.data["public_key"]);
    bench.post("sign/k", json!({"input": b64("m")})).refuses(400, "error deriving key: missing 'context'");
}

#[test]
fn signatures_have_versions_too() {
    let bench = transit();
    key(&bench, "k", json!({"type": "ed25519"}));
    let old = sign(&bench, "k", json!({"input": b64("m")}));
    bench.post("keys/k/rotate", json!({})).is(200);
    let body = json!({"input": b64("m"), "signature": old});
    assert!(valid(&bench, "k", body.clone()));
    assert!(!valid(&bench, "k", json!({"input": b64("m"), "signature": old.replace("v1", "v2")})));
    bench.post("keys/k/config", json!({"min_decryption_version": 2})).is(200);
    bench.post("verify/k", body).refuses(400, "disallowed by policy (too old)");
    let future = json!({"input": b64("m"), "signature": "vault:v3:YQ=="});
    bench.post("verify/k", future).refuses(400, "invalid signature: version is too new");
}

#[test]
fn batches_are_signed_and_verified_item_by_item() {
    let bench = transit();
    key(&bench, "k", json!({"type": "ecdsa-p256"}));
    let items = json!([{"input": b64("a"), "reference": "r"}, {"input": "!"}, {}]);
    let signed = bench.post("sign/k", json!({"batch_input": items})).is(200).data;
    let results = signed["batch_results"].as_array().unwrap();
    assert_eq!((&results[0]["reference"], &results[0]["key_version"]), (&json!("r"), &json!(1)));
    let error = "unable to decode input as base64: illegal base64 data at input byte 0";
    assert_eq!(results[1], json!({"error": error, "key_version": 0, "reference": ""}));
    assert_eq!(results[2]["error"], "missing input");
    let items = json!([
        {"input": b64("a"), "signature": results[0]["signature"]},
        {"input": b64("b"), "signature": results[0]["signature"]},
        {"input": b64("a"), "signature": "x"},
    ]);
    let verified = bench.post("verify/k", json!({"batch_input": items})).is(200).data;
    assert_eq!(
        verified["batch_results"],
        json!([
            {"valid": true, "reference": ""},
            {"valid": false, "reference": ""},
            {"valid": false, "error": "invalid signature: no prefix", "reference": ""}
        ])
    );
    let refused = |items: Value, why: &str| {
        bench.post("verify/k", json!({"batch_input": items})).refuses(400, why);
    };
    refused(json!([{"input": ""}]), "no batch_input elements have 'signature' or 'hmac'");
    refused(json!([{"signature": ""}, {"hmac": ""}]), "must all provide 'signature' or all provide 'hmac'");
    refused(json!([{"signature": ""}, {}]), "some elements of batch_input are missing 'signature'");
    refused(json!([{"hmac": ""}, {}]), "some elements of batch_input are missing 'hmac'");
}

#[test]
fn hmacs_are_made_and_checked() {
    let bench = transit();
    for (name, settings) in [("cipher", json!({})), ("hmac", json!({"type": "hmac", "key_size": 48}))] {
        key(&bench, name, settings);
        for hash in ["sha1", "sha2-224", "sha2-256", "sha2-512", "sha3-224", "sha3-512"] {
            let made = bench.post(&format!("hmac/{name}/{hash}"), json!({"input": b64("m")})).is(200);
            let path = format!("{name}/{hash}");
            assert!(valid(&bench, &path, json!({"input": b64("m"), "hmac": text(&made, "hmac")})), "{hash}");
            assert!(!valid(&bench, &path, json!({"input": b64("n"), "hmac": text(&made, "hmac")})), "{hash}");
        }
    }
    let refused = |body: Value, why: &str| bench.post("hmac/cipher", body).refuses(400, why);
    refused(json!({}), "missing input for HMAC");
    refused(json!({"input": "YQ==", "algorithm": "none"}), "algorithm cannot be none");
    refused(json!({"input": "YQ==", "algorithm": "zz"}), "unsupported algorithm");
    refused(json!({"input": "YQ==", "key_version": -1}), "cannot be negative");
    refused(json!({"input": "YQ==", "key_version": 9}), "latest key version is 1");
    bench.post("encrypt/hmac", json!({"plaintext": ""})).refuses(400, "not supported for key type hmac");
    bench.post("sign/hmac", json!({"input": ""})).refuses(400, "key type hmac does not support signing");
}
