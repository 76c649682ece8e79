use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use kit::{Error, MountId, Reads, Result};

use crate::mounts::Mounted;
use crate::namespaces::{Namespace, NamespaceEntry, Ns};

/// Which engine answers where. A mount is found in a namespace and nowhere else.
pub(crate) struct Router {
    root: Arc<Space>,
    /// The namespaces that live, by path.
    spaces: BTreeMap<String, Arc<Space>>,
    /// All of them, those included that are being cleared away.
    by_ns: HashMap<Ns, Arc<Space>>,
    by_suffix: HashMap<String, Ns>,
    by_id: HashMap<MountId, Arc<Mounted>>,
    /// Those that are unmounted and still have something outside to undo.
    ended: HashMap<MountId, Arc<Mounted>>,
    by_accessor: HashMap<String, Arc<Mounted>>,
}

/// A namespace with what is mounted in it.
pub(crate) struct Space {
    pub(crate) namespace: Arc<Namespace>,
    /// As it is stored; nothing for the root.
    pub(crate) entry: Option<NamespaceEntry>,
    /// The path of the namespace whose lock closes this one: itself, or one that holds it.
    pub(crate) locked: Option<String>,
    /// Its keys, or those of the namespace that it lies in, are not there.
    pub(crate) sealed: bool,
    mounts: BTreeMap<String, Arc<Mounted>>,
}

impl Router {
    /// Sorts mounts into their namespaces. Each of `mounted` belongs to the root or to one of `entries`.
    pub(crate) fn new(
        entries: Vec<(NamespaceEntry, Arc<Namespace>)>,
        mounted: Vec<Arc<Mounted>>,
        is_sealed: &dyn Fn(Ns) -> bool,
    ) -> Self {
        let (ended, mounted): (Vec<_>, Vec<_>) =
            mounted.into_iter().partition(|mounted| mounted.entry.ended.is_some());
        let ended = ended.into_iter().map(|mounted| (mounted.info.id, mounted)).collect();
        let by_id = mounted.iter().map(|mounted| (mounted.info.id, Arc::clone(mounted))).collect();
        let accessor = |mounted: &Arc<Mounted>| (mounted.entry.accessor.clone(), Arc::clone(mounted));
        let by_accessor = mounted.iter().map(accessor).collect();
        let mut tables: HashMap<Ns, BTreeMap<String, Arc<Mounted>>> = HashMap::new();
        for mounted in mounted {
            let table = tables.entry(mounted.namespace.ns).or_default();
            table.insert(mounted.entry.path.clone(), mounted);
        }
        let mut take = |ns| tables.remove(&ns).unwrap_or_default();
        let root = Arc::new(Space {
            namespace: Arc::new(Namespace::root()),
            entry: None,
            locked: None,
            sealed: false,
            mounts: take(Ns::ROOT),
        });
        let mut entries = entries;
        entries.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
        let mut router = Self {
            by_ns: HashMap::from([(Ns::ROOT, Arc::clone(&root))]),
            root,
            spaces: BTreeMap::new(),
            by_suffix: HashMap::new(),
            by_id,
            ended,
            by_accessor,
        };
        for (entry, namespace) in entries {
            let mounts = take(namespace.ns);
            let sealed = is_sealed(namespace.ns);
            router.add(entry, namespace, mounts, sealed);
        }
        router
    }

    /// Parents are added before their children, so that a lock is handed down.
    fn add(
        &mut self,
        entry: NamespaceEntry,
        namespace: Arc<Namespace>,
        mounts: BTreeMap<String, Arc<Mounted>>,
        sealed: bool,
    ) {
        let own = entry.lock.is_some().then(|| entry.path.clone());
        let locked = self.parent(&entry.path).locked.clone().or(own);
        let lives = !entry.dying;
        let ns = namespace.ns;
        self.by_suffix.insert(namespace.id.clone(), ns);
        let space = Arc::new(Space { namespace, entry: Some(entry), locked, sealed, mounts });
        if lives {
            self.spaces.insert(space.namespace.path.clone(), Arc::clone(&space));
        }
        self.by_ns.insert(ns, space);
    }

