//! Who may try when. Commands pass each other freely; who has lost a race gets in line with the others on the same path,
//! and who keeps losing gets a turn alone.

use std::hash::{BuildHasher, RandomState};

use policy::Path;
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How many lines there are. Two paths in one cost each other some time, and nothing else.
const LINES: usize = 64;
/// After losing so many races a command runs alone.
pub(crate) const RACES_MAX: u32 = 8;

/// The turns of one server.
pub(crate) struct Turns {
    all: RwLock<()>,
    lines: Box<[Mutex<()>]>,
    hasher: RandomState,
}

/// The front of a line. Without it, whoever wants the same entry would run in vain each time another commits.
pub(crate) type Front<'a> = MutexGuard<'a, ()>;

/// The right to try once.
pub(crate) enum Turn<'a> {
    /// Beside others.
    Shared { _held: RwLockReadGuard<'a, ()> },
    /// While nobody else commits.
    Alone { _held: RwLockWriteGuard<'a, ()> },
}

impl Turns {
    pub(crate) fn new() -> Self {
        let lines = (0..LINES).map(|_| Mutex::new(())).collect();
        Self { all: RwLock::new(()), lines, hasher: RandomState::new() }
    }

    /// Waits for the front of the line of a path. Whoever holds it must not wait for another request.
    pub(crate) async fn front(&self, path: &Path) -> Option<Front<'_>> {
        let line = self.hasher.hash_one(path.as_str()) as usize % LINES;
        match self.lines.get(line) {
            Some(line) => Some(line.lock().await),
            None => None,
        }
    }

    /// Waits for the right to try after so many lost races.
    pub(crate) async fn turn(&self, races: u32) -> Turn<'_> {
        if races < RACES_MAX {
            return Turn::Shared { _held: self.all.read().await };
        }
        self.alone().await
    }

    /// Waits until nobody else tries.
    pub(crate) async fn alone(&self) -> Turn<'_> {
        Turn::Alone { _held: self.all.write().await }
    }
}
