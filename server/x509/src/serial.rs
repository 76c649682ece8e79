//! Serial numbers: the time and fourteen random bytes for ours, any positive integer for those of others.

use crate::{Error, Result, tlv};
use std::fmt;

/// RFC 5280 §4.1.2.2 allows 20 octets; some CAs overstep by a sign octet, and a few by more.
const LENGTH_MAX: usize = 64;

/// The serial number of a certificate, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A new serial: positive, and always twenty bytes long. It begins with the time in steps of 2^20 nanoseconds, so that
    /// what is issued together lies together in the store, and ends in 112 random bits.
    pub fn new(nanoseconds: u64, random: [u8; 14]) -> Self {
        let time = (nanoseconds >> 20) | 1 << 46;
        let [_, _, time @ ..] = time.to_be_bytes();
        Serial(time.into_iter().chain(random).collect())
    }

    /// When it was made, in nanoseconds since 1970, give or take a millisecond, if it looks like one of ours.
    pub fn time(&self) -> Option<u64> {
        let [a, b, c, d, e, f, rest @ ..] = self.0.as_slice() else { return None };
        let time = u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]) ^ 1 << 46;
        (rest.len() == 14 && time >> 44 == 0).then_some(time << 20)
    }

    /// The serial whose big-endian magnitude this is.
    pub fn from_magnitude(bytes: &[u8]) -> Result<Self> {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
        match bytes.get(first..) {
            None | Some([]) => Err(Error::malformed("serial number", "it is empty")),
            Some(long) if long.len() > LENGTH_MAX => {
                Err(Error::malformed("serial number", format!("it is longer than {LENGTH_MAX} bytes")))
            }
            Some(bytes) => Ok(Serial(bytes.to_vec())),
        }
    }

    /// Reads what people write: hex in pairs, with colons, hyphens, or nothing between them.
    pub fn parse(text: &str) -> Result<Self> {
        let unreadable =
            || Error::malformed("serial number", "it should be hex in pairs, like 3a:5f:01 or 3a-5f-01");
        let separator = text.chars().find(|c| matches!(c, ':' | '-'));
        let bytes: Result<Vec<u8>> = match separator {
            None => hex::decode(text).map_err(|_| unreadable()),
            Some(separator) => text
                .split(separator)
                .map(|pair| {
                    let digits = pair.len() <= 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
                    u8::from_str_radix(pair, 16).ok().filter(|_| digits).ok_or_else(unreadable)
                })
                .collect(),
        };
        Self::from_magnitude(&bytes?)
    }

    /// The big-endian magnitude.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `3a:5f:01`, as the API shows it.
    pub fn colons(&self) -> String {
        self.joined(':')
    }

    /// `3a-5f-01`, as lists and paths name it.
    pub fn hyphens(&self) -> String {
        self.joined('-')
    }

    pub(crate) fn to_der(&self) -> Vec<u8> {
        tlv::integer(&self.0)
    }

    fn joined(&self, separator: char) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('0', |d| char::from(*d));
        let mut out = String::with_capacity(self.0.len() * 3);
        for byte in &self.0 {
            if !out.is_empty() {
                out.push(separator);
            }
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
        out
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.colons())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_the_same_serial() {
        for text in ["0a:5f:01", "0A-5F-01", "0a5f01", "a:5f:1", "00:0a:5f:01"] {
            assert_eq!(Serial::parse(text).unwrap().colons(), "0a:5f:01");
        }
        assert_eq!(Serial::parse("00").unwrap().hyphens(), "00");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ":", "zz", "a:b-c", "+a:01", "123:01", "0a:", "a5f"] {
            assert!(Serial::parse(text).is_err(), "{text}");
        }
        assert!(Serial::parse(&"ab:".repeat(2000)).is_err());
    }

    #[test]
    fn new_serials_are_positive_and_twenty_bytes() {
        for (now, random) in [(0, [0; 14]), (1_800_000_000_000_000_000, [0xff; 14]), (u64::MAX, [0xff; 14])] {
            let der = Serial::new(now, random).to_der();
            assert_eq!((der[1], der[2] & 0x80), (20, 0));
        }
    }

    #[test]
    fn ours_know_when_they_were_made() {
        let now = 1_800_000_000_123_456_789;
        let time = Serial::new(now, [0xff; 14]).time().unwrap();
        assert!(time <= now && now - time < 1 << 20, "{time}");
        for foreign in ["3a:5f:01", "ff", &"7f:".repeat(20)] {
            assert_eq!(Serial::parse(foreign.trim_end_matches(':')).unwrap().time(), None);
        }
    }
}
