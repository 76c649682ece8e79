//! Looking at a port as a client does: which certificate is really shown there?

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A service that does not finish a handshake in this time is not serving.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a service shows its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host:port`.
    pub(crate) address: String,
    /// The name that is asked for in the handshake.
    pub(crate) server_name: String,
}

impl Place {
    pub(crate) fn parse(address: &str, server_name: &str) -> Result<Place, String> {
        let port =
            address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if port.is_none() {
            return Err(format!("{address:?} is no place to look at: write HOST:PORT, like 127.0.0.1:443"));
        }
        Ok(Place { address: address.to_owned(), server_name: server_name.to_owned() })
    }

    /// Opens the port and takes the certificate from the handshake, whoever signed it. How the handshake ends does not
    /// matter once it is proven who is there: a service that demands a certificate of its clients ends it.
    pub(crate) async fn look(&self) -> Result<Vec<u8>, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let witness = Arc::new(Witness { provider, shown: OnceLock::new() });
        let looked = tokio::time::timeout(HANDSHAKE_TIME_MAX, self.handshake(&witness)).await;
        if let Some(leaf) = witness.shown.get() {
            return Ok(leaf.clone());
        }
        let why = match looked {
            Ok(Err(why)) => why,
            Ok(Ok(())) => "no certificate was shown".to_owned(),
            Err(_) => "no handshake in 5 s".to_owned(),
        };
        Err(format!("{}: {why}", self.address))
    }

    async fn handshake(&self, witness: &Arc<Witness>) -> Result<(), String> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&witness.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(witness) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|_| format!("{:?} is no name for a handshake", self.server_name))?;
        let stream = TcpStream::connect(&self.address).await.map_err(|e| e.to_string())?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        connected.map(drop).map_err(|e| e.to_string())
    }
}

/// Believes everybody, and keeps the certificate of whoever has proven to hold its key.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    shown: OnceLock<Vec<u8>>,
}

impl Witness {
    fn keep(&self, certificate: &CertificateDer<'_>) {
        // One handshake has one certificate.
        let _ = self.shown.set(certificate.to_vec());
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
            .inspect(|_| self.keep(certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
            .inspect(|_| self.keep(certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
        pki_types::PrivateKeyDer, server::WebPkiClientVerifier,
    };

    use super::*;

    /// A service that wants a certificate of every client, and ends the handshake of one who has none.
    fn demanding(version: &'static SupportedProtocolVersion) -> (std::net::SocketAddr, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["a.internal".to_owned()]).expect("a certificate");
        let leaf = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(leaf.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(vec![leaf.clone()], key)
            .expect("a server");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut session = ServerConnection::new(Arc::new(config)).expect("a session");
            while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
            assert!(session.protocol_version() != Some(ProtocolVersion::TLSv1_3) || session.is_handshaking());
        });
        (address, leaf.to_vec())
    }

    #[test]
    fn who_demands_a_certificate_shows_its_own_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (address, leaf) = demanding(version);
            let place = Place::parse(&address.to_string(), "a.internal").expect("a place");
            assert_eq!(runtime.block_on(place.look()), Ok(leaf), "{version:?}");
        }
    }
}
