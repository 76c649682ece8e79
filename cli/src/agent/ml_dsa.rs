//! Keys of ML-DSA (FIPS 204): the library that makes requests makes them too, and cannot read them again.

use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING,
    PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm, UnparsedPublicKey,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use x509_parser::{certificate::X509Certificate, x509::SubjectPublicKeyInfo};
use zeroize::Zeroizing;

use crate::pem;

/// Columns of a PEM block.
const PEM_WIDTH: usize = 64;

/// A parameter set: how large its keys are, and how hard to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MlDsa {
    Set44,
    Set65,
    Set87,
}

impl MlDsa {
    const EVERY: [MlDsa; 3] = [MlDsa::Set44, MlDsa::Set65, MlDsa::Set87];

    /// The set of this number.
    pub(crate) fn numbered(number: u32) -> Option<MlDsa> {
        MlDsa::EVERY.into_iter().find(|set| set.number() == number)
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            MlDsa::Set44 => 44,
            MlDsa::Set65 => 65,
            MlDsa::Set87 => 87,
        }
    }

    /// What key and signature are called in certificates (RFC 9881).
    fn oid(self) -> &'static str {
        match self {
            MlDsa::Set44 => "2.16.840.1.101.3.4.3.17",
            MlDsa::Set65 => "2.16.840.1.101.3.4.3.18",
            MlDsa::Set87 => "2.16.840.1.101.3.4.3.19",
        }
    }

    fn signing(self) -> &'static PqdsaSigningAlgorithm {
        match self {
            MlDsa::Set44 => &ML_DSA_44_SIGNING,
            MlDsa::Set65 => &ML_DSA_65_SIGNING,
            MlDsa::Set87 => &ML_DSA_87_SIGNING,
        }
    }

    fn verification(self) -> &'static PqdsaVerificationAlgorithm {
        match self {
            MlDsa::Set44 => &ML_DSA_44,
            MlDsa::Set65 => &ML_DSA_65,
            MlDsa::Set87 => &ML_DSA_87,
        }
    }
}

/// One key.
pub(crate) struct MlDsaKey {
    set: MlDsa,
    pair: PqdsaKeyPair,
}

impl MlDsaKey {
    pub(crate) fn make(set: MlDsa) -> Result<MlDsaKey, rcgen::Error> {
        let pair = PqdsaKeyPair::generate(set.signing()).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(MlDsaKey { set, pair })
    }

    /// The key of a PEM text, if it is one of these.
    pub(crate) fn from_pem(text: &str) -> Option<MlDsaKey> {
        let block = Zeroizing::new(pem::blocks(text).into_iter().next()?);
        MlDsa::EVERY.into_iter().find_map(|set| {
            let pair = PqdsaKeyPair::from_pkcs8(set.signing(), &block).ok()?;
            Some(MlDsaKey { set, pair })
        })
    }

    /// The key as its seed in PKCS#8 (RFC 9881 §6).
    pub(crate) fn pem(&self) -> Result<Zeroizing<String>, rcgen::Error> {
        let seed = self.pair.to_pkcs8v1().map_err(|_| rcgen::Error::RingUnspecified)?;
        let letters = Zeroizing::new(STANDARD.encode(seed.as_ref()));
        let mut out = Zeroizing::new("-----BEGIN PRIVATE KEY-----\n".to_owned());
        let mut rest = letters.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(PEM_WIDTH.min(rest.len()));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str("-----END PRIVATE KEY-----\n");
        Ok(out)
    }
}

impl PublicKeyData for MlDsaKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.set {
            MlDsa::Set44 => &rcgen::PKCS_ML_DSA_44,
            MlDsa::Set65 => &rcgen::PKCS_ML_DSA_65,
            MlDsa::Set87 => &rcgen::PKCS_ML_DSA_87,
        }
    }
}

impl SigningKey for MlDsaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.set.signing().signature_len()];
        let size = self.pair.sign(message, &mut signature).map_err(|_| rcgen::Error::RingUnspecified)?;
        signature.truncate(size);
        Ok(signature)
    }
}

/// Whether a certificate is signed by a key, or by its own if none is given: by ML-DSA, or as all the world signs.
pub(crate) fn is_signed_by(cert: &X509Certificate<'_>, key: Option<&SubjectPublicKeyInfo<'_>>) -> bool {
    let oid = cert.signature_algorithm.algorithm.to_id_string();
    let Some(set) = MlDsa::EVERY.into_iter().find(|set| set.oid() == oid) else {
        return cert.verify_signature(key).is_ok();
    };
    let key = key.unwrap_or(cert.public_key());
    let public = UnparsedPublicKey::new(set.verification(), &key.subject_public_key.data);
    key.algorithm.algorithm.to_id_string() == oid
        && public.verify(cert.tbs_certificate.as_ref(), &cert.signature_value.data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::parse_x509_certificate;

    #[test]
    fn a_key_is_read_as_it_was_written_and_its_signatures_hold() {
        for set in MlDsa::EVERY {
            let key = MlDsaKey::make(set).unwrap();
            let again = MlDsaKey::from_pem(&key.pem().unwrap()).unwrap();
            assert_eq!((again.set, again.der_bytes()), (set, key.der_bytes()));
            let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            let cert = params.self_signed(&again).unwrap();
            let (_, read) = parse_x509_certificate(cert.der()).unwrap();
            assert!(is_signed_by(&read, None));
            let other = MlDsaKey::make(set).unwrap();
            let params = rcgen::CertificateParams::new(vec!["b.example".to_owned()]).unwrap();
            let foreign = params.self_signed(&other).unwrap();
            let (_, foreign) = parse_x509_certificate(foreign.der()).unwrap();
            assert!(!is_signed_by(&read, Some(foreign.public_key())));
        }
        let ec = rcgen::KeyPair::generate().unwrap();
        assert!(MlDsaKey::from_pem(&ec.serialize_pem()).is_none());
    }
}
