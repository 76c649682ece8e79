use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::context::Writing;
use crate::error::{Error, Result};

/// The id that an engine gives to a record of its own: a random UUID (RFC 9562, version 4).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// A new one.
    pub fn new(cx: &Writing<'_>) -> Self {
        let [a, b, c, d, e, f, version, h, variant, rest @ ..] = cx.random::<16>();
        let (version, variant) = (version & 0x0f | 0x40, variant & 0x3f | 0x80);
        let [j, k, l, m, n, o, p] = rest;
        Self([a, b, c, d, e, f, version, h, variant, j, k, l, m, n, o, p])
    }

    /// Reads its text.
    pub fn parse(text: &str) -> Option<Self> {
        let dashes_fit =
            text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
        let bytes = hex::decode(text.replace('-', "")).ok().filter(|_| dashes_fit)?;
        bytes.try_into().ok().map(Self)
    }

    /// As a table names it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id under which a table keeps a record.
    ///
    /// # Errors
    /// If the table names it otherwise.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes =
            bytes.try_into().map_err(|_| Error::internal("the id of a record is not 16 bytes long"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        let digits = std::str::from_utf8(&digits).map_err(|_| fmt::Error)?;
        for (at, part) in [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().enumerate() {
            if at > 0 {
                f.write_str("-")?;
            }
            f.write_str(digits.get(part).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a UUID"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, reads: bool) {
        assert_eq!(Uuid::parse(text).map(|id| id.to_string()), reads.then(|| text.to_lowercase()), "{text}");
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        check("6f1d2c3a-0b4e-4f5a-8b6c-7d8e9fa0b1c2", true);
        check("6F1D2C3A-0B4E-4F5A-8B6C-7D8E9FA0B1C2", true);
        check("6f1d2c3a0b4e4f5a8b6c7d8e9fa0b1c2", false);
        check("6f1d2c3a-0b4e-4f5a-8b6c-7d8e9fa0b1cg", false);
        check("", false);
    }
}
