use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::{Answer, PgpKey};
use serde::Serialize;
use serde_json::{Map, Value};
use storage::Random;
use storage::seal::shamir::Share;
use storage::seal::{Initialised, SealChoice, Split, UnsealKey};
use zeroize::Zeroizing;

use super::unseal::{mistyped, object};
use super::{Client, State, Stuck, refused};

/// What a new store hands out, once.
pub(crate) struct Shares {
    /// Shares of the unseal key.
    pub(crate) keys: Vec<Share>,
    /// Shares of the recovery key.
    pub(crate) recovery: Vec<Share>,
    /// The first token.
    pub(crate) root_token: Zeroizing<String>,
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
        let mut store = self.store();
        let (shares, key) = self.init(&mut store, &choice, root_token, Ok, Client::default())?;
        self.open(&mut store, &key)?;
        Ok(shares)
    }

    /// `POST sys/init`
    pub(super) fn init_request(&self, body: &[u8], client: Client) -> Answer {
        let wanted = match Wanted::read(body) {
            Ok(wanted) => wanted,
            Err(text) => return refused(400, &text),
        };
        let choice = match self.choice(&wanted) {
            Ok(choice) => choice,
            Err(text) => return refused(400, &text),
        };
        let owners = match self.owners(&wanted) {
            Ok(owners) => owners,
            Err(text) => return refused(400, &text),
        };
        let mut store = self.store();
        let own_keys = self.facts.keys.is_some();
        let tell = |shares: Shares| told(&shares, &owners, own_keys, &*self.random).map_err(Stuck::Kernel);
        let (answer, key) = match self.init(&mut store, &choice, None, tell, client) {
            Ok(made) => made,
            Err(stuck @ Stuck::Initialised) => return refused(400, &stuck.to_string()),
            Err(stuck) => {
                tracing::error!(error = %stuck, "initialising failed");
                return refused(500, &format!("initialising failed: {stuck}"));
            }
        };
        // Whatever comes now, the keys must reach whoever asked.
        if own_keys && let Err(stuck) = self.open(&mut store, &key) {
            tracing::error!(error = %stuck, "what was initialised does not open");
        }
        answer
    }

    fn choice(&self, wanted: &Wanted) -> Result<SealChoice, String> {
        if !matches!(&**self.phase(), super::Phase::Blank) {
            return Err(Stuck::Initialised.to_string());
        }
        wanted.count_pgp(self.facts.keys.is_some())?;
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

    /// Whom shares and the first token are encrypted to. Tried before anything is made: shares that could not be
    /// encrypted afterwards would be lost.
    fn owners(&self, wanted: &Wanted) -> Result<Owners, String> {
        let read = |key: &String| {
            let key = PgpKey::parse(key, crate::world::now())?;
            key.encrypt(b"a share", &*self.random).map_err(|error| error.to_string())?;
            Ok(key)
        };
        let all = |keys: &[String]| keys.iter().map(read).collect::<Result<Vec<_>, String>>();
        let wrong = |why: String| format!("invalid seal configuration: {why}");
        Ok(Owners {
            keys: all(&wanted.pgp_keys).map_err(wrong)?,
            recovery: all(&wanted.recovery_pgp_keys).map_err(wrong)?,
            root_token: wanted.root_token_pgp_key.as_ref().map(read).transpose().map_err(wrong)?,
        })
    }

    /// Makes the store with all that the kernel puts into it, and leaves it sealed. If anything fails, what `tell` makes of
    /// the shares included, or if nobody waits for them any more, nothing is stored.
    fn init<T>(
        &self,
        store: &mut Option<storage::Phase>,
        choice: &SealChoice,
        root_token: Option<String>,
        tell: impl FnOnce(Shares) -> Result<T, Stuck>,
        client: Client,
    ) -> Result<(T, UnsealKey), Stuck> {
        let blank = match store.take() {
            Some(storage::Phase::Blank(blank)) => blank,
            other => {
                *store = other;
                return Err(Stuck::Initialised);
            }
        };
        let drafted = self.draft(&blank, choice, root_token);
        let drafted = drafted.and_then(|(draft, shares, key)| match (tell(shares)?, client.has_gone()) {
            (_, true) => Err(Stuck::Gone),
            (told, false) => Ok((draft, told, key)),
        });
        let (draft, told, key) = match drafted {
            Ok(drafted) => drafted,
            Err(stuck) => {
                *store = Some(storage::Phase::Blank(blank));
                return Err(stuck);
            }
        };
        let sealed = blank.keep(&draft).map_err(|still| {
            *store = Some(storage::Phase::Blank(still.blank));
            still.why
        })?;
        self.swap(super::Phase::Sealed(sealed.seal_config().clone()));
        *store = Some(storage::Phase::Sealed(sealed));
        tracing::info!("initialised");
        Ok((told, key))
    }

    /// The new store in memory, with its first token in it.
    fn draft(
        &self,
        blank: &storage::Blank,
        choice: &SealChoice,
        root_token: Option<String>,
    ) -> Result<(storage::Sealed, Shares, UnsealKey), Stuck> {
        let (draft, Initialised { shares, recovery, key }) = blank.draft(choice, &*self.random)?;
        let open = draft.unseal(&key, Arc::clone(&self.random)).map_err(|still| still.why)?;
        let kernel = (self.begin)(open).map_err(Stuck::Kernel)?;
        let root_token = Zeroizing::new(kernel.root_token(root_token).map_err(Stuck::Kernel)?);
        let draft = kernel.shut();
        Ok((draft, Shares { keys: shares, recovery, root_token }, key))
    }
}

