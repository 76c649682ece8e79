//! Keys that leave and come back.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use x509::{KeyEncoding, KeyShape, PrivateKey, pem};

use super::*;

const OPEN: [(&str, &str); 2] = [("exportable", "true"), ("allow_plaintext_backup", "true")];

fn open_key(bench: &Bench, name: &str, mut settings: Value) {
    for (field, value) in OPEN {
        settings[field] = json!(value);
    }
    key(bench, name, settings);
}

/// Wraps a key as a client does: RSA-OAEP around an AES key, AES-KWP around the key.
pub(super) fn wrapped(bench: &Bench, secret: &[u8]) -> String {
    let shown = bench.get("wrapping_key").is(200);
    let blocks = pem::blocks(text(&shown, "public_key")).unwrap();
    let public =
        OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&blocks[0].der).unwrap()).unwrap();
    let mut out = vec![0; 512];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut out, None).unwrap();
    let mut rest = vec![0; secret.len() + 15];
    let kek = AesKek::new(&AES_256, &[7; 32]).unwrap();
    let rest = kek.wrap_with_padding(secret, &mut rest).unwrap().to_vec();
    b64([out, rest].concat())
}

#[test]
fn a_backup_brings_back_every_version_and_every_setting() {
    let bench = transit();
    let kinds = CIPHERS.into_iter().chain(SIGNERS).chain(["hmac"]);
    for kind in kinds {
        let settings = match kind {
            "hmac" => json!({"type": kind, "key_size": 40}),
            _ => of(kind),
        };
        open_key(&bench, kind, settings);
        bench.post(&format!("keys/{kind}/rotate"), json!({})).is(200);
        bench.post(&format!("keys/{kind}/rotate"), json!({})).is(200);
        bench
            .post(
                &format!("keys/{kind}/config"),
                json!({"min_decryption_version": 2, "min_encryption_version": 2}),
            )
            .is(200);
        bench.post(&format!("keys/{kind}/trim"), json!({"min_available_version": 1})).is(200);
        let backup = bench.get(&format!("backup/{kind}")).is(200);
        let body = json!({"backup": text(&backup, "backup")});
        bench.post("restore", body.clone()).refuses(400, &format!("key \"{kind}\" already exists"));
        bench.post(&format!("restore/{kind}-2"), body.clone()).is(204);
        let (one, other) = (bench.get(&format!("keys/{kind}")), bench.get(&format!("keys/{kind}-2")));
        for field in [
            "keys",
            "latest_version",
            "min_decryption_version",
            "min_available_version",
            "type",
            "key_size",
            "parameter_set",
        ] {
            assert_eq!(one.data[field], other.data[field], "{kind} {field}");
        }
        assert_eq!(one.data["backup_info"]["version"], 3);
        assert_eq!(other.data["restore_info"]["version"], 3);
        let made = bench.post(&format!("hmac/{kind}"), json!({"input": b64("m")})).is(200);
        let same = bench.post(&format!("hmac/{kind}-2"), json!({"input": b64("m")})).is(200);
        assert_eq!(made.data, same.data, "{kind}");
        // The oldest version, which was below the minimum, is there again as well.
        bench.post(&format!("keys/{kind}-2/config"), json!({"min_decryption_version": 1})).is(200);
        let restored = bench.get(&format!("export/hmac-key/{kind}-2")).is(200).data;
        assert_eq!(restored["keys"].as_object().unwrap().len(), 3);
        bench.post("restore", json!({"backup": text(&backup, "backup"), "force": true})).is(204);
    }
}

