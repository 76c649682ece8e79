use std::collections::BTreeMap;

use kit::loose::{Flag, Given, Json, Object, Slice};
use kit::{Beyond, Command, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::Txn;

use super::Sys;
use super::namespace_seals::{Shares, Wish};
use super::ui::known_acl;
use crate::agenda::{self, Item};
use crate::kernel::Kernel;
use crate::namespaces::{self, NAMESPACES_MAX, NamespaceEntry, New, Ns, PATH_SIZE_MAX};
use crate::router::{Router, Space};

/// How many custom metadata a namespace has, and how long their names and values are.
const METADATA_MAX: usize = 64;
const METADATA_KEY_SIZE_MAX: usize = 128;
const METADATA_VALUE_SIZE_MAX: usize = 512;

/// A namespace as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    custom_metadata: BTreeMap<String, String>,
    id: String,
    locked: bool,
    path: String,
    tainted: bool,
    uuid: String,
    /// It has been deleted, and this keeps what it holds from being cleared away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits_for: Vec<String>,
    #[serde(flatten)]
    shares: Option<Shares>,
}

impl Shown {
    fn of(entry: &NamespaceEntry) -> Self {
        Self {
            custom_metadata: entry.custom_metadata.clone(),
            id: entry.id.clone(),
            locked: entry.lock.is_some(),
            path: entry.path.clone(),
            tainted: entry.dying,
            uuid: entry.uuid.clone(),
            waits_for: Vec::new(),
            shares: None,
        }
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    key_info: BTreeMap<String, Shown>,
    keys: Vec<String>,
}

fn keys<'a>(here: &Space, spaces: impl Iterator<Item = &'a std::sync::Arc<Space>>) -> Result<Reply<Keys>> {
    let mut key_info = BTreeMap::new();
    for entry in spaces.filter_map(|space| space.entry.as_ref()) {
        let key = entry.path.strip_prefix(&here.namespace.path).unwrap_or(&entry.path).to_owned();
        key_info.insert(key, Shown::of(entry));
    }
    let shown = Keys { keys: key_info.keys().cloned().collect(), key_info };
    if shown.keys.is_empty() { Err(Error::not_found()) } else { Ok(shown.into()) }
}

/// Lists the namespaces right below this one.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("namespaces");
    type Reply = Keys;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let router = engine.kernel()?.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let here = router.value().here(cx)?;
        let path = &here.namespace.path;
        // With those that have been deleted and are not cleared away yet.
        let dying = router.value().dying_beneath(path).filter(|space| space.is_child_of(path));
        keys(here, router.value().children(path).chain(dying))
    }
}

/// Lists the namespaces below this one, however deep.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Scan {}

impl Query<Sys> for Scan {
    const ROUTE: Route = Route::scan("namespaces");
    type Reply = Keys;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let router = engine.kernel()?.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let here = router.value().here(cx)?;
        let path = &here.namespace.path;
        keys(here, router.value().beneath(path).chain(router.value().dying_beneath(path)))
    }
}

/// Shows a namespace right below this one. One that has been deleted is shown until all that it held is cleared away, with
/// what that waits for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its name.
    path: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("namespaces/{path+}");
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let (kernel, today) = (engine.kernel()?, cx.beyond(&Beyond::for_the_kernel()));
        let router = kernel.router(today)?;
        let name = self.path.strip_suffix('/').unwrap_or(&self.path);
        if let Some(entry) = child(router.value(), cx, name)? {
            return Ok(Shown::of(&entry).into());
        }
        let entry = dying(router.value(), cx, name)?.ok_or_else(Error::not_found)?;
        let waits_for = kernel.waits_for(&Txn::on(today.clone()), entry.ns()?)?;
        Ok(Shown { waits_for, ..Shown::of(&entry) }.into())
    }
}

/// One of this name that has been deleted and is not cleared away yet.
fn dying(router: &Router, cx: &impl Reads, name: &str) -> Result<Option<NamespaceEntry>> {
    let path = format!("{}{}/", cx.mount().namespace, namespaces::name(name)?);
    Ok(router.dying(&path).and_then(|space| space.entry.clone()))
}

