//! ML-DSA (FIPS 204) as certificates have it (RFC 9881): three parameter sets, each with an object identifier that is key type
//! and signature algorithm in one, and that has no parameters. The message is signed itself, not a hash of it.

use crate::ObjectIdentifier;
use crate::tlv;
use aws_lc_rs::encoding::AsRawBytes;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{
    ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING, PqdsaKeyPair,
    PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
};
use zeroize::Zeroizing;

/// A parameter set of ML-DSA: how large its keys are, and how hard to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlDsa {
    /// As hard to break as finding a collision of SHA-256.
    Set44,
    /// As hard to break as finding a key of AES-192.
    Set65,
    /// As hard to break as finding a key of AES-256.
    Set87,
}

const OID_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const OID_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const OID_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

impl MlDsa {
    /// The set of this number: 44, 65 or 87.
    pub fn numbered(number: u32) -> Option<Self> {
        Self::EVERY.into_iter().find(|set| set.number() == number)
    }

    /// Its number: how many rows and columns its matrix has.
    pub fn number(self) -> u32 {
        match self {
            Self::Set44 => 44,
            Self::Set65 => 65,
            Self::Set87 => 87,
        }
    }

    pub(crate) const EVERY: [Self; 3] = [Self::Set44, Self::Set65, Self::Set87];