#[test]
fn a_backup_that_is_none_is_refused_and_nothing_is_stored() {
    let bench = transit();
    open_key(&bench, "k", json!({"type": "ecdsa-p256"}));
    let backup = bench.get("backup/k").is(200);
    let json = STANDARD.decode(text(&backup, "backup")).unwrap();
    let whole: Value = serde_json::from_slice(&json).unwrap();
    let refused = |change: &dyn Fn(&mut Value), why: &str| {
        let mut broken = whole.clone();
        change(&mut broken);
        let answer = bench.post("restore/new", json!({"backup": b64(broken.to_string())}));
        assert!(answer.status == 400, "{answer:?}");
        assert!(answer.errors.concat().contains(why), "{:?} lacks {why:?}", answer.errors);
        bench.get("keys/new").is(404);
    };
    refused(&|value| value["policy"] = Value::Null, "holds no key");
    refused(&|value| value["policy"]["type"] = json!(99), "no keys of the type with the number 99");
    refused(
        &|value| value["policy"]["min_decryption_version"] = json!(0),
        "minimum decryption version of 0 is less than 1",
    );
    refused(&|value| value["policy"]["latest_version"] = json!(0), "latest version of 0 is less than 1");
    refused(&|value| value["policy"]["latest_version"] = json!(2), "version 2 is not in it");
    refused(&|value| value["policy"]["latest_version"] = json!(u64::MAX), "contradict each other");
    refused(&|value| value["policy"]["derived"] = json!(true), "derives keys in a way that is not supported");
    refused(&|value| value["policy"]["version_template"] = json!("x{{version}}"), "a prefix of its own");
    refused(&|value| value["policy"]["keys"]["1"]["ec_d"] = json!(5), "does not read");
    refused(&|value| value["policy"]["keys"]["1"]["ec_x"] = json!(5), "does not read");
    refused(&|value| value["policy"]["type"] = json!(0), "does not read");
    refused(&|value| value["policy"]["type"] = json!(6), "does not read");
    bench.post("restore/a", json!({})).refuses(400, "'backup' must be supplied");
    bench.post("restore/a", json!({"backup": "!"})).refuses(400, "illegal base64");
    let canary = bench.post("restore/a", json!({"backup": b64("{\"policy\":\"CANARY\"}")}));
    canary.refuses(400, "the backup does not read at line 1");
    assert!(!canary.errors.concat().contains("CANARY"));
    let named = |name: &str| {
        let mut other = whole.clone();
        other["policy"]["name"] = json!(name);
        bench.post("restore", json!({"backup": b64(other.to_string())}))
    };
    named("a/b").refuses(400, "the name of the key in the backup is none");
    named("").refuses(400, "the name of the key in the backup is none");
    named("fine").is(204);
}

#[test]
fn only_what_may_leave_leaves() {
    let bench = transit();
    key(&bench, "k", json!({"type": "ed25519"}));
    bench.get("export/signing-key/k").refuses(400, "private key material is not exportable");
    bench.get("export/hmac-key/k").refuses(400, "private key material is not exportable");
    bench.get("export/public-key/k").is(200);
    bench.get("backup/k").refuses(400, "exporting is disallowed on the policy");
    bench.post("keys/k/config", json!({"exportable": true})).is(200);
    bench.get("backup/k").refuses(400, "plaintext backup is disallowed on the policy");
    bench.get("export/signing-key/k").is(200);
    bench.get("byok-export/k/k").refuses(400, "must be a rsa key");
}

#[test]
fn exported_pairs_read_in_each_form() {
    let bench = transit();
    for kind in SIGNERS {
        open_key(&bench, kind, of(kind));
        let shown = bench.get(&format!("export/public-key/{kind}?format=der")).is(200);
        let spki = STANDARD.decode(text_of(&shown)).unwrap();
        for format in ["", "?format=pem", "?format=der"] {
            let answer = bench.get(&format!("export/signing-key/{kind}{format}")).is(200);
            let exported = text_of(&answer);
            let key = match (kind, format) {
                ("ed25519", "") => continue,
                (_, "?format=der") => PrivateKey::from_der(&STANDARD.decode(exported).unwrap()),
                _ => PrivateKey::from_pem(exported),
            };
            assert_eq!(key.unwrap().public().spki(), spki, "{kind} {format}");
        }
    }
}

fn text_of(answer: &Answer) -> &str {
    answer.data["keys"]["1"].as_str().unwrap()
}

