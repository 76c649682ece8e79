//! The first kv: one secret per path, and what was there before is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::loose::Span;
use kit::{
    Command, Endpoint, Engine, Error, Exists, Name, Nothing, Query, Reading, Reads, Reply, Result, Route,
    Table, Writing, command, in_scan_order, query,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{Node, object_bytes};
use super::record::{Plain, Record, SECRETS};
use super::{secret, target};

/// Secrets at paths, each written over when it is written anew.
pub(crate) struct V1;

impl Engine for V1 {
    const NAME: &'static str = "kv";
    const ABOUT: &'static str = "Keeps secrets at paths of your choice.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, Read>(),
        command::<Self, Write>(),
        command::<Self, Delete>(),
        query::<Self, List>(),
        query::<Self, Scan>(),
        command::<Self, Ended>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// The same, with a lease for whoever reads, so that an operator sees who still has what. Each reading is a write.
pub(crate) struct Leased;

impl Engine for Leased {
    const NAME: &'static str = V1::NAME;
    const ABOUT: &'static str = V1::ABOUT;
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        command::<Self, Read>(),
        command::<Self, Write>(),
        command::<Self, Delete>(),
        query::<Self, List>(),
        query::<Self, Scan>(),
        command::<Self, Ended>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// The engines that keep one secret per path.
trait Keeps: Engine {}
impl Keeps for V1 {}
impl Keeps for Leased {}

/// Names only: where the records lie is what matters here.
const PATHS: Table<()> = Table::new(SECRETS);

/// Reads the secret at a path.
#[derive(Deserialize, JsonSchema)]
struct Read {
    /// Where the secret lies.
    path: String,
}

impl Query<V1> for Read {
    const ROUTE: Route = Route::get("{path*}");
    type Reply = BTreeMap<String, Node>;

    fn run(self, _: &V1, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let (data, good_for_seconds) = kept(&self.path, cx)?;
        cx.notes().advise(good_for_seconds.unwrap_or(cx.mount().default_ttl.as_secs()));
        Ok(Reply::Written(data))
    }
}

impl Command<Leased> for Read {
    const ROUTE: Route = Route::get("{path*}");
    type Reply = BTreeMap<String, Node>;

    fn run(self, _: &Leased, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let (data, good_for_seconds) = kept(&self.path, cx)?;
        let ttl = good_for_seconds.map_or(cx.mount().default_ttl, Duration::from_secs);
        cx.lease::<Leased, _>(ttl, None, &Ended {})?;
        Ok(Reply::Written(data))
    }
}

/// The secret at a path as it is written down, and for how many seconds its writer called it good.
fn kept(path: &str, cx: &impl Reads) -> Result<(Vec<u8>, Option<u64>)> {
    let path = secret(path).ok_or_else(Error::not_found)?;
    let bytes = cx.get(SECRETS, Name::Path(path))?.ok_or_else(Error::not_found)?;
    let Record::Plain(plain) = Record::parse(&bytes)? else {
        return Err(Error::internal("the mount holds versions and was opened as kv version 1"));
    };
    Ok((plain.data.to_vec(), plain.good_for_seconds))
}

/// Nothing is done when a lease ends: what was read cannot be taken back. Every kv ends them: a mount that no longer
/// gives leases out still has those that it gave.
#[derive(Deserialize, JsonSchema, Serialize)]
pub(super) struct Ended {}

impl<E: Engine> Command<E> for Ended {
    const ROUTE: Route = Route::internal("lease-ended");
    type Reply = Nothing;

    fn run(self, _: &E, _: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        Ok(Reply::Nothing)
    }
}

/// Writes the secret at a path, in place of what was there.
#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Where the secret lies.
    path: String,
    /// Any fields. A field `ttl`, or `lease`, tells readers how long to keep what they read.
    #[serde(rename = "*")]
    data: BTreeMap<String, Node>,
}

impl<E: Keeps> Command<E> for Write {
    const ROUTE: Route = Route::post("{path*}");
    const EXISTS: Option<Exists<E>> = Some(|_, path, cx| {
        let path = secret(path.get("path"));
        path.map_or(Ok(Some(false)), |path| Ok(Some(cx.get(SECRETS, Name::Path(path))?.is_some())))
    });
    type Reply = Nothing;

    fn run(self, _: &E, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let path = target(&self.path)?;
        if self.data.is_empty() {
            return Err(Error::invalid("missing data fields"));
        }
        let good_for_seconds = self.data.get("ttl").or_else(|| self.data.get("lease")).and_then(seconds);
        let data = object_bytes(&self.data)?;
        let plain = Plain { written: cx.now(), good_for_seconds, data: &data };
        cx.put(SECRETS, Name::Path(path), plain.bytes())?;
        Ok(Reply::Nothing)
    }
}

/// A duration as loose input has it; what reads as none says nothing.
fn seconds(value: &Node) -> Option<u64> {
    let Node::Leaf(text) = value else { return None };
    let span: Span = serde_json::from_str(text).ok()?;
    Some(span.duration().as_secs())
}

/// Deletes the secret at a path.
#[derive(Deserialize, JsonSchema)]
struct Delete {
    /// Where the secret lies.
    path: String,
}

impl<E: Keeps> Command<E> for Delete {
    const ROUTE: Route = Route::delete("{path*}");
    type Reply = Nothing;

    fn run(self, _: &E, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        if let Some(path) = secret(&self.path) {
            cx.delete(SECRETS, Name::Path(path))?;
        }
        Ok(Reply::Nothing)
    }
}

/// Lists what lies in a folder.
#[derive(Deserialize, JsonSchema)]
struct List {
    /// The folder; empty for the top.
    path: String,
}

/// Names.
#[derive(JsonSchema, Serialize)]
struct Keys {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

impl<E: Keeps> Query<E> for List {
    const ROUTE: Route = Route::list("{path*}");
    type Reply = Keys;

    fn run(self, _: &E, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = PATHS.list(cx, &self.path)?;
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys: keys.to_vec() }.into()) }
    }
}

/// Lists every secret below a folder.
#[derive(Deserialize, JsonSchema)]
struct Scan {
    /// The folder; empty for the top.
    path: String,
}

impl<E: Keeps> Query<E> for Scan {
    const ROUTE: Route = Route::scan("{path*}");
    type Reply = Keys;

    fn run(self, _: &E, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let mut keys = PATHS.walk(cx, &self.path)?;
        in_scan_order(&mut keys);
        Ok(Keys { keys }.into())
    }
}
