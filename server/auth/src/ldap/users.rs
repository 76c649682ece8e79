use std::collections::BTreeSet;

use kit::loose::{Names, Texts};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::groups::{case, named, record};
use super::names::{Case, canonical};
use super::{Ldap, USERS};
use crate::listing::Keys;
use crate::token_params::policies;

/// What a user gets besides what the directory says.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) groups: Vec<String>,
    pub(super) policies: Vec<String>,
}

/// Lists the users who have groups or policies here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListUsers {}

impl Query<Ldap> for ListUsers {
    const ROUTE: Route = Route::list("users");
    type Reply = Keys;

    fn run(self, _: &Ldap, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        named(&USERS.list(cx, "")?)
    }
}

/// Reads what a user gets besides what the directory says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadUser {
    /// Who.
    name: String,
}

/// What a user gets besides. Groups are one text, as clients expect.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    groups: String,
    policies: Vec<String>,
}

impl Query<Ldap> for ReadUser {
    const ROUTE: Route = Route::get("users/{name:called+}");
    type Reply = Shown;

    fn run(self, _: &Ldap, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let User { groups, policies } =
            USERS.get(cx, &record(&self.name, case(cx)?)?)?.ok_or_else(Error::not_found)?;
        Ok(Shown { groups: groups.join(","), policies }.into())
    }
}

/// Gives groups and policies to a user besides what the directory says.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteUser {
    /// Who.
    name: String,
    /// More groups.
    #[serde(default)]
    groups: Option<Texts>,
    /// More policies.
    #[serde(default)]
    policies: Option<Names>,
}

impl Command<Ldap> for WriteUser {
    const ROUTE: Route = Route::post("users/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Ldap, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let case: Case = case(cx)?;
        let groups: BTreeSet<String> =
            self.groups.unwrap_or_default().0.iter().filter_map(|group| canonical(group, case)).collect();
        let policies = policies(&self.policies.unwrap_or_default());
        let user = User { groups: groups.into_iter().collect(), policies };
        USERS.put(cx, &record(&self.name, case)?, &user)?;
        Ok(Reply::Nothing)
    }
}

/// Takes from a user what they got besides. The directory lets them in all the same.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteUser {
    /// Who.
    name: String,
}

impl Command<Ldap> for DeleteUser {
    const ROUTE: Route = Route::delete("users/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Ldap, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        USERS.delete(cx, &record(&self.name, case(cx)?)?)?;
        Ok(Reply::Nothing)
    }
}
