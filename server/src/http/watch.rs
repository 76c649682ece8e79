//! How long a connection may take, watched once a second for all of them together.
//!
//! A timer for each request would cost more than many a request does. So a connection only writes down what it
//! waits for and since when, and one task doubts those that wait too long. Whoever is doubted first reads what has come
//! in: on a server that is busy, it may have been there in time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use super::listener::STREAMS_MAX;
use crate::config::Times;
use crate::world;

/// How long a connection of HTTP/2 that was told to end may take to do so.
const FAREWELL: Duration = Duration::from_secs(10);

/// What one connection is doing, as far as others need to know.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Seconds of uptime at which the present stage began.
    since: AtomicU32,
    stage: AtomicU8,
    /// Requests that were read and not answered yet.
    busy: AtomicU32,
    order: AtomicU8,
    /// It seems to wait too long.
    doubted: AtomicBool,
    /// A request of it brought shares of a key, or its answer has some: what it leaves in memory is wiped.
    bears_keys: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Answers on their way out: for each the second of uptime, plus one, at which a part of it went last. Zero is nobody.
    leaving: OnceLock<Box<[AtomicU32]>>,
}

/// What the client is to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Stage {
    /// Ask, if it likes.
    Idle = 0,
    /// Send the rest of the head of a request.
    Head = 1,
    /// Ask, if it likes, over HTTP/2, whose bytes say nothing about requests.
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
    /// From now on what goes through this connection is wiped.
    pub(crate) fn has_keys(&self) {
        self.bears_keys.store(true, Ordering::Relaxed);
    }

    pub(crate) fn bears_keys(&self) -> bool {
        self.bears_keys.load(Ordering::Relaxed)
    }

    /// Bytes came in.
    pub(crate) fn bytes(&self) {
        // A ping is no request: whoever sends nothing else is idle.
        if self.stage.load(Ordering::Relaxed) == Stage::Idle as u8 {
            self.enter(Stage::Head);
        }
    }

    /// The client owes the head of its first request from now on.
    pub(crate) fn begin(&self) {
        self.enter(Stage::Head);
    }

    /// Whether a part of a request came in that nobody waits for any more.
    pub(crate) fn is_amid(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == Stage::Head as u8
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

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == Stage::Multiplexed as u8
    }

    /// An answer begins to go out. Its place among those that do; nothing if there are too many.
    pub(crate) fn hands_out(&self) -> Option<usize> {
        let leaving = self.leaving.get_or_init(|| (0..STREAMS_MAX).map(|_| AtomicU32::new(0)).collect());
        let now = seconds() + 1;
        let take =
            |slot: &AtomicU32| slot.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        leaving.iter().position(take)
    }

    /// The next part of it goes.
    pub(crate) fn hands_on(&self, slot: usize) {
        self.left_at(slot, seconds() + 1);
    }

    /// The last part of it has gone, or the client wants none.
    pub(crate) fn handed_out(&self, slot: usize) {
        self.left_at(slot, 0);
        self.since.store(seconds(), Ordering::Relaxed);
    }

    fn left_at(&self, slot: usize, second: u32) {
        if let Some(slot) = self.leaving.get().and_then(|leaving| leaving.get(slot)) {
            slot.store(second, Ordering::Relaxed);
        }
    }

    /// Since when the answer that goes worst has not gone on.
    fn stuck_since(&self) -> Option<u32> {
        let leaving = self.leaving.get()?.iter().map(|slot| slot.load(Ordering::Relaxed));
        leaving.filter_map(|second| second.checked_sub(1)).min()
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

    /// What a connection that was doubted is to do, once it has read what came in. Asks no more until doubted again.
    pub(crate) fn verdict(&self, times: &Times) -> Order {
        match self.doubted.swap(false, Ordering::Relaxed) {
            true => self.is_late(seconds(), times),
            false => Order::Go,
        }
    }

    fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn enter(&self, stage: Stage) {
        self.since.store(seconds(), Ordering::Relaxed);
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is_late(&self, now: u32, times: &Times) -> Order {
        let waited = |since: u32| u64::from(now.saturating_sub(since));
        // Whoever does not take their answers is not heard out, whatever else they do.
        if let Some(since) = self.stuck_since() {
            let is_stuck = times.idle.is_some_and(|limit| waited(since) > limit.as_secs());
            return if is_stuck { Order::Close } else { Order::Go };
        }
        if self.busy.load(Ordering::Relaxed) > 0 {
            return Order::Go;
        }
        let stage = self.stage.load(Ordering::Relaxed);
        let Some(limit) = (if stage == Stage::Head as u8 { times.head } else { times.idle }) else {
            return Order::Go;
        };
        // With HTTP/2 a request may be on its way already: it is told which one was the last.
        let multiplexed = stage == Stage::Multiplexed as u8;
        match waited(self.since.load(Ordering::Relaxed)).checked_sub(limit.as_secs()) {
            None | Some(0) => Order::Go,
            Some(late) if multiplexed && late <= FAREWELL.as_secs() => Order::Drain,
            Some(_) => Order::Close,
        }
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
        pulse.begin();
        self.lock().push(Arc::downgrade(&pulse));
        pulse
    }

    /// Doubts those that wait too long. Called once a second.
    pub(crate) fn sweep(&self, times: &Times) {
        let now = seconds();
        let alive = self.alive();
        for pulse in alive.iter().filter(|pulse| pulse.is_late(now, times) != Order::Go) {
            pulse.doubt();
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
    use super::*;

    fn times() -> Times {
        Times { idle: Some(Duration::from_secs(300)), head: Some(Duration::from_secs(10)), body: None }
    }

    #[test]
    fn only_waiting_clients_are_late() {
        let pulse = Watch::default().enter();
        let start = seconds();
        let late = |after| pulse.is_late(start + after, &times());
        assert_eq!(late(10), Order::Go);
        assert_eq!(late(12), Order::Close, "no request came");
        pulse.asked(false);
        pulse.bytes();
        assert_eq!(late(1000), Order::Go, "we are the ones that take long");
        pulse.answered();
        assert_eq!(late(300), Order::Go);
        assert_eq!(late(302), Order::Close, "nothing more is asked");
        pulse.bytes();
        assert_eq!(late(12), Order::Close, "half a head came");
        pulse.asked(true);
        pulse.answered();
        pulse.bytes();
        assert_eq!(late(299), Order::Go, "bytes of HTTP/2 are no half head");
        assert_eq!(late(303), Order::Drain, "a request may be on its way");
        assert_eq!(late(313), Order::Close, "it has not gone");
    }

    #[test]
    fn an_answer_is_taken_or_the_connection_ends() {
        let pulse = Watch::default().enter();
        let start = seconds();
        let late = |after| pulse.is_late(start + after, &times());
        pulse.asked(true);
        let (one, other) = (pulse.hands_out().unwrap(), pulse.hands_out().unwrap());
        pulse.answered();
        pulse.asked(true);
        assert_eq!(late(300), Order::Go);
        assert_eq!(late(302), Order::Close, "though it asks for more");
        pulse.left_at(one, start + 1 + 200);
        assert_eq!(late(302), Order::Close, "the other is stuck");
        pulse.left_at(other, start + 1 + 250);
        assert_eq!(late(500), Order::Go, "both go on");
        assert_eq!(late(502), Order::Close);
        pulse.handed_out(one);
        pulse.handed_out(other);
        assert_eq!(late(1000), Order::Go, "we are the ones that take long");
        pulse.answered();
        assert_eq!(late(302), Order::Drain);
        assert!((0..STREAMS_MAX).all(|_| pulse.hands_out().is_some()) && pulse.hands_out().is_none());
    }

    #[test]
    fn pings_are_no_requests() {
        let pulse = Watch::default().enter();
        pulse.asked(true);
        pulse.answered();
        pulse.since.store(seconds() + 7, Ordering::Relaxed);
        pulse.bytes();
        assert_eq!(pulse.since.load(Ordering::Relaxed), seconds() + 7);
    }

    #[test]
    fn who_is_doubted_and_asks_in_time_after_all_stays() {
        let watch = Watch::default();
        let never = Times { head: Some(Duration::ZERO), ..times() };
        let pulse = watch.enter();
        assert_eq!(pulse.verdict(&never), Order::Go, "nobody has doubted");
        pulse.since.store(0, Ordering::Relaxed);
        let was_late = pulse.is_late(seconds() + 1, &never) != Order::Go;
        pulse.doubt();
        // What has come in is read before anybody judges.
        pulse.asked(false);
        assert!(was_late && pulse.verdict(&never) == Order::Go);
        pulse.answered();
        assert_eq!(pulse.verdict(&never), Order::Go, "a doubt is heard once");
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
