use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use kit::loose::{Flag, Pairs, Prose, Span, Text, Texts};
use kit::{Beyond, Command, Error, Query, Reading, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Sys;
use super::class::{Class, full};
use super::shown::TuneShown;
use crate::mounts::{LockoutConfig, MountEntry};
use crate::ttl::whole;

/// Methods for which a name can be locked out.
const LOCKING: [&str; 3] = ["userpass", "ldap", "approle"];
/// What kind of tokens an auth method can be told to give.
const TOKEN_TYPES: [&str; 5] = ["", "default-service", "default-batch", "service", "batch"];

/// What of a mount can be set when it is mounted and changed later.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, expecting = "an object")]
pub(super) struct Settings {
    /// How long leases live unless something says otherwise; `system`: as the server says.
    default_lease_ttl: Option<Text>,
    /// How long they may live at most; `system`: as the server says.
    max_lease_ttl: Option<Text>,
    /// Kept and shown.
    force_no_cache: Option<Flag>,
    /// What kind of tokens an auth method gives.
    token_type: Option<String>,
    /// `unauth` shows the mount to everyone, `hidden` to those who may use it.
    listing_visibility: Option<String>,
    /// Keys of questions that audit leaves readable.
    audit_non_hmac_request_keys: Option<Texts>,
    /// Keys of answers that audit leaves readable.
    audit_non_hmac_response_keys: Option<Texts>,
    /// Headers that the engine is shown.
    passthrough_request_headers: Option<Texts>,
    /// Headers that the engine may set.
    allowed_response_headers: Option<Texts>,
    /// Every engine is built in and has the version of the server.
    plugin_version: Option<Text>,
    /// When an auth method locks a user out.
    user_lockout_config: Option<LockoutGiven>,
}

/// When an auth method locks a user out.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct LockoutGiven {
    /// After so many failures.
    lockout_threshold: Option<Text>,
    /// For so long.
    lockout_duration: Option<Text>,
    /// A quiet time of this length forgets them.
    lockout_counter_reset_duration: Option<Text>,
    /// Never.
    lockout_disable: Option<Flag>,
}

/// Shows what of a mount can be tuned, as it holds.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Tuned<C> {
    /// Where it is mounted.
    path: String,
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Query<Sys> for Tuned<C> {
    const ROUTE: Route = C::TUNED;
    type Reply = TuneShown;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let path = full::<C>(&self.path);
        let router = engine.kernel()?.router(cx.beyond(&Beyond::for_the_kernel()))?;
        let missing = || Error::invalid(format!("cannot fetch sysview for path {path:?}"));
        Ok(TuneShown::of(C::find(router.value().here(cx)?, &path).ok_or_else(missing)?).into())
    }
}

/// Changes what of a mount can be tuned. What is not named stays.
#[derive(Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "")]
pub(super) struct Tune<C> {
    /// Where it is mounted.
    path: String,
    /// What it is for, for people.
    description: Option<Prose>,
    /// Options of the engine; one without a value is taken away.
    options: Option<Pairs>,
    /// How long leases live unless something says otherwise; `system`: as the server says.
    default_lease_ttl: Option<Text>,
    /// How long they may live at most; `system`: as the server says.
    max_lease_ttl: Option<Text>,
    /// What kind of tokens an auth method gives.
    token_type: Option<String>,
    /// `unauth` shows the mount to everyone, `hidden` to those who may use it.
    listing_visibility: Option<String>,
    /// Keys of questions that audit leaves readable.
    audit_non_hmac_request_keys: Option<Texts>,
    /// Keys of answers that audit leaves readable.
    audit_non_hmac_response_keys: Option<Texts>,
    /// Headers that the engine is shown.
    passthrough_request_headers: Option<Texts>,
    /// Headers that the engine may set.
    allowed_response_headers: Option<Texts>,
    /// Every engine is built in and has the version of the server.
    plugin_version: Option<Text>,
    /// When an auth method locks a user out.
    user_lockout_config: Option<LockoutGiven>,
    #[serde(skip)]
    class: PhantomData<C>,
}

impl<C: Class> Command<Sys> for Tune<C> {
    const ROUTE: Route = C::TUNE;
    type Reply = kit::Nothing;