    pub(crate) fn of(oid: ObjectIdentifier) -> Option<Self> {
        Self::EVERY.into_iter().find(|set| set.oid() == oid)
    }

    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Set44 => OID_44,
            Self::Set65 => OID_65,
            Self::Set87 => OID_87,
        }
    }

    /// How long a public key of this set is, in bytes.
    pub(crate) fn public_size(self) -> usize {
        self.signing().public_key_len()
    }

    pub(crate) fn signing(self) -> &'static PqdsaSigningAlgorithm {
        match self {
            Self::Set44 => &ML_DSA_44_SIGNING,
            Self::Set65 => &ML_DSA_65_SIGNING,
            Self::Set87 => &ML_DSA_87_SIGNING,
        }
    }

    pub(crate) fn verification(self) -> &'static PqdsaVerificationAlgorithm {
        match self {
            Self::Set44 => &ML_DSA_44,
            Self::Set65 => &ML_DSA_65,
            Self::Set87 => &ML_DSA_87,
        }
    }

    pub(crate) fn sign(self, pair: &PqdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut signature = vec![0; self.signing().signature_len()];
        let size = pair.sign(message, &mut signature)?;
        signature.truncate(size);
        Ok(signature)
    }

    /// The key in PKCS#8: as its seed, which is 32 bytes, or expanded where the seed was never told.
    pub(crate) fn pkcs8(self, pair: &PqdsaKeyPair) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        if let Ok(seed) = pair.to_pkcs8v1() {
            return Ok(Zeroizing::new(seed.as_ref().to_vec()));
        }
        let expanded = pair.private_key().as_raw_bytes()?;
        let expanded = Zeroizing::new(tlv::octets(expanded.as_ref()));
        let key = Zeroizing::new(tlv::octets(&expanded));
        let algorithm = tlv::sequence(&[tlv::oid(&self.oid())]);
        Ok(Zeroizing::new(tlv::sequence(&[tlv::number(0).as_slice(), &algorithm, &key])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, KeyEncoding, KeyShape, PrivateKey, PublicKey, Scheme};
    use aws_lc_rs::digest::{SHA256, digest};

    fn shape(set: MlDsa) -> KeyShape {
        KeyShape::parse("ml-dsa", set.number().into()).unwrap()
    }

    /// A private key as RFC 9881 §6 has it, around one of its three forms.
    fn pkcs8(set: MlDsa, key: &[u8]) -> Vec<u8> {
        let algorithm = tlv::sequence(&[tlv::oid(&set.oid())]);
        tlv::sequence(&[tlv::number(0), algorithm, tlv::octets(key)])
    }

    /// The seed of the examples in RFC 9881, appendix C.1.
    fn seed() -> Vec<u8> {
        (0..32).collect()
    }

    fn expanded(set: MlDsa) -> Vec<u8> {
        let pair = PqdsaKeyPair::from_seed(set.signing(), &seed()).unwrap();
        pair.private_key().as_raw_bytes().unwrap().as_ref().to_vec()
    }

    /// The examples of RFC 9881 (appendix C.1 and C.2): the seed's key in PKCS#8, the beginning of the public key, and the hash
    /// of the public key as OpenSSL makes it.
    #[test]
    fn the_seed_of_the_standard_gives_the_keys_of_the_standard() {
        let written = "MDQCAQAwCwYJYIZIAWUDBAMRBCKAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let text = format!("-----BEGIN PRIVATE KEY-----\n{written}\n-----END PRIVATE KEY-----\n");
        let key = PrivateKey::from_pem(&text).unwrap();
        assert_eq!(key.public().shape(), shape(MlDsa::Set44));
        assert_eq!(hex::encode(&key.public().bits()[..16]), "d7b2b47254aae0db45e7930d4a98d2c9");
        for (set, hash) in [
            (MlDsa::Set44, "837832708c5236d951581f1fddf2b79991b3424a0486d16da1ddad0fd69701be"),
            (MlDsa::Set65, "b8b62131bfbe84433efb2273d7f5b87f7a22854a2cfd366fc2aead86d837c52d"),
            (MlDsa::Set87, "07e57c4f14dbad1267f621ec3777b4e2e6c4fbc4c22fbb87510ff8e0b3c6a642"),
        ] {
            let der = pkcs8(set, &tlv::implicit(0, &seed()));
            let key = PrivateKey::from_der(&der).unwrap();
            assert_eq!(hex::encode(digest(&SHA256, key.public().spki())), hash, "{set:?}");
            assert_eq!(*key.to_der(KeyEncoding::Pkcs8).unwrap(), der, "what was a seed is written as a seed");
        }
    }

    #[test]
    fn a_private_key_reads_in_each_of_its_three_forms() {
        for set in MlDsa::EVERY {
            let expanded = expanded(set);
            let of_seed = PrivateKey::from_der(&pkcs8(set, &tlv::implicit(0, &seed()))).unwrap();
            let both = tlv::sequence(&[tlv::octets(&seed()), tlv::octets(&expanded)]);
            for form in [tlv::octets(&expanded), both] {
                let key = PrivateKey::from_der(&pkcs8(set, &form)).unwrap();
                assert_eq!(key.public(), of_seed.public(), "{set:?}");
                // Written again, it is the same key, whether its seed is known or not.
                let again = PrivateKey::from_der(&key.to_der(KeyEncoding::Pkcs8).unwrap()).unwrap();
                let signature = again.sign(Scheme::MlDsa(set), b"message").unwrap();
                of_seed.public().verify(Scheme::MlDsa(set), b"message", &signature, "a test").unwrap();
            }
        }
    }

    #[test]
    fn a_private_key_whose_two_forms_differ_is_refused() {
        let set = MlDsa::Set44;
        let mut other = seed();
        other[0] ^= 1;
        let both = tlv::sequence(&[tlv::octets(&other), tlv::octets(&expanded(set))]);
        assert!(PrivateKey::from_der(&pkcs8(set, &both)).is_err());
        let mut broken = expanded(set);
        // The hash of the public key that is in it, and a coefficient of a secret polynomial that is out of its bounds.
        for (at, value) in [(64, 0xff), (128, 0xff)] {
            let kept = std::mem::replace(&mut broken[at], value);
            assert!(PrivateKey::from_der(&pkcs8(set, &tlv::octets(&broken))).is_err(), "{at}");
            broken[at] = kept;
        }
        for short in [&seed()[..31], &[]] {
            assert!(PrivateKey::from_der(&pkcs8(set, &tlv::implicit(0, short))).is_err());
        }
        let wrong_set = pkcs8(MlDsa::Set65, &tlv::octets(&expanded(set)));
        assert!(PrivateKey::from_der(&wrong_set).is_err());
    }

    #[test]
    fn a_public_key_has_the_size_of_its_set_and_no_parameters() {
        for set in MlDsa::EVERY {
            let key = PrivateKey::generate(shape(set)).unwrap();
            let spki = |oid: ObjectIdentifier, parameters: &[u8], bits: &[u8]| {
                let algorithm = tlv::sequence(&[&tlv::oid(&oid), parameters]);
                PublicKey::from_spki(&tlv::sequence(&[algorithm, tlv::bits(bits)]))
            };
            let bits = key.public().bits();
            assert_eq!(spki(set.oid(), &[], bits).unwrap(), *key.public());
            let said = |read: crate::Result<PublicKey>| read.unwrap_err().to_string();
            assert!(said(spki(set.oid(), tlv::NULL, bits)).contains("has no parameters"));
            assert!(said(spki(set.oid(), &[], &bits[1..])).contains("bytes"));
            let other = if set == MlDsa::Set44 { OID_65 } else { OID_44 };
            assert!(spki(other, &[], bits).is_err());
        }
    }

    #[test]
    fn a_signature_algorithm_has_no_parameters() {
        for set in MlDsa::EVERY {
            let bare = Scheme::MlDsa(set).to_der();
            assert_eq!(bare, tlv::sequence(&[tlv::oid(&set.oid())]));
            let with = tlv::sequence(&[&tlv::oid(&set.oid()), tlv::NULL]);
            assert!(Scheme::from_der(&with).unwrap_err().to_string().contains("no parameters"));
        }
    }

    #[test]
    fn a_set_signs_with_itself_alone() {
        let key = PrivateKey::generate(shape(MlDsa::Set44)).unwrap();
        for scheme in [Scheme::MlDsa(MlDsa::Set65), Scheme::Ed25519, Scheme::Ecdsa(Digest::Sha256)] {
            assert!(key.sign(scheme, b"").is_err(), "{scheme:?}");
            assert!(key.public().verify(scheme, b"", &[0; 2420], "a test").is_err());
        }
        for number in [0, 1, 43, 128] {
            assert!(KeyShape::parse("ml-dsa", number).is_err(), "{number}");
        }
    }
}
