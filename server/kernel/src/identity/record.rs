//! What identity stores.

use std::collections::BTreeMap;

use kit::Time;
use serde::{Deserialize, Serialize};

/// Text by text, as operators and auth methods write it down.
pub(crate) type Metadata = BTreeMap<String, String>;

/// A person or machine, whatever it logs in by.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Entity {
    /// A UUID, never used again.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) policies: Vec<String>,
    /// Its tokens are refused, and nobody logs in as it.
    pub(crate) disabled: bool,
    /// What it is called at auth mounts: at most one name for each.
    pub(crate) aliases: Vec<Alias>,
    /// The entities that went into it. Their tokens are its tokens.
    pub(crate) merged: Vec<String>,
    pub(crate) created: Time,
    pub(crate) updated: Time,
}

/// What an entity or a group is called at an auth mount.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Alias {
    pub(crate) id: String,
    /// The accessor of the mount: it outlives a move.
    pub(crate) accessor: String,
    pub(crate) name: String,
    /// What the auth method says.
    pub(crate) metadata: Option<Metadata>,
    /// What operators say.
    pub(crate) custom_metadata: Option<Metadata>,
    pub(crate) merged_from: Vec<String>,
    pub(crate) created: Time,
    pub(crate) updated: Time,
}

/// Entities that share policies. Who is in it lies in tables of its own, so that a login of one does not wait for
/// another's.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: GroupKind,
    pub(crate) policies: Vec<String>,
    pub(crate) metadata: Option<Metadata>,
    /// The groups that it is a member of.
    pub(crate) parents: Vec<String>,
    /// What an external group is called outside.
    pub(crate) alias: Option<Alias>,
    /// Counts the changes that operators made.
    pub(crate) modify_index: u64,
    pub(crate) created: Time,
    pub(crate) updated: Time,
}

/// Who says which entities are in a group.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupKind {
    /// Operators do.
    #[default]
    Internal,
    /// An auth method does, at each login and renewal.
    External,
}

impl GroupKind {
    /// As the API says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

impl Entity {
    /// Its name at a mount.
    pub(crate) fn alias_at(&self, accessor: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.accessor == accessor)
    }

    pub(crate) fn alias(&self, id: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.id == id)
    }
}