    fn run(self, engine: &Sys, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let beyond = Beyond::for_the_kernel();
        let kernel = engine.kernel()?;
        let path = full::<C>(&self.path);
        let router = kernel.router(cx.peek(&beyond).snapshot())?;
        let missing = || Error::invalid(format!("tune of path {path:?} failed: no mount entry found"));
        let mounted = router.value().here(cx)?.at(&path).ok_or_else(missing)?;
        let mut entry = mounted.entry.clone();
        if matches!(path.as_str(), "sys/" | "cubbyhole/" | "identity/") {
            self.refuse_of_the_server(&path)?;
        }
        if let Some(Prose(description)) = self.description {
            entry.description = description;
        }
        let settings = Settings {
            default_lease_ttl: self.default_lease_ttl,
            max_lease_ttl: self.max_lease_ttl,
            force_no_cache: None,
            token_type: self.token_type,
            listing_visibility: self.listing_visibility,
            audit_non_hmac_request_keys: self.audit_non_hmac_request_keys,
            audit_non_hmac_response_keys: self.audit_non_hmac_response_keys,
            passthrough_request_headers: self.passthrough_request_headers,
            allowed_response_headers: self.allowed_response_headers,
            plugin_version: self.plugin_version,
            user_lockout_config: self.user_lockout_config,
        };
        settings.apply_tuned(&mut entry)?;
        if let Some(Pairs(options)) = self.options {
            tune_options(&mut entry, options)?;
        }
        let opened = kernel.mounts.open(entry, Arc::clone(&mounted.namespace), &*kernel)?;
        opened.entry.store(cx.beyond(&beyond))?;
        Ok(Reply::Nothing)
    }
}

