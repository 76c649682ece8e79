//! What becomes of a request: answered here, from memory, or by the server.

use std::{cell::Cell, fmt::Write, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    Door, Header, Lending, Manners, Namespaces, Quit, Remembers, Role,
    memory::{self, Asked, Memory},
    upstream::{Answered, Body, Upstream},
};
use crate::{
    agent::{bell::Bell, here::Here, ledger::Ledger, log::Log, login::Identity, world::World},
    client::Client,
    upload::whole,
};

/// No request of the API is larger.
const REQUEST_SIZE_MAX: usize = 32 * 1024 * 1024;
/// Whoever asks the agent to end still gets the answer.
const QUIT_PAUSE: Duration = Duration::from_millis(200);
/// What asks for an answer to be wrapped.
const WRAPS: [&str; 2] = ["x-vault-wrap-ttl", "x-bao-wrap-ttl"];
const TOKEN: &str = "x-vault-token";
const NAMESPACE: &str = "x-vault-namespace";
/// Headers of one connection, which are not handed on.
const OF_A_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers of a request that make no other answer.
const OF_NO_MATTER: [&str; 5] = ["user-agent", "accept-encoding", "accept", "content-length", "host"];

/// Where requests are looked at.
pub(crate) struct Desk {
    upstream: Upstream,
    world: Rc<Here>,
    /// Where the agent logs in, which may be another namespace.
    gate: Rc<Here>,
    identity: Option<Rc<Mutex<Identity>>>,
    manners: Manners,
    memory: Option<Rc<Memory>>,
    ledger: Rc<Ledger>,
    bell: Bell,
    counts: Counts,
}

/// What it counts.
#[derive(Default)]
struct Counts {
    success: Cell<u64>,
    client_error: Cell<u64>,
    error: Cell<u64>,
    hit: Cell<u64>,
    miss: Cell<u64>,
}

impl Desk {
    /// Where it says what happens.
    pub(super) fn log(&self) -> Rc<Log> {
        Rc::clone(&self.world.log)
    }

    pub(crate) fn new(
        client: Client,
        (world, gate): (Rc<Here>, Rc<Here>),
        identity: Option<Rc<Mutex<Identity>>>,
        manners: Manners,
        (ledger, bell): (Rc<Ledger>, Bell),
    ) -> Desk {
        let memory = (manners.memory == Remembers::Leases).then(Rc::default);
        let upstream = Upstream::new(client, manners.connections);
        Desk { upstream, world, gate, identity, manners, memory, ledger, bell, counts: Counts::default() }
    }

