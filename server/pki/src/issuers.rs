//! The issuers of a mount: listed, read, changed, revoked, deleted; and which of them is the default.

use kit::loose::{Flag, Number, Text, Texts};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Time, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, Padding, Scheme};

use super::authorities::{Authorities, DEFAULT, Issuer, authorities, refused};
use super::ca::NEXT;
use super::store::{DEFAULTS, Der, ISSUERS, Id, IssuerRecord, LeafNotAfter, ROLES, Usage};
use super::urls::Urls;
use super::{Pki, listing, revoke, signers};

/// An issuer that is being added.
pub(super) struct NewIssuer<'a> {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) key: Option<Id>,
    pub(super) certificate: &'a Certificate,
}

/// Records an issuer. The first one whose key is here becomes the default, and each such one where the mount follows the latest:
/// one that cannot sign is made the default by people alone.
pub(super) fn add_issuer(cx: &mut Writing<'_>, new: NewIssuer<'_>) -> Result<()> {
    let shape = new.certificate.public_key().shape();
    let scheme = Scheme::choose(shape, 0, Padding::Pkcs1).map_err(refused)?;
    let record = IssuerRecord {
        name: new.name,
        key: new.key,
        certificate: Der(new.certificate.der().to_vec()),
        manual_chain: vec![],
        leaf_not_after: LeafNotAfter::default(),
        usage: Usage::of(new.certificate),
        revocation_signature_algorithm: scheme.name().to_owned(),
        urls: None,
        revoked_at: None,
        created_at: cx.now(),
    };
    ISSUERS.put(cx, new.id.as_bytes(), &record)?;
    let mut defaults = DEFAULTS.get(cx)?;
    if new.key.is_some() && (defaults.issuer.is_none() || defaults.follows_latest) {
        defaults.issuer = Some(new.id);
        DEFAULTS.put(cx, &defaults)?;
    }
    Ok(())
}

/// Refuses a name that another issuer has, that is reserved, or that a path could not hold.
pub(super) fn check_issuer_name(name: &str, own: Option<Id>, all: &Authorities) -> Result<()> {
    if name.eq_ignore_ascii_case(DEFAULT) {
        return Err(Error::invalid("reserved keyword 'default' can not be used as issuer name"));
    }
    if !name.is_empty() && !is_plain_name(name) {
        return Err(Error::invalid("issuer name contained invalid characters"));
    }
    if !name.is_empty()
        && all.issuers.iter().any(|issuer| issuer.record.name == name && Some(issuer.id) != own)
    {
        return Err(Error::invalid("issuer name already in use"));
    }
    Ok(())
}

/// Word characters, with dots and dashes within.
pub(super) fn is_plain_name(name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    name.starts_with(word) && name.ends_with(word) && name.chars().all(|c| word(c) || c == '-' || c == '.')
}

/// Lists the issuers.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListIssuers {
    /// The id after which to begin.
    after: Option<Text>,
    /// How many to show at most; all if it is not positive.
    limit: Option<Number>,
}

/// One issuer of a list.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedIssuer {
    is_default: bool,
    issuer_name: String,
    key_id: String,
    serial_number: String,
}

impl Query<Pki> for ListIssuers {
    const ROUTE: Route = Route::list("issuers").unauthenticated();
    type Reply = listing::Detailed<ListedIssuer>;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Self::Reply>> {
        let all = authorities(cx)?;
        let shown = |issuer: &Issuer| ListedIssuer {
            is_default: all.defaults.issuer == Some(issuer.id),
            issuer_name: issuer.record.name.clone(),
            key_id: issuer.record.key.map(|id| id.to_string()).unwrap_or_default(),
            serial_number: issuer.certificate.serial().colons(),
        };
        let entries = all.issuers.iter().map(|issuer| (issuer.id.to_string(), shown(issuer))).collect();
        listing::detailed(listing::part(entries, self.after, self.limit))
    }
}

