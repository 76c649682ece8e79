//! Subject alternative names.

use crate::ObjectIdentifier;
use crate::error::While;
use crate::{Error, Result, tlv};
use der::{
    Decode, Reader, SliceReader, Tag, TagNumber, Tagged,
    asn1::{AnyRef, Ia5String},
};
use std::net::IpAddr;
use x509_cert::ext::pkix::name::GeneralName;

/// More names than this in one certificate is an attack or a mistake.
pub const NAMES_MAX: usize = 2048;
/// `[0]`, with values in it.
const OTHER: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
/// `[8]`, with bytes in it.
const REGISTERED: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(8) };

/// The names a certificate stands for, sorted by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AltNames {
    /// Host names.
    pub dns: Vec<String>,
    /// Mail addresses.
    pub email: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
    /// URIs.
    pub uri: Vec<String>,
    /// Names of other types, as text.
    pub other: Vec<OtherName>,
    /// Kinds of names that were read and have no place here, by their name in RFC 5280.
    pub unreadable: Vec<&'static str>,
}

/// A name of a type that its OID tells, with a text for its value: `1.3.6.1.4.1.311.20.2.3;UTF8:user@example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherName {
    /// The type.
    pub oid: ObjectIdentifier,
    /// The value.
    pub value: String,
}

impl OtherName {
    /// Reads `<oid>;UTF8:<value>`; `utf8` and `UTF-8` are the same.
    pub fn parse(text: &str) -> Result<Self> {
        let shape = || {
            Error::refused(format!(
                "could not parse requested other SAN {text}; it should be <oid>;UTF8:<value>"
            ))
        };
        let (oid, typed) = text.split_once(';').ok_or_else(shape)?;
        let (kind, value) = typed.split_once(':').ok_or_else(shape)?;
        if !matches!(kind.to_ascii_uppercase().as_str(), "UTF8" | "UTF-8") {
            return Err(Error::refused(format!(
                "only UTF8 other SANs are supported; found {kind} in {text}"
            )));
        }
        let oid = ObjectIdentifier::new(oid.trim()).map_err(|_| {
            Error::refused(format!("{oid} in the other SAN {text} is not an object identifier"))
        })?;
        Ok(OtherName { oid, value: value.to_owned() })
    }
}

impl AltNames {
    /// Whether there is no name that could be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.dns.len() + self.email.len() + self.ip.len() + self.uri.len() + self.other.len()
    }

    /// Leaves each name in once, in its first place.
    pub fn dedup(&mut self) {
        keep_first(&mut self.dns);
        keep_first(&mut self.email);
        keep_first(&mut self.uri);
        keep_first(&mut self.ip);
        keep_first(&mut self.other);
    }

    /// The GeneralNames.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        if self.len() > NAMES_MAX {
            return Err(Error::refused(format!("{} alternative names; {NAMES_MAX} are allowed", self.len())));
        }
        let mut names = Vec::with_capacity(self.len());
        for (number, values) in [(2u8, &self.dns), (1, &self.email), (6, &self.uri)] {
            for value in values {
                names.push(tlv::implicit(number, ia5(value)?));
            }
        }
        for ip in &self.ip {
            names.push(match ip {
                IpAddr::V4(v4) => tlv::implicit(7, &v4.octets()),
                IpAddr::V6(v6) => tlv::implicit(7, &v6.octets()),
            });
        }
        for other in &self.other {
            names.push(tlv::implicit_of(
                0,
                &[tlv::oid(&other.oid), tlv::explicit(0, &tlv::utf8(&other.value))],
            ));
        }
        Ok(tlv::sequence(&names))
    }

    /// Reads GeneralNames.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        const WHAT: &str = "subject alternative names";
        let mut found = AltNames::default();
        let names = list(der).reading(WHAT)?;
        if names.len() > NAMES_MAX {
            return Err(Error::malformed(WHAT, format!("there are more than {NAMES_MAX}")));
        }
        for name in names {
            match name {
                Name::Other(oid, value) if value.tag() == Tag::Utf8String => {
                    let value = String::from_utf8(value.value().to_vec())
                        .map_err(|_| Error::malformed(WHAT, "an otherName is not UTF-8"))?;
                    found.other.push(OtherName { oid, value });
                }
                Name::Other(..) => found.unreadable.push("otherName"),
                Name::Registered => found.unreadable.push("registeredID"),
                Name::Usual(name) => match *name {
                    GeneralName::DnsName(name) => found.dns.push(text(name)),
                    GeneralName::Rfc822Name(name) => found.email.push(text(name)),
                    GeneralName::UniformResourceIdentifier(name) => found.uri.push(text(name)),
                    GeneralName::IpAddress(bytes) => found.ip.push(ip(bytes.as_bytes())?),
                    GeneralName::DirectoryName(_) => found.unreadable.push("directoryName"),
                    _ => found.unreadable.push("ediPartyName"),
                },
            }
        }
        Ok(found)
    }
}

