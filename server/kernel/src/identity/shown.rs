//! How records are shown.

use std::collections::BTreeMap;

use kit::{Beyond, Error, Reading, Reply, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::{Alias, Entity, Group, Metadata};
use super::{Identity, own};
use crate::namespaces::Ns;
use crate::router::Router;

/// A list of ids with something about each.
#[derive(JsonSchema, Serialize)]
pub(super) struct Listed<T> {
    key_info: BTreeMap<String, T>,
    keys: Vec<String>,
}

/// A list of names.
#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    keys: Vec<String>,
}

/// What a creation answers.
#[derive(JsonSchema, Serialize)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) name: String,
}

/// What a creation or change of an alias answers.
#[derive(JsonSchema, Serialize)]
pub(super) struct Tied {
    pub(super) id: String,
    pub(super) canonical_id: String,
}

/// Everything about an entity.
#[derive(JsonSchema, Serialize)]
pub(super) struct EntityShown {
    aliases: Vec<AliasShown>,
    creation_time: String,
    direct_group_ids: Vec<String>,
    disabled: bool,
    group_ids: Vec<String>,
    id: String,
    inherited_group_ids: Vec<String>,
    last_update_time: String,
    merged_entity_ids: Option<Vec<String>>,
    metadata: Option<Metadata>,
    name: String,
    namespace_id: String,
    policies: Vec<String>,
}

/// Everything about an alias.
#[derive(JsonSchema, Serialize)]
pub(super) struct AliasShown {
    canonical_id: String,
    creation_time: String,
    custom_metadata: Option<Metadata>,
    id: String,
    last_update_time: String,
    local: bool,
    merged_from_canonical_ids: Option<Vec<String>>,
    metadata: Option<Metadata>,
    mount_accessor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_id: Option<String>,
}

/// An alias in a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct AliasListed {
    canonical_id: String,
    custom_metadata: Option<Metadata>,
    local: bool,
    metadata: Option<Metadata>,
    mount_accessor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<String>,
    name: String,
}

/// An alias in a list of entities or groups.
#[derive(JsonSchema, Serialize)]
pub(super) struct AliasNamed {
    id: String,
    mount_accessor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<String>,
    name: String,
}

/// An entity in a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct EntityListed {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<AliasNamed>,
    name: String,
}

/// Everything about a group.
#[derive(JsonSchema, Serialize)]
pub(super) struct GroupShown {
    /// Empty, if the group has none.
    alias: Map<String, Value>,
    creation_time: String,
    id: String,
    last_update_time: String,
    member_entity_ids: Option<Vec<String>>,
    member_group_ids: Option<Vec<String>>,
    metadata: Option<Metadata>,
    modify_index: u64,
    name: String,
    namespace_id: String,
    parent_group_ids: Option<Vec<String>>,
    policies: Vec<String>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// A group in a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct GroupListed {
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<AliasNamed>,
    name: String,
    num_member_entities: usize,
    num_parent_groups: usize,
}

/// The answer to a list; 404 if there is nothing.
pub(super) fn listed<T>(rows: Vec<(String, T)>) -> Result<Reply<Listed<T>>> {
    if rows.is_empty() {
        return Err(Error::not_found());
    }
    let keys = rows.iter().map(|(key, _)| key.clone()).collect();
    Ok(Listed { keys, key_info: rows.into_iter().collect() }.into())
}

/// The answer to a list of names; 404 if there is none.
pub(super) fn named(keys: Vec<String>) -> Result<Reply<Names>> {
    if keys.is_empty() { Err(Error::not_found()) } else { Ok(Names { keys }.into()) }
}

/// What shows records: the moment they are of, and the mounts that aliases name.
pub(super) struct Show<'a, 'b> {
    cx: &'a Reading<'b>,
    router: std::sync::Arc<kit::Kept<Router>>,
}

impl<'a, 'b> Show<'a, 'b> {
    pub(super) fn new(identity: &Identity, cx: &'a Reading<'b>) -> Result<Self> {
        let router = identity.kernel()?.router(cx.beyond(&Beyond::for_the_kernel()))?;
        Ok(Self { cx, router })
    }

    pub(super) fn entity(&self, entity: Entity) -> Result<EntityShown> {
        let resolved = own(self.cx).with_groups(self.cx.beyond(&Beyond::for_the_kernel()), entity)?;
        let ids = |groups: &[Group]| groups.iter().map(|group| group.id.clone()).collect::<Vec<_>>();
        let group_ids = resolved.groups().map(|group| group.id.clone()).collect();
        let (direct, inherited) = (ids(&resolved.direct), ids(&resolved.inherited));
        let entity = resolved.entity;
        let aliases = entity.aliases.iter().map(|alias| self.alias(&entity.id, alias)).collect();
        Ok(EntityShown {
            aliases,
            creation_time: entity.created.rfc3339(),
            direct_group_ids: direct,
            disabled: entity.disabled,
            group_ids,
            id: entity.id,
            inherited_group_ids: inherited,
            last_update_time: entity.updated.rfc3339(),
            merged_entity_ids: some(entity.merged),
            metadata: entity.metadata,
            name: entity.name,
            namespace_id: self.namespace_id(),
            policies: entity.policies,
        })
    }

