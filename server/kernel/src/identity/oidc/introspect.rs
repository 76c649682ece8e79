//! Whether an identity token is still good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::loose::Text;
use kit::{Beyond, Nothing, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{config, key, plain, role};
use crate::identity::{Identity, own};

/// The longest token that is looked at.
const TOKEN_SIZE_MAX: usize = 64 * 1024;
/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 60;

/// Says whether an identity token is good, and the entity that it is of is still there.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(in crate::identity) struct Introspect {
    /// The token.
    token: Text,
    /// Whom it must be for.
    client_id: Text,
}

#[derive(Serialize)]
struct Answer {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Query<Identity> for Introspect {
    const ROUTE: Route = Route::post("oidc/introspect");
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let error = fault(identity, cx, &self.token.0, &self.client_id.0)?;
        plain(200, &Answer { active: error.is_none(), error })
    }
}

/// What is wrong with a token.
fn fault(identity: &Identity, cx: &Reading<'_>, token: &str, client_id: &str) -> Result<Option<String>> {
    let said = |text: &str| Ok(Some(text.to_owned()));
    let Some((message, payload, signature)) = parts(token) else {
        return said("error parsing token: go-jose/go-jose: compact JWS format must have three parts");
    };
    let mut known = false;
    for (_, role) in role::all(cx)? {
        let Some(key) = key::find(cx, &role.key)? else { continue };
        known =
            known || key.verifying(cx.now()).any(|key| key.public.verifies(message.as_bytes(), &signature));
    }
    let claims = serde_json::from_slice::<Value>(&payload).ok().filter(|_| known);
    let Some(claims) = claims else { return said("unable to validate the token signature") };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let seconds = |name: &str| claims.get(name).and_then(Value::as_u64);
    let wrong = |what: &str| {
        Ok(Some(format!("error validating claims: go-jose/go-jose/jwt: validation failed, {what}")))
    };
    if text("iss") != config::issuer(identity, cx)? {
        return wrong("invalid issuer claim (iss)");
    }
    if !client_id.is_empty() && text("aud") != client_id {
        return wrong("invalid audience claim (aud)");
    }
    let now = cx.now().seconds();
    if seconds("exp").is_none_or(|expires| expires + LEEWAY_SECONDS < now) {
        return wrong("token is expired (exp)");
    }
    let entity = own(cx).entity(cx.beyond(&Beyond::for_the_kernel()), text("sub"))?;
    match entity {
        None => said("entity was not found"),
        Some(entity) if entity.disabled => said("entity is disabled"),
        Some(_) => Ok(None),
    }
}

/// What is signed, what it says, and the signature.
fn parts(token: &str) -> Option<(&str, Vec<u8>, Vec<u8>)> {
    if token.len() > TOKEN_SIZE_MAX || token.matches('.').count() != 2 {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (_, payload) = message.split_once('.')?;
    Some((message, URL_SAFE_NO_PAD.decode(payload).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
}
