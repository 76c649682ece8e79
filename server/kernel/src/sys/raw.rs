//! `sys/raw`: entries of the store as they are, for the day on which something must be mended by hand.
//!
//! An entry's path is its mount's id (or `kernel`), the number of its table, and its name: the name that a user chose, or
//! `id:` and hexadecimal digits for one that the server made; `then:` and digits for a version below a name. The keyring
//! and the seal lie outside of what these paths can name.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::{Flag, Number};
use kit::{Beyond, Command, Error, Fault, MountId, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::{Key, Name, Place, Snapshot};

use super::Sys;
use crate::ids;
use crate::kernel::Kernel;
use crate::shelf::KERNEL;

/// What `kernel` stands for in a path.
const OWN: &str = "kernel";
/// Where OpenBao keeps what nobody may see.
const HIDDEN: [&str; 4] = ["core/keyring", "core/master", "core/hsm", "core/seal-config"];

#[derive(JsonSchema, Serialize)]
pub(super) struct Names {
    keys: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    value: String,
}

/// A name below a table.
enum Wanted {
    Id(Vec<u8>),
    Path(String),
    Then(String, Vec<u8>),
}

impl Wanted {
    fn name(&self) -> Name<'_> {
        match self {
            Self::Id(id) => Name::Id(id),
            Self::Path(path) => Name::Path(path),
            Self::Then(path, suffix) => Name::PathThen(path, suffix),
        }
    }
}

/// Lists what lies below a path of the store.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// The path.
    #[serde(default)]
    path: String,
    /// Only what comes after this name.
    #[serde(default)]
    after: String,
    /// So many at most; 0: all.
    limit: Option<Number>,
}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("raw/{path*}").sudo();
    type Reply = Names;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Names>> {
        let kernel = engine.kernel()?;
        enter(&kernel, &self.path)?;
        let today = cx.beyond(&Beyond::for_the_kernel());
        let mut keys = list(&kernel, today, self.path.trim_matches('/'))?;
        keys.retain(|key| *key > self.after);
        let limit = usize::try_from(self.limit.unwrap_or_default().0).unwrap_or(0);
        if limit > 0 {
            keys.truncate(limit);
        }
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Names { keys }.into()) }
    }
}

/// Shows an entry of the store.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// Its path.
    path: String,
    /// `base64` for what is no text.
    #[serde(default)]
    encoding: String,
    /// Of no account: nothing is compressed.
    #[serde(rename = "compressed")]
    _compressed: Option<Flag>,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("raw/{path+}").sudo();
    type Reply = Shown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        enter(&*engine.kernel()?, &self.path)?;
        let Some((place, wanted)) = entry(&self.path) else { return Err(Error::not_found()) };
        let found = cx.beyond(&Beyond::for_the_kernel()).get(&Key { place, name: wanted.name() })?;
        let found = found.ok_or_else(Error::not_found)?;
        let value = match self.encoding.as_str() {
            "base64" => STANDARD.encode(&*found),
            "" => std::str::from_utf8(&found)
                .map(str::to_owned)
                .map_err(|_| Error::invalid("the value is no text: ask for it with encoding=base64"))?,
            _ => return Err(Error::invalid("encoding: it is base64, or left out")),
        };
        Ok(Shown { value }.into())
    }
}

/// Writes an entry of the store, whatever it means to whom it belongs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// Its path.
    path: String,
    /// What it is to hold.
    value: Option<String>,
    /// `base64` for what is no text.
    #[serde(default)]
    encoding: String,
    /// Not supported: nothing is compressed.
    #[serde(default)]
    compressed: Flag,
    /// Not supported: nothing is compressed.
    #[serde(default)]
    compression_type: String,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("raw/{path:long+}").sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        enter(&*engine.kernel()?, &self.path)?;
        if self.compressed.0 || !self.compression_type.is_empty() {
            return Err(Error::invalid("compressed: entries are stored as they are"));
        }
        let Some((place, wanted)) = entry(&self.path) else { return Err(unwritable()) };
        let value = self.value.ok_or_else(|| Error::invalid("value: say what the entry is to hold"))?;
        let value = match self.encoding.as_str() {
            "base64" => STANDARD.decode(value).map_err(|_| Error::invalid("value: it is not base64"))?,
            "" => value.into_bytes(),
            _ => return Err(Error::invalid("encoding: it is base64, or left out")),
        };
        tracing::warn!("an entry of the store was written by hand");
        cx.beyond(&Beyond::for_the_kernel()).put(&Key { place, name: wanted.name() }, value)?;
        Ok(Reply::Nothing)
    }
}

