//! Encrypting, and making the key for it where there is none.

use std::sync::Arc;

use kit::loose::{Flag, Number, Text};
use kit::{Command, Error, Exists, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;
use super::cipher::{self, Beside};
use super::create;
use super::input::{Batch, Outcomes, Private, flag, in_pool_if_many, number, word};
use super::key::{Key, find};
use super::kind::Kind;
use super::record::{KeyRecord, ONLY, SETTINGS};
use super::refusal::Refusal;
use super::text;

/// Encrypts a plaintext, or a list of them, with a key. Where there is no key of that name and the caller may create
/// one, it is made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Encrypt {
    /// The key.
    name: String,
    /// What is authenticated along with the plaintext and is needed to decrypt it, in base64.
    associated_data: Option<Text>,
    /// Items with the same parameters, in place of one plaintext.
    batch_input: Option<Batch<Item>>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// Whether a key that is made for this encrypts equal plaintexts equally.
    convergent_encryption: Option<Flag>,
    /// The version to encrypt with; the latest if it is 0.
    key_version: Option<Number>,
    /// The status for a batch of which some items failed, in place of 400.
    partial_failure_response_code: Option<Number>,
    /// What to encrypt, in base64.
    plaintext: Option<Private>,
    /// The kind of a key that is made for this.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

/// One plaintext of several.
#[derive(Deserialize)]
pub(super) struct Item {
    plaintext: Option<Private>,
    context: Option<Text>,
    associated_data: Option<Text>,
    key_version: Option<Number>,
    reference: Option<Text>,
}

/// A ciphertext, or a list of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct Encrypted {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_results: Option<Vec<EncryptedItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u64>,
}

/// One ciphertext of several, or why there is none.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub(super) struct EncryptedItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reference: String,
}

impl Command<Transit> for Encrypt {
    const ROUTE: Route = Route::post("encrypt/{name}");
    const EXISTS: Option<Exists<Transit>> =
        Some(|_, path, cx| Ok(Some(find(cx, path.get("name"))?.is_some())));
    type Reply = Encrypted;

    fn run(mut self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Encrypted>> {
        let batch = self.batch_input.take();
        let single = batch.is_none();
        let items = match batch {
            Some(batch) => checked(batch.items()?)?,
            None => vec![self.item()?],
        };
        let with_context = items.first().is_some_and(|item| !word(item.context.as_ref()).is_empty());
        if items.iter().any(|item| word(item.context.as_ref()).is_empty() == with_context) {
            return Err(Error::invalid("context should be set either in all the request blocks or in none"));
        }
        let key = match find(cx, &self.name)? {
            Some(key) => key,
            None => self.upsert(cx, with_context)?,
        };
        in_pool_if_many(cx, items.len())?;
        let mut outcomes = Outcomes::default();
        let mut results = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let outcome = item.encrypt(cx, &key, at)?;
            outcomes.note(&outcome);
            results.push(outcome);
        }
        if single {
            let outcome = results.pop().ok_or_else(|| Error::internal("an item came to nothing"))?;
            return Ok(Reply::Data(Encrypted::one(outcome?)));
        }
        let shown = results.into_iter().zip(&items).map(|(outcome, item)| item.shown(outcome)).collect();
        Ok(outcomes.reply(cx.notes(), self.partial_failure_response_code, Encrypted::many(shown)))
    }
}

impl Encrypt {
    fn item(&mut self) -> Result<Item> {
        let plaintext =
            self.plaintext.take().ok_or_else(|| Error::invalid("missing plaintext to encrypt"))?;
        Ok(Item {
            plaintext: Some(plaintext),
            context: self.context.take(),
            associated_data: self.associated_data.take(),
            key_version: self.key_version,
            reference: None,
        })
    }

    /// Makes the key that there is not.
    fn upsert(&self, cx: &mut Writing<'_>, with_context: bool) -> Result<Arc<Key>> {
        let convergent = flag(self.convergent_encryption);
        if convergent && !with_context {
            return Err(Error::invalid(
                "convergent encryption requires derivation to be enabled, so context is required",
            ));
        }
        let name = self.kind.as_ref().map_or(Kind::Aes256.name(), |kind| kind.0.as_str());
        let kind = match Kind::asked(name, "") {
            Ok(kind) if kind.is_cipher() => kind,
            Ok(kind) if kind.is_ecdsa() => {
                return Err(Error::invalid(format!("key type {name} not supported for this operation")));
            }
            _ => return Err(Error::invalid(format!("unknown key type {name}"))),
        };
        if SETTINGS.get(cx, ONLY)?.unwrap_or_default().upsert_disabled {
            return Err(Error::invalid("encryption key not found"));
        }
        let record = KeyRecord { derived: with_context, convergent, ..KeyRecord::new(kind) };
        create::create(cx, &self.name, record)
    }
}

impl Item {
    fn encrypt(&self, cx: &Writing<'_>, key: &Key, at: usize) -> Result<Result<(String, u64), Refusal>> {
        let plaintext = match text::decode(self.plaintext.as_ref().map_or("", Private::text)) {
            Ok(plaintext) => Zeroizing::new(plaintext),
            Err(why) => return Ok(Err(Refusal::Asked(why))),
        };
        let context = match text::decode(word(self.context.as_ref())) {
            Ok(context) => context,
            Err(why) => return Ok(Err(Refusal::Asked(why))),
        };
        let associated = word(self.associated_data.as_ref());
        if let Err(refusal) = cipher::takes_associated(key, associated, at) {
            return Ok(Err(refusal));
        }
        let beside = Beside { context: &context, associated };
        let asked = number(self.key_version);
        cipher::encrypt(cx, key, asked, &beside, &plaintext, &cx.random())
    }

    fn shown(&self, outcome: Result<(String, u64), Refusal>) -> EncryptedItem {
        EncryptedItem::of(outcome, self.reference.as_ref())
    }
}

impl EncryptedItem {
    /// What came of an item.
    pub(super) fn of(outcome: Result<(String, u64), Refusal>, reference: Option<&Text>) -> Self {
        let reference = word(reference).to_owned();
        match outcome {
            Ok((text, version)) => {
                Self { ciphertext: Some(text), key_version: Some(version), error: None, reference }
            }
            Err(refusal) => {
                let error = Some(refusal.text().to_owned());
                Self { ciphertext: None, key_version: None, error, reference }
            }
        }
    }
}

impl Encrypted {
    /// The only ciphertext.
    pub(super) fn one((ciphertext, version): (String, u64)) -> Self {
        Self { batch_results: None, ciphertext: Some(ciphertext), key_version: Some(version) }
    }

    /// Those of a batch.
    pub(super) fn many(items: Vec<EncryptedItem>) -> Self {
        Self { batch_results: Some(items), ciphertext: None, key_version: None }
    }
}

/// Refuses a list in which an item has no plaintext at all.
fn checked(items: Vec<Item>) -> Result<Vec<Item>> {
    match items.iter().position(|item| item.plaintext.is_none()) {
        None => Ok(items),
        Some(at) => Err(Error::invalid(format!(
            "failed to parse batch input: '[{at}].plaintext' missing plaintext to encrypt"
        ))),
    }
}