/// One of GeneralNames. Those with object identifiers are read here: the crate that reads the others does not know all.
enum Name<'a> {
    Other(ObjectIdentifier, AnyRef<'a>),
    Registered,
    Usual(Box<GeneralName>),
}

/// Whether these are GeneralNames, and at least one.
pub(crate) fn are_names(der: &[u8]) -> bool {
    list(der).is_ok_and(|names| !names.is_empty())
}

fn list(der: &[u8]) -> der::Result<Vec<Name<'_>>> {
    let mut reader = SliceReader::new(der)?;
    let mut names = Vec::new();
    reader.sequence(|inner| {
        while !inner.is_finished() {
            names.push(name(inner)?);
        }
        Ok::<_, der::Error>(())
    })?;
    reader.finish()?;
    Ok(names)
}

fn name<'a>(reader: &mut SliceReader<'a>) -> der::Result<Name<'a>> {
    match Tag::peek(reader)? {
        // [0] IMPLICIT, and in it the value as [0] EXPLICIT.
        OTHER => {
            let mut inner = SliceReader::new(AnyRef::decode(reader)?.value())?;
            let oid = ObjectIdentifier::decode(&mut inner)?;
            let value = AnyRef::decode(&mut inner)?;
            inner.finish()?;
            if value.tag() != OTHER {
                return Err(value.tag().value_error().into());
            }
            Ok(Name::Other(oid, AnyRef::from_der(value.value())?))
        }
        REGISTERED => AnyRef::decode(reader).map(|_| Name::Registered),
        _ => GeneralName::decode(reader).map(|name| Name::Usual(Box::new(name))),
    }
}

fn keep_first<T: PartialEq>(names: &mut Vec<T>) {
    if names.len() < 2 {
        return;
    }
    let mut kept: Vec<T> = Vec::with_capacity(names.len());
    for name in names.drain(..) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    *names = kept;
}

fn ia5(value: &str) -> Result<&[u8]> {
    match value.is_ascii() && !value.bytes().any(|b| b.is_ascii_control()) {
        true => Ok(value.as_bytes()),
        false => {
            Err(Error::refused(format!("{value:?} holds characters that no name of a certificate may hold")))
        }
    }
}

fn text(name: Ia5String) -> String {
    name.as_str().to_owned()
}

fn ip(bytes: &[u8]) -> Result<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    const WHAT: &str = "subject alternative names";
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    let v6 = v6.map_err(|_| Error::malformed(WHAT, "an iPAddress is neither 4 nor 16 bytes long"))?;
    // Some would take it for the IPv4 address, and some read no certificate with it.
    match v6.to_canonical() == v6 {
        true => Ok(v6),
        false => {
            Err(Error::malformed(WHAT, format!("{v6} is an IPv4 address in the form of an IPv6 address")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives() {
        let names = AltNames {
            dns: vec!["a.example".into(), "*.b.example".into()],
            email: vec!["a@example.com".into()],
            ip: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            uri: vec!["spiffe://td/x".into()],
            other: vec![OtherName::parse("1.3.6.1.4.1.311.20.2.3;utf8:müller").unwrap()],
            unreadable: vec![],
        };
        assert_eq!(AltNames::from_der(&names.to_der().unwrap()).unwrap(), names);
    }

    #[test]
    fn names_outside_ascii_are_refused_in_ia5() {
        for dns in ["bücher.example", "a\0.example", "a\n"] {
            assert!(AltNames { dns: vec![dns.into()], ..AltNames::default() }.to_der().is_err());
        }
    }

    #[test]
    fn other_names_say_what_is_wrong() {
        for (text, why) in [
            ("x", "should be"),
            ("1.2;UTF8", "should be"),
            ("1.2;INT:3", "only UTF8"),
            ("one;UTF8:v", "not an object identifier"),
        ] {
            assert!(OtherName::parse(text).unwrap_err().to_string().contains(why), "{text}");
        }
    }

    #[test]
    fn an_address_has_one_form() {
        let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert!(AltNames::from_der(&tlv::sequence(&[tlv::implicit(7, &mapped)])).is_err());
    }

    #[test]
    fn an_address_of_five_bytes_is_malformed() {
        assert!(AltNames::from_der(&tlv::sequence(&[tlv::implicit(7, &[1, 2, 3, 4, 5])])).is_err());
    }
}
