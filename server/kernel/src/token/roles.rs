use std::time::Duration;

use kit::loose::{Flag, Names, Number, Span, Text, Texts};
use kit::{
    Beyond, Command, Error, Exists, Name, Nothing, Query, Reading, Reads, Reply, Result, Route, Terms,
    Writing,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use storage::Txn;

use super::Token;
use super::create::lower;
use crate::cidr::Cidr;
use crate::namespaces::Ns;
use crate::router::Router;
use crate::shelf::{Shelves, Source};
use crate::tokens::TokenRecord;
use crate::ttl::whole;

/// Roles of `auth/token` by name.
const ROLES: Shelves<Role> = Shelves::new(11);

/// What the tokens of a role may be.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) allowed_policies: Vec<String>,
    pub(crate) allowed_policies_glob: Vec<String>,
    pub(crate) disallowed_policies: Vec<String>,
    pub(crate) disallowed_policies_glob: Vec<String>,
    pub(crate) allowed_entity_aliases: Option<Vec<String>>,
    pub(crate) orphan: bool,
    pub(crate) path_suffix: String,
    pub(crate) renewable: bool,
    pub(crate) bound_cidrs: Vec<String>,
    pub(crate) explicit_max_ttl_seconds: u64,
    pub(crate) period_seconds: u64,
    pub(crate) no_default_policy: bool,
    pub(crate) num_uses: u64,
    pub(crate) token_type: String,
    /// The role was written with the old names, and shows them.
    old_period: bool,
    old_explicit_max_ttl: bool,
    old_bound_cidrs: bool,
}

/// The role of this name.
pub(crate) fn find(source: &impl Source, ns: Ns, name: &str) -> Result<Option<Role>> {
    ROLES.of(ns).get(source, Name::Path(name))
}

/// What a role says now about a token that it made. Nothing: it was made without one.
///
/// # Errors
/// If the role is gone.
pub(super) fn renewed(txn: &Txn, _: &Router, record: &TokenRecord) -> Result<Option<Terms>> {
    if record.role.is_empty() {
        return Ok(None);
    }
    let gone =
        || Error::server(format!("original token role {:?} could not be found, not renewing", record.role));
    let role = find(txn, record.namespace, &record.role)?.ok_or_else(gone)?;
    let lesser = |own: u64, role: u64| Duration::from_secs(lower(own, role));
    Ok(Some(Terms {
        period: lesser(record.period_seconds, role.period_seconds),
        explicit_max_ttl: lesser(record.explicit_max_ttl_seconds, role.explicit_max_ttl_seconds),
        ..Terms::default()
    }))
}

/// Shows a role.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Get {
    /// Name of the role.
    role_name: String,
}

impl Query<Token> for Get {
    const ROUTE: Route = Route::get("roles/{role_name:at}");
    type Reply = Map<String, Value>;

    fn run(self, _: &Token, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let role = find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), &self.role_name)?
            .ok_or_else(Error::not_found)?;
        let old = |used: bool, seconds: u64| if used { seconds } else { 0 };
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        put("allowed_entity_aliases", json!(role.allowed_entity_aliases));
        put("allowed_policies", json!(role.allowed_policies));
        put("allowed_policies_glob", json!(role.allowed_policies_glob));
        put("disallowed_policies", json!(role.disallowed_policies));
        put("disallowed_policies_glob", json!(role.disallowed_policies_glob));
        put("explicit_max_ttl", old(role.old_explicit_max_ttl, role.explicit_max_ttl_seconds).into());
        put("name", json!(role.name));
        put("orphan", role.orphan.into());
        put("path_suffix", json!(role.path_suffix));
        put("period", old(role.old_period, role.period_seconds).into());
        put("renewable", role.renewable.into());
        put("token_explicit_max_ttl", role.explicit_max_ttl_seconds.into());
        put("token_no_default_policy", role.no_default_policy.into());
        put("token_period", role.period_seconds.into());
        put("token_type", json!(role.token_type));
        if !role.bound_cidrs.is_empty() {
            put("token_bound_cidrs", json!(role.bound_cidrs));
            if role.old_bound_cidrs {
                put("bound_cidrs", json!(role.bound_cidrs));
            }
        }
        if role.num_uses > 0 {
            put("token_num_uses", role.num_uses.into());
        }
        Ok(shown.into())
    }
}

/// Lists the names of the roles.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct List {}

#[derive(JsonSchema, Serialize)]
pub(crate) struct Keys {
    keys: Vec<String>,
}

impl Query<Token> for List {
    const ROUTE: Route = Route::list("roles");
    type Reply = Keys;

