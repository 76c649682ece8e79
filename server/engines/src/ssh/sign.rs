//! Certificates: for a key that is brought, or for one that is made here.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use kit::loose::{Number, Seconds, Text};
use kit::{Command, Error, Reads, Reply, Result, Route, Secret, Writing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_encoding::Encode;
use ssh_key::public::KeyData;
use x509::Family;

use super::Ssh;
use super::authorities::authorities;
use super::certificate::{Granted, NONCE_SIZE};
use super::fields::{Lengths, Options};
use super::key::{Key, shape, unwritten};
use super::options::{critical_options, extensions};
use super::principals::principals;
use super::role::{CaRole, Role};
use super::store::ROLES;
use super::subject;

const KEY_ID_SIZE_MAX: usize = 4096;
/// The key that is made if the request does not say which.
const KEY_TYPE: &str = "rsa";

/// Whom a certificate speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertType {
    /// A person or program that logs in.
    User,
    /// A machine that is logged in to.
    Host,
}

impl From<CertType> for ssh_key::certificate::CertType {
    fn from(kind: CertType) -> Self {
        match kind {
            CertType::User => Self::User,
            CertType::Host => Self::Host,
        }
    }
}

macro_rules! certify_operation {
    ($(#[doc = $doc:literal])* $name:ident { $($own:tt)* }) => {
        $(#[doc = $doc])*
        #[derive(Deserialize, JsonSchema)]
        pub(super) struct $name {
            /// Name of the role.
            role: String,
            $($own)*
            /// `user` or `host`.
            cert_type: Option<Text>,
            /// What the server must heed, such as `force-command` or `source-address`.
            critical_options: Option<Options>,
            /// What the server may allow, such as `permit-pty`.
            extensions: Option<Options>,
            /// What the server logs. The role must allow it to be chosen.
            key_id: Option<Text>,
            /// The lifetime.
            ttl: Option<Seconds>,
            /// The users or hosts that it is for, divided by commas.
            valid_principals: Option<Text>,
        }

        impl $name {
            fn asked(self) -> Asked {
                Asked {
                    role_name: self.role,
                    cert_type: self.cert_type.map_or("user".to_owned(), |text| text.0),
                    critical_options: self.critical_options.unwrap_or_default(),
                    extensions: self.extensions.unwrap_or_default(),
                    key_id: self.key_id.unwrap_or_default().0,
                    ttl_seconds: self.ttl.map(|seconds| seconds.0),
                    valid_principals: self.valid_principals.map(|text| text.0),
                }
            }
        }
    };
}

certify_operation! {
    /// Signs a public key as a role allows.
    Sign {
        /// The key: a line as in `id_ed25519.pub`.
        public_key: Option<Text>,
    }
}

certify_operation! {
    /// Makes a key and signs it as a role allows. The private key is in the answer and nowhere else.
    Issue {
        /// The size of the key; 0 for the usual one of its type.
        key_bits: Option<Number>,
        /// The type of the key: `rsa`, `ec` or `ed25519`, or as SSH calls them.
        key_type: Option<Text>,
    }
}

/// A certificate.
#[derive(JsonSchema, Serialize)]
pub(super) struct Certified {
    /// Who signed.
    issuer_id: String,
    /// In hexadecimal digits.
    serial_number: String,
    /// The certificate, as a line for `id_ed25519-cert.pub`.
    signed_key: String,
}

/// A certificate and the key it is for.
#[derive(JsonSchema, Serialize)]
pub(super) struct Issued {
    /// Who signed.
    issuer_id: String,
    /// As `ssh` reads it.
    private_key: Secret<String>,
    private_key_type: String,
    /// In hexadecimal digits.
    serial_number: String,
    /// The certificate, as a line for `id_ed25519-cert.pub`.
    signed_key: String,
}

impl Command<Ssh> for Sign {
    const ROUTE: Route = Route::post("sign/{role:at}");
    type Reply = Certified;

    fn run(mut self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Certified>> {
        let role = ROLES
            .get(cx, &self.role)?
            .ok_or_else(|| Error::invalid(format!("Unknown role: {}", self.role)))?;
        let public_key = self.public_key.take().unwrap_or_default().0;
        if public_key.is_empty() {
            return Err(Error::invalid("missing public_key"));
        }
        let key = subject::read(&public_key)
            .map_err(|why| Error::invalid(format!("failed to parse public_key as SSH key: {why}")))?;
        // A role for passwords certifies nobody, and says so as a role that allows no certificates does.
        let Role::Ca(role) = role else {
            return Err(Error::invalid("cert_type 'user' is not allowed by role"));
        };
        subject::check_key(&key, &Lengths(role.allowed_user_key_lengths.clone()))?;
        Ok(Reply::Data(certify(self.asked(), &role, key, cx)?))
    }
}

impl Command<Ssh> for Issue {
    const ROUTE: Route = Route::post("issue/{role:at}");
    type Reply = Issued;

    fn run(mut self, _: &Ssh, cx: &mut Writing<'_>) -> Result<Reply<Issued>> {
        let role = ROLES
            .get(cx, &self.role)?
            .ok_or_else(|| Error::invalid(format!("unknown role: {}", self.role)))?;
        let Role::Ca(role) = role else {
            return Err(Error::invalid("role key type 'otp' not allowed to issue key pairs"));
        };
        let key_type = self.key_type.take().map_or(KEY_TYPE.to_owned(), |text| text.0);
        let bits = u64::try_from(self.key_bits.unwrap_or_default().0).unwrap_or(1);
        let shape = shape(&key_type, bits)?;
        subject::check_shape(shape, &Lengths(role.allowed_user_key_lengths.clone()))?;
        if shape.family == Family::Rsa {
            cx.costly()?;
        }
        let key = cx.once(|| Key::generate(shape).map(Arc::new))?;
        let certified = certify(self.asked(), &role, key.public().clone(), cx)?;
        Ok(Reply::Data(Issued {
            issuer_id: certified.issuer_id,
            private_key: key.to_pem()?,
            private_key_type: key_type,
            serial_number: certified.serial_number,
            signed_key: certified.signed_key,
        }))
    }
}

/// What a request says of the certificate.
struct Asked {
    role_name: String,
    cert_type: String,
    critical_options: Options,
    extensions: Options,
    key_id: String,
    ttl_seconds: Option<u64>,
    valid_principals: Option<String>,
}

fn certify(asked: Asked, role: &CaRole, key: KeyData, cx: &mut Writing<'_>) -> Result<Certified> {
    let key_id = key_id(&asked, role, &key, cx)?;
    let kind = cert_type(&asked.cert_type, role)?;
    let principals = principals(asked.valid_principals.as_deref(), kind, role, cx)?;
    let ttl = ttl(asked.ttl_seconds, role, cx)?;
    let critical_options = critical_options(asked.critical_options, role)?;
    let extensions = extensions(asked.extensions, role, cx)?;
    let all = authorities(cx)?;
    let issuer = all.issuer(&role.issuer_ref)?;
    if issuer.key.shape().family == Family::Rsa {
        cx.costly()?;
    }
    let serial = u64::from_be_bytes(cx.random());
    let granted = Granted {
        key,
        kind,
        serial,
        nonce: cx.random::<NONCE_SIZE>(),
        key_id,
        principals,
        valid_after: cx.now().minus(Duration::from_secs(role.not_before_duration)).seconds(),
        valid_before: cx.now().plus(ttl).seconds(),
        critical_options,
        extensions,
    };
    Ok(Certified {
        issuer_id: issuer.id.to_string(),
        serial_number: format!("{serial:x}"),
        signed_key: granted.sign(&issuer.key.signer(role.digest()?))?,
    })
}

fn cert_type(asked: &str, role: &CaRole) -> Result<CertType> {
    let (kind, allowed) = match asked {
        "user" => (CertType::User, role.allow_user_certificates),
        "host" => (CertType::Host, role.allow_host_certificates),
        _ => return Err(Error::invalid("cert_type must be either 'user' or 'host'")),
    };
    match allowed {
        true => Ok(kind),
        false => Err(Error::invalid(format!("cert_type '{asked}' is not allowed by role"))),
    }
}

fn key_id(asked: &Asked, role: &CaRole, key: &KeyData, cx: &impl Reads) -> Result<String> {
    let text = if asked.key_id.is_empty() {
        let name = cx.caller().display_name.as_str();
        let format = match (role.key_id_format.as_str(), name) {
            ("", "") => "vault-{{public_key_hash}}",
            ("", _) => "vault-{{token_display_name}}-{{public_key_hash}}",
            (format, _) => format,
        };
        let mut blob = Vec::new();
        key.encode(&mut blob).map_err(|error| unwritten(error.into()))?;
        let hash = hex::encode(digest::digest(&digest::SHA256, &blob));
        substitute(
            format,
            &[
                ("{{token_display_name}}", name),
                ("{{role_name}}", &asked.role_name),
                ("{{public_key_hash}}", &hash),
            ],
        )
    } else if role.allow_user_key_ids {
        asked.key_id.clone()
    } else {
        return Err(Error::invalid("setting key_id is not allowed by role"));
    };
    match text.len() <= KEY_ID_SIZE_MAX && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err(Error::invalid(format!(
            "key_id must be at most {KEY_ID_SIZE_MAX} bytes without control characters"
        ))),
    }
}

/// Puts values in the place of names, in one go, so that a value that looks like a name stays as it is.
fn substitute(format: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        rest = match values.iter().find_map(|(name, value)| Some((value, from.strip_prefix(name)?))) {
            Some((value, after)) => {
                text.push_str(value);
                after
            }
            None => {
                text.push('{');
                from.strip_prefix('{').unwrap_or_default()
            }
        };
    }
    text.push_str(rest);
    text
}

/// What the request asks for, else what the role has, else the mount's. Only the first is refused if it is too long.
fn ttl(asked: Option<u64>, role: &CaRole, cx: &impl Reads) -> Result<Duration> {
    let mount = cx.mount();
    let choose = |seconds: u64, default: Duration| match seconds {
        0 => default,
        seconds => Duration::from_secs(seconds),
    };
    let max = choose(role.max_ttl, mount.max_ttl);
    match asked {
        Some(seconds) => match choose(seconds, mount.default_ttl) {
            ttl if ttl > max => {
                Err(Error::invalid(format!("ttl is larger than maximum allowed {}", max.as_secs())))
            }
            ttl => Ok(ttl),
        },
        None => Ok(choose(role.ttl, mount.default_ttl).min(max)),
    }
}

#[cfg(test)]
mod tests {
    use super::substitute;

    #[test]
    fn a_key_id_takes_its_values_once() {
        let values = [("{{a}}", "{{b}}"), ("{{b}}", "x")];
        for (format, expect) in [
            ("{{a}}-{{b}}", "{{b}}-x"),
            ("{{nope}} {{{{b}}", "{{nope}} {{x"),
            ("plain", "plain"),
            ("{{", "{{"),
        ] {
            assert_eq!(substitute(format, &values), expect);
        }
    }
}
