use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Answer;
use serde_json::{Map, Value};
use storage::seal::shamir::Share;
use storage::seal::{SealConfig, UnsealKey};
use zeroize::Zeroizing;

use super::{Client, Phase, State, Stuck, refused};

/// Shares that were shown since the last success, failure or reset. Lost at restart, by design.
#[derive(Default)]
pub(super) struct Progress {
    shares: Vec<Share>,
    nonce: String,
}

const WANTS_KEY: &str = "'key' must be specified in request body as JSON, or 'reset' set to true";
const BAD_KEY: &str = "'key' must be a valid hex or base64 string";
/// The same whatever was wrong, and with however many shares: a guesser learns nothing from it.
const WRONG: &str = "unseal failed, invalid key: the shares do not make the key of this store. All of them are forgotten; begin again";

impl Progress {
    pub(super) fn count(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn nonce(&self) -> String {
        self.nonce.clone()
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The body of `sys/unseal`.
#[derive(Default)]
struct Wanted {
    key: Zeroizing<String>,
    reset: bool,
    migrate: bool,
}

impl State {
    /// Why shares open nothing. A backup that was put in the store's place may have brought a key that the server was never given.
    fn opens_itself(&self, key_id: &str) -> String {
        match self.facts.keys {
            Some(_) => "this server unseals itself with its static key: restart it to unseal".to_owned(),
            None => format!(
                "the data is sealed with the static key \"{key_id}\": add seal \"static\" {{ … }} with that key to the configuration, and restart the server"
            ),
        }
    }

    /// `POST sys/unseal`
    pub(super) fn unseal_request(&self, body: &[u8], _: Client) -> Answer {
        let wanted = match Wanted::read(body) {
            Ok(wanted) => wanted,
            Err(text) => return refused(400, &text),
        };
        if !wanted.reset && wanted.key.is_empty() {
            return refused(400, WANTS_KEY);
        }
        let mut store = self.store();
        let seal = match &**self.phase() {
            Phase::Open { .. } if wanted.reset => return refused(400, "vault is unsealed"),
            Phase::Open { .. } => {
                return share(&wanted.key).map_or_else(|text| refused(400, &text), |_| self.seal_status());
            }
            Phase::Blank => return refused(400, "Vault is not initialized"),
            Phase::Sealed(seal) => seal.clone(),
        };
        if wanted.reset {
            self.progress().forget();
            return self.seal_status();
        }
        let share = match share(&wanted.key) {
            Ok(share) => share,
            Err(text) => return refused(400, &text),
        };
        if wanted.migrate {
            return refused(400, "can't perform a seal migration, no migration seal found");
        }
        let split = match seal {
            SealConfig::Shamir(split) => split,
            SealConfig::Static { key_id, .. } => return refused(400, &self.opens_itself(&key_id)),
        };
        let Some(shares) = self.add(share, usize::from(split.threshold)) else { return self.seal_status() };
        let opened = match split.combine(&shares) {
            Ok(key) => self.open(&mut store, &UnsealKey::Shamir(key)).map(drop),
            Err(_) => Err(Stuck::Unseal(storage::UnsealError::WrongKey)),
        };
        match opened {
            Ok(()) => self.seal_status(),
            Err(Stuck::Unseal(storage::UnsealError::WrongKey)) => {
                tracing::warn!("unsealing failed: the shares that were shown do not make the key");
                refused(400, WRONG)
            }
            Err(other) => {
                tracing::error!(error = %other, "unsealing failed");
                refused(500, &format!("unseal failed: {}", told(&other)))
            }
        }
    }

    /// Adds a share. All of them, and none kept, once there are enough.
    fn add(&self, share: Share, threshold: usize) -> Option<Vec<Share>> {
        let mut progress = self.progress();
        if progress.shares.is_empty() {
            progress.nonce = self.uuid();
        }
        if !progress.shares.iter().any(|known| known.as_bytes() == share.as_bytes()) {
            progress.shares.push(share);
        }
        if progress.shares.len() < threshold {
            return None;
        }
        let shares = std::mem::take(&mut progress.shares);
        progress.forget();
        Some(shares)
    }

    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        let hex = hex::encode(bytes);
        let part = |range| hex.get(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }
}

/// What a caller without a token may know of it.
fn told(stuck: &Stuck) -> String {
    match stuck {
        Stuck::Kernel(_) => "the server could not start; its log says why".to_owned(),
        other => other.to_string(),
    }
}

fn share(key: &str) -> Result<Share, String> {
    let bytes = hex::decode(key).ok().or_else(|| STANDARD.decode(key).ok());
    let bytes = Zeroizing::new(bytes.filter(|bytes| !bytes.is_empty()).ok_or(BAD_KEY)?);
    Share::shown(&bytes).map_err(|misfit| format!("invalid key: {misfit}"))
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, String> {
        let object = object(body, "http.UnsealRequest")?;
        let mut wanted = Self::default();
        for (name, value) in object {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("key", Value::String(key)) => wanted.key = Zeroizing::new(key),
                ("reset", Value::Bool(reset)) => wanted.reset = reset,
                ("migrate", Value::Bool(migrate)) => wanted.migrate = migrate,
                ("key", other) => return Err(mistyped(&other, "UnsealRequest.key", "string")),
                ("reset", other) => return Err(mistyped(&other, "UnsealRequest.reset", "bool")),
                ("migrate", other) => return Err(mistyped(&other, "UnsealRequest.migrate", "bool")),
                _ => {}
            }
        }
        Ok(wanted)
    }
}

/// The fields of a body; none, if there is no body.
pub(super) fn object(body: &[u8], go_type: &str) -> Result<Map<String, Value>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(other) => {
            let kind = kind(&other);
            Err(format!(
                "failed to decode JSON input: json: cannot unmarshal {kind} into Go value of type {go_type}"
            ))
        }
        Err(_) => Err("failed to decode JSON input: unexpected EOF".to_owned()),
    }
}

/// The text for a field of the wrong type.
pub(super) fn mistyped(value: &Value, field: &str, go_type: &str) -> String {
    let kind = kind(value);
    format!(
        "failed to decode JSON input: json: cannot unmarshal {kind} into Go struct field {field} of type {go_type}"
    )
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_hex_or_base64_of_a_likely_length() {
        let hex = "abae6ffff6d02b44aca750bea768c6c439a6f362d68ea9689d6a08e141dfc70f4b";
        let base64 = "q65v//bQK0Ssp1C+p2jGxDmm82LWjqlonWoI4UHfxw9L";
        assert_eq!(share(hex).unwrap().as_bytes(), share(base64).unwrap().as_bytes());
        for bad in ["aabbcc", "zz", "", &"ab".repeat(34)] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_body_is_typed_as_go_types_it() {
        let text = |body: &str| Wanted::read(body.as_bytes()).err().unwrap_or_default();
        assert_eq!(
            text("{\"reset\":\"x\"}"),
            "failed to decode JSON input: json: cannot unmarshal string into Go struct field UnsealRequest.reset of type bool"
        );
        assert_eq!(
            text("[]"),
            "failed to decode JSON input: json: cannot unmarshal array into Go value of type http.UnsealRequest"
        );
        assert!(Wanted::read(b"").is_ok() && Wanted::read(b"{\"foo\":1}").is_ok());
    }
}
