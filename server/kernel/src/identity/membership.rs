//! Who is in which group, and which group in which.

use std::collections::BTreeSet;
use std::time::Duration;

use kit::{Beyond, Command, Error, Nothing, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Txn;

use super::book::{Book, EVERYTHING};
use super::record::{Entity, Group};
use super::{Identity, own};

/// How many groups an entity or a group may be in directly.
const MEMBERSHIPS_MAX: usize = 1000;
/// How many members one request may bring or take: they must fit in one transaction.
const CHANGES_MAX: usize = 5000;
/// How many members of a deleted group are swept at once.
const PIECE: usize = 256;

impl Book {
    /// The ids of all entities in a group, in order.
    pub(crate) fn members(self, from: &impl crate::shelf::Source, group: &str) -> Result<Vec<String>> {
        self.some_members(from, group, EVERYTHING)
    }

    /// Makes these entities, and no others, the members of a group.
    ///
    /// # Errors
    /// If one of them is not there, or is in too many groups.
    pub(super) fn set_members(self, txn: &mut Txn, group: &str, wanted: &[String]) -> Result<()> {
        let wanted: BTreeSet<&String> = wanted.iter().filter(|id| !id.is_empty()).collect();
        let current: BTreeSet<String> = self.members(txn, group)?.into_iter().collect();
        let come: Vec<&String> = wanted.iter().filter(|id| !current.contains(**id)).copied().collect();
        let go: Vec<&String> = current.iter().filter(|id| !wanted.contains(id)).collect();
        if come.len() + go.len() > CHANGES_MAX {
            return Err(Error::invalid(format!(
                "member_entity_ids changes more than {CHANGES_MAX} members; change them in pieces"
            )));
        }
        for id in come {
            if self.entity(txn, id)?.is_none() {
                return Err(Error::invalid(format!("invalid entity ID {id:?}")).wrapped());
            }
            if self.memberships_of(txn, id)?.len() >= MEMBERSHIPS_MAX {
                return Err(Error::invalid(format!(
                    "the entity {id:?} is in {MEMBERSHIPS_MAX} groups already; put groups into groups instead"
                )));
            }
            self.join(txn, group, id)?;
        }
        go.into_iter().try_for_each(|id| self.leave(txn, group, id).map(drop))
    }

    /// Makes these groups, and no others, the members of a group.
    ///
    /// # Errors
    /// If one of them is not there, or the group would be in itself.
    pub(super) fn set_member_groups(self, txn: &mut Txn, group: &Group, wanted: &[String]) -> Result<()> {
        let wanted: BTreeSet<&String> = wanted.iter().filter(|id| !id.is_empty()).collect();
        let current: BTreeSet<String> = self.member_groups(txn, &group.id)?.into_iter().collect();
        for id in current.iter().filter(|id| !wanted.contains(id)) {
            let Some(old) = self.group(txn, id)? else { continue };
            let mut new = changed(&old);
            new.parents.retain(|parent| *parent != group.id);
            self.put_group(txn, Some(&old), &new)?;
        }
        for id in wanted.into_iter().filter(|id| !current.contains(*id)) {
            let missing = || Error::invalid(format!("invalid member group ID {id:?}")).wrapped();
            if *id == group.id {
                let text = format!("member group ID {id:?} is same as the ID of the group");
                return Err(Error::invalid(text).wrapped());
            }
            let old = self.group(txn, id)?.ok_or_else(missing)?;
            if self.is_below(txn, group, id)? {
                let text = format!("cyclic relationship detected for member group ID {id:?}");
                return Err(Error::invalid(text));
            }
            if old.parents.len() >= MEMBERSHIPS_MAX {
                return Err(Error::invalid(format!(
                    "the group {id:?} is in {MEMBERSHIPS_MAX} groups already; put it into fewer"
                )));
            }
            let mut new = changed(&old);
            new.parents.push(group.id.clone());
            self.put_group(txn, Some(&old), &new)?;
        }
        Ok(())
    }

    /// Whether `group` lies below the group `above`, however deep.
    fn is_below(self, txn: &Txn, group: &Group, above: &str) -> Result<bool> {
        let mut seen = BTreeSet::new();
        let mut wanted = group.parents.clone();
        while let Some(id) = wanted.pop() {
            if id == above {
                return Ok(true);
            }
            if seen.insert(id.clone())
                && let Some(parent) = self.group(txn, &id)?
            {
                wanted.extend(parent.parents);
            }
        }
        Ok(false)
    }

    /// Deletes an entity, and takes it out of its groups.
    pub(super) fn remove_entity(self, txn: &mut Txn, entity: &Entity) -> Result<()> {
        for id in self.memberships_of(txn, &entity.id)? {
            self.leave(txn, &id, &entity.id)?;
            self.count_change(txn, &id)?;
        }
        self.delete_entity(txn, entity)
    }

    /// Counts a change of who is in a group.
    pub(super) fn count_change(self, txn: &mut Txn, group: &str) -> Result<()> {
        let Some(old) = self.group(txn, group)? else { return Ok(()) };
        self.put_group(txn, Some(&old), &changed(&old))
    }

    /// Deletes a group, and takes the groups in it out of it. Entities stay until they are swept.
    pub(super) fn remove_group(self, txn: &mut Txn, group: &Group) -> Result<()> {
        self.set_member_groups(txn, group, &[])?;
        self.delete_group(txn, group)
    }
}

fn changed(group: &Group) -> Group {
    Group { modify_index: group.modify_index + 1, ..group.clone() }
}

/// Forgets who was in a deleted group, a piece at a time.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Sweep {
    pub(super) group: String,
}

impl Sweep {
    /// When it begins: with the next tick.
    pub(super) const AFTER: Duration = Duration::ZERO;
}

impl Command<Identity> for Sweep {
    const ROUTE: Route = Route::internal("sweep-group");
    type Reply = Nothing;

    fn run(self, _: &Identity, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let book = own(cx);
        let txn = cx.beyond(&Beyond::for_the_kernel());
        let piece = book.some_members(txn, &self.group, PIECE)?;
        for entity in &piece {
            book.leave(txn, &self.group, entity)?;
        }
        if piece.len() == PIECE {
            cx.later::<Identity, _>(Self::AFTER, &self)?;
        }
        Ok(Reply::Nothing)
    }
}
