use kit::loose::Text;
use kit::{Beyond, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Token, named};
use crate::tokens::{self, TokenRecord};

/// How many accessors a list shows.
const ACCESSORS_MAX: usize = 1_000_000;

/// Shows the token that asks.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Own {}

impl Query<Token> for Own {
    const ROUTE: Route = Route::get("lookup-self");
    type Reply = Map<String, Value>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        own(token, cx)
    }
}

/// Shows the token that asks.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct OwnPosted {
    /// Of no account; older clients send it.
    #[serde(rename = "token")]
    _token: Option<Secret<String>>,
}

impl Query<Token> for OwnPosted {
    const ROUTE: Route = Route::post("lookup-self");
    type Reply = Map<String, Value>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        own(token, cx)
    }
}

fn own(token: &Token, cx: &Reading<'_>) -> Result<Reply<Map<String, Value>>> {
    let beyond = Beyond::for_the_kernel();
    let id = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?;
    let (_, record) = named(&*token.kernel()?, cx.beyond(&beyond), id.expose())?.ok_or_else(Error::denied)?;
    Ok(shown(&record, id.expose(), cx).into())
}

/// Shows a token.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Other {
    /// The token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Query<Token> for Other {
    const ROUTE: Route = Route::get("lookup");
    type Reply = Map<String, Value>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        other(token, cx, self.token)
    }
}

/// Shows a token.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct OtherPosted {
    /// The token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Query<Token> for OtherPosted {
    const ROUTE: Route = Route::post("lookup");
    type Reply = Map<String, Value>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        other(token, cx, self.token)
    }
}

fn other(token: &Token, cx: &Reading<'_>, id: Option<Secret<String>>) -> Result<Reply<Map<String, Value>>> {
    let Some(id) = id.filter(|id| !id.expose().is_empty()) else { return own(token, cx) };
    let kernel = token.kernel()?;
    let found = named(&kernel, cx.beyond(&Beyond::for_the_kernel()), id.expose())?;
    let bad = || Error::new(Fault::Denied, "bad token");
    let (_, record) = found.filter(|(_, record)| lives(record, cx)).ok_or_else(bad)?;
    Ok(shown(&record, id.expose(), cx).into())
}

/// Shows the token that an accessor stands for, without its id.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ByAccessor {
    /// The accessor.
    accessor: Option<Text>,
}

impl Query<Token> for ByAccessor {
    const ROUTE: Route = Route::post("lookup-accessor");
    type Reply = Map<String, Value>;

    fn run(self, _: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let accessor = self.accessor.unwrap_or_default().0;
        if accessor.is_empty() {
            return Err(Error::invalid("missing accessor").wrapped());
        }
        let found = tokens::find_accessor(cx.beyond(&Beyond::for_the_kernel()), &accessor)?;
        let invalid = || Error::invalid("invalid accessor").wrapped();
        let (_, record) = found.filter(|(_, record)| lives(record, cx)).ok_or_else(invalid)?;
        Ok(shown(&record, "", cx).into())
    }
}

/// Lists the accessors of all tokens.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Accessors {}

#[derive(JsonSchema, Serialize)]
pub(crate) struct Keys {
    keys: Vec<String>,
}

impl Query<Token> for Accessors {
    const ROUTE: Route = Route::list("accessors").sudo();
    type Reply = Keys;

    fn run(self, _: &Token, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = tokens::accessors(cx.beyond(&Beyond::for_the_kernel()), ACCESSORS_MAX)?;
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

fn lives(record: &TokenRecord, cx: &Reading<'_>) -> bool {
    record.expires.is_none_or(|expires| expires > cx.now()) && record.uses_left != Some(0)
}

/// Everything about a token that may be seen.
fn shown(record: &TokenRecord, id: &str, cx: &Reading<'_>) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("accessor", record.accessor.as_str().into());
    put("creation_time", record.created.seconds().into());
    put("creation_ttl", record.ttl_seconds.into());
    put("display_name", record.display_name.as_str().into());
    put("entity_id", record.entity_id.as_str().into());
    put("expire_time", record.expires.map_or(Value::Null, |expires| expires.rfc3339().into()));
    put("explicit_max_ttl", record.explicit_max_ttl_seconds.into());
    put("id", id.into());
    put("meta", json!(record.meta));
    put("num_uses", record.uses_left.unwrap_or(0).into());
    put("orphan", record.parent.is_none().into());
    put("path", record.path.as_str().into());
    put("policies", json!(record.policies));
    put("ttl", record.left(cx.now()).as_secs().into());
    put("type", if record.batch { "batch" } else { "service" }.into());
    if record.expires.is_some() || record.parent.is_some() {
        put("issue_time", record.created.rfc3339().into());
        put("renewable", record.renewable.into());
    }
    if let Some(renewed) = record.renewed {
        put("last_renewal", renewed.rfc3339().into());
        put("last_renewal_time", renewed.seconds().into());
    }
    if record.period_seconds > 0 {
        put("period", record.period_seconds.into());
    }
    if !record.role.is_empty() {
        put("role", record.role.as_str().into());
    }
    if !record.bound_cidrs.is_empty() {
        put("bound_cidrs", record.bound_cidrs.iter().map(|cidr| cidr.trim_end_matches("/32")).collect());
    }
    shown
}
