//! The HTTP API as the commands see it: one call, one reply, with the retries and redirects clients expect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    address::Address,
    call::{Call, Verb},
    limit::Limit,
    preview,
    refused::{Answer, Refused},
    secret::Secret,
    settings::Settings,
    stop::Stop,
    transport::{Lost, Sender, Transport},
    trouble::Trouble,
    upload::{Sent, whole},
};

/// No answer of the API is larger; a listing of a million keys is about half of it.
const REPLY_SIZE_MAX: usize = 256 * 1024 * 1024;
/// A standby sends clients to its leader, which may just have changed; more hops are a loop.
const REDIRECTS_MAX: u8 = 2;
/// The wait before the first retry; it grows by itself with each further one.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// A `Retry-After` beyond this is an outage, not a pause.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A server, a token, and how to ask.
pub(crate) struct Client {
    pub(crate) address: Address,
    pub(crate) transport: Transport,
    pub(crate) token: Option<Zeroizing<String>>,
    pub(crate) namespace: Option<String>,
    pub(crate) wrap_ttl: Option<String>,
    /// Further headers, already valid.
    pub(crate) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub(crate) redirects: Redirects,
    pub(crate) retries_max: u32,
    pub(crate) timeout: Duration,
    pub(crate) mode: Mode,
    pub(crate) limit: Option<Limit>,
    /// Where a first run of the server left its token, for the hint to somebody without one.
    pub(crate) first_token: Option<String>,
    connection: Mutex<Option<Sender>>,
    /// Whether the server was set up when it was asked; nothing undoes that. Clients that follow each other share it.
    pub(crate) is_set_up: Arc<AtomicBool>,
}

