//! RSA. What needs the private key is done by aws-lc, in constant time; what needs the public key alone is done here,
//! because aws-lc verifies neither salts of unknown length nor all hash functions.

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaKeyPair, RsaPssSaltLength, RsaSignatureEncoding,
};
use der::asn1::{BitStringRef, UintRef};
use der::{Decode, Reader, SliceReader};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::hash::Hash;
use super::refusal::Refusal;

/// The private half.
pub(super) struct Private {
    pair: RsaKeyPair,
    decrypting: OaepPrivateDecryptingKey,
}

/// The public half.
pub(super) struct Public {
    modulus: BigUint,
    exponent: BigUint,
    bits: usize,
    encrypting: OaepPublicEncryptingKey,
}

/// How a signature is padded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Padding {
    Pss(Salt),
    Pkcs1,
}

/// How long the salt of a PSS signature is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Salt {
    /// As long as it can be; when verifying, any length.
    Auto,
    /// As long as the hash.
    Hash,
    /// So many bytes.
    Exactly(usize),
}

/// The longest salt there is: that of 4096 bits and the shortest hash that RSA signs with here.
const SALT_MAX: u16 = 4096 / 8 - 2 - 32;

/// PSS with each length of salt, for each of the three hashes; aws-lc takes these by their address.
static PSS: LazyLock<[Vec<RsaSignatureEncoding>; 3]> = LazyLock::new(|| {
    let lengths = || (0..=SALT_MAX).map(RsaPssSaltLength::Custom);
    [
        lengths().map(|salt| RSA_PSS_SHA256.with_pss_salt_length(salt)).collect(),
        lengths().map(|salt| RSA_PSS_SHA384.with_pss_salt_length(salt)).collect(),
        lengths().map(|salt| RSA_PSS_SHA512.with_pss_salt_length(salt)).collect(),
    ]
});

impl Private {
    /// Reads PKCS#8.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        let decrypting = PrivateDecryptingKey::from_pkcs8(der).ok()?;
        Some(Self { pair, decrypting: OaepPrivateDecryptingKey::new(decrypting).ok()? })
    }

    /// Signs a hash.
    pub(super) fn sign(
        &self,
        padding: Padding,
        hash: Option<Hash>,
        digest: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let (at, algorithm, pkcs1) = match hash {
            Some(Hash::Sha256) => (0, &digest::SHA256, &RSA_PKCS1_SHA256),
            Some(Hash::Sha384) => (1, &digest::SHA384, &RSA_PKCS1_SHA384),
            Some(Hash::Sha512) => (2, &digest::SHA512, &RSA_PKCS1_SHA512),
            other => return Err(unsigned(other)),
        };
        let unfit = |_| {
            Refusal::mistaken(match padding {
                Padding::Pss(_) => "crypto/rsa: input must be hashed with given hash",
                Padding::Pkcs1 => "crypto/rsa: input must be hashed message",
            })
        };
        let digest = Digest::import_less_safe(digest, algorithm).map_err(unfit)?;
        let encoding = match padding {
            Padding::Pkcs1 => pkcs1,
            Padding::Pss(salt) => {
                let longest = longest_salt(self.pair.public_modulus_len() * 8, digest.as_ref().len());
                let salt = salt.length(longest, digest.as_ref().len())?.unwrap_or(longest);
                let known = PSS.get(at).and_then(|known| known.get(salt));
                known.ok_or_else(|| invalid_salt(salt))?
            }
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let failed = |_| Refusal::inner("the RSA key could not sign");
        self.pair.sign_digest(encoding, &digest, &mut signature).map_err(failed)?;
        Ok(signature)
    }

    /// Decrypts OAEP. All that can be wrong with a ciphertext looks the same.
    pub(super) fn decrypt(&self, hash: Oaep, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let size = self.decrypting.decrypt(hash.algorithm(), ciphertext, &mut plain, None).ok()?.len();
        plain.truncate(size);
        Some(plain)
    }
}

/// The hash inside OAEP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Oaep {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Oaep {
    fn algorithm(self) -> &'static OaepAlgorithm {
        match self {
            Self::Sha1 => &OAEP_SHA1_MGF1SHA1,
            Self::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Self::Sha384 => &OAEP_SHA384_MGF1SHA384,
            Self::Sha512 => &OAEP_SHA512_MGF1SHA512,
        }
    }
}

