//! CAs, leaves, lists and OCSP answers of ML-DSA (RFC 9881), beside those of other keys.

use serde_json::{Value, json};
use x509::{
    Certificate, Extensions, KeyEncoding, KeyShape, PrivateKey, Request, RequestTemplate, RevocationList,
    Scheme, Standing, pem,
};

use crate::bench::{Answer, Bench};
use crate::{NOW, mount, ready, role, text};

const SETS: [&str; 3] = ["44", "65", "87"];

fn ml_dsa(set: &str) -> Value {
    json!({"key_type": "ml-dsa", "parameter_set": set})
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn certificate(answer: &Answer) -> Certificate {
    Certificate::from_pem(text(answer, "certificate")).unwrap()
}

/// A mount with a root of that set and a role of the same.
fn authority(set: &str) -> (Bench, Certificate) {
    let bench = mount();
    let body = with(json!({"common_name": "Root", "ttl": "700h"}), &ml_dsa(set));
    let root = certificate(&bench.post("root/generate/internal", body).is(200));
    role(&bench, ml_dsa(set)).is(200);
    (bench, root)
}

fn key(set: &str) -> PrivateKey {
    PrivateKey::generate(KeyShape::parse("ml-dsa", set.parse().unwrap()).unwrap()).unwrap()
}

/// A request for a certificate of this key that names nobody.
fn request(key: &PrivateKey) -> Vec<u8> {
    let template = RequestTemplate { subject: &[0x30, 0x00], extensions: &Extensions::new() };
    template.sign(key, Scheme::choose(key.public().shape(), 0, x509::Padding::Pkcs1).unwrap()).unwrap()
}

fn csr(der: &[u8]) -> String {
    pem::encode(pem::REQUEST, der)
}

#[test]
fn a_chain_of_three_sets_verifies_link_by_link() {
    let (above, root) = authority("87");
    let below = mount();
    let asked = with(json!({"common_name": "Int"}), &ml_dsa("65"));
    let asked = below.post("intermediate/generate/internal", asked).is(200);
    Request::from_pem(text(&asked, "csr")).unwrap();
    let body = json!({"csr": text(&asked, "csr"), "common_name": "Int", "ttl": "600h"});
    let signed = above.post("root/sign-intermediate", body).is(200);
    let bundle = format!("{}\n{}", text(&signed, "certificate"), root.to_pem());
    below.post("intermediate/set-signed", json!({"certificate": bundle})).is(200);
    role(&below, ml_dsa("44")).is(200);
    let leaf = below.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let (intermediate, end) = (certificate(&signed), certificate(&leaf));
    assert!(root.is_self_signed());
    intermediate.verify_issued_by(&root).unwrap();
    end.verify_issued_by(&intermediate).unwrap();
    assert!(end.verify_issued_by(&root).is_err());
    for (certificate, key, signature) in [
        (&root, "ml-dsa-87", "ML-DSA-87"),
        (&intermediate, "ml-dsa-65", "ML-DSA-87"),
        (&end, "ml-dsa-44", "ML-DSA-65"),
    ] {
        assert_eq!(certificate.public_key().shape().to_string(), key);
        assert_eq!(certificate.scheme().unwrap().name(), signature);
    }
    assert_eq!(leaf.data["private_key_type"], "ml-dsa");
    let own = PrivateKey::from_pem(text(&leaf, "private_key")).unwrap();
    assert_eq!(own.public(), end.public_key());
    assert_eq!(leaf.data["ca_chain"].as_array().unwrap().len(), 2);
}

/// RFC 9881 §5: such a key enciphers nothing and agrees on nothing, whatever the role has by default.
#[test]
fn what_a_key_is_for_is_what_it_can_do() {
    let (bench, root) = authority("65");
    let usage = |certificate: &Certificate| certificate.key_usage().unwrap().unwrap().names();
    assert_eq!(usage(&root), ["CertSign", "CRLSign"]);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(usage(&certificate(&leaf)), ["DigitalSignature"]);
    let body = json!({"csr": csr(&request(&key("65"))), "key_usage": "DigitalSignature,KeyAgreement"});
    let verbatim = bench.post("sign-verbatim", with(body, &json!({"alt_names": "a.example.com"})));
    // It names nobody, which is refused for that alone; the key is none of it.
    verbatim.refuses(400, "name nobody");
    role(&bench, with(ml_dsa("65"), &json!({"key_usage": "KeyEncipherment,KeyAgreement"}))).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(400, "keys of type ml-dsa can have none of the role's key_usage");
}

#[test]
fn requests_are_signed_for_keys_that_the_role_allows() {
    let named = json!({"common_name": "a.example.com"});
    let sign = |bench: &Bench, set: &str| {
        bench.post("sign/r", with(named.clone(), &json!({"csr": csr(&request(&key(set)))})))
    };
    // An issuer of another kind signs them just as well.
    let bench = ready();
    role(&bench, json!({"key_type": "any", "key_bits": 0})).is(200);
    for set in SETS {
        let signed = sign(&bench, set).is(200);
        assert_eq!(certificate(&signed).public_key().shape().to_string(), format!("ml-dsa-{set}"));
        assert_eq!(certificate(&signed).scheme().unwrap().name(), "ECDSAWithSHA256");
    }
    role(&bench, json!({"key_type": "ec"})).is(200);
    sign(&bench, "65").refuses(400, "role requires keys of type ec");
    let (bench, root) = authority("65");
    sign(&bench, "44").refuses(400, "role requires keys of type ml-dsa-65 at least, and this is ml-dsa-44");
    for set in ["65", "87"] {
        certificate(&sign(&bench, set).is(200)).verify_issued_by(&root).unwrap();
    }
    role(&bench, json!({"key_type": "any", "key_bits": 0})).is(200);
    let other = PrivateKey::generate(KeyShape::parse("ec", 256).unwrap()).unwrap();
    let body = with(named.clone(), &json!({"csr": csr(&request(&other))}));
    let signed = certificate(&bench.post("sign/r", body).is(200));
    assert_eq!(signed.scheme().unwrap().name(), "ML-DSA-65");
    signed.verify_issued_by(&root).unwrap();
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (bench, _) = authority("44");
    let good = request(&key("44"));
    for at in [good.len() - 1, good.len() - 2000] {
        let mut broken = good.clone();
        broken[at] ^= 1;
        let body = json!({"csr": csr(&broken), "common_name": "a.example.com"});
        bench.post("sign/r", body).refuses(400, "does not verify");
    }
}

#[test]
fn lists_and_ocsp_answers_are_signed_by_the_issuer() {
    for set in SETS {
        let (bench, root) = authority(set);
        let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
        let ask = || {
            let question = x509::ocsp_request(&certificate(&leaf), &root);
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, question);
            let said = bench.get(&format!("ocsp/{encoded}")).is(200);
            x509::read_ocsp(&said.bytes, &certificate(&leaf), &root, NOW).unwrap()
        };
        let list = || {
            let list = RevocationList::from_der(&bench.get("crl").is(200).bytes).unwrap();
            list.verify(root.public_key()).unwrap();
            list.revoked_at(certificate(&leaf).serial())
        };
        assert_eq!((ask(), list()), (Standing::Good, None), "{set}");
        bench.post("revoke", json!({"serial_number": text(&leaf, "serial_number")})).is(200);
        assert_eq!(ask(), Standing::Revoked, "{set}");
        assert!(list().is_some(), "{set}");
        let algorithm =
            |name: &str| bench.patch("issuer/default", json!({"revocation_signature_algorithm": name}));
        algorithm(&format!("ML-DSA-{set}")).is(200);
        algorithm("SHA256WithRSA")
            .refuses(400, &format!("of type ml-dsa-{set} cannot sign with SHA256WithRSA"));
        algorithm(if set == "44" { "ML-DSA-65" } else { "ML-DSA-44" }).refuses(400, "cannot sign with");
    }
}

