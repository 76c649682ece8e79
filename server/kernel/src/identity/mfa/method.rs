//! Methods: the ways to show a second factor, and what this server must know for each.

use std::marker::PhantomData;

use kit::{Beyond, Command, Error, Fault, Nothing, Query, Reading, Reply, Result, Route, Writing};
use otp::{Algorithm, Digits};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::record::{Method, Way};
use crate::identity::shown::{self, Listed};
use crate::identity::{Book, Identity, PATH, names, own};
use crate::ids;
use crate::namespaces::Namespace;

/// How long a template of names may be.
const FORMAT_SIZE_MAX: usize = 1024;

/// What is told who would change a method of a namespace that holds theirs.
const ELSEWHERE: &str = "request namespace does not match method namespace";

/// What can be said of a method of one kind.
pub(in crate::identity) trait Wish:
    DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The kind.
    const KIND: Kind;
    /// Where such methods are kept.
    const ROUTES: Routes;

    /// What the method shall be called; empty: it has no name, or keeps the one it has.
    fn method_name(&self) -> &str;

    /// What entities are called where they are asked about, if anything is said about that.
    fn username_format(&self) -> Option<&str>;

    /// What this server must know.
    ///
    /// # Errors
    /// If that does not suffice.
    fn way(self) -> Result<Way>;
}

/// Where methods of one kind are kept.
pub(in crate::identity) struct Routes {
    pub(super) register: Route,
    pub(super) get: Route,
    pub(super) put: Route,
    pub(super) delete: Route,
}

/// A method as it is shown: what is secret in it never is.
#[derive(Default, JsonSchema, Serialize)]
pub(in crate::identity) struct MethodShown {
    id: String,
    name: String,
    namespace_id: String,
    namespace_path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_accessor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username_format: Option<String>,
    #[serde(flatten)]
    of_totp: Option<TotpShown>,
    #[serde(flatten)]
    of_duo: Option<DuoShown>,
    #[serde(flatten)]
    of_okta: Option<OktaShown>,
    #[serde(flatten)]
    of_pingid: Option<PingIdShown>,
}

#[derive(JsonSchema, Serialize)]
struct TotpShown {
    algorithm: Algorithm,
    digits: Digits,
    issuer: String,
    key_size: u64,
    max_validation_attempts: u64,
    period: u64,
    qr_size: u32,
    skew: u64,
}

#[derive(JsonSchema, Serialize)]
struct DuoShown {
    api_hostname: String,
    pushinfo: String,
    use_passcode: bool,
}

#[derive(JsonSchema, Serialize)]
struct OktaShown {
    org_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    base_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<bool>,
}

#[derive(JsonSchema, Serialize)]
struct PingIdShown {
    admin_url: String,
    authenticator_url: String,
    idp_url: String,
    org_alias: String,
    use_signature: bool,
}

impl MethodShown {
    fn of(method: Method, namespace: &Namespace) -> Self {
        let kind = method.way.kind();
        let named_by_format = matches!(kind, Kind::Duo | Kind::Okta);
        let shown = Self {
            id: method.id,
            name: method.name,
            namespace_id: namespace.id.clone(),
            namespace_path: namespace.path.clone(),
            kind: kind.name(),
            mount_accessor: named_by_format.then_some(""),
            username_format: named_by_format.then_some(method.username_format),
            ..Self::default()
        };
        match method.way {
            Way::Totp(totp) => {
                let of_totp = TotpShown {
                    algorithm: totp.algorithm,
                    digits: totp.digits,
                    issuer: totp.issuer,
                    key_size: totp.key_size,
                    max_validation_attempts: totp.attempts_max,
                    period: totp.period_seconds,
                    qr_size: totp.qr_size,
                    skew: totp.skew,
                };
                Self { of_totp: Some(of_totp), ..shown }
            }
            Way::Duo(duo) => {
                let of_duo = DuoShown {
                    api_hostname: duo.api_hostname,
                    pushinfo: duo.push_info,
                    use_passcode: duo.use_passcode,
                };
                Self { of_duo: Some(of_duo), ..shown }
            }
            Way::Okta(okta) => {
                let production = okta.base_url.is_empty().then_some(okta.production);
                let of_okta = OktaShown { org_name: okta.org_name, base_url: okta.base_url, production };
                Self { of_okta: Some(of_okta), ..shown }
            }
            Way::PingId(pingid) => {
                let of_pingid = PingIdShown {
                    admin_url: pingid.admin_url,
                    authenticator_url: pingid.authenticator_url,
                    idp_url: pingid.idp_url,
                    org_alias: pingid.org_alias,
                    use_signature: pingid.use_signature,
                };
                Self { of_pingid: Some(of_pingid), ..shown }
            }
        }
    }
}

