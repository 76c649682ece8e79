//! A client exchanges a code for tokens, or gets one for itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kit::loose::Text;
use kit::{Beyond, Command, Error, Nothing, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::authorize::{self, Challenge, Grant};
use super::claims::{self, Claims};
use super::client::{self, Client, Kind};
use super::key::{self, Key};
use super::provider::{self, Provider};
use super::{assignment, namespace, plain, scope, template};
use crate::identity::{Identity, own};
use crate::ids;
use crate::namespaces::Namespace;
use crate::tokens::{TokenRecord, Tokens};

/// What an access token keeps of the login that it came from.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Access {
    pub(super) provider: String,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
}

/// Gives a client tokens for a code, or one for itself.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(in crate::identity) struct Exchange {
    /// The provider.
    name: String,
    /// `authorization_code` or `client_credentials`.
    grant_type: Text,
    /// The code.
    #[serde(deserialize_with = "any_text")]
    code: Secret<String>,
    /// Where the person was sent back to.
    redirect_uri: Text,
    /// The answer to the challenge.
    #[serde(deserialize_with = "any_text")]
    code_verifier: Secret<String>,
    /// What the client wants to know, if the token is for itself.
    scope: Text,
    /// The id of the client, if it is not in the Authorization header.
    client_id: Text,
    /// Its secret, if that is not in the Authorization header.
    #[serde(deserialize_with = "any_text")]
    client_secret: Secret<String>,
}

/// A number is a text too, and a wrong one is refused in the words of the standard.
fn any_text<'de, D: Deserializer<'de>>(from: D) -> Result<Secret<String>, D::Error> {
    Text::deserialize(from).map(|text| Secret::new(text.0))
}

/// Why there is no token, in the words of the standard.
struct Refusal(&'static str, String);

type Answer = Result<Result<Reply<Nothing>, Refusal>>;

fn refuse<T>(code: &'static str, why: impl Into<String>) -> Result<Result<T, Refusal>> {
    Ok(Err(Refusal(code, why.into())))
}

impl Command<Identity> for Exchange {
    const ROUTE: Route = Route::post("oidc/provider/{name}/token").unauthenticated();
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        cx.notes().header("pragma", "no-cache");
        match exchange(identity, cx, self)? {
            Ok(reply) => Ok(reply),
            Err(Refusal(error, why)) => {
                let status = if error == "invalid_client" { 401 } else { 400 };
                if status == 401 {
                    cx.notes().header("www-authenticate", "Basic");
                }
                plain(status, &json!({"error": error, "error_description": why}))
            }
        }
    }
}

fn exchange(identity: &Identity, cx: &mut Writing<'_>, wish: Exchange) -> Answer {
    let Some(provider) = provider::find(cx, &wish.name)? else {
        return refuse("invalid_request", "provider not found");
    };
    let (id, secret) = match basic(cx) {
        Some((id, secret)) => (id, secret),
        None if wish.client_id.0.is_empty() => {
            return refuse("invalid_request", "client_id parameter is required");
        }
        None => (wish.client_id.0.clone(), Secret::new(wish.client_secret.expose().clone())),
    };
    let known = client::by_id(cx, &id)?;
    let good = |client: &Client| client.kind == Kind::Public || client.client_secret.same(&secret);
    let Some(client) = known.filter(good) else {
        return refuse("invalid_client", "client failed to authenticate");
    };
    if !provider.allows(&client.client_id) {
        return refuse("invalid_client", "client is not authorized to use the provider");
    }
    let gone = || Error::internal(format!("the key {:?} of a client is gone", client.key));
    let key = key::find(cx, &client.key)?.ok_or_else(gone)?;
    if !key.allows(&client.client_id) {
        return refuse("invalid_client", "client is not authorized to use the key");
    }
    let (allowed, flow): (bool, Flow) = match wish.grant_type.0.as_str() {
        "authorization_code" => (client.authorization_code, by_code),
        // Who keeps no secret has not shown who it is (RFC 6749, section 4.4).
        "client_credentials" => (client.client_credentials && client.kind != Kind::Public, for_itself),
        _ => return refuse("unsupported_grant_type", "unsupported grant_type or parameter is empty value"),
    };
    if !allowed {
        return refuse("invalid_grant", "client is not authorized to use given credentials flow");
    }
    flow(identity, cx, &wish, &Parties { client, key, provider })
}