#[test]
fn keys_are_made_and_imported_and_become_cas() {
    let bench = mount();
    for set in SETS {
        let body = with(json!({"key_name": format!("made{set}")}), &ml_dsa(set));
        let made = bench.post("keys/generate/exported", body).is(200);
        assert_eq!(made.data["key_type"], "ml-dsa");
        let shown = PrivateKey::from_pem(text(&made, "private_key")).unwrap();
        assert_eq!(shown.public().shape().to_string(), format!("ml-dsa-{set}"));
        let body = json!({"common_name": "Root", "key_ref": format!("made{set}"), "ttl": "10h"});
        let root = certificate(&bench.post("root/generate/existing", body).is(200));
        assert!(root.is_self_signed());
        assert_eq!(root.public_key(), shown.public());
        let brought = key(set);
        let text_of = brought.to_pem(KeyEncoding::Pkcs8).unwrap();
        let body = json!({"pem_bundle": *text_of, "key_name": format!("brought{set}")});
        let imported = bench.post("keys/import", body).is(200);
        assert_eq!(imported.data["key_type"], "ml-dsa");
        let body = json!({"common_name": "Int", "key_ref": format!("brought{set}")});
        let asked = bench.post("intermediate/generate/existing", body).is(200);
        assert_eq!(Request::from_pem(text(&asked, "csr")).unwrap().public_key(), brought.public());
    }
}

