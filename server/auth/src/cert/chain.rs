//! From the certificate of a connection to one that a role trusts.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use aws_lc_rs::digest;
use kit::{Error, Remote, Result, Time};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509::{Certificate, ExtKeyUsage, pem};

use super::role::Trust;

/// How many certificates a client may show.
const SHOWN_MAX: usize = 16;
/// The label that openssl gives a certificate to which it adds trust settings.
const TRUSTED_CERTIFICATE: &str = "TRUSTED CERTIFICATE";

/// What a client has shown, of which TLS has proved that it holds the key.
pub(super) struct Shown {
    pub(super) leaf: Certificate,
    above: Vec<CertificateDer<'static>>,
}

/// The serials that are revoked, whoever issued them.
pub(super) type Revoked = HashSet<Vec<u8>>;

impl Shown {
    /// What was shown on this connection.
    ///
    /// # Errors
    /// If it is nothing, or does not read.
    pub(super) fn of(remote: &Remote) -> Result<Self> {
        let [leaf, above @ ..] = &*remote.certificates else {
            return Err(Error::invalid("no client certificate found"));
        };
        if above.len() >= SHOWN_MAX {
            return Err(Error::invalid(format!("more than {SHOWN_MAX} client certificates were shown")));
        }
        let unreadable = |error| Error::invalid(format!("the client certificate is refused: {error}"));
        let leaf = Certificate::from_der(leaf).map_err(unreadable)?;
        let above = above.iter().map(|der| CertificateDer::from(der.clone())).collect();
        Ok(Self { leaf, above })
    }

    /// A hash of the key that the client holds.
    pub(super) fn key_hash(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, self.leaf.public_key().spki()))
    }

    pub(super) fn common_name(&self) -> String {
        self.leaf.subject().map(|subject| subject.common_name).unwrap_or_default()
    }

    /// The certificates above the client's, nearest first, if the role trusts it and none of the chain is revoked. A
    /// certificate that is trusted by itself has none above it.
    pub(super) fn chain(&self, trust: &Trust, revoked: &Revoked, now: Time) -> Option<Vec<Certificate>> {
        let trusted = certificates(&trust.certificate);
        let first_is_ca = trusted.first().is_some_and(Certificate::is_ca);
        let is_revoked = |certificate: &Certificate| revoked.contains(certificate.serial().as_bytes());
        let usable = |certificate: &Certificate| {
            let validity = certificate.validity();
            (validity.not_before..=validity.not_after).contains(&now.seconds()) && for_clients(certificate)
        };
        if is_revoked(&self.leaf) {
            return None;
        }
        // What is trusted by itself must be it to the last byte, so nothing that it has signed is let in.
        let by_itself = if first_is_ca { &trusted[..] } else { trusted.get(..1).unwrap_or_default() };
        if by_itself.iter().any(|one| one.der() == self.leaf.der()) {
            return usable(&self.leaf).then(Vec::new);
        }
        if !first_is_ca {
            return None;
        }
        let anchors: Vec<Certificate> =
            trusted.into_iter().filter(|one| one.is_ca() && usable(one) && signs(one)).collect();
        self.verify(&anchors, &is_revoked, now)
    }

    fn verify(
        &self,
        anchors: &[Certificate],
        is_revoked: &dyn Fn(&Certificate) -> bool,
        now: Time,
    ) -> Option<Vec<Certificate>> {
        let ders: Vec<CertificateDer<'_>> =
            anchors.iter().map(|anchor| CertificateDer::from(anchor.der())).collect();
        let (mut roots, mut of): (Vec<TrustAnchor<'_>>, Vec<&Certificate>) = (Vec::new(), Vec::new());
        for (der, anchor) in ders.iter().zip(anchors) {
            if let Ok(root) = anchor_from_trusted_cert(der) {
                roots.push(root);
                of.push(anchor);
            }
        }
        let der = CertificateDer::from(self.leaf.der());
        let leaf = EndEntityCert::try_from(&der).ok()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.seconds()));
        let found = RefCell::new(None);
        let look = |path: &VerifiedPath<'_>| {
            let chain = whole(path, &roots, &of).filter(|chain| !chain.iter().any(is_revoked));
            let refusal = chain.is_none();
            *found.borrow_mut() = chain;
            if refusal { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
        };
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &roots,
            &self.above,
            time,
            KeyUsage::client_auth(),
            None,
            Some(&look),
        )
        .ok()?;
        found.into_inner()
    }
}

/// The certificates of a verified path, its end included, if they may sign what they signed.
fn whole(
    path: &VerifiedPath<'_>,
    roots: &[TrustAnchor<'_>],
    of: &[&Certificate],
) -> Option<Vec<Certificate>> {
    let mut chain = Vec::new();
    for between in path.intermediate_certificates() {
        let between = Certificate::from_der(&between.der()).ok().filter(signs)?;
        chain.push(between);
    }
    let anchor = roots.iter().zip(of).find(|(root, _)| *root == path.anchor()).map(|(_, anchor)| *anchor)?;
    let fits = anchor.path_length().is_none_or(|most| chain.len() <= usize::from(most));
    chain.push(anchor.clone());
    fits.then_some(chain)
}

/// The certificates of a PEM text. What does not read is left out.
pub(super) fn certificates(text: &str) -> Vec<Certificate> {
    let blocks = pem::blocks(text).unwrap_or_default();
    let ours = blocks.iter().filter(|block| matches!(block.label, pem::CERTIFICATE | TRUSTED_CERTIFICATE));
    ours.filter_map(|block| Certificate::from_der(&block.der).ok()).collect()
}

/// Whether a certificate is for clients of TLS, or does not say what it is for.
pub(super) fn for_clients(certificate: &Certificate) -> bool {
    match certificate.ext_key_usage() {
        Ok(None) => true,
        Ok(Some(purposes)) => {
            purposes.contains(&ExtKeyUsage::CLIENT_AUTH) || purposes.contains(&ExtKeyUsage::ANY)
        }
        Err(_) => false,
    }
}

/// Whether a CA may sign certificates, or does not say what its key is for.
fn signs(authority: &Certificate) -> bool {
    authority.key_usage().is_ok_and(|usage| usage.is_none_or(x509::KeyUsage::cert_sign))
}
