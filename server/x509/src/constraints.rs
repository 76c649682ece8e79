//! Name constraints (RFC 5280, section 4.2.1.10): the names that a CA may vouch for.

use crate::certificate::value;
use crate::extensions::NAME_CONSTRAINTS;
use crate::{AltNames, Certificate, Error, Result, is_hostname_or_wildcard};
use der::Encode;
use std::net::IpAddr;
use x509_cert::ext::pkix::constraints::name::{GeneralSubtrees, NameConstraints as Decoded};
use x509_cert::ext::pkix::name::GeneralName;

/// What a CA certificate says of the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameConstraints {
    permitted: Vec<Base>,
    excluded: Vec<Base>,
}

/// A part of the space of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    Dns(String),
    Email(String),
    Uri(String),
    /// Address and mask, equally long.
    Ip(Vec<u8>, Vec<u8>),
    /// The first parts of a subject, in DER.
    Directory(Vec<u8>),
    /// A kind that is not looked into.
    Unknown,
}

/// One name of a certificate.
enum Name<'a> {
    Dns(&'a str),
    Email(&'a str),
    Uri(&'a str),
    Ip(IpAddr),
    Directory(&'a [u8]),
    Other(&'a str),
}

impl NameConstraints {
    /// Those in a certificate, if it has any.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of(certificate: &Certificate) -> Result<Option<Self>> {
        let decoded: Option<Decoded> = value(certificate.extensions(), NAME_CONSTRAINTS)?;
        Ok(decoded.map(|decoded| Self {
            permitted: bases(decoded.permitted_subtrees),
            excluded: bases(decoded.excluded_subtrees),
        }))
    }

    /// Holds the names of a certificate against them: the alternative ones, the subject (a Name in DER), and the common
    /// name where it is all that could name a host.
    ///
    /// # Errors
    /// With the name that lies outside.
    pub fn check(&self, names: &AltNames, subject: &[u8], common_name: &str) -> Result<()> {
        let host = names.dns.is_empty() && common_name.contains('.') && is_hostname_or_wildcard(common_name);
        let all = (names.dns.iter().map(|name| Name::Dns(name)))
            .chain(host.then_some(Name::Dns(common_name)))
            .chain(names.email.iter().map(|name| Name::Email(name)))
            .chain(names.uri.iter().map(|name| Name::Uri(name)))
            .chain(names.ip.iter().map(|name| Name::Ip(*name)))
            .chain(names.other.iter().map(|name| Name::Other(&name.value)))
            .chain((subject != EMPTY).then_some(Name::Directory(subject)));
        for name in all {
            self.judge(&name)?;
        }
        Ok(())
    }

    fn judge(&self, name: &Name<'_>) -> Result<()> {
        if let Some(base) = self.excluded.iter().find(|base| name.lies_in(base) != Some(false)) {
            return Err(Error::refused(format!(
                "{} lies in {}, which the name constraints of the CA exclude",
                name.shown(),
                base.shown()
            )));
        }
        let mut permitted = self.permitted.iter().filter(|base| base.is_about(name)).peekable();
        if permitted.peek().is_none() {
            return Ok(());
        }
        let shown: Vec<_> = permitted.clone().map(Base::shown).collect();
        match permitted.any(|base| name.lies_in(base) == Some(true)) {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "{} lies outside of what the name constraints of the CA permit: {}",
                name.shown(),
                shown.join(", ")
            ))),
        }
    }
}

/// A Name without any part.
const EMPTY: &[u8] = &[0x30, 0];

fn bases(subtrees: Option<GeneralSubtrees>) -> Vec<Base> {
    subtrees.unwrap_or_default().into_iter().map(|subtree| Base::of(subtree.base)).collect()
}

