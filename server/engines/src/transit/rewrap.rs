//! Ciphertexts of old versions made anew, and keys for data.

use kit::loose::{Number, Text};
use kit::{Command, Error, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;
use super::cipher::{self, Beside};
use super::decrypt::{Item, same_contexts};
use super::encrypt::{Encrypted, EncryptedItem};
use super::input::{Batch, context, in_pool_if_many, number, word};
use super::key::{Key, find};
use super::refusal::Refusal;
use super::text;

/// Decrypts a ciphertext, or a list of them, and encrypts it again with the latest version of the key. The plaintext
/// stays here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Rewrap {
    /// The key.
    name: String,
    /// Items with the same parameters, in place of one ciphertext.
    batch_input: Option<Batch<Item>>,
    /// What to encrypt anew.
    ciphertext: Option<Text>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// The version to encrypt with; the latest if it is 0.
    key_version: Option<Number>,
}

impl Command<Transit> for Rewrap {
    const ROUTE: Route = Route::post("rewrap/{name}");
    type Reply = Encrypted;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Encrypted>> {
        let single = self.batch_input.is_none();
        let items = match self.batch_input {
            Some(batch) => batch.items()?,
            None => vec![Item::single(self.ciphertext, self.context, None, self.key_version)?],
        };
        same_contexts(&items)?;
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("encryption key not found"))?;
        if key.record.kind.is_rsa() {
            cx.costly()?;
        }
        in_pool_if_many(cx, items.len())?;
        let mut results = Vec::with_capacity(items.len());
        for item in &items {
            match rewrap(cx, &key, item)? {
                Err(refusal @ (Refusal::Inner(_) | Refusal::Mistaken(_))) => return Err(refusal.into()),
                outcome => results.push(outcome),
            }
        }
        if single {
            let outcome = results.pop().ok_or_else(|| Error::internal("an item came to nothing"))?;
            return Ok(Reply::Data(Encrypted::one(outcome?)));
        }
        let shown = results.into_iter().zip(&items);
        let shown = shown.map(|(outcome, item)| EncryptedItem::of(outcome, item.reference.as_ref()));
        Ok(Reply::Data(Encrypted::many(shown.collect())))
    }
}

fn rewrap(cx: &Writing<'_>, key: &Key, item: &Item) -> Result<Result<(String, u64), Refusal>> {
    let context = match item.context() {
        Ok(context) => context,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let ciphertext = word(item.ciphertext.as_ref());
    if ciphertext.is_empty() {
        return Ok(Err(Refusal::asked("missing ciphertext to decrypt")));
    }
    let beside = Beside { context: &context, associated: word(item.associated_data.as_ref()) };
    match cipher::decrypt(cx, key, &beside, ciphertext)? {
        Ok(plain) => cipher::encrypt(cx, key, number(item.key_version), &beside, &plain, &cx.random()),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Makes a random key for the caller's own use, and gives it encrypted with this key: to keep beside the data.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DataKey {
    /// `plaintext` to see the new key as well, `wrapped` to see only its ciphertext.
    plaintext: String,
    /// The key that encrypts it.
    name: String,
    /// What is authenticated along with the new key, in base64.
    associated_data: Option<Text>,
    /// Its size: 128, 256 or 512.
    bits: Option<Number>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// The version to encrypt with; the latest if it is 0.
    key_version: Option<Number>,
}

/// A key for data.
#[derive(JsonSchema, Serialize)]
pub(super) struct NewDataKey {
    ciphertext: String,
    key_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Secret<String>>,
}

impl Command<Transit> for DataKey {
    const ROUTE: Route = Route::post("datakey/{plaintext}/{name}");
    type Reply = NewDataKey;

    fn run(self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<NewDataKey>> {
        let shows = match self.plaintext.as_str() {
            "plaintext" => true,
            "wrapped" => false,
            _ => return Err(Error::invalid("Invalid path, must be 'plaintext' or 'wrapped'")),
        };
        let context = context(self.context.as_ref())?;
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("encryption key not found"))?;
        let size = match self.bits.map_or(256, |bits| bits.0) {
            512 => 64,
            256 => 32,
            128 => 16,
            _ => return Err(Error::invalid("invalid bit length")),
        };
        let associated = word(self.associated_data.as_ref());
        if !associated.is_empty() && !key.record.kind.is_cipher() {
            let kind = key.record.kind.name();
            return Err(Error::invalid(format!(
                "'associated_data' provided for non-AEAD cipher suite {kind}"
            )));
        }
        let random = Zeroizing::new(cx.random::<64>());
        let made = random.get(..size).unwrap_or_default();
        let beside = Beside { context: &context, associated };
        let asked = number(self.key_version);
        let (ciphertext, key_version) = cipher::encrypt(cx, &key, asked, &beside, made, &cx.random())??;
        let plaintext = shows.then(|| Secret::new(text::encode(made)));
        Ok(Reply::Data(NewDataKey { ciphertext, key_version, plaintext }))
    }
}
