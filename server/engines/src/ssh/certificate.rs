//! A certificate in OpenSSH's form (PROTOCOL.certkeys), from what was granted.

use std::collections::BTreeMap;

use kit::{Error, Result};
use ssh_key::Certificate;
use ssh_key::certificate::Builder;
use ssh_key::public::KeyData;

use super::key::{Signer, unwritten};
use super::sign::CertType;

/// As OpenSSH itself makes them.
pub(super) const NONCE_SIZE: usize = 32;

/// What a certificate says.
pub(super) struct Granted {
    pub(super) key: KeyData,
    pub(super) kind: CertType,
    pub(super) serial: u64,
    pub(super) nonce: [u8; NONCE_SIZE],
    pub(super) key_id: String,
    pub(super) principals: Vec<String>,
    /// In seconds since 1970.
    pub(super) valid_after: u64,
    /// In seconds since 1970.
    pub(super) valid_before: u64,
    pub(super) critical_options: BTreeMap<String, String>,
    pub(super) extensions: BTreeMap<String, String>,
}

impl Granted {
    /// Signs it, and writes it as a line with its newline.
    pub(super) fn sign(self, signer: &Signer<'_>) -> Result<String> {
        let certificate = self.build(signer).map_err(|error| match error {
            ssh_key::Error::CertificateFieldInvalid(field) => {
                Error::invalid(format!("the certificate's {field} cannot be written"))
            }
            other => unwritten(other),
        })?;
        Ok(format!("{}\n", certificate.to_openssh().map_err(unwritten)?))
    }

    fn build(self, signer: &Signer<'_>) -> ssh_key::Result<Certificate> {
        let mut builder = Builder::new(self.nonce, self.key, self.valid_after, self.valid_before)?;
        builder.serial(self.serial)?.cert_type(self.kind.into())?.key_id(self.key_id)?;
        if self.principals.is_empty() {
            builder.all_principals_valid()?;
        }
        for principal in self.principals {
            builder.valid_principal(principal)?;
        }
        for (name, value) in self.critical_options {
            builder.critical_option(name, value)?;
        }
        for (name, value) in self.extensions {
            builder.extension(name, value)?;
        }
        builder.sign(signer)
    }
}
