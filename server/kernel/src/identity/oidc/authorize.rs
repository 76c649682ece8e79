//! Someone who is logged in here lets a client know who they are: the client gets a code for a token.

use std::time::Duration;

use aws_lc_rs::digest;
use kit::loose::{Json, Number, Text};
use kit::{Beyond, Command, Error, Fault, IdTable, Nothing, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{self, Client, Kind};
use super::{assignment, plain, provider, scope};
use crate::identity::Identity;
use crate::ids;
use crate::tokens;

/// Codes by their hash: who reads the disk finds none that works.
const CODES: IdTable<Grant> = IdTable::new(28);
/// How long a code can be exchanged for a token.
const CODE_LIFE: Duration = Duration::from_secs(300);
const CODE_LENGTH: usize = 32;
/// What RFC 7636 says of the length of a challenge.
const CHALLENGE_LENGTH: std::ops::RangeInclusive<usize> = 43..=128;

/// What a code stands for.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Grant {
    pub(super) provider: String,
    pub(super) client_id: String,
    pub(super) entity_id: String,
    pub(super) redirect_uri: String,
    pub(super) nonce: String,
    pub(super) scopes: Vec<String>,
    pub(super) challenge: Option<Challenge>,
    /// When the person logged in, if the client asked for that.
    pub(super) logged_in: Option<Time>,
    expires: Time,
}

/// What whoever exchanges the code must be able to answer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Challenge {
    /// The answer itself.
    Plain(String),
    /// Its hash.
    S256(String),
}

/// What a client asks for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// The id of the client.
    client_id: Text,
    /// What the client wants to know, divided by spaces; `openid` must be there.
    scope: Text,
    /// Where the person is sent back to.
    redirect_uri: Text,
    /// `code`.
    response_type: Text,
    /// What the client gets back as it was.
    state: Text,
    /// What the id token will hold as it is.
    nonce: Text,
    /// How many seconds ago the person may have logged in.
    max_age: Option<Number>,
    /// The challenge that the exchange must answer.
    code_challenge: Option<Text>,
    /// `plain` or `S256`.
    code_challenge_method: Text,
    /// Not supported.
    request: Option<Json>,
    /// Not supported.
    request_uri: Option<Json>,
}

/// Gives a client a code for a token about the caller.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Authorize {
    /// The provider.
    name: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Authorize {
    const ROUTE: Route = Route::get("oidc/provider/{name}/authorize");
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        answer(identity, cx, &self.name, self.wish)
    }
}

/// Gives a client a code for a token about the caller.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct AuthorizePosted {
    /// The provider.
    name: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for AuthorizePosted {
    const ROUTE: Route = Route::post("oidc/provider/{name}/authorize");
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        answer(identity, cx, &self.name, self.wish)
    }
}

/// Why there is no code, in the words of the standard.
struct Refusal(&'static str, String);

fn refuse<T>(code: &'static str, why: impl Into<String>) -> Result<Result<T, Refusal>> {
    Ok(Err(Refusal(code, why.into())))
}

fn answer(identity: &Identity, cx: &mut Writing<'_>, name: &str, wish: Wish) -> Result<Reply<Nothing>> {
    let state = wish.state.0.clone();
    let grant = match granted(identity, cx, name, wish)? {
        Ok(grant) => grant,
        Err(Refusal(error, why)) => {
            return plain(400, &json!({"error": error, "error_description": why, "state": state}));
        }
    };
    let code = ids::base62(cx.randomness(), CODE_LENGTH);
    let hash = hashed(&code);
    CODES.put(cx, &hash, &grant)?;
    cx.later::<Identity, _>(CODE_LIFE, &Forget { hash: hex::encode(hash) })?;
    plain(200, &json!({"code": code, "state": state}))
}

/// The order of the checks is that of the API: clients see the first that fails.
fn granted(identity: &Identity, cx: &Writing<'_>, name: &str, wish: Wish) -> Result<Result<Grant, Refusal>> {
    if wish.client_id.0.is_empty() {
        return refuse("invalid_client_id", "client_id parameter is required");
    }
    let Some(client) = client::by_id(cx, &wish.client_id.0)? else {
        return refuse("invalid_client_id", "client with client_id not found");
    };
    if !client.authorization_code {
        return refuse("invalid_grant", "client not allowed to perform authorization code credential flow");
    }
    if wish.redirect_uri.0.is_empty() {
        return refuse("invalid_request", "redirect_uri parameter is required");
    }
    if !may_redirect(&wish.redirect_uri.0, &client.redirect_uris) {
        return refuse("invalid_redirect_uri", "redirect_uri is not allowed for the client");
    }
    let Some(provider) = provider::find(cx, name)? else {
        return refuse("invalid_request", "provider not found");
    };
    if !provider.allows(&client.client_id) {
        return refuse("unauthorized_client", "client is not authorized to use the provider");
    }
    if wish.request.is_some() {
        return refuse("request_not_supported", "request parameter is not supported");
    }
    if wish.request_uri.is_some() {
        return refuse("request_uri_not_supported", "request_uri parameter is not supported");
    }
    let Some(scopes) = scopes(&wish.scope.0, &provider.scopes_supported) else {
        return refuse(
            "invalid_request",
            format!("scope parameter must contain the {:?} value", scope::OPENID),
        );
    };
    match wish.response_type.0.as_str() {
        "" => return refuse("invalid_request", "response_type parameter is required"),
        "code" => {}
        _ => return refuse("unsupported_response_type", "unsupported response_type value"),
    }
    let Some(entity) = &cx.caller().entity else {
        return refuse("access_denied", "identity entity must be associated with the request");
    };
    if !assignment::include(cx, &client.assignments, entity)? {
        return refuse("access_denied", "identity entity not authorized by client assignment");
    }
    let challenge = match challenge(&client, &wish) {
        Ok(challenge) => challenge,
        Err(why) => return refuse("invalid_request", why),
    };
    let logged_in = match fresh(identity, cx, wish.max_age)? {
        Ok(logged_in) => logged_in,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(Ok(Grant {
        provider: name.to_owned(),
        client_id: client.client_id,
        entity_id: entity.id.clone(),
        redirect_uri: wish.redirect_uri.0,
        nonce: wish.nonce.0,
        scopes,
        challenge,
        logged_in,
        expires: cx.now().plus(CODE_LIFE),
    }))
}

/// When the person logged in, if the client wants to know: not longer ago than it says.
fn fresh(
    identity: &Identity,
    cx: &Writing<'_>,
    max_age: Option<Number>,
) -> Result<Result<Option<Time>, Refusal>> {
    let Some(Number(seconds)) = max_age else { return Ok(Ok(None)) };
    let Some(seconds) = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0) else {
        return refuse("invalid_request", "max_age must be greater than zero");
    };
    let logged_in = logged_in(identity, cx)?;
    if logged_in.until(cx.now()).as_secs() > seconds {
        return refuse("max_age_violation", "active re-authentication is required by max_age");
    }
    Ok(Ok(Some(logged_in)))
}

/// The scopes that are asked for and that there are; nothing, if `openid` is not among them.
pub(super) fn scopes(asked: &str, supported: &[String]) -> Option<Vec<String>> {
    let asked: Vec<&str> = asked.split_whitespace().collect();
    if !asked.contains(&scope::OPENID) {
        return None;
    }
    let known = |name: &&&str| **name == scope::OPENID || supported.iter().any(|known| known == **name);
    Some(super::unique(asked.iter().filter(known).map(|name| (*name).to_owned()).collect()))
}

/// A client without a secret must set a challenge.
fn challenge(client: &Client, wish: &Wish) -> Result<Option<Challenge>, &'static str> {
    let Some(Text(challenge)) = &wish.code_challenge else {
        return match client.kind {
            Kind::Public => Err("PKCE is required for public clients"),
            Kind::Confidential => Ok(None),
        };
    };
    let method: fn(String) -> Challenge = match wish.code_challenge_method.0.as_str() {
        "" | "plain" => Challenge::Plain,
        "S256" => Challenge::S256,
        _ => return Err("invalid code_challenge_method"),
    };
    if !CHALLENGE_LENGTH.contains(&challenge.len()) {
        return Err("invalid code_challenge");
    }
    Ok(Some(method(challenge.clone())))
}

