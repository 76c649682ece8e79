use std::sync::Arc;

use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Secret, Time, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::identity::{check_address, welcome};
use super::provider::{Provider, Recent, Source, named};
use super::role::Role;
use super::{ONLY, PROVIDER, Published, ROLES, Setup, Signed, Title, recent};
use crate::jose::{Claims, Expected, Times, Token};

/// Logs in by a token that an issuer signed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn {
    /// Which role; if it is left out, the default one.
    #[serde(default)]
    role: Option<Text>,
    /// The token.
    #[serde(default)]
    jwt: Option<Secret<String>>,
}

/// What a login is held against.
struct Ground {
    name: String,
    role: Arc<Role>,
    setup: Arc<Option<Setup>>,
}

/// Whether the keys at hand have signed the token.
pub(super) enum Known {
    /// They have, and this is what it says.
    Signed(Claims),
    /// They have not: others may be found there.
    Missing { source: Source, recent: Arc<Recent> },
}

/// What a token says that is signed, and the keys that were fetched for it.
pub(super) struct Verified {
    claims: Claims,
    fetched: Option<Arc<Provider>>,
}

impl Verified {
    /// What the token says.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Keeps the keys that were fetched.
    ///
    /// # Errors
    /// If the store does not take them.
    pub(super) fn keep(&self, cx: &mut Writing<'_>) -> Result<()> {
        self.fetched.as_ref().map_or(Ok(()), |provider| PROVIDER.put(cx, ONLY, provider))
    }
}

impl SignIn {
    fn ground(&self, cx: &impl Reads) -> Result<Ground> {
        let setup = Setup::of(cx)?;
        let config = &configured(&setup)?.config;
        let name = config.role_named(self.role.as_ref())?;
        let role = known_role(cx, &name)?;
        if role.rules.is_flow() {
            return Err(Error::invalid("role with oidc role_type is not allowed"));
        }
        Ok(Ground { name, role, setup })
    }

    fn token(&self) -> Result<Token<'_>> {
        shown(self.jwt.as_ref())
    }
}

/// How the mount is set up.
///
/// # Errors
/// If it is not.
pub(super) fn configured(setup: &Option<Setup>) -> Result<&Setup> {
    setup.as_ref().ok_or_else(|| Error::invalid("could not load configuration"))
}

/// The token that was shown.
///
/// # Errors
/// If there is none, or it is none.
pub(super) fn shown(jwt: Option<&Secret<String>>) -> Result<Token<'_>> {
    let text = jwt.map_or("", |jwt| jwt.expose().as_str());
    if text.is_empty() {
        return Err(Error::invalid("missing token"));
    }
    Token::parse(text).map_err(|why| unverified(&why))
}

/// A role by its name, parsed once.
///
/// # Errors
/// If there is none.
pub(super) fn known_role(cx: &impl Reads, name: &str) -> Result<Arc<Role>> {
    let missing = || Error::invalid(format!("role {name:?} could not be found"));
    cx.memo(&format!("role/{name}"), |cx| ROLES.get(cx, name)?.ok_or_else(missing))
}

impl<T: Title> AskLogin<Signed<T>> for SignIn {
    const ROUTE: Route = Route::post("login");
    type Facts = Known;
    type Heard = Verified;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Known> {
        let ground = self.ground(cx)?;
        if self.jwt.as_ref().is_none_or(|jwt| jwt.expose().is_empty()) {
            return Err(Error::invalid("missing token"));
        }
        check_address(cx, &ground.role)?;
        look(cx, configured(&ground.setup)?, &self.token()?)
    }

    async fn ask(&self, facts: &Known, world: &dyn World) -> Result<Verified> {
        verify(facts, self.jwt.as_ref(), world).await
    }

    fn run(self, _: &Signed<T>, heard: &Verified, cx: &mut Writing<'_>) -> Result<Claim> {
        let ground = self.ground(cx)?;
        check_address(cx, &ground.role)?;
        heard.keep(cx)?;
        let claims = &heard.claims;
        validate(cx, &ground, &self.token()?, claims)?;
        welcome(&ground.name, &ground.role, claims)
    }
}

/// Whether the keys at hand have signed a token, or others are to be fetched.
///
/// # Errors
/// If they have not, and there are no others.
pub(super) fn look(cx: &impl Reads, setup: &Setup, token: &Token<'_>) -> Result<Known> {
    let Some(source) = setup.config.source() else {
        let text = "no known key successfully validated the token signature";
        return token.verified_by(&setup.keys).map(Known::Signed).ok_or_else(|| unverified(text));
    };
    if setup.config.is_flow() {
        return Err(Error::invalid("error configuring token validator: unsupported config type"));
    }
    let published = Published::of(cx)?;
    let fresh = published
        .as_ref()
        .as_ref()
        .filter(|published| published.provider.source == source && cx.now() < published.provider.good_until);
    match fresh.and_then(|it| token.verified_by(named(&it.keys, &token.key_id))) {
        Some(claims) => Ok(Known::Signed(claims)),
        None => Ok(Known::Missing { source, recent: recent(cx)? }),
    }
}

/// What a token says, by the keys at hand or by those that its issuer publishes now.
///
/// # Errors
/// If none of them has signed it.
pub(super) async fn verify(
    facts: &Known,
    jwt: Option<&Secret<String>>,
    world: &dyn World,
) -> Result<Verified> {
    let (source, recent) = match facts {
        Known::Signed(claims) => return Ok(Verified { claims: claims.clone(), fetched: None }),
        Known::Missing { source, recent } => (source, recent),
    };
    let fetched = recent.fetch(source, world).await;
    let fetched = fetched.map_err(|error| unverified(&format!("fetching keys oidc: {error}")))?;
    let token = shown(jwt)?;
    let claims = token.verified_by(named(&fetched.public_keys(), &token.key_id));
    let claims = claims.ok_or_else(|| unverified("failed to verify id token signature"))?;
    Ok(Verified { claims, fetched: Some(fetched) })
}

/// Holds a token whose signature is right against what is expected of it.
///
/// # Errors
/// With what differs.
pub(super) fn hold(
    setup: &Setup,
    token: &Token<'_>,
    claims: &Claims,
    expected: &Expected<'_>,
    now: Time,
) -> Result<()> {
    let invalid = |why: String| Error::invalid(format!("error validating token: {why}"));
    if !token.alg.is_some_and(|alg| setup.config.allows(alg)) {
        let text = "invalid algorithm (alg) header parameter: token signed with unexpected algorithm";
        return Err(invalid(text.to_owned()));
    }
    claims.check(expected, now).map_err(invalid)
}

/// The same, by what the mount and the role expect.
fn validate(cx: &impl Reads, ground: &Ground, token: &Token<'_>, claims: &Claims) -> Result<()> {
    let setup = configured(&ground.setup)?;
    let rules = &ground.role.rules;
    let expected = Expected {
        issuer: &setup.config.bound_issuer,
        subject: &rules.bound_subject,
        audiences: rules.audiences(),
        leeways: rules.leeways(),
        times: Times::Wanted,
    };
    hold(setup, token, claims, &expected, cx.now())?;
    let named = matches!(claims.find("aud"), Some(Value::Array(audiences)) if !audiences.is_empty());
    if named && rules.audiences().is_empty() {
        return Err(Error::invalid("audience claim found in JWT but no audiences bound to the role"));
    }
    Ok(())
}

fn unverified(why: &str) -> Error {
    Error::invalid(format!("error validating token: error verifying token signature: {why}"))
}
