use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::Field;
use crate::{
    call::Call,
    session::Session,
    stop::{Outcome, Stop},
};

/// Open a wrapped answer; it can be opened once
#[derive(Args, Debug)]
pub(crate) struct Unwrap {
    #[command(flatten)]
    field: Field,
    /// Wrapping token; KEEP_UNWRAP_TOKEN, else your own token, if left out
    token: Option<String>,
}

impl Unwrap {
    pub(crate) async fn run(self, session: &mut Session) -> Outcome {
        let named = self.token.as_deref().map(|token| Zeroizing::new(token.trim().to_owned()));
        let wrapped = named.or_else(|| session.settings.unwrap_token.clone());
        let own = session.client.token.clone();
        let call = match (wrapped, own) {
            (None, None) => {
                return Err(Stop::local("There is no wrapping token")
                    .hint("Give it as an argument: keep unwrap TOKEN."));
            }
            (None, Some(_)) => Call::put("sys/wrapping/unwrap", json!({})),
            (Some(wrapped), Some(own)) if wrapped != own => {
                Call::put("sys/wrapping/unwrap", json!({ "token": wrapped.as_str() }))
            }
            // Somebody without a token of their own may still open what was handed to them.
            (Some(wrapped), _) => {
                session.client.token = Some(wrapped);
                Call::put("sys/wrapping/unwrap", json!({}))
            }
        };
        session.client.wrap_ttl = None;
        let secret = session.client.write(call).await.map_err(|e| e.during("Error unwrapping"))?;
        let secret = secret.ok_or_else(|| Stop::remote("Could not find wrapped response"))?;
        // A listing was wrapped: print it as the listing it is.
        if self.field.field.is_none()
            && secret.keys().is_some()
            && secret.data().is_some_and(|data| data.len() == 1)
        {
            return session.output.listed(&secret, "the wrapped path");
        }
        session.output.secret_or_field(&secret, self.field.field.as_deref())
    }
}
