//! Keys that stay here, and what is done with them, asked for as a client does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![recursion_limit = "256"]

#[allow(dead_code, reason = "each suite uses its own part of it")]
#[path = "../bench/mod.rs"]
mod bench;
mod ciphers;
mod keys;
mod ml_dsa;
mod signatures;
mod travel;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bench::{Answer, Bench};
use serde_json::{Value, json};

fn transit() -> Bench {
    Bench::new(engines::open("transit", &json!({})).unwrap(), None)
}

fn key(bench: &Bench, name: &str, settings: Value) -> Answer {
    bench.post(&format!("keys/{name}"), settings).is(200)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer.data[field].as_str().unwrap_or_else(|| panic!("no text {field} in {answer:?}"))
}

const CIPHERS: [&str; 4] = ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];
const ML_DSA: [&str; 3] = ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"];
const SIGNERS: [&str; 8] =
    ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"];

/// The settings that make a key of this kind.
fn of(kind: &str) -> Value {
    match kind.strip_prefix("ml-dsa-") {
        Some(set) => json!({"type": "ml-dsa", "parameter_set": set}),
        None => json!({"type": kind}),
    }
}
