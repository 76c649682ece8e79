//! The certificate authority, its certificates and lists judged by openssl.

#![recursion_limit = "256"] // a role has many fields
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may panic

mod acme;
mod arrivals;
mod authorities;
mod bad_requests;
#[allow(dead_code)] // each suite uses its own part of it
#[path = "../bench/mod.rs"]
mod bench;
mod bonds;
mod bounds;
mod cel;
mod far;
mod found;
mod fuzz;
mod inventory;
mod issuing;
mod lists;
mod ml_dsa;
#[allow(dead_code)] // the tests of certificates use other parts of it
#[path = "../../../x509/tests/fuzz/near.rs"]
mod near;
mod ocsp;
mod purposes;
mod reissue;
mod revoking;
mod rolling;
mod twins;
mod well_formed;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bench::{Answer, Bench};
use kit::{Caller, Entity};
use serde_json::{Value, json};

fn mount() -> Bench {
    Bench::new(engines::open("pki", &json!({})).unwrap(), None)
}

/// A mount with a root of P-256 and a role for example.com.
fn ready() -> Bench {
    let bench = mount();
    bench
        .post("root/generate/internal", json!({"common_name": "Root", "key_type": "ec", "ttl": "700h"}))
        .is(200);
    role(&bench, json!({}));
    bench
}

fn role(bench: &Bench, changes: Value) -> Answer {
    let mut body = json!({
        "allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "ttl": "1h", "max_ttl": "72h",
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    bench.post("roles/r", body)
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer.data[field].as_str().unwrap_or_else(|| panic!("no text {field} in {answer:?}"))
}

/// What renewal information calls a certificate.
fn renewal_name(pem: &str) -> String {
    let certificate = x509::Certificate::from_pem(pem).unwrap();
    let authority = certificate.authority_key_id().unwrap();
    [authority.as_slice(), certificate.serial().as_bytes()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// What the holder of a certificate hears of it: the window, and the bundle's fingerprint.
fn advice(bench: &Bench, pem: &str) -> Value {
    let said = bench.get(&format!("renewal-info/{}", renewal_name(pem))).is(200);
    serde_json::from_slice(&said.bytes).unwrap()
}

/// Whether the holder is asked to renew now.
fn is_wanted(bench: &Bench, pem: &str) -> bool {
    advice(bench, pem)["suggestedWindow"]["end"].as_str().unwrap() <= bench.now().as_str()
}

/// A caller that identity knows.
fn entity(id: &str) -> Caller {
    let entity = Entity { id: id.to_owned(), name: id.to_owned(), ..Entity::default() };
    Caller { entity: Some(entity), display_name: format!("approle-{id}"), ..Caller::default() }
}

/// A folder for openssl.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pki-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Desk(path)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        fs::write(self.0.join(name), text).unwrap();
        self
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) -> String {
        let out = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "openssl {arguments}: {text}");
        text
    }

    fn csr(&self, arguments: &str) -> String {
        self.openssl(&format!("req -new -nodes -keyout k.pem -out r.pem {arguments}"));
        self.text("r.pem")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NOW: u64 = 1_767_225_600;
const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
