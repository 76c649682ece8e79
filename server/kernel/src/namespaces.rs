//! Namespaces: each has its own mounts, policies, tokens and leases, and sees nothing of the others.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kit::{Error, MountId, Name, Reads, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use storage::{FAMILY_SIZE, Random, RingId, Snapshot, Txn};

use crate::shelf::{KERNEL, OfNamespaces, SharedTable, Shelf, Source};
use crate::{ids, mounts, policies};

/// Every namespace but the root, which is nowhere written down.
const NAMESPACES: Shelf<NamespaceEntry, OfNamespaces> = Shelf::shared(SharedTable::Namespaces);

/// How many namespaces there may be.
pub(crate) const NAMESPACES_MAX: usize = 10_000;
/// How long the path of a namespace may be.
pub(crate) const PATH_SIZE_MAX: usize = 1024;
/// How many characters end the ids of a namespace's tokens and leases.
pub(crate) const ID_LENGTH: usize = 6;
/// Names that mean something else where a namespace could stand.
const RESERVED: [&str; 6] = ["audit", "auth", "cubbyhole", "identity", "root", "sys"];

/// Which namespace something belongs to. What a namespace owns as a whole lies under this id, which is never used
/// again after its end.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ns(MountId);

/// A namespace as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NamespaceEntry {
    /// Random, never used again, and what its tables lie under.
    pub(crate) uuid: String,
    /// What the ids of its tokens and leases end in.
    pub(crate) id: String,
    /// From the root on, with its trailing slash.
    pub(crate) path: String,
    /// For people.
    pub(crate) custom_metadata: BTreeMap<String, String>,
    /// It answers no one until this is taken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    /// It has a seal of its own, and this is the namespace that it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) above: Option<Ns>,
    /// It has been deleted: nobody reaches it any more, and what it holds is being ended and cleared away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dying: bool,
    /// What it lent outside and cannot be taken back does not hold the clearing up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) forced: bool,
}

/// What takes a lock off, as far as the server knows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Lock {
    /// The SHA-256 of the key, which is random and long.
    #[serde(with = "hex::serde")]
    pub(crate) key_hash: [u8; 32],
}

/// A namespace, as far as a request needs to know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Namespace {
    pub(crate) ns: Ns,
    /// `root`, or six characters.
    pub(crate) id: String,
    /// Empty for the root; else it ends in a slash.
    pub(crate) path: String,
}

impl Ns {
    /// The namespace that is always there, and holds the others.
    pub(crate) const ROOT: Self = Self(KERNEL);

    /// The namespace that an operation runs in.
    pub(crate) fn of(cx: &impl Reads) -> Self {
        Self::under(cx.mount())
    }

    /// The namespace that a mount is in.
    pub(crate) fn under(mount: &kit::Mount) -> Self {
        Self(mount.namespace_id)
    }

    /// What its tables lie under.
    pub(crate) fn mount(self) -> MountId {
        self.0
    }

    /// A new namespace in it.
    pub(crate) fn fresh(self, random: &dyn Random) -> Self {
        Self(self.new_id(random))
    }

    /// The id of something new in it. It begins as that of the namespace does, so that one seal closes all of them.
    pub(crate) fn new_id(self, random: &dyn Random) -> MountId {
        let mut id = [0; 16];
        random.fill(&mut id);
        if !self.is_root() {
            id.iter_mut().zip(self.0.0).take(FAMILY_SIZE).for_each(|(to, from)| *to = from);
        }
        MountId(id)
    }

    pub(crate) fn is_root(&self) -> bool {
        *self == Self::ROOT
    }

    pub(crate) fn from_bytes(id: [u8; 16]) -> Self {
        Self(MountId(id))
    }

    pub(crate) fn parse(uuid: &str) -> Option<Self> {
        ids::mount(uuid).map(Self)
    }
}

impl Default for Ns {
    fn default() -> Self {
        Self::ROOT
    }
}

impl Serialize for Ns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ids::uuid(self.0.0))
    }
}

impl<'de> Deserialize<'de> for Ns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let uuid = String::deserialize(deserializer)?;
        Self::parse(&uuid).ok_or_else(|| serde::de::Error::custom("the id of a namespace is damaged"))
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::root()
    }
}

impl Namespace {
    pub(crate) fn root() -> Self {
        Self { ns: Ns::ROOT, id: "root".to_owned(), path: String::new() }
    }

    /// What the ids of its tokens, accessors and leases end in; nothing in the root.
    pub(crate) fn suffix(&self) -> Option<&str> {
        (!self.ns.is_root()).then_some(&*self.id)
    }

    /// An id with the ending that says where it belongs.
    pub(crate) fn mark(&self, id: String) -> String {
        match self.suffix() {
            None => id,
            Some(suffix) => format!("{id}.{suffix}"),
        }
    }

    /// Whether `other` is this one or lies somewhere beneath it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path)
    }
}

impl NamespaceEntry {
    pub(crate) fn ns(&self) -> Result<Ns> {
        Ns::parse(&self.uuid)
            .ok_or_else(|| Error::internal(format!("the namespace {} has a damaged id", self.path)))
    }

