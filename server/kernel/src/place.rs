//! Where a request leads: which namespace, and whether that can be entered.

use std::sync::Arc;

use kit::{Error, Fault, Found, Result};
use policy::Path;
use storage::Snapshot;

use crate::kernel::Kernel;
use crate::mounts::{Class, Mounted};
use crate::namespaces;
use crate::request::Request;
use crate::router::{Router, Space};
use crate::tokens::{self, Uses};
use crate::walk::Trip;

/// What a token asks about itself or about a wrapping is asked in its own namespace, wherever the request leads.
const OWN: [&str; 6] = [
    "auth/token/lookup-self",
    "auth/token/renew-self",
    "auth/token/revoke-self",
    "sys/wrapping/lookup",
    "sys/wrapping/rewrap",
    "sys/wrapping/unwrap",
];
/// What a locked namespace still answers, and what lies below it.
const UNLOCK: &str = "sys/namespaces/api-lock/unlock";
/// Paths of `sys/` and below that are about the server as a whole, whether or not this server has them.
const SERVER: [&str; 13] = [
    "generate-root",
    "health",
    "in-flight-req",
    "init",
    "metrics",
    "pprof",
    "raw",
    "rekey",
    "rekey-recovery-key",
    "seal",
    "step-down",
    "storage/raft",
    "unseal",
];
/// Paths of `sys/` about keys, of which a namespace has some of its own if it has a seal.
const KEYS: [&str; 3] = ["generate-root-token", "key-status", "rotate"];

/// The namespace that a request leads into. The header names one and the path may lead on from there; what comes of
/// both is one path from the root on, and everybody reads that one.
///
/// # Errors
/// If there is no such namespace, or it is locked.
pub(crate) fn find<'r>(
    kernel: &Kernel,
    request: &Request,
    today: &Snapshot,
    router: &'r Router,
    trip: &mut Trip,
) -> Result<&'r Arc<Space>> {
    if !request.namespace.is_empty() {
        let named = format!("{}/", request.namespace);
        router.space_at(&named).ok_or_else(|| Error::new(Fault::NotFound, "namespace not found"))?;
        if trip.path.is_none() {
            trip.path = Some(path(request.path.within(&named))?);
        }
    }
    let asked = trip.path.as_ref().unwrap_or(&request.path);
    let (mut space, rest) = router.locate(asked.as_str());
    trip.namespace = Some(Arc::clone(&space.namespace));
    check_seal(request, space, rest)?;
    check_lock(space, rest)?;
    if router.count_namespaces() > 1
        && let Some(token) = trip.token(request)
        && OWN.contains(&rest)
        && let Some(own) = router.by_suffix(namespaces::suffix(token.expose()))
        && own.namespace.ns != space.namespace.ns
    {
        if own.sealed {
            return Err(Error::new(Fault::Unavailable, tokens::SEALED));
        }
        if own.locked.is_some() {
            // A token that is none stays where it was shown: to a stranger nothing is said of the namespace it names.
            let (store, now) = (&kernel.store, trip.now);
            let known = kernel.tokens.identify(token.expose(), store, today, now, &trip.remote, Uses::Left);
            if known.is_err() {
                return Ok(space);
            }
            check_lock(own, rest)?;
        }
        trip.path = Some(path(Path::internal(&own.full(rest)))?);
        trip.namespace = Some(Arc::clone(&own.namespace));
        space = own;
    }
    Ok(space)
}

impl Kernel {
    /// Whether a request leads to this place of `sys/` in a namespace beneath the root, and one that answers.
    pub fn leads_beneath(&self, request: &Request, place: &str) -> bool {
        let Ok(router) = self.router(&self.store.snapshot()) else { return false };
        let named = match request.namespace.as_str() {
            "" => String::new(),
            named => format!("{named}/"),
        };
        let Ok(path) = request.path.within(&named) else { return false };
        let (space, rest) = router.value().locate(path.as_str());
        router.value().space_at(&named).is_some()
            && !space.namespace.ns.is_root()
            && rest.strip_prefix("sys/") == Some(place)
            && check_seal(request, space, rest).is_ok()
            && check_lock(space, rest).is_ok()
    }
}

fn path(made: Result<Path, policy::BadPath>) -> Result<Path> {
    made.map_err(|bad| Error::invalid(bad.to_string()))
}

/// A sealed namespace answers nobody, and nobody is asked who they are: it could not know.
fn check_seal(request: &Request, space: &Space, rest: &str) -> Result<()> {
    if !space.sealed {
        return Ok(());
    }
    let server = rest.strip_prefix("sys/").is_some_and(|rest| SERVER.iter().any(|place| is_at(rest, place)));
    match server && !request.namespace.is_empty() {
        true => Err(Error::invalid("operation unavailable in namespaces")),
        false => Err(Error::new(Fault::Unavailable, "namespace is sealed")),
    }
}

/// Whether a path is this place or lies below it.
fn is_at(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn check_lock(space: &Space, rest: &str) -> Result<()> {
    let Some(locked) = &space.locked else { return Ok(()) };
    let below = rest.strip_prefix(UNLOCK);
    if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
        return Ok(());
    }
    let text = format!(
        "API access to this namespace has been locked by an administrator - {locked:?} must be unlocked to gain access."
    );
    Err(Error::new(Fault::Unavailable, text))
}

/// Whether an operation can be reached where it is asked: some answer in the root namespace alone.
///
/// # Errors
/// If it cannot.
pub(crate) fn check_reach(request: &Request, mounted: &Mounted, rest: &str) -> Result<()> {
    if mounted.namespace.ns.is_root() || mounted.entry.class != Class::System {
        return Ok(());
    }
    let whole = |place: &&str| is_at(rest, place);
    let sys = mounted.entry.path == "sys/";
    let server = sys && SERVER.iter().any(whole);
    if sys && KEYS.iter().any(whole) {
        return Ok(());
    }
    // What the header alone says is refused before it is looked at where it leads.
    if server && !request.namespace.is_empty() && request.path.as_str().starts_with("sys/") {
        return Err(Error::invalid("operation unavailable in namespaces"));
    }
    match mounted.engine.find(request.verb, rest) {
        Found::Here { route, .. } if route.root_only => {}
        _ if server => {}
        _ => return Ok(()),
    }
    Err(Error::invalid("operation only available in root namespace"))
}

/// Whether the keys that an operation is about are there: those of a namespace are, if it has a seal. Only who may ask is
/// told that it has none.
///
/// # Errors
/// If they are not.
pub(crate) fn check_keys(space: &Space, mounted: &Mounted, rest: &str) -> Result<()> {
    let inner = !mounted.namespace.ns.is_root() && mounted.entry.path == "sys/";
    match inner && KEYS.iter().any(|place| is_at(rest, place)) && !space.has_seal() {
        true => Err(Error::invalid("namespace is not sealable")),
        false => Ok(()),
    }
}
