//! Whether an identity token is still good.

use jws::Message;
use kit::loose::Text;
use kit::{Beyond, Nothing, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{config, key, plain, role};
use crate::identity::{Identity, own};

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
    let token = match Message::compact(token) {
        Ok(token) => token,
        Err(why) => return said(&format!("error parsing token: {why}")),
    };
    let mut signed = None;
    for (_, role) in role::all(cx)? {
        let Some(key) = key::find(cx, &role.key)? else { continue };
        // Our tokens name their key.
        let mut named = key.verifying(cx.now()).filter(|known| known.id == token.key_id());
        if let Some(public) = named.find_map(|known| known.public.key()) {
            signed = token.signed_by(&public);
            break;
        }
    }
    let claims = signed.and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
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
