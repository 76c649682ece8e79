use kit::loose::Names;
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Case, NAME_SIZE_MAX, canonical, key, of_key};
use super::{CONFIG, GROUPS, Ldap, config};
use crate::listing::Keys;
use crate::token_params::policies;

/// The answer to a list: the names that records are of.
///
/// # Errors
/// 404, if there is none.
pub(super) fn named(keys: &[String]) -> Result<Reply<Keys>> {
    let mut keys: Vec<String> = keys.iter().map(|key| of_key(key)).collect();
    keys.sort();
    Keys::of(keys)
}

/// Whether the case of names counts on this mount.
pub(super) fn case(cx: &impl Reads) -> Result<Case> {
    Ok(CONFIG.get(cx, config::KEY)?.unwrap_or_default().case())
}

/// The key of the record of a name that a request gives.
pub(super) fn record(name: &str, case: Case) -> Result<String> {
    let unfit = || {
        Error::invalid(format!(
            "the name is no name: it is empty, longer than {NAME_SIZE_MAX} bytes, or holds what nobody can see"
        ))
    };
    canonical(name, case).map(|name| key(&name)).ok_or_else(unfit)
}

/// Lists the groups that have policies here.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListGroups {}

impl Query<Ldap> for ListGroups {
    const ROUTE: Route = Route::list("groups");
    type Reply = Keys;

    fn run(self, _: &Ldap, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        named(&GROUPS.list(cx, "")?)
    }
}

/// Reads the policies of a group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadGroup {
    /// Which.
    name: String,
}

/// The policies of a group.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    policies: Vec<String>,
}

impl Query<Ldap> for ReadGroup {
    const ROUTE: Route = Route::get("groups/{name:called+}");
    type Reply = Shown;

    fn run(self, _: &Ldap, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let policies = GROUPS.get(cx, &record(&self.name, case(cx)?)?)?.ok_or_else(Error::not_found)?;
        Ok(Shown { policies }.into())
    }
}

/// Gives policies to the users of a group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteGroup {
    /// Which, as the directory calls it.
    name: String,
    /// The policies.
    #[serde(default)]
    policies: Option<Names>,
}

impl Command<Ldap> for WriteGroup {
    const ROUTE: Route = Route::post("groups/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Ldap, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let record = record(&self.name, case(cx)?)?;
        GROUPS.put(cx, &record, &policies(&self.policies.unwrap_or_default()))?;
        Ok(Reply::Nothing)
    }
}

/// Takes its policies from a group.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteGroup {
    /// Which.
    name: String,
}

impl Command<Ldap> for DeleteGroup {
    const ROUTE: Route = Route::delete("groups/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Ldap, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        GROUPS.delete(cx, &record(&self.name, case(cx)?)?)?;
        Ok(Reply::Nothing)
    }
}
