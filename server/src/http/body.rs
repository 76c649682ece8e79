//! Bodies: read within limits, looked through, and turned into a JSON object or nothing.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use super::json::{self, Whole};
use super::query;
use super::reply::{self, Reply};
use super::request::BodyKind;
use super::room::Space;
use crate::config::{Limits, Times};

/// Room that is made before a client has shown that it really sends so much.
const ROOM_AT_ONCE: usize = 16 * 1024;

/// A body that takes more room than this is to come on: so much of it in so long, or its end.
const PACED_FROM: usize = 64 * 1024;
const PACE_SIZE: usize = 32 * 1024;
const PACE_TIME: Duration = Duration::from_secs(5);

/// So much of a body that is too large is read all the same, so that the client hears why it is refused.
pub(super) const DISCARD_MAX: u64 = 64 << 20;

/// What is no JSON is never longer.
const BYTES_MAX: usize = 64 * 1024;

/// Reads a body to its end, or to the limit. `space` has what the head takes, and has room for the body afterwards.
pub(crate) async fn read(
    mut body: Incoming,
    space: &mut Space,
    limits: &Limits,
    times: &Times,
) -> Result<Vec<u8>, Box<Reply>> {
    let all = whole(&mut body, space, limits, times);
    match times.body {
        None => all.await,
        Some(limit) => timeout(limit, all).await.unwrap_or_else(|_| Err(late())),
    }
}

async fn whole(
    body: &mut Incoming,
    space: &mut Space,
    limits: &Limits,
    times: &Times,
) -> Result<Vec<u8>, Box<Reply>> {
    let max = limits.body_size_max.unwrap_or(u64::MAX);
    let told = body.size_hint().lower();
    if told > max {
        // Whoever announces more than would be read on for is answered at once.
        if told <= DISCARD_MAX {
            discard(body).await;
        }
        return Err(too_large());
    }
    let told = usize::try_from(told).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    make_room(&mut bytes, told.min(ROOM_AT_ONCE), space).await?;
    let mut pace = None;
    loop {
        let Some(frame) = next(body, pace.as_ref()).await? else { break };
        // The client is gone, or broke the protocol; nobody reads this answer.
        let frame = frame.map_err(|_| Box::new(reply::bare(400)))?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        let size = bytes.len() + data.len();
        if u64::try_from(size).unwrap_or(u64::MAX) > max {
            discard(body).await;
            return Err(too_large());
        }
        if bytes.capacity() < size {
            // What grows doubles, but to no more than was told.
            let doubled = (2 * bytes.capacity()).max(ROOM_AT_ONCE);
            make_room(&mut bytes, size.max(doubled.min(told.max(size))), space).await?;
        }
        bytes.extend_from_slice(&data);
        pace = Pace::after(pace, &bytes, data.len()).filter(|_| times.body.is_some());
    }
    if bytes.capacity() - bytes.len() > ROOM_AT_ONCE {
        space.shrink(space.head() + bytes.len());
        bytes.shrink_to_fit();
    }
    Ok(bytes)
}

/// Has these bytes grow to this size, once there is room for that beside the head.
async fn make_room(bytes: &mut Vec<u8>, size: usize, space: &mut Space) -> Result<(), Box<Reply>> {
    if !space.grow(space.head() + size).await {
        return Err(no_room());
    }
    bytes.reserve_exact(size - bytes.len());
    Ok(())
}

/// How much of a body is still to come, and until when.
struct Pace {
    left: usize,
    until: Instant,
}

impl Pace {
    /// What holds once so many bytes more have come.
    fn after(before: Option<Self>, bytes: &Vec<u8>, came: usize) -> Option<Self> {
        if bytes.capacity() <= PACED_FROM {
            return None;
        }
        match before {
            Some(pace) if pace.left > came => Some(Self { left: pace.left - came, ..pace }),
            _ => Some(Self { left: PACE_SIZE, until: Instant::now() + PACE_TIME }),
        }
    }
}

/// The next piece of a body, if it comes in time.
async fn next(
    body: &mut Incoming,
    pace: Option<&Pace>,
) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Box<Reply>> {
    match pace {
        None => Ok(body.frame().await),
        Some(pace) => timeout_at(pace.until, body.frame()).await.map_err(|_| late()),
    }
}

fn late() -> Box<Reply> {
    Box::new(reply::error(408, "the body of the request did not arrive in time"))
}

fn no_room() -> Box<Reply> {
    Box::new(reply::error(
        503,
        "the server holds as many requests of this address as it has room for; try again in a moment",
    ))
}

/// Reads on and keeps nothing: a client that is still sending does not look for an answer.
pub(super) async fn discard(body: &mut Incoming) {
    let mut left = DISCARD_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        left = match left.checked_sub(size) {
            Some(left) => left,
            None => return,
        };
    }
}

/// What the kernel is given: a JSON object that was looked through, or nothing.
pub(crate) fn understood(bytes: Vec<u8>, kind: BodyKind, limits: &Limits) -> Result<Vec<u8>, Box<Reply>> {
    if let BodyKind::Bytes(field) = kind {
        return in_a_field(&bytes, field);
    }
    let form = kind == BodyKind::Form && !matches!(bytes.first(), None | Some(b'{' | b'['));
    let bytes = match form {
        false => bytes,
        true => query::form(&bytes).ok_or_else(|| Box::new(reply::error(400, "error parsing form data")))?,
    };
    match json::check(&bytes, limits) {
        Ok(Whole::Object) => Ok(bytes),
        Ok(Whole::Nothing | Whole::Null) => Ok(Vec::new()),
        Ok(other) => {
            let kind = other.go();
            let text = format!(
                "failed to decode JSON input: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            );
            Err(Box::new(reply::error(400, &text)))
        }
        Err(refused) => Err(Box::new(reply::error(400, &refused.to_string()))),
    }
}

/// Bytes as a field of a JSON object.
fn in_a_field(bytes: &[u8], field: &str) -> Result<Vec<u8>, Box<Reply>> {
    if bytes.len() > BYTES_MAX {
        return Err(too_large());
    }
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(serde_json::json!({ field: text }).to_string().into_bytes())
}

fn too_large() -> Box<Reply> {
    Box::new(reply::error(413, "http: request body too large"))
}
