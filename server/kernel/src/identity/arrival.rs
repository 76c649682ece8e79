//! Who logs in is known, or made known.

use kit::{Error, Result, Time};
use storage::{Random, Txn};

use super::ROOT_NAMESPACE_ID;
use super::book::Book;
use super::names::ALIAS_SIZE_MAX;
use super::record::{Alias, Entity, Group, GroupKind, Metadata};
use crate::ids;

/// Someone at an auth mount's door, already found to be who they say.
pub(crate) struct Arrival<'a> {
    /// The accessor of the mount.
    pub(crate) accessor: &'a str,
    /// What they are called there.
    pub(crate) name: &'a str,
    pub(crate) metadata: &'a Metadata,
    pub(crate) random: &'a dyn Random,
    pub(crate) now: Time,
}

/// Whom a login turned out to be.
pub(crate) struct Known {
    pub(crate) entity: Entity,
    /// They were never here before.
    pub(crate) is_new: bool,
}

impl Book {
    /// The entity of whoever arrives, made if there is none.
    ///
    /// # Errors
    /// Denied, if it is disabled.
    pub(crate) fn arrive(self, txn: &mut Txn, who: &Arrival<'_>) -> Result<Known> {
        if who.name.len() > ALIAS_SIZE_MAX {
            return Err(Error::invalid(format!(
                "the name by which this login is known is longer than {ALIAS_SIZE_MAX} bytes; let the auth method give a shorter one"
            )));
        }
        let metadata = Some(who.metadata.clone()).filter(|metadata| !metadata.is_empty());
        if let Some(entity) = self.entity_called(txn, who.accessor, who.name)? {
            if entity.disabled {
                return Err(Error::denied());
            }
            let stale = entity.alias_at(who.accessor).is_some_and(|alias| alias.metadata != metadata);
            if !stale {
                return Ok(Known { entity, is_new: false });
            }
            let mut fresh = entity.clone();
            for alias in fresh.aliases.iter_mut().filter(|alias| alias.accessor == who.accessor) {
                alias.metadata.clone_from(&metadata);
                alias.updated = who.now;
            }
            self.put_entity(txn, Some(&entity), &fresh)?;
            return Ok(Known { entity: fresh, is_new: false });
        }
        let alias = Alias {
            id: ids::new_uuid(who.random),
            accessor: who.accessor.to_owned(),
            name: who.name.to_owned(),
            metadata,
            created: who.now,
            updated: who.now,
            ..Alias::default()
        };
        let entity = Entity { aliases: vec![alias], ..self.new_entity(who.random, who.now) };
        self.put_entity(txn, None, &entity)?;
        Ok(Known { entity, is_new: true })
    }

    /// An entity without anything, under a name of its own.
    pub(crate) fn new_entity(self, random: &dyn Random, now: Time) -> Entity {
        Entity {
            id: ids::new_uuid(random),
            name: made_name("entity", random),
            created: now,
            updated: now,
            ..Entity::default()
        }
    }

    /// A group without anything, under a name of its own.
    pub(crate) fn new_group(self, kind: GroupKind, random: &dyn Random, now: Time) -> Group {
        Group {
            id: ids::new_uuid(random),
            name: made_name("group", random),
            kind,
            created: now,
            updated: now,
            ..Group::default()
        }
    }

    /// Puts an entity in the external groups that an auth mount says it is in, and takes it out of the others of that
    /// mount. Nothing is written if nothing has changed, so that logins do not wait for each other.
    pub(crate) fn refresh(
        self,
        txn: &mut Txn,
        entity: &str,
        accessor: &str,
        outside: &[String],
    ) -> Result<()> {
        let mut named = Vec::new();
        for name in outside.iter().filter(|name| name.len() <= ALIAS_SIZE_MAX) {
            if let Some(group) = self.group_called(txn, accessor, name)? {
                named.push(group.id);
            }
        }
        for id in self.memberships_of(txn, entity)? {
            if named.contains(&id) {
                continue;
            }
            let backed = match self.group(txn, &id)? {
                // An external group that lost its name outside has nobody who could say that this entity is in it.
                Some(group) if group.kind == GroupKind::External => {
                    group.alias.is_some_and(|alias| alias.accessor != accessor)
                }
                Some(_) => true,
                None => false,
            };
            if !backed {
                self.leave(txn, &id, entity)?;
            }
        }
        named.iter().try_for_each(|id| self.join(txn, id, entity).map(drop))
    }
}

/// `entity_1a2b3c4d.root`.
fn made_name(kind: &str, random: &dyn Random) -> String {
    let mut short = [0; 4];
    random.fill(&mut short);
    format!("{kind}_{}.{ROOT_NAMESPACE_ID}", hex::encode(short))
}
