//! People with a name and a password.

use std::collections::BTreeMap;

use bcrypt::{HashParts, Version};
use kit::loose::{Names, Number, Span, Text, Texts};
use kit::{
    AuthMethod, Claim, Command, Endpoint, Engine, Error, Exists, Login, LoginPoint, Nothing, Query, Reading,
    Reads, Renewal, Reply, Result, Route, Secret, Table, Terms, Writing, command, login, query,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cidr;
use crate::listing::Keys;
use crate::token_params::{OldNames, TokenFields, TokenParams, same_policies};

/// How costly a guess is: 2¹⁰ rounds.
const COST: u32 = 10;
/// The least costly hash that there can be.
const COST_MIN: u32 = 4;
/// The most costly hash that is taken from outside: a guess then takes seconds of a core.
const COST_MAX: u32 = 15;
/// What bcrypt looks at. What is longer would not count, so it is refused.
const PASSWORD_SIZE_MAX: usize = 72;
/// The hash of no password, at the same cost: an unknown user takes as long as a known one.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuu5Qe3jmXrTFUxQ3aQ0yFgC4iRkIhvoQO";

/// Lets people in by name and password.
pub(crate) struct Userpass;

impl Engine for Userpass {
    const NAME: &'static str = "userpass";
    const ABOUT: &'static str = "Lets people in by name and password.";
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        query::<Self, List>(),
        query::<Self, Read>(),
        command::<Self, Write>(),
        command::<Self, Delete>(),
        command::<Self, SetPassword>(),
        command::<Self, SetPolicies>(),
    ];

    fn open(_: &Value) -> Result<Self> {
        Ok(Self)
    }
}

/// Someone who may log in.
#[derive(Default, Deserialize, Serialize)]
struct User {
    hash: Secret<String>,
    token: TokenParams,
    old_names: OldNames,
}

const USERS: Table<User> = Table::new(1);

impl AuthMethod for Userpass {
    const LOGINS: &'static [LoginPoint<Self>] = &[login::<Self, LogIn>()];

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        let name = past.metadata.get("username").map_or("", String::as_str);
        let user = if name.is_empty() { None } else { USERS.get(cx, name)? };
        let user = user
            .ok_or_else(|| Error::invalid(format!("user {name:?} does not exist any more: log in anew")))?;
        if !same_policies(&user.token.token_policies, past.policies) {
            return Err(Error::server("policies have changed, not renewing"));
        }
        Ok(user.token.terms())
    }
}

/// Logs in by name and password.
#[derive(Deserialize, JsonSchema)]
struct LogIn {
    /// Who.
    username: String,
    /// The password.
    #[serde(default)]
    password: Option<Secret<String>>,
}

impl Login<Userpass> for LogIn {
    const ROUTE: Route = Route::post("login/{username:lower}").heavy();

    fn who(&self) -> String {
        self.username.clone()
    }

    fn run(self, _: &Userpass, cx: &mut Writing<'_>) -> Result<Claim> {
        let given = self.password.filter(|password| !password.expose().is_empty());
        let password = given.ok_or_else(|| Error::invalid("missing password"))?;
        let user = USERS.get(cx, &self.username)?;
        let hash = user.as_ref().map_or(NOBODY, |user| user.hash.expose());
        // A hash that does not read matches nothing; passwords that are too long were never taken.
        let verify = || Ok((hash.to_owned(), bcrypt::verify(password.expose(), hash).unwrap_or(false)));
        let (verified, right) = cx.once(verify)?;
        // Run again after a conflict, it may be another user's or a changed password by now.
        let right = right && verified == hash;
        let user = match user {
            Some(user) if right && password.expose().len() <= PASSWORD_SIZE_MAX => user,
            _ => return Err(Error::credentials("invalid username or password")),
        };
        let bound = &user.token.token_bound_cidrs;
        if !bound.is_empty() && !cx.remote().address.is_some_and(|address| cidr::any_holds(bound, address)) {
            return Err(Error::denied());
        }
        Ok(Claim {
            called: None,
            alias: self.username.clone(),
            display_name: self.username.clone(),
            metadata: BTreeMap::from([("username".to_owned(), self.username)]),
            terms: user.token.terms(),
            ..Claim::default()
        })
    }
}

