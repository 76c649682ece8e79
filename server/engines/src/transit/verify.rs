//! Verifying signatures and HMACs.

use kit::loose::{Flag, Text};
use kit::{Command, Error, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::hmac::HmacItem;
use super::input::{Batch, context, in_pool_if_many, word};
use super::key::{Key, find};
use super::refusal::Refusal;
use super::sign::input;
use super::signing::{Manner, Words, named_hash};

/// Says whether signatures or HMACs were made by a key for these inputs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Verify<const AT: usize> {
    /// The key.
    name: String,
    /// The hash function, where `hash_algorithm` names none.
    algorithm: Option<Text>,
    /// Items with an input and a signature or an HMAC each.
    batch_input: Option<Batch<Item>>,
    /// Which of the keys derived from this one, in base64.
    context: Option<Text>,
    /// The hash function: `sha2-256` and its kin. Ed25519 and ML-DSA have their own.
    hash_algorithm: Option<Text>,
    /// The HMAC, as it was given out.
    hmac: Option<Text>,
    /// What was signed, in base64.
    input: Option<Text>,
    /// `asn1` for signatures as openssl writes them, `jws` for those of JSON Web Signatures.
    marshaling_algorithm: Option<Text>,
    /// Whether the input is a hash already. With ML-DSA it cannot be.
    prehashed: Option<Flag>,
    /// The length of the salt of RSA-PSS: `auto`, `hash`, or a number of bytes.
    salt_length: Option<Text>,
    /// The signature, as it was given out.
    signature: Option<Text>,
    /// For RSA: `pss` or `pkcs1v15`.
    signature_algorithm: Option<Text>,
    /// The hash function in the path, which comes first.
    urlalgorithm: Option<Text>,
}

/// One signature of several.
#[derive(Deserialize)]
pub(super) struct Item {
    input: Option<Text>,
    context: Option<Text>,
    signature: Option<Text>,
    hmac: Option<Text>,
    reference: Option<Text>,
}

/// Whether it is valid; for a list, each of it.
#[derive(JsonSchema, Serialize)]
pub(super) struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_results: Option<Vec<ItemVerdict>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<bool>,
}

/// Whether one of several is valid, or why that is not said.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub(super) struct ItemVerdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    reference: String,
}

/// What is to be verified.
enum Proof {
    Signature,
    Hmac,
}

impl<const AT: usize> Command<Transit> for Verify<AT> {
    const ROUTE: Route = match AT {
        0 => Route::post("verify/{name}"),
        _ => Route::post("verify/{name}/{urlalgorithm}"),
    };
    type Reply = Verdict;

    fn run(mut self, _: &Transit, cx: &mut Writing<'_>) -> Result<Reply<Verdict>> {
        let batch = self.batch_input.take();
        let single = batch.is_none();
        let items = match batch {
            Some(batch) => batch.items()?,
            None => vec![self.item()],
        };
        let proof = proof(&items, single)?;
        in_pool_if_many(cx, items.len())?;
        let mut outcomes = match proof {
            Proof::Hmac => self.hmacs(cx, &items)?,
            Proof::Signature => self.signatures(cx, &items)?,
        };
        if single {
            let outcome = outcomes.pop().ok_or_else(|| Error::internal("an item came to nothing"))?;
            return Ok(Reply::Data(Verdict { batch_results: None, valid: Some(outcome?) }));
        }
        let shown = outcomes.into_iter().zip(&items).map(|(outcome, item)| item.shown(outcome, &proof));
        Ok(Reply::Data(Verdict { batch_results: Some(shown.collect()), valid: None }))
    }
}

impl<const AT: usize> Verify<AT> {
    fn item(&mut self) -> Item {
        Item {
            input: Some(self.input.take().unwrap_or_default()),
            context: self.context.take(),
            signature: self.signature.take(),
            hmac: self.hmac.take(),
            reference: None,
        }
    }

    fn signatures(&self, cx: &Writing<'_>, items: &[Item]) -> Result<Vec<Result<bool, Refusal>>> {
        let manner = Manner::read(&Words {
            urlalgorithm: self.urlalgorithm.as_ref(),
            hash_algorithm: self.hash_algorithm.as_ref(),
            algorithm: self.algorithm.as_ref(),
            marshaling_algorithm: self.marshaling_algorithm.as_ref(),
            prehashed: self.prehashed,
            salt_length: self.salt_length.as_ref(),
            signature_algorithm: self.signature_algorithm.as_ref(),
        })?;
        let unknown = || Error::invalid("signature verification key not found");
        let key = find(cx, &self.name)?.ok_or_else(unknown)?;
        manner.fits(&key, "verification")?;
        items.iter().map(|item| item.verify(cx, &manner, &key)).collect()
    }

    fn hmacs(&self, cx: &Writing<'_>, items: &[Item]) -> Result<Vec<Result<bool, Refusal>>> {
        let words = [&self.urlalgorithm, &self.hash_algorithm, &self.algorithm].map(Option::as_ref);
        let hash = named_hash(words)?;
        let key = find(cx, &self.name)?.ok_or_else(|| Error::invalid("encryption key not found"))?;
        let hash = hash.ok_or_else(|| Error::invalid("algorithm cannot be none"))?;
        let each = items.iter().map(|item| {
            let item = HmacItem { input: item.input.as_ref(), hmac: item.hmac.as_ref() };
            item.verify(cx, &key, hash)
        });
        each.collect()
    }
}

impl Item {
    fn verify(&self, cx: &Writing<'_>, manner: &Manner, key: &Key) -> Result<Result<bool, Refusal>> {
        let read = input(self.input.as_ref())
            .and_then(|input| context(self.context.as_ref()).map(|context| (input, context)));
        let (input, context) = match read {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        manner.verify(cx, key, &context, input, word(self.signature.as_ref()))
    }

    fn shown(&self, outcome: Result<bool, Refusal>, proof: &Proof) -> ItemVerdict {
        let reference = word(self.reference.as_ref()).to_owned();
        let valid = *outcome.as_ref().unwrap_or(&false);
        // OpenBao leaves out an HMAC's `false`.
        let valid = Some(valid).filter(|valid| *valid || matches!(proof, Proof::Signature));
        ItemVerdict { valid, error: outcome.err().map(|refusal| refusal.text().to_owned()), reference }
    }
}

/// What all of the items want verified: one kind of proof, and each has it.
fn proof(items: &[Item], single: bool) -> Result<Proof> {
    let signatures = items.iter().filter(|item| item.signature.is_some()).count();
    let hmacs = items.iter().filter(|item| item.signature.is_none() && item.hmac.is_some()).count();
    let missing = signatures + hmacs < items.len();
    let refused = match (signatures, hmacs) {
        (0, 0) if single => "neither a 'signature' nor an 'hmac' were given to verify",
        (1.., 1..) => "elements of batch_input must all provide 'signature' or all provide 'hmac'",
        (1.., 0) if missing => "some elements of batch_input are missing 'signature'",
        (0, 1..) if missing => "some elements of batch_input are missing 'hmac'",
        (0, 0) => "no batch_input elements have 'signature' or 'hmac'",
        (_, 0) => return Ok(Proof::Signature),
        (0, _) => return Ok(Proof::Hmac),
    };
    Err(Error::invalid(refused))
}
