//! From the head of an HTTP request to a [`kernel::Request`] without its body.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, Version};
use kernel::{Request, WrapFormat};
use kit::loose::Span;
use kit::{Remote, Secret, Verb};
use policy::{BadPath, Path};

use super::forwarded;
use super::query;
use super::reply::{self, Page, Reply};
use super::sending::Whole;
use super::shown;
use crate::config::{Cors, Forwarded, Listener};

/// A request whose head was understood.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) body: BodyKind,
    /// A page of another origin asks, and may.
    pub(crate) origin: Option<(HeaderValue, Arc<Cors>)>,
    /// The namespace header as it came, to be sent back.
    pub(crate) namespace: Option<HeaderValue>,
    /// HEAD: for `sys/health` alone.
    pub(crate) head_only: bool,
}

/// How the body is to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyKind {
    /// Whatever is sent, it is not looked at.
    Ignored,
    /// JSON.
    Json,
    /// A form, unless it begins like JSON.
    Form,
    /// A backup, of any length. It is read when the kernel has let it in.
    Archive { force: bool },
    /// Bytes of a kind that the API knows. They come as base64 in the field of this name.
    Bytes(&'static str),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) certificates: std::sync::Arc<[Vec<u8>]>,
}

/// Everything below this is the API.
pub(crate) const API: &str = "/v1/";

/// Refuses what a server of HTTP must not read as it likes: whom a request is for (RFC 9112, section 3.2), and what is
/// expected of the answer (RFC 9110, section 10.1.1).
pub(crate) fn check_message(version: Version, headers: &HeaderMap) -> Result<(), Box<Reply>> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => return Err(ambiguous("missing required Host header")),
        (Some(_), Some(_)) => return Err(ambiguous("too many Host headers")),
        (Some(host), None) if !host.as_bytes().iter().all(|byte| is_in_host(*byte)) => {
            return Err(ambiguous("malformed Host header"));
        }
        _ => {}
    }
    match headers.get(EXPECT) {
        Some(expected) if !expected.is_empty() && !expects_continue(expected) => {
            Err(refuse(417, "the Expect header wants what is not known here: only 100-continue is"))
        }
        _ => Ok(()),
    }
}

/// What may stand for two things is refused, and nothing more is read where it came from: what follows could be, too.
fn ambiguous(text: &str) -> Box<Reply> {
    closing(refuse(400, text))
}

fn closing(mut refusal: Box<Reply>) -> Box<Reply> {
    refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    refusal
}

/// Whether a byte can be part of a host and a port (RFC 3986).
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

fn expects_continue(header: &HeaderValue) -> bool {
    header
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
}

