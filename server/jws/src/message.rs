use std::borrow::Cow;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine as _};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use crate::{Alg, PublicKey};

/// The longest token that is looked at.
const TOKEN_SIZE_MAX: usize = 256 * 1024;
/// The longest header of a message in the flattened form that is looked at.
const HEADER_SIZE_MAX: usize = 64 * 1024;

/// A message whose signature has not been looked at. What it says is out of reach until it has.
#[derive(Debug)]
pub struct Message<'a> {
    header: Map<String, Value>,
    /// Header and payload, as they were signed.
    signed: Cow<'a, str>,
    payload: Vec<u8>,
    /// In base64url, as the library wants it.
    signature: Cow<'a, str>,
}

impl<'a> Message<'a> {
    /// Reads a token: the compact form (RFC 7515 §7.1).
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn compact(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > TOKEN_SIZE_MAX {
            return Err(format!("the token is longer than {TOKEN_SIZE_MAX} bytes"));
        }
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let [header, payload, signature] = *parts else {
            return Err("go-jose/go-jose: compact JWS format must have three parts".to_owned());
        };
        let (header, payload, _) = (part(header)?, part(payload)?, part(signature)?);
        let header: Map<String, Value> = serde_json::from_slice(&header)
            .map_err(|_| "the header of the token is not a JSON object".to_owned())?;
        if is_extended(&header) {
            return Err("the header of the token asks for extensions that are not known here".to_owned());
        }
        for name in ["alg", "kid"] {
            if !matches!(header.get(name), None | Some(Value::Null | Value::String(_))) {
                return Err(format!("{name:?} in the header of the token is not a string"));
            }
        }
        let signed = Cow::Borrowed(text.rsplit_once('.').map_or("", |(signed, _)| signed));
        Ok(Self { header, signed, payload, signature: Cow::Borrowed(signature) })
    }

    /// Reads the three parts of the flattened form (RFC 7515 §7.2.2).
    ///
    /// # Errors
    /// With what is wrong with them.
    pub fn flattened(protected: &str, payload: &str, signature: &str) -> Result<Message<'static>, String> {
        let decode = |name: &str, part: &str| {
            let why = |_| format!("'{name}' is not base64url without padding");
            URL_SAFE_NO_PAD.decode(part).map_err(why)
        };
        if protected.len() > HEADER_SIZE_MAX {
            return Err(format!("'protected' is longer than {HEADER_SIZE_MAX} bytes"));
        }
        let header: Map<String, Value> = serde_json::from_slice(&decode("protected", protected)?)
            .map_err(|_| "'protected' is not a JSON object in base64url".to_owned())?;
        if is_extended(&header) {
            return Err("'protected' asks for extensions that are not known here".to_owned());
        }
        decode("signature", signature)?;
        Ok(Message {
            header,
            signed: Cow::Owned(format!("{protected}.{payload}")),
            payload: decode("payload", payload)?,
            signature: Cow::Owned(signature.to_owned()),
        })
    }

    /// A text of the header; nothing if it is not there, or is no text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A value of the header.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.header.get(name)
    }

    /// By what it says to be signed. Nothing: by what nobody may sign.
    pub fn alg(&self) -> Option<Alg> {
        Alg::parse(self.text("alg")?)
    }

    /// By which key it says to be signed; empty: it does not say.
    pub fn key_id(&self) -> &str {
        self.text("kid").unwrap_or_default()
    }

    /// What it says, if the owner of this key said it.
    pub fn signed_by(&self, key: &PublicKey) -> Option<&[u8]> {
        let genuine = key.verifies(self.alg()?, self.signed.as_bytes(), &self.signature);
        genuine.then_some(&self.payload)
    }

    /// What it says, if somebody said it who shares this secret.
    pub fn authenticated_by(&self, secret: &[u8]) -> Option<&[u8]> {
        let algorithm = match self.text("alg")? {
            "HS256" => Algorithm::HS256,
            "HS384" => Algorithm::HS384,
            "HS512" => Algorithm::HS512,
            _ => return None,
        };
        let key = DecodingKey::from_secret(secret);
        let genuine = crypto::verify(&self.signature, self.signed.as_bytes(), &key, algorithm);
        genuine.is_ok_and(|genuine| genuine).then_some(&self.payload)
    }

    /// What it says, whoever made it up: only for those who have it reviewed by the issuer. Nothing, if it is by what
    /// nobody may sign.
    pub fn unverified(&self) -> Option<&[u8]> {
        self.alg().map(|_| self.payload.as_slice())
    }
}

/// Whether a header asks for more than what every reader knows: whoever does not know it must refuse (RFC 7515 §4.1.11).
fn is_extended(header: &Map<String, Value>) -> bool {
    header.contains_key("crit") || header.contains_key("b64")
}

/// A part of a token. What is wrong with it is said in the words that clients of such servers know.
fn part(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length - length % 4,
            DecodeError::InvalidPadding => text.find('=').unwrap_or(text.len()),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    fn message(header: &str, payload: &str, secret: &[u8]) -> (String, String, String) {
        let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
        (header, payload, URL_SAFE_NO_PAD.encode(tag))
    }

    #[test]
    fn only_the_secret_opens_a_message() {
        let (header, payload, signature) = message(r#"{"alg":"HS256","kid":"a"}"#, "hello", b"secret");
        let whole = Message::flattened(&header, &payload, &signature).unwrap();
        assert_eq!(whole.authenticated_by(b"secret"), Some(b"hello".as_slice()));
        assert_eq!(whole.authenticated_by(b"secreT"), None);
        assert_eq!((whole.text("kid"), whole.alg()), (Some("a"), None), "a secret is no public key");
        assert_eq!(whole.unverified(), None);
        let other = URL_SAFE_NO_PAD.encode("hellO");
        assert_eq!(
            Message::flattened(&header, &other, &signature).unwrap().authenticated_by(b"secret"),
            None
        );
    }

    #[test]
    fn what_is_no_message_says_why() {
        for (header, why) in [
            ("x", "not a JSON object"),
            (r#"{"alg":"HS256","crit":["b64"]}"#, "extensions"),
            (r#"{"alg":"HS256","b64":false}"#, "extensions"),
        ] {
            let (header, payload, signature) = message(header, "", b"k");
            assert!(Message::flattened(&header, &payload, &signature).unwrap_err().contains(why));
            assert!(Message::compact(&format!("{header}.{payload}.{signature}")).unwrap_err().contains(why));
        }
        let flattened =
            |header, payload, signature| Message::flattened(header, payload, signature).unwrap_err();
        assert!(flattened("e30=", "", "").contains("'protected' is not base64url"));
        assert!(flattened("e30", "*", "").contains("'payload' is not base64url"));
        assert!(flattened("e30", "", "*").contains("'signature' is not base64url"));
    }

    #[test]
    fn what_is_no_token_says_why_as_others_do() {
        let number = URL_SAFE_NO_PAD.encode(r#"{"alg":5}"#);
        for (text, why) in [
            ("a.b", "go-jose/go-jose: compact JWS format must have three parts"),
            ("a.b.c.d", "go-jose/go-jose: compact JWS format must have three parts"),
            ("e30.e3=.AA", "illegal base64 data at input byte 2"),
            ("e30.e30.A", "illegal base64 data at input byte 0"),
            (&format!("{number}.e30.AA"), "\"alg\" in the header of the token is not a string"),
        ] {
            assert_eq!(Message::compact(text).unwrap_err(), why, "{text}");
        }
    }
}
