//! The second step of a login that owes a second factor.

use std::sync::Arc;

use kit::loose::{Json, Text};
use kit::{Beyond, Command, Error, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Sys;
use crate::envelope::Attached;
use crate::identity::mfa::Shown;
use crate::lockout::Rule;
use crate::login::Door;

/// Shows the second factors that a login owes, and gives it its token.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Validate {
    /// The id that the login answered.
    #[serde(default)]
    mfa_request_id: Text,
    /// For each method, by id or name, a list with the code.
    mfa_payload: Option<Json>,
}

impl Command<Sys> for Validate {
    const ROUTE: Route = Route::post("mfa/validate").unauthenticated();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let (beyond, now) = (Beyond::for_the_kernel(), cx.now());
        let Text(id) = self.mfa_request_id;
        if id.is_empty() {
            return Err(Error::invalid("missing request ID"));
        }
        let unknown = || Error::invalid("invalid request ID");
        let kernel = engine.kernel()?;
        let shown = shown(self.mfa_payload)?;
        // Kept while this is run again after a conflict: the login waits no more once it is taken.
        let login = cx.once(|| kernel.waiting.get(&id, now).ok_or_else(unknown))?;
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let mounted =
            crate::ids::mount(&login.mount).and_then(|id| router.value().by_id(&id).map(Arc::clone));
        let mounted = mounted.ok_or_else(unknown)?;
        let remote = cx.remote().clone();
        let book = crate::identity::book(router.value(), &mounted).ok_or_else(unknown)?;
        let txn = cx.beyond(&beyond);
        txn.join(router.reads());
        let door = Door {
            router: router.value(),
            mounted: &mounted,
            path: &login.path,
            now,
            remote: &remote,
            role: None,
        };
        let settled = book.settle_owed(txn, &kernel.waiting, &login.entity, &login.owed, &shown, now);
        settled.inspect_err(|_| {
            if let Some(rule) = Rule::of(&mounted, &kernel.env.settings.lockouts) {
                kernel.lockouts.failed(&mounted.entry.accessor, &login.who, rule, now);
            }
        })?;
        let whom = kernel.whom(&door, txn, &login.claim)?;
        let (made, auth, warnings) = kernel.admit(&door, txn, login.claim.clone(), whom)?;
        if !cx.once(|| Ok(kernel.waiting.take(&id)))? {
            return Err(unknown());
        }
        kernel.lockouts.clear(&mounted.entry.accessor, &login.who);
        warnings.into_iter().for_each(|warning| cx.warn(warning));
        let hash = (!made.record.batch).then_some(made.hash);
        cx.notes().attach(&beyond, Box::new(Attached::Auth(auth, hash)));
        Ok(Reply::Nothing)
    }
}

/// The payload: a map of lists of strings, of which the first counts.
fn shown(payload: Option<Json>) -> Result<Shown> {
    let mut shown = Shown::default();
    let wrong = || Error::invalid("mfa_payload is a map from methods to lists of strings");
    let Some(Json(payload)) = payload.filter(|Json(payload)| !payload.is_null()) else { return Ok(shown) };
    for (method, codes) in payload.as_object().ok_or_else(wrong)? {
        let code = match codes {
            Value::Array(codes) => codes.first().map_or(Ok(""), |code| code.as_str().ok_or_else(wrong))?,
            Value::String(code) => code.as_str(),
            _ => return Err(wrong()),
        };
        shown.insert(method, code);
    }
    Ok(shown)
}
