//! What a browser wants to know before it lets a page of another origin ask, and read.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
};

use super::reply::Reply;
use crate::config::Cors;

/// Headers that every client of the API may send.
const HEADERS: &str = "Content-Type, X-Requested-With, X-Vault-AWS-IAM-Server-ID, X-Vault-MFA, \
    X-Vault-No-Request-Forwarding, X-Vault-Token, X-Vault-Namespace, X-Vault-Wrap-Format, X-Vault-Wrap-TTL, \
    X-Vault-Policy-Override, Authorization";

/// The answer to the question whether one may ask.
pub(crate) fn preflight(reply: &mut Reply, origin: &HeaderValue, cors: &Cors) {
    allow(reply, origin, cors);
    let all = if cors.headers.is_empty() {
        HEADERS.to_owned()
    } else {
        format!("{HEADERS}, {}", cors.headers.join(", "))
    };
    let headers = reply.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("DELETE, GET, OPTIONS, POST, PUT, LIST, SCAN, PATCH"),
    );
    if let Ok(all) = HeaderValue::from_str(&all) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, all);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
}

/// Lets a page of `origin` read an answer.
pub(crate) fn allow(reply: &mut Reply, origin: &HeaderValue, cors: &Cors) {
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
