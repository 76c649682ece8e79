//! The book of who is who: the records of one identity mount, and the indexes that are written with them.

use kit::{MountId, Name, Result};
use storage::Txn;

use super::names::segment;
use super::record::{Alias, Entity, Group};
use crate::ids;
use crate::shelf::{Shelf, Source};

/// The records of one identity mount. Whoever changes a record changes its indexes here, in the same transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Book {
    mount: MountId,
}

/// How many names a scan takes at once.
pub(crate) const EVERYTHING: usize = usize::MAX;

impl Book {
    pub(crate) const fn of(mount: MountId) -> Self {
        Self { mount }
    }

    /// The mount that it lies under.
    pub(super) fn id(self) -> MountId {
        self.mount
    }

    /// The mount that it lies under, as tokens name it.
    pub(crate) fn uuid(self) -> String {
        ids::uuid(self.mount.0)
    }

    /// Entities by id.
    fn entities(self) -> Shelf<Entity> {
        Shelf::within(self.mount, 1)
    }

    /// The id of an entity by its name.
    fn entity_names(self) -> Shelf<String> {
        Shelf::within(self.mount, 2)
    }

    /// The id of an entity by the id of one of its aliases.
    fn entity_alias_ids(self) -> Shelf<String> {
        Shelf::within(self.mount, 3)
    }

    /// The id of an entity by a mount's accessor and what it is called there.
    fn entity_aliases(self) -> Shelf<String> {
        Shelf::within(self.mount, 4)
    }

    /// The id of an entity by the id of one that went into it.
    fn merged(self) -> Shelf<String> {
        Shelf::within(self.mount, 5)
    }

    /// Groups by id.
    fn groups(self) -> Shelf<Group> {
        Shelf::within(self.mount, 6)
    }

    /// The id of a group by its name.
    fn group_names(self) -> Shelf<String> {
        Shelf::within(self.mount, 7)
    }

    /// The id of a group by the id of its alias.
    fn group_alias_ids(self) -> Shelf<String> {
        Shelf::within(self.mount, 8)
    }

    /// The id of a group by a mount's accessor and what it is called there.
    fn group_aliases(self) -> Shelf<String> {
        Shelf::within(self.mount, 9)
    }

    /// Who is in a group: group ‖ entity.
    fn member_entities(self) -> Shelf<()> {
        Shelf::within(self.mount, 10)
    }

    /// The groups that an entity is in, by its id: one record, so that a request depends on nobody else's.
    fn memberships(self) -> Shelf<Vec<String>> {
        Shelf::within(self.mount, 11)
    }

    /// The groups in a group: group ‖ member.
    fn children(self) -> Shelf<()> {
        Shelf::within(self.mount, 12)
    }
}

/// Entities.
impl Book {
    pub(crate) fn entity(self, from: &impl Source, id: &str) -> Result<Option<Entity>> {
        let Some(key) = key(id) else { return Ok(None) };
        self.entities().get(from, Name::Id(&key))
    }

    /// The entity that this one went into, however often.
    pub(crate) fn heir(self, from: &impl Source, id: &str) -> Result<Option<Entity>> {
        let Some(key) = key(id) else { return Ok(None) };
        match self.merged().get(from, Name::Id(&key))? {
            Some(heir) => self.entity(from, &heir),
            None => Ok(None),
        }
    }

    pub(crate) fn entity_named(self, from: &impl Source, name: &str) -> Result<Option<Entity>> {
        let id = self.entity_names().get(from, Name::Path(&segment(name)))?;
        id.map_or(Ok(None), |id| self.entity(from, &id))
    }

    pub(crate) fn entity_called(
        self,
        from: &impl Source,
        accessor: &str,
        name: &str,
    ) -> Result<Option<Entity>> {
        let id = self.entity_aliases().get(from, Name::Path(&called(accessor, name)))?;
        id.map_or(Ok(None), |id| self.entity(from, &id))
    }

    pub(crate) fn entity_of_alias(self, from: &impl Source, alias: &str) -> Result<Option<Entity>> {
        let Some(key) = key(alias) else { return Ok(None) };
        let id = self.entity_alias_ids().get(from, Name::Id(&key))?;
        id.map_or(Ok(None), |id| self.entity(from, &id))
    }

