//! TLS 1.2 and 1.3 for a listener, with certificates that are read again when they change.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite as suites;
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};

use webpki::RawPublicKeyEntity;

use crate::config::{ClientCertificate, Tls, TlsVersion};

/// The TLS of one listener.
pub(crate) struct Certificates {
    wanted: Tls,
    current: ArcSwap<ServerConfig>,
    /// What the files looked like when they were read.
    seen: std::sync::Mutex<Seen>,
}

/// What changes when a file does.
type Seen = Vec<Option<(u64, i64, i64, u64)>>;

impl Certificates {
    /// Reads the files.
    pub(crate) fn read(wanted: &Tls) -> io::Result<Self> {
        let seen = look(wanted);
        let current = ArcSwap::from_pointee(server_config(wanted)?);
        Ok(Self { wanted: wanted.clone(), current, seen: seen.into() })
    }

    /// What the next handshake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// How often to look for a change.
    pub(crate) fn look_every(&self) -> std::time::Duration {
        self.wanted.look_every
    }

    /// Reads the files again. If they are not right, the old certificate stays, and the log says why.
    pub(crate) fn reload(&self) {
        let seen = look(&self.wanted);
        match server_config(&self.wanted) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                let file = self.wanted.source.certificate.display();
                tracing::info!(%file, "the TLS certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the TLS certificate stays as it was"),
        }
        *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = seen;
    }

    /// Reads the files again if they have changed.
    pub(crate) fn reload_if_changed(&self) {
        let seen = look(&self.wanted);
        let changed = *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) != seen;
        if changed {
            self.reload();
        }
    }
}

/// A cipher suite by the name that Go and OpenSSL's documents use. All of them are safe.
pub(crate) fn suite(name: &str) -> Option<SupportedCipherSuite> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => suites::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => suites::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => suites::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
            suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => {
            suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        _ => return None,
    })
}

fn look(wanted: &Tls) -> Seen {
    let trace = |data: Metadata| (data.ino(), data.mtime(), data.mtime_nsec(), data.len());
    let files = [&wanted.source.certificate, &wanted.source.key];
    files.map(|file| std::fs::metadata(file).ok().map(trace)).to_vec()
}

fn server_config(wanted: &Tls) -> io::Result<ServerConfig> {
    let chain = chain(&wanted.source.certificate)?;
    served(&wanted.source.certificate, &chain)?;
    let key = PrivateKeyDer::from_pem_file(&wanted.source.key)
        .map_err(|error| named(&wanted.source.key, "holds no private key in PEM", &error))?;
    let mut provider = aws_lc_rs::default_provider();
    if !wanted.cipher_suites.is_empty() {
        let listed: Vec<_> = wanted.cipher_suites.iter().filter_map(|name| suite(name)).collect();
        // As in Go, the list is about TLS 1.2; the three suites of TLS 1.3 are always there.
        provider.cipher_suites.retain(|known| known.tls13().is_some() || listed.contains(known));
    }
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(wanted))
        .map_err(io::Error::other)?;
    let builder = match &wanted.client {
        ClientCertificate::Never => builder.with_no_client_auth(),
        ClientCertificate::Optional => builder.with_client_cert_verifier(Arc::new(AnyCertificate(provider))),
        ClientCertificate::Required { authorities } => {
            let mut roots = RootCertStore::empty();
            for certificate in self::chain(authorities)? {
                roots
                    .add(certificate)
                    .map_err(|error| named(authorities, "holds a broken certificate", &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| named(authorities, "names nobody to trust", &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| named(&wanted.source.certificate, "does not go with its key", &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates in a file, the server's own first.
pub(crate) fn chain(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let chain: Vec<_> = read.map_err(|error| named(file, "cannot be read as certificates in PEM", &error))?;
    if chain.is_empty() {
        return Err(io::Error::other(format!("{}: holds no certificate in PEM", file.display())));
    }
    Ok(chain)
}

/// Refuses a certificate whose key signs no handshakes. rustls would only say that the key does not read.
fn served(file: &Path, chain: &[CertificateDer<'_>]) -> io::Result<()> {
    let leaf = chain.first().and_then(|leaf| x509::Certificate::from_der(leaf).ok());
    match leaf.map(|leaf| leaf.public_key().shape()) {
        Some(shape) if shape.family == x509::Family::MlDsa => Err(io::Error::other(format!(
            "{}: its key is of type {shape}, with which TLS is not served: take a key of type ec, ed25519 or rsa; a CA of ML-DSA may sign its certificate",
            file.display()
        ))),
        _ => Ok(()),
    }
}

fn versions(wanted: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    let within = known.into_iter().filter(|(version, _)| (wanted.min..=wanted.max).contains(version));
    within.map(|(_, version)| version).collect()
}

fn named(file: &Path, what: &str, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {what}: {error}", file.display()))
}

/// Asks a client for a certificate and takes any of which it holds the key. Who is trusted for what is for the
/// auth methods to say, which judge the whole chain; TLS only proves that it is the client's own.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms).or_else(|error| {
            let key = key_of(certificate).ok_or_else(|| error.clone())?;
            let owner = RawPublicKeyEntity::try_from(&key).map_err(|_| error.clone())?;
            let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
            let fits = known.is_some_and(|(_, fitting)| {
                let proves = |with: &&dyn SignatureVerificationAlgorithm| {
                    owner.verify_signature(*with, message, signed.signature()).is_ok()
                };
                fitting.iter().any(proves)
            });
            if fits { Ok(HandshakeSignatureValid::assertion()) } else { Err(error) }
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms).or_else(|error| {
            let key = key_of(certificate).ok_or(error)?;
            verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The key of a certificate that the library does not read: one of X.509 version 1, as OpenSSL makes them, or with a critical
/// extension of somebody's own. Its owner may ask for what takes no certificate; to log in by it is another matter.
fn key_of(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let certificate = x509::Certificate::of_record(certificate).ok()?;
    Some(SubjectPublicKeyInfoDer::from(certificate.public_key().spki().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(key_type: &str, size: u64) -> Vec<u8> {
        let shape = x509::KeyShape::parse(key_type, size).unwrap();
        let key = x509::PrivateKey::generate(shape).unwrap();
        let template = x509::Template {
            serial: &x509::Serial::from_magnitude(&[1]).unwrap(),
            validity: x509::Validity { not_before: 0, not_after: 1 },
            subject: &[0x30, 0x00],
            public_key: key.public(),
            extensions: &x509::Extensions::new(),
        };
        let scheme = x509::Scheme::choose(shape, 0, x509::Padding::Pkcs1).unwrap();
        template.sign(&[0x30, 0x00], &key, scheme).unwrap()
    }

    #[test]
    fn a_key_that_signs_no_handshakes_is_refused_by_its_name() {
        let file = Path::new("server.pem");
        for (key_type, size) in [("ec", 256), ("ed25519", 0), ("rsa", 2048)] {
            served(file, &[leaf(key_type, size).into()]).unwrap();
        }
        let said = served(file, &[leaf("ml-dsa", 65).into()]).unwrap_err().to_string();
        assert!(
            said.starts_with("server.pem: its key is of type ml-dsa-65, with which TLS is not served"),
            "{said}"
        );
    }
}
