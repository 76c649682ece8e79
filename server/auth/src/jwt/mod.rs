//! Whoever holds a token signed by an issuer that is trusted here: a build job, a workload, a person in a browser.
//!
//! The issuer's keys are configured, or fetched from where it publishes them. Fetched keys are kept in the store with
//! the date until which they are good; a token by an unknown key has them fetched anew, but not more often than every
//! few seconds, so that strangers cannot make this server ask the issuer as often as they like.

mod auth_url;
mod callback;
mod cel_claim;
mod cel_role;
mod config;
mod flow;
mod form;
mod identity;
mod page;
mod poll;
mod provider;
mod reach;
mod role;
mod sign_in;
mod template;
mod vouch;

use std::marker::PhantomData;
use std::sync::Arc;

use jws::PublicKey;
use kit::{
    AuthMethod, Endpoint, Engine, Error, LoginPoint, Reading, Reads, Renewal, Result, Table, Terms, ask,
    ask_login, command, query,
};
use serde_json::Value;

use cel_role::CelRole;
use config::Config;
use provider::{Provider, Recent};
use role::Role;

/// The two names of this method. They do the same; one says more clearly that people log in by their browser.
pub(crate) trait Title: Send + Sync + 'static {
    /// The type by which it is enabled.
    const NAME: &'static str;
    /// What it is for.
    const ABOUT: &'static str;
}

/// The method under the name `jwt`.
pub(crate) struct Jwt;

impl Title for Jwt {
    const NAME: &'static str = "jwt";
    const ABOUT: &'static str = "Lets in who shows a token signed by a trusted issuer.";
}

/// The method under the name `oidc`.
pub(crate) struct Oidc;

impl Title for Oidc {
    const NAME: &'static str = "oidc";
    const ABOUT: &'static str = "Lets people in whom an OpenID Connect provider vouches for.";
}

/// Lets in who shows a token signed by a trusted issuer.
pub(crate) struct Signed<T: Title>(PhantomData<T>);

impl<T: Title> Engine for Signed<T> {
    const NAME: &'static str = T::NAME;
    const ABOUT: &'static str = T::ABOUT;
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, config::Read>(),
        ask::<Self, config::Write>(),
        query::<Self, role::List>(),
        query::<Self, role::Read>(),
        command::<Self, role::Write>(),
        command::<Self, role::Delete>(),
        query::<Self, cel_role::List>(),
        query::<Self, cel_role::Read>(),
        command::<Self, cel_role::Write<0>>(),
        command::<Self, cel_role::Write<1>>(),
        command::<Self, cel_role::Delete>(),
        ask::<Self, auth_url::AuthUrl>(),
        command::<Self, page::Direct>(),
        command::<Self, page::Posted>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self(PhantomData))
    }
}

impl<T: Title> AuthMethod for Signed<T> {
    const LOGINS: &'static [LoginPoint<Self>] = &[
        ask_login::<Self, sign_in::SignIn<0>>(),
        ask_login::<Self, sign_in::SignIn<1>>(),
        ask_login::<Self, callback::Callback>(),
        ask_login::<Self, poll::Poll>(),
    ];

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let name = past.internal.get("role").and_then(Value::as_str).unwrap_or_default();
        if past.internal.get("role_type").and_then(Value::as_str) == Some("cel") {
            return cel_claim::renewed(past, name, cx);
        }
        let role = if name.is_empty() { None } else { ROLES.get(cx, name)? };
        let role = role.ok_or_else(|| Error::server(format!("role {name} does not exist during renewal")))?;
        Ok(Terms { policies: past.policies.to_vec(), ..role.token.terms() })
    }
}

/// The configuration, the only record of its table.
const CONFIG: Table<Config> = Table::new(1);
/// Roles by name.
const ROLES: Table<Role> = Table::new(2);
/// What the issuer publishes, as it was last fetched; the only record of its table.
const PROVIDER: Table<Provider> = Table::new(3);
/// Roles whose programs decide, by name.
const CEL_ROLES: Table<CelRole> = Table::new(4);

/// The name of an only record.
const ONLY: &str = "it";

/// The configuration with its keys parsed.
struct Setup {
    config: Config,
    keys: Vec<PublicKey>,
}

impl Setup {
    /// How this mount is set up. Nothing, before it is.
    fn of(cx: &impl Reads) -> Result<Arc<Option<Self>>> {
        cx.memo("setup", |cx| {
            let Some(config) = CONFIG.get(cx, ONLY)? else { return Ok(None) };
            let keys = config.jwt_validation_pubkeys.iter().filter_map(|pem| PublicKey::from_pem(pem));
            Ok(Some(Self { keys: keys.collect(), config }))
        })
    }
}

/// What was last fetched of the issuer, with its keys parsed.
struct Published {
    provider: Provider,
    keys: Vec<PublicKey>,
}

impl Published {
    fn of(cx: &impl Reads) -> Result<Arc<Option<Self>>> {
        cx.memo("published", |cx| {
            let Some(provider) = PROVIDER.get(cx, ONLY)? else { return Ok(None) };
            Ok(Some(Self { keys: provider.public_keys(), provider }))
        })
    }
}

/// What was fetched a moment ago.
fn recent(cx: &impl Reads) -> Arc<Recent> {
    cx.lasting()
}
