//! Which certificates the command line trusts, and which one it shows.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use crate::stop::Stop;

/// Where trust comes from and whom we say we are; flags have already won over variables.
#[derive(Default)]
pub(crate) struct Trust<'a> {
    pub(crate) ca_cert: Option<&'a str>,
    pub(crate) ca_cert_bytes: Option<&'a str>,
    pub(crate) ca_path: Option<&'a str>,
    /// The CA that a first run of the server left for its user; trusted only when nothing else is named.
    pub(crate) first_run_ca: Option<&'a Path>,
    pub(crate) client_cert: Option<Pem<'a>>,
    pub(crate) client_key: Option<Pem<'a>>,
    pub(crate) verify: Verify,
}

/// Whether the server must prove who it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Its certificate must chain to a trusted root and carry its name.
    #[default]
    Strictly,
    /// Any certificate will do: the user asked for it.
    Skip,
}

/// PEM text, given as a file or in a variable.
#[derive(Clone, Copy)]
pub(crate) enum Pem<'a> {
    File(&'a str),
    Text(&'a str),
}

/// Builds the TLS side of the client.
pub(crate) fn client_config(trust: &Trust<'_>) -> Result<ClientConfig, Stop> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Stop::local(format!("TLS cannot be set up: {e}")))?;
    let builder = match trust.verify {
        Verify::Strictly => {
            let (roots, named) = roots(trust)?;
            let strict =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            match strict {
                Ok(strict) => {
                    let verifier = Arc::new(OrNamed { strict, named });
                    builder.dangerous().with_custom_certificate_verifier(verifier)
                }
                // Whoever trusts nobody still gets a client, for servers without TLS.
                Err(_) => builder.with_root_certificates(RootCertStore::empty()),
            }
        }
        Verify::Skip => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
    };
    match (trust.client_cert, trust.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "client certificate")?;
            builder
                .with_client_auth_cert(chain, private_key(key)?)
                .map_err(|e| Stop::local(format!("The client certificate cannot be used with its key: {e}")))
        }
        _ => Err(Stop::local("both client cert and client key must be provided")
            .hint("Give -client-cert and -client-key together.")),
    }
}

/// Who is trusted, and the certificates that were named for it one by one.
type Roots = (RootCertStore, Vec<CertificateDer<'static>>);

fn roots(trust: &Trust<'_>) -> Result<Roots, Stop> {
    let empty = (RootCertStore::empty(), Vec::new());
    if let Some(text) = trust.ca_cert_bytes {
        return add_all(empty, certificates(Pem::Text(text), "CA certificate")?);
    }
    if let Some(file) = trust.ca_cert {
        return add_all(empty, certificates(Pem::File(file), "CA certificate")?);
    }
    if let Some(folder) = trust.ca_path {
        return folder_roots(empty, folder);
    }
    // A machine without a system store is no error: then only our own CA counts.
    let (mut store, mut named) = empty;
    let native = rustls_native_certs::load_native_certs();
    named.extend(native.certs.iter().cloned());
    store.add_parsable_certificates(native.certs);
    if let Some(file) = trust.first_run_ca.filter(|file| file.exists()) {
        let path = file.display().to_string();
        let first = certificates(Pem::File(&path), "CA certificate of the first run")?;
        return add_all((store, named), first);
    }
    Ok((store, named))
}

fn folder_roots(mut roots: Roots, folder: &str) -> Result<Roots, Stop> {
    let unreadable = |e: std::io::Error| Stop::local(format!("Error loading CA folder {folder}: {e}"));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            let name = path.display().to_string();
            roots = add_all(roots, certificates(Pem::File(&name), "CA certificate")?)?;
        }
    }
    Ok(roots)
}

fn add_all((mut store, mut named): Roots, certs: Vec<CertificateDer<'static>>) -> Result<Roots, Stop> {
    for cert in certs {
        named.push(cert.clone());
        store.add(cert).map_err(|e| Stop::local(format!("Error loading CA certificate: {e}")))?;
    }
    Ok((store, named))
}

/// Checks as rustls does, and takes one certificate more: that of a server which is its own CA, as `openssl req -x509` makes
/// them, if exactly that one was named. Its name, its dates and its purpose are checked all the same, and the handshake proves
/// that the server has its key.
#[derive(Debug)]
struct OrNamed {
    strict: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OrNamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match judged {
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if format!("{why:?}").contains("CaUsedAsEndEntity")
                    && self.named.iter().any(|named| named == end_entity) =>
            {
                own_ca(end_entity, now)?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Whether a certificate that is its own CA is good now, and for a server.
fn own_ca(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let purposes = parsed.extended_key_usage().map_err(bad)?;
    if purposes.is_some_and(|purposes| !purposes.value.server_auth && !purposes.value.any) {
        return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
    }
    Ok(())
}

fn certificates(pem: Pem<'_>, what: &str) -> Result<Vec<CertificateDer<'static>>, Stop> {
    let (text, from) = read(pem, what)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match parsed {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        Ok(_) => {
            Err(Stop::local(format!("Error loading {what} from {from}: it holds no certificate in PEM")))
        }
        Err(e) => Err(Stop::local(format!("Error loading {what} from {from}: {e}"))),
    }
}

fn private_key(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>, Stop> {
    let (text, from) = read(pem, "client key")?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|e| Stop::local(format!("Error loading client key from {from}: {e}")))
}

fn read(pem: Pem<'_>, what: &str) -> Result<(zeroize::Zeroizing<Vec<u8>>, String), Stop> {
    match pem {
        Pem::Text(text) => Ok((text.as_bytes().to_vec().into(), "its variable".to_owned())),
        Pem::File(path) => fs::read(path)
            .map(|bytes| (bytes.into(), path.to_owned()))
            .map_err(|e| Stop::local(format!("Error loading {what} from {path}: {e}"))),
    }
}

/// Accepts every certificate, for `-tls-skip-verify`; signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
