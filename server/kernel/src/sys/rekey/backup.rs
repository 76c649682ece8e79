use std::collections::BTreeMap;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Beyond, Command, Error, Name, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::Sys;
use super::way::Keeping;
use crate::ceremonies::{Rekey, Target};
use crate::namespaces::Ns;
use crate::seals::SealOf;
use crate::shelf::Shelf;

/// New shares of a seal that were handed out encrypted, by what they are shares of.
const TABLE: u8 = 30;

/// Shares, encrypted, in hex, by the fingerprint of the key.
#[derive(Deserialize, Serialize)]
pub(super) struct Kept {
    nonce: String,
    keys: BTreeMap<String, Vec<String>>,
}

/// What is about to be handed out, as it is kept.
pub(super) fn kept(rekey: &Rekey, shares: &[Zeroizing<Vec<u8>>]) -> Kept {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (owner, share) in rekey.owners.iter().zip(shares) {
        keys.entry(owner.fingerprint().to_owned()).or_default().push(hex::encode(share));
    }
    Kept { nonce: rekey.nonce.clone(), keys }
}

/// Keeps it. It is durable before the new key holds: whatever happens to the answer, the owners can still get at their
/// shares.
pub(super) fn keep(seal: &SealOf<'_>, target: Target, kept: &Kept) -> Result<()> {
    seal.kernel.write(|txn| table(seal).put(txn, name(target), kept))
}

fn table(seal: &SealOf<'_>) -> Shelf<Kept> {
    Shelf::within(seal.owner(), TABLE)
}

fn name(target: Target) -> Name<'static> {
    Name::Id(match target {
        Target::Root => b"root",
        Target::Recovery => b"recovery",
    })
}

/// Encrypted shares.
#[derive(JsonSchema, Serialize)]
pub(in crate::sys) struct Shown {
    nonce: String,
    /// In hex, by the fingerprint of the key.
    keys: BTreeMap<String, Vec<String>>,
    keys_base64: BTreeMap<String, Vec<String>>,
}

/// Shows the shares that were kept encrypted.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Backup<W> {
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Keeping> Query<Sys> for Backup<W> {
    const ROUTE: Route = W::BACKUP;
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let kernel = engine.kernel()?;
        let table = table(&kernel.seal_of(Ns::of(cx))?);
        let kept = table.get(cx.beyond(&Beyond::for_the_kernel()), name(W::TARGET))?;
        let Kept { nonce, keys } = kept.ok_or_else(|| Error::invalid("no backed-up keys found"))?;
        let base64 = |share: &String| STANDARD.encode(hex::decode(share).unwrap_or_default());
        let both = keys.iter().map(|(owner, shares)| (owner.clone(), shares.iter().map(base64).collect()));
        let keys_base64 = both.collect();
        Ok(Shown { nonce, keys, keys_base64 }.into())
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

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let kernel = engine.kernel()?;
        let table = table(&kernel.seal_of(Ns::of(cx))?);
        table.delete(cx.beyond(&Beyond::for_the_kernel()), name(W::TARGET))?;
        Ok(Reply::Nothing)
    }
}
