//! Ciphers that authenticate: AES-GCM, ChaCha20-Poly1305, XChaCha20-Poly1305. What they make is nonce ‖ ciphertext ‖ tag.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use chacha20::cipher::array::Array;
use chacha20::{R20, hchacha};
use zeroize::Zeroizing;

use super::kind::Kind;
use super::refusal::Refusal;

/// A key that is ready to encrypt.
pub(super) struct Aead {
    cipher: Cipher,
    /// What Go's library calls itself when it refuses.
    name: &'static str,
}

enum Cipher {
    /// Nonces of 12 bytes.
    Short(LessSafeKey),
    /// Nonces of 24 bytes: each makes a key of its own for the rest.
    Extended(Zeroizing<[u8; 32]>),
}

const SHORT: usize = 12;
const EXTENDED: usize = 24;
const TAG: usize = 16;

impl Aead {
    /// Makes `key` ready. Nothing if it is not a key of this kind.
    pub(super) fn new(kind: Kind, key: &[u8]) -> Option<Self> {
        let short = |algorithm| UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new).map(Cipher::Short);
        let (name, cipher) = match kind {
            Kind::Aes128 => ("cipher", short(&aead::AES_128_GCM)?),
            Kind::Aes256 => ("cipher", short(&aead::AES_256_GCM)?),
            Kind::ChaCha20 => ("chacha20poly1305", short(&aead::CHACHA20_POLY1305)?),
            Kind::XChaCha20 => ("chacha20poly1305", Cipher::Extended(Zeroizing::new(key.try_into().ok()?))),
            _ => return None,
        };
        Some(Self { cipher, name })
    }

    /// How long its nonces are.
    pub(super) fn nonce_size(&self) -> usize {
        match self.cipher {
            Cipher::Short(_) => SHORT,
            Cipher::Extended(_) => EXTENDED,
        }
    }

    /// Encrypts under a nonce that must never come twice with another plaintext.
    pub(super) fn seal(&self, nonce: &[u8], beside: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refusal> {
        let failed = |_| Refusal::inner("the cipher does not take this plaintext: it is too long");
        let mut out = Vec::with_capacity(nonce.len() + plaintext.len() + TAG);
        out.extend_from_slice(nonce);
        out.extend_from_slice(plaintext);
        let body = out.get_mut(nonce.len()..).unwrap_or_default();
        let tag = match &self.cipher {
            Cipher::Short(key) => {
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(failed)?;
                key.seal_in_place_separate_tag(nonce, Aad::from(beside), body).map_err(failed)?
            }
            Cipher::Extended(key) => {
                let (key, nonce) = extend(key, nonce).ok_or_else(|| failed(aws_lc_rs::error::Unspecified))?;
                key.seal_in_place_separate_tag(nonce, Aad::from(beside), body).map_err(failed)?
            }
        };
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Decrypts what [`seal`](Self::seal) made, if nobody has touched it since.
    pub(super) fn open(&self, sealed: &[u8], beside: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let forged = |_| Refusal::asked(format!("{}: message authentication failed", self.name));
        let split = sealed.split_at_checked(self.nonce_size());
        let (nonce, body) = split.ok_or_else(|| Refusal::asked("invalid ciphertext length"))?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = match &self.cipher {
            Cipher::Short(key) => {
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(forged)?;
                key.open_in_place(nonce, Aad::from(beside), &mut body).map_err(forged)?.len()
            }
            Cipher::Extended(key) => {
                let (key, nonce) = extend(key, nonce).ok_or_else(|| forged(aws_lc_rs::error::Unspecified))?;
                key.open_in_place(nonce, Aad::from(beside), &mut body).map_err(forged)?.len()
            }
        };
        body.truncate(plain);
        Ok(body)
    }
}

/// The key and the nonce that a long nonce stands for (draft-irtf-cfrg-xchacha §2.3).
fn extend(key: &[u8; 32], nonce: &[u8]) -> Option<(LessSafeKey, Nonce)> {
    let (head, tail) = nonce.split_at_checked(16)?;
    let head: [u8; 16] = head.try_into().ok()?;
    let derived: Zeroizing<[u8; 32]> = Zeroizing::new(hchacha::<R20>(&Array(*key), &Array(head)).into());
    let mut short = [0; SHORT];
    short.get_mut(4..)?.copy_from_slice(tail.get(..8)?);
    let key = UnboundKey::new(&aead::CHACHA20_POLY1305, &*derived).ok()?;
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(short)))
}

/// How many bytes a derivation is to give.
struct Size(usize);

impl hkdf::KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

/// Derives `size` bytes from a key for one context: HKDF-SHA-256 without a salt.
pub(super) fn derive(key: &[u8], context: &[u8], size: usize) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let failed = |_| Refusal::inner("the key could not be derived");
    let mut derived = Zeroizing::new(vec![0; size]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(key);
    let info = [context];
    let expanded = extracted.expand(&info, Size(size)).map_err(failed)?;
    expanded.fill(&mut derived).map_err(failed)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 4] = [Kind::Aes128, Kind::Aes256, Kind::ChaCha20, Kind::XChaCha20];

    #[test]
    fn what_was_sealed_opens_unless_it_was_touched() {
        for kind in KINDS {
            let aead = Aead::new(kind, &vec![7; kind.size().unwrap()]).unwrap();
            let nonce = vec![9; aead.nonce_size()];
            let sealed = aead.seal(&nonce, b"beside", b"secret").unwrap();
            assert_eq!(sealed.len(), nonce.len() + 6 + TAG);
            assert_eq!(*aead.open(&sealed, b"beside").unwrap(), b"secret");
            assert!(aead.open(&sealed, b"").is_err());
            for at in 0..sealed.len() {
                let mut other = sealed.clone();
                other[at] ^= 1;
                assert!(aead.open(&other, b"beside").unwrap_err().text().ends_with("authentication failed"));
            }
            assert_eq!(aead.open(&nonce[1..], b"").unwrap_err().text(), "invalid ciphertext length");
            assert!(Aead::new(kind, b"short").is_none());
        }
    }

    /// The example of draft-irtf-cfrg-xchacha-03 §A.3.1.
    #[test]
    fn the_extended_cipher_is_that_of_the_draft() {
        let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let beside = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
        let key: Vec<u8> = (0x80..0xa0).collect();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let sealed = Aead::new(Kind::XChaCha20, &key).unwrap().seal(&nonce, &beside, plaintext).unwrap();
        assert!(
            hex::encode(&sealed[24..])
                .starts_with("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb")
        );
        assert!(hex::encode(&sealed).ends_with("c0875924c1c7987947deafd8780acf49"));
    }

    /// RFC 5869 §A.3: no salt.
    #[test]
    fn derivation_is_that_of_the_rfc() {
        let derived = derive(&[0x0b; 22], b"", 42).unwrap();
        assert!(
            hex::encode(&*derived)
                .starts_with("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")
        );
    }
}