/// When the caller's token was made.
fn logged_in(identity: &Identity, cx: &Writing<'_>) -> Result<Time> {
    let beyond = Beyond::for_the_kernel();
    let kernel = identity.kernel()?;
    let token = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?.expose();
    let record = match kernel.tokens.open_batch(&kernel.store, token).filter(|_| token.starts_with("b.")) {
        Some(record) => Some(record),
        None => tokens::find(cx.peek(&beyond), kernel.tokens.hash(token))?,
    };
    record.map(|record| record.created).ok_or_else(|| Error::new(Fault::Denied, "permission denied"))
}

/// Whether a client may have people sent there: where it said, or to any port of this very machine.
fn may_redirect(uri: &str, allowed: &[String]) -> bool {
    let same = |known: &String| match (loopback(uri), loopback(known)) {
        (Some(uri), Some(known)) => uri == known,
        _ => uri == known,
    };
    allowed.iter().any(same)
}

/// An address of this very machine without its port.
fn loopback(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let bare = ["localhost", "127.0.0.1", "[::1]"];
    let host = bare.into_iter().find(|host| authority.starts_with(host))?;
    let port = authority.strip_prefix(host)?;
    let digits = port.strip_prefix(':').map(|port| port.chars().all(|char| char.is_ascii_digit()));
    (port.is_empty() || digits == Some(true)).then_some((scheme, host, path))
}

/// Takes the grant that a code stands for: a code is good once, whatever comes of it.
pub(super) fn take(cx: &mut Writing<'_>, code: &str) -> Result<Option<Grant>> {
    let hash = hashed(code);
    let grant = CODES.get(cx, &hash)?;
    if grant.is_some() {
        CODES.delete(cx, &hash)?;
    }
    let now = cx.now();
    Ok(grant.filter(|grant| grant.expires > now))
}

fn hashed(code: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, code.as_bytes());
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Forgets a code that nobody came for.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(in crate::identity) struct Forget {
    hash: String,
}

impl Command<Identity> for Forget {
    const ROUTE: Route = Route::internal("forget-oidc-code").small();
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if let Ok(hash) = hex::decode(&self.hash) {
            CODES.delete(cx, &hash)?;
        }
        Ok(Reply::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_where_the_client_said() {
        let allowed =
            ["https://app.example/cb", "http://127.0.0.1/cb", "http://localhost:1/x?y=z"].map(str::to_owned);
        for (uri, expect) in [
            ("https://app.example/cb", true),
            ("https://app.example/cb/", false),
            ("https://app.example:443/cb", false),
            ("http://127.0.0.1:5555/cb", true),
            ("http://localhost:99/x?y=z", true),
            ("http://localhost:99/x", false),
            ("https://127.0.0.1/cb", false),
            ("http://127.0.0.1.evil.example/cb", false),
            ("http://127.0.0.1:80@evil.example/cb", false),
            ("http://localhost", false),
        ] {
            assert_eq!(may_redirect(uri, &allowed), expect, "{uri}");
        }
    }
}