#[test]
fn a_wrapped_key_comes_in_and_is_the_same_key() {
    let bench = transit();
    let body = |secret: &[u8], kind: &str| {
        let mut body = of(kind);
        body["ciphertext"] = json!(wrapped(&bench, secret));
        body["exportable"] = json!(true);
        body
    };
    bench.post("keys/aes/import", body(&[3; 32], "aes256-gcm96")).is(204);
    let exported = bench.get("export/encryption-key/aes").is(200);
    assert_eq!(text_of(&exported), b64([3; 32]));
    let read = bench.get("keys/aes").is(200).data;
    assert_eq!((&read["imported_key"], &read["imported_key_allow_rotation"]), (&json!(true), &json!(false)));
    bench
        .post("keys/aes/rotate", json!({}))
        .refuses(400, "imported key aes does not allow rotation within Vault");
    bench
        .post("keys/aes/import", body(&[3; 32], "aes256-gcm96"))
        .refuses(400, "cannot be used with an existing key");
    bench.post("keys/aes/import_version", json!({"ciphertext": wrapped(&bench, &[4; 32])})).is(204);
    assert_eq!(bench.get("keys/aes").is(200).data["latest_version"], 2);

    bench
        .post("keys/n/import", body(&[3; 16], "aes256-gcm96"))
        .refuses(400, "error importing key: invalid key size 16 bytes for key type aes256-gcm96");
    bench
        .post("keys/n/import", body(&[3; 16], "hmac"))
        .refuses(400, "invalid key size 16 bytes for key type hmac");
    bench
        .post("keys/n/import", body(&[3; 16], "ed25519"))
        .refuses(400, "error importing key: error parsing asymmetric key");
    bench.post("keys/h/import", body(&[3; 77], "hmac")).is(204);
    assert_eq!(bench.get("keys/h").is(200).data["key_size"], 77);

    for kind in SIGNERS {
        let key = PrivateKey::generate(shape(kind)).unwrap();
        let der = key.to_der(KeyEncoding::Pkcs8).unwrap();
        bench.post(&format!("keys/{kind}/import"), body(&der, kind)).is(204);
        let shown = bench.get(&format!("export/public-key/{kind}?format=der")).is(200);
        assert_eq!(STANDARD.decode(text_of(&shown)).unwrap(), key.public().spki(), "{kind}");
        bench.post(&format!("sign/{kind}"), json!({"input": ""})).is(200);
        let other = if kind == "ed25519" { "ecdsa-p256" } else { "ed25519" };
        bench.post("keys/n/import", body(&der, other)).refuses(400, "error importing key");
    }
    bench.get("keys/n").is(404);
    let garbled = json!({"ciphertext": b64([1; 600]), "type": "aes256-gcm96"});
    bench.post("keys/n/import", garbled).refuses(400, "crypto/rsa: decryption error");
    bench
        .post("keys/n/import", json!({"ciphertext": "AAAA"}))
        .refuses(400, "provided ciphertext is too short");
    bench
        .post("keys/n/import", json!({"ciphertext": "AAAA", "hash_function": "SHA224"}))
        .refuses(400, "SHA224");
}

fn shape(kind: &str) -> KeyShape {
    let (family, bits) = match kind.split_once('-') {
        None => ("ed25519", 0),
        Some(("rsa", bits)) => ("rsa", bits.parse().unwrap()),
        Some(("ml", set)) => ("ml-dsa", set[4..].parse().unwrap()),
        Some((_, curve)) => ("ec", curve[1..].parse().unwrap()),
    };
    KeyShape::parse(family, bits).unwrap()
}

#[test]
fn half_a_key_verifies_until_the_other_half_comes() {
    let bench = transit();
    let key = PrivateKey::generate(shape("ecdsa-p256")).unwrap();
    let public = pem::encode("PUBLIC KEY", key.public().spki());
    bench.post("keys/k/import", json!({"type": "ecdsa-p256", "public_key": public})).is(204);
    bench.post("sign/k", json!({"input": ""})).refuses(400, "does not contain a private part");
    let verified = bench.post("verify/k", json!({"input": "", "signature": "vault:v1:MAYCAQECAQE="})).is(200);
    assert_eq!(verified.data["valid"], false);
    let again = json!({"version": 1, "public_key": public});
    bench.post("keys/k/import_version", again).refuses(400, "cannot add a public key to a key version");
    let stranger = PrivateKey::generate(shape("ecdsa-p256")).unwrap().to_der(KeyEncoding::Pkcs8).unwrap();
    let body = json!({"version": 1, "ciphertext": wrapped(&bench, &stranger)});
    bench.post("keys/k/import_version", body).refuses(400, "key pair does not match");
    let own = key.to_der(KeyEncoding::Pkcs8).unwrap();
    bench.post("keys/k/import_version", json!({"ciphertext": wrapped(&bench, &own)})).is(204);
    assert_eq!(bench.get("keys/k").is(200).data["latest_version"], 1, "it went where it was missing");
    bench.post("sign/k", json!({"input": ""})).is(200);
    let body = json!({"version": 1, "ciphertext": wrapped(&bench, &own)});
    bench
        .post("keys/k/import_version", body)
        .refuses(400, "private key imported, key version cannot be updated");
    bench.post("keys/k/import_version", json!({"ciphertext": wrapped(&bench, &stranger)})).is(204);
    assert_eq!(bench.get("keys/k").is(200).data["latest_version"], 2);
    bench
        .post("keys/none/import_version", json!({"ciphertext": ""}))
        .refuses(400, "no key found with name none");
}