    /// Every entity, in the order of their ids.
    pub(crate) fn all_entities(self, from: &impl Source) -> Result<Vec<Entity>> {
        let rows = self.entities().below(from, &[], EVERYTHING)?;
        Ok(rows.into_iter().map(|(_, entity)| entity).collect())
    }

    /// How many entities there are.
    pub(crate) fn count_entities(self, from: &impl Source) -> Result<usize> {
        let mut count = 0;
        from.rows(self.entities().place(), &[], None, &mut |_, _| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    /// Writes an entity, new or changed, and what it is found by.
    pub(crate) fn put_entity(self, txn: &mut Txn, old: Option<&Entity>, new: &Entity) -> Result<()> {
        let Some(id) = key(&new.id) else { return Ok(()) };
        self.entities().put(txn, Name::Id(&id), new)?;
        let old_name = old.map(|old| segment(&old.name));
        let new_name = segment(&new.name);
        if old_name.as_ref() != Some(&new_name) {
            if let Some(name) = old_name {
                self.entity_names().delete(txn, Name::Path(&name))?;
            }
            self.entity_names().put(txn, Name::Path(&new_name), &new.id)?;
        }
        let before = old.map_or(&[][..], |old| &old.aliases);
        for alias in before {
            let kept = new.alias(&alias.id);
            if kept.is_none() {
                self.forget_entity_alias_id(txn, &new.id, alias)?;
            }
            if kept.is_none_or(|kept| place(kept) != place(alias)) {
                self.forget_entity_alias(txn, &new.id, alias)?;
            }
        }
        for alias in &new.aliases {
            let known = before.iter().find(|known| known.id == alias.id);
            if known.is_none()
                && let Some(key) = key(&alias.id)
            {
                self.entity_alias_ids().put(txn, Name::Id(&key), &new.id)?;
            }
            if known.is_none_or(|known| place(known) != place(alias)) {
                self.entity_aliases().put(txn, Name::Path(&place(alias)), &new.id)?;
            }
        }
        Ok(())
    }

    /// Deletes an entity and what it was found by. Its groups are another matter: see [`Book::remove_entity`].
    pub(crate) fn delete_entity(self, txn: &mut Txn, entity: &Entity) -> Result<()> {
        let Some(id) = key(&entity.id) else { return Ok(()) };
        self.forget_enrolments(txn, &entity.id)?;
        self.entities().delete(txn, Name::Id(&id))?;
        self.entity_names().delete(txn, Name::Path(&segment(&entity.name)))?;
        for alias in &entity.aliases {
            self.forget_entity_alias_id(txn, &entity.id, alias)?;
            self.forget_entity_alias(txn, &entity.id, alias)?;
        }
        for merged in &entity.merged {
            if let Some(key) = key(merged) {
                self.merged().delete(txn, Name::Id(&key))?;
            }
        }
        Ok(())
    }

    /// Notes that an entity went into another.
    pub(crate) fn note_merged(self, txn: &mut Txn, gone: &str, heir: &str) -> Result<()> {
        let Some(key) = key(gone) else { return Ok(()) };
        self.merged().put(txn, Name::Id(&key), &heir.to_owned())
    }

    /// Forgets an index entry of an alias, if it still is this entity's: a merge may have given it to another.
    fn forget_entity_alias_id(self, txn: &mut Txn, owner: &str, alias: &Alias) -> Result<()> {
        let Some(key) = key(&alias.id) else { return Ok(()) };
        if self.entity_alias_ids().get(txn, Name::Id(&key))?.as_deref() == Some(owner) {
            self.entity_alias_ids().delete(txn, Name::Id(&key))?;
        }
        Ok(())
    }

    fn forget_entity_alias(self, txn: &mut Txn, owner: &str, alias: &Alias) -> Result<()> {
        let place = place(alias);
        if self.entity_aliases().get(txn, Name::Path(&place))?.as_deref() == Some(owner) {
            self.entity_aliases().delete(txn, Name::Path(&place))?;
        }
        Ok(())
    }
}

/// Groups.
impl Book {
    pub(crate) fn group(self, from: &impl Source, id: &str) -> Result<Option<Group>> {
        let Some(key) = key(id) else { return Ok(None) };
        self.groups().get(from, Name::Id(&key))
    }

    pub(crate) fn group_named(self, from: &impl Source, name: &str) -> Result<Option<Group>> {
        let id = self.group_names().get(from, Name::Path(&segment(name)))?;
        id.map_or(Ok(None), |id| self.group(from, &id))
    }

    pub(crate) fn group_called(
        self,
        from: &impl Source,
        accessor: &str,
        name: &str,
    ) -> Result<Option<Group>> {
        let id = self.group_aliases().get(from, Name::Path(&called(accessor, name)))?;
        id.map_or(Ok(None), |id| self.group(from, &id))
    }

    pub(crate) fn group_of_alias(self, from: &impl Source, alias: &str) -> Result<Option<Group>> {
        let Some(key) = key(alias) else { return Ok(None) };
        let id = self.group_alias_ids().get(from, Name::Id(&key))?;
        id.map_or(Ok(None), |id| self.group(from, &id))
    }

    /// Every group, in the order of their ids.
    pub(crate) fn all_groups(self, from: &impl Source) -> Result<Vec<Group>> {
        let rows = self.groups().below(from, &[], EVERYTHING)?;
        Ok(rows.into_iter().map(|(_, group)| group).collect())
    }

    /// Writes a group, new or changed, and what it is found by.
    pub(crate) fn put_group(self, txn: &mut Txn, old: Option<&Group>, new: &Group) -> Result<()> {
        let Some(id) = key(&new.id) else { return Ok(()) };
        self.groups().put(txn, Name::Id(&id), new)?;
        let old_name = old.map(|old| segment(&old.name));
        let new_name = segment(&new.name);
        if old_name.as_ref() != Some(&new_name) {
            if let Some(name) = old_name {
                self.group_names().delete(txn, Name::Path(&name))?;
            }
            self.group_names().put(txn, Name::Path(&new_name), &new.id)?;
        }
        let (before, after) = (old.and_then(|old| old.alias.as_ref()), new.alias.as_ref());
        if let Some(alias) = before {
            if after.is_none_or(|after| after.id != alias.id) {
                self.forget_group_alias_id(txn, &new.id, alias)?;
            }
            if after.is_none_or(|after| place(after) != place(alias)) {
                self.forget_group_alias(txn, &new.id, alias)?;
            }
        }
        if let Some(alias) = after
            && let Some(key) = key(&alias.id)
        {
            self.group_alias_ids().put(txn, Name::Id(&key), &new.id)?;
            self.group_aliases().put(txn, Name::Path(&place(alias)), &new.id)?;
        }
        let old_parents = old.map_or(&[][..], |old| &old.parents);
        for parent in old_parents.iter().filter(|parent| !new.parents.contains(parent)) {
            self.children().delete(txn, Name::Id(&pair(parent, &new.id)))?;
        }
        for parent in new.parents.iter().filter(|parent| !old_parents.contains(parent)) {
            self.children().put(txn, Name::Id(&pair(parent, &new.id)), &())?;
        }
        Ok(())
    }

    /// Deletes a group and what it was found by. Those in it learn it by looking; what says so is swept later.
    pub(crate) fn delete_group(self, txn: &mut Txn, group: &Group) -> Result<()> {
        let Some(id) = key(&group.id) else { return Ok(()) };
        self.groups().delete(txn, Name::Id(&id))?;
        self.group_names().delete(txn, Name::Path(&segment(&group.name)))?;
        if let Some(alias) = &group.alias {
            self.forget_group_alias_id(txn, &group.id, alias)?;
            self.forget_group_alias(txn, &group.id, alias)?;
        }
        for parent in &group.parents {
            self.children().delete(txn, Name::Id(&pair(parent, &group.id)))?;
        }
        Ok(())
    }

    fn forget_group_alias_id(self, txn: &mut Txn, owner: &str, alias: &Alias) -> Result<()> {
        let Some(key) = key(&alias.id) else { return Ok(()) };
        if self.group_alias_ids().get(txn, Name::Id(&key))?.as_deref() == Some(owner) {
            self.group_alias_ids().delete(txn, Name::Id(&key))?;
        }
        Ok(())
    }

    fn forget_group_alias(self, txn: &mut Txn, owner: &str, alias: &Alias) -> Result<()> {
        let place = place(alias);
        if self.group_aliases().get(txn, Name::Path(&place))?.as_deref() == Some(owner) {
            self.group_aliases().delete(txn, Name::Path(&place))?;
        }
        Ok(())
    }

    /// The ids of the groups in a group, in order.
    pub(crate) fn member_groups(self, from: &impl Source, group: &str) -> Result<Vec<String>> {
        self.seconds(&self.children(), from, group, EVERYTHING)
    }
}

/// Who is in which group.
impl Book {
    /// The ids of up to `limit` entities in a group, in order.
    pub(crate) fn some_members(self, from: &impl Source, group: &str, limit: usize) -> Result<Vec<String>> {
        self.seconds(&self.member_entities(), from, group, limit)
    }

    /// The ids of the groups that an entity is in, in order. Some may be gone.
    pub(crate) fn memberships_of(self, from: &impl Source, entity: &str) -> Result<Vec<String>> {
        let Some(key) = key(entity) else { return Ok(Vec::new()) };
        Ok(self.memberships().get(from, Name::Id(&key))?.unwrap_or_default())
    }

    /// Puts an entity in a group. True: it was not in it.
    pub(crate) fn join(self, txn: &mut Txn, group: &str, entity: &str) -> Result<bool> {
        let Some(key) = key(entity) else { return Ok(false) };
        let mut groups = self.memberships_of(txn, entity)?;
        let Err(at) = groups.binary_search_by(|known| known.as_str().cmp(group)) else { return Ok(false) };
        groups.insert(at, group.to_owned());
        self.memberships().put(txn, Name::Id(&key), &groups)?;
        self.member_entities().put(txn, Name::Id(&pair(group, entity)), &())?;
        Ok(true)
    }

    /// Takes an entity out of a group. True: it was in it.
    pub(crate) fn leave(self, txn: &mut Txn, group: &str, entity: &str) -> Result<bool> {
        let Some(key) = key(entity) else { return Ok(false) };
        self.member_entities().delete(txn, Name::Id(&pair(group, entity)))?;
        let mut groups = self.memberships_of(txn, entity)?;
        let Ok(at) = groups.binary_search_by(|known| known.as_str().cmp(group)) else { return Ok(false) };
        groups.remove(at);
        if groups.is_empty() {
            self.memberships().delete(txn, Name::Id(&key))?;
        } else {
            self.memberships().put(txn, Name::Id(&key), &groups)?;
        }
        Ok(true)
    }

    /// The second halves of the pairs that begin with `first`.
    fn seconds(
        self,
        shelf: &Shelf<()>,
        from: &impl Source,
        first: &str,
        limit: usize,
    ) -> Result<Vec<String>> {
        let Some(first) = key(first) else { return Ok(Vec::new()) };
        let rows = shelf.below(from, &first, limit)?;
        let second = |id: Vec<u8>| id.last_chunk::<16>().map(|id| ids::uuid(*id));
        Ok(rows.into_iter().filter_map(|(id, ())| second(id)).collect())
    }
}

/// The sixteen bytes of an id that this server made. Nothing else is an id, so nothing else is found by one.
pub(super) fn key(id: &str) -> Option<[u8; 16]> {
    let MountId(bytes) = ids::mount(id)?;
    (ids::uuid(bytes) == id).then_some(bytes)
}

fn pair(first: &str, second: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let halves = key(first).into_iter().flatten().chain(key(second).into_iter().flatten());
    bytes.iter_mut().zip(halves).for_each(|(to, from)| *to = from);
    bytes
}

fn called(accessor: &str, name: &str) -> String {
    format!("{accessor}/{}", segment(name))
}

fn place(alias: &Alias) -> String {
    called(&alias.accessor, &alias.name)
}
