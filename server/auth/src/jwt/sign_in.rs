use std::sync::Arc;

use jws::{Alg, Message, PublicKey};
use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::cel_claim;
use super::cel_role::CelRole;
use super::config::Config;
use super::identity::{check_address, welcome};
use super::provider::{Provider, Recent, Source, named};
use super::role::Role;
use super::{CEL_ROLES, ONLY, PROVIDER, Published, ROLES, Setup, Signed, Title, recent};
use crate::claims::{Claims, Expected, Times};

/// Logs in by a token that an issuer signed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn<const AT: usize> {
    /// Which role; if it is left out, the default one.
    #[serde(default)]
    role: Option<Text>,
    /// The token.
    #[serde(default)]
    jwt: Option<Secret<String>>,
}

/// To roles with rules, and to those whose program decides. A program can be work: it runs where work does.
const ROUTES: [Route; 2] = [Route::post("login"), Route::post("cel/login").heavy()];
/// The place of the route to roles whose program decides.
const CEL: usize = 1;

/// The role that a login asks for.
enum Door {
    /// Its rules say whom it takes.
    Rules(String, Arc<Role>),
    /// Its program does.
    Program(Arc<CelRole>),
}

/// What a token says that is signed, and by what.
#[derive(Clone)]
pub(super) struct Said {
    alg: Alg,
    claims: Arc<Claims>,
}

/// Whether the keys at hand have signed the token.
pub(super) enum Known {
    /// They have.
    Signed(Said),
    /// They have not: others may be found there.
    Missing { source: Source, recent: Arc<Recent> },
}

/// What a token says that is signed, and the keys that were fetched for it.
pub(super) struct Verified {
    said: Said,
    fetched: Option<Arc<Provider>>,
}

impl<const AT: usize> SignIn<AT> {
    fn door(&self, config: &Config, cx: &impl Reads) -> Result<Door> {
        let name = config.role_named(self.role.as_ref())?;
        if AT == CEL {
            let missing = || Error::invalid(format!("role {name:?} could not be found"));
            let role =
                cx.memo(&format!("cel/role/{name}"), |cx| CEL_ROLES.get(cx, &name)?.ok_or_else(missing));
            return role.map(Door::Program);
        }
        let role = known_role(cx, &name)?;
        if role.rules.is_flow() {
            return Err(Error::invalid("role with oidc role_type is not allowed"));
        }
        Ok(Door::Rules(name, role))
    }

    /// The token that was shown.
    fn shown(&self) -> Result<&str> {
        let text = self.jwt.as_ref().map_or("", |jwt| jwt.expose().as_str());
        if text.is_empty() { Err(Error::invalid("missing token")) } else { Ok(text) }
    }
}

/// How the mount is set up.
fn configured(setup: &Option<Setup>) -> Result<&Setup> {
    setup.as_ref().ok_or_else(|| Error::invalid("could not load configuration"))
}

fn read(token: &str) -> Result<Message<'_>> {
    Message::compact(token).map_err(|why| unverified(&why))
}

/// A role by its name, parsed once.
///
/// # Errors
/// If there is none.
pub(super) fn known_role(cx: &impl Reads, name: &str) -> Result<Arc<Role>> {
    let missing = || Error::invalid(format!("role {name:?} could not be found"));
    cx.memo(&format!("role/{name}"), |cx| ROLES.get(cx, name)?.ok_or_else(missing))
}

impl<T: Title, const AT: usize> AskLogin<Signed<T>> for SignIn<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Facts = Known;
    type Heard = Verified;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Known> {
        let setup = Setup::of(cx)?;
        let setup = configured(&setup)?;
        let door = self.door(&setup.config, cx)?;
        let token = self.shown()?;
        door.check_address(cx)?;
        look(cx, setup, &read(token)?)
    }

    async fn ask(&self, facts: &Known, world: &dyn World) -> Result<Verified> {
        verify(facts, self.shown()?, world).await
    }

    fn run(self, _: &Signed<T>, heard: &Verified, cx: &mut Writing<'_>) -> Result<Claim> {
        let setup = Setup::of(cx)?;
        let config = &configured(&setup)?.config;
        let door = self.door(config, cx)?;
        door.check_address(cx)?;
        if let Some(provider) = &heard.fetched {
            PROVIDER.put(cx, ONLY, provider)?;
        }
        let Said { alg, claims } = &heard.said;
        let invalid = |why: String| Error::invalid(format!("error validating token: {why}"));
        if !config.allows(*alg) {
            let text = "invalid algorithm (alg) header parameter: token signed with unexpected algorithm";
            return Err(invalid(text.to_owned()));
        }
        claims.check(&door.expected(config), cx.now()).map_err(invalid)?;
        door.admit(claims, cx)
    }
}

