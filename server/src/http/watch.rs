//! How long a connection may take, watched once a second for all of them together.
//!
//! A timer for each request would cost more than many a request does. So a connection only writes down what it
//! waits for and since when, and one task closes those that wait too long.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use crate::config::Times;
use crate::world;

/// What one connection is doing, as far as others need to know.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Seconds of uptime at which the present stage began.
    since: AtomicU32,
    stage: AtomicU8,
    /// Requests that were read and not answered yet.
    busy: AtomicU32,
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// What the client is to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Stage {
    /// Ask, if it likes.
    Idle = 0,
    /// Send the rest of the head of a request.
    Head = 1,
    /// Whatever it likes: with HTTP/2, bytes say nothing about requests.
    Multiplexed = 2,
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    Go,
    /// Answer what was asked, and end.
    Drain,
    /// End now.
    Close,
}

impl Pulse {
    /// Bytes came in.
    pub(crate) fn bytes(&self) {
        match self.stage.load(Ordering::Relaxed) {
            stage if stage == Stage::Idle as u8 => self.enter(Stage::Head),
            stage if stage == Stage::Multiplexed as u8 => self.since.store(seconds(), Ordering::Relaxed),
            _ => {}
        }
    }

    /// The head of a request is there.
    pub(crate) fn asked(&self, multiplexed: bool) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.stage.store(if multiplexed { Stage::Multiplexed } else { Stage::Idle } as u8, Ordering::Relaxed);
    }

    /// The answer is ready to be sent.
    pub(crate) fn answered(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        // The bytes of a body came in, too; what comes next is a new head.
        if self.stage.load(Ordering::Relaxed) == Stage::Head as u8 {
            self.stage.store(Stage::Idle as u8, Ordering::Relaxed);
        }
        self.since.store(seconds(), Ordering::Relaxed);
    }

    /// What to do; and that `waker` wants to know when this changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(known) if known.will_wake(waker) => {}
            other => *other = Some(waker.clone()),
        }
        drop(slot);
        match self.order.load(Ordering::Relaxed) {
            0 => Order::Go,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn enter(&self, stage: Stage) {
        self.since.store(seconds(), Ordering::Relaxed);
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is_late(&self, now: u32, times: &Times) -> bool {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let head = self.stage.load(Ordering::Relaxed) == Stage::Head as u8;
        let limit = if head { times.head } else { times.idle };
        let waited = u64::from(now.saturating_sub(self.since.load(Ordering::Relaxed)));
        limit.is_some_and(|limit| waited > limit.as_secs())
    }
}

/// All connections of a listener.
#[derive(Default)]
pub(crate) struct Watch {
    pulses: Mutex<Vec<Weak<Pulse>>>,
}

impl Watch {
    /// A new connection. It owes the head of its first request.
    pub(crate) fn enter(&self) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        pulse.enter(Stage::Head);
        self.lock().push(Arc::downgrade(&pulse));
        pulse
    }

    /// Closes those that wait too long. Called once a second.
    pub(crate) fn sweep(&self, times: &Times) {
        let now = seconds();
        let alive = self.alive();
        for pulse in alive.iter().filter(|pulse| pulse.is_late(now, times)) {
            pulse.tell(Order::Close);
        }
    }

    /// Tells all of them. The number of those that are left.
    pub(crate) fn tell_all(&self, order: Order) -> usize {
        let alive = self.alive();
        alive.iter().for_each(|pulse| pulse.tell(order));
        alive.len()
    }

    fn alive(&self) -> Vec<Arc<Pulse>> {
        let mut pulses = self.lock();
        pulses.retain(|pulse| pulse.strong_count() > 0);
        pulses.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Pulse>>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds() -> u32 {
    u32::try_from(world::uptime().as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_waiting_clients_are_late() {
        let times =
            Times { idle: Some(Duration::from_secs(300)), head: Some(Duration::from_secs(10)), body: None };
        let watch = Watch::default();
        let pulse = watch.enter();
        let start = seconds();
        assert!(!pulse.is_late(start + 10, &times));
        assert!(pulse.is_late(start + 12, &times), "no request came");
        pulse.asked(false);
        pulse.bytes();
        assert!(!pulse.is_late(start + 1000, &times), "we are the ones that take long");
        pulse.answered();
        assert!(!pulse.is_late(start + 300, &times));
        assert!(pulse.is_late(start + 302, &times), "nothing more is asked");
        pulse.bytes();
        assert!(pulse.is_late(start + 12, &times), "half a head came");
        pulse.asked(true);
        pulse.answered();
        pulse.bytes();
        assert!(!pulse.is_late(start + 299, &times), "bytes of HTTP/2 are no half head");
    }

    #[test]
    fn orders_only_get_stricter_and_the_dead_are_forgotten() {
        let watch = Watch::default();
        let pulse = watch.enter();
        assert_eq!(watch.tell_all(Order::Close), 1);
        assert_eq!(watch.tell_all(Order::Drain), 1);
        assert_eq!(pulse.order(Waker::noop()), Order::Close);
        drop(pulse);
        assert_eq!(watch.tell_all(Order::Drain), 0);
    }
}
