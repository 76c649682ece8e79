use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::loose::{Flag, Moment, Number, Span};
use kit::{Beyond, Command, Error, Query, Reading, Reads, Reply, Result, Route, Time, Writing};
use policy::{Policy, builtin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sys;
use crate::namespaces::Ns;
use crate::policies::{self, StoredPolicy};
use crate::shelf::Source;

/// A policy as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct PolicyShown {
    allow_slashes_in_identity_templates: bool,
    allow_wildcards_in_identity_templates: bool,
    cas_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// What `policy` was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    version: u64,
}

impl PolicyShown {
    fn of(name: &str, stored: StoredPolicy) -> Self {
        Self {
            allow_slashes_in_identity_templates: stored.allow_slashes_in_identity_templates,
            allow_wildcards_in_identity_templates: stored.allow_wildcards_in_identity_templates,
            cas_required: stored.cas_required,
            expiration: stored.expiration.map(Time::rfc3339),
            modified: (stored.modified != Time(0)).then(|| stored.modified.rfc3339()),
            name: name.to_owned(),
            policy: Some(stored.text),
            rules: None,
            version: stored.version,
        }
    }
}

/// The stored policy of a name, if it can be seen.
fn find(source: &impl Source, ns: Ns, name: &str) -> Result<StoredPolicy> {
    let hidden = name == builtin::CONTROL_GROUP;
    let found = policies::find(source, ns, name)?.filter(|_| !hidden).ok_or_else(Error::not_found)?;
    // It was never written, and is not the first that clients see of it.
    let version = if name == builtin::RESPONSE_WRAPPING { 1 } else { found.version };
    Ok(StoredPolicy { version, ..found })
}

/// Shows a policy.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Get {
    /// The name of the policy.
    name: String,
}

impl Query<Sys> for Get {
    const ROUTE: Route = Route::get("policies/acl/{name:lower+}");
    type Reply = PolicyShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<PolicyShown>> {
        let name = lower(&self.name);
        Ok(PolicyShown::of(&name, find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &name)?).into())
    }
}

/// Shows a policy, its text under the name that it had in early versions.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyGet {
    /// The name of the policy.
    name: String,
}

impl Query<Sys> for LegacyGet {
    const ROUTE: Route = Route::get("policy/{name:lower+}").merged();
    type Reply = PolicyShown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<PolicyShown>> {
        let name = lower(&self.name);
        let shown = PolicyShown::of(&name, find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &name)?);
        Ok(PolicyShown { rules: shown.policy, policy: None, ..shown }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Keys {
    keys: Vec<String>,
}

/// Lists the names of policies, those below a prefix if one is given.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// The folder to list.
    prefix: String,
}

impl Query<Sys> for List {
    const ROUTE: Route = Route::list("policies/acl/{prefix*}");
    type Reply = Keys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Ok(Keys { keys: names(cx, &self.prefix)? }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct LegacyKeys {
    keys: Vec<String>,
    policies: Vec<String>,
}

/// Lists the names of policies.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyList {
    /// The folder to list.
    prefix: String,
}

impl Query<Sys> for LegacyList {
    const ROUTE: Route = Route::list("policy/{prefix*}").merged();
    type Reply = LegacyKeys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<LegacyKeys>> {
        let keys = names(cx, &self.prefix)?;
        Ok(LegacyKeys { policies: keys.clone(), keys }.into())
    }
}

/// Lists the names of policies.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyAll {}

impl Query<Sys> for LegacyAll {
    const ROUTE: Route = Route::get("policy").or_folder().merged();
    type Reply = LegacyKeys;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<LegacyKeys>> {
        let keys = names(cx, "")?;
        Ok(LegacyKeys { policies: keys.clone(), keys }.into())
    }
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Detailed {
    key_info: BTreeMap<String, PolicyShown>,
    keys: Vec<String>,
}

/// Lists policies together with what they say.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListDetailed {
    /// The folder to list.
    prefix: String,
}

impl Query<Sys> for ListDetailed {
    const ROUTE: Route = Route::list("policies/detailed/acl/{prefix*}");
    type Reply = Detailed;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Detailed>> {
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let keys = names(cx, &self.prefix)?;
        let mut key_info = BTreeMap::new();
        for name in &keys {
            if let Some(stored) = policies::find(snapshot, Ns::of(cx), name)? {
                key_info.insert(name.clone(), PolicyShown::of(name, stored));
            }
        }
        Ok(Detailed { key_info, keys }.into())
    }
}

fn names(cx: &Reading<'_>, prefix: &str) -> Result<Vec<String>> {
    let folder = lower(prefix);
    let names = policies::names(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), folder.trim_matches('/'))?;
    if names.is_empty() { Err(Error::not_found()) } else { Ok(names) }
}

/// What a request says of a policy.
#[derive(Default)]
struct Wish {
    text: Option<String>,
    cas: Option<Number>,
    cas_required: Option<Flag>,
    expiration: Option<Moment>,
    ttl: Option<Span>,
    slashes: Option<Flag>,
    wildcards: Option<Flag>,
}

/// Writes a policy, in place of the one that has the name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Put {
    /// The name of the policy. It is put in lower case.
    name: String,
    /// The rules, in HCL or JSON, or either in base64.
    policy: Option<String>,
    /// The version that is replaced; -1 or 0: the policy is new.
    cas: Option<Number>,
    /// Later writes must name the version that they replace.
    cas_required: Option<Flag>,
    /// When the policy ceases to grant anything.
    expiration: Option<Moment>,
    /// After how long the policy ceases to grant anything.
    ttl: Option<Span>,
    /// Values that are filled into paths may hold slashes.
    allow_slashes_in_identity_templates: Option<Flag>,
    /// Values that are filled into paths may hold `*` and `+`.
    allow_wildcards_in_identity_templates: Option<Flag>,
}