#[test]
fn the_parameter_set_is_asked_for_and_shown() {
    let (bench, _) = authority("65");
    let shown = bench.get("roles/r").is(200).data;
    assert_eq!((&shown["key_type"], &shown["parameter_set"]), (&json!("ml-dsa"), &json!("65")));
    bench.patch("roles/r", json!({"parameter_set": "87"})).is(200);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    assert_eq!(certificate(&leaf).public_key().shape().to_string(), "ml-dsa-87");
    let wanted = "a key of type ml-dsa wants its parameter_set: it is 44, 65 or 87";
    // How large such a key is says nothing but its set.
    role(&bench, json!({"key_type": "ml-dsa", "key_bits": 65})).refuses(400, wanted);
    for set in ["45", "ML-DSA-65", "-1"] {
        role(&bench, ml_dsa(set)).refuses(400, &format!("invalid parameter set {set} for key type ml-dsa"));
    }
    role(&bench, json!({"key_type": "any", "key_bits": 0})).is(200);
    let issue = |more: Value| bench.post("issue/r", with(json!({"common_name": "a.example.com"}), &more));
    issue(json!({"key_type": "ml-dsa"})).refuses(400, wanted);
    let leaf = issue(ml_dsa("44")).is(200);
    assert_eq!(certificate(&leaf).public_key().shape().to_string(), "ml-dsa-44");
    let fresh = mount();
    for path in ["root/generate/internal", "intermediate/generate/internal", "keys/generate/internal"] {
        fresh.post(path, json!({"common_name": "Root", "key_type": "ml-dsa"})).refuses(400, wanted);
    }
    assert_eq!(fresh.list("keys").status, 404, "refused, nothing is kept");
}

#[test]
fn a_root_is_followed_by_one_of_its_set_unless_another_is_asked_for() {
    for (asked, next) in
        [(json!({}), "ml-dsa-44"), (ml_dsa("87"), "ml-dsa-87"), (json!({"key_type": "ec"}), "ec 256")]
    {
        let (bench, _) = authority("44");
        let begun = bench.post("roll", with(json!({"publish_for": "1h"}), &asked)).is(200).data;
        let id = begun["next"]["issuer_id"].as_str().unwrap();
        let root = certificate(&bench.get(&format!("issuer/{id}")).is(200));
        assert_eq!(root.public_key().shape().to_string(), next);
    }
}
