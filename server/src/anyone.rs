//! TLS with whoever is there: for what proves itself by other means than the name on its certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use kit::{Error, Fault, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// TLS that believes everyone.
pub(crate) fn config() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("no TLS: {error}")))?;
    let verifier = Arc::new(Anyone(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificate that is shown at this address to those who ask for this name and speak this protocol.
pub(crate) async fn certificate(at: SocketAddr, name: &str, protocol: &'static str) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Fault::Upstream, format!("no TLS with {at} for {name}: {error}"))
    };
    let mut config = config()?;
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name_shown = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
    let stream = tokio::net::TcpStream::connect(at).await.map_err(|error| failed(&error))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name_shown, stream);
    let stream = connecting.await.map_err(|error| failed(&error))?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(protocol.as_bytes()) {
        return Err(failed(&format!("the other side does not speak {protocol}")));
    }
    let shown = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
    shown.map(|leaf| leaf.to_vec()).ok_or_else(|| failed(&"no certificate was shown"))
}

/// Believes everyone to be who they say, but not that they hold a key that they do not.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.holds_key(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.holds_key(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Anyone {
    /// Whether the other side holds the key of its certificate. What rustls has for this refuses certificates with
    /// critical extensions that it does not know, and an answer to an ACME challenge has one (RFC 8737 §3).
    fn holds_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let unreadable = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(unreadable)?;
        let key = &certificate.public_key().subject_public_key.data;
        let known = self.0.signature_verification_algorithms.mapping.iter();
        let mut algorithms = known.filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, all)| *all);
        match algorithms.any(|one| one.verify_signature(key, message, signed.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}