impl Command<Sys> for Put {
    const ROUTE: Route = Route::post("policies/acl/{name:lower+}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let wish = Wish {
            text: self.policy,
            cas: self.cas,
            cas_required: self.cas_required,
            expiration: self.expiration,
            ttl: self.ttl,
            slashes: self.allow_slashes_in_identity_templates,
            wildcards: self.allow_wildcards_in_identity_templates,
        };
        write(cx, &lower(&self.name), wish, StoredPolicy::default())?;
        Ok(Reply::Nothing)
    }
}

/// Writes a policy, its text under either name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyPut {
    /// The name of the policy. It is put in lower case.
    name: String,
    /// The rules, in HCL or JSON, or either in base64.
    policy: Option<String>,
    /// What `policy` was called.
    rules: Option<String>,
    /// The version that is replaced; -1 or 0: the policy is new.
    cas: Option<Number>,
    /// Later writes must name the version that they replace.
    cas_required: Option<Flag>,
    /// When the policy ceases to grant anything.
    expiration: Option<Moment>,
    /// After how long the policy ceases to grant anything.
    ttl: Option<Span>,
    /// Values that are filled into paths may hold slashes.
    allow_slashes_in_identity_templates: Option<Flag>,
    /// Values that are filled into paths may hold `*` and `+`.
    allow_wildcards_in_identity_templates: Option<Flag>,
}

impl Command<Sys> for LegacyPut {
    const ROUTE: Route = Route::post("policy/{name:lower+}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let given = self.policy.filter(|text| !text.is_empty());
        if given.is_none() && self.rules.is_some() {
            cx.warn("'rules' is deprecated, please use 'policy' instead");
        }
        let wish = Wish {
            text: given.or(self.rules),
            cas: self.cas,
            cas_required: self.cas_required,
            expiration: self.expiration,
            ttl: self.ttl,
            slashes: self.allow_slashes_in_identity_templates,
            wildcards: self.allow_wildcards_in_identity_templates,
        };
        write(cx, &lower(&self.name), wish, StoredPolicy::default())?;
        Ok(Reply::Nothing)
    }
}

/// Changes parts of a policy. What is not named stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Patch {
    /// The name of the policy.
    name: String,
    /// The rules, in HCL or JSON, or either in base64.
    policy: Option<String>,
    /// The version that is replaced.
    cas: Option<Number>,
    /// Later writes must name the version that they replace.
    cas_required: Option<Flag>,
    /// When the policy ceases to grant anything.
    expiration: Option<Moment>,
    /// After how long the policy ceases to grant anything.
    ttl: Option<Span>,
    /// Values that are filled into paths may hold slashes.
    allow_slashes_in_identity_templates: Option<Flag>,
    /// Values that are filled into paths may hold `*` and `+`.
    allow_wildcards_in_identity_templates: Option<Flag>,
}

impl Command<Sys> for Patch {
    const ROUTE: Route = Route::patch("policies/acl/{name:lower+}").logged();
    type Reply = Option<()>;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let name = lower(&self.name);
        refuse_fixed("update", &name)?;
        let stored = policies::find(cx.peek(&Beyond::for_the_kernel()), Ns::of(cx), &name)?;
        let stored = stored.ok_or_else(|| Error::invalid("policy not found"))?;
        let wish = Wish {
            text: Some(self.policy.unwrap_or_else(|| stored.text.clone())),
            cas: self.cas,
            cas_required: self.cas_required,
            expiration: self.expiration,
            ttl: self.ttl,
            slashes: self.allow_slashes_in_identity_templates,
            wildcards: self.allow_wildcards_in_identity_templates,
        };
        write(cx, &name, wish, stored)?;
        Ok(Reply::Data(None))
    }
}

