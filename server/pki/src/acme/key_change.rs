//! A new key for an account (RFC 8555 §7.3.5): the old one asks, and the new one agrees.

use jws::{Message, PublicKey};
use kit::Writing;
use serde::Deserialize;
use serde_json::Value;

use super::account::key_place;
use super::problem::{Kind, Refused, Result};
use super::records::{ACCOUNT_KEYS, ACCOUNTS};
use super::signed::{Asked, NewKey, Said, Signer, public_key, signed_operation};

signed_operation! {
    /// Gives an account another key.
    KeyChange at "key-change", by Account {} |cx, asked| change(cx, asked)
}

/// The message inside, which the new key has signed.
#[derive(Deserialize)]
struct Inner {
    payload: String,
    protected: String,
    signature: String,
}

/// What the new key agrees to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agreed {
    account: String,
    old_key: Value,
}

fn change(cx: &mut Writing<'_>, asked: Asked<'_>) -> Result<Said> {
    let directory = asked.directory;
    let malformed = |why: &str| Refused::new(Kind::Malformed, format!("the inner JWS: {why}"));
    let inner: Inner = asked.json()?;
    let message = Message::flattened(&inner.protected, &inner.payload, &inner.signature)
        .map_err(|why| malformed(&why))?;
    if message.text("url") != Some(directory.url("key-change").as_str()) {
        return Err(malformed("its 'url' is not that of the outer one"));
    }
    if message.value("nonce").is_some() {
        return Err(malformed("it has a nonce"));
    }
    let jwk = message.value("jwk").ok_or_else(|| malformed("it has no 'jwk'"))?;
    if message.alg().is_none() {
        return Err(Refused::new(Kind::BadSignatureAlgorithm, "that of the inner JWS"));
    }
    let key = NewKey::read(jwk)
        .map_err(|why| Refused::new(Kind::BadPublicKey, format!("that of the inner JWS: {why}")))?;
    let agreed =
        message.signed_by(&key.public).ok_or_else(|| malformed("its signature does not fit its key"))?;
    let agreed: Agreed = serde_json::from_slice(agreed).map_err(|error| malformed(&error.to_string()))?;
    let Signer::Account(mut owner) = asked.signer else {
        return Err(malformed("an account changes its own key"));
    };
    let location = directory.url(format_args!("account/{}", owner.id));
    if agreed.account != location {
        return Err(malformed("its 'account' is not the one that asks"));
    }
    let old_key = PublicKey::from_jwk(&agreed.old_key).and_then(|key| key.canonical());
    if old_key.as_ref() != Some(&owner.record.key) {
        return Err(malformed("its 'oldKey' is not the key of the account"));
    }
    let place = key_place(&key, directory)?;
    if let Some(holder) = ACCOUNT_KEYS.get(cx, &place)? {
        let refused = Refused::new(Kind::Malformed, "the new key is that of an account already");
        let other = directory.url(format_args!("account/{holder}"));
        return Err(refused.with_status(409).with_header("location", other));
    }
    let old = NewKey { public: public_key(&owner.record.key)?, canonical: owner.record.key };
    ACCOUNT_KEYS.delete(cx, &key_place(&old, directory)?)?;
    ACCOUNT_KEYS.put(cx, &place, &owner.id)?;
    owner.record.key = key.canonical;
    ACCOUNTS.put(cx, owner.id.as_bytes(), &owner.record)?;
    Ok(Said::json(200, &serde_json::json!({}))?.with("location", location))
}
