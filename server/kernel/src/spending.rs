//! Requests that spend a use of their token. A token of `n` uses lets `n` requests be done, also at the same time: it ends
//! when the last of them is over, not when the first of them is that has spent the last use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tokens::TokenHash;

/// The tokens whose uses are being spent.
#[derive(Clone, Default)]
pub(crate) struct Spendings(Arc<Mutex<HashMap<TokenHash, Spent>>>);

#[derive(Default)]
struct Spent {
    requests: usize,
    used_up: bool,
}

/// One request of them, until it is over.
pub(crate) struct Spending {
    /// Nothing once it is over.
    all: Option<Spendings>,
    hash: TokenHash,
}

impl Spendings {
    fn lock(&self) -> MutexGuard<'_, HashMap<TokenHash, Spent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to spend a use.
    pub(crate) fn begin(&self, hash: TokenHash) -> Spending {
        self.lock().entry(hash).or_default().requests += 1;
        Spending { all: Some(self.clone()), hash }
    }

    fn leave(&self, hash: TokenHash) -> bool {
        let mut all = self.lock();
        let Some(spent) = all.get_mut(&hash) else { return false };
        spent.requests -= 1;
        let is_last = spent.requests == 0;
        let ends = is_last && spent.used_up;
        if is_last {
            all.remove(&hash);
        }
        ends
    }
}

impl Spending {
    /// It has spent the last use.
    pub(crate) fn used_up(&self) {
        if let Some(all) = &self.all {
            all.lock().entry(self.hash).or_default().used_up = true;
        }
    }

    /// It is over. The token that is to be ended now, if there is one.
    pub(crate) fn end(mut self) -> Option<TokenHash> {
        let all = self.all.take()?;
        all.leave(self.hash).then_some(self.hash)
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        // In a panic. The token lets nobody in any more, and ends by its date.
        if let Some(all) = &self.all {
            all.leave(self.hash);
        }
    }
}