/// Deletes a policy. Tokens that carry it are left with their others.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// The name of the policy.
    name: String,
}

impl Command<Sys> for Delete {
    const ROUTE: Route = Route::delete("policies/acl/{name:lower+}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        delete(cx, &self.name)
    }
}

/// Deletes a policy. Tokens that carry it are left with their others.
#[derive(Deserialize, JsonSchema)]
pub(super) struct LegacyDelete {
    /// The name of the policy.
    name: String,
}

impl Command<Sys> for LegacyDelete {
    const ROUTE: Route = Route::delete("policy/{name:lower+}").logged();
    type Reply = kit::Nothing;

    fn run(self, _: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        delete(cx, &self.name)
    }
}

fn delete(cx: &mut Writing<'_>, name: &str) -> Result<Reply<kit::Nothing>> {
    let name = lower(name);
    if name == builtin::DEFAULT {
        return Err(Error::invalid("cannot delete default policy"));
    }
    refuse_fixed("delete", &name)?;
    let ns = Ns::of(cx);
    policies::delete(cx.beyond(&Beyond::for_the_kernel()), ns, &name)?;
    Ok(Reply::Nothing)
}

/// Writes what is wished for; what the wish leaves open is as in `base`.
fn write(cx: &mut Writing<'_>, name: &str, wish: Wish, base: StoredPolicy) -> Result<()> {
    let beyond = Beyond::for_the_kernel();
    refuse_fixed("update", name)?;
    let text = wish.text.unwrap_or_default();
    if text.is_empty() {
        return Err(Error::invalid("'policy' parameter not supplied or empty"));
    }
    let text = decoded(text);
    Policy::parse(name, &text).map_err(|error| Error::invalid(error.to_string()))?;
    let stored = policies::find(cx.peek(&beyond), Ns::of(cx), name)?;
    let version = stored.as_ref().map_or(0, |stored| stored.version);
    let cas_required = wish.cas_required.map_or(base.cas_required, |Flag(flag)| flag);
    match wish.cas {
        Some(Number(-1)) if stored.is_none() => {}
        Some(Number(cas)) if u64::try_from(cas) != Ok(version) => {
            let text = format!("check-and-set parameter {cas} did not match the current version {version}");
            return Err(Error::invalid(text));
        }
        // A patch may begin to ask for it; what it changes says whether it must name a version itself.
        None if (cas_required && base.version == 0) || stored.is_some_and(|stored| stored.cas_required) => {
            return Err(Error::invalid("check-and-set parameter required for this call"));
        }
        _ => {}
    }
    let now = cx.now();
    let policy = StoredPolicy {
        text,
        version: version + 1,
        modified: now,
        cas_required,
        expiration: expiration(wish.expiration, wish.ttl, now)?.or(base.expiration),
        allow_slashes_in_identity_templates: wish
            .slashes
            .map_or(base.allow_slashes_in_identity_templates, |Flag(flag)| flag),
        allow_wildcards_in_identity_templates: wish
            .wildcards
            .map_or(base.allow_wildcards_in_identity_templates, |Flag(flag)| flag),
    };
    let ns = Ns::of(cx);
    policies::put(cx.beyond(&beyond), ns, name, &policy)
}

fn expiration(at: Option<Moment>, ttl: Option<Span>, now: Time) -> Result<Option<Time>> {
    let at = match (at, ttl.filter(|ttl| ttl.0 != 0)) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("cannot supply both 'expiration' and 'ttl' for policies"));
        }
        (_, Some(ttl)) if ttl.0 < 0 => {
            let text = format!(
                "Field validation failed: error converting input for field \"ttl\": cannot provide negative value '{}'",
                ttl.seconds()
            );
            return Err(Error::invalid(text));
        }
        (None, Some(ttl)) => Some(now.plus(ttl.duration())),
        (at, None) => at.map(|Moment(at)| at),
    };
    if at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("refusing to update policy as expiration time has already elapsed"));
    }
    Ok(at)
}

/// Some policies are as the server made them.
fn refuse_fixed(what: &str, name: &str) -> Result<()> {
    match name {
        builtin::ROOT | builtin::RESPONSE_WRAPPING | builtin::CONTROL_GROUP => {
            Err(Error::invalid(format!("cannot {what} {name:?} policy")))
        }
        _ => Ok(()),
    }
}

/// The text itself, where it came in base64.
pub(super) fn decoded(text: String) -> String {
    STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

fn lower(name: &str) -> String {
    name.trim_matches('/').to_lowercase()
}
