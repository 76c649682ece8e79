//! What the server is asked to have a token, and how its answers are read.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    held::Held,
    method::{Method, SecretId},
    proofs::Proofs,
};
use crate::{
    agent::world::{Cause, Trouble, World},
    call::Call,
    client::Reply,
    refused::Refused,
    secret::{Auth, Secret, WrapInfo},
};

/// The call that logs in by this method at this mount.
pub(super) async fn login_call(
    (method, mount): (Method, &str),
    proofs: &mut Proofs,
    world: &impl World,
) -> Result<Call, Trouble> {
    let path = format!("auth/{mount}/login");
    let body = match method {
        Method::Given(_) => {
            return Err(Trouble::new(Cause::Refused(403), "the token is not accepted"));
        }
        Method::TokenFile { path } => {
            let why = format!("the token in {} is not accepted; put a new one there", path.display());
            return Err(Trouble::new(Cause::Refused(403), why));
        }
        Method::Approle { role_id, secret_id } => {
            let role = proofs.read(&role_id)?;
            match secret_id {
                None => json!({ "role_id": role.as_str() }),
                Some(at) => {
                    let secret = secret(&at, proofs, world).await?;
                    json!({ "role_id": role.as_str(), "secret_id": secret.as_str() })
                }
            }
        }
        Method::Jwt { role, proof } => {
            json!({ "role": role, "jwt": proofs.kept(&proof, world.now())?.as_str() })
        }
        Method::Cert { role } => json!({ "name": role }),
        Method::Password { user, proof } => {
            let body = json!({ "password": proofs.kept(&proof, world.now())?.as_str() });
            return Ok(Call::post(format!("{path}/{user}"), body));
        }
    };
    Ok(Call::post(path, body))
}

async fn secret(
    at: &SecretId,
    proofs: &mut Proofs,
    world: &impl World,
) -> Result<Zeroizing<String>, Trouble> {
    let text = proofs.kept(&at.proof, world.now())?;
    match &at.wrapped_at {
        // A secret id has no dot, every wrapping token has: what was unwrapped before lies there as it is.
        Some(made_at) if text.contains('.') => {
            let secret = unwrap(world, text, made_at).await?;
            // It opens only once: until the login has succeeded, what was in it is kept in its place.
            proofs.put(&at.proof, &secret)?;
            Ok(secret)
        }
        _ => Ok(text),
    }
}

/// Opens a wrapped secret id, but only one that was wrapped where it should be: anyone can wrap anything.
async fn unwrap(
    world: &impl World,
    wrapping: Zeroizing<String>,
    made_at: &str,
) -> Result<Zeroizing<String>, Trouble> {
    let body = json!({ "token": wrapping.as_str() });
    let seen = world.ask(Call::post("sys/wrapping/lookup", body)).await.map_err(|refused| {
        Trouble::from(refused)
            .during("the wrapped secret id is not there any more: somebody may have opened it")
    })?;
    let seen = envelope(&seen)?;
    let path = seen.text("creation_path").unwrap_or_default();
    if path != made_at {
        let why =
            format!("the secret id was wrapped at {path:?}, not at {made_at:?}: somebody has replaced it");
        return Err(Trouble::new(Cause::Wrong, why));
    }
    let opened = world.ask(Call::post("sys/wrapping/unwrap", json!({})).with_token(wrapping)).await;
    let opened =
        envelope(&opened.map_err(|refused| Trouble::from(refused).during("unwrapping the secret id"))?)?;
    let secret = opened.text("secret_id").map(|text| Zeroizing::new(text.to_owned()));
    secret.ok_or_else(|| Trouble::new(Cause::Wrong, "what was wrapped holds no secret id"))
}

/// What the server knows of a token from a file.
pub(super) async fn look_up(world: &impl World, text: Zeroizing<String>) -> Result<Held, Trouble> {
    let reply = world.ask(Call::get("auth/token/lookup-self").with_token(text.clone())).await;
    let reply = reply.map_err(|refused| Trouble::from(refused).during("looking up the token"))?;
    let secret = envelope(&reply)?;
    let seconds = secret.field("ttl").and_then(Value::as_i64).unwrap_or(0);
    let renewable = secret.field("renewable").and_then(Value::as_bool).unwrap_or(false);
    let auth = Auth { client_token: text.to_string(), lease_duration: seconds, renewable, ..Auth::default() };
    Ok(Held::new(&auth, world.now()))
}

/// The token in an answer.
pub(super) fn auth(answer: Result<Reply, Refused>) -> Result<Auth, Trouble> {
    let secret = envelope(&answer.map_err(Trouble::from)?)?;
    let auth = secret.auth.filter(|auth| !auth.client_token.is_empty());
    auth.ok_or_else(|| {
        Trouble::new(
            Cause::Wrong,
            "the answer holds no token; a login that wants a second factor is not for agents",
        )
    })
}

/// The same call, with its answer wrapped for this long.
pub(crate) fn wrapped_for(call: Call, ttl: Duration) -> Call {
    call.wrapped_for(format!("{}s", ttl.as_secs()))
}

/// What opens a wrapped answer, as Vault Agent writes it into a sink.
pub(crate) fn wrapping(answer: Result<Reply, Refused>) -> Result<Zeroizing<String>, Trouble> {
    #[derive(Serialize)]
    struct Shown<'a> {
        token: &'a str,
        accessor: &'a str,
        ttl: i64,
        creation_time: &'a str,
        creation_path: &'a str,
        wrapped_accessor: &'a str,
    }
    let wrap = envelope(&answer.map_err(Trouble::from)?)?.wrap_info.unwrap_or_default();
    let WrapInfo { token, accessor, ttl, creation_time, creation_path, wrapped_accessor } = &wrap;
    if token.is_empty() {
        return Err(Trouble::new(
            Cause::Wrong,
            "the server did not wrap its answer; is something between that drops the header X-Vault-Wrap-TTL?",
        ));
    }
    let shown = Shown { token, accessor, ttl: *ttl, creation_time, creation_path, wrapped_accessor };
    let mut text =
        Zeroizing::new(serde_json::to_string(&shown).map_err(|e| Trouble::new(Cause::Wrong, e.to_string()))?);
    // Go's encoder ends with one, and whoever compares files sees it.
    text.push('\n');
    Ok(text)
}

/// The envelope of an answer.
pub(crate) fn envelope(reply: &Reply) -> Result<Secret, Trouble> {
    let secret = reply.secret().map_err(Trouble::from)?;
    secret.ok_or_else(|| Trouble::new(Cause::Wrong, "the server's answer is empty"))
}
