//! The parts of a role that can be read, set and taken back alone.

use kit::loose::{Flag, Names, Number, Span, Texts};
use kit::{Command, Error, Fault, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::role::{Role, networks, or_null, uses};
use super::{AppRole, ROLES, role};
use crate::token_params::{TokenFields, TokenParams, addresses, policies as names, seconds};

/// Changes a role as `how` says.
fn change(
    cx: &mut Writing<'_>,
    name: &str,
    how: impl FnOnce(&mut Role) -> Result<()>,
) -> Result<Reply<Nothing>> {
    let mut role = role(cx, name, |text| Error::new(Fault::NotFound, text))?;
    role.change(cx, how)?;
    ROLES.put(cx, name, &role)?;
    Ok(Reply::Nothing)
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("missing {field}"))
}

/// One part: what it is, where it answers, its parameters, how it is shown, set and taken back.
macro_rules! parts {
    ($(
        $(#[doc = $about:literal])*
        $part:ident at $path:literal
        ($($(#[doc = $what:literal])* $field:ident: $type:ty),+)
        shows ($($shown:ident: $shown_type:ty = $show:expr),+) $(warning $warning:literal)?,
        |$own:ident, $role:ident| $set:expr,
        |$cleared:ident| $clear:expr;
    )*) => {$(
        $(#[doc = $about])*
        pub(super) mod $part {
            use super::*;

            $(#[doc = concat!("Reads: ", $about)])*
            #[derive(Deserialize, JsonSchema)]
            pub(in super::super) struct Read {
                /// Which role.
                role_name: String,
            }

            $(#[doc = $about])*
            #[derive(JsonSchema, Serialize)]
            pub(in super::super) struct Shown {
                $(#[serde(skip_serializing_if = "skips")] $shown: $shown_type,)+
            }

            impl Query<AppRole> for Read {
                const ROUTE: Route = Route::get(concat!("role/{role_name:lower}/", $path));
                type Reply = Shown;

                fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<Shown>> {
                    let role = ROLES.get(cx, &self.role_name)?.ok_or_else(Error::not_found)?;
                    $(cx.warn($warning);)?
                    Ok(Shown { $($shown: ($show)(&role),)+ }.into())
                }
            }

            $(#[doc = concat!("Sets: ", $about)])*
            #[derive(Deserialize, JsonSchema)]
            pub(in super::super) struct Write {
                /// Which role.
                role_name: String,
                $($(#[doc = $what])* #[serde(default)] $field: Option<$type>,)+
            }

            impl Command<AppRole> for Write {
                const ROUTE: Route = Route::post(concat!("role/{role_name:lower}/", $path));
                type Reply = Nothing;

                fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
                    let name = self.role_name.clone();
                    let $own = self;
                    change(cx, &name, |$role| $set)
                }
            }

            $(#[doc = concat!("Takes back: ", $about)])*
            #[derive(Deserialize, JsonSchema)]
            pub(in super::super) struct Delete {
                /// Which role.
                role_name: String,
            }

            impl Command<AppRole> for Delete {
                const ROUTE: Route = Route::delete(concat!("role/{role_name:lower}/", $path));
                type Reply = Nothing;

                fn run(self, _: &AppRole, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
                    if !ROLES.has(cx, &self.role_name)? {
                        return Ok(Reply::Nothing);
                    }
                    change(cx, &self.role_name, |$cleared| $clear)
                }
            }
        }
    )*};
}

/// What is shown under an old name is left out while the old name is not used; all else is shown always.
trait Skips {
    fn skips(&self) -> bool {
        false
    }
}

impl Skips for bool {}
impl Skips for u64 {}
impl Skips for Vec<String> {}
impl Skips for Option<Vec<String>> {}

/// A value under its old name.
#[derive(JsonSchema, Serialize)]
#[serde(transparent)]
pub(super) struct Old<T>(Option<T>);

impl<T> Skips for Old<T> {
    fn skips(&self) -> bool {
        self.0.is_none()
    }
}

fn skips(value: &impl Skips) -> bool {
    value.skips()
}

parts! {
    /// whether a login needs a secret id.
    bind_secret_id at "bind-secret-id" (
        /// A login needs a secret id.
        bind_secret_id: Flag
    ) shows (bind_secret_id: bool = |role: &Role| role.bind_secret_id),
    |own, role| {
        role.bind_secret_id = own.bind_secret_id.ok_or_else(|| missing("bind_secret_id"))?.0;
        role.check()
    },
    |role| {
        role.bind_secret_id = true;
        Ok(())
    };

    /// the addresses from which one can log in, under their old name.
    bound_cidr_list at "bound-cidr-list" (
        /// Blocks of addresses.
        bound_cidr_list: Texts
    ) shows (bound_cidr_list: Option<Vec<String>> = |role: &Role| or_null(&role.secret_id_bound_cidrs))
    warning "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" instead.",
    |own, role| bind(role, own.bound_cidr_list),
    |role| unbind(role);

    /// the addresses from which one can log in.
    secret_id_bound_cidrs at "secret-id-bound-cidrs" (
        /// Blocks of addresses.
        secret_id_bound_cidrs: Texts
    ) shows (secret_id_bound_cidrs: Option<Vec<String>> = |role: &Role| or_null(&role.secret_id_bound_cidrs)),
    |own, role| bind(role, own.secret_id_bound_cidrs),
    |role| unbind(role);

    /// how many logins each secret id is good for.
    secret_id_num_uses at "secret-id-num-uses" (
        /// How many; 0: any number.
        secret_id_num_uses: Number
    ) shows (secret_id_num_uses: u64 = |role: &Role| role.secret_id_num_uses),
    |own, role| {
        let number = own.secret_id_num_uses.ok_or_else(|| missing("secret_id_num_uses"))?;
        role.secret_id_num_uses = uses("secret_id_num_uses", number)?;
        Ok(())
    },
    |role| {
        role.secret_id_num_uses = 0;
        Ok(())
    };

    /// how long each secret id is good.
    secret_id_ttl at "secret-id-ttl" (
        /// How long; 0: for ever.
        secret_id_ttl: Span
    ) shows (secret_id_ttl: u64 = |role: &Role| role.secret_id_ttl),
    |own, role| {
        let span = own.secret_id_ttl.ok_or_else(|| missing("secret_id_ttl"))?;
        role.secret_id_ttl = seconds("secret_id_ttl", span)?;
        Ok(())
    },
    |role| {
        role.secret_id_ttl = 0;
        Ok(())
    };

    /// the addresses from which the role's tokens may be used.
    token_bound_cidrs at "token-bound-cidrs" (
        /// Addresses or blocks of them.
        token_bound_cidrs: Texts
    ) shows (token_bound_cidrs: Option<Vec<String>> = |role: &Role| or_null(&role.token.token_bound_cidrs)),
    |own, role| {
        if let Some(blocks) = own.token_bound_cidrs {
            role.token.token_bound_cidrs = addresses(&blocks)?;
        }
        Ok(())
    },
    |role| {
        role.token.token_bound_cidrs.clear();
        Ok(())
    };

    /// how long the role's tokens live with all renewals.
    token_max_ttl at "token-max-ttl" (
        /// How long; 0: as the mount says.
        token_max_ttl: Span
    ) shows (token_max_ttl: u64 = |role: &Role| role.token.token_max_ttl),
    |own, role| {
        let max_ttl = Some(own.token_max_ttl.ok_or_else(|| missing("token_max_ttl"))?);
        role.token.apply(&TokenFields { max_ttl, ..TokenFields::default() })
    },
    |role| {
        role.token.token_max_ttl = 0;
        Ok(())
    };

    /// how many requests the role's tokens are good for.
    token_num_uses at "token-num-uses" (
        /// How many; 0: any number.
        token_num_uses: Number
    ) shows (token_num_uses: u64 = |role: &Role| role.token.token_num_uses),
    |own, role| {
        let num_uses = Some(own.token_num_uses.ok_or_else(|| missing("token_num_uses"))?);
        role.token.apply(&TokenFields { num_uses, ..TokenFields::default() })
    },
    |role| {
        role.token.token_num_uses = 0;
        Ok(())
    };

    /// how long the role's tokens live at first.
    token_ttl at "token-ttl" (
        /// How long; 0: as the mount says.
        token_ttl: Span
    ) shows (token_ttl: u64 = |role: &Role| role.token.token_ttl),
    |own, role| {
        let ttl = Some(own.token_ttl.ok_or_else(|| missing("token_ttl"))?);
        role.token.apply(&TokenFields { ttl, ..TokenFields::default() })
    },
    |role| {
        role.token.token_ttl = 0;
        Ok(())
    };

    /// for how long each renewal of the role's tokens is.
    period at "period" (
        /// How long; 0: the tokens are not periodic.
        token_period: Span,
        /// The old name of `token_period`.
        period: Span
    ) shows (
        period: Old<u64> = |role: &Role| Old(role.old_names.shown("period", &role.token.token_period)),
        token_period: u64 = |role: &Role| role.token.token_period
    ),
    |own, role| {
        let mut fields = TokenFields { period: own.token_period, ..TokenFields::default() };
        role.old_names.settle("period", &mut fields.period, own.period);
        fields.period.ok_or_else(|| missing("period"))?;
        role.token.apply(&fields)
    },
    |role| {
        role.old_names.forget("period");
        role.token.token_period = 0;
        Ok(())
    };

    /// what the role's tokens may do.
    policies at "policies" (
        /// Names of policies.
        token_policies: Names,
        /// The old name of `token_policies`.
        policies: Names
    ) shows (
        policies: Old<Vec<String>> = |role: &Role| Old(role.old_names.shown("policies", &role.token.token_policies)),
        token_policies: Vec<String> = |role: &Role| role.token.token_policies.clone()
    ),
    |own, role| {
        let mut given = own.token_policies;
        role.old_names.settle("policies", &mut given, own.policies);
        role.token.token_policies = names(&given.ok_or_else(|| missing("token_policies"))?);
        Ok(())
    },
    |role| {
        role.old_names.forget("policies");
        role.token.token_policies = TokenParams::default().token_policies;
        Ok(())
    };
}

fn bind(role: &mut Role, blocks: Option<Texts>) -> Result<()> {
    let Some(blocks) = blocks else { return Ok(()) };
    if blocks.0.is_empty() {
        return Err(missing("bound_cidr_list"));
    }
    role.secret_id_bound_cidrs = networks(&blocks, Error::invalid)?;
    role.check()
}

fn unbind(role: &mut Role) -> Result<()> {
    role.secret_id_bound_cidrs.clear();
    role.check()
}

/// Reads whether the secret ids of a role are shared with other clusters.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadLocalSecretIds {
    /// Which role.
    role_name: String,
}

/// Whether secret ids are shared.
#[derive(JsonSchema, Serialize)]
pub(super) struct LocalSecretIds {
    local_secret_ids: bool,
}

impl Query<AppRole> for ReadLocalSecretIds {
    const ROUTE: Route = Route::get("role/{role_name:lower}/local-secret-ids");
    type Reply = LocalSecretIds;

    fn run(self, _: &AppRole, cx: &Reading<'_>) -> Result<Reply<LocalSecretIds>> {
        let role = ROLES.get(cx, &self.role_name)?.ok_or_else(Error::not_found)?;
        Ok(LocalSecretIds { local_secret_ids: role.local_secret_ids }.into())
    }
}
