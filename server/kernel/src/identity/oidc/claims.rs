//! What an identity token says, and how it is written down.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Reads, Result};
use serde_json::{Map, Value, json};

use super::key::Key;

/// Who made a token, for whom, about whom, and until when.
pub(super) struct Claims<'a> {
    pub(super) issuer: &'a str,
    /// The id of the namespace.
    pub(super) namespace: &'a str,
    pub(super) subject: &'a str,
    pub(super) audience: &'a str,
    pub(super) issued: u64,
    pub(super) expires: u64,
}

impl Claims<'_> {
    /// The claims that every token has.
    pub(super) fn payload(&self) -> Map<String, Value> {
        let mut payload = Map::new();
        for (name, value) in [
            ("iss", json!(self.issuer)),
            ("namespace", json!(self.namespace)),
            ("sub", json!(self.subject)),
            ("aud", json!(self.audience)),
            ("exp", json!(self.expires)),
            ("iat", json!(self.issued)),
        ] {
            payload.insert(name.to_owned(), value);
        }
        payload
    }
}

/// The signed token: header, payload and signature, divided by dots.
///
/// # Errors
/// If the key cannot sign.
pub(super) fn sign(cx: &impl Reads, key: &Key, payload: &Map<String, Value>) -> Result<String> {
    let (pair, signer) = key.signer(cx)?;
    let algorithm = pair.public.algorithm;
    let header = json!({"alg": algorithm.name(), "kid": pair.id});
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", part(&serde_json::to_vec(&header)?), part(&serde_json::to_vec(payload)?));
    let signature = signer.sign(algorithm, message.as_bytes())?;
    Ok(format!("{message}.{}", part(&signature)))
}