/// Whom shares and the first token are encrypted to.
struct Owners {
    keys: Vec<PgpKey>,
    recovery: Vec<PgpKey>,
    root_token: Option<PgpKey>,
}

/// The answer, as clients read it.
#[derive(Serialize)]
struct Told<'a> {
    keys: Vec<&'a str>,
    keys_base64: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_keys: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_keys_base64: Option<Vec<&'a str>>,
    root_token: &'a str,
}

fn told(shares: &Shares, owners: &Owners, own_keys: bool, random: &dyn Random) -> kit::Result<Answer> {
    let (keys, keys_base64) = spelled(&sealed(&shares.keys, &owners.keys, random)?);
    let (recovery, recovery_base64) = spelled(&sealed(&shares.recovery, &owners.recovery, random)?);
    let token = match &owners.root_token {
        None => shares.root_token.clone(),
        Some(owner) => {
            let sealed = owner.encrypt(shares.root_token.as_bytes(), random)?;
            Zeroizing::new(STANDARD.encode(sealed))
        }
    };
    let texts = [&keys, &keys_base64, &recovery, &recovery_base64];
    let size: usize = texts.into_iter().flatten().map(|text| text.len() + 3).sum();
    // What grew would leave a copy behind.
    let mut body = Vec::with_capacity(size + token.len() + NAMES_SIZE);
    let told = Told {
        keys: shown(&keys),
        keys_base64: shown(&keys_base64),
        recovery_keys: own_keys.then(|| shown(&recovery)),
        recovery_keys_base64: own_keys.then(|| shown(&recovery_base64)),
        root_token: &token,
    };
    serde_json::to_writer(&mut body, &told).map_err(|error| kit::Error::internal(error.to_string()))?;
    body.push(b'\n');
    Ok(Answer::json(200, body))
}

/// More than the names of the fields take.
const NAMES_SIZE: usize = 256;

type Texts = Vec<Zeroizing<String>>;

/// In hex and in base64.
fn spelled(keys: &[Zeroizing<Vec<u8>>]) -> (Texts, Texts) {
    let spelled = |key: &Zeroizing<Vec<u8>>| {
        (Zeroizing::new(hex::encode(&**key)), Zeroizing::new(STANDARD.encode(&**key)))
    };
    keys.iter().map(spelled).unzip()
}

fn shown(texts: &[Zeroizing<String>]) -> Vec<&str> {
    texts.iter().map(|text| text.as_str()).collect()
}

/// Shares as they are handed out: each encrypted to its owner, in hex as people would read it; or as they are.
fn sealed(shares: &[Share], owners: &[PgpKey], random: &dyn Random) -> kit::Result<Vec<Zeroizing<Vec<u8>>>> {
    let seal = |(at, share): (usize, &Share)| match owners.get(at) {
        None => Ok(Zeroizing::new(share.as_bytes().to_vec())),
        Some(owner) => {
            let text = Zeroizing::new(hex::encode(share.as_bytes()));
            owner.encrypt(text.as_bytes(), random).map(Zeroizing::new)
        }
    };
    shares.iter().enumerate().map(seal).collect()
}

/// The body of `sys/init`.
#[derive(Default)]
struct Wanted {
    secret_shares: Option<i64>,
    secret_threshold: Option<i64>,
    recovery_shares: Option<i64>,
    recovery_threshold: Option<i64>,
    pgp_keys: Vec<String>,
    recovery_pgp_keys: Vec<String>,
    root_token_pgp_key: Option<String>,
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
                None | Some(Value::Null) => None,
                Some(Value::String(key)) => Some(key.clone()).filter(|key| !key.is_empty()),
                Some(other) => return Err(mistyped(other, "InitRequest.root_token_pgp_key", "string")),
            },
        })
    }

    /// Keys must not be passed over: the operator would get the shares in clear.
    fn count_pgp(&self, own_keys: bool) -> Result<(), String> {
        let (keys, shares, others) = match own_keys {
            true => (&self.recovery_pgp_keys, self.recovery_shares, &self.pgp_keys),
            false => (&self.pgp_keys, self.secret_shares, &self.recovery_pgp_keys),
        };
        if !keys.is_empty() && i64::try_from(keys.len()).ok() != Some(shares.unwrap_or(0)) {
            let text = "invalid seal configuration: count mismatch between number of provided PGP keys and number of shares";
            return Err(text.to_owned());
        }
        if !others.is_empty() {
            let text = "invalid seal configuration: PGP keys were given for shares that this seal does not have: pgp_keys belong to a Shamir seal, recovery_pgp_keys to any other";
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

fn list(object: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            let text = |value: &Value| match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(mistyped(value, &format!("InitRequest.{name}"), "string")),
            };
            list.iter().map(text).collect()
        }
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
            wanted.count_pgp(false)?;
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
