//! Several entities become one: someone was known twice.

use std::collections::BTreeSet;

use kit::loose::{Flag, Text, Texts};
use kit::{Beyond, Command, Error, Nothing, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;
use storage::Txn;

use super::book::Book;
use super::record::{Alias, Entity};
use super::{Identity, own};

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

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
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
        // Nothing hangs on it yet: entities have no second factors here.
        let Flag(_) = self.force;
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        let to = book.entity(txn, &self.to_entity_id.0)?;
        let to = to.ok_or_else(|| Error::invalid("entity id to merge to is invalid"))?;
        let keep = &self.conflicting_alias_ids_to_keep.0;
        let from = found(book, txn, &to, &self.from_entity_ids.0, keep)?;
        if keep.is_empty() {
            refuse_clashes(&to, &from)?;
        }
        merge(book, txn, to, &from, keep)?;
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

/// Two aliases at one mount cannot both stay, so someone has to say which.
fn refuse_clashes(to: &Entity, from: &[Entity]) -> Result<()> {
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
                clashes.push(format!(
                    "mountAccessor: {}, toEntity ID: {}, fromEntity ID: {}, conflicting toEntity alias ID: {}, conflicting fromEntity alias ID: {}",
                    alias.accessor, to.id, entity.id, own.id, alias.id
                ));
            }
        }
    }
    if clashes.is_empty() {
        return Ok(());
    }
    let mut lines = vec![
        "toEntity and at least one fromEntity have aliases with the same mount accessor, repeat the merge request specifying exactly one fromEntity, clashes: ".to_owned(),
    ];
    lines.append(&mut clashes);
    Err(Error::invalid(format!("{} errors occurred:\n\t* {}\n\n", lines.len(), lines.join("\n\t* "))))
}

fn merge(book: Book, txn: &mut Txn, old: Entity, from: &[Entity], keep: &[String]) -> Result<()> {
    let mut to = old.clone();
    for entity in from {
        for alias in &entity.aliases {
            if takes(&mut to, alias, keep)? {
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
