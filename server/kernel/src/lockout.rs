use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use kit::Time;
use storage::Random;
use zeroize::Zeroizing;

use crate::mounts::Mounted;
use crate::settings::Lockout;

/// Failed logins by mount and name. Soft by design: a restart forgets them. Bounded: a name costs the same however long it
/// is, and where there is no room the quietest are forgotten.
pub(crate) struct Lockouts {
    key: hmac::Key,
    shards: [Mutex<HashMap<Mark, Failures>>; SHARDS],
    /// How many are remembered. Mostly none, and then nobody has to say who they are.
    known: AtomicUsize,
}

/// A mount and a name, hashed under a key of this server's life, so that nobody chooses whom they fall together with.
type Mark = [u8; 32];

/// How often a name has failed to log in.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) accessor: Box<str>,
    /// The name as it is shown.
    pub(crate) who: Box<str>,
    count: u64,
    last: Time,
    locked_until: Time,
    /// From then on it is as if it had never failed.
    over: Time,
}

const SHARDS: usize = 16;
/// How many names one shard remembers.
const SHARD_MAX: usize = 4096;
/// How many are forgotten at once where there is no room.
const FREED: usize = SHARD_MAX / 4;
/// Of a longer name so many bytes are kept, to be shown.
const SHOWN_SIZE_MAX: usize = 256;
/// The methods for which a name can be locked out.
const METHODS: [&str; 3] = ["userpass", "ldap", "approle"];

/// When a mount locks a name out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    pub(crate) threshold: u64,
    pub(crate) duration: Duration,
    pub(crate) reset: Duration,
}

impl Rule {
    /// The rule for a mount: its own, else the configuration's, else five failures in a quarter of an hour.
    pub(crate) fn of(mounted: &Mounted, configured: &[Lockout]) -> Option<Self> {
        let kind = mounted.entry.kind.as_str();
        if !METHODS.contains(&kind) {
            return None;
        }
        let quarter = Duration::from_secs(900);
        let mut rule = Self { threshold: 5, duration: quarter, reset: quarter };
        let mut off = false;
        for wide in ["all", kind] {
            for lockout in configured.iter().filter(|lockout| lockout.method == wide) {
                off = lockout.disabled;
                rule.threshold = lockout.threshold.map_or(rule.threshold, u64::from);
                rule.duration = lockout.duration.unwrap_or(rule.duration);
                rule.reset = lockout.counter_reset.unwrap_or(rule.reset);
            }
        }
        if let Some(own) = &mounted.entry.config.user_lockout_config {
            let seconds = |own: u64, other| if own == 0 { other } else { Duration::from_secs(own) };
            off = own.lockout_disable;
            rule.threshold = if own.lockout_threshold == 0 { rule.threshold } else { own.lockout_threshold };
            rule.duration = seconds(own.lockout_duration, rule.duration);
            rule.reset = seconds(own.lockout_counter_reset_duration, rule.reset);
        }
        (!off && rule.threshold > 0).then_some(rule)
    }
}

impl Failures {
    /// Whether the name is locked out now.
    pub(crate) fn locks(&self, rule: Rule, now: Time) -> bool {
        self.count >= rule.threshold && self.last.until(now) < rule.duration
    }

    /// Moves what was counted with a clock that was set back since.
    fn abide(&mut self, now: Time) {
        let ahead = now.until(self.last);
        for moment in [&mut self.last, &mut self.locked_until, &mut self.over] {
            *moment = moment.minus(ahead);
        }
    }

    fn count(&mut self, rule: Rule, now: Time) {
        self.abide(now);
        if self.last.until(now) >= rule.reset {
            self.count = 0;
        }
        self.count += 1;
        self.last = now;
        self.locked_until =
            if self.count >= rule.threshold { now.plus(rule.duration) } else { Time::default() };
        self.over = now.plus(rule.reset.max(rule.duration));
    }
}

