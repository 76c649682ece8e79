//! Machines with a certificate.

mod chain;
mod config;
mod crls;
mod ocsp;
mod refresh;
mod role;
mod rules;
mod sign_in;

use kit::{
    AuthMethod, Endpoint, Engine, Error, LoginPoint, Reading, Reads, Renewal, Result, Table, Terms,
    VersionTable, ask, ask_login, command, query,
};
use serde_json::Value;

use crate::token_params::same_policies;
use chain::Shown;
use config::Config;
use crls::List;
use role::Role;

/// Lets in by the certificate of the connection.
pub(crate) struct Cert;

impl Engine for Cert {
    const NAME: &'static str = "cert";
    const ABOUT: &'static str = "Lets machines in by the TLS client certificate that they show.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, role::ListRoles>(),
        query::<Self, role::ReadRole>(),
        command::<Self, role::WriteRole>(),
        command::<Self, role::DeleteRole>(),
        query::<Self, config::ReadConfig>(),
        command::<Self, config::WriteConfig>(),
        query::<Self, crls::ListLists>(),
        query::<Self, crls::ReadList>(),
        ask::<Self, crls::WriteList>(),
        command::<Self, crls::DeleteList>(),
        ask::<Self, refresh::Refresh>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// Roles by name.
const ROLES: Table<Role> = Table::new(1);
/// The settings of the mount.
const CONFIG: Table<Config> = Table::new(2);
/// Revocation lists by name.
const LISTS: Table<List> = Table::new(3);
/// The serials of a list in pieces.
const SERIALS: VersionTable<Vec<String>> = VersionTable::new(4);

impl AuthMethod for Cert {
    const LOGINS: &'static [LoginPoint<Self>] = &[ask_login::<Self, sign_in::SignIn>()];

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let kept = |key: &str| past.internal.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = kept("role");
        let role = if name.is_empty() { None } else { ROLES.get(cx, name)? };
        let role = role.ok_or_else(|| {
            Error::invalid(format!("certificate role {name:?} does not exist any more: log in anew"))
        })?;
        if !CONFIG.get(cx, config::KEY)?.unwrap_or_default().disable_binding {
            let shown = Shown::of(cx.remote())?;
            sign_in::judge(&role, &shown, cx)?;
            if shown.key_hash() != kept("key") || shown.common_name() != kept("common_name") {
                let text = "client identity during renewal not matching client identity used during login";
                return Err(Error::invalid(text));
            }
        }
        if !same_policies(&role.token.token_policies, past.policies) {
            return Err(Error::server("policies have changed, not renewing"));
        }
        Ok(role.token.terms())
    }
}
