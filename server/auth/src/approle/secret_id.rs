use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use kit::loose::{Number, Span, Text, Texts};
use kit::{Command, Error, Fault, Query, Reading, Reads, Reply, Result, Route, Secret, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::role::{Role, networks, uses};
use super::sweep::Expire;
use super::{ACCESSORS, AppRole, Hasher, ID_SIZE_MAX, Place, RoleKey, SECRET_IDS, parse_uuid, uuid};
use crate::cidr;
use crate::listing::Keys;
use crate::token_params::seconds;

/// What is stored of a secret id: all but itself.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct SecretId {
    pub(super) accessor: String,
    /// How many logins it is still good for; nothing: any number.
    pub(super) uses_left: Option<u64>,
    pub(super) ttl_seconds: u64,
    pub(super) created: Time,
    pub(super) updated: Time,
    /// When it ends; 0: never.
    pub(super) expires: Time,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) cidr_list: Vec<String>,
    pub(super) token_bound_cidrs: Vec<String>,
}

impl SecretId {
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.expires.0 != 0 && self.expires <= now
    }
}

/// Forgets a secret id and its accessor.
pub(super) fn forget(cx: &mut Writing<'_>, place: Place, accessor: &str) -> Result<()> {
    SECRET_IDS.delete(cx, &place.bytes())?;
    parse_uuid(accessor).map_or(Ok(()), |accessor| ACCESSORS.delete(cx, &accessor))
}

/// The secret ids of a role, in the order of their hashes, until told to stop.
pub(super) fn each(
    cx: &impl Reads,
    role: RoleKey,
    mut each: impl FnMut(Place, SecretId) -> Result<ControlFlow<()>>,
) -> Result<()> {
    SECRET_IDS.scan(cx, &role, |id, secret| match Place::parse(id) {
        Some(place) if place.role == role => each(place, secret),
        _ => Ok(ControlFlow::Break(())),
    })
}

/// Makes a secret id for a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Create {
    /// Which role.
    role_name: String,
    /// Blocks of addresses from which it can be used, within those of the role; empty: as the role says.
    #[serde(default)]
    cidr_list: Option<Texts>,
    /// What its tokens carry: a JSON object of strings, as text.
    #[serde(default)]
    metadata: Option<Text>,
    /// How many logins it is good for, at most what the role says; 0: any number.
    #[serde(default)]
    num_uses: Option<Number>,
    /// Blocks of addresses from which its tokens may be used, within those of the role.
    #[serde(default)]
    token_bound_cidrs: Option<Texts>,
    /// How long it is good, at most what the role says; 0: for ever.
    #[serde(default)]
    ttl: Option<Span>,
}

/// Takes a secret id that the caller chose.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateCustom {
    /// Which role.
    role_name: String,
    /// The secret id.
    #[serde(default)]
    secret_id: Option<Secret<String>>,
    /// Blocks of addresses from which it can be used, within those of the role; empty: as the role says.
    #[serde(default)]
    cidr_list: Option<Texts>,
    /// What its tokens carry: a JSON object of strings, as text.
    #[serde(default)]
    metadata: Option<Text>,
    /// How many logins it is good for, at most what the role says; 0: any number.
    #[serde(default)]
    num_uses: Option<Number>,
    /// Blocks of addresses from which its tokens may be used, within those of the role.
    #[serde(default)]
    token_bound_cidrs: Option<Texts>,
    /// How long it is good, at most what the role says; 0: for ever.
    #[serde(default)]
    ttl: Option<Span>,
}

/// A secret id. It is shown this once.
#[derive(JsonSchema, Serialize)]
pub(super) struct Made {
    secret_id: Secret<String>,
    secret_id_accessor: String,
    secret_id_num_uses: u64,
    secret_id_ttl: u64,
}

impl Command<AppRole> for Create {
    const ROUTE: Route = Route::post("role/{role_name:lower}/secret-id");
    type Reply = Made;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        let secret_id = Secret::new(uuid(cx));
        make(cx, secret_id, self)
    }
}

impl Command<AppRole> for CreateCustom {
    const ROUTE: Route = Route::post("role/{role_name:lower}/custom-secret-id");
    type Reply = Made;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Made>> {
        let secret_id = self.secret_id.filter(|secret_id| !secret_id.expose().is_empty());
        let secret_id = secret_id.ok_or_else(|| Error::invalid("missing secret_id"))?;
        if secret_id.expose().len() > ID_SIZE_MAX {
            let text = format!("secret_id is longer than {ID_SIZE_MAX} bytes: choose a shorter one");
            return Err(Error::invalid(text));
        }
        let Self { role_name, cidr_list, metadata, num_uses, token_bound_cidrs, ttl, .. } = self;
        make(cx, secret_id, Create { role_name, cidr_list, metadata, num_uses, token_bound_cidrs, ttl })
    }
}

