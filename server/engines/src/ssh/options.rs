//! What a certificate allows and demands: extensions and critical options, as the role allows them.

use std::collections::BTreeMap;

use kit::{Error, Reads, Result};
use policy::has_directive;

use super::fields::Options;
use super::principals::fill;
use super::role::CaRole;

const ANY: &str = "*";

/// The critical options of a certificate: those that were asked for, else the role's.
pub(super) fn critical_options(asked: Options, role: &CaRole) -> Result<BTreeMap<String, String>> {
    if asked.0.is_empty() {
        return Ok(role.default_critical_options.clone());
    }
    if !role.allowed_critical_options.is_empty() {
        let others = others(&asked, &role.allowed_critical_options);
        if !others.is_empty() {
            return Err(Error::invalid(format!("critical options not on allowed list: [{others}]")));
        }
    }
    Ok(asked.0)
}

/// The extensions of a certificate: those that were asked for, else the role's.
pub(super) fn extensions(asked: Options, role: &CaRole, cx: &impl Reads) -> Result<BTreeMap<String, String>> {
    if asked.0.is_empty() {
        return defaults(role, cx);
    }
    if role.allowed_extensions != ANY {
        let others = others(&asked, &role.allowed_extensions);
        if !others.is_empty() {
            return Err(Error::invalid(format!("extensions [{others}] are not on allowed list")));
        }
    }
    Ok(asked.0)
}

/// The names that are not on a list.
fn others(asked: &Options, list: &str) -> String {
    let allowed = |name: &str| list.split(',').any(|allowed| allowed.trim() == name);
    let others: Vec<&str> = asked.0.keys().map(String::as_str).filter(|name| !allowed(name)).collect();
    others.join(" ")
}

/// The role's extensions, their templates filled in. To a caller without an entity these grant nothing.
fn defaults(role: &CaRole, cx: &impl Reads) -> Result<BTreeMap<String, String>> {
    if !role.default_extensions_template {
        return Ok(role.default_extensions.clone());
    }
    let mut extensions = BTreeMap::new();
    let mut left_out = false;
    for (name, value) in &role.default_extensions {
        if !has_directive(value) {
            extensions.insert(name.clone(), value.clone());
        } else if cx.caller().entity.is_some() {
            extensions.insert(name.clone(), fill(value, value, &[], cx)?);
        } else {
            left_out = true;
        }
    }
    if left_out {
        cx.warn("default_extension templating enabled with at least one extension requiring identity templating. However, this request lacked identity entity information, causing one or more extensions to be skipped from the generated certificate.");
    }
    Ok(extensions)
}
