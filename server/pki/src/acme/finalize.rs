//! Orders end in a certificate: for the names that were proved, and nothing else that a request may say.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Ask, Awaited, Error, Nothing, Reads, Recording, Reply, Route, Time, World, Writing};
use serde::Deserialize;
use x509::{COMMON_NAME_MAX, Request, Validity};

use super::account::settle_names;
use super::caa::{self, Heard, Questions};
use super::identifier::Name;
use super::new_order::{self, caller};
use super::order::{found, shown, standing};
use super::place::{At, Directory, routes};
use super::problem::{Kind, Refused, Result};
use super::records::{
    AUTHORIZATIONS, AuthorizationStatus, ISSUED, IssuedRecord, ORDERS, OrderRecord, OrderStatus,
};
use super::signed::{Asked, Owner, Said, Wants, message, signed_request};
use crate::Pki;
use crate::authorities::{Issuer, authorities, refused};
use crate::fields::{Asked as AskedLeaf, Names};
use crate::leaf::{Leaf, check_key, decide_names};
use crate::lifetime::{AskedLifetime, of_leaf};
use crate::reply::Format;
use crate::rules::Rules;
use crate::store::owner as owner_of;

signed_request! {
    /// Has the certificate of an order issued.
    Finalize {
        /// The order's id.
        order_id,
    }
}

const ROUTES: [Route; 4] = routes!(post "order/{order_id}/finalize".unauthenticated);

/// The owners of names are asked once more whether they may be certified, where that was long ago.
impl<const AT: usize> Ask<Pki> for At<AT, Finalize> {
    const ROUTE: Route = ROUTES[AT];
    type Facts = Questions;
    type Heard = Heard;
    type Reply = Nothing;

    fn facts(&self, _: &Pki, cx: &Recording<'_>) -> kit::Result<Questions> {
        let Finalize { order_id, protected, payload, signature, .. } = &self.0;
        let questions = caa::questions(cx, order_id, || message(protected, payload, signature).ok());
        questions.map_err(|refused| refused.into_error(Vec::new()))
    }

    fn awaits(facts: &Questions) -> Awaited {
        facts.awaits()
    }

    async fn ask(&self, facts: &Questions, world: &dyn World) -> kit::Result<Heard> {
        Ok(caa::hear(facts, world).await)
    }

    fn run(mut self, _: &Pki, heard: &Heard, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        let posted = self.0.posted(AT, format!("order/{}/finalize", self.0.order_id));
        posted.answer(cx, Wants::Account, |cx, asked| finalize(cx, &asked, &self.0.order_id, heard))
    }
}

#[derive(Deserialize)]
struct Brought {
    csr: String,
}

fn finalize(cx: &mut Writing<'_>, asked: &Asked<'_>, order_id: &str, heard: &Heard) -> Result<Said> {
    let owner = asked.account()?;
    let (id, mut order) = found(cx, asked, order_id)?;
    let chosen = asked.directory.in_profile(cx, order.profile.as_deref())?;
    let directory = chosen.as_ref().unwrap_or(asked.directory);
    directory.check_signs()?;
    let status = standing(cx, &order)?;
    if status != OrderStatus::Ready {
        let why = format!("order is status {}, needs to be in ready state", word(status));
        return Err(Refused::new(Kind::OrderNotReady, why));
    }
    check_proofs(cx, &order)?;
    caa::settle(cx, &order, heard)?;
    let brought: Brought = asked.json()?;
    let request = read(&brought.csr)?;
    if jws::PublicKey::of(request.public_key()).is_some_and(|key| asked.message.signed_by(&key).is_some()) {
        return Err(Refused::new(Kind::BadCsr, "its key is that of the account; make one of its own"));
    }
    check_names(&request, &order.names)?;
    let serial = issue(cx, directory, owner, &order, &request)?;
    let issued = IssuedRecord { account: owner.id, names: order.names.clone(), replaced_by: None };
    ISSUED.put(cx, serial.as_bytes(), &issued)?;
    order.status = OrderStatus::Valid;
    order.serial = Some(serial.colons());
    ORDERS.put(cx, id.as_bytes(), &order)?;
    if order.replaces.is_none() {
        settle_names(cx, owner, order.names.len())?;
    }
    shown(cx, directory, id, &order, 200)
}

