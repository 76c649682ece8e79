//! TLS with whoever is there: for what proves itself by other means than the name on its certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use auth::Anyone;
use kit::{Error, Fault, Result};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

/// TLS that believes everyone.
pub(crate) fn config() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("no TLS: {error}")))?;
    let verifier = Arc::new(Anyone::new(provider));
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
