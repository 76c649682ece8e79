//! How often one may ask: so that a client gone wild costs others nothing. In memory; a restart forgets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use kit::{Reads, Time};

use super::problem::{Kind, Refused, Result};

/// How many are counted at once. Beyond that, those are forgotten first who have asked least.
const COUNTED_MAX: usize = 20_000;

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Limit {
    /// New accounts from one address.
    Accounts,
    /// New orders of one account.
    Orders,
    /// Names that one account has ordered and not been issued.
    Names,
    /// The same from one address, of accounts that nobody vouches for.
    NamesFrom,
    /// Proofs that one account tries for one name.
    Proofs,
    /// Questions of one account who may certify its names, when they are issued.
    Questions,
}

impl Limit {
    /// How many at once, and how long until one more.
    fn rate(self) -> (u32, Duration) {
        match self {
            Self::Accounts => (200, Duration::from_secs(5)),
            Self::Orders => (1000, Duration::from_secs(2)),
            // What is ordered is kept for two days, so these are about what one can have lie about.
            Self::Names => (5000, Duration::from_secs(30)),
            Self::NamesFrom => (20_000, Duration::from_secs(8)),
            Self::Proofs | Self::Questions => (30, Duration::from_secs(60)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Accounts => "too many new accounts from this address",
            Self::Orders => "too many new orders of this account",
            Self::Names => "too many names were ordered by this account and not issued",
            Self::NamesFrom => "too many names were ordered from this address and not issued",
            Self::Questions => "too many orders were finalized for which CAA records are to be read again",
            Self::Proofs => "too many proofs of this name were tried by this account",
        }
    }
}

/// Those who have asked of late: what they asked for, who they are, and when they will have paid for it all.
#[derive(Default)]
pub(super) struct Limits(Mutex<HashMap<(Limit, [u8; 32]), Time>>);

impl Limits {
    /// Those of this mount.
    pub(super) fn of(cx: &impl Reads) -> Arc<Self> {
        cx.lasting()
    }

    /// Counts so many more, or says when to come back.
    pub(super) fn count(&self, limit: Limit, who: &[u8], many: usize, now: Time) -> Result<()> {
        let (burst, pace) = limit.rate();
        let many = u32::try_from(many).unwrap_or(u32::MAX).clamp(1, burst);
        let key = (limit, hash(who));
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // None owes more than a burst, but where the clock was set back since.
        let paid = counted.get(&key).copied().unwrap_or(now).clamp(now, now.plus(pace * burst));
        let ahead = now.until(paid);
        let allowed = pace * (burst - many);
        if ahead > allowed {
            let wait = (ahead - allowed).as_secs() + 1;
            let why = format!("{}; come back in {wait} seconds", limit.name());
            return Err(Refused::new(Kind::RateLimited, why).with_header("retry-after", wait.to_string()));
        }
        if counted.len() >= COUNTED_MAX {
            counted.retain(|_, paid| *paid > now);
        }
        if counted.len() >= COUNTED_MAX {
            // Those who owe most are kept: else many names at once would set anybody free.
            let mut owed: Vec<Time> = counted.values().copied().collect();
            let (_, middle, _) = owed.select_nth_unstable(COUNTED_MAX / 2);
            let middle = *middle;
            counted.retain(|_, paid| *paid > middle);
        }
        counted.insert(key, paid.plus(pace * many));
        Ok(())
    }

    /// Takes so many off what was counted.
    pub(super) fn give_back(&self, limit: Limit, who: &[u8], many: usize, now: Time) {
        let (_, pace) = limit.rate();
        let many = u32::try_from(many).unwrap_or(u32::MAX);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paid) = counted.get_mut(&(limit, hash(who))) {
            *paid = paid.minus(pace.saturating_mul(many)).max(now);
        }
    }
}

/// What one caller has of the addresses: all that a network of IPv6 has for one site, of which everybody has one.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
    }
}

fn hash(who: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest::digest(&digest::SHA256, who).as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let limits = Limits::default();
        let now = Time::from_seconds(1_000_000);
        for _ in 0..30 {
            limits.count(Limit::Proofs, b"a", 1, now).unwrap();
        }
        let refused = limits.count(Limit::Proofs, b"a", 1, now).unwrap_err().into_error(Vec::new());
        let page = refused.page().unwrap();
        assert_eq!((page.status, page.headers.first()), (429, Some(&("retry-after", "61".to_owned()))));
        limits.count(Limit::Proofs, b"b", 1, now).unwrap();
        limits.count(Limit::Proofs, b"a", 1, now.plus(Duration::from_secs(61))).unwrap();
    }

    #[test]
    fn many_count_as_many_until_they_are_given_back() {
        let (limits, now) = (Limits::default(), Time::from_seconds(1_000_000));
        let hundred = |limits: &Limits| limits.count(Limit::Names, b"a", 100, now);
        for _ in 0..50 {
            hundred(&limits).unwrap();
        }
        let refused = hundred(&limits).unwrap_err().into_error(Vec::new());
        let told = refused.page().unwrap().headers.first().cloned();
        assert_eq!(told, Some(("retry-after", "3001".to_owned())));
        limits.give_back(Limit::Names, b"a", 100, now);
        hundred(&limits).unwrap();
        assert!(hundred(&limits).is_err());
        limits.give_back(Limit::Names, b"a", 1_000_000, now);
        (0..50).for_each(|_| hundred(&limits).unwrap());
        assert!(hundred(&limits).is_err(), "nobody gets more than there was");
    }

    #[test]
    fn many_others_set_nobody_free() {
        let (limits, now) = (Limits::default(), Time::from_seconds(1_000_000));
        for _ in 0..30 {
            limits.count(Limit::Proofs, b"a", 1, now).unwrap();
        }
        for other in 0..3 * COUNTED_MAX {
            limits.count(Limit::Proofs, &other.to_be_bytes(), 1, now).unwrap();
        }
        assert!(limits.0.lock().unwrap().len() <= COUNTED_MAX);
        assert!(limits.count(Limit::Proofs, b"a", 1, now).is_err());
    }

    #[test]
    fn who_has_a_network_is_one_caller() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::5"), of("2001:db8:1:2:ffff::7"));
        assert_ne!(of("2001:db8:1:2::5"), of("2001:db8:1:3::5"));
        assert_eq!((of("::ffff:10.0.0.1"), of("10.0.0.2")), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()));
    }
}
