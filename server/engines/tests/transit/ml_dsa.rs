//! What ML-DSA keys do and do not do, beside what every key that signs does.

use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, PqdsaVerificationAlgorithm, UnparsedPublicKey};
use x509::{KeyEncoding, KeyShape, PrivateKey, pem};

use super::*;

/// Each set, with the sizes of its keys and signatures (FIPS 204, table 2), and who verifies them.
const SIZES: [(&str, usize, usize, &PqdsaVerificationAlgorithm); 3] =
    [("44", 1312, 2420, &ML_DSA_44), ("65", 1952, 3309, &ML_DSA_65), ("87", 2592, 4627, &ML_DSA_87)];

fn signature(bench: &Bench, name: &str, body: Value) -> Vec<u8> {
    let signed = bench.post(&format!("sign/{name}"), body).is(200);
    STANDARD.decode(text(&signed, "signature").strip_prefix("vault:v1:").unwrap()).unwrap()
}

#[test]
fn a_key_shows_its_set_and_signs_the_message_itself() {
    let bench = transit();
    for (set, public_size, signature_size, verifier) in SIZES {
        let name = format!("k{set}");
        let made = key(&bench, &name, json!({"type": "ml-dsa", "parameter_set": set})).data;
        assert_eq!((&made["type"], &made["parameter_set"]), (&json!("ml-dsa"), &json!(set)));
        assert_eq!(made["keys"]["1"]["name"], format!("ml-dsa-{set}"));
        let can = |what: &str| made[format!("supports_{what}")].as_bool().unwrap();
        assert_eq!(
            ["signing", "encryption", "decryption", "derivation"].map(can),
            [true, false, false, false],
            "{set}"
        );
        let shown = made["keys"]["1"]["public_key"].as_str().unwrap();
        let spki = pem::blocks(shown).unwrap()[0].der.to_vec();
        // A header of 22 bytes, in which no parameters stand beside the algorithm (RFC 9881 §4), and the bare key.
        let public = &spki[22..];
        assert_eq!(public.len(), public_size, "{set}");
        assert_eq!(&spki[4..6], [0x30, 0x0b], "{set}");
        // Whatever hash is named, what is signed is the message.
        for hash in ["sha2-256", "sha3-512"] {
            let body = json!({"input": b64("message"), "hash_algorithm": hash});
            let made = signature(&bench, &name, body);
            assert_eq!(made.len(), signature_size, "{set}");
            UnparsedPublicKey::new(verifier, public).verify(b"message", &made).unwrap();
        }
    }
}

#[test]
fn what_a_key_cannot_do_is_refused_and_said() {
    let bench = transit();
    key(&bench, "k", of("ml-dsa-65"));
    bench.post("encrypt/k", json!({"plaintext": ""})).refuses(400, "not supported for key type ml-dsa");
    bench.post("decrypt/k", json!({"ciphertext": "vault:v1:YQ=="})).refuses(400, "ml-dsa");
    bench.post("datakey/plaintext/k", json!({})).refuses(400, "ml-dsa");
    let hashed = json!({"input": b64([7; 32]), "prehashed": true});
    bench.post("sign/k", hashed.clone()).refuses(400, "signs the message itself");
    let mut verified = hashed;
    verified["signature"] = json!("vault:v1:YQ==");
    bench.post("verify/k", verified).refuses(400, "signs the message itself");
    bench.post("sign/k", json!({"input": "", "hash_algorithm": "none"})).refuses(400, "hash_algorithm=none");
    bench
        .post("encrypt/new", json!({"plaintext": "", "type": "ml-dsa"}))
        .refuses(400, "unknown key type ml-dsa");
    let body = json!({"peer_public_key": "x", "base_key_name": "k"});
    bench.post("derive-key/n", body).refuses(400, "base key type ml-dsa does not support key agreement");
    key(&bench, "rsa", json!({"type": "rsa-2048", "exportable": true}));
    bench.post("keys/k/config", json!({"exportable": true})).is(200);
    bench.get("export/encryption-key/k").refuses(400, "encryption not supported for the key");
    bench.get("export/signing-key/k?format=raw").refuses(400, "unknown key format for ml-dsa key");
    bench.get("byok-export/rsa/k").is(200);
}

#[test]
fn a_signature_of_another_set_or_another_length_is_none() {
    let bench = transit();
    for kind in ML_DSA {
        key(&bench, kind, of(kind));
    }
    for maker in ML_DSA {
        let body = json!({"input": b64("m")});
        let signed = bench.post(&format!("sign/{maker}"), body).is(200);
        for taker in ML_DSA {
            let body = json!({"input": b64("m"), "signature": text(&signed, "signature")});
            let verified = bench.post(&format!("verify/{taker}"), body).is(200);
            assert_eq!(verified.data["valid"], maker == taker, "{maker} {taker}");
        }
    }
    for short in ["vault:v1:", "vault:v1:YQ=="] {
        let body = json!({"input": b64("m"), "signature": short});
        assert_eq!(bench.post("verify/ml-dsa-44", body).is(200).data["valid"], false, "{short:?}");
    }
}

/// The last bytes of the key in PKCS#8: a seed of 32 bytes under tag 0, as RFC 9881 §6 would have it.
#[test]
fn a_key_leaves_as_its_seed() {
    let bench = transit();
    for kind in ML_DSA {
        let mut settings = of(kind);
        settings["exportable"] = json!(true);
        key(&bench, kind, settings);
        let exported = bench.get(&format!("export/signing-key/{kind}?format=der")).is(200);
        let der = STANDARD.decode(exported.data["keys"]["1"].as_str().unwrap()).unwrap();
        assert_eq!((der.len(), &der[18..22]), (54, &[0x04, 0x22, 0x80, 0x20][..]), "{kind}");
    }
}

#[test]
fn half_a_key_is_completed_by_its_own_other_half_alone() {
    let bench = transit();
    let pair = || PrivateKey::generate(KeyShape::parse("ml-dsa", 65).unwrap()).unwrap();
    let (own, stranger) = (pair(), pair());
    let public = pem::encode("PUBLIC KEY", own.public().spki());
    let import = |set: &str| {
        let body = json!({"type": "ml-dsa", "parameter_set": set, "public_key": public});
        bench.post("keys/k/import", body)
    };
    import("").refuses(400, "invalid parameter set  for key type ml-dsa");
    import("44").refuses(400, "expected ml-dsa-44, got ml-dsa-65");
    import("65").is(204);
    bench.post("sign/k", json!({"input": ""})).refuses(400, "does not contain a private part");
    let signed = own.sign(x509::Scheme::MlDsa(x509::MlDsa::Set65), b"m").unwrap();
    let body = json!({"input": b64("m"), "signature": format!("vault:v1:{}", b64(signed))});
    assert_eq!(bench.post("verify/k", body).is(200).data["valid"], true);
    let complete = |pair: &PrivateKey| {
        let der = pair.to_der(KeyEncoding::Pkcs8).unwrap();
        bench.post("keys/k/import_version", json!({"ciphertext": travel::wrapped(&bench, &der)}))
    };
    complete(&own).is(204);
    assert_eq!(bench.get("keys/k").is(200).data["latest_version"], 1);
    bench.post("sign/k", json!({"input": ""})).is(200);
    complete(&stranger).is(204);
    assert_eq!(bench.get("keys/k").is(200).data["latest_version"], 2);
}
