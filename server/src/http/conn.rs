//! One connection: bytes become a [`kernel::Request`], the phase says who answers it, and the answer goes back.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Either};
use hyper::body::{Body as _, Incoming};
use hyper_util::service::TowerToHyperService;
use kernel::{Answer, Handled, Kernel};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zeroize::{Zeroize, Zeroizing};

use super::archive;
use super::body;
use super::reply::{self, Page, Reply};
use super::request::{self, API, Asked, BodyKind, Peer};
use super::room::{Purse, Space};
use super::watch::Pulse;
use super::{cors, outside};
use crate::backup::{self, Archive};
use crate::config::{Cors, Format, Level, Listener, Metrics};
use crate::log::Logs;
use crate::phase::{Client, Phase, Reaction, State};

/// What all connections of one listener share.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(super) state: Arc<State>,
    outside: Router,
    logs: Arc<Logs>,
    /// Which pages of other origins this door lets in.
    cors: Option<Arc<Cors>>,
}

impl Door {
    /// A door to the server.
    pub(crate) fn new(listener: Listener, state: Arc<State>, ui: bool, logs: Arc<Logs>) -> Self {
        let cors = listener.cors.clone().map(Arc::new);
        Self { listener, state, outside: outside::router(ui), logs, cors }
    }

    /// Which pages of other origins may come in: as the listener says, or as was set over the API.
    fn cors(&self) -> Option<Arc<Cors>> {
        if let Some(cors) = &self.cors {
            return Some(Arc::clone(cors));
        }
        let Phase::Open { kernel, .. } = &**self.state.phase() else { return None };
        let kernel::Cors { origins, headers, credentials } = &*kernel.cors()?;
        let (origins, headers) = (origins.clone(), headers.clone());
        Some(Arc::new(Cors { origins, headers, credentials: *credentials }))
    }

    /// A backup of this moment. `None`: enough of them are being made.
    fn backup(&self) -> Option<Archive> {
        backup::write(self.state.kernel()?, self.state.version().to_owned())
    }

    /// Gives a page of the web UI the headers that were set over the API.
    fn dress_page(&self, path: &str, reply: &mut Reply) {
        let Phase::Open { kernel, .. } = &**self.state.phase() else { return };
        if !path.starts_with("/ui") {
            return;
        }
        for (name, values) in kernel.web_headers().iter() {
            let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
            reply.headers_mut().remove(&name);
            for value in values.iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
                reply.headers_mut().append(&name, value);
            }
        }
    }
}

/// Answers the requests of one connection.
pub(crate) struct Service {
    pub(crate) door: Arc<Door>,
    pub(crate) peer: Peer,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) purse: Arc<Purse>,
}

/// An answer, mostly at once. What is waited for is boxed, so that what is not stays small.
enum Answering {
    /// Here it is.
    Now(Option<Reply>),
    /// It takes a body, a disk, or the outside.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

/// How long the answer to `sys/seal` waits for the seal.
const SEAL_WAIT: Duration = Duration::from_secs(10);
/// What any request takes that waits for its body, and each field of its head beside its text.
const REQUEST_SIZE: usize = 2048;
const FIELD_SIZE: usize = 104;
/// More header fields than this no request has. Over HTTP/1 hyper refuses as many.
const FIELDS_MAX: usize = 100;
/// No page outside the API is longer.
const PAGE_SIZE_MAX: usize = 1 << 20;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Reply;
    type Error = Infallible;
    type Future = Answered;

    fn call(&self, request: Request<Incoming>) -> Answered {
        self.pulse.asked(request::is_multiplexed(request.version()));
        let busy = Busy(Arc::clone(&self.pulse));
        Answered { answering: self.start(request), busy: Some(busy) }
    }
}

/// An answer on its way to the connection.
pub(crate) struct Answered {
    answering: Answering,
    /// Until the answer is there.
    busy: Option<Busy>,
}

impl Future for Answered {
    type Output = Result<Reply, Infallible>;