impl Base {
    fn of(name: GeneralName) -> Self {
        match name {
            GeneralName::DnsName(name) => Self::Dns(name.as_str().to_ascii_lowercase()),
            GeneralName::Rfc822Name(name) => Self::Email(name.as_str().to_owned()),
            GeneralName::UniformResourceIdentifier(name) => Self::Uri(name.as_str().to_ascii_lowercase()),
            GeneralName::IpAddress(bytes) => {
                let bytes = bytes.as_bytes();
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                match address.len() {
                    4 | 16 if mask.len() == address.len() => Self::Ip(address.to_vec(), mask.to_vec()),
                    _ => Self::Unknown,
                }
            }
            GeneralName::DirectoryName(name) => name.to_der().map_or(Self::Unknown, Self::Directory),
            _ => Self::Unknown,
        }
    }

    /// Whether it is about names of this kind. What is unknown is about those that are.
    fn is_about(&self, name: &Name<'_>) -> bool {
        name.lies_in(self).is_some()
    }

    fn shown(&self) -> String {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => match text.as_str() {
                "" => "all names".to_owned(),
                text => text.to_owned(),
            },
            Self::Ip(address, mask) => {
                let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
                format!("{}/{bits}", address_of(address).map(|ip| ip.to_string()).unwrap_or_default())
            }
            Self::Directory(_) => "a branch of the directory".to_owned(),
            Self::Unknown => "a name of another kind".to_owned(),
        }
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

impl Name<'_> {
    /// Whether it lies there; nothing, if that is about names of another kind.
    fn lies_in(&self, base: &Base) -> Option<bool> {
        match (self, base) {
            (Self::Dns(name), Base::Dns(base)) => Some(is_below(name, base)),
            (Self::Email(name), Base::Email(base)) => Some(mail_is_in(name, base)),
            (Self::Uri(name), Base::Uri(base)) => {
                Some(host_of(name).is_some_and(|host| host_is_in(host, base)))
            }
            (Self::Ip(IpAddr::V4(ip)), Base::Ip(address, mask)) if address.len() == 4 => {
                Some(masked(&ip.octets(), address, mask))
            }
            (Self::Ip(IpAddr::V6(ip)), Base::Ip(address, mask)) if address.len() == 16 => {
                Some(masked(&ip.octets(), address, mask))
            }
            // Permitted are addresses of the other family alone, so this one is not; nor is it excluded.
            (Self::Ip(_), Base::Ip(..)) => Some(false),
            (Self::Directory(name), Base::Directory(base)) => Some(content(name).starts_with(content(base))),
            // Of what cannot be looked into, nothing is known: it is not permitted, and it may be excluded.
            (Self::Other(_), Base::Unknown) => Some(false),
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) | Self::Other(text) => (*text).to_owned(),
            Self::Ip(ip) => ip.to_string(),
            Self::Directory(_) => "the subject".to_owned(),
        }
    }
}

/// The name itself or one below. A leading dot wants one below.
fn is_below(name: &str, base: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    if base.is_empty() {
        return true;
    }
    let bare = base.trim_start_matches('.');
    let above = name.strip_suffix(bare);
    above.is_some_and(|above| above.ends_with('.') || (above.is_empty() && bare == base))
}

/// A host: itself, or with a leading dot those below it.
fn host_is_in(host: &str, base: &str) -> bool {
    match base.starts_with('.') {
        true => is_below(host, base),
        false => base.is_empty() || host.eq_ignore_ascii_case(base),
    }
}

fn mail_is_in(name: &str, base: &str) -> bool {
    let (mailbox, host) = name.rsplit_once('@').unwrap_or(("", name));
    match base.rsplit_once('@') {
        Some((wanted, base)) => mailbox == wanted && host.eq_ignore_ascii_case(base),
        None => host_is_in(host, &base.to_ascii_lowercase()),
    }
}

/// The host of a URI; nothing where it has none, and then no base holds it.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(host.split(':').next().unwrap_or(host)).filter(|host| !host.is_empty())
}

fn masked(ip: &[u8], address: &[u8], mask: &[u8]) -> bool {
    ip.iter().zip(address).zip(mask).all(|((ip, address), mask)| ip & mask == address & mask)
}

