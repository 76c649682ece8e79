//! Several entities become one: someone was known twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::loose::{Flag, Text, Texts};
use kit::{Beyond, Command, Error, Nothing, Page, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use storage::Txn;

use super::book::Book;
use super::record::{Alias, Entity};
use super::{Identity, own};
use crate::mounts::Mounted;
use crate::namespaces::Ns;
use crate::request::JSON;

/// How many entities go into one at once.
const MERGED_MAX: usize = 1000;

/// Merges entities into another: their aliases, groups and tokens become its own, their policies and metadata do not.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Merge {
    /// The entities that go into it.
    from_entity_ids: Texts,
    /// The entity that stays.
    to_entity_id: Text,
    /// Of two aliases at one mount, the one that stays.
    conflicting_alias_ids_to_keep: Texts,
    /// Keeps the second factors of the entity that stays, where both have some.
    force: Flag,
}

impl Command<Identity> for Merge {
    const ROUTE: Route = Route::post("entity/merge");
    type Reply = Nothing;

    fn run(self, identity: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if self.to_entity_id.0.is_empty() {
            return Err(Error::invalid("missing entity id to merge to"));
        }
        if self.from_entity_ids.0.is_empty() {
            return Err(Error::invalid("missing entity ids to merge from"));
        }
        if self.from_entity_ids.0.len() > MERGED_MAX {
            return Err(Error::invalid(format!(
                "from_entity_ids are more than {MERGED_MAX}; merge in pieces"
            )));
        }
        let (book, ns, beyond) = (own(cx), Ns::of(cx), Beyond::for_the_kernel());
        let txn = cx.beyond(&beyond);
        let to = book.entity(txn, &self.to_entity_id.0)?;
        let to = to.ok_or_else(|| Error::invalid("entity id to merge to is invalid"))?;
        let keep = &self.conflicting_alias_ids_to_keep.0;
        let from = found(book, txn, &to, &self.from_entity_ids.0, keep)?;
        if keep.is_empty() {
            let clashes = clashes(&to, &from)?;
            if !clashes.is_empty() {
                let router = identity.kernel()?.router(txn.snapshot())?;
                return Err(refused(&to, &clashes, |accessor| router.value().by_accessor(ns, accessor)));
            }
        }
        merge(book, txn, to, &from, &Choices { keep, force: self.force.0 })?;
        Ok(Reply::Nothing)
    }
}

/// The entities that go in.
fn found(book: Book, txn: &Txn, to: &Entity, ids: &[String], keep: &[String]) -> Result<Vec<Entity>> {
    if ids.len() > 1 && keep.len() > 1 {
        return Err(Error::invalid(
            "aliases conflicts cannot be resolved with multiple from entity ids - merge one entity at a time",
        ));
    }
    let mut from = Vec::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        if *id == to.id {
            return Err(Error::invalid("to_entity_id should not be present in from_entity_ids"));
        }
        let entity = book.entity(txn, id)?;
        from.push(entity.ok_or_else(|| Error::invalid("entity id to merge from is invalid"))?);
    }
    Ok(from)
}

/// Two aliases at one mount, of which one would have to go.
struct Clash<'a> {
    own: &'a Alias,
    entity: &'a Entity,
    alias: &'a Alias,
}

/// The aliases that cannot both stay, so that someone has to say which.
fn clashes<'a>(to: &'a Entity, from: &'a [Entity]) -> Result<Vec<Clash<'a>>> {
    let mut seen = BTreeSet::new();
    let mut clashes = Vec::new();
    for entity in from {
        for alias in &entity.aliases {
            if !seen.insert(&alias.accessor) {
                return Err(Error::invalid(format!(
                    "mount accessor {} found in multiple fromEntities, merge should be done with one fromEntity at a time",
                    alias.accessor
                )));
            }
            if let Some(own) = to.alias_at(&alias.accessor) {
                clashes.push(Clash { own, entity, alias });
            }
        }
    }
    Ok(clashes)
}

