//! Beginning and ending a re-issue.

use std::ops::ControlFlow;
use std::time::Duration;

use kit::loose::{Flag, Number, Seconds, Text};
use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::known;
use super::scope::{REISSUES, Reissue, Scope, State};
use super::step::ReissueStep;
use crate::fields::text;
use crate::store::Id;
use crate::{Pki, key_mark};

/// The grace, unless the request says otherwise: time for agents that were away for a night.
const GRACE_SECONDS: u64 = 24 * 3600;
/// Below this, agents that ask every five minutes could find themselves revoked before they heard of it.
const GRACE_SECONDS_MIN: u64 = 15 * 60;
/// Revocations in one second, unless the request says otherwise, and at most.
const RATE: u64 = 50;
const RATE_MAX: u64 = 500;
/// So many go on at once, and so many that are over are remembered.
const OPEN_MAX: usize = 16;
const KEPT_MAX: usize = 64;
const REASON_SIZE_MAX: usize = 255;

/// Has every certificate of an issuer, a role, an owner or a key replaced, and then revokes the old ones.
///
/// The renewal information of those certificates lies in the past from now on, so that every holder renews. They are revoked
/// when `revoke_after` is over. Of several criteria all must hold. CAs are not touched.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Start {
    /// The issuer whose certificates are replaced: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// The role whose certificates are replaced.
    role: Option<Text>,
    /// The entity whose certificates are replaced.
    entity_id: Option<Text>,
    /// The certified key, in hex: its identifier (SHA-1), or the SHA-256 of its SPKI.
    key_id: Option<Text>,
    /// How long holders have; a day if left out.
    revoke_after: Option<Seconds>,
    /// Whether the old certificates are revoked; if not, they are left to end.
    revoke: Option<Flag>,
    /// How many are revoked in a second.
    per_second: Option<Number>,
    /// Whether to count only.
    dry_run: Option<Flag>,
    /// Why, for those who look later.
    reason: Option<Text>,
}

/// A re-issue that was begun.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Begun {
    /// Its id.
    id: String,
    /// When the old certificates are revoked.
    revoke_at: Option<String>,
}

impl Command<Pki> for Start {
    const ROUTE: Route = Route::post("reissue").sudo();
    type Reply = Begun;

    fn run(mut self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Begun>> {
        let scope = self.scope(cx)?;
        let reason = text(self.reason.take());
        if reason.len() > REASON_SIZE_MAX || reason.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "reason is longer than {REASON_SIZE_MAX} bytes, or holds control characters"
            )));
        }
        let dry_run = self.dry_run.unwrap_or_default().0;
        let grace = self.revoke_after.map_or(GRACE_SECONDS, |span| span.0);
        let revokes = self.revoke.is_none_or(|flag| flag.0) && !dry_run;
        if revokes && grace < GRACE_SECONDS_MIN {
            return Err(Error::invalid(format!(
                "revoke_after is {grace} s; holders ask every five minutes and need {GRACE_SECONDS_MIN} s at least. What must end now is revoked one by one, with revoke"
            )));
        }
        make_room(cx)?;
        let (id, now) = (Id::new(cx), cx.now());
        let per_second = self.per_second.map_or(RATE, |number| u64::try_from(number.0).unwrap_or(0));
        let reissue = Reissue {
            scope,
            reason,
            by: cx.caller().display_name.clone(),
            started: now,
            revoke_at: revokes.then(|| now.plus(Duration::from_secs(grace))),
            per_second: per_second.clamp(1, RATE_MAX),
            dry_run,
            state: State::Counting,
            after: String::new(),
            matched: 0,
            last_ends: 0,
            revoked: 0,
            failed: 0,
            finished: None,
        };
        REISSUES.put(cx, id.as_bytes(), &reissue)?;
        cx.later::<Pki, _>(Duration::ZERO, &ReissueStep::of(id, State::Counting))?;
        let revoke_at = reissue.revoke_at.map(|at| at.truncated().rfc3339());
        Ok(Reply::Data(Begun { id: id.to_string(), revoke_at }))
    }
}

impl Start {
    fn scope(&mut self, cx: &impl Reads) -> Result<Scope> {
        let issuer = text(self.issuer_ref.take());
        let issuer = match issuer.as_str() {
            "" => None,
            reference => Some(known::issuer(cx, reference)?),
        };
        let key = key_mark::named(&text(self.key_id.take()))?;
        let (role, owner) = (text(self.role.take()), text(self.entity_id.take()));
        let scope = Scope { issuer, role, owner, key };
        if scope.is_empty() {
            return Err(Error::invalid(
                "nothing says which certificates: give issuer_ref, role, entity_id or key_id",
            ));
        }
        known::check(cx, &scope)?;
        Ok(scope)
    }
}

/// Forgets the oldest that are over, and refuses more at once than anyone can follow.
fn make_room(cx: &mut Writing<'_>) -> Result<()> {
    let (mut open, mut over) = (0, Vec::new());
    REISSUES.scan(cx, &[], |id, reissue| {
        match reissue.state.is_open() {
            true => open += 1,
            false => over.push((reissue.started, id.to_vec())),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if open >= OPEN_MAX {
        return Err(Error::invalid(format!(
            "{OPEN_MAX} re-issues go on already; abort one, or wait until one is done"
        )));
    }
    over.sort();
    for (_, id) in over.iter().take((over.len() + 1).saturating_sub(KEPT_MAX)) {
        REISSUES.delete(cx, id)?;
    }
    Ok(())
}

/// Ends a re-issue: holders are not asked to renew any more, and nothing more is revoked.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Abort {
    /// Its id.
    id: String,
}

impl Command<Pki> for Abort {
    const ROUTE: Route = Route::post("reissue/{id}/abort");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let id = Id::parse(&self.id).ok_or_else(Error::not_found)?;
        let mut reissue = REISSUES.get(cx, id.as_bytes())?.ok_or_else(Error::not_found)?;
        if !reissue.state.is_open() {
            return Err(Error::invalid(format!(
                "it is {} already; what was revoked stays revoked",
                reissue.state.word()
            )));
        }
        (reissue.state, reissue.finished) = (State::Aborted, Some(cx.now()));
        REISSUES.put(cx, id.as_bytes(), &reissue)?;
        Ok(Reply::Nothing)
    }
}
