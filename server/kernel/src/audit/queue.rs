//! Before a device that can be slow by nature: a bounded queue, and a thread that empties it.
//!
//! A request waits here only if no other device has taken its line, and never longer than the device's patience.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::Time;

/// So many lines wait at most; the next is refused.
const LINES_MAX: usize = 8192;
/// And so many bytes.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long nothing is tried after a failure, unless somebody waits.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a device that is taken away may still work off its queue.
const FAREWELL: Duration = Duration::from_secs(1);

/// What carries lines away: a socket, a daemon, a web server.
pub(crate) trait Carrier: Send + 'static {
    /// Carries one line, whole or not at all, and waits no longer than the device's patience.
    fn carry(&mut self, line: &[u8], now: Time) -> Result<(), Failure>;
}

/// Why a line was not carried.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It never will be: the next one may.
    Line(io::Error),
    /// No line would be now.
    Carrier(io::Error),
}

/// The queue of one device.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    /// How long a request waits for its line at most.
    pub(crate) patience: Duration,
}

struct Shared {
    device: String,
    state: Mutex<State>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Waiting>,
    bytes: usize,
    /// Somebody waits: it is worth trying now.
    urgent: bool,
    /// It was full, and is still fuller than half: the log knows.
    full: bool,
    closed: bool,
    ended: bool,
}

struct Waiting {
    line: Vec<u8>,
    now: Time,
    receipt: Option<Arc<Receipt>>,
}

/// What a request waits for that no device has taken yet: the first of several that does.
#[derive(Default)]
pub(crate) struct Receipt {
    open: Mutex<Open>,
    told: Condvar,
}

#[derive(Default)]
struct Open {
    pending: usize,
    taken: bool,
    why: Option<String>,
}

