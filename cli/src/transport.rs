//! One connection to the server: TCP or a Unix socket, through a proxy or not, in clear or over TLS.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use crate::{
    address::{Address, Scheme},
    trouble::Trouble,
    upload::Sent,
};

/// A proxy's answer to CONNECT is a few lines; more is not a proxy.
const PROXY_ANSWER_SIZE_MAX: usize = 16 * 1024;

/// A connection that has broken off says why within this, or not at all.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);

/// What carries requests once a connection stands.
#[derive(Debug)]
pub(crate) struct Sender {
    requests: SendRequest<Sent>,
    /// The connection itself, until it was asked why it has ended.
    connection: Option<JoinHandle<Result<(), hyper::Error>>>,
}

/// A request that was not answered.
pub(crate) struct Lost {
    pub(crate) trouble: Trouble,
    /// The request, where it was not begun.
    pub(crate) unsent: Option<http::Request<Sent>>,
}

impl From<Trouble> for Lost {
    fn from(trouble: Trouble) -> Lost {
        Lost { trouble, unsent: None }
    }
}

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) route: Route,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Where the bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// A proxy that tunnels (for TLS) or forwards (for clear text) to `host`:`port`.
    Proxy {
        proxy_host: String,
        proxy_port: u16,
        host: String,
        port: u16,
    },
}

impl Transport {
    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Sender, Trouble> {
        match &self.route {
            Route::Unix(path) => {
                let name = path.display().to_string();
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|e| dial_trouble(&e, &format!("dial unix {name}")))?;
                self.secure(stream).await
            }
            Route::Tcp { host, port } => self.secure(dial(host, *port).await?).await,
            Route::Proxy { proxy_host, proxy_port, host, port } => {
                let reached = dial(proxy_host, *proxy_port).await;
                let mut stream = reached
                    .map_err(|trouble| Trouble::Proxy(format!("proxyconnect tcp: {}", trouble.text())))?;
                if self.tls.is_some() {
                    tunnel(&mut stream, host, *port).await?;
                }
                self.secure(stream).await
            }
        }
    }

    /// Whether requests must name the whole URL, as a forwarding proxy needs it.
    pub(crate) fn absolute_form(&self) -> bool {
        self.tls.is_none() && matches!(self.route, Route::Proxy { .. })
    }

    /// The same way of speaking towards another address, for redirects.
    pub(crate) fn towards(&self, address: &Address) -> Result<Transport, String> {
        let tls = match (address.scheme, &self.tls) {
            (Scheme::Http, _) => None,
            (Scheme::Https, Some((config, _))) => Some((Arc::clone(config), address.server_name()?)),
            (Scheme::Https, None) => {
                return Err(format!("The server redirects to {}: use that as the address.", address.base));
            }
        };
        Ok(Transport { route: address.direct(), tls })
    }

    async fn secure<S>(&self, stream: S) -> Result<Sender, Trouble>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Patient { stream, written: Ok(()) };
        match &self.tls {
            None => speak(stream).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream =
                    connector.connect(name.clone(), stream).await.map_err(|e| Trouble::of_tls(&e))?;
                speak(stream).await
            }
        }
    }
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Waits until the next request can be sent.
    pub(crate) async fn ready(&mut self) -> Result<(), Trouble> {
        match self.requests.ready().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.trouble(&error).await),
        }
    }

    /// Sends, and gives back a request that was not begun.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<Sent>,
    ) -> Result<http::Response<Incoming>, Lost> {
        match self.requests.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => {
                let unsent = failed.take_message();
                Err(Lost { trouble: self.trouble(failed.error()).await, unsent })
            }
        }
    }

    /// Why a request failed. One that came after the end of its connection is only "canceled"; the connection knows why.
    pub(crate) async fn trouble(&mut self, error: &hyper::Error) -> Trouble {
        let Some(connection) = self.connection.take().filter(|_| error.is_canceled()) else {
            return Trouble::of_connection(error);
        };
        match tokio::time::timeout(LAST_WORDS_TIME_MAX, connection).await {
            Ok(Ok(Err(ended))) => Trouble::of_connection(&ended),
            _ => Trouble::of_connection(error),
        }
    }
}

async fn speak<S>(stream: S) -> Result<Sender, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| Trouble::Broken(e.to_string()))?;
    Ok(Sender { requests, connection: Some(tokio::spawn(connection)) })
}

/// A stream whose other side may have said why it no longer listens: a write that fails is no end yet, what is left to
/// read comes first. Without this an alert of TLS, or an early answer, is lost to a "broken pipe". Nothing more is taken to be
/// written then: whoever waits to write waits for what is read, which ends it. So a file that is refused is not read to its end.
struct Patient<S> {
    stream: S,
    written: io::Result<()>,
}

impl<S: Unpin> Patient<S> {
    /// `instead` is what a stream that no longer takes anything answers.
    fn poll_out<T>(
        &mut self,
        cx: &mut Context<'_>,
        instead: impl Fn() -> Poll<io::Result<T>>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.written.is_err() {
            return instead();
        }
        match poll(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Err(error)) => {
                self.written = Err(error);
                instead()
            }
            other => other,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        let ended = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before;
        if ended && into.remaining() > 0 {
            std::mem::replace(&mut self.written, Ok(()))?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_out(cx, || Poll::Pending, |stream, cx| stream.poll_write(cx, from))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(cx, || Poll::Pending, |stream, cx| stream.poll_write_vectored(cx, from))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, || Poll::Ready(Ok(())), AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, || Poll::Ready(Ok(())), AsyncWrite::poll_shutdown)
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let found: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|_| Trouble::NotFound(format!("dial tcp: lookup {host}: no such host")))?
        .collect();
    let mut last = Trouble::NotFound(format!("dial tcp: lookup {host}: no such host"));
    for address in found {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests must not wait for a full packet; failing to say so is only slower.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) => last = dial_trouble(&e, &format!("dial tcp {address}")),
        }
    }
    Err(last)
}

fn dial_trouble(error: &io::Error, what: &str) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused(format!("{what}: connect: connection refused")),
        io::ErrorKind::NotFound => Trouble::Refused(format!("{what}: connect: no such file or directory")),
        _ => Trouble::Unreachable(format!("{what}: connect: {error}")),
    }
}

async fn tunnel(stream: &mut TcpStream, host: &str, port: u16) -> Result<(), Trouble> {
    let failed = |e: io::Error| Trouble::Proxy(format!("the proxy broke the connection: {e}"));
    let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY_ANSWER_SIZE_MAX {
            return Err(Trouble::Proxy("the proxy's answer to CONNECT has no end".to_owned()));
        }
        // Byte by byte: what follows the blank line belongs to TLS.
        answer.push(stream.read_u8().await.map_err(failed)?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Trouble::Proxy(format!("the proxy refused to connect to {host}:{port}: {status}"))),
    }
}
