use std::time::Duration;

use kit::loose::{Flag, Names, Number, Span, Text, Texts};
use kit::{Command, Error, Exists, Fault, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sweep::Purge;
use super::{AppRole, Hasher, ID_SIZE_MAX, ROLE_IDS, ROLES, RoleKey, uuid};
use crate::cidr;
use crate::listing::Keys;
use crate::token_params::{OldNames, TokenFields, TokenParams, seconds};

/// A role as it is stored.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Role {
    pub(super) role_id: String,
    /// Names its secret ids.
    pub(super) key: RoleKey,
    pub(super) bind_secret_id: bool,
    pub(super) local_secret_ids: bool,
    pub(super) secret_id_bound_cidrs: Vec<String>,
    pub(super) secret_id_num_uses: u64,
    pub(super) secret_id_ttl: u64,
    pub(super) token: TokenParams,
    pub(super) old_names: OldNames,
}

impl Role {
    /// Changes it, and refuses a period that is given by the name which it had first and is longer than the mount lets tokens
    /// live.
    pub(super) fn change(
        &mut self,
        cx: &impl Reads,
        how: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let told = |role: &Self| role.old_names.shown("period", &role.token.token_period);
        let before = told(self);
        how(self)?;
        let (after, max) = (told(self), cx.mount().max_ttl.as_secs());
        let Some(now) = after.filter(|now| after != before && *now > max) else {
            return Ok(());
        };
        let go = |seconds: u64| Span::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).go();
        Err(Error::invalid(format!(
            "period of \"{}\" is greater than the backend's maximum lease TTL of \"{}\"",
            go(now),
            go(max)
        )))
    }

    fn new(cx: &Writing<'_>) -> Self {
        Self {
            role_id: uuid(cx),
            key: cx.random(),
            bind_secret_id: true,
            local_secret_ids: false,
            secret_id_bound_cidrs: Vec::new(),
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            token: TokenParams::default(),
            old_names: OldNames::default(),
        }
    }

    /// A role that asks for nothing would let everybody in.
    pub(super) fn check(&self) -> Result<()> {
        let bound = !self.secret_id_bound_cidrs.is_empty() || !self.token.token_bound_cidrs.is_empty();
        if self.bind_secret_id || bound {
            return Ok(());
        }
        Err(Error::listed("at least one constraint should be enabled on the role"))
    }
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

impl Query<AppRole> for List {
    const ROUTE: Route = Route::list("role");
    type Reply = Keys;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&ROLES.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Read {
    /// Which role.
    role_name: String,
}

/// A role as it is shown. The names without `token_` are old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    bind_secret_id: bool,
    local_secret_ids: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    secret_id_bound_cidrs: Option<Vec<String>>,
    secret_id_num_uses: u64,
    secret_id_ttl: u64,
    #[serde(flatten)]
    token: TokenParams,
}

/// A list as Go shows it: an empty one is null.
pub(super) fn or_null(list: &[String]) -> Option<Vec<String>> {
    Some(list.to_vec()).filter(|list| !list.is_empty())
}

impl Query<AppRole> for Read {
    const ROUTE: Route = Route::get("role/{role_name:lower}");
    type Reply = Shown;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let role = ROLES.get(cx, &self.role_name)?.ok_or_else(Error::not_found)?;
        let shown = Shown {
            bind_secret_id: role.bind_secret_id,
            local_secret_ids: role.local_secret_ids,
            period: role.old_names.shown("period", &role.token.token_period),
            policies: role.old_names.shown("policies", &role.token.token_policies),
            secret_id_bound_cidrs: or_null(&role.secret_id_bound_cidrs),
            secret_id_num_uses: role.secret_id_num_uses,
            secret_id_ttl: role.secret_id_ttl,
            token: role.token,
        };
        Ok(shown.into())
    }
}