/// What stands in a sequence.
fn content(der: &[u8]) -> &[u8] {
    match der {
        [_, length, rest @ ..] if *length < 0x80 => rest,
        [_, length, rest @ ..] => rest.get(usize::from(length & 0x7f)..).unwrap_or_default(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subject;

    fn constraints(permitted: Vec<Base>, excluded: Vec<Base>) -> NameConstraints {
        NameConstraints { permitted, excluded }
    }

    fn dns(names: &[&str]) -> AltNames {
        AltNames { dns: names.iter().map(|name| (*name).to_owned()).collect(), ..AltNames::default() }
    }

    #[test]
    fn names_lie_below_their_base() {
        for (name, base, expect) in [
            ("example.com", "example.com", true),
            ("a.example.com", "example.com", true),
            ("A.Example.COM", "example.com", true),
            ("*.example.com", "example.com", true),
            ("notexample.com", "example.com", false),
            ("com", "example.com", false),
            ("example.com", ".example.com", false),
            ("a.example.com", ".example.com", true),
            ("example.com.", "example.com", true),
            ("anything", "", true),
        ] {
            assert_eq!(is_below(name, base), expect, "{name} in {base}");
        }
        for (name, base, expect) in [
            ("ann@example.com", "example.com", true),
            ("ann@a.example.com", "example.com", false),
            ("ann@a.example.com", ".example.com", true),
            ("ann@example.com", "ann@example.com", true),
            ("Ann@example.com", "ann@example.com", false),
            ("bob@example.com", "ann@example.com", false),
        ] {
            assert_eq!(mail_is_in(name, base), expect, "{name} in {base}");
        }
        for (name, base, expect) in [
            ("spiffe://td.example/x", "td.example", true),
            ("https://u:p@td.example:8443/x?y", "td.example", true),
            ("https://a.td.example", "td.example", false),
            ("https://a.td.example", ".td.example", true),
            ("urn:x", "td.example", false),
        ] {
            assert_eq!(Name::Uri(name).lies_in(&Base::Uri(base.into())), Some(expect), "{name} in {base}");
        }
    }

    #[test]
    fn a_kind_that_is_not_spoken_of_is_free() {
        let only = constraints(vec![Base::Dns("example.com".into())], vec![]);
        let ip = AltNames { ip: vec!["10.0.0.1".parse().unwrap()], ..AltNames::default() };
        assert_eq!(only.check(&ip, EMPTY, ""), Ok(()));
        assert_eq!(only.check(&dns(&["a.example.com"]), EMPTY, "Ann"), Ok(()));
        assert!(only.check(&dns(&["a.example.com", "a.example.org"]), EMPTY, "").is_err());
        assert!(only.check(&AltNames::default(), EMPTY, "a.example.org").is_err(), "it could name a host");
    }

    #[test]
    fn addresses_are_masked() {
        let net = |address: [u8; 4], mask: [u8; 4]| Base::Ip(address.to_vec(), mask.to_vec());
        let ten =
            constraints(vec![net([10, 0, 0, 0], [255, 0, 0, 0])], vec![net([10, 9, 0, 0], [255, 255, 0, 0])]);
        let check = |ip: &str| {
            let names = AltNames { ip: vec![ip.parse().unwrap()], ..AltNames::default() };
            ten.check(&names, EMPTY, "").map_err(|error| error.to_string())
        };
        assert_eq!(check("10.1.2.3"), Ok(()));
        assert!(check("10.9.2.3").unwrap_err().contains("exclude"));
        assert!(check("11.1.2.3").unwrap_err().contains("10.0.0.0/8"));
        assert!(check("2001:db8::1").is_err(), "the other family is not permitted");
    }

    #[test]
    fn subjects_lie_in_a_branch() {
        let subject = |organization: &str, name: &str| {
            let of = Subject {
                organization: vec![organization.to_owned()],
                common_name: name.to_owned(),
                ..Subject::default()
            };
            of.to_der().unwrap()
        };
        let ours = constraints(vec![Base::Directory(subject("Example", ""))], vec![]);
        assert_eq!(ours.check(&AltNames::default(), &subject("Example", "a"), ""), Ok(()));
        assert!(ours.check(&AltNames::default(), &subject("Other", "a"), "").is_err());
        assert_eq!(ours.check(&AltNames::default(), EMPTY, ""), Ok(()));
    }
}