    /// Who else has asked is answered first, and then all answers are sent: a client that one of them woke takes the
    /// others as well, and to wake it can cost as much as the answer did.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(self.answering.poll(cx));
        let Some(busy) = self.busy.take() else { return Poll::Ready(Ok(reply)) };
        self.answering = Answering::Now(Some(going_on(reply, busy)));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A log that is watched, and a backup that is sent, is an answer that goes on: its connection is busy for as long, not idle.
/// Any other is to be taken.
fn going_on(mut reply: Reply, busy: Busy) -> Reply {
    match reply.body_mut() {
        Page::Left(whole) => whole.watch(&busy.0),
        Page::Right(Either::Left(feed)) => feed.hold(Box::new(busy)),
        Page::Right(Either::Right(archive)) => archive.hold(Box::new(busy)),
    }
    reply
}

/// Ends with the request, also when the client goes away in the middle of it.
struct Busy(Arc<Pulse>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl Service {
    fn start(&self, request: Request<Incoming>) -> Answering {
        let (head, incoming) = request.into_parts();
        if let Err(refusal) = request::check_message(head.version, &head.headers) {
            return self.refused(*refusal);
        }
        if head.headers.len() > FIELDS_MAX {
            return self.refused(reply::error(431, "too many header fields: a request has 100 at most"));
        }
        let Some(raw) = head.uri.path().strip_prefix(API) else {
            return self.outside(Request::from_parts(head, incoming));
        };
        let listener = &self.door.listener;
        let cors = || self.door.cors();
        let asked =
            request::read(raw, head.uri.query(), &head.method, &head.headers, &self.peer, listener, cors);
        let asked = match asked.and_then(|asked| self.may_enter(asked)) {
            Ok(asked) => asked,
            Err(refusal) => return self.refused(*refusal),
        };
        // Who asks too often is told so before a byte of the body is read.
        let mut asked = match self.within_limits(asked) {
            Ok(asked) => asked,
            Err(reply) => return Answering::Now(Some(*reply)),
        };
        if let BodyKind::Archive { force } = asked.body {
            return answer(&self.door, asked, Some(Restore { body: incoming, force }), None);
        }
        if asked.body == BodyKind::Ignored || incoming.is_end_stream() {
            return answer(&self.door, asked, None, None);
        }
        let has_keys = bears_keys(asked.request.path.as_str());
        if has_keys {
            self.pulse.has_keys();
        }
        let closes = has_keys && !request::is_multiplexed(head.version);
        asked.request.headers = Vec::new();
        let (door, headers) = (Arc::clone(&self.door), head.headers);
        let mut space = Space::new(&self.purse, asked.request.remote.address, size(&asked, &headers));
        Answering::Later(Box::pin(async move {
            let mut reply = match with_body(&door, asked, headers, incoming, &mut space).await {
                Ok(asked) => match answer(&door, asked, None, Some(space)) {
                    Answering::Now(reply) => reply.unwrap_or_else(|| reply::bare(500)),
                    Answering::Later(waiting) => waiting.await,
                },
                Err(mut refusal) => {
                    reply::decorate(&mut refusal, &door.listener.response_headers);
                    *refusal
                }
            };
            if closes {
                // The next request would lie behind this one, in a buffer that lives as long as the connection.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            reply
        }))
    }

    fn within_limits(&self, mut asked: Asked) -> Result<Asked, Box<Reply>> {
        let phase = self.door.state.phase();
        let Phase::Open { kernel, .. } = &**phase else { return Ok(asked) };
        if self.door.state.answers(&asked.request) {
            return Ok(asked);
        }
        match kernel.meter(&asked.request) {
            Ok(meter) => {
                asked.request.meter = meter;
                Ok(asked)
            }
            Err(refused) => {
                let dress = Dress::of(&self.door, asked.origin, asked.namespace, &asked.request);
                Err(Box::new(dress.put_on(refused.into_inner())))
            }
        }
    }

    /// What this door is not for.
    fn may_enter(&self, asked: Asked) -> Result<Asked, Box<Reply>> {
        let metrics = asked.request.path.as_str() == "sys/metrics";
        match (self.door.listener.metrics, metrics) {
            (Metrics::Only, false) | (Metrics::Never, true) => Err(Box::new(reply::bare(404))),
            (Metrics::WithToken, true) if asked.request.token.is_none() => {
                Err(Box::new(reply::error(403, "permission denied")))
            }
            _ if asked.head_only && !answers_head(asked.request.path.as_str()) => {
                Err(Box::new(reply::wrapped(405, "unsupported operation")))
            }
            _ => Ok(asked),
        }
    }

    fn refused(&self, mut reply: Reply) -> Answering {
        reply::decorate(&mut reply, &self.door.listener.response_headers);
        Answering::Now(Some(reply))
    }

    fn outside(&self, request: Request<Incoming>) -> Answering {
        if self.door.listener.metrics == Metrics::Only {
            return self.refused(reply::bare(404));
        }
        let path = request.uri().path().to_owned();
        let router = TowerToHyperService::new(self.door.outside.clone());
        let door = Arc::clone(&self.door);
        Answering::Later(Box::pin(async move {
            let Ok(page) = hyper::service::Service::call(&router, request).await;
            let (head, body) = page.into_parts();
            let bytes = http_body_util::Limited::new(body, PAGE_SIZE_MAX).collect().await;
            let bytes = bytes.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
            let mut reply = Reply::from_parts(head, Page::Left(bytes.into()));
            door.dress_page(&path, &mut reply);
            reply::decorate(&mut reply, &door.listener.response_headers);
            reply
        }))
    }
}

/// What HEAD may ask for: how the server is, and a nonce of an ACME directory (RFC 8555 §7.2).
fn answers_head(path: &str) -> bool {
    path == "sys/health" || path.ends_with("/acme/new-nonce")
}

/// What a request holds while its body is on its way.
fn size(asked: &Asked, headers: &HeaderMap) -> usize {
    let request = &asked.request;
    let copied = request.path.as_str().len()
        + request.namespace.len()
        + request.token.as_ref().map_or(0, |token| token.expose().len());
    let shown: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    REQUEST_SIZE + copied + shown + headers.len() * FIELD_SIZE
}

/// Waits for the body. Until it is there, who asks may be anybody: nothing of what they said is copied before.
async fn with_body(
    door: &Door,
    mut asked: Asked,
    headers: HeaderMap,
    incoming: Incoming,
    space: &mut Space,
) -> Result<Asked, Box<Reply>> {
    let listener = &door.listener;
    let bytes = body::read(incoming, space, &listener.limits, &listener.times).await?;
    asked.request.body = body::understood(bytes, asked.body, &listener.limits)?;
    asked.request.headers = request::passed_on(&headers);
    Ok(asked)
}

/// What goes onto the answer when it is there.
struct Dress {
    door: Arc<Door>,
    origin: Option<(HeaderValue, Arc<Cors>)>,
    namespace: Option<HeaderValue>,
    /// The answer is the log as it comes.
    watch: Option<(Level, Format)>,
    /// The answer is that of a seal.
    seals: bool,
    /// Request and answer are wiped: they may have shares of keys in them.
    wipes: bool,
    /// What is sent is a backup, to be read and put in its place once the kernel has let it in.
    restores: Option<Restore>,
}

/// A backup that is sent here.
struct Restore {
    body: Incoming,
    force: bool,
}

impl Dress {
    fn of(
        door: &Arc<Door>,
        origin: Option<(HeaderValue, Arc<Cors>)>,
        namespace: Option<HeaderValue>,
        request: &kernel::Request,
    ) -> Self {
        let watch = (request.path.as_str() == "sys/monitor").then(|| watched(&request.query));
        let seals = request.path.as_str() == "sys/seal";
        let wipes = bears_keys(request.path.as_str());
        Self { door: Arc::clone(door), origin, namespace, watch, seals, wipes, restores: None }
    }

    fn put_on(self, mut answer: Answer) -> Reply {
        // What waits for others to agree is answered in JSON: that is no leave to send what was asked for.
        let is_let_in = |kind: &str| answer.status == 200 && answer.kind == kind;
        let watch = self.watch.filter(|_| is_let_in(kernel::TEXT));
        let saves = is_let_in(kernel::ARCHIVE);
        let wiped = self.wipes.then(|| Zeroizing::new(std::mem::take(&mut answer.body)));
        let mut reply = reply::answer(answer);
        if let Some(body) = wiped {
            *reply.body_mut() = Page::Left(Bytes::from_owner(body).into());
        }
        let listener = &self.door.listener;
        if saves {
            match self.door.backup() {
                Some(archive) => *reply.body_mut() = Page::Right(Either::Right(archive)),
                None => reply = reply::error(429, "enough backups are being made already: try again later"),
            }
        }
        if let Some((level, format)) = watch {
            match self.door.logs.watch(level, format) {
                Some(feed) => *reply.body_mut() = Page::Right(Either::Left(feed)),
                None => reply = reply::error(429, "too many are watching the log already: try again later"),
            }
        }
        if let Some((origin, cors)) = &self.origin {
            cors::allow(&mut reply, origin, cors);
        }
        if let Some(namespace) = self.namespace {
            reply.headers_mut().insert("x-vault-namespace", namespace);
        }
        reply::decorate(&mut reply, &listener.response_headers);
        reply
    }
}

/// Whether shares of a key may be in a request for this, or in its answer.
fn bears_keys(path: &str) -> bool {
    const PLACES: [&str; 6] = ["init", "unseal", "rekey", "generate-root", "rotate", "namespaces"];
    // A namespace may stand before it.
    let place = path.strip_prefix("sys/").or_else(|| path.rsplit_once("/sys/").map(|(_, place)| place));
    place.is_some_and(|place| PLACES.iter().any(|known| place.starts_with(known)))
}

/// What of the log is to be watched; the kernel has checked the words.
fn watched(query: &[(Cow<'static, str>, Cow<'static, str>)]) -> (Level, Format) {
    let word = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, word)| word);
    let level = word("log_level").and_then(|word| word.parse().ok()).unwrap_or_default();
    let format = word("log_format").and_then(|word| word.parse().ok()).unwrap_or_default();
    (level, format)
}

/// A request and the room that it takes.
type Held = (kernel::Request, Option<Space>);

/// `space` is what the request holds, until it is answered.
fn answer(door: &Arc<Door>, asked: Asked, restores: Option<Restore>, space: Option<Space>) -> Answering {
    let Asked { request, origin, namespace, .. } = asked;
    let mut dress = Dress::of(door, origin, namespace, &request);
    dress.restores = restores;
    match door.state.answer(&request) {
        Some(Reaction::Now(answer)) => return Answering::Now(Some(dress.put_on(answer))),
        Some(Reaction::Blocking(work)) => return blocking(dress, (request, space), work),
        None => {}
    }
    let phase = door.state.phase();
    let Phase::Open { kernel, .. } = &**phase else {
        return Answering::Now(Some(dress.put_on(reply::error_answer(503, "Vault is sealed"))));
    };
    match catch_unwind(AssertUnwindSafe(|| kernel.handle(&request))) {
        Ok(Handled::Done(answer)) => told(dress, answer.into_inner()),
        Ok(Handled::Later(pending)) => later(dress, Arc::clone(kernel), (request, space), pending),
        Err(_) => Answering::Now(Some(dress.put_on(fault()))),
    }
}

/// Goes on with what the kernel has begun, as far as it gets at once, and waits for the rest. That runs to its end even
/// if the client goes away or time is up: a commit that nobody hears of must still be audited, and what was made outside
/// must be recorded. Only what still waits to begin costly work is let go.
fn later(dress: Dress, kernel: Arc<Kernel>, held: Held, pending: kernel::Pending) -> Answering {
    let limit = dress.door.listener.limits.request_duration_max;
    let (here, gone) = oneshot::channel();
    let (wipes, is_to_commit) = (dress.wipes, pending.is_to_commit());
    let pending = pending.for_client(gone);
    let work = Box::pin(async move {
        let (mut request, _space) = held;
        let answer = kernel.finish(pending, &request).await.into_inner();
        if wipes {
            request.body.zeroize();
        }
        answer
    });
    let mut work = Going { work: Some(work) };
    if let Poll::Ready(answer) = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
        return told(dress, answer);
    }
    // What may hold up its thread does so in a task of its own, so that time can be up for whoever waits for it.
    let work = if is_to_commit { work } else { work.apart() };
    Answering::Later(Box::pin(async move {
        let _here: oneshot::Sender<()> = here;
        let answer = match tokio::time::timeout(limit, work).await {
            Ok(answer) => answer,
            Err(_) => reply::error_answer(500, "1 error occurred:\n\t* context deadline exceeded\n\n"),
        };
        after(dress, answer).await
    }))
}

