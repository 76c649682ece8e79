use std::collections::BTreeMap;

use kit::{Claim, Error, Reads, Result, Terms};
use serde_json::{Map, Value, json};

use super::role::{Role, Rules};
use super::template;
use crate::cidr;
use crate::claims::{Claims, list};

/// Whether this role may be used from where the login comes.
///
/// # Errors
/// If not.
pub(super) fn check_address(cx: &impl Reads, role: &Role) -> Result<()> {
    let bound = &role.token.token_bound_cidrs;
    let here = cx.remote().address.is_some_and(|address| cidr::any_holds(bound, address));
    if bound.is_empty() || here { Ok(()) } else { Err(Error::denied()) }
}

/// Whom a verified token is of, if the role takes them.
///
/// # Errors
/// If it does not.
pub(super) fn welcome(name: &str, role: &Role, claims: &Claims) -> Result<Claim> {
    let rules = &role.rules;
    let alias = user(rules, claims)?;
    let metadata = metadata(name, rules, claims)?;
    let groups = groups(rules, claims)?;
    let bound = rules.bound_claims.as_ref();
    if let Some(why) = bound.and_then(|bound| unmatched(bound, &rules.bound_claims_type, claims)) {
        return Err(Error::invalid(format!("error validating claims: {why}")));
    }
    let mut terms: Terms = role.token.terms();
    if rules.token_policies_template_claims {
        terms.policies = template::fill(&terms.policies, claims)?;
    }
    if alias.is_empty() {
        return Err(Error::invalid("missing name in alias"));
    }
    Ok(Claim {
        called: None,
        display_name: alias.clone(),
        alias,
        alias_metadata: metadata.clone(),
        groups,
        metadata,
        terms,
        internal: json!({ "role": name }),
    })
}

fn user(rules: &Rules, claims: &Claims) -> Result<String> {
    let name = &rules.user_claim;
    let found = match rules.user_claim_json_pointer {
        true => claims.find(name),
        false => claims.0.get(name).filter(|value| !value.is_null()).cloned(),
    };
    match found {
        None => Err(Error::invalid(format!("claim {name:?} not found in token"))),
        Some(Value::String(user)) => Ok(user),
        Some(_) => Err(Error::invalid(format!("claim {name:?} could not be converted to string"))),
    }
}

fn metadata(name: &str, rules: &Rules, claims: &Claims) -> Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::from([("role".to_owned(), name.to_owned())]);
    for (source, target) in rules.claim_mappings.iter().flatten() {
        match claims.find(source) {
            None => {}
            Some(Value::String(text)) => drop(metadata.insert(target.clone(), text)),
            Some(_) => return Err(Error::invalid(format!("error converting claim '{source}' to string"))),
        }
    }
    Ok(metadata)
}

fn groups(rules: &Rules, claims: &Claims) -> Result<Vec<String>> {
    let name = &rules.groups_claim;
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let missing = || Error::invalid(format!("failed to fetch groups: {name:?} claim not found in token"));
    let not_list = || Error::invalid(format!("{name:?} claim could not be converted to string list"));
    let groups = list(claims.find(name).ok_or_else(missing)?).ok_or_else(not_list)?;
    let text = |group: Value| match group {
        Value::String(group) => Ok(group),
        other => Err(Error::invalid(format!("value {other} in groups claim could not be parsed as string"))),
    };
    let groups: Result<Vec<String>> = groups.into_iter().map(text).collect();
    Ok(groups?.into_iter().filter(|group| !group.is_empty()).collect())
}

/// Why the claims are not what the role binds them to.
fn unmatched(bound: &Map<String, Value>, kind: &str, claims: &Claims) -> Option<String> {
    let fits = |wanted: &Value, actual: &Value| match (kind, wanted, actual) {
        ("glob", Value::String(pattern), Value::String(text)) => kit::glob::fits(pattern, text),
        ("glob", ..) => false,
        _ => wanted == actual,
    };
    bound.iter().find_map(|(name, wanted)| {
        let Some(actual) = claims.find(name) else { return Some(format!("claim {name:?} is missing")) };
        let Some(actual) = list(actual) else {
            return Some(format!("received claim {name:?} is not a string, bool, int or list"));
        };
        let Some(wanted) = list(wanted.clone()) else {
            return Some(format!("bound claim {name:?} is not a string, bool, int or list"));
        };
        let found = wanted.iter().any(|wanted| actual.iter().any(|actual| fits(wanted, actual)));
        (!found).then(|| format!("claim {name:?} does not match any associated bound claim values"))
    })
}
