use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Answer;
use serde_json::{Map, Value, json};
use storage::seal::shamir::Share;
use storage::seal::{Initialised, SealChoice, Split};
use zeroize::Zeroizing;

use super::unseal::{mistyped, object};
use super::{State, Stuck, refused};

/// What a new store hands out, once.
pub(crate) struct Shares {
    /// Shares of the unseal key.
    pub(crate) keys: Vec<Share>,
    /// Shares of the recovery key.
    pub(crate) recovery: Vec<Share>,
    /// The first token.
    pub(crate) root_token: Zeroizing<String>,
}

/// Whether the server is sealed again after it was initialised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Sealed,
    Open,
}

/// Clients that say nothing about recovery keys get as many as the command line would ask for.
const RECOVERY: Split = Split { shares: 5, threshold: 3 };

impl State {
    /// Makes the store, and leaves the server open: for dev mode and the first run. The first token can be chosen.
    pub(crate) fn init_open(&self, split: Split, root_token: Option<String>) -> Result<Shares, Stuck> {
        let choice = match &self.facts.keys {
            Some(keys) => SealChoice::Static { key: keys.current.clone(), recovery: None },
            None => SealChoice::Shamir(split),
        };
        self.init(&choice, Then::Open, root_token)
    }

    /// `POST sys/init`
    pub(super) fn init_request(&self, body: &[u8]) -> Answer {
        let wanted = match Wanted::read(body) {
            Ok(wanted) => wanted,
            Err(text) => return refused(400, &text),
        };
        let choice = match self.choice(&wanted) {
            Ok(choice) => choice,
            Err(text) => return refused(400, &text),
        };
        let then = if self.facts.keys.is_some() { Then::Open } else { Then::Sealed };
        match self.init(&choice, then, None) {
            Ok(shares) => told(&shares, self.facts.keys.is_some()),
            Err(stuck @ Stuck::Initialised) => refused(400, &stuck.to_string()),
            Err(stuck) => {
                tracing::error!(error = %stuck, "initialising failed");
                refused(500, "initialising failed; the server's log says why")
            }
        }
    }

    fn choice(&self, wanted: &Wanted) -> Result<SealChoice, String> {
        if !matches!(&**self.phase(), super::Phase::Blank) {
            return Err(Stuck::Initialised.to_string());
        }
        wanted.refuse_pgp(self.facts.keys.is_some())?;
        let Some(keys) = &self.facts.keys else {
            if wanted.recovery_shares.or(wanted.recovery_threshold).is_some_and(|count| count > 0) {
                return Err(
                    "parameters recovery_shares,recovery_threshold not applicable to seal type shamir"
                        .to_owned(),
                );
            }
            return split(wanted.secret_shares, wanted.secret_threshold).map(SealChoice::Shamir);
        };
        let recovery = match (wanted.recovery_shares, wanted.recovery_threshold) {
            (None, None) => RECOVERY,
            (shares, threshold) => split(shares, threshold)?,
        };
        Ok(SealChoice::Static { key: keys.current.clone(), recovery: Some(recovery) })
    }

    fn init(&self, choice: &SealChoice, then: Then, root_token: Option<String>) -> Result<Shares, Stuck> {
        let mut store = self.store();
        let blank = match store.take() {
            Some(storage::Phase::Blank(blank)) => blank,
            other => {
                *store = other;
                return Err(Stuck::Initialised);
            }
        };
        let (sealed, Initialised { shares, recovery, key }) = blank.init(choice, &*self.random)?;
        *store = Some(storage::Phase::Sealed(sealed));
        let kernel = self.open(&mut store, &key)?;
        let root_token = Zeroizing::new(kernel.root_token(root_token).map_err(Stuck::Kernel)?);
        drop(store);
        if then == Then::Sealed {
            drop(kernel);
            self.seal()?;
        }
        tracing::info!("initialised");
        Ok(Shares { keys: shares, recovery, root_token })
    }
}

fn told(shares: &Shares, own_keys: bool) -> Answer {
    let hex = |shares: &[Share]| shares.iter().map(|share| hex::encode(share.as_bytes())).collect::<Vec<_>>();
    let base64 =
        |shares: &[Share]| shares.iter().map(|share| STANDARD.encode(share.as_bytes())).collect::<Vec<_>>();
    let mut body = json!({ "keys": hex(&shares.keys), "keys_base64": base64(&shares.keys) });
    if let (true, Some(body)) = (own_keys, body.as_object_mut()) {
        body.insert("recovery_keys".to_owned(), hex(&shares.recovery).into());
        body.insert("recovery_keys_base64".to_owned(), base64(&shares.recovery).into());
    }
    if let Some(body) = body.as_object_mut() {
        body.insert("root_token".to_owned(), shares.root_token.as_str().into());
    }
    super::bare(200, &body)
}

