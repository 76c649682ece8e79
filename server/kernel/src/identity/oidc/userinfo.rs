//! What a client may know about the person whose access token it holds.

use kit::{Beyond, Nothing, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exchange::Access;
use super::{assignment, client, plain, provider, scope, template};
use crate::identity::Identity;

/// Shows what an access token's scopes say about its person.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct UserInfo {
    /// The provider.
    name: String,
}

impl Query<Identity> for UserInfo {
    /// Open, because those who ask want to hear what is wrong in the words of their standard.
    const ROUTE: Route = Route::get("oidc/provider/{name}/userinfo").unauthenticated();
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        answer(identity, cx, &self.name)
    }
}

/// Shows what an access token's scopes say about its person.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct UserInfoPosted {
    /// The provider.
    name: String,
}

impl Query<Identity> for UserInfoPosted {
    const ROUTE: Route = Route::post("oidc/provider/{name}/userinfo").unauthenticated();
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        answer(identity, cx, &self.name)
    }
}

/// Why nothing is shown: the status, and the words of the standard.
struct Refusal(u16, &'static str, String);

fn answer(identity: &Identity, cx: &Reading<'_>, name: &str) -> Result<Reply<Nothing>> {
    match known(identity, cx, name)? {
        Ok(claims) => plain(200, &claims),
        Err(Refusal(status, error, why)) => {
            // Who may not has nothing else to show.
            if status != 403 {
                let challenge = format!("Bearer error={error:?},error_description={why:?}");
                cx.notes().header("www-authenticate", challenge);
            }
            plain(status, &json!({"error": error, "error_description": why}))
        }
    }
}

fn known(identity: &Identity, cx: &Reading<'_>, name: &str) -> Result<Result<Map<String, Value>, Refusal>> {
    let refuse = |status, code, why: &str| Ok(Err(Refusal(status, code, why.to_owned())));
    let (bad, denied) = ("invalid_token", "access_denied");
    let beyond = Beyond::for_the_kernel();
    let Some(token) = cx.remote().token.token(&beyond) else {
        return refuse(401, bad, "permission denied");
    };
    // Whoever is nobody here has no entity: the kernel has looked at the token.
    let Some(entity) = &cx.caller().entity else {
        let why = if cx.remote().is_bearer {
            "permission denied"
        } else {
            "access token must be sent as a Bearer token"
        };
        return refuse(401, bad, why);
    };
    let Some(provider) = provider::find(cx, name)? else {
        return refuse(400, "invalid_request", "provider not found");
    };
    if !cx.remote().is_bearer {
        return refuse(401, bad, "access token must be sent as a Bearer token");
    }
    let kernel = identity.kernel()?;
    let record = kernel.tokens.open_batch(&kernel.store, token.expose());
    let access = record.and_then(|record| serde_json::from_value::<Access>(record.internal).ok());
    let Some(access) = access.filter(|access| !access.client_id.is_empty()) else {
        return refuse(401, bad, "access token is malformed or invalid");
    };
    if access.provider != name {
        return refuse(401, bad, "permission denied");
    }
    let Some(client) = client::by_id(cx, &access.client_id)? else {
        return refuse(403, denied, "client not found");
    };
    if !assignment::include(cx, &client.assignments, entity)? {
        return refuse(403, denied, "identity entity not authorized by client assignment");
    }
    if !provider.allows(&client.client_id) {
        return refuse(403, denied, "client is not authorized to use the provider");
    }
    let mut claims = Map::from_iter([("sub".to_owned(), json!(entity.id))]);
    let supported = |scope: &String| provider.scopes_supported.contains(scope);
    let scopes: Vec<String> = access.scopes.into_iter().filter(supported).collect();
    match scope::claims(cx, &scopes, Some(entity)) {
        Ok(more) => template::merge(&mut claims, more),
        Err(error) => return refuse(400, "invalid_request", &error.to_string()),
    }
    Ok(Ok(claims))
}
