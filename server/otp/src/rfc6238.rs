//! The code of a moment: an HMAC of the number of its period, cut to a few digits (RFC 4226, RFC 6238).

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use data_encoding::{Encoding, Specification};
use kit::{Error, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Which hash the HMAC uses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// What nearly every authenticator knows.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Reads the API's word for it.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "SHA1" => Ok(Self::Sha1),
            "SHA256" => Ok(Self::Sha256),
            "SHA512" => Ok(Self::Sha512),
            _ => Err(Error::invalid("the algorithm value is not valid; it is SHA1, SHA256 or SHA512")),
        }
    }

    /// The API's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// How long a code is: 6 or 8.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Digits(u32);

impl Digits {
    /// How many.
    pub fn count(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<u64> for Digits {
    type Error = &'static str;

    fn try_from(count: u64) -> Result<Self, &'static str> {
        match count {
            6 => Ok(Self(6)),
            8 => Ok(Self(8)),
            _ => Err("the digits value can only be 6 or 8"),
        }
    }
}

impl From<Digits> for u64 {
    fn from(digits: Digits) -> Self {
        digits.0.into()
    }
}

/// Base32 as authenticators and people write it: either case, any last bits, lines broken anywhere.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut form = Specification::new();
    form.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    form.translate.from.push_str("abcdefghijklmnopqrstuvwxyz");
    form.translate.to.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    form.ignore.push_str("\r\n");
    form.check_trailing_bits = false;
    form.encoding().expect("the alphabet of RFC 4648 is a valid specification")
});

/// Writes a secret as authenticators take it.
pub fn encode_secret(bytes: &[u8]) -> Secret<String> {
    Secret::new(BASE32.encode(bytes))
}

/// Reads a secret that someone brought, with its padding or without.
///
/// # Errors
/// If it is not base32; says where.
pub fn read_secret(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let digits = text.trim_end_matches('=');
    let refuse = |at| Error::invalid(format!("invalid key value: illegal base32 data at input byte {at}"));
    if digits.is_empty() {
        return Err(refuse(0));
    }
    let symbol = |byte: u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'2'..=b'7' | b'\r' | b'\n');
    if let Some(at) = digits.bytes().position(|byte| !symbol(byte)) {
        return Err(refuse(at));
    }
    let read = BASE32.decode(digits.as_bytes()).map_err(|_| refuse(digits.len()))?;
    if read.is_empty() { Err(refuse(digits.len())) } else { Ok(Zeroizing::new(read)) }
}

/// The code of a key in the period of this number.
///
/// # Errors
/// If the secret is not base32.
pub fn code(
    secret: &Secret<String>,
    algorithm: Algorithm,
    digits: Digits,
    step: u64,
) -> Result<Zeroizing<String>> {
    let secret = read_secret(secret.expose()).map_err(|_| Error::internal("a stored key is not base32"))?;
    let tag = hmac::sign(&hmac::Key::new(algorithm.hmac(), &secret), &step.to_be_bytes());
    let bytes = tag.as_ref();
    // The last half byte says where the four bytes lie that count.
    let at = usize::from(bytes.last().copied().unwrap_or(0) & 0x0f);
    let word: [u8; 4] = bytes
        .get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .ok_or_else(|| Error::internal("an HMAC is shorter than 19 bytes"))?;
    let number = u32::from_be_bytes(word) & 0x7fff_ffff;
    let width = digits.count();
    Ok(Zeroizing::new(format!("{:0width$}", number % 10_u32.pow(digits.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(algorithm: Algorithm, secret: &str, seconds: u64, expect: &str) {
        let secret = encode_secret(secret.as_bytes());
        assert_eq!(
            *code(&secret, algorithm, Digits(8), seconds / 30).unwrap(),
            expect,
            "{algorithm:?} at {seconds}"
        );
    }

    /// Appendix B of RFC 6238.
    #[test]
    fn codes_are_those_of_the_standard() {
        let (short, middle) = ("12345678901234567890", "12345678901234567890123456789012");
        let long = "1234567890123456789012345678901234567890123456789012345678901234";
        for (seconds, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            check(Algorithm::Sha1, short, seconds, sha1);
            check(Algorithm::Sha256, middle, seconds, sha256);
            check(Algorithm::Sha512, long, seconds, sha512);
        }
    }

    #[track_caller]
    fn check_secret(text: &str, expect: Result<&[u8], usize>) {
        let found = read_secret(text).map(|bytes| bytes.to_vec()).map_err(|error| error.to_string());
        let expect = expect
            .map(<[u8]>::to_vec)
            .map_err(|at| format!("invalid key value: illegal base32 data at input byte {at}"));
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn secrets_are_read_loosely() {
        check_secret("MZXW6YTB", Ok(b"fooba"));
        check_secret("mzxw6yq=", Ok(b"foob"));
        check_secret("mzxw6yq", Ok(b"foob"));
        check_secret("mzxw\n6yq", Ok(b"foob"));
        check_secret("zz", Ok(&[0b1100_1110]));
        check_secret("aaaabb", Err(6));
        check_secret("aaaa bbbb", Err(4));
        check_secret("1", Err(0));
        check_secret("========", Err(0));
        check_secret("\n", Err(1));
    }
}
