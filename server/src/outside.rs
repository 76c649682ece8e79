use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{
    Caa, Call, Error, Fault, PodFile, Redirects, Result, Secret, Soon, TOLD_MAX, Time, Told, Trust, Unproven,
    World,
};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, Method, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::anyone;

/// How long a connection may take to stand.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an address that says nothing has before the next is tried, too (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How much of a file in a pod is read.
const POD_FILE_MAX: u64 = 1024 * 1024;
/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;
/// How many clients, one for each set of roots, are kept.
const CLIENTS_MAX: usize = 64;

/// What lies outside of this server: the network, and time that passes.
pub(crate) struct Outside {
    /// How long an answer over HTTP may take in all, if nothing else is said.
    patience: Duration,
    clients: Mutex<HashMap<(Trust, Redirects), Client>>,
}

impl World for Outside {
    fn now(&self) -> Time {
        crate::world::now()
    }

    fn pause(&self, span: Duration) -> Soon<'_, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn fetch(&self, call: Call) -> Soon<'_, Result<Told>> {
        Box::pin(async move {
            let client = match call.at {
                None => self.client(&call.trust, call.redirects)?,
                Some(at) => client_to(at, &call)?,
            };
            let size_max = call.size_max.unwrap_or(TOLD_MAX);
            let method = Method::from_bytes(call.method.as_bytes()).map_err(unsendable)?;
            let request = client.request(method, &call.url).headers(headers(&call)?);
            let request = request.timeout(call.patience.unwrap_or(self.patience)).body(call.body);
            let response = request.send().await.map_err(|error| unreachable(&call.url, &error))?;
            let told = Told {
                status: response.status().as_u16(),
                kind: header(&response, &CONTENT_TYPE).to_owned(),
                location: header(&response, &LOCATION).to_owned(),
                max_age_seconds: max_age(header(&response, &CACHE_CONTROL)),
                body: Vec::new(),
            };
            Ok(Told { body: read(&call.url, response, size_max).await?, ..told })
        })
    }

    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, Result<TcpStream>> {
        Box::pin(async move {
            let refused = |error: io::Error| {
                Error::new(Fault::Upstream, format!("no connection to {host}:{port}: {error}"))
            };
            let connecting = async {
                let addresses = tokio::net::lookup_host((host, port)).await?;
                first_that_stands(addresses.collect(), tokio::net::TcpStream::connect).await
            };
            let late = |_| refused(io::ErrorKind::TimedOut.into());
            let stream =
                tokio::time::timeout(CONNECT_TIME, connecting).await.map_err(late)?.map_err(refused)?;
            stream.into_std().map_err(refused)
        })
    }

    fn addresses<'a>(&'a self, host: &'a str, by: &'a str) -> Soon<'a, Result<Vec<IpAddr>>> {
        Box::pin(crate::names::addresses(host, by))
    }

    fn texts<'a>(&'a self, name: &'a str, by: &'a str) -> Soon<'a, Result<Vec<String>>> {
        Box::pin(crate::names::texts(name, by))
    }

    fn caa<'a>(&'a self, name: &'a str, by: &'a str) -> Soon<'a, Result<Vec<Caa>>> {
        Box::pin(crate::names::caa(name, by))
    }

    fn certificate<'a>(
        &'a self,
        at: SocketAddr,
        name: &'a str,
        protocol: &'static str,
    ) -> Soon<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let late = |_| Error::new(Fault::Upstream, format!("no TLS with {at}: it took too long"));
            tokio::time::timeout(CONNECT_TIME, anyone::certificate(at, name, protocol)).await.map_err(late)?
        })
    }

    fn pod(&self, file: PodFile) -> Soon<'_, Option<Secret<String>>> {
        Box::pin(async move {
            let file = tokio::fs::File::open(file.path()).await.ok()?;
            let mut text = String::new();
            file.take(POD_FILE_MAX).read_to_string(&mut text).await.ok()?;
            Some(Secret::new(text))
        })
    }
}

impl Outside {
    /// Everything outside, whose answers over HTTP are waited for so long.
    pub(crate) fn with_patience(patience: Duration) -> Self {
        Self { patience, clients: Mutex::default() }
    }

