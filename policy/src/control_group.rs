//! Control groups: requests that others must approve before they are answered.

use crate::capability::{Capabilities, Capability};
use crate::duration;
use crate::hcl::{Body, Item};
use crate::policy::Trouble;
use crate::rule::{check_keys, texts, unknown_type};
use std::time::Duration;

/// Who must approve a request before it is answered.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct ControlGroup {
    /// How long a request waits for approval; `None` leaves it to the server.
    pub ttl: Option<Duration>,
    /// Whether the one who asks may be one of those who approve.
    pub self_auth_allowed: bool,
    /// All of them must be satisfied.
    pub factors: Vec<Factor>,
}

/// One condition of a control group.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Factor {
    /// What the author calls it.
    pub name: String,
    /// Which capabilities it guards.
    pub controlled_capabilities: Capabilities,
    /// Members of any of these groups may approve.
    pub group_names: Vec<String>,
    /// Members of the groups with any of these ids may approve, too.
    pub group_ids: Vec<String>,
    /// How many of them must.
    pub approvals: u32,
}

impl ControlGroup {
    /// The factors that guard this capability.
    pub fn factors_of(&self, capability: Capability) -> impl Iterator<Item = &Factor> {
        self.factors.iter().filter(move |factor| factor.controlled_capabilities.has(capability))
    }

    /// Both at once: every factor of both, the shorter time, and self-approval only if both allow it.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut factors = self.factors.clone();
        factors.extend(other.factors.iter().filter(|factor| !self.factors.contains(factor)).cloned());
        let ttl = match (self.ttl, other.ttl) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { ttl, self_auth_allowed: self.self_auth_allowed && other.self_auth_allowed, factors }
    }
}

/// Reads the control group of a path block.
pub(crate) fn parse(body: &Body) -> Result<Option<ControlGroup>, Trouble> {
    let Some(item) = body.all("control_group").next() else { return Ok(None) };
    parse_group(item).map(Some).map_err(|trouble| trouble.within("error handling control_group"))
}

fn parse_group(item: &Item) -> Result<ControlGroup, Trouble> {
    let Some(body) = item.value.as_body().filter(|_| item.keys.len() == 1) else {
        return Err(unknown_type(item, "control_group").listed());
    };
    check_keys(body, &["ttl", "self_auth_allowed", "factor"])?;
    let mut group = ControlGroup::default();
    if let Some(item) = body.all("ttl").last() {
        let nanos = duration::parse_value(&item.value).map_err(|reason| {
            Trouble::new(item.line, format!("path control_group: invalid ttl: {reason}")).listed()
        })?;
        group.ttl = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    }
    if let Some(item) = body.all("self_auth_allowed").last() {
        group.self_auth_allowed =
            item.value.as_bool().ok_or_else(|| unknown_type(item, "self_auth_allowed").listed())?;
    }
    let require_name = |_| {
        let trouble = Trouble::new(item.line, "path control_group factor: require name key").listed();
        trouble.within("error handling control_group factor").listed()
    };
    for block in body.blocks("factor", 1).map_err(require_name)? {
        let name = block.labels.first().copied().unwrap_or_default();
        group.factors.push(parse_factor(name, block.body, block.line)?);
    }
    check(&group, item.line)?;
    Ok(group)
}

fn parse_factor(name: &str, body: &Body, line: usize) -> Result<Factor, Trouble> {
    check_keys(body, &["controlled_capabilities", "identity"])
        .map_err(|trouble| trouble.within("error handling control_group factor").listed())?;
    let mut factor = Factor {
        name: name.to_owned(),
        controlled_capabilities: Capabilities::NONE,
        group_names: Vec::new(),
        group_ids: Vec::new(),
        approvals: 0,
    };
    for word in texts(body, "controlled_capabilities").map_err(Trouble::listed)? {
        use Capability::{Deny, Root, Sudo};
        match word.parse() {
            Ok(capability) if ![Deny, Root, Sudo].contains(&capability) => {
                factor.controlled_capabilities = factor.controlled_capabilities.with(capability);
            }
            _ => {
                let message = format!("path control_group Operation(s) not valid: {word}");
                return Err(Trouble::new(line, message).listed());
            }
        }
    }
    for identity in body.blocks("identity", 0).map_err(|error| Trouble::from(error).listed())? {
        factor.group_names.extend(texts(identity.body, "group_names").map_err(Trouble::listed)?);
        factor.group_ids.extend(texts(identity.body, "group_ids").map_err(Trouble::listed)?);
        if let Some(item) = identity.body.all("approvals").last() {
            let approvals = item.value.as_i64().ok_or_else(|| unknown_type(item, "approvals").listed())?;
            factor.approvals = u32::try_from(approvals).unwrap_or(0);
        }
    }
    Ok(factor)
}

fn check(group: &ControlGroup, line: usize) -> Result<(), Trouble> {
    let refuse = |message: String| Err(Trouble::new(line, message).listed());
    if group.factors.is_empty() {
        return refuse("requires at least one factor but had none".into());
    }
    for (index, factor) in group.factors.iter().enumerate() {
        let lacks = if factor.controlled_capabilities.is_empty() {
            "controlled capabilities"
        } else if factor.approvals == 0 {
            "required approvals"
        } else if factor.group_names.is_empty() && factor.group_ids.is_empty() {
            "approving groups"
        } else {
            continue;
        };
        return refuse(format!("factor {index}: missing {lacks}"));
    }
    Ok(())
}
