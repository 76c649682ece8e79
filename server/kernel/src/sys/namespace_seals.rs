//! Namespaces with a seal of their own: how they get one, and how they are sealed, unsealed and deleted without it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::{Flag, Json, Slice};
use kit::{
    Beyond, Command, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Secret, Time, Writing,
};
use policy::hcl;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::seal::Split;
use storage::seal::shamir::Share;
use storage::{RINGS_MAX, RingId, Txn};

use super::Sys;
use super::namespaces::Deleting;
use super::rekey::{Texts, exposed};
use crate::kernel::Kernel;
use crate::namespaces::{self, Ns};
use crate::openpgp::PgpKey;
use crate::unsealing::Progress;

/// The shares of a new namespace's key, shown once.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shares {
    #[serde(serialize_with = "exposed")]
    #[schemars(with = "Vec<String>")]
    key_shares: Texts,
    key_threshold: u8,
}

/// A seal that a new namespace is to have.
pub(super) struct Wish {
    split: Split,
    owners: Vec<PgpKey>,
}

impl Wish {
    /// What a request says of it; nothing, if it says nothing.
    pub(super) fn read(seal: Option<&Json>, keys: Option<&Slice>, now: Time) -> Result<Option<Self>> {
        let text = match seal.map(|Json(value)| value) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Object(_)) => return Err(unlike("map[string]interface {}")),
            Some(Value::Array(_)) => return Err(unlike("[]interface {}")),
            Some(other) => other.to_string(),
        };
        let split = split(&text)?;
        let keys = keys.map_or(&[][..], |keys| &keys.0);
        if !keys.is_empty() && keys.len() != usize::from(split.shares) {
            return Err(refused("count mismatch between number of provided PGP keys and number of shares"));
        }
        let owners: Result<Vec<_>, String> = keys.iter().map(|key| PgpKey::parse(key, now)).collect();
        Ok(Some(Self { split, owners: owners.map_err(|why| refused(&why))? }))
    }

    /// Makes the keys of a namespace in the transaction that makes the namespace.
    pub(super) fn make(self, kernel: &Kernel, txn: &mut Txn, ns: Ns) -> Result<Shares> {
        let drafted = kernel.store.draft_ring(ns.mount(), self.split);
        let (draft, shares) = drafted.map_err(|error| Error::invalid(error.to_string()))?;
        txn.found(draft);
        let shown = |(at, share): (usize, &Share)| match self.owners.get(at) {
            None => Ok(hex::encode(share.as_bytes())),
            Some(owner) => {
                let text = Secret::new(hex::encode(share.as_bytes()));
                owner.encrypt(text.expose().as_bytes(), &*kernel.env.random).map(hex::encode)
            }
        };
        let key_shares = Secret::new(shares.iter().enumerate().map(shown).collect::<Result<_>>()?);
        Ok(Shares { key_shares: Arc::new(key_shares), key_threshold: self.split.threshold })
    }
}

fn unlike(kind: &str) -> Error {
    Error::invalid(format!(
        "Field validation failed: error converting input for field \"seal\": '' expected type 'string', got unconvertible type '{kind}'"
    ))
}

fn refused(why: &str) -> Error {
    Error::invalid(format!("invalid seal config: {why}"))
}

/// `seal "shamir" { shares = 5 threshold = 3 }`, in HCL or JSON.
fn split(text: &str) -> Result<Split> {
    let unread = |why: String| Error::listed(why);
    let body =
        hcl::parse_any(text).map_err(|error| unread(format!("unable to parse seal config: {error}")))?;
    let blocks = body.blocks("seal", 1).unwrap_or_default();
    let [block] = &*blocks else {
        return Err(unread("seal config must contain exactly one seal stanza".to_owned()));
    };
    if block.labels.first().is_none_or(|kind| *kind != "shamir") {
        return Err(unread("namespaces currently only support shamir seals".to_owned()));
    }
    let number = |name| match block.body.attribute(name) {
        None => Ok(0),
        Some(value) => value
            .as_i64()
            .or_else(|| value.as_text()?.parse().ok())
            .ok_or_else(|| refused(&format!("{name} must be a number"))),
    };
    let (shares, threshold): (i64, i64) = (number("shares")?, number("threshold")?);
    let text = match (shares, threshold) {
        (..1, _) => "shares must be at least one",
        (_, ..1) => "threshold must be at least one",
        (shares, threshold) if threshold > shares => "threshold cannot be larger than shares",
        (shares, 1) if shares > 1 => "threshold must be greater than one for multiple shares",
        _ => "shares must be less than 256",
    };
    let split = u8::try_from(shares).ok().zip(u8::try_from(threshold).ok());
    let split = split.map(|(shares, threshold)| Split { shares, threshold });
    split.filter(|split| split.check().is_ok()).ok_or_else(|| refused(text))
}

