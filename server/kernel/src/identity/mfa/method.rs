//! Methods: how the one-time passwords of a second factor are made.

use kit::loose::{Number, Seconds, Text};
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use otp::{Algorithm, Digits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::Method;
use crate::identity::mfa::enforcement::namespace;
use crate::identity::shown::{self, Listed};
use crate::identity::{Identity, names, own};
use crate::ids;
use crate::namespaces::Namespace;

/// The only kind of method there is.
pub(super) const KIND: &str = "totp";
/// The kinds that OpenBao has beside it.
const OTHER_KINDS: [&str; 3] = ["duo", "okta", "pingid"];
const KEY_SIZE: i64 = 20;
const KEY_SIZE_MAX: i64 = 1024;
const QR_SIZE: i64 = 200;
const QR_SIZE_MAX: i64 = 4096;
const PERIOD_SECONDS: u64 = 30;
const PERIOD_SECONDS_MAX: u64 = 86_400;
const ATTEMPTS: i64 = 5;

/// A method as it is shown.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct MethodShown {
    algorithm: Algorithm,
    digits: Digits,
    id: String,
    issuer: String,
    key_size: u64,
    max_validation_attempts: u64,
    name: String,
    namespace_id: String,
    namespace_path: String,
    period: u64,
    qr_size: u32,
    skew: u64,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl MethodShown {
    fn of(method: Method, namespace: &Namespace) -> Self {
        Self {
            algorithm: method.algorithm,
            digits: method.digits,
            id: method.id,
            issuer: method.issuer,
            key_size: method.key_size,
            max_validation_attempts: method.attempts_max,
            name: method.name,
            namespace_id: namespace.id.clone(),
            namespace_path: namespace.path.clone(),
            period: method.period_seconds,
            qr_size: method.qr_size,
            skew: method.skew,
            kind: KIND,
        }
    }
}

/// Lists the methods of all kinds.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("mfa/method");
    type Reply = Listed<MethodShown>;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        list(engine, cx)
    }
}

/// Lists the methods of a kind.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct ListKind {
    /// `totp`.
    kind: String,
}

impl Query<Identity> for ListKind {
    const ROUTE: Route = Route::list("mfa/method/{kind}");
    type Reply = Listed<MethodShown>;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        if self.kind == KIND { list(engine, cx) } else { Err(Error::not_found()) }
    }
}

fn list(engine: &Identity, cx: &Reading<'_>) -> Result<Reply<Listed<MethodShown>>> {
    let namespace = namespace(engine, cx)?;
    let methods = own(cx).all_mfa_methods(cx.beyond(&Beyond::for_the_kernel()))?;
    shown::listed(
        methods.into_iter().map(|method| (method.id.clone(), MethodShown::of(method, &namespace))).collect(),
    )
}

/// Shows a method.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its id.
    method_id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("mfa/method/{method_id}");
    type Reply = MethodShown;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<MethodShown>> {
        get(engine, cx, &self.method_id)
    }
}

/// Shows a method of one-time passwords.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct GetTotp {
    /// Its id.
    method_id: String,
}

impl Query<Identity> for GetTotp {
    const ROUTE: Route = Route::get("mfa/method/totp/{method_id}");
    type Reply = MethodShown;

    fn run(self, engine: &Identity, cx: &Reading<'_>) -> Result<Reply<MethodShown>> {
        get(engine, cx, &self.method_id)
    }
}

fn get(engine: &Identity, cx: &Reading<'_>, id: &str) -> Result<Reply<MethodShown>> {
    let method = own(cx).mfa_method(cx.beyond(&Beyond::for_the_kernel()), id)?;
    Ok(MethodShown::of(method.ok_or_else(Error::not_found)?, &*namespace(engine, cx)?).into())
}

/// What can be said of a method.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// Its name, by which a client may call it.
    method_name: Option<Text>,
    /// Who makes the key, as authenticators show it.
    issuer: Option<Text>,
    /// How long a code counts.
    period: Option<Seconds>,
    /// How many bytes a key has.
    key_size: Option<Number>,
    /// The side of the picture in pixels; 0 for none.
    qr_size: Option<Number>,
    /// `SHA1`, `SHA256` or `SHA512`.
    algorithm: Option<Text>,
    /// 6 or 8.
    digits: Option<Number>,
    /// How many periods before and after now still count: 0 or 1.
    skew: Option<Number>,
    /// How many codes may be tried in a period.
    max_validation_attempts: Option<Number>,
}

/// What the making of a method answers.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Made {
    method_id: String,
}

