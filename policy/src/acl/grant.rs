//! The rules of several policies for one path, merged.

use super::Pattern;
use crate::capability::{Capabilities, Capability};
use crate::parameters;
use crate::policy::Policy;
use crate::rule::{Rule, Terms};
use std::sync::Arc;
use std::time::Duration;

/// A policy that takes part in a decision.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Granted {
    /// The policy's name.
    #[serde(serialize_with = "as_text")]
    pub policy: Arc<str>,
    /// The path of the policy's namespace.
    #[serde(serialize_with = "as_text")]
    pub namespace: Arc<str>,
    /// What it contributes on this path.
    pub capabilities: Capabilities,
}

/// Where a rule comes from and what it says.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) policy: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) line: usize,
    /// The last nanosecond since 1970 at which the rule is there.
    pub(crate) expiration: u64,
    pub(crate) terms: Terms,
}

/// What holds on one path: the merged terms, and whom to thank for them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grant {
    rule: Arc<str>,
    terms: Terms,
    granted: Vec<Granted>,
}

/// All rules for one pattern, merged for every span of time between expirations.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) pattern: Pattern,
    pub(crate) sources: Vec<Source>,
    /// By the last nanosecond at which it holds, ascending. After the last one, nothing does.
    spans: Vec<(u64, Arc<Grant>)>,
}

impl Source {
    /// The source of a rule, still without terms.
    pub(crate) fn new(namespace: &str, policy: &Policy, rule: &Rule) -> Self {
        let expiration = rule.expiration.unwrap_or(u64::MAX).min(policy.expiration.unwrap_or(u64::MAX));
        Self {
            policy: policy.shared_name(),
            namespace: namespace.into(),
            line: rule.line,
            expiration,
            terms: Terms::default(),
        }
    }
}

impl Entry {
    pub(crate) fn new(pattern: Pattern, sources: Vec<Source>) -> Self {
        let mut ends: Vec<u64> = sources.iter().map(|source| source.expiration).collect();
        ends.sort_unstable();
        ends.dedup();
        let rule: Arc<str> = pattern.display().into();
        let spans = ends.into_iter().filter_map(|end| {
            let live = sources.iter().filter(|source| source.expiration >= end);
            merge(&rule, live).map(|grant| (end, Arc::new(grant)))
        });
        Self { spans: spans.collect(), pattern, sources }
    }

    /// What holds now; nothing once every rule is expired.
    pub(crate) fn live(&self, now: u64) -> Option<&Arc<Grant>> {
        self.spans.iter().find(|(end, _)| now <= *end).map(|(_, grant)| grant)
    }
}

impl Grant {
    /// The path of the rule, as a policy would write it.
    pub(crate) fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(crate) fn granted(&self) -> &[Granted] {
        &self.granted
    }
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn merge<'a>(rule: &Arc<str>, sources: impl Iterator<Item = &'a Source>) -> Option<Grant> {
    let mut merged: Option<Grant> = None;
    for source in sources {
        match &mut merged {
            None => {
                merged =
                    Some(Grant { rule: Arc::clone(rule), terms: source.terms.clone(), granted: Vec::new() })
            }
            Some(grant) => add(&mut grant.terms, &source.terms),
        }
        if let Some(grant) = &mut merged {
            grant.granted.push(Granted {
                policy: Arc::clone(&source.policy),
                namespace: Arc::clone(&source.namespace),
                capabilities: source.terms.capabilities,
            });
        }
    }
    merged
}

/// Adds the terms of another policy: what is granted grows, conditions gather, deny stands above all.
fn add(terms: &mut Terms, other: &Terms) {
    if terms.capabilities.has(Capability::Deny) {
        return;
    }
    if other.capabilities.has(Capability::Deny) {
        *terms = Terms { capabilities: Capabilities::only(Capability::Deny), ..Terms::default() };
        return;
    }
    terms.capabilities = terms.capabilities.union(other.capabilities);
    terms.wrapping_min = smaller(terms.wrapping_min, other.wrapping_min);
    terms.wrapping_max = smaller(terms.wrapping_max, other.wrapping_max);
    parameters::merge(&mut terms.allowed, &other.allowed);
    parameters::merge(&mut terms.denied, &other.denied);
    unite(&mut terms.required, &other.required);
    unite(&mut terms.mfa_methods, &other.mfa_methods);
    terms.pagination_limit = match (terms.pagination_limit, other.pagination_limit) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    if terms.list_filter.is_none() {
        terms.list_filter.clone_from(&other.list_filter);
    }
    terms.control_group = match (terms.control_group.take(), &other.control_group) {
        (Some(one), Some(other)) => Some(Arc::new(one.and(other))),
        (one, other) => one.or_else(|| other.clone()),
    };
}

fn smaller(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn unite(into: &mut Vec<String>, from: &[String]) {
    for text in from {
        if !into.contains(text) {
            into.push(text.clone());
        }
    }
}
