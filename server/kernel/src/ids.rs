//! Ids that the server makes: tokens, accessors, UUIDs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kit::Time;
use storage::Random;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The length of what is no token: an accessor, the last name of a lease.
pub(crate) const LENGTH: usize = 24;
/// So many characters that an id begins with are milliseconds since 1970; they suffice until 2081, and then begin again.
const TIME_LENGTH: usize = 7;
/// How many random characters a token has: 131 bits.
const SECRET_LENGTH: usize = 22;
/// How many characters of checksum end a token.
const CHECKSUM_LENGTH: usize = 6;
/// What a service token begins with.
const SERVICE: &str = "s.";
/// The length of a service token.
pub(crate) const TOKEN_LENGTH: usize = SERVICE.len() + TIME_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;

/// Random characters without bias.
pub(crate) fn base62(random: &dyn Random, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 32];
    while text.len() < length {
        random.fill(&mut bytes);
        // 248 is the largest multiple of 62 in a byte; what lies above would make some characters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let chars = fair.filter_map(|byte| BASE62.get(usize::from(byte % 62)));
        text.extend(chars.take(length - text.len()).map(|byte| char::from(*byte)));
    }
    text
}

/// A new service token: `s.`, the time, 22 random characters, and 6 of checksum, by which a scanner of leaked text knows
/// it.
pub(crate) fn token(random: &dyn Random, now: Time) -> String {
    let body = dated(random, now, TIME_LENGTH + SECRET_LENGTH);
    let sum = checksum(&body);
    format!("{SERVICE}{body}{sum}")
}

/// When a service token was made, in milliseconds since 1970, if it has the form of ours. Nothing but its place in the
/// store hangs on that: who changes it has another token.
pub(crate) fn made(token: &str) -> Option<u64> {
    let (token, ending) = token.split_at_checked(TOKEN_LENGTH)?;
    let body = token.strip_prefix(SERVICE).filter(|_| ending.is_empty() || ending.starts_with('.'))?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    };
    body.bytes().take(TIME_LENGTH).try_fold(0, |time, digit| Some(time * 62 + u64::from(value(digit)?)))
}

/// A new accessor, or the last name of a new lease: the time, and 101 random bits. It opens nothing.
pub(crate) fn accessor(random: &dyn Random, now: Time) -> String {
    dated(random, now, LENGTH)
}

/// The time, then random characters up to a length. What is made together lies together in the store then: a commit
/// writes one page for many new entries, not several for each.
fn dated(random: &dyn Random, now: Time, length: usize) -> String {
    let mut id = digits::<TIME_LENGTH>(now.0 / 1_000_000);
    id.push_str(&base62(random, length - TIME_LENGTH));
    id
}

/// The checksum of a token's body: its CRC-32 in base 62.
fn checksum(body: &str) -> String {
    digits::<CHECKSUM_LENGTH>(crc32(body.as_bytes()).into())
}

/// The last digits of a number in base 62.
fn digits<const LENGTH: usize>(mut rest: u64) -> String {
    let mut digits = [b'0'; LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// CRC-32 as in IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Sixteen bytes in the form of a UUID.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let mut digits = [0; 32];
    hex::encode_to_slice(bytes, &mut digits).expect("sixteen bytes have 32 digits");
    let mut text = String::with_capacity(36);
    for (index, digit) in digits.into_iter().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(char::from(digit));
    }
    text
}

/// Ids of requests: unique, and no secret. A counter under a random mask, because a request must not pay for the
/// system's randomness twice.
pub(crate) struct RequestIds {
    run: [u8; 8],
    mask: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(random: &dyn Random) -> Self {
        let (mut run, mut mask) = ([0; 8], [0; 8]);
        random.fill(&mut run);
        random.fill(&mut mask);
        Self { run, mask: u64::from_be_bytes(mask), next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> String {
        // An odd factor maps the counter one to one.
        let number = self.next.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.mask;
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(number.to_be_bytes().into_iter().chain(self.run))
            .for_each(|(to, from)| *to = from);
        uuid(bytes)
    }
}

/// The id of a mount, from its UUID.
pub(crate) fn mount(uuid: &str) -> Option<kit::MountId> {
    let mut id = [0; 16];
    hex::decode_to_slice(uuid.replace('-', ""), &mut id).ok()?;
    Some(kit::MountId(id))
}

/// A random UUID (version 4).
pub(crate) fn new_uuid(random: &dyn Random) -> String {
    let mut bytes = [0_u8; 16];
    random.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    uuid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_recognised() {
        let token = token(&storage::SystemRandom, Time(1_800_000_000_123_456_789));
        assert_eq!(token.len(), TOKEN_LENGTH);
        let (body, sum) = token[2..].split_at(TOKEN_LENGTH - SERVICE.len() - CHECKSUM_LENGTH);
        assert_eq!(checksum(body), sum);
        assert_eq!(made(&token), Some(1_800_000_000_123));
        assert_eq!(made(&format!("{token}.ns1")), Some(1_800_000_000_123));
        for other in ["s.short", "root", &format!("{token}x"), &format!("b.{}", &token[2..]), "s.---"] {
            assert_eq!(made(other), None, "{other}");
        }
        assert_ne!(checksum("000000000000000000000001"), checksum("000000000000000000000010"));
    }

    #[test]
    fn accessors_lie_in_the_order_of_their_time() {
        let at = |millis: u64| accessor(&storage::SystemRandom, Time(millis * 1_000_000));
        let times = [0, 1, 61, 62, 1_800_000_000_000, 1_800_000_000_001, 3_521_614_606_207];
        assert!(times.iter().all(|millis| at(*millis).len() == LENGTH));
        assert!(times.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
        assert_ne!(at(5), at(5));
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
