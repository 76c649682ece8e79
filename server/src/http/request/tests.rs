use super::*;

/// A request as a line: verb, target, headers.
fn read_line(line: &str, headers: &[(&'static str, &str)]) -> Result<Asked, Box<Reply>> {
    let (method, target) = line.split_once(' ').unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let uri: http::Uri = target.parse().unwrap();
    let raw = uri.path().strip_prefix(API).unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    read(raw, uri.query(), &method, &map, &Peer::default(), &Listener::default(), || None)
}

/// What it becomes: `verb path ?query`, or the status with what is said.
fn told(line: &str, headers: &[(&'static str, &str)]) -> String {
    match read_line(line, headers) {
        Ok(asked) => {
            let request = asked.request;
            let query: Vec<String> =
                request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let help = if request.help { " help" } else { "" };
            let head = if asked.head_only { " head" } else { "" };
            format!("{:?} {} {:?} [{}]{help}{head}", request.verb, request.path, asked.body, query.join(" "))
        }
        Err(reply) => {
            let location =
                reply.headers().get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
            format!("{} {location}{}", reply.status().as_u16(), body(*reply))
        }
    }
}

fn body(reply: Reply) -> String {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let frame = std::pin::pin!(reply.into_body()).as_mut().poll_frame(&mut context);
    let std::task::Poll::Ready(Some(Ok(frame))) = frame else { return String::new() };
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    if text.starts_with('<') { String::new() } else { text.trim_end().to_owned() }
}

use hyper::body::Body as _;

#[track_caller]
fn check(line: &str, expect: &str) {
    assert_eq!(told(line, &[]), expect, "{line}");
}

#[track_caller]
fn check_with(line: &str, headers: &[(&'static str, &str)], expect: &str) {
    assert_eq!(told(line, headers), expect, "{line} {headers:?}");
}

#[test]
fn verbs_are_mapped() {
    check("GET /v1/secret/a", "Get secret/a Ignored []");
    check("PUT /v1/secret/a", "Post secret/a Json []");
    check("POST /v1/secret/a", "Post secret/a Json []");
    check("DELETE /v1/secret/a/", "Delete secret/a/ Ignored []");
    check("LIST /v1/secret", "List secret/ Ignored []");
    check("LIST /v1/secret/", "List secret/ Ignored []");
    check("SCAN /v1/secret", "Scan secret/ Ignored []");
    check("HELP /v1/secret/a", "Get secret/a Ignored [] help");
    check("HEAD /v1/sys/health", "Get sys/health Ignored [] head");
    check("BREW /v1/secret/a", "405 {\"errors\":[]}");
    check("TRACE /v1/secret/a", "405 {\"errors\":[]}");
    check("OPTIONS /v1/secret/a", "400 {\"errors\":[\"cannot handle internal-only request operation\"]}");
}

#[test]
fn prometheus_says_in_a_header_how_it_reads_metrics() {
    let scrape = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let asks = |query: &str, accept: &str, expect: &str| {
        let line = format!("GET /v1/sys/metrics{query}");
        check_with(&line, &[("accept", accept)], &format!("Get sys/metrics Ignored [{expect}]"));
    };
    asks("", scrape, "format=prometheus");
    asks("", "prometheus/telemetry", "format=prometheus");
    asks("?format=", scrape, "format=prometheus");
    asks("?format=json", scrape, "format=json");
    asks("", "text/plain", "");
    asks("", "*/*", "");
    check_with("GET /v1/secret/a", &[("accept", scrape)], "Get secret/a Ignored []");
}

#[test]
fn a_body_in_a_coding_that_is_not_known_is_refused() {
    let check = |codings: &[&str], expect: &str| {
        let headers: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
        assert!(told("POST /v1/secret/a", &headers).starts_with(expect), "{codings:?}");
    };
    check(&["chunked"], "Post secret/a");
    check(&["Chunked "], "Post secret/a");
    check(&["gzip, chunked"], "501 {\"errors\":[\"unsupported Transfer-Encoding");
    check(&["gzip", "chunked"], "501 ");
    let refused = read_line("POST /v1/secret/a", &[("transfer-encoding", "gzip, chunked")]);
    assert_eq!(refused.err().unwrap().headers()["connection"], "close");
}

#[test]
fn list_scan_and_help_may_stand_in_the_query() {
    check("GET /v1/secret?list=true", "List secret/ Ignored []");
    check("GET /v1/secret/?list=1&after=a", "List secret/ Ignored [after=a]");
    check("GET /v1/secret?scan=t", "Scan secret/ Ignored []");
    check("GET /v1/secret?list=false", "Get secret Ignored []");
    check("GET /v1/secret?list=", "Get secret Ignored []");
    check("GET /v1/secret?list=foo", "400 {\"errors\":[]}");
    check("GET /v1/secret?list=true&scan=true", "400 {\"errors\":[]}");
    check("GET /v1/secret?list=t&list=f", "List secret/ Ignored []");
    check("LIST /v1/secret?list=true", "List secret/ Ignored [list=true]");
    check("POST /v1/secret/a?list=true&x=1", "Post secret/a Json []");
    check("DELETE /v1/secret/a?list=true&versions=1", "Delete secret/a Ignored [list=true versions=1]");
    check("GET /v1/secret/a?help=x&y=1", "Get secret/a Ignored [] help");
    check("POST /v1/secret/a/?help", "Get secret/a/ Ignored [] help");
}

#[test]
fn paths_have_one_spelling() {
    check("GET /v1/secret//x", "307 /v1/secret/x");
    check("GET /v1/secret/../x?a=b%20c", "307 /v1/x?a=b%20c");
    check("GET /v1//sys/mounts", "307 /v1/sys/mounts");
    check("GET /v1/a%20b//c%3F", "307 /v1/a%20b/c%3F");
    check("GET /v1/secret/%2e%2e/x", "400 {\"errors\":[\"relative paths not supported\"]}");
    check("GET /v1/../sys/mounts", "400 {\"errors\":[\"relative paths not supported\"]}");
    check("GET /v1/secret/%0ax", "400 ");
    check("GET /v1/secret/%zz", "400 {\"errors\":[\"path is not correctly encoded\"]}");
    check("PUT /v1/secret/x/", "400 {\"errors\":[\"cannot write to a path ending in '/'\"]}");
    check("GET /v1/", "Get  Ignored []");
    check("LIST /v1/", "List  Ignored []");
}

#[test]
fn patch_wants_a_merge_patch() {
    let patch = "PATCH /v1/secret/a";
    check(patch, "400 {\"errors\":[\"mime: no media type\"]}");
    let refused = |kind: &str| {
        format!(
            "415 {{\"errors\":[\"PATCH requires Content-Type of application/merge-patch+json, provided {kind}\"]}}"
        )
    };
    check_with(patch, &[("content-type", "application/json")], &refused("application/json"));
    check_with(
        patch,
        &[("content-type", "application/json;x")],
        "400 {\"errors\":[\"mime: invalid media parameter\"]}",
    );
    let taken = "Patch secret/a Json []";
    check_with(patch, &[("content-type", "application/merge-patch+json")], taken);
    check_with(patch, &[("content-type", "Application/Merge-Patch+JSON; charset=utf-8")], taken);
}

#[test]
fn forms_are_told_from_json() {
    let form = "application/x-www-form-urlencoded";
    check_with("POST /v1/a/b", &[("content-type", form)], "Post a/b Form []");
    check_with(
        "POST /v1/a/b",
        &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        "Post a/b Form []",
    );
    check_with("POST /v1/a/b", &[("content-type", "text/plain")], "Post a/b Json []");
}

#[test]
fn tokens_come_in_two_headers() {
    let token = |headers: &[(&'static str, &str)]| {
        let asked = read_line("GET /v1/a", headers).unwrap_or_else(|reply| panic!("{}", reply.status()));
        asked.request.token.map(|token| token.expose().clone())
    };
    assert_eq!(token(&[]), None);
    assert_eq!(token(&[("x-vault-token", "")]), None);
    assert_eq!(token(&[("x-vault-token", "a")]).as_deref(), Some("a"));
    assert_eq!(token(&[("authorization", "Bearer b")]).as_deref(), Some("b"));
    assert_eq!(token(&[("authorization", "Bearer b"), ("x-vault-token", "a")]).as_deref(), Some("a"));
    assert_eq!(token(&[("authorization", "Bearer b"), ("x-vault-token", "")]).as_deref(), Some("b"));
    assert_eq!(token(&[("authorization", "bearer b")]), None);
    assert_eq!(token(&[("authorization", "Basic b")]), None);
}

/// A token in either header must not reach a mount that asks for that header.
#[test]
fn tokens_are_not_passed_on() {
    let headers =
        [("authorization", "Bearer secret-one"), ("x-vault-token", "secret-two"), ("x-other", "seen")];
    let asked = read_line("GET /v1/a", &headers).unwrap_or_else(|reply| panic!("{}", reply.status()));
    assert_eq!(asked.request.headers, [("x-other".to_owned(), "seen".to_owned())]);
    let asked = read_line("GET /v1/a", &[("authorization", "Negotiate x")]).unwrap_or_else(|_| panic!());
    assert_eq!(asked.request.headers.len(), 1);
}

#[test]
fn namespaces_and_wrapping_are_read() {
    let namespace = |value: &str| {
        let asked = read_line("GET /v1/a", &[("x-vault-namespace", value)]);
        asked.unwrap_or_else(|_| panic!()).request.namespace
    };
    assert_eq!(namespace("/a/b/"), "a/b");
    assert_eq!(namespace("root"), "");
    assert_eq!(namespace("/"), "");
    let wrap = |value: &str| {
        read_line("GET /v1/a", &[("x-vault-wrap-ttl", value)]).map(|asked| asked.request.wrap_ttl)
    };
    for (text, seconds) in [("60", 60), ("60s", 60), ("5m", 300), ("1h30m", 5400), ("1d", 86400)] {
        assert_eq!(wrap(text).unwrap_or_else(|_| panic!()), Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "0", "0s"] {
        assert_eq!(wrap(text).unwrap_or_else(|_| panic!()), None, "{text}");
    }
    let negative =
        "400 {\"errors\":[\"error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative\"]}";
    check_with("GET /v1/a", &[("x-vault-wrap-ttl", "-5s")], negative);
    let invalid =
        "400 {\"errors\":[\"error parsing X-Vault-Wrap-TTL header: time: invalid duration \\\"abc\\\"\"]}";
    check_with("GET /v1/a", &[("x-vault-wrap-ttl", "abc")], invalid);
}

#[test]
fn headers_about_replicas_must_be_right() {
    let index = "400 {\"errors\":[\"failed to decode \\\"X-Vault-Index\\\"\"]}";
    check_with("GET /v1/a", &[("x-vault-index", "zz")], index);
    check_with("GET /v1/a", &[("x-vault-index", "eyJjbHVzdGVyIjoieCJ9")], "Get a Ignored []");
    let mode = "400 {\"errors\":[\"unknown value for \\\"X-Vault-Inconsistent\\\" header\"]}";
    check_with("GET /v1/a", &[("x-vault-inconsistent", "foo")], mode);
    check_with("GET /v1/a", &[("x-vault-inconsistent", "fail")], "Get a Ignored []");
}
