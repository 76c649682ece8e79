//! The question whether a request may be made, and the two answers.

use crate::acl::{Grant, Granted};
use crate::any_case::AnyCase;
use crate::capability::Capability;
use crate::control_group::ControlGroup;
use crate::list_filter::ListFilter;
use crate::parameters::Parameters;
use crate::path::Path;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a caller wants to do, and everything about it that rules can depend on.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The path, with the path of its namespace in front. LIST and SCAN ask with a slash at the end.
    pub path: &'a Path,
    /// Where the path holds a name whose case does not count, if it does.
    pub any_case: Option<AnyCase>,
    /// Whether the same operation answers without the slash at the end of the path: a rule about that which is closer than
    /// those about the path as it is spelt holds then too.
    pub or_bare: bool,
    /// What the verb needs. Renewal, revocation and rollback need [`Capability::Update`].
    pub capability: Capability,
    /// Whether the server protects the path, so that [`Capability::Sudo`] is needed too.
    pub needs_sudo: bool,
    /// The parameters; looked at only if a rule constrains them.
    pub parameters: &'a dyn Parameters,
    /// How long the answer is to be wrapped, if it is to be wrapped at all.
    pub wrap_ttl: Option<Duration>,
    /// Nanoseconds since 1970.
    pub now: u64,
}

/// Proof that a request was judged and allowed. Made by [`crate::Acl::permit`] alone.
///
/// ```compile_fail,E0451
/// // Its fields are private, so nobody else can make one, not even from another.
/// fn forge(permit: policy::Permit) -> policy::Permit {
///     policy::Permit { capability: Some(policy::Capability::Delete), ..permit }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Permit {
    right: Right,
    capability: Option<Capability>,
    list_limit: ListLimit,
}

#[derive(Clone, Debug)]
enum Right {
    Root,
    /// Anyone who is known may read the help.
    Help,
    Rule(Arc<Grant>),
}

/// The parameter that bounds a listing.
pub(crate) const LIMIT: &str = "limit";
/// The value of it that asks for as much as is allowed.
pub(crate) const LIMIT_MAX: &str = "max";

/// What becomes of the `limit` of a listing; see [`ListLimit::apply`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListLimit {
    /// It stays as the caller sent it, or absent. The word `max` says all.
    AsAsked,
    /// It is replaced by this number.
    Set(u64),
}

impl ListLimit {
    /// Puts the limit into the parameters of a listing, as the engine is to see them.
    pub fn apply(self, parameters: &mut Map<String, Value>) {
        match self {
            Self::Set(limit) => {
                parameters.insert(LIMIT.to_owned(), limit.into());
            }
            Self::AsAsked => {
                if let Some(asked) =
                    parameters.get_mut(LIMIT).filter(|asked| asked.as_str() == Some(LIMIT_MAX))
                {
                    *asked = 0.into();
                }
            }
        }
    }
}

impl Permit {
    pub(crate) fn root(capability: Capability) -> Self {
        Self { right: Right::Root, capability: Some(capability), list_limit: ListLimit::AsAsked }
    }

    pub(crate) fn help() -> Self {
        Self { right: Right::Help, capability: None, list_limit: ListLimit::AsAsked }
    }

    pub(crate) fn by_rule(grant: Arc<Grant>, capability: Capability, list_limit: ListLimit) -> Self {
        Self { right: Right::Rule(grant), capability: Some(capability), list_limit }
    }

    /// Whether the caller has sudo on the path, or is root.
    pub fn sudo(&self) -> bool {
        match &self.right {
            Right::Root => true,
            Right::Help => false,
            Right::Rule(grant) => grant.terms().capabilities.has(Capability::Sudo),
        }
    }

    /// Whether the root policy allowed it.
    pub fn root_policy(&self) -> bool {
        matches!(self.right, Right::Root)
    }

    /// The capability that was asked for; `None` for help.
    pub fn capability(&self) -> Option<Capability> {
        self.capability
    }

    /// What becomes of the `limit` of a listing. Apply it before the engine sees the request.
    pub fn list_limit(&self) -> ListLimit {
        self.list_limit
    }

