//! The second step of a login that owes a second factor.

use std::sync::Arc;

use kit::loose::{Json, Text};
use kit::{Ask, Awaited, Beyond, Error, Fault, Reads, Recording, Reply, Result, Route, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use crate::envelope::Attached;
use crate::identity::Books;
use crate::identity::mfa::{Proofs, Round, Showing, Shown, WaitingLogin};
use crate::kernel::Kernel;
use crate::login::Door;
use crate::mounts::Mounted;
use crate::namespaces::Ns;
use crate::router::Router;

/// Shows the second factors that a login owes, and gives it its token.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Validate {
    /// The id that the login answered.
    #[serde(default)]
    mfa_request_id: Text,
    /// For each method, by id or name, a list with the code.
    mfa_payload: Option<Json>,
}

impl Ask<Sys> for Validate {
    const ROUTE: Route = Route::post("mfa/validate").unauthenticated();
    type Facts = (Arc<Kernel>, Round);
    type Heard = Proofs;
    type Reply = kit::Nothing;
    fn awaits(_: &Self::Facts) -> Awaited {
        Awaited::People
    }

    fn facts(&self, engine: &Sys, cx: &Recording<'_>) -> Result<(Arc<Kernel>, Round)> {
        let Text(id) = &self.mfa_request_id;
        if id.is_empty() {
            return Err(Error::invalid("missing request ID"));
        }
        let kernel = engine.kernel()?;
        let shown = shown(self.mfa_payload.as_ref())?;
        let login = kernel.waiting.get(id, cx.now()).ok_or_else(unknown)?;
        check_place(&login, Ns::of(cx))?;
        let txn = cx.peek(&Beyond::for_the_kernel());
        let router = kernel.router(txn.snapshot())?;
        let mounted = mounted(router.value(), &login)?;
        let books = Books::at(router.value(), &mounted)?;
        let (namespace, address) = (&mounted.namespace, cx.remote().address);
        let owed = books.owed(txn, &mounted, &login.entity)?;
        let round = books.round(txn, namespace, &login.entity, &owed, &shown, address)?;
        Ok((kernel, round))
    }

    async fn ask(&self, (kernel, round): &(Arc<Kernel>, Round), world: &dyn World) -> Result<Proofs> {
        Ok(round.ask(world, &kernel.waiting).await)
    }

    fn run(self, engine: &Sys, proofs: &Proofs, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let (beyond, now) = (Beyond::for_the_kernel(), cx.now());
        let Text(id) = self.mfa_request_id;
        let kernel = engine.kernel()?;
        let shown = shown(self.mfa_payload.as_ref())?;
        // Kept while this is run again after a conflict: it may have waited too long by then.
        let login = cx.once(|| kernel.waiting.get(&id, now).ok_or_else(unknown))?;
        check_place(&login, Ns::of(cx))?;
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let mounted = mounted(router.value(), &login)?;
        let remote = cx.remote().clone();
        let books = Books::at(router.value(), &mounted)?;
        let txn = cx.beyond(&beyond);
        txn.join(router.reads());
        let door = Door {
            router: router.value(),
            mounted: &mounted,
            path: &login.path,
            now,
            remote: &remote,
            role: login.role.as_deref(),
            within: None,
        };
        let showing = Showing { waiting: &kernel.waiting, entity: &login.entity, shown: &shown, proofs, now };
        // What is owed now: an enforcement may have come, or have other methods, since the login began.
        let owed = books.owed(txn, &mounted, &login.entity)?;
        books.settle_owed(txn, &owed, &showing)?.or_refuse()?;
        // Held like a claim, for all attempts, until what they come to is counted.
        let (role, path) = (login.role.as_deref(), format!("{}{}", mounted.namespace.path, login.path));
        let today = txn.snapshot().clone();
        cx.once(|| kernel.place_for_lease(&today, &path, role).map(Arc::new))?;
        let txn = cx.beyond(&beyond);
        let whom = kernel.whom(&door, txn, &login.claim)?;
        let (made, auth, warnings) = kernel.admit(&door, txn, login.claim.clone(), whom)?;
        let claimed = cx.once(|| kernel.waiting.claim(&id).map(Arc::new).ok_or_else(unknown))?;
        kernel.lockouts.clear(&mounted.entry.accessor, || login.who.clone());
        warnings.into_iter().for_each(|warning| cx.warn(warning));
        cx.notes().attach(&beyond, Box::new(Attached::Admitted(auth, made.hash, claimed)));
        Ok(Reply::Nothing)
    }
}

fn unknown() -> Error {
    Error::invalid("invalid request ID")
}

/// A login is finished where it began: what is closed there is closed to it.
fn check_place(login: &WaitingLogin, here: Ns) -> Result<()> {
    if login.namespace == here {
        return Ok(());
    }
    Err(Error::invalid("original request was issued in a different namespace"))
}

/// The auth mount that someone waits at, if it is still there.
fn mounted(router: &Router, login: &WaitingLogin) -> Result<Arc<Mounted>> {
    let mounted = crate::ids::mount(&login.mount).and_then(|id| router.by_id(&id).map(Arc::clone));
    mounted.ok_or_else(unknown)
}

/// The payload: a map of lists of strings, of which the first counts.
fn shown(payload: Option<&Json>) -> Result<Shown> {
    let mut shown = Shown::default();
    let wrong =
        || Error::invalid("invalid mfa payload: mfa_payload is a map from methods to lists of one string");
    let Some(Json(payload)) = payload.filter(|Json(payload)| !payload.is_null()) else { return Ok(shown) };
    // An empty list is a map of nothing, for languages in which the two look the same.
    if payload.as_array().is_some_and(Vec::is_empty) {
        return Ok(shown);
    }
    for (method, codes) in payload.as_object().ok_or_else(wrong)? {
        let code = match codes.as_array().ok_or_else(wrong)?.as_slice() {
            [] => "",
            [code] => code.as_str().ok_or_else(wrong)?,
            [_, ..] => {
                let text = "failed to parse MFA factor, found multiple passcodes for the same MFA method";
                return Err(Error::new(Fault::Denied, text));
            }
        };
        shown.insert(method, code);
    }
    Ok(shown)
}