/// Whether to follow a server that points elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirects {
    Follow,
    Refuse,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Send,
    /// Show the `curl` that would send it.
    Curl,
    /// Show the policy that would allow it.
    Policy,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The server's clock, in seconds since 1970.
    pub(crate) date: Option<i64>,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Client {
    /// A client that has not connected yet.
    pub(crate) fn new(address: Address, transport: Transport, settings: &Settings) -> Client {
        let first_token = settings.config_dir.as_ref().map(|folder| folder.join("root-token"));
        Client {
            address,
            transport,
            token: None,
            namespace: None,
            wrap_ttl: None,
            headers: Vec::new(),
            redirects: Redirects::Follow,
            retries_max: 0,
            timeout: Duration::from_secs(60),
            mode: Mode::Send,
            limit: None,
            first_token: first_token.filter(|file| file.exists()).map(|file| file.display().to_string()),
            connection: Mutex::new(None),
            is_set_up: Arc::default(),
        }
    }

    /// Asks for a path. `None` if there is nothing; a 404 that says something (as kv does of deleted versions)
    /// is an answer.
    pub(crate) async fn read(&self, call: Call) -> Result<Option<Secret>, Refused> {
        Ok(match self.find(call).await? {
            Found::Secret(secret) => Some(*secret),
            Found::Nothing { .. } => None,
        })
    }

    /// Asks for a path, and hears why there is nothing.
    pub(crate) async fn find(&self, call: Call) -> Result<Found, Refused> {
        let (secret, reason) = match self.send(call).await {
            Ok(reply) => (reply.secret()?, None),
            Err(Refused::Answer(answer)) if answer.status == 404 => {
                (answer.secret().filter(Secret::says_something), answer.on_one_line())
            }
            Err(other) => return Err(other),
        };
        Ok(secret.map_or(Found::Nothing { reason }, |secret| Found::Secret(Box::new(secret))))
    }

    /// Asks for what every server has. There is no "nothing" here: where it is not found, something is wrong, such as the
    /// namespace.
    pub(crate) async fn standing(&self, call: Call) -> Result<Secret, Refused> {
        Ok(self.send(call).await?.secret()?.unwrap_or_default())
    }

    /// Changes something; what the server returns, if it returns anything.
    pub(crate) async fn write(&self, call: Call) -> Result<Option<Secret>, Refused> {
        self.send(call).await?.secret()
    }

    /// Asks for a path outside the envelope.
    pub(crate) async fn bare(&self, call: Call) -> Result<Value, Refused> {
        let reply = self.send(call).await?;
        serde_json::from_slice(&reply.body).map_err(|e| Refused::unreadable(&e))
    }

    /// Sends one call and hands over its answer piece by piece, as it comes, until it ends.
    pub(crate) async fn stream(&self, call: Call, mut each: impl FnMut(&[u8])) -> Result<(), Refused> {
        match self.mode {
            Mode::Curl => return Err(Refused::Shown(preview::curl(self, &call))),
            Mode::Policy => return Err(Refused::Shown(preview::policy(&call))),
            Mode::Send => {}
        }
        let target = call.target(&self.address.prefix);
        let url = call.url(&self.address.base);
        let lost = |trouble| Refused::NoAnswer { verb: call.verb, url: url.clone(), trouble };
        let request = self.request(&call, &self.address, &self.transport, &target)?;
        if let Some(limit) = &self.limit {
            limit.wait().await;
        }
        let answering = async {
            let mut sender = self.transport.connect().await?;
            let response = sender.send(request).await.map_err(|lost| lost.trouble)?;
            Ok((sender, response))
        };
        let answered = tokio::time::timeout(self.timeout, answering).await;
        let (_sender, response) = answered.map_err(|_| lost(Trouble::TimedOut))?.map_err(lost)?;
        if !response.status().is_success() {
            return self.judge(&call, receive(response).await.map_err(lost)?.reply).await.map(drop);
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| lost(Trouble::Broken(format!("the answer broke off: {e}"))))?;
            frame.data_ref().into_iter().for_each(|piece| each(piece));
        }
        Ok(())
    }

    /// Sends one call and returns its answer, or why there is none.
    pub(crate) async fn send(&self, call: Call) -> Result<Reply, Refused> {
        match self.mode {
            Mode::Curl if !call.preflight => return Err(Refused::Shown(preview::curl(self, &call))),
            Mode::Policy if !call.preflight => return Err(Refused::Shown(preview::policy(&call))),
            _ => {}
        }
        let mut attempt: u32 = 0;
        loop {
            let outcome = self.once(&call).await;
            let wait = match &outcome {
                Ok(reply) if retryable(reply.status) => match reply.retry_after {
                    Some(pause) => pause.min(RETRY_AFTER_MAX),
                    None => RETRY_WAIT * (attempt + 1),
                },
                Err(Refused::NoAnswer { trouble, .. }) if passing(trouble) => RETRY_WAIT * (attempt + 1),
                _ => return self.judge(&call, outcome?).await,
            };
            if attempt >= self.retries_max {
                return self.judge(&call, outcome?).await;
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// A sealed server may be one that nobody has set up yet: that is another thing to do, and worth a question. An agent meets
    /// a sealed server again and again, and asks once.
    async fn is_new(&self) -> bool {
        if self.is_set_up.load(Relaxed) {
            return false;
        }
        let answer = self.once(&Call::get("sys/init").preflight()).await;
        let told: Option<Value> = answer.ok().and_then(|reply| serde_json::from_slice(&reply.body).ok());
        let is_set_up = told.and_then(|told| told.get("initialized")?.as_bool());
        self.is_set_up.store(is_set_up == Some(true), Relaxed);
        is_set_up == Some(false)
    }

    async fn judge(&self, call: &Call, reply: Reply) -> Result<Reply, Refused> {
        if (200..400).contains(&reply.status) {
            return Ok(reply);
        }
        let url = call.url(&self.address.base);
        let credential = if self.token.is_some() { Credential::Given } else { Credential::Missing };
        let mut answer = Answer::read(call.verb, url, self.namespace.clone(), reply, credential);
        answer.first_token = self.first_token.clone();
        answer.new_server = answer.is_sealed() && self.is_new().await;
        Err(Refused::Answer(Box::new(answer)))
    }

    /// One attempt, with redirects followed.
    async fn once(&self, call: &Call) -> Result<Reply, Refused> {
        let mut elsewhere: Option<(Address, Transport, String)> = None;
        for _ in 0..=REDIRECTS_MAX {
            let (address, transport, target) = match &elsewhere {
                None => (&self.address, &self.transport, call.target(&self.address.prefix)),
                Some((address, transport, target)) => (address, transport, target.clone()),
            };
            let lost = |trouble| Refused::NoAnswer {
                verb: call.verb,
                url: format!("{}{}", address.base.trim_end_matches(&address.prefix), target),
                trouble,
            };
            let request = self.request(call, address, transport, &target)?;
            if let Some(limit) = &self.limit {
                limit.wait().await;
            }
            // What only looks may be asked again, should the connection that was kept have ended.
            let again = match call.verb {
                Verb::Get => Some(self.request(call, address, transport, &target)?),
                _ => None,
            };
            let exchange = self.exchange(transport, request, again, elsewhere.is_none());
            // How long a file takes to be sent, and to be looked at there, is known by nobody.
            let patience = if call.file.is_some() { Duration::MAX } else { self.timeout };
            let answer = match tokio::time::timeout(patience, exchange).await {
                Ok(answer) => answer.map_err(lost)?,
                Err(_) => return Err(lost(Trouble::TimedOut)),
            };
            let Some(location) = answer.location.filter(|_| self.redirects == Redirects::Follow) else {
                return Ok(answer.reply);
            };
            elsewhere = Some(self.follow(address, &location)?);
        }
        Err(Refused::Local("The server redirects in a circle.".to_owned()))
    }

    /// Where a redirect leads; the token goes along, so never from TLS to clear text.
    fn follow(&self, from: &Address, location: &str) -> Result<(Address, Transport, String), Refused> {
        let local = |text: String| Refused::Local(text);
        let absolute = if location.starts_with('/') {
            format!("{}{location}", from.base.trim_end_matches(&from.prefix))
        } else {
            location.to_owned()
        };
        let uri: http::Uri = absolute
            .parse()
            .map_err(|_| local(format!("The server redirects to {location:?}, which is no URL.")))?;
        let origin = format!(
            "{}://{}",
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |a| a.as_str())
        );
        let address = Address::parse(&origin).map_err(|_| {
            local(format!("The server redirects to {location:?}, which is no usable address."))
        })?;
        if from.downgraded_by(&address) {
            return Err(local("redirect would cause protocol downgrade".to_owned()));
        }
        let transport = self.transport.towards(&address).map_err(local)?;
        let target = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok((address, transport, target))
    }

    fn request(
        &self,
        call: &Call,
        address: &Address,
        transport: &Transport,
        target: &str,
    ) -> Result<http::Request<Sent>, Refused> {
        let uri = if transport.absolute_form() {
            format!("http://{}{target}", address.authority)
        } else {
            target.to_owned()
        };
        let body = match &call.file {
            Some(file) => file.open().map_err(|e| Refused::Local(format!("{}: {e}", file.name())))?,
            None => whole(Bytes::from(call.body.as_ref().map(ToString::to_string).unwrap_or_default())),
        };
        let mut builder = http::Request::builder()
            .method(call.verb.name())
            .uri(uri)
            .header("Host", address.authority.as_str())
            .header("User-Agent", concat!("keep/", env!("CARGO_PKG_VERSION")))
            .header("X-Vault-Request", "true");
        if call.verb == Verb::Patch {
            builder = builder.header("Content-Type", "application/merge-patch+json");
        } else if call.body.is_some() {
            builder = builder.header("Content-Type", "application/json");
        } else if call.file.is_some() {
            builder = builder.header("Content-Type", "application/octet-stream");
        }
        if let Some(namespace) = &self.namespace {
            builder = builder.header("X-Vault-Namespace", namespace.as_str());
        }
        if let Some(token) = call.token.as_ref().or(self.token.as_ref()) {
            let mut value = http::HeaderValue::from_str(token).map_err(|_| {
                Refused::Local("The token holds characters that no token can have.".to_owned())
            })?;
            value.set_sensitive(true);
            builder = builder.header("X-Vault-Token", value);
        }
        if let Some(ttl) = self.wrapping(call) {
            builder = builder.header("X-Vault-Wrap-TTL", ttl);
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let invalid = |e: http::Error| Refused::Local(format!("The request cannot be written: {e}"));
        builder.body(body).map_err(invalid)
    }

    /// How long to wrap the answer; `sys/wrapping/wrap` makes no sense without, so it has a default.
    pub(crate) fn wrapping<'a>(&'a self, call: &'a Call) -> Option<&'a str> {
        if call.preflight {
            return None;
        }
        let fallback = (call.path == "sys/wrapping/wrap" && call.verb.writes()).then_some("5m");
        call.wrap_ttl.as_deref().or(self.wrap_ttl.as_deref()).or(fallback)
    }

    /// Sends over the kept connection, or a new one. Where the kept one has ended meanwhile, a request that was not begun goes
    /// over a new one, or what is to be sent again.
    async fn exchange(
        &self,
        transport: &Transport,
        request: http::Request<Sent>,
        again: Option<http::Request<Sent>>,
        keep: bool,
    ) -> Result<Raw, Trouble> {
        let mut kept = self.connection.lock().await;
        let sent = match kept.take().filter(|sender| keep && !sender.is_closed()) {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => answered(sender, request).await,
                Err(trouble) => Err(Lost { trouble, unsent: Some(request) }),
            },
            None => Err(Lost { trouble: Trouble::Broken(String::new()), unsent: Some(request) }),
        };
        let (sender, response) = match sent {
            Ok(answered) => answered,
            Err(Lost { trouble, unsent }) => match unsent.or(again) {
                // Asked at once: what ends a new connection is then told to the request, and not to nobody.
                Some(request) => {
                    let sender = transport.connect().await?;
                    answered(sender, request).await.map_err(|lost| lost.trouble)?
                }
                None => return Err(trouble),
            },
        };
        let raw = receive(response).await?;
        if keep {
            *kept = Some(sender);
        }
        Ok(raw)
    }
}

async fn answered(
    mut sender: Sender,
    request: http::Request<Sent>,
) -> Result<(Sender, http::Response<Incoming>), Lost> {
    let response = sender.send(request).await?;
    Ok((sender, response))
}

/// What a path has.
pub(crate) enum Found {
    Secret(Box<Secret>),
    Nothing {
        /// What the server says about that, if it does.
        reason: Option<String>,
    },
}

impl Found {
    /// The secret, or an end that says so and why.
    pub(crate) fn or_end(self, message: impl FnOnce() -> String) -> Result<Secret, Stop> {
        match self {
            Found::Secret(secret) => Ok(*secret),
            Found::Nothing { reason } => Err(Found::end(message(), reason)),
        }
    }

    /// Whether it is a listing.
    pub(crate) fn has_keys(&self) -> bool {
        match self {
            Found::Secret(secret) => secret.keys().is_some() || secret.wrap_info.is_some(),
            Found::Nothing { .. } => false,
        }
    }

    /// The end of who looked for something: that it is not there, and why.
    pub(crate) fn end(message: String, reason: Option<String>) -> Stop {
        match reason {
            None => Stop::remote(message),
            Some(reason) => Stop::remote(message).hint(format!("The server says: {reason}")),
        }
    }
}

/// Whether a call carried a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Given,
    Missing,
}

