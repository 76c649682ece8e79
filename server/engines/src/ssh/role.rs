//! Roles: who may be certified for what, or which passwords are given for which machines.
//!
//! Every field of a role for certificates is declared once, below; what is stored, shown and written is made from that list.

use std::collections::BTreeMap;

use kit::loose::{Flag, Number, Seconds, Text};
use kit::{Command, Error, Nothing, Query, Reading, Reply, Result, Route, Writing, page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Ssh;
use super::addresses::{Networks, drop_from_any_address};
use super::authorities::DEFAULT;
use super::fields::{Lengths, Options};
use super::key::RsaDigest;
use super::store::ROLES;

/// A role.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Role {
    /// Certificates.
    Ca(Box<CaRole>),
    /// One-time passwords.
    Otp(OtpRole),
}

/// Which passwords are given under one name.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub(super) struct OtpRole {
    pub(super) allowed_users: String,
    pub(super) cidr_list: String,
    pub(super) default_user: String,
    pub(super) exclude_cidr_list: String,
    pub(super) port: u64,
}

/// The longest text that a role keeps in one field.
const TEXT_SIZE_MAX: usize = 65_536;
const PORT: u64 = 22;
const PORT_MAX: i64 = 65_535;

macro_rules! ca_fields {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $loose:ty, |$value:ident| $from:expr;)*) => {
        /// What may be certified under one name.
        #[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
        #[serde(default)]
        pub(super) struct CaRole {
            $($(#[doc = $doc])* pub(super) $field: $type,)*
        }

        impl Default for CaRole {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Writes a role anew: what is not named goes back to its default.
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct WriteRole {
            /// Name of the role.
            role: String,
            /// What the role gives: `ca` for certificates, `otp` for one-time passwords.
            key_type: Option<Text>,
            /// For passwords: the networks of the machines, divided by commas.
            cidr_list: Option<Text>,
            /// For passwords: networks in these that are left out.
            exclude_cidr_list: Option<Text>,
            /// For passwords: the port that clients are told.
            port: Option<Number>,
            $($(#[doc = $doc])* $field: Option<$loose>,)*
        }

        impl WriteRole {
            fn ca(self) -> CaRole {
                let mut role = CaRole::default();
                $(if let Some($value) = self.$field { role.$field = $from; })*
                role
            }
        }
    };
}

ca_fields! {
    /// How an RSA issuer signs: `rsa-sha2-256`, `rsa-sha2-512`, or `default` for the first of them.
    algorithm_signer: String = DEFAULT.to_owned(), Text, |v| if v.0.is_empty() { DEFAULT.to_owned() } else { v.0 };
    /// Whether hosts may be named as the allowed domains themselves.
    allow_bare_domains: bool = false, Flag, |v| v.0;
    /// Whether what an identity template was filled with may hold commas, and so stand for several names.
    allow_commas_in_identity_templates: bool = false, Flag, |v| v.0;
    /// Whether certificates may name nobody, and so hold for everyone.
    allow_empty_principals: bool = false, Flag, |v| v.0;
    /// Whether hosts are certified.
    allow_host_certificates: bool = false, Flag, |v| v.0;
    /// Whether hosts may be named below the allowed domains.
    allow_subdomains: bool = false, Flag, |v| v.0;
    /// Whether users are certified.
    allow_user_certificates: bool = false, Flag, |v| v.0;
    /// Whether a request may choose the key id.
    allow_user_key_ids: bool = false, Flag, |v| v.0;
    /// Whether what an identity template was filled with may hold an asterisk.
    allow_wildcards_in_identity_templates: bool = false, Flag, |v| v.0;
    /// The critical options that a request may set, divided by commas; empty: all.
    allowed_critical_options: String = String::new(), Text, |v| v.0;
    /// The domains of hosts, divided by commas; `*`: any.
    allowed_domains: String = String::new(), Text, |v| v.0;
    /// Whether these may hold templates of the caller's identity.
    allowed_domains_template: bool = false, Flag, |v| v.0;
    /// The extensions that a request may set, divided by commas; `*`: any.
    allowed_extensions: String = String::new(), Text, |v| v.0;
    /// Which keys are signed: sizes in bits by type. Empty: all.
    allowed_user_key_lengths: BTreeMap<String, Vec<u64>> = BTreeMap::new(), Lengths, |v| v.0;
    /// The users that may be asked for, divided by commas; `*`: any.
    allowed_users: String = String::new(), Text, |v| v.0;
    /// Whether these may hold templates of the caller's identity.
    allowed_users_template: bool = false, Flag, |v| v.0;
    /// The critical options of a certificate whose request sets none.
    default_critical_options: BTreeMap<String, String> = BTreeMap::new(), Options, |v| v.0;
    /// The extensions of a certificate whose request sets none.
    default_extensions: BTreeMap<String, String> = BTreeMap::new(), Options, |v| v.0;
    /// Whether the values of these may hold templates of the caller's identity.
    default_extensions_template: bool = false, Flag, |v| v.0;
    /// For whom a certificate or a password is if the request does not say.
    default_user: String = String::new(), Text, |v| v.0;
    /// Whether this may hold templates of the caller's identity.
    default_user_template: bool = false, Flag, |v| v.0;
    /// Who signs: a name, an id, or `default`.
    issuer_ref: String = DEFAULT.to_owned(), Text, |v| if v.0.is_empty() { DEFAULT.to_owned() } else { v.0 };
    /// The key id of certificates, with `{{token_display_name}}`, `{{role_name}}` and `{{public_key_hash}}`.
    key_id_format: String = String::new(), Text, |v| v.0;
    /// The longest lifetime in seconds; 0 for the mount's.
    max_ttl: u64 = 0, Seconds, |v| v.0;
    /// How long before now certificates begin, in seconds, for clocks that are slow.
    not_before_duration: u64 = 30, Seconds, |v| v.0;
    /// The lifetime in seconds where a request names none; 0 for the mount's.
    ttl: u64 = 0, Seconds, |v| v.0;
}

impl Command<Ssh> for WriteRole {
    const ROUTE: Route = Route::post("roles/{role:at}");
    type Reply = Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        let name = self.role.clone();
        let kind = self.key_type.as_ref().map(|text| text.0.to_lowercase()).unwrap_or_default();
        for (field, list) in
            [("cidr_list", &self.cidr_list), ("exclude_cidr_list entry", &self.exclude_cidr_list)]
        {
            let list = list.as_ref().map_or("", |text| text.0.as_str());
            Networks::parse(list).map_err(|bad| {
                Error::invalid(format!("failed to validate {field}: invalid CIDR address: {bad}"))
            })?;
        }
        let role = match kind.as_str() {
            "" => return Err(Error::invalid("missing key type")),
            "dynamic" => {
                return Err(Error::invalid("dynamic key type roles are no longer supported"));
            }
            "otp" => Role::Otp(self.otp()?),
            "ca" => {
                let role = self.ca();
                role.check()?;
                Role::Ca(Box::new(role))
            }
            _ => return Err(Error::invalid("invalid key type")),
        };
        ROLES.put(cx, &name, &role)?;
        Ok(Reply::Nothing)
    }
}

impl WriteRole {
    fn otp(self) -> Result<OtpRole> {
        let text = |text: Option<Text>| text.unwrap_or_default().0;
        let default_user = text(self.default_user);
        if default_user.is_empty() {
            return Err(Error::invalid("missing default user"));
        }
        let port = match self.port.unwrap_or_default().0 {
            0 => PORT,
            port @ 1..=PORT_MAX => u64::try_from(port).unwrap_or(PORT),
            _ => return Err(Error::invalid(format!("port must be a number from 1 to {PORT_MAX}"))),
        };
        let role = OtpRole {
            allowed_users: text(self.allowed_users),
            cidr_list: text(self.cidr_list),
            default_user,
            exclude_cidr_list: text(self.exclude_cidr_list),
            port,
        };
        check_texts(&[
            ("allowed_users", &role.allowed_users),
            ("cidr_list", &role.cidr_list),
            ("default_user", &role.default_user),
            ("exclude_cidr_list", &role.exclude_cidr_list),
        ])?;
        Ok(role)
    }
}

impl CaRole {
    /// Refuses what could never sign, or not as it says.
    fn check(&self) -> Result<()> {
        self.digest()?;
        if !self.allow_user_certificates && !self.allow_host_certificates {
            return Err(Error::invalid(
                "Either 'allow_user_certificates' or 'allow_host_certificates' must be set to 'true'",
            ));
        }
        if self.ttl != 0 && self.max_ttl != 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid(
                "\"ttl\" value must be less than \"max_ttl\" when both are specified",
            ));
        }
        check_texts(&[
            ("allowed_critical_options", &self.allowed_critical_options),
            ("allowed_domains", &self.allowed_domains),
            ("allowed_extensions", &self.allowed_extensions),
            ("allowed_users", &self.allowed_users),
            ("default_user", &self.default_user),
            ("issuer_ref", &self.issuer_ref),
            ("key_id_format", &self.key_id_format),
        ])
    }

    /// How an RSA issuer signs for this role.
    pub(super) fn digest(&self) -> Result<RsaDigest> {
        match self.algorithm_signer.as_str() {
            DEFAULT | "rsa-sha2-256" => Ok(RsaDigest::Sha256),
            "rsa-sha2-512" => Ok(RsaDigest::Sha512),
            "ssh-rsa" => Err(Error::invalid(
                "algorithm signer \"ssh-rsa\" signs with SHA-1, which can be forged and which OpenSSH refuses; use \"rsa-sha2-256\" or \"default\"",
            )),
            other => Err(Error::invalid(format!(
                "unknown algorithm signer {other:?}; it is \"default\", \"rsa-sha2-256\" or \"rsa-sha2-512\""
            ))),
        }
    }
}

fn check_texts(texts: &[(&str, &str)]) -> Result<()> {
    for (field, text) in texts {
        if text.len() > TEXT_SIZE_MAX {
            return Err(Error::invalid(format!("{field} must be at most {TEXT_SIZE_MAX} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid(format!("{field} must hold no control characters")));
        }
    }
    Ok(())
}

/// A role as it is shown: its own fields, and its type among them.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub(super) enum ShownRole {
    /// Certificates.
    Ca(Typed<CaRole>),
    /// One-time passwords.
    Otp(Typed<OtpRole>),
}

/// The fields of a role and its type.
#[derive(JsonSchema, Serialize)]
pub(super) struct Typed<T> {
    key_type: &'static str,
    #[serde(flatten)]
    role: T,
}

/// Shows a role.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadRole {
    /// Name of the role.
    role: String,
}

impl Query<Ssh> for ReadRole {
    const ROUTE: Route = Route::get("roles/{role:at}");
    type Reply = ShownRole;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ShownRole>> {
        Ok(Reply::Data(match ROLES.get(cx, &self.role)?.ok_or_else(Error::not_found)? {
            Role::Ca(role) => ShownRole::Ca(Typed { key_type: "ca", role: *role }),
            Role::Otp(role) => ShownRole::Otp(Typed { key_type: "otp", role }),
        }))
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

/// The roles of a mount.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedRoles {
    key_info: BTreeMap<String, ListedRole>,
    keys: Vec<String>,
}

/// One of them.
#[derive(JsonSchema, Serialize)]
pub(super) struct ListedRole {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_ref: Option<String>,
    key_type: &'static str,
}

impl Query<Ssh> for ListRoles {
    const ROUTE: Route = Route::list("roles");
    type Reply = ListedRoles;

    fn run(self, _: &Ssh, cx: &Reading<'_>) -> Result<Reply<ListedRoles>> {
        let names = ROLES.list(cx, "")?;
        let keys = page(&names, &self.after.unwrap_or_default().0, self.limit.unwrap_or_default().0);
        if keys.is_empty() {
            return Err(Error::not_found());
        }
        let mut key_info = BTreeMap::new();
        for name in &keys {
            let Some(role) = ROLES.get(cx, name)? else { continue };
            let listed = match role {
                Role::Ca(role) => ListedRole { issuer_ref: Some(role.issuer_ref), key_type: "ca" },
                Role::Otp(_) => ListedRole { issuer_ref: None, key_type: "otp" },
            };
            key_info.insert(name.clone(), listed);
        }
        Ok(Reply::Data(ListedRoles { key_info, keys }))
    }
}

/// Deletes a role. What was given under it stays valid until it ends.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteRole {
    /// Name of the role.
    role: String,
}

impl Command<Ssh> for DeleteRole {
    const ROUTE: Route = Route::delete("roles/{role:at}");
    type Reply = Nothing;

    fn run(self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Nothing>> {
        drop_from_any_address(cx, &self.role)?;
        ROLES.delete(cx, &self.role)?;
        Ok(Reply::Nothing)
    }
}
