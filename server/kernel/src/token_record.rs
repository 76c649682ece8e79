use std::collections::BTreeMap;
use std::time::Duration;

use kit::{MountId, Time};
use policy::builtin;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids;
use crate::namespaces::Ns;
use crate::tokens::TokenHash;

/// What a root token says it was made by. No request has this path.
pub(crate) const ROOT_PATH: &str = "auth/token/root";

/// What a token is for, if it carries no rules of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To unwrap something.
    Wrapping,
    /// To have a request done that waits for the consent of others.
    Waiting,
}

/// A token as it is stored; of a batch token, what it carries in itself. What is as for most tokens takes no room.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct TokenRecord {
    pub(crate) accessor: String,
    /// The namespace that it belongs to. Its policies are those of that name there.
    #[serde(skip_serializing_if = "Ns::is_root")]
    pub(crate) namespace: Ns,
    pub(crate) policies: Vec<String>,
    /// The path of the request that made it.
    pub(crate) path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) meta: Option<BTreeMap<String, String>>,
    pub(crate) display_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) parent: Option<TokenHash>,
    pub(crate) created: Time,
    pub(crate) ttl_seconds: u64,
    /// Nothing: it does not end by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expires: Option<Time>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) renewed: Option<Time>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) uses_left: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) period_seconds: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) explicit_max_ttl_seconds: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_ttl_seconds: u64,
    /// Whom it stands for; empty: for nobody but itself.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) entity_id: String,
    /// The identity mount that knows the entity.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) identity: Option<String>,
    /// It does not have the policies of its entity.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) no_identity_policies: bool,
    /// A policy of its own, which has no name.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) inline_policy: String,
    /// The groups of the outside that the login was in.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) groups: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) bound_cidrs: Vec<String>,
    /// The role of `auth/token` that it was made by.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) role: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) renewable: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) batch: bool,
    /// The auth mount that it came by, which is asked again at renewal.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mount: Option<String>,
    /// What the method kept for that.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) internal: Value,
    /// The role of the auth method that it came by, if a quota counts by role.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) login_role: String,
    /// The policies the method gave.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) login_policies: Vec<String>,
    /// The token was given no `default` on request.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) no_default_policy: bool,
    /// It is for this and for nothing else.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) purpose: Option<Purpose>,
    /// Made for one request that brought its login along, and known to nobody outside.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) transient: bool,
    /// It has been ended, and those that it made live on: it stands here until the last of them is cut loose.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ended: bool,
}

impl TokenRecord {
    /// Whether it may do everything in its namespace. Outside the root namespace nobody is given the policy of this
    /// name; the owners of a seal make such a token with their shares.
    pub(crate) fn is_root(&self) -> bool {
        (self.namespace.is_root() || self.path == ROOT_PATH)
            && self.policies.iter().any(|name| name == "root")
    }

    /// Whether its time has come, or its last use is spent.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now) || self.uses_left == Some(0)
    }

    /// What it is for, if not for what its policies say. Those that were made before this was written down are told by
    /// their one policy, which no method and no request could give them.
    pub(crate) fn purpose(&self) -> Option<Purpose> {
        let older = || match self.policies.as_slice() {
            [policy] if self.mount.is_none() && policy == builtin::RESPONSE_WRAPPING => {
                Some(Purpose::Wrapping)
            }
            [policy] if self.mount.is_none() && policy == builtin::CONTROL_GROUP => Some(Purpose::Waiting),
            _ => None,
        };
        self.purpose.or_else(older)
    }

    /// The policies with `default` where it belongs, sorted, each once, in lower case.
    pub(crate) fn sanitised(policies: &[String], add_default: bool) -> Vec<String> {
        let mut names: Vec<String> =
            policies.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| name == "root") {
            return vec!["root".to_owned()];
        }
        if add_default {
            names.push("default".to_owned());
        }
        names.sort();
        names.dedup();
        names
    }

    /// Without what only a renewal asks for: a batch token carries its record in itself, and goes with every request.
    pub(crate) fn without_renewal(self) -> Self {
        let (groups, login_policies) = (Vec::new(), Vec::new());
        let (internal, login_role) = (Value::Null, String::new());
        Self { groups, login_policies, internal, login_role, max_ttl_seconds: 0, ..self }
    }

    /// How long it still lives.
    pub(crate) fn left(&self, now: Time) -> Duration {
        self.expires.map_or(Duration::ZERO, |expires| Duration::from_secs(now.until(expires).as_secs()))
    }

    pub(crate) fn mount_id(&self) -> Option<MountId> {
        ids::mount(self.mount.as_ref()?)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: Value, purpose: Option<Purpose>) {
        let record: TokenRecord = serde_json::from_value(record).unwrap();
        assert_eq!(record.purpose(), purpose);
    }

    #[test]
    fn what_an_older_token_is_for_is_told_by_its_only_policy() {
        let wrapping = serde_json::json!({"policies": ["response-wrapping"], "uses_left": 1});
        check(wrapping, Some(Purpose::Wrapping));
        check(serde_json::json!({"policies": ["control-group"], "uses_left": 1}), Some(Purpose::Waiting));
        check(serde_json::json!({"policies": ["x"], "purpose": "waiting"}), Some(Purpose::Waiting));
        // A login could give it, once.
        let mount = ids::uuid([1; 16]);
        check(serde_json::json!({"policies": ["control-group"], "mount": mount}), None);
        check(serde_json::json!({"policies": ["control-group", "default"]}), None);
        check(serde_json::json!({"policies": ["default"]}), None);
    }
}