/// Lists the users.
#[derive(Deserialize, JsonSchema)]
struct List {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Userpass> for List {
    const ROUTE: Route = Route::list("users");
    type Reply = Keys;

    fn run(self, _: &Userpass, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&USERS.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads what is set for a user, without the password.
#[derive(Deserialize, JsonSchema)]
struct Read {
    /// Who.
    username: String,
}

/// What is set for a user. The names without `token_` are old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    #[serde(flatten)]
    token: TokenParams,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

impl Query<Userpass> for Read {
    const ROUTE: Route = Route::get("users/{username:lower}");
    type Reply = Shown;

    fn run(self, _: &Userpass, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let User { token, old_names, .. } = USERS.get(cx, &self.username)?.ok_or_else(Error::not_found)?;
        let shown = Shown {
            bound_cidrs: old_names.shown("bound_cidrs", &token.token_bound_cidrs),
            max_ttl: old_names.shown("max_ttl", &token.token_max_ttl),
            policies: old_names.shown("policies", &token.token_policies),
            ttl: old_names.shown("ttl", &token.token_ttl),
            token,
        };
        Ok(shown.into())
    }
}

/// Creates a user, or changes what is set. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
struct Write {
    /// Who.
    username: String,
    /// The password. A new user needs one, or its hash.
    #[serde(default)]
    password: Option<Secret<String>>,
    /// The password as a bcrypt hash.
    #[serde(default)]
    password_hash: Option<Secret<String>>,
    #[serde(rename = "token_*")]
    token: TokenFields,
    /// The old name of `token_policies`.
    #[serde(default)]
    policies: Option<Names>,
    /// The old name of `token_ttl`.
    #[serde(default)]
    ttl: Option<Span>,
    /// The old name of `token_max_ttl`.
    #[serde(default)]
    max_ttl: Option<Span>,
    /// The old name of `token_bound_cidrs`.
    #[serde(default)]
    bound_cidrs: Option<Texts>,
}

impl Command<Userpass> for Write {
    const ROUTE: Route = Route::post("users/{username:lower}").heavy();
    const EXISTS: Option<Exists<Userpass>> =
        Some(|_, path, cx| USERS.has(cx, path.get("username")).map(Some));
    type Reply = Nothing;

    fn run(mut self, _: &Userpass, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let found = USERS.get(cx, &self.username)?;
        let is_new = found.is_none();
        let mut user = found.unwrap_or_default();
        user.old_names.settle("policies", &mut self.token.policies, self.policies);
        user.old_names.settle("ttl", &mut self.token.ttl, self.ttl);
        user.old_names.settle("max_ttl", &mut self.token.max_ttl, self.max_ttl);
        user.old_names.settle("bound_cidrs", &mut self.token.bound_cidrs, self.bound_cidrs);
        user.token.apply(&self.token)?;
        match hash(cx, self.password.as_ref(), self.password_hash.as_ref())? {
            Some(hash) => user.hash = Secret::new(hash),
            None if is_new => return Err(Error::invalid("must provide either password or password_hash")),
            None => {}
        }
        USERS.put(cx, &self.username, &user)?;
        Ok(Reply::Nothing)
    }
}

/// What is to be stored of a password, however it was given. Nothing if it was not.
fn hash(
    cx: &mut Writing<'_>,
    password: Option<&Secret<String>>,
    ready: Option<&Secret<String>>,
) -> Result<Option<String>> {
    let given = |secret: &&Secret<String>| !secret.expose().is_empty();
    match (password.filter(given), ready.filter(given)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::invalid("only one of password or password_hash may be provided")),
        (None, Some(ready)) => checked(ready.expose()).map(Some),
        (Some(password), None) if password.expose().len() > PASSWORD_SIZE_MAX => {
            Err(Error::listed(format!("bcrypt: password length exceeds {PASSWORD_SIZE_MAX} bytes")))
        }
        (Some(password), None) => {
            let salt = cx.random();
            let refused = |error| Error::invalid(format!("the password cannot be hashed: {error}"));
            let work = || bcrypt::hash_with_salt(password.expose(), COST, salt).map_err(refused);
            cx.once(|| Ok(work()?.format_for_version(Version::TwoA))).map(Some)
        }
    }
}

fn checked(hash: &str) -> Result<String> {
    let wrong = || Error::invalid("password_hash is not a valid bcrypt hash");
    let parts: HashParts = hash.parse().map_err(|_| wrong())?;
    match parts.get_cost() {
        COST_MIN..=COST_MAX => Ok(hash.to_owned()),
        cost => Err(Error::invalid(format!(
            "password_hash has cost {cost}: it must be between {COST_MIN} and {COST_MAX}"
        ))),
    }
}

/// Deletes a user.
#[derive(Deserialize, JsonSchema)]
struct Delete {
    /// Who.
    username: String,
}

impl Command<Userpass> for Delete {
    const ROUTE: Route = Route::delete("users/{username:lower}");
    type Reply = Nothing;

