//! Nonces, so that no signed request counts twice.
//!
//! A nonce is a number and a tag over it, so it takes no room until it is used; then it is remembered. When more are
//! remembered than there is room for, all below the lowest of them are no longer good. All of this is in memory: a restart
//! makes a new key, under which no old nonce is good, and a client that is told so takes a new one and tries again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::{Reads, Writing};

/// How many used nonces are remembered.
const SPENT_MAX: usize = 65_536;
/// How much of the tag a nonce holds.
const TAG_SIZE: usize = 16;

/// The nonces of a mount.
#[derive(Default)]
pub(super) struct Nonces(Mutex<Window>);

#[derive(Default)]
struct Window {
    key: Option<hmac::Key>,
    /// The last that was given out.
    last: u64,
    /// Those below are no longer good.
    lowest: u64,
    spent: BTreeSet<u64>,
}

impl Nonces {
    /// Those of this mount.
    pub(super) fn of(cx: &impl Reads) -> Arc<Self> {
        cx.lasting()
    }

    /// A new one.
    pub(super) fn issue(&self, cx: &Writing<'_>) -> String {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.last += 1;
        let number = window.last.to_be_bytes();
        let key = window.key.get_or_insert_with(|| hmac::Key::new(hmac::HMAC_SHA256, &cx.random::<32>()));
        let tag = hmac::sign(key, &number);
        let tag = tag.as_ref().iter().take(TAG_SIZE);
        URL_SAFE_NO_PAD.encode(number.iter().chain(tag).copied().collect::<Vec<u8>>())
    }

    /// Uses one up. False: it is not from here, or has been used, or is too old.
    pub(super) fn spend(&self, nonce: &str) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = window.read(nonce) else { return false };
        if number < window.lowest || !window.spent.insert(number) {
            return false;
        }
        if window.spent.len() > SPENT_MAX
            && let Some(oldest) = window.spent.pop_first()
        {
            window.lowest = oldest + 1;
        }
        true
    }
}

impl Window {
    fn read(&self, nonce: &str) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (number, tag) = bytes.split_at_checked(8)?;
        let genuine = hmac::sign(self.key.as_ref()?, number);
        let genuine = genuine.as_ref().get(..TAG_SIZE)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(genuine, tag).ok()?;
        Some(u64::from_be_bytes(number.try_into().ok()?))
    }
}
