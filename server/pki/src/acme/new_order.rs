//! Orders begin: for which names, and what is to be proved for each.

use std::time::Duration;

use kit::{Caller, Reads, Time, Writing};
use serde::Deserialize;
use x509::AltNames;

use super::account::{count, count_names};
use super::beforehand::{new_authorization, proved_beforehand};
use super::finalize::lifetime;
use super::identifier::{Identifier, Name};
use super::limits::Limit;
use super::order::{ForgetOrder, KEPT, shown, standing};
use super::place::Directory;
use super::problem::{Kind, Problem, Refused, Result};
use super::records::{ACCOUNT_ORDERS, AuthorizationStatus, ISSUED, ORDERS, OrderRecord, OrderStatus};
use super::renewal::CertificateName;
use super::signed::{Asked, Owner, Said, signed_operation};
use crate::authorities::authorities;
use crate::names::{self, Who};
use crate::rules::Rules;
use crate::store::Id;
use crate::{Pki, lint};

/// How long an order may take.
pub(super) const TIME: Duration = Duration::from_secs(86_400);
/// How many names an order may hold.
const NAMES_MAX: usize = 100;

signed_operation! {
    /// Orders a certificate.
    NewOrder at "new-order", by Account {} |cx, asked| order(cx, &asked)
}

/// What is ordered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    identifiers: Vec<Identifier>,
    not_after: Option<String>,
    not_before: Option<String>,
    profile: Option<String>,
    replaces: Option<String>,
}

fn order(cx: &mut Writing<'_>, asked: &Asked<'_>) -> Result<Said> {
    let owner = asked.account()?;
    let wanted: Wanted = asked.json()?;
    // Some clients send an empty text where they mean none.
    let profile = wanted.profile.filter(|profile| !profile.is_empty());
    let chosen = asked.directory.in_profile(cx, profile.as_deref())?;
    let directory = chosen.as_ref().unwrap_or(asked.directory);
    directory.check_signs()?;
    let names = names(&wanted.identifiers)?;
    let rules = directory.rules()?;
    let holder = caller(cx, owner)?;
    judge_all(cx, directory, &rules, &holder, &names)?;
    let (id, expires) = (Id::new(cx), cx.now().plus(TIME));
    let mut order = OrderRecord {
        account: owner.id,
        names,
        authorizations: Vec::new(),
        status: OrderStatus::Pending,
        expires,
        not_before: moment("notBefore", wanted.not_before)?,
        not_after: moment("notAfter", wanted.not_after)?,
        profile,
        replaces: wanted.replaces,
        serial: None,
        problem: None,
    };
    lifetime(cx, directory, &rules, &order)?;
    if replace(cx, owner, id, &order)? == Counted::Yes {
        count(cx, Limit::Orders, owner.id.as_bytes())?;
        count_names(cx, owner, order.names.len())?;
    }
    let mut proved = true;
    for name in &order.names {
        let (authorization, status) = match proved_beforehand(cx, owner, name)? {
            Some(known) => (known, AuthorizationStatus::Valid),
            None => new_authorization(cx, owner, Some(id), name, expires)?,
        };
        proved &= status == AuthorizationStatus::Valid;
        order.authorizations.push(authorization);
    }
    if proved {
        order.status = OrderStatus::Ready;
    }
    ORDERS.put(cx, id.as_bytes(), &order)?;
    ACCOUNT_ORDERS.put(cx, &[owner.id.as_bytes(), id.as_bytes()].concat(), &())?;
    cx.later::<Pki, _>(TIME + KEPT, &ForgetOrder { order: id.to_string() })?;
    shown(cx, directory, id, &order, 201)
}

/// Who the account is, where a role's rules speak of that. Whoever vouches for it must still be there.
pub(super) fn caller(cx: &Writing<'_>, owner: &Owner) -> Result<Caller> {
    owner.record.bound.as_ref().map_or_else(|| Ok(Caller::nobody()), |bound| bound.bearer.caller(cx))
}

fn moment(field: &str, text: Option<String>) -> Result<Option<Time>> {
    let read = |text: String| {
        Time::parse(&text).filter(|_| text.contains('T')).ok_or_else(|| {
            Refused::new(Kind::Malformed, format!("{field} should be a time like 2030-01-02T15:04:05Z"))
        })
    };
    text.map(read).transpose()
}

