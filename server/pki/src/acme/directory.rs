//! The directory itself, and nonces for first requests.

use std::collections::BTreeMap;

use kit::loose::{Span, Text};
use kit::{Command, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::EabPolicy;
use super::place::{Directory, Place, routes};
use super::problem::{Kind, Refused};
use super::signed::Desk;
use crate::Pki;
use crate::store::ROLES;

/// Shows where everything of an ACME directory is.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ShowDirectory<const AT: usize> {
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

/// Where everything is.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    key_change: String,
    meta: Meta,
    new_account: String,
    new_authz: String,
    new_nonce: String,
    new_order: String,
    renewal_info: String,
    revoke_cert: String,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caa_identities: Vec<String>,
    external_account_required: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    profiles: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms_of_service: Option<String>,
}

const ROUTES: [Route; 4] = routes!(get "directory".unauthenticated);

impl<const AT: usize> Query<Pki> for ShowDirectory<AT> {
    const ROUTE: Route = ROUTES[AT];
    type Reply = Shown;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        shown(cx, &Place::of(AT, self.role, self.issuer_ref))
    }
}

fn shown(cx: &Reading<'_>, place: &Place) -> Result<Reply<Shown>> {
    let directory = opened(cx, place)?;
    let terms = &directory.config.terms_of_service;
    let terms_of_service = (!terms.is_empty()).then(|| terms.clone());
    let meta = Meta {
        caa_identities: directory.config.caa_identities.clone(),
        external_account_required: directory.config.eab_policy != EabPolicy::NotRequired,
        profiles: described(cx, &directory)?,
        terms_of_service,
    };
    Ok(Reply::Bare(Shown {
        key_change: directory.url("key-change"),
        meta,
        new_account: directory.url("new-account"),
        new_authz: directory.url("new-authz"),
        new_nonce: directory.url("new-nonce"),
        new_order: directory.url("new-order"),
        renewal_info: directory.url("renewal-info"),
        revoke_cert: directory.url("revoke-cert"),
    }))
}

/// The profiles that can be chosen here, each in a sentence for people.
fn described(cx: &impl Reads, directory: &Directory) -> Result<BTreeMap<String, String>> {
    let mut described = BTreeMap::new();
    for (profile, role) in directory.profiles() {
        let Some(found) = ROLES.get(cx, role)? else { continue };
        let longest = if found.max_ttl == 0 { cx.mount().max_ttl.as_secs() } else { found.max_ttl };
        let life = longest.min(directory.config.max_ttl);
        let life = Span::from_seconds(i64::try_from(life).unwrap_or(i64::MAX)).go();
        described.insert(profile.clone(), format!("as the role {role} allows, for {life} at most"));
    }
    Ok(described)
}

/// Opens a directory for a request that nobody signed.
pub(super) fn opened(cx: &impl Reads, place: &Place) -> Result<Directory> {
    Directory::open(cx, place).map_err(|refused| match refused {
        Refused::Error(error) if error.fault() == kit::Fault::NotFound => error,
        refused => refused.into_error(Vec::new()),
    })
}

/// Says that what is there is asked for by signed requests alone (RFC 8555 §6.3).
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Refuse<const AT: usize> {
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// What was asked for.
    resource: String,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

/// What begins the paths that signed requests go to.
const POSTED: [&str; 10] = [
    "account",
    "authorization",
    "challenge",
    "key-change",
    "new-account",
    "new-authz",
    "new-order",
    "order",
    "orders",
    "revoke-cert",
];

const REFUSE_ROUTES: [Route; 4] = routes!(get "{resource+}".unauthenticated);

impl<const AT: usize> Query<Pki> for Refuse<AT> {
    const ROUTE: Route = REFUSE_ROUTES[AT];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let directory = opened(cx, &Place::of(AT, self.role, self.issuer_ref))?;
        let first = self.resource.split('/').next().unwrap_or_default();
        let refused = match POSTED.contains(&first) {
            true => {
                Refused::new(Kind::Malformed, "it is asked for by a signed POST (POST-as-GET to look at it)")
                    .with_status(405)
                    .with_header("allow", "POST".to_owned())
            }
            false => {
                Refused::new(Kind::Malformed, "there is nothing here; the directory tells what there is")
                    .with_status(404)
            }
        };
        Err(refused.into_error(vec![directory.index()]))
    }
}

/// Says that what is there is looked at, and not posted to.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NotPosted<const AT: usize> {
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

/// Says that nothing is deleted here: what an account wants to be rid of it deactivates, by a signed POST.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NotDeleted<const AT: usize> {
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

const PLACES: usize = 4;
/// The place of nonces among these.
const NONCE: usize = 1;
// No `{resource+}` here: that would take `new-eab` from those who may write to it.
const LOOKED_AT_ROUTES: [[Route; PLACES]; 4] = [
    routes!(post "directory".unauthenticated),
    routes!(post "new-nonce".unauthenticated),
    routes!(post "renewal-info".unauthenticated),
    routes!(post "renewal-info/{certificate+}".unauthenticated),
];
const NOT_DELETED_ROUTES: [Route; PLACES] = routes!(delete "{resource+}".unauthenticated);

impl<const AT: usize> Query<Pki> for NotPosted<AT> {
    const ROUTE: Route = LOOKED_AT_ROUTES[AT / PLACES][AT % PLACES];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let place = Place::of(AT % PLACES, self.role, self.issuer_ref);
        let allowed = if AT / PLACES == NONCE { "GET, HEAD" } else { "GET" };
        refuse_verb(cx, &place, "it is looked at by a GET, which nobody signs", allowed)
    }
}

impl<const AT: usize> Query<Pki> for NotDeleted<AT> {
    const ROUTE: Route = NOT_DELETED_ROUTES[AT];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Nothing>> {
        let place = Place::of(AT, self.role, self.issuer_ref);
        let why = "nothing is deleted here; accounts and authorizations are deactivated by a signed POST";
        refuse_verb(cx, &place, why, "GET, POST")
    }
}

fn refuse_verb(cx: &Reading<'_>, place: &Place, why: &'static str, allowed: &str) -> Result<Reply<Nothing>> {
    let directory = opened(cx, place)?;
    let refused =
        Refused::new(Kind::Malformed, why).with_status(405).with_header("allow", allowed.to_owned());
    Err(refused.into_error(vec![directory.index()]))
}

/// Gives a nonce for a first request, in a header.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct NewNonce<const AT: usize> {
    /// Who issues, where the path says so: a name, an id, or `default`.
    issuer_ref: Option<Text>,
    /// Under which role, where the path says so.
    role: Option<Text>,
}

const NONCE_ROUTES: [Route; 4] = routes!(get "new-nonce".unauthenticated);

impl<const AT: usize> Command<Pki> for NewNonce<AT> {
    const ROUTE: Route = NONCE_ROUTES[AT];
    type Reply = Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let desk = Desk::open(cx, &Place::of(AT, self.role, self.issuer_ref))?;
        let (name, index) = desk.directory.index();
        cx.notes().header("replay-nonce", desk.nonce(cx));
        cx.notes().header(name, index);
        // RFC 8555 §7.2 tells the two apart.
        let status = if cx.remote().head_only { 200 } else { 204 };
        Ok(Reply::Raw { status, kind: "application/json", bytes: Vec::new() })
    }
}