/// Understands a request for the API, or says what is wrong with it. `raw` is its path behind [`API`].
pub(crate) fn read(
    raw: &str,
    query: Option<&str>,
    method: &Method,
    headers: &HeaderMap,
    peer: &Peer,
    listener: &Listener,
    cors: impl FnOnce() -> Option<Arc<Cors>>,
) -> Result<Asked, Box<Reply>> {
    // A path of its own, as in Go: help about it is asked for without the slash.
    if raw == "sys" && method.as_str() != "HELP" {
        return Err(elsewhere("sys/", query, method));
    }
    let path = path(raw, query, method)?;
    let known = Known::read(headers);
    known.may_come(listener)?;
    let Peer { address, certificates, .. } = match &listener.forwarded {
        None => peer.clone(),
        Some(rule) => client(rule, headers, peer)?,
    };
    let origin = origin(known.origin, cors, method)?;
    known.check_consistency()?;
    let wrap_ttl = known.wrap_ttl.map(wrap_ttl).transpose()?.flatten();
    let Asks { verb, help, head_only, mut pairs } = asks(method, query)?;
    known.say_prometheus(&path, &mut pairs);
    let writes = matches!(verb, Verb::Post | Verb::Patch);
    if writes && !help && path.is_folder() {
        return Err(refuse(400, "cannot write to a path ending in '/'"));
    }
    let body = match verb {
        Verb::Patch if !help => {
            merge_patch(known.content_type)?;
            BodyKind::Json
        }
        Verb::Post if !help => match known.content_type {
            _ if path.as_str() == "sys/storage/raft/snapshot" => BodyKind::Archive { force: false },
            _ if path.as_str() == "sys/storage/raft/snapshot-force" => BodyKind::Archive { force: true },
            Some(kind) if is(kind, FORM) => BodyKind::Form,
            Some(kind) if is(kind, OCSP_REQUEST) => BodyKind::Bytes("req"),
            _ => BodyKind::Json,
        },
        _ => BodyKind::Ignored,
    };
    let request = Request {
        hidden: listener.hides(path.as_str()),
        path: if matches!(verb, Verb::List | Verb::Scan) { path.as_folder() } else { path },
        verb,
        token: known.token.map(|token| Secret::new(token.to_owned())),
        query: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        body: Vec::new(),
        namespace: known.namespace.map_or_else(String::new, namespace),
        wrap_ttl,
        wrap_format: known.wrap_format,
        remote: Remote {
            address,
            port: peer.port,
            certificates,
            is_bearer: known.is_bearer,
            is_jose: writes && known.content_type.is_some_and(|kind| is(kind, JOSE)),
            head_only,
            ..Remote::default()
        },
        headers: passed_on(headers),
        help,
        meter: kernel::Meter::default(),
        lineage: kernel::Lineage::default(),
    };
    Ok(Asked { request, body, origin, namespace: known.namespace.cloned(), head_only })
}

fn refuse(status: u16, text: &str) -> Box<Reply> {
    Box::new(reply::error(status, text))
}

fn path(raw: &str, query: Option<&str>, method: &Method) -> Result<Path, Box<Reply>> {
    Path::parse(raw).or_else(|bad| in_a_path(raw).ok_or(bad)).map_err(|bad| match bad {
        BadPath::NotCanonical { clean } => elsewhere(&clean, query, method),
        BadPath::NotPrintable => Box::new(reply::empty(400)),
        other => refuse(400, &other.to_string()),
    })
}

/// Sends the client to another path of the API.
fn elsewhere(path: &str, query: Option<&str>, method: &Method) -> Box<Reply> {
    let mut location = String::with_capacity(path.len() + 16);
    location.push_str(API);
    encode(path, &mut location);
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut reply = reply::redirect(&location);
    // A page is for people, and people read with GET.
    if !matches!(*method, Method::GET | Method::HEAD) {
        reply.headers_mut().remove(CONTENT_TYPE);
        *reply.body_mut() = Page::Left(Whole::default());
    }
    Box::new(reply)
}

/// An OCSP question stands in the path in base64 (RFC 6960, appendix A.1), whose slashes may come in pairs: it is read in
/// the alphabet for URLs instead.
fn in_a_path(raw: &str) -> Option<Path> {
    let (before, question) = raw.split_once("/ocsp/")?;
    let question = percent_encoding::percent_decode_str(question).decode_utf8().ok()?;
    let der = base64::engine::general_purpose::STANDARD.decode(&*question).ok()?;
    // A sequence (0x30) of a length of one or two bytes, which is all of it.
    let length = match *der.as_slice() {
        [0x30, short @ ..=0x7f, ..] => 2 + usize::from(short),
        [0x30, 0x81, length, ..] => 3 + usize::from(length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => return None,
    };
    let in_url = question.replace('/', "_").replace('+', "-");
    Path::parse(&format!("{before}/ocsp/{in_url}")).ok().filter(|_| length == der.len())
}

/// Percent-encodes what a path may not hold in clear, as Go does.
fn encode(path: &str, out: &mut String) {
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'/' | b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b':' | b';' | b'=' | b'@' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
                }
            }
        }
    }
}