    fn run(self, _: &Token, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        let keys = ROLES.of(Ns::of(cx)).list(cx.beyond(&Beyond::for_the_kernel()), "")?.to_vec();
        if keys.is_empty() { Err(Error::not_found()) } else { Ok(Keys { keys }.into()) }
    }
}

/// Makes or changes a role. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Put {
    /// Name of the role.
    role_name: String,
    /// Policies that its tokens may have.
    allowed_policies: Option<Names>,
    /// The same, each with a `*`.
    allowed_policies_glob: Option<Names>,
    /// Policies that its tokens may not have.
    disallowed_policies: Option<Names>,
    /// The same, each with a `*`.
    disallowed_policies_glob: Option<Names>,
    /// Entity aliases that its tokens may be given.
    allowed_entity_aliases: Option<Names>,
    /// Its tokens have no parent.
    orphan: Option<Flag>,
    /// Follows the path under which its tokens are listed.
    path_suffix: Option<Text>,
    /// Its tokens can be renewed.
    renewable: Option<Flag>,
    /// Addresses that its tokens may be used from.
    token_bound_cidrs: Option<Texts>,
    /// How long its tokens live at most, whatever else changes.
    token_explicit_max_ttl: Option<Span>,
    /// Its tokens are not given `default`.
    token_no_default_policy: Option<Flag>,
    /// How often its tokens can be used.
    token_num_uses: Option<Number>,
    /// Renewals begin anew each time, for this long.
    token_period: Option<Span>,
    /// `default-service`, `default-batch`, `service` or `batch`.
    token_type: Option<Text>,
    /// Deprecated: `token_bound_cidrs`.
    bound_cidrs: Option<Texts>,
    /// Deprecated: `token_explicit_max_ttl`.
    explicit_max_ttl: Option<Span>,
    /// Deprecated: `token_period`.
    period: Option<Span>,
}

impl Command<Token> for Put {
    const ROUTE: Route = Route::post("roles/{role_name:at}");
    const EXISTS: Option<Exists<Token>> = Some(|_, path, cx| {
        Ok(Some(find(cx.beyond(&Beyond::for_the_kernel()), Ns::of(cx), path.get("role_name"))?.is_some()))
    });
    type Reply = Nothing;

    fn run(self, _: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let old = find(cx.peek(&Beyond::for_the_kernel()), Ns::of(cx), &self.role_name)?;
        let new = || Role { renewable: true, token_type: "default-service".to_owned(), ..Role::default() };
        let name = self.role_name.clone();
        let mut role = Role { name: name.clone(), ..old.unwrap_or_else(new) };
        self.deprecated(&mut role, cx)?;
        self.change(&mut role)?;
        check(&role)?;
        let longest = cx.mount().max_ttl.as_secs();
        if role.explicit_max_ttl_seconds > longest {
            cx.warn(format!(
                "Given explicit max TTL of {} is greater than system/mount allowed value of {longest} seconds; until this is fixed attempting to create tokens against this role will result in an error",
                role.explicit_max_ttl_seconds
            ));
        }
        role.bound_cidrs.iter_mut().for_each(crate::cidr::shorten);
        let shelf = ROLES.of(Ns::of(cx));
        shelf.put(cx.beyond(&Beyond::for_the_kernel()), Name::Path(&name), &role)?;
        Ok(Reply::Nothing)
    }
}

impl Put {
    /// The names of older versions, where the newer ones are not given.
    fn deprecated(&self, role: &mut Role, cx: &Writing<'_>) -> Result<()> {
        let both = |old: &str| {
            cx.warn(format!(
                "Both 'token_{old}' and deprecated '{old}' value supplied, ignoring the deprecated value"
            ));
        };
        match (self.period, self.token_period) {
            (Some(_), Some(_)) => both("period"),
            (Some(period), None) => {
                (role.period_seconds, role.old_period) = (seconds("period", period)?, true);
            }
            _ => {}
        }
        match (self.explicit_max_ttl, self.token_explicit_max_ttl) {
            (Some(_), Some(_)) => both("explicit_max_ttl"),
            (Some(max), None) => {
                let max = seconds("explicit_max_ttl", max)?;
                (role.explicit_max_ttl_seconds, role.old_explicit_max_ttl) = (max, true);
            }
            _ => {}
        }
        match (&self.bound_cidrs, &self.token_bound_cidrs) {
            (Some(_), Some(_)) => both("bound_cidrs"),
            (Some(cidrs), None) => (role.bound_cidrs, role.old_bound_cidrs) = (cidrs.0.clone(), true),
            _ => {}
        }
        role.old_period &= self.token_period.is_none();
        role.old_explicit_max_ttl &= self.token_explicit_max_ttl.is_none();
        role.old_bound_cidrs &= self.token_bound_cidrs.is_none();
        Ok(())
    }

