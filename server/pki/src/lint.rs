//! What is about to be signed, held against the rules that those who verify it go by. Nothing is signed past it (`certify`).

use std::net::Ipv4Addr;

use kit::{Error, Result, Time};
use x509::{AltNames, Extensions, Subject, Template, is_hostname_or_wildcard};

use super::above::{self, Said};
use super::authorities::{Authorities, Issuer, refused};
use super::fields::check_uri;
use super::rules::Rules;

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
    let Template { subject, extensions, .. } = *template;
    let said = Said { names: &names, subject, common_name: &common_name, extensions };
    above::check(&said, all, issuer, now)?;
    Ok((common_name, names))
}

/// Refuses alternative names that the issuer could not certify under these rules.
pub(super) fn within(
    names: &AltNames,
    rules: &Rules,
    all: &Authorities,
    issuer: &Issuer,
    now: Time,
) -> Result<()> {
    let mut extensions = Extensions::new();
    if all.narrow {
        let purposes = above::purposes(&rules.purposes, all, issuer, now);
        extensions = extensions.ext_key_usage(&purposes).policies(&rules.policies).map_err(refused)?;
    }
    let said = Said { names, subject: NOBODY, common_name: "", extensions: &extensions };
    above::check(&said, all, issuer, now)
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