fn word(status: OrderStatus) -> String {
    let word = serde_json::to_value(status).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

/// That an order is ready was written down when its last name was proved; what has been given up since counts too.
fn check_proofs(cx: &Writing<'_>, order: &OrderRecord) -> Result<()> {
    for authorization in &order.authorizations {
        let record = AUTHORIZATIONS.get(cx, authorization.as_bytes())?;
        let proved = |name: &Name| order.names.contains(name);
        let good = record.is_some_and(|record| {
            record.status_at(cx.now()) == AuthorizationStatus::Valid && proved(&record.name)
        });
        if !good {
            return Err(Refused::new(
                Kind::Unauthorized,
                "an authorization of the order is not valid any more",
            ));
        }
    }
    match order.authorizations.len() == order.names.len() {
        true => Ok(()),
        false => Err(Error::internal("an order has more names than authorizations").into()),
    }
}

fn read(csr: &str) -> Result<Request> {
    let der = URL_SAFE_NO_PAD.decode(csr);
    let der = der.map_err(|_| Refused::new(Kind::BadCsr, "it is not base64url without padding"))?;
    let request = Request::from_der(&der).map_err(|error| Refused::new(Kind::BadCsr, error))?;
    match request.wants_ca() {
        true => Err(Refused::new(Kind::BadCsr, "it asks to become a CA")),
        false => Ok(request),
    }
}

/// A request asks for the names of its order: all of them, and nothing that was not proved.
fn check_names(request: &Request, ordered: &[Name]) -> Result<()> {
    let names = request.alt_names();
    let beside = [
        ("e-mail addresses", !names.email.is_empty()),
        ("URIs", !names.uri.is_empty()),
        ("other names", !names.other.is_empty() || !names.unreadable.is_empty()),
    ];
    if let Some((what, _)) = beside.iter().find(|(_, there)| *there) {
        return Err(Refused::new(Kind::BadCsr, format!("it asks for {what}, which no challenge can prove")));
    }
    let common_name = &request.subject().common_name;
    let common_name = (!common_name.is_empty()).then_some(common_name);
    let mut asked: Vec<String> =
        names.dns.iter().chain(common_name).map(|name| name.to_ascii_lowercase()).collect();
    asked.extend(names.ip.iter().map(std::net::IpAddr::to_string));
    let ordered: Vec<String> = ordered.iter().map(Name::text).collect();
    if let Some(name) = asked.iter().find(|name| !ordered.contains(name)) {
        return Err(Refused::new(
            Kind::BadCsr,
            format!("it asks for {name:?}, which the order does not name"),
        ));
    }
    match ordered.iter().find(|name| !asked.contains(name)) {
        Some(name) => {
            Err(Refused::new(Kind::BadCsr, format!("it does not ask for {name}, which was ordered")))
        }
        None => Ok(()),
    }
}

/// Records and signs what was ordered, by the rules that hold now.
fn issue(
    cx: &mut Writing<'_>,
    directory: &Directory,
    owner: &Owner,
    order: &OrderRecord,
    request: &Request,
) -> Result<x509::Serial> {
    let rules = directory.rules()?;
    let bad = |error: Error| match error.fault() {
        kit::Fault::Invalid => Refused::new(Kind::BadCsr, error),
        _ => error.into(),
    };
    check_key(&rules, request.public_key().shape()).map_err(bad)?;
    let caller = caller(cx, owner)?;
    let asked = AskedLeaf {
        names: wanted(directory, order, request),
        lifetime: asked_lifetime(cx, directory, &rules, order)?,
        format: Format::read(None, None)?,
        issuer_ref: None,
        remove_roots: false,
    };
    let all = authorities(cx)?;
    let leaf = Leaf::begin(&directory.issuer.to_string(), &asked, &rules, &all, cx)?;
    let (subject, names) = decide_names(&rules, &caller, &asked, None, cx).map_err(bad)?;
    let extensions = leaf.extensions(&rules, request.public_key(), &names, &subject, cx).map_err(bad)?;
    let subject = subject.to_der().map_err(refused)?;
    let decided = leaf.decided(&subject, request.public_key(), &extensions);
    decided.issue(cx, directory.role_name(), owner_of(&caller)).map_err(bad)?;
    Ok(leaf.serial)
}

/// The names of the order; one of them as the common name, where one is wanted.
fn wanted(directory: &Directory, order: &OrderRecord, request: &Request) -> Names {
    let hosts = order.names.iter().filter(|name| !matches!(name, Name::Address(_)));
    let hosts: Vec<String> = hosts.map(Name::text).collect();
    let of_request = request.subject().common_name.to_ascii_lowercase();
    let fits = |host: &&String| host.chars().count() <= COMMON_NAME_MAX;
    let chosen = hosts.iter().find(|host| **host == of_request);
    let any = hosts.iter().find(fits).filter(|_| directory.wants_common_name);
    Names {
        common_name: chosen.filter(fits).or(any).cloned().unwrap_or_default(),
        alt_names: hosts.join(","),
        ip_sans: order.names.iter().filter(|name| matches!(name, Name::Address(_))).map(Name::text).collect(),
        uri_sans: Vec::new(),
        other_sans: Vec::new(),
        serial_number: String::new(),
        user_ids: Vec::new(),
        exclude_cn_from_sans: true,
    }
}

/// From when until when the certificate of an order would be good.
pub(super) fn lifetime(
    cx: &Writing<'_>,
    directory: &Directory,
    rules: &Rules,
    order: &OrderRecord,
) -> Result<Validity> {
    let all = authorities(cx)?;
    let asked = asked_lifetime(cx, directory, rules, order)?;
    Ok(of_leaf(&asked, rules, issuer(&all, directory)?, cx)?)
}

fn issuer<'a>(all: &'a crate::authorities::Authorities, directory: &Directory) -> Result<&'a Issuer> {
    let gone = || Refused::new(Kind::ServerInternal, "the issuer of this directory is gone");
    all.issuer(&directory.issuer.to_string()).ok_or_else(gone)
}

