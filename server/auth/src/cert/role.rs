use kit::loose::{Flag, Name, Names, Number, Span, Text, Texts};
use kit::{Command, Error, Nothing, Query, Reading, Reads, Reply, Result, Route, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Certificate, ExtKeyUsage};

use super::chain::{certificates, for_clients};
use super::{Cert, ROLES, rules};
use crate::listing::Keys;
use crate::token_params::{OldNames, OldShown, TokenFields, TokenParams};

/// The longest `certificate` or `ocsp_ca_certificates`, in bytes.
const BUNDLE_SIZE_MAX: usize = 256 * 1024;

/// Whom a certificate lets in, and as what.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Role {
    pub(super) trust: Trust,
    pub(super) token: TokenParams,
    old_names: OldNames,
}

/// What a role trusts, and what it wants of a certificate besides. Lists that were never given are null.
#[derive(Clone, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub(super) struct Trust {
    pub(super) allowed_common_names: Option<Vec<String>>,
    pub(super) allowed_dns_sans: Option<Vec<String>>,
    pub(super) allowed_email_sans: Option<Vec<String>>,
    pub(super) allowed_metadata_extensions: Option<Vec<String>>,
    pub(super) allowed_names: Option<Vec<String>>,
    pub(super) allowed_organizational_units: Option<Vec<String>>,
    pub(super) allowed_uri_sans: Option<Vec<String>>,
    /// Certificates in PEM: CAs, or one that is no CA.
    pub(super) certificate: String,
    pub(super) display_name: String,
    /// Certificates in PEM: who issued the certificate of a client that is trusted by itself.
    pub(super) ocsp_ca_certificates: String,
    pub(super) ocsp_enabled: bool,
    pub(super) ocsp_fail_open: bool,
    pub(super) ocsp_query_all_servers: bool,
    pub(super) ocsp_servers_override: Option<Vec<String>>,
    pub(super) required_extensions: Option<Vec<String>>,
}

/// Lists the roles.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListRoles {
    /// Begins after this name.
    #[serde(default)]
    after: Option<Text>,
    /// Shows at most so many; no limit if it is not positive.
    #[serde(default)]
    limit: Option<Number>,
}

impl Query<Cert> for ListRoles {
    const ROUTE: Route = Route::list("certs");
    type Reply = Keys;

    fn run(self, _: &Cert, cx: &Reading<'_>) -> Result<Reply<Keys>> {
        Keys::page(&ROLES.list(cx, "")?, self.after.as_ref(), self.limit)
    }
}

/// Reads a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadRole {
    /// Which.
    name: String,
}

/// A role as it is set. The names without `token_` are old, and shown while they are used.
#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    trust: Trust,
    #[serde(flatten)]
    token: TokenParams,
    #[serde(flatten)]
    old: OldShown,
}

impl Query<Cert> for ReadRole {
    const ROUTE: Route = Route::get("certs/{name:lower}");
    type Reply = Shown;

    fn run(self, _: &Cert, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let Role { trust, token, old_names } = ROLES.get(cx, &self.name)?.ok_or_else(Error::not_found)?;
        let shown = Shown { old: old_names.all(&token), trust, token };
        Ok(shown.into())
    }
}

