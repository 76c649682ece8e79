//! Ctrl-C in a run that makes things on the server: it ends the run, not before what was made is known and taken away again.

use std::{future::Future, pin::pin};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{output::warn, stop::Stop};

/// What a shell has of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// The signals that end a run.
pub(super) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    came: bool,
}

impl Interrupt {
    /// From here on they are heard, and no longer end the process by themselves.
    pub(super) fn heard() -> Result<Interrupt, Stop> {
        let heard = |kind| signal(kind).map_err(|e| Stop::local(format!("Signals cannot be heard: {e}")));
        Ok(Interrupt {
            interrupt: heard(SignalKind::interrupt())?,
            terminate: heard(SignalKind::terminate())?,
            came: false,
        })
    }

    /// Does work that may not be left in the middle: only its answer says what is to be taken away again.
    pub(super) async fn after<T>(&mut self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        let mut work = pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = self.next() => warn("Interrupted: once the server has answered, what was made is taken away again."),
            }
        };
        if self.came { done.and(Err(interrupted())) } else { done }
    }

    /// Does work that may be left at any moment.
    pub(super) async fn before<T>(&mut self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.next() => Err(interrupted()),
            done = work => done,
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.came = true;
    }
}

fn interrupted() -> Stop {
    Stop::local("Interrupted").code(INTERRUPTED)
}
