//! The time, as the server has it.
//!
//! Certificates are dated by the server's clock, so that is the one that counts. Every answer of the server carries its
//! time; from then on the machine's steady clock, which also runs while the machine is suspended, carries it forward.
//! A wall clock that is wrong, or is set while the agent runs, changes nothing. Before the first answer there is only
//! the wall clock.

use std::{cell::Cell, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::moment::Moment;
use crate::settings;

/// The header has whole seconds: a smaller difference is none.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The two clocks of a machine.
pub(crate) trait Ticking {
    /// What it believes the time to be.
    fn wall(&self) -> Moment;
    /// Time since some start, never set, running while suspended.
    fn steady(&self) -> Duration;
}

/// This machine's clocks.
pub(crate) struct Ticks;

impl Ticking for Ticks {
    fn wall(&self) -> Moment {
        settings::now()
    }

    fn steady(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The server's time, carried forward.
pub(crate) struct Clock<T> {
    ticks: T,
    anchor: Cell<Option<(Moment, Duration)>>,
}

impl<T: Ticking> Clock<T> {
    pub(crate) fn new(ticks: T) -> Clock<T> {
        Clock { ticks, anchor: Cell::new(None) }
    }

    pub(crate) fn now(&self) -> Moment {
        match self.anchor.get() {
            None => self.ticks.wall(),
            Some((server, then)) => server.plus(self.ticks.steady().saturating_sub(then)),
        }
    }

    /// The server says what time it is.
    pub(crate) fn heard(&self, server: Moment) {
        let now = self.now();
        let known = self.anchor.get().is_some() && now.since(server).max(server.since(now)) <= TOLERANCE;
        if !known {
            self.anchor.set(Some((server, self.ticks.steady())));
        }
    }

    /// How far the wall clock is ahead of the server's, and how far behind.
    pub(crate) fn offset(&self) -> (Duration, Duration) {
        let (wall, now) = (self.ticks.wall(), self.now());
        (wall.since(now), now.since(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[derive(Clone)]
    struct Set(Rc<Cell<(i64, u64)>>);

    impl Ticking for Set {
        fn wall(&self) -> Moment {
            Moment::from_seconds(self.0.get().0)
        }

        fn steady(&self) -> Duration {
            Duration::from_secs(self.0.get().1)
        }
    }

    /// R7: wrong by ten minutes either way, set while running, suspended for a night.
    #[test]
    fn a_wrong_clock_changes_nothing_once_the_server_was_heard() {
        for wrong in [-600, 0, 600] {
            let ticks = Set(Rc::new(Cell::new((10_000 + wrong, 50))));
            let clock = Clock::new(ticks.clone());
            assert_eq!(clock.now().seconds(), 10_000 + wrong, "there is nothing else yet");
            clock.heard(Moment::from_seconds(10_000));
            assert_eq!(clock.now().seconds(), 10_000);
            ticks.0.set((9_999_999, 60));
            assert_eq!(clock.now().seconds(), 10_010, "somebody set the wall clock");
            ticks.0.set((0, 60 + 8 * 3600));
            assert_eq!(clock.now().seconds(), 10_010 + 8 * 3600, "the machine slept");
            clock.heard(Moment::from_seconds(10_011 + 8 * 3600));
            assert_eq!(clock.now().seconds(), 10_010 + 8 * 3600, "a second is the header's grain");
            clock.heard(Moment::from_seconds(20_000));
            assert_eq!(clock.now().seconds(), 20_000, "the server's clock was set");
        }
    }
}
