//! A token, and when it must be seen to.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::{agent::moment::Moment, secret::Auth};

/// A token is renewed when this share of its life is left.
const RENEW_SHARE_LEFT: u32 = 3;
/// Renewals of tokens are spread over this share of their life.
const SPREAD_SHARE: f64 = 0.1;

/// A token that an identity has.
pub(super) struct Held {
    pub(super) text: Zeroizing<String>,
    /// Its end; nothing for one that has none.
    pub(super) until: Option<Moment>,
    pub(super) length: Duration,
    pub(super) renewable: bool,
}

impl Held {
    pub(super) fn new(auth: &Auth, now: Moment) -> Held {
        let length = Duration::from_secs(u64::try_from(auth.lease_duration).unwrap_or(0));
        Held {
            text: Zeroizing::new(auth.client_token.clone()),
            until: (!length.is_zero()).then(|| now.plus(length)),
            length,
            renewable: auth.renewable,
        }
    }

    /// When to renew it.
    pub(super) fn renewal(&self, chance: f64) -> Moment {
        match self.until {
            None => Moment::from_millis(i64::MAX),
            Some(until) => {
                until.minus(self.length / RENEW_SHARE_LEFT).minus(self.length.mul_f64(SPREAD_SHARE * chance))
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn over(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}