struct Asks {
    verb: Verb,
    help: bool,
    head_only: bool,
    pairs: Vec<(String, String)>,
}

/// What is asked, and the parameters in the query string. Writes have none there.
fn asks(method: &Method, query: Option<&str>) -> Result<Asks, Box<Reply>> {
    let plain = match method.as_str() {
        "GET" => Verb::Get,
        "POST" | "PUT" => Verb::Post,
        "DELETE" => Verb::Delete,
        "LIST" => Verb::List,
        "SCAN" => Verb::Scan,
        "PATCH" => Verb::Patch,
        "HELP" => return Ok(Asks { verb: Verb::Get, help: true, head_only: false, pairs: Vec::new() }),
        "HEAD" => return Ok(Asks { verb: Verb::Get, help: false, head_only: true, pairs: all(query) }),
        "OPTIONS" => return Err(refuse(400, "cannot handle internal-only request operation")),
        _ => return Err(Box::new(reply::bare(405))),
    };
    let Some(query) = query else {
        return Ok(Asks { verb: plain, help: false, head_only: false, pairs: Vec::new() });
    };
    let mut pairs = all(Some(query));
    let help = pairs.iter().any(|(name, _)| name == "help");
    if help {
        return Ok(Asks { verb: Verb::Get, help, head_only: false, pairs: Vec::new() });
    }
    let mut verb = plain;
    if plain == Verb::Get {
        let asked = |word: &str| {
            let found = pairs.iter().find(|(name, _)| name == word);
            found
                .map_or(Some(false), |(_, value)| query::boolean(value))
                .ok_or_else(|| Box::new(reply::bare(400)))
        };
        verb = match (asked("list")?, asked("scan")?) {
            (true, true) => return Err(Box::new(reply::bare(400))),
            (true, false) => Verb::List,
            (false, true) => Verb::Scan,
            (false, false) => Verb::Get,
        };
        pairs.retain(|(name, _)| name != "list" && name != "scan");
    }
    if matches!(verb, Verb::Post | Verb::Patch) {
        pairs = Vec::new();
    }
    Ok(Asks { verb, help, head_only: false, pairs })
}

/// More parameters than this no endpoint has.
const PAIRS_MAX: usize = 256;

fn all(query: Option<&str>) -> Vec<(String, String)> {
    query.map_or_else(Vec::new, |query| query::pairs(query).take(PAIRS_MAX).collect())
}

/// The headers that HTTP itself understands, sorted in one pass.
#[derive(Default)]
struct Known<'a> {
    token: Option<&'a str>,
    /// The token is that of the Authorization header.
    is_bearer: bool,
    namespace: Option<&'a HeaderValue>,
    wrap_ttl: Option<&'a HeaderValue>,
    wrap_format: WrapFormat,
    index: Option<&'a HeaderValue>,
    inconsistent: Option<&'a HeaderValue>,
    origin: Option<&'a HeaderValue>,
    accept: Option<&'a HeaderValue>,
    /// The body is in a coding that is not known here.
    is_coded: bool,
    content_type: Option<&'a HeaderValue>,
    vault_request: bool,
}