    /// What decides which keys of a listing the caller sees.
    pub fn list_scan_response_keys_filter_path(&self) -> Option<&ListFilter> {
        let looks = self.capability.is_some_and(Capability::looks_at_folder);
        self.grant().filter(|_| looks)?.terms().list_filter.as_deref()
    }

    /// The policies that grant it, for the audit log.
    pub fn granting_policies(&self) -> impl Iterator<Item = &Granted> {
        let capability = self.capability;
        let granted = self.grant().map_or(&[][..], Grant::granted);
        granted.iter().filter(move |one| capability.is_some_and(|wanted| one.capabilities.has(wanted)))
    }

    /// Who must approve before the request is answered, if this capability is guarded.
    pub fn control_group(&self) -> Option<&ControlGroup> {
        let capability = self.capability?;
        let group = self.grant()?.terms().control_group.as_deref()?;
        group.factors_of(capability).next().map(|_| group)
    }

    /// The login MFA methods that the rule names.
    pub fn mfa_methods(&self) -> &[String] {
        self.grant().map_or(&[], |grant| &grant.terms().mfa_methods)
    }

    fn grant(&self) -> Option<&Grant> {
        match &self.right {
            Right::Rule(grant) => Some(grant),
            Right::Root | Right::Help => None,
        }
    }
}

/// Why a request is denied. The wire says "permission denied" and no more; [`Denied::reason`] is for logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denied {
    /// The caller's policies could not be applied to the caller: a value filled in reaches too far.
    Refused {
        /// What could not be applied.
        reason: Arc<str>,
    },
    /// No rule matches the path.
    NoRule,
    /// The rule that matches says deny.
    Deny {
        /// The rule's path.
        rule: Arc<str>,
    },
    /// The rule that matches does not grant this.
    NotGranted {
        /// The rule's path.
        rule: Arc<str>,
        /// What is not granted.
        capability: Capability,
    },
    /// The rule demands, forbids or bounds wrapping.
    Wrapping {
        /// The rule's path.
        rule: Arc<str>,
        /// The shortest wrapping.
        min: Option<Duration>,
        /// The longest wrapping.
        max: Option<Duration>,
    },
    /// The parameters could not be read although the rule depends on them.
    Unreadable {
        /// The rule's path.
        rule: Arc<str>,
        /// Why they could not be read.
        reason: String,
    },
    /// A required parameter is missing.
    Missing {
        /// The rule's path.
        rule: Arc<str>,
        /// The parameter.
        parameter: String,
    },
    /// A parameter has a value that is denied, or not allowed.
    Parameter {
        /// The rule's path.
        rule: Arc<str>,
        /// The parameter.
        parameter: String,
    },
    /// More is to be listed at once than the rule allows, or the limit is not a number.
    Pagination {
        /// The rule's path.
        rule: Arc<str>,
        /// The most that may be listed at once.
        limit: u64,
    },
}

impl Denied {
    /// What stood in the way, for logs and explanations, never for the caller.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { reason } => reason.to_string(),
            Self::NoRule => "no rule matches the path".into(),
            Self::Deny { rule } => format!("the rule \"{rule}\" denies everything on this path"),
            Self::NotGranted { rule, capability } => {
                format!("the rule \"{rule}\" does not grant {capability}")
            }
            Self::Wrapping { rule, min, max } => {
                let min = min.map_or(String::new(), |min| format!(" at least {min:?}"));
                let max = max.map_or(String::new(), |max| format!(" at most {max:?}"));
                format!("the rule \"{rule}\" demands a wrapped answer,{min}{max}")
            }
            Self::Unreadable { rule, reason } => {
                format!("the rule \"{rule}\" depends on parameters: {reason}")
            }
            Self::Missing { rule, parameter } => {
                format!("the rule \"{rule}\" requires the parameter \"{parameter}\"")
            }
            Self::Parameter { rule, parameter } => {
                format!("the rule \"{rule}\" does not allow this value of the parameter \"{parameter}\"")
            }
            Self::Pagination { rule, limit } => {
                format!("the rule \"{rule}\" allows to list at most {limit} keys at once")
            }
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permission denied")
    }
}

impl std::error::Error for Denied {}
