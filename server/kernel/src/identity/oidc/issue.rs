//! Identity tokens: who asks, signed.

use kit::{Beyond, Error, Query, Reading, Reads, Reply, Result, Route};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claims::{self, Claims};
use super::{config, key, namespace, role, template};
use crate::identity::Identity;

/// A token and what is known about it.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Issued {
    client_id: String,
    token: String,
    ttl: u64,
}

/// Issues a token that says who the caller is.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Token {
    /// The role that says what the token is like.
    name: String,
}

impl Query<Identity> for Token {
    const ROUTE: Route = Route::get("oidc/token/{name}");
    type Reply = Issued;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Issued>> {
        let missing = || Error::invalid(format!("role {:?} not found", self.name));
        let role = role::find(cx, &self.name)?.ok_or_else(missing)?;
        let gone = || Error::invalid(format!("key {:?} not found", role.key));
        let key = key::find(cx, &role.key)?.ok_or_else(gone)?;
        if !key.allows(&role.client_id) {
            return Err(Error::invalid(format!(
                "the key {:?} does not list the client ID of the role {:?} as an allowed client ID",
                role.key, self.name
            )));
        }
        let nobody = || Error::invalid("no entity associated with the request's token");
        let entity = cx.caller().entity.as_ref().ok_or_else(nobody)?;
        let ttl = role.ttl_seconds.min(key.verification_seconds);
        if ttl < role.ttl_seconds {
            cx.warn(format!("a role's token ttl cannot be longer than the verification_ttl of the key it references, setting token ttl to {ttl}"));
        }
        let issued = cx.now().seconds();
        let claims = Claims {
            issuer: &config::issuer(identity, cx)?,
            namespace: &namespace(identity, cx.beyond(&Beyond::for_the_kernel()), cx.mount())?.id,
            subject: &entity.id,
            audience: &role.client_id,
            issued,
            expires: issued + ttl,
        };
        let mut payload = claims.payload();
        match template::claims(&role.template, Some(entity), cx.now()) {
            Ok(claims) => template::merge(&mut payload, claims),
            // The token says who it is of all the same.
            Err(error) => {
                tracing::warn!(role = self.name, %error, "a template of claims cannot be filled in")
            }
        }
        let token = claims::sign(cx, &key, &payload)?;
        Ok(Issued { client_id: role.client_id, token, ttl: role.ttl_seconds }.into())
    }
}
