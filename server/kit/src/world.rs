use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::Duration;

use crate::error::{Error, Fault, Result};
use crate::secret::Secret;
use crate::time::Time;

/// A value that is there later. An operation that asks or acts outside waits for these, and nothing else waits.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What lies outside: the only way of an engine to it. The server has the real one, a simulation another that
/// lies, is slow, or is gone. Everything here is bounded in time and bytes by whoever implements it.
pub trait World: Send + Sync {
    /// The time outside, which goes on while an operation waits.
    fn now(&self) -> Time;

    /// Waits so long.
    fn pause<'a>(&'a self, span: Duration) -> Soon<'a, ()>;

    /// Fetches over HTTP or HTTPS. A status other than 2xx is no error.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if no answer came, with a text that says why.
    fn fetch<'a>(&'a self, call: Call) -> Soon<'a, Result<Told>>;

    /// Connects over TCP. The stream is non-blocking, as async runtimes want to adopt it.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if nobody answers, with a text that says why.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, Result<TcpStream>>;

    /// The addresses of a host, as the name server at `by` knows it (`address:port`); empty: as this machine does.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if there are none, with a text that says why.
    fn addresses<'a>(&'a self, host: &'a str, by: &'a str) -> Soon<'a, Result<Vec<IpAddr>>> {
        let _ = by;
        Box::pin(std::future::ready(Err(unnamed(host))))
    }

    /// The TXT records of a name, as the name server at `by` knows them (`address:port`); empty: as this machine does.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if there are none, with a text that says why.
    fn texts<'a>(&'a self, name: &'a str, by: &'a str) -> Soon<'a, Result<Vec<String>>> {
        let _ = by;
        Box::pin(std::future::ready(Err(unnamed(name))))
    }

    /// The CAA records of a name, as the name server at `by` knows them (`address:port`); empty: as this machine does. Where
    /// there are none, nothing is an answer.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if no answer came, with a text that says why.
    fn caa<'a>(&'a self, name: &'a str, by: &'a str) -> Soon<'a, Result<Vec<Caa>>> {
        let _ = by;
        Box::pin(std::future::ready(Err(unnamed(name))))
    }

    /// Shakes hands over TLS with whoever is at that address, as if it were `name`, to speak `protocol` and nothing else
    /// (ALPN). Gives the certificate that was shown, in DER, whoever has signed it.
    ///
    /// # Errors
    /// [`Fault::Upstream`](crate::Fault::Upstream) if there was no handshake, with a text that says why.
    fn certificate<'a>(
        &'a self,
        at: SocketAddr,
        name: &'a str,
        protocol: &'static str,
    ) -> Soon<'a, Result<Vec<u8>>> {
        let _ = (name, protocol);
        Box::pin(std::future::ready(Err(unshaken(at))))
    }

    /// What Kubernetes puts into the pod that this server runs in. Nothing, if it runs in none.
    fn pod(&self, file: PodFile) -> Soon<'_, Option<Secret<String>>> {
        let _ = file;
        Box::pin(std::future::ready(None))
    }
}

fn unshaken(at: SocketAddr) -> Error {
    Error::new(Fault::Upstream, format!("no TLS with {at}: nobody is there"))
}

fn unnamed(name: &str) -> Error {
    Error::new(Fault::Upstream, format!("no answer about {name}: there is no name server"))
}

/// Who may certify a name, as its owner says in the name system (RFC 8659).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caa {
    /// Who does not understand it must not certify.
    pub critical: bool,
    /// What it speaks of: `issue`, `issuewild`, `iodef` …
    pub tag: String,
    /// What it says.
    pub value: String,
}

/// What Kubernetes puts into a pod for its service account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PodFile {
    /// The certificates that sign that of the API.
    Ca,
    /// The pod's own token, which changes as time goes by.
    Token,
}

impl PodFile {
    /// Where it lies.
    pub fn path(self) -> &'static str {
        match self {
            Self::Ca => "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            Self::Token => "/var/run/secrets/kubernetes.io/serviceaccount/token",
        }
    }
}

/// A question over HTTP.
#[derive(Debug, Default)]
pub struct Call {
    /// `GET`, `POST` …
    pub method: &'static str,
    /// The whole URL, `http` or `https`.
    pub url: String,
    /// Headers. Their values are secrets more often than not.
    pub headers: Vec<(Cow<'static, str>, Secret<String>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whom to believe.
    pub trust: Trust,
    /// What is done about an answer that sends elsewhere.
    pub redirects: Redirects,
    /// How long it may take until the answer is there, if that is longer than usual: someone has to touch a phone first.
    pub patience: Option<Duration>,
    /// The address that is connected to, whatever the name in the URL leads to by then. With one, no proxy is used.
    pub at: Option<IpAddr>,
    /// How many bytes of the answer are read; none: [`TOLD_MAX`].
    pub size_max: Option<usize>,
}

/// What is done about an answer that sends elsewhere.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Redirects {
    /// It is followed, within limits.
    #[default]
    Followed,
    /// It is the answer.
    Shown,
}

/// Whom to believe on a TLS connection, and what to show there.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Trust {
    /// Certificates in PEM that sign the other side's; none: those of the system.
    pub roots: Option<String>,
    /// What is done about a certificate that nobody known has signed.
    pub unproven: Unproven,
}

/// What is done about a certificate that nobody known has signed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Unproven {
    /// The connection is given up.
    #[default]
    Refused,
    /// It is taken all the same: what is fetched proves something by itself.
    Taken,
}

/// An answer over HTTP.
#[derive(Clone, Default)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The content type, empty if none was given.
    pub kind: String,
    /// Where the answer sends to, empty if nowhere.
    pub location: String,
    /// The seconds for which `Cache-Control` lets it be kept, if it says so.
    pub max_age_seconds: Option<u64>,
    /// The body, no longer than [`TOLD_MAX`].
    pub body: Vec<u8>,
}

/// How many bytes of an answer are read; a longer one is an error.
pub const TOLD_MAX: usize = 4 * 1024 * 1024;

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body can hold a secret: what a provider tells of a user, an access token.
        f.debug_struct("Told").field("status", &self.status).field("kind", &self.kind).finish_non_exhaustive()
    }
}
