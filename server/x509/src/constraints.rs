//! Name constraints (RFC 5280, section 4.2.1.10): the names that a CA may vouch for.

use crate::certificate::value;
use crate::extensions::NAME_CONSTRAINTS;
use crate::subject::{Relative, relative_names_of};
use crate::{AltNames, Certificate, Error, Result, Subtrees, is_hostname_or_wildcard};
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
    /// The first parts of a subject.
    Directory(Vec<Relative>),
    /// A kind that is not looked into.
    Unknown,
}

/// One name of a certificate.
enum Name<'a> {
    Dns(&'a str),
    Email(&'a str),
    Uri(&'a str),
    Ip(IpAddr),
    Directory(&'a [Relative]),
    Other(&'a str),
    /// One that is not looked into, by the name of its kind.
    Unread(&'static str),
}

/// Where a name is, seen from a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    Inside,
    Outside,
    /// The base is about names of another kind.
    Apart,
    /// That is not looked into: it is not permitted by the base, and it may be excluded.
    Unseen,
}

impl NameConstraints {
    /// Those in a certificate, if it has any.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of(certificate: &Certificate) -> Result<Option<Self>> {
        let decoded: Option<Decoded> = value(certificate.extensions(), NAME_CONSTRAINTS)?;
        decoded
            .map(|decoded| {
                Ok(Self {
                    permitted: bases(decoded.permitted_subtrees)?,
                    excluded: bases(decoded.excluded_subtrees)?,
                })
            })
            .transpose()
    }

    /// What they permit and what they exclude, as it could be asked for; nothing where some of it cannot.
    pub fn subtrees(&self) -> Option<(Subtrees, Subtrees)> {
        let all = |bases: &[Base]| {
            let mut found = Subtrees::default();
            bases.iter().try_for_each(|base| base.add_to(&mut found)).map(|()| found)
        };
        Some((all(&self.permitted)?, all(&self.excluded)?))
    }

    /// Holds the names of a certificate against them: the alternative ones, the subject (a Name in DER) with the mail
    /// addresses in it, and the common name where it is all that could name a host.
    ///
    /// # Errors
    /// With the name that lies outside.
    pub fn check(&self, names: &AltNames, subject: &[u8], common_name: &str) -> Result<()> {
        let host = names.dns.is_empty() && common_name.contains('.') && is_hostname_or_wildcard(common_name);
        let relative = relative_names_of(subject)?;
        let addresses = relative.iter().flat_map(Relative::addresses);
        let all = (names.dns.iter().map(|name| Name::Dns(name)))
            .chain(host.then_some(Name::Dns(common_name)))
            .chain(names.email.iter().map(String::as_str).chain(addresses).map(Name::Email))
            .chain(names.uri.iter().map(|name| Name::Uri(name)))
            .chain(names.ip.iter().map(|name| Name::Ip(*name)))
            .chain(names.other.iter().map(|name| Name::Other(&name.value)))
            .chain(names.unreadable.iter().map(|kind| Name::Unread(kind)))
            .chain((!relative.is_empty()).then_some(Name::Directory(&relative)));
        for name in all {
            self.judge(&name)?;
        }
        Ok(())
    }

    fn judge(&self, name: &Name<'_>) -> Result<()> {
        let all = || self.permitted.iter().chain(&self.excluded);
        if let Name::Uri(uri) = name
            && host_of(uri).is_none()
            && all().any(|base| matches!(base, Base::Uri(_)))
        {
            return Err(Error::refused(format!(
                "{uri} has no host by its name, and the name constraints of the CA are about those of URIs (RFC 5280, section 4.2.1.10)"
            )));
        }
        let excludes =
            |base: &&Base| matches!(name.lies(base), Lies::Inside | Lies::Unseen) || name.may_stand_for(base);
        if let Some(base) = self.excluded.iter().find(excludes) {
            return Err(Error::refused(format!(
                "{} lies in {}, which the name constraints of the CA exclude",
                name.shown(),
                base.shown()
            )));
        }
        let mut permitted = self.permitted.iter().filter(|base| name.lies(base) != Lies::Apart).peekable();
        if permitted.peek().is_none() {
            return Ok(());
        }
        let shown: Vec<_> = permitted.clone().map(Base::shown).collect();
        match permitted.any(|base| name.lies(base) == Lies::Inside) {
            true => Ok(()),
            false => Err(Error::refused(format!(
                "{} lies outside of what the name constraints of the CA permit: {}",
                name.shown(),
                shown.join(", ")
            ))),
        }
    }
}

fn bases(subtrees: Option<GeneralSubtrees>) -> Result<Vec<Base>> {
    subtrees.unwrap_or_default().into_iter().map(|subtree| Base::of(subtree.base)).collect()
}

impl Base {
    fn of(name: GeneralName) -> Result<Self> {
        Ok(match name {
            GeneralName::DnsName(name) => Self::Dns(name.as_str().to_ascii_lowercase()),
            GeneralName::Rfc822Name(name) => Self::Email(name.as_str().to_owned()),
            GeneralName::UniformResourceIdentifier(name) => Self::Uri(name.as_str().to_ascii_lowercase()),
            GeneralName::IpAddress(bytes) => {
                let bytes = bytes.as_bytes();
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                if !matches!(address.len(), 4 | 16) || mask.len() != address.len() {
                    return Err(Error::malformed("name constraints", "a network in them has no mask"));
                }
                Self::Ip(address.to_vec(), mask.to_vec())
            }
            GeneralName::DirectoryName(name) => {
                let der = name.to_der().map_err(|error| Error::malformed("name constraints", error))?;
                Self::Directory(relative_names_of(&der)?)
            }
            _ => Self::Unknown,
        })
    }

    /// Adds it to what could be asked for; nothing, if it cannot be.
    fn add_to(&self, found: &mut Subtrees) -> Option<()> {
        match self {
            Self::Dns(text) => found.dns.push(text.clone()),
            Self::Email(text) => found.email.push(text.clone()),
            Self::Uri(text) => found.uri.push(text.clone()),
            Self::Ip(address, mask) => found.ip.push(network(address, mask)?),
            Self::Directory(_) | Self::Unknown => return None,
        }
        Some(())
    }

    fn shown(&self) -> String {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => match text.as_str() {
                "" => "all names".to_owned(),
                text => text.to_owned(),
            },
            Self::Ip(address, mask) => network(address, mask).unwrap_or_else(|| "a network".to_owned()),
            Self::Directory(_) => "a branch of the directory".to_owned(),
            Self::Unknown => "a name of another kind".to_owned(),
        }
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// A network as people write it; nothing where its mask is not some first bits.
fn network(address: &[u8], mask: &[u8]) -> Option<String> {
    let (first, all) = match address_of(mask)? {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
    };
    (first == all).then_some(format!("{}/{first}", address_of(address)?))
}

impl Name<'_> {
    fn lies(&self, base: &Base) -> Lies {
        let inside = match (self, base) {
            (Self::Dns(name), Base::Dns(base)) => is_below(name, base),
            (Self::Email(name), Base::Email(base)) => mail_is_in(name, base),
            (Self::Uri(name), Base::Uri(base)) => host_of(name).is_some_and(|host| host_is_in(host, base)),
            (Self::Ip(IpAddr::V4(ip)), Base::Ip(address, mask)) if address.len() == 4 => {
                masked(&ip.octets(), address, mask)
            }
            (Self::Ip(IpAddr::V6(ip)), Base::Ip(address, mask)) if address.len() == 16 => {
                masked(&ip.octets(), address, mask)
            }
            // One of the other family: permitted it is not, nor is it excluded.
            (Self::Ip(_), Base::Ip(..)) => false,
            (Self::Directory(name), Base::Directory(base)) => name.starts_with(base),
            (Self::Unread(DIRECTORY), Base::Directory(_)) => return Lies::Unseen,
            (Self::Unread(DIRECTORY), _) => return Lies::Apart,
            (Self::Other(_) | Self::Unread(_), Base::Unknown) => return Lies::Unseen,
            _ => return Lies::Apart,
        };
        if inside { Lies::Inside } else { Lies::Outside }
    }

    /// Whether it is a wildcard that stands for the base itself, among others.
    fn may_stand_for(&self, base: &Base) -> bool {
        let (Self::Dns(name), Base::Dns(base)) = (self, base) else { return false };
        let name = name.to_ascii_lowercase();
        let labels = name.trim_end_matches('.').split_once('.').zip(base.split_once('.'));
        labels.is_some_and(|((pattern, below), (label, above))| {
            let around = pattern.split_once('*');
            below == above
                && around.is_some_and(|(before, after)| {
                    label.strip_prefix(before).is_some_and(|rest| rest.ends_with(after))
                })
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) | Self::Other(text) => (*text).to_owned(),
            Self::Ip(ip) => ip.to_string(),
            Self::Directory(_) => "the subject".to_owned(),
            Self::Unread(kind) => format!("the {kind}"),
        }
    }
}

/// How a name that is a subject is called where names are not looked into.
const DIRECTORY: &str = "directoryName";

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

/// The host of a URI; nothing where it has none, or is an address.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.split(':').next().unwrap_or(host).trim_end_matches('.');
    let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (named && !host.is_empty() && host.parse::<IpAddr>().is_err()).then_some(host)
}

fn masked(ip: &[u8], address: &[u8], mask: &[u8]) -> bool {
    ip.iter().zip(address).zip(mask).all(|((ip, address), mask)| ip & mask == address & mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OtherName, Subject, tlv};

    /// A Name without any part.
    const EMPTY: &[u8] = &[0x30, 0];

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
            let lies = Name::Uri(name).lies(&Base::Uri(base.into()));
            assert_eq!(lies, if expect { Lies::Inside } else { Lies::Outside }, "{name} in {base}");
        }
    }

    #[test]
    fn wildcards_reach_what_is_excluded_one_label_below() {
        let without = constraints(vec![], vec![Base::Dns("secret.example.com".into())]);
        for (name, expect) in [
            ("*.example.com", false),
            ("*.Example.com.", false),
            ("s*t.example.com", false),
            ("*.secret.example.com", false),
            ("x*.example.com", true),
            ("*.a.example.com", true),
            ("*.com", true),
        ] {
            assert_eq!(without.check(&dns(&[name]), EMPTY, "").is_ok(), expect, "{name}");
            assert_eq!(
                without.check(&AltNames::default(), EMPTY, name).is_ok(),
                expect || name.ends_with('.')
            );
        }
        let below = constraints(vec![], vec![Base::Dns(".secret.example.com".into())]);
        assert_eq!(below.check(&dns(&["*.example.com"]), EMPTY, ""), Ok(()), "that stands for no name below");
    }

    #[test]
    fn a_uri_without_a_host_is_nowhere() {
        let uri = |text: &str| AltNames { uri: vec![text.to_owned()], ..AltNames::default() };
        let without = constraints(vec![], vec![Base::Uri("x.org".into())]);
        for (name, expect) in [
            ("https://a.org/", true),
            ("spiffe://prod/x", true),
            ("https://x.org./", false),
            ("urn:uuid:1", false),
            ("https://10.0.0.1/", false),
            ("https://[::1]/", false),
            ("https://x%2eorg/", false),
        ] {
            assert_eq!(without.check(&uri(name), EMPTY, "").is_ok(), expect, "{name}");
        }
        let other = constraints(vec![Base::Dns("x.org".into())], vec![]);
        assert_eq!(other.check(&uri("urn:uuid:1"), EMPTY, ""), Ok(()), "nothing is said of URIs");
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
    fn what_is_excluded_leaves_all_else_free() {
        let without = constraints(vec![], vec![Base::Dns("bad.example".into())]);
        let subject = Subject::common_name("Ann").to_der().unwrap();
        let mut names = dns(&["a.example"]);
        names.email.push("a@bad.example".into());
        names.ip.push("10.0.0.1".parse().unwrap());
        assert_eq!(without.check(&names, &subject, "Ann"), Ok(()));
        assert!(without.check(&dns(&["a.bad.example"]), &subject, "").is_err());
        assert!(without.check(&AltNames::default(), EMPTY, "bad.example").is_err());
    }

    #[test]
    fn what_is_not_looked_into_may_be_anything() {
        let other =
            || AltNames { other: vec![OtherName::parse("1.2.3;UTF8:x").unwrap()], ..AltNames::default() };
        let unread = |kind| AltNames { unreadable: vec![kind], ..AltNames::default() };
        let branch =
            Base::Directory(relative_names_of(&Subject::common_name("x").to_der().unwrap()).unwrap());
        for (names, base) in
            [(other(), Base::Unknown), (unread("registeredID"), Base::Unknown), (unread(DIRECTORY), branch)]
        {
            assert!(constraints(vec![base.clone()], vec![]).check(&names, EMPTY, "").is_err(), "{names:?}");
            assert!(constraints(vec![], vec![base]).check(&names, EMPTY, "").is_err(), "{names:?}");
            let hosts = Base::Dns("example.com".into());
            assert_eq!(constraints(vec![hosts.clone()], vec![hosts]).check(&names, EMPTY, ""), Ok(()));
        }
    }

    #[test]
    fn a_mail_address_in_the_subject_counts() {
        let ours = constraints(vec![Base::Email("example.com".into())], vec![]);
        let subject = |address: &str| {
            let oid = crate::ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");
            let value = tlv::tlv(0x16, &[address]);
            tlv::sequence(&[tlv::set_of(vec![tlv::sequence(&[tlv::oid(&oid), value])])])
        };
        assert_eq!(ours.check(&AltNames::default(), &subject("a@example.com"), ""), Ok(()));
        assert!(ours.check(&AltNames::default(), &subject("a@example.org"), "").is_err());
    }

    #[test]
    fn constraints_read_as_they_were_asked_for() {
        let net = |mask: [u8; 4]| Base::Ip(vec![10, 0, 0, 0], mask.to_vec());
        let asked = constraints(vec![net([255, 0, 0, 0])], vec![Base::Dns(".example.com".into())]);
        let (permitted, excluded) = asked.subtrees().unwrap();
        assert_eq!(
            (permitted.ip, excluded.dns),
            (vec!["10.0.0.0/8".to_owned()], vec![".example.com".to_owned()])
        );
        for strange in
            [Base::Unknown, Base::Directory(vec![]), net([255, 240, 255, 0]), net([255, 0, 255, 0])]
        {
            assert_eq!(constraints(vec![strange], vec![]).subtrees(), None);
        }
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
        let branch = |der: &[u8]| Base::Directory(relative_names_of(der).unwrap());
        let ours = constraints(vec![branch(&subject("Example", ""))], vec![]);
        assert_eq!(ours.check(&AltNames::default(), &subject("Example", "a"), ""), Ok(()));
        assert!(ours.check(&AltNames::default(), &subject("Other", "a"), "").is_err());
        assert_eq!(ours.check(&AltNames::default(), EMPTY, ""), Ok(()));
        // Case, spaces at the edges and in a row, and the kind of text do not matter (RFC 5280, section 7.1).
        let other = tlv::sequence(&[
            tlv::oid(&crate::ObjectIdentifier::new_unwrap("2.5.4.10")),
            tlv::utf8(" bad  One "),
        ]);
        let other = tlv::sequence(&[tlv::set_of(vec![other])]);
        let without = constraints(vec![], vec![branch(&subject("Bad One", ""))]);
        assert!(without.check(&AltNames::default(), &other, "").is_err());
    }
}
