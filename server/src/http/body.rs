//! Bodies: read within limits, looked through, and turned into a JSON object or nothing.

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::json::{self, Whole};
use super::query;
use super::reply::{self, Reply};
use super::request::BodyKind;
use crate::config::{Limits, Times};

/// Room that is made before a client has shown that it really sends so much.
const ROOM_AT_ONCE: u64 = 64 * 1024;

/// What bodies that are being read take beyond that, all together: whoever sends them is not known yet.
const ROOM_OF_ALL: usize = 256 * 1024 * 1024;
/// The same, in pieces of a kibibyte.
static ROOM: Semaphore = Semaphore::const_new(ROOM_OF_ALL / 1024);

/// So much of a body that is too large is read all the same, so that the client hears why it is refused.
pub(super) const DISCARD_MAX: u64 = 64 << 20;

/// What is no JSON is never longer.
const BYTES_MAX: usize = 64 * 1024;

/// Reads a body to its end, or to the limit.
pub(crate) async fn read(mut body: Incoming, limits: &Limits, times: &Times) -> Result<Vec<u8>, Box<Reply>> {
    let max = limits.body_size_max.unwrap_or(u64::MAX);
    let told = body.size_hint().lower();
    let all = async {
        if told > max {
            // Whoever announces more than would be read on for is answered at once.
            if told <= DISCARD_MAX {
                discard(&mut body).await;
            }
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(told.min(ROOM_AT_ONCE)).unwrap_or(0));
        let mut rooms: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            // The client is gone, or broke the protocol; nobody reads this answer.
            let frame = frame.map_err(|_| Box::new(reply::bare(400)))?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            if u64::try_from(bytes.len() + data.len()).unwrap_or(u64::MAX) > max {
                discard(&mut body).await;
                return Err(too_large());
            }
            if bytes.capacity() - bytes.len() < data.len() {
                let room = room_for(bytes.len() + data.len(), rooms.as_ref());
                match (room.ok_or_else(no_room)?, &mut rooms) {
                    (more, Some(rooms)) => rooms.merge(more),
                    (more, none) => *none = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    match times.body {
        None => all.await,
        Some(limit) => match tokio::time::timeout(limit, all).await {
            Ok(read) => read,
            Err(_) => Err(Box::new(reply::error(408, "the body of the request did not arrive in time"))),
        },
    }
}

/// Room for a body that grows to this size, beside what it has.
fn room_for<'a>(size: usize, has: Option<&SemaphorePermit<'a>>) -> Option<SemaphorePermit<'a>> {
    let has = has.map_or(0, SemaphorePermit::num_permits);
    // What grows takes twice its size.
    let wants = if size as u64 <= ROOM_AT_ONCE { 0 } else { 2 * size.div_ceil(1024) };
    ROOM.try_acquire_many(u32::try_from(wants.saturating_sub(has)).ok()?).ok()
}

fn no_room() -> Box<Reply> {
    Box::new(reply::error(
        503,
        "the server is reading as many large requests as it has room for; try again in a moment",
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
