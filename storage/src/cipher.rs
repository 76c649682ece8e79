//! AES-256-GCM, the one cipher for values, behind a facade that another library could fill as well.

use std::io;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::random::Random;

/// Each seal has its own.
pub(crate) const NONCE_SIZE: usize = NONCE_LEN;
/// What sealing adds to the length of a plain text: nonce and tag.
pub(crate) const OVERHEAD: usize = NONCE_LEN + 16;
const KEY_SIZE: usize = 32;

/// Keys that are expanded once, in locked pages: the library cannot wipe what it expands.
pub(crate) struct Schedules(locked::Kept<LessSafeKey>);

impl Schedules {
    /// Expands keys that lie one after the other.
    pub(crate) fn of(keys: &[u8]) -> io::Result<Self> {
        let key = |at: usize| {
            expand(keys.get(at * KEY_SIZE..).and_then(|keys| keys.get(..KEY_SIZE)).unwrap_or_default())
        };
        locked::scrub(|| locked::Kept::of(keys.len() / KEY_SIZE, key)).map(Self)
    }

    pub(crate) fn get(&self, at: usize) -> Option<&LessSafeKey> {
        self.0.get(at)
    }
}

/// Appends nonce, cipher text and tag to `out`.
pub(crate) fn seal(key: &LessSafeKey, aad: &[u8], plain: &[u8], random: &dyn Random, out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce);
    out.reserve(plain.len() + OVERHEAD);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let (_, text) = out.split_at_mut(start);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
        .expect("a value is far shorter than the limit of the cipher");
    out.extend_from_slice(tag.as_ref());
}

/// The plain text; `None` if `sealed` was not made under this key and for this `aad`.
pub(crate) fn open(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let len = key.open_in_place(nonce, Aad::from(aad), &mut plain).ok()?.len();
    plain.truncate(len);
    Some(plain)
}

/// As [`seal`], with a key that is needed this once.
pub(crate) fn seal_once(key: &[u8], aad: &[u8], plain: &[u8], random: &dyn Random, out: &mut Vec<u8>) {
    locked::scrub(|| seal(&expand(key), aad, plain, random, out));
}

/// As [`open`], with a key that is needed this once.
pub(crate) fn open_once(key: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    locked::scrub(|| open(&expand(key), aad, sealed))
}

fn expand(key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("every key here has 32 bytes"))
}