#[test]
fn two_parties_agree_on_a_key() {
    let bench = transit();
    for kind in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521"] {
        for name in ["ann", "bob"] {
            key(&bench, &format!("{name}-{kind}"), json!({"type": kind}));
        }
        let public = |name: &str| {
            let shown = bench.get(&format!("export/public-key/{name}-{kind}")).is(200);
            text_of(&shown).to_owned()
        };
        for (name, own, other) in [("one", "ann", "bob"), ("two", "bob", "ann")] {
            let body = json!({"base_key_name": format!("{own}-{kind}"), "peer_public_key": public(other)});
            bench.post(&format!("derive-key/{name}-{kind}"), body).is(204);
        }
        let sealed = bench.post(&format!("encrypt/one-{kind}"), json!({"plaintext": b64("secret")})).is(200);
        let body = json!({"ciphertext": text(&sealed, "ciphertext")});
        let opened = bench.post(&format!("decrypt/two-{kind}"), body).is(200);
        assert_eq!(text(&opened, "plaintext"), b64("secret"));
    }
    key(&bench, "ed", json!({"type": "ed25519"}));
    let refused = |body: Value, status: u16, why: &str| bench.post("derive-key/n", body).refuses(status, why);
    refused(json!({}), 400, "peer public key not provided");
    refused(json!({"peer_public_key": "x", "base_key_name": "ed"}), 400, "does not support key agreement");
    refused(
        json!({"peer_public_key": "x", "base_key_name": "ann-ecdsa-p256"}),
        400,
        "does not contain any valid public keys",
    );
    let other = bench.get("export/public-key/ann-ecdsa-p384").is(200);
    let body = json!({"peer_public_key": text_of(&other), "base_key_name": "ann-ecdsa-p256"});
    refused(body, 400, "does not match peer public key curve");
}

#[test]
fn a_key_gets_its_certificate() {
    let bench = transit();
    let authority = Bench::new(engines::open("pki", &json!({})).unwrap(), None);
    authority
        .post("root/generate/internal", json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"}))
        .is(200);
    let role = json!({"allow_any_name": true, "key_type": "any", "ttl": "1h"});
    authority.post("roles/r", role).is(200);
    for kind in SIGNERS {
        key(&bench, kind, of(kind));
        let made = bench.post(&format!("keys/{kind}/csr"), json!({})).is(200);
        let body = json!({"csr": text(&made, "csr"), "common_name": "a.example.com"});
        let signed = authority.post("sign/r", body).is(200);
        let chain = format!("{}\n{}", text(&signed, "certificate"), text(&signed, "issuing_ca"));
        bench.post(&format!("keys/{kind}/set-certificate"), json!({"certificate_chain": chain})).is(204);
        let read = bench.get(&format!("keys/{kind}")).is(200).data;
        assert_eq!(read["keys"]["1"]["certificate_chain"], chain, "{kind}");
        let exported = bench.get(&format!("export/certificate-chain/{kind}")).is(200);
        assert_eq!(text_of(&exported), chain);
        let root = json!({"certificate_chain": text(&signed, "issuing_ca")});
        bench
            .post(&format!("keys/{kind}/set-certificate"), root)
            .refuses(400, "not a valid leaf certificate");
        key(&bench, &format!("{kind}-2"), of(kind));
        bench
            .post(&format!("keys/{kind}-2/set-certificate"), json!({"certificate_chain": chain}))
            .refuses(400, "does not match the selected key version");
    }
    bench
        .post("keys/ed25519/set-certificate", json!({}))
        .refuses(400, "did not contain any valid PEM encoded certificate");
    bench.post("keys/none/csr", json!({})).refuses(400, "key with provided name 'none' not found");
}