/// Creates a role, or changes it. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Write {
    /// Which role.
    role_name: String,
    /// A login needs a secret id. On at first.
    #[serde(default)]
    bind_secret_id: Option<Flag>,
    /// Secret ids are not shared with other clusters. Only a new role takes this.
    #[serde(default)]
    local_secret_ids: Option<Flag>,
    /// The role id; a random one if a new role is given none.
    #[serde(default)]
    role_id: Option<Text>,
    /// Blocks of addresses from which one can log in; empty: any.
    #[serde(default)]
    secret_id_bound_cidrs: Option<Texts>,
    /// The old name of `secret_id_bound_cidrs`.
    #[serde(default)]
    bound_cidr_list: Option<Texts>,
    /// How many logins each secret id is good for; 0: any number.
    #[serde(default)]
    secret_id_num_uses: Option<Number>,
    /// How long each secret id is good; 0: for ever.
    #[serde(default)]
    secret_id_ttl: Option<Span>,
    #[serde(rename = "token_*")]
    token: TokenFields,
    /// The old name of `token_policies`.
    #[serde(default)]
    policies: Option<Names>,
    /// The old name of `token_period`.
    #[serde(default)]
    period: Option<Span>,
}

impl Command<AppRole> for Write {
    const ROUTE: Route = Route::post("role/{role_name:lower}");
    const EXISTS: Option<Exists<AppRole>> =
        Some(|_, path, cx| ROLES.has(cx, path.get("role_name")).map(Some));
    type Reply = Nothing;

    fn run(mut self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let hasher = Hasher::make(cx)?;
        let found = ROLES.get(cx, &self.role_name)?;
        let is_new = found.is_none();
        if self.local_secret_ids.is_some() && !is_new {
            return Err(Error::invalid("local_secret_ids can only be modified during role creation"));
        }
        let mut role = found.unwrap_or_else(|| Role::new(cx));
        role.local_secret_ids = self.local_secret_ids.map_or(role.local_secret_ids, |flag| flag.0);
        role.bind_secret_id = self.bind_secret_id.map_or(role.bind_secret_id, |flag| flag.0);
        role.old_names.settle("policies", &mut self.token.policies, self.policies);
        settle_type(&mut self.token, cx);
        role.change(cx, |role| {
            role.old_names.settle("period", &mut self.token.period, self.period);
            role.token.apply(&self.token)
        })?;
        if let Some(blocks) = self.secret_id_bound_cidrs.or(self.bound_cidr_list) {
            role.secret_id_bound_cidrs = networks(&blocks, Error::listed)?;
        }
        if let Some(number) = self.secret_id_num_uses {
            role.secret_id_num_uses = uses("secret_id_num_uses", number)?;
        }
        if let Some(span) = self.secret_id_ttl {
            role.secret_id_ttl = seconds("secret_id_ttl", span)?;
        }
        role.check()?;
        match self.role_id {
            Some(Text(role_id)) if role_id.is_empty() => {
                return Err(Error::invalid("invalid role_id supplied, or failed to generate a role_id"));
            }
            Some(Text(role_id)) => name(cx, &hasher, &self.role_name, &mut role, role_id, is_new)?,
            None if is_new => ROLE_IDS.put(cx, &hasher.role_id(&role.role_id), &self.role_name)?,
            None => {}
        }
        if u128::from(role.token.token_max_ttl) > u128::from(cx.mount().max_ttl.as_secs()) {
            cx.warn(
                "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value \
                 will be truncated",
            );
        }
        ROLES.put(cx, &self.role_name, &role)?;
        Ok(Reply::Nothing)
    }
}

/// The types that only a mount can have mean the plain ones in a role.
fn settle_type(wish: &mut TokenFields, cx: &Writing<'_>) {
    let Some(Text(kind)) = &mut wish.r#type else { return };
    let Some(plain) = kind.strip_prefix("default-").filter(|plain| matches!(*plain, "service" | "batch"))
    else {
        return;
    };
    cx.warn(format!("{kind} has no useful meaning; adjusting to {plain}"));
    *kind = plain.to_owned();
}

