use std::marker::PhantomData;

use kit::{Command, Error, Query, Reading, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::seal::Split;
use storage::seal::shamir::Share;

use super::super::Sys;
use super::update::check_given;
use super::way::Way;
use crate::ceremonies::{self, Added, Draft};
use crate::ids;
use crate::namespaces::Ns;
use crate::seals::SealOf;

/// How far the proof of the new shares is.
#[derive(Clone, JsonSchema, Serialize)]
pub(in crate::sys) struct Proving {
    nonce: String,
    started: bool,
    t: u8,
    n: u8,
    progress: usize,
}

/// The new shares are proven, and hold.
#[derive(Clone, JsonSchema, Serialize)]
pub(in crate::sys) struct Proven {
    nonce: String,
    complete: bool,
}

/// What a new share comes to.
#[derive(Clone, JsonSchema, Serialize)]
#[serde(untagged)]
pub(in crate::sys) enum Verified {
    /// More are wanted.
    Going(Proving),
    /// There were enough.
    Done(Proven),
}

impl Proving {
    fn of(draft: &Draft, split: Split) -> Self {
        Self {
            nonce: draft.nonce.clone(),
            started: true,
            t: split.threshold,
            n: split.shares,
            progress: draft.shown.count(),
        }
    }
}

/// Shows how far the proof of new shares is.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Progress<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Query<Sys> for Progress<W> {
    const ROUTE: Route = W::PROGRESS;
    type Reply = Proving;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Proving>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        W::enter(&seal)?;
        let gathering = kernel.ceremonies.of(seal.ns);
        let slot = gathering.rekey(W::TARGET);
        let rekey = slot.as_ref().ok_or_else(|| Error::invalid(W::SPEECH.nothing))?;
        let draft = rekey.draft.as_ref().ok_or_else(|| Error::invalid(W::SPEECH.nothing))?;
        Ok(W::reply(Proving::of(draft, rekey.split)))
    }
}

/// Forgets the new shares that were shown so far, which are to be shown again under a new nonce.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Restart<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Command<Sys> for Restart<W> {
    const ROUTE: Route = W::RESTART;
    type Reply = Proving;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Proving>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        W::enter(&seal)?;
        let nonce = ids::new_uuid(cx.randomness());
        let gathering = kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.rekey(W::TARGET);
        let rekey = slot.as_mut().ok_or_else(|| Error::invalid(W::SPEECH.nothing))?;
        let draft = rekey.draft.as_mut().ok_or_else(|| Error::invalid(W::SPEECH.nothing))?;
        draft.nonce = nonce;
        draft.shown.forget();
        Ok(W::reply(Proving::of(draft, rekey.split)))
    }
}

/// Shows one of the new shares, to prove that they arrived. With enough of them, the new key holds.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Verify<W> {
    /// The new share, in hex or base64.
    #[serde(default)]
    key: Secret<String>,
    /// The nonce of the verification.
    #[serde(default)]
    nonce: String,
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Command<Sys> for Verify<W> {
    const ROUTE: Route = W::VERIFY;
    type Reply = Verified;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Verified>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        W::enter(&seal)?;
        check_given(W::SPEECH.form, &self.key, &self.nonce)?;
        let share = ceremonies::share(self.key.expose())?;
        let next = ids::new_uuid(cx.randomness());
        let verified = cx.once(|| self.verify(&seal, share, next))?;
        Ok(W::reply(verified))
    }
}

impl<W: Way> Verify<W> {
    fn verify(&self, seal: &SealOf<'_>, share: Share, next: String) -> Result<Verified> {
        let gathering = seal.kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.rekey(W::TARGET);
        let rekey = slot.as_mut().ok_or_else(|| Error::invalid(W::SPEECH.idle))?;
        let split = rekey.split;
        let draft = rekey.draft.as_mut().ok_or_else(|| {
            Error::invalid(
                "there is nothing to verify yet: show the shares that hold first, or do without verification",
            )
        })?;
        if !ceremonies::same(&self.nonce, &draft.nonce) {
            return Err(Error::invalid(format!(
                "incorrect nonce supplied; nonce for this verify operation is {:?}",
                draft.nonce
            )));
        }
        let shares = match draft.shown.add(share, split.threshold) {
            Added::Again => {
                return Err(Error::invalid(
                    "given key has already been provided during this verify operation",
                ));
            }
            Added::Wanting => return Ok(Verified::Going(Proving::of(draft, split))),
            Added::Enough(shares) => shares,
        };
        if !ceremonies::make_up(&shares, split, &draft.key) {
            draft.nonce = next;
            return Err(Error::invalid("rekey verification failed; incorrect key shares supplied"));
        }
        // What could not be installed is gone with its shares; the old key holds, and one begins again.
        let nonce = draft.nonce.clone();
        if let Some(draft) = slot.take().and_then(|rekey| rekey.draft) {
            seal.install(draft.seal)?;
        }
        tracing::info!("a new key has been made and proven, and the old shares are worth nothing");
        Ok(Verified::Done(Proven { nonce, complete: true }))
    }
}
