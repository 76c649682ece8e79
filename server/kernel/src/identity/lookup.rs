//! Finding an entity or a group by whatever is known of it.

use kit::loose::Text;
use kit::{Beyond, Error, Query, Reading, Reply, Result, Route};
use schemars::JsonSchema;
use serde::Deserialize;

use super::shown::{EntityShown, GroupShown, Show};
use super::{Identity, own};

/// What is known: one thing, no more.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Clue {
    /// Its id.
    id: Text,
    /// Its name.
    name: Text,
    /// The id of an alias of it.
    alias_id: Text,
    /// What it is called at an auth mount. Goes with `alias_mount_accessor`.
    alias_name: Text,
    /// The accessor of that auth mount.
    alias_mount_accessor: Text,
}

enum Known {
    Id(String),
    Name(String),
    Alias(String),
    Called { accessor: String, name: String },
}

impl Clue {
    fn one(self) -> Result<Known> {
        let Self { id, name, alias_id, alias_name, alias_mount_accessor } = self;
        let called = !alias_name.0.is_empty() || !alias_mount_accessor.0.is_empty();
        let given = [!id.0.is_empty(), !name.0.is_empty(), !alias_id.0.is_empty(), called];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(Error::invalid("query parameter not supplied")),
            1 => {}
            _ => {
                let text = "query parameter conflict; please supply distinct set of query parameters";
                return Err(Error::invalid(text));
            }
        }
        if called && (alias_name.0.is_empty() || alias_mount_accessor.0.is_empty()) {
            return Err(Error::invalid("both 'alias_name' and 'alias_mount_accessor' needs to be set"));
        }
        Ok(match given {
            [true, ..] => Known::Id(id.0),
            [_, true, ..] => Known::Name(name.0),
            [_, _, true, _] => Known::Alias(alias_id.0),
            _ => Known::Called { accessor: alias_mount_accessor.0, name: alias_name.0 },
        })
    }
}

/// Shows the entity of an id, a name, an alias' id, or a name at an auth mount; 204 if there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Entity {
    #[serde(rename = "**")]
    clue: Clue,
}

impl Query<Identity> for Entity {
    const ROUTE: Route = Route::post("lookup/entity");
    type Reply = EntityShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<EntityShown>> {
        let (book, today) = (own(cx), cx.beyond(&Beyond::for_the_kernel()));
        let found = match self.clue.one()? {
            Known::Id(id) => book.entity(today, &id)?,
            Known::Name(name) => book.entity_named(today, &name)?,
            Known::Alias(id) => book.entity_of_alias(today, &id)?,
            Known::Called { accessor, name } => book.entity_called(today, &accessor, &name)?,
        };
        let Some(entity) = found else { return Ok(Reply::Nothing) };
        Ok(Show::new(identity, cx)?.entity(entity)?.into())
    }
}

/// Shows the group of an id, a name, an alias' id, or a name at an auth mount; 204 if there is none.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Group {
    #[serde(rename = "**")]
    clue: Clue,
}

impl Query<Identity> for Group {
    const ROUTE: Route = Route::post("lookup/group");
    type Reply = GroupShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<GroupShown>> {
        let (book, today) = (own(cx), cx.beyond(&Beyond::for_the_kernel()));
        let found = match self.clue.one()? {
            Known::Id(id) => book.group(today, &id)?,
            Known::Name(name) => book.group_named(today, &name)?,
            Known::Alias(id) => book.group_of_alias(today, &id)?,
            Known::Called { accessor, name } => book.group_called(today, &accessor, &name)?,
        };
        let Some(group) = found else { return Ok(Reply::Nothing) };
        Ok(Show::new(identity, cx)?.group(group)?.into())
    }
}
