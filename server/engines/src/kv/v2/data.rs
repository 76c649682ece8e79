use std::collections::BTreeMap;

use kit::loose::{Given, Number};
use kit::{
    Captures, Command, Error, Exists, Name, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::json::{self, Node, object};
use super::super::record::{PAST, Record, SECRETS, Secret, data_of};
use super::super::secret;
use super::config::{self, Config};
use super::ledger::{Ledger, Shown};
use super::{V2, at, forget, target};

/// Reads a secret: its current version, or an older one.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Where the secret lies.
    path: String,
    /// Which version; 0: the current one.
    version: Option<Number>,
}

/// A version of a secret.
#[derive(JsonSchema, Serialize)]
pub(super) struct Data {
    /// The secret; null if this version was deleted.
    data: Option<BTreeMap<String, Node>>,
    /// What is known of this version.
    metadata: Shown,
}

impl Query<V2> for Read {
    const ROUTE: Route = Route::get("data/{path*}");
    type Reply = Data;

    fn run(self, _: &V2, cx: &Reading<'_>) -> Result<Reply<Data>> {
        let path = at(&self.path)?;
        let wanted = version(self.version);
        let bytes = cx.get(SECRETS, Name::Path(path))?.ok_or_else(Error::not_found)?;
        let (ledger, current) = match Record::parse(&bytes)? {
            Record::Versioned(found) if wanted == 0 || wanted == found.version => {
                if found.version == 0 {
                    return Err(Error::not_found());
                }
                if !found.is_gone(cx.now()) && !found.is_apart() {
                    return Ok(Reply::Written(envelope(found.data, found.shown)));
                }
                (found.ledger()?, found.data)
            }
            Record::Versioned(found) => (found.ledger()?, found.data),
            Record::Plain(plain) => (Ledger::of_unversioned(plain.written), plain.data),
        };
        let number = if wanted == 0 { ledger.current } else { wanted };
        let version = ledger.versions.get(&number).ok_or_else(Error::not_found)?;
        let metadata = ledger.shown(number);
        if version.is_gone(cx.now()) {
            return Ok(Reply::Gone(Data { data: None, metadata }));
        }
        let shown = json::escape(serde_json::to_string(&metadata)?);
        if number == ledger.current && !current.is_empty() {
            return Ok(Reply::Written(envelope(current, shown.as_bytes())));
        }
        Ok(Reply::Written(envelope(&data_of(cx, path, number)?, shown.as_bytes())))
    }
}

/// Two pieces of JSON that lie ready, put together.
fn envelope(data: &[u8], metadata: &[u8]) -> Vec<u8> {
    [b"{\"data\":", data, b",\"metadata\":", metadata, b"}"].concat()
}

/// A version as it is asked for. Below 1: the current one.
pub(super) fn version(asked: Option<Number>) -> u64 {
    asked.and_then(|number| u64::try_from(number.0).ok()).unwrap_or(0)
}

/// Writes a new version of a secret.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Where the secret lies.
    path: String,
    /// The secret: an object.
    #[serde(default, rename = "data?")]
    #[schemars(rename = "data")]
    data: Given<Node>,
    /// `cas`: the version that this write supersedes; 0 if there must be none. The write is refused if there
    /// is another.
    #[serde(default)]
    options: Option<Node>,
    /// Of no account here; clients send it.
    #[serde(default, rename = "version")]
    _version: Option<Number>,
}

impl Command<V2> for Write {
    const ROUTE: Route = Route::post("data/{path*}");
    const EXISTS: Option<Exists<V2>> = Some(|_, path, cx| exists(path, cx));
    type Reply = Shown;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let path = target(&self.path)?;
        let data = match self.data {
            Given::Absent => return Err(Error::invalid("no data provided")),
            Given::Null => b"null".to_vec(),
            Given::Value(value) => json::object_bytes(&object("data", value)?)?,
        };
        let options = self.options.map(|options| object("options", options)).transpose()?;
        let config = config::current(cx)?;
        let found = Secret::load(cx, path)?;
        let secret = found.unwrap_or_else(|| Secret::new(Ledger::new(cx.now())));
        check_cas(options.as_ref(), &config, &secret.ledger)?;
        supersede(cx, path, secret, &config, data).map(Reply::Data)
    }
}

/// Whether there is a secret, for the choice between `create` and `update`: by the path alone.
pub(super) fn exists(path: &Captures<'_>, cx: &Reading<'_>) -> Result<Option<bool>> {
    let path = secret(path.get("path"));
    path.map_or(Ok(Some(false)), |path| Ok(Some(cx.get(SECRETS, Name::Path(path))?.is_some())))
}