/// How far a namespace is unsealed.
#[derive(JsonSchema, Serialize)]
pub(super) struct Status {
    initialized: bool,
    n: u8,
    nonce: String,
    progress: usize,
    sealed: bool,
    t: u8,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl From<Progress> for Status {
    fn from(progress: Progress) -> Self {
        Self {
            initialized: true,
            n: progress.split.shares,
            nonce: progress.nonce,
            progress: progress.shown,
            sealed: progress.sealed,
            t: progress.split.threshold,
            kind: "shamir",
        }
    }
}

/// The path of a namespace right below the one that asks, from the root on.
fn full(cx: &impl Reads, name: &str) -> Result<String> {
    Ok(format!("{}{}/", cx.mount().namespace, namespaces::name(name)?))
}

fn gone(name: &str) -> Error {
    Error::new(Fault::Internal, format!("namespace {:?} doesn't exist", format!("{name}/"))).wrapped()
}

/// Says whether a namespace with a seal of its own is sealed, and how many shares of its key were shown.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SealStatus {
    /// Its name.
    path: String,
}

impl Query<Sys> for SealStatus {
    const ROUTE: Route = Route::get("namespaces/{path+}/seal-status");
    type Reply = Status;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Status>> {
        let (kernel, path) = (engine.kernel()?, full(cx, &self.path)?);
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let space = router.value().sealable(&path).ok_or_else(|| gone(&self.path))?;
        Ok(Status::from(kernel.unseal_progress(space)?).into())
    }
}

/// Seals a namespace that has a seal of its own, with those beneath it. It answers no one, and not even the server can
/// read what it holds, until enough shares of its key are shown.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Seal {
    /// Its name.
    path: String,
}

impl Command<Sys> for Seal {
    const ROUTE: Route = Route::post("namespaces/{path+}/seal");
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let (kernel, path) = (engine.kernel()?, full(cx, &self.path)?);
        cx.once(|| kernel.seal_namespace(&path))?;
        Ok(Reply::Nothing)
    }
}

/// Shows a share of the key of a sealed namespace. With enough of them it is unsealed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Unseal {
    /// Its name.
    path: String,
    /// The share, in hex or base64.
    #[serde(default)]
    key: Secret<String>,
    /// Forgets the shares that were shown.
    #[serde(default)]
    reset: Flag,
}

impl Command<Sys> for Unseal {
    const ROUTE: Route = Route::post("namespaces/{path+}/unseal");
    type Reply = Status;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Status>> {
        let (kernel, path) = (engine.kernel()?, full(cx, &self.path)?);
        let router = kernel.router(cx.peek(&Beyond::for_the_kernel()).snapshot())?;
        let space = router.value().sealable(&path).ok_or_else(|| gone(&self.path))?;
        if self.reset.0 {
            return Ok(Status::from(kernel.forget_shares(space)?).into());
        }
        if self.key.expose().is_empty() {
            return Err(Error::listed("provided key is empty"));
        }
        let share = share(self.key.expose())?;
        Ok(Status::from(kernel.show_share(&path, share)?).into())
    }
}

/// A share as people were given it.
fn share(text: &str) -> Result<Share> {
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
    let bytes = bytes.map(Secret::new).ok_or_else(|| {
        let strange = |char: u8| !(char.is_ascii_alphanumeric() || matches!(char, b'+' | b'/'));
        let at = text.bytes().position(strange).unwrap_or(text.len() / 4 * 4);
        Error::invalid(format!("illegal base64 data at input byte {at}"))
    })?;
    Share::shown(bytes.expose()).map_err(|misfit| Error::invalid(format!("invalid key: {misfit}")))
}

/// Deletes a sealed namespace without its key: the key is forgotten at once, and what it sealed is cleared away, piece
/// by piece. What the namespace lent outside is not taken back; who can should unseal it and delete it then.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteSealed {
    /// Its name.
    path: String,
    /// Also if it holds other namespaces, and these with it.
    #[serde(default)]
    force: Flag,
}

impl Command<Sys> for DeleteSealed {
    const ROUTE: Route = Route::delete("namespaces/{path+}/delete-sealed").logged().sudo();
    type Reply = Option<Deleting>;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
        let (path, above) = (full(cx, &self.path)?, Ns::of(cx));
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let Some(space) = router.value().sealable(&path) else {
            cx.warn("requested namespace does not exist");
            return Ok(None.into());
        };
        let ns = space.namespace.ns;
        let txn = cx.beyond(&beyond);
        if !space.has_seal() || !txn.is_sealed(ns.mount()) {
            return Err(Error::invalid("namespace is not sealed"));
        }
        let (nested, children) = nested(txn, ns)?;
        if children && !self.force.0 {
            return Err(Error::invalid(
                "sealed namespace has leftover child namespaces; pass force=true to delete the entire tree, or unseal the namespace and delete children individually",
            ));
        }
        for ns in std::iter::once(ns).chain(nested) {
            kernel.drop_sealable(txn, ns, above)?;
        }
        kernel.wake();
        Ok(Some(Deleting { status: "in-progress" }).into())
    }
}

/// The namespaces with a seal of their own beneath a sealed one, and whether it holds any at all. Who they are is told by
/// which keys sealed their entries.
fn nested(txn: &Txn, top: Ns) -> Result<(Vec<Ns>, bool)> {
    let (mut nested, mut children, mut rings) = (Vec::new(), false, vec![RingId::of(top.mount())]);
    while let Some(ring) = rings.pop() {
        for ns in namespaces::sealed_by(txn.snapshot(), ring, namespaces::NAMESPACES_MAX)? {
            children = true;
            let own = RingId::of(ns.mount());
            if own != ring && nested.len() < RINGS_MAX {
                nested.push(ns);
                rings.push(own);
            }
        }
    }
    Ok((nested, children))
}
