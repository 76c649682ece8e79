//! Roles: what may be issued, to whom, for how long.
//!
//! Every field of a role is declared once, below; what is stored, what is read back, what a write takes and what a
//! patch takes are made from that one list.

use kit::loose::{Flag, Number, Text, Texts};
use kit::{Command, Error, Query, Reading, Reads, Reply, Result, Route, Writing, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509::{Family, KeyShape, Subject};

use super::authorities::{DEFAULT, authorities};
use super::fields::{OtherSans, Seconds, warn_of_length};
use super::names::unknown_directive;
use super::rules::Rules;
use super::store::ROLES;
use super::{Pki, listing};

macro_rules! role_fields {
    ($($(#[$attribute:meta])* $field:ident: $type:ty = $default:expr, $loose:ty, |$value:ident| $from:expr;)*) => {
        /// What may be issued under one name.
        #[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
        #[serde(default)]
        pub(super) struct Role {
            $($(#[$attribute])* pub(super) $field: $type,)*
        }

        impl Default for Role {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Writes a role: anew, or where it is patched, in parts.
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct WriteRole<const VERB: usize> {
            /// Name of the role.
            name: String,
            $($(#[$attribute])* $field: Option<$loose>,)*
        }

        impl<const VERB: usize> WriteRole<VERB> {
            fn apply(self, role: &mut Role) {
                $(if let Some($value) = self.$field { role.$field = $from; })*
            }
        }
    };
}

role_fields! {
    /// Whether any name may be asked for, hostname rules aside.
    allow_any_name: bool = false, Flag, |v| v.0;
    /// Whether the allowed domains themselves may be asked for.
    allow_bare_domains: bool = false, Flag, |v| v.0;
    /// Whether `*` in an allowed domain stands for any text.
    allow_glob_domains: bool = false, Flag, |v| v.0;
    /// Whether `*` in what an identity template was filled with stands for any text too.
    allow_globs_in_identity_templates: bool = false, Flag, |v| v.0;
    /// Whether addresses may be asked for.
    allow_ip_sans: bool = true, Flag, |v| v.0;
    /// Whether `localhost` and `localdomain` may be asked for.
    allow_localhost: bool = true, Flag, |v| v.0;
    /// Whether names below the allowed domains may be asked for.
    allow_subdomains: bool = false, Flag, |v| v.0;
    /// Whether the caller's display name may be asked for, as in old versions.
    allow_token_displayname: bool = false, Flag, |v| v.0;
    /// Whether names with a wildcard may be asked for.
    allow_wildcard_certificates: bool = true, Flag, |v| v.0;
    /// The domains that may be asked for, together with the `allow_` flags.
    allowed_domains: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether allowed domains may hold templates of the caller's identity.
    allowed_domains_template: bool = false, Flag, |v| v.0;
    /// The networks addresses must lie in; none: anywhere.
    allowed_ip_sans_cidr: Vec<String> = vec![], Texts, |v| v.0;
    /// Other names that may be asked for, as `<oid>;UTF8:<pattern>`; `*` allows all.
    allowed_other_sans: Vec<String> = vec![], OtherSans, |v| v.0;
    /// Patterns of serial numbers a subject may have.
    allowed_serial_numbers: Vec<String> = vec![], Texts, |v| v.0;
    /// Patterns of URIs that may be asked for.
    allowed_uri_sans: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether allowed URIs may hold templates of the caller's identity.
    allowed_uri_sans_template: bool = false, Flag, |v| v.0;
    /// Patterns of user ids a subject may have.
    allowed_user_ids: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether leaves say expressly that they are no CA.
    basic_constraints_valid_for_non_ca: bool = false, Flag, |v| v.0;
    /// Whether leaves are for TLS clients.
    client_flag: bool = true, Flag, |v| v.0;
    /// What a common name may be: `email`, `hostname`, or `disabled` for anything.
    cn_validations: Vec<String> = vec!["email".to_owned(), "hostname".to_owned()], Texts, |v| v.0;
    /// Whether leaves are for signing code.
    code_signing_flag: bool = false, Flag, |v| v.0;
    /// C of the subject.
    country: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether leaves are for mail.
    email_protection_flag: bool = false, Flag, |v| v.0;
    /// Whether names must be host names.
    enforce_hostnames: bool = true, Flag, |v| v.0;
    /// Further purposes by name, such as `IPSECTunnel`.
    ext_key_usage: Vec<String> = vec![], Texts, |v| v.0;
    /// Further purposes by number.
    ext_key_usage_oids: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether a lease revokes the certificate when it ends.
    generate_lease: bool = false, Flag, |v| v.0;
    /// Who issues.
    issuer_ref: String = DEFAULT.to_owned(), Text, |v| if v.0.is_empty() { DEFAULT.to_owned() } else { v.0 };
    /// The size of keys; 0 for the usual one of their type.
    key_bits: u64 = 0, Number, |v| unsigned(v);
    /// The type of keys: `rsa`, `ec`, `ed25519`, `ml-dsa` or `any`.
    key_type: String = "rsa".to_owned(), Text, |v| v.0;
    /// What keys may be used for.
    key_usage: Vec<String> = KEY_USAGE.map(str::to_owned).to_vec(), Texts, |v| v.0;
    /// L of the subject.
    locality: Vec<String> = vec![], Texts, |v| v.0;
    /// The longest lifetime in seconds; 0 for the mount's.
    max_ttl: u64 = 0, Seconds, |v| v.0;
    /// Whether certificates are kept nowhere: faster, but they cannot be listed or revoked by serial.
    no_store: bool = false, Flag, |v| v.0;
    /// The end of all certificates, as a time in UTC.
    not_after: String = String::new(), Text, |v| v.0;
    /// What a request may say of the end: `permit`, `ttl-limited`, `forbid`, or the last time allowed.
    not_after_bound: String = PERMIT.to_owned(), Text, |v| v.0;
    /// The start of all certificates, as a time in UTC.
    not_before: String = String::new(), Text, |v| v.0;
    /// What a request may say of the start: `permit`, `duration`, or `forbid`.
    not_before_bound: String = PERMIT.to_owned(), Text, |v| v.0;
    /// How long before now certificates begin, in seconds, for clocks that are slow.
    not_before_duration: u64 = 30, Seconds, |v| v.0;
    /// O of the subject.
    organization: Vec<String> = vec![], Texts, |v| v.0;
    /// OU of the subject.
    ou: Vec<String> = vec![], Texts, |v| v.0;
    /// The size of ML-DSA keys, which `key_bits` says nothing of: `44`, `65` or `87`.
    #[serde(skip_serializing_if = "String::is_empty")]
    parameter_set: String = String::new(), Text, |v| v.0;
    /// Policies, each an OID or a JSON object with `oid`, `cps` and `notice`.
    policy_identifiers: Vec<String> = vec![], PolicyTexts, |v| v.0;
    /// postalCode of the subject.
    postal_code: Vec<String> = vec![], Texts, |v| v.0;
    /// ST of the subject.
    province: Vec<String> = vec![], Texts, |v| v.0;
    /// Whether a common name must be given.
    require_cn: bool = true, Flag, |v| v.0;
    /// Whether leaves are for TLS servers.
    server_flag: bool = true, Flag, |v| v.0;
    /// The digest an RSA issuer signs with: 256, 384, 512, or 0 for the default.
    signature_bits: u64 = 0, Number, |v| unsigned(v);
    /// street of the subject.
    street_address: Vec<String> = vec![], Texts, |v| v.0;
    /// The lifetime in seconds where a request names none; 0 for the mount's.
    ttl: u64 = 0, Seconds, |v| v.0;
    /// Whether the common name of a CSR counts, not the one of the request.
    use_csr_common_name: bool = true, Flag, |v| v.0;
    /// Whether the names of a CSR count, not those of the request.
    use_csr_sans: bool = true, Flag, |v| v.0;
    /// Whether an RSA issuer signs with PSS.
    use_pss: bool = false, Flag, |v| v.0;
}

const PERMIT: &str = "permit";
const KEY_USAGE: [&str; 3] = ["DigitalSignature", "KeyAgreement", "KeyEncipherment"];

const WRITE_ROUTES: [Route; 2] = [Route::post("roles/{name}"), Route::patch("roles/{name}")];

impl<const VERB: usize> Command<Pki> for WriteRole<VERB> {
    const ROUTE: Route = WRITE_ROUTES[VERB];
    type Reply = Role;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<Role>> {
        let name = self.name.clone();
        let mut role = match VERB {
            0 => Role::default(),
            _ => {
                ROLES.get(cx, &name)?.ok_or_else(|| Error::invalid("Unable to fetch role entry to patch"))?
            }
        };
        self.apply(&mut role);
        role.settle()?;
        warn(&role, cx)?;
        ROLES.put(cx, &name, &role)?;
        Ok(Reply::Data(role))
    }
}

impl Role {
    /// What the subjects of its certificates have in common.
    pub(super) fn subject(&self) -> Subject {
        Subject {
            country: self.country.clone(),
            organization: self.organization.clone(),
            organizational_unit: self.ou.clone(),
            locality: self.locality.clone(),
            province: self.province.clone(),
            street_address: self.street_address.clone(),
            postal_code: self.postal_code.clone(),
            ..Subject::default()
        }
    }

    /// Fills in what follows from other fields, and refuses what could never issue anything.
    fn settle(&mut self) -> Result<()> {
        if self.max_ttl != 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid("\"ttl\" value must be less than \"max_ttl\" value"));
        }
        let rules = Rules::of(self)?;
        match rules.key_shape {
            Some(KeyShape { family: Family::Rsa | Family::Ec, bits }) => self.key_bits = bits.into(),
            Some(KeyShape { family: Family::Ed25519 | Family::MlDsa, .. }) | None => {}
        }
        Ok(())
    }
}

fn warn(role: &Role, cx: &impl Reads) -> Result<()> {
    warn_of_length(&role.subject(), cx);
    let templates = [
        ("allowed_domains", role.allowed_domains_template, &role.allowed_domains),
        ("allowed_uri_sans", role.allowed_uri_sans_template, &role.allowed_uri_sans),
    ];
    for (field, _, patterns) in templates.into_iter().filter(|(_, is_template, _)| *is_template) {
        for unknown in patterns.iter().filter_map(|pattern| unknown_directive(pattern)) {
            cx.warn(format!(
                "{field} holds the template \"{unknown}\", for which nobody has a value, so it allows nothing; use one like {{{{identity.entity.name}}}}"
            ));
        }
    }
    if role.generate_lease {
        cx.warn(
            "it is encouraged to disable generate_lease and rely on PKI's native capabilities when possible; \
             this option can cause instance-wide issues with large numbers of issued certificates",
        );
    }
    if role.issuer_ref != DEFAULT && authorities(cx)?.issuer(&role.issuer_ref).is_none() {
        cx.warn(format!(
            "Issuing Certificate was set to {} but no issuing certificate currently has that name",
            role.issuer_ref
        ));
    }
    Ok(())
}

/// Shows a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadRole {
    /// Name of the role.
    name: String,
}

impl Query<Pki> for ReadRole {
    const ROUTE: Route = Route::get("roles/{name}");
    type Reply = Role;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<Role>> {
        ROLES.get(cx, &self.name)?.map(Reply::Data).ok_or_else(Error::not_found)
    }
}

/// Lists the roles.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListRoles {
    /// The name after which to begin.
    after: Option<Text>,
    /// How many names to show at most; all if it is not positive.
    limit: Option<Number>,
}

impl Query<Pki> for ListRoles {
    const ROUTE: Route = Route::list("roles");
    type Reply = listing::Keys;

    fn run(self, _: &Pki, cx: &Reading<'_>) -> Result<Reply<listing::Keys>> {
        let names = ROLES.list(cx, "")?;
        listing::keys(page(&names, &self.after.unwrap_or_default().0, self.limit.unwrap_or_default().0))
    }
}

/// Deletes a role. What was issued under it stays valid.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteRole {
    /// Name of the role.
    name: String,
}

impl Command<Pki> for DeleteRole {
    const ROUTE: Route = Route::delete("roles/{name}");
    type Reply = kit::Nothing;

    fn run(self, _: &Pki, cx: &mut Writing<'_>) -> Result<Reply<kit::Nothing>> {
        ROLES.delete(cx, &self.name)?;
        Ok(Reply::Nothing)
    }
}

/// Policies as text: a list, a comma-separated string of OIDs, or JSON objects with commas of their own.
#[derive(Debug)]
pub(super) struct PolicyTexts(Vec<String>);

impl<'de> Deserialize<'de> for PolicyTexts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let items = match serde_json::Value::deserialize(from)? {
            serde_json::Value::Array(items) => items,
            serde_json::Value::String(text) if text.trim_start().starts_with('[') => {
                serde_json::from_str(&text).map_err(serde::de::Error::custom)?
            }
            serde_json::Value::String(text) if text.trim_start().starts_with('{') => vec![text.into()],
            serde_json::Value::String(text) => text.split(',').map(|item| item.trim().into()).collect(),
            other => vec![other],
        };
        let text = |item| match item {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Self(items.into_iter().map(text).filter(|text| !text.is_empty()).collect()))
    }
}

impl JsonSchema for PolicyTexts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Texts::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Texts::json_schema(generator)
    }
}

fn unsigned(number: Number) -> u64 {
    u64::try_from(number.0).unwrap_or(0)
}