/// Lists the methods of all kinds that this namespace can use: its own, and those of the namespaces that hold it.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("mfa/method");
    type Reply = Listed<MethodShown>;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        list(engine, cx, |_| true)
    }
}

/// Lists the methods of a kind.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct ListKind {
    /// `totp`, `duo`, `okta` or `pingid`.
    kind: String,
}

impl Query<Identity> for ListKind {
    const ROUTE: Route = Route::list("mfa/method/{kind}");
    type Reply = Listed<MethodShown>;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let kind = Kind::named(&self.kind).ok_or_else(nowhere)?;
        list(engine, cx, |method| method.way.kind() == kind)
    }
}

fn list(
    engine: &Identity,
    cx: &Reading<'_>,
    wanted: impl Fn(&Method) -> bool,
) -> Result<Reply<Listed<MethodShown>>> {
    let today = cx.beyond(&Beyond::for_the_kernel());
    let (books, mut rows) = (engine.books(cx, today)?, Vec::new());
    for (book, namespace) in books.iter() {
        let methods = book.all_mfa_methods(today)?.into_iter().filter(&wanted);
        rows.extend(methods.map(|method| (method.id.clone(), MethodShown::of(method, namespace))));
    }
    shown::listed(rows)
}

/// Shows a method of this namespace, or of one that holds it.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its id.
    method_id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("mfa/method/{method_id}");
    type Reply = MethodShown;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<MethodShown>> {
        let today = cx.beyond(&Beyond::for_the_kernel());
        let books = engine.books(cx, today)?;
        let found = books.method(today, &self.method_id)?;
        let (_, namespace, method) = found.ok_or_else(Error::not_found)?;
        Ok(MethodShown::of(method, namespace).into())
    }
}

/// Shows a method, if it is of this kind.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct GetOf<W> {
    /// Its id.
    method_id: String,
    #[serde(skip)]
    wish: PhantomData<fn() -> W>,
}

impl<W: Wish> Query<Identity> for GetOf<W> {
    const ROUTE: Route = W::ROUTES.get;
    type Reply = MethodShown;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<MethodShown>> {
        let today = cx.beyond(&Beyond::for_the_kernel());
        let books = engine.books(cx, today)?;
        let found = books.method(today, &self.method_id)?;
        let (_, namespace, method) = found.ok_or_else(Error::not_found)?;
        if method.way.kind() != W::KIND {
            let text = format!("failed to find the method ID under MFA type {}.", W::KIND.name());
            return Err(Error::invalid(text));
        }
        Ok(MethodShown::of(method, namespace).into())
    }
}

/// What the making of a method answers.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Made {
    method_id: String,
}

/// Makes a method of this kind, or changes the one of this name.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Register<W> {
    #[serde(rename = "**")]
    wish: W,
}

impl<W: Wish> Command<Identity> for Register<W> {
    const ROUTE: Route = W::ROUTES.register;
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        let old = named(cx, self.wish.method_name())?;
        let id = old.as_ref().map_or_else(|| ids::new_uuid(cx.randomness()), |method| method.id.clone());
        write(cx, id.clone(), old, self.wish)?;
        Ok(Made { method_id: id }.into())
    }
}

/// Refuses a kind of method that there is not.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct RegisterNothing {
    /// The kind.
    #[expect(dead_code, reason = "the kinds that there are have routes of their own")]
    kind: String,
}

impl Command<Identity> for RegisterNothing {
    const ROUTE: Route = Route::post("mfa/method/{kind}");
    type Reply = Nothing;

    fn run(self, _: &Identity, _: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        Err(nowhere())
    }
}

/// Makes or changes the method of this id.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put<W> {
    /// Its id.
    method_id: String,
    #[serde(rename = "**")]
    wish: W,
}