    fn run(self, _: &Userpass, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        USERS.delete(cx, &self.username)?;
        Ok(Reply::Nothing)
    }
}

fn known(cx: &impl Reads, username: &str) -> Result<User> {
    USERS.get(cx, username)?.ok_or_else(|| Error::listed("username does not exist"))
}

/// Sets the password of a user.
#[derive(Deserialize, JsonSchema)]
struct SetPassword {
    /// Who.
    username: String,
    /// The password.
    #[serde(default)]
    password: Option<Secret<String>>,
    /// The password as a bcrypt hash.
    #[serde(default)]
    password_hash: Option<Secret<String>>,
}

impl Command<Userpass> for SetPassword {
    const ROUTE: Route = Route::post("users/{username:lower}/password").heavy();
    type Reply = Nothing;

    fn run(self, _: &Userpass, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut user = known(cx, &self.username)?;
        let hash = hash(cx, self.password.as_ref(), self.password_hash.as_ref())?;
        let hash = hash.ok_or_else(|| Error::invalid("must provide either password or password_hash"))?;
        user.hash = Secret::new(hash);
        USERS.put(cx, &self.username, &user)?;
        Ok(Reply::Nothing)
    }
}

/// Sets the policies of a user.
#[derive(Deserialize, JsonSchema)]
struct SetPolicies {
    /// Who.
    username: String,
    /// What the user's tokens may do.
    #[serde(default)]
    token_policies: Option<Names>,
    /// The old name of `token_policies`.
    #[serde(default)]
    policies: Option<Names>,
}

impl Command<Userpass> for SetPolicies {
    const ROUTE: Route = Route::post("users/{username:lower}/policies");
    type Reply = Nothing;

    fn run(self, _: &Userpass, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut user = known(cx, &self.username)?;
        let mut fields = TokenFields { policies: self.token_policies, ..TokenFields::default() };
        user.old_names.settle("policies", &mut fields.policies, self.policies);
        user.token.apply(&fields)?;
        USERS.put(cx, &self.username, &user)?;
        Ok(Reply::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_costs_what_a_known_one_does() {
        let parts: HashParts = NOBODY.parse().unwrap();
        assert_eq!(parts.get_cost(), COST);
    }

    #[test]
    fn a_ready_hash_is_looked_at() {
        assert!(checked("$2a$10$abcdefghijklmnopqrstuu5Qe3jmXrTFUxQ3aQ0yFgC4iRkIhvoQO").is_ok());
        for wrong in ["", "y", "$2a$10$short", "$1a$10$abcdefghijklmnopqrstuu5Qe3jmXrTFUxQ3aQ0yFgC4iRkIhvoQO"]
        {
            assert_eq!(checked(wrong).unwrap_err().to_string(), "password_hash is not a valid bcrypt hash");
        }
        let costly = checked("$2a$31$abcdefghijklmnopqrstuu5Qe3jmXrTFUxQ3aQ0yFgC4iRkIhvoQO").unwrap_err();
        assert_eq!(costly.to_string(), "password_hash has cost 31: it must be between 4 and 15");
    }
}
