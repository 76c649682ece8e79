//! The key of an issuer, or one made for a user: aws-lc holds it and signs, ssh-key writes it down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::UintRef;
use der::{Decode, Reader as _, SliceReader};
use kit::{Error, Result, Secret};
use ssh_encoding::Encode;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, Mpint, PrivateKey, PublicKey, Signature};
use x509::{Digest, Family, KeyEncoding, KeyShape, Padding, Scheme};
use zeroize::Zeroizing;

/// The usual size of an RSA key here, as `ssh-keygen` and OpenBao have it.
const RSA_BITS: u32 = 4096;
const RSA_BITS_MIN: u64 = 2048;
const SEED_SIZE: usize = 32;

/// A private key with its public half as SSH has it.
pub(super) struct Key {
    private: x509::PrivateKey,
    public: KeyData,
}

/// The shape that `key_type` and `key_bits` ask for; 0 bits for the usual size.
pub(super) fn shape(key_type: &str, key_bits: u64) -> Result<KeyShape> {
    let ec = |bits| Ok(KeyShape { family: Family::Ec, bits });
    match (key_type, key_bits) {
        ("ssh-rsa" | "rsa", 0) => Ok(KeyShape { family: Family::Rsa, bits: RSA_BITS }),
        ("ssh-rsa" | "rsa", 1..RSA_BITS_MIN) => Err(Error::invalid(format!(
            "refusing to generate weak {key_type} key: {key_bits} bits < {RSA_BITS_MIN} bits"
        ))),
        ("ssh-rsa" | "rsa", _) => KeyShape::parse("rsa", key_bits).map_err(refused),
        ("ssh-ed25519" | "ed25519", _) => Ok(KeyShape { family: Family::Ed25519, bits: 256 }),
        ("ecdsa-sha2-nistp256", _) | ("ec", 0 | 256) => ec(256),
        ("ecdsa-sha2-nistp384", _) | ("ec", 384) => ec(384),
        ("ecdsa-sha2-nistp521", _) | ("ec", 521) => ec(521),
        ("ec", _) => Err(Error::invalid(format!(
            "unknown ECDSA key pair algorithm and bits: ec / {key_bits}; the sizes are 256, 384 and 521"
        ))),
        (other, _) => Err(Error::invalid(format!(
            "unknown ssh key pair algorithm: {other}; it is ssh-rsa, ssh-ed25519 or ecdsa-sha2-nistp256, -nistp384 or -nistp521"
        ))),
    }
}

/// How an RSA issuer signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RsaDigest {
    /// `rsa-sha2-256`.
    Sha256,
    /// `rsa-sha2-512`.
    Sha512,
}

impl Key {
    /// Makes a new one.
    pub(super) fn generate(shape: KeyShape) -> Result<Self> {
        Self::of(x509::PrivateKey::generate(shape).map_err(refused)?)
    }

    /// A key that was read.
    pub(super) fn of(private: x509::PrivateKey) -> Result<Self> {
        let public = public_of(private.public())?;
        Ok(Self { private, public })
    }

    /// The key of a stored record.
    pub(super) fn from_record(pkcs8: &Secret<String>) -> Result<Self> {
        let damaged = || Error::internal("a stored issuer key cannot be read");
        let der = Zeroizing::new(STANDARD.decode(pkcs8.expose()).map_err(|_| damaged())?);
        Self::of(x509::PrivateKey::from_der(&der).map_err(|_| damaged())?)
    }

    /// As a record keeps it.
    pub(super) fn to_record(&self) -> Result<Secret<String>> {
        let der = self.private.to_der(KeyEncoding::Pkcs8).map_err(refused)?;
        Ok(Secret::new(STANDARD.encode(&*der)))
    }

    /// The public half.
    pub(super) fn public(&self) -> &KeyData {
        &self.public
    }

    /// What it is and how large.
    pub(super) fn shape(&self) -> KeyShape {
        self.private.public().shape()
    }

    /// The public half as a line for `authorized_keys` and its like, with its newline.
    pub(super) fn public_line(&self) -> Result<String> {
        let line = PublicKey::from(self.public.clone()).to_openssh().map_err(unwritten)?;
        Ok(format!("{line}\n"))
    }

