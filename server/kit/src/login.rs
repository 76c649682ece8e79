use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::any::Listed;
use crate::ask::{Asking, Heard};
use crate::context::{Reading, Reads, Recording, Writing};
use crate::error::{Error, Result};
use crate::fields::Fields;
use crate::operation::{Engine, tell};
use crate::route::{Captures, Match, Route, Verb};
use crate::shape::Shape;

/// An engine that can say who someone is.
pub trait AuthMethod: Engine {
    /// The ways in.
    const LOGINS: &'static [LoginPoint<Self>];

    /// Whether each login is by a role, so that quotas can be set for one.
    const HAS_ROLES: bool = false;

    /// The role that a login names, as far as it can be told before the proof is looked at.
    ///
    /// # Errors
    /// If the parameters do not read.
    fn role(&self, fields: &Fields<'_>, _cx: &Reading<'_>) -> Result<Option<String>> {
        Ok(fields.as_map()?.get("role").and_then(Value::as_str).map(str::to_owned))
    }

    /// Whether who once came in may stay longer, and on what terms now.
    ///
    /// # Errors
    /// If they may not: their user or role is gone, or its policies have changed.
    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms>;
}

/// Turns proof into a claim. It cannot make a token: the kernel does, and only from this.
pub trait Login<M: AuthMethod>: DeserializeOwned + JsonSchema {
    /// Where it answers. It wants no token.
    const ROUTE: Route;

    /// Whom this claims to be, for the counter of failed logins.
    fn who(&self) -> String;

    /// Looks at the proof.
    ///
    /// # Errors
    /// [`Error::credentials`](crate::Error::credentials) if it is wrong.
    fn run(self, method: &M, cx: &mut Writing<'_>) -> Result<Claim>;
}

/// Who someone was found to be.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Their name in this method, which identity maps to an entity. Empty: no entity.
    pub alias: String,
    /// Whom the counter of failed logins knows them as, if not as [`Login::who`] says: the method has learnt it.
    pub called: Option<String>,
    /// What identity writes down about the alias.
    pub alias_metadata: BTreeMap<String, String>,
    /// The groups of the outside that they belong to.
    pub groups: Vec<String>,
    /// How the method calls them; the mount's name is put in front.
    pub display_name: String,
    /// What the token carries and audit shows.
    pub metadata: BTreeMap<String, String>,
    /// What the token may do and for how long.
    pub terms: Terms,
    /// What `renew` is given back.
    pub internal: Value,
}

/// What a token may do and for how long.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Terms {
    /// Policies by name; `default` is added unless `no_default_policy`.
    pub policies: Vec<String>,
    /// How long; nothing: as the mount says.
    pub ttl: Duration,
    /// How long with all renewals; nothing: as the mount says.
    pub max_ttl: Duration,
    /// How long with all renewals whatever else changes; nothing: no such bound.
    pub explicit_max_ttl: Duration,
    /// Renewals begin anew each time, for this long; nothing: no such token.
    pub period: Duration,
    /// How many requests; 0: any number.
    pub num_uses: u64,
    /// Leaves `default` out.
    pub no_default_policy: bool,
    /// Addresses it may be used from; empty: any.
    pub bound_cidrs: Vec<String>,
    /// It may be used only from the address that logged in, whatever `bound_cidrs` says.
    pub bind_ip: bool,
    /// `service`, `batch`, `default`, `default-service`, `default-batch`, or empty.
    pub token_type: String,
    /// It cannot be renewed.
    pub not_renewable: bool,
    /// At a renewal: the groups of the outside as they are now. Nothing: as they were at login.
    pub groups: Option<Vec<String>>,
}

/// A token of a method that is to live longer.
#[derive(Debug)]
pub struct Renewal<'a> {
    /// What the login's claim kept for this.
    pub internal: &'a Value,
    /// The policies that the token was given at login, `default` aside.
    pub policies: &'a [String],
    /// What the token carries.
    pub metadata: &'a BTreeMap<String, String>,
}