impl<'a> Known<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut known = Self::default();
        let mut bearer = None;
        let mut shown = None;
        // Of those that come twice the first counts, as in Go: a proxy in front has looked at that.
        for (name, value) in headers {
            match name.as_str() {
                "x-vault-token" => shown = shown.or(Some(value)),
                "x-vault-namespace" => known.namespace = known.namespace.or(Some(value)),
                "x-vault-wrap-ttl" => known.wrap_ttl = known.wrap_ttl.or(Some(value)),
                "x-vault-index" => known.index = known.index.or(Some(value)),
                "x-vault-inconsistent" => known.inconsistent = known.inconsistent.or(Some(value)),
                "x-vault-request" => known.vault_request = value.as_bytes() == b"true",
                "accept" => known.accept = known.accept.or(Some(value)),
                "transfer-encoding" => {
                    known.is_coded |= !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
                }
                "origin" => known.origin = known.origin.or(Some(value)),
                "content-type" => known.content_type = Some(value),
                "x-vault-wrap-format" if value.as_bytes() == b"jwt" => known.wrap_format = WrapFormat::Jwt,
                "authorization" => {
                    let token = value.as_bytes().strip_prefix(b"Bearer ");
                    bearer = bearer.or(token.and_then(|token| std::str::from_utf8(token.trim_ascii()).ok()));
                }
                _ => {}
            }
        }
        // A token that is no text is a wrong one, not none.
        let shown = shown.map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}"));
        let shown = shown.filter(|token| !token.is_empty());
        known.is_bearer = shown.is_none();
        known.token = shown.or(bearer).filter(|token| !token.is_empty());
        known
    }

    /// Whether it can be read, and comes as this door wants it.
    fn may_come(&self, listener: &Listener) -> Result<(), Box<Reply>> {
        if self.is_coded {
            return Err(closing(refuse(501, "unsupported Transfer-Encoding: only chunked is known")));
        }
        if listener.wants_request_header && !self.vault_request {
            return Err(refuse(412, "missing \"X-Vault-Request\" header"));
        }
        Ok(())
    }

    /// Has metrics answered as Prometheus reads them where its header says so, and the query does not say how.
    fn say_prometheus(&self, path: &Path, pairs: &mut Vec<(String, String)>) {
        let kinds = ["application/openmetrics-text", "prometheus/telemetry"];
        let says = |accept: &HeaderValue| kinds.iter().any(|kind| text(accept).contains(kind));
        if path.as_str() != "sys/metrics" || !self.accept.is_some_and(says) {
            return;
        }
        pairs.retain(|(name, value)| name != "format" || !value.is_empty());
        if !pairs.iter().any(|(name, _)| name == "format") {
            pairs.push(("format".to_owned(), "prometheus".to_owned()));
        }
    }

    /// Headers about replicas, which a single node meets by itself. Malformed ones are refused as elsewhere.
    fn check_consistency(&self) -> Result<(), Box<Reply>> {
        if let Some(index) = self.index
            && !index.is_empty()
            && !is_index(index.as_bytes())
        {
            return Err(refuse(400, "failed to decode \"X-Vault-Index\""));
        }
        match self.inconsistent.map(HeaderValue::as_bytes) {
            None | Some(b"" | b"fail" | b"forward-active-node" | b"await-state") => Ok(()),
            Some(_) => Err(refuse(400, "unknown value for \"X-Vault-Inconsistent\" header")),
        }
    }
}

