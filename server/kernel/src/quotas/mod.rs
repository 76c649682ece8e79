//! Limits that an operator sets: how many requests, and how many leases.
//!
//! A rate limit is looked at before a body is read and before anyone is identified. A limit of leases is looked at
//! when one is about to be made. Of several that fit a request the narrowest holds: a role's before a path's before
//! a mount's before all.

mod buckets;
mod counts;
mod held;
mod meter;
mod rules;

use kit::{Memo, Result};
use storage::Snapshot;

pub(crate) use counts::{Counts, Ticket, is_root, label};
pub(crate) use held::{Held, Holding, What};
pub use meter::{Allowance, Meter};
pub(crate) use rules::{
    Config, Kind, Limit, QuotaRecord, Rules, config, delete, find, names, put, put_config,
};

use crate::kernel::Kernel;
use buckets::Buckets;

/// What the operator's limits are, and how much of them is used. The use is soft state: a restart forgets who asked
/// how often, and counts leases anew.
pub(crate) struct Quotas {
    rules: Memo<(), Rules>,
    buckets: Buckets,
    pub(crate) counts: Counts,
    /// Counted for those who watch, and not for limits.
    pub(crate) held: Held,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            rules: Memo::new(1),
            buckets: Buckets::default(),
            counts: Counts::default(),
            held: Held::default(),
        }
    }
}

impl Kernel {
    /// The limits as of `today`.
    pub(crate) fn quota_rules(&self, today: &Snapshot) -> Result<std::sync::Arc<kit::Kept<Rules>>> {
        self.quotas.rules.get(&(), today, |txn| {
            let router = self.router(txn.snapshot())?;
            txn.join(router.reads());
            Rules::read(txn, router.value())
        })
    }
}
