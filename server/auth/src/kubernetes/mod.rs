//! Pods, by the token of their service account.
//!
//! The token is held against the role first, and then shown to the cluster, which says whether it is still good: a
//! pod that was deleted cannot log in. So whether the cluster's keys are known here or not, nobody gets in whom the
//! cluster does not vouch for.

mod account;
mod config;
mod review;
mod role;
mod selector;
mod sign_in;

use std::sync::Arc;

use jws::PublicKey;
use kit::{
    AuthMethod, Endpoint, Engine, Error, LoginPoint, Reading, Reads, Renewal, Result, Table, Terms, ask,
    ask_login, command, query,
};
use serde_json::Value;

use config::Config;
use role::Role;

/// Lets pods in by the token of their service account.
pub(crate) struct Kubernetes;

impl Engine for Kubernetes {
    const NAME: &'static str = "kubernetes";
    const ABOUT: &'static str = "Lets pods in by the token of their service account.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, config::Read>(),
        ask::<Self, config::Write>(),
        query::<Self, role::List>(),
        query::<Self, role::Read>(),
        command::<Self, role::Write>(),
        command::<Self, role::Delete>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

impl AuthMethod for Kubernetes {
    const LOGINS: &'static [LoginPoint<Self>] = &[ask_login::<Self, sign_in::SignIn>()];

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let name = past.internal.get("role").and_then(Value::as_str).unwrap_or_default();
        let role = if name.is_empty() { None } else { ROLES.get(cx, name)? };
        let role = role.ok_or_else(|| Error::server(format!("role {name} does not exist during renewal")))?;
        Ok(Terms { policies: past.policies.to_vec(), ..role.token.terms() })
    }
}

/// The configuration, the only record of its table.
const CONFIG: Table<Config> = Table::new(1);
/// Roles by name.
const ROLES: Table<Role> = Table::new(2);

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
            let keys = config.pem_keys.iter().filter_map(|pem| PublicKey::from_pem(pem)).collect();
            Ok(Some(Self { config, keys }))
        })
    }
}
