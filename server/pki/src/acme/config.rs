//! How ACME is offered: to whom, by which issuers and roles, and where proofs are looked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kit::loose::{Flag, Pairs, Seconds, Text, Texts};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::targets::Targets;
use crate::Pki;
use crate::authorities::authorities;
use crate::store::{ACME, CLUSTER, ROLES};

/// How long certificates last at most unless the operator says otherwise: ninety days.
const MAX_TTL_SECONDS: u64 = 90 * 86_400;
/// How many profiles there may be, and how long the name of one.
const PROFILES_MAX: usize = 32;
const PROFILE_SIZE_MAX: usize = 64;

/// How ACME is offered, as it is stored and read back.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(crate) struct AcmeConfig {
    /// Whether a role says for what a certificate is good, or else it is for TLS servers alone.
    pub(super) allow_role_ext_key_usage: bool,
    /// The issuers that ACME may use; `*` for all.
    pub(super) allowed_issuers: Vec<String>,
    /// The roles that ACME may use; `*` for all.
    pub(super) allowed_roles: Vec<String>,
    /// Networks that proofs may be looked for in, though they are closed otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed_targets: Vec<String>,
    /// By what names the owners of names let this authority certify them (CAA, RFC 8659). Nobody is asked where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) caa_identities: Vec<String>,
    /// What the directories without a role do: `sign-verbatim`, `role:<name>` or `forbid`.
    pub(super) default_directory_policy: String,
    /// Networks that proofs are not looked for in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) denied_targets: Vec<String>,
    /// The name server that names are looked up with, as `address:port`; empty for this machine's.
    pub(super) dns_resolver: String,
    /// Whether accounts must be bound to somebody known here.
    pub(super) eab_policy: EabPolicy,
    /// Whether ACME is offered at all.
    pub(super) enabled: bool,
    /// How long certificates last at most, in seconds.
    #[serde(skip_serializing_if = "is_usual")]
    pub(super) max_ttl: u64,
    /// What clients may choose between in the directories without a role: the role behind each profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) profiles: BTreeMap<String, String>,
    /// Where the terms stand that a client must agree to; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) terms_of_service: String,
}

fn is_usual(max_ttl: &u64) -> bool {
    *max_ttl == MAX_TTL_SECONDS
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            allow_role_ext_key_usage: false,
            allowed_issuers: vec![ANY.to_owned()],
            allowed_roles: vec![ANY.to_owned()],
            allowed_targets: Vec::new(),
            caa_identities: Vec::new(),
            default_directory_policy: "sign-verbatim".to_owned(),
            denied_targets: Vec::new(),
            dns_resolver: String::new(),
            eab_policy: EabPolicy::NotRequired,
            enabled: false,
            max_ttl: MAX_TTL_SECONDS,
            profiles: BTreeMap::new(),
            terms_of_service: String::new(),
        }
    }
}

/// What stands for all issuers, or all roles.
const ANY: &str = "*";

/// Whether accounts must be bound to somebody known here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::enum_variant_names, reason = "these are the words of the API")]
pub(super) enum EabPolicy {
    /// They need not.
    NotRequired,
    /// New ones must.
    NewAccountRequired,
    /// All must; those that are not can do nothing.
    AlwaysRequired,
}

impl EabPolicy {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "not-required" => Some(Self::NotRequired),
            "new-account-required" => Some(Self::NewAccountRequired),
            "always-required" => Some(Self::AlwaysRequired),
            _ => None,
        }
    }
}

/// What the directories without a role do.
#[derive(Debug, PartialEq)]
pub(super) enum Policy<'a> {
    /// They answer nobody.
    Forbid,
    /// They issue for any name that is proved.
    Verbatim,
    /// They do as this role says.
    Role(&'a str),
}

