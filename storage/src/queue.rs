//! Who waits for the committer: while one group is made durable, the next one gathers here.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::commit::Done;
use crate::error::Error;
use crate::txn::Prepared;

/// At most so many transactions go into one commit of the backend.
const GROUP_MAX: usize = 1024;
/// At most so many wait; more is an overload, and is refused.
const WAITING_MAX: usize = 65_536;

pub(crate) type Job = (Prepared, Done);

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
    /// The committer sleeps. To wake who is awake costs a call of the system, too.
    asleep: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), closed: false, asleep: false };
        Self { waiting: Mutex::new(waiting), wake: Condvar::new() }
    }

    /// Puts a job at the end, or tells it at once why not.
    pub(crate) fn push(&self, prepared: Prepared, done: Done) {
        let mut waiting = self.lock();
        let refusal = match (waiting.closed, waiting.jobs.len()) {
            (true, _) => Error::Closed,
            (_, WAITING_MAX..) => Error::Busy,
            _ => {
                waiting.jobs.push_back((prepared, done));
                if std::mem::take(&mut waiting.asleep) {
                    drop(waiting);
                    self.wake.notify_one();
                }
                return;
            }
        };
        drop(waiting);
        done(Err(refusal));
    }

    /// The next group, once there is one, of at most `size_max` bytes. Runs `idle` once when nothing came for so long.
    /// Nothing once it is closed and empty.
    pub(crate) fn next(&self, size_max: usize, after: Duration, idle: impl FnOnce()) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        if waiting.jobs.is_empty() && !waiting.closed {
            waiting = self.until(waiting, after);
            if waiting.jobs.is_empty() && !waiting.closed {
                drop(waiting);
                idle();
                waiting = self.lock();
            }
        }
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting.asleep = true;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        // Who is about to hand in a job on this core does so first: one commit for both costs half.
        drop(waiting);
        thread::yield_now();
        waiting = self.lock();
        let group = take(&mut waiting.jobs, size_max);
        (!group.is_empty()).then_some(group)
    }

    /// Takes no more. What waits is still given out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for so long. False if it was closed meanwhile.
    pub(crate) fn pause(&self, long: Duration) -> bool {
        let open = |waiting: &mut Waiting| !waiting.closed;
        let (waiting, _) =
            self.wake.wait_timeout_while(self.lock(), long, open).unwrap_or_else(PoisonError::into_inner);
        !waiting.closed
    }

    fn until<'a>(&self, mut waiting: MutexGuard<'a, Waiting>, long: Duration) -> MutexGuard<'a, Waiting> {
        waiting.asleep = true;
        let nothing = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        self.wake.wait_timeout_while(waiting, long, nothing).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked while it was held had not touched it half: each change is one push or one drain.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(jobs: &mut VecDeque<Job>, size_max: usize) -> Vec<Job> {
    let mut size = 0;
    let fitting = jobs.iter().take(GROUP_MAX).take_while(|(prepared, _)| {
        size += prepared.size;
        size <= size_max
    });
    let count = fitting.count().max(1).min(jobs.len());
    jobs.drain(..count).collect()
}
