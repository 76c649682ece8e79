//! Revoking: by the account that a certificate was issued to, by one that has proved its names, or by its own key
//! (RFC 8555 §7.6).

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Reads, Writing};
use serde::Deserialize;
use x509::{Certificate, Reason};

use super::identifier::Name;
use super::problem::{Kind, Problem, Refused, Result};
use super::records::{ACCOUNT_ORDERS, AUTHORIZATIONS, AuthorizationStatus, BEFOREHAND, ISSUED, ORDERS};
use super::signed::{Asked, Owner, Said, Signer, signed_operation};
use crate::revoke;
use crate::store::{Id, REVOKED};

/// The reasons that who holds a certificate may give (RFC 5280 §5.3.1): none, key compromise, a change of what it says of
/// its holder, another in its place, the end of its use.
const REASONS: [u64; 5] = [0, 1, 3, 4, 5];
/// In how many orders of an account proofs are looked for.
const ORDERS_MAX: usize = 1000;
/// How many proofs are looked at in all.
const PROOFS_MAX: usize = 10_000;

signed_operation! {
    /// Revokes a certificate.
    RevokeCert at "revoke-cert", by Either {} |cx, asked| run(cx, &asked)
}

#[derive(Deserialize)]
struct Named {
    certificate: String,
    reason: Option<u64>,
}

fn run(cx: &mut Writing<'_>, asked: &Asked<'_>) -> Result<Said> {
    let named: Named = asked.json()?;
    let unreadable = |why: &dyn std::fmt::Display| {
        Refused::from(Problem::because(format!("failed to parse certificate: {why}"), Kind::Malformed))
    };
    let der = URL_SAFE_NO_PAD.decode(&named.certificate);
    let der = der.map_err(|_| unreadable(&"it is not base64url without padding"))?;
    let certificate = Certificate::of_record(&der).map_err(|error| unreadable(&error))?;
    if let Some(reason) = named.reason.filter(|reason| !REASONS.contains(reason)) {
        let why = format!("{reason}; it is one of 0, 1, 3, 4 and 5");
        return Err(Refused::new(Kind::BadRevocationReason, why));
    }
    let found = revoke::by_certificate(cx, &certificate.to_pem())?;
    let answers_for_key = match &asked.signer {
        Signer::Account(owner) => is_of(cx, owner, &certificate)?,
        Signer::Key(_) => {
            let key = jws::PublicKey::of(certificate.public_key());
            key.is_some_and(|key| asked.message.signed_by(&key).is_some())
        }
    };
    let has_names = match &asked.signer {
        Signer::Account(owner) if !answers_for_key => proves_all(cx, owner, &certificate)?,
        _ => false,
    };
    if !answers_for_key && !has_names {
        let why = "the certificate is not this account's, nor was the request signed by its key";
        return Err(Refused::new(Kind::Unauthorized, why).with_status(403));
    }
    if REVOKED.get(cx, certificate.serial().as_bytes())?.is_some() {
        return Err(Refused::new(Kind::AlreadyRevoked, certificate.serial()));
    }
    let reason = Reason::numbered(named.reason.unwrap_or_default())
        .map_err(|error| Refused::new(Kind::BadRevocationReason, error))?;
    match answers_for_key {
        true => revoke::revoke(cx, &found, reason)?,
        // Who has the names now says nothing of a key that was never theirs.
        false => revoke::take_back(cx, &found, reason)?,
    };
    Ok(Said::raw("application/json", Vec::new()))
}

fn is_of(cx: &Writing<'_>, owner: &Owner, certificate: &Certificate) -> Result<bool> {
    let issued = ISSUED.get(cx, certificate.serial().as_bytes())?;
    Ok(issued.is_some_and(|issued| issued.account == owner.id))
}

/// Whether an account has proved every name of a certificate of late.
fn proves_all(cx: &Writing<'_>, owner: &Owner, certificate: &Certificate) -> Result<bool> {
    let unreadable = |error| Refused::new(Kind::Malformed, error);
    let names = certificate.alt_names().map_err(unreadable)?;
    let beside = !names.email.is_empty() || !names.uri.is_empty() || !names.other.is_empty();
    if beside || names.is_empty() || !names.unreadable.is_empty() {
        return Ok(false);
    }
    let proved = proved(cx, owner.id)?;
    let addresses = names.ip.iter().map(std::net::IpAddr::to_string);
    let mut wanted = names.dns.iter().map(|name| name.to_ascii_lowercase()).chain(addresses);
    Ok(wanted.all(|name| proved.contains(&name)))
}

fn proved(cx: &Writing<'_>, account: Id) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    ACCOUNT_ORDERS.ids(cx, account.as_bytes(), |id| {
        let Some(order) = id.strip_prefix(account.as_bytes()) else { return ControlFlow::Break(()) };
        orders.extend(Id::from_bytes(order));
        if orders.len() < ORDERS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut authorizations = Vec::new();
    for order in orders {
        authorizations
            .extend(ORDERS.get(cx, order.as_bytes())?.into_iter().flat_map(|one| one.authorizations));
    }
    BEFOREHAND.scan(cx, account.as_bytes(), |place, id| {
        if !place.starts_with(account.as_bytes()) || authorizations.len() >= PROOFS_MAX {
            return Ok(ControlFlow::Break(()));
        }
        authorizations.push(id);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut names = Vec::new();
    for authorization in authorizations {
        let record = AUTHORIZATIONS.get(cx, authorization.as_bytes())?;
        let valid = record.filter(|one| one.status_at(cx.now()) == AuthorizationStatus::Valid);
        names.extend(valid.map(|one| Name::text(&one.name)));
    }
    Ok(names)
}
