//! TLS with those who were named: by their CA, or by the very certificate that they show.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use x509::{Certificate, ExtKeyUsage};

/// Has a client trust these certificates: what they have signed and, as programs in Go do, each of them itself.
pub fn trusting(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    provider: &Arc<CryptoProvider>,
    roots: RootCertStore,
    named: Vec<CertificateDer<'static>>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build() {
        Ok(strict) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { strict, named })),
        // Who trusts nobody speaks with nobody.
        Err(_) => builder.with_root_certificates(RootCertStore::empty()),
    }
}

/// Checks as rustls does, which takes no certificate of a CA for that of a server. One that is its own CA, as
/// `openssl req -x509` makes them, is taken where exactly it was named: then its name, its dates and its purpose count, and the
/// handshake proves that the server has its key.
#[derive(Debug)]
struct Named {
    strict: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.named.iter().any(|named| named == leaf) {
            return self.strict.verify_server_cert(leaf, above, name, ocsp_response, now);
        }
        is_good(leaf, now)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Whether a certificate that was named is good now, and for a server.
fn is_good(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let unreadable = |_| CertificateError::BadEncoding;
    let certificate = Certificate::from_der(certificate).map_err(unreadable)?;
    let (validity, now) = (certificate.validity(), now.as_secs());
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired.into());
    }
    let for_servers = |purpose: &ExtKeyUsage| [ExtKeyUsage::SERVER_AUTH, ExtKeyUsage::ANY].contains(purpose);
    match certificate.ext_key_usage().map_err(unreadable)? {
        Some(purposes) if !purposes.iter().any(for_servers) => Err(CertificateError::InvalidPurpose.into()),
        _ => Ok(()),
    }
}
