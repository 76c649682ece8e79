use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Result};
use storage::NewSeal;
use storage::seal::shamir::Share;
use storage::seal::{KeyBytes, Split};
use zeroize::Zeroizing;

use crate::namespaces::Ns;
use crate::openpgp::PgpKey;

/// What several people do together, each with a share of a key, one request after the other: the owners of the server's
/// key, and those of a namespace's with a seal of its own. Soft by design: a restart forgets it, and so does sealing the
/// namespace, and they begin again.
#[derive(Default)]
pub(crate) struct Ceremonies(Mutex<HashMap<Ns, Arc<Gathering>>>);

/// What the owners of one seal do.
#[derive(Default)]
pub(crate) struct Gathering {
    root: Mutex<Option<Rekey>>,
    recovery: Mutex<Option<Rekey>>,
    generation: Mutex<Option<Generation>>,
}

/// Which key is made anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// The root key, and with it the shares that unseal.
    Root,
    /// The recovery key of a server that unseals itself.
    Recovery,
}

/// Whether the new shares must be shown before they hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    /// They must.
    Wanted,
    /// They hold at once.
    Unwanted,
}

/// A key that is being made anew.
pub(crate) struct Rekey {
    pub(crate) nonce: String,
    pub(crate) split: Split,
    pub(crate) proof: Proof,
    pub(crate) shown: Shown,
    pub(crate) draft: Option<Draft>,
    /// Whom each new share is encrypted to; nobody: shares are handed out as they are.
    pub(crate) owners: Vec<PgpKey>,
    pub(crate) keeping: Keeping,
}

/// Whether encrypted shares are kept, too, until somebody forgets them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keeping {
    Wanted,
    Unwanted,
}

/// A new seal whose shares are handed out and not proven yet.
pub(crate) struct Draft {
    pub(crate) seal: NewSeal,
    pub(crate) key: KeyBytes,
    pub(crate) nonce: String,
    pub(crate) shown: Shown,
}

/// A root token that is being made.
pub(crate) struct Generation {
    pub(crate) nonce: String,
    pub(crate) cover: Cover,
    pub(crate) shown: Shown,
}

/// What a root token is hidden by on its way.
#[derive(Clone)]
pub(crate) enum Cover {
    /// A one-time password.
    Otp(Zeroizing<String>),
    /// Somebody's key.
    Pgp(Box<PgpKey>),
}

/// The shares that were shown so far.
#[derive(Default)]
pub(crate) struct Shown(Vec<Share>);

/// What one more share comes to.
pub(crate) enum Added {
    /// It was shown before.
    Again,
    /// More are wanted.
    Wanting,
    /// There are enough. None is kept.
    Enough(Vec<Share>),
}

impl Ceremonies {
    /// What the owners of this namespace's seal do; in the root, those of the server's.
    pub(crate) fn of(&self, ns: Ns) -> Arc<Gathering> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(&ns) {
            // Those who do nothing are not remembered, so there are no more than there are seals.
            all.retain(|_, gathering| Arc::strong_count(gathering) > 1 || gathering.is_busy());
        }
        Arc::clone(all.entry(ns).or_default())
    }

    /// Forgets what is under way in these namespaces.
    pub(crate) fn forget(&self, namespaces: &[Ns]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        namespaces.iter().for_each(|ns| drop(all.remove(ns)));
    }
}

impl Gathering {
    fn is_busy(&self) -> bool {
        let rekeys = [Target::Root, Target::Recovery];
        self.generation().is_some() || rekeys.into_iter().any(|target| self.rekey(target).is_some())
    }

    /// The one that makes this key anew, if it is under way.
    pub(crate) fn rekey(&self, target: Target) -> MutexGuard<'_, Option<Rekey>> {
        let rekey = match target {
            Target::Root => &self.root,
            Target::Recovery => &self.recovery,
        };
        rekey.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that makes a root token, if it is under way.
    pub(crate) fn generation(&self) -> MutexGuard<'_, Option<Generation>> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Adds a share; once there are `required`, hands all of them out.
    pub(crate) fn add(&mut self, share: Share, required: u8) -> Added {
        if self.0.iter().any(|known| known.as_bytes() == share.as_bytes()) {
            return Added::Again;
        }
        self.0.push(share);
        if self.0.len() < usize::from(required) {
            return Added::Wanting;
        }
        Added::Enough(std::mem::take(&mut self.0))
    }
}

/// Whether these shares make `key`.
pub(crate) fn make_up(shares: &[Share], split: Split, key: &KeyBytes) -> bool {
    use subtle::ConstantTimeEq;
    split.combine(shares).is_ok_and(|made| made.expose().ct_eq(key.expose()).into())
}

/// Reads a share as people were given it, in hex or base64.
pub(crate) fn share(text: &str) -> Result<Share> {
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
    let bytes = Zeroizing::new(
        bytes
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| Error::invalid("'key' must be a valid hex or base64 string"))?,
    );
    Share::shown(&bytes).map_err(|misfit| Error::invalid(misfit.to_string()))
}

/// Whether someone names the nonce of what is under way, so that nobody adds a share to what another began.
pub(crate) fn same(nonce: &str, shown: &str) -> bool {
    use subtle::ConstantTimeEq;
    nonce.as_bytes().ct_eq(shown.as_bytes()).into()
}