/// Creates a role, or changes it. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteRole {
    /// Which.
    name: String,
    /// Whom to trust, in PEM: CAs whose certificates are let in, or one certificate that is let in by itself.
    #[serde(default)]
    certificate: Option<Text>,
    /// One of these must be the common name, a DNS name or an email address. `*` stands for anything. Old: use the three below.
    #[serde(default)]
    allowed_names: Option<Texts>,
    /// One of these must be the common name. `*` stands for anything.
    #[serde(default)]
    allowed_common_names: Option<Texts>,
    /// One of these must be among the DNS names. `*` stands for anything.
    #[serde(default)]
    allowed_dns_sans: Option<Texts>,
    /// One of these must be among the email addresses. `*` stands for anything.
    #[serde(default)]
    allowed_email_sans: Option<Texts>,
    /// One of these must be among the URIs. `*` stands for anything.
    #[serde(default)]
    allowed_uri_sans: Option<Texts>,
    /// One of these must be among the organizational units. `*` stands for anything.
    #[serde(default)]
    allowed_organizational_units: Option<Texts>,
    /// `OID:value` of extensions that hold a string. All of them must be there. `*` stands for anything.
    #[serde(default)]
    required_extensions: Option<Texts>,
    /// OIDs of extensions whose strings become metadata of the token, with dashes for the dots.
    #[serde(default)]
    allowed_metadata_extensions: Option<Texts>,
    /// What the tokens are called; the name of the role, if left out.
    #[serde(default)]
    display_name: Option<Name>,
    /// Asks by OCSP at each login whether the certificate is revoked.
    #[serde(default)]
    ocsp_enabled: Option<Flag>,
    /// In PEM, who issued a certificate that is trusted by itself: its OCSP answers are signed by them.
    #[serde(default)]
    ocsp_ca_certificates: Option<Text>,
    /// Asks these servers, not those that the certificate names.
    #[serde(default)]
    ocsp_servers_override: Option<Texts>,
    /// Lets in if no server can be reached. A wrong answer never lets in.
    #[serde(default)]
    ocsp_fail_open: Option<Flag>,
    /// Asks all servers, and lets in only if all agree.
    #[serde(default)]
    ocsp_query_all_servers: Option<Flag>,
    #[serde(rename = "token_*")]
    token: TokenFields,
    /// The old name of `token_policies`.
    #[serde(default)]
    policies: Option<Names>,
    /// The oldest name of `token_ttl`, in seconds.
    #[serde(default)]
    lease: Option<Number>,
    /// The old name of `token_ttl`.
    #[serde(default)]
    ttl: Option<Span>,
    /// The old name of `token_max_ttl`.
    #[serde(default)]
    max_ttl: Option<Span>,
    /// The old name of `token_period`.
    #[serde(default)]
    period: Option<Span>,
    /// The old name of `token_bound_cidrs`.
    #[serde(default)]
    bound_cidrs: Option<Texts>,
}

impl Command<Cert> for WriteRole {
    const ROUTE: Route = Route::post("certs/{name:lower}");
    type Reply = Nothing;

    fn run(mut self, _: &Cert, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let mut role = ROLES.get(cx, &self.name)?.unwrap_or_default();
        let lease = self.lease.take().map(|lease| Span::from_seconds(lease.0));
        let ttl = self.ttl.take().or(lease);
        let fields = &mut self.token;
        role.old_names.settle("policies", &mut fields.policies, self.policies.take());
        role.old_names.settle("ttl", &mut fields.ttl, ttl);
        role.old_names.settle("max_ttl", &mut fields.max_ttl, self.max_ttl.take());
        role.old_names.settle("period", &mut fields.period, self.period.take());
        role.old_names.settle("bound_cidrs", &mut fields.bound_cidrs, self.bound_cidrs.take());
        role.token.apply(fields)?;
        self.settle(&mut role.trust);
        warn_of_times(&role.token, cx);
        if role.trust.display_name.is_empty() {
            role.trust.display_name.clone_from(&self.name);
        }
        check(&role.trust)?;
        ROLES.put(cx, &self.name, &role)?;
        Ok(Reply::Nothing)
    }
}

