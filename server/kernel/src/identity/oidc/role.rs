//! Roles: what identity tokens are like.

use kit::loose::{Seconds, Text};
use kit::{Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Keys, key, keys, template};
use crate::identity::Identity;
use crate::ids;

/// Roles by name.
const ROLES: Table<Role> = Table::new(22);
const DAY_SECONDS: u64 = 24 * 3600;
const CLIENT_ID_LENGTH: usize = 26;

/// What tokens of a role are like.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Role {
    pub(super) key: String,
    pub(super) template: String,
    pub(super) ttl_seconds: u64,
    pub(super) client_id: String,
}

/// The role of this name.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Role>> {
    ROLES.get(cx, name)
}

/// All roles, by name.
pub(super) fn all(cx: &impl Reads) -> Result<Vec<(String, Role)>> {
    let mut roles = Vec::new();
    for name in ROLES.list(cx, "")?.iter() {
        roles.extend(ROLES.get(cx, name)?.map(|role| (name.clone(), role)));
    }
    Ok(roles)
}

/// The roles that sign with a key.
pub(super) fn of_key(cx: &impl Reads, key: &str) -> Result<Vec<(String, Role)>> {
    Ok(all(cx)?.into_iter().filter(|(_, role)| role.key == key).collect())
}

/// Makes a role, or changes what its tokens are like.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// The key that signs.
    key: Option<Text>,
    /// Claims as a JSON object with templates, or the same in base64.
    template: Option<Text>,
    /// How long a token is good; a day, if left out.
    ttl: Option<Seconds>,
    /// Whom tokens are for; made up, if left out.
    client_id: Option<Text>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/role/{name}");
    const EXISTS: Option<Exists<Identity>> = Some(|_, path, cx| ROLES.has(cx, path.get("name")).map(Some));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let old = find(cx, &self.name)?;
        let mut role = old.unwrap_or_else(|| Role { ttl_seconds: DAY_SECONDS, ..Role::default() });
        if let Some(Text(key)) = self.key {
            role.key = key;
        }
        if role.key.is_empty() {
            return Err(Error::invalid("the key parameter is required"));
        }
        if let Some(Text(text)) = self.template {
            role.template = template::accepted(&text)?;
        }
        if let Some(ttl) = self.ttl {
            role.ttl_seconds = ttl.0;
        }
        let missing = || Error::invalid(format!("cannot find key {:?}", role.key));
        let key = key::find(cx, &role.key)?.ok_or_else(missing)?;
        if role.ttl_seconds > key.verification_seconds {
            return Err(Error::invalid(
                "a role's token ttl cannot be longer than the verification_ttl of the key it references",
            ));
        }
        key::ensure(cx, &role.key, key)?;
        if let Some(Text(client_id)) = self.client_id {
            role.client_id = client_id;
        }
        if role.client_id.is_empty() {
            role.client_id = ids::base62(cx.randomness(), CLIENT_ID_LENGTH);
        }
        ROLES.put(cx, &self.name, &role)?;
        Ok(Reply::Nothing)
    }
}

/// What may be seen of a role.
#[derive(JsonSchema, Serialize)]
pub(in crate::identity) struct Shown {
    client_id: String,
    key: String,
    template: String,
    ttl: u64,
}

/// Shows what tokens of a role are like.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/role/{name}");
    type Reply = Shown;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let Role { key, template, ttl_seconds: ttl, client_id } =
            find(cx, &self.name)?.ok_or_else(Error::not_found)?;
        Ok(Shown { client_id, key, template, ttl }.into())
    }
}

/// Lists the roles of identity tokens.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/role");
    type Reply = Keys;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        keys(ROLES.list(cx, "")?.to_vec(), None)
    }
}

/// Deletes a role. Its tokens stay good for as long as its key's signatures count.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/role/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
