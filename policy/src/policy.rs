//! A policy: a name and its rules.

use crate::capability::Capabilities;
use crate::hcl::{self, ParseError};
use crate::rule::{Rule, check_keys};
use crate::template::Template;
use std::fmt;
use std::sync::Arc;

/// Longest text of a policy.
pub const POLICY_BYTES_MAX: usize = hcl::TEXT_BYTES_MAX;
/// Most rules in one policy.
const RULES_MAX: usize = 10_000;

/// A policy as it was written, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    name: Arc<str>,
    rules: Vec<Rule>,
    /// Nanoseconds since 1970 after which no rule of the policy applies any more. Set by whoever stored it.
    pub expiration: Option<u64>,
    /// Whether values filled into paths may contain slashes.
    pub allow_slashes_in_identity_templates: bool,
    /// Whether values filled into paths may contain `*` and `+`, and so match more than themselves.
    pub allow_wildcards_in_identity_templates: bool,
}

/// A text is not a policy. The message says what, where and why, in the words that clients know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("failed to parse policy: {message}")]
pub struct PolicyError {
    /// What is wrong, without the words in front of it.
    pub message: String,
    /// The line on which it is wrong.
    pub line: usize,
}

impl Policy {
    /// Parses a policy written in HCL or JSON. The name is taken as it is: callers lower it first.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let rules = parse_rules(text)
            .map_err(|trouble| PolicyError { message: trouble.message, line: trouble.line })?;
        Ok(Self {
            name: name.into(),
            rules,
            expiration: None,
            allow_slashes_in_identity_templates: false,
            allow_wildcards_in_identity_templates: false,
        })
    }

    /// What the policy is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whether what it grants depends on who asks.
    pub fn is_templated(&self) -> bool {
        self.rules.iter().any(|rule| rule.path.as_text().is_none() || rule.has_templated_values())
    }

    /// What the policy says, rule by rule: path, line and capabilities.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (&str, usize, Capabilities)> {
        self.rules.iter().map(|rule| (rule.source.as_str(), rule.line, rule.terms.capabilities))
    }

    pub(crate) fn parsed_rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Rule {
    pub(crate) fn has_templated_values(&self) -> bool {
        let lists = self.terms.allowed.values().chain(self.terms.denied.values());
        let mut texts = lists.flatten().filter_map(serde_json::Value::as_str);
        texts.any(|text| text.contains("{{") && Template::of_value(text).is_some())
    }
}

fn parse_rules(text: &str) -> Result<Vec<Rule>, Trouble> {
    let body = hcl::parse_any(text)?;
    check_keys(&body, &["name", "path"])?;
    if let Some(item) = body.all("name").find(|item| item.value.as_text().is_none() || item.keys.len() != 1) {
        return Err(item.error("name must be a text in quotes").into());
    }
    let blocks = body.blocks("path", 1)?;
    if blocks.len() > RULES_MAX {
        return Err(Trouble::new(0, format!("more than {RULES_MAX} path blocks: split the policy")));
    }
    blocks
        .iter()
        .map(|block| {
            let path = block.labels.first().copied().unwrap_or_default();
            Rule::parse(path, block).map_err(|trouble| trouble.at_path(path))
        })
        .collect()
}

/// What is wrong in a policy, on its way out: each level says where it was.
#[derive(Debug)]
pub(crate) struct Trouble {
    message: String,
    line: usize,
}

impl Trouble {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), line }
    }

    /// Several errors in one, spelled as clients know it.
    pub(crate) fn several(line: usize, errors: Vec<String>) -> Self {
        let noun = if errors.len() == 1 { "error" } else { "errors" };
        Self {
            message: format!("{} {noun} occurred:\n\t* {}\n\n", errors.len(), errors.join("\n\t* ")),
            line,
        }
    }

    /// The same as a list of one.
    pub(crate) fn listed(self) -> Self {
        Self::several(self.line, vec![self.message])
    }

    pub(crate) fn at_path(self, path: &str) -> Self {
        self.within(format_args!("path {path:?}"))
    }

    pub(crate) fn within(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), line: self.line }
    }
}

impl From<ParseError> for Trouble {
    fn from(error: ParseError) -> Self {
        Self { message: error.to_string(), line: error.line }
    }
}
