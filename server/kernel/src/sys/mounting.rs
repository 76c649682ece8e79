use std::collections::BTreeMap;
use std::sync::Arc;

use kit::{Beyond, Doing, Due, Error, Reads, Result, Writing};
use storage::Txn;

use super::class::Class;
use super::tune::Settings;
use crate::agenda::{self, Item};
use crate::kernel::Kernel;
use crate::leases::{self, Lease};
use crate::mounts::{MOUNTS_MAX, MountEntry, Mounted};
use crate::namespaces::Ns;
use crate::router::Conflict;
use crate::tokens;

/// How many leases are ended together with a mount; the agenda ends the others.
const PIECE: usize = 256;

/// What is to be mounted.
pub(super) struct Wish {
    /// Where, with its trailing slash; `auth/` in front for auth methods.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) description: String,
    pub(super) config: Settings,
    pub(super) options: BTreeMap<String, String>,
    pub(super) local: bool,
    pub(super) seal_wrap: bool,
    pub(super) external_entropy_access: bool,
}

/// Mounts what is wished for: from the commit on it answers.
///
/// # Errors
/// If the path is taken or kept for the server, or the engine refuses its options.
pub(super) fn mount<C: Class>(kernel: &Kernel, cx: &mut Writing<'_>, wish: Wish) -> Result<()> {
    let beyond = Beyond::for_the_kernel();
    let settings = &kernel.env.settings;
    let mut entry = MountEntry::new(Ns::of(cx), C::CLASS, &wish.path, kind(&wish.kind), cx.randomness());
    wish.config.apply_new(&mut entry, settings.max_lease_ttl.as_secs())?;
    if wish.kind.is_empty() {
        return Err(Error::invalid("backend type must be specified as a string"));
    }
    C::may_mount(&wish.path, &wish.kind)?;
    let router = kernel.router(cx.peek(&beyond).snapshot())?;
    let space = router.value().here(cx)?;
    match router.value().conflict(space, &wish.path) {
        Some(Conflict::Mount(taken)) => {
            let taken = taken.strip_prefix(C::PREFIX).unwrap_or(taken);
            return Err(Error::invalid(format!("path is already in use at {taken}")));
        }
        Some(Conflict::Namespace(taken)) => {
            return Err(Error::invalid(format!("existing mount at {taken}")));
        }
        None => {}
    }
    if router.value().count_mounts() >= MOUNTS_MAX {
        return Err(Error::invalid(format!(
            "there are {MOUNTS_MAX} mounts already; disable one that is not used any more"
        )));
    }
    let known = match C::CLASS {
        crate::mounts::Class::Auth => kernel.mounts.registry().method_kinds(),
        _ => kernel.mounts.registry().engine_kinds(),
    };
    if !known.contains(&entry.kind.as_str()) {
        return Err(Error::invalid(format!("plugin not found in the catalog: {}", wish.kind)));
    }
    if entry.kind != "kv" && wish.options.contains_key("version") {
        let text = format!("{} {:?} does not allow setting a version", C::NOUN, entry.kind);
        return Err(Error::invalid(text));
    }
    entry.description = wish.description;
    entry.local = wish.local;
    entry.seal_wrap = wish.seal_wrap;
    entry.external_entropy_access = wish.external_entropy_access;
    entry.options = Some(options(&wish.kind, wish.options));
    let mounted = kernel.mounts.open(entry, Arc::clone(&space.namespace), kernel)?;
    mounted.entry.store(cx.beyond(&beyond))?;
    let now = cx.now();
    enter_periodic(kernel, cx.beyond(&beyond), &mounted, now)
}

/// Ends a mount. It answers nobody from the commit on, and every token that came by it is dead; what it did outside is
/// undone, and what it stored is swept away later, piece by piece.
///
/// # Errors
/// If the store does not answer.
pub(super) fn unmount(cx: &mut Writing<'_>, mounted: &Mounted) -> Result<()> {
    let entry = &mounted.entry;
    let (now, sweep, rest) = (cx.now(), cx.random::<16>(), cx.random::<16>());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    if mounted.acts_outside() {
        // What it did outside is undone first, and it takes the mount to do that.
        MountEntry { ended: Some(now), ..entry.clone() }.store(txn)?;
        return agenda::enter(txn, now, sweep, &Item::Unmount { mount: entry.uuid.clone(), attempts: 0 });
    }
    entry.forget(txn)?;
    agenda::enter(txn, now, sweep, &Item::Sweep { mount: entry.uuid.clone() })?;
    // What a lease stands for lies in the mount and goes with it, so there is nothing to take back.
    let ids = leases::below(txn, entry.namespace, &entry.path, now, PIECE)?;
    for id in &ids {
        match leases::find(txn, id)? {
            Some(Lease::Thing(thing)) => leases::forget(txn, id, &thing)?,
            Some(Lease::Token { hash }) => tokens::revoke(txn, hash, now)?,
            None => leases::forget_by_id(txn, id)?,
        }
    }
    if ids.len() == PIECE {
        let (namespace, prefix) = (entry.namespace, entry.path.clone());
        let item = Item::EndAll { namespace, prefix, force: true, until: now };
        agenda::enter(txn, now, rest, &item)?;
    }
    Ok(())
}

/// Enters what a mount does by itself. Each run enters the next.
fn enter_periodic(kernel: &Kernel, txn: &mut Txn, mounted: &Mounted, now: kit::Time) -> Result<()> {
    let periodic = mounted.engine.catalog().into_iter().filter(|listed| listed.route.verb.is_none());
    let due = periodic.filter_map(|listed| {
        let at = now.plus(listed.route.every?);
        Some(Due {
            at,
            operation: listed.route.pattern.into(),
            fields: serde_json::json!({}),
            doing: Doing::Run,
        })
    });
    kernel.enter_due(txn, &mounted.entry.uuid, due.collect())
}

/// The type under which an alias is mounted.
fn kind(asked: &str) -> &str {
    match asked {
        "kv-v1" | "kv-v2" | "generic" => "kv",
        other => other,
    }
}

/// The options that an alias stands for, over those that were given.
fn options(asked: &str, mut options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let version = match asked {
        "kv-v1" => "1",
        "kv-v2" => "2",
        _ => return options,
    };
    options.insert("version".to_owned(), version.to_owned());
    options
}
