//! How the parts of the agent hear that it ends, and say that it must.

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

/// One part's side of it.
#[derive(Clone)]
pub(crate) struct Bell {
    verdict: mpsc::UnboundedSender<u8>,
    closing: watch::Receiver<Option<Signal>>,
}

/// The agent's side of it.
pub(crate) struct Ropes {
    pub(crate) verdict: mpsc::UnboundedReceiver<u8>,
    pub(crate) closing: watch::Sender<Option<Signal>>,
}

/// A bell and its ropes.
pub(crate) fn hang() -> (Bell, Ropes) {
    let (said, verdict) = mpsc::unbounded_channel();
    let (closing, heard) = watch::channel(None);
    (Bell { verdict: said, closing: heard }, Ropes { verdict, closing })
}

impl Bell {
    /// The whole agent ends with this exit code.
    pub(crate) fn end(&self, code: u8) {
        // Nobody listens any more only when the agent is ending.
        let _ = self.verdict.send(code);
    }

    /// Waits until the agent is asked to end, and by which signal.
    pub(crate) async fn asked(&mut self) -> Signal {
        match self.closing.wait_for(Option::is_some).await.map(|signal| *signal) {
            Ok(Some(signal)) => signal,
            // The agent is gone: so is whoever waits here.
            _ => std::future::pending().await,
        }
    }
}
