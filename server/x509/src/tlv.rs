//! Writing DER: tag, length, value.
//!
//! A certificate is mostly bytes that already exist (the issuer's name, the holder's key). Joining them is shorter,
//! faster and more faithful than decoding them into structures and encoding those again.

use crate::ObjectIdentifier;
use crate::{Error, Result};
use der::{DateTime, Encode};
use std::time::Duration;
use x509_cert::time::Time;

pub(crate) const NULL: &[u8] = &[0x05, 0x00];
pub(crate) const TRUE: &[u8] = &[0x01, 0x01, 0xff];

const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;

/// One value under `tag`, made of `parts` one after the other.
pub(crate) fn tlv<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    push_length(length, &mut out);
    for part in parts {
        out.extend_from_slice(part.as_ref());
    }
    out
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = bytes.iter().skip_while(|byte| **byte == 0);
            out.push(0x80 | significant.clone().count() as u8);
            out.extend(significant);
        }
    }
}

/// An Extension, in one piece: a certificate has many.
pub(crate) fn extension(oid: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut inner = Vec::with_capacity(value.len() + 32);
    inner.push(OBJECT_IDENTIFIER);
    push_length(oid.as_bytes().len(), &mut inner);
    inner.extend_from_slice(oid.as_bytes());
    if critical {
        inner.extend_from_slice(TRUE);
    }
    inner.push(OCTET_STRING);
    push_length(value.len(), &mut inner);
    inner.extend_from_slice(value);
    sequence(&[inner])
}

pub(crate) fn sequence<P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    tlv(SEQUENCE, parts)
}

/// A SET OF, in the order DER demands.
pub(crate) fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    tlv(SET, &parts)
}

pub(crate) fn explicit(number: u8, inner: &[u8]) -> Vec<u8> {
    tlv(CONTEXT | CONSTRUCTED | number, &[inner])
}

/// An IMPLICIT tag on a primitive value.
pub(crate) fn implicit(number: u8, value: &[u8]) -> Vec<u8> {
    tlv(CONTEXT | number, &[value])
}

/// An IMPLICIT tag on a SEQUENCE or SET with these members.
pub(crate) fn implicit_of<P: AsRef<[u8]>>(number: u8, parts: &[P]) -> Vec<u8> {
    tlv(CONTEXT | CONSTRUCTED | number, parts)
}

pub(crate) fn octets(value: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, &[value])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(value: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], value])
}

/// A BIT STRING of named bits, where DER drops trailing zeros; `flags` counts from the most significant bit.
pub(crate) fn named_bits(flags: u16) -> Vec<u8> {
    let bytes = flags.to_be_bytes();
    let unused = (flags.trailing_zeros() % 8) as u8;
    let kept = match flags.trailing_zeros() {
        0..=7 => bytes.as_slice(),
        8..=15 => bytes.split_last().map_or(&[][..], |(_, first)| first),
        _ => &[],
    };
    tlv(BIT_STRING, &[&[if kept.is_empty() { 0 } else { unused }], kept])
}

/// A positive INTEGER from its big-endian magnitude.
pub(crate) fn integer(magnitude: &[u8]) -> Vec<u8> {
    let first = magnitude.iter().position(|byte| *byte != 0).unwrap_or(magnitude.len());
    let significant = magnitude.get(first..).unwrap_or_default();
    match significant.first() {
        None => tlv(INTEGER, &[&[0u8]]),
        Some(top) if *top >= 0x80 => tlv(INTEGER, &[&[0], significant]),
        Some(_) => tlv(INTEGER, &[significant]),
    }
}

pub(crate) fn number(value: u64) -> Vec<u8> {
    integer(&value.to_be_bytes())
}

pub(crate) fn oid(oid: &ObjectIdentifier) -> Vec<u8> {
    tlv(OBJECT_IDENTIFIER, &[oid.as_bytes()])
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0c, &[text])
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, &[text])
}

/// UTCTime through 2049 and GeneralizedTime after, as RFC 5280 asks.
pub(crate) fn time(unix_seconds: u64) -> Result<Vec<u8>> {
    let refused = |_| Error::refused(format!("{unix_seconds} seconds after 1970 is beyond the year 9999"));
    let moment = DateTime::from_unix_duration(Duration::from_secs(unix_seconds)).map_err(refused)?;
    Time::from(moment).to_der().map_err(refused)
}

/// GeneralizedTime, which OCSP and the invalidity date of a CRL entry use for every year.
pub(crate) fn generalized_time(unix_seconds: u64) -> Result<Vec<u8>> {
    let refused = |_| Error::refused(format!("{unix_seconds} seconds after 1970 is beyond the year 9999"));
    let moment = DateTime::from_unix_duration(Duration::from_secs(unix_seconds)).map_err(refused)?;
    der::asn1::GeneralizedTime::from_date_time(moment).to_der().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        assert_eq!(octets(&[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(octets(&[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(octets(&[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(octets(&[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(number(0), [2, 1, 0]);
        assert_eq!(number(127), [2, 1, 127]);
        assert_eq!(number(128), [2, 2, 0, 128]);
        assert_eq!(integer(&[0, 0, 1, 2]), [2, 2, 1, 2]);
    }

    #[test]
    fn named_bits_drop_trailing_zeros() {
        assert_eq!(named_bits(0x8000), [3, 2, 7, 0x80]);
        assert_eq!(named_bits(0x0600), [3, 2, 1, 0x06]);
        assert_eq!(named_bits(0x0080), [3, 3, 7, 0x00, 0x80]);
        assert_eq!(named_bits(0), [3, 1, 0]);
    }

    #[test]
    fn times_change_form_in_2050() {
        assert_eq!(time(0).unwrap(), b"\x17\x0d700101000000Z");
        assert_eq!(time(2_524_608_000).unwrap(), b"\x18\x0f20500101000000Z");
        assert_eq!(time(crate::NO_EXPIRY).unwrap(), b"\x18\x0f99991231235959Z");
        assert!(time(crate::NO_EXPIRY + 1).is_err());
    }
}
