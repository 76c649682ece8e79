//! The issuers of a mount: listed, read, named, deleted; and which of them is the default.

use std::collections::BTreeMap;

use kit::loose::{Number, Text};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ssh;
use super::authorities::{DEFAULT, Issuer, authorities};
use super::role::Role;
use super::store::{ISSUERS, Id, IssuerRecord, ROLES, default_issuer, set_default_issuer};

/// An issuer as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownIssuer {
    issuer_id: String,
    issuer_name: String,
    /// For `TrustedUserCAKeys` of a server, or after `@cert-authority` in `known_hosts`.
    public_key: String,
}

impl ShownIssuer {
    pub(super) fn of(issuer: &Issuer) -> Self {
        Self::of_record(issuer.id, &issuer.record)
    }

    pub(super) fn of_record(id: Id, record: &IssuerRecord) -> Self {
        Self {
            issuer_id: id.to_string(),
            issuer_name: record.name.clone(),
            public_key: record.public_key.clone(),
        }
    }
}

/// Lists the issuers.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListIssuers {
    /// The id after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// The issuers of a mount.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedIssuers {
    key_info: BTreeMap<String, ListedIssuer>,
    keys: Vec<String>,
}

/// One of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedIssuer {
    is_default: bool,
    issuer_name: String,
    public_key: String,
}

impl Query<Ssh> for ListIssuers {
    const ROUTE: Route = Route::list("issuers");
    type Reply = ListedIssuers;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ListedIssuers>> {
        let all = authorities(cx)?;
        let ids: Vec<String> = all.issuers.iter().map(|issuer| issuer.id.to_string()).collect();
        let keys = kit::page(&ids, &self.after.unwrap_or_default().0, self.limit.unwrap_or_default().0);
        if keys.is_empty() {
            return Err(Error::not_found());
        }
        let shown = all.issuers.iter().map(|issuer| {
            let listed = ListedIssuer {
                is_default: Some(issuer.id) == all.default,
                issuer_name: issuer.record.name.clone(),
                public_key: issuer.record.public_key.clone(),
            };
            (issuer.id.to_string(), listed)
        });
        let key_info = shown.filter(|(id, _)| keys.contains(id)).collect();
        Ok(Reply::Data(ListedIssuers { key_info, keys }))
    }
}

/// Shows an issuer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Query<Ssh> for ReadIssuer {
    const ROUTE: Route = Route::get("issuer/{issuer_ref}");
    type Reply = ShownIssuer;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ShownIssuer>> {
        Ok(Reply::Data(ShownIssuer::of(authorities(cx)?.issuer(&self.issuer_ref)?)))
    }
}

/// Names an issuer. Without a name it has none afterwards.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
    /// Its new name.
    issuer_name: Option<Text>,
}

impl Command<Ssh> for WriteIssuer {
    const ROUTE: Route = Route::post("issuer/{issuer_ref}");
    type Reply = ShownIssuer;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<ShownIssuer>> {
        let all = authorities(cx)?;
        let issuer = all.issuer(&self.issuer_ref)?;
        let name = self.issuer_name.map(|text| text.0.trim().to_owned());
        if let Some(name) = &name {
            all.check_name(name, Some(issuer.id))?;
        }
        let mut record =
            ISSUERS.get(cx, issuer.id.as_bytes())?.ok_or_else(|| Error::internal("an issuer is gone"))?;
        let before = std::mem::replace(&mut record.name, name.unwrap_or_default());
        ISSUERS.put(cx, issuer.id.as_bytes(), &record)?;
        if before != record.name {
            warn_roles(cx, &[before])?;
        }
        Ok(Reply::Data(ShownIssuer::of_record(issuer.id, &record)))
    }
}

