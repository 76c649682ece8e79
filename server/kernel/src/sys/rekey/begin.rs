use std::marker::PhantomData;
use std::sync::Arc;

use kit::loose::{Flag, Number, Texts};
use kit::{Command, Error, Query, Reading, Reads as _, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::seal::{SealConfig, Split};

use super::super::{Sys, door};
use super::install::{Installing, attach};
use super::update::{Complete, hand_out};
use super::way::{Form, Speech, Way};
use crate::ceremonies::{self, Keeping, Proof, Rekey, Shown, Target};
use crate::ids;
use crate::namespaces::Ns;
use crate::openpgp::PgpKey;
use crate::seals::SealOf;

/// How far it is.
#[derive(Clone, JsonSchema, Serialize)]
pub(in crate::sys) struct Shape {
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    started: bool,
    t: u8,
    n: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<usize>,
    required: u8,
    /// The fingerprints of the keys that shares are encrypted to; null without such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pgp_fingerprints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_required: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_nonce: Option<String>,
}

impl Shape {
    pub(super) fn of(rekey: Option<&Rekey>, required: u8, form: Form) -> Self {
        let rekeying = form == Form::Rekey;
        let Some(rekey) = rekey else {
            return Self {
                nonce: rekeying.then(String::new),
                started: false,
                t: 0,
                n: 0,
                progress: rekeying.then_some(0),
                required,
                pgp_fingerprints: rekeying.then_some(Value::Null),
                backup: rekeying.then_some(false),
                verification_required: rekeying.then_some(false),
                verification_nonce: None,
            };
        };
        let draft = rekey.draft.as_ref().map(|draft| draft.nonce.clone());
        let pgp = !rekey.owners.is_empty();
        Self {
            nonce: Some(rekey.nonce.clone()),
            started: true,
            t: rekey.split.threshold,
            n: rekey.split.shares,
            progress: Some(rekey.shown.count()),
            required,
            pgp_fingerprints: (rekeying || pgp).then(|| fingerprints(&rekey.owners)),
            backup: (rekeying || pgp).then_some(rekey.keeping == Keeping::Wanted),
            verification_required: Some(rekey.proof == Proof::Wanted),
            verification_nonce: if rekeying { draft } else { Some(draft.unwrap_or_default()) },
        }
    }
}

/// The fingerprints of keys; null, if there are none.
pub(super) fn fingerprints(owners: &[PgpKey]) -> Value {
    match owners {
        [] => Value::Null,
        owners => owners.iter().map(PgpKey::fingerprint).collect(),
    }
}

/// Shows how far the making of a new key is.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Status<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Query<Sys> for Status<W> {
    const ROUTE: Route = W::STATUS;
    type Reply = Shape;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shape>> {
        let (kernel, ns) = (engine.kernel()?, Ns::of(cx));
        let seal = kernel.seal_of(ns)?;
        W::enter(&seal)?;
        let required = seal.required()?.unwrap_or(0);
        let gathering = kernel.ceremonies.of(ns);
        let rekey = gathering.rekey(W::TARGET);
        Ok(W::reply(Shape::of(rekey.as_ref(), required, W::SPEECH.form)))
    }
}

/// What the beginning comes to.
#[derive(Clone, JsonSchema, Serialize)]
#[serde(untagged)]
pub(in crate::sys) enum Begun {
    /// The owners are asked for their shares.
    Going(Shape),
    /// There was nobody to ask: a first recovery key.
    Done(Complete),
}

/// Begins to make a new key. Its owners show their shares, and new shares are handed out.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Begin<W> {
    /// How many new shares there shall be.
    secret_shares: Option<Number>,
    /// How many of them it shall take.
    secret_threshold: Option<Number>,
    /// The public keys of those who are to have the shares, each in base64; every share is encrypted to one of them.
    pgp_keys: Option<Texts>,
    /// Encrypted shares are kept, too, until somebody forgets them.
    #[serde(default)]
    backup: Flag,
    /// The new shares must be shown before they hold.
    #[serde(default)]
    require_verification: Flag,
    /// Of no account; old clients send it.
    #[serde(rename = "stored_shares")]
    _stored_shares: Option<Number>,
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Command<Sys> for Begin<W> {
    const ROUTE: Route = W::BEGIN;
    type Reply = Begun;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Begun>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        W::enter(&seal)?;
        let nonce = ids::new_uuid(cx.randomness());
        let now = cx.now();
        let (begun, installing) = cx.once(|| self.begin(&seal, nonce, now))?;
        attach(cx, installing);
        Ok(W::reply(begun))
    }
}

