//! Which certificates the command line trusts, and which one it shows.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
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
        Verify::Strictly => builder.with_root_certificates(roots(trust)?),
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

fn roots(trust: &Trust<'_>) -> Result<RootCertStore, Stop> {
    let mut store = RootCertStore::empty();
    if let Some(text) = trust.ca_cert_bytes {
        return add_all(store, certificates(Pem::Text(text), "CA certificate")?);
    }
    if let Some(file) = trust.ca_cert {
        return add_all(store, certificates(Pem::File(file), "CA certificate")?);
    }
    if let Some(folder) = trust.ca_path {
        return folder_roots(store, folder);
    }
    // A machine without a system store is no error: then only our own CA counts.
    let native = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(native.certs);
    if let Some(file) = trust.first_run_ca.filter(|file| file.exists()) {
        let path = file.display().to_string();
        return add_all(store, certificates(Pem::File(&path), "CA certificate of the first run")?);
    }
    Ok(store)
}

fn folder_roots(mut store: RootCertStore, folder: &str) -> Result<RootCertStore, Stop> {
    let unreadable = |e: std::io::Error| Stop::local(format!("Error loading CA folder {folder}: {e}"));
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            let name = path.display().to_string();
            store = add_all(store, certificates(Pem::File(&name), "CA certificate")?)?;
        }
    }
    Ok(store)
}

fn add_all(mut store: RootCertStore, certs: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Stop> {
    for cert in certs {
        store.add(cert).map_err(|e| Stop::local(format!("Error loading CA certificate: {e}")))?;
    }
    Ok(store)
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