    /// A namespace and all that hold it, the innermost first.
    pub(crate) fn upward<'a>(&'a self, space: &'a Arc<Space>) -> impl Iterator<Item = &'a Arc<Space>> {
        let above = move |space: &&'a Arc<Space>| {
            let namespace = &space.namespace;
            (!namespace.ns.is_root()).then(|| self.parent(&namespace.path))
        };
        std::iter::successors(Some(space), above)
    }

    fn parent(&self, path: &str) -> &Arc<Space> {
        let (above, _) = split_last(path);
        self.spaces.get(above).unwrap_or(&self.root)
    }

    /// The namespace that a path leads into, and the rest of the path. Where there is but the root this costs nothing.
    pub(crate) fn locate<'a>(&self, path: &'a str) -> (&Arc<Space>, &'a str) {
        let (mut space, mut start) = (&self.root, 0);
        if self.spaces.is_empty() {
            return (space, path);
        }
        while let Some(slash) = path.get(start..).and_then(|rest| rest.find('/')) {
            let Some(below) = path.get(..=start + slash).and_then(|path| self.spaces.get(path)) else {
                break;
            };
            (space, start) = (below, start + slash + 1);
        }
        (space, path.get(start..).unwrap_or_default())
    }

    /// The namespace of exactly this path, which ends in a slash or is empty.
    pub(crate) fn space_at(&self, path: &str) -> Option<&Arc<Space>> {
        if path.is_empty() { Some(&self.root) } else { self.spaces.get(path) }
    }

    /// A namespace of exactly this path that is being cleared away.
    pub(crate) fn dying(&self, path: &str) -> Option<&Arc<Space>> {
        self.by_ns.values().find(|space| space.namespace.path == path && !space.lives())
    }

    /// The namespaces beneath a path that are being cleared away, and whose names no others have taken.
    pub(crate) fn dying_beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Arc<Space>> {
        let here = move |space: &&Arc<Space>| {
            let own = &space.namespace.path;
            !space.lives() && own.starts_with(path) && own != path && !self.spaces.contains_key(own)
        };
        self.by_ns.values().filter(here)
    }

    /// The namespace of exactly this path that has a seal of its own, even if it is being cleared away.
    pub(crate) fn sealable(&self, path: &str) -> Option<&Arc<Space>> {
        let dying = || {
            let here = |space: &&Arc<Space>| space.namespace.path == path && !space.lives();
            self.by_ns.values().find(|space| here(space) && space.has_seal())
        };
        match self.space_at(path) {
            Some(living) if living.has_seal() => Some(living),
            // Another one may have its name by now.
            other => dying().or(other),
        }
    }

    /// The namespace of this id, even if it is being cleared away.
    pub(crate) fn space(&self, ns: Ns) -> Option<&Arc<Space>> {
        self.by_ns.get(&ns)
    }

    /// The namespace that an operation runs in.
    pub(crate) fn here(&self, cx: &impl Reads) -> Result<&Arc<Space>> {
        self.space(Ns::of(cx)).ok_or_else(|| Error::internal("an operation runs in a namespace that is gone"))
    }

    /// The namespace whose tokens and leases end in this, if it lives; the root, if there is no ending.
    pub(crate) fn by_suffix(&self, suffix: Option<&str>) -> Option<&Arc<Space>> {
        let Some(suffix) = suffix else { return Some(&self.root) };
        let space = self.space(*self.by_suffix.get(suffix)?)?;
        self.spaces.contains_key(&space.namespace.path).then_some(space)
    }

    /// Whether ids of some namespace end in this, dying ones included.
    pub(crate) fn has_suffix(&self, suffix: &str) -> bool {
        self.by_suffix.contains_key(suffix)
    }

    /// Every namespace beneath a path, however deep, in the order of their paths.
    pub(crate) fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Arc<Space>> {
        let rest = self.spaces.range::<str, _>((Included(path), Unbounded));
        rest.take_while(move |(name, _)| name.starts_with(path))
            .filter(move |(name, _)| *name != path)
            .map(|(_, space)| space)
    }

    /// All namespaces, the root and those included that are being cleared away.
    pub(crate) fn spaces(&self) -> impl Iterator<Item = &Arc<Space>> {
        let others = self.by_ns.values().filter(|space| !space.namespace.ns.is_root());
        std::iter::once(&self.root).chain(others)
    }

    /// The namespaces right below a path.
    pub(crate) fn children<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Arc<Space>> {
        self.beneath(path).filter(move |space| space.is_child_of(path))
    }

    /// How many namespaces there are.
    pub(crate) fn count_namespaces(&self) -> usize {
        self.by_ns.len()
    }

    pub(crate) fn by_id(&self, id: &MountId) -> Option<&Arc<Mounted>> {
        self.by_id.get(id)
    }

    /// The mount of this id, even if it is unmounted: to undo what it did outside.
    pub(crate) fn to_undo(&self, id: &MountId) -> Option<&Arc<Mounted>> {
        self.by_id(id).or_else(|| self.ended.get(id))
    }

    /// The mount of this accessor, if it is in this namespace.
    pub(crate) fn by_accessor(&self, ns: Ns, accessor: &str) -> Option<&Arc<Mounted>> {
        self.by_accessor.get(accessor).filter(|mounted| mounted.namespace.ns == ns)
    }

    /// The mounts of all namespaces, in no order.
    pub(crate) fn all_mounts(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.by_id.values()
    }

    /// How many mounts there are in all namespaces.
    pub(crate) fn count_mounts(&self) -> usize {
        self.by_id.len()
    }

    /// What stands in the way of a new mount at `path` of a namespace: a mount that is the same, above it or below
    /// it, or a namespace.
    pub(crate) fn conflict<'a>(&'a self, space: &'a Space, path: &str) -> Option<Conflict<'a>> {
        let first = path.split_inclusive('/').next().unwrap_or(path);
        if let Some(taken) = self.spaces.get(&format!("{}{first}", space.namespace.path)) {
            return Some(Conflict::Namespace(&taken.namespace.path));
        }
        space.conflict(path).map(Conflict::Mount)
    }
}

