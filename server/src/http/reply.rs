//! Answers as they go out.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Either;
use kernel::Answer;

use super::sending::Whole;
use crate::backup::Archive;
use crate::config::{HeaderRule, StatusRule};
use crate::log::Feed;

/// An answer that hyper sends.
pub(crate) type Reply = Response<Page>;

/// What is sent: all that there is, or lines as they come, or a backup.
pub(crate) type Page = Either<Whole, Either<Feed, Archive>>;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const JSON: HeaderValue = HeaderValue::from_static(kernel::JSON);
/// A page of ours runs nothing, loads nothing, and stands in no other page, where somebody might be led to click on it.
const PAGE: HeaderValue =
    HeaderValue::from_static("default-src 'none'; form-action 'self'; frame-ancestors 'none'");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the kernel, or a phase, has to say.
pub(crate) fn answer(answer: Answer) -> Reply {
    let kind = if answer.kind == kernel::JSON { JSON } else { HeaderValue::from_static(answer.kind) };
    let mut reply = with(answer.status, kind, answer.body.into());
    if let Some(seconds) = answer.retry_after {
        reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    for (name, value) in &answer.headers {
        let Ok(value) = HeaderValue::from_str(value) else { continue };
        let name = HeaderName::from_static(name);
        // What may be kept says so itself, in the place of what holds for all others.
        if name == CACHE_CONTROL {
            reply.headers_mut().insert(name, value);
        } else {
            reply.headers_mut().append(name, value);
        }
    }
    if answer.kind.starts_with("text/html") {
        let headers = reply.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, PAGE);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    if let Some(allowance) = answer.allowance {
        let told = [
            ("x-ratelimit-limit", allowance.limit),
            ("x-ratelimit-remaining", allowance.remaining),
            ("x-ratelimit-reset", allowance.reset_seconds),
        ];
        for (name, number) in told {
            reply.headers_mut().insert(HeaderName::from_static(name), number.into());
        }
    }
    reply
}

/// A refusal before the kernel has seen anything.
pub(crate) fn error(status: u16, text: &str) -> Reply {
    answer(error_answer(status, text))
}

/// The same, not yet on its way.
pub(crate) fn error_answer(status: u16, text: &str) -> Answer {
    let body = serde_json::json!({ "errors": [text] });
    Answer::json(status, format!("{body}\n").into_bytes())
}

/// A refusal in Go's list of one error, which some clients look for.
pub(crate) fn wrapped(status: u16, text: &str) -> Reply {
    error(status, &format!("1 error occurred:\n\t* {text}\n\n"))
}

/// A refusal without words.
pub(crate) fn bare(status: u16) -> Reply {
    with(status, JSON, Bytes::from_static(b"{\"errors\":[]}\n"))
}

/// A status and nothing else.
pub(crate) fn empty(status: u16) -> Reply {
    with(status, JSON, Bytes::new())
}

/// Plain text, as for pages that are not there.
pub(crate) fn text(status: u16, text: &'static str) -> Reply {
    let mut reply = with(status, TEXT, Bytes::from_static(text.as_bytes()));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// Sends the client to the same server's `path`, which is percent-encoded already.
pub(crate) fn redirect(path: &str) -> Reply {
    let Ok(location) = HeaderValue::from_str(path) else { return bare(400) };
    let shown = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let page = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
    let mut reply = with(307, HeaderValue::from_static("text/html; charset=utf-8"), page.into());
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// Adds what the operator wants added.
pub(crate) fn decorate(reply: &mut Reply, rules: &[HeaderRule]) {
    let status = reply.status().as_u16();
    for rule in rules {
        let fits = match rule.status {
            StatusRule::Any => true,
            StatusRule::Class(class) => status / 100 == class,
            StatusRule::One(one) => status == one,
        };
        let name = HeaderName::try_from(rule.name.as_str());
        if let (true, Ok(name), Ok(value)) = (fits, name, HeaderValue::from_str(&rule.value)) {
            reply.headers_mut().insert(name, value);
        }
    }
}

fn with(status: u16, kind: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Page::Left(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CACHE_CONTROL, NO_STORE);
    if !kind.is_empty() {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(STRICT_TRANSPORT_SECURITY, ONE_YEAR);
    *reply.headers_mut() = headers;
    reply
}