/// Deletes an entry of the store, whatever it means to whom it belongs.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Its path.
    path: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("raw/{path+}").sudo();
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        enter(&*engine.kernel()?, &self.path)?;
        if let Some((place, wanted)) = entry(&self.path) {
            tracing::warn!("an entry of the store was deleted by hand");
            cx.beyond(&Beyond::for_the_kernel()).delete(&Key { place, name: wanted.name() })?;
        }
        Ok(Reply::Nothing)
    }
}

/// Refuses where the operator has not opened it, and what nobody may see.
fn enter(kernel: &Kernel, path: &str) -> Result<()> {
    if !kernel.env.settings.raw_storage_endpoint {
        return Err(Error::new(Fault::NotFound, "unsupported path").wrapped());
    }
    match HIDDEN.iter().find(|hidden| path.starts_with(**hidden)) {
        Some(hidden) => Err(Error::invalid(format!("cannot access {hidden:?}"))),
        None => Ok(()),
    }
}

fn unwritable() -> Error {
    Error::invalid("path: an entry is MOUNT-ID/TABLE/NAME; list sys/raw to see what there is")
}

/// The place and name that a path stands for.
fn entry(path: &str) -> Option<(Place, Wanted)> {
    // A folder is no entry, and rules about the entry do not judge it.
    let mut parts = Some(path).filter(|path| !path.ends_with('/'))?.splitn(3, '/');
    let place = Place { mount: mount(parts.next()?)?, table: parts.next()?.parse().ok()? };
    let name = parts.next().filter(|name| !name.is_empty())?;
    if let Some(id) = name.strip_prefix("id:") {
        return Some((place, Wanted::Id(hex::decode(id).ok()?)));
    }
    let wanted = match name.rsplit_once('/').map(|(path, last)| (path, last.strip_prefix("then:"))) {
        Some((path, Some(suffix))) => Wanted::Then(path.to_owned(), hex::decode(suffix).ok()?),
        _ => Wanted::Path(name.to_owned()),
    };
    Some((place, wanted))
}

fn mount(name: &str) -> Option<MountId> {
    if name == OWN { Some(KERNEL) } else { ids::mount(name) }
}

fn list(kernel: &Kernel, today: &Snapshot, path: &str) -> Result<Vec<String>> {
    let mut parts = path.splitn(3, '/').filter(|part| !part.is_empty());
    let Some(first) = parts.next() else {
        let router = kernel.router(today)?;
        let mut keys: Vec<String> =
            router.value().all_mounts().map(|mounted| format!("{}/", mounted.entry.uuid)).collect();
        keys.push(format!("{OWN}/"));
        let namespaces = router.value().spaces().filter(|space| !space.namespace.ns.is_root());
        keys.extend(namespaces.map(|space| format!("{}/", ids::uuid(space.namespace.ns.mount().0))));
        keys.sort_unstable();
        return Ok(keys);
    };
    let Some(mount) = mount(first) else { return Ok(Vec::new()) };
    let Some(table) = parts.next() else {
        let mut tables = Vec::new();
        for table in 0..=u8::MAX {
            if !is_empty(today, Place { mount, table })? {
                tables.push(format!("{table}/"));
            }
        }
        tables.sort_unstable();
        return Ok(tables);
    };
    let Ok(table) = table.parse() else { return Ok(Vec::new()) };
    let place = Place { mount, table };
    let folder = parts.next().unwrap_or("");
    let mut keys = today.list(place, folder)?.to_vec();
    let mut each = |prefix: &str, id: &[u8]| keys.push(format!("{prefix}{}", hex::encode(id)));
    if folder.is_empty() {
        today.scan(place, &[], None, &mut |id, _| {
            each("id:", id);
            Ok(ControlFlow::Continue(()))
        })?;
    } else {
        today.scan_path(place, folder, &[], None, &mut |suffix, _| {
            each("then:", suffix);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    keys.sort_unstable();
    Ok(keys)
}

fn is_empty(today: &Snapshot, place: Place) -> Result<bool> {
    let mut empty = today.list(place, "")?.is_empty();
    if empty {
        today.scan(place, &[], None, &mut |_, _| {
            empty = false;
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(empty)
}
