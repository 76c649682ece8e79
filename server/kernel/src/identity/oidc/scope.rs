//! Scopes: claims that a client may ask for.

use kit::loose::{Prose, Text};
use kit::{
    Command, Entity, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Keys, keys, provider, template};
use crate::identity::Identity;

/// Scopes by name.
const SCOPES: Table<Scope> = Table::new(24);
/// The scope that every request has, and that has no claims.
pub(super) const OPENID: &str = "openid";

/// The claims of a scope.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::identity) struct Scope {
    description: String,
    pub(super) template: String,
}

/// The scope of this name.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Scope>> {
    SCOPES.get(cx, name)
}

/// The claims of several scopes about an entity. Two scopes that set the same claim cannot go together.
///
/// # Errors
/// If two do.
pub(super) fn claims(
    cx: &impl Reads,
    names: &[String],
    entity: Option<&Entity>,
) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for name in names.iter().filter(|name| *name != OPENID) {
        let Some(scope) = find(cx, name)? else { continue };
        // Of nobody there is nothing to say.
        if entity.is_none() && scope.template.contains("{{identity.") {
            continue;
        }
        let claims = template::claims(&scope.template, entity, cx.now()).unwrap_or_else(|error| {
            tracing::warn!(scope = name, %error, "a template of claims cannot be filled in");
            Map::new()
        });
        if let Some(key) = claims.keys().find(|key| all.contains_key(*key)) {
            return Err(Error::invalid(format!(
                "found scopes with conflicting top-level claim: claim {key:?} in scope {name:?} and another"
            )));
        }
        all.extend(claims);
    }
    Ok(all)
}

/// Makes a scope, or changes its claims.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// Claims as a JSON object with templates, or the same in base64.
    template: Option<Text>,
    /// What it is for, for people.
    description: Option<Prose>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/scope/{name}");
    const EXISTS: Option<Exists<Identity>> = Some(|_, path, cx| SCOPES.has(cx, path.get("name")).map(Some));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.name == OPENID {
            return Err(Error::invalid(format!("the {OPENID:?} scope name is reserved")));
        }
        let mut scope = find(cx, &self.name)?.unwrap_or_default();
        if let Some(Prose(text)) = self.description {
            scope.description = text;
        }
        if let Some(Text(text)) = self.template {
            scope.template = template::accepted(&text)?;
        }
        SCOPES.put(cx, &self.name, &scope)?;
        Ok(Reply::Nothing)
    }
}

/// Shows the claims of a scope.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/scope/{name}");
    type Reply = Scope;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Scope>> {
        Ok(find(cx, &self.name)?.ok_or_else(Error::not_found)?.into())
    }
}

/// Lists the scopes.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/scope");
    type Reply = Keys;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        keys(SCOPES.list(cx, "")?.to_vec(), None)
    }
}

/// Deletes a scope that no provider has any more.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/scope/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let used = provider::all(cx)?;
        let used = used.into_iter().filter(|(_, provider)| provider.scopes_supported.contains(&self.name));
        let used: Vec<String> = used.map(|(name, _)| name).collect();
        if !used.is_empty() {
            return Err(Error::invalid(format!(
                "unable to delete scope {:?} because it is currently referenced by these providers: {}",
                self.name,
                used.join(", ")
            )));
        }
        SCOPES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
