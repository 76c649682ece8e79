//! Aliases of entities: what they are called at auth mounts.

use kit::loose::{Pairs, Text};
use kit::{Beyond, Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::record::{Alias, Entity, Metadata};
use super::shown::{self, AliasListed, AliasShown, Listed, Show, Tied};
use super::{Identity, names, own};
use crate::ids;
use crate::namespaces::Ns;

/// What can be said of an alias.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wish {
    /// The id of the entity that it is of; a new entity, if a new alias is given none.
    canonical_id: Text,
    /// Deprecated: `canonical_id`.
    entity_id: Text,
    /// The accessor of the auth mount.
    mount_accessor: Text,
    /// What the entity is called there.
    name: Text,
    /// What operators know about it; in place of what was.
    custom_metadata: Option<Pairs>,
}

/// Makes an alias of an entity, or changes the one of this id, or of this mount and name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// The id of the alias to change.
    #[serde(default)]
    id: Text,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Register {
    const ROUTE: Route = Route::post("entity-alias");
    type Reply = Tied;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Tied>> {
        let wish = self.wish.checked()?;
        if !self.id.0.is_empty() {
            return change_by_id(identity, cx, &self.id.0, wish);
        }
        if wish.mount_accessor.0.is_empty() || wish.name.0.is_empty() {
            return Err(Error::invalid("'id' or 'mount_accessor' and 'name' must be provided"));
        }
        check_accessor(identity, cx, &wish.mount_accessor.0)?;
        let beyond = Beyond::for_the_kernel();
        let found = own(cx).entity_called(cx.peek(&beyond), &wish.mount_accessor.0, &wish.name.0)?;
        let known = found.and_then(|entity| {
            let alias = entity.alias_at(&wish.mount_accessor.0).cloned()?;
            Some((entity, alias))
        });
        match known {
            Some((entity, alias)) => {
                let custom = Some(wish.custom_metadata.clone().unwrap_or_default().0);
                change(identity, cx, entity, &alias, wish, custom)
            }
            None => make(cx, wish),
        }
    }
}

/// Changes an alias of an entity.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its id.
    id: String,
    #[serde(rename = "**")]
    wish: Wish,
}

impl Command<Identity> for Put {
    const ROUTE: Route = Route::post("entity-alias/id/{id}");
    type Reply = Tied;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Tied>> {
        let wish = self.wish.checked()?;
        change_by_id(identity, cx, &self.id, wish)
    }
}

impl Wish {
    fn checked(self) -> Result<Self> {
        names::check_alias(&self.name.0)?;
        if let Some(Pairs(metadata)) = &self.custom_metadata {
            names::check_custom_metadata(metadata)?;
        }
        Ok(self)
    }

    fn canonical_id(&self) -> &str {
        if self.canonical_id.0.is_empty() { &self.entity_id.0 } else { &self.canonical_id.0 }
    }
}

/// Refuses an accessor that no mount has.
pub(super) fn check_accessor(identity: &Identity, cx: &Writing<'_>, accessor: &str) -> Result<()> {
    let router = identity.kernel()?.router(cx.peek(&Beyond::for_the_kernel()).snapshot())?;
    match router.value().by_accessor(Ns::of(cx), accessor) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!("invalid mount accessor {accessor:?}"))),
    }
}

fn make(cx: &mut Writing<'_>, wish: Wish) -> Result<Reply<Tied>> {
    let (book, now, random) = (own(cx), cx.now(), cx.randomness());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let old = match wish.canonical_id() {
        "" => None,
        id => Some(book.entity(txn, id)?.ok_or_else(|| Error::invalid("invalid canonical ID"))?),
    };
    let mut entity = old.clone().unwrap_or_else(|| book.new_entity(random, now));
    let accessor = wish.mount_accessor.0;
    if entity.alias_at(&accessor).is_some() {
        return Err(Error::invalid("Alias already exists for requested entity and mount accessor"));
    }
    let custom = wish.custom_metadata.map(|pairs| pairs.0);
    let alias = Alias {
        id: ids::new_uuid(random),
        accessor,
        name: wish.name.0,
        custom_metadata: custom.filter(|metadata| !metadata.is_empty()),
        created: now,
        updated: now,
        ..Alias::default()
    };
    let tied = Tied { id: alias.id.clone(), canonical_id: entity.id.clone() };
    entity.aliases.push(alias);
    book.put_entity(txn, old.as_ref(), &entity)?;
    Ok(tied.into())
}

