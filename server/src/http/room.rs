//! What requests hold while nobody knows yet who asks: a bounded amount, and nobody takes all of it.
//!
//! A connection has a little of its own, so that small requests pay nothing. What goes beyond comes out of one room, of which
//! an address may have as much as is left for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// What one connection holds without asking, in kibibytes.
const OWN: u32 = 32;
/// The room of all, in kibibytes.
const ROOM: u32 = 256 * 1024;
/// How long a request waits for room before it is refused.
const WAIT: Duration = Duration::from_secs(2);
/// How many may wait: what they have sent already waits with them.
const WAITING_MAX: usize = 256;

static ALL: LazyLock<Room> = LazyLock::new(|| Room::new(ROOM));

/// The room of all.
struct Room {
    state: Mutex<State>,
    freed: Notify,
    waiting: AtomicUsize,
}

struct State {
    free: u32,
    held: HashMap<Option<IpAddr>, u32>,
}

/// What a connection has of its own.
#[derive(Debug)]
pub(crate) struct Purse(AtomicU32);

/// What one request holds, until it is dropped.
pub(crate) struct Space {
    purse: Arc<Purse>,
    room: &'static Room,
    origin: Option<IpAddr>,
    /// What the head takes, in bytes.
    head: usize,
    own: u32,
    shared: u32,
}

impl Default for Purse {
    fn default() -> Self {
        Self(AtomicU32::new(OWN))
    }
}

impl Purse {
    /// Takes as much of this as there is.
    fn take(&self, wanted: u32) -> u32 {
        let left = |free: u32| Some(free.saturating_sub(wanted));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).unwrap_or(0);
        before.min(wanted)
    }

    fn put_back(&self, taken: u32) {
        self.0.fetch_add(taken, Ordering::Relaxed);
    }
}

impl Room {
    fn new(size: u32) -> Self {
        let state = State { free: size, held: HashMap::new() };
        Self { state: Mutex::new(state), freed: Notify::new(), waiting: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so much, unless there would be less left for others than this address has.
    fn take(&self, origin: Option<IpAddr>, wanted: u32) -> bool {
        let mut state = self.lock();
        let held = state.held.get(&origin).copied().unwrap_or(0);
        let fits = wanted <= state.free && held + wanted <= state.free - wanted;
        if fits {
            state.free -= wanted;
            state.held.insert(origin, held + wanted);
        }
        fits
    }

    fn put_back(&self, origin: Option<IpAddr>, taken: u32) {
        let mut state = self.lock();
        state.free += taken;
        match state.held.get_mut(&origin) {
            Some(held) if *held > taken => *held -= taken,
            _ => drop(state.held.remove(&origin)),
        }
        drop(state);
        self.freed.notify_waiters();
    }

    /// The same, and waits a moment for it.
    async fn wait(&self, origin: Option<IpAddr>, wanted: u32) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let _waiting = Waiting(&self.waiting);
        let taken = async {
            loop {
                let freed = self.freed.notified();
                if self.take(origin, wanted) {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(WAIT, taken).await.is_ok()
    }
}

/// Somebody who waits for room, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Space {
    /// Nothing yet, for a request of a connection that comes from this address, with a head of so many bytes.
    pub(crate) fn new(purse: &Arc<Purse>, address: Option<IpAddr>, head: usize) -> Self {
        let (purse, origin) = (Arc::clone(purse), kernel::origin(address));
        Self { purse, room: &ALL, origin, head, own: 0, shared: 0 }
    }

    /// What the head of the request takes, in bytes.
    pub(crate) fn head(&self) -> usize {
        self.head
    }

    /// Has room for so many bytes, once there is some. False if there is none for so long that the client had better come
    /// back.
    pub(crate) async fn grow(&mut self, bytes: usize) -> bool {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let mut more = wanted.saturating_sub(self.own + self.shared);
        let own = self.purse.take(more);
        self.own += own;
        more -= own;
        if more > 0 && !self.room.take(self.origin, more) && !self.room.wait(self.origin, more).await {
            return false;
        }
        self.shared += more;
        true
    }

    /// Holds no more than so many bytes from now on.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let back = self.shared.min((self.own + self.shared).saturating_sub(wanted));
        if back > 0 {
            self.shared -= back;
            self.room.put_back(self.origin, back);
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.purse.put_back(self.own);
        if self.shared > 0 {
            self.room.put_back(self.origin, self.shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn whoever_takes_much_leaves_as_much() {
        let room = Room::new(1200);
        let most = |number: u8| (1..=1200).rev().find(|wanted| room.take(origin(number), *wanted)).unwrap();
        assert_eq!([most(1), most(2), most(3)], [600, 300, 150]);
        assert!(!room.take(origin(1), 1));
        assert!(room.take(origin(4), 1), "there is always some for one more");
        room.put_back(origin(1), 600);
        assert!(room.take(origin(4), 300));
    }

    #[test]
    fn a_connection_pays_with_its_own_first() {
        let purse = Purse::default();
        assert_eq!((purse.take(30), purse.take(30), purse.take(1)), (30, OWN - 30, 0));
        purse.put_back(OWN);
        assert_eq!(purse.take(u32::MAX), OWN);
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_a_moment() {
        let room = Room::new(100);
        assert!(room.take(origin(1), 50));
        let (waited, ()) = tokio::join!(room.wait(origin(1), 10), async { room.put_back(origin(1), 20) });
        assert!(waited);
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }
}
