//! Forms and addresses, as OAuth writes and compares them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands for itself in a form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as forms have it.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string().replace("%20", "+")
}

/// Fields as one form.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    fields.join("&")
}

/// An address without its parameter `namespace`, and that namespace.
pub(super) fn without_namespace(uri: &str) -> (String, String) {
    let Some((base, query)) = uri.split_once('?') else { return (uri.to_owned(), String::new()) };
    let mut namespace = String::new();
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("namespace=") {
            Some(value) => {
                namespace = percent_decode_str(value).decode_utf8_lossy().into_owned();
                false
            }
            None => true,
        })
        .collect();
    if namespace.is_empty() {
        return (uri.to_owned(), namespace);
    }
    let query = kept.join("&");
    (if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }, namespace)
}

/// Whether a browser may return to this address. On this machine the port does not count (RFC 8252 §7.3): a client
/// that waits there takes the port it gets.
pub(super) fn is_allowed(uri: &str, allowed: &[String]) -> bool {
    match loopback(uri) {
        Some(own) => allowed.iter().any(|other| loopback(other) == Some(own)),
        None => allowed.iter().any(|other| other == uri),
    }
}

/// An address on this machine in pieces, its port left out: scheme, host, and what follows.
fn loopback(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host).then_some((scheme, host, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, allowed: &str, expect: bool) {
        assert_eq!(is_allowed(uri, &[allowed.to_owned()]), expect, "{uri} for {allowed}");
    }

    #[test]
    fn addresses_are_exact_but_for_a_local_port() {
        check("https://a.example/cb", "https://a.example/cb", true);
        check("https://a.example/cb?x=1", "https://a.example/cb", false);
        check("https://a.example:444/cb", "https://a.example/cb", false);
        check("http://localhost:9/cb", "http://localhost:8250/cb", true);
        check("http://localhost/cb", "http://localhost:8250/cb", true);
        check("http://localhost:9/other", "http://localhost:8250/cb", false);
        check("https://localhost:9/cb", "http://localhost:8250/cb", false);
        check("http://127.0.0.1:9/cb", "http://localhost:8250/cb", false);
        check("http://[::1]:9/cb", "http://[::1]/cb", true);
        check("http://localhost:9@evil.example/cb", "http://localhost:8250/cb", false);
        check("http://localhost.evil.example:9/cb", "http://localhost:8250/cb", false);
        check("http://localhost\\@evil.example/cb", "http://localhost/cb", false);
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form(&[("a", "x y&z"), ("b", "-_.~é")]), "a=x+y%26z&b=-_.~%C3%A9");
        assert_eq!(
            without_namespace("https://a/cb?namespace=n%2Fs&x=1"),
            ("https://a/cb?x=1".into(), "n/s".into())
        );
        assert_eq!(without_namespace("https://a/cb?x=1"), ("https://a/cb?x=1".into(), String::new()));
    }
}
