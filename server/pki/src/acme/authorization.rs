//! Authorizations: what must be proved for one name.

use kit::{Reads, Writing};
use serde::{Deserialize, Serialize};

use super::challenge;
use super::identifier::{Identifier, Name};
use super::place::Directory;
use super::problem::{Kind, Problem, Refused, Result};
use super::records::{
    AUTHORIZATIONS, AuthorizationRecord, AuthorizationStatus, ChallengeRecord, ChallengeStatus, ORDERS,
    OrderStatus, authorization_of,
};
use super::signed::{Asked, Said, signed_operation};
use crate::store::Id;

signed_operation! {
    /// Shows what must be proved for a name, or gives the name up.
    Authorization at "authorization/{auth_id}", by Account {
        /// The authorization's id.
        auth_id,
    } |cx, asked| answer(cx, &asked, &auth_id)
}

/// An authorization as clients see it.
#[derive(Serialize)]
pub(super) struct Shown {
    challenges: Vec<challenge::Shown>,
    expires: String,
    identifier: Identifier,
    status: AuthorizationStatus,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    wildcard: bool,
}

/// What a client may do with one.
#[derive(Deserialize)]
struct Wish {
    status: Option<String>,
}

fn answer(cx: &mut Writing<'_>, asked: &Asked<'_>, auth_id: &str) -> Result<Said> {
    let (id, mut record) = found(cx, asked, auth_id)?;
    if !asked.looks() {
        let wish: Wish = asked.json()?;
        if wish.status.as_deref() != Some("deactivated") {
            return Err(Refused::new(Kind::Malformed, "an authorization can only be deactivated"));
        }
        deactivate(cx, id, &mut record)?;
    }
    let soon = record.challenges.iter().filter_map(|one| one.asked_again(cx.now())).min();
    let said = Said::json(200, &shown(cx, asked.directory, id, &record))?;
    Ok(match soon {
        Some(seconds) => said.with("retry-after", seconds.to_string()),
        None => said,
    })
}

/// An authorization of the account that asks.
pub(super) fn found(cx: &Writing<'_>, asked: &Asked<'_>, auth_id: &str) -> Result<(Id, AuthorizationRecord)> {
    authorization_of(cx, asked.account()?.id, auth_id)?.ok_or_else(|| {
        Refused::new(Kind::Malformed, "this account has no such authorization").with_status(404)
    })
}

fn deactivate(cx: &mut Writing<'_>, id: Id, record: &mut AuthorizationRecord) -> Result<()> {
    match record.status_at(cx.now()) {
        AuthorizationStatus::Pending | AuthorizationStatus::Valid => {}
        AuthorizationStatus::Deactivated => return Ok(()),
        AuthorizationStatus::Invalid | AuthorizationStatus::Expired => {
            return Err(Refused::new(Kind::Malformed, "the authorization is over already"));
        }
    }
    record.status = AuthorizationStatus::Deactivated;
    AUTHORIZATIONS.put(cx, id.as_bytes(), record)?;
    fail_order(cx, record.order, Problem::new(Kind::Unauthorized, "an authorization was deactivated"))
}

/// Ends the order of an authorization, if it has one, that can no longer be fulfilled.
pub(super) fn fail_order(cx: &mut Writing<'_>, id: Option<Id>, problem: Problem) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let Some(mut order) = ORDERS.get(cx, id.as_bytes())? else { return Ok(()) };
    if matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) {
        order.status = OrderStatus::Invalid;
        order.problem = Some(problem);
        ORDERS.put(cx, id.as_bytes(), &order)?;
    }
    Ok(())
}

/// An authorization, with where its challenges are.
pub(super) fn shown(cx: &Writing<'_>, directory: &Directory, id: Id, record: &AuthorizationRecord) -> Shown {
    let status = record.status_at(cx.now());
    // What is proved, or has failed, names the way by which it was (RFC 8555 §7.1.4).
    let settled = match status {
        AuthorizationStatus::Valid => Some(ChallengeStatus::Valid),
        AuthorizationStatus::Invalid => Some(ChallengeStatus::Invalid),
        _ => None,
    };
    let by = |one: &&ChallengeRecord| settled == Some(one.status);
    let known = record.challenges.iter().any(|one| by(&one));
    let challenges = record.challenges.iter().filter(|one| !known || by(one));
    Shown {
        challenges: challenges.map(|one| challenge::Shown::of(directory, id, one)).collect(),
        expires: record.expires.truncated().rfc3339(),
        identifier: record.name.proved_as(),
        status,
        wildcard: matches!(record.name, Name::Wildcard(_)),
    }
}
