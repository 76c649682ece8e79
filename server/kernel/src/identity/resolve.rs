//! From an entity to all that follows from it: its groups, their groups, and the policies of all of them.

use std::collections::HashSet;

use kit::{Error, Result};

use super::book::Book;
use super::names;
use super::record::{Entity, Group};
use crate::shelf::Source;

/// How many groups one entity may be in, directly or through others. More would make each request of it costly.
pub(crate) const GROUPS_MAX: usize = 4096;

/// An entity and the groups it is in.
pub(crate) struct Resolved {
    pub(crate) entity: Entity,
    pub(crate) direct: Vec<Group>,
    /// The groups that those are in, and so on.
    pub(crate) inherited: Vec<Group>,
}

impl Book {
    /// The entity of this id, or the one that it went into, with its groups.
    ///
    /// # Errors
    /// If it is in too many groups.
    pub(crate) fn resolve(self, from: &impl Source, id: &str) -> Result<Option<Resolved>> {
        let entity = match self.entity(from, id)? {
            Some(entity) => Some(entity),
            None => self.heir(from, id)?,
        };
        entity.map(|entity| self.with_groups(from, entity)).transpose()
    }

    /// An entity with its groups.
    ///
    /// # Errors
    /// If it is in too many.
    pub(crate) fn with_groups(self, from: &impl Source, entity: Entity) -> Result<Resolved> {
        let mut direct = Vec::new();
        for id in self.memberships_of(from, &entity.id)? {
            direct.extend(self.group(from, &id)?);
        }
        let mut seen: HashSet<String> = direct.iter().map(|group| group.id.clone()).collect();
        let mut inherited: Vec<Group> = Vec::new();
        let mut wanted: Vec<String> = direct.iter().rev().flat_map(|group| group.parents.clone()).collect();
        while let Some(id) = wanted.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            if seen.len() > GROUPS_MAX {
                return Err(Error::internal(format!(
                    "the entity {} is in more than {GROUPS_MAX} groups",
                    entity.id
                )));
            }
            let Some(group) = self.group(from, &id)? else { continue };
            wanted.extend(group.parents.iter().rev().cloned());
            inherited.push(group);
        }
        Ok(Resolved { entity, direct, inherited })
    }
}

impl Resolved {
    /// All groups, those that it is in directly first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.direct.iter().chain(&self.inherited)
    }

    /// The policies of the entity, then those of its groups, each once. Never root, whatever is stored.
    pub(crate) fn policies(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut policies = Vec::new();
        for name in self.entity.policies.iter().chain(self.groups().flat_map(|group| &group.policies)) {
            let name = names::folded(name.trim());
            if name != policy::builtin::ROOT && seen.insert(name.clone()) {
                policies.push(name);
            }
        }
        policies
    }

    /// What engines and templates may know of it. `namespace` is the path of the namespace that knows it. In which book it
    /// stands is not told here.
    pub(crate) fn caller(&self, namespace: &str) -> kit::Entity {
        let aliases = self.entity.aliases.iter().map(|alias| {
            let known = kit::Alias {
                id: alias.id.clone(),
                name: alias.name.clone(),
                metadata: alias.metadata.clone().unwrap_or_default(),
                custom_metadata: alias.custom_metadata.clone().unwrap_or_default(),
            };
            (alias.accessor.clone(), known)
        });
        let groups = self.groups().map(|group| kit::Group {
            id: group.id.clone(),
            name: group.name.clone(),
            namespace: namespace.to_owned(),
            metadata: group.metadata.clone().unwrap_or_default(),
        });
        kit::Entity {
            id: self.entity.id.clone(),
            book: String::new(),
            name: self.entity.name.clone(),
            metadata: self.entity.metadata.clone().unwrap_or_default(),
            aliases: aliases.collect(),
            groups: groups.collect(),
        }
    }
}
