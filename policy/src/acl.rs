//! The rules of one caller, compiled so that a request is judged in well under a microsecond.

mod grant;
mod index;
mod judge;
mod pattern;
mod segments;

pub use grant::Granted;
pub(crate) use grant::{Entry, Grant, Source};
pub(crate) use judge::judge;
pub(crate) use pattern::Pattern;

use crate::any_case::AnyCase;
use crate::capability::{Capabilities, Capability};
use crate::parameters::NoParameters;
use crate::path::Path;
use crate::permit::{Denied, Permit, Question};
use crate::policy::Policy;
use crate::rule::{Rule, Terms};
use crate::template::{Filling, Subject, Template, Unfilled};
use index::Index;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The rules of one caller. Immutable; share it.
#[derive(Clone, Debug)]
pub struct Acl {
    power: Power,
    reads_clock: bool,
    skipped: Vec<Skipped>,
}

#[derive(Clone, Debug)]
enum Power {
    /// Everything below this prefix.
    Root {
        prefix: Box<str>,
    },
    /// Nothing: the policies could not be applied to this caller.
    Refused {
        reason: Arc<str>,
    },
    Rules(Index),
}

/// A rule that does not apply to this caller, because nothing is known that could be filled in.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) source: Source,
    pub(crate) path: String,
    pub(crate) missing: String,
}

/// What a caller may do everywhere, for user interfaces.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Resultant {
    /// Whether the caller may do everything.
    pub root: bool,
    /// By path: what the rules without wildcards say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_paths: Option<BTreeMap<String, ResultantRule>>,
    /// By prefix: what the rules with a star at the end say. Rules with `+` cannot be shown in this form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glob_paths: Option<BTreeMap<String, ResultantRule>>,
}

/// One rule of a [`Resultant`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ResultantRule {
    /// What is granted, sorted; `deny` if nothing is.
    pub capabilities: Vec<&'static str>,
    /// Values that parameters may have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allowed_parameters: BTreeMap<String, Vec<serde_json::Value>>,
    /// Values that parameters must not have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub denied_parameters: BTreeMap<String, Vec<serde_json::Value>>,
    /// Parameters that must be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_parameters: Vec<String>,
    /// The shortest wrapping, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_wrapping_ttl: Option<u64>,
    /// The longest wrapping, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wrapping_ttl: Option<u64>,
    /// The most keys that are listed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pagination_limit: Option<u64>,
}

impl Acl {
    /// Everything, everywhere: a token of the root namespace whose only policy is `root`.
    pub fn root() -> Self {
        Self::root_below("")
    }

    /// Everything below the path of a namespace (empty, or ending in a slash).
    pub fn root_below(namespace: &str) -> Self {
        Self { power: Power::Root { prefix: namespace.into() }, reads_clock: false, skipped: Vec::new() }
    }

    /// Compiles policies, each with the path of its namespace (empty, or ending in a slash), for one caller.
    ///
    /// `now`, in nanoseconds since 1970, is only filled into templates: what expires, expires when it is asked for.
    /// A policy named `root` grants nothing here: who is root is decided by [`Acl::root`], not by a name. If a
    /// template's value would reach further than its author meant, the whole `Acl` denies everything.
    pub fn compile(policies: &[(&str, &Policy)], subject: &Subject, now: u64) -> Self {
        let mut compiler = Compiler::default();
        for (namespace, policy) in policies {
            for rule in policy.parsed_rules() {
                if let Err(reason) = compiler.add(namespace, policy, rule, subject, now) {
                    let power = Power::Refused { reason: reason.into() };
                    return Self { power, reads_clock: true, skipped: Vec::new() };
                }
            }
        }
        let Compiler { entries, reads_clock, skipped, .. } = compiler;
        let index =
            Index::new(entries.into_iter().map(|(pattern, sources)| Entry::new(pattern, sources)).collect());
        Self { power: Power::Rules(index), reads_clock, skipped }
    }

    /// Judges one request.
    pub fn permit(&self, question: &Question<'_>) -> Result<Permit, Denied> {
        match &self.power {
            Power::Root { prefix } if question.path.as_str().starts_with(&**prefix) => {
                Ok(Permit::root(question.capability))
            }
            Power::Root { .. } => Err(Denied::NoRule),
            Power::Refused { reason } => Err(Denied::Refused { reason: Arc::clone(reason) }),
            Power::Rules(index) => {
                let path = question.path.as_str();
                let lowered = question.any_case.and_then(|names| index.in_lower_case(names, path));
                let index = lowered.as_ref().unwrap_or(index);
                let found = index.find(path, question.capability, question.now);
                let permit = judge(found.ok_or(Denied::NoRule)?, question)?;
                match index.nearer_bare(question) {
                    Some(nearer) => judge(nearer, question),
                    None => Ok(permit),
                }
            }
        }
    }