/// One line of a method's table of logins. There is no such table on a secrets engine.
pub struct LoginPoint<M: AuthMethod> {
    /// Where it answers.
    pub route: Route,
    /// What it takes.
    pub fields: Shape,
    pub(crate) who: fn(&Fields<'_>) -> Result<String>,
    pub(crate) call: LoginCall<M>,
}

pub(crate) enum LoginCall<M: AuthMethod> {
    Run(fn(&M, &mut Writing<'_>, &Fields<'_>) -> Result<Claim>),
    Ask {
        facts: fn(&M, &Recording<'_>, &Fields<'_>) -> Result<Asking>,
        run: fn(&M, &mut Writing<'_>, &Fields<'_>, &Heard) -> Result<Claim>,
    },
}

/// A method as the kernel holds it.
pub trait AnyMethod: Send + Sync {
    /// The login that answers here.
    fn find_login<'a>(&self, verb: Verb, path: &'a str) -> Option<(usize, Route, Match<'a>)>;

    /// Whom the caller claims to be.
    ///
    /// # Errors
    /// If the parameters do not read.
    fn who(&self, point: usize, fields: &Fields<'_>) -> Result<String>;

    /// Whether this login has to ask outside first.
    fn asks(&self, point: usize) -> bool;

    /// What a login that asks outside wants to know.
    ///
    /// # Errors
    /// Those of the login.
    fn facts(&self, point: usize, cx: &Recording<'_>, fields: &Fields<'_>) -> Result<Asking>;

    /// Looks at the proof, and at what was heard by a login that asks.
    ///
    /// # Errors
    /// Those of the login.
    fn login(
        &self,
        point: usize,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: Option<&Heard>,
    ) -> Result<Claim>;

    /// Whether each login is by a role.
    fn has_roles(&self) -> bool;

    /// The role that a login names.
    ///
    /// # Errors
    /// If the parameters do not read.
    fn role(&self, fields: &Fields<'_>, cx: &Reading<'_>) -> Result<Option<String>>;

    /// Whether a token of this method may live longer.
    ///
    /// # Errors
    /// If it may not.
    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms>;

    /// Every way in, with the schema of what it takes.
    fn logins(&self) -> Vec<Listed>;
}

/// A line for a [`Login`].
pub const fn login<M: AuthMethod, L: Login<M>>() -> LoginPoint<M> {
    fn run<M: AuthMethod, L: Login<M>>(
        method: &M,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
    ) -> Result<Claim> {
        let (login, ignored) = fields.parse::<L>()?;
        let claim = login.run(method, cx)?;
        tell(ignored, cx.notes());
        Ok(claim)
    }
    fn who<M: AuthMethod, L: Login<M>>(fields: &Fields<'_>) -> Result<String> {
        Ok(fields.parse::<L>()?.0.who())
    }
    LoginPoint {
        route: L::ROUTE.unauthenticated(),
        fields: Shape::of::<L>(),
        who: who::<M, L>,
        call: LoginCall::Run(run::<M, L>),
    }
}

impl<M: AuthMethod> AnyMethod for M {
    fn find_login<'a>(&self, verb: Verb, path: &'a str) -> Option<(usize, Route, Match<'a>)> {
        let points = M::LOGINS.iter().enumerate().filter(|(_, point)| point.route.verb == Some(verb));
        points
            .map(|(index, point)| (index, point.route, point.route.captures(path)))
            .find(|(_, _, fit)| !matches!(fit, Match::No))
    }

    fn who(&self, point: usize, fields: &Fields<'_>) -> Result<String> {
        M::LOGINS.get(point).map_or_else(|| Ok(String::new()), |point| (point.who)(fields))
    }

    fn asks(&self, point: usize) -> bool {
        M::LOGINS.get(point).is_some_and(|point| matches!(point.call, LoginCall::Ask { .. }))
    }

    fn facts(&self, point: usize, cx: &Recording<'_>, fields: &Fields<'_>) -> Result<Asking> {
        match M::LOGINS.get(point).map(|point| &point.call) {
            Some(LoginCall::Ask { facts, .. }) => facts(self, cx, fields),
            _ => Err(Error::internal("the kernel took this login for one that asks")),
        }
    }

    fn login(
        &self,
        point: usize,
        cx: &mut Writing<'_>,
        fields: &Fields<'_>,
        heard: Option<&Heard>,
    ) -> Result<Claim> {
        match (M::LOGINS.get(point).map(|point| &point.call), heard) {
            (Some(LoginCall::Run(run)), _) => run(self, cx, fields),
            (Some(LoginCall::Ask { run, .. }), Some(heard)) => run(self, cx, fields, heard),
            _ => Err(Error::internal("a login that asks was run before it had asked")),
        }
    }

    fn has_roles(&self) -> bool {
        M::HAS_ROLES
    }

    fn role(&self, fields: &Fields<'_>, cx: &Reading<'_>) -> Result<Option<String>> {
        if M::HAS_ROLES { AuthMethod::role(self, fields, cx) } else { Ok(None) }
    }

    fn renew(&self, past: &Renewal<'_>, cx: &Reading<'_>) -> Result<Terms> {
        AuthMethod::renew(self, past, cx)
    }

    fn logins(&self) -> Vec<Listed> {
        let listed = |point: &LoginPoint<M>| Listed::login(point.route, point.fields.schema());
        M::LOGINS.iter().map(listed).collect()
    }
}

impl<M: AuthMethod> LoginPoint<M> {
    /// The pieces of `path` that this login captures, for tests of a method alone.
    pub fn captures<'a>(&self, path: &'a str) -> Option<Captures<'a>> {
        match self.route.captures(path) {
            Match::Yes(captures) => Some(captures),
            _ => None,
        }
    }
}