impl WriteRole {
    /// Takes over what a request says.
    fn settle(&mut self, trust: &mut Trust) {
        if let Some(Name(name)) = self.display_name.take() {
            trust.display_name = name;
        }
        for (given, place) in [
            (&mut self.certificate, &mut trust.certificate),
            (&mut self.ocsp_ca_certificates, &mut trust.ocsp_ca_certificates),
        ] {
            if let Some(Text(text)) = given.take() {
                *place = text;
            }
        }
        for (given, place) in [
            (&mut self.allowed_names, &mut trust.allowed_names),
            (&mut self.allowed_common_names, &mut trust.allowed_common_names),
            (&mut self.allowed_dns_sans, &mut trust.allowed_dns_sans),
            (&mut self.allowed_email_sans, &mut trust.allowed_email_sans),
            (&mut self.allowed_uri_sans, &mut trust.allowed_uri_sans),
            (&mut self.allowed_organizational_units, &mut trust.allowed_organizational_units),
            (&mut self.required_extensions, &mut trust.required_extensions),
            (&mut self.allowed_metadata_extensions, &mut trust.allowed_metadata_extensions),
            (&mut self.ocsp_servers_override, &mut trust.ocsp_servers_override),
        ] {
            if let Some(Texts(texts)) = given.take() {
                *place = Some(texts);
            }
        }
        for (given, place) in [
            (self.ocsp_enabled, &mut trust.ocsp_enabled),
            (self.ocsp_fail_open, &mut trust.ocsp_fail_open),
            (self.ocsp_query_all_servers, &mut trust.ocsp_query_all_servers),
        ] {
            if let Some(Flag(flag)) = given {
                *place = flag;
            }
        }
    }
}

/// Says which times the mount will cut.
fn warn_of_times(token: &TokenParams, cx: &Writing<'_>) {
    let (default, most) = (cx.mount().default_ttl.as_secs(), cx.mount().max_ttl.as_secs());
    if token.token_ttl > default {
        let given = token.token_ttl;
        cx.warn(format!(
            "Given ttl of {given} seconds is greater than current mount/system default of {default} seconds"
        ));
    }
    if token.token_max_ttl > most {
        let given = token.token_max_ttl;
        cx.warn(format!(
            "Given max_ttl of {given} seconds is greater than current mount/system default of {most} seconds"
        ));
    }
    if token.token_period > most {
        let given = token.token_period;
        cx.warn(format!(
            "Given period of {given} seconds is greater than the backend's maximum TTL of {most} seconds"
        ));
    }
}

fn check(trust: &Trust) -> Result<()> {
    for (field, text) in
        [("certificate", &trust.certificate), ("ocsp_ca_certificates", &trust.ocsp_ca_certificates)]
    {
        if text.len() > BUNDLE_SIZE_MAX {
            return Err(Error::invalid(format!("{field} is longer than {BUNDLE_SIZE_MAX} bytes")));
        }
    }
    let read: Vec<Certificate> = certificates(&trust.certificate);
    let first = read.first().ok_or_else(|| Error::invalid("failed to parse certificate"))?;
    if !first.is_ca() && !for_clients(first) {
        let text = "nonCA certificates should have TLS client authentication set as an extended key usage";
        return Err(Error::invalid(text));
    }
    if !trust.ocsp_ca_certificates.trim().is_empty() && certificates(&trust.ocsp_ca_certificates).is_empty() {
        return Err(Error::invalid("failed to parse ocsp_ca_certificates"));
    }
    for wanted in trust.required_extensions.iter().flatten() {
        if rules::extension(wanted).is_none() {
            return Err(Error::invalid(format!(
                "required_extensions holds {wanted:?}, which is not of the form \"OID:value\""
            )));
        }
    }
    for oid in trust.allowed_metadata_extensions.iter().flatten() {
        if ExtKeyUsage::from_oid(oid).is_err() {
            return Err(Error::invalid(format!(
                "allowed_metadata_extensions holds {oid:?}, which is no OID"
            )));
        }
    }
    for url in trust.ocsp_servers_override.iter().flatten() {
        if !super::crls::is_web(url) {
            return Err(Error::invalid(format!(
                "ocsp_servers_override holds {url:?}, which is no http or https URL"
            )));
        }
    }
    Ok(())
}

/// Deletes a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteRole {
    /// Which.
    name: String,
}

impl Command<Cert> for DeleteRole {
    const ROUTE: Route = Route::delete("certs/{name:lower}");
    type Reply = Nothing;

    fn run(self, _: &Cert, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}
