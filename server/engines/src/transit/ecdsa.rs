//! ECDSA over the curves of NIST, with any hash.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    ParsedPublicKey,
};
use der::asn1::{BitStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader};

use super::kind::Kind;
use super::refusal::Refusal;

/// The private half.
pub(super) struct Private {
    curve: Curve,
    pair: EcdsaKeyPair,
}

/// The public half.
pub(super) struct Public {
    curve: Curve,
    key: ParsedPublicKey,
    /// The two coordinates, one after the other.
    pub(super) coordinates: Vec<u8>,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Marshaling {
    /// DER, as openssl and X.509 have it.
    Asn1,
    /// Both numbers at full width, as JSON Web Signatures have it.
    Jws,
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::P256 => Some(Self::P256),
            Kind::P384 => Some(Self::P384),
            Kind::P521 => Some(Self::P521),
            _ => None,
        }
    }

    /// How many bytes a number of this curve takes.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Makes a hash of any length one of the length that goes with the curve. ECDSA takes as many of its leading bits
    /// as the curve has, and a shorter hash as the number that it is, so both mean the same.
    fn fit(self, hash: &[u8]) -> Result<Digest, Refusal> {
        let (size, algorithm) = match self {
            Self::P256 => (32, &digest::SHA256),
            Self::P384 => (48, &digest::SHA384),
            Self::P521 => (64, &digest::SHA512),
        };
        let fitted = match hash.get(..size) {
            Some(_) if matches!(self, Self::P521) && hash.len() > size => {
                return Err(Refusal::asked("a hash of more than 64 bytes cannot be signed with ecdsa-p521"));
            }
            Some(head) => head.to_vec(),
            None => [vec![0; size - hash.len()].as_slice(), hash].concat(),
        };
        let unfit = |_| Refusal::inner("the hash could not be taken over");
        Digest::import_less_safe(&fitted, algorithm).map_err(unfit)
    }
}

impl Private {
    /// Reads PKCS#8.
    pub(super) fn from_pkcs8(kind: Kind, der: &[u8]) -> Option<Self> {
        let curve = Curve::of(kind)?;
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        };
        Some(Self { curve, pair: EcdsaKeyPair::from_private_key_der(algorithm, der).ok()? })
    }

    /// Signs a hash.
    pub(super) fn sign(&self, marshaling: Marshaling, hash: &[u8]) -> Result<Vec<u8>, Refusal> {
        let failed = || Refusal::inner("the ECDSA key could not sign");
        if is_zero(hash) {
            return Err(Refusal::asked(
                "ecdsa: hash cannot be empty, nor nothing but zeros: input must be the hash",
            ));
        }
        let signature = self.pair.sign_digest(&self.curve.fit(hash)?).map_err(|_| failed())?;
        match marshaling {
            Marshaling::Jws => Ok(signature.as_ref().to_vec()),
            Marshaling::Asn1 => {
                let halves = signature.as_ref().split_at_checked(self.curve.size());
                halves.and_then(|(r, s)| to_der(r, s).ok()).ok_or_else(failed)
            }
        }
    }
}

impl Public {
    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn from_spki(kind: Kind, spki: &[u8]) -> Option<Self> {
        let curve = Curve::of(kind)?;
        let point = SliceReader::new(spki).ok()?.sequence(|outer| {
            outer.tlv_bytes()?;
            BitStringRef::decode(outer)
        });
        let point = point.ok()?.as_bytes()?;
        let key = match curve {
            Curve::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
            Curve::P384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point),
            Curve::P521 => ParsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point),
        };
        let coordinates = point.strip_prefix(&[4]).filter(|both| both.len() == 2 * curve.size())?.to_vec();
        Some(Self { curve, key: key.ok()?, coordinates })
    }

    /// Whether the private half signed this hash.
    pub(super) fn verify(
        &self,
        marshaling: Marshaling,
        hash: &[u8],
        signature: &[u8],
    ) -> Result<bool, Refusal> {
        // A signature of the number 0 can be made from the public key alone.
        if is_zero(hash) {
            return Ok(false);
        }
        let size = self.curve.size();
        let (r, s) = match marshaling {
            Marshaling::Jws => signature.split_at_checked(signature.len() / 2).unwrap_or_default(),
            Marshaling::Asn1 => from_der(signature)?,
        };
        let (Some(r), Some(s)) = (widen(r, size), widen(s, size)) else { return Ok(false) };
        Ok(self.key.verify_digest_sig(&self.curve.fit(hash)?, &[r, s].concat()).is_ok())
    }
}