/// Makes a method of one-time passwords, or changes the one of this name.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Register {
    /// `totp`.
    kind: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Register {
    const ROUTE: Route = Route::post("mfa/method/{kind}");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        if OTHER_KINDS.contains(&self.kind.as_str()) {
            let text = format!("MFA by {} is not supported; make a method of type totp", self.kind);
            return Err(Error::invalid(text));
        }
        if self.kind != KIND {
            return Err(Error::new(kit::Fault::NotFound, "unsupported path").wrapped());
        }
        let name = self.wish.method_name.as_ref().map(|text| text.0.clone()).unwrap_or_default();
        let all = own(cx).all_mfa_methods(cx.peek(&Beyond::for_the_kernel()))?;
        let same = all.into_iter().find(|method| !name.is_empty() && method.name == name);
        let id = same.map_or_else(|| ids::new_uuid(cx.randomness()), |method| method.id);
        write(cx, id.clone(), self.wish)?;
        Ok(Made { method_id: id }.into())
    }
}

/// Makes or changes the method of this id.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its id.
    method_id: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("mfa/method/totp/{method_id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if ids::mount(&self.method_id).is_none() {
            return Err(Error::new(kit::Fault::NotFound, "unsupported path").wrapped());
        }
        write(cx, self.method_id, self.wish)?;
        Ok(Reply::Nothing)
    }
}

/// The order of the checks is that of the API: clients see the first that fails.
fn write(cx: &mut Writing<'_>, id: String, wish: Wish) -> Result<()> {
    let number = |field: Option<Number>, usual: i64| field.map_or(usual, |number| number.0);
    let algorithm = wish.algorithm.map_or("SHA1".to_owned(), |text| text.0);
    let algorithm = Algorithm::parse(&algorithm).map_err(|_| Error::invalid("unrecognized algorithm"))?;
    let period_seconds = wish.period.map_or(PERIOD_SECONDS, |seconds| seconds.0);
    if period_seconds == 0 || period_seconds > PERIOD_SECONDS_MAX {
        return Err(Error::invalid(match period_seconds {
            0 => "period must be greater than zero",
            _ => "period must be at most a day",
        }));
    }
    let key_size = number(wish.key_size, KEY_SIZE);
    if key_size <= 0 {
        return Err(Error::invalid("key_size must be greater than zero"));
    }
    if key_size > KEY_SIZE_MAX {
        return Err(Error::invalid(format!("key_size must be at most {KEY_SIZE_MAX} bytes")));
    }
    let digits = u64::try_from(number(wish.digits, 6)).ok().and_then(|digits| Digits::try_from(digits).ok());
    let digits = digits.ok_or_else(|| Error::invalid("digits can only be 6 or 8"))?;
    let skew = match number(wish.skew, 1) {
        skew @ (0 | 1) => u64::from(skew == 1),
        _ => return Err(Error::invalid("skew must be 0 or 1")),
    };
    let qr_size = number(wish.qr_size, QR_SIZE);
    if !(0..=QR_SIZE_MAX).contains(&qr_size) {
        return Err(Error::invalid(format!("qr_size must be between 0 and {QR_SIZE_MAX} pixels")));
    }
    let issuer = wish.issuer.unwrap_or_default().0;
    if issuer.is_empty() {
        return Err(Error::invalid("issuer must be set"));
    }
    names::check("issuer", &issuer)?;
    let attempts = match number(wish.max_validation_attempts, ATTEMPTS) {
        0 => ATTEMPTS,
        attempts => attempts,
    };
    let attempts_max = u64::try_from(attempts)
        .map_err(|_| Error::invalid("max_validation_attempts must be greater than zero"))?;
    let name = wish.method_name.unwrap_or_default().0;
    if !name.is_empty() {
        names::check("method_name", &name)?;
    }
    let method = Method {
        id,
        name,
        issuer,
        algorithm,
        digits,
        key_size: u64::try_from(key_size).unwrap_or_default(),
        period_seconds,
        skew,
        qr_size: u32::try_from(qr_size).unwrap_or_default(),
        attempts_max,
    };
    own(cx).put_mfa_method(cx.beyond(&Beyond::for_the_kernel()), &method)
}

/// Deletes a method. One that an enforcement names stays.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its id.
    method_id: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("mfa/method/totp/{method_id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let (book, beyond) = (own(cx), Beyond::for_the_kernel());
        let enforcements = book.all_enforcements(cx.peek(&beyond))?;
        if let Some(user) = enforcements.iter().find(|it| it.methods.contains(&self.method_id)) {
            return Err(Error::server(format!(
                "methodID is still used by an enforcement configuration with ID: {}",
                user.id
            )));
        }
        book.delete_mfa_method(cx.beyond(&beyond), &self.method_id)?;
        Ok(Reply::Nothing)
    }
}