    /// An alias within what it belongs to.
    pub(super) fn alias(&self, owner: &str, alias: &Alias) -> AliasShown {
        let (mount_path, mount_type, local) = self.mount(&alias.accessor);
        AliasShown {
            canonical_id: owner.to_owned(),
            creation_time: alias.created.rfc3339(),
            custom_metadata: alias.custom_metadata.clone(),
            id: alias.id.clone(),
            last_update_time: alias.updated.rfc3339(),
            local,
            merged_from_canonical_ids: some(alias.merged_from.clone()),
            metadata: alias.metadata.clone(),
            mount_accessor: alias.accessor.clone(),
            mount_path,
            mount_type,
            name: alias.name.clone(),
            namespace_id: None,
        }
    }

    /// An alias by itself.
    pub(super) fn lone_alias(&self, owner: &str, alias: &Alias) -> AliasShown {
        AliasShown { namespace_id: Some(self.namespace_id()), ..self.alias(owner, alias) }
    }

    pub(super) fn listed_alias(&self, owner: &str, alias: &Alias) -> AliasListed {
        let (mount_path, mount_type, local) = self.mount(&alias.accessor);
        AliasListed {
            canonical_id: owner.to_owned(),
            custom_metadata: alias.custom_metadata.clone(),
            local,
            metadata: alias.metadata.clone(),
            mount_accessor: alias.accessor.clone(),
            mount_path,
            mount_type,
            name: alias.name.clone(),
        }
    }

    pub(super) fn listed_entity(&self, entity: Entity) -> EntityListed {
        let aliases = entity.aliases.iter().map(|alias| self.named_alias(alias)).collect();
        EntityListed { aliases, name: entity.name }
    }

    pub(super) fn group(&self, group: Group) -> Result<GroupShown> {
        let (book, today) = (own(self.cx), self.cx.beyond(&Beyond::for_the_kernel()));
        let alias = group.alias.as_ref().map(|alias| self.group_alias(&group.id, alias));
        Ok(GroupShown {
            alias: alias.unwrap_or_default(),
            creation_time: group.created.rfc3339(),
            last_update_time: group.updated.rfc3339(),
            member_entity_ids: some(book.members(today, &group.id)?),
            member_group_ids: some(book.member_groups(today, &group.id)?),
            metadata: group.metadata,
            modify_index: group.modify_index,
            name: group.name,
            namespace_id: self.namespace_id(),
            parent_group_ids: some(group.parents),
            policies: group.policies,
            kind: group.kind.word(),
            id: group.id,
        })
    }

    pub(super) fn listed_group(&self, group: Group) -> Result<GroupListed> {
        let members = own(self.cx).members(self.cx.beyond(&Beyond::for_the_kernel()), &group.id)?;
        Ok(GroupListed {
            alias: group.alias.as_ref().map(|alias| self.named_alias(alias)),
            name: group.name,
            num_member_entities: members.len(),
            num_parent_groups: group.parents.len(),
        })
    }

    fn group_alias(&self, owner: &str, alias: &Alias) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        put("canonical_id", json!(owner));
        put("creation_time", json!(alias.created.rfc3339()));
        put("id", json!(alias.id));
        put("last_update_time", json!(alias.updated.rfc3339()));
        put("merged_from_canonical_ids", json!(some(alias.merged_from.clone())));
        put("metadata", json!(alias.metadata));
        put("mount_accessor", json!(alias.accessor));
        put("name", json!(alias.name));
        if let (Some(path), Some(kind), _) = self.mount(&alias.accessor) {
            put("mount_path", json!(path));
            put("mount_type", json!(kind));
        }
        shown
    }

    fn named_alias(&self, alias: &Alias) -> AliasNamed {
        let (mount_path, mount_type, _) = self.mount(&alias.accessor);
        AliasNamed {
            id: alias.id.clone(),
            mount_accessor: alias.accessor.clone(),
            mount_path,
            mount_type,
            name: alias.name.clone(),
        }
    }

    fn namespace_id(&self) -> String {
        let here = self.router.value().space(Ns::of(self.cx));
        here.map(|space| space.namespace.id.clone()).unwrap_or_default()
    }

    /// The path and the type of the mount of this accessor, if it is still there, and whether it is a local one.
    fn mount(&self, accessor: &str) -> (Option<String>, Option<String>, bool) {
        let Some(mounted) = self.router.value().by_accessor(Ns::of(self.cx), accessor) else {
            return (None, None, false);
        };
        (Some(mounted.entry.path.clone()), Some(mounted.entry.kind.clone()), mounted.entry.local)
    }
}

/// Null, where there is nothing: clients know it so.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