    pub(crate) fn namespace(&self) -> Result<Namespace> {
        Ok(Namespace { ns: self.ns()?, id: self.id.clone(), path: self.path.clone() })
    }

    pub(crate) fn store(&self, txn: &mut Txn) -> Result<()> {
        let ns = self.ns()?;
        // It is its parent's, and not sealed with what it holds.
        let owner = self.above.unwrap_or(ns).mount();
        NAMESPACES.put(txn, owner, Name::Id(&ns.0.0), self)
    }
}

/// What is stored of a namespace, dying or not.
pub(crate) fn find(source: &impl Source, ns: Ns) -> Result<Option<NamespaceEntry>> {
    NAMESPACES.get(source, Name::Id(&ns.0.0))
}

/// The namespace of this id, if it lives. The root costs no look.
pub(crate) fn living(source: &impl Source, ns: Ns) -> Result<Option<Namespace>> {
    if ns.is_root() {
        return Ok(Some(Namespace::root()));
    }
    find(source, ns)?.filter(|entry| !entry.dying).map(|entry| entry.namespace()).transpose()
}

/// Every namespace but the root, dying ones included.
pub(crate) fn all(source: &impl Source) -> Result<Vec<NamespaceEntry>> {
    let mut entries = Vec::new();
    NAMESPACES.scan(source, &[], None, |_, entry| {
        entries.push(entry);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

/// Every namespace that lives and is not sealed, the root first.
pub(crate) fn with_root(source: &impl Source) -> Result<Vec<Ns>> {
    let below = all(source)?.into_iter().filter(|entry| !entry.dying).map(|entry| entry.ns());
    let open = |ns: &Result<Ns>| ns.as_ref().is_ok_and(|ns| !source.is_sealed(ns.mount()));
    std::iter::once(Ok(Ns::ROOT)).chain(below.filter(open)).collect()
}

/// What a new namespace is to be.
pub(crate) struct New {
    pub(crate) ns: Ns,
    pub(crate) path: String,
    pub(crate) custom_metadata: BTreeMap<String, String>,
    /// The namespace that it lies in, if it has a seal of its own.
    pub(crate) above: Option<Ns>,
}

/// Up to `limit` namespaces that a ring has sealed: those right in its family, and those in it with a seal of their own.
pub(crate) fn sealed_by(today: &Snapshot, ring: RingId, limit: usize) -> Result<Vec<Ns>> {
    let ids = today.ids_of_rings(NAMESPACES.place(), &[], limit, &|found| found == ring)?;
    Ok(ids.iter().filter_map(|id| id.first_chunk().copied().map(Ns::from_bytes)).collect())
}

/// Makes a namespace with what each one has: its own `sys/`, `cubbyhole/`, `identity/` and `auth/token/`, and the policy `default`.
pub(crate) fn make(
    txn: &mut Txn,
    random: &dyn Random,
    new: New,
    taken: impl Fn(&str) -> bool,
    now: kit::Time,
) -> Result<NamespaceEntry> {
    let mut id = ids::base62(random, ID_LENGTH);
    while taken(&id) {
        id = ids::base62(random, ID_LENGTH);
    }
    let New { ns, path, custom_metadata, above } = new;
    let uuid = ids::uuid(ns.0.0);
    let entry =
        NamespaceEntry { uuid, id, path, custom_metadata, lock: None, above, dying: false, forced: false };
    entry.store(txn)?;
    mounts::first_mounts(txn, ns, random)?;
    policies::first_policies(txn, ns, now)?;
    Ok(entry)
}

/// Deletes the last that is left of a namespace.
pub(crate) fn forget(txn: &mut Txn, ns: Ns) -> Result<()> {
    NAMESPACES.delete(txn, Name::Id(&ns.0.0))
}

/// A name that one level of a namespace's path can have.
///
/// # Errors
/// If it cannot.
pub(crate) fn name(text: &str) -> Result<&str> {
    if text.contains('/') {
        return Err(Error::invalid("namespace name cannot contain /"));
    }
    if RESERVED.contains(&text) {
        let path = format!("{text}/");
        return Err(Error::invalid(format!(
            "{path:?} is a reserved path and cannot be used as a namespace name"
        )));
    }
    if text.contains(' ') {
        return Err(Error::invalid(format!(
            "{text:?} contains space characters that cannot be used in a namespace name"
        )));
    }
    if let Some(wild) = text.chars().find(|char| matches!(char, '+' | '*')) {
        return Err(Error::invalid(format!(
            "{text:?} contains wildcard characters that cannot be used in a namespace name: '{wild}'"
        )));
    }
    if text.is_empty() || text == "." || text == ".." {
        return Err(Error::invalid("a namespace needs a name; it is the last part of the path"));
    }
    Ok(text)
}

/// What the id of a token says about its namespace. It proves nothing; the hash of the whole id does.
pub(crate) fn suffix(token: &str) -> Option<&str> {
    let body = token.strip_prefix("s.").or_else(|| token.strip_prefix("b."))?;
    body.split_once('.').map(|(_, suffix)| suffix)
}
