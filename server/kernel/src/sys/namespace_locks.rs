use aws_lc_rs::{constant_time, digest};
use kit::{Beyond, Command, Error, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::ids;
use crate::namespaces::{Lock, NamespaceEntry};
use crate::router::Router;

#[derive(JsonSchema, Serialize)]
pub(super) struct Locked {
    unlock_key: String,
}

/// Locks this namespace and those beneath it: they answer no one until it is unlocked. The key for that is shown once.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LockHere {}

impl Command<Sys> for LockHere {
    const ROUTE: Route = Route::post("namespaces/api-lock/lock").logged();
    type Reply = Locked;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Locked>> {
        lock(engine, cx, "")
    }
}

/// Locks a namespace beneath this one and those beneath that. The key that unlocks it is shown once.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LockOther {
    /// Its path from here.
    path: String,
}

impl Command<Sys> for LockOther {
    const ROUTE: Route = Route::post("namespaces/api-lock/lock/{path+}").logged();
    type Reply = Locked;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Locked>> {
        lock(engine, cx, &self.path)
    }
}

fn lock(engine: &Sys, cx: &mut Writing<'_>, path: &str) -> Result<Reply<Locked>> {
    let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
    let router = kernel.router(cx.peek(&beyond).snapshot())?;
    let (entry, locked) = meant(router.value(), cx, path)?;
    match locked {
        Some(locked) if *locked == entry.path => {
            return Err(Error::invalid(format!("cannot lock namespace {locked:?}: is already locked")));
        }
        Some(above) => {
            return Err(Error::invalid(format!(
                "cannot lock namespace {:?}: ancestor namespace {above:?} is already locked",
                entry.path
            )));
        }
        None => {}
    }
    let unlock_key = ids::base62(cx.randomness(), ids::LENGTH);
    let lock = Some(Lock { key_hash: hash(&unlock_key) });
    NamespaceEntry { lock, ..entry }.store(cx.beyond(&beyond))?;
    Ok(Locked { unlock_key }.into())
}

/// Unlocks this namespace, by its key or by `sudo`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct UnlockHere {
    /// What locking it answered. Not needed with `sudo`.
    unlock_key: Option<Secret<String>>,
}

impl Command<Sys> for UnlockHere {
    const ROUTE: Route = Route::post("namespaces/api-lock/unlock").logged();
    type Reply = Option<()>;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        unlock(engine, cx, "", self.unlock_key)
    }
}

/// Unlocks a namespace beneath this one, by its key or by `sudo`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct UnlockOther {
    /// Its path from here.
    path: String,
    /// What locking it answered. Not needed with `sudo`.
    unlock_key: Option<Secret<String>>,
}

impl Command<Sys> for UnlockOther {
    const ROUTE: Route = Route::post("namespaces/api-lock/unlock/{path+}").logged();
    type Reply = Option<()>;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        unlock(engine, cx, &self.path, self.unlock_key)
    }
}

fn unlock(
    engine: &Sys,
    cx: &mut Writing<'_>,
    path: &str,
    key: Option<Secret<String>>,
) -> Result<Reply<Option<()>>> {
    let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
    let router = kernel.router(cx.peek(&beyond).snapshot())?;
    let (entry, _) = meant(router.value(), cx, path)?;
    let Some(lock) = &entry.lock else {
        return Err(Error::invalid(format!("namespace {:?} is not locked", entry.path)));
    };
    let reply = match key.filter(|key| !key.expose().is_empty()) {
        Some(key) if constant_time::verify_slices_are_equal(&hash(key.expose()), &lock.key_hash).is_ok() => {
            Reply::Nothing
        }
        Some(_) => return Err(Error::invalid("incorrect unlock key")),
        None if cx.sudo() => {
            cx.warn("Namespace unlocked using sudo capabilities");
            Reply::Data(None)
        }
        None => return Err(Error::listed("provided empty key")),
    };
    NamespaceEntry { lock: None, ..entry }.store(cx.beyond(&beyond))?;
    Ok(reply)
}

/// The namespace that a path means from here, and the path of the one whose lock closes it.
fn meant<'a>(
    router: &'a Router,
    cx: &impl Reads,
    path: &str,
) -> Result<(NamespaceEntry, Option<&'a String>)> {
    let path = path.trim_matches('/');
    let end = if path.is_empty() { "" } else { "/" };
    let space = router.space_at(&format!("{}{path}{end}", cx.mount().namespace));
    let space = space.ok_or_else(|| Error::invalid("requested namespace does not exist"))?;
    match &space.entry {
        Some(entry) => Ok((entry.clone(), space.locked.as_ref())),
        None => Err(Error::invalid("root namespace cannot be locked/unlocked")),
    }
}

fn hash(key: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