/// Deletes an issuer for good. What it signed stays valid until it ends.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Command<Ssh> for DeleteIssuer {
    const ROUTE: Route = Route::delete("issuer/{issuer_ref}");
    type Reply = kit::Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        let all = authorities(cx)?;
        let Ok(issuer) = all.issuer(&self.issuer_ref) else { return Ok(Reply::Nothing) };
        ISSUERS.delete(cx, issuer.id.as_bytes())?;
        warn_roles(cx, &[issuer.record.name.clone(), issuer.id.to_string()])?;
        if all.default == Some(issuer.id) {
            set_default_issuer(cx, None)?;
            cx.warn(format!(
                "Deleted issuer {} (via issuer_ref {}); this was configured as the default issuer. Operations without an explicit issuer will not work until a new default is configured.",
                issuer.id, self.issuer_ref
            ));
            warn_roles(cx, &[DEFAULT.to_owned()])?;
        }
        Ok(Reply::Nothing)
    }
}

/// Tells of roles that now sign by nobody.
fn warn_roles(cx: &Writing<'_>, references: &[String]) -> Result<()> {
    let mut counts = vec![0; references.len()];
    for name in ROLES.list(cx, "")?.iter() {
        let Some(Role::Ca(role)) = ROLES.get(cx, name)? else { continue };
        for (count, reference) in counts.iter_mut().zip(references) {
            *count += usize::from(!reference.is_empty() && role.issuer_ref == *reference);
        }
    }
    for (count, reference) in counts.iter().zip(references).filter(|(count, _)| **count > 0) {
        cx.warn(format!("{count} roles reference '{reference}'"));
    }
    Ok(())
}

/// The public key of an issuer as text, for who configures a server.
#[derive(Deserialize, JsonSchema)]
pub(super) struct IssuerPublicKey {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Query<Ssh> for IssuerPublicKey {
    const ROUTE: Route = Route::get("issuer/{issuer_ref}/public_key").unauthenticated();
    type Reply = String;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<String>> {
        raw(cx, &self.issuer_ref)
    }
}

/// The public key of the default issuer as text, for who configures a server.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PublicKey {}

impl Query<Ssh> for PublicKey {
    const ROUTE: Route = Route::get("public_key").unauthenticated();
    type Reply = String;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<String>> {
        raw(cx, DEFAULT)
    }
}

fn raw(cx: &Reading<'_>, reference: &str) -> Result<Reply<String>> {
    let all = authorities(cx)?;
    let bytes = all.issuer(reference)?.record.public_key.clone().into_bytes();
    Ok(Reply::Raw { status: 200, kind: "text/plain", bytes })
}

/// Which issuer is the default.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownDefault {
    default: String,
}

/// Shows which issuer is the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadDefault {}

impl Query<Ssh> for ReadDefault {
    const ROUTE: Route = Route::get("config/issuers");
    type Reply = ShownDefault;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ShownDefault>> {
        let id =
            default_issuer(cx)?.ok_or_else(|| Error::invalid("no default issuer currently configured"))?;
        Ok(Reply::Data(ShownDefault { default: id.to_string() }))
    }
}

/// Makes an issuer the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteDefault {
    /// A name or an id.
    default: Option<Text>,
}

impl Command<Ssh> for WriteDefault {
    const ROUTE: Route = Route::post("config/issuers");
    type Reply = Option<ShownDefault>;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Option<ShownDefault>>> {
        let reference = self.default.unwrap_or_default().0.trim().to_owned();
        if reference.is_empty() || reference.eq_ignore_ascii_case(DEFAULT) {
            return Err(Error::invalid(
                "invalid issuer specification; must be non-empty and can't be 'default'.",
            ));
        }
        let all = authorities(cx)?;
        let issuer = all
            .issuer(&reference)
            .map_err(|error| Error::invalid(format!("error resolving issuer reference: {error}")))?;
        if all.default == Some(issuer.id) {
            cx.warn("The default issuer is already set to the specified issuer.");
            return Ok(Reply::Data(None));
        }
        if let Some(previous) = all.default {
            cx.warn(format!(
                "Previous default ({previous}) has been updated with the issuer '{reference}' (resolved to {})",
                issuer.id
            ));
        }
        set_default_issuer(cx, Some(issuer.id))?;
        Ok(Reply::Data(Some(ShownDefault { default: issuer.id.to_string() })))
    }
}