    /// The answer to a request that came through this door.
    pub(super) async fn answer(&self, door: &Door, request: http::Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let own = ["/agent/v1/", "/proxy/v1/"].iter().find_map(|start| path.strip_prefix(start));
        if own == Some("metrics") {
            return self.metrics(request.method());
        }
        if door.role == Role::Metrics {
            return refusal(StatusCode::NOT_FOUND, "this door has the metrics only, at /agent/v1/metrics");
        }
        let says = request.headers().get("x-vault-request").is_some_and(|value| value == "true");
        if door.header == Header::Required && !says {
            return refusal(StatusCode::PRECONDITION_FAILED, "missing 'X-Vault-Request' header");
        }
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, REQUEST_SIZE_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                return refusal(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the request is larger than 32 MiB, or broke off",
                );
            }
        };
        let posted = parts.method == http::Method::POST || parts.method == http::Method::PUT;
        match own {
            Some("quit") if posted && door.quit == Quit::Allowed => {
                let bell = self.bell.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(QUIT_PAUSE).await;
                    bell.end(0);
                });
                reply(StatusCode::OK, HeaderMap::new(), Bytes::new())
            }
            Some("quit") => refusal(
                StatusCode::NOT_FOUND,
                "to end the agent, POST here, with enable_quit = true in agent_api of this listener",
            ),
            Some("cache-clear") if posted => self.clear(&body),
            Some(_) => {
                refusal(StatusCode::NOT_FOUND, "the agent has metrics, cache-clear (POST) and quit (POST)")
            }
            None if !path.starts_with("/v1/") => {
                refusal(StatusCode::NOT_FOUND, "the API is below /v1/; the agent serves no pages")
            }
            None => {
                let mut dead = None;
                let answer = self.forward(parts.clone(), body.clone(), &mut dead).await;
                match dead {
                    Some(token) if self.replaced(&token).await => self.forward(parts, body, &mut None).await,
                    _ => answer,
                }
            }
        }
    }

    /// Whether the agent has another token now than this one, which the server may have refused.
    async fn replaced(&self, token: &Zeroizing<String>) -> bool {
        let Some(identity) = &self.identity else { return false };
        let replaced = identity.lock().await.replace_if_dead(token, self.gate.as_ref()).await;
        if replaced && let Some(memory) = &self.memory {
            // Its leases have ended with it.
            memory.drop_where(|entry| entry.asker == token.as_str() || entry.token == Some(token.as_str()));
        }
        replaced
    }

    /// Hands a request on. `dead` is the agent's own token if it was lent to it and the server does not seem to know it.
    async fn forward(
        &self,
        mut parts: http::request::Parts,
        body: Bytes,
        dead: &mut Option<Zeroizing<String>>,
    ) -> Response<Body> {
        // What is packed could not be looked at.
        for name in OF_A_CONNECTION.into_iter().chain(["accept-encoding"]) {
            parts.headers.remove(name);
        }
        if let Some(namespace) = self.namespace(&parts.headers) {
            parts.headers.insert(NAMESPACE, namespace);
        }
        let (own, is_lent) = match self.token(&mut parts.headers).await {
            Ok(own) => own,
            Err(answer) => return answer,
        };
        let token = given(&parts.headers).unwrap_or_default();
        let namespace = header(&parts.headers, NAMESPACE).trim_matches('/').to_owned();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let path = parts.uri.path().to_owned();
        let shows_own = own.as_ref().is_some_and(|own| shows(&path, &token, own, &body));
        if shows_own && wraps(&parts.headers) {
            let why = "the agent's token is not shown, and so not wrapped either: ask without a wrapping TTL";
            return refusal(StatusCode::BAD_REQUEST, why);
        }
        let key = key(&parts, &target, &token, &body);
        let turn = self.memory.as_ref().map(|memory| memory.turn(key));
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if let Some(answer) = self.remembered(&key) {
            return answer;
        }
        let (mut answered, whole) = match self.sent(parts, body.clone()).await {
            Ok(answer) => answer,
            Err(answer) => return answer,
        };
        for name in OF_A_CONNECTION {
            answered.headers.remove(name);
        }
        if !answered.status.is_success() {
            bump(&self.counts.client_error);
            if answered.status == StatusCode::FORBIDDEN && is_lent && !is_for_policies(&whole) {
                *dead = own;
            }
            return reply(answered.status, answered.headers, whole);
        }
        bump(&self.counts.success);
        let mut shown = whole.clone();
        if let Some(memory) = &self.memory {
            bump(&self.counts.miss);
            memory::revoked(memory, &path, &namespace, &token, &body);
            // With two namespaces in play, renewing would have to guess.
            if namespace.is_empty() || self.upstream.namespace.is_none() {
                let asked = Asked { key, path: &path, namespace: &namespace, token: &token };
                memory.keep(&asked, (&answered, &whole), own.as_ref().map(|own| own.as_str()), &self.world);
            }
            answered.headers.insert("x-cache", HeaderValue::from_static("MISS"));
        }
        if shows_own {
            shown = hidden(shown);
        }
        reply(answered.status, answered.headers, shown)
    }

    /// Asks the server. What flows through, or that there is no answer, is the answer at once.
    async fn sent(
        &self,
        parts: http::request::Parts,
        body: Bytes,
    ) -> Result<(http::response::Parts, Bytes), Response<Body>> {
        let mut request = http::Request::new(whole(body));
        *request.method_mut() = parts.method;
        *request.uri_mut() = parts.uri;
        *request.headers_mut() = parts.headers;
        match self.upstream.send(request).await {
            Ok(Answered::Whole(parts, body)) => Ok((parts, body)),
            Ok(Answered::Flowing(response)) => {
                bump(&self.counts.success);
                Err(response)
            }
            Err(why) => {
                bump(&self.counts.error);
                let why = format!("the agent has no answer of the server: {why}");
                Err(refusal(StatusCode::BAD_GATEWAY, &why))
            }
        }
    }

    /// The namespace that a request is sent to, if it is another than it says itself.
    fn namespace(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let own = self.upstream.namespace.as_ref()?.trim_matches('/');
        let text = match (headers.contains_key(NAMESPACE), self.manners.namespaces) {
            (true, Namespaces::OfRequest) => return None,
            (true, Namespaces::Prepended) => {
                format!("{own}/{}", header(headers, NAMESPACE).trim_matches('/'))
            }
            (false, _) => own.to_owned(),
        };
        HeaderValue::from_str(&text).ok()
    }

    /// What is kept for a request.
    fn remembered(&self, key: &memory::Key) -> Option<Response<Body>> {
        let kept = self.memory.as_ref()?.find(key)?;
        bump(&self.counts.success);
        bump(&self.counts.hit);
        let mut headers = kept.headers.clone();
        headers.insert("x-cache", HeaderValue::from_static("HIT"));
        headers.insert("age", HeaderValue::from(self.world.now().since(kept.at).as_secs()));
        Some(reply(kept.status, headers, kept.body.clone()))
    }

    /// Gives a request the agent's token if it is to have it. The agent's token, and whether it was given.
    async fn token(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<(Option<Zeroizing<String>>, bool), Response<Body>> {
        let Some(identity) = self.identity.as_ref().filter(|_| self.manners.lending != Lending::Never) else {
            return Ok((None, false));
        };
        let lacks = given(headers).is_none();
        let lends = self.manners.lending == Lending::Always || lacks;
        if !lends {
            // Who brings a token of their own does not wait for the agent's.
            return Ok((identity.try_lock().ok().and_then(|identity| identity.held()), false));
        }
        match identity.lock().await.lent(self.gate.as_ref()).await {
            Ok(token) => {
                headers.remove("authorization");
                let mut value = HeaderValue::from_str(&token)
                    .map_err(|_| refusal(StatusCode::BAD_GATEWAY, "the agent's token is no token"))?;
                value.set_sensitive(true);
                headers.insert(TOKEN, value);
                Ok((Some(token), true))
            }
            Err(trouble) => {
                Err(refusal(StatusCode::BAD_GATEWAY, &format!("the agent has no token: {}", trouble.text)))
            }
        }
    }

    fn clear(&self, body: &[u8]) -> Response<Body> {
        let Some(memory) = &self.memory else {
            // There is nothing to drop, so it is dropped.
            return reply(StatusCode::OK, HeaderMap::new(), Bytes::new());
        };
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let (value, namespace) = (text("value"), text("namespace").trim_matches('/'));
        let kind = text("type");
        if value.is_empty() && kind != "all" {
            return refusal(StatusCode::BAD_REQUEST, "value is missing: what is to be dropped?");
        }
        match kind {
            "all" => memory.drop_where(|_| true),
            "token" => memory.drop_where(|entry| entry.token == Some(value) || entry.asker == value),
            "token_accessor" => memory.drop_where(|entry| entry.accessor == Some(value)),
            "lease" => memory.drop_where(|entry| entry.lease == Some(value)),
            "request_path" => {
                let start = memory::whole(namespace, value);
                memory.drop_where(|entry| entry.whole.starts_with(&start));
            }
            _ => {
                let why = "invalid type provided: all, token, token_accessor, lease or request_path";
                return refusal(StatusCode::BAD_REQUEST, why);
            }
        }
        reply(StatusCode::OK, HeaderMap::new(), Bytes::new())
    }

    fn metrics(&self, method: &http::Method) -> Response<Body> {
        if method != http::Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        }
        let mut text = self.ledger.text();
        let Counts { success, client_error, error, hit, miss } = &self.counts;
        let rows = [
            ("keep_agent_proxy_requests_total", "result", "ok", success),
            ("keep_agent_proxy_requests_total", "result", "refused", client_error),
            ("keep_agent_proxy_requests_total", "result", "failed", error),
            ("keep_agent_cache_total", "result", "hit", hit),
            ("keep_agent_cache_total", "result", "miss", miss),
        ];
        for (name, key, value, count) in rows {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{name}{{{key}=\"{value}\"}} {}", count.get());
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        reply(StatusCode::OK, headers, Bytes::from(text))
    }
}

/// Whether a refusal is of a token that lives and may not. Of one that it does not know, a server says less, or more.
fn is_for_policies(body: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let errors = said.get("errors").and_then(Value::as_array);
    errors.into_iter().flatten().filter_map(Value::as_str).any(|text| text.starts_with("1 error occurred:"))
}

fn bump(count: &Cell<u64>) {
    count.set(count.get().saturating_add(1));
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The token that a request brings.
fn given(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let own = Some(header(headers, TOKEN)).filter(|token| !token.is_empty());
    let bearer = header(headers, "authorization").strip_prefix("Bearer ").filter(|token| !token.is_empty());
    own.or(bearer).map(|token| Zeroizing::new(token.to_owned()))
}

fn key(parts: &http::request::Parts, target: &str, token: &str, body: &[u8]) -> memory::Key {
    let mut headers: Vec<String> = parts
        .headers
        .iter()
        .filter(|(name, _)| !OF_NO_MATTER.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    headers.sort();
    let headers = Zeroizing::new(headers.join("\n"));
    memory::key(&[
        parts.method.as_str().as_bytes(),
        target.as_bytes(),
        token.as_bytes(),
        headers.as_bytes(),
        body,
    ])
}

/// Whether the answer is to be wrapped.
fn wraps(headers: &HeaderMap) -> bool {
    WRAPS.iter().any(|name| !header(headers, name).is_empty())
}

/// Whether the answer to this would show the agent's token to a caller who acts with it.
fn shows(path: &str, token: &str, own: &str, asked: &[u8]) -> bool {
    let about = || {
        let body: Value = serde_json::from_slice(asked).unwrap_or(Value::Null);
        body.get("token").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // A namespace may stand in front.
    let path = memory::whole("", path);
    let mut last = path.rsplit('/');
    match (last.next(), last.next(), last.next()) {
        (Some("lookup-self" | "renew-self"), Some("token"), Some("auth")) => token == own,
        (Some("lookup" | "renew"), Some("token"), Some("auth")) => {
            [own, ""].contains(&about().as_str()) && token == own || about() == own
        }
        _ => false,
    }
}

/// Such an answer without the token.
fn hidden(answer: Bytes) -> Bytes {
    let Ok(mut json) = serde_json::from_slice::<Value>(&answer) else { return answer };
    for (part, names) in [("data", ["id", "accessor"]), ("auth", ["client_token", "accessor"])] {
        if let Some(fields) = json.get_mut(part).and_then(Value::as_object_mut) {
            for name in names {
                match part {
                    "data" => drop(fields.remove(name)),
                    _ => drop(fields.insert(name.to_owned(), json!(""))),
                }
            }
        }
    }
    Bytes::from(json.to_string())
}

fn reply(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove("content-length");
    response
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    reply(status, headers, Bytes::from(json!({ "errors": [why] }).to_string()))
}
