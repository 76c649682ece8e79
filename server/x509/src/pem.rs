//! PEM: DER in text, between a BEGIN and an END line.
//!
//! Reading is lenient as Go's is (any line width, text between blocks) and takes time linear in the input, whatever it is.

use crate::{Error, Result};
use base64::{Engine as _, alphabet, engine::general_purpose as b64};
use zeroize::Zeroizing;

/// The label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a PKCS#10 request.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// The label of a revocation list.
pub const CRL: &str = "X509 CRL";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What a line of 64 characters holds.
const LINE_BYTES: usize = 48;
/// More blocks than this in one text is no bundle anyone made.
const BLOCKS_MAX: usize = 256;

const LENIENT: b64::GeneralPurpose = b64::GeneralPurpose::new(
    &alphabet::STANDARD,
    b64::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// One block of a PEM text. The bytes may be a private key, so they are wiped when dropped.
pub struct Block<'a> {
    /// What the BEGIN line says it is.
    pub label: &'a str,
    /// The DER inside.
    pub der: Zeroizing<Vec<u8>>,
}

/// Every block of a text, in order. Text outside of blocks is skipped.
pub fn blocks(text: &str) -> Result<Vec<Block<'_>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = split_at_dashes(rest, BEGIN) {
        let (label, body) = split_at_dashes(after, DASHES)
            .filter(|(label, _)| !label.contains(['\n', '-']))
            .ok_or_else(|| Error::malformed("PEM", "a BEGIN line does not end in -----"))?;
        let (body, tail) = split_at_dashes(body, END)
            .ok_or_else(|| Error::malformed("PEM", format!("the {label} block has no END line")))?;
        rest = tail.strip_prefix(label).and_then(|tail| tail.strip_prefix(DASHES)).ok_or_else(|| {
            Error::malformed("PEM", format!("the END line of a {label} block names another"))
        })?;
        if found.len() == BLOCKS_MAX {
            return Err(Error::malformed("PEM", format!("more than {BLOCKS_MAX} blocks")));
        }
        found.push(Block { label, der: decode(label, body)? });
    }
    Ok(found)
}

/// What stands before and after the first `mark`. It begins with a dash, of which base64 has none.
fn split_at_dashes<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices('-').find_map(|(at, _)| {
        let (before, from) = text.split_at_checked(at)?;
        Some((before, from.strip_prefix(mark)?))
    })
}

fn decode(label: &str, body: &str) -> Result<Zeroizing<Vec<u8>>> {
    if body.contains(':') {
        let why = format!("the {label} block has headers; decrypt it, and send the block without them");
        return Err(Error::malformed("PEM", why));
    }
    // Made in one piece that never moves: of a private key no copy is left behind.
    let mut joined = Zeroizing::new(Vec::with_capacity(body.len()));
    body.split_ascii_whitespace().for_each(|line| joined.extend_from_slice(line.as_bytes()));
    let der = LENIENT
        .decode(&*joined)
        .map_err(|e| Error::malformed("PEM", format!("the {label} block is not base64: {e}")))?;
    Ok(Zeroizing::new(der))
}

/// The block that holds `der`, without a newline after its END line, as clients of the API expect.
pub fn encode(label: &str, der: &[u8]) -> String {
    // Made in one piece that never moves: of a private key no copy is left behind.
    let base64 = der.len().div_ceil(3) * 4;
    let lines = der.len().div_ceil(LINE_BYTES);
    let mut out = Vec::with_capacity(base64 + lines + 2 * (label.len() + 17));
    for part in [BEGIN, label, DASHES, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for line in der.chunks(LINE_BYTES) {
        let start = out.len();
        out.resize(start + line.len().div_ceil(3) * 4 + 1, b'\n');
        let (_, text) = out.split_at_mut(start);
        b64::STANDARD.encode_slice(line, text).expect("every three bytes have four characters");
    }
    for part in [END, label, DASHES] {
        out.extend_from_slice(part.as_bytes());
    }
    String::from_utf8(out).expect("base64 is ASCII, and so are the lines around it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for size in [0, 1, 47, 48, 49, 1000] {
            let der = vec![0xa5; size];
            let text = encode(CERTIFICATE, &der);
            assert!(!text.ends_with('\n'));
            assert!(text.lines().all(|line| line.len() <= 64));
            let read = blocks(&text).unwrap();
            assert_eq!((read[0].label, &*read[0].der), (CERTIFICATE, &der));
        }
    }

    #[test]
    fn a_bundle_keeps_its_order_and_skips_text() {
        let text = format!("subject=x\n{}\nissuer=y\n{}\n", encode("A", b"1"), encode("B", b"2"));
        let labels: Vec<_> = blocks(&text).unwrap().iter().map(|block| block.label).collect();
        assert_eq!(labels, ["A", "B"]);
    }

    #[test]
    fn broken_blocks_say_how() {
        for (text, why) in [
            ("-----BEGIN A-----\nAAAA\n", "no END"),
            ("-----BEGIN A-----\nAAAA\n-----END B-----", "names another"),
            ("-----BEGIN A-----\n*\n-----END A-----", "not base64"),
            ("-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----", "headers"),
            ("-----BEGIN A\n", "does not end"),
        ] {
            let error = blocks(text).err().unwrap().to_string();
            assert!(error.contains(why), "{error} should say {why}");
        }
        assert!(blocks("no PEM here").unwrap().is_empty());
    }
}
