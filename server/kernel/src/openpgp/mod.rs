//! Encrypting to somebody's OpenPGP key, so that a share of a key is read by its owner alone.
//!
//! This is the framing of RFC 9580 for what people have: keys of version 4, RSA and elliptic curves. All mathematics is
//! that of aws-lc-rs.

mod key;
mod message;
mod packet;
mod signature;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use kit::{Result, Time};
use storage::Random;

use key::Recipient;

/// The largest key that is looked at, in base64.
const KEY_SIZE_MAX: usize = 256 * 1024;

/// Somebody's public key.
#[derive(Clone)]
pub struct PgpKey {
    fingerprint: String,
    recipient: Recipient,
}

impl PgpKey {
    /// Reads a key in base64, as `gpg --export | base64` gives it. Its parts count if the key itself has signed them.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str, now: Time) -> Result<Self, String> {
        if text.starts_with("keybase:") {
            return Err("error parsing given PGP key: keybase is not asked by this server; give the key itself, in base64"
                .to_owned());
        }
        if text.len() > KEY_SIZE_MAX {
            return Err(format!("error parsing given PGP key: it is longer than {KEY_SIZE_MAX} bytes"));
        }
        let text = text.trim();
        let bytes = STANDARD.decode(text).map_err(|error| {
            let at = wrong_at(text, &error);
            format!("error decoding given PGP key: illegal base64 data at input byte {at}")
        })?;
        let (fingerprint, recipient) =
            key::read(&bytes, now).map_err(|why| format!("error parsing given PGP key: {why}"))?;
        Ok(Self { fingerprint, recipient })
    }

    /// The fingerprint of the key, in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Encrypts to whoever holds the private key.
    ///
    /// # Errors
    /// If the mathematics refuses the key.
    pub fn encrypt(&self, plain: &[u8], random: &dyn Random) -> Result<Vec<u8>> {
        message::encrypt(&self.recipient, plain, random)
    }
}

/// Where a text stops to be base64.
fn wrong_at(text: &str, error: &DecodeError) -> usize {
    match *error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
        DecodeError::InvalidLength(length) => length - length % 4,
        DecodeError::InvalidPadding => text.len(),
    }
}

#[cfg(test)]
mod tests;
