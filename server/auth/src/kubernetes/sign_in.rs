use std::collections::BTreeMap;
use std::sync::Arc;

use jws::{Alg, Message};
use kit::loose::Text;
use kit::{AskLogin, Claim, Error, Fault, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::account::Account;
use super::review::Cluster;
use super::role::{AliasSource, Role};
use super::{Kubernetes, ROLES, Setup};
use crate::cidr;
use crate::claims::{Claims, Expected, Times};

/// Logs in by the token of a service account.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn {
    /// Which role.
    #[serde(default)]
    role: Option<Text>,
    /// The token.
    #[serde(default)]
    jwt: Option<Secret<String>>,
}

/// What is to be reviewed, and by whom.
pub(super) struct Question {
    setup: Arc<Option<Setup>>,
    role: Arc<Role>,
    account: Account,
}

impl SignIn {
    fn role(&self) -> Result<String> {
        let name = self.role.as_ref().map(|role| role.0.to_lowercase()).unwrap_or_default();
        if name.is_empty() { Err(Error::invalid("missing role")) } else { Ok(name) }
    }

    fn jwt(&self) -> Result<&str> {
        let jwt = self.jwt.as_ref().map_or("", |jwt| jwt.expose().trim());
        if jwt.is_empty() { Err(Error::invalid("missing jwt")) } else { Ok(jwt) }
    }

    fn known_role(&self, cx: &impl Reads) -> Result<Arc<Role>> {
        let name = self.role()?;
        let asked = self.role.as_ref().map_or("", |role| role.0.as_str());
        let missing = || Error::invalid(format!("invalid role name {asked:?}"));
        cx.memo(&format!("role/{name}"), |cx| ROLES.get(cx, &name)?.ok_or_else(missing))
    }
}

impl AskLogin<Kubernetes> for SignIn {
    const ROUTE: Route = Route::post("login");
    type Facts = Question;
    /// The account that the cluster vouches for.
    type Heard = Account;

    fn who(&self) -> String {
        String::new()
    }

    fn facts(&self, _: &Kubernetes, cx: &Recording<'_>) -> Result<Question> {
        self.role()?;
        let jwt = self.jwt()?;
        let role = self.known_role(cx)?;
        let bound = &role.token.token_bound_cidrs;
        if !bound.is_empty() && !cx.remote().address.is_some_and(|address| cidr::any_holds(bound, address)) {
            return Err(Error::denied());
        }
        let setup = Setup::of(cx)?;
        let missing = || Error::new(Fault::Internal, "could not load backend configuration");
        let known = setup.as_ref().as_ref().ok_or_else(missing)?;
        let claims = verified(known, jwt)?;
        check(cx, known, &role, &claims)?;
        let account = Account::of(&claims)?;
        if !role.bounds.takes_name(&account.name) {
            return Err(forbidden("service account name not authorized"));
        }
        let selects = !role.bounds.bound_service_account_namespace_selector.is_empty();
        if !role.bounds.takes_namespace(&account.namespace) && !selects {
            return Err(forbidden("namespace not authorized"));
        }
        Ok(Question { setup, role, account })
    }

    async fn ask(&self, facts: &Question, world: &dyn World) -> Result<Account> {
        let Question { setup, role, account } = facts;
        let Some(setup) = setup.as_ref() else { return Err(Error::denied()) };
        let cluster = Cluster::of(&setup.config, world).await.map_err(|_| Error::denied())?;
        if !role.bounds.takes_namespace(&account.namespace) {
            let selector = &role.bounds.bound_service_account_namespace_selector;
            let selected = cluster.selects(selector, &account.namespace, world).await;
            match selected {
                Ok(true) => {}
                Ok(false) => return Err(forbidden("namespace not authorized")),
                Err(error) => return Err(forbidden(&format!("namespace not authorized err={error}"))),
            }
        }
        // Why the cluster did not vouch for it is nothing for whoever showed the token.
        let reviewed = cluster.review(self.jwt()?, account, &role.bounds.audience, world).await;
        reviewed.map(|()| account.clone()).map_err(|_| Error::denied())
    }

    fn run(self, _: &Kubernetes, heard: &Account, cx: &mut Writing<'_>) -> Result<Claim> {
        let (role, name) = (self.known_role(cx)?, self.role()?);
        let Account { namespace, name: account, uid, secret, .. } = heard.clone();
        let alias = match role.bounds.alias_name_source {
            AliasSource::Uid => uid.clone(),
            AliasSource::Name if namespace.is_empty() || account.is_empty() => {
                return Err(Error::invalid("service account namespace and name must be set"));
            }
            AliasSource::Name => format!("{namespace}/{account}"),
        };
        let display_name = format!("{namespace}-{account}");
        let alias_metadata = BTreeMap::from([
            ("service_account_uid".to_owned(), uid),
            ("service_account_name".to_owned(), account),
            ("service_account_namespace".to_owned(), namespace),
            ("service_account_secret_name".to_owned(), secret),
        ]);
        let mut metadata = alias_metadata.clone();
        metadata.insert("role".to_owned(), self.role.as_ref().map(|role| role.0.clone()).unwrap_or_default());
        Ok(Claim {
            called: None,
            alias,
            alias_metadata,
            display_name,
            metadata,
            terms: role.token.terms(),
            internal: json!({ "role": name }),
            ..Claim::default()
        })
    }
}

/// The claims of a token, if one of the cluster's keys signed it. Where no keys are known, the cluster alone decides.
fn verified(setup: &Setup, jwt: &str) -> Result<Claims> {
    let token = Message::compact(jwt).map_err(|_| Error::denied())?;
    let claims = match setup.keys.is_empty() {
        true => Claims::unverified(&token),
        false => Claims::signed_by(&token, &setup.keys),
    };
    let claims = claims.ok_or_else(Error::denied)?;
    if token.alg() == Some(Alg::EdDsa) {
        let text = "invalid algorithm (alg) header parameter: token signed with unexpected algorithm";
        return Err(forbidden(text));
    }
    Ok(claims)
}

fn check(cx: &impl Reads, setup: &Setup, role: &Role, claims: &Claims) -> Result<()> {
    let issuer = if setup.config.disable_iss_validation { "" } else { setup.config.issuer.as_str() };
    let audience = Some(role.bounds.audience.clone()).filter(|audience| !audience.trim().is_empty());
    let audiences: Vec<String> = audience.into_iter().collect();
    let expected = Expected { issuer, audiences: &audiences, times: Times::Optional, ..Expected::default() };
    claims.check(&expected, cx.now()).map_err(|why| forbidden(&why))
}

fn forbidden(why: &str) -> Error {
    Error::new(Fault::Denied, why)
}
