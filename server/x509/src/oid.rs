//! Object identifiers. That of the `der` crate knows no second number above 39, as `2.999` has one.

use std::fmt;

use der::{DecodeValue, EncodeValue, FixedTag, Header, Length, Reader, Tag, Writer};

/// So many bytes has the longest.
const BYTES_MAX: usize = 63;
/// What is read of text may not be greater: readers in Go take no number that is.
const ARC_MAX: u64 = 0x7fff_ffff;
/// The first two numbers are one, in steps of so many.
const SECONDS: u64 = 40;

/// An object identifier, as `2.5.29.17`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectIdentifier {
    bytes: [u8; BYTES_MAX],
    length: u8,
}

/// No object identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoIdentifier;

impl ObjectIdentifier {
    /// Reads numbers with dots between.
    ///
    /// # Errors
    /// If it is something else: it begins with 0, 1 or 2, after 0 and 1 comes no more than 39, and nothing is above 2^31 - 1.
    pub const fn new(text: &str) -> Result<Self, NoIdentifier> {
        let text = text.as_bytes();
        let mut oid = Self { bytes: [0; BYTES_MAX], length: 0 };
        let (mut at, mut count, mut first) = (0, 0, 0);
        while at <= text.len() {
            let Some((arc, end)) = arc(text, at) else { return Err(NoIdentifier) };
            match count {
                0 if arc > 2 => return Err(NoIdentifier),
                0 => first = arc,
                1 if first < 2 && arc >= SECONDS => return Err(NoIdentifier),
                1 if !oid.push(first * SECONDS + arc) => return Err(NoIdentifier),
                1 => {}
                _ if !oid.push(arc) => return Err(NoIdentifier),
                _ => {}
            }
            (at, count) = (end + 1, count + 1);
        }
        if count < 2 { Err(NoIdentifier) } else { Ok(oid) }
    }

    /// The same for one that stands in the code.
    ///
    /// # Panics
    /// If it is none, when it is compiled.
    pub const fn new_unwrap(text: &str) -> Self {
        match Self::new(text) {
            Ok(oid) => oid,
            Err(NoIdentifier) => panic!("no object identifier"),
        }
    }

    /// What stands in DER, without tag and length.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Takes what stands in DER, with numbers of up to 128 bits.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut oid = Self { bytes: [0; BYTES_MAX], length: u8::try_from(bytes.len()).ok()? };
        oid.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let ends = bytes.last().is_some_and(|last| last & 0x80 == 0);
        (ends && oid.arcs().all(|arc| arc.is_some())).then_some(oid)
    }

    /// Its numbers, the first two as one; none for one that has more than 128 bits.
    fn arcs(&self) -> impl Iterator<Item = Option<u128>> {
        let add = |sum: u128, byte: &u8| sum.checked_mul(0x80)?.checked_add((byte & 0x7f).into());
        let arcs = self.as_bytes().split_inclusive(|byte| byte & 0x80 == 0);
        arcs.map(move |arc| arc.iter().try_fold(0, add))
    }

    /// Puts one number behind the others.
    const fn push(&mut self, arc: u64) -> bool {
        let mut digits = 1;
        while arc >> (7 * digits) != 0 {
            digits += 1;
        }
        while digits > 0 {
            digits -= 1;
            if self.length as usize == BYTES_MAX {
                return false;
            }
            let more = if digits > 0 { 0x80 } else { 0 };
            self.bytes[self.length as usize] = (arc >> (7 * digits)) as u8 & 0x7f | more;
            self.length += 1;
        }
        true
    }
}

/// The number that begins here, and where it ends.
const fn arc(text: &[u8], from: usize) -> Option<(u64, usize)> {
    let (mut at, mut sum) = (from, 0);
    while at < text.len() && text[at] != b'.' {
        if !text[at].is_ascii_digit() {
            return None;
        }
        sum = sum * 10 + (text[at] - b'0') as u64;
        if sum > ARC_MAX {
            return None;
        }
        at += 1;
    }
    if at == from { None } else { Some((sum, at)) }
}

impl fmt::Display for ObjectIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, arc) in self.arcs().enumerate() {
            let (arc, steps) = (arc.unwrap_or_default(), u128::from(SECONDS));
            match at {
                0 => {
                    let first = (arc / steps).min(2);
                    write!(f, "{first}.{}", arc - first * steps)?;
                }
                _ => write!(f, ".{arc}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NoIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no object identifier")
    }
}

impl std::error::Error for NoIdentifier {}

impl FixedTag for ObjectIdentifier {
    const TAG: Tag = Tag::ObjectIdentifier;
}

impl<'a> DecodeValue<'a> for ObjectIdentifier {
    type Error = der::Error;

    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        let wrong = || der::Error::from(Tag::ObjectIdentifier.value_error());
        let length = usize::try_from(header.length())?;
        let mut bytes = [0; BYTES_MAX];
        let bytes = bytes.get_mut(..length).ok_or_else(wrong)?;
        Self::from_bytes(reader.read_into(bytes)?).ok_or_else(wrong)
    }
}

impl EncodeValue for ObjectIdentifier {
    fn value_len(&self) -> der::Result<Length> {
        Length::try_from(self.as_bytes().len())
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::{Decode, Encode};

    #[test]
    fn what_is_written_reads_back() {
        for (text, bytes) in [
            ("2.999.1", "06 03 88 37 01"),
            ("2.5.29.17", "06 03 55 1d 11"),
            ("1.3.6.1.4.1.2147483647", "06 0a 2b 06 01 04 01 87 ff ff ff 7f"),
            ("2.2147483647", "06 05 88 80 80 80 4f"),
            ("0.39", "06 01 27"),
            ("1.39.0", "06 02 4f 00"),
        ] {
            let (oid, bytes) =
                (ObjectIdentifier::new(text).unwrap(), hex::decode(bytes.replace(' ', "")).unwrap());
            assert_eq!((oid.to_string().as_str(), oid.to_der().unwrap()), (text, bytes.clone()));
            assert_eq!(ObjectIdentifier::from_der(&bytes).unwrap(), oid);
        }
        let uuid = hex::decode("061469839ee8f8acb2c7bbb1c8dcb7faf2a6b98d5e".replace("0614", "0613")).unwrap();
        let read = ObjectIdentifier::from_der(&uuid).unwrap().to_string();
        assert!(read.starts_with("2.25.") && read.len() > 30, "{read}");
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("1.2{}", ".2147483647".repeat(13));
        for text in [
            "",
            "2",
            "3.1",
            "1.40",
            "0.40.1",
            "1..2",
            ".1.2",
            "1.2.",
            "1.2.2147483648",
            "1.2.x",
            "1.-2",
            " 1.2",
            &long,
        ] {
            assert_eq!(ObjectIdentifier::new(text), Err(NoIdentifier), "{text}");
        }
        for bytes in ["0600", "060188", "0603558080", &format!("0640{}01", "01".repeat(63))] {
            assert!(ObjectIdentifier::from_der(&hex::decode(bytes).unwrap()).is_err(), "{bytes}");
        }
    }
}