impl Lockouts {
    pub(crate) fn new(random: &dyn Random) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random.fill(&mut *key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &*key),
            shards: std::array::from_fn(|_| Mutex::default()),
            known: AtomicUsize::new(0),
        }
    }

    /// Whether a name is locked out now. It is asked for only where some have failed.
    pub(crate) fn locked(&self, accessor: &str, who: impl FnOnce() -> String, rule: Rule, now: Time) -> bool {
        if self.known.load(SeqCst) == 0 {
            return false;
        }
        let mark = self.mark(accessor, &who());
        self.in_shard(&mark, |shard| {
            shard.get_mut(&mark).is_some_and(|known| {
                known.abide(now);
                known.locks(rule, now)
            })
        })
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, accessor: &str, who: &str, rule: Rule, now: Time) {
        let mark = self.mark(accessor, who);
        let count = self.in_shard(&mark, |shard| {
            if !shard.contains_key(&mark) && shard.len() >= SHARD_MAX {
                make_room(shard, now);
            }
            let first = || Failures {
                accessor: accessor.into(),
                who: shown(who, &mark).into(),
                count: 0,
                last: now,
                locked_until: Time::default(),
                over: now,
            };
            let known = shard.entry(mark).or_insert_with(first);
            known.count(rule, now);
            known.count
        });
        if count == rule.threshold {
            tracing::info!(
                mount = accessor,
                user = shown(who, &mark),
                "failed logins have locked a user out"
            );
        }
    }

    /// Forgets the failures of a name: it has come in. It is asked for only where some have failed.
    pub(crate) fn clear(&self, accessor: &str, who: impl FnOnce() -> String) {
        if self.known.load(SeqCst) > 0 {
            let mark = self.mark(accessor, &who());
            self.in_shard(&mark, |shard| shard.remove(&mark));
        }
    }

    /// Forgets the failures of a name, for an operator says so: the name as it is, or as it is shown.
    pub(crate) fn release(&self, accessor: &str, who: &str) {
        self.clear(accessor, || who.to_owned());
        if who.len() > SHOWN_SIZE_MAX {
            let same = |known: &Failures| &*known.accessor == accessor && &*known.who == who;
            self.shards
                .iter()
                .for_each(|shard| self.within(shard, |shard| shard.retain(|_, known| !same(known))));
        }
    }

    /// Every name that has failed lately. What is over is forgotten.
    pub(crate) fn all(&self, now: Time) -> Vec<Failures> {
        let mut all = Vec::new();
        for shard in &self.shards {
            self.within(shard, |shard| {
                shard.retain(|_, known| {
                    known.abide(now);
                    known.over > now
                });
                all.extend(shard.values().cloned());
            });
        }
        all
    }

    fn mark(&self, accessor: &str, who: &str) -> Mark {
        let mut text = hmac::Context::with_key(&self.key);
        // No accessor holds a zero.
        [accessor.as_bytes(), &[0], who.as_bytes()].iter().for_each(|part| text.update(part));
        let mut mark = [0; 32];
        mark.iter_mut().zip(text.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mark
    }

    fn in_shard<T>(&self, mark: &Mark, work: impl FnOnce(&mut HashMap<Mark, Failures>) -> T) -> T {
        let [first, ..] = *mark;
        let shard = self.shards.get(usize::from(first) % SHARDS).expect("a remainder of their number");
        self.within(shard, work)
    }

    /// Works in a shard, and counts what has come and gone.
    fn within<T>(
        &self,
        shard: &Mutex<HashMap<Mark, Failures>>,
        work: impl FnOnce(&mut HashMap<Mark, Failures>) -> T,
    ) -> T {
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.len();
        let value = work(&mut shard);
        self.known.fetch_add(shard.len().saturating_sub(before), SeqCst);
        self.known.fetch_sub(before.saturating_sub(shard.len()), SeqCst);
        value
    }
}

/// Forgets what is over. If that is not enough, many at once, so that a flood of names does not look at all of them for each:
/// those that have failed least often, and longest ago. Who is locked out goes last, when there is nobody else: to get one
/// out, all the others have to be locked out first.
fn make_room(shard: &mut HashMap<Mark, Failures>, now: Time) {
    shard.retain(|_, known| known.over > now);
    if shard.len() <= SHARD_MAX - FREED {
        return;
    }
    let rank = |known: &Failures| (known.locked_until > now, known.count, known.last);
    let mut ranks: Vec<_> = shard.values().map(rank).collect();
    let (_, highest, _) = ranks.select_nth_unstable(FREED - 1);
    let (highest, mut left) = (*highest, FREED);
    shard.retain(|_, known| {
        let goes = left > 0 && rank(known) <= highest;
        left -= usize::from(goes);
        !goes
    });
}

