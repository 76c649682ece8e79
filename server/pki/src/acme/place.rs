//! The directories: where a request came in, whether it may, and by which role and issuer it is served.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use kit::loose::Text;
use kit::{Command, Error, Nothing, Page, Reads, Reply, Route, Writing};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::config::{self, AcmeConfig, NO_PATH, Policy};
use super::problem::{Kind, Refused, Result};
use crate::Pki;
use crate::authorities::{DEFAULT, authorities};
use crate::role::Role;
use crate::rules::Rules;
use crate::store::{CLUSTER, Id, ROLES};

/// The role and the issuer that a path names.
#[derive(Clone, Default)]
pub(crate) struct Place {
    role: Option<String>,
    issuer: Option<String>,
}

/// The places of the routes: of the mount, of a role, of an issuer, of both.
pub(crate) const BY_ROLE: usize = 1;
/// The place of the routes whose path names an issuer.
pub(crate) const BY_ISSUER: usize = 2;
/// The place of the routes whose path names both.
pub(crate) const BY_BOTH: usize = 3;

impl Place {
    /// What the path names. What a body may say of it is of no account.
    pub(super) fn of(at: usize, role: Option<Text>, issuer: Option<Text>) -> Self {
        let named = |is: bool, text: Option<Text>| text.filter(|_| is).map(|text| text.0);
        Self {
            role: named(matches!(at, BY_ROLE | BY_BOTH), role),
            issuer: named(matches!(at, BY_ISSUER | BY_BOTH), issuer),
        }
    }

    /// The directory below the mount, with its slash at the end.
    pub(super) fn path(&self) -> String {
        match (&self.issuer, &self.role) {
            (None, None) => "acme/".to_owned(),
            (None, Some(role)) => format!("roles/{role}/acme/"),
            (Some(issuer), None) => format!("issuer/{issuer}/acme/"),
            (Some(issuer), Some(role)) => format!("issuer/{issuer}/roles/{role}/acme/"),
        }
    }
}

/// An operation that answers in all four places.
pub(crate) trait Operation: DeserializeOwned + JsonSchema {
    /// Where.
    const ROUTES: [Route; 4];

    /// Does it. The number is that of the place.
    fn run(self, at: usize, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>>;
}

/// An operation in one of its places. What does not depend on the place is there once.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct At<const AT: usize, O>(pub(super) O);

impl<const AT: usize, O: JsonSchema> JsonSchema for At<AT, O> {
    fn schema_name() -> Cow<'static, str> {
        O::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        O::json_schema(generator)
    }
}

impl<const AT: usize, O: Operation> Command<Pki> for At<AT, O> {
    const ROUTE: Route = O::ROUTES[AT];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> kit::Result<Reply<Nothing>> {
        self.0.run(AT, cx)
    }
}

/// The four routes of an operation.
macro_rules! routes {
    ($verb:ident $path:literal $(. $mark:ident)*) => {{
        const fn marked(route: kit::Route) -> kit::Route {
            route$(.$mark())*
        }
        [
            marked(kit::Route::$verb(concat!("acme/", $path))),
            marked(kit::Route::$verb(concat!("roles/{role}/acme/", $path))),
            marked(kit::Route::$verb(concat!("issuer/{issuer_ref}/acme/", $path))),
            marked(kit::Route::$verb(concat!("issuer/{issuer_ref}/roles/{role}/acme/", $path))),
        ]
    }};
}

pub(super) use routes;

/// A directory that is open.
pub(super) struct Directory {
    /// How ACME is offered.
    pub(super) config: Arc<AcmeConfig>,
    /// The directory below the mount, with its slash at the end.
    pub(super) path: String,
    /// The issuer that signs, as long as it can.
    pub(super) issuer: Id,
    can_sign: bool,
    /// Whether the role wants a common name.
    pub(super) wants_common_name: bool,
    /// The role, of which the rules are made.
    role: Role,
    role_name: String,
    base: String,
    place: Place,
}

impl Directory {
    /// Opens it, if it is there.
    pub(super) fn open(cx: &impl Reads, place: &Place) -> Result<Self> {
        let config = config::config(cx)?;
        if !config.enabled {
            // Where ACME is not offered there is nothing at all.
            let page = Page { status: 404, kind: "application/json", ..Page::default() };
            return Err(Error::not_found().shown_as(page).into());
        }
        let cluster = CLUSTER.get(cx)?.path;
        if cluster.is_empty() {
            return Err(Refused::new(Kind::ServerInternal, NO_PATH));
        }
        let base = format!("{}/{}", cluster.trim_end_matches('/'), place.path());
        let chosen = role(cx, &config, place)?;
        Self::under(cx, config, place, base, chosen)
    }

