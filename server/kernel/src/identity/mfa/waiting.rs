use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::{Claim, Time};

use crate::namespaces::Ns;
use crate::pool::origin;

/// How long a login waits for its second factor.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many logins may wait, all together. Of these an address may have as many as are left after it.
const WAITING_MAX: usize = 10_000;
/// How many logins of one entity may wait; its oldest go first.
const OWN_MAX: usize = 8;
/// How many names have their attempts counted; those of past periods go first, and then those with the fewest.
const COUNTED_MAX: usize = 65_536;

/// A login whose proof was right, and that still owes a second factor.
pub(crate) struct WaitingLogin {
    pub(crate) claim: Claim,
    /// Where the auth mount lies.
    pub(crate) namespace: Ns,
    /// The auth mount, by id.
    pub(crate) mount: String,
    pub(crate) path: String,
    /// Whom it claimed to be, for the counter of failed logins.
    pub(crate) who: String,
    pub(crate) entity: String,
    /// The role that it is by, if leases are counted by role.
    pub(crate) role: Option<String>,
    pub(crate) since: Time,
    /// Where it came from.
    pub(crate) address: Option<IpAddr>,
}

/// Logins that wait, and how often codes were tried. Soft by design: a restart forgets both.
#[derive(Default)]
pub(crate) struct Waiting {
    logins: Arc<Mutex<Logins>>,
    tries: Mutex<HashMap<(String, String), Tries>>,
}

#[derive(Default)]
struct Logins {
    by_id: HashMap<String, (u64, Arc<WaitingLogin>)>,
    /// Their ids by number, and the numbers by whom and whence they are: the oldest is the first.
    in_line: BTreeMap<u64, String>,
    by_entity: HashMap<String, BTreeSet<u64>>,
    by_origin: HashMap<Option<IpAddr>, BTreeSet<u64>>,
    next: u64,
    /// Those that a request is about to give their token.
    claimed: HashSet<String>,
}

/// The right of one request to give a login its token. Without a token it can be tried again.
pub(crate) struct Claimed {
    logins: Arc<Mutex<Logins>>,
    id: String,
}

#[derive(Clone, Copy)]
struct Tries {
    count: u64,
    since: Time,
    period: Duration,
}

impl Tries {
    fn are_past(&self, now: Time) -> bool {
        self.since.until(now) >= self.period
    }
}

impl Logins {
    /// Has it wait. Who has too many waiting, or whose address has, loses their own oldest, and nobody else one of theirs.
    fn put(&mut self, id: String, login: WaitingLogin) {
        let origin = origin(login.address);
        // Who is nobody shares nothing with others who are.
        let own = self.by_entity.get(&login.entity);
        let own = own.filter(|own| own.len() >= OWN_MAX && !login.entity.is_empty());
        let crowd = self.by_origin.get(&origin);
        let left = WAITING_MAX - self.by_id.len().min(WAITING_MAX);
        let oldest = match (own, crowd) {
            (Some(own), _) => own.first(),
            (None, Some(crowd)) if crowd.len() >= left => crowd.first(),
            (None, None) if left == 0 => self.in_line.keys().next(),
            _ => None,
        };
        if let Some(number) = oldest.copied() {
            self.remove_number(number);
        }
        let number = self.next;
        self.next += 1;
        self.in_line.insert(number, id.clone());
        self.by_entity.entry(login.entity.clone()).or_default().insert(number);
        self.by_origin.entry(origin).or_default().insert(number);
        self.by_id.insert(id, (number, Arc::new(login)));
    }

    fn remove_number(&mut self, number: u64) {
        if let Some(id) = self.in_line.get(&number).cloned() {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some((number, login)) = self.by_id.remove(id) else { return };
        self.in_line.remove(&number);
        take_from(&mut self.by_entity, &login.entity, number);
        take_from(&mut self.by_origin, &origin(login.address), number);
    }

    /// Forgets those that have waited too long, which are the first in line.
    fn forget_old(&mut self, now: Time) {
        while let Some((id, true)) = self.oldest(now) {
            self.remove(&id);
        }
    }

    fn oldest(&self, now: Time) -> Option<(String, bool)> {
        let (_, id) = self.in_line.first_key_value()?;
        let (_, login) = self.by_id.get(id)?;
        Some((id.clone(), login.since.until(now) >= PATIENCE))
    }
}

fn take_from<Q, K>(numbers: &mut HashMap<K, BTreeSet<u64>>, key: &Q, number: u64)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(of_key) = numbers.get_mut(key) {
        of_key.remove(&number);
        if of_key.is_empty() {
            numbers.remove(key);
        }
    }
}

impl Waiting {
    /// Lets a login wait under an id.
    pub(crate) fn put(&self, id: String, login: WaitingLogin) {
        let mut logins = locked(&self.logins);
        logins.forget_old(login.since);
        logins.put(id, login);
    }

    /// The login of this id, if it still waits.
    pub(crate) fn get(&self, id: &str, now: Time) -> Option<Arc<WaitingLogin>> {
        let logins = locked(&self.logins);
        let login = logins.by_id.get(id).map(|(_, login)| login);
        login.filter(|login| login.since.until(now) < PATIENCE).cloned()
    }

    /// Claims the login of this id, if it still waits and nobody else has.
    pub(crate) fn claim(&self, id: &str) -> Option<Claimed> {
        let mut logins = locked(&self.logins);
        let free = logins.by_id.contains_key(id) && logins.claimed.insert(id.to_owned());
        free.then(|| Claimed { logins: Arc::clone(&self.logins), id: id.to_owned() })
    }

