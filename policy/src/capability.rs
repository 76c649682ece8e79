//! What a caller may do to a path.

use std::fmt;
use std::str::FromStr;

/// One thing a caller may do to a path.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Capability {
    /// Write what is not there yet.
    Create,
    /// Delete.
    Delete,
    /// Nothing: forbids everything on the path, whatever else is granted on it.
    Deny,
    /// List direct children.
    List,
    /// Change a part.
    Patch,
    /// Read.
    Read,
    /// Everything: what the root policy has. For display only; no policy text can grant it.
    Root,
    /// List all descendants.
    Scan,
    /// Reach a path that the server protects, in addition to the verb's own capability.
    Sudo,
    /// Write what is there, renew, revoke, or act.
    Update,
}

/// A word that is not a capability.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid capability \"{0}\"")]
pub struct UnknownCapability(pub String);

impl Capability {
    /// All of them, in the order in which answers list them.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Delete,
        Self::Deny,
        Self::List,
        Self::Patch,
        Self::Read,
        Self::Root,
        Self::Scan,
        Self::Sudo,
        Self::Update,
    ];

    /// The word used in policies and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Deny => "deny",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::Root => "root",
            Self::Scan => "scan",
            Self::Sudo => "sudo",
            Self::Update => "update",
        }
    }

    /// Whether it looks at a folder, so that the path is tried without its trailing slash too.
    pub(crate) const fn looks_at_folder(self) -> bool {
        matches!(self, Self::List | Self::Scan)
    }

    /// Whether the parameters of such a request are subject to rules.
    pub(crate) const fn has_parameters(self) -> bool {
        matches!(self, Self::Create | Self::Read | Self::Update | Self::Patch)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(word: &str) -> Result<Self, UnknownCapability> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == word)
            .ok_or_else(|| UnknownCapability(word.into()))
    }
}

impl serde::Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Capabilities(u16);

impl Capabilities {
    /// No capability.
    pub const NONE: Self = Self(0);

    /// Exactly this one.
    pub const fn only(capability: Capability) -> Self {
        Self(1 << capability as u16)
    }

    /// Whether it is in the set.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & Self::only(capability).0 != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set and that capability.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | Self::only(capability).0)
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in the set, in the order in which answers list it.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }

    /// As `sys/capabilities` says it: `deny` if denied or if nothing is granted, else the sorted words.
    pub fn words(self) -> Vec<&'static str> {
        if self.is_empty() || self.has(Capability::Deny) {
            return vec![Capability::Deny.as_str()];
        }
        self.iter().map(Capability::as_str).collect()
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl serde::Serialize for Capabilities {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_and_read_back() {
        let words: Vec<_> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
        assert!(words.is_sorted());
        for capability in Capability::ALL {
            assert_eq!(capability.as_str().parse(), Ok(capability));
        }
        assert_eq!("READ".parse::<Capability>().unwrap_err().to_string(), "invalid capability \"READ\"");
    }

    #[test]
    fn deny_hides_the_rest() {
        use Capability::{Deny, Read, Sudo};
        assert_eq!(Capabilities::from_iter([Read, Sudo]).words(), ["read", "sudo"]);
        assert_eq!(Capabilities::from_iter([Read, Deny]).words(), ["deny"]);
        assert_eq!(Capabilities::NONE.words(), ["deny"]);
    }
}
