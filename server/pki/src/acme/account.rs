//! Accounts: a key that asks, and whom to tell.

use std::ops::ControlFlow;
use std::time::Duration;

use aws_lc_rs::digest;
use kit::{Command, Nothing, Reply, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::EabPolicy;
use super::eab;
use super::limits::{Limit, Limits, network};
use super::place::Directory;
use super::problem::{Kind, Problem, Refused, Result};
use super::records::{
    ACCOUNT_KEYS, ACCOUNT_ORDERS, ACCOUNTS, AccountRecord, AccountStatus, Binding, ORDERS, OrderStatus,
};
use super::signed::{Asked, NewKey, Owner, Said, Signer, check_binding, public_key, signed_operation};
use crate::Pki;
use crate::store::Id;

/// How many contacts an account may have, and how long one may be.
const CONTACTS_MAX: usize = 10;
const CONTACT_SIZE_MAX: usize = 320;
/// How long an account without an order is kept that nobody vouches for: until no order of it is kept any more, looked at
/// this often.
const IDLE: Duration = Duration::from_secs(90 * 86_400);
/// How many orders a page of a list shows.
const PAGE: usize = 100;

signed_operation! {
    /// Makes an account of the key that signs, or finds the one there is.
    NewAccount at "new-account", by Key {} |cx, asked| new_account(cx, &asked)
}

signed_operation! {
    /// Shows an account, changes whom to tell, or ends it.
    Account at "account/{kid}", by Account {
        /// The account's id.
        kid,
    } |cx, asked| update(cx, asked, &kid)
}

signed_operation! {
    /// Lists the orders of an account that are not over.
    AccountOrders at "orders", by Account {} |cx, asked| orders(cx, &asked, None)
}

signed_operation! {
    /// Goes on with the list of orders of an account.
    AccountOrdersAfter at "orders/{after}", by Account {
        /// The order after which to go on.
        after,
    } |cx, asked| orders(cx, &asked, Some(&after))
}

/// What a client says of its account.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    contact: Option<Vec<String>>,
    external_account_binding: Option<Value>,
    only_return_existing: bool,
    status: Option<String>,
    terms_of_service_agreed: bool,
}

/// What a client is told of its account.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contact: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_account_binding: Option<Value>,
    orders: String,
    status: AccountStatus,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    terms_of_service_agreed: bool,
}

fn new_account(cx: &mut Writing<'_>, asked: &Asked<'_>) -> Result<Said> {
    let directory = asked.directory;
    let Signer::Key(key) = &asked.signer else {
        return Err(Refused::new(Kind::Malformed, "a new account signs with its own key"));
    };
    let told: Told = asked.json()?;
    let place = key_place(key, directory)?;
    if let Some(id) = ACCOUNT_KEYS.get(cx, &place)?
        && let Some(account) = ACCOUNTS.get(cx, id.as_bytes())?
    {
        if account.status != AccountStatus::Valid {
            return Err(Refused::new(Kind::Unauthorized, "account in status: deactivated"));
        }
        check_binding(directory, &account)?;
        return shown(directory, id, &account, 200, None);
    }
    if told.only_return_existing {
        let why = "An account with this key does not exist";
        return Err(Problem::because(why, Kind::AccountDoesNotExist).into());
    }
    count(cx, Limit::Accounts, &address(cx))?;
    let contacts = contacts(told.contact.unwrap_or_default())?;
    check_terms(directory, told.terms_of_service_agreed)?;
    let binding = told.external_account_binding;
    let bound = binding.as_ref().map(|binding| eab::redeem(cx, directory, key, binding)).transpose()?;
    check_bound(directory, bound.as_ref())?;
    let account = AccountRecord {
        key: key.canonical.clone(),
        directory: directory.path.clone(),
        contacts,
        status: AccountStatus::Valid,
        terms_agreed: told.terms_of_service_agreed,
        created_at: kit::Reads::now(cx),
        bound,
    };
    let id = Id::new(cx);
    ACCOUNTS.put(cx, id.as_bytes(), &account)?;
    ACCOUNT_KEYS.put(cx, &place, &id)?;
    if account.bound.is_none() {
        cx.later::<Pki, _>(IDLE, &ForgetAccount { account: id.to_string() })?;
    }
    shown(directory, id, &account, 201, binding)
}

/// Clears an account away that has come to nothing. Anybody can make one, so there must be an end; one that somebody
/// known here vouches for stays.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(crate) struct ForgetAccount {
    /// The account's id.
    account: String,
}

impl Command<Pki> for ForgetAccount {
    const ROUTE: Route = Route::internal("acme-forget-account").small();
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        let forgotten = forget(cx, &self.account).map_err(|refused| refused.into_error(Vec::new()))?;
        if !forgotten {
            cx.later::<Pki, _>(IDLE, &self)?;
        }
        Ok(Reply::Nothing)
    }
}

