//! Orders as clients see them, and their end.

use std::time::Duration;

use kit::{Command, Nothing, Reads, Reply, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Serial};

use super::identifier::{Identifier, Name};
use super::place::Directory;
use super::problem::{Document, Kind, Problem, Refused, Result};
use super::records::{
    ACCOUNT_ORDERS, AUTHORIZATIONS, AuthorizationStatus, ISSUED, ORDERS, OrderRecord, OrderStatus, order_of,
};
use super::signed::{Asked, Said, signed_operation};
use crate::Pki;
use crate::authorities::refused;
use crate::store::{CERTIFICATES, Id};

/// How long an order is kept when it is over, so that its client can learn why.
pub(super) const KEPT: Duration = Duration::from_secs(86_400);

signed_operation! {
    /// Shows an order.
    ShowOrder at "order/{order_id}", by Account {
        /// The order's id.
        order_id,
    } |cx, asked| show(cx, &asked, &order_id)
}

/// An order as clients see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    authorizations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Document>,
    expires: String,
    finalize: String,
    identifiers: Vec<Identifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    status: OrderStatus,
}

fn show(cx: &mut Writing<'_>, asked: &Asked<'_>, order_id: &str) -> Result<Said> {
    let (id, order) = found(cx, asked, order_id)?;
    shown(cx, asked.directory, id, &order, 200)
}

/// An order of the account that asks.
pub(super) fn found(cx: &Writing<'_>, asked: &Asked<'_>, order_id: &str) -> Result<(Id, OrderRecord)> {
    order_of(cx, asked.account()?.id, order_id)?
        .ok_or_else(|| Refused::new(Kind::Malformed, "this account has no such order").with_status(404))
}

/// How an order stands now. One that is not issued yet is over with any of its proofs: those that were there before it
/// end without knowing of it.
pub(super) fn standing(cx: &impl Reads, order: &OrderRecord) -> kit::Result<OrderStatus> {
    let (now, status) = (cx.now(), order.status_at(cx.now()));
    if !matches!(status, OrderStatus::Pending | OrderStatus::Ready) {
        return Ok(status);
    }
    for id in &order.authorizations {
        let proof = AUTHORIZATIONS.get(cx, id.as_bytes())?.map(|record| record.status_at(now));
        if !matches!(proof, Some(AuthorizationStatus::Pending | AuthorizationStatus::Valid)) {
            return Ok(OrderStatus::Invalid);
        }
    }
    Ok(status)
}

/// What ended an order, if it is over.
fn ended_by(order: &OrderRecord, standing: OrderStatus, now: kit::Time) -> Option<Problem> {
    let lost = standing != order.status_at(now);
    let lost = lost.then(|| Problem::new(Kind::Unauthorized, "a proof of the order does not count any more"));
    order.problem.clone().or(lost)
}

/// An order, with where it is.
pub(super) fn shown(
    cx: &Writing<'_>,
    directory: &Directory,
    id: Id,
    order: &OrderRecord,
    status: u16,
) -> Result<Said> {
    let location = directory.url(format_args!("order/{id}"));
    let authorization = |id: &Id| directory.url(format_args!("authorization/{id}"));
    let time = |time: &kit::Time| time.rfc3339();
    let standing = standing(cx, order)?;
    let shown = Shown {
        authorizations: order.authorizations.iter().map(authorization).collect(),
        certificate: order.serial.as_ref().map(|_| format!("{location}/cert")),
        error: ended_by(order, standing, cx.now()).map(|problem| problem.document()),
        expires: order.expires.truncated().rfc3339(),
        finalize: format!("{location}/finalize"),
        identifiers: order.names.iter().map(Name::identifier).collect(),
        not_after: order.not_after.as_ref().map(time),
        not_before: order.not_before.as_ref().map(time),
        profile: order.profile.clone(),
        replaces: order.replaces.clone(),
        status: standing,
    };
    Ok(Said::json(status, &shown)?.with("location", location))
}

/// Clears an order away that is over, and with it what was to be proved for it. One whose certificate is still good
/// is kept as long as that.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct ForgetOrder {
    /// The order's id.
    pub(super) order: String,
}

impl Command<Pki> for ForgetOrder {
    const ROUTE: Route = Route::internal("acme-forget-order").small();
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        let Some(id) = Id::parse(&self.order) else { return Ok(Reply::Nothing) };
        let Some(order) = ORDERS.get(cx, id.as_bytes())? else { return Ok(Reply::Nothing) };
        if let Some(serial) = &order.serial {
            let serial = Serial::parse(serial).map_err(refused)?;
            if let Some(left) = left(cx, &serial)? {
                cx.later::<Pki, _>(left + KEPT, &self)?;
                return Ok(Reply::Nothing);
            }
            ISSUED.delete(cx, serial.as_bytes())?;
        }
        for authorization in &order.authorizations {
            // Those that were there before it serve other orders too.
            let record = AUTHORIZATIONS.get(cx, authorization.as_bytes())?;
            if record.is_some_and(|record| record.order == Some(id)) {
                AUTHORIZATIONS.delete(cx, authorization.as_bytes())?;
            }
        }
        ACCOUNT_ORDERS.delete(cx, &[order.account.as_bytes(), id.as_bytes()].concat())?;
        ORDERS.delete(cx, id.as_bytes())?;
        Ok(Reply::Nothing)
    }
}

/// How long a certificate is still good.
fn left(cx: &Writing<'_>, serial: &Serial) -> kit::Result<Option<Duration>> {
    let Some(record) = CERTIFICATES.get(cx, serial.as_bytes())? else { return Ok(None) };
    let certificate = Certificate::of_record(&record.der.0).map_err(refused)?;
    let end = kit::Time::from_seconds(certificate.validity().not_after);
    Ok(Some(cx.now().until(end)).filter(|left| !left.is_zero()))
}
