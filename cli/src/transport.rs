//! One connection to the server: TCP or a Unix socket, through a proxy or not, in clear or over TLS.

use std::{io, path::PathBuf, sync::Arc};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use crate::{
    address::{Address, Scheme},
    upload::Sent,
};

/// A proxy's answer to CONNECT is a few lines; more is not a proxy.
const PROXY_ANSWER_SIZE_MAX: usize = 16 * 1024;

/// What carries requests once a connection stands.
pub(crate) type Sender = SendRequest<Sent>;

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

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Trouble {
    NotFound(String),
    Refused(String),
    Unreachable(String),
    Untrusted(String),
    /// The certificate is for another name.
    Misnamed,
    NotTls,
    WantsCertificate,
    /// What answers speaks no HTTP: TLS, for one.
    NotHttp,
    Tls(String),
    Proxy(String),
    TimedOut,
    Broken(String),
}

impl Trouble {
    /// What happened, in the words that users of the Go client search for.
    pub(crate) fn text(&self) -> String {
        match self {
            Trouble::NotFound(text)
            | Trouble::Refused(text)
            | Trouble::Unreachable(text)
            | Trouble::Tls(text)
            | Trouble::Proxy(text)
            | Trouble::Broken(text) => text.clone(),
            Trouble::Untrusted(text) => format!("tls: failed to verify certificate: {text}"),
            Trouble::Misnamed => {
                "tls: failed to verify certificate: x509: certificate is not valid for any names like the one in the address"
                    .to_owned()
            }
            Trouble::WantsCertificate => "remote error: tls: certificate required".to_owned(),
            Trouble::NotTls => "http: server gave HTTP response to HTTPS client".to_owned(),
            Trouble::NotHttp => "malformed HTTP response".to_owned(),
            Trouble::TimedOut => "context deadline exceeded".to_owned(),
        }
    }

    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Trouble::NotFound(_) => "No such host: is the address right? Set it with -address or KEEP_ADDR.",
            Trouble::Refused(_) => {
                "Nothing listens there: start the server, or set the address with -address or KEEP_ADDR."
            }
            Trouble::Unreachable(_) => "The address cannot be reached from here: check network and -address.",
            Trouble::Misnamed => {
                "The certificate is for another name: use that name in -address, or give -tls-server-name."
            }
            Trouble::Untrusted(_) => "Trust the server's CA with -ca-cert=FILE or KEEP_CACERT.",
            Trouble::WantsCertificate => {
                "The server lets in only who shows a certificate: give -client-cert and -client-key."
            }
            Trouble::NotTls => "The server speaks plain HTTP: write the address with http://.",
            Trouble::NotHttp => "What answers there does not speak HTTP in clear: does it want https://?",
            Trouble::Proxy(_) => "Check HTTPS_PROXY, or name the host in NO_PROXY.",
            Trouble::TimedOut => {
                "The server did not answer in time; KEEP_CLIENT_TIMEOUT sets how long to wait."
            }
            Trouble::Tls(_) | Trouble::Broken(_) => return None,
        })
    }
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
                let mut stream = dial(proxy_host, *proxy_port).await?;
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
        match &self.tls {
            None => speak(stream).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await.map_err(|e| tls_trouble(&e))?;
                speak(stream).await
            }
        }
    }
}

async fn speak<S>(stream: S) -> Result<Sender, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| Trouble::Broken(e.to_string()))?;
    // An error of the connection also reaches the request that waits on it; there is no second reader.
    tokio::spawn(connection);
    Ok(sender)
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

/// What TLS has said after the handshake, if that is why a request broke off: in its version 1.3 a server looks at the
/// client's certificate only then.
pub(crate) fn said_by_tls(error: &hyper::Error) -> Option<Trouble> {
    // A request that was not begun is "canceled", and what ended the connection is the cause of that.
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let by_tls = |cause: &&io::Error| cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).find(by_tls).map(tls_trouble)
}

fn tls_trouble(error: &io::Error) -> Trouble {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Trouble::Tls(format!("tls: {error}"));
    };
    match cause {
        rustls::Error::InvalidMessage(_) => Trouble::NotTls,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Trouble::Misnamed,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => Trouble::WantsCertificate,
        rustls::Error::InvalidCertificate(why) => Trouble::Untrusted(untrusted(why)),
        other => Trouble::Tls(format!("tls: {other}")),
    }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "x509: certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        other => format!("x509: {other}"),
    }
}