fn forget(cx: &mut Writing<'_>, account: &str) -> Result<bool> {
    let Some(id) = Id::parse(account) else { return Ok(true) };
    let Some(account) = ACCOUNTS.get(cx, id.as_bytes())? else { return Ok(true) };
    if !order_ids(cx, id, id.as_bytes(), 1)?.is_empty() {
        return Ok(false);
    }
    let key = NewKey { public: public_key(&account.key)?, canonical: account.key };
    ACCOUNT_KEYS.delete(cx, &place_of(&key, &account.directory)?)?;
    ACCOUNTS.delete(cx, id.as_bytes())?;
    Ok(true)
}

fn check_bound(directory: &Directory, bound: Option<&Binding>) -> Result<()> {
    match directory.config.eab_policy {
        EabPolicy::NotRequired => Ok(()),
        _ if bound.is_some() => Ok(()),
        _ => Err(Refused::new(
            Kind::ExternalAccountRequired,
            "this directory wants accounts to be bound; ask its operator for a binding (new-eab)",
        )),
    }
}

fn check_terms(directory: &Directory, agreed: bool) -> Result<()> {
    let terms = &directory.config.terms_of_service;
    if terms.is_empty() || agreed {
        return Ok(());
    }
    let why = format!("the terms of service must be agreed to: {terms}");
    let link = format!("<{terms}>;rel=\"terms-of-service\"");
    Err(Refused::new(Kind::UserActionRequired, why).with_header("link", link))
}

/// Where the account of a key is noted: one key has one account in each directory.
pub(super) fn key_place(key: &NewKey, directory: &Directory) -> Result<[u8; 32]> {
    place_of(key, &directory.path)
}

fn place_of(key: &NewKey, directory: &str) -> Result<[u8; 32]> {
    let name = key.public.thumbprint();
    let name = name.ok_or_else(|| Refused::new(Kind::BadPublicKey, "the key has no thumbprint"))?;
    let mut place = [0; 32];
    let whole = [name.as_slice(), directory.as_bytes()].concat();
    place.copy_from_slice(digest::digest(&digest::SHA256, &whole).as_ref());
    Ok(place)
}

fn contacts(contacts: Vec<String>) -> Result<Vec<String>> {
    if contacts.len() > CONTACTS_MAX {
        let why = format!("there are {} contacts; {CONTACTS_MAX} are allowed", contacts.len());
        return Err(Refused::new(Kind::InvalidContact, why));
    }
    for contact in &contacts {
        let Some(address) = contact.strip_prefix("mailto:") else {
            return Err(Refused::new(Kind::UnsupportedContact, "only mailto: is supported"));
        };
        let one = address.split_once('@').is_some_and(|(mailbox, domain)| {
            let plain = |b: u8| b.is_ascii_graphic() && !b",?\"<>()[]:;\\".contains(&b);
            !mailbox.is_empty() && x509::is_hostname(domain) && mailbox.bytes().all(plain)
        });
        if !one || contact.len() > CONTACT_SIZE_MAX {
            return Err(Refused::new(
                Kind::InvalidContact,
                "it should be one address, like mailto:me@example.org",
            ));
        }
    }
    Ok(contacts)
}

fn update(cx: &mut Writing<'_>, asked: Asked<'_>, kid: &str) -> Result<Said> {
    let directory = asked.directory;
    let told: Option<Told> = if asked.looks() { None } else { Some(asked.json()?) };
    let Signer::Account(mut owner) = asked.signer else {
        return Err(Refused::new(Kind::Malformed, "an account signs with its own key"));
    };
    if Id::parse(kid) != Some(owner.id) {
        return Err(Refused::new(Kind::Unauthorized, "this is not the account that signed"));
    }
    let Some(told) = told else { return shown(directory, owner.id, &owner.record, 200, None) };
    if told.external_account_binding.is_some() {
        return Err(Refused::new(Kind::Malformed, "not allowed to update EAB data in accounts"));
    }
    let mut changed = false;
    if let Some(given) = told.contact {
        let given = contacts(given)?;
        changed |= given != owner.record.contacts;
        owner.record.contacts = given;
    }
    match told.status.as_deref() {
        None | Some("valid") => {}
        Some("deactivated") => {
            changed = true;
            owner.record.status = AccountStatus::Deactivated;
            cancel(cx, owner.id)?;
        }
        Some(_) => return Err(Refused::new(Kind::Malformed, "an account can only be deactivated")),
    }
    if changed {
        ACCOUNTS.put(cx, owner.id.as_bytes(), &owner.record)?;
    }
    shown(directory, owner.id, &owner.record, 200, None)
}

