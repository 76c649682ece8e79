use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::{Alg, PublicKey};

/// The longest header that is looked at.
const HEADER_SIZE_MAX: usize = 64 * 1024;

/// A message in the flattened form (RFC 7515 §7.2.2) whose signature has not been looked at. What it says is out of reach
/// until it has.
#[derive(Debug)]
pub struct Flattened {
    header: Map<String, Value>,
    signed: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Flattened {
    /// Reads the three parts.
    ///
    /// # Errors
    /// With what is wrong with them.
    pub fn parse(protected: &str, payload: &str, signature: &str) -> Result<Self, String> {
        if protected.len() > HEADER_SIZE_MAX {
            return Err(format!("'protected' is longer than {HEADER_SIZE_MAX} bytes"));
        }
        let header: Map<String, Value> = serde_json::from_slice(&decode("protected", protected)?)
            .map_err(|_| "'protected' is not a JSON object in base64url".to_owned())?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err("'protected' asks for extensions that are not known here".to_owned());
        }
        Ok(Self {
            header,
            signed: format!("{protected}.{payload}"),
            payload: decode("payload", payload)?,
            signature: decode("signature", signature)?,
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

    /// What it says, if the owner of this key said it.
    pub fn signed_by(&self, key: &PublicKey) -> Option<&[u8]> {
        let genuine = key.verify(self.alg()?, self.signed.as_bytes(), &self.signature);
        genuine.then_some(&self.payload)
    }

    /// What it says, if somebody said it who shares this secret.
    pub fn authenticated_by(&self, secret: &[u8]) -> Option<&[u8]> {
        let algorithm = match self.text("alg")? {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => return None,
        };
        let key = hmac::Key::new(algorithm, secret);
        let genuine = hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok();
        genuine.then_some(&self.payload)
    }
}

fn decode(name: &str, part: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("'{name}' is not base64url without padding"))
}

#[cfg(test)]
mod tests {
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
        let whole = Flattened::parse(&header, &payload, &signature).unwrap();
        assert_eq!(whole.authenticated_by(b"secret"), Some(b"hello".as_slice()));
        assert_eq!(whole.authenticated_by(b"secreT"), None);
        assert_eq!((whole.text("kid"), whole.alg()), (Some("a"), None), "a secret is no public key");
        let other = URL_SAFE_NO_PAD.encode("hellO");
        assert_eq!(Flattened::parse(&header, &other, &signature).unwrap().authenticated_by(b"secret"), None);
    }

    #[test]
    fn what_is_no_message_says_why() {
        for (header, why) in [
            ("x", "not a JSON object"),
            (r#"{"alg":"HS256","crit":["b64"]}"#, "extensions"),
            (r#"{"alg":"HS256","b64":false}"#, "extensions"),
        ] {
            let (header, payload, signature) = message(header, "", b"k");
            assert!(Flattened::parse(&header, &payload, &signature).unwrap_err().contains(why));
        }
        assert!(Flattened::parse("e30=", "", "").unwrap_err().contains("'protected' is not base64url"));
        assert!(Flattened::parse("e30", "*", "").unwrap_err().contains("'payload' is not base64url"));
    }
}