/// An issuer as it is shown.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownIssuer {
    /// It and those above it.
    ca_chain: Vec<String>,
    /// Its certificate.
    certificate: String,
    crl_distribution_points: Vec<String>,
    delta_crl_distribution_points: Vec<String>,
    /// Whether templates in its own URLs are filled in; nothing where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_aia_url_templating: Option<bool>,
    issuer_id: String,
    issuer_name: String,
    issuing_certificates: Vec<String>,
    key_id: String,
    /// What happens to a leaf that would outlive it: `err`, `truncate`, `permit`.
    leaf_not_after_behavior: &'static str,
    /// The chain that is shown instead of the one worked out.
    manual_chain: Option<Vec<String>>,
    ocsp_servers: Vec<String>,
    revocation_signature_algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_time_rfc3339: Option<String>,
    revoked: bool,
    /// What it may be used for.
    usage: String,
}

fn show(all: &Authorities, issuer: &Issuer, now: Time) -> ShownIssuer {
    let record = &issuer.record;
    let urls = record.urls.clone().unwrap_or_default();
    let line = |issuer: &Issuer| format!("{}\n", issuer.pem);
    let manual =
        (!record.manual_chain.is_empty()).then(|| record.manual_chain.iter().map(Id::to_string).collect());
    ShownIssuer {
        ca_chain: all.chain(issuer, now).into_iter().map(line).collect(),
        certificate: line(issuer),
        crl_distribution_points: urls.crl_distribution_points,
        delta_crl_distribution_points: urls.delta_crl_distribution_points,
        enable_aia_url_templating: record.urls.as_ref().map(|urls| urls.enable_templating),
        issuer_id: issuer.id.to_string(),
        issuer_name: record.name.clone(),
        issuing_certificates: urls.issuing_certificates,
        key_id: record.key.map(|id| id.to_string()).unwrap_or_default(),
        leaf_not_after_behavior: record.leaf_not_after.name(),
        manual_chain: manual,
        ocsp_servers: urls.ocsp_servers,
        revocation_signature_algorithm: record.revocation_signature_algorithm.clone(),
        revocation_time: record.revoked_at.map(Time::seconds),
        revocation_time_rfc3339: record.revoked_at.map(Time::rfc3339),
        revoked: record.revoked_at.is_some(),
        usage: record.usage.to_string(),
    }
}

/// Shows an issuer.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Query<Pki> for ReadIssuer {
    const ROUTE: Route = Route::get("issuer/{issuer_ref}");
    type Reply = ShownIssuer;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownIssuer>> {
        let all = authorities(cx)?;
        Ok(Reply::Data(show(&all, all.issuer_or_refuse(&self.issuer_ref)?, cx.now())))
    }
}

/// Changes an issuer: with POST all that is not named goes back to its default, with PATCH it stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteIssuer<const VERB: usize> {
    /// A name, an id, or `default`.
    issuer_ref: String,
    /// Its own URLs for its revocation list.
    crl_distribution_points: Option<Texts>,
    /// Its own URLs for the delta of its revocation list.
    delta_crl_distribution_points: Option<Texts>,
    /// Whether templates in its own URLs are filled in.
    enable_aia_url_templating: Option<Flag>,
    /// Its name.
    issuer_name: Option<Text>,
    /// Its own URLs for its certificate.
    issuing_certificates: Option<Texts>,
    /// What happens to a leaf that would outlive it: `err`, `truncate`, `permit`.
    leaf_not_after_behavior: Option<Text>,
    /// The chain to show instead of the one worked out: names or ids, itself at the head.
    manual_chain: Option<Texts>,
    /// Its own OCSP servers.
    ocsp_servers: Option<Texts>,
    /// How it signs revocation lists, such as `SHA384WithRSA`; empty for what its key usually does.
    revocation_signature_algorithm: Option<Text>,
    /// What it may be used for: `read-only`, `issuing-certificates`, `crl-signing`, `ocsp-signing`.
    usage: Option<Texts>,
}

