use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::{Claim, Time};

use crate::namespaces::Ns;

/// How long a login waits for its second factor.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many logins may wait; the oldest go first.
const WAITING_MAX: usize = 10_000;
/// How many names have their attempts counted; those of past periods go first.
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
}

/// Logins that wait, and how often codes were tried. Soft by design: a restart forgets both.
#[derive(Default)]
pub(crate) struct Waiting {
    logins: Arc<Mutex<Logins>>,
    tries: Mutex<HashMap<(String, String), Tries>>,
}

#[derive(Default)]
struct Logins {
    by_id: HashMap<String, Arc<WaitingLogin>>,
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
}

impl Waiting {
    /// Lets a login wait under an id.
    pub(crate) fn put(&self, id: String, login: WaitingLogin) {
        let logins = &mut locked(&self.logins).by_id;
        let now = login.since;
        logins.retain(|_, known| known.since.until(now) < PATIENCE);
        if logins.len() >= WAITING_MAX {
            let oldest = logins.iter().min_by_key(|(_, known)| known.since).map(|(id, _)| id.clone());
            oldest.map(|id| logins.remove(&id));
        }
        logins.insert(id, Arc::new(login));
    }

    /// The login of this id, if it still waits.
    pub(crate) fn get(&self, id: &str, now: Time) -> Option<Arc<WaitingLogin>> {
        let logins = locked(&self.logins);
        logins.by_id.get(id).filter(|login| login.since.until(now) < PATIENCE).cloned()
    }

    /// Claims the login of this id, if it still waits and nobody else has.
    pub(crate) fn claim(&self, id: &str) -> Option<Claimed> {
        let mut logins = locked(&self.logins);
        let free = logins.by_id.contains_key(id) && logins.claimed.insert(id.to_owned());
        free.then(|| Claimed { logins: Arc::clone(&self.logins), id: id.to_owned() })
    }

    /// Lets the login of this id wait no more.
    pub(crate) fn forget(&self, id: &str) {
        locked(&self.logins).by_id.remove(id);
    }

    /// Keeps only those that wait in such namespaces.
    pub(crate) fn keep(&self, namespaces: impl Fn(Ns) -> bool) {
        locked(&self.logins).by_id.retain(|_, login| namespaces(login.namespace));
    }

    /// Counts a try of an entity at a method, and says how many there were in this period.
    pub(crate) fn tried(&self, entity: &str, method: &str, period: Duration, now: Time) -> u64 {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED_MAX {
            tries.retain(|_, known| known.since.until(now) < period);
        }
        let known =
            tries.entry((entity.to_owned(), method.to_owned())).or_insert(Tries { count: 0, since: now });
        // The clock was set back since.
        known.since = known.since.min(now);
        if known.since.until(now) >= period {
            *known = Tries { count: 0, since: now };
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
        locked(&self.logins).by_id.remove(&self.id);
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

fn locked(logins: &Mutex<Logins>) -> MutexGuard<'_, Logins> {
    logins.lock().unwrap_or_else(PoisonError::into_inner)
}
