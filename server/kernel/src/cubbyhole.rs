use kit::{
    Beyond, Command, Endpoint, Engine, Error, Exists, Query, Reading, Reads, Reply, Result, Route, Table,
    TokenKind, Writing,
};
use kit::{command, query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::drawers;
use crate::namespaces::Ns;
use crate::tokens::{self, TokenHash};

/// A private drawer for each token. It is emptied when the token dies. It lives in the kernel, because what a
/// token wraps lies in it too.
pub(crate) struct Cubbyhole;

/// The drawers: the token's drawer, then the path in it.
const DRAWERS: Table<Map<String, Value>> = Table::new(TABLE);
pub(crate) const TABLE: u8 = 1;

/// For clients that unwrap as they did before there was `sys/wrapping/unwrap`.
const OLD_UNWRAP: &str = "Reading from 'cubbyhole/response' is deprecated. Please use sys/wrapping/unwrap to unwrap \
                          responses, as it provides additional security checks and other benefits.";

impl Engine for Cubbyhole {
    const NAME: &'static str = "cubbyhole";
    const ABOUT: &'static str = "A private drawer for each token, emptied when the token dies.";
    const ENDPOINTS: &'static [Endpoint<Self>] =
        &[query::<_, Get>(), query::<_, List>(), command::<_, Put>(), command::<_, Delete>()];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// Reads what lies at this path of the caller's drawer.
#[derive(Deserialize, JsonSchema)]
struct Get {
    path: String,
}

impl Query<Cubbyhole> for Get {
    const ROUTE: Route = Route::get("{path*}");
    type Reply = Map<String, Value>;

    fn run(self, _: &Cubbyhole, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        if is_folder(&self.path) {
            return Err(Error::not_found());
        }
        let held = DRAWERS.get(cx, &own(cx, named(&self.path)?)?)?.ok_or_else(Error::not_found)?;
        if self.path == "response" && DRAWERS.has(cx, &own(cx, "wrapinfo")?)? {
            cx.warn(OLD_UNWRAP);
        }
        Ok(held.into())
    }
}

#[derive(JsonSchema, Serialize)]
struct Keys {
    keys: Vec<String>,
}

/// Lists the names below this path of the caller's drawer.
#[derive(Deserialize, JsonSchema)]
struct List {
    path: String,
}

impl Query<Cubbyhole> for List {
    const ROUTE: Route = Route::list("{path*}");
    type Reply = Keys;

    fn run(self, _: &Cubbyhole, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        keys(DRAWERS.list(cx, &own(cx, &self.path)?)?.to_vec())
    }
}

fn keys(keys: Vec<String>) -> Result<Reply<Keys>> {
    if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
}

/// Puts the body at this path of the caller's drawer, in place of what was there.
#[derive(Deserialize, JsonSchema)]
struct Put {
    path: String,
    #[serde(rename = "*")]
    data: Map<String, Value>,
}

impl Command<Cubbyhole> for Put {
    const ROUTE: Route = Route::post("{path*}");
    const EXISTS: Option<Exists<Cubbyhole>> = Some(|_, path, cx| {
        let Ok(path) = own(cx, path.get("path")) else { return Ok(Some(false)) };
        DRAWERS.has(cx, &path).map(Some)
    });
    type Reply = kit::Nothing;

    fn run(self, _: &Cubbyhole, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        if self.data.is_empty() {
            return Err(Error::listed("missing data fields"));
        }
        note_drawer(cx)?;
        DRAWERS.put(cx, &own(cx, named(&self.path)?)?, &self.data)?;
        Ok(Reply::Nothing)
    }
}

/// Empties this path of the caller's drawer.
#[derive(Deserialize, JsonSchema)]
struct Delete {
    path: String,
}

impl Command<Cubbyhole> for Delete {
    const ROUTE: Route = Route::delete("{path*}");
    type Reply = kit::Nothing;

    fn run(self, _: &Cubbyhole, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let path = own(cx, named(&self.path)?)?;
        if !is_folder(&self.path) {
            DRAWERS.delete(cx, &path)?;
        }
        Ok(Reply::Nothing)
    }
}

/// A token may have drawers in the namespaces beneath its own. They are noted, to be emptied when it dies.
fn note_drawer(cx: &mut Writing<'_>) -> Result<()> {
    let (beyond, here) = (Beyond::for_the_kernel(), Ns::of(cx));
    let Some(hash) = TokenHash::of_drawer(&cx.caller().drawer).filter(|_| !here.is_root()) else {
        return Ok(());
    };
    match tokens::find(cx.peek(&beyond), hash)? {
        Some(record) if record.namespace != here => drawers::note(cx.beyond(&beyond), hash, here),
        _ => Ok(()),
    }
}

/// A drawer itself holds nothing; only what has a name in it does.
fn named(path: &str) -> Result<&str> {
    if path.is_empty() { Err(Error::listed("missing path")) } else { Ok(path) }
}

/// A folder holds nothing either, and is not what is named like it: the two are judged apart.
fn is_folder(path: &str) -> bool {
    path.ends_with('/')
}

fn own(cx: &impl Reads, path: &str) -> Result<String> {
    let caller = cx.caller();
    if caller.kind != TokenKind::Service || caller.drawer.is_empty() {
        return Err(Error::invalid("cubbyhole operations are only supported by 'service' type tokens"));
    }
    let path = path.trim_matches('/');
    Ok(if path.is_empty() { caller.drawer.clone() } else { format!("{}/{path}", caller.drawer) })
}
