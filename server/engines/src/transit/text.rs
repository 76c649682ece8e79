//! How ciphertexts, signatures and HMACs are written: `vault:v<version>:<base64>`.

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::{DecodeError, Engine};

/// What stands before the version.
const PREFIX: &str = "vault:v";

/// Base64 as Go reads it: the bits that fill up the last letter may be anything.
const STANDARD: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// Base64.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64. A refusal has Go's words for it.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    match STANDARD.decode(text) {
        Ok(bytes) => Ok(bytes),
        // Go passes over line ends.
        Err(_) if text.contains(['\r', '\n']) => decode(&text.replace(['\r', '\n'], "")),
        Err(error) => {
            let offset = match error {
                DecodeError::InvalidByte(offset, _) => offset,
                _ => text.len() - text.len() % 4,
            };
            Err(format!("illegal base64 data at input byte {offset}"))
        }
    }
}

/// Reads the base64 of URLs, without padding; line ends are passed over here too.
pub(super) fn decode_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE.decode(text.replace(['\r', '\n'], "")).ok()
}

/// Writes bytes with the version of the key that made them.
pub(super) fn write(version: u64, bytes: &[u8]) -> String {
    let mut text = format!("{PREFIX}{version}:");
    STANDARD.encode_string(bytes, &mut text);
    text
}

/// The same in the alphabet of URLs.
pub(super) fn write_url(version: u64, bytes: &[u8]) -> String {
    let mut text = format!("{PREFIX}{version}:");
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    text
}

/// The two parts of such a text.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Parts<'a> {
    /// The version of the key, as it stands there.
    pub(super) version: i64,
    /// What the key made, in base64.
    pub(super) body: &'a str,
}

/// Takes a text apart; a refusal says what is wrong with it.
pub(super) fn parts(text: &str) -> Result<Parts<'_>, &'static str> {
    let rest = text.strip_prefix(PREFIX).ok_or("no prefix")?;
    let (version, body) = rest.split_once(':').ok_or("wrong number of fields")?;
    let version = version.parse().map_err(|_| "version number could not be decoded")?;
    Ok(Parts { version, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&[u8], &str>) {
        let found = decode(text);
        let expect =
            expect.map(<[u8]>::to_vec).map_err(|at| format!("illegal base64 data at input byte {at}"));
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn base64_is_read_as_go_reads_it() {
        check("", Ok(b""));
        check("YQ==", Ok(b"a"));
        check("YR==", Ok(b"a"));
        check("Y\nQ==\r\n", Ok(b"a"));
        check("!!", Err("0"));
        check("YWFh!", Err("4"));
        check("YWE", Err("0"));
        check("YWFhYQ", Err("4"));
    }

    #[test]
    fn texts_come_apart() {
        assert_eq!(parts(&write(7, b"a")), Ok(Parts { version: 7, body: "YQ==" }));
        assert_eq!(parts("v7:YQ=="), Err("no prefix"));
        assert_eq!(parts("vault:v7"), Err("wrong number of fields"));
        assert_eq!(parts("vault:vx:YQ=="), Err("version number could not be decoded"));
        assert_eq!(write_url(1, &[0xfb, 0xff]), "vault:v1:-_8");
        assert_eq!(decode_url("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode_url("-_8="), None);
    }
}