/// Work that goes on to its end, in a task of its own once nobody waits for it any more.
struct Going {
    work: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
}

impl Going {
    /// In a task of its own from now on.
    fn apart(mut self) -> Self {
        let Some(work) = self.work.take() else { return self };
        let task = tokio::spawn(work);
        Self { work: Some(Box::pin(async move { task.await.unwrap_or_else(|_| fault()) })) }
    }
}

impl Future for Going {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(mut work) = self.work.take() else { return Poll::Ready(fault()) };
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.work = Some(work);
                Poll::Pending
            }
            Ok(answer) => answer,
            Err(_) => Poll::Ready(fault()),
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            drop(runtime.spawn(work));
        }
    }
}

/// An answer that is there already.
fn told(dress: Dress, answer: Answer) -> Answering {
    match (dress.seals && answer.status == 204) || dress.restores.is_some() {
        true => Answering::Later(Box::pin(after(dress, answer))),
        false => Answering::Now(Some(dress.put_on(answer))),
    }
}

/// The answer as it goes out: that of a seal when it has fallen, that to a backup when it is in its place.
async fn after(mut dress: Dress, mut answer: Answer) -> Reply {
    if let Some(Restore { body, force }) = dress.restores.take() {
        answer = match answer.status {
            204 => archive::restore(&dress.door, body, force).await,
            _ => archive::refused(body, answer).await,
        };
    }
    if dress.seals && answer.status == 204 {
        sealed(&dress.door.state).await;
    }
    dress.put_on(answer)
}