impl AcmeConfig {
    /// What the directories without a role do.
    pub(super) fn policy(&self) -> Result<Policy<'_>> {
        let text = self.default_directory_policy.as_str();
        match (text, text.strip_prefix("role:")) {
            ("forbid", _) => Ok(Policy::Forbid),
            ("sign-verbatim", _) => Ok(Policy::Verbatim),
            (_, Some("")) => Err(policy_error(&format!("no role specified by policy {text}"))),
            (_, Some(role)) => Ok(Policy::Role(role)),
            _ => Err(policy_error(&format!("string {text} not a valid Default Directory Policy"))),
        }
    }

    /// Whether a role may be used.
    pub(super) fn allows_role(&self, name: &str) -> bool {
        self.allows_any_role() || self.allowed_roles.iter().any(|allowed| allowed == name)
    }

    fn allows_any_role(&self) -> bool {
        matches!(self.allowed_roles.as_slice(), [only] if only == ANY)
    }

    /// Whether any issuer may be used.
    pub(super) fn allows_any_issuer(&self) -> bool {
        matches!(self.allowed_issuers.as_slice(), [only] if only == ANY)
    }

    /// Where proofs may be looked for.
    pub(super) fn targets(&self) -> Result<Targets> {
        Targets::read(&self.allowed_targets, &self.denied_targets)
    }

    fn check(&self, cx: &impl Reads) -> Result<()> {
        let role = match self.policy()? {
            Policy::Role(role) => {
                check_role(cx, role).map_err(|why| {
                    Error::server(format!(
                        "default directory policy role {role} is not a valid ACME role: {why}"
                    ))
                })?;
                Some(role)
            }
            Policy::Forbid | Policy::Verbatim => None,
        };
        self.check_roles(role, cx)?;
        self.check_profiles(cx)?;
        self.check_identities()?;
        self.check_issuers(cx)?;
        self.targets()?;
        if self.enabled && CLUSTER.get(cx)?.path.is_empty() {
            return Err(Error::server(NO_PATH));
        }
        Ok(())
    }

    fn check_roles(&self, of_default: Option<&str>, cx: &impl Reads) -> Result<()> {
        if self.allows_any_role() {
            return Ok(());
        }
        for (at, name) in self.allowed_roles.iter().enumerate() {
            if name == ANY {
                return Err(Error::server(format!("cannot use '*' as role name at index {at}")));
            }
            check_role(cx, name).map_err(|why| {
                Error::server(format!("allowed_role {name} is not a valid acme role: {why}"))
            })?;
        }
        match of_default {
            Some(role) if !self.allowed_roles.iter().any(|name| name == role) => Err(Error::server(format!(
                "default directory policy {} was not specified in allowed_roles: [{}]",
                self.default_directory_policy,
                self.allowed_roles.join(" ")
            ))),
            _ => Ok(()),
        }
    }

    fn check_profiles(&self, cx: &impl Reads) -> Result<()> {
        if self.profiles.len() > PROFILES_MAX {
            let found = self.profiles.len();
            return Err(Error::invalid(format!("profiles holds {found}; {PROFILES_MAX} are allowed")));
        }
        for (name, role) in &self.profiles {
            let wrong = |why: &str| Err(Error::invalid(format!("the profile {name:?} {why}")));
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.is_empty() || name.len() > PROFILE_SIZE_MAX || !name.bytes().all(letter) {
                return wrong("should have a name of letters, digits, hyphens, underscores and dots");
            }
            if let Err(why) = check_role(cx, role) {
                return wrong(&format!("names the role {role:?}, which will not do: {why}"));
            }
            if !self.allows_role(role) {
                return wrong(&format!("names the role {role:?}; add it to allowed_roles"));
            }
        }
        Ok(())
    }

    fn check_identities(&self) -> Result<()> {
        match self.caa_identities.iter().find(|name| !x509::is_hostname(name)) {
            Some(name) => Err(Error::invalid(format!(
                "caa_identities holds {name:?}; it should be host names like ca.example.com"
            ))),
            None => Ok(()),
        }
    }

    fn check_issuers(&self, cx: &impl Reads) -> Result<()> {
        if self.allows_any_issuer() {
            return Ok(());
        }
        let all = authorities(cx)?;
        for (at, name) in self.allowed_issuers.iter().enumerate() {
            if name == ANY {
                return Err(Error::server(format!("cannot use '*' as issuer name at index {at}")));
            }
            if all.issuer(name).is_none() {
                return Err(Error::server(format!(
                    "failed validating allowed_issuers: unable to fetch issuer: {name}: unable to find PKI issuer for reference: {name}"
                )));
            }
        }
        Ok(())
    }
}

/// What is said where the mount does not know how it is reached.
pub(super) const NO_PATH: &str = "ACME feature requires local cluster 'path' field configuration to be set";

fn policy_error(why: &str) -> Error {
    Error::server(format!("invalid default_directory_policy: {why}"))
}

