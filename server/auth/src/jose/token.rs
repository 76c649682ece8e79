use base64::DecodeError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Alg, Claims, PublicKey};

/// The longest token that is looked at.
const TOKEN_SIZE_MAX: usize = 256 * 1024;

/// A token whose signature has not been looked at. Its claims are out of reach until it has.
pub(crate) struct Token<'a> {
    /// By what it says to be signed. Nothing: by what nobody may sign.
    pub(crate) alg: Option<Alg>,
    /// By which key it says to be signed; empty: it does not say.
    pub(crate) key_id: String,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads the compact form.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > TOKEN_SIZE_MAX {
            return Err(format!("the token is longer than {TOKEN_SIZE_MAX} bytes"));
        }
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let [header, payload, signature] = *parts else {
            return Err("go-jose/go-jose: compact JWS format must have three parts".to_owned());
        };
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header: Map<String, Value> = serde_json::from_slice(&header)
            .map_err(|_| "the header of the token is not a JSON object".to_owned())?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err("the header of the token asks for extensions that are not known here".to_owned());
        }
        let name = |field: &str| match header.get(field) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(name)) => Ok(name.as_str()),
            Some(_) => Err(format!("{field:?} in the header of the token is not a string")),
        };
        let (alg, key_id) = (Alg::parse(name("alg")?), name("kid")?.to_owned());
        let signed = text.rsplit_once('.').map_or("", |(signed, _)| signed);
        Ok(Self { alg, key_id, signed, payload, signature })
    }

    /// The claims, if one of these keys signed them.
    pub(crate) fn verified_by<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> Option<Claims> {
        let (alg, message) = (self.alg?, self.signed.as_bytes());
        let signed = keys.into_iter().any(|key| key.verify(alg, message, &self.signature));
        if signed { self.unverified() } else { None }
    }

    /// The claims, whoever made them up. Only for those who have them reviewed by the issuer.
    pub(crate) fn unverified(&self) -> Option<Claims> {
        self.alg?;
        Claims::parse(&self.payload)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(part).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length - length % 4,
            DecodeError::InvalidPadding => part.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}