/// The answer to a request that ended in a panic, which has told the log where.
fn fault() -> Answer {
    tracing::error!("a request ended in a fault of ours");
    reply::error_answer(500, "internal error")
}

/// The seal falls when the request that wants it is over; whoever asked for it hears so when it has fallen.
async fn sealed(state: &State) {
    let mut changes = state.changes();
    let closed = async {
        while state.kernel().is_some() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Too late is late and no failure: the seal falls all the same.
    let _ = tokio::time::timeout(SEAL_WAIT, closed).await;
}

/// What blocks its thread.
type Work = fn(&State, &[u8], Client) -> Answer;

fn blocking(dress: Dress, held: Held, work: Work) -> Answering {
    let (here, gone) = oneshot::channel();
    Answering::Later(Box::pin(async move {
        let _here: oneshot::Sender<()> = here;
        let client = Client::new(gone);
        let (state, (request, _space)) = (Arc::clone(&dress.door.state), held);
        let body = Zeroizing::new(request.body);
        let done = tokio::task::spawn_blocking(move || locked::scrub(|| work(&state, &body, client))).await;
        dress.put_on(done.unwrap_or_else(|error| {
            tracing::error!(%error, "a change of phase ended in a fault of ours");
            reply::error_answer(500, "internal error")
        }))
    }))
}

impl Answering {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        match self {
            Self::Now(reply) => Poll::Ready(reply.take().unwrap_or_else(|| reply::bare(500))),
            Self::Later(waiting) => waiting.as_mut().poll(cx),
        }
    }
}
