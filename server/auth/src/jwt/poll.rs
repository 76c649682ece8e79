use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

use super::callback::{Returned, Vouched, expired, failed, told};
use super::flow::Flows;
use super::identity::check_address;
use super::reach::Reach;
use super::sign_in::known_role;
use super::vouch::{Refused, redeem};
use super::{Setup, Signed, Title};

/// The grant of a device that waits (RFC 8628).
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Asks whether a login in a browser elsewhere is done, and ends it if it is. While it is not, the answer is the error
/// `authorization_pending`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Poll {
    /// Which login.
    #[serde(default)]
    state: Option<Text>,
    /// What it was begun with.
    #[serde(default)]
    client_nonce: Option<Secret<String>>,
}

/// A login that is waited for.
pub(super) struct Waiting {
    state: String,
    flows: Arc<Flows>,
    returned: Returned,
}

impl<T: Title> AskLogin<Signed<T>> for Poll {
    const ROUTE: Route = Route::post("oidc/poll");
    type Facts = Waiting;
    type Heard = Vouched;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Waiting> {
        let state = self.state.as_ref().map(|state| state.0.clone()).unwrap_or_default();
        let flows = Flows::of(cx);
        let flow = flows.find(&state, cx.now()).ok_or_else(expired)?;
        let refuse = |error: Error| {
            flows.take(&state, cx.now());
            error
        };
        let client_nonce = self.client_nonce.as_ref().map_or("", |nonce| nonce.expose().as_str());
        if !flow.is_of(client_nonce) {
            return Err(refuse(Error::invalid("invalid client_nonce")));
        }
        let role = known_role(cx, &flow.role).map_err(|_| refuse(failed("Role could not be found")))?;
        check_address(cx, &role)?;
        let setup = Setup::of(cx)?;
        let source = setup.as_ref().as_ref().and_then(|setup| setup.config.source());
        let source = source.ok_or_else(|| refuse(failed("Could not load configuration")))?;
        let brought = flow.brought();
        match flow.device_code {
            Some(_) => {}
            None if role.rules.callback_mode != "direct" => return Err(refuse(expired())),
            None => {
                if let Some(why) = told(&brought.error) {
                    return Err(refuse(failed(why)));
                }
                if brought.code.is_empty() && brought.id_token.is_empty() {
                    return Err(Error::invalid("authorization_pending"));
                }
                // What the browser brought is redeemed once.
                flows.take(&state, cx.now()).ok_or_else(expired)?;
            }
        }
        let returned = Returned { setup, flow, reach: Reach::of(cx, source)?, brought };
        Ok(Waiting { state, flows, returned })
    }

    async fn ask(&self, facts: &Waiting, world: &dyn World) -> Result<Vouched> {
        let returned = &facts.returned;
        let Some(device_code) = &returned.flow.device_code else { return returned.vouch(world).await };
        let setup = returned.setup.as_ref().as_ref().ok_or_else(|| failed("Could not load configuration"))?;
        let reached = returned.reach.provider(world).await?;
        let fields = [
            ("grant_type", DEVICE_GRANT),
            ("device_code", device_code.expose().as_str()),
            ("client_id", setup.config.oidc_client_id.as_str()),
        ];
        let tokens = match redeem(&reached.provider, &setup.config, &fields, world).await {
            Ok(tokens) => tokens,
            Err(Refused { code, .. }) if code == "authorization_pending" || code == "slow_down" => {
                return Err(Error::invalid(code));
            }
            // It did not answer as it should: it may yet.
            Err(refused) if refused.code.is_empty() => return Err(refused.into()),
            Err(Refused { code, .. }) => {
                facts.flows.take(&facts.state, world.now());
                return Err(Error::invalid(format!("authorization failed: {code}")));
            }
        };
        facts.flows.take(&facts.state, world.now()).ok_or_else(expired)?;
        returned.believe(&setup.config, tokens, reached, world).await
    }

    fn run(self, _: &Signed<T>, heard: &Vouched, cx: &mut Writing<'_>) -> Result<Claim> {
        heard.admit(cx)
    }
}