/// The headers that are for whoever is behind HTTP. They are copied only here: of what a connection of HTTP/2 repeats,
/// hyper keeps one copy for all its requests.
pub(crate) fn passed_on(headers: &HeaderMap) -> Vec<(String, String)> {
    let wanted = |name: &str, value: &HeaderValue| match name {
        "x-vault-token" | "x-vault-namespace" | "x-vault-wrap-ttl" | "x-vault-wrap-format" => false,
        "x-vault-index" | "x-vault-inconsistent" | "x-vault-request" | "origin" => false,
        "host" | "accept" | "accept-encoding" | "connection" | "content-length" | "transfer-encoding" => {
            false
        }
        // A token of ours goes nowhere else, whatever a mount asks for; nor does what was meant as one.
        "authorization" => !is_bearer(value.as_bytes()),
        _ => true,
    };
    let wanted = headers.iter().filter(|(name, value)| wanted(name.as_str(), value));
    wanted.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Whether a header begins as one with a token, however the word is written.
fn is_bearer(value: &[u8]) -> bool {
    value.split_at_checked(b"bearer ".len()).is_some_and(|(word, _)| word.eq_ignore_ascii_case(b"bearer "))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn is_index(header: &[u8]) -> bool {
    let decoded = base64::engine::general_purpose::STANDARD.decode(header);
    decoded
        .is_ok_and(|json| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).is_ok())
}

fn namespace(header: &HeaderValue) -> String {
    kernel::namespace(&text(header))
}

fn wrap_ttl(header: &HeaderValue) -> Result<Option<Duration>, Box<Reply>> {
    let shown = text(header);
    match Span::read(&shown).map(|span| u64::try_from(span.0)) {
        Err(why) => Err(refuse(400, &format!("error parsing X-Vault-Wrap-TTL header: {why}"))),
        Ok(Err(_)) => {
            Err(refuse(400, "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative"))
        }
        Ok(Ok(nanos)) => Ok(Some(Duration::from_nanos(nanos)).filter(|ttl| !ttl.is_zero())),
    }
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";
/// RFC 8555, section 6.2.
const JOSE: &[u8] = b"application/jose+json";
/// RFC 6960, appendix A.1.
const OCSP_REQUEST: &[u8] = b"application/ocsp-request";

fn is(kind: &HeaderValue, wanted: &[u8]) -> bool {
    let kind = kind.as_bytes();
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or(kind);
    essence.trim_ascii().eq_ignore_ascii_case(wanted)
}

fn merge_patch(kind: Option<&HeaderValue>) -> Result<(), Box<Reply>> {
    let Some(kind) = kind.map(text).filter(|kind| !kind.is_empty()) else {
        return Err(refuse(400, "mime: no media type"));
    };
    let (essence, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    if !parameters.trim().is_empty() && !parameters.contains('=') {
        return Err(refuse(400, "mime: invalid media parameter"));
    }
    let essence = essence.trim().to_ascii_lowercase();
    if essence == "application/merge-patch+json" {
        return Ok(());
    }
    let text = format!("PATCH requires Content-Type of application/merge-patch+json, provided {essence}");
    Err(refuse(415, &text))
}

/// For whom a request is made: their address and the certificates that they have shown.
fn client(rule: &Forwarded, headers: &HeaderMap, peer: &Peer) -> Result<Peer, Box<Reply>> {
    let chain = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    let spoken = forwarded::client(rule, peer.address, chain).map_err(|text| refuse(400, &text))?;
    let Some(certificate) = rule.certificate.as_ref().filter(|_| spoken.by_proxy) else {
        return Ok(Peer { address: spoken.address, ..peer.clone() });
    };
    // Those of the connection are the proxy's own: they let nobody else in.
    let values = headers.get_all(&certificate.name).iter().map(HeaderValue::as_bytes);
    let shown = shown::certificates(certificate, values).map_err(|text| refuse(400, &text))?;
    Ok(Peer { address: spoken.address, certificates: shown.into(), ..peer.clone() })
}

/// `Some` if the answer must say that this origin may read it.
fn origin(
    origin: Option<&HeaderValue>,
    cors: impl FnOnce() -> Option<Arc<Cors>>,
    method: &Method,
) -> Result<Option<(HeaderValue, Arc<Cors>)>, Box<Reply>> {
    let Some(origin) = origin else { return Ok(None) };
    let Some(cors) = cors() else { return Ok(None) };
    let allowed = |known: &String| known == "*" || known.as_bytes() == origin.as_bytes();
    if !cors.origins.iter().any(allowed) {
        return Err(refuse(403, "origin not allowed"));
    }
    if method == Method::OPTIONS {
        let mut reply = reply::empty(200);
        super::cors::preflight(&mut reply, origin, &cors);
        return Err(Box::new(reply));
    }
    Ok(Some((origin.clone(), cors)))
}

/// Whether the connection speaks HTTP/2, where reading pauses mean nothing.
pub(crate) fn is_multiplexed(version: Version) -> bool {
    version == Version::HTTP_2
}

#[cfg(test)]
mod tests;