/// The names of an order, each once.
fn names(identifiers: &[Identifier]) -> Result<Vec<Name>> {
    if identifiers.is_empty() || identifiers.len() > NAMES_MAX {
        let why = format!("{} identifiers; from one to {NAMES_MAX} are allowed", identifiers.len());
        return Err(Refused::new(Kind::Malformed, why));
    }
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        match identifier.read() {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(problem) => wrong.push((identifier.clone(), problem)),
        }
    }
    if wrong.is_empty() { Ok(names) } else { Err(Refused::of_identifiers(wrong)) }
}

/// Refuses names that the role does not allow or the issuer could not certify, each with its reason: nobody should prove a name
/// in vain.
pub(super) fn judge_all(
    cx: &impl Reads,
    directory: &Directory,
    rules: &Rules,
    caller: &Caller,
    names: &[Name],
) -> Result<()> {
    let (who, all) = (Who::of(caller, cx), authorities(cx)?);
    let issuer = all.issuers.iter().find(|issuer| issuer.id == directory.issuer);
    let judged = names.iter().filter_map(|name| {
        let bound = || {
            issuer.map_or(Ok(()), |issuer| lint::within(&alternative(name), rules, &all, issuer, cx.now()))
        };
        let judged = judge(rules, &who, name);
        let why = judged.and_then(|()| bound().map_err(|why: kit::Error| why.to_string())).err()?;
        let text = name.text();
        let why =
            format!("role ({}) will not issue certificate for name {text}: {why}", directory.role_name());
        Some((name.identifier(), Problem::new(Kind::RejectedIdentifier, why)))
    });
    let wrong: Vec<_> = judged.collect();
    if wrong.is_empty() { Ok(()) } else { Err(Refused::of_identifiers(wrong)) }
}

/// A name as certificates bear it.
fn alternative(name: &Name) -> AltNames {
    match name {
        Name::Address(address) => AltNames { ip: vec![*address], ..AltNames::default() },
        host => AltNames { dns: vec![host.text()], ..AltNames::default() },
    }
}

fn judge(rules: &Rules, who: &Who<'_>, name: &Name) -> Result<(), String> {
    let Name::Address(address) = name else { return names::judge(rules, who, &name.text()) };
    if !rules.role.allow_ip_sans {
        return Err("allow_ip_sans is false".to_owned());
    }
    let networks = &rules.networks;
    match networks.is_empty() || networks.iter().any(|network| network.contains(*address)) {
        true => Ok(()),
        false => Err("it lies in none of allowed_ip_sans_cidr".to_owned()),
    }
}

/// Whether an order is counted against the limits.
#[derive(PartialEq)]
enum Counted {
    Yes,
    No,
}

/// Notes that the order is to replace a certificate, if it may (RFC 9773 §5). The first that does is not counted: a server
/// that calls all certificates back must not push back then. One more, where that came to nothing, is.
fn replace(cx: &mut Writing<'_>, owner: &Owner, id: Id, order: &OrderRecord) -> Result<Counted> {
    let Some(text) = &order.replaces else { return Ok(Counted::Yes) };
    let unknown = || Refused::new(Kind::Malformed, "'replaces' names no certificate of this account");
    let (_, certificate) = CertificateName::find(cx, text)?.ok_or_else(unknown)?;
    let serial = certificate.serial();
    let issued = ISSUED.get(cx, serial.as_bytes())?;
    let mut issued = issued.filter(|issued| issued.account == owner.id).ok_or_else(unknown)?;
    if !issued.names.iter().any(|name| order.names.contains(name)) {
        let why = "the order has no name in common with the certificate that 'replaces' names";
        return Err(Refused::new(Kind::Malformed, why));
    }
    let counted = if issued.replaced_by.is_some() { Counted::Yes } else { Counted::No };
    if let Some(other) = issued.replaced_by
        && let Some(other) = ORDERS.get(cx, other.as_bytes())?
        && standing(cx, &other)? != OrderStatus::Invalid
    {
        return Err(Refused::new(Kind::AlreadyReplaced, "order it without 'replaces'"));
    }
    issued.replaced_by = Some(id);
    ISSUED.put(cx, serial.as_bytes(), &issued)?;
    Ok(counted)
}