    /// Lets the login of this id wait no more.
    pub(crate) fn forget(&self, id: &str) {
        locked(&self.logins).remove(id);
    }

    /// Keeps only those that wait in such namespaces.
    pub(crate) fn keep(&self, namespaces: impl Fn(Ns) -> bool) {
        let mut logins = locked(&self.logins);
        let known = logins.by_id.iter().filter(|(_, (_, login))| !namespaces(login.namespace));
        let gone: Vec<String> = known.map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| logins.remove(id));
    }

    /// Counts a try of an entity at a method, and says how many there were in this period.
    pub(crate) fn tried(&self, entity: &str, method: &str, period: Duration, now: Time) -> u64 {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED_MAX {
            make_room(&mut tries, now);
        }
        let known = tries.entry((entity.to_owned(), method.to_owned())).or_insert(Tries {
            count: 0,
            since: now,
            period,
        });
        // The clock was set back since.
        known.since = known.since.min(now);
        known.period = period;
        if known.are_past(now) {
            *known = Tries { count: 0, since: now, period };
        }
        known.count += 1;
        known.count
    }

    /// Forgets the tries of an entity at a method: it has shown the right code.
    pub(crate) fn clear(&self, entity: &str, method: &str) {
        self.tries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(entity.to_owned(), method.to_owned()));
    }
}

impl Claimed {
    /// It has its token, and waits no more.
    pub(crate) fn admitted(&self) {
        locked(&self.logins).remove(&self.id);
    }
}

impl std::fmt::Debug for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claimed")
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        locked(&self.logins).claimed.remove(&self.id);
    }
}

/// Forgets the tries of past periods; and if nearly all are young, the half with the fewest tries: who is near the bound stays.
fn make_room(tries: &mut HashMap<(String, String), Tries>, now: Time) {
    tries.retain(|_, known| !known.are_past(now));
    if tries.len() < COUNTED_MAX / 2 {
        return;
    }
    let mut counts: Vec<u64> = tries.values().map(|known| known.count).collect();
    let middle = counts.len() / 2;
    let (_, &mut middle, _) = counts.select_nth_unstable(middle);
    let mut left = tries.len() - COUNTED_MAX / 2;
    tries.retain(|_, known| {
        let goes = left > 0 && known.count <= middle;
        left -= usize::from(goes);
        !goes
    });
}

fn locked(logins: &Mutex<Logins>) -> MutexGuard<'_, Logins> {
    logins.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1000);

    fn put(waiting: &Waiting, id: &str, entity: &str, last: u8) {
        let login = WaitingLogin {
            claim: Claim::default(),
            namespace: Ns::ROOT,
            mount: String::new(),
            path: String::new(),
            who: String::new(),
            entity: entity.to_owned(),
            role: None,
            since: NOW,
            address: Some([10, 0, 0, last].into()),
        };
        waiting.put(id.to_owned(), login);
    }

    fn waits(waiting: &Waiting, id: &str) -> bool {
        waiting.get(id, NOW).is_some()
    }

    #[test]
    fn one_entity_pushes_out_its_own_alone() {
        let waiting = Waiting::default();
        put(&waiting, "ann", "ann", 1);
        (0..WAITING_MAX + 400).for_each(|at| put(&waiting, &at.to_string(), "machine", 1));
        assert!(waits(&waiting, "ann"), "from the same address");
        let kept = (0..WAITING_MAX + 400).filter(|at| waits(&waiting, &at.to_string())).count();
        assert_eq!(kept, OWN_MAX);
        assert!(waits(&waiting, &(WAITING_MAX + 399).to_string()), "the last one waits");
    }

    #[test]
    fn one_address_leaves_as_much_to_others() {
        let waiting = Waiting::default();
        put(&waiting, "ann", "ann", 1);
        (0..2 * WAITING_MAX).for_each(|at| put(&waiting, &at.to_string(), &format!("m{at}"), 2));
        assert!(waits(&waiting, "ann"));
        let of_two = locked(&waiting.logins).by_id.len() - 1;
        assert_eq!(of_two, WAITING_MAX / 2);
        (0..200).for_each(|at| put(&waiting, &format!("b{at}"), &format!("b{at}"), 3));
        assert!(waits(&waiting, "b0") && waits(&waiting, "ann"), "the next address finds room");
    }

    #[test]
    fn what_is_gone_is_gone_from_all_lists() {
        let waiting = Waiting::default();
        (0..20).for_each(|at| put(&waiting, &at.to_string(), &format!("m{}", at % 3), 1));
        waiting.forget("19");
        waiting.claim("18").unwrap().admitted();
        waiting.keep(|_| false);
        let logins = locked(&waiting.logins);
        assert!(logins.by_id.is_empty() && logins.in_line.is_empty());
        assert!(logins.by_entity.is_empty() && logins.by_origin.is_empty());
    }

    #[test]
    fn tries_are_counted_by_their_own_period_and_within_bounds() {
        let waiting = Waiting::default();
        let (long, short) = (Duration::from_secs(300), Duration::from_secs(1));
        for _ in 0..4 {
            waiting.tried("ann", "totp", long, NOW);
        }
        let later = NOW.plus(Duration::from_secs(2));
        for at in 0..2 * COUNTED_MAX {
            waiting.tried(&at.to_string(), "other", short, later);
        }
        assert_eq!(waiting.tried("ann", "totp", long, later), 5, "others have no part in it");
        assert!(waiting.tries.lock().unwrap().len() <= COUNTED_MAX);
    }
}
