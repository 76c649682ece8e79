//! What an ACME client signs: for tests that send requests of their own.

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key, and the account that it has at a directory.
pub struct Signer {
    key: EcdsaKeyPair,
    /// The directory's URL, without `directory`.
    pub base: String,
    /// The account's URL, once there is one.
    pub kid: Option<String>,
}

impl Signer {
    /// A new key for the directory at this URL, which ends in a slash.
    ///
    /// # Panics
    /// If there is no key to be had.
    pub fn new(base: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made");
        Self { key, base: base.to_owned(), kid: None }
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let text = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"crv": "P-256", "kty": "EC", "x": text(1..33), "y": text(33..65)})
    }

    /// What proves a name by this token.
    pub fn answer(&self, token: &str) -> String {
        let name = digest::digest(&digest::SHA256, self.jwk().to_string().as_bytes());
        format!("{token}.{}", URL_SAFE_NO_PAD.encode(name))
    }

    /// What proves a name by this token in a record.
    pub fn digest(&self, token: &str) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.answer(token).as_bytes()))
    }

    /// The body of a request to a path below the directory. A null payload only looks.
    ///
    /// # Panics
    /// If nothing can be signed.
    pub fn sign(&self, rest: &str, nonce: &str, payload: &Value) -> Value {
        let mut header = json!({"alg": "ES256", "nonce": nonce, "url": format!("{}{rest}", self.base)});
        match &self.kid {
            Some(kid) => header["kid"] = json!(kid),
            None => header["jwk"] = self.jwk(),
        }
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        let (header, payload) = (URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let message = format!("{header}.{payload}");
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a key signs");
        json!({"protected": header, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)})
    }

    /// What says whose account is to be made of this key, by a binding as the server shows it.
    ///
    /// # Panics
    /// If it is no binding.
    pub fn bind(&self, binding: &Value) -> Value {
        let text = |field: &str| binding[field].as_str().expect("a binding has an id and a key");
        let header = json!({"alg": "HS256", "kid": text("id"), "url": format!("{}new-account", self.base)});
        let parts = [header.to_string(), self.jwk().to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let secret = URL_SAFE_NO_PAD.decode(text("key")).expect("the key is in base64url");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), parts.join(".").as_bytes());
        let [protected, payload] = parts;
        json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(tag)})
    }

    /// The path below the directory that a URL leads to.
    ///
    /// # Panics
    /// If it leads elsewhere.
    pub fn rest(&self, url: &Value) -> String {
        let url = url.as_str().unwrap_or_else(|| panic!("no URL: {url}"));
        url.strip_prefix(&self.base).unwrap_or_else(|| panic!("{url} is not below {}", self.base)).to_owned()
    }
}
