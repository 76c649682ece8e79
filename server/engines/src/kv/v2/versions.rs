use kit::loose::{Number, Texts};
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::super::record::Secret;
use super::ledger::{Ledger, Written};
use super::{V2, at, config, forget};

/// Numbers of versions: `[1,2]`, `"1,2"`, `1`. Those that cannot be are left out.
struct Versions(Vec<u64>);

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parse = |text: &String| {
            text.parse::<i64>().map_err(|_| D::Error::custom("expected a list of whole numbers"))
        };
        let numbers = Texts::deserialize(from)?.0.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(numbers.into_iter().map(|number| u64::try_from(number).unwrap_or(0)).collect()))
    }
}

impl JsonSchema for Versions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Versions".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = Number::json_schema(generator);
        json_schema!({ "type": "array", "items": number })
    }
}

fn some(versions: Option<Versions>, otherwise: &str) -> Result<Vec<u64>> {
    let versions = versions.map(|versions| versions.0).filter(|versions| !versions.is_empty());
    versions.ok_or_else(|| Error::invalid(otherwise))
}

/// Deletes versions. They can be brought back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Where the secret lies.
    path: String,
    /// Which versions.
    #[serde(default)]
    versions: Option<Versions>,
}

impl Command<V2> for Delete {
    const ROUTE: Route = Route::post("delete/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let versions = some(self.versions, "No version number provided")?;
        let now = cx.now();
        change(cx, &self.path, &versions, |_, version| {
            if !version.is_gone(now) {
                version.deleted = now;
            }
        })
    }
}

/// Brings deleted versions back.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Undelete {
    /// Where the secret lies.
    path: String,
    /// Which versions.
    #[serde(default)]
    versions: Option<Versions>,
}

impl Command<V2> for Undelete {
    const ROUTE: Route = Route::post("undelete/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let versions = some(self.versions, "No version number provided")?;
        let (config, now) = (config::current(cx)?, cx.now());
        change(cx, &self.path, &versions, |ledger, version| {
            if !version.destroyed {
                version.deleted = ledger.deletion(&config, now);
            }
        })
    }
}

/// Destroys the data of versions, for ever.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Destroy {
    /// Where the secret lies.
    path: String,
    /// Which versions.
    #[serde(default)]
    versions: Option<Versions>,
}

impl Command<V2> for Destroy {
    const ROUTE: Route = Route::post("destroy/{path*}");
    type Reply = Nothing;

    fn run(self, _: &V2, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let versions = some(self.versions, "no version number provided")?;
        change(cx, &self.path, &versions, |_, version| version.destroyed = true)
    }
}

/// Changes versions as `how` says, and lets go of the data of those that it destroys.
fn change(
    cx: &mut Writing<'_>,
    path: &str,
    versions: &[u64],
    how: impl Fn(&Ledger, &mut Written),
) -> Result<Reply<Nothing>> {
    let path = at(path)?;
    let Some(mut secret) = Secret::load(cx, path)? else { return Ok(Reply::Nothing) };
    for number in versions {
        let Some(mut version) = secret.ledger.versions.get(number).copied() else { continue };
        how(&secret.ledger, &mut version);
        secret.ledger.versions.insert(*number, version);
        match version.destroyed {
            true if *number == secret.ledger.current => secret.data.clear(),
            true => forget(cx, path, *number)?,
            false => {}
        }
    }
    secret.store(cx, path)?;
    Ok(Reply::Nothing)
}
