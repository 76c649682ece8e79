use std::sync::Arc;

use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Fault, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::flow::{Brought, Flow, Flows};
use super::identity::{check_address, welcome};
use super::reach::{Reach, Reached};
use super::sign_in::known_role;
use super::vouch::{Refused, Tokens, check, enrich, redeem};
use super::{ONLY, PROVIDER, Setup, Signed, Title};
use crate::claims::Claims;

/// What clients look for at the beginning of an error.
pub(super) const FAILED: &str = "OpenBao login failed.";
/// What a client sends for a code that came to this server without it.
const NO_CODE: &str = "no_code";

/// Ends a login through a browser that has returned to the client.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Callback {
    /// Which login, as the provider repeats it.
    #[serde(default)]
    state: Option<Text>,
    /// What the provider gives the browser to bring.
    #[serde(default)]
    code: Option<Secret<String>>,
    /// What the login was begun with.
    #[serde(default)]
    client_nonce: Option<Secret<String>>,
    /// Why the provider let nobody in.
    #[serde(default)]
    error: Option<Text>,
    /// The same in words; not shown to anybody.
    #[serde(default)]
    #[expect(dead_code, reason = "providers send it: it is taken without a warning, and left alone")]
    error_description: Option<Text>,
    /// Where that is explained; not shown to anybody.
    #[serde(default)]
    #[expect(dead_code, reason = "providers send it: it is taken without a warning, and left alone")]
    error_uri: Option<Text>,
    /// That it was the person in the browser who began, where that is asked.
    #[serde(default)]
    #[expect(dead_code, reason = "for the page that answers in the place of this login")]
    confirmation: Option<Text>,
}

/// A login that has come back, and what is needed to go on with it.
pub(super) struct Returned {
    pub(super) setup: Arc<Option<Setup>>,
    pub(super) flow: Arc<Flow>,
    pub(super) reach: Reach,
    pub(super) brought: Brought,
}

/// What the provider vouches for.
pub(super) struct Vouched {
    flow: Arc<Flow>,
    tokens: Tokens,
    /// What stands in the identity alone.
    signed: Claims,
    /// The same, with what the provider tells beside it.
    claims: Claims,
    reached: Reached,
}

/// A refusal in the words that clients look for.
pub(super) fn failed(why: &str) -> Error {
    Error::invalid(format!("{FAILED} {why}"))
}

/// No such login, or it took too long, or it was ended before.
pub(super) fn expired() -> Error {
    failed("Expired or missing OAuth state.")
}

/// What is known of why a provider let nobody in. What else it says may be anybody's words.
pub(super) fn told(error: &str) -> Option<&'static str> {
    let error = error.trim().to_lowercase();
    if error.is_empty() {
        return None;
    }
    const KNOWN: [&str; 7] = [
        "invalid_request",
        "unauthorized_client",
        "access_denied",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
    ];
    let known = KNOWN.into_iter().find(|known| *known == error);
    Some(
        known
            .unwrap_or("An unknown error occurred during OIDC authentication. Check server logs for details"),
    )
}

impl<T: Title> AskLogin<Signed<T>> for Callback {
    const ROUTE: Route = Route::get("oidc/callback");
    type Facts = Returned;
    type Heard = Vouched;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Returned> {
        let setup = Setup::of(cx)?;
        let config = setup.as_ref().as_ref().map(|setup| &setup.config);
        let config = config.ok_or_else(|| failed("Could not load configuration"))?;
        let state = self.state.as_ref().map_or("", |state| state.0.as_str());
        let flows = Flows::of(cx);
        let flow = flows.find(state, cx.now()).ok_or_else(expired)?;
        let role = known_role(cx, &flow.role).map_err(|_| failed("Role could not be found"))?;
        if role.rules.callback_mode == "direct" {
            return Err(Error::new(Fault::Elsewhere, "the browser is answered with a page"));
        }
        // From here on it is good for nothing else.
        let flow = flows.take(state, cx.now()).ok_or_else(expired)?;
        if let Some(why) = told(self.error.as_ref().map_or("", |error| error.0.as_str())) {
            return Err(failed(why));
        }
        let client_nonce = self.client_nonce.as_ref().map_or("", |nonce| nonce.expose().as_str());
        if !flow.client_nonce.expose().is_empty() && !flow.is_of(client_nonce) {
            return Err(Error::invalid("invalid client_nonce"));
        }
        check_address(cx, &role)?;
        let source = config.source().ok_or_else(|| failed("Could not load configuration"))?;
        let code = self.code.as_ref().map_or("", |code| code.expose().as_str());
        let brought = match code {
            NO_CODE | "" => flow.brought(),
            code => Brought { code: code.to_owned(), ..Brought::default() },
        };
        let reach = Reach::of(cx, source)?;
        Ok(Returned { setup, flow, reach, brought })
    }