impl Reply {
    /// The envelope, or nothing for an empty body.
    pub(crate) fn secret(&self) -> Result<Option<Secret>, Refused> {
        Secret::parse(&self.body).map_err(|e| Refused::unreadable(&e))
    }
}

struct Raw {
    reply: Reply,
    location: Option<String>,
}

async fn receive(response: http::Response<hyper::body::Incoming>) -> Result<Raw, Trouble> {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let location = header("location").filter(|_| matches!(status, 301 | 302 | 307 | 308));
    let retry_after =
        header("retry-after").and_then(|text| text.parse::<u64>().ok()).map(Duration::from_secs);
    let date = header("date").and_then(|text| http_date(&text));
    let body = Limited::new(response.into_body(), REPLY_SIZE_MAX)
        .collect()
        .await
        .map_err(|e| Trouble::Broken(format!("the answer broke off: {e}")))?
        .to_bytes();
    Ok(Raw { reply: Reply { status, body, date, retry_after }, location })
}

/// `Thu, 26 Nov 2026 22:17:10 GMT`, in seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc2822).ok()?;
    Some(at.unix_timestamp())
}

fn retryable(status: u16) -> bool {
    matches!(status, 412 | 429) || (status >= 500 && status != 501)
}

/// Whether trying again can help: not when the name or the certificate is wrong.
fn passing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(_) | Trouble::Unreachable(_) | Trouble::Broken(_) | Trouble::Proxy(_))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;

    /// An agent has a client for each request, and meets the seal with each.
    #[tokio::test(flavor = "current_thread")]
    async fn whether_a_sealed_server_is_new_is_asked_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let address = Address::parse(&format!("http://{at}")).unwrap();
        let serving = thread::spawn(move || {
            let mut asked = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let (status, answer) = match lines[0].as_str() {
                    "GET / HTTP/1.1" => break,
                    "GET /v1/sys/init HTTP/1.1" => (200, r#"{"initialized":true}"#),
                    _ => (503, r#"{"errors":["Vault is sealed"]}"#),
                };
                asked.push(lines[0].clone());
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}", answer.len());
                let _ = stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes());
            }
            asked
        });
        let known = Arc::default();
        for _ in 0..2 {
            let transport = Transport { route: address.direct(), tls: None };
            let mut client = Client::new(address.clone(), transport, &Settings::read());
            client.is_set_up = Arc::clone(&known);
            let refused = client.send(Call::get("a/b")).await.err().and_then(|refused| refused.status());
            assert_eq!(refused, Some(503));
        }
        let mut end = TcpStream::connect(at).unwrap();
        end.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let asked = serving.join().unwrap();
        assert_eq!(asked, ["GET /v1/a/b HTTP/1.1", "GET /v1/sys/init HTTP/1.1", "GET /v1/a/b HTTP/1.1"]);
    }

    #[test]
    fn the_servers_clock_is_read() {
        assert_eq!(http_date("Thu, 26 Nov 2026 22:17:10 GMT"), Some(1_795_731_430));
        assert_eq!(http_date("yesterday"), None);
    }
}
