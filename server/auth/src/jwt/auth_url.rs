use std::sync::Arc;

use kit::loose::Text;
use kit::{Ask, Error, Reads, Recording, Reply, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flow::{Flow, Flows};
use super::form::{form, is_allowed, without_namespace};
use super::provider::json;
use super::reach::{Reach, Reached};
use super::role::Role;
use super::sign_in::known_role;
use super::vouch::{challenge, post};
use super::{ONLY, PROVIDER, Setup, Signed, Title};

/// How often clients should ask whether the browser is done, if nobody says.
const POLL_SECONDS: u64 = 5;
/// The longest address to return to, and the longest nonce of a client.
const TEXT_MAX: usize = 2048;

/// Begins a login through a browser: says where to send it. If the role does not allow the address to return to, the
/// answer is empty and says no more, for anybody may ask.
#[derive(Deserialize, JsonSchema)]
pub(super) struct AuthUrl {
    /// Which role; if it is left out, the default one.
    #[serde(default)]
    role: Option<Text>,
    /// Where the browser is to return to. A device needs none.
    #[serde(default)]
    redirect_uri: Option<Text>,
    /// What whoever ends the login must know. It must be given where the browser does not return to the client.
    #[serde(default)]
    client_nonce: Option<Secret<String>>,
}

/// Where to send the browser.
#[derive(Default, JsonSchema, Serialize)]
pub(super) struct Shown {
    auth_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_code: Option<String>,
}

/// What the request comes to before anybody is asked.
pub(super) struct Start {
    setup: Arc<Option<Setup>>,
    name: String,
    role: Arc<Role>,
    /// Nothing: the role does not allow it.
    returns: Option<Returns>,
    reach: Reach,
}

/// Where the browser returns to.
struct Returns {
    uri: String,
    namespace: String,
}

/// What a provider says to a device (RFC 8628). Some say URL where it should be URI.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Device {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    verification_url: String,
    verification_url_complete: String,
    interval: u64,
}

/// The provider, and what it said to a device.
pub(super) struct Heard {
    /// Nothing: nobody was asked.
    reached: Option<Reached>,
    device: Option<Device>,
}

impl AuthUrl {
    fn start(&self, cx: &impl Reads) -> Result<Start> {
        let setup = Setup::of(cx)?;
        let config =
            &setup.as_ref().as_ref().ok_or_else(|| Error::invalid("could not load configuration"))?.config;
        let Some(source) = config.source().filter(|_| config.is_flow()) else {
            return Err(Error::invalid("OIDC login is not configured for this mount"));
        };
        let name = config.role_named(self.role.as_ref())?;
        let role = known_role(cx, &name)?;
        let mode = role.rules.callback_mode.as_str();
        let client_nonce = self.client_nonce();
        if client_nonce.is_empty() && mode != "client" {
            return Err(Error::invalid("missing client_nonce"));
        }
        let uri = self.redirect_uri.as_ref().map_or("", |uri| uri.0.as_str());
        if uri.len() > TEXT_MAX || client_nonce.len() > TEXT_MAX {
            let text = format!("redirect_uri and client_nonce may have {TEXT_MAX} bytes at most");
            return Err(Error::invalid(text));
        }
        if uri.is_empty() && mode != "device" {
            return Err(Error::invalid("missing redirect_uri"));
        }
        let (mut uri, namespace) = match config.namespace_in_state {
            true => without_namespace(uri),
            false => (uri.to_owned(), String::new()),
        };
        let allowed = role.rules.allowed_redirect_uris.as_deref().unwrap_or_default();
        let allows = mode == "device" || is_allowed(&uri, allowed);
        if config.oidc_response_mode == "form_post" {
            // What is posted cannot be posted to the UI.
            uri = uri.replacen("ui/vault", "v1", 1);
        }
        let returns = Some(Returns { uri, namespace }).filter(|_| allows);
        let reach = Reach::of(cx, source)?;
        Ok(Start { setup, name, role, returns, reach })
    }

    fn client_nonce(&self) -> &str {
        self.client_nonce.as_ref().map_or("", |nonce| nonce.expose().as_str())
    }
}

impl<T: Title> Ask<Signed<T>> for AuthUrl {
    const ROUTE: Route = Route::post("oidc/auth_url").unauthenticated();
    type Facts = Start;
    type Heard = Heard;
    type Reply = Shown;

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Start> {
        self.start(cx)
    }

