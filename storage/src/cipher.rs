//! AES-256-GCM, the one cipher for values, behind a facade that another library could fill as well.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::random::Random;

/// Each seal has its own.
pub(crate) const NONCE_SIZE: usize = NONCE_LEN;
/// What sealing adds to the length of a plain text: nonce and tag.
pub(crate) const OVERHEAD: usize = NONCE_LEN + 16;

/// Appends nonce, cipher text and tag to `out`.
pub(crate) fn seal(key: &[u8], aad: &[u8], plain: &[u8], random: &dyn Random, out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce);
    out.reserve(plain.len() + OVERHEAD);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let (_, text) = out.split_at_mut(start);
    let tag = expand(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
        .expect("a value is far shorter than the limit of the cipher");
    out.extend_from_slice(tag.as_ref());
}

/// The plain text; `None` if `sealed` was not made under this key and for this `aad`.
pub(crate) fn open(key: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let len = expand(key).open_in_place(nonce, Aad::from(aad), &mut plain).ok()?.len();
    plain.truncate(len);
    Some(plain)
}

/// The key schedule is made for each use and lies on the stack: the library cannot wipe one that is kept.
fn expand(key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("every key here has 32 bytes"))
}
