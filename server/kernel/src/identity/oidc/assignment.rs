//! Assignments: who may log in to a client.

use kit::loose::Texts;
use kit::{
    Command, Entity, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Table, Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Keys, client, key, keys, unique};
use crate::identity::Identity;

/// Assignments by name.
const ASSIGNMENTS: Table<Assignment> = Table::new(23);
/// The assignment of everyone, which is always there.
const ALLOW_ALL: &str = "allow_all";

/// Who may log in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(in crate::identity) struct Assignment {
    entity_ids: Vec<String>,
    group_ids: Vec<String>,
}

/// The assignment of this name.
pub(super) fn find(cx: &impl Reads, name: &str) -> Result<Option<Assignment>> {
    if name == ALLOW_ALL {
        let all = || vec![key::ALL.to_owned()];
        return Ok(Some(Assignment { entity_ids: all(), group_ids: all() }));
    }
    ASSIGNMENTS.get(cx, name)
}

/// Whether an entity is one of those whom these assignments name.
pub(super) fn include(cx: &impl Reads, names: &[String], entity: &Entity) -> Result<bool> {
    for name in names {
        if name == ALLOW_ALL {
            return Ok(true);
        }
        let Some(assignment) = find(cx, name)? else { continue };
        let in_group = entity.groups.iter().any(|group| assignment.group_ids.contains(&group.id));
        if in_group || assignment.entity_ids.contains(&entity.id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes an assignment, or changes whom it names.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Put {
    /// Its name.
    name: String,
    /// The entities that may log in.
    entity_ids: Option<Texts>,
    /// The groups whose members may log in.
    group_ids: Option<Texts>,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("oidc/assignment/{name}");
    const EXISTS: Option<Exists<Identity>> =
        Some(|_, path, cx| find(cx, path.get("name")).map(|found| Some(found.is_some())));
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.name == ALLOW_ALL {
            return Err(Error::invalid(format!("modification of assignment {ALLOW_ALL:?} not allowed")));
        }
        let mut assignment = find(cx, &self.name)?.unwrap_or_default();
        let lowered = |ids: Vec<String>| unique(ids.into_iter().map(|id| id.to_lowercase()).collect());
        if let Some(Texts(ids)) = self.entity_ids {
            assignment.entity_ids = lowered(ids);
        }
        if let Some(Texts(ids)) = self.group_ids {
            assignment.group_ids = lowered(ids);
        }
        ASSIGNMENTS.put(cx, &self.name, &assignment)?;
        Ok(Reply::Nothing)
    }
}

/// Shows whom an assignment names.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Get {
    /// Its name.
    name: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("oidc/assignment/{name}");
    type Reply = Assignment;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Assignment>> {
        Ok(find(cx, &self.name)?.ok_or_else(Error::not_found)?.into())
    }
}

/// Lists the assignments.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("oidc/assignment");
    type Reply = Keys;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        keys(ASSIGNMENTS.list(cx, "")?.to_vec(), Some(ALLOW_ALL))
    }
}

/// Deletes an assignment that no client has any more.
#[derive(Deserialize, JsonSchema)]
pub(in crate::identity) struct Delete {
    /// Its name.
    name: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("oidc/assignment/{name}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.name == ALLOW_ALL {
            return Err(Error::invalid(format!("deletion of assignment {ALLOW_ALL:?} not allowed")));
        }
        let used = client::all(cx)?.into_iter().filter(|(_, client)| client.assignments.contains(&self.name));
        let used: Vec<String> = used.map(|(name, _)| name).collect();
        if !used.is_empty() {
            return Err(Error::invalid(format!(
                "unable to delete assignment {:?} because it is currently referenced by these clients: {}",
                self.name,
                used.join(", ")
            )));
        }
        ASSIGNMENTS.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