impl<C> Tune<C> {
    /// What is always there has its settings from the server; only what audit shows of it may be changed.
    fn refuse_of_the_server(&self, path: &str) -> Result<()> {
        let given = [
            ("description", self.description.is_some()),
            ("options", self.options.is_some()),
            ("default_lease_ttl", self.default_lease_ttl.is_some()),
            ("max_lease_ttl", self.max_lease_ttl.is_some()),
            ("token_type", self.token_type.is_some()),
            ("listing_visibility", self.listing_visibility.is_some()),
            ("passthrough_request_headers", self.passthrough_request_headers.is_some()),
            ("allowed_response_headers", self.allowed_response_headers.is_some()),
            ("plugin_version", self.plugin_version.is_some()),
            ("user_lockout_config", self.user_lockout_config.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Error::invalid(format!("cannot tune parameter {name} of {path}"))),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// Sets what was given on a mount that is new.
    ///
    /// # Errors
    /// If a value is none of those it can have.
    pub(super) fn apply_new(self, entry: &mut MountEntry, system_max: u64) -> Result<()> {
        let prefixed = |what: &str, text: &Option<Text>| {
            let text = text.as_ref().map_or("", |text| text.0.as_str());
            let named =
                |error: Error| Error::invalid(format!("unable to parse {what} TTL of {text}: {error}"));
            ttl(text).map_err(named)
        };
        let default = prefixed("default", &self.default_lease_ttl)?.unwrap_or(0);
        let max = prefixed("max", &self.max_lease_ttl)?.unwrap_or(0);
        if default > 0 && max > 0 && default > max {
            return Err(Error::invalid("given default lease TTL greater than given max lease TTL"));
        }
        if max == 0 && default > system_max {
            let text = format!("given default lease TTL greater than system max lease TTL of {system_max}");
            return Err(Error::invalid(text));
        }
        entry.config.default_lease_ttl = default;
        entry.config.max_lease_ttl = max;
        // A secrets engine gives no tokens; clients name a type all the same.
        let token_type = self.token_type.clone().filter(|_| entry.path.starts_with("auth/"));
        let lockout = self.user_lockout_config.is_some() && LOCKING.contains(&entry.kind.as_str());
        let rest =
            Self { token_type, user_lockout_config: self.user_lockout_config.filter(|_| lockout), ..self };
        rest.apply_rest(entry)
    }

    /// Sets what was given on a mount that is there.
    fn apply_tuned(self, entry: &mut MountEntry) -> Result<()> {
        if let Some(version) = self.plugin_version.as_ref().filter(|version| !version.0.is_empty()) {
            let text = format!("plugin not found in the catalog: {}, version={}", entry.kind, version.0);
            return Err(Error::invalid(text));
        }
        if self.token_type.is_some() {
            match entry.path.as_str() {
                "auth/token/" => {
                    return Err(Error::invalid(
                        "'token_type' cannot be set for 'token' or 'ns_token' auth mounts",
                    ));
                }
                path if !path.starts_with("auth/") => {
                    return Err(Error::invalid("'token_type' can only be modified on auth mounts"));
                }
                _ => {}
            }
        }
        if self.user_lockout_config.is_some() && !LOCKING.contains(&entry.kind.as_str()) {
            let text =
                format!("tuning of user lockout configuration for auth type {:?} not allowed", entry.kind);
            return Err(Error::invalid(text));
        }
        let given = |text: &Option<Text>| text.as_ref().map_or(Ok(None), |text| ttl(&text.0));
        let default = given(&self.default_lease_ttl)?.unwrap_or(entry.config.default_lease_ttl);
        let max = given(&self.max_lease_ttl)?.unwrap_or(entry.config.max_lease_ttl);
        // A default beyond what the server allows is kept: it counts when that is raised, and bounds nothing until then.
        if max > 0 && default > max {
            let text = format!(
                "backend max lease TTL of {max} would be less than backend default lease TTL of {default}"
            );
            return Err(Error::invalid(text));
        }
        entry.config.default_lease_ttl = default;
        entry.config.max_lease_ttl = max;
        self.apply_rest(entry)
    }

    fn apply_rest(self, entry: &mut MountEntry) -> Result<()> {
        let config = &mut entry.config;
        if let Some(visibility) = self.listing_visibility {
            if !matches!(visibility.as_str(), "" | "hidden" | "unauth") {
                return Err(Error::invalid(format!("invalid listing_visibility {visibility}")));
            }
            config.listing_visibility = visibility;
        }
        if let Some(token_type) = self.token_type {
            if !TOKEN_TYPES.contains(&token_type.as_str()) {
                return Err(Error::invalid("invalid value for 'token_type'"));
            }
            config.token_type = token_type;
        }
        if let Some(Flag(flag)) = self.force_no_cache {
            config.force_no_cache = flag;
        }
        for (given, kept) in [
            (self.audit_non_hmac_request_keys, &mut config.audit_non_hmac_request_keys),
            (self.audit_non_hmac_response_keys, &mut config.audit_non_hmac_response_keys),
            (self.passthrough_request_headers, &mut config.passthrough_request_headers),
            (self.allowed_response_headers, &mut config.allowed_response_headers),
        ] {
            if let Some(Texts(given)) = given {
                *kept = given;
            }
        }
        if let Some(given) = self.user_lockout_config {
            config.user_lockout_config = Some(given.over(config.user_lockout_config)?);
        }
        Ok(())
    }
}

impl LockoutGiven {
    /// What was given, over what was set.
    fn over(self, old: Option<LockoutConfig>) -> Result<LockoutConfig> {
        let mut config = old.unwrap_or(LockoutConfig {
            lockout_threshold: 0,
            lockout_duration: 0,
            lockout_counter_reset_duration: 0,
            lockout_disable: false,
        });
        if let Some(Text(text)) = self.lockout_threshold {
            config.lockout_threshold = text.trim().parse().map_err(|_| {
                let text = format!("unable to parse user lockout threshold: strconv.ParseUint: parsing {text:?}: invalid syntax");
                Error::invalid(text)
            })?;
        }
        if let Some(Text(text)) = self.lockout_duration {
            config.lockout_duration = ttl(&text)?.unwrap_or(0);
        }
        if let Some(Text(text)) = self.lockout_counter_reset_duration {
            config.lockout_counter_reset_duration = ttl(&text)?.unwrap_or(0);
        }
        if let Some(Flag(flag)) = self.lockout_disable {
            config.lockout_disable = flag;
        }
        Ok(config)
    }
}

/// Seconds of a time to live; 0 for the server's, nothing for an empty text.
fn ttl(text: &str) -> Result<Option<u64>> {
    match text {
        "" => Ok(None),
        "system" => Ok(Some(0)),
        text => match Span::read(text).map_err(Error::invalid)? {
            span if span.0 >= 0 => Ok(Some(whole(span.duration()).as_secs())),
            _ => Err(Error::invalid(format!("time: {text:?} is negative; a time to live is not"))),
        },
    }
}

/// Options over those that the mount has; one without a value is taken away.
fn tune_options(entry: &mut MountEntry, given: BTreeMap<String, String>) -> Result<()> {
    let options = entry.options.get_or_insert_default();
    if let Some(wanted) = given.get("version")
        && (entry.kind == "kv" || wanted.is_empty())
    {
        change_version(options.get("version").map_or("1", String::as_str), wanted)?;
    }
    for (name, value) in given {
        if value.is_empty() {
            options.remove(&name);
        } else {
            options.insert(name, value);
        }
    }
    Ok(())
}

/// Whether a kv mount may become one of another version. An unversioned one may become versioned: the engine
/// keeps both alike, so it is versioned at once.
fn change_version(current: &str, wanted: &str) -> Result<()> {
    let number: u64 = if wanted.is_empty() { Ok(0) } else { wanted.parse() }.map_err(|_| {
        Error::invalid(format!(
            "unable to parse options: strconv.ParseInt: parsing {wanted:?}: invalid syntax"
        ))
    })?;
    match (current, number) {
        ("2", 1) => Err(Error::invalid("cannot downgrade mount from version 2")),
        (_, 1 | 2) => Ok(()),
        (_, other) => Err(Error::invalid(format!("invalid version provided: {other}"))),
    }
}