fn check_role(cx: &impl Reads, name: &str) -> Result<(), String> {
    let role = ROLES.get(cx, name).map_err(|error| error.to_string())?;
    match role {
        None => Err("the request message was malformed: role does not exist".to_owned()),
        Some(role) if role.no_store => {
            Err("the server experienced an internal error: role can not be used as NoStore is set to true"
                .to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// How ACME is offered, as it was committed.
pub(super) fn config(cx: &impl Reads) -> Result<Arc<AcmeConfig>> {
    cx.memo("acme", |cx| ACME.get(cx))
}

/// Shows how ACME is offered.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ReadAcme {}

impl Query<Pki> for ReadAcme {
    const ROUTE: Route = Route::get("config/acme");
    type Reply = AcmeConfig;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<AcmeConfig>> {
        let config = ACME.get(cx)?;
        if config.enabled && CLUSTER.get(cx)?.path.is_empty() {
            cx.warn(NO_PATH);
        }
        Ok(Reply::Data(config))
    }
}

/// Sets how ACME is offered.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct WriteAcme {
    /// Whether a role says for what a certificate is good, or else it is for TLS servers alone.
    allow_role_ext_key_usage: Option<Flag>,
    /// The issuers that ACME may use; `*` for all.
    allowed_issuers: Option<Texts>,
    /// The roles that ACME may use; `*` for all.
    allowed_roles: Option<Texts>,
    /// Networks that proofs may be looked for in, though they are closed otherwise.
    allowed_targets: Option<Texts>,
    /// By what names the owners of names let this authority certify them (CAA, RFC 8659). Nobody is asked where there is none.
    caa_identities: Option<Texts>,
    /// What the directories without a role do: `sign-verbatim`, `role:<name>` or `forbid`.
    default_directory_policy: Option<Text>,
    /// Networks that proofs are not looked for in.
    denied_targets: Option<Texts>,
    /// The name server that names are looked up with, as `address:port`; empty for this machine's.
    dns_resolver: Option<Text>,
    /// Whether accounts must be bound: `not-required`, `new-account-required` or `always-required`.
    eab_policy: Option<Text>,
    /// Whether ACME is offered at all.
    enabled: Option<Flag>,
    /// How long certificates last at most.
    max_ttl: Option<Seconds>,
    /// What clients may choose between in the directories without a role: a name and a role for each, like `short=web-short`.
    profiles: Option<Pairs>,
    /// Where the terms stand that a client must agree to; empty for none.
    terms_of_service: Option<Text>,
}

impl Command<Pki> for WriteAcme {
    const ROUTE: Route = Route::post("config/acme");
    type Reply = AcmeConfig;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<AcmeConfig>> {
        let mut config = ACME.get(cx)?;
        self.apply(&mut config)?;
        config.check(cx)?;
        ACME.put(cx, &config)?;
        Ok(Reply::Data(config))
    }
}

impl WriteAcme {
    fn apply(self, config: &mut AcmeConfig) -> Result<()> {
        let flag = |to: &mut bool, given: Option<Flag>| *to = given.map_or(*to, |flag| flag.0);
        flag(&mut config.enabled, self.enabled);
        flag(&mut config.allow_role_ext_key_usage, self.allow_role_ext_key_usage);
        for (field, to, given) in [
            ("allowed_roles", &mut config.allowed_roles, self.allowed_roles),
            ("allowed_issuers", &mut config.allowed_issuers, self.allowed_issuers),
        ] {
            let Some(Texts(given)) = given else { continue };
            if given.is_empty() {
                return Err(Error::server(format!(
                    "{field} must take a non-zero length value; specify '*' as the value to allow anything or specify enabled=false to disable ACME entirely"
                )));
            }
            *to = given;
        }
        for (to, given) in [
            (&mut config.allowed_targets, self.allowed_targets),
            (&mut config.caa_identities, self.caa_identities),
            (&mut config.denied_targets, self.denied_targets),
        ] {
            *to = given.map_or_else(|| std::mem::take(to), |texts| texts.0);
        }
        if let Some(Pairs(profiles)) = self.profiles {
            config.profiles = profiles;
        }
        if let Some(Text(policy)) = self.default_directory_policy {
            config.default_directory_policy = policy;
        }
        if let Some(Text(resolver)) = self.dns_resolver {
            check_resolver(&resolver)?;
            config.dns_resolver = resolver;
        }
        if let Some(Text(name)) = self.eab_policy {
            config.eab_policy = EabPolicy::parse(&name).ok_or_else(|| {
                Error::server("invalid eab policy name provided, valid values are 'not-required', 'new-account-required', 'always-required'")
            })?;
        }
        if let Some(Seconds(max_ttl)) = self.max_ttl {
            config.max_ttl = if max_ttl == 0 { MAX_TTL_SECONDS } else { max_ttl };
        }
        if let Some(Text(terms)) = self.terms_of_service {
            if !terms.is_empty() && url::Url::parse(&terms).is_err() {
                return Err(Error::invalid(
                    "terms_of_service is no URL; it should be like https://example.org/terms",
                ));
            }
            config.terms_of_service = terms;
        }
        Ok(())
    }
}

fn check_resolver(resolver: &str) -> Result<()> {
    if resolver.is_empty() || resolver.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let failed = |why: &str| Err(Error::server(format!("failed to parse DNS resolver address: {why}")));
    match resolver.rsplit_once(':') {
        None => failed(&format!("address {resolver}: missing port in address")),
        Some(("", _)) => failed("got empty address"),
        Some((host, port)) if port.parse::<u16>().is_err() => {
            failed(&format!("{port:?} behind {host} is no port"))
        }
        Some(_) => failed("expected IPv4/IPv6 address, likely got hostname"),
    }
}
