//! The one place where this mount signs certificates.
//!
//! What a certificate will say is decided before; here it is linted, entered among what is issued, and signed, in this
//! order. What fails before leaves no signature. All of it is one transaction, and no answer leaves before that is on the
//! disk: a certificate that anybody has seen has its record, and where the power goes earlier there is neither.

use kit::{Reads, Result, Writing};
use x509::{PrivateKey, Scheme, Template};

use super::authorities::{Authorities, Issuer, refused};
use super::blocked;
use super::issued;
use super::lint;
use super::store::{CERTIFICATES, CertificateRecord, Der, Id};

/// A certificate of which everything is decided but the signature.
pub(super) struct Decided<'a> {
    pub(super) template: Template<'a>,
    pub(super) signer: Signer<'a>,
    pub(super) scheme: Scheme,
}

/// Who signs.
pub(super) enum Signer<'a> {
    /// An issuer of this mount.
    Issuer(&'a Authorities, &'a Issuer, &'a PrivateKey),
    /// The key that is certified: a root, with the id of the issuer that it becomes.
    Itself(Id, &'a PrivateKey),
}

impl Decided<'_> {
    /// Records and signs it, for this owner and under this role, and returns its DER.
    pub(super) fn issue(&self, cx: &mut Writing<'_>, role: &str, owner: String) -> Result<Vec<u8>> {
        let names = self.lint(cx)?;
        let issuer = match &self.signer {
            Signer::Issuer(_, issuer, _) => issuer.id,
            Signer::Itself(id, _) => *id,
        };
        let Template { serial, validity, public_key, .. } = self.template;
        let mut record = CertificateRecord::new(Vec::new(), Some(issuer)).asked_for(role, owner);
        issued::enter(cx, serial, &record, validity.not_after, names, public_key)?;
        record.der = Der(self.sign()?);
        CERTIFICATES.put(cx, serial.as_bytes(), &record)?;
        Ok(record.der.0)
    }

    /// Signs it without a record, as a role with `no_store` has it.
    pub(super) fn issue_unrecorded(&self, cx: &impl Reads) -> Result<Vec<u8>> {
        self.lint(cx)?;
        self.sign()
    }

    /// Its names, if there is nothing to be said against it.
    fn lint(&self, cx: &impl Reads) -> Result<Vec<String>> {
        blocked::check(cx, self.template.public_key)?;
        match &self.signer {
            // Those above the issuer may constrain it too, as far as they are known here.
            Signer::Issuer(all, issuer, _) => {
                let (common_name, others) = lint::below(&self.template, all, issuer, cx.now())?;
                Ok(issued::united(common_name, others))
            }
            Signer::Itself(..) => {
                lint::root(&self.template)?;
                issued::names(self.template.subject, self.template.extensions)
            }
        }
    }

    fn sign(&self) -> Result<Vec<u8>> {
        let (name, key) = match &self.signer {
            Signer::Issuer(_, issuer, key) => (issuer.certificate.subject_der(), *key),
            Signer::Itself(_, key) => (self.template.subject, *key),
        };
        self.template.sign(name, key, self.scheme).map_err(refused)
    }
}
