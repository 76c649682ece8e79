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
    let whom = match trust.verify {
        Verify::Strictly => {
            let (roots, named) = roots(trust)?;
            let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            strict.build().ok().map(|strict| Whom::Known { strict, named })
        }
        Verify::Skip => Some(Whom::Anybody),
    };
    let builder = match whom {
        Some(whom) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Believing { provider, whom }))
        }
        // Whoever trusts nobody still gets a client, for servers without TLS.
        None => builder.with_root_certificates(RootCertStore::empty()),
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

/// Whom a client believes. Whoever it is, the handshake proves that they have the key of their certificate.
#[derive(Debug)]
struct Believing {
    provider: Arc<CryptoProvider>,
    whom: Whom,
}

#[derive(Debug)]
enum Whom {
    /// Everybody, for `-tls-skip-verify`.
    Anybody,
    /// Those whom rustls believes. It takes no certificate of a CA for that of a server; one that is its own CA, as
    /// `openssl req -x509` makes them, is taken where exactly it was named, as programs in Go do. Then its name, its dates and
    /// its purpose count.
    Known { strict: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
}

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.whom {
            Whom::Anybody => {}
            Whom::Known { strict, named } if !named.iter().any(|named| named == leaf) => {
                return strict.verify_server_cert(leaf, above, name, ocsp_response, now);
            }
            Whom::Known { .. } => {
                is_good(leaf, now)?;
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            }
        }
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
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate that was named is good now, and for a server.
fn is_good(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
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