const WRITE_ROUTES: [Route; 2] =
    [Route::post("issuer/{issuer_ref}").logged(), Route::patch("issuer/{issuer_ref}").logged()];

impl<const VERB: usize> Command<Pki> for WriteIssuer<VERB> {
    const ROUTE: Route = WRITE_ROUTES[VERB];
    type Reply = ShownIssuer;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownIssuer>> {
        let all = Authorities::load(cx)?;
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        let mut record = issuer.record.clone();
        if VERB == 0 {
            record.leaf_not_after = LeafNotAfter::default();
            if record.revoked_at.is_none() {
                record.usage = Usage::of(&issuer.certificate);
                if self.usage.is_none() && !record.usage.crl {
                    return Err(Error::invalid(NO_CRL_SIGN));
                }
            }
            (record.name, record.manual_chain, record.urls) = (String::new(), vec![], None);
            record.revocation_signature_algorithm = String::new();
        }
        self.apply(issuer, &all, &mut record)?;
        ISSUERS.put(cx, issuer.id.as_bytes(), &record)?;
        let all = Authorities::load(cx)?;
        let issuer =
            all.issuer(&issuer.id.to_string()).ok_or_else(|| Error::internal("an issuer just written"))?;
        Ok(Reply::Data(show(&all, issuer, cx.now())))
    }
}

impl<const VERB: usize> WriteIssuer<VERB> {
    fn apply(self, issuer: &Issuer, all: &Authorities, record: &mut IssuerRecord) -> Result<()> {
        if let Some(Text(name)) = self.issuer_name {
            check_issuer_name(&name, Some(issuer.id), all)?;
            record.name = name;
        }
        if let Some(Text(word)) = self.leaf_not_after_behavior {
            record.leaf_not_after = match word.as_str() {
                "err" => LeafNotAfter::Err,
                "truncate" => LeafNotAfter::Truncate,
                "permit" => LeafNotAfter::Permit,
                _ => {
                    return Err(Error::invalid(
                        "Unknown value for field `leaf_not_after_behavior`. Possible values are `err`, `truncate`, and `permit`.",
                    ));
                }
            };
        }
        if let Some(Texts(words)) = self.usage {
            record.usage = usage(&words, issuer)?;
        }
        if let Some(Text(name)) = self.revocation_signature_algorithm {
            check_algorithm(&name, issuer)?;
            record.revocation_signature_algorithm = name;
        }
        if let Some(Texts(references)) = self.manual_chain {
            record.manual_chain = manual_chain(&references, issuer, all)?;
        }
        let mut urls = record.urls.clone().unwrap_or_default();
        for (field, given) in [
            (&mut urls.issuing_certificates, self.issuing_certificates),
            (&mut urls.crl_distribution_points, self.crl_distribution_points),
            (&mut urls.delta_crl_distribution_points, self.delta_crl_distribution_points),
            (&mut urls.ocsp_servers, self.ocsp_servers),
        ] {
            if let Some(given) = given {
                *field = given.0;
            }
        }
        urls.enable_templating = self.enable_aia_url_templating.map_or(urls.enable_templating, |flag| flag.0);
        urls.check()?;
        record.urls = (urls != Urls::default()).then_some(urls);
        Ok(())
    }
}

fn usage(words: &[String], issuer: &Issuer) -> Result<Usage> {
    let usage = Usage::parse(words)?;
    if usage.issuing && issuer.record.revoked_at.is_some() {
        return Err(Error::invalid(
            "This issuer was revoked; unable to modify its usage to include certificate signing again.",
        ));
    }
    let own = Usage::of(&issuer.certificate);
    if usage.crl && !own.crl {
        return Err(Error::invalid(NO_CRL_SIGN));
    }
    if usage.issuing && !own.issuing {
        return Err(Error::invalid(NO_CERT_SIGN));
    }
    Ok(usage)
}

