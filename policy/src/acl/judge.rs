//! Whether the rule that decides allows the request.

use super::Grant;
use crate::capability::Capability;
use crate::parameters;
use crate::permit::{Denied, LIMIT, LIMIT_MAX, ListLimit, Permit, Question};
use crate::rule::Terms;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

pub(crate) fn judge(grant: &Arc<Grant>, question: &Question<'_>) -> Result<Permit, Denied> {
    let terms = grant.terms();
    let capability = question.capability;
    if terms.capabilities.has(Capability::Deny) {
        return Err(Denied::Deny { rule: rule(grant) });
    }
    if capability == Capability::Root || !terms.capabilities.has(capability) {
        return Err(Denied::NotGranted { rule: rule(grant), capability });
    }
    if question.needs_sudo && !terms.capabilities.has(Capability::Sudo) {
        return Err(Denied::NotGranted { rule: rule(grant), capability: Capability::Sudo });
    }
    if !wrapping_fits(terms, question) {
        let (min, max) = (terms.wrapping_min, terms.wrapping_max);
        return Err(Denied::Wrapping { rule: rule(grant), min, max });
    }
    let list_limit = if capability.looks_at_folder() {
        list_limit(grant, question)?
    } else {
        if capability.has_parameters() {
            check_parameters(grant, question)?;
        }
        ListLimit::AsAsked
    };
    Ok(Permit::by_rule(Arc::clone(grant), capability, list_limit))
}

fn rule(grant: &Grant) -> Arc<str> {
    Arc::clone(grant.rule())
}

fn wrapping_fits(terms: &Terms, question: &Question<'_>) -> bool {
    let fits_max = terms.wrapping_max.is_none_or(|max| question.wrap_ttl.is_some_and(|ttl| ttl <= max));
    let fits_min = terms.wrapping_min.is_none_or(|min| question.wrap_ttl.is_some_and(|ttl| ttl >= min));
    fits_max && fits_min
}

fn read<'a>(grant: &Grant, question: &Question<'a>) -> Result<Cow<'a, Map<String, Value>>, Denied> {
    let parameters = question.parameters;
    parameters
        .parameters()
        .map_err(|error| Denied::Unreadable { rule: rule(grant), reason: error.to_string() })
}

fn check_parameters(grant: &Grant, question: &Question<'_>) -> Result<(), Denied> {
    let terms = grant.terms();
    if terms.required.is_empty() && terms.denied.is_empty() && terms.allowed.is_empty() {
        return Ok(());
    }
    let given = read(grant, question)?;
    if let Some(parameter) = parameters::missing(&terms.required, &given) {
        return Err(Denied::Missing { rule: rule(grant), parameter: parameter.to_owned() });
    }
    let offending =
        parameters::denied(&terms.denied, &given).or_else(|| parameters::not_allowed(&terms.allowed, &given));
    match offending {
        Some(parameter) => Err(Denied::Parameter { rule: rule(grant), parameter: parameter.to_owned() }),
        None => Ok(()),
    }
}

/// Holds a listing to the rule's limit.
fn list_limit(grant: &Grant, question: &Question<'_>) -> Result<ListLimit, Denied> {
    let terms = grant.terms();
    let Some(cap) = terms.pagination_limit else {
        return Ok(ListLimit::AsAsked);
    };
    let given = read(grant, question)?;
    let Some(asked) = given.get(LIMIT) else {
        if terms.required.iter().any(|parameter| parameter == LIMIT) {
            return Err(Denied::Missing { rule: rule(grant), parameter: LIMIT.to_owned() });
        }
        return Ok(ListLimit::Set(cap));
    };
    let number = match asked {
        Value::String(text) if text == LIMIT_MAX || text.is_empty() => Some(0),
        Value::String(text) => text.parse::<u64>().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    match number {
        // None asked for is as much as is allowed, never everything.
        Some(0) => Ok(ListLimit::Set(cap)),
        Some(number) if number <= cap => Ok(ListLimit::AsAsked),
        _ => Err(Denied::Pagination { rule: rule(grant), limit: cap }),
    }
}