impl<W: Wish> Command<Identity> for Put<W> {
    const ROUTE: Route = W::ROUTES.put;
    type Reply = Nothing;

    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if ids::mount(&self.method_id).is_none() {
            return Err(nowhere());
        }
        let old = seen(engine, cx, &self.method_id)?;
        if old.as_ref().is_some_and(|(book, _)| *book != own(cx)) {
            return Err(Error::invalid(ELSEWHERE));
        }
        let name = self.wish.method_name();
        if named(cx, name)?.is_some_and(|other| other.id != self.method_id) {
            let text = format!("a login MFA method configuration with the method name {name} already exists");
            return Err(Error::server(text));
        }
        write(cx, self.method_id, old.map(|(_, method)| method), self.wish)?;
        Ok(Reply::Nothing)
    }
}

/// The method of this id that this namespace can use, with the book it stands in.
fn seen(engine: &Identity, cx: &Writing<'_>, id: &str) -> Result<Option<(Book, Method)>> {
    let txn = cx.peek(&Beyond::for_the_kernel());
    Ok(engine.books(cx, txn.snapshot())?.method(txn, id)?.map(|(book, _, method)| (book, method)))
}

/// The method of this name, if the name is one.
fn named(cx: &Writing<'_>, name: &str) -> Result<Option<Method>> {
    if name.is_empty() {
        return Ok(None);
    }
    let all = own(cx).all_mfa_methods(cx.peek(&Beyond::for_the_kernel()))?;
    Ok(all.into_iter().find(|method| method.name == name))
}

fn write<W: Wish>(cx: &mut Writing<'_>, id: String, old: Option<Method>, wish: W) -> Result<()> {
    let name = wish.method_name().to_owned();
    if !name.is_empty() {
        names::check("method_name", &name)?;
    }
    let format = wish.username_format().map(str::to_owned);
    if format.as_ref().is_some_and(|format| format.len() > FORMAT_SIZE_MAX) {
        return Err(Error::invalid(format!("username_format must be at most {FORMAT_SIZE_MAX} bytes")));
    }
    let way = wish.way()?;
    let (old_name, old_format) = old.map(|old| (old.name, old.username_format)).unwrap_or_default();
    let name = if name.is_empty() { old_name } else { name };
    let method = Method { id, name, username_format: format.unwrap_or(old_format), way };
    own(cx).put_mfa_method(cx.beyond(&Beyond::for_the_kernel()), &method)
}

/// Deletes a method. One that an enforcement names stays.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete<W> {
    /// Its id.
    method_id: String,
    #[serde(skip)]
    wish: PhantomData<fn() -> W>,
}

impl<W: Wish> Command<Identity> for Delete<W> {
    const ROUTE: Route = W::ROUTES.delete;
    type Reply = Nothing;

    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let (book, beyond) = (own(cx), Beyond::for_the_kernel());
        let Some((whose, method)) = seen(engine, cx, &self.method_id)? else {
            return Ok(Reply::Nothing);
        };
        if whose != book {
            return Err(Error::server(ELSEWHERE));
        }
        if method.way.kind() != W::KIND {
            return Err(Error::server("method type does not match the MFA config type"));
        }
        let router = engine.kernel()?.router(cx.peek(&beyond).snapshot())?;
        let path = &router.value().here(cx)?.namespace.path;
        // Namespaces beneath this one can use it. What those want that are sealed is not known; it is wanted all the same
        // once they are open, and nobody can show it then.
        let beneath = router.value().beneath(path).filter(|space| !space.sealed);
        let beneath = beneath.filter_map(|space| space.at(PATH)).map(|mounted| Book::of(mounted.info.id));
        for book in std::iter::once(book).chain(beneath) {
            let enforcements = book.all_enforcements(cx.peek(&beyond))?;
            if let Some(user) = enforcements.iter().find(|it| it.methods.contains(&self.method_id)) {
                return Err(Error::server(format!(
                    "methodID is still used by an enforcement configuration with ID: {}",
                    user.id
                )));
            }
        }
        book.delete_mfa_method(cx.beyond(&beyond), &self.method_id)?;
        Ok(Reply::Nothing)
    }
}

fn nowhere() -> Error {
    Error::new(Fault::NotFound, "unsupported path").wrapped()
}
