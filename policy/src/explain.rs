//! Why a request is allowed or denied: which rule of which policy decided, and what came close.

use crate::acl::{Acl, Entry, Source};
use crate::capability::{Capabilities, Capability};
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
    /// Where that rule stands; several, if several policies speak about the same path.
    pub decided_by: Vec<Origin>,
    /// Rules that would have decided otherwise, or that nearly matched.
    pub near_misses: Vec<NearMiss>,
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
        decided_by: Vec::new(),
        near_misses: Vec::new(),
    };
    let found = acl.index().and_then(|index| index.find(path, question.capability, question.now));
    if let Some(grant) = found {
        let is_it =
            |entry: &&Entry| entry.live(question.now).is_some_and(|live| std::sync::Arc::ptr_eq(live, grant));
        let entry = acl.index().and_then(|index| index.entries().iter().find(is_it));
        explanation.rule = Some(grant.rule().to_string());
        explanation.decided_by = entry.map_or(Vec::new(), |entry| live_origins(entry, question.now));
    }
    explanation.reason = match (&decision, &explanation.rule) {
        (Ok(_), Some(rule)) => format!("the rule \"{rule}\" grants {}", question.capability),
        (Ok(_), None) => "the root policy grants everything".to_owned(),
        (Err(denied), _) => denied.reason(),
    };
    explanation.near_misses = near_misses(&acl, question, explanation.rule.as_deref());
    explanation
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
    let lower = path.to_lowercase();
    (entry.pattern.matches(&lower)).then(|| "matches only in lower case".to_owned())
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