    /// The client that believes these roots. It keeps connections for the next call.
    fn client(&self, trust: &Trust, redirects: Redirects) -> Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (trust.clone(), redirects);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = built(builder(trust, redirects)?)?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

/// Connects to one of these addresses. One that says nothing holds up the next for a moment alone (RFC 8305): it must not
/// take the time of all.
async fn first_that_stands<S, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut left = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut refused = None;
    loop {
        match left.next() {
            Some(address) => drop(attempts.spawn(connect(address))),
            None if attempts.is_empty() => {
                let nobody = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                return Err(refused.unwrap_or_else(nobody));
            }
            None => {}
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended.unwrap_or_else(|lost| Err(lost.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = refused.or(Some(error)),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if left.len() > 0 => {}
        }
    }
}

fn builder(trust: &Trust, redirects: Redirects) -> Result<ClientBuilder> {
    let policy = match redirects {
        Redirects::Followed => Policy::custom(follow),
        Redirects::Shown => Policy::none(),
    };
    let builder = Client::builder().tls_backend_preconfigured(tls(trust)?).redirect(policy);
    Ok(builder.connect_timeout(CONNECT_TIME))
}

/// A redirect is followed, but never from where it is known who answers to where anybody may.
fn follow(attempt: Attempt<'_>) -> Action {
    let was_known = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("it redirects too often")
    } else if was_known && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to http")
    } else {
        attempt.follow()
    }
}

fn built(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| Error::internal(format!("no HTTP client: {error}")))
}

/// A client for one call, which connects to that address and to no other.
fn client_to(at: IpAddr, call: &Call) -> Result<Client> {
    let url: Url = call.url.parse().map_err(unsendable)?;
    let host = url.host_str().unwrap_or_default();
    // The port is that of the URL.
    let builder = builder(&call.trust, call.redirects)?.no_proxy().resolve(host, SocketAddr::new(at, 0));
    built(builder.pool_max_idle_per_host(0))
}

fn tls(trust: &Trust) -> Result<ClientConfig> {
    if trust.unproven == Unproven::Taken {
        return anyone::config();
    }
    let (mut roots, mut named) = (RootCertStore::empty(), Vec::new());
    match &trust.roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let wrong = |error: &dyn std::fmt::Display| {
                    Error::invalid(format!("the CA certificates to trust do not read: {error}"))
                };
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate.clone()).map_err(|error| wrong(&error))?;
                named.push(certificate);
            }
        }
        None => {
            named = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(named.iter().cloned());
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("no TLS: {error}")))?;
    Ok(auth::trusting(builder, &provider, roots, named).with_no_client_auth())
}

fn headers(call: &Call) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(unsendable)?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(unsendable)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// The body, and no more of it than is allowed.
async fn read(url: &str, mut response: Response, size_max: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
        if body.len() + chunk.len() > size_max {
            let text = format!("the answer of {url} is longer than {size_max} bytes");
            return Err(Error::new(Fault::Upstream, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn max_age(cache_control: &str) -> Option<u64> {
    let age = |part: &str| part.trim().strip_prefix("max-age=")?.parse().ok();
    cache_control.split(',').find_map(age)
}

/// Why no answer came, down to its root: "connection refused" says more than "error sending request".
fn unreachable(url: &str, error: &reqwest::Error) -> Error {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    let why = match cause {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "it took too long".to_owned(),
        None => "the connection failed".to_owned(),
    };
    Error::new(Fault::Upstream, format!("no answer from {}: {why}", without_query(url)))
}

/// The URL as an error may show it: a query can hold a secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}

fn unsendable(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("a request to the outside cannot be sent: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cache_control: &str, expected: Option<u64>) {
        assert_eq!(max_age(cache_control), expected, "{cache_control}");
    }

    #[test]
    fn the_age_is_read_from_the_header() {
        check("public, max-age=600, must-revalidate", Some(600));
        check("max-age=0", Some(0));
        check("no-store", None);
        check("max-age=soon", None);
    }

    /// Ports say what happens: 1 never answers, 2 refuses, others answer.
    async fn stands(ports: &[u16]) -> io::Result<u16> {
        let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        first_that_stands(addresses, |address| async move {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                port => Ok(port),
            }
        })
        .await
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_take_the_time_of_all() {
        assert_eq!(stands(&[80]).await.unwrap(), 80);
        assert_eq!(stands(&[1, 2, 1, 81]).await.unwrap(), 81);
        assert_eq!(stands(&[2, 82, 1]).await.unwrap(), 82);
        assert_eq!(stands(&[2, 2]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(stands(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn who_is_not_there_is_named_without_the_query() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let call = Call { method: "GET", url: format!("http://{closed}/keys?token=hush"), ..Call::default() };
        let error =
            Outside::with_patience(crate::config::OUTSIDE_MAX).fetch(call).await.unwrap_err().to_string();
        assert!(error.contains(&format!("no answer from http://{closed}/keys: ")), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