/// Whether a hash is the number 0, as one that was left out is.
fn is_zero(hash: &[u8]) -> bool {
    hash.iter().all(|byte| *byte == 0)
}

/// The same number in `size` bytes; nothing if it does not fit.
fn widen(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let number = number.get(start..)?;
    Some([vec![0; size.checked_sub(number.len())?].as_slice(), number].concat())
}

fn to_der(r: &[u8], s: &[u8]) -> der::Result<Vec<u8>> {
    let body = [UintRef::new(r)?.to_der()?, UintRef::new(s)?.to_der()?].concat();
    der::asn1::AnyRef::new(der::Tag::Sequence, &body)?.to_der()
}

fn from_der(signature: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let invalid = |_| Refusal::asked("supplied signature is invalid");
    let mut reader = SliceReader::new(signature).map_err(invalid)?;
    let numbers =
        reader.sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)));
    let (r, s) = numbers.map_err(invalid)?;
    match reader.is_finished() {
        true => Ok((r.as_bytes(), s.as_bytes())),
        false => Err(Refusal::asked("supplied signature contains extra data")),
    }
}

#[cfg(test)]
mod tests {
    use x509::{KeyEncoding, PrivateKey};

    use super::super::hash::Hash;
    use super::*;

    #[test]
    fn every_curve_takes_every_hash() {
        for kind in [Kind::P256, Kind::P384, Kind::P521] {
            let key = PrivateKey::generate(kind.shape().unwrap()).unwrap();
            let private = Private::from_pkcs8(kind, &key.to_der(KeyEncoding::Pkcs8).unwrap()).unwrap();
            let public = Public::from_spki(kind, key.public().spki()).unwrap();
            for hash in [Hash::Sha1, Hash::Sha224, Hash::Sha256, Hash::Sha384, Hash::Sha512, Hash::Sha3_512] {
                let digest = hash.digest(b"message");
                for marshaling in [Marshaling::Asn1, Marshaling::Jws] {
                    let signature = private.sign(marshaling, &digest).unwrap();
                    assert!(public.verify(marshaling, &digest, &signature).unwrap(), "{kind:?} {hash:?}");
                    assert!(!public.verify(marshaling, &hash.digest(b"massage"), &signature).unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_no_signature_is_refused_or_wrong() {
        let key = PrivateKey::generate(Kind::P256.shape().unwrap()).unwrap();
        let public = Public::from_spki(Kind::P256, key.public().spki()).unwrap();
        let digest = Hash::Sha256.digest(b"");
        let refused = public.verify(Marshaling::Asn1, &digest, b"zz").unwrap_err();
        assert_eq!(refused.text(), "supplied signature is invalid");
        let longer = [to_der(&[1], &[1]).unwrap(), vec![0]].concat();
        let refused = public.verify(Marshaling::Asn1, &digest, &longer).unwrap_err();
        assert_eq!(refused.text(), "supplied signature contains extra data");
        assert!(!public.verify(Marshaling::Jws, &digest, &[0; 64]).unwrap());
        assert!(!public.verify(Marshaling::Jws, &digest, &[]).unwrap());
        assert!(!public.verify(Marshaling::Jws, &digest, &[1; 90]).unwrap());
    }
}
