//! A whole answer on its way out. Who takes it slowly is watched: an answer that nobody takes is memory that nobody gives
//! back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::watch::Pulse;

/// What is handed out at a time of an answer that is watched.
const PART: usize = 64 * 1024;

/// An answer, as far as it has not been handed to the connection.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    left: Bytes,
    watched: Option<Watched>,
}

/// Its connection watches how it goes out.
#[derive(Debug)]
struct Watched {
    pulse: Arc<Pulse>,
    slot: usize,
}

impl Whole {
    /// Has it watched by its connection. Where only one goes out at a time, short ones are not: the socket takes them whole.
    pub(crate) fn watch(&mut self, pulse: &Arc<Pulse>) {
        if self.left.len() > PART || (pulse.is_multiplexed() && !self.left.is_empty()) {
            let slot = pulse.hands_out();
            self.watched = slot.map(|slot| Watched { pulse: Arc::clone(pulse), slot });
        }
    }
}

impl From<Bytes> for Whole {
    fn from(left: Bytes) -> Self {
        Self { left, watched: None }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.pulse.handed_out(self.slot);
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let size = match &self.watched {
            None => self.left.len(),
            Some(Watched { pulse, slot }) => {
                pulse.hands_on(*slot);
                self.left.len().min(PART)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