    async fn ask(&self, facts: &Start, world: &dyn World) -> Result<Heard> {
        let Some(setup) = facts.setup.as_ref().as_ref().filter(|_| facts.returns.is_some()) else {
            return Ok(Heard { reached: None, device: None });
        };
        let reached = facts.reach.provider(world).await?;
        if facts.role.rules.callback_mode != "device" {
            return Ok(Heard { reached: Some(reached), device: None });
        }
        let url = reached.provider.endpoints.device_authorization_endpoint.clone();
        if url.is_empty() {
            return Err(Error::invalid(
                "the provider names no device_authorization_endpoint: it has no device flow",
            ));
        }
        let scopes = scopes(&facts.role);
        let fields = [("scope", scopes.as_str()), ("client_id", setup.config.oidc_client_id.as_str())];
        let told = post(&reached.provider, &setup.config, &url, &fields, world).await?;
        let device: Device = json(&told).map_err(|text| Error::new(kit::Fault::Upstream, text))?;
        Ok(Heard { reached: Some(reached), device: Some(device) })
    }

    fn run(self, _: &Signed<T>, heard: &Heard, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let start = self.start(cx)?;
        let (Some(reached), Some(returns), Some(setup)) =
            (&heard.reached, &start.returns, start.setup.as_ref().as_ref())
        else {
            return Ok(Shown::default().into());
        };
        if reached.fetched {
            PROVIDER.put(cx, ONLY, &reached.provider)?;
        }
        let rules = &start.role.rules;
        let mut flow = Flow::new(cx, start.name.clone(), returns.uri.clone(), self.client_nonce());
        let device = heard.device.clone();
        flow.device_code = device.as_ref().map(|device| Secret::new(device.device_code.clone()));
        if setup.config.is_implicit() {
            flow.verifier = None;
        }
        let (nonce, verifier) = (flow.nonce.clone(), flow.verifier.as_ref().map(|it| challenge(it.expose())));
        let state = Flows::of(cx).begin(cx, flow);
        let interval = |other: u64| {
            let other = if other == 0 { POLL_SECONDS } else { other };
            Some(rules.poll_interval.unwrap_or(other).to_string())
        };
        if let Some(device) = device {
            let interval = interval(device.interval);
            return Ok(device.shown(state, interval).into());
        }
        let max_age = Some(rules.max_age.to_string()).filter(|_| rules.max_age > 0);
        let named = match returns.namespace.as_str() {
            "" => state.clone(),
            namespace => format!("{state},ns={namespace}"),
        };
        let scopes = scopes(&start.role);
        let mut fields = vec![("client_id", setup.config.oidc_client_id.as_str())];
        if let Some(challenge) = &verifier {
            fields.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
        }
        fields.extend(max_age.as_deref().map(|seconds| ("max_age", seconds)));
        fields.extend([("nonce", nonce.as_str()), ("redirect_uri", returns.uri.as_str())]);
        if setup.config.oidc_response_mode == "form_post" {
            fields.push(("response_mode", "form_post"));
        }
        let kind = if verifier.is_some() { "code" } else { "id_token" };
        fields.extend([("response_type", kind), ("scope", scopes.as_str()), ("state", named.as_str())]);
        let endpoint = &reached.provider.endpoints.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let direct = rules.callback_mode == "direct";
        Ok(Shown {
            auth_url: format!("{endpoint}{joint}{}", form(&fields)),
            poll_interval: interval(0).filter(|_| direct),
            state: Some(state).filter(|_| direct),
            user_code: None,
        }
        .into())
    }
}

impl Device {
    /// What the person is shown: an address, and a code if the address does not hold it.
    fn shown(self, state: String, poll_interval: Option<String>) -> Shown {
        let first = |one: String, other: String| if one.is_empty() { other } else { one };
        let whole = first(self.verification_uri_complete, self.verification_url_complete);
        let user_code = Some(self.user_code).filter(|_| whole.is_empty());
        let auth_url = first(whole, first(self.verification_uri, self.verification_url));
        Shown { auth_url, poll_interval, state: Some(state), user_code }
    }
}

/// What the provider is asked for.
fn scopes(role: &Role) -> String {
    let own = role.rules.oidc_scopes.iter().flatten().map(String::as_str).filter(|scope| *scope != "openid");
    std::iter::once("openid").chain(own).collect::<Vec<_>>().join(" ")
}