    /// Allows to read the help of a path, which everyone may who is known at all.
    pub fn permit_help(&self) -> Permit {
        Permit::help()
    }

    /// Whether this is the root policy's power.
    pub fn is_root(&self) -> bool {
        matches!(self.power, Power::Root { .. })
    }

    /// Whether the answers may change when it is compiled again at another time: do not keep it for long.
    pub fn reads_clock(&self) -> bool {
        self.reads_clock
    }

    /// What may be done on a path, as `sys/capabilities` says it: sorted, `["root"]`, or `["deny"]` for nothing.
    pub fn capabilities(&self, path: &str, now: u64) -> Vec<&'static str> {
        words(self.granted(path, now))
    }

    /// The same of a path at which something answers: it may hold a name whose case does not count, in lower case there,
    /// and with a slash at its end something else than a listing may answer, as [`Question::or_bare`] says.
    pub fn capabilities_in(
        &self,
        path: &Path,
        any_case: Option<AnyCase>,
        or_bare: bool,
        now: u64,
    ) -> Vec<&'static str> {
        if !matches!(self.power, Power::Rules(_)) {
            return self.capabilities(path.as_str(), now);
        }
        let may = |capability: &Capability| {
            let capability = *capability;
            let or_bare = or_bare && !capability.looks_at_folder();
            let question = Question {
                path,
                any_case,
                or_bare,
                capability,
                needs_sudo: false,
                parameters: &NoParameters,
                wrap_ttl: None,
                now,
            };
            self.grants(&question)
        };
        words(Some(Capability::ALL.into_iter().filter(may).collect()))
    }

    /// Whether the rules that decide grant a capability, whatever else they want.
    fn grants(&self, question: &Question<'_>) -> bool {
        let Power::Rules(index) = &self.power else { return false };
        let path = question.path.as_str();
        let lowered = question.any_case.and_then(|names| index.in_lower_case(names, path));
        let index = lowered.as_ref().unwrap_or(index);
        let has = |grant: &Arc<Grant>| {
            let capabilities = grant.terms().capabilities;
            capabilities.has(question.capability) && !capabilities.has(Capability::Deny)
        };
        index.find(path, question.capability, question.now).is_some_and(has)
            && index.nearer_bare(question).is_none_or(has)
    }

    /// Whether a plain request, without parameters and unwrapped, would be allowed: for filtering lists.
    pub fn allows(&self, path: &str, capability: Capability, now: u64) -> bool {
        Path::internal(path).is_ok_and(|path| self.allows_in(&path, None, capability, now))
    }

    /// The same of a path that may hold a name whose case does not count, in lower case there.
    pub fn allows_in(
        &self,
        path: &Path,
        any_case: Option<AnyCase>,
        capability: Capability,
        now: u64,
    ) -> bool {
        let question = Question {
            path,
            any_case,
            or_bare: false,
            capability,
            needs_sudo: false,
            parameters: &NoParameters,
            wrap_ttl: None,
            now,
        };
        self.permit(&question).is_ok()
    }

    /// Whether the caller has sudo on a path.
    pub fn has_sudo(&self, path: &str, now: u64) -> bool {
        self.granted(path, now).is_none_or(|granted| granted.has(Capability::Sudo))
    }

    /// Whether the caller may do anything at all on or below a folder: who may, may know that it exists.
    pub fn allowed_anything_under(&self, prefix: &str, now: u64) -> bool {
        match &self.power {
            Power::Root { prefix: below } => prefix.starts_with(&**below) || below.starts_with(prefix),
            Power::Refused { .. } => false,
            Power::Rules(index) => index.allows_anything_under(prefix, now),
        }
    }

    /// What the caller may do everywhere, as far as it can be shown. Paths are those of the root namespace.
    pub fn resultant(&self, now: u64) -> Resultant {
        let mut exact = BTreeMap::new();
        let mut globs = BTreeMap::new();
        match &self.power {
            Power::Root { .. } => return Resultant { root: true, ..Resultant::default() },
            Power::Refused { .. } => {}
            Power::Rules(index) => {
                for (pattern, grant) in index.live(now) {
                    match pattern {
                        Pattern::Exact(path) => {
                            drop(exact.insert(path.clone(), ResultantRule::new(grant.terms())))
                        }
                        Pattern::Prefix(path) => {
                            drop(globs.insert(path.clone(), ResultantRule::new(grant.terms())))
                        }
                        Pattern::Segments { .. } => {}
                    }
                }
            }
        }
        Resultant { root: false, exact_paths: Some(exact), glob_paths: Some(globs) }
    }

    /// What is granted on a path; `None` says everything.
    fn granted(&self, path: &str, now: u64) -> Option<Capabilities> {
        let path = path.trim_start_matches('/');
        match &self.power {
            Power::Root { prefix } if path.starts_with(&**prefix) => None,
            Power::Root { .. } | Power::Refused { .. } => Some(Capabilities::NONE),
            // Asked as a listing, so that a folder is found with and without its slash.
            Power::Rules(index) => {
                let found = index.find(path, Capability::List, now);
                Some(found.map_or(Capabilities::NONE, |grant| grant.terms().capabilities))
            }
        }
    }

    pub(crate) fn index(&self) -> Option<&Index> {
        match &self.power {
            Power::Rules(index) => Some(index),
            Power::Root { .. } | Power::Refused { .. } => None,
        }
    }

    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// As `sys/capabilities` says it; `None` is everything.