impl Queue {
    /// A queue with its thread.
    pub(crate) fn new(device: &str, patience: Duration, carrier: impl Carrier) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            device: device.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || its.serve(carrier))?;
        Ok(Self { shared, patience })
    }

    /// Puts a line in the queue.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn post(&self, line: Vec<u8>, now: Time, receipt: Option<Arc<Receipt>>) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.lines.len() >= LINES_MAX || state.bytes + line.len() > BYTES_MAX {
            let known = std::mem::replace(&mut state.full, true);
            drop(state);
            self.shared.lost.fetch_add(1, Relaxed);
            if !known {
                tracing::error!(
                    device = self.shared.device,
                    "an audit device loses lines: its queue is full, for what it writes to is too slow, or gone"
                );
            }
            return Err(io::Error::other("its queue is full"));
        }
        if state.lines.len() < LINES_MAX / 2 && state.bytes < BYTES_MAX / 2 {
            state.full = false;
        }
        state.bytes += line.len();
        if let Some(receipt) = &receipt {
            state.urgent = true;
            receipt.lock().pending += 1;
        }
        state.lines.push_back(Waiting { line, now, receipt });
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// How many lines were given up.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// How many lines wait.
    pub(crate) fn length(&self) -> usize {
        self.shared.lock().lines.len()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.changed.notify_all();
        // What was said before it was taken away is still carried, unless that takes too long.
        let working = |state: &mut State| !state.ended;
        drop(self.shared.changed.wait_timeout_while(state, FAREWELL, working));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn serve(&self, mut carrier: impl Carrier) {
        let mut healthy = true;
        while let Some(next) = self.next() {
            match carrier.carry(&next.line, next.now) {
                Ok(()) => {
                    if !std::mem::replace(&mut healthy, true) {
                        tracing::warn!(device = self.device, "an audit device takes lines again");
                    }
                    next.told(Ok(()));
                }
                Err(Failure::Line(error)) => {
                    tracing::error!(device = self.device, %error, "an audit device refused a line");
                    self.lose(next, &error);
                }
                Err(Failure::Carrier(error)) => {
                    if std::mem::replace(&mut healthy, false) {
                        tracing::error!(device = self.device, %error, "an audit device takes no lines; it is tried again");
                    }
                    if !self.wait(next, &error) {
                        break;
                    }
                }
            }
        }
        let mut state = self.lock();
        state.ended = true;
        for waiting in state.lines.drain(..) {
            waiting.told(Err("the device was taken away"));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next line; waits for one. Nothing once the device is taken away and all is said.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.lines.pop_front() {
                state.bytes -= next.line.len();
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// After a failure: those who wait learn of it, the other lines stay, and nothing is tried for a while. False: the
    /// device is taken away.
    fn wait(&self, failed: Waiting, error: &io::Error) -> bool {
        let mut state = self.lock();
        let lines = std::iter::once(failed).chain(std::mem::take(&mut state.lines));
        let (awaited, kept): (Vec<_>, Vec<_>) = lines.partition(Waiting::is_awaited);
        state.bytes = kept.iter().map(|waiting| waiting.line.len()).sum();
        state.lines = kept.into();
        state.urgent = false;
        awaited.into_iter().for_each(|waiting| self.lose(waiting, error));
        let calm = |state: &mut State| !state.urgent && !state.closed;
        let (state, _) =
            self.changed.wait_timeout_while(state, PAUSE, calm).unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    fn lose(&self, waiting: Waiting, error: &io::Error) {
        self.lost.fetch_add(1, Relaxed);
        waiting.told(Err(&error.to_string()));
    }
}

impl Waiting {
    /// Whether a request still waits for it.
    fn is_awaited(&self) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| Arc::strong_count(receipt) > 1)
    }

    fn told(self, how: Result<(), &str>) {
        if let Some(receipt) = self.receipt {
            receipt.tell(how);
        }
    }
}

impl Receipt {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, how: Result<(), &str>) {
        let mut open = self.lock();
        open.pending = open.pending.saturating_sub(1);
        match how {
            Ok(()) => open.taken = true,
            Err(why) => open.why = Some(why.to_owned()),
        }
        drop(open);
        self.told.notify_all();
    }

    /// Waits until one device has taken the line, none can any more, or patience is at its end.
    ///
    /// # Errors
    /// With what the last device said.
    pub(crate) fn wait(&self, patience: Duration) -> Result<(), String> {
        let undecided = |open: &mut Open| !open.taken && open.pending > 0;
        let open = self.lock();
        let (open, waited) =
            self.told.wait_timeout_while(open, patience, undecided).unwrap_or_else(PoisonError::into_inner);
        match (open.taken, &open.why) {
            (true, _) => Ok(()),
            (false, _) if waited.timed_out() => Err(format!("no answer within {patience:?}")),
            (false, why) => Err(why.clone().unwrap_or_else(|| "its queue is full".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Longer than any of these takes; nothing waits for it but what has failed.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A carrier that a test holds by the hand: it carries a line when it is told how that goes.
    struct Led {
        carrying: Sender<String>,
        orders: Receiver<Order>,
    }

    enum Order {
        Carry,
        Refuse,
        Fail,
    }

    /// What holds it.
    struct Hand {
        carrying: Receiver<String>,
        orders: Sender<Order>,
    }

    impl Carrier for Led {
        fn carry(&mut self, line: &[u8], _: Time) -> Result<(), Failure> {
            let line = String::from_utf8(line.to_vec()).unwrap();
            self.carrying.send(line.chars().take(20).collect()).unwrap();
            match self.orders.recv().unwrap_or(Order::Carry) {
                Order::Carry => Ok(()),
                Order::Refuse => Err(Failure::Line(io::Error::other("too long"))),
                Order::Fail => Err(Failure::Carrier(io::Error::other("nobody is there"))),
            }
        }
    }

    impl Hand {
        /// The line that it carries now.
        fn line(&self) -> String {
            self.carrying.recv_timeout(PATIENCE).unwrap()
        }

        fn order(&self, order: Order) {
            self.orders.send(order).unwrap();
        }
    }

    fn led() -> (Queue, Hand) {
        let (carrying, seen) = channel();
        let (orders, taken) = channel();
        let queue = Queue::new("slow", PATIENCE, Led { carrying, orders: taken }).unwrap();
        (queue, Hand { carrying: seen, orders })
    }

    fn post(queue: &Queue, line: &str) -> io::Result<()> {
        queue.post(line.as_bytes().to_vec(), Time(0), None)
    }

    /// Posts a line and waits for it as a request does that no other device has answered.
    fn awaited(queue: &Queue, line: &str) -> Arc<Receipt> {
        let receipt = Arc::new(Receipt::default());
        queue.post(line.as_bytes().to_vec(), Time(0), Some(Arc::clone(&receipt))).unwrap();
        receipt
    }

    #[test]
    fn a_full_queue_refuses_the_next_line_and_counts_it() {
        let (queue, hand) = led();
        post(&queue, "first").unwrap();
        assert_eq!(hand.line(), "first");
        for number in 0..LINES_MAX {
            post(&queue, &number.to_string()).unwrap();
        }
        assert_eq!(post(&queue, "one too many").unwrap_err().to_string(), "its queue is full");
        assert_eq!((queue.lost(), queue.length()), (1, LINES_MAX));
        // Once one is carried there is room for another.
        hand.order(Order::Carry);
        assert_eq!(hand.line(), "0");
        post(&queue, "one more").unwrap();
        assert!(post(&queue, "and no more").is_err());
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn a_queue_is_full_by_bytes_too() {
        let (queue, hand) = led();
        post(&queue, "first").unwrap();
        hand.line();
        let half = "x".repeat(BYTES_MAX / 2);
        post(&queue, &half).unwrap();
        post(&queue, &half).unwrap();
        assert!(post(&queue, "x").is_err());
        hand.order(Order::Carry);
        hand.line();
        post(&queue, "x").unwrap();
    }

    #[test]
    fn lines_are_carried_in_the_order_in_which_they_came_even_over_a_failure() {
        let (queue, hand) = led();
        let lines: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        lines.iter().for_each(|line| post(&queue, line).unwrap());
        let mut carried = Vec::new();
        for turn in 0.. {
            let line = hand.line();
            // A failing carrier keeps its line. Whoever waits makes it try again at once.
            if turn == 3 || turn == 7 {
                hand.order(Order::Fail);
                drop(awaited(&queue, &format!("w{turn}")));
                continue;
            }
            hand.order(Order::Carry);
            carried.push(line);
            if carried.len() == lines.len() + 2 {
                break;
            }
        }
        let expected: Vec<String> = lines.iter().cloned().chain(["w3".to_owned(), "w7".to_owned()]).collect();
        assert_eq!(carried, expected);
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn who_waits_for_a_device_that_is_gone_is_told_and_the_others_are_kept_until_it_is_back() {
        let (queue, hand) = led();
        post(&queue, "kept").unwrap();
        assert_eq!(hand.line(), "kept");
        let receipt = awaited(&queue, "awaited");
        hand.order(Order::Fail);
        assert_eq!(receipt.wait(PATIENCE), Err("nobody is there".to_owned()));
        assert_eq!((queue.lost(), queue.length()), (1, 1), "who was told does not wait twice");
        // It is back: the next who waits makes it try at once, and nothing was lost but what somebody was told of.
        let receipt = awaited(&queue, "next");
        assert_eq!(hand.line(), "kept");
        hand.order(Order::Carry);
        assert_eq!(hand.line(), "next");
        hand.order(Order::Carry);
        assert_eq!(receipt.wait(PATIENCE), Ok(()));
        assert_eq!((queue.lost(), queue.length()), (1, 0));
    }

    #[test]
    fn a_line_that_is_refused_holds_up_no_other() {
        let (queue, hand) = led();
        let bad = awaited(&queue, "bad");
        let good = awaited(&queue, "good");
        assert_eq!(hand.line(), "bad");
        hand.order(Order::Refuse);
        assert_eq!(hand.line(), "good");
        hand.order(Order::Carry);
        assert_eq!(bad.wait(PATIENCE), Err("too long".to_owned()));
        assert_eq!(good.wait(PATIENCE), Ok(()));
        assert_eq!(queue.lost(), 1);
    }

    #[test]
    fn what_was_said_before_a_device_is_taken_away_is_still_carried() {
        let (queue, hand) = led();
        ["a", "b", "c"].iter().for_each(|line| post(&queue, line).unwrap());
        (0..3).for_each(|_| hand.order(Order::Carry));
        drop(queue);
        assert_eq!(hand.carrying.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
