//! Who has how many of the places for looking at proofs. Proofs that hang delay others of their account and others at the host
//! where they hang, and nobody else's. In memory: what is put off is on the agenda.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{Reads, Time};

use super::limits::network;
use super::problem::{Kind, Problem};
use crate::store::Id;

/// How many proofs are looked at in one mount at once: fewer than a mount may ask outside, since orders ask too.
const PLACES_MAX: usize = 48;
/// How many of them for one account.
const OF_ACCOUNT_MAX: usize = 8;
/// How many at one address.
const AT_TARGET_MAX: usize = 16;
/// After how long what was put off is looked at again, and how much later each one more of its account is.
const WAIT: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(50);
/// Accounts whose proofs were put off are counted up to here before those are forgotten that wait no more.
const COUNTED_MAX: usize = 1024;

/// That there is no place now.
pub(super) fn taken() -> Problem {
    Problem::new(Kind::RateLimited, "the places for proofs are taken; it is looked at later")
}

/// Who has places.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Holder {
    Everybody,
    Account(Id),
    Target(String),
}

/// The places of a mount.
#[derive(Default)]
pub(crate) struct Shares(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    places: HashMap<Holder, usize>,
    /// When the last proof of an account that was put off is looked at again.
    last: HashMap<Id, Time>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    shares: Arc<Shares>,
    holders: Vec<Holder>,
}

impl Shares {
    /// Those of this mount.
    pub(super) fn of(cx: &impl Reads) -> Arc<Self> {
        cx.lasting()
    }

    /// A place for a proof of an account; nothing, if its share is taken.
    pub(super) fn of_account(self: &Arc<Self>, account: Id) -> Option<Place> {
        self.take(vec![(Holder::Everybody, PLACES_MAX), (Holder::Account(account), OF_ACCOUNT_MAX)])
    }

    /// A place at an address that is looked at; nothing, if too many are there.
    pub(super) fn at_target(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.take(vec![(Holder::Target(network(address)), AT_TARGET_MAX)])
    }

    fn take(self: &Arc<Self>, wanted: Vec<(Holder, usize)>) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free =
            |(holder, most): &(Holder, usize)| taken.places.get(holder).copied().unwrap_or_default() < *most;
        if !wanted.iter().all(is_free) {
            return None;
        }
        let holders: Vec<_> = wanted.into_iter().map(|(holder, _)| holder).collect();
        for holder in &holders {
            *taken.places.entry(holder.clone()).or_default() += 1;
        }
        Some(Place { shares: Arc::clone(self), holders })
    }

    /// How long a proof of an account waits that found no place. One of many comes after those before it.
    pub(super) fn put_off(&self, account: Id, now: Time) -> Duration {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.last.len() >= COUNTED_MAX {
            taken.last.retain(|_, last| *last > now);
        }
        let soon = now.plus(WAIT);
        let at = taken.last.get(&account).map_or(soon, |last| last.plus(PACE).max(soon));
        taken.last.insert(account, at);
        now.until(at)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        for holder in &self.holders {
            if let Some(count) = taken.places.get_mut(holder) {
                *count -= 1;
                if *count == 0 {
                    taken.places.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::from_bytes(&[number; 16]).unwrap()
    }

    #[test]
    fn one_account_leaves_places_to_others() {
        let shares = Arc::new(Shares::default());
        let mut held: Vec<_> = std::iter::from_fn(|| shares.of_account(id(1))).collect();
        assert_eq!(held.len(), OF_ACCOUNT_MAX);
        let other = shares.of_account(id(2));
        assert!(other.is_some());
        held.pop();
        assert!(shares.of_account(id(1)).is_some(), "what is dropped is free");
        let all: Vec<_> = (3..20).filter_map(|number| shares.of_account(id(number))).collect();
        assert_eq!(all.len(), 17);
        drop((held, other, all));
        assert!(shares.0.lock().unwrap().places.is_empty());
        let all: Vec<_> = (0..100).filter_map(|number| shares.of_account(id(number))).collect();
        assert_eq!(all.len(), PLACES_MAX);
    }

    #[test]
    fn one_host_has_its_share() {
        let shares = Arc::new(Shares::default());
        let host = |last: u8| IpAddr::from([10, 0, 0, last]);
        let held: Vec<_> = std::iter::from_fn(|| shares.at_target(host(1))).collect();
        assert_eq!(held.len(), AT_TARGET_MAX);
        assert!(shares.at_target(host(2)).is_some());
    }

    #[test]
    fn what_is_put_off_comes_one_after_another() {
        let (shares, now) = (Shares::default(), Time::from_seconds(1_000_000));
        let waits: Vec<_> = (0..3).map(|_| shares.put_off(id(1), now)).collect();
        assert_eq!(waits, [WAIT, WAIT + PACE, WAIT + 2 * PACE]);
        assert_eq!(shares.put_off(id(2), now), WAIT);
        assert_eq!(shares.put_off(id(1), now.plus(Duration::from_secs(9))), WAIT);
    }
}