fn words(granted: Option<Capabilities>) -> Vec<&'static str> {
    granted.map_or_else(|| vec![Capability::Root.as_str()], Capabilities::words)
}

impl ResultantRule {
    fn new(terms: &Terms) -> Self {
        Self {
            capabilities: terms.capabilities.words(),
            allowed_parameters: terms.allowed.clone(),
            denied_parameters: terms.denied.clone(),
            required_parameters: terms.required.clone(),
            min_wrapping_ttl: terms.wrapping_min.map(|ttl| ttl.as_secs()),
            max_wrapping_ttl: terms.wrapping_max.map(|ttl| ttl.as_secs()),
            pagination_limit: terms.pagination_limit,
        }
    }
}

#[derive(Default)]
struct Compiler {
    entries: Vec<(Pattern, Vec<Source>)>,
    by_pattern: HashMap<Pattern, usize>,
    reads_clock: bool,
    skipped: Vec<Skipped>,
}

impl Compiler {
    fn add(
        &mut self,
        namespace: &str,
        policy: &Policy,
        rule: &Rule,
        subject: &Subject,
        now: u64,
    ) -> Result<(), String> {
        let mut forbidden = Vec::new();
        if !policy.allow_slashes_in_identity_templates {
            forbidden.push('/');
        }
        if !policy.allow_wildcards_in_identity_templates {
            forbidden.extend(['*', '+']);
        }
        let filling = Filling { subject, namespace, now, forbidden: &forbidden };
        self.reads_clock |= rule.path.reads_clock();
        let mut source = Source::new(namespace, policy, rule);
        let filled = rule.path.fill(filling).and_then(|path| {
            let terms = self.fill_values(rule, filling)?;
            Ok((path, terms))
        });
        let path = match filled {
            Ok((path, terms)) => {
                source.terms = terms.unwrap_or_else(|| rule.terms.clone());
                path
            }
            Err(Unfilled::Missing(missing)) if rule.terms.capabilities.has(Capability::Deny) => {
                return Err(format!(
                    "policy \"{}\", line {}: {{{{{missing}}}}} has no value for this caller, so what the rule denies is \
                     not known",
                    policy.name(),
                    rule.line
                ));
            }
            Err(Unfilled::Missing(missing)) => {
                self.skipped.push(Skipped { source, path: rule.source.clone(), missing });
                return Ok(());
            }
            Err(Unfilled::Forbidden { directive, character }) => {
                let name = policy.name();
                return Err(format!(
                    "policy \"{name}\", line {}: the value of {{{{{directive}}}}} contains \"{character}\", \
                     which would make the rule match more than was meant: change the value, or set \
                     allow_slashes_in_identity_templates or allow_wildcards_in_identity_templates on the policy",
                    rule.line
                ));
            }
        };
        if path.contains("+*") {
            return Err(format!(
                "policy \"{}\", line {}: invalid use of wildcards ('+*' is forbidden) in \"{path}\"",
                policy.name(),
                rule.line
            ));
        }
        let pattern = Pattern::new(&format!("{namespace}{path}"));
        let index = *self.by_pattern.entry(pattern.clone()).or_insert_with(|| {
            self.entries.push((pattern, Vec::new()));
            self.entries.len() - 1
        });
        if let Some((_, sources)) = self.entries.get_mut(index) {
            sources.push(source);
        }
        Ok(())
    }

    /// The terms with their values filled in, if there is anything to fill in.
    fn fill_values(&mut self, rule: &Rule, filling: Filling<'_>) -> Result<Option<Terms>, Unfilled> {
        if !rule.has_templated_values() {
            return Ok(None);
        }
        // A slash means nothing in a value; a star would make it a glob.
        let forbidden: Vec<char> = filling.forbidden.iter().copied().filter(|c| *c == '*').collect();
        let filling = Filling { forbidden: &forbidden, ..filling };
        let mut terms = rule.terms.clone();
        for list in terms.allowed.values_mut().chain(terms.denied.values_mut()) {
            for value in list {
                if let Some(template) = value.as_str().and_then(Template::of_value) {
                    self.reads_clock |= template.reads_clock();
                    *value = template.fill(filling)?.into();
                }
            }
        }
        Ok(Some(terms))
    }
}