    /// The private key as `ssh` reads it, with a closing newline.
    pub(super) fn to_pem(&self) -> Result<Secret<String>> {
        if self.shape().family != Family::Ed25519 {
            let pem = self.private.to_pem(KeyEncoding::Traditional).map_err(refused)?;
            return Ok(Secret::new(format!("{}\n", *pem)));
        }
        let der = self.private.to_der(KeyEncoding::Pkcs8).map_err(refused)?;
        let seed: Zeroizing<[u8; SEED_SIZE]> = der
            .last_chunk()
            .map(|seed| Zeroizing::new(*seed))
            .ok_or_else(|| Error::internal("a key of Ed25519 is shorter than its seed"))?;
        let public =
            self.public.ed25519().copied().ok_or_else(|| Error::internal("the key is no Ed25519 key"))?;
        let pair = Ed25519Keypair { public, private: Ed25519PrivateKey::from_bytes(&seed) };
        let key = PrivateKey::new(KeypairData::Ed25519(pair), "").map_err(unwritten)?;
        let pem = key.to_openssh(LineEnding::LF).map_err(unwritten)?;
        Ok(Secret::new(pem.to_string()))
    }

    /// One that signs; `digest` is for RSA.
    pub(super) fn signer(&self, digest: RsaDigest) -> Signer<'_> {
        Signer { key: self, digest }
    }
}

/// A key that signs a certificate.
pub(super) struct Signer<'a> {
    key: &'a Key,
    digest: RsaDigest,
}

impl From<&Signer<'_>> for KeyData {
    fn from(signer: &Signer<'_>) -> Self {
        signer.key.public.clone()
    }
}

impl signature::Signer<Signature> for Signer<'_> {
    fn try_sign(&self, message: &[u8]) -> signature::Result<Signature> {
        let failed = |_| signature::Error::new();
        let shape = self.key.shape();
        let (scheme, algorithm) = match (shape.family, self.digest) {
            (Family::Rsa, RsaDigest::Sha256) => {
                (Scheme::Rsa(Padding::Pkcs1, Digest::Sha256), Algorithm::Rsa { hash: Some(HashAlg::Sha256) })
            }
            (Family::Rsa, RsaDigest::Sha512) => {
                (Scheme::Rsa(Padding::Pkcs1, Digest::Sha512), Algorithm::Rsa { hash: Some(HashAlg::Sha512) })
            }
            _ => (
                Scheme::choose(shape, 0, Padding::Pkcs1).map_err(|_| signature::Error::new())?,
                self.key.public.algorithm(),
            ),
        };
        let raw = self.key.private.sign(scheme, message).map_err(|_| signature::Error::new())?;
        let data = match shape.family {
            Family::Ec => two_numbers(&raw).ok_or_else(signature::Error::new)?,
            Family::Rsa | Family::Ed25519 | Family::MlDsa => raw,
        };
        Signature::new(algorithm, data).map_err(failed)
    }
}

/// An ECDSA signature as SSH has it, out of the DER of X.509.
fn two_numbers(der: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = SliceReader::new(der)
        .ok()?
        .sequence(|inner| {
            let (r, s) = (UintRef::decode(inner)?, UintRef::decode(inner)?);
            Ok::<_, der::Error>((r.as_bytes().to_vec(), s.as_bytes().to_vec()))
        })
        .ok()?;
    let mut data = Vec::new();
    for number in [r, s] {
        Mpint::from_positive_bytes(&number).ok()?.encode(&mut data).ok()?;
    }
    Some(data)
}

fn public_of(key: &x509::PublicKey) -> Result<KeyData> {
    Ok(match key.shape().family {
        Family::Ed25519 => {
            let bytes =
                key.bits().try_into().map_err(|_| Error::internal("an Ed25519 key is not 32 bytes"))?;
            Ed25519PublicKey(bytes).into()
        }
        Family::Ec => EcdsaPublicKey::from_sec1_bytes(key.bits()).map_err(unwritten)?.into(),
        Family::Rsa => {
            let (n, e) = key.rsa_numbers().map_err(refused)?;
            let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes).map_err(unwritten);
            RsaPublicKey { e: number(&e)?, n: number(&n)? }.into()
        }
        Family::MlDsa => {
            return Err(Error::invalid(
                "SSH has no keys of type ml-dsa: take one of ed25519, ecdsa-p256, -p384, -p521 or RSA",
            ));
        }
    })
}

/// Bits of the field of a curve.
pub(super) fn curve_bits(curve: EcdsaCurve) -> u32 {
    match curve {
        EcdsaCurve::NistP256 => 256,
        EcdsaCurve::NistP384 => 384,
        EcdsaCurve::NistP521 => 521,
    }
}

/// A refusal of the key crate, as the caller's fault; a failure of the cryptographic library is ours.
pub(super) fn refused(error: x509::Error) -> Error {
    match error {
        x509::Error::Crypto(_) => Error::internal(error.to_string()),
        other => Error::invalid(other.to_string()),
    }
}

/// What cannot be written in SSH's form.
pub(super) fn unwritten(error: ssh_key::Error) -> Error {
    Error::internal(format!("a key or certificate cannot be written: {error}"))
}
