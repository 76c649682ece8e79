//! Encrypting and decrypting with a key: which version, which derived key, which nonce.

use kit::{Reads, Result};
use zeroize::Zeroizing;

use super::aead::Aead;
use super::hash::Hash;
use super::key::{Key, Use};
use super::refusal::Refusal;
use super::rsa::Oaep;
use super::text;
use super::version::{Parsed, Version};

/// What goes with a plaintext or a ciphertext.
pub(super) struct Beside<'a> {
    /// Which of the derived keys, in bytes.
    pub(super) context: &'a [u8],
    /// What is authenticated but not encrypted, in base64.
    pub(super) associated: &'a str,
}

/// Randomness for the longest nonce there is.
pub(super) type Fresh = [u8; 24];

/// The size of the key that makes the nonces of convergent encryption.
const NONCE_KEY_SIZE: usize = 32;

impl Beside<'_> {
    fn associated(&self) -> Result<Vec<u8>, Refusal> {
        text::decode(self.associated).map_err(|why| {
            Refusal::mistaken(format!("unable to get associated_data/additional_data from factory[0]: {why}"))
        })
    }
}

/// Refuses data beside the text of an item where the key has no way to authenticate it.
pub(super) fn takes_associated(key: &Key, associated: &str, at: usize) -> Result<(), Refusal> {
    match associated.is_empty() || key.record.kind.is_cipher() {
        true => Ok(()),
        false => Err(Refusal::Uncounted(format!(
            "'[{at}].associated_data' provided for non-AEAD cipher suite {}",
            key.record.kind.name()
        ))),
    }
}

/// Encrypts with the version that is asked for. Gives the ciphertext and the version.
pub(super) fn encrypt(
    cx: &impl Reads,
    key: &Key,
    asked: i64,
    beside: &Beside<'_>,
    plaintext: &[u8],
    fresh: &Fresh,
) -> Result<Result<(String, u64), Refusal>> {
    if let Err(refusal) = may_encrypt(key) {
        return Ok(Err(refusal));
    }
    let version = match key.version_for(cx, asked, Use::Encryption)? {
        Ok(version) => version,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let sealed = seal(key, &version, beside, plaintext, fresh);
    Ok(sealed.map(|sealed| (text::write(version.number, &sealed), version.number)))
}

/// Whether the key encrypts at all.
pub(super) fn may_encrypt(key: &Key) -> Result<(), Refusal> {
    key.record.usable()?;
    match key.record.kind.encrypts() {
        true => Ok(()),
        false => Err(Refusal::asked(format!(
            "message encryption not supported for key type {}",
            key.record.kind.name()
        ))),
    }
}

fn seal(
    key: &Key,
    version: &Version,
    beside: &Beside<'_>,
    plaintext: &[u8],
    fresh: &Fresh,
) -> Result<Vec<u8>, Refusal> {
    match &version.parsed {
        Parsed::Cipher(aead) => {
            let nonce = fresh.get(..aead.nonce_size()).unwrap_or_default();
            aead.seal(nonce, &beside.associated()?, plaintext)
        }
        Parsed::Bytes => {
            let size = key.record.kind.size().unwrap_or_default();
            let more = if key.record.convergent { NONCE_KEY_SIZE } else { 0 };
            let derived = version.derive(beside.context, size + more)?;
            let (cipher_key, nonce_key) = derived.split_at_checked(size).unwrap_or_default();
            let aead = derived_aead(key, cipher_key)?;
            let associated = beside.associated()?;
            let nonce = match key.record.convergent {
                true => convergent_nonce(nonce_key, &associated, plaintext),
                false => Zeroizing::new(fresh.to_vec()),
            };
            let nonce = nonce.get(..aead.nonce_size()).unwrap_or_default();
            aead.seal(nonce, &associated, plaintext)
        }
        Parsed::Rsa(pair) => pair.1.encrypt(Oaep::Sha256, plaintext),
        Parsed::Ed25519(..) | Parsed::Ecdsa(..) | Parsed::MlDsa(..) => {
            Err(Refusal::inner("the key does not encrypt"))
        }
    }
}

/// The nonce of a plaintext and of what is authenticated beside it. Two of these with one nonce would tell the key that
/// authenticates, so it hangs on both; without the latter it is OpenBao's. Another hash function keeps the two apart.
fn convergent_nonce(nonce_key: &[u8], associated: &[u8], plaintext: &[u8]) -> Zeroizing<Vec<u8>> {
    if associated.is_empty() {
        return Zeroizing::new(Hash::Sha256.hmac(nonce_key, plaintext));
    }
    let size = (associated.len() as u64).to_be_bytes();
    let both = Zeroizing::new([size.as_slice(), associated, plaintext].concat());
    Zeroizing::new(Hash::Sha512.hmac(nonce_key, &both))
}

fn derived_aead(key: &Key, derived: &[u8]) -> Result<Aead, Refusal> {
    Aead::new(key.record.kind, derived)
        .ok_or_else(|| Refusal::inner("could not derive enc key, length not correct"))
}

/// Decrypts with the version that the ciphertext names.
pub(super) fn decrypt(
    cx: &impl Reads,
    key: &Key,
    beside: &Beside<'_>,
    ciphertext: &str,
) -> Result<Result<Zeroizing<Vec<u8>>, Refusal>> {
    let parts = match may_decrypt(key).and_then(|()| {
        text::parts(ciphertext).map_err(|why| Refusal::asked(format!("invalid ciphertext: {why}")))
    }) {
        Ok(parts) => parts,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // Before there were versions, the only one was called 0.
    let number = if parts.version == 0 { 1 } else { parts.version };
    let version = match key.version_of(cx, number, "ciphertext")? {
        Ok(version) => version,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let sealed =
        text::decode(parts.body).map_err(|_| Refusal::asked("invalid ciphertext: could not decode base64"));
    Ok(sealed.and_then(|sealed| open(key, &version, beside, &sealed)))
}

fn may_decrypt(key: &Key) -> Result<(), Refusal> {
    key.record.usable()?;
    match key.record.kind.encrypts() {
        true => Ok(()),
        false => Err(Refusal::asked(format!(
            "message decryption not supported for key type {}",
            key.record.kind.name()
        ))),
    }
}

fn open(
    key: &Key,
    version: &Version,
    beside: &Beside<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    match &version.parsed {
        Parsed::Cipher(aead) => aead.open(sealed, &beside.associated()?),
        Parsed::Bytes => {
            let size = key.record.kind.size().unwrap_or_default();
            let derived = version.derive(beside.context, size)?;
            derived_aead(key, &derived)?.open(sealed, &beside.associated()?)
        }
        Parsed::Rsa(pair) => {
            let private = pair.0.as_ref().ok_or_else(|| {
                Refusal::mistaken(
                    "cannot decrypt ciphertext, key version does not have a private counterpart",
                )
            })?;
            private.decrypt(Oaep::Sha256, sealed).ok_or_else(|| {
                Refusal::mistaken("failed to RSA decrypt the ciphertext: crypto/rsa: decryption error")
            })
        }
        Parsed::Ed25519(..) | Parsed::Ecdsa(..) | Parsed::MlDsa(..) => {
            Err(Refusal::inner("the key does not decrypt"))
        }
    }
}
