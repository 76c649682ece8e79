use std::time::Duration;

use kit::loose::{Json, Span, Texts};
use kit::{Beyond, Error, Query, Reading, Reads, Reply, Result, Route, Secret, Verb};
use policy::{Capability, Explanation, Path, Question, Verdict, builtin};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Sys;
use super::capabilities::{living, own};
use crate::identity::{Bearer, bearer};
use crate::namespaces::Ns;
use crate::{policies, spelling};

/// What answers before there is a kernel, and so asks for no token.
const STRANGERS: [&str; 5] = ["sys/health", "sys/init", "sys/leader", "sys/seal-status", "sys/unseal"];

/// Says whether a request would be allowed, which rule of which policy decides, and what came close. Asks about
/// the token that asks, about another (which takes `sudo`), or about policies by name.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Explain {
    /// The path of the request, without `/v1/`.
    #[serde(default)]
    path: String,
    /// What is done there: `read`, `list`, `create`, `update`, `delete` and so on.
    #[serde(default)]
    operation: String,
    /// The same as `operation`.
    #[serde(default)]
    capability: String,
    /// The token that would ask.
    token: Option<Secret<String>>,
    /// The policies of a token that does not exist.
    policies: Option<Texts>,
    /// The parameters of the request.
    parameters: Option<Map<String, Value>>,
    /// How long the answer would be wrapped for.
    wrap_ttl: Option<Span>,
}

impl Query<Sys> for Explain {
    const ROUTE: Route = Route::post("policies/explain");
    type Reply = Json;

    fn run(self, engine: &Sys, cx: &Reading<'_>) -> Result<Reply<Json>> {
        let kernel = engine.kernel()?;
        let snapshot = cx.beyond(&Beyond::for_the_kernel());
        let asked = if self.operation.is_empty() { &self.capability } else { &self.operation };
        let capability = capability(asked)?;
        if self.path.trim_matches('/').is_empty() {
            return Err(Error::invalid(
                "missing path; name the path of the request without /v1/, like secret/data/app",
            ));
        }
        let path = Path::internal(self.path.trim_start_matches('/'))
            .map_err(|error| Error::invalid(error.to_string()))?;
        let token = self.token.filter(|token| !token.expose().is_empty());
        let here = || -> Result<_> {
            let router = kernel.router(snapshot)?;
            Ok((*router.value().here(cx)?.namespace).clone())
        };
        let bearer = match (token, self.policies) {
            (Some(_), Some(_)) => return Err(Error::invalid("give a token or policies, not both")),
            (None, Some(Texts(names))) => Bearer {
                root: Ns::of(cx).is_root()
                    && names.iter().any(|name| name.eq_ignore_ascii_case(builtin::ROOT)),
                policies: names.iter().map(|name| name.to_lowercase()).collect(),
                namespace: here()?,
                ..Bearer::default()
            },
            (Some(_), None) if !cx.sudo() => {
                return Err(Error::invalid("root or sudo privileges required to explain another token"));
            }
            (Some(token), None) => {
                let record = living(&kernel, cx, &token)?.ok_or_else(|| Error::invalid("invalid token"))?;
                bearer(snapshot, &record)?
            }
            (None, None) => bearer(snapshot, &own(&kernel, cx)?)?,
        };
        let path = path.within(&cx.mount().namespace).map_err(|error| Error::invalid(error.to_string()))?;
        let router = kernel.router(snapshot)?;
        let spelt = spelling::of_request(router.value(), snapshot, cx, &path, verb(capability))?;
        let path = spelt.path;
        if spelt.open || STRANGERS.contains(&path.as_str()) {
            let reason = "open to everybody: no token and no policy is asked for";
            return Ok(Json(serde_json::to_value(granted(&path, capability, reason))?).into());
        }
        if bearer.root && path.as_str().starts_with(&bearer.namespace.path) {
            let reason = "the root policy grants everything";
            return Ok(Json(serde_json::to_value(granted(&path, capability, reason))?).into());
        }
        let parsed = policies::parsed(snapshot, bearer.namespace.ns, &bearer.policies)?;
        let placed: Vec<_> = parsed.iter().map(|policy| (&*bearer.namespace.path, policy)).collect();
        let question = Question {
            path: &path,
            any_case: spelt.any_case,
            or_bare: spelt.route.is_some_and(|route| route.answers_bare()),
            capability,
            needs_sudo: spelt.route.is_some_and(|route| route.sudo),
            parameters: &self.parameters.unwrap_or_default(),
            wrap_ttl: self.wrap_ttl.map(Span::duration).filter(|ttl| *ttl != Duration::ZERO),
            now: cx.now().0,
        };
        let subject = bearer.entity.as_ref().map(kit::Entity::subject).unwrap_or_default();
        let explanation = policy::explain(&placed, &subject, &question);
        Ok(Json(serde_json::to_value(explanation)?).into())
    }
}

/// It is allowed, and there is no rule to name.
fn granted(path: &Path, capability: Capability, reason: &str) -> Explanation {
    Explanation {
        path: path.as_str().to_owned(),
        capability,
        verdict: Verdict::Allowed,
        reason: reason.to_owned(),
        rule: None,
        control_group: None,
        decided_by: Vec::new(),
        near_misses: Vec::new(),
    }
}

fn capability(word: &str) -> Result<Capability> {
    let word = match word {
        "" => {
            return Err(Error::invalid(
                "missing operation; one of create, read, update, patch, delete, list, scan",
            ));
        }
        "get" => "read",
        "post" | "put" | "write" => "update",
        other => other,
    };
    let known = word.parse::<Capability>().map_err(|error| Error::invalid(error.to_string()))?;
    match known {
        Capability::Deny | Capability::Root | Capability::Sudo => Err(Error::invalid(format!(
            "{word:?} is not done at a path; ask for create, read, update, patch, delete, list or scan"
        ))),
        known => Ok(known),
    }
}

/// How what asks for this is asked.
fn verb(capability: Capability) -> Verb {
    match capability {
        Capability::Read => Verb::Get,
        Capability::List => Verb::List,
        Capability::Scan => Verb::Scan,
        Capability::Delete => Verb::Delete,
        Capability::Patch => Verb::Patch,
        _ => Verb::Post,
    }
}
