//! HMACs: making and checking them.

use kit::loose::{Number, Text};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;
use super::hash::{self, Hash};
use super::input::{Batch, number, word};
use super::key::{Key, find};
use super::refusal::Refusal;
use super::sign::input;
use super::text;

/// Authenticates an input, or a list of them, with a key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Hmac<const AT: usize> {
    /// The key.
    name: String,
    /// The hash function: `sha2-256` and its kin.
    algorithm: Option<Text>,
    /// Items with an input each, in place of one input.
    batch_input: Option<Batch<Item>>,
    /// What to authenticate, in base64.
    input: Option<Text>,
    /// The version to use; the latest if it is 0.
    key_version: Option<Number>,
    /// The hash function in the path, which comes first.
    urlalgorithm: Option<Text>,
}

/// One input of several.
#[derive(Deserialize)]
pub(super) struct Item {
    input: Option<Text>,
    reference: Option<Text>,
}

/// An HMAC, or a list of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct Hmacs {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_results: Option<Vec<MadeItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac: Option<String>,
}

/// One HMAC of several, or why there is none.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub(super) struct MadeItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reference: String,
}

impl<const AT: usize> Query<Transit> for Hmac<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("hmac/{name}"),
        _ => Route::post("hmac/{name}/{urlalgorithm}"),
    };
    type Reply = Hmacs;

    fn run(self, _: &Transit, cx: &Reading<'_>) -> Result<Reply<Hmacs>> {
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("encryption key not found"))?;
        let asked = number(self.key_version);
        let version = if asked == 0 { i64::try_from(key.record.latest).unwrap_or(i64::MAX) } else { asked };
        let minimum = i64::try_from(key.record.min_encryption).unwrap_or(i64::MAX);
        if minimum > 0 && version < minimum {
            return Err(Error::invalid("cannot generate HMAC: version is too old (disallowed by policy)"));
        }
        let secret = secret(cx, &key, version)??;
        let hash = hash(self.urlalgorithm.as_ref(), self.algorithm.as_ref())?;
        let make =
            |bytes: Vec<u8>| text::write(u64::try_from(version).unwrap_or(0), &hash.hmac(&secret, &bytes));
        let Some(batch) = self.batch_input else {
            let given = self.input.ok_or_else(|| Error::invalid("missing input for HMAC"))?;
            return Ok(Reply::Data(Hmacs { batch_results: None, hmac: Some(make(input(Some(&given))?)) }));
        };
        let shown = batch.items()?.into_iter().map(|item| {
            let bytes = match &item.input {
                None => Err(Refusal::asked("missing input for HMAC")),
                given => input(given.as_ref()),
            };
            let reference = word(item.reference.as_ref()).to_owned();
            match bytes.map(make) {
                Ok(hmac) => MadeItem { hmac: Some(hmac), error: None, reference },
                Err(refusal) => MadeItem { hmac: None, error: Some(refusal.text().to_owned()), reference },
            }
        });
        Ok(Reply::Data(Hmacs { batch_results: Some(shown.collect()), hmac: None }))
    }
}

/// One HMAC to be checked.
pub(super) struct HmacItem<'a> {
    pub(super) input: Option<&'a Text>,
    pub(super) hmac: Option<&'a Text>,
}

impl HmacItem<'_> {
    /// Whether the version that it names made it.
    pub(super) fn verify(&self, cx: &impl Reads, key: &Key, hash: Hash) -> Result<Result<bool, Refusal>> {
        let read = input(self.input).and_then(|input| Ok((input, self.parts()?)));
        let (input, (version, claimed)) = match read {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if u64::try_from(version).is_ok_and(|version| version > key.record.latest) {
            return Ok(Err(Refusal::asked("invalid HMAC: version is too new")));
        }
        if u64::try_from(version).unwrap_or(0) < key.record.min_decryption {
            let text = "cannot verify HMAC: version is too old (disallowed by policy)";
            return Ok(Err(Refusal::asked(text)));
        }
        let secret = secret(cx, key, version)?;
        Ok(secret.map(|secret| {
            let made = hash.hmac(&secret, &input);
            aws_lc_rs::constant_time::verify_slices_are_equal(&made, &claimed).is_ok()
        }))
    }

    fn parts(&self) -> Result<(i64, Vec<u8>), Refusal> {
        let parts = text::parts(word(self.hmac)).map_err(|why| match why {
            "no prefix" => Refusal::asked("invalid HMAC to verify: no prefix"),
            why => Refusal::asked(format!("invalid HMAC: {why}")),
        })?;
        let claimed = text::decode(parts.body);
        let claimed = claimed
            .map_err(|why| Refusal::asked(format!("unable to decode verification HMAC as base64: {why}")))?;
        Ok((parts.version, claimed))
    }
}

/// The key for HMACs of a version.
fn secret(cx: &impl Reads, key: &Key, version: i64) -> Result<Result<Zeroizing<Vec<u8>>, Refusal>> {
    let refused = |text: String| Ok(Err(Refusal::Asked(text)));
    if let Err(refusal) = key.record.usable() {
        return Ok(Err(refusal));
    }
    let Ok(number) = u64::try_from(version) else {
        return refused("key version does not exist (cannot be negative)".to_owned());
    };
    let latest = key.record.latest;
    if number > latest {
        return refused(format!("key version does not exist; latest key version is {latest}"));
    }
    let Some(version) = key.version(cx, number)? else { return refused("no such key version".to_owned()) };
    match &version.record.hmac {
        Some(hmac) => Ok(Ok(hmac.0.clone())),
        None => refused("no HMAC key exists for that key version".to_owned()),
    }
}

/// The hash function of an HMAC.
pub(super) fn hash(urlalgorithm: Option<&Text>, algorithm: Option<&Text>) -> Result<Hash> {
    let names = [word(urlalgorithm), algorithm.map_or(hash::DEFAULT, |text| text.0.as_str())];
    match names.into_iter().find(|name| !name.is_empty()).unwrap_or("") {
        "none" => Err(Error::invalid("algorithm cannot be none")),
        name => Hash::named(name).ok_or_else(|| {
            Error::invalid(format!(
                "unsupported algorithm {name:?}: it is one of sha2-256, sha2-512, sha3-256 and their kin"
            ))
        }),
    }
}