impl Public {
    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn from_spki(spki: &[u8]) -> Option<Self> {
        let (modulus, exponent) = numbers(spki).ok()?;
        let encrypting = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).ok()?).ok()?;
        let bits = usize::try_from(modulus.bits()).ok()?;
        Some(Self { modulus, exponent, bits, encrypting })
    }

    /// The modulus and the exponent.
    pub(super) fn numbers(&self) -> (&BigUint, &BigUint) {
        (&self.modulus, &self.exponent)
    }

    /// Encrypts with OAEP.
    pub(super) fn encrypt(&self, hash: Oaep, plaintext: &[u8]) -> Result<Vec<u8>, Refusal> {
        let failed =
            |text| Refusal::mistaken(format!("failed to RSA encrypt the plaintext: crypto/rsa: {text}"));
        if plaintext.len() > self.encrypting.max_plaintext_size(hash.algorithm()) {
            return Err(failed("message too long for RSA key size"));
        }
        let mut out = vec![0; self.encrypting.ciphertext_size()];
        let size = self.encrypting.encrypt(hash.algorithm(), plaintext, &mut out, None);
        let size = size.map_err(|_| failed("encryption error"))?.len();
        out.truncate(size);
        Ok(out)
    }

    /// Whether the private half signed this hash. Without a hash function the digest stands alone in the padding.
    pub(super) fn verify(
        &self,
        padding: Padding,
        hash: Option<Hash>,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, Refusal> {
        let size = self.bits.div_ceil(8);
        let salt = match (padding, hash) {
            (Padding::Pss(salt), Some(hash)) => {
                salt.length(longest_salt(self.bits, hash.size()), hash.size())?
            }
            _ => None,
        };
        let number = BigUint::from_bytes_be(signature);
        if signature.len() != size || number >= self.modulus {
            return Ok(false);
        }
        let block = number.modpow(&self.exponent, &self.modulus).to_bytes_be();
        let block = [vec![0; size.saturating_sub(block.len())], block].concat();
        if hash.is_some_and(|hash| hash.size() != digest.len()) {
            return Ok(false);
        }
        Ok(match (padding, hash) {
            (Padding::Pkcs1, hash) => {
                let info = hash.map(Hash::digest_info).unwrap_or_default();
                pkcs1_block(size, &[info.as_slice(), digest].concat()).is_some_and(|expect| expect == block)
            }
            (Padding::Pss(_), Some(hash)) => is_pss(&block, self.bits, hash, digest, salt).unwrap_or(false),
            (Padding::Pss(_), None) => false,
        })
    }
}

impl Salt {
    /// The length it means; nothing for any length.
    fn length(self, longest: usize, hash: usize) -> Result<Option<usize>, Refusal> {
        match self {
            Self::Auto => Ok(None),
            Self::Hash => Ok(Some(hash)),
            // As in OpenBao, where zero is Go's word for it.
            Self::Exactly(0) => Ok(None),
            Self::Exactly(size) if size <= longest => Ok(Some(size)),
            Self::Exactly(size) => Err(invalid_salt(size)),
        }
    }
}

fn longest_salt(bits: usize, hash: usize) -> usize {
    (bits.saturating_sub(1).div_ceil(8)).saturating_sub(2 + hash)
}

fn invalid_salt(size: usize) -> Refusal {
    Refusal::asked(format!("requested salt length {size} is invalid"))
}

fn unsigned(hash: Option<Hash>) -> Refusal {
    let name = hash.map_or("none", Hash::name);
    Refusal::Uncounted(format!(
        "RSA keys do not sign with {name} here, because no constant-time implementation does: use sha2-256, sha2-384 or sha2-512"
    ))
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2).
fn pkcs1_block(size: usize, content: &[u8]) -> Option<Vec<u8>> {
    let filling = size.checked_sub(content.len() + 3).filter(|filling| *filling >= 8)?;
    Some([&[0, 1], vec![0xff; filling].as_slice(), &[0], content].concat())
}

/// EMSA-PSS-VERIFY (RFC 8017 §9.1.2), with a salt of this length, or of any.
fn is_pss(block: &[u8], bits: usize, hash: Hash, digest: &[u8], salt: Option<usize>) -> Option<bool> {
    let bits = bits.checked_sub(1)?;
    // A modulus of 8n + 1 bits has a byte before the encoded message.
    let message = block.get(block.len().checked_sub(bits.div_ceil(8))?..)?;
    if block.len() > message.len() && *block.first()? != 0 {
        return Some(false);
    }
    let (masked, rest) = message.split_at_checked(message.len().checked_sub(hash.size() + 1)?)?;
    let (proof, trailer) = rest.split_at_checked(hash.size())?;
    let spare = u32::try_from(8 * message.len() - bits).ok()?;
    let top = 0xff_u8.checked_shr(spare).unwrap_or(0);
    if trailer != [0xbc] || masked.first()? & !top != 0 {
        return Some(false);
    }
    let mask = mgf1(hash, proof, masked.len());
    let mut data: Vec<u8> = masked.iter().zip(&mask).map(|(one, other)| one ^ other).collect();
    *data.first_mut()? &= top;
    let zeros = data.iter().position(|byte| *byte != 0)?;
    let (one, found) = data.get(zeros..)?.split_first()?;
    if *one != 1 || salt.is_some_and(|salt| salt != found.len()) {
        return Some(false);
    }
    Some(hash.digest(&[&[0; 8], digest, found].concat()) == proof)
}

