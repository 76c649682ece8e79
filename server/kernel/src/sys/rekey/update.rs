use std::marker::PhantomData;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Command, Error, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use storage::seal::shamir::Share;
use storage::seal::{SealConfig, UnsealKey};
use zeroize::Zeroizing;

use super::super::Sys;
use super::backup;
use super::begin::{Shape, fingerprints};
use super::install::{Installing, attach};
use super::way::{Form, Way};
use crate::ceremonies::{self, Added, Draft, Keeping, Proof, Rekey, Shown, Target};
use crate::ids;
use crate::kernel::Kernel;
use crate::namespaces::Ns;
use crate::openpgp::PgpKey;
use crate::seals::SealOf;

/// New shares, shown once.
#[derive(Clone, JsonSchema, Serialize)]
pub(in crate::sys) struct Complete {
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    complete: bool,
    #[serde(serialize_with = "exposed")]
    #[schemars(with = "Vec<String>")]
    keys: Texts,
    #[serde(serialize_with = "exposed")]
    #[schemars(with = "Vec<String>")]
    keys_base64: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<u8>,
    /// The fingerprints of the keys that the shares are encrypted to; null without such.
    pgp_fingerprints: Value,
    backup: bool,
    verification_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_nonce: Option<String>,
}

/// Shares as texts.
pub(in crate::sys) type Texts = Arc<Secret<Vec<String>>>;

/// Shows them in the answer that hands them out.
pub(in crate::sys) fn exposed<S: Serializer>(
    texts: &Texts,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    texts.expose().serialize(serializer)
}

/// What a share comes to.
#[derive(Clone, JsonSchema, Serialize)]
#[serde(untagged)]
pub(in crate::sys) enum Updated {
    /// More are wanted.
    Going(Shape),
    /// There were enough.
    Done(Complete),
}

/// Shows one share of the key that holds. With enough of them, the new key is made and its shares are handed out.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(in crate::sys) struct Update<W> {
    /// The share, in hex or base64.
    #[serde(default)]
    key: Secret<String>,
    /// The nonce of what was begun.
    #[serde(default)]
    nonce: String,
    #[serde(skip)]
    way: PhantomData<W>,
}

impl<W: Way> Command<Sys> for Update<W> {
    const ROUTE: Route = W::UPDATE;
    type Reply = Updated;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Updated>> {
        let kernel = engine.kernel()?;
        let seal = kernel.seal_of(Ns::of(cx))?;
        W::enter(&seal)?;
        check_given(W::SPEECH.form, &self.key, &self.nonce)?;
        let share = ceremonies::share(self.key.expose())?;
        let (updated, installing) = cx.once(|| self.update(&seal, share))?;
        attach(cx, installing);
        Ok(W::reply(updated))
    }
}

/// Refuses what lacks its share or its nonce, as clients know it.
pub(super) fn check_given(form: Form, key: &Secret<String>, nonce: &str) -> Result<()> {
    let missing = match (form, key.expose().is_empty(), nonce.is_empty()) {
        (Form::Rekey, true, _) => "'key' must be specified in request body as JSON",
        (Form::Rotate, true, _) => "missing required field 'key'",
        (Form::Rotate, _, true) => "missing required field 'nonce'",
        _ => return Ok(()),
    };
    Err(Error::invalid(missing))
}

impl<W: Way> Update<W> {
    fn update(&self, seal: &SealOf<'_>, share: Share) -> Result<(Updated, Option<Arc<Installing>>)> {
        let speech = W::SPEECH;
        let gathering = seal.kernel.ceremonies.of(seal.ns);
        let mut slot = gathering.rekey(W::TARGET);
        let Some(rekey) = &mut *slot else {
            return Err(Error::invalid(match (speech.form, W::TARGET) {
                (Form::Rotate, _) => speech.idle,
                (Form::Rekey, Target::Root) => "no barrier rekey in progress",
                (Form::Rekey, Target::Recovery) => "no recovery rekey in progress",
            }));
        };
        if let Some(draft) = &rekey.draft {
            return Err(Error::invalid(format!("{} {:?}", speech.finished, draft.nonce)));
        }
        if !ceremonies::same(&self.nonce, &rekey.nonce) {
            return Err(Error::invalid(format!("{} {:?}", speech.nonce, rekey.nonce)));
        }
        let required = seal.required()?.unwrap_or(1);
        let shares = match rekey.shown.add(share, required) {
            Added::Again => return Err(Error::invalid(speech.doubled)),
            Added::Wanting => {
                return Ok((Updated::Going(Shape::of(Some(rekey), required, speech.form)), None));
            }
            Added::Enough(shares) => shares,
        };
        if !seal.prove(&shares)? {
            tracing::warn!("the shares that were shown to make a new key are not those of an owner");
            return Err(Error::invalid(match seal.config()? {
                SealConfig::Shamir(_) => {
                    "failed to read root key: invalid key: the shares are not those of this seal. All of them are forgotten; begin again"
                }
                SealConfig::Static { .. } => {
                    "recovery key verification failed: recovery key does not match submitted values. All shares are forgotten; begin again"
                }
            }));
        }
        let (done, installing) = hand_out(seal, rekey, W::TARGET, speech.form)?;
        if rekey.draft.is_none() {
            *slot = None;
        }
        Ok((Updated::Done(done), installing))
    }
}

