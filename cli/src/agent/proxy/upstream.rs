//! The way to the server, with connections that are used again.

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited, combinators::BoxBody};
use hyper::body::{Body as _, Incoming};

use super::Connections;
use crate::{
    client::Client,
    transport::{Sender, Transport},
    trouble::Trouble,
    upload::{self, Sent},
};

/// An answer up to this size is looked at before it is handed on; a larger one flows through.
const LOOKED_AT_MAX: u64 = 4 * 1024 * 1024;
/// No answer of the API is larger, as for every client.
const JSON_SIZE_MAX: u64 = 256 * 1024 * 1024;
/// So many connections wait for the next request.
const IDLE_MAX: usize = 8;
/// The server answers within this, or is not there. What it says afterwards may take as long as it wants.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);

/// What goes back to a caller.
pub(super) type Body = BoxBody<Bytes, hyper::Error>;

/// What the server answered.
pub(super) enum Answered {
    /// All of it.
    Whole(http::response::Parts, Bytes),
    /// Its beginning; the rest comes as it comes.
    Flowing(http::Response<Body>),
}

/// The server.
pub(super) struct Upstream {
    transport: Transport,
    authority: String,
    /// What stands before `/v1`.
    prefix: String,
    pub(super) namespace: Option<String>,
    idle: RefCell<Vec<Sender>>,
    /// How many of them there may be.
    idle_max: usize,
}

impl Upstream {
    pub(super) fn new(client: Client, connections: Connections) -> Upstream {
        let idle_max = match connections {
            Connections::Kept => IDLE_MAX,
            Connections::Closed => 0,
        };
        Upstream {
            idle_max,
            authority: client.address.authority.clone(),
            prefix: client.address.prefix.clone(),
            namespace: client.namespace.clone(),
            transport: client.transport,
            idle: RefCell::default(),
        }
    }

    /// Sends a request whose target begins with `/v1`.
    pub(super) async fn send(&self, mut request: http::Request<Sent>) -> Result<Answered, String> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let whole = if self.transport.absolute_form() {
            format!("http://{}{}{target}", self.authority, self.prefix)
        } else {
            format!("{}{target}", self.prefix)
        };
        *request.uri_mut() = whole.parse().map_err(|_| "the path cannot be asked for".to_owned())?;
        let host = http::HeaderValue::from_str(&self.authority);
        request.headers_mut().insert("host", host.map_err(|_| "the server has no name".to_owned())?);
        let exchange = tokio::time::timeout(ANSWER_TIME_MAX, self.exchange(request)).await;
        let (response, sender) = exchange
            .map_err(|_| Trouble::TimedOut)
            .and_then(|answer| answer)
            .map_err(|trouble| trouble.text())?;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // Answers of the API are JSON, and some servers do not say how long; logs and snapshots are not, and flow.
        let limit = match body.size_hint().exact() {
            Some(length) if length <= LOOKED_AT_MAX => LOOKED_AT_MAX,
            _ if kind.starts_with("application/json") => JSON_SIZE_MAX,
            _ => return Ok(Answered::Flowing(http::Response::from_parts(parts, body.boxed()))),
        };
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        let body = limited.collect().await.map_err(|e| format!("the answer broke off: {e}"))?.to_bytes();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max {
            idle.push(sender);
        }
        Ok(Answered::Whole(parts, body))
    }

    async fn exchange(
        &self,
        mut request: http::Request<Sent>,
    ) -> Result<(http::Response<Incoming>, Sender), Trouble> {
        // A connection that waited may have been closed meanwhile. A request that was not begun comes back then, and nobody
        // saw it; one that only looks is made again, whoever saw it.
        let only_looks = request.method().as_str() == "LIST" || request.method().is_safe();
        let again = (only_looks && request.body().is_end_stream()).then(|| copy(&request));
        loop {
            let waiting = self.idle.borrow_mut().pop();
            let Some(mut sender) = waiting.filter(|sender| !sender.is_closed()) else { break };
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.send(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(lost) => match lost.unsent.or_else(|| again.as_ref().map(copy)) {
                    Some(back) => request = back,
                    None => return Err(lost.trouble),
                },
            }
        }
        let mut sender = self.transport.connect().await?;
        let response = sender.send(request).await.map_err(|lost| lost.trouble)?;
        Ok((response, sender))
    }
}

/// A request without a body, once more.
fn copy(request: &http::Request<Sent>) -> http::Request<Sent> {
    let mut copy = http::Request::new(upload::whole(bytes::Bytes::new()));
    (*copy.method_mut(), *copy.uri_mut()) = (request.method().clone(), request.uri().clone());
    *copy.headers_mut() = request.headers().clone();
    copy
}
