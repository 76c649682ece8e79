//! Inline authentication: a request that brings its login along. The login is made first, as a request of its own, and
//! the token that it earns is for this request alone: it carries everything in itself, is shown to nobody, and ends soon.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Error, Fault, Result, Secret, Soon, Verb};
use policy::Path;
use serde_json::{Map, Value};

use crate::finish::Reached;
use crate::kernel::Kernel;
use crate::quotas::Meter;
use crate::request::{self, Answer, Request, WrapFormat};
use crate::router::Router;
use crate::walk::Trip;

/// What all of its headers begin with.
const HEADERS: &str = "x-vault-inline-auth-";
const PATH: &str = "x-vault-inline-auth-path";
const OPERATION: &str = "x-vault-inline-auth-operation";
const NAMESPACE: &str = "x-vault-inline-auth-namespace";
const PARAMETER: &str = "x-vault-inline-auth-parameter-";
/// Says in an answer that it was the login that failed, and not what was asked.
const FAILED: &str = "x-vault-inline-auth-failed";
/// What the refusals of such requests begin with.
const REFUSED: &str = "failed to perform inline authentication: ";

/// A login that a request has brought along, and that did not succeed.
pub(crate) struct Failed {
    retry_after: Option<u32>,
}

impl Failed {
    /// Tells the client which of the two requests it was.
    pub(crate) fn show(&self, answer: &mut Answer) {
        answer.headers.push((FAILED, "true".to_owned()));
        answer.retry_after = self.retry_after.or(answer.retry_after);
    }
}

fn wrong(text: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{REFUSED}{text}"))
}

/// The path leads to something else than a login, or nowhere. It is not said which.
fn no_login() -> Error {
    let text = "permission denied; the header X-Vault-Inline-Auth-Path names no login: give a path such as auth/userpass/login/NAME";
    Error::new(Fault::Denied, text)
}

/// A login that owes a second factor which its request does not show.
pub(crate) fn owes() -> Error {
    wrong(
        "unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA information on the inline auth request",
    )
}

/// What is asked for lives longer than the token of such a request.
pub(crate) fn no_lease() -> Error {
    Error::invalid("requests with inline authentication cannot generate leases")
}

/// A request that would wait for others longer than its token lives.
pub(crate) fn no_consent() -> Error {
    Error::invalid(
        "requests with inline authentication cannot wait for the consent of others; log in first and send this request with the token of that login",
    )
}

/// Whether a header holds a parameter of a login, a password as likely as not. That goes nowhere else, whatever a mount
/// asks for or an operator wants to see.
pub(crate) fn is_parameter(name: &str) -> bool {
    name.starts_with(PARAMETER)
}

fn header<'a>(request: &'a Request, wanted: &str) -> Option<&'a str> {
    request.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

/// The login that a request brings along, if it does. `id` is that of the request.
///
/// # Errors
/// If its headers cannot be read, or a token is shown beside them.
pub(crate) fn login(request: &Request, id: &str, router: &Router) -> Result<Option<Request>> {
    let Some(path) = header(request, PATH) else { return Ok(None) };
    if request.token.is_some() {
        return Err(wrong("cannot layer inline authentication with token authentication"));
    }
    let verb = match header(request, OPERATION) {
        None | Some("update" | "create") => Verb::Post,
        Some("read") => Verb::Get,
        Some(_) => {
            let text = "expected a valid login operation in X-Vault-Inline-Auth-Operation";
            return Err(wrong(text));
        }
    };
    let namespace = header(request, NAMESPACE).map(request::namespace);
    let namespace = namespace.unwrap_or_else(|| request.namespace.clone());
    if !namespace.is_empty() && router.space_at(&format!("{namespace}/")).is_none() {
        return Err(wrong("inline auth namespace was not found"));
    }
    let fields = parameters(request)?;
    let (body, query) = match verb {
        Verb::Get => {
            (Vec::new(), fields.into_iter().map(|(name, value)| (name.into(), plain(value).into())).collect())
        }
        _ => (serde_json::to_vec(&fields)?, Vec::new()),
    };
    let others = request.headers.iter().filter(|(name, _)| !name.starts_with(HEADERS));
    Ok(Some(Request {
        verb,
        path: Path::internal(path).map_err(|_| no_login())?,
        token: None,
        query,
        body,
        namespace,
        wrap_ttl: None,
        wrap_format: WrapFormat::Plain,
        remote: request.remote.clone(),
        headers: others.cloned().collect(),
        help: false,
        meter: Meter::default(),
        lineage: request.lineage.login(id),
        hidden: false,
    }))
}

