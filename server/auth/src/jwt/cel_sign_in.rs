use std::sync::Arc;

use flow::cel::{Fact, Outcome};
use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::cel_claim::claim;
use super::cel_role::{AUTH, CelRole, SCOPE};
use super::sign_in::{self, Known, Verified};
use super::{CEL_ROLES, Setup, Signed, Title};
use crate::jose::{Claims, Expected, Times, Token};

/// Logs in by a token that an issuer signed, to a role whose program decides.
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
    role: CelRole,
    setup: Arc<Option<Setup>>,
}

impl SignIn {
    fn ground(&self, cx: &impl Reads) -> Result<Ground> {
        let setup = Setup::of(cx)?;
        let config = &sign_in::configured(&setup)?.config;
        let name = config.role_named(self.role.as_ref())?;
        let missing = || Error::invalid(format!("role {name:?} could not be found"));
        let role = CEL_ROLES.get(cx, &name)?.ok_or_else(missing)?;
        Ok(Ground { role, setup })
    }

    fn token(&self) -> Result<Token<'_>> {
        sign_in::shown(self.jwt.as_ref())
    }
}

impl<T: Title> AskLogin<Signed<T>> for SignIn {
    /// A program can be work: it runs where work does.
    const ROUTE: Route = Route::post("cel/login").heavy();
    type Facts = Known;
    type Heard = Verified;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Signed<T>, cx: &Recording<'_>) -> Result<Known> {
        let ground = self.ground(cx)?;
        sign_in::look(cx, sign_in::configured(&ground.setup)?, &self.token()?)
    }

    async fn ask(&self, facts: &Known, world: &dyn World) -> Result<Verified> {
        sign_in::verify(facts, self.jwt.as_ref(), world).await
    }

    fn run(self, _: &Signed<T>, heard: &Verified, cx: &mut Writing<'_>) -> Result<Claim> {
        let ground = self.ground(cx)?;
        heard.keep(cx)?;
        let role = &ground.role;
        let expected = Expected {
            issuer: &sign_in::configured(&ground.setup)?.config.bound_issuer,
            subject: "",
            audiences: &role.bound_audiences,
            leeways: role.leeways(),
            times: Times::Wanted,
        };
        let claims = heard.claims();
        sign_in::hold(sign_in::configured(&ground.setup)?, &self.token()?, claims, &expected, cx.now())?;
        decide(role, claims, cx)
    }
}

/// Whom the program of a role makes of the claims.
fn decide(role: &CelRole, claims: &Claims, cx: &impl Reads) -> Result<Claim> {
    let failed = |why: String| Error::invalid(format!("error executing cel program: {why}"));
    let json = Value::Object(claims.0.clone());
    let facts =
        [("claims", Fact::Json(&json)), ("now", Fact::Time(cx.now())), ("operation", Fact::Text("update"))];
    let outcome = role.cel_program.evaluate(&SCOPE, &facts);
    let name = &role.name;
    let unexpected =
        |kind: &str| Err(failed(format!("CEL program '{name}' returned unexpected type: {kind}")));
    match outcome.map_err(|why| failed(format!("CEL auth program failed: {why}")))? {
        Outcome::Record { name: kind, fields } if kind == AUTH.name => claim(name, &fields),
        Outcome::Record { name: kind, .. } => unexpected(&kind),
        Outcome::Plain(Value::Object(fields)) => {
            if let Some(unknown) = fields.keys().find(|key| !AUTH.fields.contains(&key.as_str())) {
                return Err(failed(format!("CEL program '{name}': {} has no field {unknown:?}", AUTH.name)));
            }
            claim(name, &fields)
        }
        Outcome::Plain(Value::Bool(false)) => {
            Err(failed(format!("CEL role '{name}' blocked authorization with boolean false return")))
        }
        Outcome::Plain(Value::String(text)) => {
            Err(failed(format!("CEL role '{name}' blocked authorization with message: {text}")))
        }
        Outcome::Plain(Value::Bool(true)) => unexpected("types.Bool"),
        Outcome::Plain(Value::Null) => unexpected("types.Null"),
        Outcome::Plain(Value::Array(_)) => unexpected("*types.baseList"),
        Outcome::Plain(Value::Number(number)) if number.is_f64() => unexpected("types.Double"),
        Outcome::Plain(Value::Number(_)) => unexpected("types.Int"),
    }
}
