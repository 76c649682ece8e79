//! Entities: people and machines, whatever they log in by.

use kit::loose::{Flag, Pairs, Text, Texts};
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shown::{self, EntityListed, EntityShown, Listed, Show};
use super::{Identity, names, own};

/// What can be said of an entity.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// What is known about it; in place of what was.
    metadata: Option<Pairs>,
    /// What it may do, whatever it logs in by.
    policies: Option<Texts>,
    /// Its tokens are refused, and nobody logs in as it.
    disabled: Option<Flag>,
}

/// What the creation of an entity answers.
#[derive(JsonSchema, Serialize)]
pub(super) struct Made {
    /// Always null: a new entity has none.
    aliases: Option<Vec<String>>,
    id: String,
    name: String,
}

/// Makes an entity, or changes the one of this id or name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// The id of the entity to change.
    #[serde(default)]
    id: Text,
    /// Its name; made up, if a new one is given none.
    #[serde(default)]
    name: Text,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Register {
    const ROUTE: Route = Route::post("entity");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        write(cx, &self.id.0, &self.name.0, self.wish)
    }
}

/// Changes an entity.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its id.
    id: String,
    /// Its new name.
    #[serde(default)]
    name: Text,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("entity/id/{id}");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        write(cx, &self.id, &self.name.0, self.wish)
    }
}

/// Makes or changes the entity of a name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PutNamed {
    /// Its name.
    name: String,
    /// The id of the entity that is to have this name.
    #[serde(default)]
    id: Text,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for PutNamed {
    const ROUTE: Route = Route::post("entity/name/{name:called+}");
    type Reply = Made;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        write(cx, &self.id.0, &self.name, self.wish)
    }
}

fn write(cx: &mut Writing<'_>, id: &str, name: &str, wish: Wish) -> Result<Reply<Made>> {
    let (book, now, random) = (own(cx), cx.now(), cx.randomness());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let mut old = None;
    if !id.is_empty() {
        let missing = || Error::invalid("entity not found from id");
        old = Some(book.entity(txn, id)?.ok_or_else(missing)?);
    }
    if !name.is_empty() {
        names::check("name", name)?;
        match (book.entity_named(txn, name)?, &old) {
            (None, _) => {}
            (Some(named), None) => old = Some(named),
            (Some(named), Some(old)) if named.id == old.id => {}
            _ => return Err(Error::invalid("entity name is already in use")),
        }
    }
    let mut entity = old.clone().unwrap_or_else(|| book.new_entity(random, now));
    if !name.is_empty() {
        name.clone_into(&mut entity.name);
    }
    if let Some(Texts(policies)) = wish.policies {
        entity.policies = names::policies(&policies)?;
    }
    if let Some(Flag(disabled)) = wish.disabled {
        entity.disabled = disabled;
    }
    if let Some(Pairs(metadata)) = wish.metadata {
        names::check_metadata("entity", &metadata)?;
        entity.metadata = Some(metadata);
    }
    entity.updated = now;
    book.put_entity(txn, old.as_ref(), &entity)?;
    Ok(match old {
        Some(_) => Reply::Nothing,
        None => Made { aliases: None, id: entity.id, name: entity.name }.into(),
    })
}

/// Shows an entity, its aliases and its groups.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its id.
    id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("entity/id/{id}");
    type Reply = EntityShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<EntityShown>> {
        let entity = own(cx).entity(cx.beyond(&Beyond::for_the_kernel()), &self.id)?;
        Ok(Show::new(identity, cx)?.entity(entity.ok_or_else(Error::not_found)?)?.into())
    }
}

/// Shows the entity of a name, its aliases and its groups.
#[derive(Deserialize, JsonSchema)]
pub(super) struct GetNamed {
    /// Its name.
    name: String,
}

impl Query<Identity> for GetNamed {
    const ROUTE: Route = Route::get("entity/name/{name:called+}");
    type Reply = EntityShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<EntityShown>> {
        let entity = own(cx).entity_named(cx.beyond(&Beyond::for_the_kernel()), &self.name)?;
        Ok(Show::new(identity, cx)?.entity(entity.ok_or_else(Error::not_found)?)?.into())
    }
}

/// Deletes an entity and its aliases. Its tokens are refused from then on.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its id.
    id: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("entity/id/{id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        if let Some(entity) = book.entity(txn, &self.id)? {
            book.remove_entity(txn, &entity)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Deletes the entity of a name and its aliases. Its tokens are refused from then on.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteNamed {
    /// Its name.
    name: String,
}

impl Command<Identity> for DeleteNamed {
    const ROUTE: Route = Route::delete("entity/name/{name:called+}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        if let Some(entity) = book.entity_named(txn, &self.name)? {
            book.remove_entity(txn, &entity)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Lists the ids of all entities.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("entity/id");
    type Reply = Listed<EntityListed>;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let show = Show::new(identity, cx)?;
        let entities = own(cx).all_entities(cx.beyond(&Beyond::for_the_kernel()))?;
        shown::listed(
            entities.into_iter().map(|entity| (entity.id.clone(), show.listed_entity(entity))).collect(),
        )
    }
}

/// Lists the names of all entities.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Names {}

impl Query<Identity> for Names {
    const ROUTE: Route = Route::list("entity/name");
    type Reply = shown::Names;

    fn run(self, _: &Identity, cx: &Reading<'_>) -> Result<Reply<shown::Names>> {
        let entities = own(cx).all_entities(cx.beyond(&Beyond::for_the_kernel()))?;
        shown::named(entities.into_iter().map(|entity| entity.name).collect())
    }
}
