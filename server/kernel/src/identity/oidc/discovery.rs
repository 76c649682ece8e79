//! What those who check tokens must know, for everyone to read.

use std::collections::BTreeSet;

use kit::{Error, Nothing, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::algorithm::ALGORITHMS;
use super::{client, config, key, plain, provider, role};
use crate::identity::Identity;

/// The keys that check signatures.
#[derive(Serialize)]
struct Jwks {
    keys: Vec<Map<String, Value>>,
}

fn algorithms() -> Vec<&'static str> {
    ALGORITHMS.iter().map(|alg| alg.name()).collect()
}

/// The public keys of named keys.
fn published(cx: &Reading<'_>, names: &BTreeSet<String>) -> Result<Reply<Nothing>> {
    let mut keys = Vec::new();
    for name in names {
        if let Some(key) = key::find(cx, name)? {
            keys.extend(key.verifying(cx.now()).map(|key| key.public.jwk.clone()));
        }
    }
    plain(200, &Jwks { keys })
}

/// Shows how identity tokens are checked.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Own {}

impl Query<Identity> for Own {
    const ROUTE: Route = Route::get("oidc/.well-known/openid-configuration").or_folder().unauthenticated();
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let issuer = config::issuer(identity, cx)?;
        plain(
            200,
            &json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/.well-known/keys"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": algorithms(),
            }),
        )
    }
}

/// Shows the public keys of identity tokens.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct OwnKeys {}

impl Query<Identity> for OwnKeys {
    const ROUTE: Route = Route::get("oidc/.well-known/keys").or_folder().unauthenticated();
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        published(cx, &role::all(cx)?.into_iter().map(|(_, role)| role.key).collect())
    }
}

/// Shows how to log in through a provider.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Provider {
    /// Its name.
    name: String,
}

impl Query<Identity> for Provider {
    const ROUTE: Route =
        Route::get("oidc/provider/{name}/.well-known/openid-configuration").unauthenticated();
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let provider = provider::find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let issuer = provider.issuer(identity, cx, &self.name)?;
        let mut scopes = provider.scopes_supported;
        scopes.push(super::scope::OPENID.to_owned());
        plain(
            200,
            &json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/.well-known/keys"),
                "authorization_endpoint": format!("{}/authorize", issuer.replacen("/v1/", "/ui/vault/", 1)),
                "token_endpoint": format!("{issuer}/token"),
                "userinfo_endpoint": format!("{issuer}/userinfo"),
                "request_parameter_supported": false,
                "request_uri_parameter_supported": false,
                "id_token_signing_alg_values_supported": algorithms(),
                "response_types_supported": ["code"],
                "scopes_supported": scopes,
                "claims_supported": [],
                "subject_types_supported": ["public"],
                "grant_types_supported": ["authorization_code"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            }),
        )
    }
}

/// Shows the public keys of a provider's tokens.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct ProviderKeys {
    /// Its name.
    name: String,
}

impl Query<Identity> for ProviderKeys {
    const ROUTE: Route = Route::get("oidc/provider/{name}/.well-known/keys").unauthenticated();
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let provider = provider::find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let clients = client::all(cx)?.into_iter().filter(|(_, client)| provider.allows(&client.client_id));
        published(cx, &clients.map(|(_, client)| client.key).collect())
    }
}