impl<W: Way> Begin<W> {
    fn begin(&self, seal: &SealOf<'_>, nonce: String, now: Time) -> Result<(Begun, Option<Arc<Installing>>)> {
        let speech = W::SPEECH;
        let gathering = seal.kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.rekey(W::TARGET);
        if slot.is_some() {
            return Err(Error::invalid(speech.busy));
        }
        let proof = if self.require_verification.0 { Proof::Wanted } else { Proof::Unwanted };
        let config = seal.config()?;
        let split = match (&config, W::TARGET) {
            (SealConfig::Static { .. }, Target::Root) if proof == Proof::Wanted => {
                return Err(Error::invalid(speech.unprovable));
            }
            // The server keeps the new root key under its own key: nothing is split.
            (SealConfig::Static { .. }, Target::Root) => Split { shares: 1, threshold: 1 },
            _ => self.split(&speech)?,
        };
        let owners = self.owners(split, now)?;
        let keeping = if self.backup.0 && !owners.is_empty() { Keeping::Wanted } else { Keeping::Unwanted };
        let mut rekey = Rekey { nonce, split, proof, shown: Shown::default(), draft: None, owners, keeping };
        match (config.split(), W::TARGET, W::SPEECH.form) {
            (Some(owners), ..) => {
                let shape = Shape::of(Some(&rekey), owners.threshold, speech.form);
                *slot = Some(rekey);
                Ok((Begun::Going(shape), None))
            }
            // A server that never had a recovery key gives one to whom its policies let ask.
            (None, Target::Recovery, Form::Rotate) => {
                let (done, installing) = hand_out(seal, &mut rekey, W::TARGET, speech.form)?;
                *slot = rekey.draft.is_some().then_some(rekey);
                Ok((Begun::Done(done), installing))
            }
            (None, ..) => Err(Error::invalid(
                "this server has no recovery key, so nobody can prove to own it: make one with sys/rotate/recovery/init, or renew the root key with POST sys/rotate/root",
            )),
        }
    }

    fn split(&self, speech: &Speech) -> Result<Split> {
        let (shares, threshold) =
            (self.secret_shares.unwrap_or_default().0, self.secret_threshold.unwrap_or_default().0);
        let text = match (shares, threshold) {
            (shares, _) if shares < 1 => "shares must be at least one",
            (_, threshold) if threshold < 1 => "threshold must be at least one",
            (shares, threshold) if threshold > shares => "threshold cannot be larger than shares",
            (shares, 1) if shares > 1 => "threshold must be greater than one for multiple shares",
            _ => "shares must be less than 256",
        };
        let split = u8::try_from(shares).ok().zip(u8::try_from(threshold).ok());
        let split = split.map(|(shares, threshold)| Split { shares, threshold });
        split
            .filter(|split| split.check().is_ok())
            .ok_or_else(|| Error::invalid(format!("{}: {text}", speech.numbers)))
    }

    /// The keys of those who are to have the shares.
    fn owners(&self, split: Split, now: Time) -> Result<Vec<PgpKey>> {
        let keys = self.pgp_keys.as_ref().map_or(&[][..], |keys| &keys.0);
        let rekeying = W::SPEECH.form == Form::Rekey;
        let text = match keys.len() {
            0 if self.backup.0 && rekeying => {
                "cannot request a backup of the new keys without providing PGP keys for encryption"
            }
            0 => return Ok(Vec::new()),
            count if count == usize::from(split.shares) => {
                let read = |key: &String| PgpKey::parse(key, now);
                let numbers = W::SPEECH.numbers;
                let keys: Result<Vec<_>, String> = keys.iter().map(read).collect();
                return keys.map_err(|why| Error::invalid(format!("{numbers}: {why}")));
            }
            _ if rekeying => "incorrect number of PGP keys for rekey",
            _ => {
                "invalid rotate seal configuration: count mismatch between number of provided PGP keys and number of shares"
            }
        };
        Err(Error::invalid(text))
    }
}

/// Gives the making of a new key up. Old keys stay as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Cancel<W> {
    /// Its nonce, for those who show no token that may do this.
    #[serde(default)]
    nonce: String,
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Command<Sys> for Cancel<W> {
    const ROUTE: Route = W::CANCEL;
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        if W::SPEECH.form == Form::Rekey {
            W::enter(&seal)?;
        }
        let gathering = kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.rekey(W::TARGET);
        if let Some(rekey) = &*slot
            && W::CANCEL.open
            && !ceremonies::same(&self.nonce, &rekey.nonce)
        {
            door::check(&kernel, cx, "sys/rotate/root/init")?;
        }
        *slot = None;
        Ok(Reply::Nothing)
    }
}

/// Makes a new root key under the seal as it is. No share changes.
#[derive(Deserialize, JsonSchema)]
pub(in crate::sys) struct RotateRoot {}

impl Command<Sys> for RotateRoot {
    const ROUTE: Route = Route::post("rotate/root").sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let (kernel, ns) = (engine.kernel()?, Ns::of(cx));
        cx.once(|| kernel.seal_of(ns)?.reroot())?;
        Ok(Reply::Nothing)
    }
}