/// Tells of clashes in words, and beside them as data: clients show people the two, to choose from.
fn refused<'a>(
    to: &Entity,
    clashes: &[Clash<'_>],
    mount: impl Fn(&str) -> Option<&'a Arc<Mounted>>,
) -> Error {
    let mut lines = vec![
        "toEntity and at least one fromEntity have aliases with the same mount accessor, repeat the merge request specifying exactly one fromEntity, clashes: ".to_owned(),
    ];
    let mut data = Vec::new();
    for Clash { own, entity, alias } in clashes {
        lines.push(format!(
            "mountAccessor: {}, toEntity ID: {}, fromEntity ID: {}, conflicting toEntity alias ID: {}, conflicting fromEntity alias ID: {}",
            alias.accessor, to.id, entity.id, own.id, alias.id
        ));
        let mounted = mount(&alias.accessor);
        let (kind, path) = mounted.map_or(("", ""), |mounted| (&mounted.entry.kind, &mounted.entry.path));
        for (entity, alias) in [(to, own), (entity, alias)] {
            data.push(json!({
                "alias": alias.name, "entity": entity.name, "entity_id": entity.id,
                "mount": kind, "mount_path": path,
            }));
        }
    }
    let text = format!("{} errors occurred:\n\t* {}\n\n", lines.len(), lines.join("\n\t* "));
    let body = format!("{}\n", json!({ "errors": [text], "data": data }));
    let page = Page { status: 400, kind: JSON, headers: Vec::new(), bytes: body.into_bytes() };
    Error::invalid(text).shown_as(page)
}

/// What stays where there are two.
struct Choices<'a> {
    /// These aliases.
    keep: &'a [String],
    /// The second factors of the entity that stays.
    force: bool,
}

fn merge(book: Book, txn: &mut Txn, old: Entity, from: &[Entity], choices: &Choices<'_>) -> Result<()> {
    let mut to = old.clone();
    for entity in from {
        hand_over_factors(book, txn, entity, &to, choices.force)?;
        for alias in &entity.aliases {
            if takes(&mut to, alias, choices.keep)? {
                let mut alias = alias.clone();
                alias.merged_from.push(entity.id.clone());
                to.aliases.push(alias);
            }
        }
        for gone in entity.merged.iter().chain([&entity.id]) {
            to.merged.push(gone.clone());
        }
        for group in book.memberships_of(txn, &entity.id)? {
            book.leave(txn, &group, &entity.id)?;
            book.join(txn, &group, &to.id)?;
            book.count_change(txn, &group)?;
        }
        book.delete_entity(txn, entity)?;
    }
    for gone in &to.merged {
        book.note_merged(txn, gone, &to.id)?;
    }
    book.put_entity(txn, Some(&old), &to)
}

/// The devices of an entity that goes in are those of the one that stays, with the codes that were accepted already.
fn hand_over_factors(book: Book, txn: &mut Txn, entity: &Entity, to: &Entity, force: bool) -> Result<()> {
    for (method, enrolment) in book.enrolments_of(txn, &entity.id)? {
        if book.enrolment(txn, &to.id, &method)?.is_none() {
            book.put_enrolment(txn, &to.id, &method, &enrolment)?;
        } else if !force {
            return Err(Error::invalid(format!(
                "conflicting MFA config ID {method:?} in entity ID {:?}",
                entity.id
            )));
        }
    }
    Ok(())
}

/// Whether the entity that stays takes this alias. If another one at the same mount has to go for it, it goes.
fn takes(to: &mut Entity, alias: &Alias, keep: &[String]) -> Result<bool> {
    let Some(own) = to.alias_at(&alias.accessor) else { return Ok(true) };
    if keep.contains(&own.id) {
        return Ok(false);
    }
    if !keep.contains(&alias.id) {
        return Err(Error::invalid(format!(
            "conflicting mount accessors in following alias IDs and neither were present in conflicting_alias_ids_to_keep: {}, {}",
            alias.id, own.id
        )));
    }
    to.aliases.retain(|own| own.accessor != alias.accessor);
    Ok(true)
}
