//! What wants no key: hashes and random bytes.

use kit::loose::{Number, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;
use super::hash::{self, Hash};
use super::input::word;
use super::text;

/// Hashes an input.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HashInput<const AT: usize> {
    /// The hash function: `sha2-224` to `sha2-512`, `sha3-224` to `sha3-512`.
    algorithm: Option<Text>,
    /// `hex` or `base64`.
    format: Option<Text>,
    /// What to hash, in base64.
    input: Option<Text>,
    /// The hash function in the path, which comes first.
    urlalgorithm: Option<Text>,
}

/// A hash.
#[derive(JsonSchema, Serialize)]
pub(super) struct Sum {
    sum: String,
}

impl<const AT: usize> Query<Transit> for HashInput<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("hash"),
        _ => Route::post("hash/{urlalgorithm}"),
    };
    type Reply = Sum;

    fn run(self, _: &Transit, _: &Reading<'_>) -> Result<Reply<Sum>> {
        let input = self.input.ok_or_else(|| Error::invalid("input missing"))?;
        let input = text::decode(&input.0)
            .map_err(|why| Error::invalid(format!("unable to decode input as base64: {why}")))?;
        let format = self.format.as_ref().map_or("hex", |text| text.0.as_str());
        if !matches!(format, "hex" | "base64") {
            return Err(Error::invalid(format!(
                "unsupported encoding format {format}; must be \"hex\" or \"base64\""
            )));
        }
        let names =
            [word(self.urlalgorithm.as_ref()), self.algorithm.as_ref().map_or(hash::DEFAULT, |text| &text.0)];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("");
        let hash = Hash::named(name).filter(|hash| *hash != Hash::Sha1);
        let hash = hash.ok_or_else(|| Error::invalid(format!("unsupported algorithm {name}")))?;
        let sum = hash.digest(&input);
        let sum = if format == "hex" { hex::encode(sum) } else { text::encode(sum) };
        Ok(Reply::Data(Sum { sum }))
    }
}

/// How many random bytes one request gives, unless it says otherwise.
const RANDOM_BYTES: i64 = 32;
/// How many random bytes one request gives at most.
const RANDOM_BYTES_MAX: usize = 128 * 1024;

/// Gives random bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RandomBytes<const AT: usize> {
    /// How many.
    bytes: Option<Number>,
    /// `base64` or `hex`.
    format: Option<Text>,
    /// `platform`, `seal` or `all`. There is one source, so the three are the same.
    source: Option<Text>,
    /// How many, in the path; or the source.
    urlbytes: Option<Text>,
}

/// Random bytes.
#[derive(JsonSchema, Serialize)]
pub(super) struct Bytes {
    random_bytes: String,
}

impl<const AT: usize> Command<Transit> for RandomBytes<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("random"),
        1 => Route::post("random/{urlbytes:any}"),
        _ => Route::post("random/{source:any}/{urlbytes:any}"),
    };
    type Reply = Bytes;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Bytes>> {
        let count = self.bytes.map_or(RANDOM_BYTES, |number| number.0);
        let (source, count) = match (AT, word(self.urlbytes.as_ref())) {
            (1, source @ ("platform" | "seal" | "all")) => (source, count),
            (_, "") => (word(self.source.as_ref()), count),
            (_, text) => (word(self.source.as_ref()), parse(text)?),
        };
        let Ok(count @ 1..) = usize::try_from(count) else {
            return Err(Error::invalid("'bytes' cannot be less than 1"));
        };
        if count > RANDOM_BYTES_MAX {
            return Err(Error::invalid(format!("'bytes' should be less than {RANDOM_BYTES_MAX}")));
        }
        let format = self.format.as_ref().map_or("base64", |text| text.0.as_str());
        if !matches!(format, "hex" | "base64") {
            return Err(Error::invalid(format!(
                "unsupported encoding format {format:?}; must be \"hex\" or \"base64\""
            )));
        }
        match source {
            "" | "platform" | "all" => {}
            "seal" => cx.warn("no seal/entropy augmentation available, using platform entropy source"),
            other => {
                return Err(Error::invalid(format!(
                    "unsupported entropy source {other:?}; must be \"platform\" or \"seal\", or \"all\""
                )));
            }
        }
        let mut made = Zeroizing::new(vec![0; count]);
        cx.randomness().fill(&mut made);
        let random_bytes = if format == "hex" { hex::encode(&*made) } else { text::encode(&*made) };
        Ok(Reply::Data(Bytes { random_bytes }))
    }
}

fn parse(text: &str) -> Result<i64> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
        ))
    })
}