type Flow = fn(&Identity, &mut Writing<'_>, &Exchange, &Parties) -> Answer;

/// Who takes part in an exchange.
struct Parties {
    client: Client,
    key: Key,
    provider: Provider,
}

/// The id and the secret of a client in the Authorization header.
fn basic(cx: &Writing<'_>) -> Option<(String, Secret<String>)> {
    let value = cx.remote().header("authorization")?.expose();
    let (scheme, text) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = Secret::new(String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?);
    let (id, secret) = text.expose().split_once(':')?;
    Some((id.to_owned(), Secret::new(secret.to_owned())))
}

/// A person has logged in and the client has the code.
fn by_code(identity: &Identity, cx: &mut Writing<'_>, wish: &Exchange, parties: &Parties) -> Answer {
    let Parties { client, key, provider } = parties;
    let code = wish.code.expose();
    if code.is_empty() {
        return refuse("invalid_request", "code parameter is required");
    }
    let Some(grant) = authorize::take(cx, code)? else {
        return refuse("invalid_grant", "authorization grant is invalid or expired");
    };
    if let Err(refusal) = fits(&grant, wish, client) {
        return Ok(Err(refusal));
    }
    let book = own(cx);
    let resolved = book.resolve(cx.peek(&Beyond::for_the_kernel()), &grant.entity_id)?;
    let Some(resolved) = resolved.filter(|resolved| !resolved.entity.disabled) else {
        return refuse("invalid_request", "identity entity associated with the request not found");
    };
    let entity = resolved.caller(&own_namespace(identity, cx)?.path);
    if !assignment::include(cx, &client.assignments, &entity)? {
        return refuse("invalid_request", "identity entity not authorized by client assignment");
    }
    if let Err(refusal) = proves(&grant, wish.code_verifier.expose(), client) {
        return Ok(Err(refusal));
    }
    let access = access_token(identity, cx, &grant, client)?;
    let issued = cx.now().seconds();
    let claims = Claims {
        issuer: &provider.issuer(identity, cx, &grant.provider)?,
        namespace: &own_namespace(identity, cx)?.id,
        subject: &entity.id,
        audience: &client.client_id,
        issued,
        expires: issued + client.id_token_seconds,
    };
    let mut payload = claims.payload();
    payload.insert("at_hash".to_owned(), key.algorithm.half_hash(access.expose()).into());
    payload.insert("c_hash".to_owned(), key.algorithm.half_hash(code).into());
    if !grant.nonce.is_empty() {
        payload.insert("nonce".to_owned(), grant.nonce.clone().into());
    }
    if let Some(time) = grant.logged_in {
        payload.insert("auth_time".to_owned(), time.seconds().into());
    }
    match scope::claims(cx, &grant.scopes, Some(&entity)) {
        Ok(claims) => template::merge(&mut payload, claims),
        Err(error) => return refuse("invalid_request", error.to_string()),
    }
    let id_token = claims::sign(cx, key, &payload)?;
    plain(
        200,
        &json!({
            "access_token": access.expose(),
            "expires_in": client.access_token_seconds,
            "id_token": id_token,
            "token_type": "Bearer",
        }),
    )
    .map(Ok)
}

/// A code is good for the client, the provider and the address that it was given for.
fn fits(grant: &Grant, wish: &Exchange, client: &Client) -> Result<(), Refusal> {
    let refuse = |code, why: &str| Err(Refusal(code, why.to_owned()));
    if grant.client_id != client.client_id {
        return refuse("invalid_grant", "authorization code was not issued to the client");
    }
    if grant.provider != wish.name {
        return refuse("invalid_grant", "authorization code was not issued by the provider");
    }
    if wish.redirect_uri.0.is_empty() {
        return refuse("invalid_request", "redirect_uri parameter is required");
    }
    if grant.redirect_uri != wish.redirect_uri.0 {
        let why = "redirect_uri does not match the redirect_uri used in the authorization request";
        return refuse("invalid_grant", why);
    }
    Ok(())
}

/// Whoever exchanges a code must be the one that asked for it.
fn proves(grant: &Grant, verifier: &str, client: &Client) -> Result<(), Refusal> {
    let refuse = |code, why: &str| Err(Refusal(code, why.to_owned()));
    let (challenge, answer) = match &grant.challenge {
        None if client.kind == Kind::Public => {
            return refuse("invalid_request", "PKCE is required for public clients");
        }
        None if verifier.is_empty() => return Ok(()),
        None => return refuse("invalid_request", "unexpected code_verifier for token exchange"),
        Some(_) if verifier.is_empty() => {
            return refuse("invalid_request", "expected code_verifier for token exchange");
        }
        Some(Challenge::Plain(challenge)) => (challenge, verifier.to_owned()),
        Some(Challenge::S256(challenge)) => {
            let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
            (challenge, URL_SAFE_NO_PAD.encode(hash.as_ref()))
        }
    };
    if Secret::new(answer).same(&Secret::new(challenge.clone())) {
        return Ok(());
    }
    refuse("invalid_grant", "invalid code_verifier for token exchange")
}

/// A token that opens nothing but the page about the person.
fn access_token(
    identity: &Identity,
    cx: &Writing<'_>,
    grant: &Grant,
    client: &Client,
) -> Result<Secret<String>> {
    let kernel = identity.kernel()?;
    let now = cx.now();
    let ttl = Duration::from_secs(client.access_token_seconds);
    let path = format!("{}oidc/provider/{}", cx.mount().path, grant.provider);
    let access = Access {
        provider: grant.provider.clone(),
        client_id: client.client_id.clone(),
        scopes: grant.scopes.clone(),
    };
    let record = TokenRecord {
        path: format!("oidc/provider/{}/token", grant.provider),
        meta: Some(BTreeMap::from([("oidc_token_type".to_owned(), "access token".to_owned())])),
        created: now,
        ttl_seconds: ttl.as_secs(),
        expires: Some(now.plus(ttl)),
        entity_id: grant.entity_id.clone(),
        identity: Some(own(cx).uuid()),
        no_identity_policies: true,
        inline_policy: format!("path \"{path}/userinfo\" {{ capabilities = [\"read\", \"update\"] }}"),
        internal: serde_json::to_value(access)?,
        ..TokenRecord::default()
    };
    let namespace = own_namespace(identity, cx)?;
    Ok(Tokens::make_batch(&kernel.store, &namespace, record)?.id)
}

fn own_namespace(identity: &Identity, cx: &Writing<'_>) -> Result<Arc<Namespace>> {
    namespace(identity, cx.peek(&Beyond::for_the_kernel()).snapshot(), cx.mount())
}

/// The client wants a token for itself.
fn for_itself(identity: &Identity, cx: &mut Writing<'_>, wish: &Exchange, parties: &Parties) -> Answer {
    let Parties { client, key, provider } = parties;
    let Some(scopes) = authorize::scopes(&wish.scope.0, &provider.scopes_supported) else {
        return refuse(
            "invalid_request",
            format!("scope parameter must contain the {:?} value", scope::OPENID),
        );
    };
    let issued = cx.now().seconds();
    let claims = Claims {
        issuer: &provider.issuer(identity, cx, &wish.name)?,
        namespace: &own_namespace(identity, cx)?.id,
        subject: &client.client_id,
        audience: &client.client_id,
        issued,
        expires: issued + client.id_token_seconds,
    };
    let mut payload = claims.payload();
    payload.insert("jti".to_owned(), ids::new_uuid(cx.randomness()).into());
    match scope::claims(cx, &scopes, None) {
        Ok(claims) => template::merge(&mut payload, claims),
        Err(error) => return refuse("invalid_request", error.to_string()),
    }
    let token = claims::sign(cx, key, &payload)?;
    let seconds = client.id_token_seconds;
    plain(200, &json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"})).map(Ok)
}
