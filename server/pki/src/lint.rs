//! What is about to be signed, held against the rules that those who verify it go by. Nothing is signed past it (`certify`).

use std::net::Ipv4Addr;

use kit::{Error, Result, Time};
use x509::{AltNames, NameConstraints, Subject, Template, is_hostname_or_wildcard};

use super::authorities::{Authorities, Issuer, refused};
use super::fields::check_uri;

/// A subject without any part, in DER.
pub(super) const NOBODY: &[u8] = &[0x30, 0];

/// Refuses what nobody would accept from an issuer. The common name and the other names of what is accepted.
pub(super) fn below(
    template: &Template<'_>,
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
) -> Result<(String, AltNames)> {
    every(template)?;
    let names = template.extensions.names().map_err(refused)?;
    forms(&names)?;
    if template.subject == NOBODY && names.is_empty() {
        return Err(Error::invalid(
            "the certificate would name nobody: give a common_name, or an alternative name (RFC 5280, section 4.1.2.6)",
        ));
    }
    let common_name = Subject::from_der(template.subject).map_err(refused)?.common_name;
    upwards(all, issuer, now, |above| constrain((&names, template.subject, &common_name), above))?;
    Ok((common_name, names))
}

/// Refuses alternative names that the issuer could not certify.
pub(super) fn within(names: &AltNames, all: &Authorities, issuer: &Issuer, now: Time) -> Result<()> {
    upwards(all, issuer, now, |above| constrain((names, NOBODY, ""), above))
}

/// Holds names against the constraints of the issuer and of those above it. Of a CA that several have signed, one way up to a
/// root has to permit them: whoever verifies the certificate may take it.
fn upwards(
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
    constrain: impl Fn(&Issuer) -> Result<()>,
) -> Result<()> {
    let (mut waiting, mut seen, mut refusal) = (vec![issuer], vec![issuer.id], None);
    while let Some(one) = waiting.pop() {
        if let Err(why) = constrain(one) {
            refusal.get_or_insert(why);
            continue;
        }
        let ways = all.ways_up(one, now);
        if ways.is_empty() {
            return Ok(());
        }
        for way in ways.into_iter().rev().filter(|way| !seen.contains(&way.id)).collect::<Vec<_>>() {
            seen.push(way.id);
            waiting.push(way);
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Refuses a root that nobody should trust. Nobody is above it; one without a name is warned of and let be, as clients know it.
pub(super) fn root(template: &Template<'_>) -> Result<()> {
    every(template)?;
    // Keys that were imported may be of anyone's making.
    template.public_key.check_strength().map_err(refused)
}

/// What holds for every certificate.
fn every(template: &Template<'_>) -> Result<()> {
    if template.validity.not_after < template.validity.not_before {
        return Err(Error::invalid(
            "the certificate would end before it begins; give a later not_after, or a ttl",
        ));
    }
    match template.extensions.beyond_a_leaf().map_err(refused)? {
        None => Ok(()),
        Some(what) => Err(Error::invalid(format!(
            "the certificate would be no CA's, and have {what}; leave that out, or use root/sign-intermediate for a CA (RFC 5280, section 4.2.1)"
        ))),
    }
}

/// Refuses an alternative name that is not what its kind says: who reads it by its kind would take it for another.
fn forms(names: &AltNames) -> Result<()> {
    let is_host = |name: &str| is_hostname_or_wildcard(&name.replace('_', "x"));
    let is_mail = |name: &&String| {
        name.split_once('@').is_some_and(|(mailbox, host)| {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
            !mailbox.is_empty() && mailbox.bytes().all(good) && !host.contains('*') && is_host(host)
        })
    };
    let wrong = |kind: &str, name: &str, why: &str| {
        Err(Error::invalid(format!("the {kind} {name:?} in the alternative names is none: {why}")))
    };
    if let Some(name) = names.dns.iter().find(|name| name.parse::<Ipv4Addr>().is_ok()) {
        return wrong("host name", name, "it is an address, and belongs among the ip_sans");
    }
    if let Some(name) = names.dns.iter().find(|name| !is_host(name)) {
        return wrong(
            "host name",
            name,
            "such a name has labels of letters, digits and hyphens, divided by dots",
        );
    }
    if let Some(name) = names.email.iter().find(|name| !is_mail(name)) {
        return wrong("mail address", name, "such an address has a mailbox, an @ and a host name");
    }
    names.uri.iter().try_for_each(|uri| check_uri(uri))
}

/// Alternative names, a subject in DER, and the common name in it.
type Named<'a> = (&'a AltNames, &'a [u8], &'a str);

fn constrain((names, subject, common_name): Named<'_>, above: &Issuer) -> Result<()> {
    let Some(constraints) = NameConstraints::of(&above.certificate).map_err(refused)? else { return Ok(()) };
    constraints.check(names, subject, common_name).map_err(|why| {
        let name = &above.record.name;
        let ca = if name.is_empty() { above.id.to_string() } else { name.clone() };
        Error::invalid(format!("{why} (issuer {ca})"))
    })
}
