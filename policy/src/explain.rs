//! Why a request is allowed or denied: which rule of which policy decided, and what came close.

use crate::acl::{Acl, Entry, Pattern, Source, judge};
use crate::capability::{Capabilities, Capability};
use crate::control_group::ControlGroup;
use crate::permit::Question;
use crate::policy::Policy;
use crate::template::Subject;
use std::fmt;

/// Most near misses that are told.
const NEAR_MISSES_MAX: usize = 20;

/// A decision and its reasons.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Explanation {
    /// The path that was asked for.
    pub path: String,
    /// What was asked for.
    pub capability: Capability,
    /// The decision.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// The path of the rule that decided, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whose consent is wanted before it is done, if it is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_group: Option<Consent>,
    /// Where that rule stands; several, if several policies speak about the same path.
    pub decided_by: Vec<Origin>,
    /// Rules that would have decided otherwise, or that nearly matched.
    pub near_misses: Vec<NearMiss>,
}

/// Whose consent a request waits for.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Consent {
    /// How long it waits, in seconds; nothing, if the server decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Whether the one who asks may be one of those who consent.
    pub self_auth_allowed: bool,
    /// All of these must be satisfied.
    pub factors: Vec<ConsentFactor>,
}

/// So many members of any of these groups.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ConsentFactor {
    /// What the author of the rule calls it.
    pub name: String,
    /// The groups, by name.
    pub group_names: Vec<String>,
    /// The groups, by id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_ids: Vec<String>,
    /// How many of their members.
    pub approvals: u32,
}

/// Allowed or denied.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The request may be made.
    Allowed,
    /// The request is denied.
    Denied,
}

/// Where a rule stands.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Origin {
    /// The policy's name.
    pub policy: String,
    /// The path of the policy's namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The line in the policy's text.
    pub line: usize,
    /// What the rule grants there.
    pub capabilities: Capabilities,
}

/// A rule that did not decide, and why not.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct NearMiss {
    /// The rule's path.
    pub rule: String,
    /// Where it stands.
    pub origins: Vec<Origin>,
    /// Why it did not decide.
    pub why: String,
}

/// Judges as [`Acl::permit`] would, and says why.
pub fn explain(policies: &[(&str, &Policy)], subject: &Subject, question: &Question<'_>) -> Explanation {
    let acl = Acl::compile(policies, subject, question.now);
    let decision = acl.permit(question);
    let path = question.path.as_str();
    let mut explanation = Explanation {
        path: path.to_owned(),
        capability: question.capability,
        verdict: if decision.is_ok() { Verdict::Allowed } else { Verdict::Denied },
        reason: String::new(),
        rule: None,
        control_group: None,
        decided_by: Vec::new(),
        near_misses: Vec::new(),
    };
    let lowered =
        question.any_case.and_then(|names| acl.index().and_then(|index| index.in_lower_case(names, path)));
    let index = lowered.as_ref().or(acl.index());
    let found = index.and_then(|index| index.find(path, question.capability, question.now));
    // A rule about the path without its slash decides where it is closer, and the other grants it.
    let nearer = index.and_then(|index| index.nearer_bare(question));
    let found = nearer.filter(|_| found.is_some_and(|grant| judge(grant, question).is_ok())).or(found);
    if let Some(grant) = found {
        let is_it =
            |entry: &&Entry| entry.live(question.now).is_some_and(|live| std::sync::Arc::ptr_eq(live, grant));
        let entry = index.and_then(|index| index.entries().iter().find(is_it));
        explanation.rule = Some(grant.rule().to_string());
        explanation.decided_by = entry.map_or(Vec::new(), |entry| live_origins(entry, question.now));
    }
    let guard = decision.as_ref().ok().and_then(|permit| permit.control_group());
    explanation.control_group = guard.map(|group| consent(group, question.capability));
    explanation.reason = match (&decision, &explanation.rule) {
        (Ok(_), Some(rule)) if guard.is_some() => format!(
            "the rule \"{rule}\" grants {} once others have consented: its control_group says who",
            question.capability
        ),
        (Ok(_), Some(rule)) => format!("the rule \"{rule}\" grants {}", question.capability),
        (Ok(_), None) => "the root policy grants everything".to_owned(),
        (Err(denied), _) => denied.reason(),
    };
    explanation.near_misses = near_misses(&acl, question, explanation.rule.as_deref());
    explanation
}

fn consent(group: &ControlGroup, capability: Capability) -> Consent {
    let factors = group.factors_of(capability).map(|factor| ConsentFactor {
        name: factor.name.clone(),
        group_names: factor.group_names.clone(),
        group_ids: factor.group_ids.clone(),
        approvals: factor.approvals,
    });
    Consent {
        ttl: group.ttl.map(|ttl| ttl.as_secs()),
        self_auth_allowed: group.self_auth_allowed,
        factors: factors.collect(),
    }
}

