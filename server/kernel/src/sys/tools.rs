use aws_lc_rs::digest;
use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use kit::loose::{Number, Text};
use kit::{Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_224};

use super::Sys;

/// How many random bytes one request gives at most.
const RANDOM_BYTES_MAX: usize = 128 * 1024;
/// And how many if it does not say.
const RANDOM_BYTES: i64 = 32;

#[derive(JsonSchema, Serialize)]
pub(super) struct Sum {
    sum: String,
}

/// Hashes a value.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Hash {
    /// The value, in base64.
    #[serde(default)]
    input: String,
    /// `sha2-224`, `sha2-256`, `sha2-384`, `sha2-512`, `sha3-224`, `sha3-256`, `sha3-384`, `sha3-512`.
    algorithm: Option<String>,
    /// `hex` or `base64`.
    format: Option<String>,
}

impl Query<Sys> for Hash {
    const ROUTE: Route = Route::post("tools/hash");
    type Reply = Sum;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Sum>> {
        let format = self.format.as_deref().unwrap_or("hex");
        hash(&self.input, self.algorithm.as_deref().unwrap_or("sha2-256"), format)
    }
}

/// Hashes a value with an algorithm that the path names.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HashBy {
    /// The algorithm.
    urlalgorithm: String,
    /// The value, in base64.
    #[serde(default)]
    input: String,
    /// `hex` or `base64`.
    format: Option<String>,
    /// Of no account; the path says it.
    #[serde(rename = "algorithm")]
    _algorithm: Option<String>,
}

impl Query<Sys> for HashBy {
    const ROUTE: Route = Route::post("tools/hash/{urlalgorithm:any}");
    type Reply = Sum;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Sum>> {
        hash(&self.input, &self.urlalgorithm, self.format.as_deref().unwrap_or("hex"))
    }
}

fn hash(input: &str, algorithm: &str, format: &str) -> Result<Reply<Sum>> {
    let input = STANDARD.decode(input).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            _ => input.len(),
        };
        Error::invalid(format!("unable to decode input as base64: illegal base64 data at input byte {at}"))
    })?;
    if !matches!(format, "hex" | "base64") {
        return Err(Error::invalid(format!(
            "unsupported encoding format {format}; must be \"hex\" or \"base64\""
        )));
    }
    let algorithm = match algorithm {
        "sha2-256" => &digest::SHA256,
        "sha2-224" => &digest::SHA224,
        "sha2-384" => &digest::SHA384,
        "sha2-512" => &digest::SHA512,
        "sha3-224" => {
            let sum = Sha3_224::digest(&input);
            return Ok(Sum { sum: written(&sum, format == "base64") }.into());
        }
        "sha3-256" => &digest::SHA3_256,
        "sha3-384" => &digest::SHA3_384,
        "sha3-512" => &digest::SHA3_512,
        other => return Err(Error::invalid(format!("unsupported algorithm {other}"))),
    };
    Ok(Sum { sum: written(digest::digest(algorithm, &input).as_ref(), format == "base64") }.into())
}

fn written(bytes: &[u8], base64: bool) -> String {
    if base64 { STANDARD.encode(bytes) } else { hex::encode(bytes) }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Bytes {
    random_bytes: String,
}

/// Gives random bytes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Random {
    /// How many.
    bytes: Option<Number>,
    /// `base64` or `hex`.
    #[serde(default)]
    format: String,
    /// Of no account here: there is one source.
    #[serde(rename = "source")]
    _source: Option<String>,
}

impl Query<Sys> for Random {
    const ROUTE: Route = Route::post("tools/random");
    type Reply = Bytes;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Bytes>> {
        random(engine, cx, "", self.bytes.map_or(RANDOM_BYTES, |Number(bytes)| bytes), &self.format)
    }
}

/// Gives random bytes, as many as the path says, or from the source that it names.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RandomBy {
    /// How many, or `platform`, `seal` or `all`.
    urlbytes: String,
    /// How many, if the path names a source.
    bytes: Option<Number>,
    /// `base64` or `hex`.
    #[serde(default)]
    format: String,
}

impl Query<Sys> for RandomBy {
    const ROUTE: Route = Route::post("tools/random/{urlbytes:any}");
    type Reply = Bytes;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Bytes>> {
        if matches!(self.urlbytes.as_str(), "platform" | "seal" | "all") {
            let bytes = self.bytes.map_or(RANDOM_BYTES, |Number(bytes)| bytes);
            return random(engine, cx, &self.urlbytes, bytes, &self.format);
        }
        random(engine, cx, "", count(&self.urlbytes)?, &self.format)
    }
}

/// Gives random bytes from a source that the path names.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RandomFrom {
    /// `platform`, `seal` or `all`. There is one source, so the three are the same.
    source: String,
    /// How many.
    urlbytes: Text,
    /// `base64` or `hex`.
    #[serde(default)]
    format: String,
}

impl Query<Sys> for RandomFrom {
    const ROUTE: Route = Route::post("tools/random/{source:any}/{urlbytes:any}");
    type Reply = Bytes;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Bytes>> {
        random(engine, cx, &self.source, count(&self.urlbytes.0)?, &self.format)
    }
}

fn count(text: &str) -> Result<i64> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
        ))
    })
}

fn random(engine: &Sys, cx: &Reading<'_>, source: &str, bytes: i64, format: &str) -> Result<Reply<Bytes>> {
    let Ok(bytes @ 1..) = usize::try_from(bytes) else {
        return Err(Error::invalid("'bytes' cannot be less than 1"));
    };
    if bytes > RANDOM_BYTES_MAX {
        return Err(Error::invalid(format!("'bytes' should be less than {RANDOM_BYTES_MAX}")));
    }
    if !matches!(format, "" | "hex" | "base64") {
        return Err(Error::invalid(format!(
            "unsupported encoding format {format:?}; must be \"hex\" or \"base64\""
        )));
    }
    match source {
        "" | "platform" | "all" => {}
        "seal" => cx.warn("no seal/entropy augmentation available, using platform entropy source"),
        other => {
            let text =
                format!("unsupported entropy source {other:?}; must be \"platform\" or \"seal\", or \"all\"");
            return Err(Error::invalid(text));
        }
    }
    let mut made = vec![0; bytes];
    engine.kernel()?.env.random.fill(&mut made);
    Ok(Bytes { random_bytes: written(&made, format != "hex") }.into())
}
