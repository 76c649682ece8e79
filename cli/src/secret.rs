//! The envelope in which the server answers, and the order in which its parts are shown.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::doc::Doc;

/// One answer of the logical API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Secret {
    pub(crate) request_id: Option<String>,
    pub(crate) lease_id: Option<String>,
    pub(crate) lease_duration: Option<i64>,
    pub(crate) renewable: Option<bool>,
    pub(crate) data: Option<Value>,
    pub(crate) warnings: Option<Vec<String>>,
    pub(crate) auth: Option<Auth>,
    pub(crate) wrap_info: Option<WrapInfo>,
}

/// A token, as a login or its renewal returns it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Auth {
    pub(crate) client_token: String,
    pub(crate) accessor: String,
    pub(crate) policies: Option<Vec<String>>,
    pub(crate) token_policies: Option<Vec<String>>,
    pub(crate) identity_policies: Option<Vec<String>>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) orphan: bool,
    pub(crate) entity_id: String,
    pub(crate) lease_duration: i64,
    pub(crate) renewable: bool,
    pub(crate) mfa_requirement: Option<Value>,
}

/// The token under which the real answer waits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WrapInfo {
    pub(crate) token: String,
    pub(crate) accessor: String,
    pub(crate) ttl: i64,
    pub(crate) creation_time: String,
    pub(crate) creation_path: String,
    pub(crate) wrapped_accessor: String,
}

impl Secret {
    /// Reads an answer. A bare object, outside any envelope, counts as its data; nothing but errors as nothing.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Secret>, serde_json::Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let value: Value = serde_json::from_slice(body)?;
        let secret = Secret::deserialize(&value)?;
        if secret != Secret::default() {
            return Ok(Some(secret));
        }
        Ok(match value {
            Value::Object(bare) if bare.contains_key("errors") || bare.is_empty() => None,
            Value::Object(bare) if bare.keys().all(|key| ENVELOPE.contains(&key.as_str())) => Some(secret),
            Value::Object(bare) => Some(Secret { data: Some(Value::Object(bare)), ..secret }),
            _ => None,
        })
    }

    /// The data as an object, if there is any.
    pub(crate) fn data(&self) -> Option<&Map<String, Value>> {
        self.data.as_ref()?.as_object()
    }

    /// One entry of the data; null counts as absent.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.data()?.get(name).filter(|value| !value.is_null())
    }

    /// One entry of the data that must be text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// The `keys` of a listing.
    pub(crate) fn keys(&self) -> Option<&Vec<Value>> {
        self.field("keys")?.as_array()
    }

    /// Whether there is something to show although the status was 404.
    pub(crate) fn says_something(&self) -> bool {
        self.warnings.as_ref().is_some_and(|w| !w.is_empty()) || self.data().is_some_and(|d| !d.is_empty())
    }

    /// The value that `-field=name` asks for, by the names that tables use.
    pub(crate) fn named(&self, name: &str) -> Option<Value> {
        let special = match (&self.auth, &self.wrap_info) {
            (Some(auth), _) => match name {
                "token" => Some(json!(auth.client_token)),
                "token_accessor" => Some(json!(auth.accessor)),
                "token_duration" => Some(json!(auth.lease_duration)),
                "token_renewable" => Some(json!(auth.renewable)),
                "token_policies" => Some(json!(auth.token_policies.clone().unwrap_or_default())),
                "identity_policies" => Some(json!(auth.identity_policies.clone().unwrap_or_default())),
                "policies" => Some(json!(auth.policies.clone().unwrap_or_default())),
                _ => None,
            },
            (None, Some(wrap)) => match name {
                "wrapping_token" => Some(json!(wrap.token)),
                "wrapping_accessor" => Some(json!(wrap.accessor)),
                "wrapping_token_ttl" => Some(json!(wrap.ttl)),
                "wrapping_token_creation_time" => Some(json!(wrap.creation_time)),
                "wrapping_token_creation_path" => Some(json!(wrap.creation_path)),
                "wrapped_accessor" => Some(json!(wrap.wrapped_accessor)),
                _ => None,
            },
            (None, None) => match name {
                "refresh_interval" => self.lease_duration.map(|seconds| json!(seconds)),
                _ => None,
            },
        };
        special.or_else(|| self.field(name).cloned())
    }

    /// The whole answer in the order in which clients print it.
    pub(crate) fn doc(&self) -> Doc {
        let mut parts = vec![
            ("request_id", json!(self.request_id.clone().unwrap_or_default()).into()),
            ("lease_id", json!(self.lease_id.clone().unwrap_or_default()).into()),
            ("lease_duration", json!(self.lease_duration.unwrap_or_default()).into()),
            ("renewable", json!(self.renewable.unwrap_or_default()).into()),
            ("data", self.data.clone().unwrap_or(Value::Null).into()),
            ("warnings", json!(self.warnings).into()),
        ];
        if let Some(auth) = &self.auth {
            parts.push(("auth", auth.doc()));
        }
        if let Some(wrap) = &self.wrap_info {
            parts.push(("wrap_info", wrap.doc()));
        }
        Doc::map(parts)
    }
}

/// The keys of an envelope; an object of nothing else is an answer without data, not data.
const ENVELOPE: [&str; 8] =
    ["request_id", "lease_id", "lease_duration", "renewable", "data", "warnings", "auth", "wrap_info"];

impl Auth {
    fn doc(&self) -> Doc {
        Doc::map(vec![
            ("client_token", json!(self.client_token).into()),
            ("accessor", json!(self.accessor).into()),
            ("policies", json!(self.policies).into()),
            ("token_policies", json!(self.token_policies).into()),
            ("identity_policies", json!(self.identity_policies).into()),
            ("metadata", json!(self.metadata).into()),
            ("orphan", json!(self.orphan).into()),
            ("entity_id", json!(self.entity_id).into()),
            ("lease_duration", json!(self.lease_duration).into()),
            ("renewable", json!(self.renewable).into()),
            ("mfa_requirement", json!(self.mfa_requirement).into()),
        ])
    }
}

impl WrapInfo {
    fn doc(&self) -> Doc {
        Doc::map(vec![
            ("token", json!(self.token).into()),
            ("accessor", json!(self.accessor).into()),
            ("ttl", json!(self.ttl).into()),
            ("creation_time", json!(self.creation_time).into()),
            ("creation_path", json!(self.creation_path).into()),
            ("wrapped_accessor", json!(self.wrapped_accessor).into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_object_is_data_and_bare_errors_are_nothing() {
        let bare = Secret::parse(br#"{"initialized":true}"#).expect("json").expect("an answer");
        assert_eq!(bare.field("initialized"), Some(&json!(true)));
        assert_eq!(Secret::parse(br#"{"errors":[]}"#).expect("json"), None);
        assert_eq!(Secret::parse(b"\n").expect("empty"), None);
        let wrapped = br#"{"request_id":"","data":null,"wrap_info":{"token":"t","ttl":60}}"#;
        let wrapped = Secret::parse(wrapped).expect("json").expect("an answer");
        assert_eq!(wrapped.named("wrapping_token"), Some(json!("t")));
    }
}
