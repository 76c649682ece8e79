//! Whether every object identifier in what somebody else wrote is in its shortest form (X.690, section 8.19.2).
//!
//! A number with a superfluous byte is another number to who compares bytes, as is done here, and the same one to who compares
//! values. So what it names would be judged by nobody here and obeyed elsewhere.

use crate::ObjectIdentifier;
use crate::extensions::{
    ALT_NAMES, AUTHORITY_ACCESS, CRL_POINTS, EXT_KEY_USAGE, FRESHEST_CRL, ISSUER_ALT_NAMES, NAME_CONSTRAINTS,
    POLICIES, POLICY_MAPPINGS, SUBJECT_ACCESS,
};
use crate::{Error, Result};

/// Nothing that anybody wrote lies deeper.
const DEPTH_MAX: usize = 32;
/// The extensions that have object identifiers in their values.
const WITH_NUMBERS: [ObjectIdentifier; 10] = [
    ALT_NAMES,
    ISSUER_ALT_NAMES,
    NAME_CONSTRAINTS,
    CRL_POINTS,
    FRESHEST_CRL,
    POLICIES,
    POLICY_MAPPINGS,
    EXT_KEY_USAGE,
    AUTHORITY_ACCESS,
    SUBJECT_ACCESS,
];

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONSTRUCTED: u8 = 0x20;

enum Flaw<'a> {
    /// An object identifier that is longer than it need be, or none at all.
    Number(&'a [u8]),
    /// No DER, or too deep.
    Shape,
}

/// Refuses a `what` with an object identifier that could be written shorter.
///
/// # Errors
/// With its bytes.
pub(crate) fn check(der: &[u8], what: &'static str) -> Result<()> {
    look(der, DEPTH_MAX).map_err(|flaw| match flaw {
        Flaw::Number(bytes) => Error::malformed(
            what,
            format!(
                "the object identifier with the bytes {} is not in its shortest form (X.690, section 8.19.2)",
                hex::encode(bytes)
            ),
        ),
        Flaw::Shape => Error::malformed(what, "a value in it is no DER, or lies too deep"),
    })
}

fn look(mut der: &[u8], depth: usize) -> std::result::Result<(), Flaw<'_>> {
    let deeper = depth.checked_sub(1).ok_or(Flaw::Shape)?;
    // The number of the extension whose value comes next.
    let mut extension: &[u8] = &[];
    while !der.is_empty() {
        let (tag, value, rest) = split(der).ok_or(Flaw::Shape)?;
        match tag {
            OBJECT_IDENTIFIER if !is_shortest(value) => return Err(Flaw::Number(value)),
            OCTET_STRING if WITH_NUMBERS.iter().any(|oid| oid.as_bytes() == extension) => {
                // Whether it is DER is for who reads that extension to say.
                if let Err(Flaw::Number(bytes)) = look(value, deeper) {
                    return Err(Flaw::Number(bytes));
                }
            }
            _ if tag & CONSTRUCTED != 0 => look(value, deeper)?,
            _ => {}
        }
        match tag {
            OBJECT_IDENTIFIER => extension = value,
            BOOLEAN => {}
            _ => extension = &[],
        }
        der = rest;
    }
    Ok(())
}

/// The first value: its tag, what is in it, and what comes after.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, mut rest) = der.split_first()?;
    if tag & 0x1f == 0x1f {
        // A tag of several bytes: the last one has no top bit.
        let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
        rest = rest.get(end + 1..)?;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(*first), rest),
        _ => {
            let (size, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add((*byte).into());
            (size.iter().try_fold(0, add).filter(|_| !size.is_empty())?, rest)
        }
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

/// No arc begins with a byte that adds nothing, and the last one ends.
fn is_shortest(oid: &[u8]) -> bool {
    let mut begins = true;
    for byte in oid {
        if begins && *byte == 0x80 {
            return false;
        }
        begins = byte & 0x80 == 0;
    }
    begins && !oid.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlv;

    fn number(bytes: &[u8]) -> Vec<u8> {
        tlv::tlv(OBJECT_IDENTIFIER, &[bytes])
    }

    fn refuses(der: &[u8]) -> bool {
        check(der, "test").is_err()
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for good in [&[0x55, 0x1d, 0x13][..], &[0x2b, 0x81, 0x00], &[0x88, 0x37, 1], &[0x81, 0x80, 0x00]] {
            assert!(!refuses(&number(good)), "{good:?}");
        }
        for bad in [&[][..], &[0x80, 0x55], &[0x55, 0x1d, 0x80, 0x13], &[0x55, 0x80], &[0x55, 0x9d]] {
            assert!(refuses(&number(bad)), "{bad:?}");
        }
    }

    #[test]
    fn they_are_found_wherever_they_are() {
        let bad = number(&[0x55, 0x1d, 0x80, 0x13]);
        let set = tlv::set_of(vec![tlv::sequence(&[bad.as_slice(), tlv::NULL])]);
        assert!(refuses(&tlv::sequence(&[tlv::octets(b"x"), set])));
        assert!(refuses(&tlv::explicit(3, &tlv::explicit(31, &bad))), "under a tag of its own");
        let value = tlv::octets(&tlv::sequence(&[bad.as_slice()]));
        for (oid, found) in [(EXT_KEY_USAGE, true), (crate::extensions::SUBJECT_KEY_ID, false)] {
            for critical in [tlv::TRUE, &[]] {
                let extension = tlv::sequence(&[&tlv::oid(&oid), critical, &value]);
                assert_eq!(refuses(&extension), found, "{oid}");
            }
        }
        let loose = tlv::sequence(&[tlv::oid(&POLICIES), tlv::octets(&[0x30, 9, 1])]);
        assert!(!refuses(&loose), "who reads policies says what is wrong with that");
    }

    #[test]
    fn what_is_no_der_or_has_no_end_is_refused() {
        let mut deep = tlv::NULL.to_vec();
        (0..DEPTH_MAX).for_each(|_| deep = tlv::sequence(&[&deep]));
        for bad in
            [&deep[..], &[0x30, 0x80], &[0x30, 2, 1], &[0x1f, 0x80], &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]]
        {
            assert!(refuses(bad), "{bad:?}");
        }
    }
}