impl Door {
    /// Whether it may be used from where the login comes. What a program says of that is said of its token.
    fn check_address(&self, cx: &impl Reads) -> Result<()> {
        match self {
            Self::Rules(_, role) => check_address(cx, role),
            Self::Program(_) => Ok(()),
        }
    }

    /// What the mount and the role expect of a token.
    fn expected<'a>(&'a self, config: &'a Config) -> Expected<'a> {
        let (subject, audiences, leeways) = match self {
            Self::Rules(_, role) => {
                (role.rules.bound_subject.as_str(), role.rules.audiences(), role.rules.leeways())
            }
            Self::Program(role) => ("", role.bound_audiences.as_slice(), role.leeways()),
        };
        Expected { issuer: &config.bound_issuer, subject, audiences, leeways, times: Times::Wanted }
    }

    /// Whom a token is of that is as expected, if the role takes them.
    fn admit(&self, claims: &Claims, cx: &impl Reads) -> Result<Claim> {
        match self {
            Self::Rules(name, role) => {
                let named = matches!(claims.find("aud"), Some(Value::Array(list)) if !list.is_empty());
                if named && role.rules.audiences().is_empty() {
                    let text = "audience claim found in JWT but no audiences bound to the role";
                    return Err(Error::invalid(text));
                }
                welcome(name, role, claims)
            }
            Self::Program(role) => cel_claim::decide(role, claims, cx.now()),
        }
    }
}

/// Whether the keys at hand have signed a token, or others are to be fetched.
///
/// # Errors
/// If they have not, and there are no others.
fn look(cx: &impl Reads, setup: &Setup, token: &Message<'_>) -> Result<Known> {
    let Some(source) = setup.config.source() else {
        let text = "no known key successfully validated the token signature";
        return said(token, &setup.keys).map(Known::Signed).ok_or_else(|| unverified(text));
    };
    let published = Published::of(cx)?;
    let fresh = published
        .as_ref()
        .as_ref()
        .filter(|published| published.provider.source == source && published.provider.is_good(cx.now()));
    match fresh.and_then(|it| said(token, named(&it.keys, token.key_id()))) {
        Some(said) => Ok(Known::Signed(said)),
        None => Ok(Known::Missing { source, recent: recent(cx) }),
    }
}

fn said<'k>(token: &Message<'_>, keys: impl IntoIterator<Item = &'k PublicKey>) -> Option<Said> {
    let (alg, claims) = (token.alg()?, Claims::signed_by(token, keys)?);
    Some(Said { alg, claims: Arc::new(claims) })
}

/// What a token says, by the keys at hand or by those that its issuer publishes now.
///
/// # Errors
/// If none of them has signed it.
async fn verify(facts: &Known, token: &str, world: &dyn World) -> Result<Verified> {
    let (source, recent) = match facts {
        Known::Signed(said) => return Ok(Verified { said: said.clone(), fetched: None }),
        Known::Missing { source, recent } => (source, recent),
    };
    let fetched = recent.fetch(source, world).await;
    let fetched = fetched.map_err(|error| unverified(&format!("fetching keys oidc: {error}")))?;
    let token = read(token)?;
    let said = said(&token, named(&fetched.public_keys(), token.key_id()));
    let said = said.ok_or_else(|| unverified("failed to verify id token signature"))?;
    Ok(Verified { said, fetched: Some(fetched) })
}

fn unverified(why: &str) -> Error {
    Error::invalid(format!("error validating token: error verifying token signature: {why}"))
}