/// Gives a role its role id, which no other role may have.
fn name(
    cx: &mut Writing<'_>,
    hasher: &Hasher,
    role_name: &str,
    role: &mut Role,
    role_id: String,
    is_new: bool,
) -> Result<()> {
    if role_id.len() > ID_SIZE_MAX {
        return Err(Error::invalid(format!(
            "role_id is longer than {ID_SIZE_MAX} bytes: choose a shorter one"
        )));
    }
    let hash = hasher.role_id(&role_id);
    if ROLE_IDS.get(cx, &hash)?.is_some_and(|owner| owner != role_name) {
        return Err(Error::listed("role_id already in use"));
    }
    if !is_new {
        ROLE_IDS.delete(cx, &hasher.role_id(&role.role_id))?;
    }
    role.role_id = role_id;
    ROLE_IDS.put(cx, &hash, &role_name.to_owned())
}

/// Blocks of addresses; one address alone is none.
pub(super) fn networks(blocks: &Texts, refusal: impl FnOnce(String) -> Error) -> Result<Vec<String>> {
    let blocks: Vec<String> = blocks.0.iter().filter(|text| !text.is_empty()).cloned().collect();
    match cidr::first_wrong(&blocks) {
        None => Ok(blocks),
        Some(wrong) => Err(refusal(format!("failed to validate CIDR blocks: invalid CIDR address: {wrong}"))),
    }
}

/// A count of uses.
pub(super) fn uses(field: &str, number: Number) -> Result<u64> {
    u64::try_from(number.0).map_err(|_| Error::invalid(format!("{field} cannot be negative")))
}

/// Deletes a role, and with it its secret ids.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Delete {
    /// Which role.
    role_name: String,
}

impl Command<AppRole> for Delete {
    const ROUTE: Route = Route::delete("role/{role_name:lower}");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let Some(role) = ROLES.get(cx, &self.role_name)? else { return Ok(Reply::Nothing) };
        if let Some(hasher) = Hasher::of(cx)? {
            ROLE_IDS.delete(cx, &hasher.role_id(&role.role_id))?;
        }
        ROLES.delete(cx, &self.role_name)?;
        // Nothing leads to its secret ids any more; there may be too many for one transaction.
        cx.later(Duration::ZERO, &Purge { role: role.key })?;
        Ok(Reply::Nothing)
    }
}

/// Reads the role id of a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadRoleId {
    /// Which role.
    role_name: String,
}

/// A role id.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownRoleId {
    role_id: String,
}

impl Query<AppRole> for ReadRoleId {
    const ROUTE: Route = Route::get("role/{role_name:lower}/role-id");
    type Reply = ShownRoleId;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<ShownRoleId>> {
        let role = ROLES.get(cx, &self.role_name)?.ok_or_else(Error::not_found)?;
        Ok(ShownRoleId { role_id: role.role_id }.into())
    }
}

/// Sets the role id of a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteRoleId {
    /// Which role.
    role_name: String,
    /// The role id.
    #[serde(default)]
    role_id: Option<Text>,
}

impl Command<AppRole> for WriteRoleId {
    const ROUTE: Route = Route::post("role/{role_name:lower}/role-id");
    type Reply = Nothing;

    fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut role = super::role(cx, &self.role_name, |text| Error::new(Fault::NotFound, text))?;
        let role_id = self.role_id.map(|text| text.0).filter(|role_id| !role_id.is_empty());
        let role_id = role_id.ok_or_else(|| Error::invalid("missing role_id"))?;
        let hasher = Hasher::make(cx)?;
        name(cx, &hasher, &self.role_name, &mut role, role_id, false)?;
        ROLES.put(cx, &self.role_name, &role)?;
        Ok(Reply::Nothing)
    }
}
