//! The pieces of a re-issue: counting, then revoking, each piece a transaction that enters the next.

use std::ops::ControlFlow;
use std::time::Duration;

use kit::{Command, Error, Nothing, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Reason};

use super::scope::{REISSUES, Reissue, State};
use crate::Pki;
use crate::authorities::refused;
use crate::issued::{self, Class, Place};
use crate::revoke::{Found, revoke};
use crate::store::{CERTIFICATES, Id, REVOKED};

/// How many certificates one piece looks at.
const PAGE: usize = 500;
/// How many entries of the index it looks at for them, where it tells by those alone that most are others.
const ENTRIES: usize = 5000;
/// Between two pieces that revoke as many as a second may have.
const SECOND: Duration = Duration::from_secs(1);

/// Does one piece of a re-issue, and enters the next.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct ReissueStep {
    id: String,
    /// The state for which it was entered: what was aborted meanwhile, or went on, is left alone.
    state: String,
}

impl ReissueStep {
    /// Of this one, in this state.
    pub(super) fn of(id: Id, state: State) -> Self {
        Self { id: id.to_string(), state: state.word().to_owned() }
    }
}

impl Command<Pki> for ReissueStep {
    const ROUTE: Route = Route::internal("reissue-step");
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let id = Id::parse(&self.id).ok_or_else(|| Error::internal("the id of a re-issue is no UUID"))?;
        let Some(mut reissue) = REISSUES.get(cx, id.as_bytes())? else { return Ok(Reply::Nothing) };
        if reissue.state.word() != self.state {
            return Ok(Reply::Nothing);
        }
        let wait = match reissue.state {
            State::Counting => count(cx, &mut reissue)?,
            State::Waiting => end_grace(cx, &mut reissue),
            State::Revoking => revoke_some(cx, &mut reissue)?,
            State::Done | State::Aborted => return Ok(Reply::Nothing),
        };
        if !reissue.state.is_open() {
            reissue.finished = Some(cx.now());
        }
        REISSUES.put(cx, id.as_bytes(), &reissue)?;
        if reissue.state.is_open() {
            cx.later::<Pki, _>(wait, &ReissueStep::of(id, reissue.state))?;
        }
        Ok(Reply::Nothing)
    }
}

/// What one piece found.
struct Piece {
    /// The live certificates that the re-issue is about and that are not revoked.
    found: Vec<(Certificate, Option<Id>)>,
    /// Whether nothing comes after.
    is_last: bool,
}

/// Looks at certificates from where the last piece ended, until a page is full or so many are found.
fn piece(cx: &Writing<'_>, reissue: &mut Reissue, found_max: usize) -> Result<Piece> {
    let mut place = Place::read(&reissue.after);
    let (mut found, mut seen, mut passed) = (Vec::new(), 0, 0);
    let wanted = |class: &Class| reissue.scope.may_name(class);
    let is_last = issued::walk(cx, &mut place, wanted, |entry, _, _| {
        if !reissue.scope.may_be(entry) {
            passed += 1;
            return Ok(if passed < ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
        }
        seen += 1;
        if reissue.reaches(&entry.serial)
            && REVOKED.get(cx, &entry.serial)?.is_none()
            && let Some(record) = CERTIFICATES.get(cx, &entry.serial)?
        {
            let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
            if reissue.covers(&record, &certificate) {
                found.push((certificate, record.issuer));
            }
        }
        let goes_on = seen < PAGE && found.len() < found_max;
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    reissue.after = place.text();
    Ok(Piece { found, is_last })
}

fn count(cx: &Writing<'_>, reissue: &mut Reissue) -> Result<Duration> {
    if Place::read(&reissue.after).is_start() {
        (reissue.matched, reissue.last_ends) = (0, 0);
    }
    let piece = piece(cx, reissue, PAGE)?;
    reissue.matched += piece.found.len() as u64;
    let ends = piece.found.iter().map(|(certificate, _)| certificate.validity().not_after).max();
    reissue.last_ends = reissue.last_ends.max(ends.unwrap_or(0));
    if !piece.is_last {
        return Ok(Duration::ZERO);
    }
    reissue.after = String::new();
    reissue.state = if reissue.dry_run || reissue.matched == 0 { State::Done } else { State::Waiting };
    let until = reissue.revoke_at.unwrap_or(kit::Time::from_seconds(reissue.last_ends));
    Ok(cx.now().until(until))
}

fn end_grace(cx: &Writing<'_>, reissue: &mut Reissue) -> Duration {
    match reissue.revoke_at {
        // The agenda is never early, but a date is a date.
        Some(at) if at > cx.now() => return cx.now().until(at),
        Some(_) => reissue.state = State::Revoking,
        None => reissue.state = State::Done,
    }
    Duration::ZERO
}

fn revoke_some(cx: &mut Writing<'_>, reissue: &mut Reissue) -> Result<Duration> {
    let rate = usize::try_from(reissue.per_second).unwrap_or(usize::MAX);
    let piece = piece(cx, reissue, rate)?;
    let wait = if piece.found.len() < rate { Duration::ZERO } else { SECOND };
    // Words of the operator's; where they are those of RFC 5280, lists and OCSP answers say them.
    let reason = Reason::parse(&reissue.reason).ok().flatten();
    for (certificate, issuer) in piece.found {
        // One that cannot be revoked does not keep the others from it.
        match revoke(cx, &Found::stored(certificate, issuer), reason) {
            Ok(_) => reissue.revoked += 1,
            Err(_) => reissue.failed += 1,
        }
    }
    if piece.is_last {
        reissue.state = State::Done;
    }
    Ok(wait)
}