fn change_by_id(identity: &Identity, cx: &mut Writing<'_>, id: &str, wish: Wish) -> Result<Reply<Tied>> {
    let entity = own(cx).entity_of_alias(cx.peek(&Beyond::for_the_kernel()), id)?;
    let found = entity.and_then(|entity| {
        let alias = entity.alias(id).cloned()?;
        Some((entity, alias))
    });
    let (entity, alias) = found.ok_or_else(|| Error::invalid("invalid alias ID provided"))?;
    let custom = match &wish.custom_metadata {
        Some(pairs) => Some(pairs.0.clone()),
        None => alias.custom_metadata.clone(),
    };
    change(identity, cx, entity, &alias, wish, custom)
}

/// Changes an alias of `entity`, and moves it to another if that is asked for.
fn change(
    identity: &Identity,
    cx: &mut Writing<'_>,
    entity: Entity,
    alias: &Alias,
    wish: Wish,
    custom: Option<Metadata>,
) -> Result<Reply<Tied>> {
    let custom_metadata = custom.filter(|metadata| !metadata.is_empty());
    let owner = match wish.canonical_id() {
        "" => entity.id.clone(),
        id => id.to_owned(),
    };
    let or = |asked: Text, known: &String| if asked.0.is_empty() { known.clone() } else { asked.0 };
    let (name, accessor) = (or(wish.name, &alias.name), or(wish.mount_accessor, &alias.accessor));
    let same = name == alias.name && accessor == alias.accessor;
    let moves = owner != entity.id;
    if same && !moves && custom_metadata == alias.custom_metadata {
        return Ok(Reply::Nothing);
    }
    if accessor != alias.accessor && !moves && entity.alias_at(&accessor).is_some() {
        let text =
            "Alias cannot be updated as the entity already has an alias for the given 'mount_accessor' ";
        return Err(Error::invalid(text));
    }
    if !same {
        check_accessor(identity, cx, &accessor)?;
    }
    let (book, now) = (own(cx), cx.now());
    let txn = cx.beyond(&Beyond::for_the_kernel());
    let holder = book.entity_called(txn, &accessor, &name)?;
    let other = holder.and_then(|holder| holder.alias_at(&accessor).map(|known| known.id != alias.id));
    if other == Some(true) {
        return Err(Error::invalid("alias with combination of mount accessor and name already exists"));
    }
    let fresh = Alias { name, accessor, custom_metadata, updated: now, ..alias.clone() };
    let tied = Tied { id: fresh.id.clone(), canonical_id: owner.clone() };
    let mut left = entity.clone();
    if moves {
        let missing = || Error::invalid("given 'canonical_id' is not associated with an entity");
        let target = book.entity(txn, &owner)?.ok_or_else(missing)?;
        if target.alias_at(&fresh.accessor).is_some() {
            let text = "Alias cannot be updated as the given entity already has an alias for this mount ";
            return Err(Error::invalid(text));
        }
        left.aliases.retain(|known| known.id != fresh.id);
        book.put_entity(txn, Some(&entity), &left)?;
        let mut taker = target.clone();
        taker.aliases.push(fresh);
        book.put_entity(txn, Some(&target), &taker)?;
    } else {
        if let Some(known) = left.aliases.iter_mut().find(|known| known.id == fresh.id) {
            *known = fresh;
        }
        book.put_entity(txn, Some(&entity), &left)?;
    }
    Ok(tied.into())
}

/// Shows an alias of an entity.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its id.
    id: String,
}

impl Query<Identity> for Get {
    const ROUTE: Route = Route::get("entity-alias/id/{id}");
    type Reply = AliasShown;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<AliasShown>> {
        let entity = own(cx).entity_of_alias(cx.beyond(&Beyond::for_the_kernel()), &self.id)?;
        let entity = entity.ok_or_else(Error::not_found)?;
        let alias = entity.alias(&self.id).ok_or_else(Error::not_found)?;
        Ok(Show::new(identity, cx)?.lone_alias(&entity.id, alias).into())
    }
}

/// Deletes an alias of an entity.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its id.
    id: String,
}

impl Command<Identity> for Delete {
    const ROUTE: Route = Route::delete("entity-alias/id/{id}");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        if let Some(old) = book.entity_of_alias(txn, &self.id)? {
            let mut new = old.clone();
            new.aliases.retain(|alias| alias.id != self.id);
            book.put_entity(txn, Some(&old), &new)?;
        }
        Ok(Reply::Nothing)
    }
}

/// Lists the ids of all aliases of entities.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Identity> for List {
    const ROUTE: Route = Route::list("entity-alias/id");
    type Reply = Listed<AliasListed>;

    fn run(self, identity: &Identity, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let show = Show::new(identity, cx)?;
        let mut rows = Vec::new();
        for entity in own(cx).all_entities(cx.beyond(&Beyond::for_the_kernel()))? {
            let aliases = entity.aliases.iter();
            rows.extend(aliases.map(|alias| (alias.id.clone(), show.listed_alias(&entity.id, alias))));
        }
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        shown::listed(rows)
    }
}
