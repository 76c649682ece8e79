use kit::loose::{Number, Text, Texts};
use kit::{Command, Error, Exists, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::Selector;
use super::{Kubernetes, ROLES};
use crate::listing::Keys;
use crate::token_params::{OldFields, OldNames, OldShown, TokenFields, TokenParams};

/// Any name.
const ANY: &str = "*";

/// Which service accounts a role is for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(super) struct Bounds {
    pub(super) alias_name_source: AliasSource,
    /// For whom tokens must be; empty: for anybody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) audience: String,
    pub(super) bound_service_account_names: Vec<String>,
    pub(super) bound_service_account_namespace_selector: String,
    pub(super) bound_service_account_namespaces: Option<Vec<String>>,
}

/// By what identity knows a service account.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub(super) enum AliasSource {
    /// Its UID: an account made anew under an old name is another.
    #[default]
    #[serde(rename = "serviceaccount_uid")]
    Uid,
    /// Its namespace and name.
    #[serde(rename = "serviceaccount_name")]
    Name,
}

/// A role as it is stored.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Role {
    pub(super) bounds: Bounds,
    pub(super) token: TokenParams,
    old_names: OldNames,
}

impl Bounds {
    /// Whether it is for accounts of this name.
    pub(super) fn takes_name(&self, name: &str) -> bool {
        holds(&self.bound_service_account_names, name)
    }

    /// Whether it is for accounts of this namespace, whatever its labels.
    pub(super) fn takes_namespace(&self, namespace: &str) -> bool {
        holds(self.bound_service_account_namespaces.as_deref().unwrap_or_default(), namespace)
    }

    fn check(&self) -> Result<()> {
        let mixed = |names: &[String]| names.len() > 1 && names.iter().any(|name| name == ANY);
        let namespaces = self.bound_service_account_namespaces.as_deref().unwrap_or_default();
        if self.bound_service_account_names.is_empty() {
            return Err(Error::invalid("\"bound_service_account_names\" can not be empty"));
        }
        if mixed(&self.bound_service_account_names) {
            return Err(Error::invalid("can not mix \"*\" with values"));
        }
        if namespaces.is_empty() && self.bound_service_account_namespace_selector.is_empty() {
            return Err(Error::invalid(
                "\"bound_service_account_namespaces\" can not be empty if \
                 \"bound_service_account_namespace_selector\" is not set",
            ));
        }
        let selector = &self.bound_service_account_namespace_selector;
        if !selector.is_empty() && Selector::parse(selector).is_none() {
            return Err(Error::invalid("invalid \"bound_service_account_namespace_selector\" configured"));
        }
        if mixed(namespaces) {
            return Err(Error::invalid("can not mix \"*\" with values"));
        }
        Ok(())
    }
}

/// Whether one of these names, or patterns of names, is this one. An empty name is nobody's.
fn holds(names: &[String], name: &str) -> bool {
    !name.is_empty() && names.iter().any(|pattern| pattern == ANY || kit::glob::fits(pattern, name))
}

/// Lists the roles.
#[derive(Deserialize, JsonSchema)]
pub(super) struct List {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Kubernetes> for List {
    const ROUTE: Route = Route::list("role");
    type Reply = Keys;

    fn run(self, _: &Kubernetes, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&ROLES.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Which role.
    name: String,
}

/// A role as it is shown. The names without `token_` are old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    bounds: Bounds,
    #[serde(flatten)]
    token: TokenParams,
    #[serde(flatten)]
    old: OldShown,
}

impl Query<Kubernetes> for Read {
    const ROUTE: Route = Route::get("role/{name:lower}");
    type Reply = Shown;

    fn run(self, _: &Kubernetes, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let Role { bounds, token, old_names } = ROLES.get(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let shown = Shown { old: old_names.all(&token), bounds, token };
        Ok(shown.into())
    }
}

/// Creates a role, or changes it. What is left out stays as it is, but for the selector of namespaces, which goes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Which role.
    name: String,
    /// The names of service accounts; `*` stands for any text.
    #[serde(default)]
    bound_service_account_names: Option<Texts>,
    /// Their namespaces; `*` stands for any text.
    #[serde(default)]
    bound_service_account_namespaces: Option<Texts>,
    /// Which labels their namespace has, in JSON as Kubernetes writes it: one of the two is enough.
    #[serde(default)]
    bound_service_account_namespace_selector: Option<Text>,
    /// For whom tokens must be; empty: for anybody.
    #[serde(default)]
    audience: Option<Text>,
    /// By what identity knows an account: `serviceaccount_uid` or `serviceaccount_name`.
    #[serde(default)]
    alias_name_source: Option<Text>,
    #[serde(rename = "token_*")]
    token: TokenFields,
    #[serde(rename = "**")]
    old: OldFields,
}

impl Command<Kubernetes> for Write {
    const ROUTE: Route = Route::post("role/{name:lower}");
    const EXISTS: Option<Exists<Kubernetes>> = Some(|_, path, cx| ROLES.has(cx, path.get("name")).map(Some));
    type Reply = Nothing;

    fn run(self, _: &Kubernetes, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut role = ROLES.get(cx, &self.name)?.unwrap_or_default();
        let late = "token ttl should not be greater than token max ttl";
        role.token.take_over(&mut role.old_names, self.token, self.old, late)?;
        role.token.check_period(cx.mount().max_ttl, "token period")?;
        if role.token.token_max_ttl > cx.mount().max_ttl.as_secs() {
            cx.warn(
                "max_ttl is greater than the system or backend mount's maximum TTL value; issued tokens' max TTL \
                 value will be truncated",
            );
        }
        let full = |texts: Texts| texts.0.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        if let Some(names) = self.bound_service_account_names {
            role.bounds.bound_service_account_names = full(names);
        }
        if let Some(names) = self.bound_service_account_namespaces {
            role.bounds.bound_service_account_namespaces = Some(full(names));
        }
        let selector = self.bound_service_account_namespace_selector.unwrap_or_default().0;
        role.bounds.bound_service_account_namespace_selector = selector;
        if let Some(Text(audience)) = self.audience {
            role.bounds.audience = audience;
        }
        role.bounds.check()?;
        if let Some(Text(source)) = self.alias_name_source {
            role.bounds.alias_name_source = match source.as_str() {
                "" | "serviceaccount_uid" => AliasSource::Uid,
                "serviceaccount_name" => AliasSource::Name,
                _ => {
                    let text =
                        "invalid alias_name_source, must be one of: serviceaccount_uid, serviceaccount_name";
                    return Err(Error::invalid(text));
                }
            };
        }
        ROLES.put(cx, &self.name, &role)?;
        Ok(Reply::Nothing)
    }
}

/// Deletes a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Which role.
    name: String,
}

impl Command<Kubernetes> for Delete {
    const ROUTE: Route = Route::delete("role/{name:lower}");
    type Reply = Nothing;

    fn run(self, _: &Kubernetes, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
