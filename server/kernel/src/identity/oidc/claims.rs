//! What an identity token says, and how it is written down.

use kit::{Error, Reads, Result};
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
    let failed = || Error::internal("an identity token could not be signed");
    key.signer(cx)?.token(&[], &serde_json::to_vec(payload)?).ok_or_else(failed)
}