const NO_CRL_SIGN: &str = "This issuer's underlying certificate lacks the CRLSign KeyUsage value; unable to set CRLSigningUsage on this issuer as a result.";
const NO_CERT_SIGN: &str = "This issuer's underlying certificate lacks the CertSign KeyUsage value, so nobody would accept what it issues; leave issuing-certificates out of its usage, or have its certificate made anew with that key usage.";

fn check_algorithm(name: &str, issuer: &Issuer) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let scheme = Scheme::named(name).map_err(refused)?;
    let shape = issuer.certificate.public_key().shape();
    let own = Scheme::choose(shape, 0, Padding::Pkcs1).map_err(refused)?;
    match scheme.fits(shape.family) && (scheme == own || shape.family == x509::Family::Rsa) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the issuer's key of type {shape} cannot sign with {name}; it signs with {}",
            own.name()
        ))),
    }
}

fn manual_chain(references: &[String], issuer: &Issuer, all: &Authorities) -> Result<Vec<Id>> {
    let mut chain = Vec::with_capacity(references.len());
    for reference in references.iter().filter(|reference| !reference.is_empty()) {
        let above = all.issuer(reference);
        chain.push(above.ok_or_else(|| Error::server(super::authorities::no_issuer(reference)))?.id);
    }
    match chain.first() {
        Some(first) if *first != issuer.id => Err(Error::invalid(
            "self-reference was not the first entry in the manual chain; name this issuer itself at its head",
        )),
        _ => Ok(chain),
    }
}

/// Deletes an issuer. Its key stays, and so does what it issued. What it revoked stays on the lists of issuers with its name and
/// key, also of those that come later; without one its list is no longer made.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Command<Pki> for DeleteIssuer {
    const ROUTE: Route = Route::delete("issuer/{issuer_ref}").logged();
    type Reply = Option<kit::Nothing>;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Self::Reply>> {
        let all = Authorities::load(cx)?;
        let Some(issuer) = all.issuer(&self.issuer_ref) else { return Ok(Reply::Data(None)) };
        signers::delete(cx, issuer)?;
        let mut defaults = DEFAULTS.get(cx)?;
        let mut references = vec![issuer.record.name.clone(), issuer.id.to_string()];
        if defaults.issuer == Some(issuer.id) {
            defaults.issuer = None;
            DEFAULTS.put(cx, &defaults)?;
            references.push(DEFAULT.to_owned());
            cx.warn(format!(
                "Deleted issuer {} (via issuer_ref {}); this was configured as the default issuer. Operations without an explicit issuer will not work until a new default is configured.",
                issuer.id, self.issuer_ref
            ));
        }
        warn_roles(cx, &references)?;
        Ok(Reply::Data(None))
    }
}

/// Tells of roles that now issue by nobody.
fn warn_roles(cx: &Writing<'_>, references: &[String]) -> Result<()> {
    let mut counts = vec![0; references.len()];
    for name in ROLES.list(cx, "")?.iter() {
        let Some(role) = ROLES.get(cx, name)? else { continue };
        for (count, _) in
            counts.iter_mut().zip(references).filter(|(_, reference)| **reference == role.issuer_ref)
        {
            *count += 1;
        }
    }
    for (count, reference) in counts.iter().zip(references).filter(|(count, _)| **count > 0) {
        cx.warn(format!("{count} roles reference {reference}"));
    }
    Ok(())
}

/// Revokes an issuer: it issues no more, and stands on the list of the issuer above it, if that is in this mount.
#[derive(Deserialize, JsonSchema)]
pub(super) struct RevokeIssuer {
    /// A name, an id, or `default`.
    issuer_ref: String,
}

