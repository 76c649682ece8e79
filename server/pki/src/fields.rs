//! The parameters that many operations share, declared once: those of a leaf, and those of a CA.

pub(super) use kit::loose::Seconds;
use kit::loose::{Flag, Number, Slice, Text, Texts};
use kit::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use x509::{AltNames, Family, KeyShape, OtherName, Subject};

use super::authorities::refused;

/// Declares an operation that issues a leaf: its own parameters and the shared ones.
macro_rules! leaf_operation {
    ($(#[doc = $doc:literal])* $name:ident { $($own:tt)* }) => {
        $(#[doc = $doc])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        pub(super) struct $name<const AT: usize> {
            $($own)*
            /// Other names, divided by commas: host names and mail addresses.
            alt_names: Option<kit::loose::Text>,
            /// The common name.
            common_name: Option<kit::loose::Text>,
            /// Whether the common name is left out of the alternative names.
            exclude_cn_from_sans: Option<kit::loose::Flag>,
            /// `pem`, `der` or `pem_bundle`.
            format: Option<kit::loose::Text>,
            /// Addresses.
            ip_sans: Option<kit::loose::Texts>,
            /// Who issues: a name, an id, or `default`.
            issuer_ref: Option<kit::loose::Text>,
            /// The end, as a time in UTC.
            not_after: Option<kit::loose::Text>,
            /// The start, as a time in UTC.
            not_before: Option<kit::loose::Text>,
            /// Names of other types, as `<oid>;UTF8:<value>`.
            other_sans: Option<crate::fields::OtherSans>,
            /// `der` for the key's own form, `pkcs8` for PKCS#8.
            private_key_format: Option<kit::loose::Text>,
            /// Whether self-signed certificates are left out of the chain.
            remove_roots_from_chain: Option<kit::loose::Flag>,
            /// serialNumber of the subject.
            serial_number: Option<kit::loose::Text>,
            /// The lifetime.
            ttl: Option<$crate::fields::Seconds>,
            /// URIs.
            uri_sans: Option<kit::loose::Texts>,
            /// UID of the subject.
            user_ids: Option<kit::loose::Texts>,
        }

        impl<const AT: usize> $name<AT> {
            /// Takes the shared parameters out.
            fn take_asked(&mut self) -> kit::Result<$crate::fields::Asked> {
                Ok($crate::fields::Asked {
                    names: $crate::fields::Names {
                        common_name: $crate::fields::text(self.common_name.take()),
                        alt_names: $crate::fields::text(self.alt_names.take()),
                        ip_sans: $crate::fields::texts(self.ip_sans.take()),
                        uri_sans: $crate::fields::texts(self.uri_sans.take()),
                        other_sans: self.other_sans.take().unwrap_or_default().0,
                        serial_number: $crate::fields::text(self.serial_number.take()),
                        user_ids: $crate::fields::texts(self.user_ids.take()),
                        exclude_cn_from_sans: $crate::fields::flag(self.exclude_cn_from_sans),
                    },
                    lifetime: $crate::lifetime::AskedLifetime::read(
                        self.ttl,
                        &$crate::fields::text(self.not_before.take()),
                        &$crate::fields::text(self.not_after.take()),
                    )?,
                    format: $crate::reply::Format::read(self.format.take(), self.private_key_format.take())?,
                    issuer_ref: self.issuer_ref.take().map(|text| text.0).filter(|text| !text.is_empty()),
                    remove_roots: $crate::fields::flag(self.remove_roots_from_chain),
                })
            }
        }
    };
}

/// Declares an operation that makes or requests a CA: its own parameters and the shared ones.
macro_rules! ca_operation {
    ($(#[doc = $doc:literal])* $name:ident { $($own:tt)* }) => {
        $(#[doc = $doc])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        pub(super) struct $name<const AT: usize> {
            $($own)*
            /// Other names, divided by commas: host names and mail addresses.
            alt_names: Option<kit::loose::Text>,
            /// The common name.
            common_name: Option<kit::loose::Text>,
            /// C of the subject.
            country: Option<kit::loose::Texts>,
            /// Whether the common name is left out of the alternative names.
            exclude_cn_from_sans: Option<kit::loose::Flag>,
            /// `pem`, `der` or `pem_bundle`.
            format: Option<kit::loose::Text>,
            /// Addresses.
            ip_sans: Option<kit::loose::Texts>,
            /// L of the subject.
            locality: Option<kit::loose::Texts>,
            /// The end, as a time in UTC.
            not_after: Option<kit::loose::Text>,
            /// The start, as a time in UTC.
            not_before: Option<kit::loose::Text>,
            /// How long before now the certificate begins, for clocks that are slow.
            not_before_duration: Option<$crate::fields::Seconds>,
            /// O of the subject.
            organization: Option<kit::loose::Texts>,
            /// Names of other types, as `<oid>;UTF8:<value>`.
            other_sans: Option<crate::fields::OtherSans>,
            /// OU of the subject.
            ou: Option<kit::loose::Texts>,
            /// postalCode of the subject.
            postal_code: Option<kit::loose::Texts>,
            /// `der` for the key's own form, `pkcs8` for PKCS#8.
            private_key_format: Option<kit::loose::Text>,
            /// ST of the subject.
            province: Option<kit::loose::Texts>,
            /// serialNumber of the subject.
            serial_number: Option<kit::loose::Text>,
            /// The digest an RSA key signs with: 256, 384, 512, or 0 for the default.
            signature_bits: Option<kit::loose::Number>,
            /// street of the subject.
            street_address: Option<kit::loose::Texts>,
            /// The lifetime.
            ttl: Option<$crate::fields::Seconds>,
            /// URIs.
            uri_sans: Option<kit::loose::Texts>,
            /// Whether an RSA key signs with PSS.
            use_pss: Option<kit::loose::Flag>,
        }

        impl<const AT: usize> $name<AT> {
            /// Takes the shared parameters out.
            fn take_asked(&mut self) -> kit::Result<$crate::fields::AskedCa> {
                let names = $crate::fields::Names {
                    common_name: $crate::fields::text(self.common_name.take()),
                    alt_names: $crate::fields::text(self.alt_names.take()),
                    ip_sans: $crate::fields::texts(self.ip_sans.take()),
                    uri_sans: $crate::fields::texts(self.uri_sans.take()),
                    other_sans: self.other_sans.take().unwrap_or_default().0,
                    serial_number: $crate::fields::text(self.serial_number.take()),
                    user_ids: vec![],
                    exclude_cn_from_sans: $crate::fields::flag(self.exclude_cn_from_sans),
                };
                let subject = x509::Subject {
                    country: $crate::fields::texts(self.country.take()),
                    organization: $crate::fields::texts(self.organization.take()),
                    organizational_unit: $crate::fields::texts(self.ou.take()),
                    locality: $crate::fields::texts(self.locality.take()),
                    province: $crate::fields::texts(self.province.take()),
                    street_address: $crate::fields::texts(self.street_address.take()),
                    postal_code: $crate::fields::texts(self.postal_code.take()),
                    common_name: names.common_name.clone(),
                    serial_number: names.serial_number.clone(),
                    user_ids: vec![],
                };
                Ok($crate::fields::AskedCa {
                    names,
                    subject,
                    lifetime: $crate::lifetime::AskedLifetime::read(
                        self.ttl,
                        &$crate::fields::text(self.not_before.take()),
                        &$crate::fields::text(self.not_after.take()),
                    )?,
                    not_before_duration: self.not_before_duration.map_or(30, |seconds| seconds.0),
                    format: $crate::reply::Format::read(self.format.take(), self.private_key_format.take())?,
                    signature_bits: $crate::fields::unsigned(self.signature_bits),
                    padding: $crate::fields::padding(self.use_pss),
                })
            }
        }
    };
}

pub(super) use {ca_operation, leaf_operation};

/// What a request for a leaf says.
pub(super) struct Asked {
    pub(super) names: Names,
    pub(super) lifetime: super::lifetime::AskedLifetime,
    pub(super) format: super::reply::Format,
    pub(super) issuer_ref: Option<String>,
    pub(super) remove_roots: bool,
}

impl Asked {
    /// The issuer the request names, by its path or else in its body.
    pub(super) fn issuer(&self) -> &str {
        self.issuer_ref.as_deref().unwrap_or(super::authorities::DEFAULT)
    }
}

/// What a request for a CA says.
pub(super) struct AskedCa {
    pub(super) names: Names,
    pub(super) subject: Subject,
    pub(super) lifetime: super::lifetime::AskedLifetime,
    pub(super) not_before_duration: u64,
    pub(super) format: super::reply::Format,
    pub(super) signature_bits: u64,
    pub(super) padding: x509::Padding,
}

/// The names a request asks for, not yet judged.
pub(super) struct Names {
    pub(super) common_name: String,
    pub(super) alt_names: String,
    pub(super) ip_sans: Vec<String>,
    pub(super) uri_sans: Vec<String>,
    pub(super) other_sans: Vec<String>,
    pub(super) serial_number: String,
    pub(super) user_ids: Vec<String>,
    pub(super) exclude_cn_from_sans: bool,
}

impl Names {
    /// None at all.
    pub(super) fn none() -> Self {
        Self {
            common_name: String::new(),
            alt_names: String::new(),
            ip_sans: vec![],
            uri_sans: vec![],
            other_sans: vec![],
            serial_number: String::new(),
            user_ids: vec![],
            exclude_cn_from_sans: true,
        }
    }

    /// The alternative names that were asked for by parameter. The common name is not among them.
    pub(super) fn alternative(&self) -> Result<AltNames> {
        let mut names = AltNames::default();
        for name in self.alt_names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.contains('@') {
                true => names.email.push(name.to_owned()),
                false => names.dns.push(x509::to_ascii(name).map_err(refused)?),
            }
        }
        for text in self.ip_sans.iter().filter(|text| !text.is_empty()) {
            let ip = text.parse::<std::net::IpAddr>();
            let ip =
                ip.map_err(|_| Error::invalid(format!("the value {text:?} is not a valid IP address")))?;
            // An IPv4 address in IPv6's clothes is the IPv4 address.
            names.ip.push(ip.to_canonical());
        }
        names.uri = self.uri_sans.iter().filter(|uri| !uri.is_empty()).cloned().collect();
        for uri in &names.uri {
            check_uri(uri)?;
        }
        for text in self.other_sans.iter().filter(|text| !text.is_empty()) {
            let other = OtherName::parse(text);
            names.other.push(
                other.map_err(|e| Error::invalid(format!("could not parse requested other SAN: {e}")))?,
            );
        }
        Ok(names)
    }

    /// Adds the common name where it is a mail address or a host name, unless it is to be left out. An address is no host's name.
    pub(super) fn add_common_name(&self, common_name: &str, names: &mut AltNames) -> Result<()> {
        if common_name.is_empty() || self.exclude_cn_from_sans {
            return Ok(());
        }
        if common_name.contains('@') {
            names.email.insert(0, common_name.to_owned());
            return Ok(());
        }
        let ascii = match x509::to_ascii(common_name) {
            Ok(ascii) => ascii,
            // The name of a person or a company, as in "Müller & Söhne Root CA".
            Err(_) if !common_name.is_ascii() => return Ok(()),
            Err(error) => return Err(refused(error)),
        };
        if x509::is_hostname_or_wildcard(&ascii) && ascii.parse::<std::net::IpAddr>().is_err() {
            names.dns.insert(0, ascii);
        }
        Ok(())
    }
}

/// A URI as RFC 5280 §4.2.1.6 has it: a scheme, and something after it.
pub(super) fn check_uri(uri: &str) -> Result<()> {
    let good = uri.split_once(':').is_some_and(|(scheme, rest)| {
        let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && letters && !rest.is_empty()
    });
    let plain = uri.bytes().all(|b| b.is_ascii_graphic());
    match good && plain {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the provided URI Subject Alternative Name {uri:?} is not a valid URI; it should have a scheme, like spiffe://example.org/app"
        ))),
    }
}

