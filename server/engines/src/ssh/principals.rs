//! For whom a certificate is: users or hosts, as the role allows them.

use std::collections::BTreeSet;

use kit::{Error, Reads, Result};
use policy::{Unrendered, has_directive, render};

use super::role::CaRole;
use super::sign::CertType;

/// OpenSSH reads no more.
const PRINCIPALS_MAX: usize = 256;
const PRINCIPAL_SIZE_MAX: usize = 1024;
/// Any name at all.
const ANY: &str = "*";

/// The principals of a certificate: those that were asked for, else the role's default user. None at all means everyone, so
/// that must be allowed expressly.
pub(super) fn principals(
    asked: Option<&str>,
    kind: CertType,
    role: &CaRole,
    cx: &impl Reads,
) -> Result<Vec<String>> {
    let (allowed, is_template, default) = match kind {
        CertType::User => (&role.allowed_users, role.allowed_users_template, default_user(role, asked, cx)?),
        CertType::Host => (&role.allowed_domains, role.allowed_domains_template, String::new()),
    };
    let wanted: BTreeSet<&str> = divide(asked.unwrap_or(&default)).collect();
    if wanted.is_empty() {
        return match role.allow_empty_principals {
            true => Ok(Vec::new()),
            false => Err(Error::invalid(
                "refusing to issue unsafe, globally-valid certificate with no principals specified; set valid_principals or default_user",
            )),
        };
    }
    check_form(&wanted)?;
    if allowed != ANY {
        let allowed = match is_template {
            true => filled(allowed, role, cx)?,
            false => divide(allowed).map(str::to_owned).collect(),
        };
        if allowed.is_empty() {
            return Err(Error::invalid("role is not configured to allow any principals"));
        }
        let fits = |name: &&&str| match kind {
            CertType::User => allowed.contains(**name),
            CertType::Host => is_host(name, &allowed, role),
        };
        if let Some(name) = wanted.iter().find(|name| !fits(name)) {
            return Err(Error::invalid(format!("{name} is not a valid value for valid_principals")));
        }
    }
    Ok(wanted.into_iter().map(str::to_owned).collect())
}

/// Fills in one text of a role for the caller. Without an entity nothing is known of the caller.
pub(super) fn fill(text: &str, whole: &str, forbidden: &[char], cx: &impl Reads) -> Result<String> {
    let subject = cx.caller().entity.as_ref().map(kit::Entity::subject).unwrap_or_default();
    render(text, &subject, &cx.mount().namespace, cx.now().0, forbidden).map_err(|why| {
        let why = match why {
            Unrendered::Unbalanced => "unbalanced templating characters".to_owned(),
            Unrendered::Missing => "no value could be found for one of the template directives".to_owned(),
            Unrendered::Forbidden(character) => {
                format!("template substitution contains forbidden value: \"{character}\"")
            }
        };
        Error::invalid(format!("template '{whole}' could not be rendered -> {why}"))
    })
}

fn default_user(role: &CaRole, asked: Option<&str>, cx: &impl Reads) -> Result<String> {
    match asked.is_none() && role.default_user_template && has_directive(&role.default_user) {
        true => fill(&role.default_user, &role.default_user, &forbidden(role), cx),
        false => Ok(role.default_user.clone()),
    }
}

/// A role's list, its templates filled in. To a caller without an entity they grant nothing.
fn filled(list: &str, role: &CaRole, cx: &impl Reads) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in divide(list) {
        if !has_directive(entry) {
            names.insert(entry.to_owned());
        } else if cx.caller().entity.is_some() {
            let text = fill(entry, list, &forbidden(role), cx)?;
            names.extend(divide(&text).map(str::to_owned));
        }
    }
    Ok(names)
}

/// What a value must not hold, since it would stand for more than one name.
fn forbidden(role: &CaRole) -> Vec<char> {
    let each =
        [(',', role.allow_commas_in_identity_templates), ('*', role.allow_wildcards_in_identity_templates)];
    each.into_iter().filter(|(_, allowed)| !allowed).map(|(character, _)| character).collect()
}

fn divide(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn is_host(name: &str, allowed: &BTreeSet<String>, role: &CaRole) -> bool {
    let below =
        |domain: &str| name.strip_suffix(domain).is_some_and(|front| front.ends_with('.') && front.len() > 1);
    allowed
        .iter()
        .any(|domain| (role.allow_bare_domains && name == domain) || (role.allow_subdomains && below(domain)))
}

fn check_form(names: &BTreeSet<&str>) -> Result<()> {
    if names.len() > PRINCIPALS_MAX {
        return Err(Error::invalid(format!("valid_principals has more than {PRINCIPALS_MAX} names")));
    }
    let bad = |name: &&&str| name.len() > PRINCIPAL_SIZE_MAX || name.chars().any(char::is_control);
    match names.iter().find(bad) {
        Some(_) => Err(Error::invalid(format!(
            "valid_principals has a name with control characters or of more than {PRINCIPAL_SIZE_MAX} bytes"
        ))),
        None => Ok(()),
    }
}