impl Command<Pki> for RevokeIssuer {
    const ROUTE: Route = Route::post("issuer/{issuer_ref}/revoke").logged();
    type Reply = ShownIssuer;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownIssuer>> {
        let all = Authorities::load(cx)?;
        let issuer = all.issuer_or_refuse(&self.issuer_ref)?;
        if issuer.record.revoked_at.is_none() {
            let mut record = issuer.record.clone();
            record.revoked_at = Some(cx.now());
            record.usage.issuing = false;
            ISSUERS.put(cx, issuer.id.as_bytes(), &record)?;
            let above = all.above(issuer, cx.now()).first().map(|above| above.id);
            revoke::put_issuer(cx, &issuer.certificate, above)?;
            if issuer.is_root {
                cx.warn(SELF_SIGNED);
            }
            if above.is_none() {
                cx.warn(NO_PARENT);
            }
        }
        let id = issuer.id.to_string();
        let all = Authorities::load(cx)?;
        let issuer = all.issuer(&id).ok_or_else(|| Error::internal("an issuer just written"))?;
        Ok(Reply::Data(show(&all, issuer, cx.now())))
    }
}

const SELF_SIGNED: &str = "This issuer is a self-signed (potentially root) certificate. This means it may not be considered revoked if there is not an external, cross-signed variant of this certificate. This issuer's serial number will not appear on its own CRL.";
const NO_PARENT: &str = "This issuer lacks another parent issuer within the mount. This means it will not appear on any other CRLs and may not be considered revoked by clients. Consider adding this issuer to its issuer's CRL as well if it is not self-signed.";

/// Which issuer is the default.
#[derive(JsonSchema, Serialize)]
pub(super) struct ShownDefaults {
    default: String,
    default_follows_latest_issuer: bool,
}

/// Shows which issuer is the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadDefaultIssuer {}

impl Query<Pki> for ReadDefaultIssuer {
    const ROUTE: Route = Route::get("config/issuers");
    type Reply = ShownDefaults;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<ShownDefaults>> {
        let defaults = DEFAULTS.get(cx)?;
        Ok(Reply::Data(ShownDefaults {
            default: defaults.issuer.map(|id| id.to_string()).unwrap_or_default(),
            default_follows_latest_issuer: defaults.follows_latest,
        }))
    }
}

/// Makes an issuer the default.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteDefaultIssuer<const AT: usize> {
    /// A name or an id.
    default: Option<Text>,
    /// Whether each new issuer becomes the default.
    default_follows_latest_issuer: Option<Flag>,
}

const DEFAULT_ROUTES: [Route; 2] =
    [Route::post("config/issuers").logged(), Route::post("root/replace").logged()];
/// The place of `root/replace`.
const REPLACE: usize = 1;

impl<const AT: usize> Command<Pki> for WriteDefaultIssuer<AT> {
    const ROUTE: Route = DEFAULT_ROUTES[AT];
    type Reply = ShownDefaults;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<ShownDefaults>> {
        let all = Authorities::load(cx)?;
        let mut defaults = all.defaults.clone();
        let reference = match (self.default, AT) {
            (Some(Text(name)), _) if !name.is_empty() => Some(name),
            (_, REPLACE) => Some(NEXT.to_owned()),
            _ => None,
        };
        if let Some(reference) = reference {
            let issuer = all.issuer(&reference).ok_or_else(|| {
                Error::invalid(format!(
                    "Error resolving issuer reference: unable to find PKI issuer for reference: {reference}"
                ))
            })?;
            defaults.issuer = Some(issuer.id);
            if issuer.key.is_none() {
                cx.warn("This selected default issuer has no key associated with it. Some operations like issuing certificates and signing CRLs will be unavailable with the requested default issuer until a key is imported or the default issuer is changed.");
            }
        } else if self.default_follows_latest_issuer.is_none() {
            return Err(Error::invalid(
                "Invalid issuer specification; must be non-empty and can't be 'default'.",
            ));
        }
        if let Some(Flag(follows)) = self.default_follows_latest_issuer {
            defaults.follows_latest = follows;
        }
        DEFAULTS.put(cx, &defaults)?;
        Ok(Reply::Data(ShownDefaults {
            default: defaults.issuer.map(|id| id.to_string()).unwrap_or_default(),
            default_follows_latest_issuer: defaults.follows_latest,
        }))
    }
}
