//! In which order certificates and keys come in does not matter.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{Desk, EC, mount, role, text};

/// A root and a CA below it, made elsewhere: their certificates, and the key of the lower one.
struct Made {
    root: String,
    lower: String,
    key: String,
}

impl Made {
    fn new() -> Self {
        let (bench, desk) = (mount(), Desk::new("arrivals"));
        let body = json!({"common_name": "Root", "key_type": "ec", "ttl": "900h"});
        let root = bench.post("root/generate/internal", body).is(200);
        let csr = desk.csr(&format!("{EC} -subj /CN=Lower"));
        let body = json!({"csr": csr, "common_name": "Lower", "ttl": "800h"});
        let lower = bench.post("root/sign-intermediate", body).is(200);
        let pem = |text: &str| format!("{text}\n");
        Self {
            root: pem(text(&root, "certificate")),
            lower: pem(text(&lower, "certificate")),
            key: desk.text("k.pem"),
        }
    }
}

/// That the default issuer is called so, and issues.
#[track_caller]
fn issues(bench: &Bench, name: &str) {
    let default = bench.get("config/issuers").data["default"].as_str().unwrap().to_owned();
    assert!(!default.is_empty(), "there is a default");
    let listed = bench.list("issuers").is(200);
    let key = listed.data["key_info"][&default]["key_id"].as_str().unwrap();
    assert!(!key.is_empty(), "the default issuer has its key");
    role(bench, json!({})).is(200);
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    let leaf = x509::Certificate::from_pem(text(&leaf, "certificate")).unwrap();
    assert_eq!(leaf.issuer().unwrap().common_name, name);
    assert_ne!(bench.get("crl").is(200).bytes, b"");
}

#[test]
fn the_default_is_the_first_issuer_that_can_sign() {
    let made = Made::new();
    let bundle = |parts: &[&str]| json!({"pem_bundle": parts.concat()});
    let ways: [&[(&str, Value)]; 4] = [
        &[("issuers/import/bundle", bundle(&[&made.root, &made.lower, &made.key]))],
        &[
            ("issuers/import/cert", bundle(&[&made.root])),
            ("issuers/import/bundle", bundle(&[&made.lower, &made.key])),
        ],
        &[
            ("keys/import", bundle(&[&made.key])),
            ("intermediate/set-signed", json!({"certificate": (made.root.clone() + &made.lower)})),
        ],
        &[("issuers/import/cert", bundle(&[&made.root, &made.lower])), ("keys/import", bundle(&[&made.key]))],
    ];
    for way in ways {
        let bench = mount();
        for (door, body) in way {
            bench.post(door, body.clone()).is(200);
        }
        issues(&bench, "Lower");
    }
}

#[test]
fn a_certificate_without_its_key_is_nobodys_default() {
    let (made, bench) = (Made::new(), mount());
    bench.post("issuers/import/cert", json!({"pem_bundle": made.root})).is(200);
    assert_eq!(bench.get("config/issuers").data["default"], "");
    role(&bench, json!({})).is(200);
    bench
        .post("issue/r", json!({"common_name": "a.example.com"}))
        .refuses(500, "no default issuer currently configured; generate or import one with its key");
    bench.post("issuers/import/bundle", json!({"pem_bundle": (made.lower + &made.key)})).is(200);
    // A mount that follows its latest issuer goes on with what can sign.
    let other = mount();
    let body = json!({"common_name": "Other", "key_type": "ec", "ttl": "900h"});
    let other = other.post("root/generate/internal", body).is(200);
    bench.post("config/issuers", json!({"default_follows_latest_issuer": true})).is(200);
    bench.post("issuers/import/cert", json!({"pem_bundle": text(&other, "certificate")})).is(200);
    issues(&bench, "Lower");
    let body = json!({"common_name": "Newest", "key_type": "ec", "ttl": "900h"});
    bench.post("root/generate/internal", body).is(200);
    issues(&bench, "Newest");
}

#[test]
fn a_key_finds_the_issuers_that_wait_for_it() {
    let made = Made::new();
    let both = json!({"pem_bundle": (made.lower.clone() + &made.key)});
    for door in ["keys/import", "issuers/import/bundle"] {
        let bench = mount();
        let first = bench.post("issuers/import/cert", json!({"pem_bundle": made.lower})).is(200);
        let id = first.data["imported_issuers"][0].as_str().unwrap().to_owned();
        assert_eq!(first.data["mapping"][&id], "");
        bench.post(door, json!({"pem_bundle": made.key})).is(200);
        let key = bench.get(&format!("issuer/{id}")).is(200).data["key_id"].clone();
        let again = bench.post("issuers/import/bundle", both.clone()).is(200);
        assert_eq!(again.data["existing_keys"], json!([key]), "{door}");
        assert_eq!(again.data["mapping"][&id], key);
        issues(&bench, "Lower");
    }
}
