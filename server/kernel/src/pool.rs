//! Places for costly work, or for questions to systems outside, and the line before them. Each address has a line of its own and they take turns, so whoever
//! asks a thousand times holds up themselves.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::{Error, Fault, Result};
use tokio::sync::oneshot;

/// How many may wait, all together; more are told to come back. One address has half of what is left, at the most.
pub(crate) const WAITING_MAX: usize = 512;

/// Where requests come from, as far as they share what is scarce: an address, or what one network of IPv6 has many of.
pub fn origin(address: Option<IpAddr>) -> Option<IpAddr> {
    Some(match address? {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    })
}

/// Places for one kind of work.
#[derive(Clone)]
pub(crate) struct Pool {
    lines: Arc<Mutex<Lines>>,
    /// What those are told who find the line too long.
    busy: &'static str,
}

struct Lines {
    free: usize,
    /// In the order of their turns. None is empty.
    lines: VecDeque<Line>,
    waiting: usize,
    next: u64,
}

struct Line {
    origin: Option<IpAddr>,
    waiting: VecDeque<(u64, oneshot::Sender<Place>)>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    pool: Option<Pool>,
}

/// Somebody in a line, who may go away.
struct Waiting<'a> {
    pool: &'a Pool,
    origin: Option<IpAddr>,
    number: u64,
}

impl Pool {
    pub(crate) fn new(places: usize, busy: &'static str) -> Self {
        let lines = Lines { free: places, lines: VecDeque::new(), waiting: 0, next: 0 };
        Self { lines: Arc::new(Mutex::new(lines)), busy }
    }

    /// What those are told who find the line too long, or have waited in it too long.
    pub(crate) fn busy(&self) -> Error {
        Error::new(Fault::Busy, self.busy)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for who asks from this address.
    ///
    /// # Errors
    /// If too many wait already.
    pub(crate) async fn place(&self, address: Option<IpAddr>) -> Result<Place> {
        let origin = origin(address);
        let (waiting, called) = {
            let mut lines = self.lock();
            if lines.free > 0 {
                lines.free -= 1;
                return Ok(Place { pool: Some(self.clone()) });
            }
            let (call, called) = oneshot::channel();
            let number = lines.enter(origin, call).ok_or_else(|| self.busy())?;
            (Waiting { pool: self, origin, number }, called)
        };
        let place = called.await.map_err(|_| Error::internal("the pool is closed"));
        drop(waiting);
        place
    }
}

impl Lines {
    /// Puts somebody at the end of their line, unless it is too long.
    fn enter(&mut self, origin: Option<IpAddr>, call: oneshot::Sender<Place>) -> Option<u64> {
        let line = self.lines.iter().position(|line| line.origin == origin);
        let before = line.and_then(|line| self.lines.get(line)).map_or(0, |line| line.waiting.len());
        if before >= WAITING_MAX - self.waiting {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        match line.and_then(|line| self.lines.get_mut(line)) {
            Some(line) => line.waiting.push_back((number, call)),
            None => self.lines.push_back(Line { origin, waiting: VecDeque::from([(number, call)]) }),
        }
        Some(number)
    }

    /// Who is next. Their line is the last from now on.
    fn call(&mut self) -> Option<oneshot::Sender<Place>> {
        let mut line = self.lines.pop_front()?;
        let next = line.waiting.pop_front();
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        self.waiting -= usize::from(next.is_some());
        next.map(|(_, call)| call)
    }

    fn leave(&mut self, origin: Option<IpAddr>, number: u64) {
        let Some(at) = self.lines.iter().position(|line| line.origin == origin) else { return };
        let Some(line) = self.lines.get_mut(at) else { return };
        let before = line.waiting.len();
        line.waiting.retain(|(own, _)| *own != number);
        self.waiting -= before - line.waiting.len();
        if line.waiting.is_empty() {
            self.lines.remove(at);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.lock().leave(self.origin, self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        loop {
            let call = {
                let mut lines = pool.lock();
                let call = lines.call();
                lines.free += usize::from(call.is_none());
                call
            };
            let Some(call) = call else { return };
            match call.send(Self { pool: Some(pool.clone()) }) {
                Ok(()) => return,
                // Who was called has gone: the next.
                Err(mut place) => place.pool = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Place = Pin<Box<dyn Future<Output = Result<super::Place>>>>;

    fn ask(pool: &Pool, address: u8) -> Place {
        let pool = pool.clone();
        Box::pin(async move { pool.place(Some(IpAddr::from([10, 0, 0, address]))).await })
    }

    fn poll(place: &mut Place) -> Option<Result<super::Place>> {
        match place.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    /// The first of those whose turn has come. It is taken out: nobody asks twice.
    fn first(many: &mut Vec<Place>) -> Option<Result<super::Place>> {
        let (at, place) = many.iter_mut().enumerate().find_map(|(at, place)| Some((at, poll(place)?)))?;
        drop(many.remove(at));
        Some(place)
    }

    #[test]
    fn addresses_take_turns() {
        let pool = Pool::new(1, "busy");
        let at_work = poll(&mut ask(&pool, 1)).unwrap().unwrap();
        let mut many: Vec<Place> = (0..WAITING_MAX).map(|_| ask(&pool, 1)).collect();
        many.retain_mut(|place| poll(place).is_none());
        assert_eq!(many.len(), WAITING_MAX / 2, "one address has half of what is left");
        let mut other = ask(&pool, 2);
        assert!(poll(&mut other).is_none());
        drop(at_work);
        let at_work = first(&mut many).unwrap().unwrap();
        drop(at_work);
        let at_work = poll(&mut other).expect("its line is next").unwrap();
        drop(at_work);
        assert!(first(&mut many).unwrap().is_ok());
    }

    #[test]
    fn who_has_gone_takes_no_place() {
        let pool = Pool::new(1, "busy");
        let at_work = poll(&mut ask(&pool, 1)).unwrap().unwrap();
        for _ in 0..3 {
            let mut gone: Vec<Place> = (0..WAITING_MAX / 2).map(|_| ask(&pool, 1)).collect();
            assert!(gone.iter_mut().all(|place| poll(place).is_none()), "those of before have left");
        }
        let mut called = ask(&pool, 1);
        assert!(poll(&mut called).is_none());
        drop(at_work);
        // Called, and gone before it could come.
        drop(called);
        assert!(poll(&mut ask(&pool, 2)).unwrap().is_ok());
        assert_eq!(pool.lock().waiting, 0);
    }
}
