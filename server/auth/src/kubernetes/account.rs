use kit::{Error, Fault, Result};
use serde_json::{Map, Value};

use crate::claims::Claims;

/// The service account that a token says it is of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) secret: String,
    pub(super) audiences: Vec<String>,
}

/// Reads text out of claims, and remembers what was none.
struct Reader {
    wrong: Option<String>,
}

impl Account {
    /// Reads it from claims: as tokens of pods have it, or as those in secrets had it before.
    ///
    /// # Errors
    /// If they are of another shape.
    pub(super) fn of(claims: &Claims) -> Result<Self> {
        let failed = |why: &str| {
            Error::new(Fault::Internal, format!("decoding failed due to the following error(s):\n\n{why}"))
        };
        let audiences = match claims.0.get("aud") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(_) => return Err(failed("'aud' source data must be an array or slice, got string")),
        };
        let mut reader = Reader { wrong: None };
        let account = match claims.0.get("kubernetes.io") {
            None | Some(Value::Null) => {
                let prefix = "kubernetes.io/serviceaccount";
                Self {
                    namespace: reader.text(&claims.0, &format!("{prefix}/namespace"), ""),
                    name: reader.text(&claims.0, &format!("{prefix}/service-account.name"), ""),
                    uid: reader.text(&claims.0, &format!("{prefix}/service-account.uid"), ""),
                    secret: reader.text(&claims.0, &format!("{prefix}/secret.name"), ""),
                    audiences,
                }
            }
            Some(Value::Object(pod)) => {
                let none = Map::new();
                let own = pod.get("serviceaccount").and_then(Value::as_object).unwrap_or(&none);
                Self {
                    namespace: reader.text(pod, "namespace", "kubernetes.io."),
                    name: reader.text(own, "name", "kubernetes.io.serviceaccount."),
                    uid: reader.text(own, "uid", "kubernetes.io.serviceaccount."),
                    secret: String::new(),
                    audiences,
                }
            }
            Some(_) => return Err(failed("'kubernetes.io' expected a map or struct")),
        };
        reader.wrong.map_or(Ok(account), |name| Err(failed(&format!("'{name}' expected type 'string'"))))
    }
}

impl Reader {
    fn text(&mut self, map: &Map<String, Value>, name: &str, within: &str) -> String {
        match map.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => return text.clone(),
            Some(_) => self.wrong = Some(format!("{within}{name}")),
        }
        String::new()
    }
}
