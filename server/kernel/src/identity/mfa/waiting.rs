use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{Claim, Time};

use super::gate::Owed;
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
    pub(crate) owed: Vec<Owed>,
    pub(crate) since: Time,
}

/// Logins that wait, and how often codes were tried. Soft by design: a restart forgets both.
#[derive(Default)]
pub(crate) struct Waiting {
    logins: Mutex<HashMap<String, Arc<WaitingLogin>>>,
    tries: Mutex<HashMap<(String, String), Tries>>,
}

#[derive(Clone, Copy)]
struct Tries {
    count: u64,
    since: Time,
}

impl Waiting {
    /// Lets a login wait under an id.
    pub(crate) fn put(&self, id: String, login: WaitingLogin) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
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
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.get(id).filter(|login| login.since.until(now) < PATIENCE).cloned()
    }

    /// Takes the login of this id out. True for one caller only.
    pub(crate) fn take(&self, id: &str) -> bool {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }

    /// Keeps only those that wait in such namespaces.
    pub(crate) fn keep(&self, namespaces: impl Fn(Ns) -> bool) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.retain(|_, login| namespaces(login.namespace));
    }

    /// Counts a try of an entity at a method, and says how many there were in this period.
    pub(crate) fn tried(&self, entity: &str, method: &str, period: Duration, now: Time) -> u64 {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED_MAX {
            tries.retain(|_, known| known.since.until(now) < period);
        }
        let known =
            tries.entry((entity.to_owned(), method.to_owned())).or_insert(Tries { count: 0, since: now });
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
