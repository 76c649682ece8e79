use kit::{Error, Result, Secret};
use subtle::ConstantTimeEq;

use crate::rfc6238::{Algorithm, Digits, code};

/// A key as a code is checked against it.
pub struct Check<'a> {
    /// In base32.
    pub secret: &'a Secret<String>,
    /// Which hash.
    pub algorithm: Algorithm,
    /// How long a code is.
    pub digits: Digits,
    /// How long a code counts.
    pub period_seconds: u64,
    /// How many periods before and after now still count.
    pub skew: u64,
    /// The periods whose codes were accepted already.
    pub accepted: &'a [u64],
}

impl Check<'_> {
    /// The period whose code this is, if it is none that was accepted before. Looks at all of them whatever it finds.
    ///
    /// # Errors
    /// If the code was used already, or the secret does not read.
    pub fn fitting(&self, shown: &str, now_seconds: u64) -> Result<Option<u64>> {
        let here = now_seconds / self.period_seconds;
        let (mut found, mut used) = (None, false);
        for step in self.first(now_seconds)..=here.saturating_add(self.skew) {
            let code = code(self.secret, self.algorithm, self.digits, step)?;
            if bool::from(code.as_bytes().ct_eq(shown.as_bytes())) {
                used |= self.accepted.contains(&step);
                found = Some(step);
            }
        }
        if used {
            let wait = self.period_seconds - now_seconds % self.period_seconds;
            return Err(Error::invalid(format!(
                "code already used; wait until the next time period, which begins in {wait} s"
            )));
        }
        Ok(found)
    }

    /// The earliest period that counts: what was accepted before it need not be remembered.
    pub fn first(&self, now_seconds: u64) -> u64 {
        (now_seconds / self.period_seconds).saturating_sub(self.skew)
    }
}
