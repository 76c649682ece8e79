//! What a program said of a certificate, read.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Result, Time};
use serde_json::{Map, Value};
use x509::{AltNames, ExtKeyUsage, Extension, KeyUsage, ObjectIdentifier, Policy, Subject};

use super::scope::{KEY_USAGE_BITS, PURPOSES};
use crate::authorities::refused;
use crate::{dates, rules};

/// A record that a program made. A field of the wrong type is refused by its name.
pub(super) struct Fields<'a> {
    kind: &'static str,
    fields: &'a Map<String, Value>,
}

/// What a certificate is to say.
pub(super) struct Said {
    pub(super) subject: Subject,
    pub(super) names: AltNames,
    /// In seconds since 1970, as the next.
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
    pub(super) usage: KeyUsage,
    pub(super) purposes: Vec<ExtKeyUsage>,
    pub(super) policies: Vec<Policy>,
    pub(super) says_no_ca: bool,
    pub(super) extensions: Vec<Extension>,
}

/// Extensions that the CA makes itself, from other fields.
const OWN: [&str; 8] =
    ["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.35", "2.5.29.37"];
/// Fields of a template that a leaf cannot have.
const OF_CAS: [&str; 3] = ["IsCA", "MaxPathLen", "MaxPathLenZero"];

impl<'a> Fields<'a> {
    pub(super) fn new(kind: &'static str, fields: &'a Map<String, Value>) -> Self {
        Self { kind, fields }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str) -> Error {
        Error::invalid(format!("the program of the role gave {}.{name} a value of the wrong type", self.kind))
    }

    pub(super) fn text(&self, name: &str) -> Result<String> {
        match self.value(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<u64> {
        self.value(name).map_or(Ok(0), |value| value.as_u64().ok_or_else(|| self.wrong(name)))
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name));
        self.list(name)?.iter().map(text).collect()
    }

    pub(super) fn record(&self, name: &str, kind: &'static str) -> Result<Option<Fields<'a>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields { kind, fields })),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn list(&self, name: &str) -> Result<&'a [Value]> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn records(&self, name: &str, kind: &'static str) -> Result<Vec<Fields<'a>>> {
        let record = |item: &'a Value| match item {
            Value::Object(fields) => Ok(Fields { kind, fields }),
            _ => Err(self.wrong(name)),
        };
        self.list(name)?.iter().map(record).collect()
    }

    fn moment(&self, name: &str) -> Result<Option<u64>> {
        let text = self.text(name)?;
        if text.is_empty() || text == rules::UNSET {
            return Ok(None);
        }
        let seconds = dates::parse(&text).or_else(|| Time::parse(&text).map(Time::seconds));
        seconds.map(Some).ok_or_else(|| self.wrong(name))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        STANDARD.decode(self.text(name)?).map_err(|_| self.wrong(name))
    }

    fn oid(&self, name: &str) -> Result<ObjectIdentifier> {
        let arcs: Option<Vec<String>> =
            self.list(name)?.iter().map(|arc| arc.as_u64().map(|arc| arc.to_string())).collect();
        let text = arcs.map(|arcs| arcs.join(".")).ok_or_else(|| self.wrong(name))?;
        ObjectIdentifier::new(&text).map_err(|_| self.wrong(name))
    }
}

impl Said {
    /// Reads a `CertTemplate`.
    pub(super) fn read(template: &Fields<'_>) -> Result<Self> {
        if let Some(field) = OF_CAS.iter().find(|field| is_set(template.value(field))) {
            return Err(Error::invalid(format!(
                "the program of the role gave CertTemplate.{field} a value, but a CA is not signed by a role; use issuer/:ref/sign-intermediate"
            )));
        }
        let mut policies = Vec::new();
        for (field, kind) in [("PolicyIdentifiers", "ObjectIdentifier"), ("Policies", "OID")] {
            for policy in template.records(field, kind)? {
                let policy = Policy { oid: policy.oid("arc")?, cps: None, notice: None };
                if !policies.contains(&policy) {
                    policies.push(policy);
                }
            }
        }
        Ok(Self {
            subject: subject(template)?,
            names: names(template)?,
            not_before: template.moment("NotBefore")?,
            not_after: template.moment("NotAfter")?,
            usage: usage(template)?,
            purposes: purposes(template)?,
            policies,
            says_no_ca: template.flag("BasicConstraintsValid")?,
            extensions: extensions(template)?,
        })
    }
}

fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !matches!(value, Value::Bool(false)) && value.as_i64() != Some(0))
}

fn subject(template: &Fields<'_>) -> Result<Subject> {
    let Some(name) = template.record("Subject", "PKIX.Name")? else { return Ok(Subject::default()) };
    Ok(Subject {
        country: name.texts("Country")?,
        organization: name.texts("Organization")?,
        organizational_unit: name.texts("OrganizationUnit")?,
        locality: name.texts("Locality")?,
        province: name.texts("Province")?,
        street_address: name.texts("StreetAddress")?,
        postal_code: name.texts("PostalCode")?,
        common_name: name.text("CommonName")?,
        serial_number: name.text("SerialNumber")?,
        user_ids: vec![],
    })
}

fn names(template: &Fields<'_>) -> Result<AltNames> {
    let mut names = AltNames::default();
    for name in template.texts("DNSNames")? {
        names.dns.push(x509::to_ascii(&name).map_err(refused)?);
    }
    names.email = template.texts("EmailAddresses")?;
    for address in template.records("IPAddresses", "net.IP")? {
        let bytes = address.bytes("IP")?;
        let ip = match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
            (Ok(four), _) => IpAddr::from(four),
            // An IPv4 address in IPv6's clothes is the IPv4 address.
            (_, Ok(sixteen)) => IpAddr::from(sixteen).to_canonical(),
            _ => {
                return Err(Error::invalid(format!(
                    "bad IP address: invalid IP bytes: {}",
                    hex::encode(bytes)
                )));
            }
        };
        names.ip.push(ip);
    }
    for url in template.records("URIs", "url.URL")? {
        names.uri.push(uri(&url)?);
    }
    names.dedup();
    Ok(names)
}

fn uri(url: &Fields<'_>) -> Result<String> {
    let mut text = format!("{}:", url.text("Scheme")?);
    match url.text("Opaque")? {
        opaque if opaque.is_empty() => text += &format!("//{}{}", url.text("Host")?, url.text("Path")?),
        opaque => text += &opaque,
    }
    for (mark, field) in [("?", "RawQuery"), ("#", "Fragment")] {
        match url.text(field)? {
            part if part.is_empty() => {}
            part => text += &format!("{mark}{part}"),
        }
    }
    crate::fields::check_uri(&text)?;
    Ok(text)
}

fn usage(template: &Fields<'_>) -> Result<KeyUsage> {
    let bits = template.number("KeyUsage")?;
    let named =
        KEY_USAGE_BITS.iter().filter(|(bit, _)| bits & bit.unsigned_abs() != 0).map(|(_, name)| *name);
    let usage = KeyUsage::parse(&named.collect::<Vec<_>>()).map_err(refused)?;
    match usage.cert_sign() || usage.crl_sign() {
        true => Err(Error::invalid(
            "the program of the role gave CertTemplate.KeyUsage a use of CAs, but a CA is not signed by a role",
        )),
        false => Ok(usage),
    }
}

fn purposes(template: &Fields<'_>) -> Result<Vec<ExtKeyUsage>> {
    let mut purposes = Vec::new();
    for number in template.list("ExtKeyUsage")? {
        let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
        let (_, oid) =
            number.and_then(|number| PURPOSES.get(number)).ok_or_else(|| template.wrong("ExtKeyUsage"))?;
        purposes.push(ExtKeyUsage::from_oid(oid).map_err(refused)?);
    }
    for oid in template.records("UnknownExtKeyUsage", "ObjectIdentifier")? {
        purposes.push(ExtKeyUsage(oid.oid("arc")?));
    }
    Ok(purposes)
}

fn extensions(template: &Fields<'_>) -> Result<Vec<Extension>> {
    let mut extensions = Vec::new();
    for extension in template.records("ExtraExtensions", "PKIX.Extension")? {
        let oid = extension.oid("Id")?;
        if OWN.contains(&oid.to_string().as_str()) {
            return Err(Error::invalid(format!(
                "the program of the role gave the extension {oid}, which is made from other fields of CertTemplate"
            )));
        }
        extensions.push(Extension {
            oid,
            critical: extension.flag("Critical")?,
            value: extension.bytes("Value")?,
        });
    }
    Ok(extensions)
}