/// As long as the role says, but no longer than ACME's limit and the issuer. A client that asks for longer is refused, one
/// that asks for nothing is given what there is.
fn asked_lifetime(
    cx: &Writing<'_>,
    directory: &Directory,
    rules: &Rules,
    order: &OrderRecord,
) -> Result<AskedLifetime> {
    let all = authorities(cx)?;
    let now = cx.now();
    let issuer_end = Time::from_seconds(issuer(&all, directory)?.certificate.validity().not_after);
    let mount = kit::Reads::mount(cx);
    let usual = [rules.role.ttl, mount.default_ttl.as_secs()].into_iter().find(|ttl| *ttl != 0);
    let longest = [rules.role.max_ttl, mount.max_ttl.as_secs()].into_iter().find(|ttl| *ttl != 0);
    let longest = longest.map_or(directory.config.max_ttl, |longest| longest.min(directory.config.max_ttl));
    let last = now.plus(Duration::from_secs(longest)).min(issuer_end);
    let last = last.min(rules.not_after.map_or(last, Time::from_seconds));
    let left = now.until(last).as_secs();
    if left == 0 {
        return Err(Refused::new(Kind::ServerInternal, "the issuer or the role of this directory has ended"));
    }
    if let Some(end) = order.not_after.filter(|end| *end > last || *end <= now) {
        let end_text = end.rfc3339();
        let why = match end <= now {
            true => format!("notAfter is {end_text}, which is over: it is {} now", now.truncated().rfc3339()),
            false => format!("notAfter is {end_text}; it may be {} at most", last.truncated().rfc3339()),
        };
        return Err(Refused::new(Kind::Malformed, why));
    }
    let ttl_seconds = if order.not_after.is_some() { 0 } else { usual.unwrap_or(left).min(left) };
    let not_before = begin(rules, order, now)?.map(Time::seconds);
    let not_after = order.not_after.map(Time::seconds);
    Ok(AskedLifetime { ttl_seconds, is_fitted: true, not_before, not_after })
}

/// When a certificate begins for which its order says so: no longer before the order than the role allows for clocks that
/// are slow, and however long the order takes, no longer before it is issued.
fn begin(rules: &Rules, order: &OrderRecord, now: Time) -> Result<Option<Time>> {
    let Some(wanted) = order.not_before else { return Ok(None) };
    let slack = Duration::from_secs(rules.role.not_before_duration);
    let earliest = order.expires.minus(new_order::TIME).minus(slack).truncated();
    if wanted < earliest {
        let why = format!(
            "notBefore is {}; it may be {} at the earliest (see not_before_duration of the role)",
            wanted.rfc3339(),
            earliest.rfc3339()
        );
        return Err(Refused::new(Kind::Malformed, why));
    }
    Ok(Some(wanted.max(now.minus(slack))))
}