fn make(cx: &mut Writing<'_>, secret_id: Secret<String>, wish: Create) -> Result<Reply<Made>> {
    let role = super::role(cx, &wish.role_name, |text| Error::new(Fault::NotFound, text))?;
    let made = judge(cx, &role, wish)?;
    let place = Hasher::make(cx)?.secret_id(role.key, secret_id.expose());
    if let Some(known) = SECRET_IDS.get(cx, &place.bytes())? {
        if !known.is_over(cx.now()) {
            return Err(Error::listed("failed to store secret_id: SecretID is already registered"));
        }
        forget(cx, place, &known.accessor)?;
    }
    SECRET_IDS.put(cx, &place.bytes(), &made)?;
    let accessor = parse_uuid(&made.accessor).ok_or_else(|| Error::internal("an accessor is no UUID"))?;
    ACCESSORS.put(cx, &accessor, &place)?;
    if made.expires.0 != 0 {
        cx.later(cx.now().until(made.expires), &Expire { place })?;
    }
    cx.notes().wrapped_accessor(made.accessor.as_str());
    let made = Made {
        secret_id,
        secret_id_accessor: made.accessor,
        secret_id_num_uses: made.uses_left.unwrap_or(0),
        secret_id_ttl: made.ttl_seconds,
    };
    Ok(made.into())
}

/// What a role allows of what is wished.
fn judge(cx: &Writing<'_>, role: &Role, wish: Create) -> Result<SecretId> {
    if !role.bind_secret_id {
        return Err(Error::invalid("bind_secret_id is not set on the role"));
    }
    let cidr_list = wish.cidr_list.map_or(Ok(Vec::new()), |blocks| networks(&blocks, Error::listed))?;
    let token_refusal = |text: String| Error::listed(text.replacen("CIDR", "token CIDR", 1));
    let token_blocks = wish.token_bound_cidrs;
    let token_bound_cidrs = token_blocks.map_or(Ok(Vec::new()), |blocks| networks(&blocks, token_refusal))?;
    check_within(&cidr_list, &role.secret_id_bound_cidrs)?;
    check_within(&token_bound_cidrs, &role.token.token_bound_cidrs)?;
    let num_uses = wish.num_uses.map_or(Ok(role.secret_id_num_uses), |number| uses("num_uses", number))?;
    if role.secret_id_num_uses != 0 && (num_uses == 0 || num_uses > role.secret_id_num_uses) {
        return Err(Error::invalid("num_uses cannot be higher than the role's secret_id_num_uses"));
    }
    let refusal = |error: Error| Error::invalid(format!("Field validation failed: {error}"));
    let ttl = wish.ttl.map_or(Ok(role.secret_id_ttl), |span| seconds("ttl", span).map_err(refusal))?;
    if role.secret_id_ttl != 0 && (ttl == 0 || ttl > role.secret_id_ttl) {
        return Err(Error::invalid("ttl cannot be longer than the role's secret_id_ttl"));
    }
    let ttl = ttl.min(cx.mount().max_ttl.as_secs());
    let now = cx.now();
    Ok(SecretId {
        accessor: uuid(cx),
        uses_left: Some(num_uses).filter(|uses| *uses != 0),
        ttl_seconds: ttl,
        created: now,
        updated: now,
        expires: if ttl == 0 { Time(0) } else { now.plus(Duration::from_secs(ttl)) },
        metadata: parse_metadata(&wish.metadata.unwrap_or_default().0)?,
        cidr_list,
        token_bound_cidrs,
    })
}

/// Blocks of a secret id lie within those of its role.
pub(super) fn check_within(own: &[String], role: &[String]) -> Result<()> {
    if own.is_empty() || role.is_empty() || cidr::all_within(own, role) {
        return Ok(());
    }
    Err(Error::listed(format!(
        "failed to verify subset relationship between CIDR blocks on the role {role:?} and CIDR blocks on the secret \
         ID {own:?}"
    )))
}

/// A JSON object of strings, a JSON list of `key=value`, or `key=value,…`.
fn parse_metadata(text: &str) -> Result<BTreeMap<String, String>> {
    let wrong =
        || Error::invalid("failed to parse metadata: failed to parse the input: invalid <key,value> format");
    let text = text.trim();
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    if let Ok(map) = serde_json::from_str(text) {
        return Ok(map);
    }
    let items: Vec<String> = match serde_json::from_str(text) {
        Ok(items) => items,
        Err(_) => text.split(',').map(str::to_owned).collect(),
    };
    let pair = |item: &String| {
        let (key, value) = item.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    items.iter().map(|item| pair(item).ok_or_else(wrong)).collect()
}

/// Lists the accessors of a role's secret ids.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Which role.
    role_name: String,
    /// Begins after this accessor.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<AppRole> for List {
    const ROUTE: Route = Route::list("role/{role_name:lower}/secret-id");
    type Reply = Keys;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let role = super::role(cx, &self.role_name, Error::invalid)?;
        let mut accessors = Vec::new();
        each(cx, role.key, |_, secret| {
            if !secret.is_over(cx.now()) {
                accessors.push(secret.accessor);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        accessors.sort_unstable();
        Keys::page(&accessors, self.after.as_ref(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&[(&str, &str)]>) {
        let pairs =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse_metadata(text).ok(), expect.map(pairs), "{text}");
    }

    #[test]
    fn metadata_has_three_forms() {
        check("", Some(&[]));
        check("{}", Some(&[]));
        check(r#"{"a":"1","b":"<"}"#, Some(&[("a", "1"), ("b", "<")]));
        check(r#"["a=b"]"#, Some(&[("a", "b")]));
        check("a=b,c=d=e", Some(&[("a", "b"), ("c", "d=e")]));
        check("x", None);
        check(r#"{"a":1}"#, None);
    }
}