/// The namespace of this name right below the one that asks.
pub(super) fn child(router: &Router, cx: &impl Reads, name: &str) -> Result<Option<NamespaceEntry>> {
    let path = format!("{}{}/", cx.mount().namespace, namespaces::name(name)?);
    Ok(router.space_at(&path).and_then(|space| space.entry.clone()))
}

/// Makes a namespace right below this one, with its own mounts, policies, tokens and leases, or gives one that is
/// there other metadata.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its name: one part of a path.
    path: String,
    /// Texts by name, for people.
    custom_metadata: Option<Object>,
    /// A seal of its own, as the server's configuration would say it: `seal "shamir" { shares = 5 threshold = 3 }`. The
    /// namespace is sealed then, and the shares of the key that unseals it are shown once.
    seal: Option<Json>,
    /// Public PGP keys to encrypt those shares to, one for each.
    pgp_keys: Option<Slice>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("namespaces/{path+}").logged().with_keys();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
        namespaces::name(&self.path)?;
        let wish = Wish::read(self.seal.as_ref(), self.pgp_keys.as_ref(), cx.now())?;
        let custom_metadata = texts(self.custom_metadata.unwrap_or_default().0)?;
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        if let Some(entry) = child(router.value(), cx, &self.path)? {
            if wish.is_some() {
                return Err(Error::invalid("cannot modify existing namespace seal config"));
            }
            let entry = NamespaceEntry { custom_metadata, ..entry };
            entry.store(cx.beyond(&beyond))?;
            return Ok(Shown::of(&entry).into());
        }
        let path = format!("{}{}/", cx.mount().namespace, self.path);
        if path.len() > PATH_SIZE_MAX {
            let text =
                format!("the path of a namespace has at most {PATH_SIZE_MAX} bytes; take shorter names");
            return Err(Error::invalid(text));
        }
        if router.value().count_namespaces() > NAMESPACES_MAX {
            let text = format!("there are {NAMESPACES_MAX} namespaces already; delete one that is not used");
            return Err(Error::invalid(text));
        }
        if let Some(taken) = router.value().here(cx)?.conflict(&format!("{}/", self.path)) {
            return Err(Error::invalid(format!("new namespace conflicts with existing mount: {taken}")));
        }
        let (now, random, here) = (cx.now(), cx.randomness(), Ns::of(cx));
        let taken = |id: &str| router.value().has_suffix(id);
        let txn = cx.beyond(&beyond);
        // The ids of a namespace with a seal begin anew, and what it holds is of its family.
        let (ns, above) = match wish {
            Some(_) => (Ns::ROOT.fresh(random), Some(here)),
            None => (here.fresh(random), None),
        };
        let shares = wish.map(|wish| wish.make(&kernel, txn, ns)).transpose()?;
        let new = New { ns, path, custom_metadata, above };
        let entry = namespaces::make(txn, random, new, taken, now)?;
        Ok(Shown { shares, ..Shown::of(&entry) }.into())
    }
}

fn texts(given: Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let text = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        _ => Err(Error::invalid("custom_metadata values must be strings")),
    };
    check_size(given.into_iter().map(text).collect::<Result<_>>()?)
}

fn check_size(metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let long = |(key, value): (&String, &String)| {
        key.len() > METADATA_KEY_SIZE_MAX || value.len() > METADATA_VALUE_SIZE_MAX
    };
    if metadata.len() > METADATA_MAX || metadata.iter().any(long) {
        return Err(Error::invalid(format!(
            "custom_metadata has at most {METADATA_MAX} keys of {METADATA_KEY_SIZE_MAX} bytes with values of {METADATA_VALUE_SIZE_MAX} bytes"
        )));
    }
    Ok(metadata)
}

/// Changes the metadata of a namespace: `null` takes one away, what is not named stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Patch {
    /// Its name.
    path: String,
    /// Texts by name, or `null`; `null` in place of all takes all away.
    #[serde(default, rename = "custom_metadata?")]
    #[schemars(rename = "custom_metadata")]
    custom_metadata: Given<Object>,
}