    fn under(
        cx: &impl Reads,
        config: Arc<AcmeConfig>,
        place: &Place,
        base: String,
        (mut role, role_name): (Role, String),
    ) -> Result<Self> {
        let (issuer, can_sign) = issuer(cx, &config, place, &role)?;
        // Names are what counts; one of them becomes the common name, if one can.
        let wants_common_name = std::mem::take(&mut role.require_cn);
        if !config.allow_role_ext_key_usage {
            role.ext_key_usage = Vec::new();
            role.ext_key_usage_oids = Vec::new();
            role.server_flag = true;
            role.client_flag = false;
            role.code_signing_flag = false;
            role.email_protection_flag = false;
        }
        let (path, place) = (place.path(), place.clone());
        Ok(Self { config, path, issuer, can_sign, wants_common_name, role, role_name, base, place })
    }

    /// Refuses to begin or to sign what its issuer cannot sign any more: it was revoked, or another has taken its place. All that is
    /// about certificates it has signed goes on.
    pub(super) fn check_signs(&self) -> Result<()> {
        match self.can_sign {
            true => Ok(()),
            false => {
                let why = "issuer missing proper issuance usage or key";
                Err(Refused::new(Kind::ServerInternal, why).with_status(503))
            }
        }
    }

    /// The same directory under the role of a profile; nothing, if none is asked for.
    pub(super) fn in_profile(&self, cx: &impl Reads, profile: Option<&str>) -> Result<Option<Self>> {
        let Some(profile) = profile else { return Ok(None) };
        let role = self.profiles().get(profile).ok_or_else(|| {
            let known: Vec<_> = self.profiles().keys().map(String::as_str).collect();
            let why = format!("{profile:?}; this directory offers [{}]", known.join(", "));
            Refused::new(Kind::InvalidProfile, why)
        })?;
        let chosen = named(cx, &self.config, role)?;
        Self::under(cx, Arc::clone(&self.config), &self.place, self.base.clone(), chosen).map(Some)
    }

    /// The role behind each profile that is offered here: none, where the path names a role.
    pub(super) fn profiles(&self) -> &BTreeMap<String, String> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        if self.place.role.is_none() { &self.config.profiles } else { NONE }
    }

    /// The URL of what lies in it.
    pub(super) fn url(&self, rest: impl std::fmt::Display) -> String {
        format!("{}{rest}", self.base)
    }

    /// What every answer points to.
    pub(super) fn index(&self) -> (&'static str, String) {
        ("link", format!("<{}>;rel=\"index\"", self.url("directory")))
    }

    /// What names are judged by.
    pub(super) fn rules(&self) -> Result<Rules> {
        Ok(Rules::of(&self.role)?)
    }

    /// The role, as a refusal names it.
    pub(super) fn role_name(&self) -> &str {
        &self.role_name
    }
}

fn role(cx: &impl Reads, config: &AcmeConfig, place: &Place) -> Result<(Role, String)> {
    match (&place.role, config.policy()?) {
        (Some(name), _) => named(cx, config, name),
        (None, Policy::Forbid) => {
            Err(Refused::new(Kind::ServerInternal, "default directory not allowed by ACME policy"))
        }
        (None, Policy::Verbatim) => Ok((verbatim(), "sign-verbatim".to_owned())),
        (None, Policy::Role(name)) => named(cx, config, name),
    }
}

fn named(cx: &impl Reads, config: &AcmeConfig, name: &str) -> Result<(Role, String)> {
    if !config.allows_role(name) {
        return Err(Refused::new(Kind::ServerInternal, "specified role not allowed by ACME policy"));
    }
    let role = ROLES.get(cx, name)?.ok_or_else(|| Refused::new(Kind::Malformed, "role does not exist"))?;
    if role.no_store {
        let why = "role can not be used as NoStore is set to true";
        return Err(Refused::new(Kind::ServerInternal, why));
    }
    // A lease would end the certificate without its holder knowing.
    Ok((Role { generate_lease: false, ..role }, name.to_owned()))
}

/// Any name that is proved, for any key.
fn verbatim() -> Role {
    Role {
        allow_any_name: true,
        cn_validations: vec!["disabled".to_owned()],
        enforce_hostnames: false,
        key_type: "any".to_owned(),
        require_cn: false,
        ..Role::default()
    }
}

/// The issuer of a place, and whether it can sign.
fn issuer(cx: &impl Reads, config: &AcmeConfig, place: &Place, role: &Role) -> Result<(Id, bool)> {
    let reference = match (&place.issuer, role.issuer_ref.as_str()) {
        (Some(named), _) => named.as_str(),
        (None, "") => DEFAULT,
        (None, own) => own,
    };
    let all = authorities(cx)?;
    let issuer =
        all.issuer(reference).ok_or_else(|| Refused::new(Kind::Malformed, "issuer does not exist"))?;
    let allowed = |name: &String| all.issuer(name).is_some_and(|allowed| allowed.id == issuer.id);
    if !config.allows_any_issuer() && !config.allowed_issuers.iter().any(allowed) {
        return Err(Refused::new(Kind::ServerInternal, "specified issuer not allowed by ACME policy"));
    }
    Ok((issuer.id, issuer.record.usage.issuing && issuer.key.is_some()))
}