fn near_misses(acl: &Acl, question: &Question<'_>, winner: Option<&str>) -> Vec<NearMiss> {
    let mut misses = Vec::new();
    for skipped in acl.skipped() {
        misses.push(NearMiss {
            rule: skipped.path.clone(),
            origins: vec![origin(&skipped.source)],
            why: format!("does not apply: nothing is known for {{{{{}}}}}", skipped.missing),
        });
    }
    let Some(index) = acl.index() else { return misses };
    for entry in index.entries() {
        let rule = entry.pattern.display();
        let Some(why) = why_not(entry, question, winner, &rule) else { continue };
        misses.push(NearMiss { rule, origins: entry.sources.iter().map(origin).collect(), why });
    }
    misses.truncate(NEAR_MISSES_MAX);
    misses
}

/// Why a rule that could have been meant did not decide; `None` for one that has nothing to do with the path.
fn why_not(entry: &Entry, question: &Question<'_>, winner: Option<&str>, rule: &str) -> Option<String> {
    let path = question.path.as_str();
    let is_live = entry.live(question.now).is_some();
    let bare = path.strip_suffix('/').filter(|_| question.capability.looks_at_folder());
    let matches = entry.pattern.matches(path) || bare.is_some_and(|bare| entry.pattern.matches(bare));
    if matches && !is_live {
        return Some("expired".into());
    }
    if matches {
        // Of all rules that match, only the closest counts; the others say nothing.
        return winner
            .filter(|winner| *winner != rule)
            .map(|winner| format!("\"{winner}\" is closer to the path"));
    }
    if let Some(other) = path.strip_suffix('/')
        && entry.pattern.matches(other)
    {
        return Some("matches only without the slash at the end".into());
    }
    if entry.pattern.matches(&format!("{path}/")) {
        return Some("matches only with a slash at the end".into());
    }
    if let Some(folder) = versioned_folder(path, |shorter| entry.pattern.matches(shorter)) {
        return Some(format!(
            "matches only without \"{folder}/\", which the paths of a versioned kv mount have"
        ));
    }
    if path.strip_prefix(rule).is_some_and(|below| below.starts_with('/')) {
        return Some(format!("matches itself and nothing below: \"{rule}/*\" would"));
    }
    if let Some(meant) = with_pluses(rule).filter(|meant| Pattern::new(meant).matches(path)) {
        return Some(format!(
            "a star that is not at the end is only a star: \"{meant}\" has a \"+\" for one segment"
        ));
    }
    let lower = path.to_lowercase();
    (entry.pattern.matches(&lower)).then(|| "matches only in lower case".to_owned())
}

/// A rule with a plus for each segment that is a star, but for the last one; `None` if there is no such.
fn with_pluses(rule: &str) -> Option<String> {
    let (head, last) = rule.rsplit_once('/')?;
    let meant: Vec<&str> =
        head.split('/').map(|segment| if segment == "*" { "+" } else { segment }).collect();
    let meant = meant.join("/");
    (meant != head).then(|| format!("{meant}/{last}"))
}

/// Which of the folders of a versioned kv mount, taken out of the path, makes it match.
fn versioned_folder(path: &str, matches: impl Fn(&str) -> bool) -> Option<&'static str> {
    ["data", "metadata", "delete", "undelete", "destroy"].into_iter().find(|folder| {
        path.split_once(&format!("/{folder}/"))
            .is_some_and(|(mount, rest)| matches(&format!("{mount}/{rest}")))
    })
}

fn live_origins(entry: &Entry, now: u64) -> Vec<Origin> {
    entry.sources.iter().filter(|source| now <= source.expiration).map(origin).collect()
}

fn origin(source: &Source) -> Origin {
    Origin {
        policy: source.policy.to_string(),
        namespace: source.namespace.to_string(),
        line: source.line,
        capabilities: source.terms.capabilities,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "policy {}{} line {} [{}]",
            self.namespace,
            self.policy,
            self.line,
            self.capabilities.words().join(", ")
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
        };
        writeln!(f, "{verdict}: {} {}", self.capability, self.path)?;
        writeln!(f, "  {}", self.reason)?;
        for factor in self.control_group.iter().flat_map(|group| &group.factors) {
            let groups = [factor.group_names.join(", "), factor.group_ids.join(", ")];
            let groups: Vec<&str> =
                groups.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
            writeln!(f, "  {} of {} must consent ({})", factor.approvals, groups.join(", "), factor.name)?;
        }
        for origin in &self.decided_by {
            writeln!(f, "  {origin}")?;
        }
        if !self.near_misses.is_empty() {
            writeln!(f, "  not decisive:")?;
        }
        for miss in &self.near_misses {
            writeln!(f, "    \"{}\": {}", miss.rule, miss.why)?;
            for origin in &miss.origins {
                writeln!(f, "      {origin}")?;
            }
        }
        Ok(())
    }
}
