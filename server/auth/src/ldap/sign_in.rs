use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kit::{AskLogin, Claim, Error, Reads, Recording, Result, Route, Secret, World, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::config::{self, Config};
use super::directory::{self, Knock, Known, REFUSED};
use super::names::{Case, canonical, key};
use super::{CONFIG, GROUPS, Ldap, USERS, not_configured};
use crate::cidr;

/// The longest password, in bytes.
const PASSWORD_SIZE_MAX: usize = 4096;

/// Logs in by the name and password that the directory knows.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LogIn {
    /// Who.
    username: String,
    /// The password.
    #[serde(default)]
    password: Option<Secret<String>>,
}

/// What a user is given.
pub(super) struct Granted {
    pub(super) policies: Vec<String>,
    pub(super) groups: Vec<String>,
}

impl AskLogin<Ldap> for LogIn {
    const ROUTE: Route = Route::post("login/{username+}");
    type Facts = Arc<Knock>;
    type Heard = Known;

    fn who(&self) -> String {
        canonical(&self.username, Case::Ignored).unwrap_or_else(|| self.username.clone())
    }

    fn facts(&self, _: &Ldap, cx: &Recording<'_>) -> Result<Arc<Knock>> {
        let config = CONFIG.get(cx, config::KEY)?.ok_or_else(not_configured)?;
        let bound = &config.token.token_bound_cidrs;
        if !bound.is_empty() && !cx.remote().address.is_some_and(|address| cidr::any_holds(bound, address)) {
            return Err(Error::denied());
        }
        let password = self.password.as_ref().map(|password| password.expose().as_str()).unwrap_or_default();
        if password.is_empty() {
            let text = "password cannot be of zero length when passwordless binds are being denied";
            return Err(Error::invalid(text));
        }
        let names = (canonical(&self.username, Case::Exact), canonical(&self.username, config.case()));
        let (Some(typed), Some(name)) = names else { return Err(Error::credentials(REFUSED)) };
        // A server that takes it for a text that ends there would see another password, or none.
        if password.len() > PASSWORD_SIZE_MAX || password.contains('\0') {
            return Err(Error::credentials(REFUSED));
        }
        Ok(Arc::new(Knock { config, typed, name, password: Secret::new(password.to_owned()) }))
    }

    async fn ask(&self, knock: &Arc<Knock>, world: &dyn World) -> Result<Known> {
        directory::ask(knock, world).await
    }

    fn run(self, _: &Ldap, known: &Known, cx: &mut Writing<'_>) -> Result<Claim> {
        let config = CONFIG.get(cx, config::KEY)?.ok_or_else(not_configured)?;
        let typed = canonical(&self.username, config.case()).ok_or_else(|| Error::credentials(REFUSED))?;
        let name = known.name.clone();
        if known.groups.is_empty() {
            cx.warn(format!(
                "no LDAP groups found in groupDN {:?}; only policies from locally-defined groups available",
                config.directory.groupdn
            ));
        }
        let names = BTreeSet::from([name.clone(), typed]);
        let granted = grant(&config, &names, known.groups.clone(), cx)?;
        let mut terms = config.token.terms();
        terms.policies = granted.policies;
        Ok(Claim {
            alias: known.alias.clone(),
            called: known.counted.clone(),
            alias_metadata: BTreeMap::from([("name".to_owned(), name.clone())]),
            groups: granted.groups,
            display_name: name.clone(),
            metadata: BTreeMap::from([("username".to_owned(), name)]),
            terms,
            internal: json!({ "groups": known.groups, "names": names }),
        })
    }
}

/// What a user of these names and groups of the directory is given: the policies of the mount, of the user, and of all groups,
/// those included that the user has here.
///
/// # Errors
/// If the store does not answer.
pub(super) fn grant(
    config: &Config,
    names: &BTreeSet<String>,
    groups: Vec<String>,
    cx: &impl Reads,
) -> Result<Granted> {
    let mut policies: BTreeSet<String> = config.token.token_policies.iter().cloned().collect();
    let mut all = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let user = USERS.get(cx, &key(name))?.unwrap_or_default();
        policies.extend(user.policies);
        all.extend(user.groups);
    }
    all.extend(groups);
    for group in &all {
        if let Some(group) = canonical(group, config.case()) {
            policies.extend(GROUPS.get(cx, &key(&group))?.unwrap_or_default());
        }
    }
    Ok(Granted { policies: policies.into_iter().collect(), groups: all })
}
