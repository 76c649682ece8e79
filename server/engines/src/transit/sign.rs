//! Signing.

use kit::loose::{Flag, Number, Text};
use kit::{Command, Error, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::input::{Batch, context, in_pool_if_many, number, word};
use super::key::{Key, find};
use super::refusal::Refusal;
use super::signing::{Manner, Signed, Words};
use super::text;

/// Signs an input, or a list of them, with a key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Sign<const AT: usize> {
    /// The key.
    name: String,
    /// The hash function, as `hash_algorithm`, which has this place from it.
    algorithm: Option<Text>,
    /// Items with an input and a context each, in place of one input.
    batch_input: Option<Batch<Item>>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// The hash function: `sha2-256` and its kin. Ed25519 and ML-DSA have their own.
    hash_algorithm: Option<Text>,
    /// What to sign, in base64.
    input: Option<Text>,
    /// The version to sign with; the latest if it is 0.
    key_version: Option<Number>,
    /// `asn1` for signatures as openssl writes them, `jws` for those of JSON Web Signatures.
    marshaling_algorithm: Option<Text>,
    /// Whether the input is a hash already. With ML-DSA it cannot be.
    prehashed: Option<Flag>,
    /// The length of the salt of RSA-PSS: `auto`, `hash`, or a number of bytes.
    salt_length: Option<Text>,
    /// For RSA: `pss` or `pkcs1v15`.
    signature_algorithm: Option<Text>,
    /// The hash function in the path, which comes first.
    urlalgorithm: Option<Text>,
}

/// One input of several.
#[derive(Deserialize)]
pub(super) struct Item {
    input: Option<Text>,
    context: Option<Text>,
    reference: Option<Text>,
}

/// A signature, or a list of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct Signatures {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_results: Option<Vec<SignedItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

/// One signature of several, or why there is none.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub(super) struct SignedItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    key_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    publickey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reference: String,
}

impl<const AT: usize> Command<Transit> for Sign<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("sign/{name}"),
        _ => Route::post("sign/{name}/{urlalgorithm}"),
    };
    type Reply = Signatures;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Signatures>> {
        let manner = Manner::read(&self.words())?;
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("signing key not found"))?;
        manner.fits(&key, "signing")?;
        if key.record.kind.is_rsa() {
            cx.costly()?;
        }
        let asked = number(self.key_version);
        let Some(batch) = self.batch_input else {
            let item =
                Item { input: Some(self.input.unwrap_or_default()), context: self.context, reference: None };
            return match item.sign(cx, &manner, &key, asked)? {
                Ok(signed) => Ok(Reply::Data(Signatures::one(signed))),
                // OpenBao answers 400 for what it cannot read, and 500 for what the key refuses.
                Err(Unsigned::Unread(refusal) | Unsigned::Refused(refusal @ Refusal::Uncounted(_))) => {
                    Err(refusal.into())
                }
                Err(Unsigned::Refused(refusal)) => Err(refusal.listed()),
            };
        };
        let items = batch.items()?;
        in_pool_if_many(cx, items.len())?;
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let outcome = item.sign(cx, &manner, &key, asked)?;
            results.push(item.shown(outcome));
        }
        Ok(Reply::Data(Signatures {
            batch_results: Some(results),
            key_version: None,
            public_key: None,
            signature: None,
        }))
    }
}

impl<const AT: usize> Sign<AT> {
    fn words(&self) -> Words<'_> {
        Words {
            urlalgorithm: self.urlalgorithm.as_ref(),
            hash_algorithm: self.hash_algorithm.as_ref(),
            algorithm: self.algorithm.as_ref(),
            marshaling_algorithm: self.marshaling_algorithm.as_ref(),
            prehashed: self.prehashed,
            salt_length: self.salt_length.as_ref(),
            signature_algorithm: self.signature_algorithm.as_ref(),
        }
    }
}

/// Why an item was not signed.
enum Unsigned {
    /// It could not be read.
    Unread(Refusal),
    /// The key does not sign it.
    Refused(Refusal),
}

impl Item {
    fn sign(
        &self,
        cx: &Writing<'_>,
        manner: &Manner,
        key: &Key,
        asked: i64,
    ) -> Result<Result<Signed, Unsigned>> {
        let read = input(self.input.as_ref())
            .and_then(|input| context(self.context.as_ref()).map(|context| (input, context)));
        let (input, context) = match read {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(Unsigned::Unread(refusal))),
        };
        Ok(manner.sign(cx, key, asked, &context, input)?.map_err(Unsigned::Refused))
    }

    fn shown(&self, outcome: Result<Signed, Unsigned>) -> SignedItem {
        let reference = word(self.reference.as_ref()).to_owned();
        match outcome {
            Ok(signed) => SignedItem {
                signature: Some(signed.signature),
                key_version: signed.version,
                publickey: signed.public.map(text::encode),
                error: None,
                reference,
            },
            Err(Unsigned::Unread(refusal) | Unsigned::Refused(refusal)) => SignedItem {
                signature: None,
                key_version: 0,
                publickey: None,
                error: Some(refusal.text().to_owned()),
                reference,
            },
        }
    }
}

impl Signatures {
    fn one(signed: Signed) -> Self {
        Self {
            batch_results: None,
            key_version: Some(signed.version),
            public_key: signed.public.map(text::encode),
            signature: Some(signed.signature),
        }
    }
}

/// The bytes of an input.
pub(super) fn input(value: Option<&Text>) -> Result<Vec<u8>, Refusal> {
    let value = value.ok_or_else(|| Refusal::asked("missing input"))?;
    text::decode(&value.0).map_err(|why| Refusal::asked(format!("unable to decode input as base64: {why}")))
}
