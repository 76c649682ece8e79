use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kit::Time;

use super::rules::Rate;

/// How often each address has asked, by limit. Bounded: where there is no room, who has not asked for longest is
/// forgotten.
pub(super) struct Buckets {
    shards: [Mutex<HashMap<Key, Bucket>>; SHARDS],
}

/// A limit and an address. Who comes by a socket in the file system has none, and all of them are one.
type Key = (u64, Option<IpAddr>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When the window began in which it counts.
    since: Time,
    taken: u64,
    /// Nothing before this.
    blocked: Time,
}

/// What a request was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Told {
    pub(super) allowed: bool,
    pub(super) remaining: u64,
    /// Until there is room again, or until the window ends.
    pub(super) wait: Duration,
}

const SHARDS: usize = 16;
/// How many addresses one shard remembers.
const SHARD_MAX: usize = 8192;
/// How many are forgotten at once where there is no room.
const FREED: usize = SHARD_MAX / 4;

impl Default for Buckets {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Buckets {
    /// Takes one request out of what an address has left.
    pub(super) fn take(&self, rate: &Rate, address: Option<IpAddr>, now: Time) -> Told {
        let key = (rate.stamp, address.map(|address| address.to_canonical()));
        let Some(shard) = self.shards.get(shard(&key)) else {
            return Told { allowed: false, remaining: 0, wait: rate.interval };
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.contains_key(&key) && shard.len() >= SHARD_MAX {
            make_room(&mut shard, rate.interval, now);
        }
        let bucket = shard.entry(key).or_insert(Bucket { since: now, taken: 0, blocked: Time::default() });
        bucket.take(rate, now)
    }
}

impl Bucket {
    fn take(&mut self, rate: &Rate, now: Time) -> Told {
        // The clock was set back since.
        if now < self.since {
            self.since = now;
            self.blocked = self.blocked.min(now.plus(rate.block));
        }
        if now < self.blocked {
            return Told { allowed: false, remaining: 0, wait: now.until(self.blocked) };
        }
        let interval = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let windows = now.0.saturating_sub(self.since.0) / interval;
        if windows > 0 {
            self.since = Time(self.since.0.saturating_add(windows.saturating_mul(interval)));
            self.taken = 0;
        }
        let end = self.since.plus(rate.interval);
        if self.taken < rate.limit {
            self.taken += 1;
            return Told { allowed: true, remaining: rate.limit - self.taken, wait: now.until(end) };
        }
        if rate.block.is_zero() {
            return Told { allowed: false, remaining: 0, wait: now.until(end) };
        }
        self.blocked = now.plus(rate.block);
        Told { allowed: false, remaining: 0, wait: rate.block }
    }
}

/// Forgets what no longer counts, and if that is not enough, those who have not asked for longest: many at once, so that a
/// flood of addresses does not look at all of them for each.
fn make_room(shard: &mut HashMap<Key, Bucket>, interval: Duration, now: Time) {
    shard.retain(|_, bucket| bucket.since.plus(interval) > now || bucket.blocked > now);
    if shard.len() <= SHARD_MAX - FREED {
        return;
    }
    let mut begun: Vec<Time> = shard.values().map(|bucket| bucket.since).collect();
    let (_, newest, _) = begun.select_nth_unstable(FREED - 1);
    let (newest, mut left) = (*newest, FREED);
    shard.retain(|_, bucket| {
        let goes = left > 0 && bucket.since <= newest;
        left -= usize::from(goes);
        !goes
    });
}

fn shard(key: &Key) -> usize {
    let address = match key.1 {
        Some(IpAddr::V4(address)) => u64::from(address.to_bits()),
        Some(IpAddr::V6(address)) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits()];
            #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed")]
            let mixed = (high as u64) ^ (low as u64);
            mixed
        }
        None => 0,
    };
    let mixed = (address ^ key.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 60).unwrap_or(0) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: u64, interval: u64, block: u64) -> Rate {
        let (interval, block) = (Duration::from_secs(interval), Duration::from_secs(block));
        Rate { stamp: 1, limit, interval, block }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn a_window_gives_so_much_and_the_next_as_much_again() {
        let (buckets, rate) = (Buckets::default(), rate(2, 10, 0));
        assert_eq!(buckets.take(&rate, HERE, at(100)).remaining, 1);
        assert!(buckets.take(&rate, HERE, at(105)).allowed);
        let told = buckets.take(&rate, HERE, at(106));
        assert_eq!((told.allowed, told.wait), (false, Duration::from_secs(4)));
        assert!(buckets.take(&rate, None, at(106)).allowed, "another address has its own");
        assert!(buckets.take(&rate, HERE, at(110)).allowed);
        assert!(buckets.take(&rate, HERE, at(119)).allowed);
        assert!(!buckets.take(&rate, HERE, at(119)).allowed, "windows begin where the first began");
    }

    #[test]
    fn who_asks_too_often_is_blocked_for_longer() {
        let (buckets, rate) = (Buckets::default(), rate(1, 1, 30));
        assert!(buckets.take(&rate, HERE, at(5)).allowed);
        assert_eq!(buckets.take(&rate, HERE, at(5)).wait, Duration::from_secs(30));
        assert_eq!(buckets.take(&rate, HERE, at(25)).wait, Duration::from_secs(10));
        assert!(buckets.take(&rate, HERE, at(35)).allowed);
    }

    #[test]
    fn many_addresses_take_no_more_than_their_room() {
        let (buckets, rate) = (Buckets::default(), rate(1, 3600, 0));
        for number in 0..300_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(buckets.take(&rate, Some(address), Time(u64::from(number))).allowed);
        }
        let kept: usize = buckets.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * SHARD_MAX, "{kept}");
        let last = IpAddr::from(299_999_u32.to_be_bytes());
        assert!(!buckets.take(&rate, Some(last), Time(300_000)).allowed, "who asked last is remembered");
    }
}
