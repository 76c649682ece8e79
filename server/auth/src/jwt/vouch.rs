//! What a provider hands out for a code, and whether it can be believed.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jws::{Alg, Message, PublicKey};
use kit::{Call, Error, Fault, Redirects, Secret, Time, Told, World};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::Config;
use super::flow::Flow;
use super::form::{escape, form};
use super::provider::{Provider, get, json, named};
use super::role::Rules;
use crate::claims::{Claims, Expected, Times};

/// By how much clocks may differ.
const SKEW_SECONDS: u64 = 60;

/// What a provider hands out.
#[derive(Deserialize)]
pub(super) struct Tokens {
    #[serde(default)]
    pub(super) id_token: Secret<String>,
    #[serde(default)]
    pub(super) access_token: Secret<String>,
    #[serde(default)]
    pub(super) refresh_token: Secret<String>,
}

impl Tokens {
    /// An identity that came without a code.
    pub(super) fn of(id_token: String) -> Self {
        Self {
            id_token: Secret::new(id_token),
            access_token: Secret::default(),
            refresh_token: Secret::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

/// Why a provider hands out nothing.
pub(super) struct Refused {
    /// Its word for it; empty: it did not answer as it should.
    pub(super) code: String,
    pub(super) text: String,
}

/// Redeems what fields say, in the name of this server's client.
///
/// # Errors
/// With the reason of the provider.
pub(super) async fn redeem(
    provider: &Provider,
    config: &Config,
    fields: &[(&str, &str)],
    world: &dyn World,
) -> Result<Tokens, Refused> {
    let endpoint = &provider.endpoints.token_endpoint;
    let told = post(provider, config, endpoint, fields, world).await?;
    let tokens: Tokens = json(&told).map_err(|text| Refused { code: String::new(), text })?;
    if tokens.id_token.expose().is_empty() {
        return Err(Refused { code: String::new(), text: "id_token is missing from the answer".to_owned() });
    }
    Ok(tokens)
}

/// Sends a form to the provider, as the client that this server is to it.
///
/// # Errors
/// With the reason of the provider.
pub(super) async fn post(
    provider: &Provider,
    config: &Config,
    url: &str,
    fields: &[(&str, &str)],
    world: &dyn World,
) -> Result<Told, Refused> {
    let (id, secret) = (config.oidc_client_id.as_str(), config.oidc_client_secret.expose());
    let mut fields = fields.to_vec();
    let mut headers = vec![
        ("accept".into(), Secret::new("application/json".to_owned())),
        ("content-type".into(), Secret::new("application/x-www-form-urlencoded".to_owned())),
    ];
    if provider.endpoints.takes_basic() {
        let pair = Secret::new(format!("{}:{}", escape(id), escape(secret)));
        headers
            .push(("authorization".into(), Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))));
    } else {
        fields.extend([("client_id", id), ("client_secret", secret.as_str())]);
    }
    let unsaid = |text: String| Refused { code: String::new(), text };
    let (trust, body) = (provider.source.trust(), form(&fields).into_bytes());
    let call = Call {
        method: "POST",
        url: url.to_owned(),
        headers,
        body,
        trust,
        redirects: Redirects::Shown,
        ..Call::default()
    };
    let told = world.fetch(call).await.map_err(|error| unsaid(error.to_string()))?;
    if told.status == 200 {
        return Ok(told);
    }
    let refusal: Refusal = json(&told).unwrap_or_default();
    let text =
        format!("the provider answered {} {} {}", told.status, refusal.error, refusal.error_description);
    Err(Refused { code: refusal.error, text: text.trim_end().chars().take(300).collect() })
}

/// Adds what the provider tells of whoever gave the access, if it is the same person. That it tells nothing does not
/// matter: what is in the token is.
pub(super) async fn enrich(provider: &Provider, tokens: &Tokens, claims: &mut Claims, world: &dyn World) {
    let url = &provider.endpoints.userinfo_endpoint;
    if url.is_empty() || tokens.access_token.expose().is_empty() {
        return;
    }
    let mut call = get(url, provider.source.trust());
    call.headers
        .push(("authorization".into(), Secret::new(format!("Bearer {}", tokens.access_token.expose()))));
    let Ok(told) = world.fetch(call).await else { return };
    let Ok(told) = json::<Map<String, Value>>(&told) else { return };
    let same = |name: &str| told.get(name).is_none_or(|value| claims.0.get(name) == Some(value));
    if told.contains_key("sub") && same("sub") && same("iss") {
        claims.0.extend(told);
    }
}

/// The claims of an identity, if one of these keys signed it.
///
/// # Errors
/// If none did, or not by an algorithm that is allowed.
pub(super) fn signed(config: &Config, keys: &[PublicKey], id_token: &str) -> Result<Claims, String> {
    let token = Message::compact(id_token)?;
    // Where nothing is said, providers sign by RS256.
    let allowed = match config.jwt_supported_algs.is_empty() {
        true => token.alg() == Some(Alg::Rs256),
        false => token.alg().is_some_and(|alg| config.allows(alg)),
    };
    if !allowed {
        return Err("id_token signed with unsupported algorithm".to_owned());
    }
    let claims = Claims::signed_by(&token, named(keys, token.key_id()));
    claims.ok_or_else(|| "failed to verify id token signature".to_owned())
}

/// Whether a signed identity is of this login (OpenID Connect Core 1.0, §3.1.3.7).
///
/// # Errors
/// With what is not.
pub(super) fn check(
    config: &Config,
    rules: &Rules,
    flow: &Flow,
    tokens: &Tokens,
    claims: &Claims,
    now: Time,
) -> Result<(), String> {
    if !claims.0.get("exp").is_some_and(Value::is_number) {
        return Err("the identity has no end (exp)".to_owned());
    }
    let expected =
        Expected { issuer: &config.oidc_discovery_url, times: Times::Ended, ..Expected::default() };
    claims.check(&expected, now)?;
    let client = config.oidc_client_id.as_str();
    let (audiences, party) = (claims.audiences()?, claims.0.get("azp").and_then(Value::as_str));
    let bound = rules.audiences();
    if !bound.is_empty() && !bound.iter().any(|one| audiences.contains(&one.as_str())) {
        return Err("invalid id_token audiences".to_owned());
    }
    let ours = audiences.contains(&client);
    let alone = matches!(*audiences, [one] if one == client);
    if party.is_some_and(|party| party != client)
        || (!alone && party.is_none())
        || (!ours && bound.is_empty())
    {
        return Err("invalid id_token audiences: it is not for this client".to_owned());
    }
    // A device brings no nonce: the one who waits never sees the browser.
    let nonce = claims.0.get("nonce").and_then(Value::as_str);
    if nonce != Some(flow.nonce.as_str()) && (flow.device_code.is_none() || nonce.is_some()) {
        return Err("invalid id_token nonce".to_owned());
    }
    if rules.max_age > 0 {
        let seen = claims.0.get("auth_time").and_then(Value::as_f64).unwrap_or_default();
        let seen = Duration::from_secs_f64(seen.clamp(0.0, 1e12));
        if now > Time::default().plus(seen).plus(Duration::from_secs(rules.max_age + SKEW_SECONDS)) {
            return Err("the provider has not seen the person within max_age (auth_time)".to_owned());
        }
    }
    let access = tokens.access_token.expose();
    match claims.0.get("at_hash").and_then(Value::as_str) {
        Some(hash) if !access.is_empty() && !hashes_to(access, hash) => {
            Err("access_token failed verification".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the left half of a token's hash is this: by whichever hash has a half of this length.
fn hashes_to(token: &str, half: &str) -> bool {
    [Alg::Rs256, Alg::Rs384, Alg::Rs512].into_iter().any(|alg| alg.half_hash(token) == half)
}

/// The challenge that goes with a verifier (RFC 7636).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::new(Fault::Upstream, refused.text)
    }
}
