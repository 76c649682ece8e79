//! AES-256-SIV (RFC 5297) with one header, over key schedules that lie in locked pages. A library that owns its keys
//! would expand them for each name, on a stack that nobody wipes.

use std::io;

use aes::Aes256Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use cmac::digest::InnerInit;
use cmac::{Cmac, CmacCore, Mac};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use subtle::ConstantTimeEq;

/// The synthetic nonce, which is the tag as well.
const TAG_SIZE: usize = 16;
/// The first half authenticates, the second one encrypts.
pub(crate) const KEY_SIZE: usize = 64;

/// A key, expanded.
pub(crate) struct Siv {
    keys: locked::Kept<Aes256Enc>,
    /// What S2V begins with, which is the same for all that is sealed with a key.
    start: locked::Kept<u128>,
}

impl Siv {
    /// Expands 64 bytes.
    pub(crate) fn new(key: &[u8]) -> io::Result<Self> {
        let half = |at: usize| {
            let half = key.get(at * KEY_SIZE / 2..(at + 1) * KEY_SIZE / 2).unwrap_or_default();
            Aes256Enc::new_from_slice(half).expect("half of the name key has 32 bytes")
        };
        locked::scrub(|| {
            let keys = locked::Kept::of(2, half)?;
            let start = locked::Kept::of(1, |_| double(code(&mut mac(&keys), [&[0; TAG_SIZE], &[]])))?;
            Ok(Self { keys, start })
        })
    }

    /// Tag and cipher text.
    pub(crate) fn seal(&self, header: &[u8], plain: &[u8]) -> Vec<u8> {
        let tag = self.tag(header, plain);
        let mut out = Vec::with_capacity(TAG_SIZE + plain.len());
        out.extend_from_slice(&tag);
        out.extend_from_slice(plain);
        self.crypt(tag, out.get_mut(TAG_SIZE..).unwrap_or_default());
        out
    }

    /// The plain text; `None` if this was not sealed with this key and header.
    pub(crate) fn open(&self, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (tag, text) = sealed.split_first_chunk::<TAG_SIZE>()?;
        let mut plain = text.to_vec();
        self.crypt(*tag, &mut plain);
        bool::from(self.tag(header, &plain).ct_eq(tag)).then_some(plain)
    }

    /// S2V of the RFC, section 2.4.
    fn tag(&self, header: &[u8], plain: &[u8]) -> [u8; TAG_SIZE] {
        let mut mac = mac(&self.keys);
        let mut code = |parts| code(&mut mac, parts);
        let start = self.start.first().expect("one is kept");
        let state = start ^ code([header, &[]]);
        let last = match plain.split_last_chunk::<TAG_SIZE>() {
            Some((before, end)) => {
                return code([before, &(state ^ u128::from_be_bytes(*end)).to_be_bytes()]).to_be_bytes();
            }
            None => plain,
        };
        let mut padded = [0; TAG_SIZE];
        padded.iter_mut().zip(last.iter().chain(&[0x80])).for_each(|(to, from)| *to = *from);
        code([&(double(state) ^ u128::from_be_bytes(padded)).to_be_bytes(), &[]]).to_be_bytes()
    }

    fn crypt(&self, tag: [u8; TAG_SIZE], text: &mut [u8]) {
        let [_, key] = halves(&self.keys);
        // The RFC clears the top bits of the last two words, section 2.5.
        let start = u128::from_be_bytes(tag) & !(1 << 63 | 1 << 31);
        let core = CtrCore::<_, Ctr128BE>::inner_iv_init(key, &start.to_be_bytes().into());
        core.apply_keystream_partial(text.into());
    }
}

/// What authenticates, and what encrypts.
fn halves(keys: &[Aes256Enc]) -> [&Aes256Enc; 2] {
    match keys {
        [first, second] => [first, second],
        _ => unreachable!("two keys are kept"),
    }
}

fn mac(keys: &[Aes256Enc]) -> Cmac<&Aes256Enc> {
    let [key, _] = halves(keys);
    Cmac::from_core(CmacCore::inner_init(key))
}

fn code(mac: &mut Cmac<&Aes256Enc>, parts: [&[u8]; 2]) -> u128 {
    parts.iter().for_each(|part| mac.update(part));
    u128::from_be_bytes(mac.finalize_reset().into_bytes().into())
}

/// Doubling in the field of CMAC, without a branch.
fn double(block: u128) -> u128 {
    (block << 1) ^ ((block >> 127).wrapping_neg() & 0x87)
}

#[cfg(test)]
mod tests {
    use aes_siv::siv::Aes256Siv;

    use super::*;

    #[test]
    fn it_is_what_the_library_does() {
        let key: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(37)).collect();
        let ours = Siv::new(&key).unwrap();
        let mut theirs = <Aes256Siv as aes_siv::KeyInit>::new_from_slice(&key).unwrap();
        for len in 0..100 {
            let plain: Vec<u8> = (0..len).map(|at: u8| at.wrapping_mul(91) ^ len).collect();
            let header = plain.repeat(2);
            let sealed = ours.seal(&header, &plain);
            assert_eq!(sealed, theirs.encrypt([&header], &plain).unwrap(), "{len}");
            assert_eq!(ours.open(&header, &sealed), Some(plain));
            for at in 0..sealed.len() {
                let mut other = sealed.clone();
                other[at] ^= 1;
                assert_eq!(ours.open(&header, &other), None, "{at} of {len}");
            }
            assert_eq!(ours.open(b"another header", &sealed), None);
        }
        assert_eq!(ours.open(b"", &[0; 15]), None);
    }

    #[test]
    fn doubling_is_that_of_the_rfc() {
        // RFC 4493, section 4: L, K1 and K2.
        let l = 0x7df7_6b0c_1ab8_99b3_3e42_f047_b91b_546f;
        assert_eq!(double(l), 0xfbee_d618_3571_3366_7c85_e08f_7236_a8de);
        assert_eq!(double(double(l)), 0xf7dd_ac30_6ae2_66cc_f90b_c11e_e46d_513b);
    }
}
