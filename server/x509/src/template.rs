//! A certificate before it is signed.

use crate::{Error, Extensions, PrivateKey, PublicKey, Result, Scheme, Serial, tlv};

/// From when until when, in seconds since 1970, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

/// All that a certificate says, but who vouches for it.
#[derive(Debug)]
pub struct Template<'a> {
    /// Its number.
    pub serial: &'a Serial,
    /// Its lifetime.
    pub validity: Validity,
    /// The holder, as the DER of a Name.
    pub subject: &'a [u8],
    /// The holder's key.
    pub public_key: &'a PublicKey,
    /// The rest.
    pub extensions: &'a Extensions,
}

/// `[0] EXPLICIT INTEGER 2`
const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];

impl Template<'_> {
    /// Signs as the CA of this name (the DER of its subject) with its key, and returns the certificate's DER.
    pub fn sign(&self, issuer_name: &[u8], key: &PrivateKey, scheme: Scheme) -> Result<Vec<u8>> {
        let Validity { not_before, not_after } = self.validity;
        if not_after < not_before {
            return Err(Error::refused(format!(
                "the certificate would end at {not_after}, before it begins at {not_before} (seconds after 1970)"
            )));
        }
        let algorithm = scheme.to_der();
        let extensions = match self.extensions.is_empty() {
            true => vec![],
            false => tlv::explicit(3, &self.extensions.to_der()),
        };
        let validity = tlv::sequence(&[tlv::time(not_before)?, tlv::time(not_after)?]);
        let body = tlv::sequence(&[
            VERSION_3,
            &self.serial.to_der(),
            &algorithm,
            issuer_name,
            &validity,
            self.subject,
            self.public_key.spki(),
            &extensions,
        ]);
        signed(body, &algorithm, key, scheme)
    }
}

/// The body, the algorithm and the signature over the body: the shape of certificates, requests and revocation lists.
pub(crate) fn signed(body: Vec<u8>, algorithm: &[u8], key: &PrivateKey, scheme: Scheme) -> Result<Vec<u8>> {
    let signature = tlv::bits(&key.sign(scheme, &body)?);
    Ok(tlv::sequence(&[body.as_slice(), algorithm, &signature]))
}