    fn change(self, role: &mut Role) -> Result<()> {
        let names = |names: Names| TokenRecord::sanitised(&names.0, false);
        // `root` stands for everything only where something is given, not where it is taken away.
        let each = |names: Names| each_once(&names.0);
        let max = self.token_explicit_max_ttl.map(|span| seconds("token_explicit_max_ttl", span));
        let period = self.token_period.map(|span| seconds("token_period", span));
        set(&mut role.allowed_policies, self.allowed_policies.map(names));
        set(&mut role.allowed_policies_glob, self.allowed_policies_glob.map(names));
        set(&mut role.disallowed_policies, self.disallowed_policies.map(each));
        set(&mut role.disallowed_policies_glob, self.disallowed_policies_glob.map(each));
        set(&mut role.allowed_entity_aliases, self.allowed_entity_aliases.map(|texts| Some(each(texts))));
        set(&mut role.orphan, self.orphan.map(|flag| flag.0));
        set(&mut role.path_suffix, self.path_suffix.map(|text| text.0));
        set(&mut role.renewable, self.renewable.map(|flag| flag.0));
        set(&mut role.bound_cidrs, self.token_bound_cidrs.map(|texts| texts.0));
        set(&mut role.explicit_max_ttl_seconds, max.transpose()?);
        set(&mut role.period_seconds, period.transpose()?);
        set(&mut role.no_default_policy, self.token_no_default_policy.map(|flag| flag.0));
        if let Some(uses) = self.token_num_uses {
            role.num_uses =
                u64::try_from(uses.0).map_err(|_| Error::invalid("'token_num_uses' cannot be negative"))?;
        }
        set(&mut role.token_type, self.token_type.map(|text| text.0));
        Ok(())
    }
}

/// The names in lower case, sorted, each once.
fn each_once(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        names.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Whole seconds of a span that must not be negative; a begun one counts.
fn seconds(field: &str, span: Span) -> Result<u64> {
    u64::try_from(span.0).map(|_| whole(span.duration()).as_secs()).map_err(|_| {
        let seconds = span.seconds();
        Error::invalid(format!(
            "error converting input for field {field:?}: cannot provide negative value '{seconds}'"
        ))
    })
}

fn check(role: &Role) -> Result<()> {
    if !suffix_is_fine(&role.path_suffix) {
        return Err(Error::invalid(
            "given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w",
        ));
    }
    match role.token_type.as_str() {
        "default-service" | "default-batch" | "service" => {}
        "batch" if !role.orphan => {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' when role is set to generate non-orphan tokens",
            ));
        }
        "batch" if role.period_seconds > 0 => {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' when role is set to generate periodic tokens",
            ));
        }
        "batch" if role.renewable => {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' when role is set to generate renewable tokens",
            ));
        }
        "batch" if role.explicit_max_ttl_seconds > 0 => {
            return Err(Error::invalid(
                "'token_type' cannot be 'batch' when role is set to generate tokens with an explicit max TTL",
            ));
        }
        "batch" => {}
        other => return Err(Error::invalid(format!("invalid 'token_type' value {other:?}"))),
    }
    if let Some(wrong) = role.bound_cidrs.iter().find(|text| Cidr::parse(text).is_none()) {
        let field = if role.old_bound_cidrs { "bound_cidrs" } else { "token_bound_cidrs" };
        return Err(Error::invalid(format!(
            "'{field}' holds {wrong:?}, which is no address or block like 10.0.0.0/8"
        )));
    }
    Ok(())
}

fn suffix_is_fine(suffix: &str) -> bool {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    suffix.is_empty()
        || suffix.len() >= 3
            && suffix.starts_with(word)
            && suffix.ends_with(word)
            && suffix.chars().all(|char| word(char) || char == '-' || char == '.')
}

/// Deletes a role. Its tokens live on, and cannot be renewed.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Delete {
    /// Name of the role.
    role_name: String,
}

impl Command<Token> for Delete {
    const ROUTE: Route = Route::delete("roles/{role_name:at}");
    type Reply = Nothing;

    fn run(self, _: &Token, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let shelf = ROLES.of(Ns::of(cx));
        shelf.delete(cx.beyond(&Beyond::for_the_kernel()), Name::Path(&self.role_name))?;
        Ok(Reply::Nothing)
    }
}