fn mgf1(hash: Hash, seed: &[u8], size: usize) -> Vec<u8> {
    let blocks = (0_u32..).map(|counter| hash.digest(&[seed, &counter.to_be_bytes()].concat()));
    let mut mask: Vec<u8> = blocks.take(size.div_ceil(hash.size())).flatten().collect();
    mask.truncate(size);
    mask
}

fn numbers(spki: &[u8]) -> der::Result<(BigUint, BigUint)> {
    let key = SliceReader::new(spki)?.sequence(|outer| {
        outer.tlv_bytes()?;
        BitStringRef::decode(outer)
    })?;
    let key = key.as_bytes().ok_or_else(|| der::Error::from(der::ErrorKind::Failed))?;
    SliceReader::new(key)?.sequence(|inner| {
        let modulus = BigUint::from_bytes_be(UintRef::decode(inner)?.as_bytes());
        Ok::<_, der::Error>((modulus, BigUint::from_bytes_be(UintRef::decode(inner)?.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use x509::{Family, KeyEncoding, KeyShape, PrivateKey};

    use super::*;

    fn pair() -> (Private, Public) {
        let key = PrivateKey::generate(KeyShape { family: Family::Rsa, bits: 2048 }).unwrap();
        let private = Private::from_pkcs8(&key.to_der(KeyEncoding::Pkcs8).unwrap()).unwrap();
        (private, Public::from_spki(key.public().spki()).unwrap())
    }

    #[test]
    fn what_one_half_signs_the_other_verifies_and_nothing_else() {
        let (private, public) = pair();
        let paddings = [Salt::Auto, Salt::Hash, Salt::Exactly(1), Salt::Exactly(190)].map(Padding::Pss);
        for padding in paddings.into_iter().chain([Padding::Pkcs1]) {
            for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                let digest = hash.digest(b"message");
                let signature = private.sign(padding, Some(hash), &digest).unwrap();
                let verify = |padding, digest: &[u8], signature: &[u8]| {
                    public.verify(padding, Some(hash), digest, signature).unwrap()
                };
                assert!(verify(padding, &digest, &signature), "{padding:?} {hash:?}");
                assert!(!verify(padding, &hash.digest(b"massage"), &signature));
                assert!(!verify(padding, &digest, &signature[1..]));
                let mut touched = signature.clone();
                touched[100] ^= 1;
                assert!(!verify(padding, &digest, &touched));
                let other = if padding == Padding::Pkcs1 { Padding::Pss(Salt::Auto) } else { Padding::Pkcs1 };
                assert!(!verify(other, &digest, &signature));
                if let Padding::Pss(_) = padding {
                    assert!(verify(Padding::Pss(Salt::Auto), &digest, &signature));
                    assert!(!verify(Padding::Pss(Salt::Exactly(2)), &digest, &signature));
                }
            }
        }
    }

    #[test]
    fn a_salt_that_does_not_fit_is_refused() {
        let (private, _) = pair();
        let digest = Hash::Sha256.digest(b"");
        let refused =
            private.sign(Padding::Pss(Salt::Exactly(223)), Some(Hash::Sha256), &digest).unwrap_err();
        assert_eq!(refused.text(), "requested salt length 223 is invalid");
        assert!(private.sign(Padding::Pss(Salt::Exactly(222)), Some(Hash::Sha256), &digest).is_ok());
        assert!(private.sign(Padding::Pkcs1, Some(Hash::Sha256), b"short").is_err());
        assert!(private.sign(Padding::Pkcs1, None, &digest).is_err());
    }

    #[test]
    fn what_is_encrypted_decrypts() {
        let (private, public) = pair();
        for hash in [Oaep::Sha1, Oaep::Sha256, Oaep::Sha384, Oaep::Sha512] {
            let ciphertext = public.encrypt(hash, b"secret").unwrap();
            assert_eq!(*private.decrypt(hash, &ciphertext).unwrap(), b"secret");
            assert!(private.decrypt(hash, &ciphertext[1..]).is_none());
        }
        assert!(public.encrypt(Oaep::Sha256, &[0; 191]).is_err());
    }
}