impl Command<Sys> for Patch {
    const ROUTE: Route = Route::patch("namespaces/{path+}").logged();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Shown>> {
        let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let found = child(router.value(), cx, &self.path)?;
        let mut entry = found.ok_or_else(|| Error::invalid("namespace not found"))?;
        let changes = match self.custom_metadata {
            Given::Absent => Object::default(),
            Given::Null => {
                entry.custom_metadata.clear();
                Object::default()
            }
            Given::Value(changes) => changes,
        };
        for (key, value) in changes.0 {
            match value {
                Value::Null => drop(entry.custom_metadata.remove(&key)),
                Value::String(text) => drop(entry.custom_metadata.insert(key, text)),
                _ => return Err(Error::invalid("metadata patch can only have string or null values")),
            }
        }
        entry.custom_metadata = check_size(entry.custom_metadata)?;
        entry.store(cx.beyond(&beyond))?;
        Ok(Shown::of(&entry).into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Deleting {
    pub(super) status: &'static str,
}

/// Deletes a namespace with everything in it. Nobody reaches it from now on and its tokens are dead; what it lent
/// is taken back, and what it stored is cleared away, piece by piece. It must not hold other namespaces.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its name.
    path: String,
    /// What it lent outside is taken back if that succeeds at once, and left there if not. Also of one that has been deleted
    /// and waits.
    #[serde(default)]
    force: Flag,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("namespaces/{path+}").logged();
    type Reply = Option<Deleting>;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let (kernel, beyond) = (engine.kernel()?, Beyond::for_the_kernel());
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let name = self.path.strip_suffix('/').unwrap_or(&self.path);
        let Some(entry) = child(router.value(), cx, name)? else {
            return self.press(&kernel, router.value(), cx);
        };
        if cx.peek(&beyond).is_sealed(entry.ns()?.mount()) {
            return Err(Error::new(Fault::Unavailable, "namespace is sealed"));
        }
        if router.value().children(&entry.path).next().is_some() {
            return Err(Error::invalid("unable to delete namespace containing child namespaces"));
        }
        let (now, tag, namespace, above) = (cx.now(), cx.random::<16>(), entry.ns()?, Ns::of(cx));
        let txn = cx.beyond(&beyond);
        NamespaceEntry { dying: true, forced: self.force.0, ..entry }.store(txn)?;
        agenda::enter(txn, now, tag, &Item::Raze { namespace, above })?;
        Ok(Some(Deleting { status: "in-progress" }).into())
    }
}

impl Delete {
    /// One that has been deleted already: says what it waits for, and waits no longer where that is wished for.
    fn press(
        self,
        kernel: &Kernel,
        router: &Router,
        cx: &mut Writing<'_>,
    ) -> Result<Reply<Option<Deleting>>> {
        let beyond = Beyond::for_the_kernel();
        let name = self.path.strip_suffix('/').unwrap_or(&self.path);
        let Some(entry) = dying(router, cx, name)? else {
            cx.warn("requested namespace does not exist");
            return Ok(None.into());
        };
        let waits = kernel.waits_for(cx.peek(&beyond), entry.ns()?)?;
        if self.force.0 && !entry.forced && !cx.peek(&beyond).is_sealed(entry.ns()?.mount()) {
            NamespaceEntry { forced: true, ..entry }.store(cx.beyond(&beyond))?;
            waits.iter().for_each(|wait| cx.warn(format!("no longer waited for: {wait}")));
        } else {
            waits.iter().for_each(|wait| cx.warn(format!("still waited for: {wait}")));
        }
        Ok(Some(Deleting { status: "in-progress" }).into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

/// Lists the namespaces right below this one in which the token that asks may do anything.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Usable {}

impl Query<Sys> for Usable {
    const ROUTE: Route = Route::get("internal/ui/namespaces").unauthenticated();
    type Reply = Names;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Names>> {
        let kernel = engine.kernel()?;
        let empty = || Error::new(Fault::Internal, "client token empty");
        let acl = known_acl(&kernel, cx)?.ok_or_else(empty)?;
        let router = kernel.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let here = &cx.mount().namespace;
        let usable = |path: &&str| acl.allowed_anything_under(path, cx.now().0);
        let children = router.value().children(here).map(|space| space.namespace.path.as_str());
        let names = children.filter(usable).map(|path| path.strip_prefix(here.as_str()).unwrap_or(path));
        Ok(Names { keys: names.map(str::to_owned).collect() }.into())
    }
}
