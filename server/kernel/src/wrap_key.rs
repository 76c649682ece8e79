//! Wrapping tokens as signed JWTs, for whoever forwards one and wants to know before it is opened that it is ours and
//! when it ends.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jws::{Alg, Message, Signer};
use kit::{Error, Fault, Result};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::envelope::Wrapped;

/// How each of them is signed: no other algorithm is taken.
const ALG: Alg = Alg::Es512;
/// How a JWT begins: `{"` in base64.
const MARK: &str = "eyJ";
/// What tells these from other JWTs.
const KIND: &str = "wrapping";
/// The longest that is looked at.
const SIZE_MAX: usize = 4096;
/// Clocks of others may be late by so much.
const LEEWAY_SECONDS: u64 = 5;

/// What wrapping tokens are signed with.
pub(crate) struct WrapKey(Signer);

#[derive(Deserialize)]
struct Claims {
    jti: String,
    #[serde(rename = "type")]
    kind: String,
}

impl WrapKey {
    /// A new key, as it is stored.
    pub(crate) fn generate() -> Result<Zeroizing<String>> {
        let key = Signer::generate(ALG).ok_or_else(fault)?;
        Ok(Zeroizing::new(STANDARD.encode(&*key)))
    }

    /// The key, from how it is stored.
    pub(crate) fn read(stored: &str) -> Result<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(stored).map_err(|_| fault())?);
        Signer::read(ALG, "", &bytes).map(Self).ok_or_else(fault)
    }

    /// A wrapping token in the form of a JWT.
    pub(crate) fn sign(&self, wrapped: &Wrapped, address: &str) -> Result<String> {
        let issued = wrapped.created.seconds();
        let claims = json!({
            "accessor": wrapped.wrapped_accessor,
            "addr": address,
            "exp": issued + wrapped.ttl_seconds,
            "iat": issued,
            "jti": wrapped.token,
            "nbf": issued.saturating_sub(LEEWAY_SECONDS),
            "type": KIND,
        });
        self.0.token(&[("typ", "JWT")], claims.to_string().as_bytes()).ok_or_else(fault)
    }

    /// The token that a text stands for: itself, or the one that a JWT of ours holds.
    ///
    /// # Errors
    /// If it is a JWT that we have not signed.
    pub(crate) fn token<'a>(&self, shown: &'a str) -> Result<Cow<'a, str>> {
        if !is_signed(shown) {
            return Ok(Cow::Borrowed(shown));
        }
        self.verified(shown).map(Cow::Owned).ok_or_else(|| {
            let text = "error validating wrapping token: wrapping token signature could not be validated";
            Error::new(Fault::Denied, text)
        })
    }

    fn verified(&self, shown: &str) -> Option<String> {
        if shown.len() > SIZE_MAX {
            return None;
        }
        let message = Message::compact(shown).ok()?;
        let claims: Claims = serde_json::from_slice(message.signed_by(self.0.public())?).ok()?;
        (claims.kind == KIND && !is_signed(&claims.jti)).then_some(claims.jti)
    }
}

/// Whether a text is a JWT by its form. No token of another kind is.
pub(crate) fn is_signed(shown: &str) -> bool {
    shown.starts_with(MARK) && shown.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn fault() -> Error {
    Error::internal("the key that signs wrapping tokens does not work")
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use kit::Time;

    use super::*;

    fn wrapped() -> Wrapped {
        Wrapped {
            token: "s.abc.ns1234".to_owned(),
            hash: crate::tokens::TokenHash([0; 32]),
            accessor: "x".to_owned(),
            ttl_seconds: 300,
            created: Time::from_seconds(1_000),
            creation_path: "kv/x".to_owned(),
            wrapped_accessor: "y".to_owned(),
            signed: None,
        }
    }

    #[test]
    fn what_is_signed_here_is_known_here_and_nowhere_else() {
        let (own, other) = (WrapKey::generate().unwrap(), WrapKey::generate().unwrap());
        let (own, other) = (WrapKey::read(&own).unwrap(), WrapKey::read(&other).unwrap());
        let signed = own.sign(&wrapped(), "https://here").unwrap();
        assert_eq!(own.token(&signed).unwrap(), "s.abc.ns1234");
        assert!(other.token(&signed).is_err());
        let claims = signed.split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(
            claims,
            json!({"accessor": "y", "addr": "https://here", "exp": 1300, "iat": 1000, "jti": "s.abc.ns1234",
                "nbf": 995, "type": "wrapping"})
        );
    }

    #[test]
    fn nothing_is_changed_and_no_other_header_is_taken() {
        let key = WrapKey::read(&WrapKey::generate().unwrap()).unwrap();
        let signed = key.sign(&wrapped(), "").unwrap();
        let parts: Vec<&str> = signed.split('.').collect();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"jti":"s.other","type":"wrapping"}"#);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for forged in [
            format!("{}.{claims}.{}", parts[0], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{signed}A"),
        ] {
            assert!(key.token(&forged).is_err(), "{forged}");
        }
        assert_eq!(key.token("s.plain").unwrap(), "s.plain");
    }
}