/// Makes `data` the current version; the one before moves to the past.
fn supersede(
    cx: &mut Writing<'_>,
    path: &str,
    mut secret: Secret,
    config: &Config,
    data: Vec<u8>,
) -> Result<Shown> {
    let before = secret.ledger.current;
    let pruned = secret.ledger.enter(config, cx.now());
    let superseded = std::mem::replace(&mut secret.data, data);
    let apart = secret.apart == Some(before);
    if !superseded.is_empty() && !apart && secret.ledger.versions.contains_key(&before) {
        cx.put(PAST, Name::PathThen(path, &before.to_be_bytes()), superseded)?;
    }
    for version in pruned.into_iter().filter(|version| *version != before || apart) {
        forget(cx, path, version)?;
    }
    secret.store(cx, path)?;
    Ok(secret.ledger.shown(secret.ledger.current))
}

fn check_cas(options: Option<&BTreeMap<String, Node>>, config: &Config, ledger: &Ledger) -> Result<()> {
    let Some(cas) = options.and_then(|options| options.get("cas")) else {
        if config.cas_required || ledger.settings.cas_required {
            return Err(Error::invalid("check-and-set parameter required for this call"));
        }
        return Ok(());
    };
    let cas = match cas {
        Node::Leaf(text) => match &**text {
            "null" | "false" | "\"\"" => Some(0),
            "true" => Some(1),
            text if text.starts_with('"') => serde_json::from_str(text).ok().map(|number: Number| number.0),
            text => text.parse().ok(),
        },
        Node::List(_) | Node::Object(_) => None,
    };
    match cas {
        None => Err(Error::invalid("error parsing check-and-set parameter")),
        Some(cas) if u64::try_from(cas) == Ok(ledger.current) => Ok(()),
        Some(_) => Err(Error::invalid("check-and-set parameter did not match the current version")),
    }
}

/// Writes a new version of a secret that differs from the current one as a merge patch says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Patch {
    /// Where the secret lies.
    path: String,
    /// What changes: an object. A null takes a field out.
    #[serde(default, rename = "data?")]
    #[schemars(rename = "data")]
    data: Given<Node>,
    /// `cas`: the version that this patch is for. The patch is refused if there is another.
    #[serde(default)]
    options: Option<Node>,
    /// Of no account here; clients send it.
    #[serde(default, rename = "version")]
    _version: Option<Number>,
}

impl Command<V2> for Patch {
    const ROUTE: Route = Route::patch("data/{path*}");
    type Reply = Shown;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let path = target(&self.path)?;
        let patch = match self.data {
            Given::Absent => return Err(Error::invalid("no data provided")),
            Given::Null => None,
            Given::Value(value) => Some(object("data", value)?),
        };
        let options = self.options.map(|options| object("options", options)).transpose()?;
        let config = config::current(cx)?;
        let Some(secret) = Secret::load(cx, path)? else { return Ok(Reply::Empty) };
        let current = secret.ledger.current;
        let Some(version) = secret.ledger.versions.get(&current) else { return Ok(Reply::Empty) };
        check_cas(options.as_ref(), &config, &secret.ledger)?;
        if version.is_gone(cx.now()) {
            return Ok(Reply::Gone(secret.ledger.shown(current)));
        }
        let data = match patch {
            None => b"null".to_vec(),
            Some(patch) => {
                let mut data = object("data", serde_json::from_slice(&secret.data)?)?;
                json::merge(&mut data, patch);
                json::object_bytes(&data)?
            }
        };
        supersede(cx, path, secret, &config, data).map(Reply::Data)
    }
}

/// Deletes the current version. It can be brought back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Where the secret lies.
    path: String,
    /// Of no account: the current version is deleted.
    #[serde(rename = "version")]
    _version: Option<Number>,
}

impl Command<V2> for Delete {
    const ROUTE: Route = Route::delete("data/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let path = at(&self.path)?;
        let now = cx.now();
        let Some(mut secret) = Secret::load(cx, path)? else { return Ok(Reply::Nothing) };
        let current = secret.ledger.current;
        if let Some(version) =
            secret.ledger.versions.get_mut(&current).filter(|version| !version.is_gone(now))
        {
            version.deleted = now;
            secret.store(cx, path)?;
        }
        Ok(Reply::Nothing)
    }
}
