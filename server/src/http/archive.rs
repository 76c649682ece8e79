//! Backups that are sent to the server: handed on as they come, whatever their length.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kernel::Answer;
use tokio::sync::mpsc;

use super::body;
use super::conn::Door;
use super::reply;

/// Frames that wait for the disk.
const FRAMES_MAX: usize = 16;

/// Reads a backup and has it put in its place. A client that goes away in the middle of it has sent one that is cut short.
pub(super) async fn restore(door: &Arc<Door>, mut body: Incoming, force: bool) -> Answer {
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let state = Arc::clone(&door.state);
    let work =
        tokio::task::spawn_blocking(move || state.restore(&mut Frames { frames, rest: Bytes::new() }, force));
    while let Some(next) = next(&mut body, door).await {
        let failed = next.is_err();
        if sender.send(next).await.is_err() || failed {
            break;
        }
    }
    drop(sender);
    // Who may restore may send all of it, even if nothing of it is wanted: they hear why only when they have.
    while let Some(Ok(_)) = next(&mut body, door).await {}
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "restoring a backup ended in a fault of ours");
        reply::error_answer(500, "internal error")
    })
}

/// Lets the client send on for a while, so that it hears the answer.
pub(super) async fn refused(mut rest: Incoming, answer: Answer) -> Answer {
    body::discard(&mut rest).await;
    answer
}

/// What comes next, if it comes in time.
async fn next(body: &mut Incoming, door: &Door) -> Option<io::Result<Bytes>> {
    let frame = match door.listener.times.body {
        None => body.frame().await,
        Some(limit) => match tokio::time::timeout(limit, body.frame()).await {
            Ok(frame) => frame,
            Err(_) => return Some(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more came"))),
        },
    };
    let data = frame?.map(|frame| frame.into_data().unwrap_or_default());
    Some(data.map_err(io::Error::other))
}

/// What comes over the network, for a reader that waits.
struct Frames {
    frames: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.frames.blocking_recv() {
                Some(next) => self.rest = next?,
                None => return Ok(0),
            }
        }
        let size = self.rest.len().min(out.len());
        self.rest.copy_to_slice(out.get_mut(..size).unwrap_or_default());
        Ok(size)
    }
}