/// What stands in the way of a mount.
pub(crate) enum Conflict<'a> {
    /// The path of a mount, within its namespace.
    Mount(&'a str),
    /// The path of a namespace, from the root on.
    Namespace(&'a str),
}

impl Space {
    /// The mount that answers `path`, and the rest of the path below it.
    pub(crate) fn nearest<'a>(&self, path: &'a str) -> Option<(&Arc<Mounted>, &'a str)> {
        // Mounts do not nest, so the nearest name below is the only one that can be a prefix.
        let (name, mounted) = self.mounts.range::<str, _>((Unbounded, Included(path))).next_back()?;
        Some((mounted, path.strip_prefix(name.as_str())?))
    }

    /// The mount exactly here.
    pub(crate) fn at(&self, path: &str) -> Option<&Arc<Mounted>> {
        self.mounts.get(path)
    }

    /// What is mounted here, in the order of the paths.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.mounts.values()
    }

    /// Whether it has a seal of its own.
    pub(crate) fn has_seal(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.above.is_some())
    }

    /// Whether it lies right below the namespace of this path.
    pub(crate) fn is_child_of(&self, path: &str) -> bool {
        split_last(&self.namespace.path).0 == path
    }

    /// Whether it has not been deleted.
    pub(crate) fn lives(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| !entry.dying)
    }

    /// The private drawers of this namespace's tokens.
    pub(crate) fn cubbyhole(&self) -> Result<MountId> {
        self.at("cubbyhole/").map(|mounted| mounted.info.id).ok_or_else(|| Error::internal("no cubbyhole"))
    }

    /// A path of this namespace, as the rules spell it: from the root on.
    pub(crate) fn full(&self, path: &str) -> String {
        format!("{}{path}", self.namespace.path)
    }

    /// The mount that is the same as `path`, above it or below it.
    pub(crate) fn conflict(&self, path: &str) -> Option<&str> {
        if let Some((mounted, _)) = self.nearest(path) {
            return Some(&mounted.entry.path);
        }
        let (below, _) = self.mounts.range::<str, _>((Included(path), Unbounded)).next()?;
        below.starts_with(path).then_some(below)
    }
}

/// `a/b/c/` is `a/b/` and `c/`.
pub(crate) fn split_last(path: &str) -> (&str, &str) {
    let inner = path.strip_suffix('/').unwrap_or(path);
    path.split_at(inner.rfind('/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&str]) -> Router {
        let entries = paths.iter().enumerate().map(|(number, path)| {
            let entry = NamespaceEntry {
                uuid: crate::ids::uuid([u8::try_from(number).unwrap() + 1; 16]),
                id: format!("{number:06}"),
                path: (*path).to_owned(),
                custom_metadata: BTreeMap::new(),
                lock: None,
                above: None,
                dying: false,
                forced: false,
            };
            let namespace = Arc::new(entry.namespace().unwrap());
            (entry, namespace)
        });
        Router::new(entries.collect(), Vec::new(), &|_| false)
    }

    #[track_caller]
    fn check(router: &Router, path: &str, namespace: &str, rest: &str) {
        let (space, left) = router.locate(path);
        assert_eq!((space.namespace.path.as_str(), left), (namespace, rest), "{path}");
    }

    #[test]
    fn a_path_leads_into_the_innermost_namespace() {
        let router = router(&["a/", "a/b/", "ab/", "a/b/c/"]);
        check(&router, "secret/x", "", "secret/x");
        check(&router, "a/kv/x", "a/", "kv/x");
        check(&router, "a/b/kv/x", "a/b/", "kv/x");
        check(&router, "a/b/c/", "a/b/c/", "");
        check(&router, "ab/kv", "ab/", "kv");
        check(&router, "abc/kv", "", "abc/kv");
        check(&router, "a", "", "a");
        check(&router, "b/kv", "", "b/kv");
        check(&router, "", "", "");
    }

    #[test]
    fn families_are_found() {
        let router = router(&["a/", "a/b/", "ab/", "a/b/c/"]);
        let paths = |spaces: Vec<&Arc<Space>>| {
            spaces.iter().map(|space| space.namespace.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(paths(router.beneath("a/").collect()), ["a/b/", "a/b/c/"]);
        assert_eq!(paths(router.children("a/").collect()), ["a/b/"]);
        assert_eq!(paths(router.children("").collect()), ["a/", "ab/"]);
        let deep = router.space_at("a/b/c/").unwrap();
        assert_eq!(paths(router.upward(deep).collect()), ["a/b/c/", "a/b/", "a/", ""]);
        assert_eq!(split_last("a/b/"), ("a/", "b/"));
        assert_eq!(split_last("a/"), ("", "a/"));
    }
}