/// Makes the new key. It holds once its shares are out, or waits in `rekey` for the proof of them.
pub(super) fn hand_out(
    seal: &SealOf<'_>,
    rekey: &mut Rekey,
    target: Target,
    form: Form,
) -> Result<(Complete, Option<Arc<Installing>>)> {
    let (kernel, config) = (seal.kernel, seal.config()?);
    let owned = config.split().is_some();
    let (new, key, shares) = match (config, target) {
        (SealConfig::Shamir(_), _) => {
            let (new, made) = seal.draft(rekey.split)?;
            let UnsealKey::Shamir(key) = made.key else {
                return Err(Error::internal("a seal of shares has a key that is not split"));
            };
            (new, key, made.shares)
        }
        (SealConfig::Static { .. }, Target::Recovery) => {
            let (new, shares) = kernel.store.draft_recovery(rekey.split)?;
            let enough = shares.get(..usize::from(rekey.split.threshold)).unwrap_or(&shares);
            let key = rekey.split.combine(enough).map_err(storage::Error::from)?;
            (new, key, shares)
        }
        (SealConfig::Static { .. }, Target::Root) => {
            seal.reroot()?;
            return Ok((Complete::of(rekey, form, &[], owned), None));
        }
    };
    let told = sealed(kernel, &rekey.owners, &shares)?;
    let kept = (rekey.keeping == Keeping::Wanted).then(|| backup::kept(rekey, &told));
    let installing = match rekey.proof {
        Proof::Unwanted => Some(Installing::new(seal.ns, target, new, kept)),
        Proof::Wanted => {
            kept.iter().try_for_each(|kept| backup::keep(seal, target, kept))?;
            let nonce = ids::new_uuid(&*kernel.env.random);
            rekey.draft = Some(Draft { seal: new, key, nonce, shown: Shown::default() });
            None
        }
    };
    Ok((Complete::of(rekey, form, &told, owned), installing))
}

/// The shares as they are handed out: each encrypted to its owner, in hex as people would read it; or as they are.
fn sealed(kernel: &Kernel, owners: &[PgpKey], shares: &[Share]) -> Result<Vec<Zeroizing<Vec<u8>>>> {
    if owners.is_empty() {
        return Ok(shares.iter().map(|share| Zeroizing::new(share.as_bytes().to_vec())).collect());
    }
    let both = owners.iter().zip(shares);
    let seal = |(owner, share): (&PgpKey, &Share)| {
        let text = Zeroizing::new(hex::encode(share.as_bytes()));
        owner.encrypt(text.as_bytes(), &*kernel.env.random).map(Zeroizing::new)
    };
    both.map(seal).collect()
}

fn texts(shares: &[Zeroizing<Vec<u8>>], spelled: impl Fn(&[u8]) -> String) -> Texts {
    Arc::new(Secret::new(shares.iter().map(|share| spelled(share)).collect()))
}

impl Complete {
    /// `owned`: owners were asked, so that there is a nonce.
    fn of(rekey: &Rekey, form: Form, shares: &[Zeroizing<Vec<u8>>], owned: bool) -> Self {
        let draft = rekey.draft.as_ref().map(|draft| draft.nonce.clone());
        Self {
            nonce: owned.then(|| rekey.nonce.clone()),
            complete: true,
            keys: texts(shares, |share| hex::encode(share)),
            keys_base64: texts(shares, |share| STANDARD.encode(share)),
            n: (!owned).then_some(rekey.split.shares),
            t: (!owned).then_some(rekey.split.threshold),
            pgp_fingerprints: fingerprints(&rekey.owners),
            backup: rekey.keeping == Keeping::Wanted,
            verification_required: rekey.proof == Proof::Wanted,
            verification_nonce: match form {
                Form::Rekey => draft,
                Form::Rotate => Some(draft.unwrap_or_default()),
            },
        }
    }
}