/// The parameters of the login: each header holds one, whatever its name ends in.
fn parameters(request: &Request) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for (_, value) in request.headers.iter().filter(|(name, _)| is_parameter(name)) {
        let (key, value) = parameter(value)?;
        if fields.insert(key.clone(), value).is_some() {
            return Err(wrong(format!("the parameter {key:?} is given twice; give each in one header")));
        }
    }
    Ok(fields)
}

fn parameter(text: &str) -> Result<(String, Value)> {
    let json = URL_SAFE_NO_PAD.decode(text);
    let json = json.map_err(|_| wrong("failed raw url-safe base64 decoding header value"))?;
    let decoded: Result<Map<String, Value>, _> = serde_json::from_slice(&json);
    let mut decoded = decoded.map_err(|_| wrong("failed json decoding header value"))?;
    let key = match decoded.remove("key") {
        Some(Value::String(key)) => key,
        Some(_) => return Err(wrong("decoded header had incorrect type for `key` field")),
        None => return Err(wrong("decoded header lacked `key` field")),
    };
    let value = decoded.remove("value").ok_or_else(|| wrong("decoded header lacked `value` field"))?;
    match decoded.is_empty() {
        true => Ok((key, value)),
        false => Err(wrong("unexpected field in decoded request parameter")),
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl Kernel {
    /// Lets a request in by the login that it brought along.
    pub(crate) fn log_in_first<'a>(&'a self, trip: &'a mut Trip, login: &'a Request) -> Soon<'a, Result<()>> {
        Box::pin(async move {
            let mut retry_after = None;
            match self.transient(login, &mut retry_after).await {
                Ok(token) => trip.inline = Some(token),
                Err(error) => {
                    trip.failed = Some(Failed { retry_after });
                    return Err(error);
                }
            }
            Ok(())
        })
    }

    /// The token that a login earns for one request. It goes the whole way of a login: counted, audited, held against who
    /// fails too often.
    async fn transient(&self, login: &Request, retry_after: &mut Option<u32>) -> Result<Secret<String>> {
        if let Err(refused) = self.meter_whole(login) {
            let refused = refused.into_inner();
            *retry_after = refused.retry_after;
            let text = format!("request path {:?}: rate limit quota exceeded", login.path.as_str());
            return Err(match refused.status {
                429 => Error::new(Fault::Busy, text),
                _ => Error::internal("the login of a request could not be counted"),
            });
        }
        self.metrics.begin();
        let mut trip = Trip::new(self, login);
        let result = match self.attempts(login, &mut trip, None).await {
            Ok(Reached::Answer(outcome)) => Ok(*outcome),
            Ok(Reached::Replay(_)) => Err(no_login()),
            Err(error) => Err(said(error)),
        };
        let earned = result.as_ref().ok().and_then(|outcome| outcome.auth.as_ref());
        let earned = earned.map(|auth| Secret::new(auth.client_token.clone()));
        let refused = result.as_ref().err().cloned();
        let answer = self.close(login, trip, result).await.answer.into_inner();
        match (refused, earned) {
            (Some(error), _) => Err(error),
            (None, Some(token)) if answer.status == 200 => Ok(token),
            _ => Err(Error::internal("the login of a request was not written down")),
        }
    }
}

/// What a login says is wrong with it is handed on as it is. What else is in its way is said to be in the way of that.
fn said(error: Error) -> Error {
    match error.fault() {
        Fault::Elsewhere => no_login(),
        Fault::Invalid | Fault::Credentials => error,
        fault => Error::new(fault, format!("{REFUSED}{error}")),
    }
}
