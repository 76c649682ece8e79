use std::marker::PhantomData;

use kit::loose::{Flag, Number, Texts};
use kit::{Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::seal::{SealConfig, Split};

use super::super::{Sys, door};
use super::update::{Complete, hand_out};
use super::way::{Form, Keeping, Speech, Way};
use crate::ceremonies::{self, Proof, Rekey, Shown, Target};
use crate::ids;
use crate::kernel::Kernel;

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
    /// Always null: shares are not encrypted here.
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
        Self {
            nonce: Some(rekey.nonce.clone()),
            started: true,
            t: rekey.split.threshold,
            n: rekey.split.shares,
            progress: Some(rekey.shown.count()),
            required,
            pgp_fingerprints: rekeying.then_some(Value::Null),
            backup: rekeying.then_some(false),
            verification_required: Some(rekey.proof == Proof::Wanted),
            verification_nonce: if rekeying { draft } else { Some(draft.unwrap_or_default()) },
        }
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

    fn run(self, engine: &Sys, _: &Reading<'_>) -> Result<Reply<Shape>> {
        let kernel = engine.kernel()?;
        W::enter(&kernel)?;
        let required = ceremonies::owners(&kernel.store)?.map_or(0, |split| split.threshold);
        let rekey = kernel.ceremonies.rekey(W::TARGET);
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
    /// Not supported: shares are handed out as they are.
    pgp_keys: Option<Texts>,
    /// Not supported: without PGP keys nothing is kept.
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
        W::enter(&kernel)?;
        let nonce = ids::new_uuid(cx.randomness());
        let begun = cx.once(|| self.begin(&kernel, nonce))?;
        Ok(W::reply(begun))
    }
}

impl<W: Way> Begin<W> {
    fn begin(&self, kernel: &Kernel, nonce: String) -> Result<Begun> {
        let speech = W::SPEECH;
        let mut slot = kernel.ceremonies.rekey(W::TARGET);
        if slot.is_some() {
            return Err(Error::invalid(speech.busy));
        }
        let proof = if self.require_verification.0 { Proof::Wanted } else { Proof::Unwanted };
        let seal = kernel.store.seal_config()?;
        let split = match (&seal, W::TARGET) {
            (SealConfig::Static { .. }, Target::Root) if proof == Proof::Wanted => {
                return Err(Error::invalid(speech.unprovable));
            }
            // The server keeps the new root key under its own key: nothing is split.
            (SealConfig::Static { .. }, Target::Root) => Split { shares: 1, threshold: 1 },
            _ => self.split(&speech)?,
        };
        self.refuse_pgp(split)?;
        let mut rekey = Rekey { nonce, split, proof, shown: Shown::default(), draft: None };
        match (seal.split(), W::TARGET, W::SPEECH.form) {
            (Some(owners), ..) => {
                let shape = Shape::of(Some(&rekey), owners.threshold, speech.form);
                *slot = Some(rekey);
                Ok(Begun::Going(shape))
            }
            // A server that never had a recovery key gives one to whom its policies let ask.
            (None, Target::Recovery, Form::Rotate) => {
                let done = hand_out(kernel, &mut rekey, W::TARGET, speech.form)?;
                *slot = rekey.draft.is_some().then_some(rekey);
                Ok(Begun::Done(done))
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

    /// Keys that we cannot encrypt to must not be passed over: the operator would get the shares in clear.
    fn refuse_pgp(&self, split: Split) -> Result<()> {
        let keys = self.pgp_keys.as_ref().map_or(0, |keys| keys.0.len());
        let text = match keys {
            0 if self.backup.0 && W::SPEECH.form == Form::Rekey => {
                "cannot request a backup of the new keys without providing PGP keys for encryption"
            }
            0 => return Ok(()),
            keys if keys != usize::from(split.shares) && W::SPEECH.form == Form::Rekey => {
                "incorrect number of PGP keys for rekey"
            }
            keys if keys != usize::from(split.shares) => {
                "invalid rotate seal configuration: count mismatch between number of provided PGP keys and number of shares"
            }
            _ => {
                "PGP keys are not supported: leave pgp_keys out, and encrypt each share yourself before you hand it on"
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
        if W::SPEECH.form == Form::Rekey {
            W::enter(&kernel)?;
        }
        let mut slot = kernel.ceremonies.rekey(W::TARGET);
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

/// Shows the shares that were kept encrypted. There are none: only PGP keys encrypt them, and none is taken.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Backup<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Keeping> Query<Sys> for Backup<W> {
    const ROUTE: Route = W::BACKUP;
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        Err(Error::invalid("no backed-up keys found"))
    }
}

/// Forgets the shares that were kept encrypted.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct ForgetBackup<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Keeping> Command<Sys> for ForgetBackup<W> {
    const ROUTE: Route = W::FORGET_BACKUP;
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, _: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
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
        let kernel = engine.kernel()?;
        cx.once(|| Ok(kernel.store.reroot()?))?;
        Ok(Reply::Nothing)
    }
}
