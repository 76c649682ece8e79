use std::collections::BTreeMap;

use kit::loose::Text;
use kit::{Beyond, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Secret, Time};
use policy::Capability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Deed, Token, named};
use crate::identity;
use crate::namespaces::{self, Ns};
use crate::tokens::{self, TokenRecord, Uses};

/// How many accessors a list shows.
const ACCESSORS_MAX: usize = 1_000_000;

/// Shows the token that asks.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Own {}

impl Query<Token> for Own {
    const ROUTE: Route = Route::get("lookup-self");
    type Reply = Shown<'static>;

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
    type Reply = Shown<'static>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        own(token, cx)
    }
}

fn own(token: &Token, cx: &Reading<'_>) -> Result<Reply<Shown<'static>>> {
    let beyond = Beyond::for_the_kernel();
    let id = cx.remote().token.token(&beyond).ok_or_else(Error::denied)?;
    let kernel = token.kernel()?;
    let today = cx.beyond(&beyond);
    // The kernel has just identified it, so its record is at hand.
    let known =
        kernel.tokens.identify(id.expose(), &kernel.store, today, cx.now(), cx.remote(), Uses::Spent)?;
    let record = &known.value().record;
    // The token of a request that brought its login along stays here.
    let id = if record.transient { "" } else { id.expose() };
    shown(record, id, cx)
}

/// Shows a token.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Other {
    /// The token; the one that asks, if left out.
    token: Option<Secret<String>>,
}

impl Query<Token> for Other {
    const ROUTE: Route = Route::get("lookup");
    type Reply = Shown<'static>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        other(token, cx, self.token, Capability::Read)
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
    type Reply = Shown<'static>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        other(token, cx, self.token, Capability::Update)
    }
}

fn other(
    token: &Token,
    cx: &Reading<'_>,
    id: Option<Secret<String>>,
    capability: Capability,
) -> Result<Reply<Shown<'static>>> {
    let Some(id) = id.filter(|id| !id.expose().is_empty()) else { return own(token, cx) };
    let kernel = token.kernel()?;
    let today = cx.beyond(&Beyond::for_the_kernel());
    let deed = Deed { path: "auth/token/lookup", capability, needs_sudo: false };
    let found = named(&kernel, cx, today, today, id.expose(), &deed)?;
    let bad = || Error::new(Fault::Denied, "bad token");
    let (_, record) = found.filter(|(_, record)| lives(record, cx)).ok_or_else(bad)?;
    shown(&record, id.expose(), cx)
}

/// Shows the token that an accessor stands for, without its id.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ByAccessor {
    /// The accessor.
    accessor: Option<Text>,
}

impl Query<Token> for ByAccessor {
    const ROUTE: Route = Route::post("lookup-accessor");
    type Reply = Shown<'static>;

    fn run(self, token: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let accessor = self.accessor.unwrap_or_default().0;
        if accessor.is_empty() {
            return Err(Error::invalid("missing accessor").wrapped());
        }
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let router = token.kernel()?.router(snapshot)?;
        let found = tokens::find_accessor(snapshot, &router.value().here(cx)?.namespace, &accessor)?;
        let invalid = || Error::invalid("invalid accessor").wrapped();
        let (_, record) = found.filter(|(_, record)| lives(record, cx)).ok_or_else(invalid)?;
        shown(&record, "", cx)
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
        let keys = tokens::accessors(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), ACCESSORS_MAX)?;
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

fn lives(record: &TokenRecord, cx: &Reading<'_>) -> bool {
    record.expires.is_none_or(|expires| expires > cx.now()) && record.uses_left != Some(0)
}

/// Everything about a token that may be seen.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Shown<'a> {
    accessor: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bound_cidrs: Vec<&'a str>,
    creation_time: u64,
    creation_ttl: u64,
    display_name: &'a str,
    entity_id: &'a str,
    expire_time: Option<String>,
    explicit_max_ttl: u64,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_namespace_policies: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identity_policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issue_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_renewal_time: Option<u64>,
    meta: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace_path: String,
    num_uses: i64,
    orphan: bool,
    path: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    period: u64,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    renewable: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    role: &'a str,
    ttl: u64,
    #[serde(rename = "type")]
    kind: &'static str,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How often it can be used: 0 for any number of times, -1 for one whose last use this is.
fn uses(record: &TokenRecord) -> i64 {
    match record.uses_left {
        None => 0,
        Some(0) => -1,
        Some(left) => i64::try_from(left).unwrap_or(i64::MAX),
    }
}

/// Writes down what may be seen. Clients ask this all day, so it is written straight from the record.
fn shown(record: &TokenRecord, id: &str, cx: &Reading<'_>) -> Result<Reply<Shown<'static>>> {
    let ends = record.expires.is_some() || record.parent.is_some();
    let identity_policies = identity::shown_policies(cx.beyond(&Beyond::for_the_kernel()), record)?;
    let namespace = namespaces::living(cx.beyond(&Beyond::for_the_kernel()), record.namespace)?;
    let namespace = namespace.ok_or_else(|| Error::new(Fault::Denied, "bad token").wrapped())?;
    let shown = Shown {
        accessor: &record.accessor,
        bound_cidrs: record.bound_cidrs.iter().map(|cidr| cidr.trim_end_matches("/32")).collect(),
        creation_time: record.created.seconds(),
        creation_ttl: record.ttl_seconds,
        display_name: &record.display_name,
        entity_id: &record.entity_id,
        expire_time: record.expires.map(Time::rfc3339),
        explicit_max_ttl: record.explicit_max_ttl_seconds,
        external_namespace_policies: (!identity_policies.is_empty()).then(BTreeMap::new),
        identity_policies,
        id,
        issue_time: ends.then(|| record.created.rfc3339()),
        last_renewal: record.renewed.map(Time::rfc3339),
        last_renewal_time: record.renewed.map(Time::seconds),
        meta: record.meta.as_ref(),
        namespace_path: namespace.path,
        num_uses: uses(record),
        orphan: record.parent.is_none(),
        path: &record.path,
        period: record.period_seconds,
        policies: &record.policies,
        renewable: ends.then_some(record.renewable),
        role: &record.role,
        ttl: record.left(cx.now()).as_secs(),
        kind: if record.batch { "batch" } else { "service" },
    };
    Ok(Reply::Written(serde_json::to_vec(&shown)?))
}