/// A name as it is shown: a long one by its beginning, and something that tells it from others that begin alike.
fn shown(who: &str, mark: &Mark) -> String {
    if who.len() <= SHOWN_SIZE_MAX {
        return who.to_owned();
    }
    let (head, _) = who.split_at(who.floor_char_boundary(SHOWN_SIZE_MAX));
    let [a, b, c, d, e, f, g, h, ..] = *mark;
    format!("{head}\u{2026}{}", hex::encode([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use storage::SystemRandom;

    use super::*;

    const RULE: Rule =
        Rule { threshold: 5, duration: Duration::from_secs(60), reset: Duration::from_secs(600) };

    fn at(seconds: u64) -> Time {
        Time::from_seconds(seconds)
    }

    fn fail(lockouts: &Lockouts, who: &str, times: usize, now: Time) {
        (0..times).for_each(|_| lockouts.failed("auth_x", who, RULE, now));
    }

    fn locked(lockouts: &Lockouts, who: &str, now: Time) -> bool {
        lockouts.locked("auth_x", || who.to_owned(), RULE, now)
    }

    fn known(lockouts: &Lockouts) -> usize {
        lockouts.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_flood_of_names_pushes_out_neither_who_is_locked_nor_who_fails_most() {
        let lockouts = Lockouts::new(&SystemRandom);
        fail(&lockouts, "locked", 5, at(100));
        fail(&lockouts, "failing", 4, at(100));
        for number in 0..3 * SHARDS * SHARD_MAX {
            fail(&lockouts, &format!("flood-{number}"), 1, at(120));
        }
        assert!(locked(&lockouts, "locked", at(130)));
        fail(&lockouts, "failing", 1, at(130));
        assert!(locked(&lockouts, "failing", at(130)), "its four failures are remembered");
        let kept = known(&lockouts);
        assert!(kept <= SHARDS * SHARD_MAX, "{kept}");
        assert_eq!(lockouts.known.load(SeqCst), kept);
        let newest = format!("flood-{}", 3 * SHARDS * SHARD_MAX - 1);
        assert!(
            lockouts.all(at(130)).iter().any(|known| *known.who == *newest),
            "who failed last is remembered"
        );
        assert!(lockouts.all(at(730)).is_empty(), "what is over is forgotten");
        assert_eq!((known(&lockouts), lockouts.known.load(SeqCst)), (0, 0));
    }

    #[test]
    fn what_is_over_makes_room_before_anybody_else() {
        let lockouts = Lockouts::new(&SystemRandom);
        for number in 0..SHARDS * SHARD_MAX {
            fail(&lockouts, &format!("old-{number}"), 4, at(100));
        }
        for number in 0..SHARDS * SHARD_MAX / 2 {
            fail(&lockouts, &format!("new-{number}"), 1, at(700));
        }
        let all = lockouts.all(at(700));
        assert!(all.iter().all(|known| known.who.starts_with("new-")));
        assert_eq!(all.len(), SHARDS * SHARD_MAX / 2);
    }

    #[test]
    fn a_long_name_is_cut_and_can_be_released_as_it_is_shown() {
        let lockouts = Lockouts::new(&SystemRandom);
        let long = |end: &str| format!("{}{end}", "\u{e4}".repeat(100_000));
        fail(&lockouts, &long("a"), 5, at(100));
        fail(&lockouts, &long("b"), 5, at(100));
        let shown: Vec<String> = lockouts.all(at(100)).into_iter().map(|known| known.who.into()).collect();
        assert!(shown.iter().all(|who| who.len() < SHOWN_SIZE_MAX + 32), "{shown:?}");
        lockouts.release("auth_y", &shown[0]);
        assert!(locked(&lockouts, &long("a"), at(100)) && locked(&lockouts, &long("b"), at(100)));
        lockouts.release("auth_x", &shown[0]);
        assert!(locked(&lockouts, &long("a"), at(100)) != locked(&lockouts, &long("b"), at(100)));
        ["a", "b"].iter().for_each(|end| lockouts.release("auth_x", &long(end)));
        assert!(!locked(&lockouts, &long("a"), at(100)) && !locked(&lockouts, &long("b"), at(100)));
    }
}