/// Ends all orders of an account that are not done. What was issued stays good.
fn cancel(cx: &mut Writing<'_>, account: Id) -> Result<()> {
    for id in order_ids(cx, account, account.as_bytes(), usize::MAX)? {
        let Some(mut order) = ORDERS.get(cx, id.as_bytes())? else { continue };
        if matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) {
            order.status = OrderStatus::Invalid;
            order.problem = Some(Problem::new(Kind::Unauthorized, "the account was deactivated"));
            ORDERS.put(cx, id.as_bytes(), &order)?;
        }
    }
    Ok(())
}

fn shown(
    directory: &Directory,
    id: Id,
    account: &AccountRecord,
    status: u16,
    external_account_binding: Option<Value>,
) -> Result<Said> {
    let shown = Shown {
        contact: account.contacts.clone(),
        external_account_binding,
        orders: directory.url("orders"),
        status: account.status,
        terms_of_service_agreed: account.terms_agreed,
    };
    Ok(Said::json(status, &shown)?.with("location", directory.url(format_args!("account/{id}"))))
}

fn orders(cx: &mut Writing<'_>, asked: &Asked<'_>, after: Option<&str>) -> Result<Said> {
    let account = asked.account()?.id;
    let from = match after.map(Id::parse) {
        None => account.as_bytes().to_vec(),
        // Right behind it.
        Some(Some(after)) => [account.as_bytes(), after.as_bytes(), &[0]].concat(),
        Some(None) => return Err(Refused::new(Kind::Malformed, "this page of orders does not exist")),
    };
    let now = kit::Reads::now(cx);
    let ids = order_ids(cx, account, &from, PAGE + 1)?;
    let mut shown = Vec::new();
    for id in ids.iter().take(PAGE) {
        let order = ORDERS.get(cx, id.as_bytes())?;
        if order.is_some_and(|order| order.status_at(now) != OrderStatus::Invalid) {
            shown.push(asked.directory.url(format_args!("order/{id}")));
        }
    }
    let mut body = Map::new();
    body.insert("orders".to_owned(), shown.into());
    let said = Said::json(200, &body)?;
    Ok(match (ids.len() > PAGE, ids.get(PAGE - 1)) {
        (true, Some(last)) => {
            let next = asked.directory.url(format_args!("orders/{last}"));
            said.with("link", format!("<{next}>;rel=\"next\""))
        }
        _ => said,
    })
}

fn order_ids(cx: &Writing<'_>, account: Id, from: &[u8], limit: usize) -> Result<Vec<Id>> {
    let mut ids = Vec::new();
    let mut failed = None;
    ACCOUNT_ORDERS.ids(cx, from, |id| {
        let Some(order) = id.strip_prefix(account.as_bytes()) else { return ControlFlow::Break(()) };
        match Id::from_bytes(order) {
            Ok(order) => ids.push(order),
            Err(error) => failed = Some(error),
        }
        if ids.len() < limit && failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    failed.map_or(Ok(ids), |error| Err(error.into()))
}

/// Counts one more against a limit; not again where the request is run again.
pub(super) fn count(cx: &mut Writing<'_>, limit: Limit, who: &[u8]) -> Result<()> {
    count_all(cx, limit, who, 1)
}

/// Counts names that are to be proved: against the account, and if nobody known here vouches for it, against the address
/// as well, since there can be as many accounts as one likes.
pub(super) fn count_names(cx: &mut Writing<'_>, owner: &Owner, names: usize) -> Result<()> {
    count_all(cx, Limit::Names, owner.id.as_bytes(), names)?;
    match owner.record.bound {
        Some(_) => Ok(()),
        None => count_all(cx, Limit::NamesFrom, &address(cx), names),
    }
}

/// Takes names off the count that were issued: they are clutter no more.
pub(super) fn settle_names(cx: &mut Writing<'_>, owner: &Owner, names: usize) -> Result<()> {
    let (limits, now, address) = (Limits::of(cx), kit::Reads::now(cx), address(cx));
    cx.once(|| {
        limits.give_back(Limit::Names, owner.id.as_bytes(), names, now);
        limits.give_back(Limit::NamesFrom, &address, names, now);
        Ok(())
    })?;
    Ok(())
}

fn count_all(cx: &mut Writing<'_>, limit: Limit, who: &[u8], many: usize) -> Result<()> {
    let (limits, now) = (Limits::of(cx), kit::Reads::now(cx));
    let mut refused = None;
    cx.once(|| {
        refused = limits.count(limit, who, many, now).err();
        Ok(())
    })?;
    refused.map_or(Ok(()), Err)
}

fn address(cx: &Writing<'_>) -> Vec<u8> {
    kit::Reads::remote(cx).address.map(network).unwrap_or_default().into_bytes()
}
