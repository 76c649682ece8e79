//! Enrolment: an entity's device and this server come to share a secret.

use kit::loose::Text;
use kit::{Beyond, Command, Error, Nothing, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::{Enrolment, Method, Way};
use crate::identity::{Identity, own};

/// What an authenticator takes.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Enrolled {
    /// A PNG in base64; empty, if the method wants none.
    barcode: Secret<String>,
    /// The `otpauth` URL.
    url: Secret<String>,
}

/// Makes a secret for the caller's own entity.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Generate {
    /// The method.
    #[serde(default)]
    method_id: Text,
}

impl Command<Identity> for Generate {
    const ROUTE: Route = Route::post("mfa/method/totp/generate");
    type Reply = Enrolled;

    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Enrolled>> {
        let entity = cx.caller().entity.as_ref().map(|entity| entity.id.clone()).unwrap_or_default();
        generate(engine, cx, &self.method_id.0, &entity)
    }
}

/// Makes a secret for an entity.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct AdminGenerate {
    /// The method.
    #[serde(default)]
    method_id: Text,
    /// The entity.
    #[serde(default)]
    entity_id: Text,
}

impl Command<Identity> for AdminGenerate {
    const ROUTE: Route = Route::post("mfa/method/totp/admin-generate");
    type Reply = Enrolled;

    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Enrolled>> {
        generate(engine, cx, &self.method_id.0, &self.entity_id.0)
    }
}

fn unknown(method_id: &str) -> Error {
    Error::invalid(format!("configuration for method ID {method_id:?} does not exist"))
}

/// A method that this namespace can use. What a device shares with this server for it stays in the namespace.
fn method(engine: &Identity, cx: &Writing<'_>, id: &str) -> Result<Option<Method>> {
    let txn = cx.peek(&Beyond::for_the_kernel());
    Ok(engine.books(cx, txn.snapshot())?.method(txn, id)?.map(|(_, _, method)| method))
}

/// The order of the checks is that of the API: clients see the first that fails.
fn generate(
    engine: &Identity,
    cx: &mut Writing<'_>,
    method_id: &str,
    entity_id: &str,
) -> Result<Reply<Enrolled>> {
    let (book, beyond, now) = (own(cx), Beyond::for_the_kernel(), cx.now());
    if method_id.is_empty() {
        return Err(Error::invalid("missing method ID"));
    }
    let method = method(engine, cx, method_id)?.ok_or_else(|| unknown(method_id))?;
    if entity_id.is_empty() {
        return Err(Error::invalid("missing entityID"));
    }
    let entity =
        book.entity(cx.peek(&beyond), entity_id)?.ok_or_else(|| Error::invalid("invalid entity ID"))?;
    let Way::Totp(totp) = &method.way else {
        let text = format!("generate not available for MFA type {:?}", method.way.kind().name());
        return Err(Error::invalid(text));
    };
    if book.enrolment(cx.peek(&beyond), &entity.id, &method.id)?.is_some() {
        cx.warn(format!("Entity already has a secret for MFA method {:?}", method.name));
        return Ok(Reply::Nothing);
    }
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(totp.key_size).unwrap_or_default()]);
    cx.randomness().fill(&mut bytes);
    let secret = otp::encode_secret(&bytes);
    let url = otp::url(&totp.issuer, &entity.id, &secret, totp.algorithm, totp.digits, totp.period_seconds);
    let barcode = match totp.qr_size {
        0 => Secret::new(String::new()),
        size => otp::png(url.expose(), size)?,
    };
    let enrolment = Enrolment { secret, accepted: Vec::new(), made: now };
    book.put_enrolment(cx.beyond(&beyond), &entity.id, &method.id, &enrolment)?;
    Ok(Reply::Data(Enrolled { barcode, url }))
}

/// Forgets the secret of an entity, so that it can enrol anew.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct AdminDestroy {
    /// The method.
    #[serde(default)]
    method_id: Text,
    /// The entity.
    #[serde(default)]
    entity_id: Text,
}

impl Command<Identity> for AdminDestroy {
    const ROUTE: Route = Route::post("mfa/method/totp/admin-destroy");
    type Reply = Nothing;

    fn run(self, engine: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let (book, beyond) = (own(cx), Beyond::for_the_kernel());
        if self.method_id.0.is_empty() {
            return Err(Error::invalid("missing method ID"));
        }
        if self.entity_id.0.is_empty() {
            return Err(Error::invalid("missing entityID"));
        }
        let entity = book.entity(cx.peek(&beyond), &self.entity_id.0)?;
        let entity = entity.ok_or_else(|| Error::invalid("invalid entity ID"))?;
        let method = method(engine, cx, &self.method_id.0)?;
        let method = method.ok_or_else(|| unknown(&self.method_id.0))?;
        if !matches!(method.way, Way::Totp(_)) {
            return Err(Error::server("method ID does not match TOTP type"));
        }
        book.delete_enrolment(cx.beyond(&beyond), &entity.id, &self.method_id.0)?;
        Ok(Reply::Nothing)
    }
}