/// The body of `sys/init`.
#[derive(Default)]
struct Wanted {
    secret_shares: Option<i64>,
    secret_threshold: Option<i64>,
    recovery_shares: Option<i64>,
    recovery_threshold: Option<i64>,
    pgp_keys: usize,
    recovery_pgp_keys: usize,
    root_token_pgp_key: bool,
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, String> {
        let object = object(body, "http.InitRequest")?;
        let number = |name: &str| number(&object, name);
        let list = |name: &str| list(&object, name);
        Ok(Self {
            secret_shares: number("secret_shares")?,
            secret_threshold: number("secret_threshold")?,
            recovery_shares: number("recovery_shares")?,
            recovery_threshold: number("recovery_threshold")?,
            pgp_keys: list("pgp_keys")?,
            recovery_pgp_keys: list("recovery_pgp_keys")?,
            root_token_pgp_key: match object.get("root_token_pgp_key") {
                None | Some(Value::Null) => false,
                Some(Value::String(key)) => !key.is_empty(),
                Some(other) => return Err(mistyped(other, "InitRequest.root_token_pgp_key", "string")),
            },
        })
    }

    /// Keys that we cannot encrypt to must not be passed over: the operator would get them in clear.
    fn refuse_pgp(&self, own_keys: bool) -> Result<(), String> {
        let (keys, shares) = match own_keys {
            true => (self.recovery_pgp_keys, self.recovery_shares),
            false => (self.pgp_keys, self.secret_shares),
        };
        if keys > 0 && i64::try_from(keys).ok() != Some(shares.unwrap_or(0)) {
            let text = "invalid seal configuration: count mismatch between number of provided PGP keys and number of shares";
            return Err(text.to_owned());
        }
        if self.pgp_keys + self.recovery_pgp_keys > 0 || self.root_token_pgp_key {
            let text = "PGP keys are not supported: leave pgp_keys, recovery_pgp_keys and root_token_pgp_key out, and encrypt each share yourself before you hand it on";
            return Err(text.to_owned());
        }
        Ok(())
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<i64>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(mistyped(value, &format!("InitRequest.{name}"), "int")),
        },
    }
}

fn list(object: &Map<String, Value>, name: &str) -> Result<usize, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Array(list)) => Ok(list.len()),
        Some(other) => Err(mistyped(other, &format!("InitRequest.{name}"), "[]string")),
    }
}

fn split(shares: Option<i64>, threshold: Option<i64>) -> Result<Split, String> {
    let (shares, threshold) = (shares.unwrap_or(0), threshold.unwrap_or(0));
    let text = match (shares, threshold) {
        (shares, _) if shares < 1 => "shares must be at least one",
        (_, threshold) if threshold < 1 => "threshold must be at least one",
        (shares, threshold) if threshold > shares => "threshold cannot be larger than shares",
        (shares, 1) if shares > 1 => "threshold must be greater than one for multiple shares",
        (shares, _) if shares > 255 => "shares must be less than 256",
        _ => "",
    };
    match (u8::try_from(shares), u8::try_from(threshold)) {
        (Ok(shares), Ok(threshold)) if text.is_empty() => Ok(Split { shares, threshold }),
        _ => Err(format!("invalid seal configuration: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let text = Wanted::read(body.as_bytes()).and_then(|wanted| {
            wanted.refuse_pgp(false)?;
            split(wanted.secret_shares, wanted.secret_threshold)
        });
        assert_eq!(text.err().as_deref(), Some(expect), "{body}");
    }

    /// Answers of OpenBao 2.7.2.
    #[test]
    fn numbers_that_cannot_be_are_refused() {
        check("", "invalid seal configuration: shares must be at least one");
        check("{}", "invalid seal configuration: shares must be at least one");
        check(
            r#"{"secret_shares":1,"secret_threshold":2}"#,
            "invalid seal configuration: threshold cannot be larger than shares",
        );
        check(
            r#"{"secret_shares":3,"secret_threshold":1}"#,
            "invalid seal configuration: threshold must be greater than one for multiple shares",
        );
        check(
            r#"{"secret_shares":300,"secret_threshold":3}"#,
            "invalid seal configuration: shares must be less than 256",
        );
        check(
            r#"{"secret_shares":3,"secret_threshold":2,"pgp_keys":["a"]}"#,
            "invalid seal configuration: count mismatch between number of provided PGP keys and number of shares",
        );
        check(
            r#"{"secret_shares":"3"}"#,
            "failed to decode JSON input: json: cannot unmarshal string into Go struct field InitRequest.secret_shares of type int",
        );
        check(
            "[]",
            "failed to decode JSON input: json: cannot unmarshal array into Go value of type http.InitRequest",
        );
    }

    #[test]
    fn right_numbers_are_taken() {
        assert_eq!(split(Some(5), Some(3)), Ok(Split { shares: 5, threshold: 3 }));
        assert_eq!(split(Some(1), Some(1)), Ok(Split { shares: 1, threshold: 1 }));
        assert_eq!(split(Some(255), Some(255)), Ok(Split { shares: 255, threshold: 255 }));
    }
}
