//! A door on this machine at which a browser returns from a provider.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::wrong;
use crate::stop::Stop;

/// Where the provider sends the browser.
const PATH: &str = "/oidc/callback";
/// What a provider may bring along.
const BODY_SIZE_MAX: usize = 256 * 1024;
const HEAD_SIZE_MAX: usize = 64 * 1024;
/// How long a browser may take to say what it wants.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long the last page may take to reach the browser.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many visitors may wait at once; it takes one.
const VISITS_MAX: usize = 16;
/// What a browser brings back.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Returned {
    pub(super) state: String,
    pub(super) code: String,
    pub(super) error: String,
    pub(super) error_description: String,
}

/// What a browser is shown.
pub(super) enum Page {
    /// It is done.
    Done,
    /// It did not work, and why.
    Refused(String),
    /// This belongs to another login.
    Stranger,
}

/// A browser that has come and waits for its page.
pub(super) struct Visit {
    pub(super) returned: Returned,
    page: oneshot::Sender<Page>,
    gone: watch::Receiver<()>,
}

/// Those who come.
pub(super) struct Visits(mpsc::Receiver<Visit>);

impl Visits {
    /// Opens the door. `localhost` is 127.0.0.1: a browser that tries `[::1]` first goes on to that.
    pub(super) async fn wait_at(host: &str, port: &str) -> Result<Self, Stop> {
        let port: u16 = port.parse().map_err(|_| wrong(format!("port={port} is no port")))?;
        let name = if host == "localhost" { "127.0.0.1" } else { host };
        let listener = TcpListener::bind((name, port)).await.map_err(|error| {
            wrong(format!(
                "listening on {host}:{port} for the browser: {error}. Take another port= that the role allows"
            ))
        })?;
        let (visits, come) = mpsc::channel(VISITS_MAX);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, visits.clone()));
            }
        });
        Ok(Self(come))
    }

    pub(super) async fn next(&mut self) -> Result<Visit, Stop> {
        self.0.recv().await.ok_or_else(|| wrong("nobody can come any more: the local port is closed"))
    }
}

impl Visit {
    /// Shows a page, and waits until it is there, or until that takes too long.
    pub(super) async fn answer(self, page: Page) {
        let Self { page: waiting, mut gone, .. } = self;
        if waiting.send(page).is_ok() {
            let _ = tokio::time::timeout(FAREWELL, async { while gone.changed().await.is_ok() {} }).await;
        }
    }
}

async fn serve(stream: TcpStream, visits: mpsc::Sender<Visit>) {
    let (alive, gone) = watch::channel(());
    let service = service_fn(|request| {
        let (visits, gone) = (visits.clone(), gone.clone());
        async move { Ok::<_, Infallible>(answer(request, visits, gone).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_SIZE_MAX);
    // A browser that breaks off comes again or does not.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    drop(alive);
}

async fn answer(
    request: Request<Incoming>,
    visits: mpsc::Sender<Visit>,
    gone: watch::Receiver<()>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if head.uri.path() != PATH {
        return page(404, "Nothing is here.");
    }
    let returned = match head.method {
        Method::GET => Returned::read(head.uri.query().unwrap_or_default()),
        Method::POST => {
            let body = Limited::new(body, BODY_SIZE_MAX).collect();
            let Ok(Ok(body)) = tokio::time::timeout(HEAD_TIME, body).await else {
                return page(400, "What the browser brings is too long.");
            };
            let form = body.to_bytes();
            Returned::read(&String::from_utf8_lossy(&form))
        }
        _ => return page(405, "A browser returns with GET or POST."),
    };
    let (waiting, shown) = oneshot::channel();
    // Nobody listens any more: the login is over.
    if visits.send(Visit { returned, page: waiting, gone }).await.is_err() {
        return page(400, "This login is over.");
    }
    match shown.await {
        Ok(Page::Done) => {
            page(200, "You are logged in. You may close this page and go back to the command line.")
        }
        Ok(Page::Refused(why)) => page(400, &format!("The login did not work: {why}")),
        Ok(Page::Stranger) => page(400, "This is not the login that the command line waits for."),
        Err(_) => page(400, "This login is over."),
    }
}

fn page(status: u16, text: &str) -> Response<Full<Bytes>> {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Login</title><body style=\"font-family:sans-serif;margin:4em\"><p>{text}</p>"
    );
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        );
    response.body(Full::new(Bytes::from(html))).unwrap_or_default()
}

/// The `state` in the address to which a browser is sent.
pub(super) fn state_of(url: &str) -> Option<String> {
    let query = url.split_once('?')?.1.split('#').next()?;
    Some(Returned::read(query).state).filter(|state| !state.is_empty())
}

impl Returned {
    /// Reads a query or a form.
    fn read(text: &str) -> Self {
        let mut returned = Self::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "state" => &mut returned.state,
                "code" => &mut returned.code,
                "error" => &mut returned.error,
                "error_description" => &mut returned.error_description,
                _ => continue,
            };
            *field = decoded(value);
        }
        returned
    }
}

fn decoded(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let escaped = after.split_first_chunk::<2>().filter(|_| *byte == b'%');
        match escaped.and_then(|([high, low], tail)| Some((digit(*high)? << 4 | digit(*low)?, tail))) {
            Some((value, tail)) => {
                plain.push(value);
                rest = tail;
            }
            None => plain.push(if *byte == b'+' { b' ' } else { *byte }),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_brings_reads() {
        let returned = Returned::read("code=a%2Fb+c&state=st_1&other=x&state2=no&error");
        let expect = Returned { code: "a/b c".into(), state: "st_1".into(), ..Returned::default() };
        assert_eq!(returned, expect);
        assert_eq!(decoded("%4"), "%4");
        assert_eq!(decoded("100%zz"), "100%zz");
    }

    #[test]
    fn the_state_is_in_the_address() {
        assert_eq!(state_of("https://a.example/auth?x=1&state=st_%31#state=no").as_deref(), Some("st_1"));
        assert_eq!(state_of("https://a.example/auth?x=1"), None);
        assert_eq!(state_of("https://a.example/"), None);
    }
}
