//! People whom a directory knows.

mod config;
mod directory;
mod groups;
mod names;
mod search;
mod sign_in;
mod tls;
mod users;

use kit::{
    AuthMethod, Called, Endpoint, Engine, Error, LoginPoint, Reading, Renewal, Result, Table, Terms,
    ask_login, command, query,
};
use serde_json::Value;

use crate::token_params::same_policies;
use config::Config;
use users::User;

/// Lets people in by the name and password that a directory knows.
pub(crate) struct Ldap;

impl Engine for Ldap {
    const NAME: &'static str = "ldap";
    const ABOUT: &'static str = "Lets people in by the name and password that an LDAP directory knows.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, config::ReadConfig>(),
        command::<Self, config::WriteConfig>(),
        query::<Self, groups::ListGroups>(),
        query::<Self, groups::ReadGroup>(),
        command::<Self, groups::WriteGroup>(),
        command::<Self, groups::DeleteGroup>(),
        query::<Self, users::ListUsers>(),
        query::<Self, users::ReadUser>(),
        command::<Self, users::WriteUser>(),
        command::<Self, users::DeleteUser>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }

    /// As the record is called. What is no name is refused when it is used.
    fn called(&self, name: &str, cx: &Reading<'_>) -> Result<Called> {
        let case = groups::case(cx)?;
        Ok(match (names::canonical(name, case), case) {
            (Some(name), names::Case::Ignored) => Called::InAnyCase(name),
            (Some(name), names::Case::Exact) => Called::InThisCase(name),
            (None, _) => Called::InThisCase(name.to_owned()),
        })
    }
}

/// The settings of the mount.
const CONFIG: Table<Config> = Table::new(1);
/// What users get besides, by their names.
const USERS: Table<User> = Table::new(2);
/// The policies of groups, by their names.
const GROUPS: Table<Vec<String>> = Table::new(3);

impl AuthMethod for Ldap {
    const LOGINS: &'static [LoginPoint<Self>] = &[ask_login::<Self, sign_in::LogIn>()];

    /// Nobody's password is kept, so the directory is not asked. What is set here is read again.
    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let config = CONFIG.get(cx, config::KEY)?.ok_or_else(not_configured)?;
        let kept = |what: &str| {
            let all = past.internal.get(what).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned)
        };
        // Tokens of earlier versions have no names beside that one.
        let names = kept("names").chain(past.metadata.get("username").cloned()).collect();
        let granted = sign_in::grant(&config, &names, kept("groups").collect(), cx)?;
        if !same_policies(&granted.policies, past.policies) {
            return Err(Error::server("policies have changed, not renewing"));
        }
        Ok(Terms { policies: granted.policies, groups: Some(granted.groups), ..config.token.terms() })
    }
}

fn not_configured() -> Error {
    Error::invalid("ldap backend not configured")
}
