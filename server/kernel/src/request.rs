use std::borrow::Cow;
use std::time::Duration;

use kit::{Error, Page, Remote, Secret, Verb};
use policy::Path;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::lineage::Lineage;
use crate::quotas::{Allowance, Meter};

/// A request, parsed but not yet believed. HTTP makes it; limits were kept before it came to be.
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// Where, without `/v1/`; for LIST and SCAN with a trailing slash.
    pub path: Path,
    /// The token, if one was shown.
    pub token: Option<Secret<String>>,
    /// The query string, decoded, without what HTTP itself understood (`list`, `scan`, `help`).
    pub query: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// A JSON object, or nothing. A form has become JSON.
    pub body: Vec<u8>,
    /// `X-Vault-Namespace`, without slashes at its ends; empty for the root.
    pub namespace: String,
    /// `X-Vault-Wrap-TTL`.
    pub wrap_ttl: Option<Duration>,
    /// `X-Vault-Wrap-Format`.
    pub wrap_format: WrapFormat,
    /// Where it came from. The kernel gives it an id.
    pub remote: Remote,
    /// Headers, lower-cased, for those that audit or a mount asks for.
    pub headers: Vec<(String, String)>,
    /// `HELP`, or `?help=1`: what this path is for, instead of its answer.
    pub help: bool,
    /// Whether it has been counted against a limit of requests.
    pub meter: Meter,
    /// What made it, if another request did.
    pub lineage: Lineage,
    /// The door that it came by does not answer this path. It is refused with its lines in the audit log.
    pub hidden: bool,
}

/// The namespace that a header names, without slashes at its ends; empty for the root.
pub fn namespace(header: &str) -> String {
    let trimmed = header.trim().trim_matches('/');
    if trimmed == "root" { String::new() } else { trimmed.to_owned() }
}

/// How a wrapping token is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrapFormat {
    /// As any token.
    #[default]
    Plain,
    /// In a signed JWT.
    Jwt,
}

/// An answer, ready for the wire.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub kind: &'static str,
    /// The body; JSON ends in a newline.
    pub body: Vec<u8>,
    /// Headers of its own, their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// What is left of the limit of requests, if clients are told.
    pub allowance: Option<Allowance>,
}

/// The content type of nearly everything; clients compare it to the letter.
pub const JSON: &str = "application/json";
/// That of a log that is watched.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// That of a backup.
pub const ARCHIVE: &str = "application/gzip";

impl Answer {
    /// An error as every client reads it.
    pub fn from_error(error: &Error) -> Self {
        if let Some(page) = error.page() {
            let Page { status, kind, headers, bytes } = page.clone();
            return Self { status, kind, body: bytes, headers, retry_after: None, allowance: None };
        }
        let body = serde_json::json!({ "errors": error.texts() });
        let retry_after = (error.status() == 429).then_some(1);
        Self {
            status: error.status(),
            kind: JSON,
            body: escaped(format!("{body}\n").into_bytes()),
            headers: Vec::new(),
            retry_after,
            allowance: None,
        }
    }

    /// JSON with shares of a key in it, of which no copy is left behind.
    pub(crate) fn with_keys(body: Vec<u8>) -> Self {
        let longer = 5 * memchr::memchr3_iter(b'<', b'>', b'&', &body).count();
        if longer == 0 {
            return Self::json(200, body);
        }
        let body = Zeroizing::new(body);
        let mut out = Vec::with_capacity(body.len() + longer);
        escape(&body, &mut out);
        Self::json(200, out)
    }

    /// JSON with a status.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            kind: JSON,
            body: escaped(body),
            headers: Vec::new(),
            retry_after: None,
            allowance: None,
        }
    }
}

/// Go's encoder writes these three as escapes, and golden files of clients hold them. They stand only in strings.
pub(crate) fn escaped(body: Vec<u8>) -> Vec<u8> {
    if memchr::memchr3(b'<', b'>', b'&', &body).is_none() {
        return body;
    }
    let mut out = Vec::with_capacity(body.len() + 32);
    escape(&body, &mut out);
    out
}

fn escape(body: &[u8], out: &mut Vec<u8>) {
    for &byte in body {
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            _ => out.push(byte),
        }
    }
}