    async fn ask(&self, facts: &Returned, world: &dyn World) -> Result<Vouched> {
        facts.vouch(world).await
    }

    fn run(self, _: &Signed<T>, heard: &Vouched, cx: &mut Writing<'_>) -> Result<Claim> {
        heard.admit(cx)
    }
}

impl Returned {
    /// Redeems what the browser brought.
    ///
    /// # Errors
    /// If the provider does not vouch for anybody.
    pub(super) async fn vouch(&self, world: &dyn World) -> Result<Vouched> {
        let Brought { code, id_token, .. } = &self.brought;
        let setup = self.setup.as_ref().as_ref().ok_or_else(|| failed("Could not load configuration"))?;
        if code.is_empty() && id_token.is_empty() {
            return Err(failed("No code or id_token received."));
        }
        let reached = self.reach.provider(world).await?;
        if code.is_empty() {
            let tokens = Tokens::of(id_token.clone());
            return self.believe(&setup.config, tokens, reached, world).await;
        }
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", self.flow.redirect_uri.as_str()),
        ];
        fields.extend(
            self.flow.verifier.as_ref().map(|verifier| ("code_verifier", verifier.expose().as_str())),
        );
        let redeemed = redeem(&reached.provider, &setup.config, &fields, world).await;
        let tokens = redeemed
            .map_err(|Refused { text, .. }| failed(&format!("Error exchanging oidc code: {text:?}.")))?;
        self.believe(&setup.config, tokens, reached, world).await
    }

    /// Looks at the signature of what was handed out, and asks for what else there is to tell.
    ///
    /// # Errors
    /// If the provider did not sign it.
    pub(super) async fn believe(
        &self,
        config: &super::config::Config,
        tokens: Tokens,
        mut reached: Reached,
        world: &dyn World,
    ) -> Result<Vouched> {
        let signed = self.reach.claims(config, tokens.id_token.expose(), &mut reached, world).await;
        let signed = signed.map_err(|why| Error::invalid(format!("Token verification failed. {why}")))?;
        let mut claims = signed.clone();
        enrich(&reached.provider, &tokens, &mut claims, world).await;
        Ok(Vouched { flow: Arc::clone(&self.flow), tokens, signed, claims, reached })
    }
}

impl Vouched {
    /// Whom the provider vouches for, if the role takes them.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn admit(&self, cx: &mut Writing<'_>) -> Result<Claim> {
        let setup = Setup::of(cx)?;
        let setup = setup.as_ref().as_ref().ok_or_else(|| failed("Could not load configuration"))?;
        let role = known_role(cx, &self.flow.role).map_err(|_| failed("Role could not be found"))?;
        check_address(cx, &role)?;
        let rules = &role.rules;
        check(&setup.config, rules, &self.flow, &self.tokens, &self.signed, cx.now())
            .map_err(|why| Error::invalid(format!("Token verification failed. {why}")))?;
        if !rules.bound_subject.is_empty()
            && self.signed.0.get("sub").and_then(|it| it.as_str()) != Some(&rules.bound_subject)
        {
            return Err(failed("sub claim does not match bound subject"));
        }
        if self.reached.fetched {
            PROVIDER.put(cx, ONLY, &self.reached.provider)?;
        }
        let mut claims = self.claims.clone();
        claims.0.remove("nonce");
        let mut claim = welcome(&self.flow.role, &role, &claims).map_err(|error| {
            if error.fault() == Fault::Invalid { failed(&error.to_string()) } else { error }
        })?;
        for name in rules.oauth2_metadata.iter().flatten() {
            let token = match name.as_str() {
                "id_token" => &self.tokens.id_token,
                "refresh_token" => &self.tokens.refresh_token,
                _ => &self.tokens.access_token,
            };
            claim.metadata.insert(format!("oauth2_{name}"), token.expose().clone());
        }
        Ok(claim)
    }
}
