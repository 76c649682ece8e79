//! Decrypting.

use kit::loose::{Number, Text};
use kit::{Command, Error, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::cipher::{self, Beside};
use super::input::{Batch, Outcomes, in_pool_if_many, word};
use super::key::{Key, find};
use super::refusal::Refusal;
use super::text;

/// Decrypts a ciphertext, or a list of them, with a key.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Decrypt {
    /// The key.
    name: String,
    /// What was authenticated along with the plaintext, in base64.
    associated_data: Option<Text>,
    /// Items with the same parameters, in place of one ciphertext.
    batch_input: Option<Batch<Item>>,
    /// What to decrypt, as it was given out.
    ciphertext: Option<Text>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// The status for a batch of which some items failed, in place of 400.
    partial_failure_response_code: Option<Number>,
}

/// One ciphertext of several.
#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) ciphertext: Option<Text>,
    pub(super) context: Option<Text>,
    pub(super) associated_data: Option<Text>,
    pub(super) key_version: Option<Number>,
    pub(super) reference: Option<Text>,
}

/// A plaintext, or a list of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct Decrypted {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_results: Option<Vec<DecryptedItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Secret<String>>,
}

/// One plaintext of several, or why there is none.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub(super) struct DecryptedItem {
    plaintext: Secret<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reference: String,
}

impl Command<Transit> for Decrypt {
    const ROUTE: Route = Route::post("decrypt/{name}");
    type Reply = Decrypted;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Decrypted>> {
        let single = self.batch_input.is_none();
        let items = match self.batch_input {
            Some(batch) => checked(batch.items()?)?,
            None => vec![Item::single(self.ciphertext, self.context, self.associated_data, None)?],
        };
        same_contexts(&items)?;
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("encryption key not found"))?;
        if key.record.kind.is_rsa() {
            cx.costly()?;
        }
        in_pool_if_many(cx, items.len())?;
        let mut outcomes = Outcomes::default();
        let mut results = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let outcome = item.decrypt(cx, &key, at)?;
            outcomes.note(&outcome);
            results.push(outcome);
        }
        if single {
            let outcome = results.pop().ok_or_else(|| Error::internal("an item came to nothing"))?;
            return Ok(Reply::Data(Decrypted { batch_results: None, plaintext: Some(outcome?) }));
        }
        let shown = results.into_iter().zip(&items).map(|(outcome, item)| item.shown(outcome)).collect();
        let data = Decrypted { batch_results: Some(shown), plaintext: None };
        Ok(outcomes.reply(cx.notes(), self.partial_failure_response_code, data))
    }
}

impl Item {
    /// The parameters of a request without a batch.
    pub(super) fn single(
        ciphertext: Option<Text>,
        context: Option<Text>,
        associated_data: Option<Text>,
        key_version: Option<Number>,
    ) -> Result<Self> {
        match ciphertext.filter(|text| !text.0.is_empty()) {
            Some(text) => {
                Ok(Self { ciphertext: Some(text), context, associated_data, key_version, reference: None })
            }
            None => Err(Error::invalid(MISSING)),
        }
    }

    /// The plaintext, in base64.
    pub(super) fn decrypt(
        &self,
        cx: &impl Reads,
        key: &Key,
        at: usize,
    ) -> Result<Result<Secret<String>, Refusal>> {
        let ciphertext = word(self.ciphertext.as_ref());
        if ciphertext.is_empty() {
            return Ok(Err(Refusal::asked(MISSING)));
        }
        let context = match self.context() {
            Ok(context) => context,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let associated = word(self.associated_data.as_ref());
        if let Err(refusal) = cipher::takes_associated(key, associated, at) {
            return Ok(Err(refusal));
        }
        let beside = Beside { context: &context, associated };
        let plain = cipher::decrypt(cx, key, &beside, ciphertext)?;
        Ok(plain.map(|plain| Secret::new(text::encode(&*plain))))
    }

    /// The bytes of its context.
    pub(super) fn context(&self) -> Result<Vec<u8>, Refusal> {
        text::decode(word(self.context.as_ref())).map_err(Refusal::Asked)
    }

    fn shown(&self, outcome: Result<Secret<String>, Refusal>) -> DecryptedItem {
        let reference = word(self.reference.as_ref()).to_owned();
        match outcome {
            Ok(plaintext) => DecryptedItem { plaintext, error: None, reference },
            Err(refusal) => {
                let error = Some(refusal.text().to_owned());
                DecryptedItem { plaintext: Secret::default(), error, reference }
            }
        }
    }
}

const MISSING: &str = "missing ciphertext to decrypt";

/// Refuses a list of which only some items have a context.
pub(super) fn same_contexts(items: &[Item]) -> Result<()> {
    let given = |item: &Item| !word(item.context.as_ref()).is_empty();
    match items.iter().any(given) && !items.iter().all(given) {
        true => Err(Error::invalid("context should be set either in all the request blocks or in none")),
        false => Ok(()),
    }
}

/// Refuses a list in which an item has no ciphertext at all.
fn checked(items: Vec<Item>) -> Result<Vec<Item>> {
    match items.iter().position(|item| item.ciphertext.is_none()) {
        None => Ok(items),
        Some(at) => Err(Error::invalid(format!(
            "failed to parse batch input: '[{at}].ciphertext' missing ciphertext to decrypt"
        ))),
    }
}