/// Warns of a subject with a longer text than RFC 5280 allows.
pub(super) fn warn_of_length(subject: &Subject, cx: &impl kit::Reads) {
    if let Some((field, most)) = subject.overlong() {
        cx.warn(format!(
            "{field} is longer than the {most} characters of RFC 5280; some programs refuse a certificate with such a subject"
        ));
    }
}

/// Other names: a list, whose items may hold commas, or one text that commas divide.
#[derive(Debug, Default)]
pub(super) struct OtherSans(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for OtherSans {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => {
                let items = text.split(',').map(|item| item.trim().to_owned());
                Ok(Self(items.filter(|item| !item.is_empty()).collect()))
            }
            list => serde_json::from_value::<Slice>(list)
                .map(|list| Self(list.0))
                .map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for OtherSans {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Slice::schema_name()
    }

    fn inline_schema() -> bool {
        Slice::inline_schema()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Slice::json_schema(generator)
    }
}

pub(super) fn text(value: Option<Text>) -> String {
    value.unwrap_or_default().0
}

pub(super) fn texts(value: Option<Texts>) -> Vec<String> {
    value.unwrap_or_default().0
}

pub(super) fn flag(value: Option<Flag>) -> bool {
    value.unwrap_or_default().0
}

pub(super) fn unsigned(value: Option<Number>) -> u64 {
    u64::try_from(value.unwrap_or_default().0).unwrap_or(0)
}

/// The kind of key that a request or a role asks for. How large an ML-DSA key is says its parameter set alone, as in Vault.
pub(super) fn key_shape(key_type: &str, key_bits: u64, parameter_set: &str) -> Result<KeyShape> {
    let size = match (key_type == Family::MlDsa.name(), parameter_set) {
        (false, _) => key_bits,
        (true, "") => 0,
        (true, set) => set.parse().map_err(|_| {
            Error::invalid(format!("invalid parameter set {set} for key type {key_type}: it is 44, 65 or 87"))
        })?,
    };
    KeyShape::parse(key_type, size).map_err(refused)
}

pub(super) fn padding(use_pss: Option<Flag>) -> x509::Padding {
    if flag(use_pss) { x509::Padding::Pss } else { x509::Padding::Pkcs1 }
}
